// run: lays a model's plans over one workspace, and submits them. The host settles here, before anything is submitted, what no
// segment may ask: which gradients a micro-step writes, which copies of parameters are old.
#include "core/base/grow.h"
#include "core/graph/divide.h"
#include "core/run/run_impl.h"
#include <stdlib.h>
#include <string.h>

static const char *const mode_names[] = { "training", "evaluation", "decoding" };

// ---- binding

static hs_mode mode_of(const hs_run *r, int plan) { return hs_plan_graph(hs_run_plan(r, plan))->mode; }

static hs_status add_workspace(hs_run *r, size_t bytes, void **out)
{
    if (!hs_grow(&r->workspace, r->n_workspaces, &r->cap_workspaces, sizeof *r->workspace))
        return HS_FAIL(MEMORY, "no memory for one more workspace");
    HS_TRY(r->device->alloc(r->device, bytes, out));
    r->workspace[r->n_workspaces++] = (hs_run_memory){ *out, bytes };
    return HS_OK;
}

// States of which ranks have the largest lie in one piece, all that came since the last: one call moves them.
static hs_status make_largest(hs_run *r, char **out)
{
    const hs_states *all = r->model->states;
    size_t bytes = 0;
    void *p;
    *out = NULL;
    for (int i = r->n_states; i < all->n; i++)
        bytes += all->state[i]->largest ? hs_state_room(all->state[i]) : 0;
    if (!bytes)
        return HS_OK;
    if (!hs_grow(&r->largest, r->n_largest, &r->cap_largest, sizeof *r->largest))
        return HS_FAIL(MEMORY, "no memory for one more piece of states");
    HS_TRY(r->device->alloc(r->device, bytes, &p));
    r->largest[r->n_largest++] = (hs_run_memory){ p, bytes };
    *out = p;
    return HS_OK;
}

static hs_status make_states(hs_run *r)
{
    const hs_states *all = r->model->states;
    char *together;
    HS_TRY(make_largest(r, &together));
    while (r->n_states < all->n) {
        const hs_state *s = all->state[r->n_states];
        const size_t bytes = hs_state_room(s);
        void *p = together;
        if (!hs_grow(&r->states, r->n_states, &r->cap_states, sizeof *r->states))
            return HS_FAIL(MEMORY, "no memory for state %s", s->name);
        if (s->largest)
            together += bytes;
        else
            HS_TRY(r->device->alloc(r->device, bytes, &p));
        r->states[r->n_states++] = p;
        r->state_bytes += bytes;
    }
    return HS_OK;
}

static hs_status take_gradients(hs_run *r, const hs_plan *p, void *workspace)
{
    hs_model *m = r->model;
    if (m->trains && !r->trains)
        return HS_FAIL(INTERNAL, "another run of this model trains already: gradients exist once");
    m->trains = r->trains = true;
    const size_t bytes = hs_plan_info_of(p)->gradient_bytes;
    return bytes ? hs_params_lend(m->params, m->params->grad, workspace, bytes) : HS_OK;
}

static hs_status mark_writes(hs_bound *b, const hs_plan *p, int n_params)
{
    b->reduces = hs_plan_reduces(p);
    b->writes = calloc((size_t)n_params + 1, sizeof *b->writes);
    if (!b->writes)
        return HS_FAIL(MEMORY, "no memory for %d marks", n_params);
    hs_plan_writes(p, b->writes);
    return HS_OK;
}

static hs_status make_inputs(hs_run *r, hs_bound *b, const hs_plan *p)
{
    const size_t bytes = HS_INPUT_SLOTS * hs_plan_info_of(p)->input_bytes;
    for (int i = 0; i < HS_INPUT_SLOTS; i++) {
        if (!b->used[i])
            HS_TRY(r->device->event_open(r->device, &b->used[i]));
        if (!b->fed[i])
            HS_TRY(r->device->event_open(r->device, &b->fed[i]));
    }
    if (!bytes || b->inputs.p)
        return HS_OK;
    HS_TRY(r->device->alloc(r->device, bytes, &b->inputs.p)); // zeroed: what the first batch does not fill is finite
    b->inputs.bytes = bytes;
    r->input_bytes += bytes;
    return HS_OK;
}

