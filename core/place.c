// place: where every byte of a plan lies, and where the team must wait.
#include "core/plan_impl.h"
#include <stdlib.h>

enum { ALIGN = 64 };
static size_t aligned(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

static void touch(hs_plan *p, const hs_slot *s, int run)
{
    if (s->where != HS_AT_BUF)
        return;
    hs_buf *b = &p->buf[s->buf];
    b->first = b->first < run ? b->first : run;
    b->last = b->last > run ? b->last : run;
}

static void live_ranges(hs_plan *p)
{
    for (int i = 0; i < p->n_bufs; i++) {
        p->buf[i].first = p->buf[i].input ? 0 : p->n_runs;
        p->buf[i].last = p->buf[i].input ? p->n_runs : -1;
    }
    for (int i = 0; i < p->n_runs; i++) {
        const hs_run *r = &p->run[i];
        for (int k = 0; k < HS_MAX_IN; k++)
            touch(p, &r->in[k], i), touch(p, &r->din[k], i);
        for (int k = 0; k < HS_MAX_OUT; k++)
            touch(p, &r->out[k], i), touch(p, &r->dout[k], i);
    }
    for (int i = 0; i < p->graph->n_outputs; i++) {
        const int b = p->value_buf[p->graph->output[i]->id];
        if (b >= 0)
            p->buf[b].last = p->n_runs;
    }
}

static int by_size(const void *a, const void *b)
{
    const hs_buf *x = *(hs_buf *const *)a, *y = *(hs_buf *const *)b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes) : (x > y) - (x < y);
}

// Greedy by size: the largest first, each at the lowest gap among those alive at the same time. `placed` is kept sorted by
// offset, so that one walk finds the gap.
static size_t place_buffers(hs_plan *p)
{
    hs_buf **order = malloc((size_t)(p->n_bufs + 1) * sizeof *order), **placed = malloc((size_t)(p->n_bufs + 1) * sizeof *placed);
    if (!order || !placed)
        abort();
    for (int i = 0; i < p->n_bufs; i++)
        order[i] = &p->buf[i];
    qsort(order, (size_t)p->n_bufs, sizeof *order, by_size);
    int n = 0;
    size_t end = 0;
    for (int i = 0; i < p->n_bufs; i++) {
        hs_buf *b = order[i];
        if (b->last < b->first)
            continue; // never touched
        size_t at = 0;
        for (int k = 0; k < n; k++) {
            const hs_buf *o = placed[k];
            if (o->last < b->first || o->first > b->last)
                continue;
            if (at + b->bytes <= o->offset)
                break;
            const size_t o_end = aligned(o->offset + o->bytes);
            at = at > o_end ? at : o_end;
        }
        b->offset = at;
        int k = n++;
        for (; k > 0 && placed[k - 1]->offset > at; k--)
            placed[k] = placed[k - 1];
        placed[k] = b;
        end = end > at + b->bytes ? end : at + b->bytes;
    }
    free(order);
    free(placed);
    return aligned(end);
}

void hs_plan_place(hs_plan *p)
{
    live_ranges(p);
    p->values_end = place_buffers(p);
    int users = 0;
    for (int i = 0; i < p->n_runs; i++) {
        hs_run *r = &p->run[i];
        const size_t shared = aligned(r->scratch.shared), own = aligned(r->scratch.per_thread);
        p->scratch_bytes = p->scratch_bytes > shared ? p->scratch_bytes : shared;
        p->thread_bytes = p->thread_bytes > own ? p->thread_bytes : own;
        if (shared)
            r->half = users++ & 1; // consecutive users take alternate halves: each syncs inside, so none waits behind
    }
    p->total_bytes = p->values_end + 2 * p->scratch_bytes + (size_t)p->dev->team * p->thread_bytes;
    for (int i = 0; i < p->n_bufs; i++) {
        const size_t bytes = aligned(p->buf[i].bytes);
        *(p->buf[i].input ? &p->info.input_bytes : &p->info.value_bytes_unshared) += bytes;
    }
    p->info.value_bytes = p->values_end - (p->info.input_bytes < p->values_end ? p->info.input_bytes : p->values_end);
    p->info.scratch_bytes = p->total_bytes - p->values_end;
}

// ---- barriers

typedef struct span { // bytes a run touched since the last barrier
    int space;        // 0: buffers; 1: gradients; 2 + i: state i
    size_t lo, hi;
    int64_t rows; // >= 0: divided by hs_part over this many rows of extent ext
    int ext;
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

static void add_span(spans *all, const hs_plan *p, const hs_run *r, const hs_slot *s)
{
    if (s->where == HS_AT_NONE || s->where == HS_AT_MASTER || s->where == HS_AT_LOW) // nothing in a micro-step writes these
        return;
    span x = { .rows = -1, .writes = s->writes, .whole = !s->rows };
    const size_t bytes = (size_t)hs_tensor_count(s->t) * hs_dtype_bytes(s->dtype);
    if (s->where == HS_AT_BUF)
        x.lo = p->buf[s->buf].offset;
    else if (s->where == HS_AT_GRAD)
        x.space = 1, x.lo = s->t->param->offset * sizeof(float);
    else
        x.space = state_space(p, s->t->state), x.lo = 0;
    x.hi = x.lo + bytes;
    if (r->part == HS_PART_ROWS && s->rows)
        x.rows = s->t->dim[0], x.ext = s->t->ext;
    all->v = hs_plan_grow(all->v, all->n, &all->capacity, sizeof *all->v);
    all->v[all->n++] = x;
}

static void spans_of(spans *all, const hs_plan *p, const hs_run *r)
{
    for (int k = 0; k < HS_MAX_IN; k++)
        add_span(all, p, r, &r->in[k]), add_span(all, p, r, &r->din[k]);
    for (int k = 0; k < HS_MAX_OUT; k++)
        add_span(all, p, r, &r->out[k]), add_span(all, p, r, &r->dout[k]);
}

static bool conflict(const span *a, const span *b)
{
    if (a->space != b->space || a->hi <= b->lo || b->hi <= a->lo || !(a->writes || b->writes))
        return false;
    const bool same_rows = a->lo == b->lo && a->hi == b->hi && a->rows >= 0 && a->rows == b->rows && a->ext == b->ext;
    return !same_rows;
}

// A barrier stands before a run whose bytes conflict with a run since the last barrier, except where both divide the same
// range by the same rows. A kernel that syncs first waits on its own before it touches anything but whole operands.
void hs_plan_barriers(hs_plan *p)
{
    spans seen = { 0 }, mine = { 0 };
    for (int i = 0; i < p->n_runs; i++) {
        hs_run *r = &p->run[i];
        mine.n = 0;
        spans_of(&mine, p, r);
        bool clash = r->sync || r->part == HS_PART_HOST || (i && p->run[i - 1].part == HS_PART_HOST);
        for (int a = 0; a < mine.n && !clash; a++)
            for (int b = 0; b < seen.n && !clash; b++)
                clash = (!r->syncs_first || mine.v[a].whole) && conflict(&mine.v[a], &seen.v[b]);
        r->sync = clash && i > 0;
        p->info.n_barriers += r->sync;
        if (clash || r->syncs_first)
            seen.n = 0;
        for (int a = 0; a < mine.n; a++) {
            seen.v = hs_plan_grow(seen.v, seen.n, &seen.capacity, sizeof *seen.v);
            seen.v[seen.n++] = mine.v[a];
        }
    }
    free(seen.v);
    free(mine.v);
}
