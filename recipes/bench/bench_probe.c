// bench_probe: one op planned as in training, between embeddings and a loss, so that its kernels are timed in the plan they run in. What
// it takes is said by a case of the op table.
#include "core/base/log.h"
#include "recipes/bench/bench.h"
#include <stdlib.h>
#include <string.h>

enum { TABLE_ROWS = 64 }; // of the embeddings: few, so that they stay in cache
static const char targets[] = "probe.targets", ids_of[] = "probe.ids.";

static int count_dims(const int64_t *dim)
{
    int n = 0;
    while (n < HS_MAX_DIMS && dim[n])
        n++;
    return n;
}

static hs_tensor *parameter(hs_graph *g, const char *name, hs_role role, float std, int n_dims, const int64_t *dim)
{
    hs_param_spec spec = { .name = name, .role = role, .init = HS_INIT_NORMAL, .std = std, .n_dims = n_dims };
    memcpy(spec.dim, dim, (size_t)n_dims * sizeof *dim);
    return hs_param_get(g, &spec);
}

// Rows that have a gradient come from an embedding; what all members read, and what is not rows, is a parameter; what the op writes in
// place is a state.
static hs_tensor *float_input(hs_graph *g, const hs_probe_spec *s, int i)
{
    const hs_operand *o = &s->op->in[i];
    const int64_t *dim = s->c.in[i];
    const int n_dims = count_dims(dim);
    const bool in_place = i == 0 && s->op->out[0].flags & HS_IS_INPUT_0;
    hs_tensor *x;
    if (in_place)
        return hs_state_get(g, o->name, g->state_dtype, n_dims, dim);
    if (n_dims != 2 || (o->flags & HS_WHOLE && s->c.ext[i] == HS_EXT_FIXED))
        x = parameter(g, o->name, n_dims == 1 ? HS_BIAS : HS_WEIGHT, 0.02f, n_dims, dim);
    else {
        char name[64];
        snprintf(name, sizeof name, "%s%s", ids_of, o->name);
        hs_tensor *table = parameter(g, o->name, HS_EMBED, 1, 2, (int64_t[]){ TABLE_ROWS, dim[1] });
        x = hs_embedding(g, table, hs_input(g, name, HS_I32, s->c.ext[i], 1, dim), NULL, NULL);
    }
    const bool low = (o->amp == HS_AMP_KEEP || o->amp == HS_AMP_WIDEST) && !(s->op->bench.f32_in >> i & 1);
    return low && s->low != HS_F32 ? hs_cast(g, x, s->low) : x;
}

// ---- codes and their scales: views of a parameter that is kept so

static hs_view view_of(const hs_probe_spec *s, int i)
{
    const char *name = s->op->in[i].name;
    return !s->c.stored[i]           ? HS_VIEW_VALUE
           : !strcmp(name, "codes")  ? HS_VIEW_CODES
           : !strcmp(name, "scales") ? HS_VIEW_SCALES
                                     : HS_VIEW_VALUE;
}

static hs_coding coding(const void *user, const hs_param_spec *spec)
{
    const hs_probe_spec *s = user;
    hs_coding c = HS_CODING_I8;
    for (int i = 0; i < hs_op_n_in(s->op); i++)
        if (view_of(s, i) == HS_VIEW_CODES && s->c.stored[i] == HS_U8)
            c = HS_CODING_I4_BLOCKS;
        else if (view_of(s, i) == HS_VIEW_SCALES && s->c.stored[i] == HS_F16 && c == HS_CODING_I8)
            c = HS_CODING_I8_BLOCKS;
    return strcmp(spec->name, "codes") ? HS_CODING_NONE : c;
}

static hs_tensor *coded_input(hs_graph *g, const hs_probe_spec *s, int i)
{
    for (int k = 0; k < hs_op_n_in(s->op); k++)
        if (view_of(s, k) == HS_VIEW_CODES) {
            const int64_t cols = s->c.in[k][1] * (s->c.stored[k] == HS_U8 ? 2 : 1);
            const hs_tensor *w = parameter(g, "codes", HS_WEIGHT, 1, 2, (int64_t[]){ s->c.in[k][0], cols });
            return w == g->poison ? g->poison : hs_param_view(g, w->param, view_of(s, i));
        }
    return NULL;
}

