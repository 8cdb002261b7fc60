// model: parameters and plans. Nothing here is of one run alone, so that a server's instances share all of it.

#include "core/run/model.h"
#include "core/base/grow.h"
#include "core/graph/derived.h"
#include <stdlib.h>
#include <string.h>

hs_status hs_model_new(hs_model **out, const hs_model_opts *o)
{
    *out = NULL;
    hs_model *m = calloc(1, sizeof *m);
    if (!m)
        return HS_FAIL(MEMORY, "no memory for a model");
    m->device = o->device;
    m->policy = o->policy ? *o->policy : (hs_policy){ .low = HS_F32 };
    m->sequence = o->sequence;
    m->grid = o->grid.dp ? o->grid : hs_grid_self();
    m->micro_steps = o->micro_steps;
    m->runs = o->runs > 1 ? o->runs : 1;
    m->releases = o->releases || o->passes;
    m->passes = o->passes && o->masters == HS_MASTERS_F32;
    m->bucket_bytes = o->bucket_bytes;
    m->recompute = o->recompute;
    m->seed = o->seed;
    pthread_mutex_init(&m->lock, NULL);
    hs_status st;
    HS_TRY_GOTO(st, hs_params_new(&m->params, o->seed, m->grid.tp->rank, m->grid.tp->size), failed);
    HS_TRY_GOTO(st, hs_params_divide(m->params, o->divide, m->grid.dp->rank, m->grid.dp->size, o->bucket_bytes), failed);
    if (o->coder.coding)
        HS_TRY_GOTO(st, hs_params_code(m->params, o->coder), failed);
    HS_TRY_GOTO(st, hs_params_declare_low(m->params, m->policy.low), failed);
    HS_TRY_GOTO(st, hs_params_set_masters(m->params, o->masters), failed);
    m->states = hs_states_new();
    if (!m->states) {
        st = HS_FAIL(MEMORY, "no memory for the model's states");
        goto failed;
    }
    *out = m;
    return HS_OK;
failed:
    hs_model_free(m);
    return st;
}

void hs_model_free(hs_model *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->n_plans; i++)
        hs_plan_free(m->plan[i]);
    free(m->plan);
    if (m->loading)
        m->device->lane_close(m->device, m->loading);
    free(m->derive.thunk);
    hs_states_free(m->states);
    hs_params_free(m->params);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

// ---- plans

static bool is_training(const hs_model *m, int plan) { return hs_plan_graph(m->plan[plan])->mode == HS_TRAIN; }

static int training_plans(const hs_model *m)
{
    int n = 0;
    for (int i = 0; i < m->n_plans; i++)
        n += is_training(m, i);
    return n;
}

static bool lends_gradients(const hs_model *m)
{
    for (int i = 0; i < m->n_plans; i++)
        if (hs_plan_info_of(m->plan[i])->gradient_bytes)
            return true;
    return false;
}

static bool has_loss(const hs_graph *g)
{
    for (int i = 0; i < g->n_nodes; i++)
        if (g->node[i]->op->flags & HS_OP_LOSS)
            return true;
    return false;
}

static hs_status check_another(const hs_model *m, hs_mode mode)
{
    if (mode != HS_TRAIN)
        return HS_OK;
    if (lends_gradients(m))
        return HS_FAIL(INTERNAL, "a second training plan, but the model was made for steps of one run (micro_steps 1): "
                                 "gradients lie in the first plan's workspace");
    if (m->params->allocated && !training_plans(m))
        return HS_FAIL(INTERNAL, "a training plan for a model that was laid out without gradients");
    return HS_OK;
}

hs_status hs_model_plan(hs_model *m, hs_mode mode, hs_model_fn *trace, const void *config, int *plan)
{
    *plan = -1;
    if (m->released)
        return HS_FAIL(INTERNAL, "a plan for a model that has given back the values that its other plans do not read");
    HS_TRY(check_another(m, mode));
    if (!hs_grow(&m->plan, m->n_plans, &m->cap_plans, sizeof *m->plan))
        return HS_FAIL(MEMORY, "no memory for one more plan");
    hs_graph *g;
    HS_TRY(hs_graph_new(&g, m->params, m->states, mode, &m->grid));
    g->state_dtype = m->policy.low;
    g->sequence = m->sequence && m->grid.tp->size > 1 && mode != HS_DECODE;
    trace(g, config);
    const bool loss = has_loss(g);
    if (loss && m->n_losses == HS_N_LOSS_SETS) {
        hs_graph_free(g);
        return HS_FAIL(USAGE, "plan %d has losses, as %d others: no model has more", m->n_plans, HS_N_LOSS_SETS);
    }
    const hs_plan_opts opts = { .policy = m->policy,
                                .recompute = m->recompute,
                                .runs_per_values = m->micro_steps,
                                .single_run = m->micro_steps == 1 && !training_plans(m) && !m->params->allocated,
                                .bucket_bytes = m->bucket_bytes,
                                .losses = loss ? m->n_losses : 0 };
    HS_TRY(hs_plan_take(&m->plan[m->n_plans], g, m->device, &opts));
    const size_t bytes = hs_plan_bytes(m->plan[m->n_plans]);
    m->workspace_bytes = bytes > m->workspace_bytes ? bytes : m->workspace_bytes;
    m->n_losses += loss;
    *plan = m->n_plans++;
    return HS_OK;
}

