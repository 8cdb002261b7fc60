// xent_chunks: the products around a loss whose logits never exist whole - chunk by chunk, forward and backward - which linear_xent and
// tp_linear_xent share. Between them stands what each does with the rows of a chunk.
#ifndef HS_OPS_XENT_CHUNKS_H
#define HS_OPS_XENT_CHUNKS_H
#include "ops/dense/column_sums.h"
#include "ops/dense/gemm.h"
#include "ops/loss/xent_rows.h"

enum { X, W, TARGET, BIAS };
enum { LOSS, LOGITS };
// Each chunk packs w twice and walks dw once: at 1,024 rows that is 2 % of the products.
enum { XENT_CHUNK = 1024 };

static inline int64_t xent_chunk_rows(const hs_node *n) { return n->in[X]->dim[0] < XENT_CHUNK ? n->in[X]->dim[0] : XENT_CHUNK; }

// What both shape rules refuse; both attributes begin as hs_xent_attr does.
static inline const char *xent_chunk_refuse(const hs_node *n)
{
    const hs_xent_attr *at = n->attr;
    const hs_tensor *x = n->in[X], *w = n->in[W], *target = n->in[TARGET], *bias = n->in[BIAS];
    if (x->n_dims != 2 || w->n_dims != 2)
        return "x must be [rows, in] and w [classes or more, in]";
    if (x->dim[1] != w->dim[1])
        return "inner widths differ";
    if (x->dim[1] % 8 || w->dim[0] % 8)
        return "widths must be multiples of 8: pad them";
    if (bias && (bias->n_dims != 1 || bias->dim[0] != w->dim[0]))
        return "bias must be as long as w has rows";
    if (target->dtype != HS_I32 || target->n_dims != 1 || target->dim[0] != x->dim[0] || target->ext != x->ext)
        return "target must be i32, one for each row of x";
    if (!(at->smoothing >= 0 && at->smoothing < 1))
        return "smoothing must be in [0, 1)";
    if (at->loss < 0 || at->loss >= HS_N_LOSS)
        return "there is no loss of that number";
    return NULL;
}

// Backward is all of training: three products.
static inline hs_cost xent_chunk_cost(const hs_node *n, bool backward)
{
    const double x = (double)hs_tensor_bytes(n->in[X]), w = (double)hs_tensor_bytes(n->in[W]);
    const double cells = (double)n->in[X]->dim[0] * (double)n->in[W]->dim[0], product = 2 * cells * (double)n->in[X]->dim[1];
    return backward ? (hs_cost){ 3 * product + 24 * cells, 2 * (x + w) } : (hs_cost){ product + 12 * cells, x + w };
}

// Losses in f64, where w has the classes [first, first + K) of all there are.
static inline void xent_chunk_ref(const hs_args *a, int64_t first, int64_t K)
{
    const hs_xent_attr *at = a->attr;
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols;
    for (int64_t n = 0; n < N; n++) {
        const double e = (double)at->smoothing;
        const int32_t t = hs_i32(a, TARGET)[n];
        double max = -INFINITY, sum = 0, mean = 0, logit_t = 0; // the sum follows a rising maximum
        for (int64_t o = 0; o < K; o++) {
            double logit = a->in[BIAS].p ? hs_f64(a, BIAS)[o] : 0;
            for (int64_t c = 0; c < C; c++)
                logit += hs_f64(a, X)[n * C + c] * hs_f64(a, W)[o * C + c];
            const double higher = fmax(max, logit);
            sum = sum * exp(max - higher) + exp(logit - higher);
            max = higher, mean += logit / (double)at->classes, logit_t = first + o == t ? logit : logit_t;
        }
        hs_f64_out(a, LOSS)[n] = t == at->ignore ? 0 : max + log(sum) - (1 - e) * logit_t - e * mean;
    }
}

// Of cases: every third label is ignored.
static inline void xent_chunk_markers(int input, int32_t *data, int64_t n, const hs_case *c)
{
    for (int64_t i = 0; i < n && input == TARGET; i++)
        data[i] = i % 3 == 1 ? -1 : (int32_t)((i * 7 + 3) % c->limit);
}

