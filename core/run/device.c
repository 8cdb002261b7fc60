// device: what does not depend on the backend - opening one, kernels by node, submission modes by name.
#include "core/run/device.h"
#include "core/base/log.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// ---- what a table leaves out

static hs_status host_alloc(hs_device *d, size_t bytes, void **out)
{
    (void)d;
    const size_t whole = (bytes / 64 + 1) * 64;
    *out = aligned_alloc(64, whole);
    if (!*out)
        return HS_FAIL(MEMORY, "no memory for %zu bytes", bytes);
    memset(*out, 0, whole);
    return HS_OK;
}

static void host_free(hs_device *d, void *p)
{
    (void)d;
    free(p);
}

static void disown_nothing(hs_device *d, void *p, size_t bytes) { (void)d, (void)p, (void)bytes; }

static size_t unknown_bytes(hs_device *d)
{
    (void)d;
    return SIZE_MAX;
}

static void copy_now(hs_device *d, hs_lane *lane, void *dst, const void *src, size_t bytes)
{
    (void)lane;
    d->copy(d, dst, src, bytes);
}

static hs_status first_lane(hs_device *d, hs_lane **out)
{
    (void)d;
    *out = NULL;
    return HS_OK;
}

static hs_status no_event(hs_device *d, hs_event **out)
{
    (void)d;
    *out = NULL;
    return HS_OK;
}

static void keep_lane(hs_device *d, hs_lane *lane) { (void)d, (void)lane; }
static void keep_event(hs_device *d, hs_event *e) { (void)d, (void)e; }
static void record_nothing(hs_device *d, hs_event *e, hs_lane *lane) { (void)d, (void)e, (void)lane; }
static void await_nothing(hs_device *d, hs_lane *lane, hs_event *e) { (void)d, (void)lane, (void)e; }
static hs_status arrive_last(hs_device *d, hs_event *e)
{
    (void)e;
    return d->wait(d, NULL);
}
static hs_status unknown_peak(hs_device *d, hs_dtype low, double *flops_per_second)
{
    (void)d, (void)low;
    *flops_per_second = 0;
    return HS_OK;
}
static hs_status presses_none(hs_device *d) { return HS_FAIL(UNSUPPORTED, "device %s presses none", d->name); }
static void close_nothing(hs_device *d) { (void)d; }
static hs_status collected(hs_device *d)
{
    (void)d;
    return HS_OK;
}
static void forget_nothing(hs_device *d, const hs_thunk *first) { (void)d, (void)first; }

static void fill_defaults(hs_device *d)
{
    d->team = d->team ? d->team : 1;
    d->alloc_host = d->alloc_host ? d->alloc_host : host_alloc;
    d->free_host = d->free_host ? d->free_host : host_free;
    d->disown = d->disown ? d->disown : disown_nothing;
    d->free_bytes = d->free_bytes ? d->free_bytes : unknown_bytes;
    d->copy_async = d->copy_async ? d->copy_async : copy_now;
    d->close = d->close ? d->close : close_nothing;
    d->peak = d->peak ? d->peak : unknown_peak;
    d->presses = d->presses ? d->presses : presses_none;
    d->collect = d->collect ? d->collect : collected;
    d->forget = d->forget ? d->forget : forget_nothing;
    if (!d->lane_open) {
        d->lane_open = first_lane, d->lane_close = keep_lane;
        d->event_open = no_event, d->event_close = keep_event;
        d->record = record_nothing, d->await = await_nothing, d->arrive = arrive_last;
    }
}

// Members of which a table has all or none: the first that is missing, or NULL.
static const char *missing_of(const bool *has, const char *const *names, int n)
{
    const char *missing = NULL;
    bool any = false;
    for (int i = n - 1; i >= 0; i--) {
        any |= has[i];
        missing = has[i] ? missing : names[i];
    }
    return any ? missing : NULL;
}

