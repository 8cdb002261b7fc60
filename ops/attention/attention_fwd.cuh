// attention_fwd: forward of attention by tensor cores (Dao 2023, arXiv:2307.08691, on mma.sync): a warp has 16 queries or several times as
// many, and scores, weights and sums stay in its registers. Included by attention_bf16.cu and attention_f16.cu.
#ifndef HS_OPS_ATTENTION_FWD_H
#define HS_OPS_ATTENTION_FWD_H
#include "ops/attention/attention_tile.cuh"

enum { FWD_KEYS = 32, FWD_WARPS = 4 };

// Of 16 queries' chunk of keys: sums of values weighted relative to the largest score. A lane has rows g and g + 8; of `sum` its share.
template <int D> struct att_sums {
    float o[D / 8][4], max[2], sum[2];
    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                o[n][e] = 0;
        max[0] = max[1] = -INFINITY, sum[0] = sum[1] = 0;
    }
    __device__ __forceinline__ void leave(float (&max_before)[2], float (&sum_before)[2], float *o_before, int step);
    __device__ __forceinline__ void join(const float (&max_before)[2], const float (&sum_before)[2], const float *o_before, int step,
                                         float scale2);
};

// Two chunks become one: what their sums are multiplied by. A chunk that sees nothing changes no bit of the other.
struct att_join {
    float max, first, second;
};
static __device__ __forceinline__ att_join att_join_of(float a, float b, float scale2)
{
    att_join j;
    j.max = fmaxf(a, b);
    const float base = j.max == -INFINITY ? 0.0f : j.max;
    j.first = fast_exp2((a - base) * scale2), j.second = fast_exp2((b - base) * scale2);
    return j;
}
static __device__ __forceinline__ float att_joined(float a, float b, const att_join &j)
{
    return __fmaf_rn(a, j.first, __fmul_rn(b, j.second));
}
// This chunk goes where it waits for the next; what waits there comes before this one. o: `step` apart.
template <int D>
__device__ __forceinline__ void att_sums<D>::leave(float (&max_before)[2], float (&sum_before)[2], float *o_before, int step)
{
#pragma unroll
    for (int h = 0; h < 2; h++)
        max_before[h] = max[h], sum_before[h] = sum[h];
#pragma unroll
    for (int i = 0; i < D / 2; i++)
        o_before[i * step] = o[i / 4][i % 4];
    clear();
}
template <int D>
__device__ __forceinline__ void att_sums<D>::join(const float (&max_before)[2], const float (&sum_before)[2], const float *o_before,
                                                  int step, float scale2)
{
    att_join j[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        j[h] = att_join_of(max_before[h], max[h], scale2);
        max[h] = j[h].max, sum[h] = att_joined(sum_before[h], sum[h], j[h]);
    }
#pragma unroll
    for (int i = 0; i < D / 2; i++)
        o[i / 4][i % 4] = att_joined(o_before[i * step], o[i / 4][i % 4], j[i % 4 / 2]);
}

