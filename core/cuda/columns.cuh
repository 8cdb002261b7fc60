// columns: sums over rows, for gradients of what every row shares (gamma, beta, biases). COLUMN_ROWS rows make a part, which leaves its
// sums in scratch; a second launch adds the parts up in order. A part has so many rows whatever the capacity is and however many live: the
// bits depend on neither, nor on what runs at once.
#ifndef HS_CORE_COLUMNS_H
#define HS_CORE_COLUMNS_H
#include "core/cuda/gpu.cuh"

enum { COLUMN_ROWS = 32, COLUMN_WARPS = 16 };

HS_INLINE int64_t column_parts(int64_t rows) { return (rows + COLUMN_ROWS - 1) / COLUMN_ROWS; }
// Of scratch: f32 [parts of the capacity, sums, cols].
static inline size_t column_bytes(int64_t rows, int sums, int64_t cols)
{
    return (size_t)(column_parts(rows) * sums * cols) * sizeof(float);
}

struct column_dst {
    float *p;
    bool add;
};
static __device__ __forceinline__ void put_column(const column_dst &y, int64_t c, float sum)
{
    if (y.p)
        y.p[c] = y.add ? y.p[c] + sum : sum;
}

// Sum s: y_s[c] = or += part[0][s][c] + part[1][s][c] + ... of the live rows. Each warp of a block adds up every COLUMN_WARPS-th part. One
// thread writes all sums of a column, in order: two of them may be one tensor's.
template <int SUMS>
static __global__ void add_column_parts(const float *part, hs_ref rows, const hs_step_in *step, int64_t cols, column_dst y0, column_dst y1,
                                        column_dst y2)
{
    HS_SHARED(float, at, [COLUMN_WARPS][SUMS][WARP]);
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t c = (int64_t)blockIdx.x * WARP + lane, parts = column_parts(live_rows(rows, step));
    float sum[3] = {};
    if (c < cols) {
#pragma unroll 8
        for (int64_t p = warp; p < parts; p += COLUMN_WARPS)
#pragma unroll
            for (int s = 0; s < SUMS; s++)
                sum[s] += part[(p * SUMS + s) * cols + c];
    }
#pragma unroll
    for (int s = 0; s < SUMS; s++)
        at[warp][s][lane] = sum[s];
    __syncthreads();
    if (warp || c >= cols)
        return;
#pragma unroll
    for (int s = 0; s < SUMS; s++)
#pragma unroll
        for (int w = 1; w < COLUMN_WARPS; w++)
            sum[s] += at[w][s][lane];
    put_column(y0, c, sum[0]);
    put_column(y1, c, sum[1]);
    put_column(y2, c, sum[2]);
}
// rows: whose live rows the parts were made of; y...: f32 gradients in the order of the sums, which is that of their operands; absent where
// nobody wants one.
static inline column_dst column_to(const hs_ref &y) { return { cells<float>(y), y.add }; }
template <class... R>
static inline void add_columns(const float *part, const hs_ref &rows, const hs_step_in *step, int64_t cols, cudaStream_t stream,
                               const R &...y)
{
    constexpr int SUMS = (int)sizeof...(y);
    static_assert(SUMS <= 3, "at most three sums");
    const column_dst to[3] = { column_to(y)... };
    if ((y.p || ...))
        HS_LAUNCH((add_column_parts<SUMS>), grid_of(cols, WARP), COLUMN_WARPS * WARP, 0, stream, part, rows, step, cols, to[0], to[1],
                  to[2]);
}

#endif
