// attention_bwd: backward of attention by tensor cores. Weights are made again from lse, twice: by blocks of queries, whose dq are sums
// over keys, and by blocks of rows of kv, whose dk and dv are sums over queries; so every sum has one order and nothing is added by
// several.
//
//   p = exp(scale q k^T - lse)     dv = p^T dy     ds = p (dy v^T - delta)     dq = scale ds k     dk = scale ds^T q
//
// With dropout, factor f: dv takes f p and ds = p (f dy v^T - delta). Included by attention_bf16.cu and attention_f16.cu.
#ifndef HS_OPS_ATTENTION_BWD_H
#define HS_OPS_ATTENTION_BWD_H
#include "ops/attention/attention_tile.cuh"

enum { BWD_WARPS = 4, BWD_THREADS = BWD_WARPS * WARP, BWD_ROWS = 16 * BWD_WARPS, BWD_STEP = 32 };

// Of scores s and dy v^T in ds, of 16 x 8 cells: weights and their gradients. sees(e), lse2(e), delta(e), kept(e): of cell e.
template <class SEES, class LSE, class DELTA, class KEPT>
static __device__ __forceinline__ void weigh(float (&s)[4], float (&ds)[4], float scale2, float factor, bool drops, const SEES &sees,
                                             const LSE &lse2, const DELTA &delta, const KEPT &kept)
{
#pragma unroll
    for (int e = 0; e < 4; e++) {
        const float p = sees(e) ? fast_exp2(__fmaf_rn(s[e], scale2, -lse2(e))) : 0.0f, f = !drops ? 1.0f : kept(e) ? factor : 0.0f;
        ds[e] = p * (f * ds[e] - delta(e));
        s[e] = f * p;
    }
}

template <class T, int D, int ROWS, class ROW>
static __device__ __forceinline__ void load_any(T *tile, const hs_ref &r, int64_t col, int d, const ROW &row_of)
{
    if (r.dtype == HS_F32)
        narrow_tile<T, D, ROWS, BWD_THREADS>(tile, r, col, d, (int)threadIdx.x, row_of);
    else
        load_tile<T, D, ROWS, BWD_THREADS>(tile, r, col, d, (int)threadIdx.x, row_of);
}

// Scores of 16 rows with 16 columns at a time, and dy v^T: a's rows with b's columns, and those of the pair beside them. Rows' fragments
// stay in registers where a head is narrow.
template <class T, int D> struct bwd_rows {
    enum { STAY = D <= 64 };
    uint32_t a[STAY ? D / 16 : 1][2][4];
    T *tile[2];
    int row;
    __device__ __forceinline__ void begin(T *first, T *second, int at)
    {
        tile[0] = first, tile[1] = second, row = at;
        if (STAY)
#pragma unroll
            for (int c = 0; c < (STAY ? D / 16 : 1); c++)
                tile_a<T, D>(a[c][0], first, row, c * 16), tile_a<T, D>(a[c][1], second, row, c * 16);
    }
    __device__ __forceinline__ void multiply(float (&x)[2][4], float (&y)[2][4], T *first, T *second, int col)
    {
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                x[m][e] = y[m][e] = 0;
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            uint32_t b[2][2];
            if (!STAY)
                tile_a<T, D>(a[0][0], tile[0], row, c * 16), tile_a<T, D>(a[0][1], tile[1], row, c * 16);
            tile_b<T, D>(b, first, col, c * 16);
            mma<T>(x[0], a[STAY ? c : 0][0], b[0]), mma<T>(x[1], a[STAY ? c : 0][0], b[1]);
            tile_b<T, D>(b, second, col, c * 16);
            mma<T>(y[0], a[STAY ? c : 0][1], b[0]), mma<T>(y[1], a[STAY ? c : 0][1], b[1]);
        }
    }
};
// sums[16, D] += w[16, 16] rows [k, k + 16) of a tile
template <class T, int D>
static __device__ __forceinline__ void add_weighted(float (&sums)[D / 8][4], const float (&w)[2][4], T *tile, int k)
{
    uint32_t a[4];
    as_a<T>(a, w[0], w[1]);
#pragma unroll
    for (int c = 0; c < D / 16; c++) {
        uint32_t b[2][2];
        tile_b_trans<T, D>(b, tile, k, c * 16);
        mma<T>(sums[2 * c], a, b[0]), mma<T>(sums[2 * c + 1], a, b[1]);
    }
}
template <int N> static __device__ __forceinline__ void all_zero(float (&x)[N][4])
{
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            x[n][e] = 0;
}

