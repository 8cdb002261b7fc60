// gemm: matrix products on CUDA. Whoever multiplies matrices describes the product and hands it over; what multiplies them is this door's
// affair: gemm.cu has our own kernels and, where a GPU has it, asks cuBLASLt for all products but those of few rows (gemm_lt.cu).
//
//   C[z][m, n] (=|+=) scale A[z][m, k] B[z][k, n] + bias[n]        f32 sums, rounded once where C is low
//
// A and B are f32, bf16 or f16. Two of f32 are multiplied as f32; where one is low both are, an f32 beside it narrowed on its way. Two low
// ones are alike. Any sizes and strides are right; multiples of 8 with rows at multiples of 16 bytes are fast.
//
// A cell of C is one chain of sums over each CHUNK of k, from zero and in the order of k; the chunks' sums are added in order. Nothing else
// enters: not the size of a tile, not how many rows there are. Only where k is a live count (the gradient of a weight) may ranges of
// chunks have partial sums, which depend on capacities and are added in order: the same bits in every run.
#ifndef HS_CORE_CUDA_GEMM_H
#define HS_CORE_CUDA_GEMM_H
#include "core/cuda/cublaslt.h"
#include "core/cuda/gpu.cuh"

enum { GEMM_CHUNK = 512 };

typedef struct gemm_side {
    const void *p;
    int64_t ld, stride; // elements between rows as stored, between batches
    hs_dtype dtype;
    bool k_major; // stored [k, m] or [k, n]; else k is contiguous: [m, k] or [n, k]
    uint8_t way;  // how it is read; gemm_run finds out
} gemm_side;

typedef struct gemm_onto {
    void *p;
    int64_t ld, stride;
    hs_dtype dtype;
    bool add;
    const float *bias; // [n] or NULL
    float scale;
    uint8_t wide; // rows can be written four columns at a time; gemm_run finds out
} gemm_onto;

enum gemm_live { GEMM_ALL, GEMM_LIVE_M, GEMM_LIVE_K, GEMM_LIVE_BATCHES };

typedef struct gemm {
    int64_t m, n, k, batches; // capacities
    gemm_side a, b;
    gemm_onto c;
    // One of them may be a live count: of the rows of an operand those from `first` on, each standing for `each`. What is beyond it is
    // neither read nor written.
    int live; // gemm_live
    hs_ext ext;
    int64_t rows, first, each;
    const hs_step_in *step;
    float *partial; // scratch of gemm_bytes for partial sums; NULL: none are made
} gemm;

// Bytes for partial sums of a product whose k is a live count.
size_t gemm_bytes(int64_t m, int64_t n, int64_t k, int64_t batches);
void gemm_run(const gemm *g, hs_lane *lane);
// A product and what stands behind it in one kernel of cuBLASLt's (core/cuda/cublaslt.h), where that is there, and faster than `apart`, which
// does the same onto the same bytes. False: the caller goes apart.
typedef struct gemm_behind {
    hs_lt_behind what;
    void *aux; // [m, n] in C's type, rows ld_aux apart; NULL: none
    int64_t ld_aux;
    float *sums; // of HS_LT_SUMS: [m], of A over k
    void (*apart)(const void *given, hs_lane *lane);
    const void *given;
} gemm_behind;
bool gemm_with(const gemm *g, const gemm_behind *b, hs_lane *lane);
// [n] in the type of a product of cuBLASLt's, for the lane's next one: itself where it is f32, else in the lane's room. NULL: there is none.
const void *gemm_bias_for(hs_lane *lane, const float *bias, int64_t n, hs_dtype d);

// ---- for operands
static inline gemm_side gemm_of(const hs_ref &r, bool k_major)
{
    gemm_side s = {};
    s.p = r.p, s.ld = r.cols, s.dtype = r.dtype, s.k_major = k_major;
    return s;
}
static inline gemm_onto gemm_to(const hs_ref &r)
{
    gemm_onto c = {};
    c.p = r.p, c.ld = r.cols, c.dtype = r.dtype, c.add = r.add, c.scale = 1;
    return c;
}
static inline gemm gemm_make(int64_t m, int64_t n, int64_t k)
{
    gemm g = {};
    g.m = m, g.n = n, g.k = k, g.batches = 1, g.each = 1;
    return g;
}
static inline void gemm_count(gemm *g, int live, const hs_ref &r, const hs_step_in *step)
{
    g->live = live, g->ext = r.ext, g->rows = r.rows, g->step = step;
}

#endif
