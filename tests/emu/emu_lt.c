// emu_lt: the registry for the generic op tests of ops with products, on an emulated GPU that has cuBLASLt, whose double (fake_cublaslt.c)
// does them: what ops ask of the library, and which bytes around theirs it is given.
#include "core/cuda/cublaslt.h"
#include "tests/support/support_ops.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const hs_kernels *const hs_kernels_table_cuda[HS_N_OPS];
extern const hs_core_kernels hs_core_kernels_cuda;

void hs_gpu_open_libraries(hs_gpu *g)
{
    if (hs_lt_open(&g->lt, "a double", NULL) == HS_OK)
        return;
    fprintf(stderr, "emu_lt: %s\n", hs_error());
    exit(1);
}
void hs_gpu_close_libraries(hs_gpu *g) { hs_lt_close(g->lt); }

static const hs_kernels *with_products[HS_N_OPS];

static hs_status open_device(hs_device **out)
{
    static const hs_kernels *const *const tables[] = { with_products, NULL };
    for (int i = 0; i < HS_N_OPS; i++) {
        for (int k = 0; k < hs_op_n_in(hs_ops[i]); k++)
            if (hs_ops[i]->in[k].amp == HS_AMP_LOW)
                with_products[i] = hs_kernels_table_cuda[i];
        if (!strcmp(hs_ops[i]->name, "linear_i8")) // keeps x as it comes
            with_products[i] = hs_kernels_table_cuda[i];
    }
    static const char *const names[] = { "cuda, products by cuBLASLt's double" };
    return hs_device_open(
        out, hs_backend_cuda,
        &(hs_device_opts){ .ops = hs_ops, .n_ops = HS_N_OPS, .tables = tables, .table_names = names, .core = &hs_core_kernels_cuda });
}

op_registry hs_tested = { .ops = hs_ops, .n = HS_N_OPS, .no_team = true, .emulated = true, .most_flops = 1e6, .open = open_device };
