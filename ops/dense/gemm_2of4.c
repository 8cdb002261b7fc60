// Panels of B in which every four neighbours in k of a column have at most two values that are not 0: pressed, walked and expanded.
//
// A group of four keeps two values and where they stood. Positions of eight groups of a column are one word, 4 bits each, the first group's
// lowest: a record is a row of such words, then what is kept of each of its groups, rows as wide as the panel. Of f32 that are two rows,
// in the order of k; 4 bits are two places. Of bf16 it is one, a pair in each word; 4 bits say which pair (`pairs`). A token reads
// 17/32 of a panel's bytes in f32, 9/16 in bf16.
//
// The bits are those of the whole panel. What was left out would have added 0: a chain that begins at +0 stays what it is, unless all of it
// had underflowed to -0, whose sign nothing here keeps. A row of A with an infinity or a NaN must not be left to gemm_2of4_sums: 0 times it
// is NaN. The order is the chain's: a dot multiplies the high half of a word before the low one, so of a pair that lies in one word the odd
// element is high, as it is there, and of two words' the first word's. Of tiles even and odd elements are chains of their own, of 16 words
// each (gemm_amx.h).
#include "ops/dense/gemm.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { GROUPS = 8 }; // of four, to a record

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t groups_of(int64_t kw, bool dot) { return kw / (dot ? 2 : 4); }

static const struct {
    uint8_t low, high;
} pairs[] = { { 0, 1 }, { 2, 0 }, { 3, 0 }, { 2, 1 }, { 3, 1 }, { 2, 3 } };

// ---- pressing

static inline gemm_word element(const gemm_word *words, int64_t c, int i, bool dot) // i of a group whose words begin there
{
    return dot ? words[i / 2 * GEMM_NR + c] >> i % 2 * 16 & 0xFFFF : words[i * GEMM_NR + c];
}
static inline bool counts(gemm_word e, bool dot) { return e & (dot ? 0x7FFF : 0x7FFFFFFF); } // neither 0 nor -0

// Which of the group's elements count, a bit each.
static inline unsigned counted(const gemm_word *words, int64_t c, bool dot)
{
    unsigned set = 0;
    for (int i = 0; i < 4; i++)
        set |= (unsigned)counts(element(words, c, i, dot), dot) << i;
    return set;
}

// The first of `pairs` that has all of them; -1: none has.
static inline int pair_of(unsigned set)
{
    for (int p = 0; p < HS_COUNT(pairs); p++)
        if (!(set & ~(1u << pairs[p].low | 1u << pairs[p].high)))
            return p;
    return -1;
}

static bool fits(const gemm_word *panel, int64_t groups, bool dot)
{
    int8_t pair[16];
    for (unsigned set = 0; set < 16; set++)
        pair[set] = (int8_t)pair_of(set);
    for (int64_t g = 0; g < groups; g++, panel += (dot ? 2 : 4) * GEMM_NR)
        for (int64_t c = 0; c < GEMM_NR; c++)
            if (pair[counted(panel, c, dot)] < 0)
                return false;
    return true;
}

static void press_group(gemm_word *places, gemm_word *kept, const gemm_word *words, int g, bool dot)
{
    for (int64_t c = 0; c < GEMM_NR; c++) {
        const int p = pair_of(counted(words, c, dot)), low = pairs[p].low, high = pairs[p].high;
        const int first = low < high ? low : high, second = low < high ? high : low;
        places[c] |= (gemm_word)(dot ? p : first | second << 2) << 4 * g;
        if (dot) {
            kept[c] = element(words, c, low, true) | element(words, c, high, true) << 16;
        } else {
            kept[c] = element(words, c, first, false);
            kept[GEMM_NR + c] = element(words, c, second, false);
        }
    }
}

bool gemm_2of4_press(gemm_word *panel, int64_t kw, bool dot)
{
    const int64_t groups = groups_of(kw, dot), words = dot ? 2 : 4, rows = dot ? 1 : 2;
    gemm_word record[GROUPS * 4 * GEMM_NR];
    if (!GEMM_HAS_2OF4 || kw % 4 || !fits(panel, groups, dot))
        return false;
    gemm_word *to = panel; // never ahead of what is read
    for (int64_t g = 0; g < groups; g += GROUPS) {
        const int n = (int)least(GROUPS, groups - g);
        memcpy(record, panel + g * words * GEMM_NR, (size_t)(n * words * GEMM_NR) * sizeof *record);
        gemm_word *places = to, *kept = to + GEMM_NR;
        memset(places, 0, GEMM_NR * sizeof *places);
        for (int i = 0; i < n; i++, kept += rows * GEMM_NR)
            press_group(places, kept, record + i * words * GEMM_NR, i, dot);
        to = kept;
    }
    return true;
}