// Reads y, so that backward begins with a gradient of it.
static void end_with_loss(hs_graph *g, const hs_probe_spec *s, hs_tensor *y)
{
    const hs_operand *o = &s->op->out[0];
    hs_tensor *target = hs_input(g, targets, HS_I32, y->ext, 1, y->dim);
    if (o->flags & HS_BWD_READS)
        y = hs_scale(g, y, 0.5f); // the loss overwrites what it reads
    if (s->low != HS_F32 && o->flags & HS_ANY_DTYPE && (o->amp == HS_AMP_KEEP || o->amp == HS_AMP_WIDEST) && !s->op->bench.f32_out)
        y = hs_cast(g, y, s->low);
    hs_xent(g, y, target, (hs_xent_attr){ .classes = (int32_t)hs_tensor_width(y), .ignore = -1 });
}

typedef struct traced {
    const hs_probe_spec *spec;
    hs_probe *probe;
    int node; // of the op measured, in the trace
} traced;

static void trace(hs_graph *g, const void *config)
{
    traced *t = *(traced *const *)config;
    const hs_probe_spec *s = t->spec;
    hs_tensor *in[HS_MAX_IN] = { 0 };
    const int n_in = hs_op_n_in(s->op);
    for (int i = 0; i < n_in; i++)
        if (s->c.in[i][0])
            in[i] = view_of(s, i)                     ? coded_input(g, s, i)
                    : s->op->in[i].amp != HS_AMP_NONE ? float_input(g, s, i)
                    : i == 0 && s->op->out[0].flags & HS_IS_INPUT_0
                        ? hs_state_get(g, s->op->in[i].name, hs_case_traces(s->op, &s->c, i), count_dims(s->c.in[i]), s->c.in[i])
                        : hs_input(g, s->op->in[i].name, hs_case_traces(s->op, &s->c, i), s->c.ext[i], count_dims(s->c.in[i]), s->c.in[i]);
    hs_tensor *y = hs_emit(g, s->op, s->attr, in, n_in);
    if (y == g->poison)
        return;
    t->node = y->from->id, t->probe->classes = hs_tensor_width(y);
    if (s->forward_only)
        hs_output(g, y);
    else if (!(s->op->flags & HS_OP_LOSS))
        end_with_loss(g, s, y);
}

static void fill_input(const hs_probe *p, const hs_probe_spec *s, const hs_tensor *t, int32_t *data)
{
    const int64_t n = hs_tensor_count(t);
    const bool own = strncmp(t->name, ids_of, sizeof ids_of - 1) == 0;
    if (own || strcmp(t->name, targets) == 0) {
        const int64_t limit = own ? TABLE_ROWS : p->classes;
        for (int64_t i = 0; i < n; i++)
            data[i] = (int32_t)(i * 7 % limit);
        return;
    }
    for (int64_t i = 0; s->c.limit && i < n; i++)
        data[i] = (int32_t)(i * 13 % s->c.limit);
    for (int i = 0; s->c.setup && i < hs_op_n_in(s->op); i++)
        if (strcmp(t->name, s->op->in[i].name) == 0)
            s->c.setup(i, data, n, &s->c);
}