static hs_status make_reduction(hs_run *r)
{
    const hs_params *ps = r->model->params;
    const size_t n = (size_t)ps->n_params + 2, ranks = ps->shares ? (size_t)ps->shares->size : 1;
    r->reduction.thunk = calloc(n, sizeof *r->reduction.thunk);
    r->move = calloc(n, sizeof *r->move);
    r->parts = calloc(n * ranks, sizeof *r->parts);
    return r->reduction.thunk && r->move && r->parts ? HS_OK
                                                     : HS_FAIL(MEMORY, "no memory for the reductions of %d parameters", ps->n_params);
}

hs_status hs_run_bind(hs_run *r, int plan)
{
    const hs_model *m = r->model;
    if (plan < 0 || plan >= m->n_plans)
        return HS_FAIL(INTERNAL, "plan %d of a model that has %d", plan, m->n_plans);
    for (; r->n_plans <= plan; r->n_plans++) {
        if (!hs_grow(&r->plan, r->n_plans, &r->cap_plans, sizeof *r->plan))
            return HS_FAIL(MEMORY, "no memory for plan %d", plan);
        r->plan[r->n_plans] = (hs_bound){ 0 };
    }
    hs_bound *b = &r->plan[plan];
    if (b->exec)
        return HS_OK;
    const hs_plan *p = hs_run_plan(r, plan);
    void *workspace = r->workspace[0].p;
    if (hs_plan_bytes(p) > r->first_bytes) {
        HS_TRY(add_workspace(r, hs_plan_bytes(p), &workspace));
        r->more_bytes += hs_plan_bytes(p);
    }
    HS_TRY(make_states(r));
    HS_TRY(make_inputs(r, b, p));
    if (mode_of(r, plan) == HS_TRAIN) {
        HS_TRY(take_gradients(r, p, workspace));
        if (!b->writes)
            HS_TRY(mark_writes(b, p, m->params->n_params));
        if (b->reduces && !r->reduction.thunk)
            HS_TRY(make_reduction(r));
    }
    return hs_exec_new(&b->exec, p,
                       &(hs_exec_memory){ r->device, workspace, b->inputs.p, r->states, r->blocks.bound_in, r->blocks.bound_state });
}

static hs_status bind_all(hs_run *r, const hs_run_opts *o)
{
    const int n = o->plans ? o->n_plans : r->model->n_plans;
    for (int i = 0; i < n; i++) {
        const int plan = o->plans ? o->plans[i] : i;
        if (plan < 0 || plan >= r->model->n_plans)
            return HS_FAIL(INTERNAL, "plan %d of a model that has %d", plan, r->model->n_plans);
        const size_t bytes = hs_plan_bytes(hs_run_plan(r, plan));
        r->first_bytes = bytes > r->first_bytes ? bytes : r->first_bytes;
    }
    void *workspace;
    HS_TRY(add_workspace(r, r->first_bytes, &workspace));
    for (int i = 0; i < n; i++)
        HS_TRY(hs_run_bind(r, o->plans ? o->plans[i] : i));
    return HS_OK;
}

static hs_status check_device(const hs_run *r)
{
    const hs_device *made = r->model->device;
    if (strcmp(r->device->name, made->name))
        return HS_FAIL(INTERNAL, "a run on %s of a model planned for %s", r->device->name, made->name);
    if (r->device->team > made->team)
        return HS_FAIL(INTERNAL, "a run of %d threads of a model planned for %d", r->device->team, made->team);
    return HS_OK;
}

