// Packing for gemm.c: operands of any float type and orientation become panels of words.
#include "ops/dense/gemm.h"
#include "ops/dense/gemm_transpose.h"

enum { CHUNK = 128, WIDE_PIECE = 64 }; // elements converted at a time; of a row that goes to several panels

static inline int64_t element_bytes(const gemm_in *s) { return s->dtype == HS_F32 ? 4 : 2; }

// n elements at (row, col) of what is stored, as f32 or (dot) bf16: in place, or converted into tmp.
static inline const void *elements(const gemm_in *s, int64_t row, int64_t col, int64_t n, bool dot, void *tmp)
{
    const char *p = (const char *)s->p + (row * s->ld + col) * element_bytes(s);
    if (s->dtype == (dot ? HS_BF16 : HS_F32))
        return p;
    if (dot)
        hs_store_bf16((uint16_t *)tmp, (const float *)p, n);
    else if (s->dtype == HS_BF16)
        hs_load_bf16((float *)tmp, (const uint16_t *)p, n);
    else
        hs_load_f16((float *)tmp, (const uint16_t *)p, n);
    return tmp;
}

// ---- k-major sources: one row of the source is one k

// dst[j] = { even[j], odd[j] } for j < n, n <= width; the rest zero.
static inline void interleave(gemm_word *dst, const uint16_t *even, const uint16_t *odd, int64_t n, int64_t width)
{
#if defined(__AVX512F__)
    const __m512i lo = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34,
                                        2, 33, 1, 32, 0);
    for (int64_t j = 0; j < width; j += 16) {
        const int64_t left = n - j;
        const __mmask16 mask = left >= 16 ? 0xFFFF : left <= 0 ? 0 : (__mmask16)((1u << left) - 1);
        const __m256i e = _mm256_maskz_loadu_epi16(mask, even + j);
        const __m256i o = odd ? _mm256_maskz_loadu_epi16(mask, odd + j) : _mm256_setzero_si256();
        _mm512_storeu_si512(dst + j, _mm512_permutex2var_epi16(_mm512_castsi256_si512(e), lo, _mm512_castsi256_si512(o)));
    }
#else
    for (int64_t j = 0; j < width; j++)
        dst[j] = j < n ? even[j] | (odd ? (uint32_t)odd[j] << 16 : 0u) : 0u;
#endif
}

