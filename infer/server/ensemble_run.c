// ensemble_run: a request on its way through the steps of an ensemble. Whoever finishes a step - a batcher's thread, a scheduler's - begins
// those that waited for it; the last one answers. A step that fails lets those under way end, and no more begin.
#include "core/base/clock.h"
#include "infer/server/ensemble.h"
#include "infer/server/infer_ask.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct run run;
typedef struct step {
    hs_call_inner inner;
    run *r;
    int number;
    bool begun;
    hs_served *m;     // held, as labels are borrowed from it; NULL: it was not begun
    hs_traced *trace; // NULL: it is not traced
} step;

struct run {
    hs_call call;
    hs_served *m;       // held
    hs_infer_request q; // the client's
    pthread_mutex_t lock;
    hs_infer_tensor at[HS_ENSEMBLE_TENSORS]; // of the ensemble; data NULL: it is not there
    void *own[HS_ENSEMBLE_TENSORS];          // data of those that steps put out
    const hs_labels *labels[HS_ENSEMBLE_TENSORS];
    step step[HS_ENSEMBLE_STEPS];
    size_t bytes;  // of own
    int64_t began; // hs_now_ns
    int under_way;
    int http; // of the step that failed first; 0: none
    char why[640];
};

static void free_run(run *r)
{
    for (int i = 0; i < HS_ENSEMBLE_TENSORS; i++)
        free(r->own[i]);
    for (int i = 0; i < HS_ENSEMBLE_STEPS; i++)
        hs_served_let_go(r->step[i].m);
    hs_infer_free(&r->q);
    hs_served_let_go(r->m);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

// ---- the end

static hs_infer_value value_of(const run *r, int tensor, const hs_infer_output *how)
{
    const hs_infer_tensor *t = &r->at[tensor];
    const bool binary = how && how->binary >= 0 ? how->binary : r->q.binary;
    hs_infer_value v = { .name = t->name, .n_dims = t->n_dims, .binary = binary, .labels = r->labels[tensor] };
    memcpy(v.dim, t->dim, sizeof v.dim);
    if (t->type == HS_OIP_BYTES)
        v.text = t->data + sizeof(uint32_t), v.n_text = t->bytes - sizeof(uint32_t);
    else
        v.value = (const float *)(const void *)t->data, v.classes = how ? how->classes : 0;
    return v;
}

static hs_status find_values(const run *r, hs_infer_value *v, int *n)
{
    const struct hs_ensemble *e = r->m->ensemble;
    for (int i = 0; i < e->n_tensors && r->q.n_out == 0; i++)
        if (e->tensor[i].step >= 0)
            v[(*n)++] = value_of(r, i, NULL);
    for (int k = 0; k < r->q.n_out; k++) {
        const int i = hs_ensemble_find(e, r->q.out[k].name); // check_outputs has seen it
        v[*n] = value_of(r, i, &r->q.out[k]);
        if (v[*n].classes && v[*n].n_dims != 2)
            return HS_FAIL(USAGE, "output '%s' has no classes", v[*n].name);
        ++*n;
    }
    return HS_OK;
}

static void fail(run *r, int http, const char *why)
{
    hs_served_count_failure(r->m, hs_served_reason_of(http), hs_now_ns() - r->began);
    hs_call_fail(&r->call, http, "%s", why);
    free_run(r);
}

static void conclude(run *r)
{
    hs_infer_value v[HS_ENSEMBLE_TENSORS];
    int n = 0;
    if (r->http) {
        fail(r, r->http, r->why);
        return;
    }
    if (find_values(r, v, &n) != HS_OK) {
        fail(r, 400, hs_error());
        return;
    }
    hs_served_count_success(r->m, r->q.in[0].dim[0]);
    hs_traced_at(r->call.trace, HS_TRACE_REQUEST_END, hs_now_ns());
    hs_infer_send(&r->call, &(hs_infer_answer){ .model = r->m->name, .version = r->m->version, .id = r->q.id, .out = v, .n_out = n });
    hs_latency_add(&r->m->count->request, hs_now_ns() - r->began);
    free_run(r);
}

// ---- steps

static void begin(step *s)
{
    run *r = s->r;
    const hs_ensemble_part *p = &r->m->ensemble->part[s->number];
    hs_call c = r->call;
    c.inner = &s->inner;
    s->inner.began = hs_now_ns();
    hs_infer_request q = { .truncate = r->q.truncate, .priority = r->q.priority, .timeout = r->q.timeout };
    for (int k = 0; k < p->n_in; k++) {
        q.in[q.n_in] = r->at[p->in[k].tensor];
        q.in[q.n_in++].name = p->in[k].name;
    }
    for (int k = 0; k < p->n_out; k++)
        q.out[q.n_out++] = (hs_infer_output){ .name = p->out[k].name };
    hs_served *m = r->m->o->find(p->model, r->m->o->find_user);
    if (!m) {
        s->inner.failed(&s->inner, 503, atomic_load(&c.server->over) ? "the server stops" : "the model is not loaded");
        return;
    }
    s->m = hs_served_hold(m);
    c.trace = s->trace = hs_traced_child(r->call.trace, m->name, m->version);
    if (m->does & HS_DOES_TEXT && r->q.head && !(q.head = json_deep_copy(r->q.head))) { // parameters of a text
        hs_served_let_go(m);
        s->inner.failed(&s->inner, 503, "no memory for a request");
        return;
    }
    hs_infer_ask(&c, m, &q);
    hs_infer_free(&q);
}

// Somebody is through. Begins what can; nothing of r is there any more where it was the last.
static void advance(run *r)
{
    const struct hs_ensemble *e = r->m->ensemble;
    step *next[HS_ENSEMBLE_STEPS];
    int n = 0;
    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < e->n_parts && !r->http; i++) {
        bool ready = !r->step[i].begun;
        for (int k = 0; k < e->part[i].n_in && ready; k++)
            ready = r->at[e->part[i].in[k].tensor].data;
        if (ready)
            r->step[i].begun = true, next[n++] = &r->step[i];
    }
    r->under_way += n - 1;
    const bool over = r->under_way == 0;
    pthread_mutex_unlock(&r->lock);
    for (int i = 0; i < n; i++)
        begin(next[i]);
    if (over)
        conclude(r);
}