static hs_status build(hs_run *r, const hs_run_opts *o)
{
    if (!r->model->params->allocated)
        return HS_FAIL(INTERNAL, "a run of a model that is not laid out");
    HS_TRY(check_device(r));
    r->written = calloc((size_t)r->model->params->n_params + 1, sizeof *r->written);
    if (!r->written)
        return HS_FAIL(MEMORY, "no memory for %d marks", r->model->params->n_params);
    HS_TRY(r->device->lane_open(r->device, &r->lane));
    HS_TRY(r->device->lane_open(r->device, &r->feed));
    HS_TRY(r->device->event_open(r->device, &r->done));
    HS_TRY(hs_blocks_open(&r->blocks, r->device, r->lane));
    r->blocks.in.seed = r->model->seed;
    r->blocks.in.n_micro = 1;
    hs_run_set_state(r, &(hs_step_state){ .scale = 1, .step_scale = 1, .bad_param = -1, .bad_micro = -1 });
    return bind_all(r, o);
}

hs_status hs_run_new(hs_run **out, hs_model *m, const hs_run_opts *o)
{
    *out = NULL;
    hs_run *r = calloc(1, sizeof *r);
    if (!r)
        return HS_FAIL(MEMORY, "no memory for a run");
    r->model = m;
    r->device = o->device ? o->device : m->device;
    r->mode = o->mode;
    hs_status st;
    HS_TRY_GOTO(st, build(r, o), failed);
    *out = r;
    return HS_OK;
failed:
    hs_run_free(r);
    return st;
}

void hs_run_drop(hs_run *r, hs_segment *s)
{
    if (s->thunk)
        r->device->forget(r->device, s->thunk);
    free(s->thunk);
    *s = (hs_segment){ NULL };
}

void hs_run_free(hs_run *r)
{
    if (!r)
        return;
    hs_params_land(r->model->params);
    if (r->lane || r->queued)
        r->device->wait(r->device, r->lane); // copies may still be queued; what they say no longer matters
    if (r->feed)
        r->device->wait(r->device, r->feed);
    hs_model_leave(r->model, r->device, r->lane);
    for (int i = 0; i < r->n_plans; i++) {
        hs_exec_free(r->plan[i].exec);
        free(r->plan[i].writes);
        r->device->release(r->device, r->plan[i].inputs.p, r->plan[i].inputs.bytes);
        for (int k = 0; k < HS_INPUT_SLOTS; k++)
            r->device->event_close(r->device, r->plan[i].used[k]), r->device->event_close(r->device, r->plan[i].fed[k]);
    }
    for (int i = 0; i < r->n_workspaces; i++)
        r->device->release(r->device, r->workspace[i].p, r->workspace[i].bytes);
    for (int i = 0; i < r->n_states; i++)
        if (!r->model->states->state[i]->largest)
            r->device->release(r->device, r->states[i], hs_state_room(r->model->states->state[i]));
    for (int i = 0; i < r->n_largest; i++)
        r->device->release(r->device, r->largest[i].p, r->largest[i].bytes);
    if (r->trains) {
        r->model->trains = false;
        if (r->model->params->grad->lent) // its bytes were of this workspace
            hs_params_leave_out(r->model->params, r->model->params->grad);
    }
    free(r->plan);
    free(r->workspace);
    free(r->states);
    free(r->largest);
    free(r->written);
    hs_run_drop(r, &r->reduction);
    free(r->move);
    free(r->parts);
    hs_run_drop(r, &r->front);
    hs_run_drop(r, &r->update);
    r->device->free_host(r->device, r->log);
    hs_blocks_close(&r->blocks);
    r->device->event_close(r->device, r->done);
    r->device->lane_close(r->device, r->feed);
    r->device->lane_close(r->device, r->lane);
    free(r);
}

hs_model *hs_run_model(const hs_run *r) { return r->model; }
hs_device *hs_run_device(const hs_run *r) { return r->device; }
hs_lane *hs_run_lane(const hs_run *r) { return r->lane; }
hs_submit_mode hs_run_mode(const hs_run *r) { return r->mode; }
void hs_run_set_mode(hs_run *r, hs_submit_mode mode) { r->mode = mode; }
size_t hs_run_bytes(const hs_run *r)
{
    return sizeof *r + r->first_bytes + r->more_bytes + r->input_bytes + r->state_bytes + hs_blocks_bytes();
}

