// support_runs: kernels run in buffers of their own, between guard zones.
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "core/cpu/lane.h"
#include "tests/support/support_ops.h"
// cmocka wants these four before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

// A zone around what is read is NaN, around what is written a large number: what leaks out of a NaN must not look like the zone.
enum { GUARD = 256, DEAD = 0xFF, READ = 0xFF, WRITTEN = 0xF5, TAIL_SEED = 77 };

// ---- guarded bytes

static hs_device *device; // of a registry that opens one: memory that it and the host see
static struct {
    hs_step_in in;
    hs_step_state state;
} * device_step;
static hs_team *teams[MAX_LANES];

bool runs_open(hs_device *d)
{
    device = d;
    return d->alloc_host(d, sizeof *device_step, (void **)&device_step) == HS_OK;
}
void runs_close(void)
{
    for (int i = 0; i < MAX_LANES; i++)
        hs_team_free(teams[i]);
    if (device)
        device->free_host(device, device_step);
    device = NULL;
}

static guarded guarded_new(size_t bytes, int fill, int zone)
{
    guarded b = { .bytes = bytes, .zone = zone };
    const size_t all = GUARD + (bytes + 63) / 64 * 64 + GUARD;
    if (device ? device->alloc_host(device, all, (void **)&b.base) != HS_OK : posix_memalign((void **)&b.base, 64, all))
        abort();
    memset(b.base, zone, all);
    b.p = b.base + GUARD;
    memset(b.p, fill, bytes);
    return b;
}

static bool guarded_intact(const guarded *b)
{
    if (!b->base)
        return true;
    const size_t all = GUARD + (b->bytes + 63) / 64 * 64 + GUARD;
    for (size_t i = 0; i < all; i++)
        if ((i < GUARD || i >= GUARD + b->bytes) && (unsigned char)b->base[i] != b->zone)
            return false;
    return true;
}

static void guarded_free(guarded *b)
{
    device ? device->free_host(device, b->base) : free(b->base);
    *b = (guarded){ 0 };
}

double value_at(const guarded *b, hs_dtype d, int64_t i)
{
    double v;
    hs_convert(&v, HS_F64, b->p + (size_t)i * hs_dtype_bytes(d), d, 1);
    return v;
}

static size_t row_bytes(const hs_tensor *t, hs_dtype d) { return (size_t)hs_tensor_cols(t) * hs_dtype_bytes(d); }

static void kill_rows(guarded *b, const hs_tensor *t, hs_dtype d, int64_t r0, int64_t r1)
{
    memset(b->p + (size_t)r0 * row_bytes(t, d), DEAD, (size_t)(r1 - r0) * row_bytes(t, d));
}

// Values of an operand; dead rows as `tail` says.
static guarded loaded(const probe *p, const hs_tensor *t, hs_dtype d, const double *v, const int32_t *ids, int tail)
{
    guarded b = guarded_new((size_t)t->dim[0] * row_bytes(t, d), 0, READ);
    if (v)
        hs_convert(b.p, d, v, HS_F64, hs_tensor_count(t));
    else
        hs_convert(b.p, d, ids, HS_I32, hs_tensor_count(t));
    if (tail == DEAD)
        kill_rows(&b, t, d, live_rows(p, t), t->dim[0]);
    return b;
}

static hs_ref ref_to(const guarded *b, const hs_tensor *t, hs_dtype d, bool add)
{
    return (hs_ref){ b->p, t->dim[0], hs_tensor_cols(t), d, t->ext, add, t };
}

// ---- calling a kernel

typedef struct call {
    hs_kernel *fn;
    const hs_args *args[MAX_LANES];        // of each member
    void (*late)(void *);                  // what member 1 does before it joins, a moment later
    void (*left)(const hs_lane *, void *); // what a member does as soon as it is done
    void *arg;
} call;

static void member(hs_lane *lane, void *arg)
{
    const call *c = arg;
    if (c->late && lane->id == 1) {
        nanosleep(&(struct timespec){ .tv_nsec = 300000 }, NULL);
        c->late(c->arg);
    }
    c->fn(c->args[lane->id], lane);
    if (c->left)
        c->left(lane, c->arg);
}

