// columns: sums over rows, for gradients of what every row shares (gamma, beta, biases, tables of few rows). Parts of rows leave their sums
// in scratch, a second launch adds them in order: the same bits at any number of blocks that run at once.
#ifndef HS_CORE_COLUMNS_H
#define HS_CORE_COLUMNS_H
#include "core/cuda/gpu.cuh"

enum { COLUMN_PARTS = 256 }; // that rows are cut into, at most

// Rows of a part, and how many parts there are: of the capacity, so that grids and bits do not depend on what lives.
static inline int column_parts(int64_t capacity, int64_t least_rows)
{
    const int64_t n = (capacity + least_rows - 1) / least_rows;
    return (int)(n < COLUMN_PARTS ? (n > 0 ? n : 1) : COLUMN_PARTS);
}
static inline size_t column_bytes(int64_t capacity, int64_t least_rows, int64_t cols) // of scratch, f32 [parts, cols]
{
    return (size_t)column_parts(capacity, least_rows) * (size_t)cols * sizeof(float);
}

// y[c] = or += the sum of part[0 .. parts)[c], in order
static __global__ void add_column_parts(const float *part, int parts, int64_t cols, int64_t stride, float *y, bool add)
{
    const int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= cols)
        return;
    float sum = 0;
    for (int p = 0; p < parts; p++)
        sum += part[p * stride + c];
    y[c] = add ? y[c] + sum : sum;
}
static inline void add_columns(const float *part, int parts, int64_t cols, int64_t stride, const hs_ref &y, cudaStream_t stream)
{
    if (y.p)
        HS_LAUNCH(add_column_parts, grid_of(cols, 64), 64, 0, stream, part, parts, cols, stride, cells<float>(y), y.add);
}

#endif
