// round: weights to codes, each to the nearest (core/graph/coding.h says how codes and scales lie; the codes' values are hs_coded_values).
//
//   I8, I8_STATIC   scale = amax / 127 of an output's row, in f32     code = w / scale to the nearest, ties to even, in [-127, 127]
//   I8_BLOCKS       likewise of 32 along the row; the scale is rounded to f16 first, and codes are by what it then is
//   I4_BLOCKS       scale = (the value of largest magnitude, with its sign) / -8, which therefore is code -8; codes in [-8, 7]
//
// As GGUF's q8_0 and q4_0 mean them; ggml itself takes codes by the scale before it is rounded. A block of zeros has scale 0. Scales of f16
// end at 65,504: larger weights are refused, and blocks with |w| under 1e-5 or so lose bits of their scale, as in every file of these
// types.
//
// With `search` the scale of a block of 4 bits is the best of a grid instead, by sum (w - code scale)^2: 1 / scale at 19 steps of 0.1
// around 8 and -8 over the largest magnitude, each refitted by least squares to the codes it gives. Never worse than without, on any block.
#ifndef HS_INFER_ROUND_H
#define HS_INFER_ROUND_H
#include "core/graph/coding.h"

// w [rows][cols], codes and scales as hs_coding_shape has them. name: of the parameter, for messages.
// NONFINITE: a NaN or an infinity. USAGE: a weight too large for scales of f16. Then codes and scales are not to be used.
hs_status hs_round_weights(hs_coding c, const float *w, int64_t rows, int64_t cols, bool search, const char *name, void *codes,
                           void *scales);

// ---- pieces, for what chooses codes otherwise (gptq.h)
// How many values along a row share a scale.
static inline int64_t hs_round_group(hs_coding c, int64_t cols)
{
    return c == HS_CODING_I8 || c == HS_CODING_I8_STATIC ? cols : HS_CODE_BLOCK;
}
hs_status hs_round_check(hs_coding c, const float *w, int64_t rows, int64_t cols, const char *name); // the errors of hs_round_weights
float hs_round_scale(hs_coding c, const float *w, int64_t n, bool search);                           // of one group, as it will be stored
// Of group `at` of all, and of value `at` of all: row-major. Halves of a byte are set one by one, from zero.
void hs_round_put_scale(hs_coding c, void *scales, int64_t at, float scale);
void hs_round_put_code(hs_coding c, void *codes, int64_t at, int code);

static inline int hs_round_least(hs_coding c) { return c == HS_CODING_I4_BLOCKS ? -8 : -127; }
static inline int hs_round_most(hs_coding c) { return c == HS_CODING_I4_BLOCKS ? 7 : 127; }
// The code next to w. Clamped before it is rounded, which comes to the same, and then adding 1.5 2^23 rounds: no call, in any tier.
static inline float hs_round_code(hs_coding c, float w, float scale)
{
    const float least = (float)hs_round_least(c), most = (float)hs_round_most(c), shift = 12582912.0f;
    float x = scale != 0 ? w / scale : 0;
    x = x > least ? x : least;
    x = x < most ? x : most;
    return x + shift - shift;
}

#endif
