// example_device: what a new device must supply, in one file. Nothing here is borrowed from the CPU, and nothing of the tree knows it.
//
// It runs every op through its reference in f64: forward converts the operands and calls it, backward is its finite differences. It is as
// slow as that sounds, and right by definition. Its lanes are queues that do nothing before somebody waits: whoever forgets an order of
// events reads what is not there yet.
#include "tests/core/example_device.h"
#include "core/base/dtype.h"
#include "core/graph/graph.h"
#include "optim/update.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- lanes: work in order

enum { QUEUE = 64, LANES = 16 };
typedef enum work_kind { RUN, COPY, AWAIT } work_kind;

typedef struct work {
    work_kind kind;
    const hs_segment *segment;
    void *dst;
    const void *src;
    size_t bytes;
    hs_lane *other; // AWAIT: that lane, up to its work `until`
    int64_t until;
} work;

struct hs_lane {
    hs_device *device;
    work queue[QUEUE]; // of work i at i % QUEUE
    int64_t given, done;
    const hs_thunk *now; // what its kernels are called for
    hs_lane *next;       // of those that were closed
};

struct hs_event {
    hs_lane *lane;
    int64_t until;
};

typedef struct naive {
    hs_kernels kernels; // of each op with a gradient of its own
    hs_kernels forward_only;
    const hs_kernels **table;
    const hs_kernels *const *tables[2];
    hs_lane *lane[LANES]; // [0]: the first
    hs_lane *closed;      // events may still speak of them
    int64_t given, done;  // to all of them, and by
} naive;

static void run_segment(hs_lane *lane, const hs_segment *s)
{
    for (int i = 0; i < s->n; i++) {
        lane->now = &s->thunk[i];
        lane->now->fn(&lane->now->args, lane);
        if (lane->device->hook)
            lane->device->hook(lane->now, 0, lane->device->hook_user);
    }
    lane->now = NULL;
}

static void drain(hs_lane *lane, int64_t until)
{
    while (lane->done < until) {
        const work w = lane->queue[lane->done % QUEUE];
        if (w.kind == RUN)
            run_segment(lane, w.segment);
        else if (w.kind == COPY)
            memmove(w.dst, w.src, w.bytes);
        else
            drain(w.other, w.until);
        lane->done++;
        ((naive *)lane->device->impl)->done++;
    }
}

static hs_lane *lane_of(hs_device *d, hs_lane *lane) { return lane ? lane : ((naive *)d->impl)->lane[0]; }

static void give(hs_lane *lane, work w)
{
    if (lane->given - lane->done == QUEUE)
        drain(lane, lane->given);
    lane->queue[lane->given++ % QUEUE] = w;
    ((naive *)lane->device->impl)->given++;
}

// But for the lane that asks, where a hook copies: it is that far already.
static void drain_all(hs_device *d)
{
    naive *n = d->impl;
    for (int i = 0; i < LANES; i++)
        if (n->lane[i] && !n->lane[i]->now)
            drain(n->lane[i], n->lane[i]->given);
}

static hs_status lane_open(hs_device *d, hs_lane **out)
{
    naive *n = d->impl;
    int i = 0;
    while (i < LANES && n->lane[i])
        i++;
    *out = i < LANES ? calloc(1, sizeof **out) : NULL;
    if (!*out)
        return HS_FAIL(MEMORY, "device %s: no room for a lane more", d->name);
    (*out)->device = d;
    n->lane[i] = *out;
    return HS_OK;
}

static void lane_close(hs_device *d, hs_lane *lane)
{
    naive *n = d->impl;
    for (int i = 0; lane && i < LANES; i++)
        if (n->lane[i] == lane) {
            drain_all(d); // others may await it
            n->lane[i] = NULL;
            lane->next = n->closed, n->closed = lane;
            return;
        }
}

static hs_status event_open(hs_device *d, hs_event **out)
{
    *out = calloc(1, sizeof **out);
    return *out ? HS_OK : HS_FAIL(MEMORY, "device %s: no memory for an event", d->name);
}

static void event_close(hs_device *d, hs_event *e)
{
    (void)d;
    free(e);
}

static void record_event(hs_device *d, hs_event *e, hs_lane *lane)
{
    e->lane = lane_of(d, lane);
    e->until = e->lane->given;
}

static void await_event(hs_device *d, hs_lane *lane, hs_event *e)
{
    if (e->lane)
        give(lane_of(d, lane), (work){ .kind = AWAIT, .other = e->lane, .until = e->until });
}

static hs_status arrive(hs_device *d, hs_event *e)
{
    (void)d;
    if (e->lane)
        drain(e->lane, e->until);
    return HS_OK;
}

