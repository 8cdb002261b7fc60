// layernorm on CUDA: a warp per row, which stays in registers between its sums where it is at most 2,048 wide; the definition is in
// layernorm.c.
//
// Backward: a block of warps walks every PARTS-th row, makes dx, and keeps its share of dgamma and dbeta in registers; a second launch adds
// the shares up (core/cuda/columns.cuh).
#include "core/cuda/columns.cuh"
#include "ops/attrs.h"

enum { X, GAMMA, BETA };
enum { Y, STATS };
enum { WARPS = 4, THREADS = WARPS * WARP, PART_ROWS = 32 };

// ---- forward. K: packs of N that a lane keeps; 0: the row is read again.
template <int N, int K, class TX, class TY>
static __global__ void layernorm_fwd(const TX *x, const float *gamma, const float *beta, TY *y, float *stats, hs_ref rows,
                                     const hs_step_in *step, float eps)
{
    const int lane = (int)threadIdx.x % WARP;
    const int64_t n = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, C = rows.cols;
    if (n >= live_rows(rows, step))
        return;
    x += n * C, y += n * C;
    float keep[K ? K : 1][N], sum = 0, sq = 0;
    auto each = [&](auto &&body) { // body(pack, first column), for this lane's columns
        if (K) {
#pragma unroll
            for (int k = 0; k < (K ? K : 1); k++)
                if ((k * WARP + lane) * N < C)
                    body(keep[k], (int64_t)(k * WARP + lane) * N);
        } else
            for (int64_t c = lane * N; c < C; c += WARP * N) {
                load_f<N>(x + c, keep[0]);
                body(keep[0], c);
            }
    };
    if (K) {
#pragma unroll
        for (int k = 0; k < (K ? K : 1); k++)
            if ((k * WARP + lane) * N < C)
                load_f<N>(x + (k * WARP + lane) * N, keep[k]);
    }
    each([&](float(&v)[N], int64_t) {
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += v[i];
    });
    const float mean = warp_sum(sum) / (float)C;
    each([&](float(&v)[N], int64_t) {
#pragma unroll
        for (int i = 0; i < N; i++)
            sq += (v[i] - mean) * (v[i] - mean);
    });
    const float rstd = 1 / sqrtf(warp_sum(sq) / (float)C + eps);
    each([&](float(&v)[N], int64_t c) {
        float g[N], b[N];
        load_f<N>(gamma + c, g);
        load_f<N>(beta + c, b);
#pragma unroll
        for (int i = 0; i < N; i++)
            b[i] += (v[i] - mean) * rstd * g[i];
        store_f<N>(y + c, b);
    });
    if (lane == 0)
        stats[2 * n] = mean, stats[2 * n + 1] = rstd;
}

template <int N, int K> static void run_forward(const hs_args *a, cudaStream_t stream)
{
    const hs_ref &x = a->in[X], &y = a->out[Y];
    const float eps = static_cast<const hs_layernorm_attr *>(a->attr)->eps;
    BY_FLOAT2(x.dtype, TX, y.dtype, TY,
              HS_LAUNCH((layernorm_fwd<N, K, TX, TY>), grid_of(x.rows, WARPS), THREADS, 0, stream, cells<TX>(x), cells<float>(a->in[GAMMA]),
                        cells<float>(a->in[BETA]), cells<TY>(y), cells<float>(a->out[STATS]), x, a->step, eps));
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->in[X].cols;
    if (C % 8)
        run_forward<1, 0>(a, gpu_stream(lane));
    else if (C <= 4 * 8 * WARP)
        run_forward<8, 4>(a, gpu_stream(lane));
    else if (C <= 8 * 8 * WARP)
        run_forward<8, 8>(a, gpu_stream(lane));
    else
        run_forward<8, 0>(a, gpu_stream(lane));
}

// ---- backward of a row: dx, with dgamma and dbeta of the warp's rows in registers (K) or left to column_parts below (K 0)