void *hs_run_workspace(hs_run *r, size_t *bytes)
{
    *bytes = r->first_bytes;
    return r->workspace[0].p;
}

void *hs_run_blocks(hs_run *r, size_t *bytes)
{
    *bytes = hs_blocks_bytes();
    return r->blocks.p;
}

// ---- step block and state

hs_step_in *hs_run_in(hs_run *r) { return &r->blocks.in; }
const hs_step_state *hs_run_state(hs_run *r) { return hs_run_wait(r) == HS_OK ? hs_blocks_state(&r->blocks) : NULL; }
void hs_run_set_state(hs_run *r, const hs_step_state *state) { hs_blocks_set_state(&r->blocks, state); }

const double *hs_run_losses(hs_run *r, int plan)
{
    const int set = hs_plan_losses(hs_run_plan(r, plan));
    const hs_step_state *state = set < 0 ? NULL : hs_run_state(r);
    return state ? state->loss[set] : NULL;
}

// ---- steps

// s stays as it is until somebody waits.
static hs_status submit(hs_run *r, const hs_segment *s)
{
    hs_run_count_share(r);
    HS_TRY(hs_blocks_send(&r->blocks));
    r->queued = true;
    HS_TRY(r->device->submit(r->device, r->lane, s, r->mode));
    hs_blocks_submitted(&r->blocks);
    return r->mode == HS_SUBMIT_STEP ? hs_run_wait(r) : HS_OK; // a hook reads this step's counts
}

hs_status hs_run_wait(hs_run *r)
{
    hs_params_land(r->model->params);
    if (!r->queued)
        return HS_OK;
    HS_TRY(r->device->wait(r->device, r->lane));
    r->queued = false;
    HS_TRY(r->model->grid.dp->poll(r->model->grid.dp));
    return r->model->grid.tp->poll(r->model->grid.tp);
}

// Values that an update has left on their way, which was in this lane: what it is given from now on comes behind them.
static hs_status land_here(hs_run *r)
{
    hs_shares *s = r->model->params->shares;
    if (!s || !s->moving)
        return HS_OK;
    r->arrival = hs_run_on(r, s->moving, r->device->core->finish, "values finish");
    r->arrivals = (hs_segment){ &r->arrival, 1 };
    s->moving = NULL;
    r->queued = true;
    return r->device->submit(r->device, r->lane, &r->arrivals, r->mode == HS_SUBMIT_GRAPH ? HS_SUBMIT_BULK : r->mode);
}

static hs_status submit_plan(hs_run *r, int plan, int which)
{
    hs_bound *b = &r->plan[plan];
    const hs_params *ps = r->model->params;
    if (mode_of(r, plan) != HS_TRAIN)
        hs_params_land(ps); // a training plan waits for values where it reads them
    else if (ps->n_derived)
        HS_TRY(land_here(r)); // or for all of them, where copies are made
    HS_TRY(hs_model_refresh(r->model, r->device, r->lane, r->mode));
    hs_run_await_fed(r, b);
    HS_TRY(submit(r, hs_exec_micro(b->exec, which)));
    hs_run_note_use(r, b);
    b->was_read = true;
    return HS_OK;
}

void hs_run_begin(hs_run *r, uint64_t step)
{
    r->blocks.in.step = step;
    r->blocks.in.ran = 0;
    r->pending = 0;
    r->reduced = false;
    memset(r->written, 0, (size_t)r->model->params->n_params * sizeof *r->written);
    for (int i = 0; i < r->n_plans; i++)
        r->plan[i].micro = 0;
}

static hs_status check_plan(const hs_run *r, int plan, bool trains)
{
    if (!hs_run_is_bound(r, plan))
        return HS_FAIL(INTERNAL, "this run has no plan %d", plan);
    if (trains != (mode_of(r, plan) == HS_TRAIN))
        return HS_FAIL(INTERNAL, "plan %d is for %s", plan, mode_names[mode_of(r, plan)]);
    return HS_OK;
}

