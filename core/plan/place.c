// place: where every byte of a plan lies, and where the team must wait.
#include "core/base/log.h"
#include "core/plan/plan_impl.h"
#include <stdlib.h>

enum { ALIGN = 64 };
static size_t aligned(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

// Two calls that one kernel does are alive together.
static int first_of(const hs_plan *p, int call) { return p->call[call].joined ? call - 1 : call; }
static int last_of(const hs_plan *p, int call) { return call + 1 < p->n_calls && p->call[call + 1].joined ? call + 1 : call; }

static void touch(hs_plan *p, const hs_slot *s, int call)
{
    const bool block = p->grad_buf && (s->where == HS_AT_GRAD || s->where == HS_AT_BLOCK_SHARE);
    if (s->where != HS_AT_BUF && !block)
        return;
    hs_buf *b = &p->buf[block ? p->grad_buf[s->t->param->id] : s->buf];
    const int first = first_of(p, call), last = last_of(p, call);
    b->first = b->first < first ? b->first : first;
    b->last = b->last > last ? b->last : last;
}

static void live_ranges(hs_plan *p)
{
    for (int i = 0; i < p->n_bufs; i++)
        p->buf[i].first = p->n_calls, p->buf[i].last = -1;
    for (int i = 0; i < p->n_calls; i++) {
        const hs_call *r = &p->call[i];
        for (int k = 0; k < HS_MAX_IN; k++)
            touch(p, &r->in[k], i), touch(p, &r->din[k], i);
        for (int k = 0; k < HS_MAX_OUT; k++)
            touch(p, &r->out[k], i), touch(p, &r->dout[k], i);
    }
    for (int i = 0; i < p->graph->n_outputs; i++) {
        const int b = p->value_buf[p->graph->output[i]->id];
        if (b >= 0)
            p->buf[b].last = p->n_calls;
    }
}

static int by_size(const void *a, const void *b)
{
    const hs_buf *x = *(hs_buf *const *)a, *y = *(hs_buf *const *)b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes) : (x > y) - (x < y);
}

typedef struct placed { // in order of `at`: one walk over this array finds a gap
    size_t at, end;
    int first, last;
} placed;

// The gradient slab, parameter by parameter: a gradient's bytes are free until backward first writes them. What no call writes would have
// to be cleared by someone, so then the whole slab stays outside.
static int place_gradients(hs_plan *p, placed *all)
{
    const hs_params *ps = p->graph->params;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_place *at = &ps->grad->place[i];
        all[i] = (placed){ at->offset, i + 1 < ps->n_params ? at[1].offset : ps->grad->bytes, -1,
                           p->n_calls }; // with what is behind it: a bucket is one piece
    }
    for (int i = p->n_calls - 1; i >= 0; i--)
        for (int k = 0; k < HS_MAX_IN; k++)
            if (p->call[i].din[k].where == HS_AT_GRAD)
                all[p->call[i].din[k].t->param->id].first = first_of(p, i);
    int n = 0;
    for (int i = 0; i < ps->n_params; i++) {
        if (ps->param[i]->frozen)
            continue;
        if (all[i].first < 0) {
            hs_info("gradients get memory of their own: nothing in this model writes that of %s", ps->param[i]->name);
            return 0;
        }
        all[n++] = all[i];
    }
    p->info.gradient_bytes = aligned(ps->grad->bytes);
    return n;
}

// Greedy by size: the largest first, each at the lowest gap among those alive at the same time.
static hs_status place_buffers(hs_plan *p)
{
    hs_buf **order = malloc((size_t)(p->n_bufs + 1) * sizeof *order);
    placed *all = malloc((size_t)(p->n_bufs + p->graph->params->n_params + 1) * sizeof *all);
    int n = all && p->opts.single_run && p->graph->mode == HS_TRAIN && !p->grad_buf ? place_gradients(p, all) : 0;
    size_t end = p->info.gradient_bytes;
    for (int i = 0; order && i < p->n_bufs; i++)
        order[i] = &p->buf[i];
    if (order && all)
        qsort(order, (size_t)p->n_bufs, sizeof *order, by_size);
    for (int i = 0; order && all && i < p->n_bufs; i++) {
        hs_buf *b = order[i];
        if (b->input || b->last < b->first)
            continue; // in a slot of its own, or never touched
        size_t at = 0;
        int k = 0;
        for (; k < n; k++)
            if (all[k].last >= b->first && all[k].first <= b->last) {
                if (at + b->bytes <= all[k].at)
                    break;
                at = at > all[k].end ? at : all[k].end;
            }
        b->offset = at;
        while (k > 0 && all[k - 1].at > at)
            k--;
        memmove(all + k + 1, all + k, (size_t)(n++ - k) * sizeof *all);
        all[k] = (placed){ at, at + aligned(b->bytes), b->first, b->last };
        end = end > at + b->bytes ? end : at + b->bytes;
    }
    const bool done = order && all;
    free(order);
    free(all);
    p->values_end = aligned(end);
    return done ? HS_OK : HS_FAIL(MEMORY, "no memory to place %d buffers", p->n_bufs);
}

// One behind the other, outside the workspace: the host may fill them while this plan runs from its other slot, or another plan runs.
static void place_inputs(hs_plan *p)
{
    for (int i = 0; i < p->n_bufs; i++)
        if (p->buf[i].input) {
            p->buf[i].offset = p->info.input_bytes;
            p->info.input_bytes += aligned(p->buf[i].bytes);
        }
}

