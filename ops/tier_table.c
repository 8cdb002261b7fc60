// tier_table: the kernels of one ISA tier in the order of ops.list. Compiled once per tier, like the ops themselves.
#include "ops/ops.h"

#if defined(HS_TIER_OF_PRODUCTS) // the others come from the table behind this one
#define EACH_OP(F)    F(linear) F(matmul) F(low_rank) F(attention) F(linear_xent) F(tp_linear_xent) F(linear_fp8) F(linear_i8) F(attention_i8)
#define DECLARE(name) extern HS_OP(name);
#define ENTRY(name)   [HS_ID_##name] = &HS_TIERED(hs_op_##name).cpu,
EACH_OP(DECLARE)

extern const hs_kernels *const HS_TIERED(hs_kernels_table)[HS_N_OPS];
const hs_kernels *const HS_TIERED(hs_kernels_table)[HS_N_OPS] = { EACH_OP(ENTRY) };
#else
#define HS_OP_ITEM(name) extern HS_OP(name);
#include "ops/ops.list"
#undef HS_OP_ITEM

extern const hs_kernels *const HS_TIERED(hs_kernels_table)[HS_N_OPS];
const hs_kernels *const HS_TIERED(hs_kernels_table)[HS_N_OPS] = {
#define HS_OP_ITEM(name) &HS_TIERED(hs_op_##name).cpu,
#include "ops/ops.list"
#undef HS_OP_ITEM
};
#endif