// The same for one panel of A, GEMM_MR (6 with AVX-512) wide; `before` columns lie left of it in the rows. Plain loads of 8
// columns where there are 8, from 2 columns earlier at the right edge: a masked load would wait for the cache line behind it.
static inline void interleave_narrow(gemm_word *dst, const uint16_t *even, const uint16_t *odd, int64_t n, int64_t before)
{
#if defined(__AVX512F__)
    const __m256i order = _mm256_set_epi16(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m256i order_2 = _mm256_set_epi16(23, 7, 22, 6, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2);
    __m128i e, o = _mm_setzero_si128();
    const bool early = n == GEMM_MR && before >= 2;
    if (n >= 8 || early) {
        const int64_t at = early ? -2 : 0;
        e = _mm_loadu_si128((const __m128i *)(even + at));
        o = odd ? _mm_loadu_si128((const __m128i *)(odd + at)) : o;
    } else {
        const __mmask8 mask = (__mmask8)((1u << n) - 1);
        e = _mm_maskz_loadu_epi16(mask, even);
        o = odd ? _mm_maskz_loadu_epi16(mask, odd) : o;
    }
    const __m256i words = _mm256_permutex2var_epi16(_mm256_castsi128_si256(e), early ? order_2 : order, _mm256_castsi128_si256(o));
    _mm_storeu_si128((__m128i *)dst, _mm256_castsi256_si128(words));
    _mm_storel_epi64((__m128i *)(dst + 4), _mm256_extracti128_si256(words, 1));
#else
    (void)before;
    interleave(dst, even, odd, n, GEMM_MR);
#endif
}

static inline void copy_words(gemm_word *dst, const float *src, int64_t n, const int64_t width)
{
    if (n >= width) {
        memcpy(dst, src, (size_t)width * 4);
        return;
    }
    memcpy(dst, src, (size_t)n * 4);
    memset(dst + n, 0, (size_t)(width - n) * 4);
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// A stripe of a wide matrix is a few cache lines of each row, rows pages apart: no hardware prefetcher sees that.
static inline void prefetch_row(const gemm_in *s, int64_t row, int64_t j0, int64_t n)
{
    const char *p = (const char *)s->p + (row * s->ld + j0) * element_bytes(s);
    for (int64_t c = 0; c < n * element_bytes(s); c += 64)
        __builtin_prefetch(p + c);
}

// One word of k: row `even` (and `odd`, NULL at an odd end) of the source into panels `width` wide, `step` apart.
static inline __attribute__((always_inline)) void spread(gemm_word *dst, int64_t step, const uint16_t *even, const uint16_t *odd, int64_t n,
                                                         const int64_t width)
{
    for (int64_t j = 0; j < n; j += width, dst += step)
        if (width == GEMM_MR)
            interleave_narrow(dst, even + j, odd ? odd + j : NULL, n - j, j);
        else
            interleave(dst, even + j, odd ? odd + j : NULL, n - j, width);
}

// Columns [j0, j0 + n), n <= CHUNK, of k-major `s` into panels `width` wide.
static inline __attribute__((always_inline)) void pack_k_major(gemm_word *panel, const gemm_in *s, int64_t k0, int64_t k, int64_t j0,
                                                               int64_t n, bool dot, const int64_t width)
{
    enum { WIDE = 1024 };
    float tmp[2][CHUNK];
    const int64_t kw = gemm_words(k, dot), step = width == GEMM_MR ? gemm_tile_words(kw) : kw * width, rows = dot ? 2 : 1;
    const bool strip = width == GEMM_NR && n > width; // lines of one row: fewer rows are as many
    const int64_t ahead = strip ? 8 : 16, fetch = s->ld * element_bytes(s) >= WIDE ? k - ahead - rows : -1; // of rows that end before this
    for (int64_t w = 0; w < kw; w++, panel += width) {
        for (int64_t r = 0; r < rows && w * rows < fetch; r++)
            prefetch_row(s, k0 + w * rows + ahead + r, j0, n);
        if (!dot) {
            const float *row = (const float *)elements(s, k0 + w, j0, n, dot, tmp[0]);
            for (int64_t j = 0; j < n; j += width)
                copy_words(panel + j / width * step, row + j, n - j, width);
            continue;
        }
        const uint16_t *even = (const uint16_t *)elements(s, k0 + 2 * w, j0, n, dot, tmp[0]);
        if (2 * w + 1 < k)
            spread(panel, step, even, (const uint16_t *)elements(s, k0 + 2 * w + 1, j0, n, dot, tmp[1]), n, width);
        else
            spread(panel, step, even, NULL, n, width);
    }
}

// ---- sources in which k is contiguous: a panel is their transpose, word by word

#if defined(__AVX2__)
// In each half of the registers: t[c] lane r = t[r] lane c
static inline void transpose4(__m256 t[4])
{
    const __m256 lo = _mm256_unpacklo_ps(t[0], t[1]), hi = _mm256_unpackhi_ps(t[0], t[1]);
    const __m256 lo2 = _mm256_unpacklo_ps(t[2], t[3]), hi2 = _mm256_unpackhi_ps(t[2], t[3]);
    t[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(lo), _mm256_castps_pd(lo2)));
    t[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(lo), _mm256_castps_pd(lo2)));
    t[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(hi), _mm256_castps_pd(hi2)));
    t[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(hi), _mm256_castps_pd(hi2)));
}