static void call_on_device(const call *c)
{
    hs_thunk t = { .fn = c->fn, .args = *c->args[0], .name = "a case" };
    if (t.args.step)
        device_step->in = *t.args.step, device_step->state = *t.args.state;
    t.args.step = &device_step->in, t.args.state = &device_step->state;
    if (device->submit(device, NULL, &(hs_segment){ &t, 1 }, HS_SUBMIT_BULK) != HS_OK || device->wait(device, NULL) != HS_OK)
        fail_msg("device %s: %s", device->name, hs_error());
}

static void call_kernel(uint8_t part, int lanes, call *c)
{
    if (device) {
        call_on_device(c);
        return;
    }
    if (hs_tested.no_team || part == HS_PART_SOLO || part == HS_PART_HOST) {
        c->fn(c->args[0], &(hs_lane){ .id = 0, .n = 1 });
        return;
    }
    if (!teams[lanes] && hs_team_new(&teams[lanes], lanes) != HS_OK)
        abort();
    hs_team_run(teams[lanes], member, c);
}

static void add_scratch(const probe *p, op_run *r, hs_args *a, bool backward)
{
    hs_scratch s = { 0 };
    if (r->k->scratch)
        s = r->k->scratch(p->n, r->lanes, backward);
    const int fill = r->tail == DEAD ? DEAD : 0;
    a->thread_bytes = (s.per_thread + 63) / 64 * 64;
    r->shared = guarded_new(s.shared, fill, WRITTEN);
    r->members = guarded_new(a->thread_bytes * (size_t)r->lanes, fill, WRITTEN);
    a->scratch = s.shared ? r->shared.p : NULL;
    a->thread_scratch = r->members.p;
}

static hs_args common_args(const probe *p)
{
    return (
        hs_args){ .attr = p->n->attr, .step = &p->step, .state = (hs_step_state *)&p->state, .comm = &hs_comm_self_tp, .site = p->n->site };
}

// ---- what looks on

static void watch_refs(const hs_operand *names, const hs_ref *refs, int n, const char *kind, bool writable)
{
    for (int i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", kind, names[i].name);
        if (refs[i].p)
            hs_tested.watch->operand(name, refs[i].p, (size_t)(refs[i].rows * refs[i].cols) * hs_dtype_bytes(refs[i].dtype), writable);
    }
}

static void add_copy(const probe *p, op_run *r, hs_args *a, bool backward)
{
    const hs_derive *d = &r->k->derive;
    hs_kernel *make = backward ? d->backward : d->forward;
    const size_t bytes = r->derived && make ? d->bytes(p->n, backward, INT32_MAX) : 0;
    if (!bytes)
        return;
    r->copy = guarded_new(bytes, DEAD, WRITTEN);
    const hs_args args = { .attr = d->by_attr ? a->attr : NULL,
                           .in[0] = a->in[d->operand],
                           .in[1] = a->in[d->operand + 1],
                           .out[0] = { .p = r->copy.p, .rows = 1, .cols = (int64_t)bytes, .dtype = HS_U8 } }; // codes, their scales
    call c = { .fn = make, .args = { &args, &args, &args, &args } };
    const op_watch *w = hs_tested.watch;
    if (w) {
        w->begin();
        watch_refs(&p->op->in[d->operand], args.in, hs_op_n_in(p->op) > d->operand + 1 ? 2 : 1, "", false);
        w->operand("the copy", r->copy.p, bytes, true);
    }
    call_kernel(HS_PART_FREE, r->lanes, &c);
    const char *wrong = w ? w->end() : NULL;
    if (wrong)
        op_fail(p, r, "its copy: %s", wrong);
    a->derived = r->copy.p, a->derived_bytes = bytes;
    if (d->replaces_shared && !backward) // backward makes all gradients at once here: those of parameters need it
        a->scratch = NULL;
}

// Behind what is only read comes what is written: where both are the same bytes, they may be.
static void watched_call(const probe *p, op_run *r, uint8_t part, call *c, bool backward)
{
    const op_watch *w = hs_tested.watch;
    const hs_args *a = c->args[0];
    const int n_in = hs_op_n_in(p->op), n_out = hs_op_n_out(p->op);
    if (w) {
        w->begin();
        w->operand("the step", a->step, sizeof *a->step, false);
        w->operand("the state", a->state, sizeof *a->state, false);
        w->operand("the copy", a->derived, a->derived ? r->copy.bytes : 0, false);
        watch_refs(p->op->in, a->in, n_in, "", false);
        watch_refs(p->op->out, a->dout, n_out, "gradient of ", false);
        watch_refs(p->op->out, a->out, n_out, "", !backward || p->op->flags & HS_OP_LOSS);
        watch_refs(p->op->in, a->din, n_in, "gradient of ", true);
        w->operand("scratch", a->scratch, a->scratch ? r->shared.bytes : 0, true);
    }
    call_kernel(part, r->lanes, c);
    const char *wrong = w ? w->end() : NULL;
    if (wrong)
        op_fail(p, r, "%s: %s", backward ? "backward" : "forward", wrong);
}