// ---- bytes

hs_model_bytes hs_model_bytes_of(const hs_model *m)
{
    hs_model_bytes b = { .slabs = hs_params_bytes_of(m->params), .derived = hs_derived_bytes(m->params), .workspace = m->workspace_bytes };
    if (lends_gradients(m))
        b.slabs.all -= b.slabs.grad, b.slabs.grad = 0;
    for (int i = 0; i < m->states->n; i++)
        b.states += m->states->state[i]->bytes;
    for (int i = 0; i < m->n_plans; i++)
        b.inputs += HS_INPUT_SLOTS * hs_plan_info_of(m->plan[i])->input_bytes;
    return b;
}

// ---- copies

static void bind_view(const hs_params *ps, const hs_param *w, hs_view view, hs_ref *out)
{
    int n_dims;
    int64_t dim[HS_MAX_DIMS];
    *out = (hs_ref){ .p = hs_slab_bound(hs_params_coded(ps, view), w), .rows = w->dim[0], .cols = 1 };
    if (hs_coding_shape(w->coding, view, w->dim[0], (int64_t)w->n / w->dim[0], &out->dtype, &n_dims, dim) && n_dims == 2)
        out->cols = dim[1];
}

static hs_kernel *bind_value(const hs_params *ps, const hs_derived *d, hs_ref *out)
{
    const hs_param *w = d->param;
    const hs_slab *s = d->dtype == HS_F32 ? ps->master : ps->low;
    const int64_t rows = w->dim[0], cols = (int64_t)w->n / w->dim[0];
    const bool turned = s->place[w->id].turned;
    *out = (hs_ref){ .p = hs_slab_bound(s, w), .rows = turned ? cols : rows, .cols = turned ? rows : cols, .dtype = d->dtype };
    return turned ? d->turn : d->make;
}

// A thunk for each: from the value as products read it to the layout that its kernel makes.
static hs_status bind_copies(hs_model *m)
{
    const hs_params *ps = m->params;
    if (m->derive.n < ps->n_derived) {
        hs_thunk *t = realloc(m->derive.thunk, (size_t)ps->n_derived * sizeof *t);
        if (!t)
            return HS_FAIL(MEMORY, "no memory for %d thunks", ps->n_derived);
        m->derive = (hs_segment){ t, ps->n_derived };
    }
    for (int i = 0; i < ps->n_derived; i++) {
        const hs_derived *d = ps->derived[i];
        const hs_param *w = d->param;
        m->derive.thunk[i] = (hs_thunk){ .fn = d->make, .name = "derive", .part = HS_PART_FREE };
        hs_args *a = &m->derive.thunk[i].args;
        a->attr = d->attr;
        if (w->coding) {
            bind_view(ps, w, HS_VIEW_CODES, &a->in[0]);
            bind_view(ps, w, HS_VIEW_SCALES, &a->in[1]);
        } else
            m->derive.thunk[i].fn = bind_value(ps, d, &a->in[0]);
        a->out[0] = (hs_ref){ .p = d->k, .rows = 1, .cols = (int64_t)d->bytes, .dtype = HS_U8 };
    }
    return HS_OK;
}

static hs_status wait_for_copies(hs_model *m)
{
    hs_device *dev = m->making_on;
    m->making_on = NULL;
    return dev ? dev->wait(dev, m->making) : HS_OK;
}