// ---- dq of 16 queries by each warp, keys passing by
template <class T, int D> struct dq_shared {
    T q[BWD_ROWS * D], dy[BWD_ROWS * D], kv[2][2][BWD_STEP * D];
};
template <class T, int D> static __global__ void __launch_bounds__(BWD_THREADS) attention_dq(attention a)
{
    typedef dq_shared<T, D> S;
    HS_DYN_SHARED(S, shared);
    const att_live n = att_live_of(a);
    const att_tile x = att_tile_of<BWD_ROWS>(a, n, (int)(gridDim.x - 1 - blockIdx.x));
    if (x.row >= x.end)
        return;
    const int head = (int)blockIdx.y, tid = (int)threadIdx.x, g = tid % WARP / 4, t = tid % 4, row = x.row + tid / WARP * 16;
    const int64_t col = (int64_t)head * a.d, k_col = a.k_col + col;
    float dq[D / 8][4];
    all_zero(dq);
    if (x.dead) {
        rows_out(a.dq, col, a.d, row, x.end, dq, [&](int) { return 0.0f; });
        return;
    }
    const att_seq s = att_seq_of(a, n, x.b);
    const att_drop drop = att_drop_of(a, head);
    const int steps = (att_seen(a, s, x.end - 1 - s.q0) + BWD_STEP - 1) / BWD_STEP;
    const int last = (row + 16 < x.end ? row + 16 : x.end) - 1, most = row <= last ? att_seen(a, s, last - s.q0) : 0;
    const float scale2 = a.scale * LOG2E;
    auto load = [&](int step) {
        const auto row_of = [&](int r) { return step * BWD_STEP + r < s.nk ? att_key_row(a, n, s, step * BWD_STEP + r) : -1; };
        for (int i = 0; i < 2; i++)
            load_tile<T, D, BWD_STEP, BWD_THREADS>(shared->kv[step % 2][i], a.kv, k_col + i * a.width, a.d, tid, row_of);
    };
    const auto query = [&](int r) { return x.row + r < x.end ? (int64_t)(x.row + r) : -1; };
    load_tile<T, D, BWD_ROWS, BWD_THREADS>(shared->q, a.q, col, a.d, tid, query);
    load_any<T, D, BWD_ROWS>(shared->dy, a.dy, col, a.d, query);
    if (steps > 0)
        load(0);
    cp_async_commit();
    float lse2[2], delta[2];
    int seen[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int at = row + 8 * h + g;
        const bool live = at < x.end;
        lse2[h] = live ? a.lse[(int64_t)at * a.heads + head] * LOG2E : 0;
        delta[h] = live ? a.delta[(int64_t)at * a.heads + head] : 0;
        seen[h] = live ? att_seen(a, s, at - s.q0) : 0;
    }
    bwd_rows<T, D> rows;
    for (int step = 0; step < steps; step++) {
        if (step + 1 < steps)
            load(step + 1);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
        if (step == 0)
            rows.begin(shared->q, shared->dy, tid / WARP * 16);
        T *const k = shared->kv[step % 2][0], *const v = shared->kv[step % 2][1];
        uint32_t kept[2] = { 0, 0 };
        if (a.p > 0 && step * BWD_STEP < most)
            kept_of_rows(kept, a, drop, row, x.end, step * BWD_STEP);
#pragma unroll 1
        for (int m = 0; m < BWD_STEP && step * BWD_STEP + m < most; m += 16) {
            const int j = step * BWD_STEP + m;
            float p[2][4], ds[2][4];
            rows.multiply(p, ds, k, v, m);
#pragma unroll
            for (int u = 0; u < 2; u++)
                weigh(
                    p[u], ds[u], scale2, drop.d.scale, a.p > 0, [&](int e) { return j + 8 * u + 2 * t + e % 2 < seen[e / 2]; },
                    [&](int e) { return lse2[e / 2]; }, [&](int e) { return delta[e / 2]; },
                    [&](int e) { return kept[e / 2] >> (m + 8 * u + 2 * t + e % 2) & 1; });
            add_weighted<T, D>(dq, ds, k, m);
        }
        __syncthreads();
    }
    rows_out(a.dq, col, a.d, row, x.end, dq, [&](int) { return a.scale; });
}

