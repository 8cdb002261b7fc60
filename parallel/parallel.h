// parallel: the ranks of a job - who they are, how they talk, and what happens when one of them does not.
//
// A job is a grid of dp x tp ranks: rank = dp_rank * tp + tp_rank, so that those who share a layer's products are neighbours. Collectives
// are core/graph/comm.h's; the backend that moves bytes between processes is a library of its own (libhalfstep_mpi.so), loaded where a
// launcher has started more than one rank: a process alone never loads MPI. Sums are made in rank order, so that every rank gets the same
// bits, and the same ones run after run.
#ifndef HS_PARALLEL_PARALLEL_H
#define HS_PARALLEL_PARALLEL_H
#include "core/graph/comm.h"
#include "core/run/device.h"

typedef struct hs_parallel hs_parallel;

// The ranks a launcher started, this process's own number among them, by the launcher's variables: 1 and 0 where there is none.
int hs_parallel_launched(int *rank);
// The backend's library and version, "Open MPI 4.1.4": UNSUPPORTED where there is none.
hs_status hs_parallel_library(char *name, size_t size);

// Joins the job: every rank calls it, before anything else. One process: a world of its own, nothing is loaded. UNSUPPORTED: started by a
// launcher, and the backend is not installed.
hs_status hs_parallel_open(hs_parallel **out);
// Collective. Leaves the job: after OK everywhere. NULL: nothing.
void hs_parallel_close(hs_parallel *p);
// This rank has failed with st and its message in hs_error(): the first rank that does has its message printed, once, by `print` of one
// rank (which may be another one) as "rank R (HOST): MESSAGE"; then the whole job ends with hs_status_exit(st). Does not return where there
// are several ranks; alone it returns at once and prints nothing.
void hs_parallel_fail(hs_parallel *p, hs_status st);

// For the handler of a signal, and safe in one: this rank has nothing to save and is to end, and the job with it, as by hs_parallel_fail
// with STOPPED and text, which lives as long as the program. Returns at once; false: there is nobody to tell (p NULL, or one process).
bool hs_parallel_stop(hs_parallel *p, const char *text);

// Collective: the grid. dp 0: the ranks divided by tp. USAGE, with the numbers: dp * tp is not the number of ranks. timeout: seconds
// that a collective may take before the job is ended with REMOTE and a message that names who is missing, and where; 0: for ever.
hs_status hs_parallel_grid(hs_parallel *p, int dp, int tp, double timeout, hs_grid *out); // borrowed from p
hs_comm *hs_parallel_world(hs_parallel *p); // all ranks; of the thread that opened p. lane: NULL; addresses are the host's
hs_comm *hs_parallel_files(hs_parallel *p); // the same ranks, for one other thread (which writes checkpoints)
// Cores that this rank may use and ranks that share them with it, as the launcher has bound it: threads per rank follow. *ranks > 1 on
// cores that are too few is over-subscription, which the caller says.
void hs_parallel_share(hs_parallel *p, int *cores, int *ranks);
int hs_parallel_here(hs_parallel *p); // ranks on this host, whatever their cores: they share its memory. NULL: 1
// Cores that the ranks of this host have together, and how many their launcher could have given them; 0: not known.
void hs_parallel_bound(hs_parallel *p, int *cores, int *usable);

// What has moved between ranks, for a trace: calls that were over after `since` (hs_now_ns), oldest first; the newest few thousand are
// kept.
typedef struct hs_parallel_call {
    const char *call, *axis; // "all-reduce"
    char about[48];
    double bytes;         // of the whole buffer
    int64_t begun, ended; // ns
    bool started;         // beside compute, in a thread of its own
} hs_parallel_call;
int hs_parallel_calls(hs_parallel *p, int64_t since, hs_parallel_call *out, int most);

// The backend's own collective over all ranks, f32, to measure against: n elements of the whole (all-reduce) or of each rank's part. in ==
// out: in place. UNSUPPORTED: one process.
typedef enum hs_raw_kind { HS_RAW_ALL_REDUCE, HS_RAW_REDUCE_SCATTER, HS_RAW_ALL_GATHER } hs_raw_kind;
hs_status hs_parallel_raw(hs_parallel *p, hs_raw_kind kind, const void *in, void *out, int64_t n);

// A collective of host code over a device's memory, whose addresses the host may not follow: copies to memory that the host has, moves, and
// copies back, behind all that the device was given. Wraps inner, which is borrowed, as is the device.
hs_status hs_parallel_staged(hs_comm **out, hs_comm *inner, hs_device *device); // hs_comm_close

// Collective over host, an axis of p's grid: the same ranks over memory of d. A CPU's kernels are host code: host itself. Else what the
// device has (hs_device.comm_open), watched as calls over host are; where it has none, or not between these ranks (one of them says so),
// hs_parallel_staged. On failure *out stays as it is.
hs_status hs_parallel_on_device(hs_comm **out, hs_parallel *p, hs_comm *host, hs_device *d);
// Collective, where nothing of c is on its way and no rank has failed: closes it. c host: nothing.
void hs_parallel_off_device(hs_parallel *p, hs_comm *host, hs_comm *c);
int hs_parallel_local(hs_parallel *p); // this rank's number among those of its host. NULL: 0

#endif