// ---- the whole panel again, for many rows

static inline void expand_pair(gemm_word *restrict to, const gemm_word *restrict kept, const gemm_word *restrict places, int shift)
{
    HS_SIMD
    for (int c = 0; c < GEMM_NR; c++) {
        const gemm_word p = places[c] >> shift & 15, v = kept[c];
        to[c] = p == 0 ? v : p < 3 ? v >> 16 : p < 5 ? v & 0xFFFF0000u : 0;
        to[GEMM_NR + c] = p == 5 ? v : p == 0 ? 0 : p & 1 ? v & 0xFFFF : v << 16;
    }
}

static inline void expand_two(gemm_word *restrict to, const gemm_word *restrict kept, const gemm_word *restrict places, int shift)
{
    for (int i = 0; i < 4; i++) {
        HS_SIMD
        for (int c = 0; c < GEMM_NR; c++) {
            const gemm_word p = places[c] >> shift, a = (p & 3) == (gemm_word)i ? kept[c] : 0;
            to[i * GEMM_NR + c] = (p >> 2 & 3) == (gemm_word)i ? kept[GEMM_NR + c] : a;
        }
    }
}

void gemm_2of4_expand(gemm_word *to, const gemm_word *panel, int64_t kw, bool dot)
{
    const gemm_word *places = panel;
    for (int64_t g = 0, groups = groups_of(kw, dot); g < groups; g++) {
        if (g % GROUPS == 0)
            places = panel, panel += GEMM_NR;
        (dot ? expand_pair : expand_two)(to, panel, places, (int)(g % GROUPS) * 4);
        to += (dot ? 2 : 4) * GEMM_NR, panel += (dot ? 1 : 2) * GEMM_NR;
    }
}

// ---- few rows

#if defined(__AVX2__)
#define INLINE static inline __attribute__((always_inline))

typedef struct walk {
    const gemm_word *const *a; // rows of words
    const gemm_word *panel;
    int64_t groups;
    const char *next; // what is read behind this panel
    float (*sum)[GEMM_NR];
} walk;

// Lines of a row of words that are read soon are asked for: AHEAD of it, then of what is behind the panel.
enum { AHEAD = 4096 };
INLINE void ask(const walk *w, const char *row, const char *end)
{
    const char *p = row + AHEAD < end ? row + AHEAD : w->next + (row + AHEAD - end);
#pragma GCC unroll 4
    for (int line = 0; line < GEMM_NR * 4; line += 64)
        __builtin_prefetch(p + line);
}

static const char *end_of(const walk *w, int rows)
{
    return (const char *)(w->panel + ((w->groups + GROUPS - 1) / GROUPS + w->groups * rows) * GEMM_NR);
}

#if defined(__AVX512F__)
typedef __m512 floats;
typedef __m512i words;
#define ZERO        _mm512_setzero_ps()
#define LOAD(p)     _mm512_loadu_si512(p)
#define FOUR(p)     _mm512_broadcast_f32x4(_mm_loadu_ps((const float *)(p)))
#define PICK(x, at) _mm512_permutevar_ps(x, at)
#define FMA         _mm512_fmadd_ps
#define RIGHT       _mm512_srli_epi32
#define STORE       _mm512_storeu_ps
#define FLOATS      _mm512_castsi512_ps
#else
typedef __m256 floats;
typedef __m256i words;
#define ZERO        _mm256_setzero_ps()
#define LOAD(p)     _mm256_loadu_si256((const __m256i *)(p))
#define FOUR(p)     _mm256_broadcast_ps((const __m128 *)(p))
#define PICK(x, at) _mm256_permutevar_ps(x, at)
#define FMA         _mm256_fmadd_ps
#define RIGHT       _mm256_srli_epi32
#define STORE       _mm256_storeu_ps
#define FLOATS      _mm256_castsi256_ps
#endif

INLINE void sums_begin(floats sum[GEMM_2OF4_ROWS][GEMM_NV], const int mr, const int nv)
{
#pragma GCC unroll 4
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++)
            sum[r][j] = ZERO;
}
INLINE void sums_store(const walk *w, const floats sum[GEMM_2OF4_ROWS][GEMM_NV], const int mr, const int nv)
{
#pragma GCC unroll 4
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++)
            STORE(w->sum[r] + j * GEMM_VL, sum[r][j]);
}

