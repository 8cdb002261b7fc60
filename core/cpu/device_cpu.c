// device_cpu: the CPU as a device - its memory, and segments walked by a team of threads.
#include "core/cpu/device_cpu.h"
#include "core/base/clock.h"
#include "core/cpu/fenced.h"
#include "core/cpu/rows.h"
#include <stdlib.h>
#include <string.h>

static hs_status cpu_alloc(hs_device *d, size_t bytes, void **out)
{
    (void)d;
    *out = hs_cpu_alloc(bytes);
    return *out ? HS_OK : HS_FAIL(MEMORY, "no memory for %zu bytes", bytes);
}

static void cpu_release(hs_device *d, void *p, size_t bytes)
{
    (void)d;
    hs_cpu_release(p, bytes);
}

static void cpu_trim(hs_device *d, void *p, size_t bytes)
{
    (void)d;
    hs_cpu_trim(p, bytes);
}

static void cpu_copy(hs_device *d, void *dst, const void *src, size_t bytes)
{
    (void)d;
    memcpy(dst, src, bytes);
}

static void cpu_fill(hs_device *d, void *dst, int byte, size_t bytes)
{
    (void)d;
    memset(dst, byte, bytes);
}

static hs_status cpu_adopt(hs_device *d, const void *host, size_t bytes, void **out)
{
    (void)d, (void)bytes;
    *out = (void *)(uintptr_t)host;
    return HS_OK;
}

static size_t cpu_free_bytes(hs_device *d)
{
    (void)d;
    return hs_cpu_free_bytes();
}

static hs_status cpu_wait(hs_device *d, hs_lane *lane)
{
    (void)d, (void)lane;
    return HS_OK;
}

// Whose bytes a collective moves, for messages: the parameter at the head of a bucket, a scope, a pass of the optimizer.
static void tell_about(const hs_thunk *t)
{
    hs_comm *c = t->args.comm;
    const hs_tensor *first = t->args.out[0].t;
    if (c && c->size > 1)
        c->about = first && first->kind == HS_PARAM ? first->name : t->node ? t->node->scope : t->name;
}

static void run_solo(const hs_thunk *t)
{
    tell_about(t);
    t->fn(&t->args, &(hs_lane){ .id = 0, .n = 1 });
}

// What one member does with one thunk.
static void run(const hs_thunk *t, hs_lane *lane)
{
    if (t->part != HS_PART_SOLO)
        t->fn(&t->args, lane);
    else if (lane->id == 0)
        run_solo(t);
}

typedef struct piece {
    const hs_thunk *thunk;
    int n;
    hs_trace *trace; // of walk_traced
    int64_t opened;  // when the region was
} piece;

static void walk(hs_lane *lane, void *arg)
{
    const piece *p = arg;
    for (int i = 0; i < p->n; i++) {
        if (p->thunk[i].sync && i)
            hs_sync(lane);
        run(&p->thunk[i], lane);
    }
}

// walk with a clock. The last barrier is the end of the region, where everybody waits anyway.
static void walk_traced(hs_lane *lane, void *arg)
{
    const piece *p = arg;
    hs_lane mine = *lane;
    hs_trace_record r = { .end = p->opened };
    for (int i = 0; i < p->n; i++) {
        const hs_thunk *t = &p->thunk[i];
        r = (hs_trace_record){ .thunk = t, .arrived = r.end, .start = r.end, .live = hs_trace_live(p->trace, t) };
        mine.waited = NULL;
        if (t->sync && i)
            hs_sync(&mine);
        if (t->sync || !i)
            r.start = hs_now_ns();
        mine.waited = &r.waited;
        run(t, &mine);
        r.end = hs_now_ns();
        hs_trace_add(p->trace, lane->id, &r);
    }
    mine.waited = NULL;
    hs_sync(&mine);
    const int64_t end = hs_now_ns();
    hs_trace_add(p->trace, lane->id, &(hs_trace_record){ .arrived = r.end, .start = end, .end = end, .live = 1 });
}

// A thunk without a region: to the other members it is one wait.
static void run_alone_traced(hs_trace *trace, const hs_thunk *t)
{
    hs_trace_record r = { .thunk = t, .live = hs_trace_live(trace, t) };
    r.arrived = r.start = hs_now_ns();
    run_solo(t);
    r.end = hs_now_ns();
    hs_trace_add(trace, 0, &r);
    r.start = r.end;
    for (int i = 1; i < hs_trace_members(trace); i++)
        hs_trace_add(trace, i, &r);
}

static void submit_piece_traced(hs_device *d, const hs_thunk *t, int n)
{
    if (n == 1 && (t->part == HS_PART_SOLO || t->part == HS_PART_HOST))
        run_alone_traced(d->trace, t);
    else
        hs_team_run(d->impl, walk_traced, &(piece){ t, n, d->trace, hs_now_ns() });
}

static void submit_piece(hs_device *d, const hs_thunk *t, int n)
{
    if (d->trace)
        submit_piece_traced(d, t, n);
    else if (n == 1 && (t->part == HS_PART_SOLO || t->part == HS_PART_HOST))
        run_solo(t); // no region
    else
        hs_team_run_some(d->impl, walk, &(piece){ .thunk = t, .n = n });
}