static hs_status submit(hs_device *d, hs_lane *lane, const hs_segment *s, hs_submit_mode mode)
{
    (void)mode; // thunk by thunk, whatever is asked for: the same bits
    give(lane_of(d, lane), (work){ .kind = RUN, .segment = s });
    return HS_OK;
}

static hs_status wait_for(hs_device *d, hs_lane *lane)
{
    drain(lane_of(d, lane), lane_of(d, lane)->given);
    return HS_OK;
}

int64_t hs_naive_given(const hs_device *d) { return ((const naive *)d->impl)->given; }
int64_t hs_naive_done(const hs_device *d) { return ((const naive *)d->impl)->done; }

// ---- memory

static hs_status take(hs_device *d, size_t bytes, void **out)
{
    (void)d;
    *out = aligned_alloc(64, (bytes / 64 + 1) * 64);
    if (*out)
        memset(*out, 0, (bytes / 64 + 1) * 64);
    return *out ? HS_OK : HS_FAIL(MEMORY, "no memory for %zu bytes", bytes);
}

static void give_back(hs_device *d, void *p, size_t bytes)
{
    (void)d, (void)bytes;
    free(p);
}

static void copy(hs_device *d, void *dst, const void *src, size_t bytes)
{
    drain_all(d);
    memmove(dst, src, bytes);
}

static void copy_async(hs_device *d, hs_lane *lane, void *dst, const void *src, size_t bytes)
{
    give(lane_of(d, lane), (work){ .kind = COPY, .dst = dst, .src = src, .bytes = bytes });
}

static void fill(hs_device *d, void *dst, int byte, size_t bytes)
{
    drain_all(d);
    memset(dst, byte, bytes);
}

// ---- ops: operands in f64, and the reference

static int64_t live(const hs_args *a, const hs_ref *r) { return hs_ref_rows(a, r) * r->cols; }

// A kernel cannot fail, and a device that cannot go on without 100 KB is none.
static double *zeros(int64_t n)
{
    double *p = calloc((size_t)n + 1, sizeof *p);
    if (!p)
        abort();
    return p;
}

// The arguments of a reference: every input that the node has - zeros where the op says that its backward does not read it, which only an
// op may that is linear in it - and every output.
static hs_args widen(const hs_args *a, const hs_node *n)
{
    hs_args w = { .attr = a->attr, .step = a->step, .state = a->state, .comm = a->comm, .site = a->site };
    for (int i = 0; i < HS_MAX_IN; i++) {
        const hs_tensor *t = n->in[i];
        if (!t)
            continue;
        const bool is_float = hs_dtype_is_float(t->dtype);
        w.in[i] = a->in[i].p ? a->in[i] : (hs_ref){ .rows = t->dim[0], .cols = hs_tensor_cols(t), .ext = t->ext, .t = t };
        if (is_float || !a->in[i].p) // as many bytes do for integers
            w.in[i].p = (char *)zeros(w.in[i].rows * w.in[i].cols), w.in[i].dtype = is_float ? HS_F64 : t->dtype;
        if (is_float && a->in[i].p)
            hs_convert(w.in[i].p, HS_F64, a->in[i].p, a->in[i].dtype, live(a, &a->in[i]));
    }
    for (int o = 0; o < HS_MAX_OUT; o++) {
        const hs_tensor *t = n->out[o];
        const bool absent = n->op->flags & HS_OP_LOSS && n->op->out[o].flags & HS_IS_INPUT_0 && !a->out[o].p;
        if (!t || absent)
            continue;
        w.out[o] = (hs_ref){ .rows = t->dim[0], .cols = hs_tensor_cols(t), .dtype = HS_F64, .ext = t->ext, .t = t };
        w.out[o].p = n->op->out[o].flags & HS_IS_INPUT_0 ? w.in[0].p : (char *)zeros(w.out[o].rows * w.out[o].cols);
    }
    return w;
}

static void widen_free(hs_args *w, const hs_args *a, const hs_node *n)
{
    for (int o = 0; o < HS_MAX_OUT; o++)
        if (w->out[o].p != w->in[0].p)
            free(w->out[o].p);
    for (int i = 0; i < HS_MAX_IN; i++)
        if (n->in[i] && w->in[i].p != a->in[i].p)
            free(w->in[i].p);
}

