// norm: layernorm on CUDA, alone and behind bias, dropout and residual; the definitions are in layernorm.c and
// bias_dropout_residual_layernorm.c.
//
// Forward: a warp per row, which stays in registers between its sums where it is at most 1,024 wide, else in the first-level cache.
// Backward: a block per COLUMN_ROWS rows, a few at a time, a thread per N columns of them: what rows share (gamma, the sums over rows)
// stays in its registers. Rows too wide for that are read twice, and sums over them kept in scratch.
#ifndef HS_OPS_NORM_H
#define HS_OPS_NORM_H
#include "core/cuda/columns.cuh"

struct norm_forward {
    hs_ref x, residual, sum, y; // residual and sum: FUSED, else absent
    const float *bias;          // may be NULL
    const float *gamma, *beta;
    float *stats;
    const int32_t *where; // NULL: nothing is dropped
    hs_drop drop;
    uint64_t site;
    float eps;
};

// ---- forward

// What cells hold behind a store in this type.
template <int N> static __device__ __forceinline__ void round_to(hs_dtype type, float (&x)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++) {
        bf16 b;
        f16 f;
        if (type == HS_BF16)
            from_f(b, x[i]), x[i] = to_f(b);
        else if (type == HS_F16)
            from_f(f, x[i]), x[i] = to_f(f);
    }
}

// v = what is normalised, from x and the residual as they lie.
template <int N, bool FUSED>
static __device__ __forceinline__ void to_normalise(const norm_forward &a, const hs_drop &drop, int64_t n, int64_t c, const raw<N> &x,
                                                    const raw<N> &residual, float (&v)[N])
{
    widen<N>(a.x, x, v);
    if (!FUSED)
        return;
    float r[N];
    widen<N>(a.residual, residual, r);
    if (a.bias) {
        const pack<float, N> bias = load_pack<N>(a.bias + c);
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] += bias.v[i];
    }
    if (a.where) {
        const uint32_t kept = drop_kept<N>(drop, a.where[2 * n], a.where[2 * n + 1], c);
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] = kept >> i & 1 ? v[i] * drop.scale : 0;
    }
#pragma unroll
    for (int i = 0; i < N; i++)
        v[i] += r[i];
    set_f<N>(a.sum, n * a.x.cols + c, v);
    round_to<N>(a.sum.dtype, v); // backward reads the sum as it was stored: the statistics are those of the rounded one
}

enum { NORM_WARPS = 4 };

// K: packs of N that a lane keeps; 0: the row is read again for each pass.
template <int N, int K, bool FUSED> static __global__ void norm_fwd(norm_forward a, const hs_step_in *step)
{
    constexpr int KEPT = K ? K : 1;
    const int lane = (int)threadIdx.x % WARP;
    const int64_t n = (int64_t)blockIdx.x * NORM_WARPS + threadIdx.x / WARP, C = a.x.cols, row = n * C;
    if (n >= live_rows(a.x, step))
        return;
    const hs_drop drop = FUSED && a.where ? drop_in(a.drop, a.site, step) : a.drop;
    const hs_ref &source = FUSED ? a.sum : a.x;
    float v[KEPT][N], sum = 0, squares = 0;
    auto each = [&](auto &&body) { // body(values, first column)
        if (K) {
#pragma unroll
            for (int k = 0; k < KEPT; k++)
                if ((k * WARP + lane) * N < C)
                    body(v[k], (int64_t)(k * WARP + lane) * N);
        } else
            for (int64_t c = lane * N; c < C; c += WARP * N) {
                get_f<N>(source, row + c, v[0]);
                body(v[0], c);
            }
    };
    auto add = [&](float(&u)[N]) {
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += u[i];
    };
    if (K) {
        raw<N> x[KEPT], residual[KEPT];
#pragma unroll
        for (int k = 0; k < KEPT; k++)
            if ((k * WARP + lane) * N < C) {
                x[k] = fetch<N>(a.x, row + (k * WARP + lane) * N);
                if (FUSED)
                    residual[k] = fetch<N>(a.residual, row + (k * WARP + lane) * N);
            }
#pragma unroll
        for (int k = 0; k < KEPT; k++)
            if ((k * WARP + lane) * N < C) {
                to_normalise<N, FUSED>(a, drop, n, (k * WARP + lane) * N, x[k], residual[k], v[k]);
                add(v[k]);
            }
    } else
        for (int64_t c = lane * N; c < C; c += WARP * N) {
            raw<N> residual;
            if (FUSED)
                residual = fetch<N>(a.residual, row + c);
            to_normalise<N, FUSED>(a, drop, n, c, fetch<N>(a.x, row + c), residual, v[0]);
            add(v[0]);
        }
    const float mean = warp_sum(sum) / (float)C;
    each([&](float(&u)[N], int64_t) {
#pragma unroll
        for (int i = 0; i < N; i++)
            squares += (u[i] - mean) * (u[i] - mean);
    });
    const float rstd = 1 / sqrtf(warp_sum(squares) / (float)C + a.eps);
    each([&](float(&u)[N], int64_t c) {
        const pack<float, N> gamma = load_pack<N>(a.gamma + c), beta = load_pack<N>(a.beta + c);
        float y[N];
#pragma unroll
        for (int i = 0; i < N; i++)
            y[i] = (u[i] - mean) * rstd * gamma.v[i] + beta.v[i];
        set_f<N>(a.y, row + c, y);
    });
    if (lane == 0)
        a.stats[2 * n] = mean, a.stats[2 * n + 1] = rstd;
}

