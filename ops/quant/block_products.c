// block_products: quantizing rows, laying panels, and the loops of each tier. Which instructions multiply bytes is asked of the CPU: a tier says
// less than that (avx512 may be without VNNI, avx2 with it).
#include "ops/quant/block_products.h"
#include "ops/quant/i8_round.h"

// ---- rows

static uint32_t largest(const float *x)
{
    uint32_t most = 0;
    HS_SIMD_MAX(most)
    for (int i = 0; i < BLOCK; i++) {
        const uint32_t u = hs_f32_bits(x[i]) & 0x7FFFFFFFu;
        most = u > most ? u : most;
    }
    return most;
}

// Codes of a block, and their sum.
static int32_t round_block(const float *restrict x, float inverse, int8_t *restrict q)
{
    int32_t sum = 0;
    HS_SIMD_SUM(sum)
    for (int i = 0; i < BLOCK; i++) {
        const int32_t code = i8_round(x[i], inverse);
        q[i] = (int8_t)code;
        sum += code;
    }
    return sum;
}

static void even_before_odd(int8_t *q)
{
    for (int p = 0; p < BLOCK; p += 8) {
        const int8_t e[4] = { q[p], q[p + 2], q[p + 4], q[p + 6] }, o[4] = { q[p + 1], q[p + 3], q[p + 5], q[p + 7] };
        memcpy(q + p, e, 4), memcpy(q + p + 4, o, 4);
    }
}

void blocks_quantize(const blocks_loops *l, char *to, const float *x, int64_t row, int64_t rows, int64_t in, bool four)
{
    const int64_t tile = row / TILE_ROWS, first = tile * TILE_ROWS, height = rows - first < TILE_ROWS ? rows - first : TILE_ROWS;
    const int32_t lift = four ? 8 : l->lifted ? 128 : 0;
    char *record = (char *)blocks_tile_at(to, tile, in);
    for (int64_t b = 0; b < in / BLOCK; b++, record += height * TILE_RECORD) {
        int8_t *q = (int8_t *)record + (row - first) * BLOCK;
        const float scale = i8_row_scale(largest(x + b * BLOCK));
        int32_t sum = 0;
        if (scale > 0)
            sum = -lift * round_block(x + b * BLOCK, 1 / scale, q);
        else // zeros, or not finite
            memset(q, 0, BLOCK);
        if (four)
            even_before_odd(q);
        memcpy(record + height * BLOCK + (row - first) * 4, &scale, 4);
        memcpy(record + height * (BLOCK + 4) + (row - first) * 4, &sum, 4);
    }
}

// ---- panels

static inline __attribute__((always_inline)) void pack_column(char *to, const uint8_t *from, int groups, int group, uint8_t flip)
{
    for (int g = 0; g < groups; g++)
        for (int i = 0; i < group; i++)
            to[(size_t)g * PANEL * (size_t)group + (size_t)i] = (char)(from[g * group + i] ^ flip);
}

void blocks_pack(const blocks_loops *l, char *panel, const hs_ref *codes, const hs_ref *scales, int64_t first)
{
    const bool four = codes->dtype == HS_U8;
    const int bytes = four ? BLOCK / 2 : BLOCK, group = l->group < bytes ? l->group : bytes;
    const int64_t blocks = scales->cols, n = codes->rows - first < PANEL ? codes->rows - first : PANEL;
    const uint8_t flip = l->lifted && !four ? 0x80 : 0;
    const size_t record = blocks_record_bytes(four);
    const uint8_t *code = (const uint8_t *)codes->p + first * codes->cols;
    const uint16_t *scale = (const uint16_t *)scales->p + first * blocks;
    if (n < PANEL)
        memset(panel, 0, (size_t)blocks * record);
    for (int64_t b = 0; b < blocks; b++, panel += record)
        for (int64_t c = 0; c < n; c++) {
            const uint8_t *from = code + c * codes->cols + b * bytes;
            if (group == 4)
                pack_column(panel + c * 4, from, bytes / 4, 4, flip);
            else
                pack_column(panel + c * group, from, bytes / group, group, flip);
            memcpy(panel + record - PANEL * 2 + c * 2, scale + c * blocks + b, 2);
        }
}

