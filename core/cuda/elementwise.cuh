// elementwise: the kernels of ops on single cells; an op brings a functor with its formula.
//
//   map_cells    y = f(), f(x) or f(x, z) over all live cells, whatever the shape: 8 at a time, and the last few one by one
//   map_rows     the same where a cell's row or column matters, and sums over rows are wanted: tiles of COLUMN_ROWS rows
//
// y may have the bytes of x or z: a thread reads cells before it writes those.
#ifndef HS_CORE_ELEMENTWISE_H
#define HS_CORE_ELEMENTWISE_H
#include "core/cuda/columns.cuh"

static inline bool by_16(const hs_ref &r) { return (uintptr_t)r.p % 16 == 0; }

// ---- cells
enum { CELLS = 8, CELL_PACKS = 2, CELL_THREADS = 256, CELLS_OF_BLOCK = CELL_THREADS * CELL_PACKS * CELLS };

template <int INPUTS, class F> static __device__ __forceinline__ float cell(const F &f, float x, float z)
{
    if constexpr (INPUTS == 0)
        return f();
    else if constexpr (INPUTS == 1)
        return f(x);
    else
        return f(x, z);
}

// wide: all operands begin at a multiple of 16 bytes
template <int INPUTS, class F>
static __global__ void each_cell(F f, hs_ref y, hs_ref x, hs_ref z, hs_ref rows, const hs_step_in *step, bool wide)
{
    const int64_t n = live_rows(rows, step) * rows.cols, first = (int64_t)blockIdx.x * CELLS_OF_BLOCK + threadIdx.x * CELLS;
    raw<CELLS> a[CELL_PACKS], b[CELL_PACKS];
#pragma unroll
    for (int k = 0; k < CELL_PACKS; k++) {
        const int64_t i = first + k * CELL_THREADS * CELLS;
        if (wide && i + CELLS <= n) {
            if (INPUTS > 0)
                a[k] = fetch<CELLS>(x, i);
            if (INPUTS > 1)
                b[k] = fetch<CELLS>(z, i);
        }
    }
#pragma unroll
    for (int k = 0; k < CELL_PACKS; k++) {
        const int64_t i = first + k * CELL_THREADS * CELLS;
        if (wide && i + CELLS <= n) {
            float u[CELLS] = {}, v[CELLS] = {};
            if (INPUTS > 0)
                widen<CELLS>(x, a[k], u);
            if (INPUTS > 1)
                widen<CELLS>(z, b[k], v);
#pragma unroll
            for (int j = 0; j < CELLS; j++)
                u[j] = cell<INPUTS>(f, u[j], v[j]);
            set_f<CELLS>(y, i, u);
        } else
            for (int64_t j = i; j < n && j < i + CELLS; j++)
                set_one(y, j, cell<INPUTS>(f, INPUTS > 0 ? get_one(x, j) : 0, INPUTS > 1 ? get_one(z, j) : 0));
    }
}
template <int INPUTS, class F>
static inline void launch_cells(const hs_args *a, hs_lane *lane, F f, const hs_ref &y, const hs_ref &x, const hs_ref &z, const hs_ref &rows)
{
    if (y.p)
        HS_LAUNCH((each_cell<INPUTS, F>), grid_of(rows.rows * rows.cols, CELLS_OF_BLOCK), CELL_THREADS, 0, gpu_stream(lane), f, y, x, z,
                  rows, a->step, by_16(y) && by_16(x) && by_16(z));
}
// An absent y: nothing to do.
template <class F> static inline void map_cells(const hs_args *a, hs_lane *lane, F f, const hs_ref &y)
{
    launch_cells<0>(a, lane, f, y, hs_ref{}, hs_ref{}, y);
}
template <class F> static inline void map_cells(const hs_args *a, hs_lane *lane, F f, const hs_ref &y, const hs_ref &x)
{
    launch_cells<1>(a, lane, f, y, x, hs_ref{}, x);
}
template <class F> static inline void map_cells(const hs_args *a, hs_lane *lane, F f, const hs_ref &y, const hs_ref &x, const hs_ref &z)
{
    launch_cells<2>(a, lane, f, y, x, z, x);
}

// ---- rows. A block has COLUMN_ROWS rows of WARP * N columns: a warp every ROW_WARPS-th of the rows, a lane N neighbouring columns.
enum { ROW_WARPS = 8, ROWS_OF_WARP = COLUMN_ROWS / ROW_WARPS, ROW_THREADS = ROW_WARPS * WARP };