// k words of six rows into a panel [k][6]: four rows by quarters of 4 x 4 words, the other two by pairs.
static inline void transpose_6_rows(gemm_word *panel, const float *const row[6], int64_t k)
{
    int64_t w = 0;
    for (; w + 8 <= k; w += 8, panel += 8 * 6) {
        __m256 t[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            t[i] = _mm256_loadu_ps(row[i] + w);
        transpose4(t);
        const __m256 a = _mm256_loadu_ps(row[4] + w), b = _mm256_loadu_ps(row[5] + w);
        const __m256 pair[2] = { _mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b) };
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            _mm_storeu_ps((float *)panel + c * 6, _mm256_castps256_ps128(t[c]));
            _mm_storeu_ps((float *)panel + (c + 4) * 6, _mm256_extractf128_ps(t[c], 1));
        }
#pragma GCC unroll 2
        for (int c = 0; c < 2; c++) {
            const __m128 lo = _mm256_castps256_ps128(pair[c]), hi = _mm256_extractf128_ps(pair[c], 1);
            _mm_storel_pi((__m64 *)(panel + 2 * c * 6 + 4), lo), _mm_storeh_pi((__m64 *)(panel + (2 * c + 1) * 6 + 4), lo);
            _mm_storel_pi((__m64 *)(panel + (2 * c + 4) * 6 + 4), hi), _mm_storeh_pi((__m64 *)(panel + (2 * c + 5) * 6 + 4), hi);
        }
    }
    for (; w < k; w++, panel += 6)
        for (int i = 0; i < 6; i++)
            memcpy(panel + i, row[i] + w, 4);
}
#endif

#if GEMM_ROWS_TO_PANELS
// Rows [j0, j0 + n), n <= 16, of any type into a panel [k][16] of f32. 2 to 8 % of a product of 1,024 rows goes if this is done word by
// word.
static inline void transpose_16_rows(gemm_word *panel, const gemm_in *s, int64_t k0, int64_t k, int64_t j0, int64_t n)
{
    static const float zero[CHUNK];
    float tmp[16][CHUNK];
    for (int64_t c = 0; c < k; c += CHUNK) {
        const int64_t left = least(CHUNK, k - c);
        const float *row[16];
        for (int r = 0; r < 16; r++)
            row[r] = r < n ? elements(s, j0 + r, k0 + c, left, false, tmp[r]) : zero;
        const char *const ahead = (const char *)s->p + ((j0 + 16) * s->ld + k0 + c) * element_bytes(s); // the next panel's rows
        int64_t w = 0;
        for (; w + 8 <= left; w += 8, panel += 8 * 16) {
            for (int at = 0; at < 16; at += 4) { // rows r to r + 7, words h to h + 3
                const int r = at & 8, h = at & 4;
                __m256 t[4];
                for (int i = 0; i < 2; i++) // more streams than hardware follows; half of them with each 8 words
                    __builtin_prefetch(ahead + (((w & 8) + at / 2 + i) * s->ld + w) * element_bytes(s));
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++)
                    t[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[r + i] + w + h)),
                                                _mm_loadu_ps(row[r + 4 + i] + w + h), 1);
                transpose4(t);
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++)
                    _mm256_storeu_ps((float *)panel + (h + i) * 16 + r, t[i]);
            }
        }
        for (; w < left; w++, panel += 16)
            for (int r = 0; r < 16; r++)
                memcpy(panel + r, row[r] + w, 4);
    }
}
#endif

