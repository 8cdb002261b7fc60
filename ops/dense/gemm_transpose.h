// gemm_transpose: 16 x 16 words turned in registers. Internal to the products of the AVX-512 tiers.
#ifndef HS_OPS_GEMM_TRANSPOSE_H
#define HS_OPS_GEMM_TRANSPOSE_H
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
// t[c] lane r = row[r] lane c
static inline void transpose16(__m512i t[16])
{
    __m512i u[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        u[2 * i] = _mm512_unpacklo_epi32(t[2 * i], t[2 * i + 1]);
        u[2 * i + 1] = _mm512_unpackhi_epi32(t[2 * i], t[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[4 * i] = _mm512_unpacklo_epi64(u[4 * i], u[4 * i + 2]);
        t[4 * i + 1] = _mm512_unpackhi_epi64(u[4 * i], u[4 * i + 2]);
        t[4 * i + 2] = _mm512_unpacklo_epi64(u[4 * i + 1], u[4 * i + 3]);
        t[4 * i + 3] = _mm512_unpackhi_epi64(u[4 * i + 1], u[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        u[i] = _mm512_shuffle_i32x4(t[i], t[4 + i], 0x88);
        u[4 + i] = _mm512_shuffle_i32x4(t[i], t[4 + i], 0xDD);
        u[8 + i] = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0x88);
        u[12 + i] = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0xDD);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(u[i], u[8 + i], 0x88);
        t[8 + i] = _mm512_shuffle_i32x4(u[i], u[8 + i], 0xDD);
        t[4 + i] = _mm512_shuffle_i32x4(u[4 + i], u[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_i32x4(u[4 + i], u[12 + i], 0xDD);
    }
}
#endif
#endif