static bool absent(const probe *p, const op_run *r, int o) { return r->no_loss_gradient && o == loss_gradient(p->op); }
static bool takes_input_0(const probe *p, const op_run *r, int o)
{
    return p->op->out[o].flags & HS_IS_INPUT_0 || (r->in_place && p->op->out[o].flags & HS_MAY_OVERWRITE_0);
}

double initial_din(int input, int64_t j, hs_dtype d)
{
    double v = (double)(hs_mix2(TAIL_SEED + (uint64_t)input, (uint64_t)j) % 64) / 16 - 2; // exact in every type
    return d == HS_F64 ? 0 : v;
}

static void load_initial(guarded *b, hs_dtype d, int input, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        const double v = initial_din(input, j, d);
        hs_convert(b->p + (size_t)j * hs_dtype_bytes(d), d, &v, HS_F64, 1);
    }
}

static hs_args prepare_forward(const probe *p, op_run *r)
{
    hs_args a = common_args(p);
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        const hs_tensor *t = p->n->in[i];
        const hs_dtype d = stored_type(p, i);
        if (!t)
            continue;
        r->in[i] = loaded(p, t, d, p->x[i], p->ids[i], r->tail);
        a.in[i] = ref_to(&r->in[i], t, d, false);
    }
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        const hs_tensor *t = p->n->out[o];
        const hs_dtype d = p->types.out[o];
        if (absent(p, r, o))
            continue;
        if (!takes_input_0(p, r, o))
            r->out[o] = guarded_new((size_t)t->dim[0] * row_bytes(t, d), r->tail == DEAD ? DEAD : 0, WRITTEN);
        if (r->add_out)
            load_initial(&r->out[o], d, 0, live_count(p, t));
        a.out[o] = ref_to(takes_input_0(p, r, o) ? &r->in[0] : &r->out[o], t, d, r->add_out);
    }
    add_scratch(p, r, &a, false);
    add_copy(p, r, &a, false);
    return a;
}

// A dead row may have become zeros where the device says so.
static bool row_same(const char *was, const char *is, size_t bytes, bool dead)
{
    bool zero = dead && hs_tested.clears_dead;
    for (size_t i = 0; i < bytes && zero; i++)
        zero = !is[i];
    return zero || !memcmp(was, is, bytes);
}

static bool unchanged(const probe *p, const op_run *r, int i)
{
    const hs_tensor *t = p->n->in[i];
    const hs_dtype d = stored_type(p, i);
    const size_t bytes = row_bytes(t, d);
    guarded was = loaded(p, t, d, p->x[i], p->ids[i], r->tail);
    bool same = true;
    for (int64_t row = 0; row < t->dim[0] && same; row++)
        same = row_same(was.p + (size_t)row * bytes, r->in[i].p + (size_t)row * bytes, bytes, row >= live_rows(p, t));
    guarded_free(&was);
    return same;
}

static void judge_bytes(const probe *p, op_run *r, bool input_0_may_change)
{
    const guarded *all[] = { r->in, r->out, r->din, r->dout };
    const hs_operand *names[] = { p->op->in, p->op->out, p->op->in, p->op->out };
    static const char *const kind[] = { "", "", "gradient of ", "gradient of " };
    r->ok = true;
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < (k % 2 ? HS_MAX_OUT : HS_MAX_IN); i++)
            if (!guarded_intact(&all[k][i]))
                op_fail(p, r, "writes outside %s%s", kind[k], names[k][i].name), r->ok = false;
    if (!guarded_intact(&r->shared) || !guarded_intact(&r->members))
        op_fail(p, r, "writes outside its %s scratch", guarded_intact(&r->shared) ? "members'" : "shared"), r->ok = false;
    if (!guarded_intact(&r->copy))
        op_fail(p, r, "writes outside the copy it asked for"), r->ok = false;
    for (int i = input_0_may_change; i < hs_op_n_in(p->op); i++)
        if (r->in[i].p && !unchanged(p, r, i))
            op_fail(p, r, "changes its input %s", p->op->in[i].name), r->ok = false;
}