// Of what this plan makes, some gradients may be there already and others not: then all are added to, and the missing ones begin at 0.
static hs_status find_first(hs_run *r, const hs_bound *b, bool *first)
{
    const hs_params *ps = r->model->params;
    int there = 0, missing = 0;
    for (int i = 0; r->pending && i < ps->n_params; i++)
        if (b->writes[i])
            *(r->written[i] ? &there : &missing) += 1;
    *first = !there;
    for (int i = 0; there && missing && i < ps->n_params; i++)
        if (b->writes[i] && !r->written[i])
            HS_TRY(hs_params_clear(r->model->params, ps->grad, ps->param[i]));
    return HS_OK;
}

static bool only_others_made(const hs_run *r, const hs_bound *b, int param) { return r->written[param] && !b->writes[param]; }

typedef struct others {
    const hs_run *r;
    const hs_bound *b;
} others;
static bool takes_others(const void *user, int i) { return only_others_made(((const others *)user)->r, ((const others *)user)->b, i); }

// Neighbours in the gradient slab whose gradients only other plans of the step have made, from `from` on and of one group.
static bool others_run(const hs_run *r, const hs_bound *b, int from, hs_share_run *out)
{
    const hs_params *ps = r->model->params;
    return hs_slab_run_next(ps, ps->grad, from, takes_others, &(others){ r, b }, out);
}

// The last micro-step of a step reduces what its plan makes; what only other plans of the step made is reduced here, neighbours together.
static hs_status reduce_others(hs_run *r, const hs_bound *b)
{
    const hs_params *ps = r->model->params;
    hs_segment *s = &r->reduction;
    hs_share_run run = { .last = -1 };
    if (ps->shares && ps->shares->what == HS_DIVIDE_GRADIENTS)
        return HS_OK; // every micro-step has reduced its own
    if (!others_run(r, b, 0, &run))
        return HS_OK;
    HS_TRY(hs_run_wait(r));                 // the last step's reductions may still be queued
    r->device->forget(r->device, s->thunk); // this step's may be others
    s->n = 0;
    do {
        hs_move *m = ps->shares ? &r->move[s->n] : NULL;
        if (m) {
            int64_t *parts = r->parts + (size_t)s->n * (size_t)ps->shares->size;
            hs_share_parts(ps, ps->grad, &run, parts);
            *m = (hs_move){ .kind = HS_REDUCE_PARTS, .parts = parts };
        }
        s->thunk[s->n++] = hs_run_begin_move(r, r->model->grid.dp, m ? "gradient reduce-scatter" : "gradient all-reduce", &run, m);
    } while (others_run(r, b, run.last + 1, &run));
    s->thunk[s->n++] = hs_run_on(r, r->model->grid.dp, r->device->core->finish, "gradients finish");
    return submit(r, s);
}

hs_status hs_run_micro(hs_run *r, int plan, bool last)
{
    const hs_params *ps = r->model->params;
    HS_TRY(check_plan(r, plan, true));
    hs_bound *b = &r->plan[plan];
    if (r->pending && hs_plan_info_of(hs_run_plan(r, plan))->gradient_bytes)
        return HS_FAIL(INTERNAL, "this model was made for steps of one micro-batch (micro_steps): gradients cannot be added to");
    if (r->reduced)
        return HS_FAIL(INTERNAL, "a micro-step behind the last one of its step: gradients are reduced already");
    bool first;
    HS_TRY(find_first(r, b, &first));
    r->blocks.in.micro = b->micro;
    HS_TRY(submit_plan(r, plan, (first ? HS_MICRO_FIRST : 0) | (last ? HS_MICRO_LAST : 0)));
    for (int i = 0; i < ps->n_params; i++)
        r->written[i] |= b->writes[i];
    b->micro++, r->pending++;
    if (ps->shares && (last || ps->shares->what == HS_DIVIDE_GRADIENTS))
        ps->shares->moving = NULL; // it ends with a wait for all that moves
    if (last && b->reduces) {
        HS_TRY(reduce_others(r, b));
        r->reduced = true;
    }
    if (hs_plan_losses(hs_run_plan(r, plan)) >= 0)
        r->blocks.in.ran |= 1u << hs_plan_losses(hs_run_plan(r, plan));
    return HS_OK;
}