hs_status hs_plan_place(hs_plan *p)
{
    live_ranges(p);
    place_inputs(p);
    HS_TRY(place_buffers(p));
    int users = 0;
    p->halves = p->dev->team > 1 ? 2 : 1;
    for (int i = 0; i < p->n_calls; i++) {
        hs_call *r = &p->call[i];
        const size_t shared = aligned(r->scratch.shared), own = aligned(r->scratch.per_thread);
        p->scratch_bytes = p->scratch_bytes > shared ? p->scratch_bytes : shared;
        p->thread_bytes = p->thread_bytes > own ? p->thread_bytes : own;
        if (shared)
            r->half = (uint8_t)(users++ %
                                p->halves); // consecutive users of a team take alternate halves: each syncs inside, so none waits behind
    }
    p->total_bytes = p->values_end + (size_t)p->halves * p->scratch_bytes + (size_t)p->dev->team * p->thread_bytes;
    for (int i = 0; i < p->n_bufs; i++)
        p->info.value_bytes_unshared += p->buf[i].input ? 0 : aligned(p->buf[i].bytes);
    p->info.value_bytes = p->values_end - p->info.gradient_bytes;
    p->info.scratch_bytes = p->total_bytes - p->values_end;
    return HS_OK;
}

// ---- barriers

typedef struct span { // bytes a call touched since the last barrier
    int space;        // -1: inputs; 0: buffers; 1: gradients outside them; 2 + i: state i
    size_t lo, hi;
    int64_t rows; // >= 0: divided by hs_part over this many rows of extent ext
    hs_ext ext;
    bool writes, whole;
} span;

typedef struct spans {
    span *v;
    int n, capacity;
} spans;

static int state_space(const hs_plan *p, const hs_state *s)
{
    for (int i = 0; i < p->graph->states->n; i++)
        if (p->graph->states->state[i] == s)
            return 2 + i;
    return 1;
}

static hs_status push(spans *all, const span *s)
{
    if (!hs_grow(&all->v, all->n, &all->capacity, sizeof *all->v))
        return HS_FAIL(MEMORY, "no memory for the operands of %d calls", all->n);
    all->v[all->n++] = *s;
    return HS_OK;
}

static hs_status add_span(spans *all, const hs_plan *p, const hs_call *r, const hs_slot *s)
{
    if (s->where == HS_AT_NONE || s->where == HS_AT_MASTER || s->where == HS_AT_LOW || s->where == HS_AT_CODED) // nothing in a micro-step writes these
        return HS_OK;
    if (s->where == HS_AT_SHARE) // written once, read by none
        return HS_OK;
    span x = { .rows = -1, .writes = s->writes, .whole = !s->rows };
    const size_t bytes = (size_t)hs_tensor_count(s->t) * hs_dtype_bytes(s->dtype);
    if (s->where == HS_AT_BUF)
        x.space = p->buf[s->buf].input ? -1 : 0, x.lo = p->buf[s->buf].offset;
    else if (s->where == HS_AT_GRAD || s->where == HS_AT_BLOCK_SHARE)
        x.space = p->info.gradient_bytes == 0 && !p->grad_buf, x.lo = hs_plan_grad_offset(p, s->t->param);
    else
        x.space = state_space(p, s->t->state), x.lo = 0;
    x.hi = x.lo + bytes;
    if (r->part == HS_PART_ROWS && s->rows)
        x.rows = s->t->dim[0], x.ext = s->t->ext;
    return push(all, &x);
}

static hs_status add_spans(spans *all, const hs_plan *p, const hs_call *r)
{
    for (int k = 0; k < HS_MAX_IN; k++) {
        HS_TRY(add_span(all, p, r, &r->in[k]));
        HS_TRY(add_span(all, p, r, &r->din[k]));
    }
    for (int k = 0; k < HS_MAX_OUT; k++) {
        HS_TRY(add_span(all, p, r, &r->out[k]));
        HS_TRY(add_span(all, p, r, &r->dout[k]));
    }
    return HS_OK;
}

static bool conflict(const span *a, const span *b)
{
    if (a->space != b->space || a->hi <= b->lo || b->hi <= a->lo || !(a->writes || b->writes))
        return false;
    const bool same_rows = a->lo == b->lo && a->hi == b->hi && a->rows >= 0 && a->rows == b->rows && a->ext == b->ext;
    return !same_rows;
}

// A barrier stands before a call whose bytes conflict with a call since the last barrier, except where both divide the same
// range by the same rows. A kernel that syncs first waits on its own before it touches anything but whole operands.
hs_status hs_plan_barriers(hs_plan *p)
{
    spans seen = { 0 }, mine = { 0 };
    hs_status st = HS_OK;
    for (int i = 0; i < p->n_calls && st == HS_OK; i++) {
        hs_call *r = &p->call[i];
        if (r->joined)
            continue;
        mine.n = 0;
        for (int k = i; k <= last_of(p, i); k++)
            HS_TRY_GOTO(st, add_spans(&mine, p, &p->call[k]), done);
        bool clash = r->sync || r->part == HS_PART_HOST || (i && p->call[i - 1].part == HS_PART_HOST);
        for (int a = 0; a < mine.n && !clash; a++)
            for (int b = 0; b < seen.n && !clash; b++)
                clash = (!r->syncs_first || mine.v[a].whole) && conflict(&mine.v[a], &seen.v[b]);
        r->sync = clash && i > 0;
        p->info.n_barriers += r->sync;
        if (clash || r->syncs_first)
            seen.n = 0;
        for (int a = 0; a < mine.n && st == HS_OK; a++)
            st = push(&seen, &mine.v[a]);
    }
done:
    free(seen.v);
    free(mine.v);
    return st;
}
