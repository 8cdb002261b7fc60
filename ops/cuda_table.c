// cuda_table: the CUDA partners of the ops in the order of ops.list, each from its NAME.cu.
#include "ops/ops.h"

#define HS_OP_ITEM(name) extern const hs_kernels hs_cuda_##name __attribute__((weak));
#include "ops/ops.list"
#undef HS_OP_ITEM

const hs_kernels *const hs_kernels_table_cuda[HS_N_OPS] = {
#define HS_OP_ITEM(name) &hs_cuda_##name,
#include "ops/ops.list"
#undef HS_OP_ITEM
};
