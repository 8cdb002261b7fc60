// support_comm: ranks as threads of one process - a grid of dp x tp whose collectives are sums in rank order over shared memory.
#ifndef HS_TESTS_SUPPORT_COMM_H
#define HS_TESTS_SUPPORT_COMM_H
#include "core/graph/comm.h"

enum { MAX_RANKS = 8 };

// What the ranks asked of a comm, counted by world rank 0.
typedef struct comm_calls {
    int64_t all_reduces, all_gathers, reduce_parts, gather_parts;
    int64_t elements; // of all of them
} comm_calls;
enum { RANKS_TP, RANKS_DP, RANKS_WORLD, RANKS_FILES, RANKS_COMMS };

// Runs work(rank's grid, arg, rank) on a thread per rank and joins them. The first status that is not OK is raised again here, with its
// message; a rank that fails breaks the collectives the others wait in. Ranks that ask for different things fail, too.
typedef hs_status ranks_work(const hs_grid *grid, void *arg, int rank);
hs_status ranks_run(int tp, ranks_work *work, void *arg, comm_calls *calls); // calls: of the tp axis, NULL: nobody asks
// The same of dp x tp ranks, rank = dp_rank * tp + tp_rank; calls[RANKS_COMMS], or NULL. What is started is done in its finish.
hs_status ranks_run_grid(int dp, int tp, ranks_work *work, void *arg, comm_calls *calls);
hs_comm *ranks_world(const hs_grid *grid); // all ranks, inside of work; of this thread
hs_comm *ranks_files(const hs_grid *grid); // the same, for one other thread

// A grid to trace with, of ranks that are not there: its collectives must not be called. Valid until the next call.
hs_grid ranks_absent(int rank, int size);
hs_grid ranks_absent_grid(int rank, int dp, int tp);

#endif
