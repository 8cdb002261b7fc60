// rows: the few helpers that keep row-wise kernels short. Header-only, so that every ISA tier compiles its own.
#ifndef HS_CORE_ROWS_H
#define HS_CORE_ROWS_H
#include "core/op.h"
#if defined(__F16C__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

// Live rows of an operand in this step.
static inline int64_t hs_ref_rows(const hs_args *a, const hs_ref *r)
{
    if (r->ext == HS_EXT_FIXED)
        return r->rows;
    const int64_t n = a->step->n[r->ext];
    return n < r->rows ? n : r->rows;
}

static inline char *hs_thread_scratch(const hs_args *a, const hs_lane *lane) { return a->thread_scratch + (size_t)lane->id * a->thread_bytes; }

#define HS_SIMD _Pragma("omp simd")
#define HS_SIMD_SUM(...) HS_SIMD_PRAGMA(omp simd reduction(+ : __VA_ARGS__))
#define HS_SIMD_MAX(...) HS_SIMD_PRAGMA(omp simd reduction(max : __VA_ARGS__))
#define HS_SIMD_PRAGMA(...) _Pragma(#__VA_ARGS__)

// f16 <-> f32 for n values, by hardware where the tier has it.
static inline void hs_load_f16(float *dst, const uint16_t *src, int64_t n)
{
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(dst + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(src + i))));
#elif defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + i))));
#endif
    for (; i < n; i++)
        dst[i] = hs_f16_f32(src[i]);
}
static inline void hs_store_f16(uint16_t *dst, const float *src, int64_t n)
{
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(dst + i), _mm512_cvtps_ph(_mm512_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__F16C__)
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(dst + i), _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#endif
    for (; i < n; i++)
        dst[i] = hs_f32_f16(src[i]);
}
static inline void hs_load_bf16(float *restrict dst, const uint16_t *restrict src, int64_t n)
{
    HS_SIMD
    for (int64_t i = 0; i < n; i++)
        dst[i] = hs_bf16_f32(src[i]);
}
static inline void hs_store_bf16(uint16_t *restrict dst, const float *restrict src, int64_t n)
{
    HS_SIMD
    for (int64_t i = 0; i < n; i++)
        dst[i] = hs_f32_bf16(src[i]);
}

// Row n as f32: the row itself if it is f32, else converted into buf[cols].
static inline const float *hs_row_load(const hs_ref *r, int64_t n, float *buf)
{
    const char *p = r->p + (size_t)(n * r->cols) * hs_dtype_bytes(r->dtype);
    if (r->dtype == HS_F32)
        return (const float *)p;
    if (r->dtype == HS_BF16)
        hs_load_bf16(buf, (const uint16_t *)p, r->cols);
    else
        hs_load_f16(buf, (const uint16_t *)p, r->cols);
    return buf;
}
// Row n = y, or += y where r->add. y may be the row itself (f32, no add).
static inline void hs_row_store(const hs_ref *r, int64_t n, const float *y)
{
    const int64_t C = r->cols;
    if (r->dtype == HS_F32) {
        float *p = (float *)r->p + n * C;
        if (r->add) {
            HS_SIMD
            for (int64_t c = 0; c < C; c++)
                p[c] += y[c];
        } else if (p != y)
            memcpy(p, y, (size_t)C * 4);
        return;
    }
    uint16_t *p = (uint16_t *)r->p + n * C;
    if (!r->add) {
        r->dtype == HS_BF16 ? hs_store_bf16(p, y, C) : hs_store_f16(p, y, C);
        return;
    }
    float sum[256];
    for (int64_t c0 = 0; c0 < C; c0 += 256) {
        const int64_t k = C - c0 < 256 ? C - c0 : 256;
        r->dtype == HS_BF16 ? hs_load_bf16(sum, p + c0, k) : hs_load_f16(sum, p + c0, k);
        HS_SIMD
        for (int64_t c = 0; c < k; c++)
            sum[c] += y[c0 + c];
        r->dtype == HS_BF16 ? hs_store_bf16(p + c0, sum, k) : hs_store_f16(p + c0, sum, k);
    }
}

static inline const float *hs_f32(const hs_args *a, int i) { return (const float *)a->in[i].p; }
static inline const int32_t *hs_i32(const hs_args *a, int i) { return (const int32_t *)a->in[i].p; }
static inline float *hs_f32_out(const hs_args *a, int i) { return (float *)a->out[i].p; }
static inline const double *hs_f64(const hs_args *a, int i) { return (const double *)a->in[i].p; } // for ref()
static inline double *hs_f64_out(const hs_args *a, int i) { return (double *)a->out[i].p; }
static inline bool hs_wanted(const hs_args *a, int i) { return a->din[i].p != NULL; }

// for (n over this member's live rows of operand `ref`)
#define hs_for_rows(n, a, ref, lane)                                                                                       \
    for (int64_t n##_end_, n = hs_rows_begin(a, ref, lane, &n##_end_); n < n##_end_; n++)
static inline int64_t hs_rows_begin(const hs_args *a, const hs_ref *r, const hs_lane *lane, int64_t *end)
{
    int64_t r0;
    hs_part(lane, hs_ref_rows(a, r), &r0, end);
    return r0;
}

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
static inline void hs_sum_grains(const hs_args *a, const hs_lane *lane, int64_t capacity_rows, int64_t live_rows, int which, int64_t cols, const hs_ref *dst)
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

#endif
