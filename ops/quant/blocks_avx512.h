// The loops of block_products.c with VNNI: 16 columns a register, unsigned weights times signed codes of a row, four of each a lane.
#include <immintrin.h>

#define VNNI __attribute__((target("avx512vnni")))

static bool has_avx512vnni(void) { return __builtin_cpu_supports("avx512vnni"); }

INLINE __m512i load64(const char *p) { return _mm512_loadu_si512(p); }

// dot[r][h] += four codes of row r, at `at` in its 32, times those of 16 columns
INLINE VNNI void vnni_step(__m512i dot[][2], const char *x, int R, int at, __m512i w0, __m512i w1)
{
#pragma GCC unroll 6
    for (int r = 0; r < R; r++) {
        const __m512i q = _mm512_set1_epi32(word_of(x + r * BLOCK + at));
        dot[r][0] = _mm512_dpbusd_epi32(dot[r][0], w0, q);
        dot[r][1] = _mm512_dpbusd_epi32(dot[r][1], w1, q);
    }
}

INLINE VNNI void vnni_rows(const blocks_tile *t, int R, bool four)
{
    const __m512i low = _mm512_set1_epi8(15);
    const int groups = four ? 4 : 8;
    const char *x = t->rows, *w = t->panel;
    __m512 sum[TILE_ROWS][2];
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
        sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    for (int64_t b = 0; b < t->blocks; b++, x += R * TILE_RECORD, w += blocks_record_bytes(four)) {
        __m512i dot[TILE_ROWS][2];
#pragma GCC unroll 6
        for (int r = 0; r < R; r++)
            dot[r][0] = dot[r][1] = _mm512_set1_epi32(start_of(x, R, r));
#pragma GCC unroll 8
        for (int g = 0; g < groups; g++) {
            const __m512i w0 = load64(w + g * 128), w1 = load64(w + g * 128 + 64);
            if (!four) {
                vnni_step(dot, x, R, g * 4, w0, w1);
                continue;
            }
            vnni_step(dot, x, R, g * 8, _mm512_and_si512(w0, low), _mm512_and_si512(w1, low));
            vnni_step(dot, x, R, g * 8 + 4, _mm512_and_si512(_mm512_srli_epi16(w0, 4), low),
                      _mm512_and_si512(_mm512_srli_epi16(w1, 4), low));
        }
        const __m256i *scale = (const __m256i *)(w + blocks_record_bytes(four) - PANEL * 2);
        const __m512 s0 = _mm512_cvtph_ps(_mm256_loadu_si256(scale)), s1 = _mm512_cvtph_ps(_mm256_loadu_si256(scale + 1));
#pragma GCC unroll 6
        for (int r = 0; r < R; r++) {
            const __m512 s = _mm512_set1_ps(scale_of(x, R, r));
            sum[r][0] = _mm512_add_ps(sum[r][0], _mm512_mul_ps(_mm512_cvtepi32_ps(dot[r][0]), _mm512_mul_ps(s, s0)));
            sum[r][1] = _mm512_add_ps(sum[r][1], _mm512_mul_ps(_mm512_cvtepi32_ps(dot[r][1]), _mm512_mul_ps(s, s1)));
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
        _mm512_storeu_ps(t->sum[r], sum[r][0]), _mm512_storeu_ps(t->sum[r] + 16, sum[r][1]);
}

static VNNI void vnni_eight(const blocks_tile *t, int rows)
{
#define CALL(n) vnni_rows(t, n, false)
    BY_ROWS(rows, CALL)
#undef CALL
}
static VNNI void vnni_four(const blocks_tile *t, int rows)
{
#define CALL(n) vnni_rows(t, n, true)
    BY_ROWS(rows, CALL)
#undef CALL
}
