// Attention in f32: operands of any type and heads of any width, products by multiply-adds. A block of 256 threads has 16 TM rows and COLS
// columns of scores, TM x 4 cells each; columns of a result are done 64 at a time by blocks of their own (blockIdx.z), which make the
// scores again.
//
// Of codes too (attention_i8): they are widened where a slice of them is loaded; scores are multiplied by scales of keys, weights by those
// of values.
#include "ops/attention/attention.cuh"

enum { THREADS = 256, COLS = 64, SLICE = 32, LD = COLS + 4 };

// Rows of an operand: from column `col` on, row r of a tile is row at(r), below 0: zeros.
template <class ROW, bool CODES> struct plain_rows {
    const hs_ref *r;
    int64_t col;
    const ROW *row_of;
    // Columns [c, c + 8) of row `from` of the operand.
    __device__ __forceinline__ void get(int64_t from, int c, float (&v)[8]) const
    {
        const int64_t at = from * r->cols + col + c;
        if (!CODES) {
            get_f<8>(*r, at, v);
            return;
        }
        const pack<int8_t, 8> codes = *reinterpret_cast<const pack<int8_t, 8> *>(r->p + at);
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] = (float)codes.v[i];
    }
};
template <bool CODES = false, class ROW>
static __device__ __forceinline__ plain_rows<ROW, CODES> plain_of(const hs_ref &r, int64_t col, const ROW &row_of)
{
    return { &r, col, &row_of };
}

// Scales of a head's key and value in a row of codes.
static __device__ __forceinline__ void scales_of(const attention &a, int head, int64_t row, float &k, float &v)
{
    const float *at = reinterpret_cast<const float *>(a.kv.p + row * a.kv.cols + 2 * a.width) + head;
    k = at[0], v = at[a.heads];
}

// to[c][row] = columns [c0, c0 + SLICE) of ROWS rows
template <int ROWS, class X> static __device__ __forceinline__ void load_slice(float (*to)[LD], const X &x, int c0, int d)
{
    for (int e = (int)threadIdx.x; e < ROWS * SLICE / 8; e += THREADS) {
        const int row = e % ROWS, c = e / ROWS * 8;
        const int64_t from = (*x.row_of)(row);
        float v[8] = { 0 };
        if (from >= 0 && c0 + c < d)
            x.get(from, c0 + c, v);
#pragma unroll
        for (int i = 0; i < 8; i++)
            to[c + i][row] = v[i];
    }
}

struct plain_shared {
    float sides[COLS][LD];   // two slices, [SLICE][rows] each; or rows of a tile, [row][64 columns]
    float weights[COLS][LD]; // [column of scores][row]
};

// s[i][k] = row 16 TM.. x's with row of y's: x of 16 TM rows, y of 64
template <int TM, class X, class Y>
static __device__ __forceinline__ void plain_scores(float (&s)[TM][4], plain_shared &sh, const X &x, const Y &y, int d)
{
    const int ty = (int)threadIdx.x / 16 * TM, tx = (int)threadIdx.x % 16 * 4;
    float(*const xs)[LD] = sh.sides, (*const ys)[LD] = sh.sides + SLICE;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int k = 0; k < 4; k++)
            s[i][k] = 0;
    for (int c0 = 0; c0 < d; c0 += SLICE) {
        __syncthreads(); // all are done with what lies there
        load_slice<16 * TM>(xs, x, c0, d);
        load_slice<COLS>(ys, y, c0, d);
        __syncthreads();
        const int n = d - c0 < SLICE ? d - c0 : (int)SLICE;
#pragma unroll 8
        for (int c = 0; c < n; c++) {
            float a[TM], b[4];
            load_f<TM>(&xs[c][ty], a);
            load_f<4>(&ys[c][tx], b);
#pragma unroll
            for (int i = 0; i < TM; i++)
#pragma unroll
                for (int k = 0; k < 4; k++)
                    s[i][k] += a[i] * b[k];
        }
    }
}