// FWD_KEYS keys at k and values at v, of which row g + 8 h of 16 rows i sees those below seen(i, h), or all. scale2: of scores, times
// log2 e. kept(i, bits): of dropout.
template <class T, int D, int MI, class SEEN, class KEPT>
static __device__ __forceinline__ void attend(att_sums<D> (&p)[MI], const uint32_t (&q)[MI][D / 16][4], T *k, T *v, bool all_seen,
                                              const SEEN &seen, float scale2, bool drops, const KEPT &kept_of)
{
    enum { N = FWD_KEYS / 8 };
    const int t = (int)threadIdx.x % 4;
    float s[MI][N][4];
#pragma unroll
    for (int i = 0; i < MI; i++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                s[i][n][e] = 0;
#pragma unroll
    for (int n = 0; n < N; n += 2)
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            uint32_t b[2][2];
            tile_b<T, D>(b, k, n * 8, c * 16);
#pragma unroll
            for (int i = 0; i < MI; i++)
                mma<T>(s[i][n], q[i][c], b[0]), mma<T>(s[i][n + 1], q[i][c], b[1]);
        }
#pragma unroll
    for (int i = 0; i < MI; i++) {
        if (!all_seen) {
            const int see[2] = { seen(i, 0), seen(i, 1) };
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    if (n * 8 + 2 * t + e % 2 >= see[e / 2])
                        s[i][n][e] = -INFINITY;
        }
        float shrink[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float max = p[i].max[h];
#pragma unroll
            for (int n = 0; n < N; n++)
                max = fmaxf(max, fmaxf(s[i][n][2 * h], s[i][n][2 * h + 1]));
            max = fmaxf(max, __shfl_xor_sync(0xFFFFFFFFu, max, 1));
            max = fmaxf(max, __shfl_xor_sync(0xFFFFFFFFu, max, 2));
            const float base = max == -INFINITY ? 0.0f : max, base2 = __fmul_rn(base, scale2);
            shrink[h] = fast_exp2((p[i].max[h] - base) * scale2);
            float sum = 0;
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 2 * h; e < 2 * h + 2; e++)
                    s[i][n][e] = fast_exp2(__fmaf_rn(s[i][n][e], scale2, -base2)), sum += s[i][n][e];
            p[i].max[h] = max;
            p[i].sum[h] = __fmaf_rn(p[i].sum[h], shrink[h], sum);
        }
        if (__any_sync(0xFFFFFFFFu, shrink[0] != 1 || shrink[1] != 1))
#pragma unroll
            for (int n = 0; n < D / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    p[i].o[n][e] *= shrink[e / 2];
        if (drops) {
            uint32_t kept[2];
            kept_of(i, kept);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    s[i][n][e] = kept[e / 2] >> (8 * n + 2 * t + e % 2) & 1 ? s[i][n][e] : 0.0f;
        }
    }
#pragma unroll
    for (int n = 0; n < N; n += 2) {
        uint32_t w[MI][4];
#pragma unroll
        for (int i = 0; i < MI; i++)
            as_a<T>(w[i], s[i][n], s[i][n + 1]);
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            uint32_t b[2][2];
            tile_b_trans<T, D>(b, v, n * 8, c * 16);
#pragma unroll
            for (int i = 0; i < MI; i++)
                mma<T>(p[i].o[2 * c], w[i], b[0]), mma<T>(p[i].o[2 * c + 1], w[i], b[1]);
        }
    }
}

// A warp's rows, and its blocks of keys in turn.
template <class T, int D, int MI> struct att_queries {
    uint32_t q[MI][D / 16][4];
    int row, end, least, most; // first row; keys that the first of its rows sees, and the last
    __device__ __forceinline__ void load(const attention &a, const att_seq &s, int head, int first, int last)
    {
        row = first, end = last;
        least = att_seen(a, s, row - s.q0), most = row < end ? att_seen(a, s, (row + 16 * MI < end ? row + 16 * MI : end) - 1 - s.q0) : 0;
#pragma unroll
        for (int i = 0; i < MI; i++)
            rows_a<T, D>(q[i], a.q, (int64_t)head * a.d, a.d, row + 16 * i, end);
    }
    __device__ __forceinline__ int at(int i, int h) const { return row + 16 * i + 8 * h + (int)threadIdx.x % WARP / 4; }
    // Keys [j, j + FWD_KEYS) at k, their values at v.
    __device__ __forceinline__ void attend_to(att_sums<D> (&p)[MI], const attention &a, const att_seq &s, const att_drop &drop, T *k, T *v,
                                              int j) const
    {
        if (j < most)
            attend<T, D, MI>(
                p, q, k, v, j + FWD_KEYS <= least, [&](int i, int h) { return att_seen(a, s, at(i, h) - s.q0) - j; }, a.scale * LOG2E,
                a.p > 0, [&](int i, uint32_t(&kept)[2]) { kept_of_rows(kept, a, drop, row + 16 * i, end, j); });
    }
};

// The sums of a chunk are whole: of all four lanes of a row.
template <int D> static __device__ __forceinline__ void chunk_done(att_sums<D> &p)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        p.sum[h] += __shfl_xor_sync(0xFFFFFFFFu, p.sum[h], 1);
        p.sum[h] += __shfl_xor_sync(0xFFFFFFFFu, p.sum[h], 2);
    }
}

static __device__ __forceinline__ float att_lse(float max, float sum, float scale2) { return (max * scale2 + log2f(sum)) * LN2; }

// Rows of no sequence's: zeros.
static __device__ __forceinline__ void no_queries(const attention &a, int head, int row, int end)
{
    for (int e = (int)threadIdx.x; e < (end - row) * a.d; e += (int)blockDim.x)
        set_one(a.y, (row + e / a.d) * a.y.cols + head * a.d + e % a.d, 0.0f);
    for (int r = row + (int)threadIdx.x; r < end && a.lse; r += (int)blockDim.x)
        a.lse[(int64_t)r * a.heads + head] = 0;
}

