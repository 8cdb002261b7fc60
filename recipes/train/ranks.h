// ranks: what a run is to the ranks it was started with - its place in the grid, what all of them must have in common, what one of them
// decides for all. Alone everything here is done at once, and nothing is compared.
#ifndef HS_RECIPES_RANKS_H
#define HS_RECIPES_RANKS_H
#include "parallel/parallel.h"
#include "recipes/program/config.h"

typedef struct hs_ranks {
    hs_parallel *parallel;  // NULL: alone
    hs_grid host;           // the axes over memory of the host: what ranks tell each other
    hs_grid grid;           // the same for models: over the device's memory, once there is one (hs_ranks_on_device)
    hs_comm *world, *files; // files: NULL, alone
    int rank, size;         // of the world
    int dp, tp;             // ranks of the axes
} hs_ranks;

hs_ranks hs_ranks_alone(void);
// Collective. Build and settings are compared, then the grid is made. USAGE, with the numbers, where parallel.* and train.batch do not go
// with the ranks there are. p NULL, or of one process: alone.
hs_status hs_ranks_open(hs_ranks *r, hs_parallel *p, const hs_config *c);
// Collective, where models run on d from here on: whose memory the host may not touch, its collectives go another way. _off: before d is
// closed, and behind everything that runs on it.
hs_status hs_ranks_on_device(hs_ranks *r, hs_device *d);
void hs_ranks_off_device(hs_ranks *r); // collective
// This rank has failed with st. Where a device waits for other ranks by itself (hs_comm.calls), nothing can be closed as they do not come:
// says it and does not return (hs_parallel_fail). Elsewhere, and of HS_OK, nothing.
void hs_ranks_fail(const hs_ranks *r, hs_status st);
static inline bool hs_ranks_first(const hs_ranks *r) { return r->rank == 0; } // the one that prints and writes

// ---- collective, all of them. about: what for, in messages of the watchdog; a literal
hs_status hs_ranks_meet(const hs_ranks *r, const char *about);                          // nobody goes on before all are here
hs_status hs_ranks_tell(const hs_ranks *r, const char *about, void *buf, size_t bytes); // the first one's become everybody's
// The first one does it, which may take long, while the others meet it now and then, so that parallel.timeout is not met; alone: does it.
// It has no collectives and is in a thread of its own where there are others. Its outcome is everybody's.
typedef hs_status hs_ranks_work(void *arg);
hs_status hs_ranks_first_does(const hs_ranks *r, const char *about, hs_ranks_work *work, void *arg);
hs_status hs_ranks_sum(const hs_ranks *r, const char *about, double *v, int64_t n);    // over all ranks
hs_status hs_ranks_sum_dp(const hs_ranks *r, const char *about, double *v, int64_t n); // over this rank's dp axis
hs_status hs_ranks_max(const hs_ranks *r, const char *about, double *v, int64_t n);
hs_status hs_ranks_max_dp(const hs_ranks *r, const char *about, double *v, int64_t n);
// What must be the same on all ranks of c (the world, an axis of host). USAGE on those where it is not, with both values; the others then
// wait for the end of the job.
hs_status hs_ranks_same(const hs_ranks *r, hs_comm *c, const char *what, const char *value);
hs_status hs_ranks_same_settings(const hs_ranks *r, const hs_config *c); // names the key

// Threads of this rank where exec.threads is 0: its share of the cores (0: alone, all of them).
int hs_ranks_threads(const hs_ranks *r, int64_t asked);
// Cores that so many threads of this rank come to, which shares them with others.
double hs_ranks_cores(const hs_ranks *r, int threads);
void hs_ranks_tell_crowded(const hs_ranks *r, int threads); // where ranks of so many threads share too few cores

#endif
