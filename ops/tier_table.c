// tier_table: the kernels of one ISA tier in the order of ops.list. Compiled once per tier, like the ops themselves.
#include "ops/ops.h"

#define HS_OP_ITEM(name) extern HS_OP(name);
#include "ops/ops.list"
#undef HS_OP_ITEM

extern const hs_kernels *const HS_TIERED(hs_kernels_table)[HS_N_OPS];
const hs_kernels *const HS_TIERED(hs_kernels_table)[HS_N_OPS] = {
#define HS_OP_ITEM(name) &HS_TIERED(hs_op_##name).cpu,
#include "ops/ops.list"
#undef HS_OP_ITEM
};
