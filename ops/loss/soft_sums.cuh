// soft_sums: of the divergence between two softmaxes, sums of which values come in any order - what soft_targets and relations share.
#ifndef HS_OPS_SOFT_SUMS_CUDA_H
#define HS_OPS_SOFT_SUMS_CUDA_H
#include "core/cuda/gpu.cuh"

typedef struct soft_sums {           // e^ of (value - max) / T
    float max_p, max_q, p, q, cross; // cross: of e_q ((teacher - max_q) - (x - max_p))
} soft_sums;

static __device__ __forceinline__ soft_sums soft_none() { return { -INFINITY, -INFINITY, 0, 0, 0 }; }

// The same sums about other maxima, none of them below. inv: 1 / T.
static __device__ __forceinline__ void soft_shift(soft_sums *s, float max_p, float max_q, float inv)
{
    const float p = expf((s->max_p - max_p) * inv), q = expf((s->max_q - max_q) * inv);
    if (s->q > 0) // else the maxima are those of nothing
        s->cross = q * (s->cross + s->q * ((s->max_q - max_q) - (s->max_p - max_p)));
    s->p *= p, s->q *= q;
    s->max_p = max_p, s->max_q = max_q;
}

// One value of each, neither above its maximum.
static __device__ __forceinline__ void soft_add(soft_sums *s, float x, float teacher, float inv)
{
    const float q = expf((teacher - s->max_q) * inv);
    s->p += expf((x - s->max_p) * inv), s->q += q;
    s->cross += q * ((teacher - s->max_q) - (x - s->max_p));
}

#endif
