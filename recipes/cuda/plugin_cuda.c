// plugin_cuda: what libhalfstep_cuda.so brings - the rooms' CUDA partners in one table. The same file makes the emulated one of the tests.
#include "core/cuda/device_cuda.h"
#include "core/run/plugin.h"
#include "ops/ops.h"
#include "optim/update.h"
#ifdef HS_HAVE_NCCL
#include "parallel/nccl_comm.h"
#endif
#include <stdio.h>

#ifdef HS_EMULATED
#define NAME HS_EMULATED_NAME
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

#ifdef HS_HAVE_NCCL
#define COMM_OPEN hs_nccl_open
static int nccl(char *line, size_t size)
{
    int version;
    if (hs_nccl_version(&version) != HS_OK)
        return snprintf(line, size, ", no NCCL");
    return snprintf(line, size, ", NCCL %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}
#else
#define COMM_OPEN NULL
static int nccl(char *line, size_t size) { return snprintf(line, size, ", built without NCCL"); }
#endif

static const char *library(void)
{
    static char line[96]; // written once with what is always the same
    int version = 0;
    cudaRuntimeGetVersion(&version);
    const int n = snprintf(line, sizeof line, "CUDA %d.%d", version / 1000, version % 1000 / 10);
    nccl(line + n, sizeof line - (size_t)n);
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
    .comm_open = COMM_OPEN,
    .library = library,
};

__attribute__((visibility("default"))) const hs_plugin *hs_plugin_entry(void);
const hs_plugin *hs_plugin_entry(void) { return &plugin; }
