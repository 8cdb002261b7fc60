// exec: a plan bound to bytes. Offsets become pointers, micro-step variants become segments.
#include "core/plan/plan_impl.h"
#include <stdlib.h>

struct hs_exec {
    const hs_plan *plan;
    hs_device *device;
    char *base, *bound;          // the workspace: the device's address, and what kernels get
    char *inputs, *bound_inputs; // the slots, likewise
    int slot;
    bool *has_default[HS_INPUT_SLOTS]; // [n_inputs]: the slot holds nothing but the default
    double *cell;                      // [n_inputs]: its bytes, in each one's type
    void *const *state;
    const hs_step_in *in;
    hs_step_state *out;
    hs_segment micro[HS_INPUT_SLOTS][4]; // by slot and HS_MICRO_FIRST | HS_MICRO_LAST; equal variants share their thunks
    bool owned[4];
    hs_move *move;  // of the calls that reduce over shares, in their order
    int64_t *parts; // theirs
    hs_left *left;  // of waits for values, by group
};

// The device's address of what lies outside the workspace.
static const void *outside(const hs_exec *e, const hs_slot *s)
{
    const hs_params *ps = e->plan->graph->params;
    if (s->where == HS_AT_STATE)
        return e->state[s->t->state->id];
    if (s->where == HS_AT_CODED)
        return hs_slab_at(hs_params_coded(ps, s->t->view), s->t->param);
    return hs_slab_at(s->where == HS_AT_MASTER ? ps->master : s->where == HS_AT_LOW ? ps->low : ps->grad, s->t->param);
}

// Where a buffer lies, from the device's addresses of workspace and slots or from those that kernels get.
static char *at(const hs_exec *e, int buf, char *workspace, char *inputs)
{
    const hs_buf *b = &e->plan->buf[buf];
    return (b->input ? inputs + (size_t)e->slot * e->plan->info.input_bytes : workspace) + b->offset;
}

// Where a gradient is made that lies in a block.
static void *in_block(const hs_exec *e, const hs_param *q) { return e->bound + hs_plan_grad_offset(e->plan, q); }

// Of a gradient: the elements that this rank keeps. None: an absent operand without rows.
static void bind_share(const hs_exec *e, const hs_slot *s, bool first, hs_ref *out)
{
    const hs_param *q = s->t->param;
    size_t at, n;
    const hs_slab *grad = e->plan->graph->params->grad;
    hs_slab_range(grad, q, &at, &n);
    if (n)
        *out = (hs_ref){ .p = s->where == HS_AT_SHARE ? hs_slab_bound(grad, q) : (char *)in_block(e, q) + at * sizeof(float),
                         .rows = (int64_t)n,
                         .cols = 1,
                         .dtype = HS_F32,
                         .add = s->add_later && !first,
                         .t = s->t };
}

static hs_status bind(const hs_exec *e, const hs_call *r, const hs_slot *s, const hs_operand *o, bool first, hs_ref *out)
{
    *out = (hs_ref){ 0 };
    if (s->where == HS_AT_SHARE || s->where == HS_AT_BLOCK_SHARE)
        bind_share(e, s, first, out);
    if (s->where == HS_AT_NONE || s->where == HS_AT_SHARE || s->where == HS_AT_BLOCK_SHARE)
        return HS_OK;
    const bool block = s->where == HS_AT_GRAD && e->plan->grad_buf; // made anew in every micro-step
    *out = (hs_ref){ .p = block                   ? in_block(e, s->t->param)
                          : s->where == HS_AT_BUF ? at(e, s->buf, e->bound, e->bound_inputs)
                                                  : hs_device_bind(e->device, outside(e, s)),
                     .rows = s->t->dim[0],
                     .cols = hs_tensor_cols(s->t),
                     .dtype = s->dtype,
                     .ext = s->t->ext,
                     .add = s->add || (s->add_later && !first && !block),
                     .t = s->t };
    if (out->p)
        return HS_OK;
    return HS_FAIL(INTERNAL, "%s: %s of %s, %s %s, does not lie in the memory of device %s", r->node->scope, o->name, r->name,
                   s->where == HS_AT_STATE ? "state" : "parameter", s->t->name, e->device->name);
}