// Four elements of a row in each 16 bytes of a register: the low bits of a lane say which is multiplied there.
INLINE void walk_two(const walk *w, const int mr, const int nv)
{
    floats sum[GEMM_2OF4_ROWS][GEMM_NV];
    words at[GEMM_NV];
    const gemm_word *p = w->panel;
    const char *end = end_of(w, 2);
    sums_begin(sum, mr, nv);
    for (int64_t g0 = 0; g0 < w->groups; g0 += GROUPS) {
        const int64_t g1 = least(g0 + GROUPS, w->groups);
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++)
            at[j] = LOAD(p + j * GEMM_VL);
        ask(w, (const char *)p, end);
        p += GEMM_NR;
        for (int64_t g = g0; g < g1; g++) {
            floats x[GEMM_2OF4_ROWS];
#pragma GCC unroll 4
            for (int r = 0; r < mr; r++)
                x[r] = FOUR(w->a[r] + g * 4);
#pragma GCC unroll 2
            for (int half = 0; half < 2; half++, p += GEMM_NR) {
#pragma GCC unroll 4
                for (int j = 0; j < nv; j++) {
                    const floats v = FLOATS(LOAD(p + j * GEMM_VL));
#pragma GCC unroll 4
                    for (int r = 0; r < mr; r++)
                        sum[r][j] = FMA(PICK(x[r], at[j]), v, sum[r][j]);
                    at[j] = RIGHT(at[j], 2);
                }
                ask(w, (const char *)p, end);
            }
        }
    }
    sums_store(w, sum, mr, nv);
}

#if defined(__AVX512BF16__)
// The six pairs of four elements, byte by byte, and those of the next four eight words on: for what is in each 16 bytes of a register.
#define ELEMENT(i, from)   (from) + 2 * (i), (from) + 2 * (i) + 1
#define PAIR(l, h, from)   ELEMENT(l, from), ELEMENT(h, from)
#define ALL_PAIRS_OF(from) PAIR(0, 1, from), PAIR(2, 0, from), PAIR(3, 0, from), PAIR(2, 1, from), PAIR(3, 1, from), PAIR(2, 3, from)
#define NOTHING            0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80
static const uint8_t which_pairs[64] __attribute__((aligned(64))) = { ALL_PAIRS_OF(0), NOTHING, ALL_PAIRS_OF(8), NOTHING };

INLINE __m512i eight(const gemm_word *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p)); }
INLINE __m512 dot_of(__m512 sum, __m512i x, __m512i at, __m512i v)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_permutexvar_epi32(at, x), (__m512bh)v);
}
INLINE void places_of(__m512i at[GEMM_NV], const gemm_word *p, const int nv) // eight more for every second group
{
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++)
        at[j] = _mm512_or_si512(_mm512_loadu_si512(p + j * GEMM_VL), _mm512_set1_epi32((int)0x80808080));
}
#endif

#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
INLINE void walk_pairs(const walk *w, const int mr, const int nv)
{
    const __m512i turn = _mm512_load_si512(which_pairs);
    floats sum[GEMM_2OF4_ROWS][GEMM_NV];
    __m512i at[GEMM_NV];
    const gemm_word *p = w->panel;
    const char *end = end_of(w, 1);
    sums_begin(sum, mr, nv);
    for (int64_t g0 = 0; g0 < w->groups; g0 += GROUPS) {
        const int64_t g1 = least(g0 + GROUPS, w->groups);
        places_of(at, p, nv);
        ask(w, (const char *)p, end);
        p += GEMM_NR;
        for (int64_t g = g0; g < g1; g += 2) {
            __m512i x[GEMM_2OF4_ROWS];
#pragma GCC unroll 4
            for (int r = 0; r < mr; r++)
                x[r] = _mm512_shuffle_epi8(eight(w->a[r] + g * 2), turn);
#pragma GCC unroll 2
            for (int half = 0; half < 2; half++, p += GEMM_NR) {
#pragma GCC unroll 4
                for (int j = 0; j < nv; j++) {
                    const __m512i v = _mm512_loadu_si512(p + j * GEMM_VL);
#pragma GCC unroll 4
                    for (int r = 0; r < mr; r++)
                        sum[r][j] = dot_of(sum[r][j], x[r], at[j], v);
                    at[j] = RIGHT(at[j], 4);
                }
                ask(w, (const char *)p, end);
            }
        }
    }
    sums_store(w, sum, mr, nv);
}
#endif

