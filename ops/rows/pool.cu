// pool on CUDA: a block per sequence and strip of columns; its warps deal the rows among them, and are added up in order.
#include "ops/attrs.h"
#include "ops/rows/seq_rows.cuh"

enum { X, STARTS, KEYS };
enum { Y, ROW };
enum { WARPS = 8, THREADS = WARPS * WARP, AHEAD = 4 };

static __device__ __forceinline__ bool is_one(int kind) { return kind == HS_POOL_FIRST || kind == HS_POOL_LAST; }

// The largest so far and its row (-1: none yet). Of equal ones the first row; a NaN is above all, of several the last.
static __device__ __forceinline__ void take_larger(float &best, int &row, float v, int r)
{
    const bool above = v != v ? best == best || r > row : best == best && (v > best || (v == best && r < row));
    if (r >= 0 && (row < 0 || above))
        best = v, row = r;
}

template <int N> static __global__ void pool_fwd(hs_ref x, hs_ref y, int32_t *row, seq_rows seqs, int kind, const hs_step_in *step)
{
    HS_SHARED(float, values, [WARPS][WARP * N]);
    HS_SHARED(int, rows, [WARPS][WARP * N]);
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t b = blockIdx.x, C = x.cols, c = ((int64_t)blockIdx.y * WARP + lane) * N;
    if (b >= live_rows(y, step))
        return;
    int64_t first, n;
    const bool inside = seqs.of(b, live_rows(x, step), first, n);
    if (!inside)
        n = 0;
    if (is_one(kind) && n > 0)
        first += kind == HS_POOL_LAST ? n - 1 : 0, n = 1;
    float sum[N] = {};
    int at[N];
#pragma unroll
    for (int j = 0; j < N; j++)
        at[j] = -1;
    for (int64_t i0 = warp; i0 < n && c < C; i0 += WARPS * AHEAD) {
        raw<N> v[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (i0 + k * WARPS < n)
                v[k] = fetch<N>(x, (first + i0 + k * WARPS) * C + c);
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (i0 + k * WARPS < n) {
                float u[N];
                widen<N>(x, v[k], u);
#pragma unroll
                for (int j = 0; j < N; j++)
                    if (kind == HS_POOL_MAX)
                        take_larger(sum[j], at[j], u[j], (int)i0 + k * WARPS);
                    else
                        sum[j] += u[j];
            }
    }
#pragma unroll
    for (int j = 0; j < N; j++)
        values[warp][j * WARP + lane] = sum[j], rows[warp][j * WARP + lane] = at[j];
    __syncthreads();
    if (kind != HS_POOL_MAX && blockIdx.y == 0 && threadIdx.x == 0)
        row[b] = 0;
    if (warp || c >= C)
        return;
#pragma unroll
    for (int j = 0; j < N; j++) {
        for (int w = 1; w < WARPS; w++)
            if (kind == HS_POOL_MAX)
                take_larger(sum[j], at[j], values[w][j * WARP + lane], rows[w][j * WARP + lane]);
            else
                sum[j] += values[w][j * WARP + lane];
        if (kind == HS_POOL_MAX)
            row[b * C + c + j] = at[j] < 0 ? 0 : at[j];
        else if (n > 1)
            sum[j] *= 1 / (float)n;
        if (!inside)
            sum[j] = NAN;
    }
    set_f<N>(y, b * C + c, sum);
}

// A warp per row: what its sequence's dy gives it.
template <int N> static __global__ void pool_bwd(hs_ref dy, hs_ref dx, const int32_t *row, seq_rows seqs, int kind, const hs_step_in *step)
{
    const int lane = (int)threadIdx.x % WARP;
    const int64_t here = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, live = live_rows(dx, step), C = dx.cols;
    if (here >= live)
        return;
    const int64_t b = seqs.with(here, live_rows(dy, step));
    int64_t first = 0, n = 0;
    bool has = b >= 0 && seqs.of(b, live, first, n);
    const int64_t i = here - first;
    has = has && i < n && (!is_one(kind) || i == (kind == HS_POOL_LAST ? n - 1 : 0));
    for (int64_t c = lane * N; c < C; c += WARP * N) {
        float v[N] = {};
        if (has) {
            get_f<N>(dy, b * C + c, v);
#pragma unroll
            for (int j = 0; j < N; j++)
                v[j] = kind == HS_POOL_MEAN ? v[j] / (float)n : kind == HS_POOL_MAX && row[b * C + c + j] != i ? 0 : v[j];
        }
        set_f<N>(dx, here * C + c, v);
    }
}

static seq_rows seqs_of(const hs_args *a) { return { cells<int32_t>(a->in[STARTS]), cells<int32_t>(a->in[KEYS]) }; }
static int kind_of(const hs_args *a) { return static_cast<const hs_pool_attr *>(a->attr)->kind; }

template <int N> static void run_forward(const hs_args *a, cudaStream_t stream)
{
    const hs_ref &y = a->out[Y];
    HS_LAUNCH((pool_fwd<N>), dim3((unsigned)y.rows, (unsigned)blocks_of(y.cols, WARP * N)), THREADS, 0, stream, a->in[X], y,
              cells<int32_t>(a->out[ROW]), seqs_of(a), kind_of(a), a->step);
}
static void forward(const hs_args *a, hs_lane *lane)
{
    rows_by(8, a->in[X], a->out[Y]) ? run_forward<8>(a, gpu_stream(lane)) : run_forward<1>(a, gpu_stream(lane));
}

template <int N> static void run_backward(const hs_args *a, cudaStream_t stream)
{
    const hs_ref &dx = a->din[X];
    HS_LAUNCH((pool_bwd<N>), grid_of(dx.rows, WARPS), THREADS, 0, stream, a->dout[Y], dx, cells<int32_t>(a->out[ROW]), seqs_of(a),
              kind_of(a), a->step);
}
static void backward(const hs_args *a, hs_lane *lane)
{
    if (a->din[X].p)
        rows_by(8, a->din[X], a->dout[Y]) ? run_backward<8>(a, gpu_stream(lane)) : run_backward<1>(a, gpu_stream(lane));
}

extern "C" const hs_kernels hs_cuda_pool = { forward, backward, HS_PART_FREE, HS_PART_FREE };