// ---- dk and dv of 16 rows of kv by each warp, queries passing by. Keys are the rows of scores here, so that weights are left-hand sides
// as they stand.
template <class T, int D> struct dkv_shared {
    T k[BWD_ROWS * D], v[BWD_ROWS * D], qdy[2][2][BWD_STEP * D];
    float lse2[2][BWD_STEP], delta[2][BWD_STEP];
    int seen[2][BWD_STEP];
};
template <class T, int D> static __global__ void __launch_bounds__(BWD_THREADS) attention_dkv(attention a)
{
    typedef dkv_shared<T, D> S;
    HS_DYN_SHARED(S, shared);
    const att_live n = att_live_of(a);
    const att_kv_tile x = att_kv_tile_of<BWD_ROWS>(a, n, (int)blockIdx.x);
    if (x.row >= x.end)
        return;
    const int head = (int)blockIdx.y, tid = (int)threadIdx.x, g = tid % WARP / 4, t = tid % 4, wk = tid / WARP * 16;
    const int64_t col = (int64_t)head * a.d, k_col = a.k_col + col;
    const att_drop drop = att_drop_of(a, head);
    const float scale2 = a.scale * LOG2E;
    const auto key = [&](int r) { return x.row + r < x.end ? (int64_t)(x.row + r) : -1; };
    load_tile<T, D, BWD_ROWS, BWD_THREADS>(shared->k, a.kv, k_col, a.d, tid, key);
    load_tile<T, D, BWD_ROWS, BWD_THREADS>(shared->v, a.kv, k_col + a.width, a.d, tid, key);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    bwd_rows<T, D> rows;
    rows.begin(shared->k, shared->v, wk);
    float dk[D / 8][4], dv[D / 8][4];
    all_zero(dk), all_zero(dv);

    att_each each;
    att_seq s;
    int j0;
    each.begin();
    while (each.next(a, n, x, s, j0)) {
        const int first = att_first_query(a, s, j0, BWD_STEP), steps = first < s.nq ? (s.nq - first + BWD_STEP - 1) / BWD_STEP : 0;
        const int j = j0 + wk;
        auto load = [&](int step) {
            const int i0 = first + step * BWD_STEP, b = step % 2;
            const auto row_of = [&](int r) { return i0 + r < s.nq ? (int64_t)(s.q0 + i0 + r) : -1; };
            load_tile<T, D, BWD_STEP, BWD_THREADS>(shared->qdy[b][0], a.q, col, a.d, tid, row_of);
            load_any<T, D, BWD_STEP>(shared->qdy[b][1], a.dy, col, a.d, row_of);
            if (tid < BWD_STEP) {
                const int i = i0 + tid;
                const int64_t at = (int64_t)(s.q0 + i) * a.heads + head;
                shared->lse2[b][tid] = i < s.nq ? a.lse[at] * LOG2E : 0;
                shared->delta[b][tid] = i < s.nq ? a.delta[at] : 0;
                shared->seen[b][tid] = i < s.nq ? att_seen(a, s, i) : 0;
            }
        };
        if (steps > 0)
            load(0);
        cp_async_commit();
        for (int step = 0; step < steps; step++) {
            if (step + 1 < steps)
                load(step + 1);
            cp_async_commit();
            cp_async_wait<1>();
            __syncthreads();
            const int b = step % 2;
            T *const q = shared->qdy[b][0], *const dy = shared->qdy[b][1];
#pragma unroll 1
            for (int m = 0; m < BWD_STEP; m += 16) {
                const int i = first + step * BWD_STEP + m, top = i + 16 < s.nq ? i + 16 : s.nq;
                if (i >= s.nq || j >= att_seen(a, s, top - 1) || j + 16 <= 0)
                    continue; // the last query sees most: what even that one does not see, or is no key of s
                float p[2][4], ds[2][4];
                rows.multiply(p, ds, q, dy, m);
                uint32_t kept[2][2] = { { 0, 0 }, { 0, 0 } };
                if (a.p > 0)
                    kept_of_columns(kept, a, drop, s.q0 + i, s.q0 + s.nq, j);
#pragma unroll
                for (int u = 0; u < 2; u++)
                    weigh(
                        p[u], ds[u], scale2, drop.d.scale, a.p > 0,
                        [&](int e) { return (unsigned)(j + g + e / 2 * 8) < (unsigned)shared->seen[b][m + 8 * u + 2 * t + e % 2]; },
                        [&](int e) { return shared->lse2[b][m + 8 * u + 2 * t + e % 2]; },
                        [&](int e) { return shared->delta[b][m + 8 * u + 2 * t + e % 2]; },
                        [&](int e) { return kept[u][e % 2] >> (g + e / 2 * 8) & 1; });
                add_weighted<T, D>(dv, p, dy, m);
                add_weighted<T, D>(dk, ds, q, m);
            }
            __syncthreads();
        }
    }
    rows_out(a.dkv, k_col, a.d, x.row + wk, x.end, dk, [&](int) { return a.scale; });
    rows_out(a.dkv, k_col + a.width, a.d, x.row + wk, x.end, dv, [&](int) { return 1.0f; });
}

template <class T, int D> static void launch_backward(const attention &a, cudaStream_t stream)
{
    if (a.dq.p)
        HS_LAUNCH((attention_dq<T, D>), dim3(att_tiles(a, BWD_ROWS), (unsigned)a.heads), BWD_THREADS, sizeof(dq_shared<T, D>), stream, a);
    if (a.dkv.p)
        HS_LAUNCH((attention_dkv<T, D>), dim3(att_kv_tiles(a, BWD_ROWS), (unsigned)a.heads), BWD_THREADS, sizeof(dkv_shared<T, D>), stream,
                  a);
}

#endif
