// ggml_blocks: ggml's types of tensors to f32 and back. Its blocks are scales in f16 and small integers:
//
//   Q8_0  d, 32 bytes            x = d q                          d = amax / 127, q = round(x / d) by the scale before it is rounded
//   Q4_0  d, 16 bytes            x = d (q - 8); byte j has value j in its low half and value j + 16 in its high half
//                                d = what is furthest from 0, with its sign, / -8
//   Q4_K  d, dmin, 12 bytes with 8 scales s and 8 minima m of 6 bits, 128 bytes: 256 values, 32 to a scale
//                                x = d s q - dmin m; of 64 values the first 32 are the low halves of 32 bytes, the others the high ones
//   Q6_K  128 bytes, 64 bytes, 16 scales s as i8, d: 256 values, 16 to a scale
//                                x = d s (q - 32); four low bits in the first 128 bytes, two high ones in the 64
#include "core/graph/coding.h"
#include "data/formats/gguf.h"
#include <math.h>
#include <string.h>

enum { BLOCK = 32, SUPER = 256 };

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return hs_f16_f32(h);
}

static void put_half(uint8_t *p, float v)
{
    const uint16_t h = hs_f32_f16(v);
    memcpy(p, &h, sizeof h);
}

// ---- Q8_0, Q4_0

static void from_q8_0(const uint8_t *p, float *y)
{
    const float d = half_at(p);
    for (int i = 0; i < BLOCK; i++)
        y[i] = d * (float)(int8_t)p[2 + i];
}

static void from_q4_0(const uint8_t *p, float *y)
{
    const float d = half_at(p);
    for (int i = 0; i < BLOCK / 2; i++) {
        y[i] = d * (float)((p[2 + i] & 15) - 8);
        y[i + BLOCK / 2] = d * (float)((p[2 + i] >> 4) - 8);
    }
}

static void to_q8_0(const float *x, uint8_t *p)
{
    float most = 0;
    for (int i = 0; i < BLOCK; i++)
        most = fmaxf(most, fabsf(x[i]));
    const float d = most / 127, by = d > 0 ? 1 / d : 0;
    put_half(p, d);
    for (int i = 0; i < BLOCK; i++)
        p[2 + i] = (uint8_t)(int8_t)roundf(x[i] * by);
}

static int four_bits(float x, float by) // of ggml's rounding: down, half a step above the lowest value
{
    const int q = (int)(x * by + 8.5f);
    return q > 15 ? 15 : q;
}

static void to_q4_0(const float *x, uint8_t *p)
{
    float furthest = 0;
    for (int i = 0; i < BLOCK; i++)
        furthest = fabsf(x[i]) > fabsf(furthest) ? x[i] : furthest;
    const float d = furthest / -8, by = d != 0 ? 1 / d : 0;
    put_half(p, d);
    for (int i = 0; i < BLOCK / 2; i++)
        p[2 + i] = (uint8_t)(four_bits(x[i], by) | four_bits(x[i + BLOCK / 2], by) << 4);
}

// ---- Q4_K: scales and minima of its 8 groups in 12 bytes. Of the first four groups 6 low bits of bytes 0 to 3 and 4 to 7; of the others
// the halves of bytes 8 to 11, with two more bits each at the top of those of the first four.

static void scale_and_min(const uint8_t *p, int j, int *scale, int *min)
{
    const uint8_t *q = p + j % 4;
    *scale = j < 4 ? q[0] & 63 : (q[8] & 15) | q[0] >> 6 << 4;
    *min = j < 4 ? q[4] & 63 : q[8] >> 4 | q[4] >> 6 << 4;
}

static void put_scale_and_min(uint8_t *p, int j, int scale, int min) // in order, over zeros
{
    uint8_t *q = p + j % 4;
    if (j < 4) {
        q[0] = (uint8_t)scale, q[4] = (uint8_t)min;
        return;
    }
    q[8] = (uint8_t)((scale & 15) | (min & 15) << 4);
    q[0] = (uint8_t)(q[0] | scale >> 4 << 6), q[4] = (uint8_t)(q[4] | min >> 4 << 6);
}

static void from_q4_k(const uint8_t *p, float *y)
{
    const float d = half_at(p), dmin = half_at(p + 2);
    for (int j = 0; j < SUPER / BLOCK; j++) {
        const uint8_t *q = p + 16 + j / 2 * BLOCK;
        int scale, min;
        scale_and_min(p + 4, j, &scale, &min);
        const float by = d * (float)scale, off = dmin * (float)min;
        for (int i = 0; i < BLOCK; i++)
            y[j * BLOCK + i] = by * (float)(j % 2 ? q[i] >> 4 : q[i] & 15) - off;
    }
}

