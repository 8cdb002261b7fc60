// emu_optim: the optimizers of CUDA, run by the emulator, for the tests of optimizers. Three orders of threads take turns.
#include "tests/emu/emu_runtime.h"
#include "tests/support/support_optim.h"

static void watch(const hs_ref *r, const char *name, const void **seen, int *n)
{
    for (int i = 0; i < *n; i++)
        if (seen[i] == r->p)
            return;
    if (r->p && r->rows > 0) {
        seen[(*n)++] = r->p;
        emu_watch(name, r->p, (size_t)(r->rows * r->cols) * hs_dtype_bytes(r->dtype), true);
    }
}

static void begin(const rig *r)
{
    static unsigned calls;
    const void *seen[8 * (HS_MAX_IN + HS_MAX_OUT)];
    int n = 0;
    emu_schedule(EMU_ONE_ORDER ? EMU_FIFO : (emu_order)(calls % 3), calls);
    calls++;
    emu_watch("the step", &r->in, sizeof r->in, false);
    emu_watch("the state", &r->state, sizeof r->state, true);
    for (int i = 0; i < r->update.n; i++) {
        const hs_args *a = &r->thunk[i].args;
        for (int k = 0; k < HS_MAX_IN; k++)
            watch(&a->in[k], r->thunk[i].name, seen, &n);
        for (int k = 0; k < HS_MAX_OUT; k++)
            watch(&a->out[k], r->thunk[i].name, seen, &n);
    }
}

static const char *end(void) // of all rigs that are open
{
    emu_forget();
    return emu_verdict();
}

const rig_device rig_on = { .tier = &hs_optim_cuda, .begin = begin, .end = end, .accesses_only = EMU_ONE_ORDER };
