// linear on CUDA: products (core/cuda/gemm.cuh) and sums of columns; the definition is in linear.c. Of weights that were pruned 2:4 a copy
// is pressed where values stay, and products are by that where it is faster (core/cuda/cusparselt.h).
#include "core/cuda/cublaslt.h"
#include "core/cuda/cusparselt.h"
#include "core/cuda/gemm.cuh"
#include "core/graph/params.h"
#include "ops/dense/column_sums.cuh"
#include "ops/ops.h"

enum { X, W, BIAS };
enum { Y };

static void by_whole(const void *given, hs_lane *lane)
{
    const hs_args *a = static_cast<const hs_args *>(given);
    const hs_ref &x = a->in[X], &w = a->in[W];
    gemm g = gemm_make(x.rows, w.rows, x.cols);
    g.a = gemm_of(x, false), g.b = gemm_of(w, false), g.c = gemm_to(a->out[Y]);
    g.c.bias = cells<float>(a->in[BIAS]);
    gemm_count(&g, GEMM_LIVE_M, x, a->step);
    gemm_run(&g, lane);
}

static void narrow_bias(const void *given, hs_lane *lane)
{
    const hs_args *a = static_cast<const hs_args *>(given);
    gemm_bias_for(lane, cells<float>(a->in[BIAS]), a->in[W].rows, a->out[Y].dtype);
}

// Its bias is of the product's type, and lies in the lane's room before it is asked for: each product narrows it there.
static bool by_pressed(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &w = a->in[W], &y = a->out[Y], &bias = a->in[BIAS];
    hs_sp_product p = {};
    if (!a->derived || x.dtype != w.dtype || y.dtype != w.dtype || y.add)
        return false;
    p.rows = x.rows, p.outs = w.rows, p.ins = w.cols, p.type = w.dtype;
    p.pressed = a->derived, p.x = x.p, p.y = y.p;
    if (bias.p && !(p.bias = hs_lt_room(lane, (size_t)w.rows * 2)))
        return false;
    const hs_sp_ways ways = { by_whole, bias.p ? narrow_bias : nullptr, a };
    if (!hs_sp_has(lane, &p, &ways) || (bias.p && gemm_bias_for(lane, cells<float>(bias), w.rows, y.dtype) != p.bias))
        return false;
    hs_sp_multiply(lane, &p);
    return true;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    if (!by_pressed(a, lane))
        by_whole(a, lane);
}

struct weight_and_bias { // their gradients
    const hs_args *a;
    gemm w;
};
static void apart(const void *given, hs_lane *lane)
{
    const weight_and_bias *both = static_cast<const weight_and_bias *>(given);
    gemm_run(&both->w, lane);
    sum_columns(both->a, lane, both->a->dout[Y], reinterpret_cast<float *>(both->a->scratch), both->a->din[BIAS]);
}

// The sums are written: where they are added, they lie in the lane's room before.
static bool together(const weight_and_bias *both, hs_lane *lane)
{
    const hs_ref &dbias = both->a->din[BIAS];
    gemm_behind sums = {};
    if (!dbias.p || !gpu_lt(lane))
        return false;
    sums.what = HS_LT_SUMS, sums.apart = apart, sums.given = both;
    sums.sums = dbias.add ? static_cast<float *>(hs_lt_room(lane, (size_t)both->w.m * sizeof(float))) : cells<float>(dbias);
    if (!sums.sums || !gemm_with(&both->w, &sums, lane))
        return false;
    hs_ref one = {};
    one.rows = 1;
    if (dbias.add)
        add_columns(sums.sums, one, both->a->step, both->w.m, gpu_stream(lane), dbias);
    return true;
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &w = a->in[W], &dy = a->dout[Y];
    if (a->din[X].p) {
        gemm g = gemm_make(dy.rows, w.cols, w.rows);
        g.a = gemm_of(dy, false), g.b = gemm_of(w, true), g.c = gemm_to(a->din[X]);
        gemm_count(&g, GEMM_LIVE_M, dy, a->step);
        gemm_run(&g, lane);
    }
    if (!a->din[W].p) {
        sum_columns(a, lane, dy, reinterpret_cast<float *>(a->scratch), a->din[BIAS]);
        return;
    }
    weight_and_bias both = { a, gemm_make(w.rows, w.cols, dy.rows) };
    both.w.a = gemm_of(dy, true), both.w.b = gemm_of(x, true), both.w.c = gemm_to(a->din[W]);
    gemm_count(&both.w, GEMM_LIVE_K, dy, a->step);
    both.w.partial = reinterpret_cast<float *>(a->scratch);
    if (!together(&both, lane))
        apart(&both, lane);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const int64_t N = n->in[X]->dim[0], C = n->in[X]->dim[1], O = n->in[W]->dim[0];
    const size_t dw = gemm_bytes(O, C, N, 1), dbias = n->in[BIAS] ? column_bytes(N, 1, O) : 0;
    return { !is_backward ? 0 : dw > dbias ? dw : dbias, 0 };
}

enum { VALUES_STAY = 1 << 20 }; // runs: what is changed sooner is not worth a copy

static size_t pressed_bytes(const hs_node *n, bool, int runs)
{
    const hs_tensor *w = n->in[W];
    const bool stays = n->mode != HS_TRAIN && runs >= VALUES_STAY && w->param->keeps_zeros;
    return stays && !hs_sp_declines(w->dim[0], w->dim[1], n->low) ? hs_sp_bytes(w->dim[0], w->dim[1]) : 0;
}
static void press(const hs_args *a, hs_lane *lane) { hs_sp_press(lane, &a->in[0], a->out[0].p, (size_t)a->out[0].cols); }

extern "C" const hs_kernels hs_cuda_linear = { forward, backward, HS_PART_FREE, HS_PART_FREE,
                                               false,   scratch,  nullptr,      { W, pressed_bytes, press, nullptr, false, false, true, false } };