// The functor:
//   state begin<N>(n, live, c, step)    what a thread keeps for its rows n, n + ROW_WARPS, ... < live and columns [c, c + N): a bias, a
//   mask void  row<N>(state, k, x, z)        x[N] becomes the result of the k-th of these rows; z: the second input, where there is one
template <int N, int INPUTS, bool SUMS, class F>
static __global__ void each_row(F f, hs_ref y, hs_ref x, hs_ref z, const hs_step_in *step, float *part)
{
    HS_SHARED(float, at, [SUMS ? ROW_WARPS : 1][SUMS ? WARP * N : 1]);
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t C = x.cols, live = live_rows(x, step), first = (int64_t)blockIdx.x * COLUMN_ROWS + warp,
                  c = ((int64_t)blockIdx.y * WARP + lane) * N;
    if ((int64_t)blockIdx.x * COLUMN_ROWS >= live)
        return;
    raw<N> a[ROWS_OF_WARP], b[ROWS_OF_WARP];
    float sum[N] = {};
    if (c < C) {
#pragma unroll
        for (int k = 0; k < ROWS_OF_WARP; k++) {
            const int64_t n = first + k * ROW_WARPS;
            if (n < live) {
                a[k] = fetch<N>(x, n * C + c);
                if (INPUTS > 1)
                    b[k] = fetch<N>(z, n * C + c);
            }
        }
        const auto state = f.template begin<N>(first, live, c, step);
#pragma unroll
        for (int k = 0; k < ROWS_OF_WARP; k++) {
            const int64_t n = first + k * ROW_WARPS;
            if (n < live) {
                float u[N], v[N] = {};
                widen<N>(x, a[k], u);
                if (INPUTS > 1)
                    widen<N>(z, b[k], v);
                f.template row<N>(state, k, u, v);
                if (y.p)
                    set_f<N>(y, n * C + c, u);
#pragma unroll
                for (int j = 0; j < N; j++)
                    sum[j] += u[j];
            }
        }
    }
    if constexpr (SUMS) {
#pragma unroll
        for (int j = 0; j < N; j++)
            at[warp][j * WARP + lane] = sum[j];
        __syncthreads();
        const int64_t to = (int64_t)blockIdx.y * WARP * N + threadIdx.x;
        if (threadIdx.x >= WARP * N || to >= C)
            return;
        float whole = 0;
#pragma unroll
        for (int w = 0; w < ROW_WARPS; w++)
            whole += at[w][threadIdx.x % N * WARP + threadIdx.x / N];
        part[(int64_t)blockIdx.x * C + to] = whole;
    }
}
template <int N, int INPUTS, bool SUMS, class F>
static inline void launch_rows(const hs_args *a, hs_lane *lane, F f, const hs_ref &y, const hs_ref &x, const hs_ref &z, float *part)
{
    const dim3 grid((unsigned)column_parts(x.rows),
                    (unsigned)blocks_of(x.cols, WARP * N)); // no row is so wide that .y cannot count its blocks
    HS_LAUNCH((each_row<N, INPUTS, SUMS, F>), grid, ROW_THREADS, 0, gpu_stream(lane), f, y, x, z, a->step, part);
}
// y = f(x) or f(x, z); part (SUMS): f32 [column_parts(rows), cols] of the sums of f, for add_columns. An absent y is not written.
template <bool SUMS = false, class F>
static inline void map_rows(const hs_args *a, hs_lane *lane, F f, const hs_ref &y, const hs_ref &x, float *part = nullptr)
{
    if (rows_by(CELLS, x, y))
        launch_rows<CELLS, 1, SUMS>(a, lane, f, y, x, hs_ref{}, part);
    else
        launch_rows<1, 1, SUMS>(a, lane, f, y, x, hs_ref{}, part);
}
template <bool SUMS = false, class F>
static inline void map_rows(const hs_args *a, hs_lane *lane, F f, const hs_ref &y, const hs_ref &x, const hs_ref &z, float *part = nullptr)
{
    if (rows_by(CELLS, x, y, z))
        launch_rows<CELLS, 2, SUMS>(a, lane, f, y, x, z, part);
    else
        launch_rows<1, 2, SUMS>(a, lane, f, y, x, z, part);
}

#endif