static hs_status make_copies(hs_model *m, hs_device *dev, hs_lane *lane, hs_submit_mode mode)
{
    HS_TRY(hs_derived_alloc(m->params));
    if (m->derive.n < m->params->n_derived)
        HS_TRY(wait_for_copies(m)); // thunks move
    HS_TRY(bind_copies(m));
    const int first = m->made_version == m->params->version ? m->n_made : 0;     // those made of these values stay
    const hs_submit_mode once = mode == HS_SUBMIT_GRAPH ? HS_SUBMIT_BULK : mode; // the next time it is another segment
    m->old = (hs_segment){ m->derive.thunk + first, m->derive.n - first };
    HS_TRY(dev->submit(dev, lane, &m->old, once));
    m->making_on = dev, m->making = lane;
    m->made_version = m->params->version, m->n_made = m->params->n_derived;
    return m->trains ? HS_OK : wait_for_copies(m);
}

hs_status hs_model_refresh(hs_model *m, hs_device *dev, hs_lane *lane, hs_submit_mode mode)
{
    if (!m->params->n_derived)
        return HS_OK;
    pthread_mutex_lock(&m->lock);
    const bool old = m->made_version != m->params->version || m->n_made != m->params->n_derived;
    hs_status st = m->making_on != dev || m->making != lane ? wait_for_copies(m) : HS_OK;
    if (st == HS_OK && old)
        st = make_copies(m, dev, lane, mode);
    pthread_mutex_unlock(&m->lock);
    return st;
}

void hs_model_leave(hs_model *m, const hs_device *dev, const hs_lane *lane)
{
    pthread_mutex_lock(&m->lock);
    if (m->making_on == dev && m->making == lane)
        m->making_on = NULL;
    pthread_mutex_unlock(&m->lock);
}

// ---- giving back

// What becomes of a value: copies are made of it, and it stays or goes.
typedef hs_status visit_fn(const hs_model *m, const hs_slab *s, const hs_param *p, bool stays, void *user);

static bool made_from(const hs_derived *d, const hs_slab *s) { return d->param->coding ? s->spec.coded : d->dtype == s->spec.dtype; }

static bool makes_copies(const hs_slab *s, const hs_param *p)
{
    const hs_derived *d = p->derived;
    while (d && !made_from(d, s))
        d = d->next;
    return d != NULL;
}

// What nothing reads first, then what copies are made from and goes, then what stays beside its copies.
static hs_status visit_values(const hs_model *m, visit_fn *visit, void *user)
{
    const hs_params *ps = m->params;
    const hs_slab *const slab[] = { ps->master, ps->low, hs_params_coded(ps, HS_VIEW_CODES) };
    bool *marks = calloc(3 * (size_t)ps->n_params + 1, sizeof *marks);
    if (!marks)
        return HS_FAIL(MEMORY, "no memory for %d marks", 3 * ps->n_params);
    bool *const reads[] = { marks, marks + ps->n_params, marks + 2 * ps->n_params };
    for (int i = 0; i < m->n_plans; i++)
        hs_plan_reads(m->plan[i], reads[0], reads[1], reads[2]);
    hs_status st = HS_OK;
    for (int pass = 0; pass < 3; pass++)
        for (int k = 0; k < 3; k++) {
            const bool *read = reads[k];
            for (int i = 0; slab[k] && i < ps->n_params && st == HS_OK; i++) {
                const hs_param *p = ps->param[i];
                if (pass == (!makes_copies(slab[k], p) ? 0 : read[i] ? 2 : 1))
                    st = visit(m, slab[k], p, read[i], user);
            }
        }
    free(marks);
    return st;
}

// Of p's copies those that are made of its value in s; NULL: all of them.
static hs_status copy_value(const hs_model *m, hs_lane *lane, const hs_slab *s, const hs_param *p)
{
    for (const hs_derived *d = p->derived; d; d = d->next) {
        if (s && !made_from(d, s))
            continue;
        HS_TRY(m->device->submit(m->device, lane, &(hs_segment){ &m->derive.thunk[d->id], 1 }, HS_SUBMIT_BULK));
        HS_TRY(m->device->wait(m->device, lane));
    }
    return HS_OK;
}

static hs_status copy_and_trim(const hs_model *m, const hs_slab *s, const hs_param *p, bool stays, void *user)
{
    if (!m->passes) // else it was done when the value was there
        HS_TRY(copy_value(m, user, s, p));
    if (!stays)
        hs_params_trim(m->params, s, p);
    return HS_OK;
}

static hs_status begin_copies(hs_model *m)
{
    if (m->loading)
        return HS_OK;
    HS_TRY(hs_derived_alloc(m->params));
    HS_TRY(bind_copies(m));
    return m->device->lane_open(m->device, &m->loading);
}

