// tp_rows: rows of tokens that tensor-parallel ranks divide, on a GPU. What is whose follows from the live rows, which the device alone
// knows, and calls of a comm are given their sizes by the host. So what travels is as many rows of each rank as a share has at most, one
// share behind the other: a kernel lays rows out so before a call, or takes them from there behind it. Collectives may leave anything in
// rows that do not live.
#ifndef HS_OPS_TP_ROWS_CUDA_H
#define HS_OPS_TP_ROWS_CUDA_H
#include "core/cuda/elementwise.cuh"
#include "core/graph/comm.h"
#include "ops/attrs.h"

enum { TP_THREADS = 256 };

struct as_it_is_cell {
    __device__ float operator()(float x) const { return x; }
};

typedef struct tp_shares {
    hs_ref whole; // all ranks' rows: whose live ones count
    int rank, ranks;
    int64_t share; // rows of a share, at most
} tp_shares;
static inline tp_shares tp_shares_of(const hs_args *a, const hs_ref &whole)
{
    return { whole, a->comm->rank, a->comm->size, hs_share_rows(whole.rows, a->comm->size) };
}
static inline hs_ref tp_room(char *p, const hs_ref &like, int64_t rows)
{
    hs_ref room = like;
    room.p = p, room.rows = rows, room.add = false, room.ext = HS_EXT_FIXED;
    return room;
}

// Of thread i of all: its pack of N columns of a row of `cols`.
template <int N> static __device__ __forceinline__ bool tp_cell(int64_t rows, int64_t cols, int64_t *row, int64_t *col)
{
    const int64_t i = (int64_t)blockIdx.x * TP_THREADS + threadIdx.x, packs = cols / N;
    *row = i / packs, *col = i % packs * N;
    return *row < rows;
}

// whole = (or +=) what lies in shares
template <int N> static __global__ void tp_collect(tp_shares s, hs_ref shares, const hs_step_in *step)
{
    const int64_t live = live_rows(s.whole, step), C = s.whole.cols;
    int64_t n, c;
    if (!tp_cell<N>(live, C, &n, &c))
        return;
    const int r = (int)(((n + 1) * s.ranks - 1) / live); // the last whose first row is not behind n
    float x[N];
    get_f<N>(shares, (r * s.share + n - hs_share_first(live, r, s.ranks)) * C + c, x);
    set_f<N>(s.whole, n * C + c, x);
}
// shares = the live rows of whole, 0 beyond
template <int N> static __global__ void tp_lay_out(tp_shares s, hs_ref shares, const hs_step_in *step)
{
    const int64_t live = live_rows(s.whole, step), C = s.whole.cols;
    int64_t at, c;
    if (!tp_cell<N>(s.ranks * s.share, C, &at, &c))
        return;
    const int r = (int)(at / s.share);
    const int64_t n = hs_share_first(live, r, s.ranks) + at % s.share;
    float x[N] = {};
    if (n < hs_share_first(live, r + 1, s.ranks))
        get_f<N>(s.whole, n * C + c, x);
    set_f<N>(shares, at * C + c, x);
}
// own = (or +=) this rank's rows of whole
template <int N> static __global__ void tp_take(tp_shares s, hs_ref own, const hs_step_in *step)
{
    const int64_t live = live_rows(s.whole, step), C = own.cols, first = hs_share_first(live, s.rank, s.ranks);
    int64_t n, c;
    if (!tp_cell<N>(hs_share_first(live, s.rank + 1, s.ranks) - first, C, &n, &c))
        return;
    float x[N];
    get_f<N>(s.whole, (first + n) * C + c, x);
    set_f<N>(own, n * C + c, x);
}
#define TP_LAUNCH(kernel, rows, by, stream, s, ...)                                                                                        \
    do {                                                                                                                                   \
        if (by)                                                                                                                            \
            HS_LAUNCH((kernel<8>), grid_of((rows) * (s).whole.cols / 8, TP_THREADS), TP_THREADS, 0, stream, s, __VA_ARGS__);               \
        else                                                                                                                               \
            HS_LAUNCH((kernel<1>), grid_of((rows) * (s).whole.cols, TP_THREADS), TP_THREADS, 0, stream, s, __VA_ARGS__);                   \
    } while (0)

static inline void tp_take_own(const hs_args *a, hs_lane *lane, const hs_ref &whole, const hs_ref &own)
{
    const tp_shares s = tp_shares_of(a, whole);
    TP_LAUNCH(tp_take, s.share, rows_by(8, whole, own), gpu_stream(lane), s, own, a->step);
}

// whole = the rows of all ranks, of which `own` are this one's.
static inline void tp_gather_parts(const hs_args *a, hs_lane *lane, const hs_ref &own, const hs_ref &whole)
{
    const tp_shares s = tp_shares_of(a, whole);
    const hs_ref shares = tp_room(s.ranks > 1 ? a->scratch : own.p, own, s.ranks * s.share);
    if (s.ranks > 1)
        a->comm->all_gather(a->comm, lane, own.p, shares.p, s.share * own.cols, own.dtype);
    TP_LAUNCH(tp_collect, whole.rows, rows_by(8, whole, shares), gpu_stream(lane), s, shares, a->step);
}

// own = this rank's rows of the sum over ranks of `whole`, which is added up in its own type.
static inline void tp_reduce_parts(const hs_args *a, hs_lane *lane, const hs_ref &whole, const hs_ref &own)
{
    const tp_shares s = tp_shares_of(a, whole);
    const hs_ref shares = tp_room(a->scratch, whole, s.ranks * s.share);
    if (s.ranks == 1) {
        tp_take_own(a, lane, whole, own);
        return;
    }
    const bool straight = !own.add && own.dtype == whole.dtype;
    const int64_t cells = s.share * whole.cols;
    hs_ref sum = tp_room(straight ? own.p : shares.p + (size_t)(s.ranks * cells) * hs_dtype_bytes(whole.dtype), whole, s.share);
    sum.ext = own.ext;
    TP_LAUNCH(tp_lay_out, shares.rows, rows_by(8, whole, shares), gpu_stream(lane), s, shares, a->step);
    a->comm->reduce_scatter(a->comm, lane, shares.p, sum.p, cells, whole.dtype);
    if (!straight)
        map_cells(a, lane, as_it_is_cell{}, own, sum);
}

// Room for all shares and one more, as f32.
static inline hs_scratch tp_shares_scratch(const hs_node *n, const hs_tensor *whole)
{
    const int64_t ranks = static_cast<const hs_tp_rows_attr *>(n->attr)->ranks, rows = hs_share_rows(whole->dim[0], (int)ranks);
    return { ranks > 1 ? (size_t)((ranks + 1) * rows * hs_tensor_cols(whole)) * sizeof(float) : 0, 0 };
}

#endif
