// device_sizes: the generic op tests on a device of another library, as device_ops.c has it, at the sizes that operations are measured at
// (hs_op_sizes): strides beyond a tile, grids beyond a wave, rows beyond 32 bits of bytes. In front of them stands the first case of each.
#include "recipes/bench/bench.h"
#include "tests/support/support_ops.h"
#include <stdlib.h>
#include <string.h>

enum { MOST = HS_BENCH_SIZES, ATTR = 256 };
static hs_op op[HS_N_OPS];
static const hs_op *ops[HS_N_OPS];

static hs_status open_device(hs_device **out) { return hs_open_device(out, DEVICE, 0, NULL, 0, HS_ONEDNN_NO); }

op_registry hs_tested = { .ops = ops, .n = HS_N_OPS, .no_team = true, .most_flops = MOST_FLOPS, .slope_flops = 1, .open = open_device };

static int add(hs_case *cases, int n, const hs_op_sizes *form)
{
    hs_bench_sizes usual;
    if (hs_bench_sizes_parse(&usual, form->usual, form->form, form->usual) != HS_OK)
        abort();
    for (int i = 0; i < usual.n && n < MOST; i++) {
        void *attr = aligned_alloc(16, ATTR);
        memset(attr, 0, ATTR);
        cases[n] = (hs_case){ .attr = attr, .note = "as measured" };
        form->make(usual.at[i].dim, &cases[n++], attr);
    }
    return n;
}

// Before main: hs_tested is read from its first line on.
__attribute__((constructor)) static void make_ops(void)
{
    static hs_case cases[HS_N_OPS][MOST];
    for (int id = 0; id < HS_N_OPS; id++) {
        op[id] = *hs_ops[id], ops[id] = &op[id];
        int n = 1;
        cases[id][0] = op[id].cases[0];
        for (int f = 0; f < op[id].bench.n_sizes; f++)
            n = add(cases[id], n, &op[id].bench.sizes[f]);
        op[id].cases = cases[id], op[id].n_cases = n;
    }
}
