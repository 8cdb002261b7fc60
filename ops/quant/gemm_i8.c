// Rows to int8, codes to panels, and the way from sums to y. The loops are in gemm_i8_loops.h.
#include "ops/quant/gemm_i8.h"
#include "ops/quant/gemm_i8_loops.h"
#include "ops/quant/i8_round.h"
#include "ops/rows/gelu_math.h"

const i8_loops *i8_loops_best(void)
{
    const i8_loops *best = i8_loops_list;
    for (const i8_loops *l = i8_loops_list; l->name; l++)
        if (!l->runs || l->runs())
            best = l;
    return best;
}

// ---- rows of x

// The largest magnitude of a row, by its bits; where it is no f32 the row goes to buf on the way.
static uint32_t largest(const hs_ref *x, int64_t r, float *restrict buf, const float **row)
{
    const int64_t n = x->cols;
    uint32_t most = 0;
    if (x->dtype == HS_BF16) {
        const uint16_t *restrict v = (const uint16_t *)x->p + r * n;
        HS_SIMD_MAX(most)
        for (int64_t c = 0; c < n; c++) {
            const uint32_t u = (uint32_t)v[c] << 16, size = u & 0x7FFFFFFFu;
            buf[c] = hs_bits_f32(u);
            most = size > most ? size : most;
        }
        *row = buf;
        return most;
    }
    const float *v = *row = hs_row_load(x, r, buf);
    HS_SIMD_MAX(most)
    for (int64_t c = 0; c < n; c++) {
        const uint32_t size = hs_f32_bits(v[c]) & 0x7FFFFFFFu;
        most = size > most ? size : most;
    }
    return most;
}

#if defined(__AVX512F__)
// i8_round of 64 values, of which mask says which are there: the conversion rounds to nearest, ties to even.
static inline __attribute__((always_inline)) __m512i round_64(const float *v, __m512 inverse, __mmask64 mask, const bool clamps)
{
    __m512i q[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512 x = _mm512_mul_ps(_mm512_maskz_loadu_ps((__mmask16)(mask >> 16 * i), v + 16 * i), inverse);
        if (clamps)
            x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-I8_MOST)), _mm512_set1_ps(I8_MOST));
        q[i] = _mm512_cvtps_epi32(x);
    }
    const __m512i turn = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15); // packs go by quarters of a vector
    return _mm512_permutexvar_epi32(turn, _mm512_packs_epi16(_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3])));
}
static inline __attribute__((always_inline)) int32_t round_row_of(int8_t *q, const float *v, int64_t n, float inverse, const bool clamps,
                                                                  const bool sums)
{
    const __m512 by = _mm512_set1_ps(inverse);
    __m512i sum = _mm512_setzero_si512();
    for (int64_t c = 0; c < n; c += 64) {
        const __mmask64 mask = n - c >= 64 ? ~0ull : (1ull << (n - c)) - 1;
        const __m512i b = round_64(v + c, by, mask, clamps);
        _mm512_mask_storeu_epi8(q + c, mask, b);
        if (sums) { // of bytes as unsigned ones, 128 too much each
            const __m512i up = _mm512_xor_si512(b, _mm512_set1_epi8(-128));
            sum = _mm512_add_epi64(sum, _mm512_sad_epu8(up, _mm512_setzero_si512()));
        }
    }
    return sums ? (int32_t)(_mm512_reduce_add_epi64(sum) - (n + 63) / 64 * 64 * 128) : 0;
}
// A row's own scale takes its largest value to 127, so that nothing has to be clamped.
static int32_t round_row(int8_t *q, const float *v, int64_t n, float inverse, bool clamps, bool sums)
{
    if (clamps)
        return sums ? round_row_of(q, v, n, inverse, true, true) : round_row_of(q, v, n, inverse, true, false);
    return sums ? round_row_of(q, v, n, inverse, false, true) : round_row_of(q, v, n, inverse, false, false);
}
#else
static int32_t round_row(int8_t *restrict q, const float *restrict v, int64_t n, float inverse, bool clamps, bool sums)
{
    uint32_t sum = 0;
    (void)clamps, (void)sums;
    HS_SIMD_SUM(sum)
    for (int64_t c = 0; c < n; c++) {
        const int32_t x = i8_round(v[c], inverse);
        q[c] = (int8_t)x;
        sum += (uint32_t)x;
    }
    return (int32_t)sum;
}
#endif
static void round_row_wide(int16_t *restrict q, const float *restrict v, int64_t n, float inverse)
{
    HS_SIMD
    for (int64_t c = 0; c < n; c++)
        q[c] = (int16_t)i8_round(v[c], inverse);
}

