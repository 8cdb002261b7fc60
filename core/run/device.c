// device: the CPU backend - memory, the kernel tables in order, and segments walked by a team of threads.
#include "core/run/device.h"
#include "core/base/log.h"
#include "core/cpu/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static hs_status cpu_alloc(size_t bytes, void **out)
{
    *out = hs_cpu_alloc(bytes);
    if (!*out)
        return HS_FAIL(MEMORY, "no memory for %zu bytes", bytes);
    return HS_OK;
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

static hs_status cpu_wait(hs_device *d)
{
    (void)d;
    return HS_OK;
}

// What one member does with one thunk.
static void run(const hs_thunk *t, hs_lane *lane)
{
    if (t->part != HS_PART_SOLO)
        t->fn(&t->args, lane);
    else if (lane->id == 0)
        t->fn(&t->args, &(hs_lane){ .id = 0, .n = 1 });
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

// Live rows over capacity, by the first operand that has any: all of them but weights are cut alike.
static double live_part(const hs_args *a)
{
    const hs_ref *const groups[] = { a->out, a->dout, a->in, a->din };
    const int n[] = { HS_MAX_OUT, HS_MAX_OUT, HS_MAX_IN, HS_MAX_IN };
    for (int g = 0; g < HS_COUNT(groups); g++)
        for (int i = 0; i < n[g]; i++) {
            const hs_ref *r = &groups[g][i];
            if (r->p && r->ext != HS_EXT_FIXED && r->rows > 0)
                return (double)hs_ref_rows(a, r) / (double)r->rows;
        }
    return 1;
}

// walk with a clock. The last barrier is the end of the region, where everybody waits anyway.
static void walk_traced(hs_lane *lane, void *arg)
{
    const piece *p = arg;
    hs_lane mine = *lane;
    hs_trace_record r = { .end = p->opened };
    for (int i = 0; i < p->n; i++) {
        const hs_thunk *t = &p->thunk[i];
        r = (hs_trace_record){ .thunk = t, .arrived = r.end, .start = r.end, .live = live_part(&t->args) };
        mine.waited = NULL;
        if (t->sync && i)
            hs_sync(&mine);
        if (t->sync || !i)
            r.start = hs_trace_now();
        mine.waited = &r.waited;
        run(t, &mine);
        r.end = hs_trace_now();
        hs_trace_add(p->trace, lane->id, &r);
    }
    mine.waited = NULL;
    hs_sync(&mine);
    const int64_t end = hs_trace_now();
    hs_trace_add(p->trace, lane->id, &(hs_trace_record){ .arrived = r.end, .start = end, .end = end, .live = 1 });
}

// A thunk without a region: to the other members it is one wait.
static void run_alone_traced(hs_trace *trace, const hs_thunk *t)
{
    hs_trace_record r = { .thunk = t, .live = live_part(&t->args) };
    r.arrived = r.start = hs_trace_now();
    t->fn(&t->args, &(hs_lane){ .id = 0, .n = 1 });
    r.end = hs_trace_now();
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
        hs_team_run(d->impl, walk_traced, &(piece){ t, n, d->trace, hs_trace_now() });
}

static void submit_piece(hs_device *d, const hs_thunk *t, int n)
{
    if (d->trace)
        submit_piece_traced(d, t, n);
    else if (n == 1 && (t->part == HS_PART_SOLO || t->part == HS_PART_HOST))
        t->fn(&t->args, &(hs_lane){ .id = 0, .n = 1 }); // no region
    else
        hs_team_run_some(d->impl, walk, &(piece){ .thunk = t, .n = n });
}

static hs_status cpu_submit(hs_device *d, const hs_segment *s, hs_submit_mode mode)
{
    if (mode == HS_SUBMIT_STEP) {
        for (int i = 0; i < s->n; i++) {
            const int64_t start = hs_trace_now();
            submit_piece(d, &s->thunk[i], 1);
            if (d->hook)
                d->hook(&s->thunk[i], 1e-9 * (double)(hs_trace_now() - start), d->hook_user);
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

static void cpu_close(hs_device *d)
{
    hs_team_free(d->impl);
    free(d);
}

static hs_status choose_isa(const char *name, hs_isa *out)
{
    if (!name || !strcmp(name, "auto")) {
        *out = HS_ISA_PORTABLE;
        for (int i = 0; i < HS_N_ISA; i++)
            if (hs_isa_supported((hs_isa)i))
                *out = (hs_isa)i;
        return HS_OK;
    }
    if (!hs_isa_parse(name, out))
        return HS_FAIL(USAGE, "exec.isa is \"%s\", allowed auto, portable, avx2, avx512, avx512bf16", name);
    if (!hs_isa_supported(*out))
        return HS_FAIL(UNSUPPORTED, "exec.isa: this CPU has no %s", name);
    return HS_OK;
}

hs_status hs_device_open(hs_device **out, const hs_device_opts *o)
{
    if (o->name && strcmp(o->name, "cpu"))
        return HS_FAIL(UNSUPPORTED, "device \"%s\" is not in this library; it has cpu", o->name);
    const int cores = hs_cpu_cores(), threads = o->threads > 0 ? o->threads : cores;
    if (threads > 1024)
        return HS_FAIL(USAGE, "exec.threads is %d, allowed 0 to 1024 (0: the %d cores of this process)", threads, cores);
    hs_isa isa;
    HS_TRY(choose_isa(o->isa, &isa));
    hs_device *d = calloc(1, sizeof *d);
    if (!d)
        return HS_FAIL(MEMORY, "no memory for a device");
    *d = (hs_device){ .name = "cpu",
                      .ops = o->ops,
                      .n_ops = o->n_ops,
                      .tables = o->tables,
                      .table_names = o->table_names,
                      .team = threads,
                      .isa = isa,
                      .alloc = cpu_alloc,
                      .release = free,
                      .copy = cpu_copy,
                      .fill = cpu_fill,
                      .submit = cpu_submit,
                      .wait = cpu_wait,
                      .close = cpu_close,
                      .bulk_size = o->bulk_size };
    hs_team *team;
    const hs_status st = hs_team_new(&team, threads);
    if (st != HS_OK) {
        free(d);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    d->impl = team;
    *out = d;
    return HS_OK;
}

void hs_device_close(hs_device *d)
{
    if (d)
        d->close(d);
}

int hs_device_op_index(const hs_device *d, const char *name)
{
    for (int i = 0; i < d->n_ops; i++)
        if (!strcmp(d->ops[i]->name, name))
            return i;
    return -1;
}

const hs_op *hs_device_op(const hs_device *d, const char *name)
{
    const int i = hs_device_op_index(d, name);
    return i < 0 ? NULL : d->ops[i];
}

const hs_kernels *hs_device_kernels(const hs_device *d, const hs_node *n)
{
    const int id = hs_device_op_index(d, n->op->name);
    for (int i = 0; id >= 0 && d->tables[i]; i++) {
        const hs_kernels *k = d->tables[i][id];
        const char *why = k && k->decline ? k->decline(n) : NULL;
        if (k && !why)
            return k;
        if (why)
            hs_debug("%s: %s declined by %s: %s", n->scope, n->op->name, d->table_names ? d->table_names[i] : "a table", why);
    }
    return NULL;
}

hs_status hs_submit_mode_parse(const char *s, const hs_device *d, hs_submit_mode *out)
{
    static const char *const names[] = { "step", "bulk", "graph" };
    for (int i = 0; i < HS_COUNT(names); i++)
        if (!strcmp(s, names[i])) {
            if (i == HS_SUBMIT_GRAPH && !strcmp(d->name, "cpu"))
                return HS_FAIL(UNSUPPORTED, "exec.mode is graph: a captured graph needs CUDA; on the CPU use bulk or step");
            *out = (hs_submit_mode)i;
            return HS_OK;
        }
    return HS_FAIL(USAGE, "exec.mode is \"%s\", allowed step, bulk, graph", s);
}
