// Rows to int8, codes to panels, and the way from sums to y. The loops are in gemm_i8_loops.h.
#include "ops/quant/gemm_i8.h"
#include "ops/quant/i8_round.h"
#include "ops/quant/gemm_i8_loops.h"

const i8_loops *i8_loops_best(void)
{
    const i8_loops *best = i8_loops_list;
    for (const i8_loops *l = i8_loops_list; l->name; l++)
        if (!l->runs || l->runs())
            best = l;
    return best;
}

// ---- rows of x

static uint32_t largest(const float *v, int64_t n)
{
    uint32_t most = 0;
    HS_SIMD_MAX(most)
    for (int64_t c = 0; c < n; c++) {
        const uint32_t u = hs_f32_bits(v[c]) & 0x7FFFFFFFu;
        most = u > most ? u : most;
    }
    return most;
}

static int32_t round_row(int8_t *restrict q, const float *restrict v, int64_t n, float inverse)
{
    uint32_t sum = 0;
    HS_SIMD_SUM(sum)
    for (int64_t c = 0; c < n; c++) {
        const int32_t x = i8_round(v[c], inverse);
        q[c] = (int8_t)x;
        sum += (uint32_t)x;
    }
    return (int32_t)sum;
}
static int32_t round_row_wide(int16_t *restrict q, const float *restrict v, int64_t n, float inverse)
{
    uint32_t sum = 0;
    HS_SIMD_SUM(sum)
    for (int64_t c = 0; c < n; c++) {
        const int32_t x = i8_round(v[c], inverse);
        q[c] = (int16_t)x;
        sum += (uint32_t)x;
    }
    return (int32_t)sum;
}

void i8_quantize(const i8_loops *l, const i8_rows *to, const hs_ref *x, int64_t r0, int64_t r1, const float *x_scale, float *buf)
{
    const int64_t k = x->cols, bytes = k << l->wide, all = i8_whole(k) << l->wide;
    for (int64_t r = r0; r < r1; r++) {
        const float *v = hs_row_load(x, r, buf);
        const uint32_t most = largest(v, k);
        const float scale = x_scale ? i8_static_scale(*x_scale, most) : i8_row_scale(most), inverse = i8_inverse(scale);
        char *q = to->q + r * to->ld;
        to->scale[r] = scale;
        to->sum[r] = l->wide ? round_row_wide((int16_t *)q, v, k, inverse) : round_row((int8_t *)q, v, k, inverse);
        memset(q + bytes, 0, (size_t)(all - bytes));
    }
}

// ---- codes

typedef uint32_t __attribute__((may_alias, aligned(1))) word;

static void pack_panel(const i8_loops *l, char *panel, const int8_t *codes, int64_t n, int64_t k)
{
    const int64_t words = k / 4;
    const uint32_t flip = l->offset ? 0x80808080u : 0;
    word *to = (word *)panel;
    memset(panel, l->offset ? 0x80 : 0, i8_panel_bytes(l, k)); // of columns and words that there are not
    for (int64_t w0 = 0; w0 < words; w0 += 16)
        for (int64_t j = 0; j < n; j++) {
            const word *from = (const word *)(codes + j * k);
            for (int64_t w = w0; w < words && w < w0 + 16; w++)
                to[w * l->cols + j] = from[w] ^ flip;
        }
}

void i8_pack(const i8_loops *l, char *panels, const int8_t *codes, int64_t n, int64_t k, int64_t p0, int64_t p1)
{
    for (int64_t p = p0; p < p1; p++) {
        const int64_t j = p * l->cols;
        pack_panel(l, panels + (size_t)(p - p0) * i8_panel_bytes(l, k), codes + j * k, n - j < l->cols ? n - j : l->cols, k);
    }
}

// ---- from sums to y

static inline __attribute__((always_inline)) void scaled(float *restrict y, const int32_t *restrict sum, float scale,
                                                         const float *restrict scales, const float *restrict bias, int64_t n)
{
    if (bias) {
        HS_SIMD
        for (int64_t j = 0; j < n; j++)
            y[j] = i8_plus(i8_scaled(sum[j], scale, scales[j]), bias[j]);
    } else {
        HS_SIMD
        for (int64_t j = 0; j < n; j++)
            y[j] = i8_scaled(sum[j], scale, scales[j]);
    }
}

// Cells of row i from column j on. bf16 by integers: the instruction takes subnormals for 0, and bits would depend on the tier.
static void finish_row(const i8_product *g, const int32_t *sum, int64_t i, int64_t j, int64_t n)
{
    float buf[I8_COLS];
    const int64_t at = i * g->y.cols + j;
    float *y = g->y.dtype == HS_F32 ? (float *)g->y.p + at : buf;
    scaled(y, sum, g->x.scale[i], g->scales + j, g->bias ? g->bias + j : NULL, n);
    uint16_t *low = (uint16_t *)g->y.p + at;
    if (g->y.dtype == HS_BF16) {
        HS_SIMD
        for (int64_t c = 0; c < n; c++)
            low[c] = hs_f32_bf16(buf[c]);
    } else if (g->y.dtype == HS_F16)
        hs_store_f16(low, buf, n);
}

size_t i8_own_bytes(const i8_loops *l, int64_t k)
{
    return (i8_panel_bytes(l, k) + 63) / 64 * 64 + (size_t)(I8_ROWS * l->cols) * sizeof(int32_t);
}

void i8_run(const i8_product *g, int64_t r0, int64_t r1, int64_t p0, int64_t p1)
{
    const i8_loops *l = g->loops;
    const size_t bytes = i8_panel_bytes(l, g->k);
    const int64_t words = i8_whole(g->k) / 4;
    int32_t *sums = (int32_t *)g->own;
    char *own = g->own + (size_t)(I8_ROWS * l->cols) * sizeof *sums;
    if (l->tiles)
        gemm_begin(true);
    for (int64_t p = p0; p < p1 && r0 < r1; p++) {
        const int64_t j = p * l->cols, n = g->n - j < l->cols ? g->n - j : l->cols;
        const char *panel = g->packed ? g->packed + (size_t)p * bytes : own;
        if (!g->packed)
            i8_pack(l, own, g->codes, g->n, g->k, p, p + 1);
        for (int64_t i = r0; i < r1; i += l->rows) {
            const int64_t m = r1 - i < l->rows ? r1 - i : l->rows;
            l->sums(sums, g->x.q + i * g->x.ld, g->x.ld, g->x.sum + i, panel, words, m);
            for (int64_t r = 0; r < m; r++)
                finish_row(g, sums + r * l->cols, i + r, j, n);
        }
    }
    if (l->tiles)
        gemm_end(true);
}