hs_status hs_model_value_is_there(hs_model *m, const hs_param *p)
{
    if (!m->passes || m->released)
        return HS_FAIL(INTERNAL, "%s is loaded into a model that was not made to pass its values, or has released them", p->name);
    HS_TRY(begin_copies(m));
    return copy_value(m, m->loading, NULL, p);
}

static hs_status release_all(hs_model *m)
{
    HS_TRY(begin_copies(m));
    HS_TRY(visit_values(m, copy_and_trim, m->loading));
    m->made_version = m->params->version, m->n_made = m->params->n_derived, m->released = true;
    m->device->lane_close(m->device, m->loading);
    m->loading = NULL;
    return HS_OK;
}

hs_status hs_model_release_values(hs_model *m)
{
    if (training_plans(m))
        return HS_FAIL(INTERNAL, "a model that trains needs its values");
    pthread_mutex_lock(&m->lock);
    const hs_status st = release_all(m);
    pthread_mutex_unlock(&m->lock);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- laying out

typedef struct tide {
    size_t now, most;
} tide;

static hs_status count_value(const hs_model *m, const hs_slab *s, const hs_param *p, bool stays, void *user)
{
    tide *t = user;
    (void)m;
    for (const hs_derived *d = p->derived; d; d = d->next)
        t->now += made_from(d, s) ? d->bytes : 0;
    t->most = t->now > t->most ? t->now : t->most;
    if (!stays && !hs_slab_adopted(s, p))
        t->now -= s->place[p->id].bytes;
    return HS_OK;
}

typedef struct passing {
    bool *master, *low;
} passing;

static hs_status mark_passing(const hs_model *m, const hs_slab *s, const hs_param *p, bool stays, void *user)
{
    const passing *marks = user;
    bool *of = s == m->params->master ? marks->master : s == m->params->low ? marks->low : NULL;
    if (of)
        of[p->id] = !stays;
    return HS_OK;
}

static hs_status pass_values(hs_model *m)
{
    hs_params *ps = m->params;
    bool *marks = calloc(2 * (size_t)ps->n_params + 1, sizeof *marks);
    if (!marks)
        return HS_FAIL(MEMORY, "no memory for %d marks", 2 * ps->n_params);
    passing p = { marks, marks + ps->n_params };
    const hs_status st = visit_values(m, mark_passing, &p);
    if (st == HS_OK)
        hs_params_pass(ps, ps->master, p.master);
    if (st == HS_OK && ps->low)
        hs_params_pass(ps, ps->low, p.low);
    free(marks);
    return st;
}

static hs_status mark_turning(const hs_model *m, const hs_slab *s, const hs_param *p, bool stays, void *user)
{
    bool *turns = user;
    if (s != m->params->master && s != m->params->low)
        return HS_OK;
    turns[p->id] &= !stays && p->derived != NULL;
    for (const hs_derived *d = p->derived; d; d = d->next)
        turns[p->id] &= d->turn != NULL;
    return HS_OK;
}

hs_status hs_model_turns(const hs_model *m, bool *turns)
{
    for (int i = 0; i < m->params->n_params; i++)
        turns[i] = m->passes;
    return m->passes ? visit_values(m, mark_turning, turns) : HS_OK;
}

// A machine that hands out pages it does not have would kill the process later, without a word.
static hs_status check_memory(const hs_model *m)
{
    const hs_model_bytes b = hs_model_bytes_of(m);
    const bool come_and_go = m->releases && !m->passes && m->device->trim;
    tide values = { b.slabs.all, b.slabs.all + (come_and_go ? 0 : b.derived) };
    if (come_and_go)
        HS_TRY(visit_values(m, count_value, &values));
    const size_t need = values.most + (size_t)m->runs * (b.workspace + b.states + b.inputs), have = m->device->free_bytes(m->device);
    if (need <= have)
        return HS_OK;
    char each[48] = "";
    if (m->runs > 1)
        snprintf(each, sizeof each, ", the rest for %d runs at once", m->runs);
    return HS_FAIL(MEMORY, "this needs %.1f GB of memory (%.1f GB of it parameters and optimizer%s), %.1f GB are free", 1e-9 * (double)need,
                   1e-9 * (double)values.most, each, 1e-9 * (double)have);
}

hs_status hs_model_alloc(hs_model *m, bool draw)
{
    if (!m->n_plans)
        return HS_FAIL(INTERNAL, "a model without a plan has nothing to do");
    if (m->passes)
        HS_TRY(pass_values(m));
    HS_TRY(check_memory(m));
    if (lends_gradients(m))
        hs_params_leave_out(m->params, m->params->grad);
    return hs_params_alloc(m->params, m->device, draw);
}