template <int N, int K, class TX, class TD>
static __global__ void layernorm_bwd(const TX *x, const TD *dy, const float *gamma, const float *stats, hs_ref dx, float *part, hs_ref rows,
                                     const hs_step_in *step)
{
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t C = rows.cols, live = live_rows(rows, step);
    float dgamma[K ? K : 1][N] = {}, dbeta[K ? K : 1][N] = {};
    for (int64_t n = (int64_t)blockIdx.x * WARPS + warp; n < live; n += (int64_t)gridDim.x * WARPS) {
        const float mean = stats[2 * n], rstd = stats[2 * n + 1];
        float sum_g = 0, sum_gx = 0;
        auto each = [&](auto &&body) {
#pragma unroll
            for (int64_t c = lane * N, k = 0; K ? k < K : c < C; c += WARP * N, k++)
                if (c < C) {
                    float v[N], d[N], g[N];
                    load_f<N>(x + n * C + c, v);
                    load_f<N>(dy + n * C + c, d);
                    load_f<N>(gamma + c, g);
#pragma unroll
                    for (int i = 0; i < N; i++)
                        v[i] = (v[i] - mean) * rstd;
                    body(v, d, g, c, k);
                }
        };
        each([&](float(&xhat)[N], float(&d)[N], float(&g)[N], int64_t, int64_t k) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                sum_g += d[i] * g[i], sum_gx += d[i] * g[i] * xhat[i];
                if (K)
                    dgamma[K ? k : 0][i] += d[i] * xhat[i], dbeta[K ? k : 0][i] += d[i];
            }
        });
        if (!dx.p)
            continue;
        const float mean_g = warp_sum(sum_g) / (float)C, mean_gx = warp_sum(sum_gx) / (float)C;
        each([&](float(&xhat)[N], float(&d)[N], float(&g)[N], int64_t c, int64_t) {
            float out[N];
#pragma unroll
            for (int i = 0; i < N; i++)
                out[i] = rstd * (d[i] * g[i] - mean_g - xhat[i] * mean_gx);
            set_f<N>(dx, n * C + c, out);
        });
    }
    if (!K || !part)
        return;
    float *to = part + ((int64_t)blockIdx.x * WARPS + warp) * 2 * C;
#pragma unroll
    for (int k = 0; k < (K ? K : 1); k++)
        if ((k * WARP + lane) * N < C) {
            store_f<N>(to + (k * WARP + lane) * N, dgamma[k]);
            store_f<N>(to + C + (k * WARP + lane) * N, dbeta[k]);
        }
}

// Columns of rows that are too wide for registers: a thread per column, a block row per part.
template <class TX, class TD>
static __global__ void layernorm_columns(const TX *x, const TD *dy, const float *stats, float *part, hs_ref rows, const hs_step_in *step)
{
    const int64_t C = rows.cols, c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, live = live_rows(rows, step);
    if (c >= C)
        return;
    float dgamma = 0, dbeta = 0;
    for (int64_t n = blockIdx.y; n < live; n += gridDim.y) {
        const float d = to_f(dy[n * C + c]);
        dgamma += d * (to_f(x[n * C + c]) - stats[2 * n]) * stats[2 * n + 1], dbeta += d;
    }
    part[(int64_t)blockIdx.y * 2 * C + c] = dgamma, part[(int64_t)blockIdx.y * 2 * C + C + c] = dbeta;
}

static bool in_registers(int64_t C) { return C % 8 == 0 && C <= 8 * 8 * WARP; }
static int n_parts(int64_t rows, int64_t C) { return column_parts(rows, PART_ROWS) * (in_registers(C) ? WARPS : 1); }

template <int N, int K> static void run_backward(const hs_args *a, cudaStream_t stream)
{
    const hs_ref &x = a->in[X], &dy = a->dout[Y];
    const int64_t C = x.cols;
    const bool wants_columns = a->din[GAMMA].p || a->din[BETA].p;
    float *part = wants_columns ? reinterpret_cast<float *>(a->scratch) : nullptr;
    const float *stats = cells<float>(a->out[STATS]);
    BY_FLOAT2(x.dtype, TX, dy.dtype, TD,
              HS_LAUNCH((layernorm_bwd<N, K, TX, TD>), dim3((unsigned)column_parts(x.rows, PART_ROWS)), THREADS, 0, stream, cells<TX>(x),
                        cells<TD>(dy), cells<float>(a->in[GAMMA]), stats, a->din[X], part, x, a->step);
              if (!K && part) HS_LAUNCH((layernorm_columns<TX, TD>), dim3((unsigned)blocks_of(C, 64), (unsigned)n_parts(x.rows, C)), 64, 0, stream,
                                        cells<TX>(x), cells<TD>(dy), stats, part, x, a->step));
    add_columns(part, n_parts(x.rows, C), C, 2 * C, a->din[GAMMA], stream);
    add_columns(part + C, n_parts(x.rows, C), C, 2 * C, a->din[BETA], stream);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->in[X].cols;
    if (!in_registers(C))
        C % 8 ? run_backward<1, 0>(a, gpu_stream(lane)) : run_backward<8, 0>(a, gpu_stream(lane));
    else if (C <= 4 * 8 * WARP)
        run_backward<8, 4>(a, gpu_stream(lane));
    else
        run_backward<8, 8>(a, gpu_stream(lane));
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const int64_t C = hs_tensor_width(n->in[X]), N = n->in[X]->dim[0];
    return { is_backward ? (size_t)n_parts(N, C) * 2 * (size_t)C * sizeof(float) : 0, 0 };
}

extern "C" const hs_kernels hs_cuda_layernorm = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };
