// span_rows: the two columns of a sequence's rows, start and end, on a GPU - what span_xent and soft_span share. A block has a sequence;
// the one behind the last clears the rows that are nobody's.
#ifndef HS_OPS_SPAN_ROWS_CUDA_H
#define HS_OPS_SPAN_ROWS_CUDA_H
#include "ops/ops.h"
#include "ops/rows/seq_rows.cuh"

enum { LOGITS, OTHER, STARTS, KEYS }; // OTHER: what each op has of its own
enum { LOSS, DLOGITS };
enum { WARPS = 4, THREADS = WARPS * WARP };

typedef struct span_rows {
    hs_ref x, loss; // x: also its gradient, where that is wanted
    seq_rows seqs;
    bool gradient;
} span_rows;
static inline span_rows span_rows_of(const hs_args *a)
{
    return { a->in[LOGITS], a->out[LOSS], { cells<int32_t>(a->in[STARTS]), cells<int32_t>(a->in[KEYS]) }, a->out[DLOGITS].p != nullptr };
}
static inline dim3 span_grid(const span_rows &r) { return dim3((unsigned)r.loss.rows + 1); } // a block each, and one more

static __device__ __forceinline__ float span_value(const hs_ref &x, int64_t n, int k) { return get_one(x, n * x.cols + k); }

// Rows [first, first + n) of the gradient: slope(row, k) in the columns k of 0 and 1, 0 in the others. A thread writes what it alone reads.
template <class Slope> static __device__ __forceinline__ void span_write(const hs_ref &x, int64_t first, int64_t n, Slope &&slope)
{
    for (int64_t i = threadIdx.x; i < n * x.cols; i += THREADS) {
        const int64_t row = first + i / x.cols, k = i % x.cols;
        set_one(x, first * x.cols + i, k < 2 ? slope(row, (int)k) : 0);
    }
}
static __device__ __forceinline__ void span_clear(const hs_ref &x, int64_t first, int64_t end)
{
    for (int64_t i = first * x.cols + threadIdx.x; i < end * x.cols; i += THREADS)
        set_one(x, i, 0);
}
// The block behind those of the live sequences: rows before the first and behind the last.
static __device__ __forceinline__ void span_clear_nobodys(const span_rows &r, int64_t B, int64_t live)
{
    span_clear(r.x, 0, r.seqs.starts[0] < live ? r.seqs.starts[0] : live);
    span_clear(r.x, r.seqs.starts[B] > 0 ? r.seqs.starts[B] : 0, live);
}

#endif
