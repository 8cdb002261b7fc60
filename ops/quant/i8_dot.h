// i8_dot: what an instruction set has for sums of products of int8, for products and for the peak that they are measured against. Compiled
// once per ISA tier; an instruction that not all CPUs of a tier have is asked for when it runs.
#ifndef HS_OPS_I8_DOT_H
#define HS_OPS_I8_DOT_H
#include "ops/dense/gemm.h"
#if defined(__SSE2__)
#include <immintrin.h>
#endif

// ---- 16 bits: products in pairs onto 32 bits
typedef int32_t sums_of __attribute__((vector_size(GEMM_VL * 4)));
typedef int16_t pairs __attribute__((vector_size(GEMM_VL * 4)));

static inline __attribute__((always_inline)) sums_of add_products(sums_of sum, pairs a, pairs b)
{
#if defined(__AVX512F__)
    return sum + (sums_of)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return sum + (sums_of)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return sum + (sums_of)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    const sums_of product = (sums_of)(a * b); // each fits
    return sum + (product >> 16) + ((product << 16) >> 16);
#endif
}
// ---- dot: four products of an unsigned and a signed byte onto 32 bits. DOT(sum, unsigned, signed)
#if defined(__AVX512F__)
#define DOT_TARGET      __attribute__((target("avx512vnni")))
#define DOT(sum, b, a)  _mm512_dpbusd_epi32(sum, b, a)
#define DOT_ADD(a, b)   _mm512_add_epi32(a, b)
#define DOT_SET1(v)     _mm512_set1_epi32(v)
#define DOT_LOAD(p)     _mm512_loadu_si512(p)
#define DOT_STORE(p, v) _mm512_storeu_si512(p, v)
#define DOT_NAME        "vpdpbusd"
typedef __m512i dot_vec;
#elif defined(__AVX2__) && ((defined(__GNUC__) && __GNUC__ >= 11) && !defined(__clang__))
#define DOT_TARGET      __attribute__((target("avxvnni")))
#define DOT(sum, b, a)  _mm256_dpbusd_avx_epi32(sum, b, a)
#define DOT_ADD(a, b)   _mm256_add_epi32(a, b)
#define DOT_SET1(v)     _mm256_set1_epi32(v)
#define DOT_LOAD(p)     _mm256_loadu_si256((const __m256i *)(p))
#define DOT_STORE(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define DOT_NAME        "vpdpbusd (AVX-VNNI)"
typedef __m256i dot_vec;
#endif

#if defined(DOT_TARGET)
static inline bool dot_runs(void)
{
#if defined(__AVX512VNNI__)
    return true;
#elif defined(__AVX512F__)
    return __builtin_cpu_supports("avx512vnni");
#else
    return __builtin_cpu_supports("avxvnni");
#endif
}
#endif

#endif