// ---- tiles of queries: keys pass by, a stage of them being copied while another is looked at. What chunks before this one came to waits
// in shared memory: it is needed once a chunk.
template <class T, int D, int MI> struct many_shared {
    enum { STAGE = 4096 / D, THREADS = FWD_WARPS * WARP };
    T kv[2][2][STAGE * D]; // keys, values
    float before[MI][D / 2][THREADS];
};

template <class T, int D, int MI> static __global__ void __launch_bounds__(FWD_WARPS *WARP) attention_many(attention a)
{
    typedef many_shared<T, D, MI> S;
    enum { ROWS = FWD_WARPS * 16 * MI };
    HS_DYN_SHARED(S, shared);
    const att_live n = att_live_of(a);
    const att_tile x = att_tile_of<ROWS>(a, n, (int)(gridDim.x - 1 - blockIdx.x)); // those that see most first
    if (x.row >= x.end)
        return;
    const int head = (int)blockIdx.y, tid = (int)threadIdx.x;
    if (x.dead) {
        no_queries(a, head, x.row, x.end);
        return;
    }
    const att_seq s = att_seq_of(a, n, x.b);
    if (a.apart && s.nq <= ATT_FEW)
        return;
    const int stages = (att_seen(a, s, x.end - 1 - s.q0) + S::STAGE - 1) / S::STAGE;
    const int64_t k_col = a.k_col + (int64_t)head * a.d;
    const float scale2 = a.scale * LOG2E;
    const att_drop drop = att_drop_of(a, head);
    auto load = [&](int stage) {
        const auto row_of = [&](int r) { return stage * S::STAGE + r < s.nk ? att_key_row(a, n, s, stage * S::STAGE + r) : -1; };
        for (int i = 0; i < 2; i++)
            load_tile<T, D, S::STAGE, S::THREADS>(shared->kv[stage % 2][i], a.kv, k_col + i * a.width, a.d, tid, row_of);
    };
    att_queries<T, D, MI> rows;
    rows.load(a, s, head, x.row + tid / WARP * 16 * MI, x.end);
    att_sums<D> part[MI];
    float max[MI][2], sum[MI][2]; // of chunks before
#pragma unroll
    for (int i = 0; i < MI; i++)
        part[i].clear();
    if (stages > 0)
        load(0);
    cp_async_commit();
    for (int stage = 0; stage < stages; stage++) {
        if (stage + 1 < stages)
            load(stage + 1);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
        T *const k = shared->kv[stage % 2][0], *const v = shared->kv[stage % 2][1];
#pragma unroll 1
        for (int j = 0; j < S::STAGE; j += FWD_KEYS)
            rows.attend_to(part, a, s, drop, k + j * D, v + j * D, stage * S::STAGE + j);
        const bool last = stage == stages - 1;
        if (last || (stage + 1) * S::STAGE % ATT_CHUNK == 0)
#pragma unroll
            for (int i = 0; i < MI; i++) {
                chunk_done(part[i]);
                if (stage * S::STAGE >= ATT_CHUNK)
                    part[i].join(max[i], sum[i], &shared->before[i][0][tid], S::THREADS, scale2);
                if (!last)
                    part[i].leave(max[i], sum[i], &shared->before[i][0][tid], S::THREADS);
            }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < MI; i++) {
        if (!stages)
            part[i].clear();
        const int row = rows.row + 16 * i;
        rows_out(a.y, (int64_t)head * a.d, a.d, row, x.end, part[i].o,
                 [&](int h) { return att_seen(a, s, rows.at(i, h) - s.q0) > 0 ? drop.d.scale / part[i].sum[h] : 0.0f; });
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int at = rows.at(i, h);
            if (at < x.end && a.lse && tid % 4 == 0)
                a.lse[(int64_t)at * a.heads + head] = att_lse(part[i].max[h], part[i].sum[h], scale2);
        }
    }
}

// ---- a few queries over keys elsewhere: each warp of a block has a chunk of the keys, all of it under way at once

// Sums of ATT_FEW rows: o [rows, D], then maxima and sums.
template <int D> struct few_sums {
    float o[ATT_FEW][D], max[ATT_FEW], sum[ATT_FEW];
};
template <class T, int D> struct few_shared {
    enum { WARPS = 256 / D, CHUNK = 2 * ATT_CHUNK * D };
    T kv[WARPS][CHUNK]; // of each warp keys and values of a chunk; then its sums
    few_sums<D> all;
    att_join join[WARPS][ATT_FEW];
};