static hs_status bind_call(const hs_exec *e, const hs_call *r, hs_thunk *t, bool first, const hs_move *move)
{
    const hs_plan *p = e->plan;
    const hs_op *op = r->node->op;
    *t = (hs_thunk){
        .fn = r->fn, .node = r->node, .name = r->name, .backward = r->backward, .sync = r->sync, .part = r->part, .cost = r->cost
    };
    hs_args *a = &t->args;
    for (int i = 0; i < HS_MAX_IN; i++) {
        HS_TRY(bind(e, r, &r->in[i], &op->in[i], first, &a->in[i]));
        HS_TRY(bind(e, r, &r->din[i], &op->in[i], first, &a->din[i]));
    }
    for (int i = 0; i < HS_MAX_OUT; i++) {
        HS_TRY(bind(e, r, &r->out[i], &op->out[i], first, &a->out[i]));
        HS_TRY(bind(e, r, &r->dout[i], &op->out[i], first, &a->dout[i]));
    }
    a->attr = r->run ? (const void *)move : r->await ? &e->left[r->await - 1] : r->attr;
    a->derived = r->derived ? r->derived->k : NULL, a->derived_bytes = r->derived ? r->derived->bytes : 0;
    a->scratch = r->scratch.shared ? e->bound + p->values_end + (size_t)r->half * p->scratch_bytes : NULL;
    a->thread_scratch = e->bound + p->values_end + (size_t)p->halves * p->scratch_bytes;
    a->thread_bytes = p->thread_bytes;
    a->step = e->in, a->state = e->out;
    a->comm = r->comm;
    a->site = r->node->site;
    return HS_OK;
}

static hs_status bind_joined(const hs_exec *e, const hs_call *r, hs_thunk *front, hs_thunk *t, bool first)
{
    HS_TRY(bind_call(e, r, t, first, NULL));
    front->then = t;
    front->args.then = &t->args, front->args.alone = r[-1].alone;
    front->cost.flops += t->cost.flops, front->cost.bytes += t->cost.bytes;
    return HS_OK;
}

