// column_sums: the gradient of a bias - sums of the columns of dy over its live rows, part by part (core/cuda/columns.cuh).
#ifndef HS_OPS_COLUMN_SUMS_CUDA_H
#define HS_OPS_COLUMN_SUMS_CUDA_H
#include "core/cuda/columns.cuh"

enum { SUM_THREADS = 64, SUM_ROWS = 32 };

template <int N, class T> static __global__ void sum_part(const T *dy, float *part, hs_ref rows, const hs_step_in *step)
{
    const int64_t C = rows.cols, c = ((int64_t)blockIdx.x * SUM_THREADS + threadIdx.x) * N, live = live_rows(rows, step);
    if (c >= C)
        return;
    float sum[N] = { 0 };
#pragma unroll 4
    for (int64_t n = blockIdx.y; n < live; n += gridDim.y) {
        float x[N];
        load_f<N>(dy + n * C + c, x);
#pragma unroll
        for (int i = 0; i < N; i++)
            sum[i] += x[i];
    }
    store_f<N>(part + (int64_t)blockIdx.y * C + c, sum);
}

// part: scratch of column_bytes(rows, SUM_ROWS, cols)
static inline void sum_columns(const hs_ref &dy, const hs_step_in *step, float *part, const hs_ref &sums, cudaStream_t stream)
{
    const int parts = column_parts(dy.rows, SUM_ROWS);
    if (rows_by(8, dy))
        BY_FLOAT(dy.dtype, T,
                 HS_LAUNCH((sum_part<8, T>), dim3((unsigned)blocks_of(dy.cols, 8 * SUM_THREADS), (unsigned)parts), SUM_THREADS, 0, stream,
                           cells<T>(dy), part, dy, step));
    else
        BY_FLOAT(dy.dtype, T,
                 HS_LAUNCH((sum_part<1, T>), dim3((unsigned)blocks_of(dy.cols, SUM_THREADS), (unsigned)parts), SUM_THREADS, 0, stream,
                           cells<T>(dy), part, dy, step));
    add_columns(part, parts, dy.cols, dy.cols, sums, stream);
}

#endif
