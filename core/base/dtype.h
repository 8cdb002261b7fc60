// dtype: the element types, and exact conversion between them.
//
// Narrowing rounds to nearest, ties to even; subnormals are kept; Inf stays Inf, NaN stays NaN (quiet, never Inf);
// what overflows f16 or bf16 becomes Inf, what overflows e4m3 or e5m2 their largest value (core/base/fp8.h). Every pair of types is rounded
// once (f64 to bf16 does not pass through f32's rounding). Floats to integers truncate and saturate, NaN gives 0; integers to narrower ones
// saturate; bool is x != 0.
#ifndef HS_CORE_DTYPE_H
#define HS_CORE_DTYPE_H
#include "core/base/inline.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

//   enum  name    bytes  safetensors
#define HS_DTYPE_LIST(X)                                                                                                                   \
    X(F64, "f64", 8, "F64")                                                                                                                \
    X(F32, "f32", 4, "F32")                                                                                                                \
    X(F16, "f16", 2, "F16")                                                                                                                \
    X(BF16, "bf16", 2, "BF16")                                                                                                             \
    X(I64, "i64", 8, "I64")                                                                                                                \
    X(I32, "i32", 4, "I32")                                                                                                                \
    X(U8, "u8", 1, "U8")                                                                                                                   \
    X(I8, "i8", 1, "I8")                                                                                                                   \
    X(BOOL, "bool", 1, "BOOL")                                                                                                             \
    X(E4M3, "e4m3", 1, "F8_E4M3")                                                                                                          \
    X(E5M2, "e5m2", 1, "F8_E5M2")

typedef enum hs_dtype {
#define HS_DTYPE_ENUM(e, n, b, s) HS_##e,
    HS_DTYPE_LIST(HS_DTYPE_ENUM)
#undef HS_DTYPE_ENUM
        HS_N_DTYPES
} hs_dtype;

// All names by value, as a choice's words: "f64|f32|..."
#define HS_DTYPE_WORD(e, n, b, s) "|" n
#define HS_DTYPE_WORDS            (&(HS_DTYPE_LIST(HS_DTYPE_WORD))[1])

const char *hs_dtype_name(hs_dtype d);             // "bf16"
const char *hs_dtype_safetensors(hs_dtype d);      // "BF16"
size_t hs_dtype_bytes(hs_dtype d);                 // of one element
bool hs_dtype_parse(const char *s, hs_dtype *out); // accepts "f32" and "fp32", "f16" and "fp16", "F32" of safetensors; false if unknown

static inline bool hs_dtype_is_fp8(hs_dtype d) { return d == HS_E4M3 || d == HS_E5M2; }
static inline bool hs_dtype_is_float(hs_dtype d) { return d <= HS_BF16 || hs_dtype_is_fp8(d); }
static inline bool hs_dtype_is_low(hs_dtype d) { return d == HS_F16 || d == HS_BF16; }

// dst[i] = (dd)src[i]. Any pair of types. dst and src may be the same address if the sizes are equal.
void hs_convert(void *dst, hs_dtype dd, const void *src, hs_dtype sd, int64_t n);

HS_INLINE float hs_bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
HS_INLINE uint32_t hs_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static inline float hs_bf16_f32(uint16_t h) { return hs_bits_f32((uint32_t)h << 16); }
static inline uint16_t hs_f32_bf16(float f)
{
    const uint32_t u = hs_f32_bits(f);
    const uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1)) >> 16;
    const uint32_t nan = (u >> 16) | 0x40;
    return (uint16_t)((u & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

// ---- a value in two halves: a bf16 to compute with, and 16 bits that make it the f32 again
// The bf16 nearest to a parameter's value, ties away from zero; NaN becomes quiet. (hs_f32_bf16's ties to even give an even bf16 65,537
// values, one more than 16 bits can tell apart.) What is missing then are the low 16 bits as they are:
// hs_halves_join(hs_value_bf16(u), (uint16_t)u) == u for the bits u of every f32 but a signaling NaN, which comes back quiet.
HS_INLINE uint16_t hs_value_bf16(uint32_t bits)
{
    return (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? bits >> 16 | 0x40 : (bits + 0x8000u) >> 16);
}
HS_INLINE uint32_t hs_halves_join(uint16_t high, uint16_t low)
{
    const uint32_t up = (high & 0x7FFFu) > 0x7F80u ? 0u : (uint32_t)low >> 15; // it was rounded up; a NaN was not
    return ((uint32_t)high - up) << 16 | low;
}

// f16 without branches, so that compilers vectorise it; NaN becomes quiet and keeps the top of its payload, as in F16C.
static inline float hs_f16_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = h & 0x7C00u, m = h & 0x3FFu;
    const uint32_t normal = ((uint32_t)(h & 0x7FFFu) << 13) + (112u << 23);
    const uint32_t special = 0x7F800000u | (m << 13) | (m ? 0x400000u : 0);
    const uint32_t subnormal = hs_f32_bits((float)m * 0x1p-24f);
    return hs_bits_f32(sign | (e == 0x7C00u ? special : e == 0 ? subnormal : normal));
}
static inline uint16_t hs_f32_f16(float f)
{
    const uint32_t bits = hs_f32_bits(f), sign = (bits >> 16) & 0x8000u, u = bits & 0x7FFFFFFFu;
    const uint32_t normal = (u - (112u << 23) + 0xFFFu + ((u >> 13) & 1)) >> 13;       // 65520 and above carries into Inf
    const uint32_t subnormal = hs_f32_bits(hs_bits_f32(u) + 0.5f) - hs_f32_bits(0.5f); // the adder rounds: 0.5's ulp is 2^-24
    const uint32_t nan = 0x7E00u | ((u >> 13) & 0x3FFu);
    const uint32_t r = u > 0x7F800000u ? nan : u >= (143u << 23) ? 0x7C00u : u < (113u << 23) ? subnormal : normal;
    return (uint16_t)(sign | r);
}

#ifdef __cplusplus
}
#endif
#endif
