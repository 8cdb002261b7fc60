// emu_device: the kernels of core that move bytes between ranks, and nothing else.
#include "tests/emu/emu_device.h"
#include "ops/ops.h"
#include "parallel/nccl_comm.h"

static void nothing(const hs_args *a, hs_lane *lane) { (void)a, (void)lane; }

static const hs_core_kernels core = {
    .loss_sum = nothing, .loss_total = nothing, .begin = hs_begin_move, .finish = hs_finish_moves, .keep = nothing, .record = nothing
};

hs_status emu_device_open(hs_device **out, int index)
{
    static const hs_kernels *const *const none[] = { NULL };
    return hs_device_open(
        out, hs_backend_cuda,
        &(hs_device_opts){ .ops = hs_ops, .n_ops = HS_N_OPS, .tables = none, .core = &core, .comm_open = hs_nccl_open, .index = index });
}
