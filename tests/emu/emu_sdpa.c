// emu_sdpa: the registry for the generic op tests over attention as attention.cu does it: by cuDNN where that takes it, else by other
// kernels, here the CPU's. cuDNN is a double (fake_cudnn.c) that does what its operations mean, so that what is judged is all of ours: the
// kernels around it, what it is told of layouts, lengths and masks, and which bytes it is given.
#include "core/cuda/cudnn_sdpa.h"
#include "ops/attention/attention_cudnn.h"
#include "tests/emu/emu_runtime.h"
#include "tests/support/support_ops.h"
#include <stdio.h>
#include <stdlib.h>

#define CPU hs_op_attention_portable.cpu

static hs_gpu gpu;
static hs_lane device = { .gpu = &gpu };
cudaStream_t gpu_stream(const hs_lane *lane) { return lane->stream; }
struct hs_lt *gpu_lt(const hs_lane *lane) { return lane->gpu->lt; }

static void stop(const char *why)
{
    fprintf(stderr, "emu_sdpa: %s\n", why);
    exit(1);
}

__attribute__((constructor)) static void begin_tests(void)
{
    if (hs_dnn_open(&gpu.dnn, 0) != HS_OK)
        stop(hs_error());                              // the real one is found where the double's folder is not in LD_LIBRARY_PATH
    bool full = false, padded = false, ragged = false; // there must be cases of each
    for (int c = 0; c < hs_op_attention_portable.n_cases; c++) {
        const hs_attention_attr *at = hs_op_attention_portable.cases[c].attr;
        full |= at->full && at->longest % 128 == 0, padded |= at->full && at->longest % 128, ragged |= at->longest && !at->full;
    }
    if (!full || !padded || !ragged)
        stop("cases that promise lengths are gone");
}

static bool is_ours(const hs_args *a, bool backward)
{
    const hs_ref *x = &a->in[0];
    bool same = a->out[0].dtype == x->dtype;
    if (backward)
        same &= a->din[0].dtype == x->dtype && a->dout[0].dtype == x->dtype && !a->din[0].add;
    return same && hs_dtype_is_low(x->dtype);
}

static void check_taken(bool taken, bool ours)
{
    if (taken != ours)
        stop(ours ? "cuDNN should have taken this" : "cuDNN should not have taken this");
    if (device.failed[0])
        stop(device.failed);
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const bool taken = hs_sdpa_forward(a, &device);
    check_taken(taken, is_ours(a, false));
    if (!taken)
        CPU.fwd(a, lane);
}
static void backward(const hs_args *a, hs_lane *lane)
{
    const bool taken = hs_sdpa_backward(a, &device);
    check_taken(taken, a->din[0].p && is_ours(a, true));
    if (!taken)
        CPU.bwd(a, lane);
}
static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    return (hs_scratch){ hs_sdpa_scratch(n, is_backward), CPU.scratch(n, team, is_backward).per_thread };
}
static const char *decline(const hs_node *n) { return hs_sdpa_scratch(n, false) ? NULL : "is not cuDNN's"; }

static const hs_kernels kernels = { .fwd = forward, .bwd = backward, .scratch = scratch, .decline = decline };

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
static const op_watch watch = { begin, operand, emu_verdict };
op_registry hs_tested = {
    .ops = (const hs_op *const[]){ &hs_op_attention_portable },
    .n = 1,
    .table = (const hs_kernels *const[]){ &kernels },
    .table_name = "cuDNN's double",
    .no_team = true,
    .watch = &watch,
};