hs_status hs_run_forward(hs_run *r, int plan)
{
    HS_TRY(check_plan(r, plan, false));
    if (r->pending)
        return HS_FAIL(INTERNAL, "%s between a micro-step and its update: gradients of %d micro-step%s are pending",
                       mode_names[mode_of(r, plan)], r->pending, r->pending == 1 ? "" : "s");
    r->blocks.in.micro = 0;
    return submit_plan(r, plan, 0);
}

// ---- the update, and what it leaves on record

hs_status hs_run_set_update(hs_run *r, const hs_segment *update)
{
    void *log = r->log;
    if (!log)
        HS_TRY(r->device->alloc_host(r->device, sizeof *r->log, &log));
    r->log = log;
    const bool several = r->model->grid.dp->size > 1;
    const bool moves = r->model->params->shares && update->n > 0 &&
                       update->thunk[update->n - 1].fn == r->device->core->finish; // the next micro-step waits instead
    const int own = update->n - moves;
    int n = 0;
    hs_thunk *t = malloc((size_t)(own + 2) * sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for %d thunks", update->n);
    if (several) { // what is on record are losses of the global batch
        t[n] = hs_run_on(r, r->model->grid.dp, r->device->core->loss_total, "loss total");
        t[n++].args.out[0] = (hs_ref){ .p = r->blocks.bound_totals, .rows = HS_N_LOSS_SETS, .cols = HS_N_LOSS, .dtype = HS_F64 };
    }
    memcpy(t + n, update->thunk, (size_t)own * sizeof *t);
    n += own;
    t[n++] = (hs_thunk){
        .fn = r->device->core->record,
        .name = "record",
        .args = { .out[0] = { .p = hs_device_bind(r->device, log), .rows = 1, .cols = 1 } },
        .sync = true,
        .part = HS_PART_SOLO,
    };
    for (int i = 0; i < n; i++)
        t[i].args.step = r->blocks.bound_in, t[i].args.state = r->blocks.bound_state;
    HS_TRY(hs_run_wait(r)); // of a segment that this one replaces
    hs_run_drop(r, &r->update);
    r->update = (hs_segment){ t, n };
    r->moves_values = moves;
    return HS_OK;
}

const hs_segment *hs_run_update_segment(const hs_run *r) { return r->update.thunk ? &r->update : NULL; }

const bool *hs_run_made(const hs_run *r) { return r->written; }

hs_status hs_run_update(hs_run *r)
{
    hs_params *ps = r->model->params;
    if (!r->update.thunk)
        return HS_FAIL(INTERNAL, "this run was given no optimizer");
    if (!r->pending)
        return HS_FAIL(INTERNAL, "an update without a micro-step since the last one");
    if (r->model->grid.dp->size > 1 && !r->reduced)
        return HS_FAIL(INTERNAL, "an update of gradients that were not reduced: no micro-step of this step was the last");
    HS_TRY(hs_run_make_front(r));
    hs_params_set_grads(ps, r->written);
    if (r->front.n)
        HS_TRY(submit(r, &r->front));
    HS_TRY(submit(r, &r->update));
    if (r->moves_values)
        ps->shares->moving = r->model->grid.dp;
    hs_params_changed(ps); // or not, if the step was skipped: that is the device's knowledge
    r->n_updates++;
    hs_run_begin(r, r->blocks.in.step + 1);
    return HS_OK;
}

int hs_run_unread(const hs_run *r) { return (int)(r->n_updates - r->n_read < INT32_MAX ? r->n_updates - r->n_read : INT32_MAX); }

const hs_step_record *hs_run_read_record(hs_run *r)
{
    if (!r->log || r->n_read == r->n_updates || hs_run_wait(r) != HS_OK)
        return NULL;
    if (r->n_updates - r->n_read > HS_STEP_RECORDS)
        r->n_read = r->n_updates - HS_STEP_RECORDS; // the others are gone
    return &r->log->at[r->n_read++ % HS_STEP_RECORDS];
}