// Up to CHUNK elements of each of n <= GEMM_NR rows, into words [w0 ..) of one panel.
static inline void transpose_panel(gemm_word *panel, const gemm_in *s, int64_t k0, int64_t k, int64_t j0, int64_t n, bool dot)
{
#if defined(__AVX512F__)
    const int64_t per_word = dot ? 2 : 1, kw = gemm_words(k, dot), next = GEMM_NR * s->ld * (dot ? 2 : 4); // bytes to the next panel
    if (s->dtype == (dot ? HS_BF16 : HS_F32)) {
        for (int64_t w = 0; w < kw; w += 16) {
            const int64_t words = least(16, kw - w), halves = least(32, 2 * words - (dot && (k & 1) && w + 16 >= kw));
            const __mmask32 mask = halves >= 32 ? 0xFFFFFFFFu : (1u << halves) - 1;
            for (int64_t g = 0; g < GEMM_NR; g += 16) {
                __m512i t[16];
                for (int r = 0; r < 16; r++) {
                    const char *row = (const char *)s->p + ((size_t)((j0 + g + r) * s->ld + k0) + (size_t)(w * per_word)) * (dot ? 2 : 4);
                    t[r] = g + r < n ? _mm512_maskz_loadu_epi16(mask, row) : _mm512_setzero_si512();
                    __builtin_prefetch(row + next); // 64 rows at once are more streams than a hardware prefetcher follows
                }
                transpose16(t);
                if (words == 16) {
#pragma GCC unroll 16
                    for (int c = 0; c < 16; c++)
                        _mm512_storeu_si512(panel + (w + c) * GEMM_NR + g, t[c]);
                } else {
                    for (int c = 0; c < words; c++)
                        _mm512_storeu_si512(panel + (w + c) * GEMM_NR + g, t[c]);
                }
            }
        }
        return;
    }
#endif
#if GEMM_ROWS_TO_PANELS
    transpose_16_rows(panel, s, k0, k, j0, n);
    return;
#endif
    float tmp[CHUNK];
    for (int64_t c = 0; c < k; c += CHUNK) {
        const int64_t left = least(CHUNK, k - c);
        gemm_word *dst = panel + gemm_words(c, dot) * GEMM_NR;
        for (int64_t j = 0; j < GEMM_NR; j++) {
            if (j >= n) {
                for (int64_t w = 0; w < gemm_words(left, dot); w++)
                    dst[w * GEMM_NR + j] = 0;
                continue;
            }
            const void *row = elements(s, j0 + j, k0 + c, left, dot, tmp);
            if (!dot) {
                for (int64_t w = 0; w < left; w++)
                    memcpy(&dst[w * GEMM_NR + j], (const float *)row + w, 4);
                continue;
            }
            const uint16_t *half = (const uint16_t *)row;
            for (int64_t w = 0; w < gemm_words(left, dot); w++)
                dst[w * GEMM_NR + j] = half[2 * w] | (2 * w + 1 < left ? (uint32_t)half[2 * w + 1] << 16 : 0u);
        }
    }
}

void gemm_pack_b(gemm_word *panel, const gemm_in *b, int64_t k0, int64_t k, int64_t j0, int64_t n, bool dot)
{
    const int64_t kw = gemm_words(k, dot), step = b->k_major && (int)GEMM_NR < WIDE_PIECE ? WIDE_PIECE : GEMM_NR;
    for (int64_t j = 0; j < n; j += step, panel += kw * step) {
        const int64_t width = least(step, n - j);
        if (b->k_major)
            pack_k_major(panel, b, k0, k, j0 + j, width, dot, GEMM_NR);
        else
            transpose_panel(panel, b, k0, k, j0 + j, width, dot);
    }
}

#if GEMM_ROWS_TO_PANELS
// Rows of any type into panels of f32; the last panel repeats the last row.
static inline void lay_panels(gemm_word *buf, const gemm_in *a, int64_t k0, int64_t k, int64_t i0, int64_t m)
{
    float tmp[GEMM_MR][CHUNK];
    for (int64_t i = 0; i < m; i += GEMM_MR, buf += gemm_tile_words(k))
        for (int64_t c = 0; c < k; c += CHUNK) {
            const int64_t n = least(CHUNK, k - c);
            const float *row[GEMM_MR];
            for (int r = 0; r < GEMM_MR; r++)
                row[r] = elements(a, i0 + least(i + r, m - 1), k0 + c, n, false, tmp[r]);
            transpose_6_rows(buf + c * GEMM_MR, row, n);
        }
}
#endif

