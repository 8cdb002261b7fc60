// support_comm: tensor-parallel ranks as threads of one process - a grid whose collectives are sums in rank order over shared memory.
#ifndef HS_TESTS_SUPPORT_COMM_H
#define HS_TESTS_SUPPORT_COMM_H
#include "core/graph/comm.h"

enum { MAX_RANKS = 8 };

// What the ranks asked of a comm, counted by rank 0.
typedef struct comm_calls {
    int64_t all_reduces, all_gathers, elements;
} comm_calls;

// Runs work(rank's grid, arg, rank) on a thread per rank and joins them. The first status that is not OK is raised again here, with its
// message; a rank that fails breaks the collectives the others wait in. Ranks that ask for different things fail, too.
hs_status ranks_run(int size, hs_status (*work)(const hs_grid *grid, void *arg, int rank), void *arg, comm_calls *calls);

// A grid to trace with, of ranks that are not there: its collectives must not be called. Valid until the next call.
hs_grid ranks_absent(int rank, int size);

#endif
