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

// Calls are queued on a lane and return no error: errors are sticky and read by poll. All ranks of the axis call the same
// sequence. In a CPU segment a call is made by one member (a SOLO thunk, or between two hs_sync). Every rank gets the same bits.
typedef struct hs_comm {
    int rank, size;
    const char *axis; // "dp", "tp"
    void (*all_reduce)(struct hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op);
    void (*reduce_scatter)(struct hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d);
    // out[r * n_each ...) = in of rank r
    void (*all_gather)(struct hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d);
    void (*broadcast)(struct hs_comm *c, hs_lane *l, void *buf, size_t bytes, int root);
    hs_status (*poll)(struct hs_comm *c);
    void (*abort)(struct hs_comm *c);
    void *impl;
} hs_comm;

typedef struct hs_grid { // passed explicitly, never global
    hs_comm *dp, *tp;
} hs_grid;

extern hs_comm hs_comm_self_dp, hs_comm_self_tp; // size 1: constants in all but the type the table asks for
hs_grid hs_grid_self(void);                      // 1 x 1
// Refuses by name when the process was started by mpirun with more than one rank.
hs_status hs_grid_check_launch(void);

#ifdef __cplusplus
}
#endif
#endif