static int clamped(float x, int most) // to the nearest, ties to even
{
    const float r = rintf(x);
    return r < 0 ? 0 : r > (float)most ? most : (int)r;
}

typedef struct line { // x is near scale q + min, q in [0, 15], min at most 0
    float scale, min;
} line;

typedef struct sums { // over a group, weighted
    float w, x, q, qq, qx;
} sums;

static float error_of(const float *x, const float *w, const int *q, line l)
{
    float off = 0;
    for (int i = 0; i < BLOCK; i++) {
        const float diff = l.scale * (float)q[i] + l.min - x[i];
        off += w[i] * (diff * diff);
    }
    return off;
}

// The line of least squares for codes that are made with this many steps to a unit, where there is one.
static bool fit(const float *x, const float *w, sums s, float least, float steps, int *q, line *l)
{
    for (int i = 0; i < BLOCK; i++) {
        q[i] = clamped(steps * (x[i] - least), 15);
        s.q += w[i] * (float)q[i], s.qq += w[i] * (float)q[i] * (float)q[i], s.qx += w[i] * (float)q[i] * x[i];
    }
    const float det = s.w * s.qq - s.q * s.q;
    if (!(det > 0))
        return false;
    *l = (line){ (s.w * s.qx - s.x * s.q) / det, (s.qq * s.x - s.q * s.qx) / det };
    if (l->min > 0)
        *l = (line){ s.qx / s.qq, 0 };
    return true;
}

// ggml's search: codes from the smallest value to the largest in 15 steps, and in 14 to 16 by tenths with the line that fits those best;
// what is the best so far moves where the next begin.
static line best_line(const float *x, const float *w)
{
    sums s = { 0 };
    float least = x[0], most = x[0];
    int q[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        least = fminf(least, x[i]), most = fmaxf(most, x[i]);
        s.w += w[i], s.x += w[i] * x[i];
    }
    least = fminf(least, 0);
    if (most == least)
        return (line){ 0, least };
    const float steps = 15 / (most - least);
    line best = { 1 / steps, least }, l;
    for (int i = 0; i < BLOCK; i++)
        q[i] = clamped(steps * (x[i] - least), 15);
    float error = error_of(x, w, q, best);
    for (int k = 0; k <= 20; k++) {
        if (!fit(x, w, s, best.min, (-1.0f + 0.1f * (float)k + 15) / (most - best.min), q, &l))
            continue;
        const float e = error_of(x, w, q, l);
        if (e < error)
            error = e, best = l;
    }
    return best;
}

static line line_of(const float *x) // large values count for more
{
    float w[BLOCK], square = 0;
    for (int i = 0; i < BLOCK; i++)
        square += x[i] * x[i];
    const float usual = sqrtf(square / BLOCK);
    for (int i = 0; i < BLOCK; i++)
        w[i] = usual + fabsf(x[i]);
    return best_line(x, w);
}

static void to_q4_k(const float *x, uint8_t *p)
{
    line of[SUPER / BLOCK];
    float scale_most = 0, min_most = 0;
    for (int j = 0; j < SUPER / BLOCK; j++) {
        of[j] = line_of(x + j * BLOCK);
        scale_most = fmaxf(scale_most, of[j].scale), min_most = fmaxf(min_most, -of[j].min);
    }
    const float to_scale = scale_most > 0 ? 63 / scale_most : 0, to_min = min_most > 0 ? 63 / min_most : 0;
    memset(p, 0, 144);
    put_half(p, scale_most / 63);
    put_half(p + 2, min_most / 63);
    for (int j = 0; j < SUPER / BLOCK; j++)
        put_scale_and_min(p + 4, j, clamped(to_scale * of[j].scale, 63), clamped(to_min * -of[j].min, 63));
    for (int j = 0; j < SUPER / BLOCK; j++) {
        int scale, min;
        scale_and_min(p + 4, j, &scale, &min);
        const float d = half_at(p) * (float)scale, off = half_at(p + 2) * (float)min;
        uint8_t *q = p + 16 + j / 2 * BLOCK;
        for (int i = 0; i < BLOCK && d != 0; i++)
            q[i] = (uint8_t)(q[i] | clamped((x[j * BLOCK + i] + off) / d, 15) << j % 2 * 4);
    }
}

