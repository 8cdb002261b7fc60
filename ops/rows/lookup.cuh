// lookup: rows picked out of a table by numbers, forward and backward; embedding and gather_rows share it.
//
//   y[n] = table[ids[n] - first] (+ places[first_place + where[n][1]])
//
// Backward: the tokens are sorted by the row they take, of equal rows in order, by a radix sort of 8 bits a pass; then a row's gradient is
// the sum of its tokens, in order. Windows of 32 sorted tokens each add up theirs; what a row has in several windows is added in order by a
// second launch. No atomics on floats, and the bits depend neither on the capacity nor on what runs at once.
#ifndef HS_OPS_LOOKUP_H
#define HS_OPS_LOOKUP_H
#include "core/cuda/elementwise.cuh"

// ---- forward: a warp per row of y
struct lookup {
    hs_ref table, places, y;
    const int32_t *ids, *where; // places and where: both or none
    int64_t first, rows;        // the table here has rows [first, ...) of `rows`; rows 0: it is whole
    int64_t first_place;
};
enum { LOOKUP_WARPS = 8 };

template <int N> static __global__ void lookup_rows(lookup a, const hs_step_in *step)
{
    const int lane = (int)threadIdx.x % WARP;
    const int64_t n = (int64_t)blockIdx.x * LOOKUP_WARPS + threadIdx.x / WARP, C = a.y.cols;
    if (n >= live_rows(a.y, step))
        return;
    const int64_t here = live_rows(a.table, step), all = a.ids[n], row = all - a.first,
                  place = a.where ? a.first_place + a.where[2 * n + 1] : 0;
    const bool outside = all < 0 || all >= (a.rows ? a.rows : here) || (a.where && (place < 0 || place >= a.places.rows));
    const bool elsewhere = row < 0 || row >= here; // in the slice of another rank: 0 here, its place too
#pragma unroll 4
    for (int64_t c = lane * N; c < C; c += WARP * N) {
        float x[N], z[N];
#pragma unroll
        for (int i = 0; i < N; i++)
            x[i] = outside ? NAN : 0;
        if (!outside && !elsewhere) {
            raw<N> u = fetch<N>(a.table, row * C + c), v;
            if (a.where)
                v = fetch<N>(a.places, place * C + c);
            widen<N>(a.table, u, x);
            if (a.where) {
                widen<N>(a.places, v, z);
#pragma unroll
                for (int i = 0; i < N; i++)
                    x[i] += z[i];
            }
        }
        set_f<N>(a.y, n * C + c, x);
    }
}
static inline void look_up(const lookup &a, const hs_step_in *step, cudaStream_t stream)
{
    const dim3 grid = grid_of(a.y.rows, LOOKUP_WARPS);
    if (rows_by(8, a.table, a.places, a.y))
        HS_LAUNCH((lookup_rows<8>), grid, LOOKUP_WARPS * WARP, 0, stream, a, step);
    else
        HS_LAUNCH((lookup_rows<1>), grid, LOOKUP_WARPS * WARP, 0, stream, a, step);
}

// ---- backward: a sort by rows
struct row_numbers { // the row that each token takes is number[stride * n] - first
    const int32_t *number;
    int stride;
    int64_t first;
};
enum { SORT_THREADS = 256, SORT_ROUNDS = 4, SORT_PART = SORT_THREADS * SORT_ROUNDS, DIGITS = 256, WINDOW = 32 };

// A token without a row in the table comes behind all others.
static __device__ __forceinline__ uint32_t row_taken(const row_numbers &a, int64_t n, int64_t rows)
{
    const int64_t row = (int64_t)a.number[n * a.stride] - a.first;
    return (uint32_t)(row >= 0 && row < rows ? row : rows);
}

// count[part][digit]: tokens of the part that have it. key NULL: this is the first pass, keys are made of the numbers.
static __global__ void count_digits(row_numbers from, const uint32_t *key, hs_ref tokens, hs_ref table, int shift, uint32_t *count,
                                    const hs_step_in *step)
{
    HS_SHARED(uint32_t, n_of, [DIGITS]);
    const int64_t live = live_rows(tokens, step), rows = live_rows(table, step), first = (int64_t)blockIdx.x * SORT_PART;
    n_of[threadIdx.x] = 0;
    __syncthreads();
    for (int k = 0; k < SORT_ROUNDS; k++) {
        const int64_t n = first + k * SORT_THREADS + threadIdx.x;
        if (n < live)
            atomicAdd(&n_of[(key ? key[n] : row_taken(from, n, rows)) >> shift & (DIGITS - 1)], 1u);
    }
    __syncthreads();
    count[(int64_t)blockIdx.x * DIGITS + threadIdx.x] = n_of[threadIdx.x];
}