static hs_status fill(hs_probe *p, const hs_probe_spec *s)
{
    int64_t *live = hs_run_in(p->run)->n;
    for (int i = 0; i < hs_run_n_inputs(p->run, 0); i++) {
        const hs_tensor *t;
        hs_run_input_at(p->run, 0, i, &t);
        const int64_t n = hs_tensor_count(t);
        int32_t *data = calloc((size_t)n, 2 * sizeof *data); // and behind them as they are stored
        if (!data)
            return HS_FAIL(MEMORY, "no memory for input %s", t->name);
        fill_input(p, s, t, data);
        hs_convert(data + n, t->dtype, data, HS_I32, n);
        const hs_status st = hs_run_write(p->run, 0, t->name, data + n, hs_tensor_bytes(t));
        free(data);
        HS_TRY(st);
        const int counter = hs_ext_counter(t->ext);
        const int64_t units = hs_ext_units(t->ext, t->dim[0]);
        live[counter] = units > live[counter] ? units : live[counter];
    }
    for (int i = 0; i < HS_N_LOSS; i++)
        hs_run_in(p->run)->inv_count[i] = hs_inv_count(s->c.in[0][0]);
    return HS_OK;
}

// What the case says codes are; zeros might be multiplied faster.
static hs_status fill_codes(hs_probe *p, const hs_probe_spec *s)
{
    const hs_params *ps = p->model->params;
    for (int i = 0; i < ps->n_params; i++)
        for (int k = 0; ps->param[i]->coding && s->c.setup && k < hs_op_n_in(s->op); k++) {
            if (view_of(s, k) != HS_VIEW_CODES)
                continue;
            const int64_t n = s->c.in[k][0] * s->c.in[k][1]; // of bytes
            int32_t *data = calloc((size_t)n, sizeof *data + 1);
            if (!data)
                return HS_FAIL(MEMORY, "no memory for %s", ps->param[i]->name);
            s->c.setup(k, data, n, &s->c);
            hs_convert(data + n, s->c.stored[k], data, HS_I32, n);
            p->model->device->copy(p->model->device, hs_slab_at(hs_params_coded(ps, HS_VIEW_CODES), ps->param[i]), data + n, (size_t)n);
            free(data);
        }
    return HS_OK;
}

// Zeros among the weights, where the case wants them.
static hs_status fill_zeros(const hs_probe *p, const hs_probe_spec *s)
{
    hs_params *ps = p->model->params;
    for (int i = 0; i < ps->n_params && s->c.fill == HS_FILL_2OF4; i++) {
        const hs_param *w = ps->param[i];
        if (w->role != HS_WEIGHT)
            continue;
        const int64_t n = hs_param_elements(w);
        float *v = malloc((size_t)n * sizeof *v);
        if (!v)
            return HS_FAIL(MEMORY, "no memory for %s", w->name);
        hs_params_export(ps, ps->master, w, v);
        for (int64_t k = 0; k < n; k++)
            v[k] = hs_2of4_is_zero(k) ? 0 : v[k];
        const hs_status st = hs_params_import(ps, ps->master, w, v);
        free(v);
        HS_TRY(st);
    }
    if (ps->low)
        hs_params_refresh_low(ps);
    return HS_OK;
}

// A GPU tells times by itself, in its streams (core/run/trace.h): the host's clock would have launches and waits in them.
enum { AHEAD = 32 << 20, AHEAD_TIMES = 8 };
static bool has_events(const hs_device *d) { return !d->is_cpu && d->tracks; }

static hs_status make(hs_probe *p, hs_device *d, const hs_probe_spec *s)
{
    const hs_policy policy = { .low = s->low };
    traced t = { .spec = s, .probe = p, .node = -1 };
    int plan;
    const int runs = !s->packed ? 0 : s->forward_only ? HS_VALUES_STAY : 2; // of the same weights
    const hs_model_opts o = { .device = d, .policy = &policy, .micro_steps = runs, .seed = 1, .coder = { coding, s } };
    HS_TRY(hs_model_new(&p->model, &o));
    if (s->c.fill == HS_FILL_2OF4 && !d->is_cpu) {
        if (d->presses(d) == HS_OK)
            HS_TRY(hs_params_keep_zeros(p->model->params, "*", "bench"));
        else
            hs_info("2:4 weights read in full: %s", hs_error());
    }
    HS_TRY(hs_model_plan(p->model, s->forward_only ? HS_DECODE : HS_TRAIN, trace, &(traced *){ &t }, &plan));
    const hs_graph *g = hs_plan_graph(p->model->plan[plan]);
    for (int i = 0; i < g->n_nodes; i++)
        if (g->node[i]->trace == t.node)
            p->node = g->node[i];
    if (!p->node || p->node->op != s->op)
        return HS_FAIL(UNSUPPORTED, "%s: no kernel of it runs alone: the plan lets the operation in front write what it would",
                       s->op->name);
    HS_TRY(hs_model_alloc(p->model, true));
    HS_TRY(fill_codes(p, s));
    HS_TRY(fill_zeros(p, s));
    if (has_events(d)) {
        HS_TRY(d->alloc(d, 2 * AHEAD, &p->ahead));
        p->records = 2 * hs_plan_info_of(p->model->plan[plan])->n_thunks + 64;
    }
    HS_TRY(hs_run_new(&p->run, p->model, &(hs_run_opts){ .mode = p->ahead ? HS_SUBMIT_BULK : HS_SUBMIT_STEP }));
    return fill(p, s);
}