static const char *missing_member(const hs_device *d)
{
#define ROW(member)                                                                                                                        \
    {                                                                                                                                      \
#member, d->member != NULL                                                                                                         \
    }
    const struct {
        const char *name;
        bool there;
    } required[] = { ROW(ops), ROW(tables), ROW(core), ROW(alloc), ROW(release), ROW(copy), ROW(fill), ROW(submit), ROW(wait) };
#undef ROW
    for (int i = 0; i < HS_COUNT(required); i++)
        if (!required[i].there)
            return required[i].name;
    static const char *const kernels[] = { "core.loss_sum", "core.loss_total", "core.begin", "core.finish", "core.keep", "core.record" };
    const bool has_kernel[] = { d->core->loss_sum, d->core->loss_total, d->core->begin, d->core->finish, d->core->keep, d->core->record };
    for (int i = 0; i < HS_COUNT(kernels); i++)
        if (!has_kernel[i])
            return kernels[i];
    static const char *const lanes[] = { "lane_open", "lane_close", "event_open", "event_close", "record", "await", "arrive" };
    const bool has_lane[] = { d->lane_open, d->lane_close, d->event_open, d->event_close, d->record, d->await, d->arrive };
    static const char *const host[] = { "alloc_host", "free_host" };
    const bool has_host[] = { d->alloc_host, d->free_host };
    const char *lane = missing_of(has_lane, lanes, HS_COUNT(lanes));
    return lane ? lane : missing_of(has_host, host, HS_COUNT(host));
}

static hs_status check(hs_device *d)
{
    if (!d->name)
        return HS_FAIL(INTERNAL, "a device without a name");
    const char *missing = missing_member(d);
    if (missing)
        return HS_FAIL(INTERNAL, "device %s: its table has no %s", d->name, missing);
    fill_defaults(d);
    return HS_OK;
}

// ---- what every backend's core kernels have in common

void hs_begin_move(const hs_args *a, hs_lane *lane)
{
    const hs_move *m = a->attr;
    const hs_ref *y = &a->out[0];
    hs_comm_start(a->comm, lane, &(hs_collective){ m->kind, y->p, y->rows, m->parts, y->dtype, m->op });
}

void hs_finish_moves(const hs_args *a, hs_lane *lane) { hs_comm_finish_but(a->comm, lane, a->attr ? ((const hs_left *)a->attr)->left : 0); }

// ---- opening

hs_status hs_device_open(hs_device **out, hs_backend *backend, const hs_device_opts *o)
{
    *out = NULL;
    hs_device *d = malloc(sizeof *d);
    if (!d)
        return HS_FAIL(MEMORY, "no memory for a device");
    *d = (hs_device){ .ops = o->ops,
                      .n_ops = o->n_ops,
                      .tables = o->tables,
                      .table_names = o->table_names,
                      .bulk_size = o->bulk_size,
                      .comm_open = o->comm_open };
    hs_status st;
    HS_TRY_GOTO(st, backend(d, o), failed);
    HS_TRY_GOTO(st, check(d), closed);
    *out = d;
    return HS_OK;
closed:
    if (d->close)
        d->close(d);
failed:
    free(d);
    return st;
}

void hs_device_close(hs_device *d)
{
    if (!d)
        return;
    d->close(d);
    free(d);
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

hs_submit_mode hs_submit_mode_of(const hs_device *d) { return d->captures ? HS_SUBMIT_GRAPH : HS_SUBMIT_BULK; }

hs_status hs_submit_mode_check(hs_submit_mode mode, const hs_device *d)
{
    if (mode == HS_SUBMIT_GRAPH && d->is_cpu)
        return HS_FAIL(UNSUPPORTED, "exec.mode is graph: a captured graph needs CUDA; on the CPU use bulk or step");
    if (mode == HS_SUBMIT_GRAPH && !d->captures)
        return HS_FAIL(UNSUPPORTED, "exec.mode is graph: device %s captures none; use bulk or step", d->name);
    return HS_OK;
}
