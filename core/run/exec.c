// exec: a plan bound to bytes. Offsets become pointers, micro-step variants become segments.
#include "core/base/dtype.h"
#include "core/plan/plan_impl.h"
#include <math.h>
#include <stdlib.h>

struct hs_exec {
    const hs_plan *plan;
    char *base, *bound; // the workspace: the device's address, and what kernels get
    void *const *state;
    hs_segment micro[4]; // by HS_MICRO_FIRST | HS_MICRO_LAST; equal variants share their thunks
    bool owned[4];
};

static char *address(const hs_exec *e, const hs_slot *s)
{
    const hs_params *ps = e->plan->graph->params;
    const hs_device *dev = e->plan->dev;
    switch ((hs_where)s->where) {
    case HS_AT_BUF:
        return e->bound + e->plan->buf[s->buf].offset;
    case HS_AT_MASTER:
        return hs_device_bind(dev, hs_slab_at(ps->master, s->t->param));
    case HS_AT_LOW:
        return hs_device_bind(dev, hs_slab_at(ps->low, s->t->param));
    case HS_AT_GRAD:
        return hs_device_bind(dev, hs_slab_at(ps->grad, s->t->param));
    case HS_AT_STATE:
        return hs_device_bind(dev, e->state[s->t->state->id]);
    case HS_AT_NONE:
        break;
    }
    return NULL;
}

static hs_ref bind(const hs_exec *e, const hs_slot *s, bool first)
{
    if (s->where == HS_AT_NONE)
        return (hs_ref){ 0 };
    return (hs_ref){ .p = address(e, s),
                     .rows = s->t->dim[0],
                     .cols = hs_tensor_cols(s->t),
                     .dtype = s->dtype,
                     .ext = s->t->ext,
                     .add = s->add || (s->add_later && !first),
                     .t = s->t };
}

static void bind_call(const hs_exec *e, const hs_call *r, hs_thunk *t, bool first, const hs_step_in *in, hs_step_state *state)
{
    const hs_plan *p = e->plan;
    *t = (hs_thunk){
        .fn = r->fn, .node = r->node, .name = r->name, .backward = r->backward, .sync = r->sync, .part = r->part, .cost = r->cost
    };
    hs_args *a = &t->args;
    for (int i = 0; i < HS_MAX_IN; i++)
        a->in[i] = bind(e, &r->in[i], first), a->din[i] = bind(e, &r->din[i], first);
    for (int i = 0; i < HS_MAX_OUT; i++)
        a->out[i] = bind(e, &r->out[i], first), a->dout[i] = bind(e, &r->dout[i], first);
    a->attr = r->attr;
    a->derived = r->derived ? r->derived->k : NULL;
    a->scratch = r->scratch.shared ? e->bound + p->values_end + (size_t)r->half * p->scratch_bytes : NULL;
    a->thread_scratch = e->bound + p->values_end + 2 * p->scratch_bytes;
    a->thread_bytes = p->thread_bytes;
    a->step = in, a->state = state;
    a->comm = r->comm;
    a->site = r->node->site;
}