// What both are measured at: rows, width, classes of all ranks (the characters of a small text, GPT-2's padded vocabulary).
static inline void xent_chunk_make(const int64_t *dim, hs_case *c, void *attr)
{
    *c = (hs_case){ .in = { [X] = { dim[0], dim[1] }, [W] = { dim[2], dim[1] }, [TARGET] = { dim[0] } },
                    .ext = { [X] = HS_EXT_TOKENS, [TARGET] = HS_EXT_TOKENS },
                    .limit = dim[2] };
    *(hs_xent_attr *)attr = (hs_xent_attr){ .classes = (int32_t)dim[2], .ignore = -1 };
}
static const hs_op_sizes xent_chunk_sizes[] = {
    { .form = "ROWSxINxCLASSES", .usual = "768x128x128,1Kx768x50304", .make = xent_chunk_make }
};

// Rows [r, r + m) of an operand of a product.
static inline gemm_in xent_rows_of(const hs_ref *x, int64_t r, bool k_major)
{
    return (gemm_in){ x->p + (size_t)(r * x->cols) * hs_dtype_bytes(x->dtype), x->cols, x->dtype, k_major };
}
static inline gemm_out xent_onto(const hs_ref *y, int64_t r, bool add)
{
    return (gemm_out){ y->p + (size_t)(r * y->cols) * hs_dtype_bytes(y->dtype), y->cols, y->dtype, add, NULL, 1 };
}

// The logits of rows [r, r + m). Each member makes the rows that hs_part gives it.
static inline void xent_chunk_logits(const hs_args *a, hs_lane *lane, gemm g, int64_t r, int64_t m)
{
    g.m = m, g.n = a->in[W].rows, g.k = a->in[X].cols, g.rows = true;
    g.a = xent_rows_of(&a->in[X], r, false), g.b = xent_rows_of(&a->in[W], 0, false), g.c = xent_onto(&a->out[LOGITS], 0, false);
    g.c.bias = hs_f32(a, BIAS);
    gemm_run(&g, lane);
}

// dbias, dx and dw of a chunk whose logits have become their gradient. Columns of padding have none: what is added to their bias is 0.
static inline void xent_chunk_gradients(const hs_args *a, hs_lane *lane, gemm g, int64_t r, int64_t m)
{
    const hs_ref *dlogits = &a->out[LOGITS], *dx = &a->din[X], *dw = &a->din[W], *dbias = &a->din[BIAS];
    const int64_t V = a->in[W].rows, C = a->in[W].cols;
    if (dbias->p)
        column_sums(dlogits, m, (float *)dbias->p, dbias->add || r > 0, lane);
    if (dx->p) {
        g.m = m, g.n = C, g.k = V;
        g.a = xent_rows_of(dlogits, 0, false), g.b = xent_rows_of(&a->in[W], 0, true), g.c = xent_onto(dx, r, dx->add);
        gemm_run(&g, lane);
        hs_sync(lane);
    }
    if (dw->p) {
        g.m = V, g.n = C, g.k = m;
        g.a = xent_rows_of(dlogits, 0, true), g.b = xent_rows_of(&a->in[X], r, true), g.c = xent_onto(dw, 0, dw->add || r > 0);
        gemm_run(&g, lane);
        hs_sync(lane);
    }
}

static inline hs_scratch xent_most(hs_scratch a, hs_scratch b)
{
    return (hs_scratch){ a.shared > b.shared ? a.shared : b.shared, a.per_thread > b.per_thread ? a.per_thread : b.per_thread };
}

static inline hs_scratch xent_chunk_scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    const int64_t M = n->out[LOGITS]->dim[0], V = n->in[W]->dim[0], C = n->in[W]->dim[1];
    const bool dot = gemm_dot(n->low), low = n->low != HS_F32;
    const hs_scratch logits = { gemm_shared_bytes(V, C, dot), gemm_own_bytes(M, V, C, dot, low) };
    if (!is_backward)
        return logits;
    const hs_scratch dx = { gemm_shared_bytes(C, V, dot), gemm_own_bytes(M, C, V, dot, low) };
    const hs_scratch dw = { gemm_shared_bytes(C, M, dot), gemm_own_bytes(V, C, M, dot, low) };
    return xent_most(xent_most(logits, (hs_scratch){ 0, xent_work_bytes(V) }), xent_most(dx, dw));
}

#endif
