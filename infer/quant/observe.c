// observe: a hook of step mode that looks at the left operand of every product of a parameter.
#include "infer/quant/observe.h"
#include "core/graph/op.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hs_observer {
    const hs_params *ps;
    hs_observer_opts opts;
    hs_observed *of; // by hs_param.id
    hs_device *watched;
    float *rows;
    char *bytes;
    size_t room; // elements of rows
    hs_status status;
    char message[512]; // of the first error, which has to outlive the run that it happened in
};

hs_status hs_observer_new(hs_observer **out, const hs_params *ps, const hs_observer_opts *o)
{
    *out = calloc(1, sizeof **out);
    hs_observed *of = calloc((size_t)ps->n_params + 1, sizeof *of);
    if (!*out || !of) {
        free(*out);
        free(of);
        *out = NULL;
        return HS_FAIL(MEMORY, "no memory to observe %d parameters", ps->n_params);
    }
    **out = (hs_observer){ .ps = ps, .opts = *o, .of = of };
    return HS_OK;
}

void hs_observer_free(hs_observer *o)
{
    if (!o)
        return;
    hs_observer_watch(o, NULL);
    for (int i = 0; i < o->ps->n_params; i++) {
        hs_histogram_free(o->of[i].x);
        hs_gram_free(o->of[i].gram);
    }
    free(o->of);
    free(o->rows);
    free(o->bytes);
    free(o);
}

// ---- what is seen

// Which weight a product reads; NULL: it is none, or multiplies no parameter.
static const hs_param *weight_of(const hs_node *n)
{
    static const char *const products[] = { "linear", "linear_xent" };
    for (size_t k = 0; k < HS_COUNT(products); k++)
        if (n && n->op && !strcmp(n->op->name, products[k]) && n->in[1] && n->in[1]->kind == HS_PARAM)
            return n->in[1]->param;
    return NULL;
}

static hs_status make_room(hs_observer *o, size_t n)
{
    if (n <= o->room)
        return HS_OK;
    free(o->rows);
    free(o->bytes);
    o->rows = malloc(n * sizeof *o->rows), o->bytes = malloc(n * sizeof *o->rows), o->room = n;
    if (o->rows && o->bytes)
        return HS_OK;
    o->room = 0;
    return HS_FAIL(MEMORY, "no memory for %zu values that a product multiplies", n);
}

static hs_status begin(hs_observer *o, hs_observed *seen, int64_t in)
{
    seen->in = in;
    seen->shrink = 1;
    if (o->opts.gram)
        HS_TRY(hs_gram_new(&seen->gram, in));
    return hs_histogram_new(&seen->x, o->opts.channels ? in : 0);
}

static hs_status look_at(hs_observer *o, const hs_param *w, const hs_ref *x, int64_t rows)
{
    hs_observed *seen = &o->of[w->id];
    const int64_t in = x->cols;
    const size_t n = (size_t)(rows * in);
    if (!rows)
        return HS_OK;
    if (!seen->x)
        HS_TRY(begin(o, seen, in));
    HS_TRY(make_room(o, n));
    o->watched->copy(o->watched, o->bytes, x->p, n * hs_dtype_bytes(x->dtype));
    hs_convert(o->rows, HS_F32, o->bytes, x->dtype, (int64_t)n);
    HS_TRY(hs_histogram_add(seen->x, o->rows, rows, in, w->name));
    if (seen->gram)
        hs_gram_add(seen->gram, o->rows, rows);
    return HS_OK;
}

static void note(const hs_thunk *t, double seconds, void *user)
{
    hs_observer *o = user;
    const hs_param *w = t->backward ? NULL : weight_of(t->node);
    (void)seconds;
    if (!w || o->status != HS_OK)
        return;
    o->status = look_at(o, w, &t->args.in[0], hs_ref_rows(&t->args, &t->args.in[0]));
    if (o->status != HS_OK)
        snprintf(o->message, sizeof o->message, "%s", hs_error());
}

void hs_observer_watch(hs_observer *o, hs_device *d)
{
    if (o->watched)
        o->watched->hook = NULL, o->watched->hook_user = NULL;
    o->watched = d;
    if (d)
        d->hook = note, d->hook_user = o;
}

hs_status hs_observer_end(const hs_observer *o)
{
    return o->status == HS_OK ? HS_OK : hs_fail_at(o->status, __FILE__, __LINE__, "%s", o->message);
}

const hs_observed *hs_observer_of(const hs_observer *o, const hs_param *p) { return o->of[p->id].x ? &o->of[p->id] : NULL; }

hs_observed *hs_observer_at(hs_observer *o, const hs_param *p) { return o->of[p->id].x ? &o->of[p->id] : NULL; }
