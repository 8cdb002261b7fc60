// ggml_blocks: ggml's types of tensors to f32 and back. Its blocks are a scale in f16 and small integers:
//
//   Q8_0  d, 32 bytes            x = d q                          d = amax / 127, q = round(x / d) by the scale before it is rounded
//   Q4_0  d, 16 bytes            x = d (q - 8); byte j has value j in its low half and value j + 16 in its high half
#include "data/formats/gguf.h"
#include <math.h>
#include <string.h>

enum { BLOCK = 32 };

static float scale_of(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return hs_f16_f32(h);
}

static void from_q8(const uint8_t *p, float *y)
{
    const float d = scale_of(p);
    for (int i = 0; i < BLOCK; i++)
        y[i] = d * (float)(int8_t)p[2 + i];
}

static void from_q4(const uint8_t *p, float *y)
{
    const float d = scale_of(p);
    for (int i = 0; i < BLOCK / 2; i++) {
        y[i] = d * (float)((p[2 + i] & 15) - 8);
        y[i + BLOCK / 2] = d * (float)((p[2 + i] >> 4) - 8);
    }
}

static void to_q8(const float *x, uint8_t *p)
{
    float most = 0;
    for (int i = 0; i < BLOCK; i++)
        most = fmaxf(most, fabsf(x[i]));
    const float d = most / 127, by = d > 0 ? 1 / d : 0;
    const uint16_t h = hs_f32_f16(d);
    memcpy(p, &h, sizeof h);
    for (int i = 0; i < BLOCK; i++)
        p[2 + i] = (uint8_t)(int8_t)roundf(x[i] * by);
}

static hs_dtype plain(hs_ggml_type t) { return t == HS_GGML_F16 ? HS_F16 : t == HS_GGML_BF16 ? HS_BF16 : HS_F32; }

void hs_ggml_to_f32(hs_ggml_type type, const void *src, float *dst, int64_t n)
{
    enum { AT_ONCE = 4096 };
    int64_t values;
    size_t bytes;
    float aligned[AT_ONCE];
    hs_ggml_known((int)type, &values, &bytes);
    if (values == BLOCK)
        for (int64_t i = 0; i < n / BLOCK; i++)
            (type == HS_GGML_Q8_0 ? from_q8 : from_q4)((const uint8_t *)src + (size_t)i * bytes, dst + i * BLOCK);
    else
        for (int64_t i = 0; i < n; i += AT_ONCE) { // the file may hold them at odd addresses
            const int64_t piece = n - i < AT_ONCE ? n - i : AT_ONCE;
            memcpy(aligned, (const char *)src + (size_t)i * bytes, (size_t)piece * bytes);
            hs_convert(dst + i, HS_F32, aligned, plain(type), piece);
        }
}

void hs_ggml_from_f32(hs_ggml_type type, const float *src, void *dst, int64_t n)
{
    if (type == HS_GGML_Q8_0)
        for (int64_t i = 0; i < n / BLOCK; i++)
            to_q8(src + i * BLOCK, (uint8_t *)dst + i * 34);
    else
        hs_convert(dst, plain(type), src, HS_F32, n);
}
