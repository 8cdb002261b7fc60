// attrs: the attributes of ops whose builders take plain arguments; what hs_args.attr points to. For an op's kernels on every
// backend and for its cases; models pass the arguments.
#ifndef HS_OPS_ATTRS_H
#define HS_OPS_ATTRS_H
#include "ops/ops.h"

typedef struct hs_linear_fp8_attr {
    int32_t margin; // powers of two that scales leave free
} hs_linear_fp8_attr;
typedef struct hs_fake_quant_attr {
    int32_t form;  // hs_fake_form
    int32_t share; // of 65,536 blocks of a weight as many are rounded
} hs_fake_quant_attr;
typedef struct hs_layernorm_attr {
    float eps;
} hs_layernorm_attr;
typedef struct hs_gelu_attr {
    int32_t kind;
} hs_gelu_attr; // hs_gelu_kind
typedef struct hs_dropout_attr {
    float p;
    int32_t first; // channel of the whole row that column 0 is
} hs_dropout_attr;
typedef struct hs_bias_dropout_residual_layernorm_attr { // those of what it fuses, in order; rows are whole here
    float p;
    int32_t first; // 0
    float eps;
} hs_bias_dropout_residual_layernorm_attr;
typedef struct hs_scale_attr {
    float s;
} hs_scale_attr;
typedef struct hs_cast_attr {
    int32_t dtype;
} hs_cast_attr; // hs_dtype
typedef struct hs_cache_append_attr {
    int64_t first;
} hs_cache_append_attr;
typedef struct hs_cache_append_i8_attr {
    int64_t first;
    int64_t heads; // of k, and as many of v
} hs_cache_append_i8_attr;
typedef struct hs_embedding_attr {
    int64_t first, rows;    // the table here has rows [first, ...) of `rows`; rows 0: it is whole
    int64_t first_position; // row of pos_table that position 0 has
} hs_embedding_attr;
typedef struct hs_pool_attr {
    int32_t kind;
} hs_pool_attr; // hs_pool_kind
typedef struct hs_argmax_attr {
    int32_t classes;
} hs_argmax_attr;
typedef struct hs_draw_attr {
    int32_t classes;
    int32_t frozen; // 1: neither seed nor step have a part in it
} hs_draw_attr;
typedef struct hs_mask_tokens_attr {
    int64_t most; // predictions
} hs_mask_tokens_attr;
typedef struct hs_tp_gather_attr {
    int32_t rank, ranks;
} hs_tp_gather_attr;
typedef struct hs_tp_rows_attr {
    int64_t rows, ranks; // rows: of the tokens, capacity; 0: a share for each rank
} hs_tp_rows_attr;
typedef struct hs_tp_own_cols_attr {
    int32_t parts, rank, ranks;
} hs_tp_own_cols_attr;
typedef struct hs_tp_linear_xent_attr { // as hs_xent_attr, and
    int32_t classes, ignore, loss;
    float smoothing;
    int64_t first; // class of row 0 of w
} hs_tp_linear_xent_attr;
typedef struct hs_transpose_attr {
    int32_t d0, d1;
} hs_transpose_attr;

#endif
