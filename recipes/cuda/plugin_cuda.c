// plugin_cuda: what libhalfstep_cuda.so brings - the rooms' CUDA partners in one table. The same file makes the emulated one of the tests.
#include "core/cuda/device_cuda.h"
#include "core/run/plugin.h"
#include "ops/ops.h"
#include "optim/update.h"
#include <stdio.h>

#ifdef HS_EMULATED
#define NAME "cuda-emu"
#else
#define NAME "cuda"
#endif

extern const hs_kernels *const hs_kernels_table_cuda[HS_N_OPS];
extern const hs_optim_tier hs_optim_cuda;
extern const hs_core_kernels hs_core_kernels_cuda;

static const char *const op_names[HS_N_OPS] = {
#define HS_OP_ITEM(name) #name,
#include "ops/ops.list"
#undef HS_OP_ITEM
};
static const hs_kernels *const *const tables[] = { hs_kernels_table_cuda, NULL };
static const char *const table_names[] = { NAME };

static const char *library(void)
{
    static char line[64]; // written once with what is always the same
    int version = 0;
    cudaRuntimeGetVersion(&version);
    snprintf(line, sizeof line, "CUDA %d.%d", version / 1000, version % 1000 / 10);
    return line;
}

static const hs_plugin plugin = {
    .version = HS_PLUGIN_VERSION,
    .layout = HS_PLUGIN_LAYOUT,
    .name = NAME,
    .backend = hs_backend_cuda,
    .op_names = op_names,
    .n_ops = HS_N_OPS,
    .tables = tables,
    .table_names = table_names,
    .core = &hs_core_kernels_cuda,
    .optim = &hs_optim_cuda,
    .library = library,
};

__attribute__((visibility("default"))) const hs_plugin *hs_plugin_entry(void);
const hs_plugin *hs_plugin_entry(void) { return &plugin; }
