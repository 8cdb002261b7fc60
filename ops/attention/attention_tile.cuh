// attention_tile: pieces of attention by tensor cores that forward and backward share: rows of operands in shared memory, fragments of
// them, and how a lane's scores lie. Included by attention_fwd.cuh and attention_bwd.cuh alone.
#ifndef HS_OPS_ATTENTION_TILE_H
#define HS_OPS_ATTENTION_TILE_H
#include "core/cuda/mma.cuh"
#include "ops/attention/attention.cuh"

// A tile is [rows][D] of T, D 64 or 128, what a head has less is zero; pieces of 8 values change places within a row by an XOR with its
// number, so that the 8 rows that ldmatrix reads lie in different banks.
template <class T, int D> static __device__ __forceinline__ T *tile_piece(T *tile, int row, int col)
{
    return tile + row * D + (col / 8 ^ (row & 7)) * 8;
}

// Rows [0, ROWS) of columns [col, col + d) by threads `id` of THREADS: row_of(r) says which row of r it is, or below 0: zeros.
template <class T, int D, int ROWS, int THREADS, class ROW>
static __device__ __forceinline__ void load_tile(T *tile, const hs_ref &r, int64_t col, int d, int id, const ROW &row_of)
{
    static_assert(ROWS * (D / 8) % THREADS == 0, "threads have as many pieces each");
#pragma unroll 1
    for (int e = id; e < ROWS * (D / 8); e += THREADS) { // not unrolled: registers are dear, and nothing waits here
        const int row = e / (D / 8), c = e % (D / 8) * 8;
        const int64_t from = row_of(row);
        const bool live = from >= 0 && c < d;
        cp_async<16>(tile_piece<T, D>(tile, row, c), reinterpret_cast<const T *>(r.p) + (live ? from * r.cols + col + c : 0), live);
    }
}
// The same of an operand that is f32, narrowed.
template <class T, int D, int ROWS, int THREADS, class ROW>
static __device__ __forceinline__ void narrow_tile(T *tile, const hs_ref &r, int64_t col, int d, int id, const ROW &row_of)
{
#pragma unroll 1
    for (int e = id; e < ROWS * (D / 8); e += THREADS) {
        const int row = e / (D / 8), c = e % (D / 8) * 8;
        const int64_t from = row_of(row);
        float x[8] = { 0 };
        if (from >= 0 && c < d)
            load_f<8>(reinterpret_cast<const float *>(r.p) + from * r.cols + col + c, x);
        store_f<8>(tile_piece<T, D>(tile, row, c), x);
    }
}

// ---- fragments (core/cuda/mma.cuh): left-hand sides of 16 rows x 16 values; right-hand sides of 16 values x 16 columns, two of 8
template <class T, int D> static __device__ __forceinline__ void tile_a(uint32_t (&a)[4], T *tile, int row, int k)
{
    const int l = (int)threadIdx.x % WARP;
    ldmatrix(a, tile_piece<T, D>(tile, row + (l & 15), k + (l >> 4) * 8));
}
template <class T, int D>
static __device__ __forceinline__ void tile_b(uint32_t (&b)[2][2], T *tile, int col, int k) // columns are its rows
{
    const int l = (int)threadIdx.x % WARP;
    uint32_t r[4];
    ldmatrix(r, tile_piece<T, D>(tile, col + (l & 7) + (l >> 4) * 8, k + (l >> 3 & 1) * 8));
    b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}
template <class T, int D>
static __device__ __forceinline__ void tile_b_trans(uint32_t (&b)[2][2], T *tile, int k, int col) // values are its rows
{
    const int l = (int)threadIdx.x % WARP;
    uint32_t r[4];
    ldmatrix_trans(r, tile_piece<T, D>(tile, k + (l & 15), col + (l >> 4) * 8));
    b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}