static hs_status cpu_submit(hs_device *d, hs_lane *lane, const hs_segment *s, hs_submit_mode mode)
{
    (void)lane; // there is one
    if (mode == HS_SUBMIT_STEP) {
        for (int i = 0; i < s->n; i++) {
            const int64_t start = hs_now_ns();
            submit_piece(d, &s->thunk[i], 1);
            if (d->hook)
                d->hook(&s->thunk[i], 1e-9 * (double)(hs_now_ns() - start), d->hook_user);
        }
        return HS_OK;
    }
    const int size = d->bulk_size > 0 ? d->bulk_size : s->n;
    for (int i = 0; i < s->n;) {
        int n = 1; // a HOST thunk runs alone, with the region closed
        while (s->thunk[i].part != HS_PART_HOST && n < size && i + n < s->n && s->thunk[i + n].part != HS_PART_HOST)
            n++;
        submit_piece(d, &s->thunk[i], n);
        i += n;
    }
    return HS_OK;
}

// ---- the kernels of core

// Rows in order, in double: the same sum at any number of threads. A plan's first micro-step of a step starts from zero.
static void loss_sum(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    const hs_loss_sum *to = a->attr;
    double *out = &a->state->loss[to->set][to->loss];
    const float *loss = (const float *)a->in[0].p;
    const int64_t n = hs_ref_rows(a, &a->in[0]);
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += loss[k];
    *out = (a->step->micro || to->goes_on ? *out : 0) + sum * a->step->inv_count[to->loss];
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
    const float *x = (const float *)a->in[0].p;
    float *y = (float *)a->out[0].p;
    int64_t i, end;
    hs_part_unit(lane, a->out[0].rows, 1024, &i, &end);
    if (a->out[0].add)
        for (; i < end; i++)
            y[i] += x[i];
    else if (i < end)
        memcpy(y + i, x + i, (size_t)(end - i) * sizeof *y);
}

static void record(const hs_args *a, hs_lane *lane)
{
    (void)lane;
    hs_step_log *log = (hs_step_log *)a->out[0].p;
    hs_step_record_of(&log->at[log->n++ % HS_STEP_RECORDS], a->step, a->state);
}

static const hs_core_kernels core_kernels = {
    .loss_sum = loss_sum, .loss_total = loss_total, .begin = hs_begin_move, .finish = hs_finish_moves, .keep = keep, .record = record
};

static void cpu_close(hs_device *d) { hs_team_free(d->impl); }

hs_status hs_backend_cpu(hs_device *d, const hs_device_opts *o)
{
    const int cores = hs_cpu_cores(), threads = o->threads > 0 ? o->threads : cores;
    if (threads > 1024)
        return HS_FAIL(USAGE, "exec.threads is %d, allowed 0 to 1024 (0: the %d cores of this process)", threads, cores);
    if (!hs_isa_supported(o->isa))
        return HS_FAIL(UNSUPPORTED, "exec.isa: this CPU has no %s", hs_isa_name(o->isa));
    hs_team *team;
    HS_TRY(hs_team_new(&team, threads));
    d->name = "cpu";
    d->is_cpu = true;
    d->core = &core_kernels;
    d->team = threads;
    d->tracks = threads;
    d->isa = o->isa;
    d->alloc = cpu_alloc;
    d->release = cpu_release;
    d->trim = cpu_trim;
    d->adopt = cpu_adopt;
    d->free_bytes = cpu_free_bytes;
    d->copy = cpu_copy;
    d->fill = cpu_fill;
    d->submit = cpu_submit;
    d->wait = cpu_wait;
    d->close = cpu_close;
    d->impl = team;
    return HS_OK;
}

// ---- the same with memory that only kernels may touch

static hs_status fenced_alloc(hs_device *d, size_t bytes, void **out)
{
    (void)d;
    return hs_fenced_alloc(bytes, out);
}

static void fenced_release(hs_device *d, void *p, size_t bytes)
{
    (void)d, (void)bytes;
    hs_fenced_release(p);
}

static hs_status fenced_alloc_host(hs_device *d, size_t bytes, void **out)
{
    (void)d;
    return hs_fenced_alloc_host(bytes, out);
}

static void fenced_free_host(hs_device *d, void *p)
{
    (void)d;
    hs_fenced_release(p);
}

static hs_status fenced_adopt(hs_device *d, const void *host, size_t bytes, void **out)
{
    (void)d;
    return hs_fenced_adopt(host, bytes, out);
}

static void *fenced_bind(const hs_device *d, const void *p)
{
    (void)d;
    return hs_fenced_twin(p);
}

// Where this device's own copy may go: behind the fence, or to the host's memory.
static void *reach(const void *p)
{
    void *twin = hs_fenced_twin(p);
    return twin ? twin : (void *)(uintptr_t)p;
}

static void fenced_copy(hs_device *d, void *dst, const void *src, size_t bytes)
{
    (void)d;
    memcpy(reach(dst), reach(src), bytes);
}

static void fenced_fill(hs_device *d, void *dst, int byte, size_t bytes)
{
    (void)d;
    memset(reach(dst), byte, bytes);
}

hs_status hs_backend_cpu_fenced(hs_device *d, const hs_device_opts *o)
{
    HS_TRY(hs_backend_cpu(d, o));
    d->name = "cpu-fenced";
    d->alloc = fenced_alloc;
    d->release = fenced_release;
    d->trim = NULL;
    d->bind = fenced_bind;
    d->adopt = fenced_adopt;
    d->disown = fenced_release;
    d->alloc_host = fenced_alloc_host;
    d->free_host = fenced_free_host;
    d->copy = fenced_copy;
    d->fill = fenced_fill;
    return HS_OK;
}
