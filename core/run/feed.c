// feed: walks the inputs of a plan, so that one that nobody fills is an error with its name instead of the values of some step before.
#include "core/run/feed.h"
#include "core/plan/plan_impl.h"
#include <stdio.h>
#include <string.h>

static const char *const plans[] = { [HS_TRAIN] = "training", [HS_EVAL] = "evaluation", [HS_DECODE] = "decoding" };

static hs_status no_column(const hs_graph *g, const hs_tensor *t, const hs_batch *b)
{
    char names[256] = "nothing";
    size_t used = 0;
    for (int i = 0; i < b->n_columns && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", b->column[i].name);
    return HS_FAIL(USAGE, "input '%s' of the %s plan has no column; the batch has %s", t->name, plans[g->mode], names);
}

static bool same_row(const hs_tensor *t, const hs_column *c)
{
    int n = 0;
    for (; n < HS_MAX_DIMS - 1 && c->row[n]; n++)
        if (n + 1 >= t->n_dims || c->row[n] != t->dim[n + 1])
            return false;
    return n + 1 == t->n_dims;
}

static void column_shape(const hs_column *c, char *buf, size_t size)
{
    hs_tensor t = { .n_dims = 1, .dim = { c->rows } };
    for (int i = 0; i < HS_MAX_DIMS - 1 && c->row[i]; i++)
        t.dim[t.n_dims++] = c->row[i];
    hs_tensor_shape(&t, buf, size);
}

static hs_status check(const hs_graph *g, const hs_tensor *t, const hs_column *c, int64_t live)
{
    if (c->dtype != t->dtype)
        return HS_FAIL(USAGE, "input '%s' of the %s plan is %s, the batch's column is %s", t->name, plans[g->mode], hs_dtype_name(t->dtype),
                       hs_dtype_name(c->dtype));
    if (!same_row(t, c) || (t->ext == HS_EXT_FIXED && c->ext == HS_EXT_FIXED && c->rows != t->dim[0])) {
        char want[96], have[96];
        column_shape(c, have, sizeof have);
        return HS_FAIL(USAGE, "input '%s' of the %s plan is %s, the batch's column is %s", t->name, plans[g->mode],
                       hs_tensor_shape(t, want, sizeof want), have);
    }
    if (c->ext != t->ext)
        return HS_FAIL(USAGE, "input '%s' of the %s plan has rows by %s, %lld each and %lld more, the batch's column by %s, %lld and %lld",
                       t->name, plans[g->mode], hs_counter_name(hs_ext_counter(t->ext)), (long long)hs_ext_unit(t->ext),
                       (long long)hs_ext_plus(t->ext), hs_counter_name(hs_ext_counter(c->ext)), (long long)hs_ext_unit(c->ext),
                       (long long)hs_ext_plus(c->ext));
    if (live > t->dim[0])
        return HS_FAIL(USAGE, "input '%s' of the %s plan has room for %lld rows, the batch has %lld", t->name, plans[g->mode],
                       (long long)t->dim[0], (long long)live);
    return HS_OK;
}

// The default of an input into the whole slot: one cell, then what is there once more. Kernels of some devices clear dead floats.
static void fill(hs_device *d, const hs_tensor *t, hs_fed *to, hs_lane *lane)
{
    const size_t cell = hs_dtype_bytes(t->dtype), all = hs_tensor_bytes(t);
    if (to->has_default && !(d->clears_dead && hs_dtype_is_float(t->dtype)))
        return;
    d->copy_async(d, lane, to->p, to->cell, cell);
    for (size_t done = cell, more; done < all; done += more) {
        more = done < all - done ? done : all - done;
        d->copy_async(d, lane, to->p + done, to->p, more);
    }
}

static hs_status feed_input(hs_exec *e, int i, const hs_batch *b, hs_lane *lane)
{
    const hs_graph *g = hs_plan_graph(hs_exec_plan(e));
    const hs_tensor *t = g->input[i];
    hs_device *d = hs_exec_device(e);
    const hs_column *c = hs_batch_find(b, t->name);
    hs_fed to = hs_exec_fed(e, i);
    if (!c && t->passed)
        return HS_OK;
    if (!c && !t->has_fill)
        return no_column(g, t, b);
    if (!c) {
        fill(d, t, &to, lane);
        hs_exec_set_default(e, i, true);
        return HS_OK;
    }
    const int64_t live = hs_ext_asked(c->ext, b->n, c->rows);
    HS_TRY(check(g, t, c, live));
    d->copy_async(d, lane, to.p, c->p, (size_t)(live * hs_tensor_cols(t)) * hs_dtype_bytes(t->dtype));
    hs_exec_set_default(e, i, false);
    return HS_OK;
}

// ---- memory of batches

static hs_status take(void *of, size_t bytes, void **out)
{
    hs_device *d = of;
    return d->alloc_host(d, bytes, out);
}

static void give(void *of, void *p)
{
    hs_device *d = of;
    d->free_host(d, p);
}

static hs_status open_event(void *of, void **read)
{
    hs_device *d = of;
    hs_event *e = NULL;
    const hs_status st = d->event_open(d, &e);
    *read = e;
    return st;
}

static void close_event(void *of, void *read)
{
    hs_device *d = of;
    d->event_close(d, read);
}

static hs_status arrive(void *of, void *read)
{
    hs_device *d = of;
    return d->arrive(d, read);
}

hs_batch_memory hs_device_batches(hs_device *d)
{
    return (hs_batch_memory){ .of = d, .take = take, .give = give, .open = open_event, .close = close_event, .arrive = arrive };
}

// ---- feeding

hs_status hs_exec_feed(hs_exec *e, const hs_batch *b, hs_lane *lane, hs_step_in *in)
{
    const hs_graph *g = hs_plan_graph(hs_exec_plan(e));
    for (int i = 0; i < g->n_inputs; i++)
        HS_TRY(feed_input(e, i, b, lane));
    memcpy(in->n, b->n, sizeof in->n);
    return HS_OK;
}
