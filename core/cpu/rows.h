// rows: the few helpers that keep row-wise kernels short. Header-only, so that every ISA tier compiles its own.
#ifndef HS_CORE_ROWS_H
#define HS_CORE_ROWS_H
#include "core/cpu/lane.h"
#include <math.h>

static inline char *hs_thread_scratch(const hs_args *a, const hs_lane *lane)
{
    return a->thread_scratch + (size_t)lane->id * a->thread_bytes;
}

#define HS_SIMD             _Pragma("omp simd")
#define HS_SIMD_SUM(...)    HS_SIMD_PRAGMA(omp simd reduction(+ : __VA_ARGS__))
#define HS_SIMD_MAX(...)    HS_SIMD_PRAGMA(omp simd reduction(max : __VA_ARGS__))
#define HS_SIMD_PRAGMA(...) _Pragma(#__VA_ARGS__)

// Narrow types <-> f32 for n values, by hardware where the tier has it: narrow.c, once per tier. Calls, for inlined into every op they were
// a third of the time that the kernels take to compile.
#define hs_load_f16   HS_TIERED(hs_load_f16)
#define hs_store_f16  HS_TIERED(hs_store_f16)
#define hs_load_bf16  HS_TIERED(hs_load_bf16)
#define hs_store_bf16 HS_TIERED(hs_store_bf16)
#define hs_store_low  HS_TIERED(hs_store_low)
void hs_load_f16(float *restrict dst, const uint16_t *restrict src, int64_t n);
void hs_store_f16(uint16_t *restrict dst, const float *restrict src, int64_t n);
void hs_load_bf16(float *restrict dst, const uint16_t *restrict src, int64_t n);
void hs_store_bf16(uint16_t *restrict dst, const float *restrict src, int64_t n);
void hs_store_low(const hs_ref *r, int64_t first, int64_t n, const float *y); // hs_store, to bf16 or f16

// Cells [first, first + n) of an operand as f32: its own bytes if it is f32, else converted into buf[n].
static inline const float *hs_load(const hs_ref *r, int64_t first, int64_t n, float *buf)
{
    const char *p = r->p + (size_t)first * hs_dtype_bytes(r->dtype);
    if (r->dtype == HS_F32)
        return (const float *)p;
    if (r->dtype == HS_BF16)
        hs_load_bf16(buf, (const uint16_t *)p, n);
    else
        hs_load_f16(buf, (const uint16_t *)p, n);
    return buf;
}
// Where to compute cells [first, ...) that hs_store will store: in place if they are f32 and not added to, else buf.
static inline float *hs_dest(const hs_ref *r, int64_t first, float *buf)
{
    return r->dtype == HS_F32 && !r->add ? (float *)r->p + first : buf;
}
// Cells [first, first + n) = y, or += y where r->add. Nothing to do where y came from hs_dest and is in place.
static inline void hs_store(const hs_ref *r, int64_t first, int64_t n, const float *y)
{
    if (r->dtype == HS_F32) {
        float *p = (float *)r->p + first;
        if (r->add) {
            HS_SIMD
            for (int64_t i = 0; i < n; i++)
                p[i] += y[i];
        } else if (p != y)
            memcpy(p, y, (size_t)n * sizeof(float));
        return;
    }
    hs_store_low(r, first, n, y);
}
// Row n of an operand: the same three.
static inline const float *hs_row_load(const hs_ref *r, int64_t n, float *buf) { return hs_load(r, n * r->cols, r->cols, buf); }
static inline float *hs_row_dest(const hs_ref *r, int64_t n, float *buf) { return hs_dest(r, n * r->cols, buf); }
static inline void hs_row_store(const hs_ref *r, int64_t n, const float *y) { hs_store(r, n * r->cols, r->cols, y); }

// f32 rows of `cols` in this member's scratch, for rows that may not fit the stack; each starts a cache line.
static inline size_t hs_row_bytes(int64_t cols) { return ((size_t)cols * sizeof(float) + 63) / 64 * 64; }
static inline float *hs_row_buffer(const hs_args *a, const hs_lane *lane, int which, int64_t cols)
{
    return (float *)(hs_thread_scratch(a, lane) + (size_t)which * hs_row_bytes(cols));
}