// sums[i][k] += weights (s, by columns of scores) times rows of x: columns [c0, c0 + 64) of them
template <int TM, class X>
static __device__ __forceinline__ void plain_weighted(float (&sums)[TM][4], plain_shared &sh, const float (&s)[TM][4],
                                                      const X &x, int c0, int d)
{
    const int ty = (int)threadIdx.x / 16 * TM, tx = (int)threadIdx.x % 16 * 4;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 4; k++) {
        float v[TM];
#pragma unroll
        for (int i = 0; i < TM; i++)
            v[i] = s[i][k];
        store_f<TM>(&sh.weights[tx + k][ty], v);
    }
    for (int e = (int)threadIdx.x; e < COLS * COLS / 8; e += THREADS) {
        const int row = e / (COLS / 8), c = e % (COLS / 8) * 8;
        const int64_t from = (*x.row_of)(row);
        float v[8] = { 0 };
        if (from >= 0 && c0 + c < d)
            x.get(from, c0 + c, v);
        store_f<8>(&sh.sides[row][c], v);
    }
    __syncthreads();
#pragma unroll 8
    for (int j = 0; j < COLS; j++) {
        float a[TM], b[4];
        load_f<TM>(&sh.weights[j][ty], a);
        load_f<4>(&sh.sides[j][tx], b);
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                sums[i][k] += a[i] * b[k];
    }
}

// Of all 16 threads of a row.
template <bool MAX> static __device__ __forceinline__ float over_row(float v)
{
#pragma unroll
    for (int k = 8; k > 0; k /= 2) {
        const float o = __shfl_xor_sync(0xFFFFFFFFu, v, k);
        v = MAX ? fmaxf(v, o) : v + o;
    }
    return v;
}

// Whether dropout keeps keys [j, j + 4) of a row, j a multiple of 4: a bit of each.
static __device__ __forceinline__ uint32_t kept_four(const attention &a, const att_drop &d, int64_t row, int j)
{
    return att_kept(a, d, row, j / 8) >> (j & 4);
}

template <int TM, bool CODES> static __global__ void __launch_bounds__(THREADS, TM > 1 ? 2 : 4) attention_plain_fwd(attention a)
{
    enum { ROWS = 16 * TM };
    HS_SHARED(plain_shared, sh, [1]);
    const att_live n = att_live_of(a);
    const att_tile x = att_tile_of<ROWS>(a, n, (int)(gridDim.x - 1 - blockIdx.x));
    if (x.row >= x.end)
        return;
    const int head = (int)blockIdx.y, c0 = (int)blockIdx.z * COLS, ty = (int)threadIdx.x / 16 * TM, tx = (int)threadIdx.x % 16 * 4;
    const int64_t col = (int64_t)head * a.d;
    att_seq s = { x.row, x.end - x.row, 0, 0, 0, nullptr };
    if (!x.dead)
        s = att_seq_of(a, n, x.b);
    const att_drop drop = att_drop_of(a, head);
    const int most = x.dead ? 0 : att_seen(a, s, x.end - 1 - s.q0);
    const auto query = [&](int r) { return x.row + r < x.end ? (int64_t)(x.row + r) : -1; };
    float o[TM][4], max[TM], sum[TM];
#pragma unroll
    for (int i = 0; i < TM; i++) {
        max[i] = -INFINITY, sum[i] = 0;
#pragma unroll
        for (int k = 0; k < 4; k++)
            o[i][k] = 0;
    }
    for (int j = 0; j < most; j += COLS) {
        const auto key = [&](int r) { return j + r < s.nk ? att_key_row(a, n, s, j + r) : -1; };
        float p[TM][4];
        plain_scores<TM>(p, sh[0], plain_of(a.q, col, query), plain_of<CODES>(a.kv, a.k_col + col, key), a.d);
        float k_scale[4] = { 1, 1, 1, 1 }, v_scale[4] = { 1, 1, 1, 1 };
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (CODES && j + tx + k < s.nk)
                scales_of(a, head, key(tx + k), k_scale[k], v_scale[k]);
#pragma unroll
        for (int i = 0; i < TM; i++) {
            const int row = x.row + ty + i, seen = row < x.end ? att_seen(a, s, row - s.q0) : 0;
            float top = max[i];
#pragma unroll
            for (int k = 0; k < 4; k++) {
                p[i][k] = j + tx + k < seen ? p[i][k] * a.scale * k_scale[k] : -INFINITY;
                top = fmaxf(top, p[i][k]);
            }
            top = over_row<true>(top);
            const float base = top == -INFINITY ? 0.0f : top, shrink = expf(max[i] - base);
            const uint32_t kept = a.p > 0 && row < x.end ? kept_four(a, drop, row, j + tx) : 0xF;
            float four = 0;
#pragma unroll
            for (int k = 0; k < 4; k++) {
                p[i][k] = expf(p[i][k] - base);
                four += p[i][k];
                p[i][k] = kept >> k & 1 && (!CODES || j + tx + k < seen) ? p[i][k] * drop.d.scale * v_scale[k] : 0.0f;
                o[i][k] *= shrink;
            }
            sum[i] = sum[i] * shrink + over_row<false>(four), max[i] = top;
        }
        plain_weighted<TM>(o, sh[0], p, plain_of<CODES>(a.kv, a.k_col + a.width + col, key), c0, a.d);
    }
#pragma unroll
    for (int i = 0; i < TM; i++) {
        const int64_t row = x.row + ty + i;
        if (row >= x.end)
            continue;
        const float over = sum[i] > 0 ? 1 / sum[i] : 0.0f, y[4] = { o[i][0] * over, o[i][1] * over, o[i][2] * over, o[i][3] * over };
        if (c0 + tx < a.d)
            set_f<4>(a.y, row * a.y.cols + col + c0 + tx, y);
        if (a.lse && c0 == 0 && tx == 0)
            a.lse[row * a.heads + head] = x.dead ? 0 : max[i] + logf(sum[i]);
    }
}