// ---- Q6_K

static void from_q6_k(const uint8_t *p, float *y)
{
    const float d = half_at(p + 208);
    for (int i = 0; i < SUPER; i++) {
        const int of = i / 128, l = i % 32, quarter = i % 128 / 32; // of 128 values: their quarters share bytes
        const uint8_t low = p[of * 64 + quarter % 2 * 32 + l], high = p[128 + of * 32 + l];
        const int q = (quarter < 2 ? low & 15 : low >> 4) | (high >> (2 * quarter) & 3) << 4;
        y[i] = d * (float)(int8_t)p[192 + i / 16] * (float)(q - 32);
    }
}

// ---- by type

static const struct block {
    hs_ggml_type type;
    int values;
    size_t bytes;
    void (*from)(const uint8_t *p, float *y);
    void (*to)(const float *x, uint8_t *p); // NULL: only read
} blocks[] = {
    { HS_GGML_Q8_0, BLOCK, 34, from_q8_0, to_q8_0 },
    { HS_GGML_Q4_0, BLOCK, 18, from_q4_0, to_q4_0 },
    { HS_GGML_Q4_K, SUPER, 144, from_q4_k, to_q4_k },
    { HS_GGML_Q6_K, SUPER, 210, from_q6_k, NULL },
};

static const struct block *block_of(hs_ggml_type t)
{
    for (int i = 0; i < HS_COUNT(blocks); i++)
        if (blocks[i].type == t)
            return &blocks[i];
    return NULL;
}

static hs_dtype plain(hs_ggml_type t) { return t == HS_GGML_F16 ? HS_F16 : t == HS_GGML_BF16 ? HS_BF16 : HS_F32; }

bool hs_ggml_in_blocks(hs_ggml_type type) { return block_of(type) != NULL; }

void hs_ggml_to_f32(hs_ggml_type type, const void *src, float *dst, int64_t n)
{
    enum { AT_ONCE = 4096 };
    const struct block *b = block_of(type);
    const size_t bytes = hs_dtype_bytes(plain(type));
    float aligned[AT_ONCE];
    if (b)
        for (int64_t i = 0; i < n / b->values; i++)
            b->from((const uint8_t *)src + (size_t)i * b->bytes, dst + i * b->values);
    else
        for (int64_t i = 0; i < n; i += AT_ONCE) { // the file may hold them at odd addresses
            const int64_t piece = n - i < AT_ONCE ? n - i : AT_ONCE;
            memcpy(aligned, (const char *)src + (size_t)i * bytes, (size_t)piece * bytes);
            hs_convert(dst + i, HS_F32, aligned, plain(type), piece);
        }
}

void hs_ggml_from_f32(hs_ggml_type type, const float *src, void *dst, int64_t n)
{
    const struct block *b = block_of(type);
    if (b)
        for (int64_t i = 0; i < n / b->values; i++)
            b->to(src + i * b->values, (uint8_t *)dst + (size_t)i * b->bytes);
    else
        hs_convert(dst, plain(type), src, HS_F32, n);
}

// ---- of our own codes

bool hs_ggml_of_coding(hs_coding c, hs_ggml_type *type)
{
    *type = c == HS_CODING_I4_BLOCKS ? HS_GGML_Q4_0 : HS_GGML_Q8_0;
    return c == HS_CODING_I8_BLOCKS || c == HS_CODING_I4_BLOCKS;
}

void hs_ggml_from_codes(hs_coding c, const void *codes, const void *scales, void *dst, int64_t n)
{
    const uint8_t *q = codes;
    uint8_t *p = dst;
    for (int64_t b = 0; b < n / BLOCK; b++) {
        memcpy(p, (const uint8_t *)scales + b * 2, 2);
        p += 2;
        if (c == HS_CODING_I8_BLOCKS) {
            memcpy(p, q, BLOCK);
            p += BLOCK, q += BLOCK;
            continue;
        }
        for (int i = 0; i < BLOCK / 2; i++) { // neighbours share our bytes, halves of the block ggml's
            const int low = q[i / 2] >> i % 2 * 4 & 15, high = q[(i + BLOCK / 2) / 2] >> i % 2 * 4 & 15;
            p[i] = (uint8_t)(low | high << 4);
        }
        p += BLOCK / 2, q += BLOCK / 2;
    }
}
