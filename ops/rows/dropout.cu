// dropout on CUDA: one Philox block serves the 8 cells that a thread has of a row.
#include "core/cuda/elementwise.cuh"
#include "ops/attrs.h"

enum { X, WHERE, STARTS };
enum { Y };

struct mask {
    hs_ref where; // i32 [rows, 2]
    const int32_t *starts;
    hs_drop drop;
    uint64_t site;
    int32_t first;
    template <int N> __device__ uint32_t begin(int64_t n, int64_t live, int64_t c, const hs_step_in *step) const
    {
        const hs_drop d = drop_in(drop, site, step);
        const int64_t tokens = live_rows(where, step);
        uint32_t keep = 0; // 8 bits a row; a loop, so that Philox stands there once
#pragma unroll 1
        for (int k = 0; k < ROWS_OF_WARP && n + k * ROW_WARPS < live; k++) {
            const int64_t row = n + k * ROW_WARPS, token = starts ? starts[row] : row;
            const bool inside = token >= 0 && token < tokens; // a sequence that begins elsewhere has the address of none
            const int32_t *const at = reinterpret_cast<const int32_t *>(where.p) + 2 * token;
            keep |= drop_kept<N>(d, inside ? at[0] : -1, inside ? at[1] : -1, first + c) << 8 * k;
        }
        return keep;
    }
    template <int N> __device__ void row(uint32_t keep, int k, float (&x)[N], const float (&)[N]) const
    {
#pragma unroll
        for (int i = 0; i < N; i++)
            x[i] = keep >> (8 * k + i) & 1 ? x[i] * drop.scale : 0; // what is dropped is 0 even if it was Inf
    }
};
static mask mask_of(const hs_args *a)
{
    const hs_dropout_attr *at = static_cast<const hs_dropout_attr *>(a->attr);
    return { a->in[WHERE], cells<int32_t>(a->in[STARTS]), drop_of(at->p), a->site, at->first };
}

static void forward(const hs_args *a, hs_lane *lane) { map_rows(a, lane, mask_of(a), a->out[Y], a->in[X]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    if (a->din[X].p)
        map_rows(a, lane, mask_of(a), a->din[X], a->dout[Y]);
}

extern "C" const hs_kernels hs_cuda_dropout = { forward, backward, HS_PART_FREE, HS_PART_FREE };