// Sum of v over the threads before this one, of a block of SORT_THREADS.
static __device__ __forceinline__ uint32_t sum_before(uint32_t v, uint32_t *at)
{
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    uint32_t upto = v;
#pragma unroll
    for (int k = 1; k < WARP; k *= 2) {
        const uint32_t left = __shfl_up_sync(0xFFFFFFFFu, upto, k);
        upto += lane >= k ? left : 0;
    }
    if (lane == WARP - 1)
        at[warp] = upto;
    __syncthreads();
    for (int w = 0; w < warp; w++)
        upto += at[w];
    return upto - v;
}

// Moves the tokens of a part to where their digit stands, behind those of lower digits, of earlier parts, and before them in the part.
static __global__ void move_by_digit(row_numbers from, const uint32_t *key, const int32_t *token, hs_ref tokens, hs_ref table, int shift,
                                     const uint32_t *count, uint32_t *key_to, int32_t *token_to, const hs_step_in *step)
{
    enum { WARPS = SORT_THREADS / WARP };
    HS_SHARED(uint32_t, at, [WARPS]);
    HS_SHARED(uint32_t, next, [WARPS][DIGITS]); // where a warp's tokens of a digit go
    const int64_t live = live_rows(tokens, step), rows = live_rows(table, step), first = (int64_t)blockIdx.x * SORT_PART;
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, own = (int)threadIdx.x; // a digit that this thread counts
    if (first >= live)
        return;
    uint32_t all = 0, before = 0;
#pragma unroll 4
    for (int64_t b = 0; b < (int64_t)gridDim.x; b++) {
        const uint32_t n = count[b * DIGITS + own];
        all += n, before += b < (int64_t)blockIdx.x ? n : 0;
    }
    uint32_t start = sum_before(all, at) + before;
    for (int k = 0; k < SORT_ROUNDS; k++) {
        const int64_t n = first + k * SORT_THREADS + threadIdx.x;
        const bool is = n < live;
        const uint32_t mine = !is ? 0 : key ? key[n] : row_taken(from, n, rows), digit = mine >> shift & (DIGITS - 1);
        unsigned same = __ballot_sync(0xFFFFFFFFu, is); // lanes with this digit
#pragma unroll
        for (int bit = 0; bit < 8; bit++) {
            const unsigned set = __ballot_sync(0xFFFFFFFFu, digit >> bit & 1);
            same &= digit >> bit & 1 ? set : ~set;
        }
        const int rank = __popc(same & ((1u << lane) - 1));
        __syncthreads();
#pragma unroll
        for (int w = 0; w < WARPS; w++)
            next[w][own] = 0;
        __syncthreads();
        if (is && rank == 0)
            next[warp][digit] = (uint32_t)__popc(same);
        __syncthreads();
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            const uint32_t n_here = next[w][own];
            next[w][own] = start;
            start += n_here;
        }
        __syncthreads();
        if (is) {
            const uint32_t to = next[warp][digit] + (uint32_t)rank;
            key_to[to] = mine, token_to[to] = token ? token[n] : (int32_t)n;
        }
    }
}

// ---- backward: sums of sorted tokens
struct sorted {
    const uint32_t *key;
    const int32_t *token;
    float *part; // f32 [2 windows, C]: of rows that lie in several windows, what one of them has: at 2 w where it begins, else 2 w + 1
    hs_ref tokens, dst; // dst: what grows, already cleared where it is written
};