// What an output that shares the bytes of input 0 left there counts as that output.
static void share_input_0(const probe *p, op_run *r)
{
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        if (!absent(p, r, o) && takes_input_0(p, r, o)) {
            r->out[o] = guarded_new(r->in[0].bytes, 0, READ);
            memcpy(r->out[o].p, r->in[0].p, r->in[0].bytes);
        }
}

static bool writes_input_0(const probe *p, const op_run *r)
{
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        if (!absent(p, r, o) && takes_input_0(p, r, o))
            return true;
    return false;
}

void run_forward(const probe *p, op_run *r)
{
    const hs_args a = prepare_forward(p, r);
    call c = { .fn = r->k->fwd, .args = { &a, &a, &a, &a } };
    watched_call(p, r, r->k->fwd_part, &c, false);
    judge_bytes(p, r, writes_input_0(p, r));
    share_input_0(p, r);
}

static hs_args prepare_backward(const probe *p, op_run *r, const op_run *forward)
{
    hs_args a = common_args(p);
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        const hs_tensor *t = p->n->in[i];
        const hs_dtype d = stored_type(p, i);
        if (!t)
            continue;
        if (p->op->in[i].flags & HS_BWD_READS) {
            r->in[i] = loaded(p, t, d, p->x[i], p->ids[i], r->tail);
            a.in[i] = ref_to(&r->in[i], t, d, false);
        }
        if (!has_gradient(p, i) || !(r->wanted >> i & 1))
            continue;
        const bool add = r->add >> i & 1;
        if (i && i == r->shared_din[1]) {
            a.din[i] = ref_to(&r->din[r->shared_din[0]], t, p->types.din[i], true);
            continue;
        }
        r->din[i] = guarded_new((size_t)t->dim[0] * row_bytes(t, p->types.din[i]), r->tail == DEAD ? DEAD : 0, WRITTEN);
        if (add)
            load_initial(&r->din[i], p->types.din[i], i, live_count(p, t));
        a.din[i] = ref_to(&r->din[i], t, p->types.din[i], add);
    }
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        const hs_tensor *t = p->n->out[o];
        if (p->op->flags & HS_OP_LOSS) { // made here
            r->out[o] = guarded_new((size_t)t->dim[0] * row_bytes(t, p->types.out[o]), r->tail == DEAD ? DEAD : 0, WRITTEN);
            a.out[o] = ref_to(&r->out[o], t, p->types.out[o], false);
        } else if (p->op->out[o].flags & (HS_BWD_READS | HS_SAVED)) {
            r->out[o] = guarded_new(forward->out[o].bytes, 0, READ);
            memcpy(r->out[o].p, forward->out[o].p, r->out[o].bytes);
            a.out[o] = ref_to(&r->out[o], t, p->types.out[o], false);
        }
        if (!p->dy[o] || r->dead >> o & 1)
            continue;
        r->dout[o] = loaded(p, t, p->types.dout[o], p->dy[o], NULL, r->tail);
        a.dout[o] = ref_to(&r->dout[o], t, p->types.dout[o], false);
    }
    add_scratch(p, r, &a, true);
    add_copy(p, r, &a, true);
    return a;
}

void run_backward(const probe *p, op_run *r, const op_run *forward)
{
    const hs_args a = prepare_backward(p, r, forward);
    const bool split = p->op->flags & HS_OP_SPLIT_BWD;
    for (int half = split ? 0 : 2; half < (split ? 2 : 3); half++) {
        hs_args part = a;
        bool any = false;
        for (int i = 0; i < HS_MAX_IN; i++) {
            if (half < 2 && (i == 0) != (half == 1))
                part.din[i] = (hs_ref){ 0 };
            any |= part.din[i].p != NULL;
        }
        call c = { .fn = r->k->bwd, .args = { &part, &part, &part, &part } };
        if (any)
            watched_call(p, r, r->k->bwd_part, &c, true);
    }
    judge_bytes(p, r, false);
}

void run_free(op_run *r)
{
    for (int i = 0; i < HS_MAX_IN; i++)
        guarded_free(&r->in[i]), guarded_free(&r->din[i]);
    for (int o = 0; o < HS_MAX_OUT; o++)
        guarded_free(&r->out[o]), guarded_free(&r->dout[o]);
    guarded_free(&r->shared);
    guarded_free(&r->members);
    guarded_free(&r->copy);
}