const gemm_word *gemm_lay_wide(gemm_word *buf, const gemm_in *a, int64_t k0, int64_t k, int64_t i0, int64_t m, bool dot, int64_t *lda)
{
    const int64_t kw = gemm_words(k, dot), width = (m + 15) / 16 * 16;
    float tmp[2][CHUNK];
    gemm_word *dst = buf;
    for (int64_t w = 0; w < kw; w++, dst += GEMM_WIDE) {
        if (!dot) {
            copy_words(dst, (const float *)elements(a, k0 + w, i0, m, false, tmp[0]), m, width);
            continue;
        }
        const uint16_t *even = (const uint16_t *)elements(a, k0 + 2 * w, i0, m, true, tmp[0]);
        interleave(dst, even, 2 * w + 1 < k ? (const uint16_t *)elements(a, k0 + 2 * w + 1, i0, m, true, tmp[1]) : NULL, m, width);
    }
    *lda = -GEMM_WIDE;
    return buf;
}

#if defined(__AMX_BF16__)
// A k-major A in rows for tiles: 32 of its rows at a time, whose lines serve two groups of 16 columns.
static void lay_turned(gemm_word *buf, const gemm_in *a, int64_t k0, int64_t k, int64_t i0, int64_t m)
{
    float tmp[2][16];
    const int64_t kw = gemm_words(k, true);
    for (int64_t w = 0; w < kw; w += 16) {
        const int64_t words = least(16, kw - w);
        const __mmask16 mask = words == 16 ? 0xFFFF : (__mmask16)((1u << words) - 1);
        for (int64_t i = 0; i < m; i += 16) {
            const int64_t n = least(16, m - i);
            gemm_word pair[16][16] __attribute__((aligned(64)));
            for (int64_t r = 0; r < words; r++) {
                const int64_t row = k0 + 2 * (w + r);
                const uint16_t *even = elements(a, row, i0 + i, n, true, tmp[0]);
                interleave(pair[r], even, row + 1 < k0 + k ? elements(a, row + 1, i0 + i, n, true, tmp[1]) : NULL, n, 16);
            }
            __m512i t[16];
#pragma GCC unroll 16
            for (int r = 0; r < 16; r++)
                t[r] = r < words ? _mm512_load_si512(pair[r]) : _mm512_setzero_si512();
            transpose16(t);
            for (int64_t r = 0; r < n; r++)
                _mm512_mask_storeu_epi32(buf + (i + r) * kw + w, mask, t[r]);
        }
    }
}
#endif

const gemm_word *gemm_lay_rows(gemm_word *buf, const gemm_in *a, int64_t k0, int64_t k, int64_t i0, int64_t m, bool dot, int64_t *lda)
{
    const int64_t kw = gemm_words(k, dot);
    for (int64_t i = 0; i < m; i++) {
        gemm_word *dst = buf + i * kw;
        if (dot && (k & 1))
            dst[kw - 1] = 0;
        const void *row = elements(a, i0 + i, k0, k, dot, dst);
        if (row != dst) // of the right type but odd
            memcpy(dst, row, (size_t)k * (dot ? 2 : 4));
    }
    *lda = kw;
    return buf;
}

const gemm_word *gemm_lay_a(gemm_word *buf, const gemm_in *a, int64_t k0, int64_t k, int64_t i0, int64_t m, bool dot, int64_t *lda)
{
    const int64_t kw = gemm_words(k, dot);
#if defined(__AMX_BF16__)
    if (a->k_major && dot) {
        lay_turned(buf, a, k0, k, i0, m);
        *lda = kw;
        return buf;
    }
#endif
    if (a->k_major) {
        enum { STEP = CHUNK / GEMM_MR * GEMM_MR };
        for (int64_t i = 0; i < m; i += STEP)
            pack_k_major(buf + i / GEMM_MR * gemm_tile_words(kw), a, k0, k, i0 + i, least(STEP, m - i), dot, GEMM_MR);
        *lda = 0;
        return buf;
    }
#if GEMM_ROWS_TO_PANELS
    if (buf) {
        lay_panels(buf, a, k0, k, i0, m);
        *lda = 0;
        return buf;
    }
#endif
    if (gemm_in_place(a, k0, k, dot)) {
        *lda = dot ? a->ld / 2 : a->ld;
        return (const gemm_word *)((const char *)a->p + (size_t)(i0 * a->ld + k0) * (dot ? 2 : 4));
    }
    return gemm_lay_rows(buf, a, k0, k, i0, m, dot, lda);
}
