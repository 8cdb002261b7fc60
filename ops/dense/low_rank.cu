// low_rank on CUDA: a product for each part that mask has (core/cuda/gemm.cuh); the definition is in low_rank.c.
#include "core/cuda/gemm.cuh"
#include "ops/ops.h"

enum { X, U, B };
enum { Y };
enum { THREADS = 256 };

static int used_of(const hs_low_rank_attr *at) { return __builtin_popcount((unsigned)at->mask); }

template <int N, class TX, class TY> static __global__ void copy(const TX *x, TY *y, hs_ref rows, const hs_step_in *step)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (i >= live_rows(rows, step) * rows.cols)
        return;
    float v[N];
    load_f<N>(x + i, v);
    store_f<N>(y + i, v);
}
template <int N> static void copy_rows(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &y = a->out[Y];
    BY_FLOAT2(x.dtype, TX, y.dtype, TY,
              HS_LAUNCH((copy<N, TX, TY>), grid_of(x.rows * x.cols, THREADS * N), THREADS, 0, gpu_stream(lane), cells<TX>(x), cells<TY>(y),
                        x, a->step));
}

// An operand from column `first` on, or from row `row`.
static gemm_side side_at(const hs_ref &r, int64_t row, int64_t first, bool k_major)
{
    gemm_side s = gemm_of(r, k_major);
    s.p = r.p + (size_t)(row * r.cols + first) * hs_dtype_bytes(r.dtype);
    return s;
}
static gemm_onto onto_at(const hs_ref &r, int64_t row, int64_t first, float scale)
{
    gemm_onto c = gemm_to(r);
    c.p = r.p + (size_t)(row * r.cols + first) * hs_dtype_bytes(r.dtype), c.scale = scale;
    return c;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_low_rank_attr *at = static_cast<const hs_low_rank_attr *>(a->attr);
    const hs_ref &u = a->in[U], &b = a->in[B], &y = a->out[Y];
    const int64_t R = b.rows / used_of(at), O = b.cols;
    if (a->in[X].p != y.p)
        rows_by(8, a->in[X], y) ? copy_rows<8>(a, lane) : copy_rows<1>(a, lane);
    for (int p = 0, used = 0; p < at->parts; p++) {
        if (!(at->mask >> p & 1))
            continue;
        gemm g = gemm_make(y.rows, O, R);
        g.a = side_at(u, 0, used * R, false), g.b = side_at(b, used * R, 0, true), g.c = onto_at(y, 0, p * O, at->scale);
        g.c.add = true;
        gemm_count(&g, GEMM_LIVE_M, y, a->step);
        gemm_run(&g, lane);
        used++;
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_low_rank_attr *at = static_cast<const hs_low_rank_attr *>(a->attr);
    const hs_ref &u = a->in[U], &b = a->in[B], &dy = a->dout[Y], &du = a->din[U], &db = a->din[B];
    const int64_t R = b.rows / used_of(at), O = b.cols;
    for (int p = 0, used = 0; p < at->parts; p++) {
        if (!(at->mask >> p & 1))
            continue;
        if (du.p) {
            gemm g = gemm_make(dy.rows, R, O);
            g.a = side_at(dy, 0, p * O, false), g.b = side_at(b, used * R, 0, false), g.c = onto_at(du, 0, used * R, at->scale);
            gemm_count(&g, GEMM_LIVE_M, dy, a->step);
            gemm_run(&g, lane);
        }
        if (db.p) {
            gemm g = gemm_make(R, O, dy.rows);
            g.a = side_at(u, 0, used * R, true), g.b = side_at(dy, 0, p * O, true), g.c = onto_at(db, used * R, 0, at->scale);
            gemm_count(&g, GEMM_LIVE_K, dy, a->step);
            g.partial = reinterpret_cast<float *>(a->scratch);
            gemm_run(&g, lane);
        }
        used++;
    }
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const int64_t R = n->in[B]->dim[0] / used_of(static_cast<const hs_low_rank_attr *>(n->attr));
    return { is_backward ? gemm_bytes(R, n->in[B]->dim[1], n->in[X]->dim[0], 1) : 0, 0 };
}

extern "C" const hs_kernels hs_cuda_low_rank = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };
