// The loops of block_products.c in 256 bits, with VNNI and without: 8 columns a register, in passes of as many columns as registers hold.
//
// Without VNNI, vpmaddubsw adds two products of bytes in 16 bits. Of 8-bit codes it takes |w| and q with w's sign: no more than
// 2 * 128 * 127 = 32,512, which does not saturate, but one more would. (Not |q| and w: a w of -128 has no other sign in a byte.) Of 4-bit
// codes eight of them add up in 16 bits: 8 * 2 * 15 * 127 = 30,480.
#include <immintrin.h>

#if __has_include(<avxvnniintrin.h>)
#define HAS_AVXVNNI 1
#define AVXVNNI     __attribute__((target("avxvnni")))
static bool has_avxvnni(void) { return __builtin_cpu_supports("avxvnni"); }
#else
#define HAS_AVXVNNI 0
#endif

INLINE __m256i load32(const char *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE __m256i codes_of(const char *p) { return _mm256_set1_epi32(word_of(p)); }

// A block's exact sums, added to those of the blocks before.
INLINE void add_block(__m256 *sum, __m256i dot, float sx, const char *scale)
{
    const __m256 sw = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)scale));
    *sum = _mm256_add_ps(*sum, _mm256_mul_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(_mm256_set1_ps(sx), sw)));
}

// Register v of a pass at `at`, of the low or the high codes of its bytes.
INLINE __m256i nibbles(const char *at, bool high)
{
    const __m256i w = load32(at);
    return _mm256_and_si256(high ? _mm256_srli_epi16(w, 4) : w, _mm256_set1_epi8(15));
}

enum { AVX2_ROWS = 3 }; // rows at once

// Columns [c0, c0 + 8 V) of R rows, from row r0 of a tile of H.
#define PASS_BEGIN                                                                                                                         \
    const char *x = t->rows, *w = t->panel;                                                                                                \
    __m256 sum[AVX2_ROWS][4];                                                                                                              \
    for (int r = 0; r < R; r++)                                                                                                            \
        for (int v = 0; v < V; v++)                                                                                                        \
            sum[r][v] = _mm256_setzero_ps();                                                                                               \
    for (int64_t b = 0; b < t->blocks; b++, x += H * TILE_RECORD, w += blocks_record_bytes(four)) {                                        \
        const char *scale = w + blocks_record_bytes(four) - PANEL * 2 + c0 * 2;
#define PASS_END                                                                                                                           \
    }                                                                                                                                      \
    for (int r = 0; r < R; r++)                                                                                                            \
        for (int v = 0; v < V; v++)                                                                                                        \
            _mm256_storeu_ps(t->sum[r0 + r] + c0 + 8 * v, sum[r][v]);

#if HAS_AVXVNNI
INLINE AVXVNNI void avxvnni_pass(const blocks_tile *t, int H, int r0, int c0, int R, int V, bool four)
{
    PASS_BEGIN
    __m256i dot[AVX2_ROWS][4];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++)
            dot[r][v] = _mm256_set1_epi32(start_of(x, H, r0 + r));
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        __m256i codes[4];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            codes[v] = four ? nibbles(w + g / 2 * 128 + (c0 + 8 * v) * 4, g % 2) : load32(w + g * 128 + (c0 + 8 * v) * 4);
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
            const __m256i q = codes_of(x + (r0 + r) * BLOCK + g * 4);
#pragma GCC unroll 4
            for (int v = 0; v < V; v++)
                dot[r][v] = _mm256_dpbusd_avx_epi32(dot[r][v], codes[v], q);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            add_block(&sum[r][v], dot[r][v], scale_of(x, H, r0 + r), scale + 16 * v);
    PASS_END
}
#endif

INLINE void eight_pass(const blocks_tile *t, int H, int r0, int c0, int R, int V)
{
    enum { four = false };
    const __m256i ones = _mm256_set1_epi16(1);
    PASS_BEGIN
    __m256i dot[AVX2_ROWS][4];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++)
            dot[r][v] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        __m256i codes[4], size[4];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            codes[v] = load32(w + g * 128 + (c0 + 8 * v) * 4), size[v] = _mm256_abs_epi8(codes[v]);
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
            const __m256i q = codes_of(x + (r0 + r) * BLOCK + g * 4);
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) {
                const __m256i signed_q = _mm256_sign_epi8(q, codes[v]);
                dot[r][v] = _mm256_add_epi32(dot[r][v], _mm256_madd_epi16(_mm256_maddubs_epi16(size[v], signed_q), ones));
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            add_block(&sum[r][v], dot[r][v], scale_of(x, H, r0 + r), scale + 16 * v);
    PASS_END
}

INLINE void four_pass(const blocks_tile *t, int H, int r0, int c0, int R, int V)
{
    enum { four = true };
    const __m256i ones = _mm256_set1_epi16(1);
    PASS_BEGIN
    __m256i pairs[AVX2_ROWS][4];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++)
            pairs[r][v] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        __m256i codes[4];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            codes[v] = nibbles(w + g / 2 * 128 + (c0 + 8 * v) * 4, g % 2);
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
            const __m256i q = codes_of(x + (r0 + r) * BLOCK + g * 4);
#pragma GCC unroll 4
            for (int v = 0; v < V; v++)
                pairs[r][v] = _mm256_add_epi16(pairs[r][v], _mm256_maddubs_epi16(codes[v], q));
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
        const __m256i start = _mm256_set1_epi32(start_of(x, H, r0 + r));
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            add_block(&sum[r][v], _mm256_add_epi32(start, _mm256_madd_epi16(pairs[r][v], ones)), scale_of(x, H, r0 + r), scale + 16 * v);
    }
    PASS_END
}

// All rows of a tile: one in a pass over all columns, or three at once in two passes.
#define BY_PASSES(pass, ...)                                                                                                               \
    for (int r = 0; r < rows;) {                                                                                                           \
        const int left = rows - r;                                                                                                         \
        for (int c = 0; left > 1 && c < PANEL; c += 16)                                                                                    \
            if (left == 2)                                                                                                                 \
                pass(t, rows, r, c, 2, 2 __VA_ARGS__);                                                                                     \
            else                                                                                                                           \
                pass(t, rows, r, c, 3, 2 __VA_ARGS__);                                                                                     \
        if (left == 1)                                                                                                                     \
            pass(t, rows, r, 0, 1, 4 __VA_ARGS__);                                                                                         \
        r += left < 3 ? left : 3;                                                                                                          \
    }

#if HAS_AVXVNNI
static AVXVNNI void avxvnni_eight(const blocks_tile *t, int rows) { BY_PASSES(avxvnni_pass, , false) }
static AVXVNNI void avxvnni_four(const blocks_tile *t, int rows) { BY_PASSES(avxvnni_pass, , true) }
#endif
static void avx2_eight(const blocks_tile *t, int rows) { BY_PASSES(eight_pass) }
static void avx2_four(const blocks_tile *t, int rows) { BY_PASSES(four_pass) }