// y and lse of a row, column c of it by each thread.
static __device__ __forceinline__ void few_out(const attention &a, int head, int row, int c, bool any, float o, float max, float sum)
{
    if (c < a.d)
        set_one(a.y, row * a.y.cols + head * a.d + c, any ? o * (att_drop_of(a, head).d.scale / sum) : 0.0f);
    if (c == 0 && a.lse)
        a.lse[(int64_t)row * a.heads + head] = att_lse(max, sum, a.scale * LOG2E);
}

template <class T, int D> static __global__ void __launch_bounds__(256 / D * WARP) attention_few(attention a)
{
    typedef few_shared<T, D> S;
    enum { THREADS = S::WARPS * WARP, EIGHTS = ATT_CHUNK / FWD_KEYS };
    static_assert(sizeof(few_sums<D>) <= S::CHUNK * sizeof(T), "sums take the place of keys and values");
    HS_DYN_SHARED(S, shared);
    const att_live n = att_live_of(a);
    const int head = (int)blockIdx.y, b = (int)blockIdx.z, tid = (int)threadIdx.x, warp = tid / WARP, lane = tid % WARP;
    if (b == a.max_seqs && blockIdx.x == 0 && a.q.rows <= ATT_FEW) { // else the tiles have done it
        no_queries(a, head, 0, att_first_row(a, n, 1));
        no_queries(a, head, att_first_row(a, n, n.seqs + 1), n.rows);
    }
    if (b >= n.seqs)
        return;
    const att_seq s = att_seq_of(a, n, b);
    if (s.nq == 0 || s.nq > ATT_FEW)
        return;
    const int chunks = (att_seen(a, s, s.nq - 1) + ATT_CHUNK - 1) / ATT_CHUNK, end = s.q0 + s.nq;
    const int64_t k_col = a.k_col + (int64_t)head * a.d;
    const float scale2 = a.scale * LOG2E;
    const att_drop drop = att_drop_of(a, head);
    att_queries<T, D, 1> rows;
    rows.load(a, s, head, s.q0, end);
    T *const k = shared->kv[warp], *const v = k + ATT_CHUNK * D;
    few_sums<D> *const mine = reinterpret_cast<few_sums<D> *>(k);
    for (int e = tid; e < ATT_FEW * D; e += THREADS)
        shared->all.o[e / D][e % D] = 0;
    for (int r = tid; r < ATT_FEW; r += THREADS)
        shared->all.max[r] = -INFINITY, shared->all.sum[r] = 0;
    for (int first = (int)blockIdx.x * S::WARPS; first < chunks; first += (int)gridDim.x * S::WARPS) {
        const int chunk = first + warp, j = chunk * ATT_CHUNK;
        att_sums<D> part[1];
        part[0].clear();
        if (chunk < chunks) {
#pragma unroll
            for (int i = 0; i < 2 * EIGHTS; i++) { // the keys, then the values
                const auto row_of = [&](int r) {
                    const int at = j + i % EIGHTS * FWD_KEYS + r;
                    return at < s.nk ? att_key_row(a, n, s, at) : -1;
                };
                load_tile<T, D, FWD_KEYS, WARP>(k + i * FWD_KEYS * D, a.kv, k_col + i / EIGHTS * a.width, a.d, lane, row_of);
            }
            cp_async_commit();
            cp_async_wait<0>();
            __syncwarp();
#pragma unroll 1
            for (int i = 0; i < EIGHTS; i++)
                rows.attend_to(part, a, s, drop, k + i * FWD_KEYS * D, v + i * FWD_KEYS * D, j + i * FWD_KEYS);
        }
        chunk_done(part[0]);
        const int g = lane / 4, t = lane % 4;
        if (gridDim.x > 1) { // attention_few_join puts them together
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int row = s.q0 + g + 8 * h;
                if (row >= end || chunk >= chunks)
                    continue;
                const int64_t slot = ((int64_t)row * a.heads + head) * a.chunks + chunk;
#pragma unroll
                for (int c = 0; c < D / 8; c++)
                    if (c * 8 < a.d) {
                        const float two[2] = { part[0].o[c][2 * h], part[0].o[c][2 * h + 1] };
                        store_f<2>(a.part + slot * a.d + c * 8 + 2 * t, two);
                    }
                const float two[2] = { part[0].max[h], part[0].sum[h] };
                if (t == 0)
                    store_f<2>(a.part + a.q.rows * a.heads * a.chunks * a.d + slot * 2, two);
            }
            __syncwarp(); // all lanes are done with the values
            continue;
        }
        __syncwarp();
#pragma unroll
        for (int h = 0; h < 2; h++) {
#pragma unroll
            for (int c = 0; c < D / 8; c++) {
                const float two[2] = { part[0].o[c][2 * h], part[0].o[c][2 * h + 1] };
                store_f<2>(&mine->o[g + 8 * h][c * 8 + 2 * t], two);
            }
            if (t == 0)
                mine->max[g + 8 * h] = part[0].max[h], mine->sum[g + 8 * h] = part[0].sum[h];
        }
        __syncthreads();
        if (tid < ATT_FEW)
            for (int w = 0; w < S::WARPS; w++) {
                const few_sums<D> *p = reinterpret_cast<const few_sums<D> *>(shared->kv[w]);
                const att_join join = att_join_of(shared->all.max[tid], p->max[tid], scale2);
                shared->all.max[tid] = join.max, shared->all.sum[tid] = att_joined(shared->all.sum[tid], p->sum[tid], join);
                shared->join[w][tid] = join;
            }
        __syncthreads();
        for (int e = tid; e < ATT_FEW * D; e += THREADS) {
            float o = shared->all.o[e / D][e % D];
            for (int w = 0; w < S::WARPS; w++)
                o = att_joined(o, reinterpret_cast<const few_sums<D> *>(shared->kv[w])->o[e / D][e % D], shared->join[w][e / D]);
            shared->all.o[e / D][e % D] = o;
        }
        __syncthreads();
    }
    if (gridDim.x > 1)
        return;
    __syncthreads();
    for (int e = tid; e < s.nq * D; e += THREADS) {
        const int r = e / D;
        few_out(a, head, s.q0 + r, e % D, att_seen(a, s, r) > 0, shared->all.o[r][e % D], shared->all.max[r], shared->all.sum[r]);
    }
}

