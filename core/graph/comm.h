// comm: the process grid and the table of collectives. Backends: self (here), MPI and NCCL (parallel/, the plug-in).
#ifndef HS_CORE_COMM_H
#define HS_CORE_COMM_H
#include "core/base/dtype.h"
#include "core/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// What a kernel runs on: of the CPU a member of a team (core/cpu/lane.h), of CUDA a stream. Only a device and its kernels look inside.
typedef struct hs_lane hs_lane;

typedef enum hs_reduce { HS_REDUCE_SUM, HS_REDUCE_MAX } hs_reduce;

// A call that is begun in one place and finished in another.
typedef enum hs_collective_kind { HS_ALL_REDUCE, HS_REDUCE_PARTS, HS_GATHER_PARTS } hs_collective_kind;
typedef struct hs_collective {
    hs_collective_kind kind;
    void *buf;
    int64_t n;            // of HS_ALL_REDUCE: elements
    const int64_t *parts; // of the two others: [size] elements of each; stays until hs_comm_finish
    hs_dtype dtype;
    hs_reduce op; // of HS_ALL_REDUCE
} hs_collective;

typedef enum hs_call_kind {
    HS_CALL_ALL_REDUCE,
    HS_CALL_REDUCE_SCATTER,
    HS_CALL_ALL_GATHER,
    HS_CALL_REDUCE_PARTS,
    HS_CALL_GATHER_PARTS,
    HS_CALL_BROADCAST,
    HS_N_CALL_KINDS
} hs_call_kind;

enum { HS_ABOUT_BYTES = 48 };
typedef struct hs_comm_call { // one that was made, for whoever tells of it
    hs_call_kind kind;
    hs_dtype dtype;
    int32_t op;           // hs_reduce; of a broadcast the root
    int64_t number;       // on its comm, from 1
    int64_t n;            // elements, as the caller gave them
    int64_t begun, ended; // ns (hs_now_ns); ended 0: it is on its way
    char about[HS_ABOUT_BYTES];
} hs_comm_call;

// Calls are queued on a lane and return no error: errors are sticky and read by poll. All ranks of the axis call the same
// sequence. In a CPU segment a call is made by one member (a SOLO thunk, or between two hs_sync). Every rank gets the same bits.
typedef struct hs_comm {
    int rank, size;
    const char *axis;  // "dp", "tp", "world"
    const char *about; // whose bytes the next call moves, for messages: a scope or a name that outlives the call; NULL: nobody said
    void (*all_reduce)(struct hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op);
    void (*reduce_scatter)(struct hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d);
    // out[r * n_each ...) = in of rank r
    void (*all_gather)(struct hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d);
    // Parts of any length, in place: buf is `size` of them behind each other, part r of n[r] elements (0 too). reduce: part `rank` becomes
    // its sum over ranks, the others hold anything. gather: every part becomes that of the rank it is named after.
    void (*reduce_parts)(struct hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d);
    void (*gather_parts)(struct hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d);
    // (optional, both or none; default: done at once) One of the calls above without waiting for it: they are done in the order they were
    // started in, beside whatever the caller does; buf is nobody's until finish, which waits for all of them. Other calls of this comm
    // come behind a finish.
    void (*start)(struct hs_comm *c, hs_lane *l, const hs_collective *what);
    void (*finish)(struct hs_comm *c, hs_lane *l);
    // (optional; default: finish) Waits for the oldest of what is started, until no more than `left` of it are not done.
    void (*finish_but)(struct hs_comm *c, hs_lane *l, int64_t left);
    void (*broadcast)(struct hs_comm *c, hs_lane *l, void *buf, size_t bytes, int root);
    hs_status (*poll)(struct hs_comm *c); // by any thread
    void (*abort)(struct hs_comm *c);
    void (*close)(struct hs_comm *c); // (optional) of what somebody opened: hs_comm_close. Nothing of it is queued any more
    // (optional) of a comm whose calls a device carries out while the caller goes on; by any thread. The oldest that is on its way (none:
    // the newest that is over), then those before it: how many there are of `most`.
    int (*calls)(struct hs_comm *c, hs_comm_call *out, int most);
    // (optional, both, with captures) Calls may be captured in a graph of the device: how many were so far, and that a graph was
    // launched on l which holds those of them from `from` up to `to`. What is started in a capture is finished in it.
    bool captures;
    int64_t (*captured)(struct hs_comm *c);
    void (*replayed)(struct hs_comm *c, hs_lane *l, int64_t from, int64_t to);
    void *impl;
} hs_comm;

typedef struct hs_grid { // passed explicitly, never global
    hs_comm *dp, *tp;
} hs_grid;

void hs_comm_start(hs_comm *c, hs_lane *l, const hs_collective *what); // c->start, or done at once
void hs_comm_finish(hs_comm *c, hs_lane *l);
void hs_comm_finish_but(hs_comm *c, hs_lane *l, int64_t left);
void hs_comm_close(hs_comm *c); // NULL: nothing

extern hs_comm hs_comm_self_dp, hs_comm_self_tp; // size 1: constants in all but the type the table asks for
hs_grid hs_grid_self(void);                      // 1 x 1
// Of a rank of dp x tp that has no peers here, to plan with: its collectives must not be called. store: dp and tp, as long as the grid
// lives.
hs_grid hs_grid_absent(hs_comm store[2], int dp, int tp, int rank);

#ifdef __cplusplus
}
#endif
#endif