template <bool FUSED> static inline void run_norm(const norm_forward &a, const hs_step_in *step, cudaStream_t stream)
{
    const int64_t C = a.x.cols;
    const dim3 grid = grid_of(a.x.rows, NORM_WARPS);
    if (!rows_by(8, a.x, a.residual, a.sum, a.y))
        HS_LAUNCH((norm_fwd<1, 0, FUSED>), grid, NORM_WARPS * WARP, 0, stream, a, step);
    else if (C <= 4 * 8 * WARP)
        HS_LAUNCH((norm_fwd<8, 4, FUSED>), grid, NORM_WARPS * WARP, 0, stream, a, step);
    else
        HS_LAUNCH((norm_fwd<8, 0, FUSED>), grid, NORM_WARPS * WARP, 0, stream, a, step);
}

// ---- backward

struct norm_backward {
    hs_ref source, dy, dsum; // source: what was normalised; dsum: of it from elsewhere; dy and dsum may be absent
    hs_ref dx, dresidual;    // absent: not wanted
    const float *gamma, *stats;
    float *part; // f32 [column_parts, 2 or (FUSED) 3, C]: dbias (FUSED), dgamma, dbeta
    const int32_t *where;
    hs_drop drop;
    uint64_t site;
};
enum { NORM_THREADS = 384 }; // of a block, at most