static void store(const hs_args *a, const hs_ref *to, const double *v)
{
    const int64_t n = live(a, to);
    const size_t element = hs_dtype_bytes(to->dtype);
    for (int64_t i = 0; i < n; i++) {
        double old = 0, sum = v[i];
        if (to->add)
            hs_convert(&old, HS_F64, to->p + (size_t)i * element, to->dtype, 1);
        sum += old;
        hs_convert(to->p + (size_t)i * element, to->dtype, &sum, HS_F64, 1);
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_node *n = lane->now->node;
    hs_args w = widen(a, n);
    n->op->ref(&w);
    for (int o = 0; o < HS_MAX_OUT; o++)
        if (a->out[o].p && !(n->op->out[o].flags & HS_SCRATCH))
            store(a, &a->out[o], (const double *)w.out[o].p);
    widen_free(&w, a, n);
}

// What the outputs' elements count in the sum whose derivative is wanted.
static void weigh(const hs_args *a, const hs_node *n, double *weight[HS_MAX_OUT])
{
    for (int o = 0; o < HS_MAX_OUT; o++) {
        const hs_ref *dy = &a->dout[o];
        weight[o] = dy->p ? zeros(dy->rows * dy->cols) : NULL;
        if (dy->p)
            hs_convert(weight[o], HS_F64, dy->p, dy->dtype, live(a, dy));
    }
    if (!(n->op->flags & HS_OP_LOSS))
        return;
    int32_t loss = 0;
    if (n->op->attr_bytes)
        memcpy(&loss, (const char *)n->attr + n->op->loss_offset, sizeof loss);
    weight[0] = zeros(a->out[0].rows);
    for (int64_t i = 0; i < live(a, &a->out[0]); i++)
        weight[0][i] = (double)a->step->inv_count[loss] * (double)a->state->scale;
}

static double weighed(const hs_args *w, const hs_node *n, double *const weight[HS_MAX_OUT])
{
    double sum = 0;
    n->op->ref(w);
    for (int o = 0; o < HS_MAX_OUT; o++)
        for (int64_t i = 0; weight[o] && i < live(w, &w->out[o]); i++)
            sum += weight[o][i] * ((const double *)w->out[o].p)[i];
    return sum;
}

// Central differences of four points: error h^4, and rounding of 1e-16 / h.
static double derivative(const hs_args *w, const hs_node *n, double *const weight[HS_MAX_OUT], double *x)
{
    const double at = *x, h = 1e-3 * fmax(1, fabs(at));
    double f[4];
    for (int k = 0; k < 4; k++) {
        *x = at + h * (double[]){ -2, -1, 1, 2 }[k];
        f[k] = weighed(w, n, weight);
    }
    *x = at;
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_node *n = lane->now->node;
    hs_args w = widen(a, n);
    double *weight[HS_MAX_OUT];
    weigh(a, n, weight);
    if (n->op->flags & HS_OP_LOSS) { // its values are made here too
        n->op->ref(&w);
        store(a, &a->out[0], (const double *)w.out[0].p);
    }
    for (int i = 0; i < HS_MAX_IN; i++) {
        if (!a->din[i].p)
            continue;
        double *dx = zeros(a->din[i].rows * a->din[i].cols), *x = (double *)w.in[i].p;
        for (int64_t j = 0; j < live(a, &a->din[i]); j++)
            dx[j] = derivative(&w, n, weight, &x[j]);
        store(a, &a->din[i], dx);
        free(dx);
    }
    for (int o = 0; o < HS_MAX_OUT; o++)
        free(weight[o]);
    widen_free(&w, a, n);
}

static bool takes_gradient(const hs_operand *in) { return in->amp != HS_AMP_NONE && !(in->flags & (HS_NO_GRAD | HS_GRAD_IS_DY)); }

static bool has_backward(const hs_op *op)
{
    bool any = false;
    for (int o = 0; o < hs_op_n_out(op); o++)
        if (op->flags & HS_OP_LOSS && op->out[o].flags & HS_IS_INPUT_0)
            return false;
    for (int i = 0; i < hs_op_n_in(op); i++)
        any |= takes_gradient(&op->in[i]);
    return any;
}

static const char *decline(const hs_node *n)
{
    bool from_output = false, keeps_inputs = true;
    for (int o = 0; o < hs_op_n_out(n->op); o++)
        from_output |= (n->op->out[o].flags & (HS_BWD_READS | HS_SAVED)) && !(n->op->out[o].flags & HS_SCRATCH);
    for (int i = 0; i < hs_op_n_in(n->op); i++)
        keeps_inputs &= !n->in[i] || !takes_gradient(&n->op->in[i]) || n->op->in[i].flags & (HS_BWD_READS | HS_WHOLE);
    return n->mode == HS_TRAIN && from_output && !keeps_inputs ? "its backward reads outputs instead of inputs" : NULL;
}

// ---- the kernels of core

static void loss_sum(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    const hs_loss_sum *to = a->attr;
    double sum = 0;
    for (int64_t i = 0; i < live(a, &a->in[0]); i++)
        sum += (double)((const float *)a->in[0].p)[i];
    double *loss = &a->state->loss[to->set][to->loss];
    *loss = (a->step->micro || to->goes_on ? *loss : 0) + sum * (double)a->step->inv_count[to->loss];
}

// In one call, whatever the number of plans.
static void loss_total(const hs_args *a, hs_lane *lane)
{
    double *all = (double *)a->out[0].p;
    int n = 0;
    for (int s = 0; s < HS_N_LOSS_SETS; s++)
        if (a->step->ran >> s & 1)
            memcpy(all + HS_N_LOSS * n++, a->state->loss[s], sizeof a->state->loss[s]);
    a->comm->all_reduce(a->comm, lane, all, HS_N_LOSS * n, HS_F64, HS_REDUCE_SUM);
    for (int s = HS_N_LOSS_SETS - 1; s >= 0; s--)
        if (a->step->ran >> s & 1)
            memcpy(a->state->loss[s], all + HS_N_LOSS * --n, sizeof a->state->loss[s]);
}

static void keep(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    for (int64_t i = 0; i < a->out[0].rows; i++)
        ((float *)a->out[0].p)[i] = (a->out[0].add ? ((float *)a->out[0].p)[i] : 0) + ((const float *)a->in[0].p)[i];
}

static void record_step(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    hs_step_log *log = (hs_step_log *)a->out[0].p;
    hs_step_record_of(&log->at[log->n++ % HS_STEP_RECORDS], a->step, a->state);
}

static const hs_core_kernels core = {
    .loss_sum = loss_sum, .loss_total = loss_total, .begin = hs_begin_move, .finish = hs_finish_moves, .keep = keep, .record = record_step
};

// ---- an optimizer: SGD

static void sums(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    hs_partial *partial = (hs_partial *)a->out[0].p;
    for (int64_t k = 0; k < a->in[0].rows; k++) {
        const hs_update_chunk *c = (const hs_update_chunk *)a->in[0].p + k;
        const float *g = (const float *)a->in[2].p + c->grad;
        partial[k] = (hs_partial){ 0 };
        for (int32_t i = 0; i < c->n && a->in[1].p[c->param]; i++) {
            partial[k].a += (double)g[i] * (double)g[i];
            partial[k].b += !isfinite(g[i]);
        }
    }
}

static void sgd(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    const hs_update_step *now = (const hs_update_step *)a->in[2].p;
    for (int64_t k = 0; k < a->in[0].rows && !now->skip; k++) {
        const hs_update_chunk *c = (const hs_update_chunk *)a->in[0].p + k;
        if (!a->in[1].p[c->param])
            continue;
        const float *g = (const float *)a->in[3].p + c->grad;
        float *w = (float *)a->out[0].p + c->value, *m = (float *)a->out[2].p + c->kept[0];
        for (int32_t i = 0; i < c->n; i++) {
            m[i] = now->momentum * m[i] + g[i] * now->factor + now->l2[c->role] * w[i];
            w[i] -= now->lr[c->role] * m[i];
        }
        if (a->out[1].p)
            hs_values_low((uint16_t *)a->out[1].p + c->low, a->out[1].dtype, w, c->n);
    }
}

static const hs_optim_kernels sgd_kernels = { .pass = { sgd } };
static const hs_optim_tier optim = { .sums = sums, .decide = hs_optim_decide, .rule = { [HS_SGD] = &sgd_kernels } };

// ---- the table

static void close_naive(hs_device *d)
{
    naive *n = d->impl;
    lane_close(d, n->lane[0]);
    for (hs_lane *lane = n->closed, *next; lane; lane = next) {
        next = lane->next;
        free(lane);
    }
    free(n->table);
    free(n);
}

hs_status hs_backend_naive(hs_device *d, const hs_device_opts *o)
{
    naive *n = calloc(1, sizeof *n);
    const hs_kernels **table = calloc((size_t)o->n_ops, sizeof *table);
    if (!n || !table) {
        free(n), free(table);
        return HS_FAIL(MEMORY, "no memory for a device");
    }
    n->kernels = (hs_kernels){ .fwd = forward, .bwd = backward, .fwd_part = HS_PART_SOLO, .bwd_part = HS_PART_SOLO, .decline = decline };
    n->forward_only = (hs_kernels){ .fwd = forward, .fwd_part = HS_PART_SOLO };
    for (int i = 0; i < o->n_ops; i++)
        table[i] = has_backward(o->ops[i]) ? &n->kernels : &n->forward_only;
    n->table = table, n->tables[0] = table;
    d->impl = n;
    const hs_status st = lane_open(d, &(hs_lane *){ NULL });
    if (st != HS_OK) {
        free(n), free(table);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    d->name = "naive";
    d->tables = n->tables;
    d->core = &core, d->optim = &optim;
    d->alloc = take, d->release = give_back, d->copy = copy, d->fill = fill, d->copy_async = copy_async;
    d->lane_open = lane_open, d->lane_close = lane_close, d->event_open = event_open, d->event_close = event_close;
    d->record = record_event, d->await = await_event, d->arrive = arrive;
    d->submit = submit, d->wait = wait_for, d->close = close_naive;
    return HS_OK;
}