// A row that is int8 already; its scale is NaN where a value is missing.
static void take_row(const i8_loops *l, const i8_rows *to, int64_t r, const int8_t *restrict v, int64_t n, float scale)
{
    int8_t *q = (int8_t *)(to->q + r * to->ld);
    int16_t *restrict wide = (int16_t *)(to->q + r * to->ld);
    int32_t sum = 0, least = 0;
    for (int64_t c = 0; c < n; c++)
        sum += v[c], least = v[c] < least ? v[c] : least;
    for (int64_t c = 0; c < n && l->wide; c++)
        wide[c] = v[c];
    if (!l->wide)
        memcpy(q, v, (size_t)n);
    to->sum[r] = sum, to->scale[r] = least == I8_NONE ? hs_bits_f32(I8_NOT_A_NUM) : scale;
}

void i8_quantize(const i8_loops *l, const i8_rows *to, const hs_ref *x, int64_t r0, int64_t r1, const float *x_scale, float *buf)
{
    const int64_t k = x->cols, bytes = k << l->wide, all = i8_whole(k) << l->wide;
    for (int64_t r = r0; r < r1; r++) {
        const float *v;
        char *q = to->q + r * to->ld;
        memset(q + bytes, 0, (size_t)(all - bytes));
        if (x->dtype == HS_I8) {
            take_row(l, to, r, (const int8_t *)x->p + r * k, k, i8_static_scale(*x_scale, 0));
            continue;
        }
        const uint32_t most = largest(x, r, buf, &v);
        const float scale = x_scale ? i8_static_scale(*x_scale, most) : i8_row_scale(most), inverse = i8_inverse(scale);
        to->scale[r] = scale;
        if (l->wide)
            round_row_wide((int16_t *)q, v, k, inverse);
        else
            to->sum[r] = round_row((int8_t *)q, v, k, inverse, x_scale != NULL, l->offset);
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
                                                         const float *restrict scales, const float *restrict bias, const int64_t n)
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

// As hs_f32_bf16. The instruction takes subnormals for 0, and bits would depend on the tier.
static inline __attribute__((always_inline)) void store_bf16(uint16_t *restrict low, const float *restrict v, const int64_t n)
{
#if defined(__AVX512BF16__)
    enum { SUBNORMAL = 0x20 };
    if (n % 16 == 0) {
        __mmask16 small = 0;
        for (int64_t c = 0; c < n; c += 16) {
            const __m512 x = _mm512_loadu_ps(v + c);
            small |= _mm512_fpclass_ps_mask(x, SUBNORMAL);
            _mm256_storeu_si256((__m256i *)(low + c), (__m256i)_mm512_cvtneps_pbh(x));
        }
        if (__builtin_expect(small == 0, 1))
            return;
    }
#endif
    HS_SIMD
    for (int64_t c = 0; c < n; c++)
        low[c] = hs_f32_bf16(v[c]);
}

static inline __attribute__((always_inline)) void code_cells(int8_t *restrict q, const float *restrict v, float inverse, const int64_t n)
{
    HS_SIMD
    for (int64_t c = 0; c < n; c++)
        q[c] = (int8_t)i8_code(v[c], inverse);
}

enum { MOST_COLS = 64 }; // of a panel
_Static_assert((int)I8_COLS <= (int)MOST_COLS, "a row of a panel's sums");

// Cells of row i from column j on.
static inline __attribute__((always_inline)) void finish_cells(const i8_product *g, const int32_t *sum, int64_t i, int64_t j,
                                                               const int64_t n)
{
    float buf[MOST_COLS];
    const int64_t at = i * g->y.cols + j;
    uint16_t *low = (uint16_t *)g->y.p + at;
    float *y = g->y.dtype == HS_F32 ? (float *)g->y.p + at : buf;
    scaled(y, sum, g->x.scale[i], g->scales + j, g->bias ? g->bias + j : NULL, n);
    if (g->act)
        gelu_cells(y, y, n, g->act == HS_I8_GELU_TANH ? HS_GELU_TANH : HS_GELU_ERF);
    if (g->y.dtype == HS_I8)
        code_cells((int8_t *)g->y.p + at, buf, i8_inverse(i8_static_scale(*g->y_scale, 0)), n);
    else if (g->y.dtype == HS_BF16)
        store_bf16(low, buf, n);
    else if (g->y.dtype == HS_F16)
        hs_store_f16(low, buf, n);
}

// A block of sums and how far its rows are done.
typedef struct block {
    const int32_t *sums;
    int64_t i, j, m, n, done;
} block;

static void finish(const i8_product *g, block *b, const int64_t cols, int64_t rows)
{
    for (; rows > 0 && b->done < b->m; rows--, b->done++) {
        const int32_t *sum = b->sums + b->done * cols;
        if (b->n == cols)
            finish_cells(g, sum, b->i + b->done, b->j, cols);
        else
            finish_cells(g, sum, b->i + b->done, b->j, b->n);
    }
}

// Rows of y before their sums are made: a store that waits for its line keeps back all that follow (1024 x 768 x 3072 by
// tiles, on two threads of a Xeon: 2.6 ms, with this 1.4).
static inline __attribute__((always_inline)) void ask_for_rows(const char *y, int64_t ld, int64_t rows, int64_t bytes)
{
    for (int64_t r = 0; r < rows; r++, y += ld) {
        __builtin_prefetch(y, 1);
        if (bytes > 64)
            __builtin_prefetch(y + 64, 1);
        if (bytes > 128) {
            __builtin_prefetch(y + 128, 1);
            __builtin_prefetch(y + 192, 1);
        }
    }
}

size_t i8_own_bytes(const i8_loops *l, int64_t k)
{
    return (i8_panel_bytes(l, k) + 63) / 64 * 64 + 2 * (size_t)(I8_ROWS * l->cols) * sizeof(int32_t);
}

#if defined(__AMX_INT8__)
// The sums of 32 x 32 are made floats while the tiles multiply on: two buffers take turns.
static void tiles_of_panel(const i8_product *g, const char *panel, int64_t j, int64_t n, int64_t r0, int64_t r1, block *before)
{
    int32_t *const sums = (int32_t *)g->own;
    const int64_t steps = i8_whole(g->k) / I8_STEP, each = (I8_ROWS + steps - 1) / steps, blocks = (r1 - r0 + I8_ROWS - 1) / I8_ROWS;
    const int64_t asks = (I8_STEP * TILE_COLS / 64 + blocks - 1) / blocks; // lines of the next panel in each step
    const char *next = panel + steps * I8_STEP * TILE_COLS;
    const int64_t element = (int64_t)hs_dtype_bytes(g->y.dtype), ld_y = g->y.cols * element;
    const char *y = (const char *)g->y.p + j * element;
    for (int64_t i = r0; i < r1; i += I8_ROWS) {
        int32_t *to = before->sums == sums ? sums + I8_ROWS * TILE_COLS : sums;
        const block b = { to, i, j, r1 - i < I8_ROWS ? r1 - i : I8_ROWS, n, 0 };
        tiles_zero();
        for (int64_t s = 0; s < steps; s++) {
            const char *q = g->x.q + i * g->x.ld + s * I8_STEP, *codes = panel + s * I8_STEP * TILE_COLS;
            b.m > 16 ? tiles_multiply(2, q, g->x.ld, codes) : tiles_multiply(1, q, g->x.ld, codes);
            for (int64_t a = 0; a < asks; a++, next += 64)
                __builtin_prefetch(next, 0, 2);
            const int64_t row = s * each, rows = b.m - row < each ? b.m - row : each;
            ask_for_rows(y + (i + row) * ld_y, ld_y, rows, n * element);
            finish(g, before, TILE_COLS, each);
        }
        tiles_store(to, b.m > 16 ? 2 : 1);
        finish(g, before, TILE_COLS, I8_ROWS);
        *before = b;
    }
}
#endif

void i8_run(const i8_product *g, int64_t r0, int64_t r1, int64_t p0, int64_t p1)
{
    const i8_loops *l = g->loops;
    const size_t bytes = i8_panel_bytes(l, g->k);
    int32_t *sums = (int32_t *)g->own;
    char *own = g->own + 2 * (size_t)(I8_ROWS * l->cols) * sizeof *sums;
    const int64_t element = (int64_t)hs_dtype_bytes(g->y.dtype), ld_y = g->y.cols * element;
    block b = { 0 };
    if (l->tiles)
        gemm_begin(true);
    for (int64_t p = p0; p < p1 && r0 < r1; p++) {
        const int64_t j = p * l->cols, n = g->n - j < l->cols ? g->n - j : l->cols;
        const char *panel = g->packed ? g->packed + (size_t)p * bytes : own;
        if (!g->packed)
            i8_pack(l, own, g->codes, g->n, g->k, p, p + 1);
#if defined(__AMX_INT8__)
        if (l->tiles) {
            tiles_of_panel(g, panel, j, n, r0, r1, &b);
            continue;
        }
#endif
        for (int64_t i = r0; i < r1; i += l->rows) {
            b = (block){ sums, i, j, r1 - i < l->rows ? r1 - i : l->rows, n, 0 };
            ask_for_rows((const char *)g->y.p + i * ld_y + j * element, ld_y, b.m, n * element);
            l->sums(sums, &(i8_sums_in){ .q = g->x.q + i * g->x.ld,
                                         .panel = panel,
                                         .ld = g->x.ld,
                                         .words = i8_whole(g->k) / 4,
                                         .m = b.m,
                                         .before = i,
                                         .after = g->m - i - b.m,
                                         .row_sum = g->x.sum + i });
            finish(g, &b, I8_COLS, b.m);
        }
    }
#if defined(__AMX_INT8__)
    if (l->tiles)
        finish(g, &b, TILE_COLS, I8_ROWS);
#endif
    if (l->tiles)
        gemm_end(true);
}
