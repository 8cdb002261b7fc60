// row_trace: tensors stand in the trace from the first row on, and are filled as rows come.
#include "infer/server/row_trace.h"
#include "infer/server/oip_model.h"
#include <stdlib.h>

struct hs_row_trace {
    hs_oip_model model;
    float *output[HS_OIP_TENSORS]; // of model.out, in the trace; NULL: not of this want, or no room
    int64_t seq, columns;
    float *values; // [seq][columns] of a row
    // of guesses, in the trace
    int32_t *id;
    double *score;
    hs_guess *guess; // [best]
    int64_t best;
    const hs_encode_row *row;
};

static bool is_of(hs_want_what what, hs_oip_what output)
{
    return what == HS_WANT_VECTOR   ? output == HS_OIP_VECTOR
           : what == HS_WANT_HIDDEN ? output == HS_OIP_HIDDEN
                                    : output == HS_OIP_LOGITS || output == HS_OIP_START || output == HS_OIP_END;
}

static bool make_outputs(hs_row_trace *x, hs_traced *r, const hs_served *m, const hs_encode_row *row, int n, const hs_want *want)
{
    int64_t dim[HS_INFER_DIMS];
    for (int i = 0; i < n; i++)
        x->seq = row[i].n > x->seq ? row[i].n : x->seq;
    x->columns = m->head ? hs_head_columns(m->head) : hs_arch_int(m->session.arch, "model.width");
    hs_oip_model_of(&x->model, m);
    for (int k = 0; k < x->model.n_out; k++) {
        const hs_oip_tensor *t = &x->model.out[k];
        if (!is_of(want->what, t->what))
            continue;
        hs_oip_shape(t, n, x->seq, dim);
        x->output[k] = hs_traced_numbers(r, HS_TRACE_OUTPUT, t->name, HS_OIP_FP32, t->n_dims, dim);
    }
    return (x->values = malloc((size_t)(x->seq * x->columns) * sizeof *x->values)) != NULL;
}

static bool make_guesses(hs_row_trace *x, hs_traced *r, const hs_encode_row *row, int n, const hs_want *want)
{
    int64_t dim[2] = { 0, want->best };
    x->row = row, x->best = want->best;
    for (int i = 0; i < n; i++)
        dim[0] += row[i].n_picks;
    x->id = hs_traced_numbers(r, HS_TRACE_OUTPUT, "ids", HS_OIP_INT32, 2, dim);
    x->score = hs_traced_numbers(r, HS_TRACE_OUTPUT, "scores", HS_OIP_FP64, 2, dim);
    return (x->guess = malloc((size_t)x->best * sizeof *x->guess)) != NULL;
}

hs_row_trace *hs_row_trace_new(hs_traced *r, const hs_served *m, const hs_encode_row *row, int n, const hs_want *want)
{
    hs_row_trace *x = calloc(1, sizeof *x);
    if (x && (want->what == HS_WANT_GUESSES ? make_guesses(x, r, row, n, want) : make_outputs(x, r, m, row, n, want)))
        return x;
    hs_row_trace_free(x);
    hs_traced_no_outputs(r);
    return NULL;
}

void hs_row_trace_free(hs_row_trace *x)
{
    if (!x)
        return;
    free(x->values), free(x->guess);
    free(x);
}

static void add_guesses(hs_row_trace *x, const hs_wanted_row *w, int row)
{
    int64_t at = 0; // of all masks
    for (int i = 0; i < row; i++)
        at += x->row[i].n_picks;
    for (int64_t m = 0; m < w->row->n_picks; m++, at++) {
        int64_t n = 0;
        if (hs_wanted_guesses(w, 0, m, x->guess, &n) != HS_OK)
            continue;
        for (int64_t i = 0; i < n; i++) {
            if (x->id)
                x->id[at * x->best + i] = x->guess[i].id;
            if (x->score)
                x->score[at * x->best + i] = x->guess[i].score;
        }
    }
}

void hs_row_trace_add(hs_row_trace *x, const hs_wanted_row *w, int i)
{
    int64_t n;
    if (x && x->guess)
        add_guesses(x, w, i);
    else if (x && hs_wanted_floats(w, 0, x->values, &n) == HS_OK)
        for (int k = 0; k < x->model.n_out; k++)
            if (x->output[k])
                hs_oip_place(&x->model.out[k], x->output[k], i, i * x->seq, x->values, n, x->columns);
}