// ---- HS_PART_ROWS: one set of operands per member

enum { PRIVATE_LANES = 3 };

// Operand `b` of member `id`: only its own rows stay.
static void keep_part(const probe *p, guarded *b, const hs_tensor *t, hs_dtype d, int id)
{
    int64_t r0, r1;
    if (!b->p)
        return;
    hs_part(&(hs_lane){ .id = id, .n = PRIVATE_LANES }, live_rows(p, t), &r0, &r1);
    kill_rows(b, t, d, 0, r0);
    kill_rows(b, t, d, r1, t->dim[0]);
}

// Member `id` must have written what `expect` has in its own rows, and nothing elsewhere.
static void judge_part(const probe *p, const op_run *expect, const guarded *mine, const guarded *want, const hs_tensor *t, hs_dtype d,
                       int id, const char *name)
{
    int64_t r0, r1;
    hs_part(&(hs_lane){ .id = id, .n = PRIVATE_LANES }, live_rows(p, t), &r0, &r1);
    for (int64_t r = 0; r < live_rows(p, t); r++) {
        const char *row = mine->p + (size_t)r * row_bytes(t, d);
        bool same = !memcmp(row, want->p + (size_t)r * row_bytes(t, d), row_bytes(t, d)), blank = true;
        for (size_t i = 0; i < row_bytes(t, d); i++)
            blank &= (unsigned char)row[i] == DEAD;
        if (r >= r0 && r < r1 ? same : blank)
            continue;
        op_fail(p, expect, "says HS_PART_ROWS, but member %d of %d, whose rows are [%lld,%lld), %s row %lld of %s", id, PRIVATE_LANES,
                (long long)r0, (long long)r1, r >= r0 && r < r1 ? "needs other members' rows for" : "writes", (long long)r, name);
        return;
    }
}

static void private_forward(const probe *p, const op_run *expect)
{
    op_run r[PRIVATE_LANES];
    hs_args a[PRIVATE_LANES];
    call c = { .fn = expect->k->fwd };
    for (int l = 0; l < PRIVATE_LANES; l++) {
        r[l] = (op_run){ .k = expect->k, .table = expect->table, .lanes = PRIVATE_LANES, .tail = DEAD };
        c.args[l] = &a[l];
        a[l] = prepare_forward(p, &r[l]);
        for (int i = 0; i < hs_op_n_in(p->op); i++)
            if (!(p->op->in[i].flags & HS_WHOLE))
                keep_part(p, &r[l].in[i], p->n->in[i], stored_type(p, i), l);
        a[l].scratch = a[0].scratch, a[l].thread_scratch = a[0].thread_scratch;
    }
    call_kernel(expect->k->fwd_part, PRIVATE_LANES, &c);
    for (int l = 0; l < PRIVATE_LANES; l++) {
        share_input_0(p, &r[l]);
        for (int o = 0; o < hs_op_n_out(p->op); o++)
            judge_part(p, expect, &r[l].out[o], &expect->out[o], p->n->out[o], p->types.out[o], l, p->op->out[o].name);
        run_free(&r[l]);
    }
}

static void private_backward(const probe *p, const op_run *expect, const op_run *forward)
{
    op_run r[PRIVATE_LANES];
    hs_args a[PRIVATE_LANES];
    call c = { .fn = expect->k->bwd };
    for (int l = 0; l < PRIVATE_LANES; l++) {
        r[l] = (op_run){ .k = expect->k, .table = expect->table, .lanes = PRIVATE_LANES, .tail = DEAD, .wanted = ALL_INPUTS };
        c.args[l] = &a[l];
        a[l] = prepare_backward(p, &r[l], forward);
        for (int i = 0; i < hs_op_n_in(p->op); i++) {
            if (!(p->op->in[i].flags & HS_WHOLE))
                keep_part(p, &r[l].in[i], p->n->in[i], stored_type(p, i), l);
            else if (a[l].din[i].p)
                a[l].din[i].p = a[0].din[i].p;
        }
        for (int o = 0; o < hs_op_n_out(p->op); o++) {
            keep_part(p, &r[l].out[o], p->n->out[o], p->types.out[o], l);
            keep_part(p, &r[l].dout[o], p->n->out[o], p->types.dout[o], l);
        }
        a[l].scratch = a[0].scratch, a[l].thread_scratch = a[0].thread_scratch;
    }
    call_kernel(expect->k->bwd_part, PRIVATE_LANES, &c);
    for (int l = 0; l < PRIVATE_LANES; l++) {
        for (int i = 0; i < hs_op_n_in(p->op); i++)
            if (r[l].din[i].p && !(p->op->in[i].flags & HS_WHOLE))
                judge_part(p, expect, &r[l].din[i], &expect->din[i], p->n->in[i], p->types.din[i], l, p->op->in[i].name);
        run_free(&r[l]);
    }
}

