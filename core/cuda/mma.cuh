// mma: tensor-core products of a warp, and what feeds them: one wrapper per PTX instruction, each with its emulated body in tests/emu/emu.h.
//
//   mma<T>(d, a, b)       d[16, 8] += a[16, 16] b[16, 8], T bf16 or f16, d f32. Of lane l, with g = l / 4 and t = l % 4:
//                         a[0..3]: pairs (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8) as (row, first column), the lower column in the low half
//                         b[0..1]: pairs (2t, g), (2t + 8, g) as (first row, column)
//                         d[0..3]: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
//   mma_i8(d, a, b)       d[16, 8] += a[16, 32] b[32, 8] of int8 onto int32, wrapping: as above with four neighbours in k in a word, the lowest
//                         in the lowest byte, in the place of a pair
//   ldmatrix(r, row)      r[1], r[2] or r[4]: as many 8 x 8 matrices of 16 bits out of shared memory; lane 8 m + i gives the address of row i of
//                         matrix m, 16 bytes at a multiple of 16 (lanes beyond are not read from, but give a valid address); lane l gets
//                         of matrix m the pair (g, 2t) in r[m]
//   ldmatrix_trans(r, row)  the same of the transposed matrices: the pair (2t, g), (2t + 1, g)
//   cp_async<BYTES>(to, from, live)   4, 8 or 16 bytes from global to shared memory behind the threads' backs; zeros where not live (`from` is
//                         then not read). To be read by its own thread behind cp_async_wait, by others behind a barrier after that.
//   cp_async_commit()     closes a group of those begun so far; cp_async_wait<N>() waits for all but the N youngest groups
//
// All 32 lanes call mma and ldmatrix together.
#ifndef HS_CORE_MMA_H
#define HS_CORE_MMA_H
#include "core/cuda/gpu.cuh"

#ifndef HS_EMULATED
static __device__ __forceinline__ unsigned shared_address(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }

#define HS_MMA(type)                                                                                                                       \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"       \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                                          \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
static __device__ __forceinline__ void mma_of(bf16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { HS_MMA("bf16"); }
static __device__ __forceinline__ void mma_of(f16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { HS_MMA("f16"); }
#undef HS_MMA
static __device__ __forceinline__ void mma_i8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#define HS_LDMATRIX(name, trans)                                                                                                           \
    static __device__ __forceinline__ void name(uint32_t(&r)[1], const void *row)                                                          \
    {                                                                                                                                      \
        asm volatile("ldmatrix.sync.aligned.m8n8.x1" trans ".shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(shared_address(row)) : "memory");  \
    }                                                                                                                                      \
    static __device__ __forceinline__ void name(uint32_t(&r)[2], const void *row)                                                          \
    {                                                                                                                                      \
        asm volatile("ldmatrix.sync.aligned.m8n8.x2" trans ".shared.b16 {%0,%1}, [%2];"                                                    \
                     : "=r"(r[0]), "=r"(r[1])                                                                                              \
                     : "r"(shared_address(row))                                                                                            \
                     : "memory");                                                                                                          \
    }                                                                                                                                      \
    static __device__ __forceinline__ void name(uint32_t(&r)[4], const void *row)                                                          \
    {                                                                                                                                      \
        asm volatile("ldmatrix.sync.aligned.m8n8.x4" trans ".shared.b16 {%0,%1,%2,%3}, [%4];"                                              \
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                                                                      \
                     : "r"(shared_address(row))                                                                                            \
                     : "memory");                                                                                                          \
    }
HS_LDMATRIX(ldmatrix, "")
HS_LDMATRIX(ldmatrix_trans, ".trans")
#undef HS_LDMATRIX

template <int BYTES> static __device__ __forceinline__ void cp_async(void *to, const void *from, bool live = true)
{
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    const int bytes = live ? BYTES : 0;
    if (BYTES == 16) // past the first-level cache
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)), "l"(from), "n"(BYTES), "r"(bytes) : "memory");
}
static __device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> static __device__ __forceinline__ void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

template <class T> static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    mma_of(T(), d, a, b);
}
#endif
#endif