static hs_status bind_micro(hs_exec *e, int which, const hs_step_in *in, hs_step_state *state)
{
    const hs_plan *p = e->plan;
    hs_thunk *t = malloc((size_t)(p->n_calls + 1) * sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for %d thunks", p->n_calls);
    int n = 0;
    for (int i = 0; i < p->n_calls; i++)
        if (!p->call[i].last_only || (which & HS_MICRO_LAST))
            bind_call(e, &p->call[i], &t[n++], which & HS_MICRO_FIRST, in, state);
    e->micro[which] = (hs_segment){ t, n };
    e->owned[which] = true;
    return HS_OK;
}

hs_status hs_exec_new(hs_exec **out, const hs_plan *p, const hs_exec_memory *m)
{
    HS_TRY(hs_derived_alloc(p->graph->params));
    hs_exec *e = calloc(1, sizeof *e);
    if (!e)
        return HS_FAIL(MEMORY, "no memory for an exec");
    e->plan = p, e->base = m->workspace, e->bound = hs_device_bind(p->dev, m->workspace), e->state = m->states;
    const bool reduces = hs_plan_reduces(p);
    const bool train = p->graph->mode == HS_TRAIN;
    for (int which = 0; which < 4; which++) {
        if (p->info.gradient_bytes && !(which & HS_MICRO_FIRST))
            continue;                                                                                  // there is nothing to add to
        const int same = (train ? which & HS_MICRO_FIRST : 0) | (reduces ? which & HS_MICRO_LAST : 0); // the variant it equals
        hs_status st = HS_OK;
        if (same == which)
            st = bind_micro(e, which, m->in, m->state);
        else
            e->micro[which] = e->micro[same];
        if (st != HS_OK) {
            hs_exec_free(e);
            return hs_frame_at(st, __FILE__, __LINE__);
        }
    }
    *out = e;
    return HS_OK;
}

void hs_exec_free(hs_exec *e)
{
    if (!e)
        return;
    for (int i = 0; i < 4; i++)
        if (e->owned[i])
            free(e->micro[i].thunk);
    free(e);
}

const hs_segment *hs_exec_micro(hs_exec *e, int which)
{
    const hs_segment *s = &e->micro[which & 3];
    return s->thunk ? s : NULL;
}

const hs_plan *hs_exec_plan(const hs_exec *e) { return e->plan; }

const hs_tensor *hs_exec_input_tensor(const hs_exec *e, const char *name)
{
    const hs_graph *g = e->plan->graph;
    for (int i = 0; i < g->n_inputs; i++)
        if (!strcmp(g->input[i]->name, name))
            return g->input[i];
    return NULL;
}

void *hs_exec_input(hs_exec *e, const char *name)
{
    const hs_tensor *t = hs_exec_input_tensor(e, name);
    return t ? e->base + e->plan->buf[e->plan->value_buf[t->id]].offset : NULL;
}

void *hs_exec_output(hs_exec *e, int index, hs_ref *ref)
{
    const hs_graph *g = e->plan->graph;
    if (index < 0 || index >= g->n_outputs || e->plan->value_buf[g->output[index]->id] < 0)
        return NULL;
    const hs_tensor *t = g->output[index];
    char *p = e->base + e->plan->buf[e->plan->value_buf[t->id]].offset;
    if (ref)
        *ref = (hs_ref){ .p = p, .rows = t->dim[0], .cols = hs_tensor_cols(t), .dtype = t->dtype, .ext = t->ext, .t = t };
    return p;
}

static int64_t nonfinite(const hs_args *a, const hs_ref *r)
{
    if (!r->p || !hs_dtype_is_float(r->dtype) || r->dtype == HS_F64)
        return 0;
    int64_t bad = 0;
    float row[1024];
    const hs_ref chunk = *r;
    const int64_t n = hs_ref_rows(a, &chunk) * r->cols;
    for (int64_t i = 0; i < n; i += 1024) {
        const int64_t k = n - i < 1024 ? n - i : 1024;
        hs_convert(row, HS_F32, r->p + (size_t)i * hs_dtype_bytes(r->dtype), r->dtype, k);
        for (int64_t c = 0; c < k; c++)
            bad += !isfinite(row[c]);
    }
    return bad;
}

int64_t hs_thunk_nonfinite(const hs_thunk *t, const char **operand)
{
    if (!t->node)
        return 0;
    const hs_op *op = t->node->op;
    const bool own = t->backward && t->args.out[0].p && !t->args.dout[0].p; // a gradient copy and a loss write out[0]
    for (int i = 0; i < HS_MAX_IN; i++) {
        const int64_t bad = t->backward ? nonfinite(&t->args, &t->args.din[i]) : 0;
        if (bad) {
            *operand = op->in[i].name;
            return bad;
        }
    }
    for (int i = 0; i < HS_MAX_OUT && (!t->backward || own); i++) {
        if (op->out[i].flags & HS_SCRATCH)
            continue;
        const int64_t bad = nonfinite(&t->args, &t->args.out[i]);
        if (bad) {
            *operand = op->out[i].name;
            return bad;
        }
    }
    return 0;
}
