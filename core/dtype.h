// dtype: the element types, and exact conversion between them.
//
// Narrowing rounds to nearest, ties to even; subnormals are kept; Inf stays Inf, NaN stays NaN (quiet, never Inf);
// what overflows f16 or bf16 becomes Inf. Floats to integers truncate and saturate, NaN gives 0.
#ifndef HS_CORE_DTYPE_H
#define HS_CORE_DTYPE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

//   enum  name    bytes  safetensors
#define HS_DTYPE_LIST(X)                                                                                                   \
    X(F64, "f64", 8, "F64")                                                                                                \
    X(F32, "f32", 4, "F32")                                                                                                \
    X(F16, "f16", 2, "F16")                                                                                                \
    X(BF16, "bf16", 2, "BF16")                                                                                             \
    X(I64, "i64", 8, "I64")                                                                                                \
    X(I32, "i32", 4, "I32")                                                                                                \
    X(U8, "u8", 1, "U8")                                                                                                   \
    X(I8, "i8", 1, "I8")                                                                                                   \
    X(BOOL, "bool", 1, "BOOL")

typedef enum hs_dtype {
#define HS_DTYPE_ENUM(e, n, b, s) HS_##e,
    HS_DTYPE_LIST(HS_DTYPE_ENUM)
#undef HS_DTYPE_ENUM
        HS_N_DTYPES
} hs_dtype;

const char *hs_dtype_name(hs_dtype d);            // "bf16"
const char *hs_dtype_safetensors(hs_dtype d);     // "BF16"
size_t hs_dtype_bytes(hs_dtype d);                // of one element
bool hs_dtype_parse(const char *s, hs_dtype *out); // accepts "f32" and "fp32", "f16" and "fp16", "F32" of safetensors; false if unknown

static inline bool hs_dtype_is_float(hs_dtype d) { return d <= HS_BF16; }
static inline bool hs_dtype_is_low(hs_dtype d) { return d == HS_F16 || d == HS_BF16; }

// dst[i] = (dd)src[i]. Any pair of types. dst and src may be the same address if the sizes are equal.
void hs_convert(void *dst, hs_dtype dd, const void *src, hs_dtype sd, int64_t n);

static inline float hs_bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline uint32_t hs_f32_bits(float f)
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
float hs_f16_f32(uint16_t h);
uint16_t hs_f32_f16(float f);

#ifdef __cplusplus
}
#endif
#endif