// p and ds of rows of scores: queries, keys along. Of cells that are not seen both are 0.
static __device__ __forceinline__ void plain_weigh(const attention &a, const att_drop &drop, bool sees, bool kept, float lse, float delta,
                                                   float &p, float &ds)
{
    const float e = sees ? expf(p * a.scale - lse) : 0.0f, f = kept ? drop.d.scale : 0.0f;
    ds = sees ? e * (f * ds - delta) : 0.0f;
    p = e * f;
}

static __global__ void __launch_bounds__(THREADS) attention_plain_dq(attention a)
{
    enum { TM = 4, ROWS = 16 * TM };
    HS_SHARED(plain_shared, sh, [1]);
    const att_live n = att_live_of(a);
    const att_tile x = att_tile_of<ROWS>(a, n, (int)(gridDim.x - 1 - blockIdx.x));
    if (x.row >= x.end)
        return;
    const int head = (int)blockIdx.y, c0 = (int)blockIdx.z * COLS, ty = (int)threadIdx.x / 16 * TM, tx = (int)threadIdx.x % 16 * 4;
    const int64_t col = (int64_t)head * a.d;
    att_seq s = { x.row, x.end - x.row, 0, 0, 0, nullptr };
    if (!x.dead)
        s = att_seq_of(a, n, x.b);
    const att_drop drop = att_drop_of(a, head);
    const int most = x.dead ? 0 : att_seen(a, s, x.end - 1 - s.q0);
    const auto query = [&](int r) { return x.row + r < x.end ? (int64_t)(x.row + r) : -1; };
    float dq[TM][4] = {};
    for (int j = 0; j < most; j += COLS) {
        const auto key = [&](int r) { return j + r < s.nk ? att_key_row(a, n, s, j + r) : -1; };
        float p[TM][4], ds[TM][4];
        plain_scores<TM>(p, sh[0], plain_of(a.q, col, query), plain_of(a.kv, a.k_col + col, key), a.d);
        plain_scores<TM>(ds, sh[0], plain_of(a.dy, col, query), plain_of(a.kv, a.k_col + a.width + col, key), a.d);
#pragma unroll
        for (int i = 0; i < TM; i++) {
            const int64_t row = x.row + ty + i, at = row * a.heads + head;
            const bool live = row < x.end;
            const int seen = live ? att_seen(a, s, (int)row - s.q0) : 0;
            const float lse = live ? a.lse[at] : 0, delta = live ? a.delta[at] : 0;
            const uint32_t kept = a.p > 0 && live ? kept_four(a, drop, row, j + tx) : 0xF;
#pragma unroll
            for (int k = 0; k < 4; k++)
                plain_weigh(a, drop, j + tx + k < seen, kept >> k & 1, lse, delta, p[i][k], ds[i][k]);
        }
        plain_weighted<TM>(dq, sh[0], ds, plain_of(a.kv, a.k_col + col, key), c0, a.d);
    }
#pragma unroll
    for (int i = 0; i < TM; i++) {
        const int64_t row = x.row + ty + i;
        const float v[4] = { dq[i][0] * a.scale, dq[i][1] * a.scale, dq[i][2] * a.scale, dq[i][3] * a.scale };
        if (row < x.end && c0 + tx < a.d)
            set_f<4>(a.dq, row * a.dq.cols + col + c0 + tx, v);
    }
}