// ---- loops

#define INLINE static inline __attribute__((always_inline))

// A loop of `rows` rows, each number of which is compiled by itself: what accumulates stays in registers.
#define BY_ROWS(rows, call)                                                                                                                \
    switch (rows) {                                                                                                                        \
    case 1:                                                                                                                                \
        call(1);                                                                                                                           \
        break;                                                                                                                             \
    case 2:                                                                                                                                \
        call(2);                                                                                                                           \
        break;                                                                                                                             \
    case 3:                                                                                                                                \
        call(3);                                                                                                                           \
        break;                                                                                                                             \
    case 4:                                                                                                                                \
        call(4);                                                                                                                           \
        break;                                                                                                                             \
    case 5:                                                                                                                                \
        call(5);                                                                                                                           \
        break;                                                                                                                             \
    default:                                                                                                                               \
        call(6);                                                                                                                           \
        break;                                                                                                                             \
    }

INLINE int32_t start_of(const char *rows, int height, int r) // of row r in a record
{
    int32_t v;
    memcpy(&v, rows + height * (BLOCK + 4) + r * 4, 4);
    return v;
}
INLINE float scale_of(const char *rows, int height, int r)
{
    float v;
    memcpy(&v, rows + height * BLOCK + r * 4, 4);
    return v;
}
INLINE int32_t word_of(const char *p) // four codes
{
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}

#if defined(__AVX512F__)
#include "ops/quant/blocks_avx512.h"
#endif
#if defined(__AVX2__)
#include "ops/quant/blocks_avx2.h"
#else

static void plain(const blocks_tile *t, int rows, bool four)
{
    const char *x = t->rows, *w = t->panel;
    const int bytes = four ? BLOCK / 2 : BLOCK;
    for (int r = 0; r < rows; r++)
        memset(t->sum[r], 0, sizeof t->sum[r]);
    for (int64_t b = 0; b < t->blocks; b++, x += rows * TILE_RECORD, w += blocks_record_bytes(four)) {
        const uint16_t *scale = (const uint16_t *)(w + PANEL * bytes);
        for (int c = 0; c < PANEL; c++) {
            const int8_t *code = (const int8_t *)w + c * bytes;
            int8_t wide[BLOCK];
            for (int i = 0; four && i < BLOCK / 2; i++) {
                wide[i / 4 * 8 + i % 4] = code[i] & 15;
                wide[i / 4 * 8 + 4 + i % 4] = (int8_t)((uint8_t)code[i] >> 4);
            }
            if (four)
                code = wide;
            const float sw = hs_f16_f32(scale[c]);
            for (int r = 0; r < rows; r++) {
                const int8_t *q = (const int8_t *)x + r * BLOCK;
                int32_t dot = 0;
                HS_SIMD_SUM(dot)
                for (int i = 0; i < BLOCK; i++)
                    dot += q[i] * code[i];
                t->sum[r][c] += (float)(start_of(x, rows, r) + dot) * (scale_of(x, rows, r) * sw);
            }
        }
    }
}
static void plain_eight(const blocks_tile *t, int rows) { plain(t, rows, false); }
static void plain_four(const blocks_tile *t, int rows) { plain(t, rows, true); }
#endif

const blocks_loops blocks_all[] = {
#if defined(__AVX512F__)
    { "avx512vnni", has_avx512vnni, 4, true, vnni_eight, vnni_four },
#endif
#if defined(__AVX2__)
#if HAS_AVXVNNI
    { "avxvnni", has_avxvnni, 4, true, avxvnni_eight, avxvnni_four },
#endif
    { "avx2", NULL, 4, false, avx2_eight, avx2_four },
#else
    { "plain", NULL, BLOCK, false, plain_eight, plain_four },
#endif
};

const blocks_loops *blocks_best(void)
{
    const blocks_loops *l = blocks_all;
    while (l->runs && !l->runs())
        l++;
    return l;
}