// d = gradient of the sum through y; of it: dresidual, and behind the mask dx.
//   d = rstd * (g - mean(g) - xhat * mean(g * xhat))        g = dy * gamma,  xhat = (source - mean) * rstd
// R rows at a time, so that their loads and sums are under way together. KEEP: a thread has one pack of columns and keeps all it needs of
// it.
template <int N, int R, bool KEEP, bool FUSED>
static __global__ void __launch_bounds__(NORM_THREADS) norm_bwd(norm_backward a, const hs_step_in *step)
{
    constexpr int SUMS = FUSED ? 3 : 2;
    HS_SHARED(float, at, [2][NORM_THREADS / WARP][2 * R]); // by turns: the warps still read one when the first of them writes the other
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, warps = (int)blockDim.x / WARP;
    const int64_t C = a.source.cols, first = (int64_t)blockIdx.x * COLUMN_ROWS, live = live_rows(a.source, step),
                  own = (int64_t)threadIdx.x * N, stride = (int64_t)blockDim.x * N;
    if (first >= live)
        return;
    const hs_drop drop = FUSED && a.where ? drop_in(a.drop, a.site, step) : a.drop;
    const bool wants_rows = a.dx.p || a.dresidual.p || (FUSED && a.part);
    float xhat[R][N], d[R][N], outside[R][N], gamma[N], dgamma[N], dbeta[N], dbias[N], mean[R], rstd[R], sum[2 * R] = {};
    uint32_t kept = 0; // 8 bits a row
    auto clear = [](auto &...v) {
#pragma unroll
        for (int i = 0; i < N; i++)
            ((v[i] = 0), ...);
    };
    auto leave = [&](float(&v)[N], int which, int64_t c, bool add) { // sums of columns in scratch
        if (a.part)
            put_f<N>(a.part + ((int64_t)blockIdx.x * SUMS + which) * C + c, v, add);
    };
    auto read = [&](int64_t c, int64_t n) { // xhat, and d = dy, of R rows
        raw<N> x[R], y[R];
#pragma unroll
        for (int r = 0; r < R; r++)
            if (a.dy.p && n + r < live)
                x[r] = fetch<N>(a.source, (n + r) * C + c), y[r] = fetch<N>(a.dy, (n + r) * C + c);
#pragma unroll
        for (int r = 0; r < R; r++) {
            clear(xhat[r], d[r]);
            if (a.dy.p && n + r < live) {
                widen<N>(a.source, x[r], xhat[r]);
                widen<N>(a.dy, y[r], d[r]);
#pragma unroll
                for (int i = 0; i < N; i++)
                    xhat[r][i] = (xhat[r][i] - mean[r]) * rstd[r];
            }
        }
    };
    auto read_more = [&](int64_t c, int64_t n) { // what comes from outside, and the mask
        raw<N> x[R];
#pragma unroll
        for (int r = 0; r < R; r++)
            if (a.dsum.p && n + r < live)
                x[r] = fetch<N>(a.dsum, (n + r) * C + c);
        kept = 0;
#pragma unroll 1
        for (int r = 0; r < R && a.where && n + r < live; r++) // a loop, so that Philox stands there once
            kept |= drop_kept<N>(drop, a.where[2 * (n + r)], a.where[2 * (n + r) + 1], c) << 8 * r;
#pragma unroll
        for (int r = 0; r < R; r++) {
            clear(outside[r]);
            if (a.dsum.p && n + r < live)
                widen<N>(a.dsum, x[r], outside[r]);
        }
    };
    auto write = [&](int64_t c, int64_t n, int r) {
        const float mean_g = sum[2 * r] / (float)C, mean_gx = sum[2 * r + 1] / (float)C;
        float out[N], masked[N];
#pragma unroll
        for (int i = 0; i < N; i++) {
            out[i] = rstd[r] * (d[r][i] * gamma[i] - mean_g - xhat[r][i] * mean_gx);
            if (FUSED)
                out[i] += outside[r][i];
            masked[i] = !FUSED || !a.where ? out[i] : kept >> (8 * r + i) & 1 ? out[i] * drop.scale : 0;
            if (FUSED)
                dbias[i] += masked[i];
        }
        if (a.dx.p)
            set_f<N>(a.dx, n * C + c, masked);
        if (FUSED && a.dresidual.p)
            set_f<N>(a.dresidual, n * C + c, out);
    };

    clear(dgamma, dbeta, dbias, gamma);
    if (KEEP && own < C)
        load_f<N>(a.gamma + own, gamma);
    int turn = 0;
    for (int64_t n = first; n < first + COLUMN_ROWS && n < live; n += R, turn ^= 1) {
#pragma unroll
        for (int r = 0; r < R; r++) {
            sum[2 * r] = sum[2 * r + 1] = 0;
            mean[r] = n + r < live ? a.stats[2 * (n + r)] : 0, rstd[r] = n + r < live ? a.stats[2 * (n + r) + 1] : 0;
        }
        for (int64_t c = own; c < C; c = KEEP ? C : c + stride) {
            if (!KEEP)
                load_f<N>(a.gamma + c, gamma), clear(dgamma, dbeta);
            read(c, n);
            if (KEEP && FUSED)
                read_more(c, n);
#pragma unroll
            for (int r = 0; r < R; r++)
#pragma unroll
                for (int i = 0; i < N; i++) {
                    const float g = d[r][i] * gamma[i];
                    sum[2 * r] += g, sum[2 * r + 1] += g * xhat[r][i];
                    dgamma[i] += d[r][i] * xhat[r][i], dbeta[i] += d[r][i];
                }
            if (!KEEP)
                leave(dgamma, SUMS - 2, c, n > first), leave(dbeta, SUMS - 1, c, n > first);
        }
        if (!wants_rows)
            continue;
        const float of_warp = warp_sums<2 * R>(sum);
        if (lane < 2 * R)
            at[turn][warp][lane] = of_warp;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 2 * R; i++)
            sum[i] = 0;
        for (int w = 0; w < warps; w++)
#pragma unroll
            for (int i = 0; i < 2 * R; i++)
                sum[i] += at[turn][w][i];
        for (int64_t c = own; c < C; c = KEEP ? C : c + stride) {
            if (!KEEP) {
                load_f<N>(a.gamma + c, gamma), clear(dbias);
                read(c, n);
                if (FUSED)
                    read_more(c, n);
            }
#pragma unroll
            for (int r = 0; r < R; r++)
                if (n + r < live)
                    write(c, n + r, r);
            if (!KEEP && FUSED)
                leave(dbias, 0, c, n > first);
        }
    }
    if (!KEEP || own >= C)
        return;
    leave(dgamma, SUMS - 2, own, false), leave(dbeta, SUMS - 1, own, false);
    if (FUSED)
        leave(dbias, 0, own, false);
}

template <bool FUSED> static inline void run_norm_bwd(const norm_backward &a, const hs_step_in *step, cudaStream_t stream)
{
    const int64_t C = a.source.cols, threads = blocks_of(C, 8 * WARP) * WARP;
    const dim3 grid((unsigned)column_parts(a.source.rows));
    if (!rows_by(8, a.source, a.dy, a.dsum, a.dx, a.dresidual))
        HS_LAUNCH((norm_bwd<1, 2, false, FUSED>), grid, NORM_THREADS, 0, stream, a, step);
    else if (threads <= NORM_THREADS)
        HS_LAUNCH((norm_bwd<8, 2, true, FUSED>), grid, (unsigned)threads, 0, stream, a, step);
    else
        HS_LAUNCH((norm_bwd<8, 2, false, FUSED>), grid, NORM_THREADS, 0, stream, a, step);
}

#endif
