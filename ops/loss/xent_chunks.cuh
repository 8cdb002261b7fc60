// xent_chunks: the products around a loss whose logits never exist whole, on a GPU - chunk by chunk of rows, forward and backward - which
// linear_xent and tp_linear_xent share. Chunks are of the capacity: what lives of one is the device's to know, and rows that do not live
// have a gradient of 0.
#ifndef HS_OPS_XENT_CHUNKS_CUDA_H
#define HS_OPS_XENT_CHUNKS_CUDA_H
#include "core/cuda/gemm.cuh"
#include "ops/dense/column_sums.cuh"
#include "ops/loss/xent_rows.cuh"

enum { X, W, TARGET, BIAS };
enum { LOSS, LOGITS };
// Each chunk reads and writes all of dw, and its products should fill the GPU: as many rows as a GiB of logits holds, up to 8,192. Not of
// what memory is free: how sums of dw are grouped, its bits, must not depend on that.
enum { CHUNK_LEAST = 1024, CHUNK_MOST = 8192, CHUNK_BYTES = 1 << 30 };

// Rows [r, r + m) of an operand, and the logits of a chunk.
static inline hs_ref chunk_rows(const hs_ref &x, int64_t r, int64_t m)
{
    hs_ref y = x;
    y.p = x.p ? x.p + (size_t)(r * x.cols) * (x.dtype == HS_F32 ? 4 : 2) : nullptr, y.rows = m;
    return y;
}
static inline hs_ref chunk_logits(const hs_args *a, int64_t m) { return chunk_rows(a->out[LOGITS], 0, m); }

// for (rows [r, r + m) of each chunk)
#define for_chunks(r, m, a)                                                                                                                \
    for (int64_t r = 0, m; m = (a)->in[X].rows - r < (a)->out[LOGITS].rows ? (a)->in[X].rows - r : (a)->out[LOGITS].rows, m > 0; r += m)

static inline void chunk_product(const hs_args *a, hs_lane *lane, int64_t r, int64_t m)
{
    const hs_ref &x = a->in[X], &w = a->in[W];
    gemm g = gemm_make(m, w.rows, x.cols);
    g.a = gemm_of(chunk_rows(x, r, m), false), g.b = gemm_of(w, false), g.c = gemm_to(chunk_logits(a, m));
    g.c.bias = cells<float>(a->in[BIAS]);
    gemm_count(&g, GEMM_LIVE_M, x, a->step);
    g.first = r;
    gemm_run(&g, lane);
}

// dbias, dx and dw of a chunk whose logits have become their gradient.
static inline void chunk_gradients(const hs_args *a, hs_lane *lane, int64_t r, int64_t m)
{
    const hs_ref &x = a->in[X], &w = a->in[W], dlogits = chunk_logits(a, m);
    hs_ref dw = a->din[W], dbias = a->din[BIAS];
    dw.add = dw.add || r > 0, dbias.add = dbias.add || r > 0;
    sum_columns(a, lane, dlogits, reinterpret_cast<float *>(a->scratch), dbias);
    if (a->din[X].p) {
        gemm g = gemm_make(m, w.cols, w.rows);
        g.a = gemm_of(dlogits, false), g.b = gemm_of(w, true), g.c = gemm_to(chunk_rows(a->din[X], r, m));
        gemm_count(&g, GEMM_LIVE_M, x, a->step);
        g.first = r;
        gemm_run(&g, lane);
    }
    if (dw.p) {
        gemm g = gemm_make(w.rows, w.cols, m);
        g.a = gemm_of(dlogits, true), g.b = gemm_of(chunk_rows(x, r, m), true), g.c = gemm_to(dw);
        gemm_count(&g, GEMM_LIVE_K, x, a->step);
        g.first = r;
        g.partial = reinterpret_cast<float *>(a->scratch);
        gemm_run(&g, lane);
    }
}

static inline int64_t chunk_height(const hs_node *n)
{
    const int64_t capacity = n->in[X]->dim[0], fit = CHUNK_BYTES / (n->in[W]->dim[0] * (int64_t)hs_dtype_bytes(n->out[LOGITS]->dtype)),
                  rows = fit / CHUNK_LEAST * CHUNK_LEAST, high = rows < CHUNK_LEAST ? CHUNK_LEAST : rows > CHUNK_MOST ? CHUNK_MOST : rows;
    return capacity < high ? capacity : high;
}
static inline void chunk_room(hs_node *n) { n->out[LOGITS]->dim[0] = chunk_height(n); }

static inline hs_scratch chunk_scratch(const hs_node *n, int, bool is_backward)
{
    const int64_t M = n->out[LOGITS]->dim[0], V = n->in[W]->dim[0], C = n->in[W]->dim[1];
    const size_t dw = gemm_bytes(V, C, M, 1), dbias = n->in[BIAS] ? column_bytes(M, 1, V) : 0;
    return { !is_backward ? 0 : dw > dbias ? dw : dbias, 0 };
}

#endif