// Row blockIdx.x of sequence blockIdx.z: its chunks in order.
static __global__ void __launch_bounds__(128) attention_few_join(attention a)
{
    const att_live n = att_live_of(a);
    const int head = (int)blockIdx.y, b = (int)blockIdx.z, i = (int)blockIdx.x, c = (int)threadIdx.x;
    if (b >= n.seqs)
        return;
    const att_seq s = att_seq_of(a, n, b);
    if (i >= s.nq || s.nq > ATT_FEW)
        return;
    const int seen = att_seen(a, s, i), chunks = (seen + ATT_CHUNK - 1) / ATT_CHUNK, row = s.q0 + i;
    const float scale2 = a.scale * LOG2E;
    const int64_t slot = ((int64_t)row * a.heads + head) * a.chunks;
    const float *o = a.part + slot * a.d, *stats = a.part + a.q.rows * a.heads * a.chunks * a.d + slot * 2;
    float all = 0, max = -INFINITY, sum = 0;
#pragma unroll 4
    for (int k = 0; k < chunks; k++) {
        float two[2];
        load_f<2>(stats + 2 * k, two);
        const float part = c < a.d ? o[(int64_t)k * a.d + c] : 0.0f;
        const att_join join = att_join_of(max, two[0], scale2);
        max = join.max, sum = att_joined(sum, two[1], join), all = att_joined(all, part, join);
    }
    few_out(a, head, row, c, seen > 0, all, max, sum);
}

template <class T, int D, int MI> static void launch_forward(const attention &a, cudaStream_t stream)
{
    if (!a.apart || a.q.rows > ATT_FEW) {
        HS_LAUNCH((attention_many<T, D, MI>), dim3(att_tiles(a, FWD_WARPS * 16 * MI), (unsigned)a.heads), FWD_WARPS * WARP,
                  sizeof(many_shared<T, D, MI>), stream, a);
    }
    if (!a.apart)
        return;
    typedef few_shared<T, D> S;
    HS_LAUNCH((attention_few<T, D>), dim3((unsigned)a.splits, (unsigned)a.heads, (unsigned)a.max_seqs + 1), S::WARPS * WARP, sizeof(S),
              stream, a);
    if (a.splits > 1)
        HS_LAUNCH(attention_few_join, dim3(ATT_FEW, (unsigned)a.heads, (unsigned)a.max_seqs), 128, 0, stream, a);
}

#endif
