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

// The default of an input into every cell that this batch makes live.
static void fill(hs_device *d, const hs_tensor *t, char *dst, const hs_batch *b)
{
    enum { AT_ONCE = 1024 };
    const size_t cell = hs_dtype_bytes(t->dtype);
    int64_t n = hs_ext_rows(t->ext, b->n, t->dim[0]) * hs_tensor_cols(t);
    double value[AT_ONCE];
    char cells[sizeof value];
    if (t->fill == 0) {
        d->fill(d, dst, 0, (size_t)n * cell);
        return;
    }
    for (int i = 0; i < AT_ONCE; i++)
        value[i] = t->fill;
    hs_convert(cells, t->dtype, value, HS_F64, n < AT_ONCE ? n : AT_ONCE);
    for (int64_t k; n > 0; n -= k, dst += (size_t)k * cell) {
        k = n < AT_ONCE ? n : AT_ONCE;
        d->copy(d, dst, cells, (size_t)k * cell);
    }
}

static hs_status feed_input(hs_exec *e, const hs_tensor *t, const hs_batch *b, hs_lane *lane)
{
    const hs_plan *p = hs_exec_plan(e);
    hs_device *d = hs_exec_device(e);
    const hs_column *c = hs_batch_find(b, t->name);
    char *dst = hs_exec_input(e, t->name);
    if (!c && t->passed)
        return HS_OK;
    if (!c && !t->has_fill)
        return no_column(p->graph, t, b);
    if (!c) {
        fill(d, t, dst, b);
        return HS_OK;
    }
    const int64_t live = hs_ext_asked(c->ext, b->n, c->rows);
    HS_TRY(check(p->graph, t, c, live));
    d->copy_async(d, lane, dst, c->p, (size_t)(live * hs_tensor_cols(t)) * hs_dtype_bytes(t->dtype));
    return HS_OK;
}

hs_status hs_exec_feed(hs_exec *e, const hs_batch *b, hs_lane *lane, hs_step_in *in)
{
    const hs_graph *g = hs_plan_graph(hs_exec_plan(e));
    for (int i = 0; i < g->n_inputs; i++)
        HS_TRY(feed_input(e, g->input[i], b, lane));
    memcpy(in->n, b->n, sizeof in->n);
    return HS_OK;
}