static __global__ void __launch_bounds__(THREADS) attention_plain_dkv(attention a)
{
    enum { TM = 4, ROWS = 16 * TM };
    HS_SHARED(plain_shared, sh, [1]);
    const att_live n = att_live_of(a);
    const att_kv_tile x = att_kv_tile_of<ROWS>(a, n, (int)blockIdx.x);
    if (x.row >= x.end)
        return;
    const int head = (int)blockIdx.y, c0 = (int)blockIdx.z * COLS, ty = (int)threadIdx.x / 16 * TM, tx = (int)threadIdx.x % 16 * 4;
    const int64_t col = (int64_t)head * a.d, k_col = a.k_col + col;
    const att_drop drop = att_drop_of(a, head);
    const auto key = [&](int r) { return x.row + r < x.end ? (int64_t)(x.row + r) : -1; };
    float dk[TM][4] = {}, dv[TM][4] = {};
    att_each each;
    att_seq s;
    int j0;
    each.begin();
    while (each.next(a, n, x, s, j0))
        for (int i0 = att_first_query(a, s, j0, COLS); i0 < s.nq; i0 += COLS) {
            const auto query = [&](int r) { return i0 + r < s.nq ? (int64_t)(s.q0 + i0 + r) : -1; };
            float p[TM][4], ds[TM][4];
            plain_scores<TM>(p, sh[0], plain_of(a.kv, k_col, key), plain_of(a.q, col, query), a.d);
            plain_scores<TM>(ds, sh[0], plain_of(a.kv, k_col + a.width, key), plain_of(a.dy, col, query), a.d);
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const int q = i0 + tx + k;
                const int64_t row = s.q0 + q, at = row * a.heads + head;
                const bool live = q < s.nq;
                const int seen = live ? att_seen(a, s, q) : 0;
                const float lse = live ? a.lse[at] : 0, delta = live ? a.delta[at] : 0;
#pragma unroll
                for (int i = 0; i < TM; i++) {
                    const int j = j0 + ty + i;
                    const bool sees = j >= 0 && j < seen;
                    plain_weigh(a, drop, sees, a.p <= 0 || !sees || (att_kept(a, drop, row, j / 8) >> j % 8 & 1), lse, delta, p[i][k],
                                ds[i][k]);
                }
            }
            plain_weighted<TM>(dv, sh[0], p, plain_of(a.dy, col, query), c0, a.d);
            plain_weighted<TM>(dk, sh[0], ds, plain_of(a.q, col, query), c0, a.d);
        }
#pragma unroll
    for (int i = 0; i < TM; i++) {
        const int64_t row = x.row + ty + i, at = row * a.dkv.cols + k_col + c0 + tx;
        if (row >= x.end || c0 + tx >= a.d)
            continue;
        const float k[4] = { dk[i][0] * a.scale, dk[i][1] * a.scale, dk[i][2] * a.scale, dk[i][3] * a.scale };
        set_f<4>(a.dkv, at, k);
        set_f<4>(a.dkv, at + a.width, dv[i]);
    }
}

static unsigned slices(const attention &a) { return (unsigned)blocks_of(a.d, COLS); }

template <bool CODES> static void plain(const attention &a, cudaStream_t stream)
{
    if (a.apart && a.q.rows <= ATT_FEW * 4) // a few queries of each sequence
        HS_LAUNCH((attention_plain_fwd<1, CODES>), dim3(att_tiles(a, 16), (unsigned)a.heads, slices(a)), THREADS, 0, stream, a);
    else
        HS_LAUNCH((attention_plain_fwd<4, CODES>), dim3(att_tiles(a, 64), (unsigned)a.heads, slices(a)), THREADS, 0, stream, a);
}
void attention_plain(const attention &a, cudaStream_t stream) { a.codes ? plain<true>(a, stream) : plain<false>(a, stream); }

void attention_plain_backward(const attention &a, cudaStream_t stream)
{
    if (a.dq.p)
        HS_LAUNCH(attention_plain_dq, dim3(att_tiles(a, 64), (unsigned)a.heads, slices(a)), THREADS, 0, stream, a);
    if (a.dkv.p)
        HS_LAUNCH(attention_plain_dkv, dim3(att_kv_tiles(a, 64), (unsigned)a.heads, slices(a)), THREADS, 0, stream, a);
}