// A warp for each sorted token, and N columns of a lane; it works where the token begins a window or a row of its own.
template <int N> static __global__ void sum_windows(sorted a, hs_ref dy, const hs_step_in *step)
{
    enum { WARPS = 8, AHEAD = 4 };
    const int lane = (int)threadIdx.x % WARP;
    const int64_t i = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, live = live_rows(a.tokens, step), C = a.dst.cols;
    if (i >= live)
        return;
    const uint32_t key = a.key[i];
    const bool begins = i == 0 || a.key[i - 1] != key;
    if (key >= live_rows(a.dst, step) || (!begins && i % WINDOW))
        return;
    const int64_t end = (i / WINDOW + 1) * WINDOW, mine = i + lane;
    const bool same = mine < end && mine < live && a.key[mine] == key;
    const int n = __popc(__ballot_sync(0xFFFFFFFFu, same)); // sorted: they are neighbours
    const int32_t token = same ? a.token[mine] : 0;
    const bool whole = begins && (i + n < end || end >= live || a.key[end] != key);
    const int64_t c = ((int64_t)blockIdx.y * WARP + lane) * N;
    float sum[N] = {};
    for (int k0 = 0; k0 < n; k0 += AHEAD) {
        raw<N> x[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const int64_t row = __shfl_sync(0xFFFFFFFFu, token, k0 + k);
            if (k0 + k < n && c < C)
                x[k] = fetch<N>(dy, row * C + c);
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (k0 + k < n && c < C) {
                float v[N];
                widen<N>(dy, x[k], v);
#pragma unroll
                for (int j = 0; j < N; j++)
                    sum[j] += v[j];
            }
    }
    if (c >= C)
        return;
    if (whole)
        set_f<N>(a.dst, (int64_t)key * C + c, sum);
    else
        store_f<N>(a.part + (i / WINDOW * 2 + (i % WINDOW != 0)) * C + c, sum);
}

// A block for each window in which a row begins that goes on behind it; windows are dealt to warps, and their sums added up in order.
template <int N> static __global__ void sum_of_windows(sorted a, const hs_step_in *step)
{
    enum { WARPS = 8 };
    HS_SHARED(float, at, [WARPS][WARP * N]);
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t w0 = blockIdx.x, live = live_rows(a.tokens, step), C = a.dst.cols, next = (w0 + 1) * WINDOW;
    if (next >= live || a.key[next - 1] != a.key[next] || a.key[next] >= live_rows(a.dst, step))
        return;
    const uint32_t key = a.key[next];
    const bool from_start = a.key[w0 * WINDOW] == key;
    if (from_start && w0 > 0 && a.key[w0 * WINDOW - 1] == key)
        return;                                             // it began earlier
    int64_t lo = w0 + 1, hi = (live + WINDOW - 1) / WINDOW; // windows [w0 + 1, last) begin with it
    while (lo < hi) {
        const int64_t mid = (lo + hi) / 2;
        if (a.key[mid * WINDOW] == key)
            lo = mid + 1;
        else
            hi = mid;
    }
    const int64_t last = lo, c = ((int64_t)blockIdx.y * WARP + lane) * N;
    float sum[N] = {};
    if (c < C) {
#pragma unroll 4
        for (int64_t w = w0 + warp; w < last; w += WARPS) {
            float v[N];
            load_f<N>(a.part + (2 * w + (w == w0 && !from_start)) * C + c, v);
#pragma unroll
            for (int j = 0; j < N; j++)
                sum[j] += v[j];
        }
    }
#pragma unroll
    for (int j = 0; j < N; j++)
        at[warp][j * WARP + lane] = sum[j];
    __syncthreads();
    if (warp || c >= C)
        return;
#pragma unroll
    for (int w = 1; w < WARPS; w++)
#pragma unroll
        for (int j = 0; j < N; j++)
            sum[j] += at[w][j * WARP + lane];
    set_f<N>(a.dst, (int64_t)key * C + c, sum);
}

// ---- backward: all of it
struct zero {
    __device__ float operator()() const { return 0; }
};

static inline int64_t sort_parts(int64_t tokens) { return blocks_of(tokens, SORT_PART); }
static inline size_t scatter_bytes(int64_t tokens, int64_t cols)
{
    const int64_t keys = blocks_of(tokens, 4) * 4;
    return (size_t)(4 * keys + sort_parts(tokens) * DIGITS + 2 * blocks_of(tokens, WINDOW) * cols) * 4;
}

template <int N> static inline void run_sums(const sorted &a, const hs_ref &dy, const hs_step_in *step, cudaStream_t stream)
{
    const unsigned strips = (unsigned)blocks_of(dy.cols, WARP * N);
    HS_LAUNCH((sum_windows<N>), dim3((unsigned)blocks_of(dy.rows, 8), strips), 8 * WARP, 0, stream, a, dy, step);
    if (dy.rows > WINDOW)
        HS_LAUNCH((sum_of_windows<N>), dim3((unsigned)blocks_of(dy.rows, WINDOW) - 1, strips), 8 * WARP, 0, stream, a, step);
}

// dst[row(n)] = or += the sum of dy[n] of the live tokens n that take that row, in order. Nothing where nobody wants dst.
static inline void scatter_rows(const hs_args *a, hs_lane *lane, const row_numbers &from, const hs_ref &dst, const hs_ref &dy)
{
    if (!dst.p)
        return;
    cudaStream_t stream = gpu_stream(lane);
    const int64_t keys = blocks_of(dy.rows, 4) * 4, parts = sort_parts(dy.rows);
    uint32_t *const word = reinterpret_cast<uint32_t *>(a->scratch), *const count = word + 4 * keys;
    uint32_t *key = nullptr, *key_to = word, *other = word + 2 * keys;
    if (!dst.add)
        map_cells(a, lane, zero{}, dst);
    for (int shift = 0; shift < 32 && (dst.rows >> shift) > 0; shift += 8) { // dst.rows is a key too: of tokens without a row
        const int32_t *const token = key ? reinterpret_cast<const int32_t *>(key + keys) : nullptr;
        HS_LAUNCH(count_digits, grid_of(parts, 1), SORT_THREADS, 0, stream, from, key, dy, dst, shift, count, a->step);
        HS_LAUNCH(move_by_digit, grid_of(parts, 1), SORT_THREADS, 0, stream, from, key, token, dy, dst, shift, count, key_to,
                  reinterpret_cast<int32_t *>(key_to + keys), a->step);
        key = key_to, key_to = other, other = key;
    }
    const sorted s = { key, reinterpret_cast<const int32_t *>(key + keys), reinterpret_cast<float *>(count + parts * DIGITS), dy, dst };
    if (rows_by(8, dst, dy))
        run_sums<8>(s, dy, a->step, stream);
    else
        run_sums<1>(s, dy, a->step, stream);
}

#endif
