// emu_ops: the registry for the generic op tests over the CUDA partners, run by the emulator. Three orders of threads take turns, so that
// a test that compares bits of two runs compares two orders.
#include "tests/emu/emu_runtime.h"
#include "tests/support/support_ops.h"

static void begin(void)
{
    static unsigned calls;
    emu_forget();
    emu_schedule(EMU_ONE_ORDER ? EMU_FIFO : (emu_order)(calls % 3), calls);
    calls++;
}
static void operand(const char *name, const void *p, size_t bytes, bool writable)
{
    if (p && bytes)
        emu_watch(name, p, bytes, writable);
}

extern const hs_kernels *const hs_kernels_table_cuda[HS_N_OPS];
static const op_watch watch = { begin, operand, emu_verdict };
op_registry hs_tested = {
    .ops = hs_ops,
    .n = HS_N_OPS,
    .table = hs_kernels_table_cuda,
    .table_name = "cuda, emulated",
    .no_team = true,
    .emulated = true,
    .accesses_only = EMU_ONE_ORDER,
    .most_flops = EMU_MOST_FLOPS,
    .slope_flops = 6e6,
    .watch = &watch,
};
