// gemm_i8: products of int8, exact in int32, and what makes floats of them. Internal to ops/quant; compiled once per ISA tier.
//
//   y[m, n] = act((sum over k of q[m, k] code[n, k]) * (scale[m] * scales[n]) + bias[n])        y in float, or in int8 by a scale of all of
//   y
//
// Sums are exact, so their bits depend on nothing: not on the loop, the team or the order. What follows is the same float arithmetic
// everywhere (i8_round.h).
//
// Codes lie in panels [k words][cols], a word being four neighbours in k, as all loops read them; rows of q lie in whole steps of k. A loop
// that multiplies unsigned by signed bytes wants code + 128, and takes 128 times a row's sum away again.
#ifndef HS_OPS_GEMM_I8_H
#define HS_OPS_GEMM_I8_H
#include "core/cpu/rows.h"
#include "ops/dense/gemm.h"

enum { I8_STEP = 64, I8_ROWS = 32 }; // of k, what rows and panels are filled up to with zeros; rows whose sums are made at once, at most

typedef struct i8_rows { // of x, quantized
    char *q;             // int8, or int16 where the loops want that; rows `ld` bytes apart
    int64_t ld;
    float *scale;
    int32_t *sum; // of a row's q, where the loops want code + 128
} i8_rows;

// What sums are made of: m rows of q, of which `before` and `after` more walk this panel, and a panel; what lies behind it may be asked
// for.
typedef struct i8_sums_in {
    const char *q, *panel;
    int64_t ld, words, m, before, after;
    const int32_t *row_sum;
} i8_sums_in;

// One way to multiply. Panels of `cols` columns; sums[m][cols] of m <= rows rows.
typedef struct i8_loops {
    const char *name;
    int cols, rows;
    bool wide;          // rows of q are int16
    bool offset;        // panels hold code + 128
    bool tiles;         // between gemm_begin and gemm_end
    bool (*runs)(void); // NULL: wherever the tier does
    void (*sums)(int32_t *sums, const i8_sums_in *in);
} i8_loops;
// Of this tier, the slowest first; ends with a name that is NULL. The last that runs is taken, if `only` is NULL: tests name one.
#define i8_loops_list HS_TIERED(hs_i8_loops_list)
extern const i8_loops i8_loops_list[];
#define i8_loops_best HS_TIERED(hs_i8_loops_best)
const i8_loops *i8_loops_best(void);

static inline int64_t i8_whole(int64_t k) { return (k + I8_STEP - 1) / I8_STEP * I8_STEP; }
// An odd number of cache lines, so that rows are of all cache sets.
static inline int64_t i8_ld(const i8_loops *l, int64_t k)
{
    const int64_t bytes = i8_whole(k) << l->wide;
    return bytes / 64 % 2 ? bytes : bytes + 64;
}
static inline int64_t i8_panels(const i8_loops *l, int64_t n) { return (n + l->cols - 1) / l->cols; }
static inline size_t i8_panel_bytes(const i8_loops *l, int64_t k) { return (size_t)(i8_whole(k) * l->cols); }

// Rows [r0, r1) of x; x_scale: of the tensor, NULL: each row has its own. buf: x.cols floats. An x in int8 is taken as it is.
#define i8_quantize HS_TIERED(hs_i8_quantize)
void i8_quantize(const i8_loops *l, const i8_rows *to, const hs_ref *x, int64_t r0, int64_t r1, const float *x_scale, float *buf);

// Panels [p0, p1) of codes [n, k], k a multiple of 4, each i8_panel_bytes behind the other.
#define i8_pack HS_TIERED(hs_i8_pack)
void i8_pack(const i8_loops *l, char *panels, const int8_t *codes, int64_t n, int64_t k, int64_t p0, int64_t p1);

typedef struct i8_product {
    const i8_loops *loops;
    int64_t m, n, k; // m: rows that walk a panel, by whomever
    i8_rows x;
    const int8_t *codes; // [n, k]
    const char *packed;  // all panels of them, or NULL: packed here, one by one
    const float *scales, *bias;
    int32_t act;          // hs_i8_act
    const float *y_scale; // of a y in int8
    hs_ref y;
    char *own; // i8_own_bytes
} i8_product;
#define i8_own_bytes HS_TIERED(hs_i8_own_bytes)
size_t i8_own_bytes(const i8_loops *l, int64_t k);
// Rows [r0, r1) of y, of panels [p0, p1).
#define i8_run HS_TIERED(hs_i8_run)
void i8_run(const i8_product *g, int64_t r0, int64_t r1, int64_t p0, int64_t p1);

#endif