static inline float hs_sum(const float *x, int64_t n)
{
    float sum = 0;
    HS_SIMD_SUM(sum)
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}
static inline float hs_sum_sq_diff(const float *x, float mean, int64_t n)
{
    float sum = 0;
    HS_SIMD_SUM(sum)
    for (int64_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}
// The largest of n values, at least `least`. A NaN is passed over: sums that follow bring it back.
static inline float hs_max(const float *x, int64_t n, float least)
{
    float m = least;
    HS_SIMD_MAX(m)
    for (int64_t i = 0; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

static inline const float *hs_f32(const hs_args *a, int i) { return (const float *)a->in[i].p; }
static inline const int32_t *hs_i32(const hs_args *a, int i) { return (const int32_t *)a->in[i].p; }
static inline float *hs_f32_out(const hs_args *a, int i) { return (float *)a->out[i].p; }
static inline const double *hs_f64(const hs_args *a, int i) { return (const double *)a->in[i].p; } // for ref()
static inline double *hs_f64_out(const hs_args *a, int i) { return (double *)a->out[i].p; }
static inline bool hs_wanted(const hs_args *a, int i) { return a->din[i].p != NULL; }

// for (n over this member's live rows of operand `ref`)
#define hs_for_rows(n, a, ref, lane) for (int64_t n##_end_, n = hs_rows_begin(a, ref, lane, &n##_end_); n < n##_end_; n++)
static inline int64_t hs_rows_begin(const hs_args *a, const hs_ref *r, const hs_lane *lane, int64_t *end)
{
    int64_t r0;
    hs_part(lane, hs_ref_rows(a, r), &r0, end);
    return r0;
}

// for (cells [i, i + k) over this member's live rows of operand `ref`): for ops on single values, whatever the shape. A block
// of HS_BLOCK fits the stack and the first-level cache.
enum { HS_BLOCK = 1024 };
#define hs_for_blocks(i, k, a, ref, lane)                                                                                                  \
    for (int64_t i##_end_, i = hs_cells_begin(a, ref, lane, &i##_end_), k;                                                                 \
         k = i##_end_ - i < HS_BLOCK ? i##_end_ - i : HS_BLOCK, i < i##_end_; i += k)
static inline int64_t hs_cells_begin(const hs_args *a, const hs_ref *r, const hs_lane *lane, int64_t *end)
{
    int64_t r0, r1;
    hs_part(lane, hs_ref_rows(a, r), &r0, &r1);
    *end = r1 * r->cols;
    return r0 * r->cols;
}

// for (cells [i, i + width) over this member's live rows of operand `ref`): for ops along the last dim of any shape.
#define hs_for_lines(i, width, a, ref, lane) for (int64_t i##_end_, i = hs_cells_begin(a, ref, lane, &i##_end_); i < i##_end_; i += (width))

static inline int64_t hs_n_grains(int64_t rows) { return (rows + HS_GRAIN - 1) / HS_GRAIN; }

// Column sums over rows, independent of the number of threads. Shared scratch holds, for each of `n_sums` sums, one f32 row
// [cols] per grain. hs_grain gives the row of n's grain and zeroes it at the grain's first row; after an hs_sync,
// hs_sum_grains adds the grains in order into dst (= or += by dst->add); columns are divided over the team. dst->p NULL: nothing.
static inline size_t hs_grain_bytes(int64_t rows, int64_t cols) { return (size_t)(hs_n_grains(rows) * cols) * sizeof(float); }
static inline float *hs_grain(const hs_args *a, int64_t capacity_rows, int64_t n, int which, int64_t cols)
{
    float *row = (float *)a->scratch + ((int64_t)which * hs_n_grains(capacity_rows) + n / HS_GRAIN) * cols;
    if (n % HS_GRAIN == 0)
        memset(row, 0, (size_t)cols * sizeof(float));
    return row;
}
static inline void hs_sum_grains(const hs_args *a, const hs_lane *lane, int64_t capacity_rows, int64_t live_rows, int which, int64_t cols,
                                 const hs_ref *dst)
{
    if (!dst->p)
        return;
    const float *grain = (const float *)a->scratch + (int64_t)which * hs_n_grains(capacity_rows) * cols;
    float *out = (float *)dst->p;
    int64_t c0, c1;
    hs_part_unit(lane, cols, 16, &c0, &c1);
    if (!dst->add)
        memset(out + c0, 0, (size_t)(c1 - c0) * sizeof(float));
    for (int64_t g = 0; g < hs_n_grains(live_rows); g++) {
        HS_SIMD
        for (int64_t c = c0; c < c1; c++)
            out[c] += grain[g * cols + c];
    }
}

// For shape rules: the same dims and the same live count.
static inline bool hs_same_shape(const hs_tensor *a, const hs_tensor *b)
{
    if (a->n_dims != b->n_dims || a->ext != b->ext)
        return false;
    for (int i = 0; i < a->n_dims; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

// For cost rules: the least bytes a node moves at capacity - each operand once, in backward those it reads and each gradient.
static inline double hs_traffic(const hs_node *n, bool backward)
{
    double bytes = 0;
    for (int i = 0; i < HS_MAX_IN && n->op->in[i].name; i++) {
        const uint16_t flags = n->op->in[i].flags;
        if (!n->in[i])
            continue;
        if (!backward || flags & HS_BWD_READS)
            bytes += (double)hs_tensor_bytes(n->in[i]);
        if (backward && hs_dtype_is_float(n->in[i]->dtype) && !(flags & (HS_NO_GRAD | HS_GRAD_IS_DY)))
            bytes += (double)hs_tensor_bytes(n->in[i]);
    }
    for (int i = 0; i < HS_MAX_OUT && n->op->out[i].name; i++) {
        const uint16_t flags = n->op->out[i].flags;
        if (!backward || flags & (HS_BWD_READS | HS_SAVED))
            bytes += (double)hs_tensor_bytes(n->out[i]);
        if (backward && !(flags & (HS_SAVED | HS_IS_INPUT_0)))
            bytes += (double)hs_tensor_bytes(n->out[i]);
    }
    return bytes;
}

#endif