// A kernel that meets first and last may divide as it likes in between: when a member leaves, its rows are complete, and
// what it then does to its rows of the inputs harms nobody.
typedef struct leaving {
    const probe *p;
    op_run *r;
    const op_run *expect;
    bool incomplete[PRIVATE_LANES];
} leaving;

static void leave(const hs_lane *lane, void *arg)
{
    leaving *l = arg;
    const probe *p = l->p;
    int64_t r0, r1;
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        const size_t row = row_bytes(p->n->out[o], p->types.out[o]);
        hs_part(lane, live_rows(p, p->n->out[o]), &r0, &r1);
        if (l->r->out[o].p && memcmp(l->r->out[o].p + (size_t)r0 * row, l->expect->out[o].p + (size_t)r0 * row, (size_t)(r1 - r0) * row))
            l->incomplete[lane->id] = true;
    }
    for (int i = 0; i < hs_op_n_in(p->op); i++)
        if (l->r->in[i].p && !(p->op->in[i].flags & HS_WHOLE)) {
            hs_part(lane, live_rows(p, p->n->in[i]), &r0, &r1);
            kill_rows(&l->r->in[i], p->n->in[i], stored_type(p, i), r0, r1);
        }
}

static void early_leavers(const probe *p, const op_run *expect)
{
    op_run r = { .k = expect->k, .table = expect->table, .lanes = PRIVATE_LANES, .tail = DEAD };
    const hs_args a = prepare_forward(p, &r);
    leaving l = { .p = p, .r = &r, .expect = expect };
    call c = { .fn = r.k->fwd, .args = { &a, &a, &a }, .left = leave, .arg = &l };
    call_kernel(r.k->fwd_part, PRIVATE_LANES, &c);
    for (int id = 0; id < PRIVATE_LANES; id++)
        if (l.incomplete[id])
            op_fail(p, &r, "says HS_PART_ROWS, but when member %d returns its rows are not complete", id);
    same_outputs(p, expect, &r, "when members that return go on to change their rows of the inputs (it says HS_PART_ROWS)");
    run_free(&r);
}

void check_part_rows(const probe *p, const op_run *expect, const op_run *forward)
{
    if (forward)
        private_backward(p, expect, forward);
    else if (expect->k->syncs_first)
        early_leavers(p, expect);
    else
        private_forward(p, expect);
}

// ---- syncs_first

typedef struct late {
    const probe *p;
    op_run *r;
    bool written; // an output before everybody was there
} late;

static void arrive(void *arg)
{
    late *l = arg;
    const probe *p = l->p;
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        for (size_t i = 0; l->r->out[o].p && i < l->r->out[o].bytes; i++)
            l->written |= (unsigned char)l->r->out[o].p[i] != DEAD;
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        if (!l->r->in[i].p || p->op->in[i].flags & HS_WHOLE)
            continue;
        guarded now = loaded(p, p->n->in[i], stored_type(p, i), p->x[i], p->ids[i], DEAD);
        memcpy(l->r->in[i].p, now.p, now.bytes);
        guarded_free(&now);
    }
}

void check_late_operands(const probe *p, const op_run *expect)
{
    op_run r = { .k = expect->k, .table = expect->table, .lanes = 2, .tail = DEAD };
    const hs_args a = prepare_forward(p, &r);
    for (int i = 0; i < hs_op_n_in(p->op); i++)
        if (r.in[i].p && !(p->op->in[i].flags & HS_WHOLE))
            memset(r.in[i].p, DEAD, r.in[i].bytes);
    late l = { .p = p, .r = &r };
    call c = { .fn = r.k->fwd, .args = { &a, &a }, .late = arrive, .arg = &l };
    call_kernel(r.k->fwd_part, 2, &c);
    if (l.written)
        op_fail(p, &r, "says syncs_first, but writes before its first hs_sync");
    share_input_0(p, &r);
    same_outputs(p, expect, &r, "with operands that are ready only at its first hs_sync (it says syncs_first)");
    run_free(&r);
}