// Two f32 as a register of T, the first in the low half.
template <class T> static __device__ __forceinline__ uint32_t two_of(float x, float y)
{
    T a, b;
    from_f(a, x), from_f(b, y);
    return a.bits | (uint32_t)b.bits << 16;
}
// What two results of 16 x 8 are as a left-hand side of 16 x 16.
template <class T> static __device__ __forceinline__ void as_a(uint32_t (&a)[4], const float (&x)[4], const float (&y)[4])
{
    a[0] = two_of<T>(x[0], x[1]), a[1] = two_of<T>(x[2], x[3]), a[2] = two_of<T>(y[0], y[1]), a[3] = two_of<T>(y[2], y[3]);
}

// Fragments of a warp's 16 rows from memory: rows [row, row + 16) of which those below `end` are there.
template <class T, int D>
static __device__ __forceinline__ void rows_a(uint32_t (&a)[D / 16][4], const hs_ref &r, int64_t col, int d, int row, int end)
{
    const int g = (int)threadIdx.x % WARP / 4, t = (int)threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < D / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int from = row + g + (i & 1) * 8, c = k * 16 + 2 * t + (i >> 1) * 8;
            a[k][i] = 0;
            if (from < end && c < d)
                a[k][i] = *reinterpret_cast<const uint32_t *>(reinterpret_cast<const T *>(r.p) + from * r.cols + col + c);
        }
}

// Cells of a result, N blocks of 8 columns, to rows [row, row + 16) of an operand: = or +=, of those below `end` and the first d columns.
template <int N, class F>
static __device__ __forceinline__ void rows_out(const hs_ref &r, int64_t col, int d, int row, int end, const float (&x)[N][4],
                                                const F &factor)
{
    const int g = (int)threadIdx.x % WARP / 4, t = (int)threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int to = row + g + h * 8;
        if (to >= end)
            continue;
        const float f = factor(h);
#pragma unroll
        for (int n = 0; n < N; n++)
            if (n * 8 < d) {
                const float v[2] = { x[n][2 * h] * f, x[n][2 * h + 1] * f };
                set_f<2>(r, to * r.cols + col + n * 8 + 2 * t, v);
            }
    }
}

static constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;

// ---- dropout: bits of what is kept
// Of the scores of rows g and g + 8 of a warp with 32 keys from key j on: bit 8 n + 2 t + e of kept[h] is column e of block n. Lane t
// of a row asks for the keys of block t.
static __device__ __forceinline__ void kept_of_rows(uint32_t (&kept)[2], const attention &a, const att_drop &d, int row, int end, int j)
{
    const int g = (int)threadIdx.x % WARP / 4, t = (int)threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int at = row + g + h * 8;
        uint32_t k = at < end ? att_kept(a, d, at, j / 8 + t) << 8 * t : 0;
        k |= __shfl_xor_sync(0xFFFFFFFFu, k, 1);
        kept[h] = k | __shfl_xor_sync(0xFFFFFFFFu, k, 2);
    }
}
// The same where keys are the rows, 16 of them from key j on, and queries the columns, 16 of them from row `row` on: bit g + 8 h of
// kept[n][e] is key g + 8 h with query 8 n + 2 t + e. Lane l asks for query l / 2 and 8 keys; keys that begin between multiples of 8 (rows
// of kv that a sequence's keys begin at) lie in three eights.
static __device__ __forceinline__ void kept_of_columns(uint32_t (&kept)[2][2], const attention &a, const att_drop &d, int row, int end,
                                                       int j)
{
    const int l = (int)threadIdx.x % WARP, t = l % 4, at = row + l / 2, eight = j >> 3, off = j & 7;
    uint32_t k = at < end ? att_kept(a, d, at, eight + l % 2) << 8 * (l % 2) : 0;
    if (off && l % 2 == 0 && at < end)
        k |= att_kept(a, d, at, eight + 2) << 16;
    k |= __shfl_xor_sync(0xFFFFFFFFu, k, 1);
    k >>= off;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int e = 0; e < 2; e++)
            kept[n][e] = __shfl_sync(0xFFFFFFFFu, k, 2 * (8 * n + 2 * t + e));
}

#endif
