// column_sums: the gradient of a bias on CUDA - sums of the columns of dy over its live rows (core/cuda/columns.cuh).
#ifndef HS_OPS_COLUMN_SUMS_CUDA_H
#define HS_OPS_COLUMN_SUMS_CUDA_H
#include "core/cuda/elementwise.cuh"

struct as_it_is {
    template <int N> __device__ int begin(int64_t, int64_t, int64_t, const hs_step_in *) const { return 0; }
    template <int N> __device__ void row(int, int, float (&)[N], const float (&)[N]) const {}
};

// part: scratch of column_bytes(rows, 1, cols). Nothing where nobody wants the sums.
static inline void sum_columns(const hs_args *a, hs_lane *lane, const hs_ref &dy, float *part, const hs_ref &sums)
{
    if (!sums.p)
        return;
    map_rows<true>(a, lane, as_it_is{}, hs_ref{}, dy, part);
    add_columns(part, dy, a->step, dy.cols, gpu_stream(lane), sums);
}

#endif