#if defined(__AMX_BF16__)
// As tiles do it: of each 16 words the even elements and the odd ones by themselves, whose sum is added to what stands. Two vectors of
// columns at a time: of four rows' there are registers for no more.
INLINE void walk_record(const walk *w, const int mr, const int nv, int64_t g0, int n, const gemm_word *record, int j0)
{
    const __m512i turn = _mm512_load_si512(which_pairs), nothing = _mm512_set1_epi8(-1);
    const __mmask64 odd = _mm512_test_epi8_mask(turn, _mm512_set1_epi8(2)); // bytes of odd elements
    const __m512i even_only = _mm512_mask_blend_epi8(odd, turn, nothing), odd_only = _mm512_mask_blend_epi8(odd, nothing, turn);
    __m512 even[GEMM_2OF4_ROWS][2], other[GEMM_2OF4_ROWS][2];
    __m512i at[GEMM_NV];
    places_of(at, record + j0, nv);
#pragma GCC unroll 4
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++)
            even[r][j] = other[r][j] = ZERO;
    const gemm_word *p = record + GEMM_NR + j0;
    for (int g = 0; g < n; g += 2) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++, p += GEMM_NR) {
#pragma GCC unroll 4
            for (int r = 0; r < mr; r++) {
                const __m512i x = eight(w->a[r] + (g0 + g) * 2);
                const __m512i x0 = _mm512_shuffle_epi8(x, even_only), x1 = _mm512_shuffle_epi8(x, odd_only);
#pragma GCC unroll 2
                for (int j = 0; j < nv; j++) {
                    const __m512i v = _mm512_loadu_si512(p + j * GEMM_VL);
                    even[r][j] = dot_of(even[r][j], x0, at[j], v);
                    other[r][j] = dot_of(other[r][j], x1, at[j], v);
                }
            }
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++)
                at[j] = RIGHT(at[j], 4);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) {
            float *s = w->sum[r] + j0 + j * GEMM_VL;
            _mm512_storeu_ps(s, _mm512_add_ps(_mm512_loadu_ps(s), _mm512_add_ps(even[r][j], other[r][j])));
        }
}

INLINE void walk_pairs(const walk *w, const int mr, const int nv)
{
    const gemm_word *p = w->panel;
    const char *end = end_of(w, 1);
    for (int64_t g = 0; g < w->groups; g += GROUPS) {
        const int n = (int)least(GROUPS, w->groups - g);
        for (int row = 0; row <= n; row++)
            ask(w, (const char *)(p + row * GEMM_NR), end);
        walk_record(w, mr, nv < 2 ? nv : 2, g, n, p, 0);
        if (nv > 2)
            walk_record(w, mr, nv - 2, g, n, p, 2 * GEMM_VL);
        p += (n + 1) * GEMM_NR;
    }
}
#endif

typedef void walk_fn(const walk *w);
#define WALK(form, mr, nv)                                                                                                                 \
    static void form##_##mr##_##nv(const walk *w) { walk_##form(w, mr, nv); }
#define WALKS(form, mr) WALK(form, mr, 1) WALK(form, mr, 2) MORE(form, mr)
#if defined(__AVX512F__)
#define MORE(form, mr) WALK(form, mr, 3) WALK(form, mr, 4)
#define ROW(form, mr)                                                                                                                      \
    {                                                                                                                                      \
        form##_##mr##_1, form##_##mr##_2, form##_##mr##_3, form##_##mr##_4                                                                 \
    }
#else
#define MORE(form, mr)
#define ROW(form, mr)                                                                                                                      \
    {                                                                                                                                      \
        form##_##mr##_1, form##_##mr##_2                                                                                                   \
    }
#endif
#define FORM(form)                                                                                                                         \
    WALKS(form, 1)                                                                                                                         \
    WALKS(form, 2)                                                                                                                         \
    WALKS(form, 3)                                                                                                                         \
    WALKS(form, 4)                                                                                                                         \
    static walk_fn *const form##_walks[GEMM_2OF4_ROWS][GEMM_NV] = { ROW(form, 1), ROW(form, 2), ROW(form, 3), ROW(form, 4) };
FORM(two)
#if defined(__AVX512BF16__)
FORM(pairs)
#else
#define pairs_walks two_walks // never: there are no dots
#endif

void gemm_2of4_sums(float sum[][GEMM_NR], int m, int64_t n, const gemm_word *const *a, const gemm_word *panel, int64_t kw, bool dot,
                    const gemm_word *next)
{
    const walk w = { a, panel, groups_of(kw, dot), (const char *)next, sum };
    (dot ? pairs_walks : two_walks)[m - 1][(n + GEMM_VL - 1) / GEMM_VL - 1](&w);
}

#else

void gemm_2of4_sums(float sum[][GEMM_NR], int m, int64_t n, const gemm_word *const *a, const gemm_word *panel, int64_t kw, bool dot,
                    const gemm_word *next)
{
    (void)sum, (void)m, (void)n, (void)a, (void)panel, (void)kw, (void)dot, (void)next; // GEMM_HAS_2OF4: nothing is pressed
}

#endif
