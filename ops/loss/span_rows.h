// span_rows: where a sequence's rows are and what its columns 0 (start) and 1 (end) hold - what span_xent and soft_span share.
#ifndef HS_OPS_SPAN_ROWS_H
#define HS_OPS_SPAN_ROWS_H
#include "core/cpu/vmath.h"
#include "ops/ops.h"
#include "ops/rows/seq_rows.h"

enum { LOGITS, OTHER, STARTS, KEYS }; // OTHER: what each op has of its own
enum { LOSS, DLOGITS };

// NULL and the outputs' shapes, or what is wrong with all but OTHER.
static inline const char *span_shape(hs_node *n, int32_t loss)
{
    const hs_tensor *logits = n->in[LOGITS], *starts = n->in[STARTS];
    if (logits->n_dims != 2 || logits->dim[1] < 2)
        return "logits must be [N, 2 or more]";
    const char *why = seq_refuse(starts, n->in[KEYS]);
    if (why)
        return why;
    if (loss < 0 || loss >= HS_N_LOSS)
        return "there is no loss of that number";
    const int64_t seqs = starts->dim[0] - 1;
    hs_shape_set(n->out[LOSS], HS_F32, seq_ext(starts), 1, &seqs);
    hs_shape_like(n->out[DLOGITS], logits);
    return NULL;
}

// The real rows of sequence b; false: they lie outside of the logits.
static inline bool span_rows(const hs_args *a, int64_t b, int64_t *first, int64_t *n)
{
    return seq_rows(a, &a->in[LOGITS], hs_i32(a, STARTS), a->in[KEYS].p ? hs_i32(a, KEYS) : NULL, b, first, n);
}

static inline float span_value(const hs_ref *x, int64_t n, int k)
{
    float one;
    return *hs_load(x, n * x->cols + k, 1, &one);
}

static inline void span_write(const hs_ref *x, int64_t n, const float d[2]) // of other columns 0
{
    memset(x->p + (size_t)(n * x->cols) * hs_dtype_bytes(x->dtype), 0, (size_t)x->cols * hs_dtype_bytes(x->dtype));
    hs_store(x, n * x->cols, 2, d);
}

static inline void span_clear(const hs_ref *x, int64_t first, int64_t end)
{
    if (end > first)
        memset(x->p + (size_t)(first * x->cols) * hs_dtype_bytes(x->dtype), 0,
               (size_t)((end - first) * x->cols) * hs_dtype_bytes(x->dtype));
}

static inline void span_clear_nobodys(const hs_args *a) // rows before the first sequence and behind the last
{
    const hs_ref *x = &a->in[LOGITS];
    const int64_t B = hs_ref_rows(a, &a->out[LOSS]), N = hs_ref_rows(a, x);
    const int32_t *starts = hs_i32(a, STARTS);
    span_clear(x, 0, starts[0] < N ? starts[0] : N);
    span_clear(x, starts[B] > 0 ? starts[B] : 0, N);
}

static inline void span_reference_clear(const hs_args *a) // what is no start or end of a real row
{
    const int64_t N = hs_ref_rows(a, &a->in[LOGITS]), B = hs_ref_rows(a, &a->out[LOSS]), V = a->in[LOGITS].cols;
    for (int64_t i = 0; i < N * V && a->out[DLOGITS].p; i++) {
        bool real = false;
        for (int64_t b = 0; b < B && i % V < 2; b++) {
            int64_t first, n;
            span_rows(a, b, &first, &n);
            real = real || (i / V >= first && i / V < first + n);
        }
        hs_f64_out(a, DLOGITS)[i] = real ? hs_f64_out(a, DLOGITS)[i] : 0;
    }
}

#endif