hs_status hs_probe_new(hs_probe **out, hs_device *d, const hs_probe_spec *spec)
{
    hs_probe *p = *out = calloc(1, sizeof *p);
    if (!p)
        return HS_FAIL(MEMORY, "no memory for a probe");
    const hs_status st = make(p, d, spec);
    if (st == HS_OK)
        return HS_OK;
    hs_probe_free(p);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_probe_free(hs_probe *p)
{
    if (!p)
        return;
    hs_run_free(p->run);
    if (p->ahead)
        p->model->device->release(p->model->device, p->ahead, 2 * AHEAD);
    hs_model_free(p->model);
    free(p);
}

// A split backward runs parameters first, without the gradient of the first input.
static void note(const hs_thunk *t, double seconds, void *user)
{
    hs_probe *p = user;
    if (t->node != p->node || strcmp(t->name, p->node->op->name) != 0)
        return;
    const bool params = t->backward && p->node->op->flags & HS_OP_SPLIT_BWD && !t->args.din[0].p;
    p->seconds[params ? HS_PROBE_PARAMS : t->backward ? HS_PROBE_BACKWARD : HS_PROBE_FORWARD] += seconds;
}

static hs_status run_once(hs_probe *p)
{
    hs_run_begin(p->run, 0);
    return p->node->mode == HS_TRAIN ? hs_run_micro(p->run, 0, true) : hs_run_forward(p->run, 0);
}

static void note_all(const hs_trace *t, hs_probe *p)
{
    for (int m = 0; m < hs_trace_members(t); m++)
        for (int64_t i = 0; i < hs_trace_count(t, m); i++) {
            const hs_trace_record *r = hs_trace_at(t, m, i);
            if (r && r->thunk)
                note(r->thunk, 1e-9 * (double)(r->end - r->start), p);
        }
}

// Behind copies that keep the stream busy until the host has handed over all of it: an idle one would wait for the host within the times.
static hs_status run_traced(hs_probe *p, hs_device *d)
{
    hs_trace *t;
    HS_TRY(hs_trace_new(&t, d->tracks, p->records));
    hs_trace_set_counts(t, hs_run_in(p->run));
    d->trace = t;
    for (int i = 0; i < AHEAD_TIMES; i++)
        d->copy_async(d, hs_run_lane(p->run), (char *)p->ahead + AHEAD, p->ahead, AHEAD);
    hs_status st = run_once(p);
    if (st == HS_OK)
        st = hs_run_wait(p->run);
    if (st == HS_OK)
        st = d->collect(d);
    d->trace = NULL;
    note_all(t, p);
    hs_trace_free(t);
    return st;
}

static hs_status run_hooked(hs_probe *p, hs_device *d)
{
    d->hook = note, d->hook_user = p;
    const hs_status st = run_once(p);
    d->hook = NULL;
    return st;
}

hs_status hs_probe_run(hs_probe *p)
{
    memset(p->seconds, 0, sizeof p->seconds);
    return (p->ahead ? run_traced : run_hooked)(p, hs_run_device(p->run));
}