static void on_failed(hs_call_inner *inner, int http, const char *why)
{
    step *s = (step *)inner;
    run *r = s->r;
    pthread_mutex_lock(&r->lock);
    if (!r->http) {
        r->http = http;
        snprintf(r->why, sizeof r->why, "step %d ('%s'): %s", s->number + 1, r->m->ensemble->part[s->number].model, why);
    }
    pthread_mutex_unlock(&r->lock);
    advance(r);
}

// What steps put out is there until the answer is, all of it: as much as an answer may have.
static hs_status count(run *r, size_t bytes)
{
    const size_t most = hs_server_most_answer(r->call.server);
    pthread_mutex_lock(&r->lock);
    const bool fits = bytes <= most - r->bytes;
    r->bytes += fits ? bytes : 0;
    pthread_mutex_unlock(&r->lock);
    return fits ? HS_OK : HS_FAIL(USAGE, "what the steps put out is more than the %zu bytes that are given: ask for less at once", most);
}

// What a step has put out as the next one takes it: raw.
static hs_status keep(run *r, int tensor, const hs_infer_value *v)
{
    const uint32_t n_text = (uint32_t)v->n_text;
    hs_infer_tensor t = { .name = r->m->ensemble->tensor[tensor].name, .type = v->text ? HS_OIP_BYTES : HS_OIP_FP32, .raw = true, .n = 1 };
    t.n_dims = v->n_dims;
    for (int i = 0; i < v->n_dims; i++)
        t.n *= t.dim[i] = v->dim[i];
    t.bytes = v->text ? sizeof n_text + n_text : (size_t)t.n * sizeof(float);
    HS_TRY(count(r, t.bytes));
    char *data = r->own[tensor] = malloc(t.bytes);
    if (!data)
        return HS_FAIL(MEMORY, "no memory for what it puts out");
    if (v->text)
        memcpy(data, &n_text, sizeof n_text), memcpy(data + sizeof n_text, v->text, n_text);
    else
        memcpy(data, v->value, t.bytes);
    t.data = data;
    r->labels[tensor] = v->labels;
    pthread_mutex_lock(&r->lock);
    r->at[tensor] = t;
    pthread_mutex_unlock(&r->lock);
    return HS_OK;
}

static void on_values(hs_call_inner *inner, const hs_infer_value *v, int n)
{
    step *s = (step *)inner;
    const hs_ensemble_part *p = &s->r->m->ensemble->part[s->number];
    hs_traced_outputs(s->trace, v, n);
    for (int k = 0; k < n; k++) { // in the order that they were asked for
        const hs_status st = keep(s->r, p->out[k].tensor, &v[k]);
        if (st != HS_OK) {
            on_failed(inner, st == HS_USAGE ? 400 : 503, hs_error());
            return;
        }
    }
    advance(s->r);
}

// ---- a request

static hs_status take_inputs(run *r)
{
    const struct hs_ensemble *e = r->m->ensemble;
    for (int k = 0; k < r->q.n_in; k++) {
        const int i = hs_ensemble_find(e, r->q.in[k].name);
        if (i < 0 || e->tensor[i].step >= 0)
            return HS_FAIL(USAGE, "the model has no input '%.64s'", r->q.in[k].name);
        r->at[i] = r->q.in[k];
    }
    for (int i = 0; i < e->n_tensors; i++)
        if (e->tensor[i].step < 0 && !r->at[i].data)
            return HS_FAIL(USAGE, "the request has no input '%s'", e->tensor[i].name);
    return HS_OK;
}

static hs_status check_outputs(const run *r)
{
    hs_oip_model o;
    hs_oip_model_of(&o, r->m);
    for (int k = 0; k < r->q.n_out; k++)
        if (!hs_oip_find(o.out, o.n_out, r->q.out[k].name))
            return HS_FAIL(USAGE, "the model has no output '%.64s'", r->q.out[k].name);
    return r->q.sequence
               ? HS_FAIL(UNSUPPORTED, "sequence_id, sequence_start, sequence_end: an ensemble keeps nothing from one request to the next")
               : HS_OK;
}

void hs_ensemble_ask(const hs_call *c, hs_served *m, hs_infer_request *q)
{
    run *r = calloc(1, sizeof *r);
    if (!r) {
        hs_call_fail(c, 503, "no memory for a request");
        hs_served_let_go(m);
        return;
    }
    r->call = *c, r->m = m, r->q = *q, r->began = hs_call_began(c);
    q->head = NULL;
    pthread_mutex_init(&r->lock, NULL);
    for (int i = 0; i < m->ensemble->n_parts; i++)
        r->step[i] = (step){ .inner = { .values = on_values, .failed = on_failed }, .r = r, .number = i };
    hs_status st = take_inputs(r);
    if (st == HS_OK)
        st = check_outputs(r);
    if (st != HS_OK) {
        hs_served_count_failure(m, HS_REASON_OTHER, hs_now_ns() - r->began);
        hs_call_fail_status(c, st);
        free_run(r);
        return;
    }
    r->under_way = 1; // this call
    advance(r);
}
