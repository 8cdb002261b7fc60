// emu_device: the kernels of core that move bytes between ranks, and nothing else.
#include "tests/emu/emu_device.h"
#include "ops/ops.h"
#include "parallel/nccl_comm.h"

static void nothing(const hs_args *a, hs_lane *lane) { (void)a, (void)lane; }

static void begin_move(const hs_args *a, hs_lane *lane)
{
    const hs_move *m = a->attr;
    const hs_ref *y = &a->out[0];
    hs_comm_start(a->comm, lane, &(hs_collective){ m->kind, y->p, y->rows, m->parts, y->dtype, HS_REDUCE_SUM });
}

static void finish_moves(const hs_args *a, hs_lane *lane)
{
    hs_comm_finish_but(a->comm, lane, a->attr ? ((const hs_left *)a->attr)->left : 0);
}

static const hs_core_kernels core = {
    .loss_sum = nothing, .loss_total = nothing, .begin = begin_move, .finish = finish_moves, .keep = nothing, .record = nothing
};

hs_status emu_device_open(hs_device **out, int index)
{
    static const hs_kernels *const *const none[] = { NULL };
    return hs_device_open(
        out, hs_backend_cuda,
        &(hs_device_opts){ .ops = hs_ops, .n_ops = HS_N_OPS, .tables = none, .core = &core, .comm_open = hs_nccl_open, .index = index });
}