static hs_status bind_micro(hs_exec *e, int which)
{
    const hs_plan *p = e->plan;
    hs_thunk *t = malloc((size_t)(p->n_calls + 1) * sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for %d thunks", p->n_calls);
    hs_segment *s = &e->micro[e->slot][which];
    *s = (hs_segment){ t, 0 };
    e->owned[which] = true;
    const hs_move *move = e->move;
    int end = p->n_calls; // from the other end: what is done with the one in front
    for (int i = 0; i < p->n_calls; i++) {
        if (p->call[i].joined)
            HS_TRY(bind_joined(e, &p->call[i], &t[s->n - 1], &t[--end], which & HS_MICRO_FIRST));
        else if (!p->call[i].last_only || (which & HS_MICRO_LAST))
            HS_TRY(bind_call(e, &p->call[i], &t[s->n++], which & HS_MICRO_FIRST, move));
        if (move && p->call[i].run)
            move++;
    }
    return HS_OK;
}

// Shares are settled now.
static hs_status divide_reductions(hs_exec *e)
{
    const hs_plan *p = e->plan;
    const hs_params *ps = p->graph->params;
    size_t n = 0;
    if (!ps->shares)
        return HS_OK;
    e->move = malloc(((size_t)p->n_calls + 1) * sizeof *e->move);
    e->parts = malloc(((size_t)p->n_calls + 1) * (size_t)ps->shares->size * sizeof *e->parts);
    e->left = malloc(((size_t)ps->shares->n_groups + 1) * sizeof *e->left);
    if (!e->move || !e->parts || !e->left)
        return HS_FAIL(MEMORY, "no memory for the shares of %d calls", p->n_calls);
    for (int g = 0; g < ps->shares->n_groups; g++)
        e->left[g].left = hs_share_moves(ps, ps->shares->n_groups) - hs_share_moves(ps, g + 1);
    for (int i = 0; i < p->n_calls; i++) {
        if (!p->call[i].run)
            continue;
        int64_t *parts = e->parts + n * (size_t)ps->shares->size;
        hs_share_parts(ps, p->grad_buf ? NULL : ps->grad, p->call[i].run, parts);
        e->move[n++] = (hs_move){ .kind = HS_REDUCE_PARTS, .parts = parts };
    }
    return HS_OK;
}

static hs_status bind_slot(hs_exec *e)
{
    const hs_plan *p = e->plan;
    bool reduces = false; // in the last alone
    for (int i = 0; i < p->n_calls && !reduces; i++)
        reduces = p->call[i].last_only;
    const bool train = p->graph->mode == HS_TRAIN;
    for (int which = 0; which < 4; which++) {
        if (p->info.gradient_bytes && !(which & HS_MICRO_FIRST))
            continue;                                                                                  // there is nothing to add to
        const int same = (train ? which & HS_MICRO_FIRST : 0) | (reduces ? which & HS_MICRO_LAST : 0); // the variant it equals
        if (same == which)
            HS_TRY(bind_micro(e, which));
        else
            e->micro[e->slot][which] = e->micro[e->slot][same];
    }
    return HS_OK;
}

static hs_status note_defaults(hs_exec *e)
{
    const hs_graph *g = e->plan->graph;
    const size_t n = (size_t)g->n_inputs + 1;
    e->has_default[0] = calloc(HS_INPUT_SLOTS * n, sizeof **e->has_default), e->cell = calloc(n, sizeof *e->cell);
    if (!e->has_default[0] || !e->cell)
        return HS_FAIL(MEMORY, "no memory for %d inputs", g->n_inputs);
    for (int slot = 1; slot < HS_INPUT_SLOTS; slot++)
        e->has_default[slot] = e->has_default[slot - 1] + n;
    for (int i = 0; i < g->n_inputs; i++)
        if (g->input[i]->has_fill)
            hs_convert(&e->cell[i], g->input[i]->dtype, &g->input[i]->fill, HS_F64, 1);
    return HS_OK;
}

static hs_status bind_all(hs_exec *e)
{
    const char *missing = NULL;
    e->bound = hs_device_bind(e->device, e->base);
    e->bound_inputs = e->plan->info.input_bytes ? hs_device_bind(e->device, e->inputs) : NULL;
    if (!e->bound)
        missing = "workspace";
    else if (!e->bound_inputs && e->plan->info.input_bytes)
        missing = "room for the inputs";
    if (missing)
        return HS_FAIL(INTERNAL, "the %s of a plan does not lie in the memory of device %s", missing, e->device->name);
    HS_TRY(note_defaults(e));
    HS_TRY(divide_reductions(e));
    for (e->slot = HS_INPUT_SLOTS - 1; e->slot > 0; e->slot--)
        HS_TRY(bind_slot(e));
    return bind_slot(e);
}

hs_status hs_exec_new(hs_exec **out, const hs_plan *p, const hs_exec_memory *m)
{
    *out = NULL;
    HS_TRY(hs_derived_alloc(p->graph->params));
    hs_exec *e = calloc(1, sizeof *e);
    if (!e)
        return HS_FAIL(MEMORY, "no memory for an exec");
    e->plan = p, e->device = m->device ? m->device : p->dev;
    e->base = m->workspace, e->inputs = m->inputs, e->state = m->states, e->in = m->in, e->out = m->state;
    const hs_status st = bind_all(e);
    if (st == HS_OK) {
        *out = e;
        return HS_OK;
    }
    hs_exec_free(e);
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_exec_free(hs_exec *e)
{
    if (!e)
        return;
    for (int i = 0; i < 4; i++)
        for (int slot = 0; slot < HS_INPUT_SLOTS && e->owned[i]; slot++) {
            e->device->forget(e->device, e->micro[slot][i].thunk);
            free(e->micro[slot][i].thunk);
        }
    free(e->move);
    free(e->parts);
    free(e->left);
    free(e->has_default[0]);
    free(e->cell);
    free(e);
}

const hs_segment *hs_exec_micro(hs_exec *e, int which)
{
    const hs_segment *s = &e->micro[e->slot][which & 3];
    return s->thunk ? s : NULL;
}

const hs_plan *hs_exec_plan(const hs_exec *e) { return e->plan; }
hs_device *hs_exec_device(const hs_exec *e) { return e->device; }

void hs_exec_turn(hs_exec *e) { e->slot = (e->slot + 1) % HS_INPUT_SLOTS; }
int hs_exec_slot(const hs_exec *e) { return e->slot; }

const hs_tensor *hs_exec_input_tensor(const hs_exec *e, const char *name)
{
    const hs_graph *g = e->plan->graph;
    for (int i = 0; i < g->n_inputs; i++)
        if (!strcmp(g->input[i]->name, name))
            return g->input[i];
    return NULL;
}

hs_fed hs_exec_fed(hs_exec *e, int i)
{
    const hs_tensor *t = e->plan->graph->input[i];
    return (hs_fed){ at(e, e->plan->value_buf[t->id], e->base, e->inputs), &e->cell[i], e->has_default[e->slot][i] };
}

void hs_exec_set_default(hs_exec *e, int i, bool has_default) { e->has_default[e->slot][i] = has_default; }

void *hs_exec_input(hs_exec *e, const char *name)
{
    const hs_graph *g = e->plan->graph;
    for (int i = 0; i < g->n_inputs; i++)
        if (!strcmp(g->input[i]->name, name)) {
            hs_exec_set_default(e, i, false); // who asks may write
            return hs_exec_fed(e, i).p;
        }
    return NULL;
}

void *hs_exec_output(hs_exec *e, int index, hs_ref *ref)
{
    const hs_graph *g = e->plan->graph;
    if (index < 0 || index >= g->n_outputs || e->plan->value_buf[g->output[index]->id] < 0)
        return NULL;
    const hs_tensor *t = g->output[index];
    char *p = at(e, e->plan->value_buf[t->id], e->base, e->inputs);
    if (ref)
        *ref = (hs_ref){ .p = p, .rows = t->dim[0], .cols = hs_tensor_cols(t), .dtype = t->dtype, .ext = t->ext, .t = t };
    return p;
}
