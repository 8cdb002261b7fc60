// profile: records of the trace, taken after each step and added up by operation and scope, and written as events.
#include "recipes/train/profile.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- collecting
static void *grow(void *array, int n, int *capacity, size_t item)
{
    if (n < *capacity)
        return array;
    *capacity = *capacity ? 2 * *capacity : 64;
    void *p = realloc(array, (size_t)*capacity * item);
    if (!p)
        abort();
    return p;
}

static hs_profile_row *row_of(hs_profile_table *t, const char *name, int name_bytes, const char *pass)
{
    for (int i = 0; i < t->n; i++)
        if (t->row[i].name_bytes == name_bytes && !memcmp(t->row[i].name, name, (size_t)name_bytes) && !strcmp(t->row[i].pass, pass))
            return &t->row[i];
    t->row = grow(t->row, t->n, &t->capacity, sizeof *t->row);
    t->row[t->n] = (hs_profile_row){ .name = name, .name_bytes = name_bytes, .pass = pass };
    return &t->row[t->n++];
}

static void add_to(hs_profile_row *row, const hs_trace_record *r, int member, bool is_gpu)
{
    row->runs++;
    row->ns += r->end - r->start;
    row->waited += r->waited;
    if (member == 0 || is_gpu) {
        row->flops += r->thunk->cost.flops * r->live;
        row->bytes += r->thunk->cost.bytes * r->live;
    }
}

// What belongs together under one name: the first part of the scope; the operation itself where it stands outside of any.
static const char *top_scope(const hs_thunk *t, int *bytes)
{
    const char *scope = !t->node ? "optimizer" : t->node->scope && t->node->scope[0] ? t->node->scope : t->name;
    *bytes = (int)strcspn(scope, ".");
    return scope;
}

static void count(hs_profile *p, const hs_trace_record *r, int member)
{
    p->between += p->is_gpu ? 0 : r->start - r->arrived;
    p->inside += p->is_gpu ? 0 : r->end - r->arrived;
    if (!r->thunk)
        return;
    const hs_thunk *t = r->thunk;
    int bytes;
    const char *scope = top_scope(t, &bytes);
    add_to(row_of(&p->ops, t->name, (int)strlen(t->name),
                  !t->node      ? "update"
                  : t->backward ? "backward"
                                : "forward"),
           r, member, p->is_gpu);
    add_to(row_of(&p->scopes, scope, bytes, ""), r, member, p->is_gpu);
}

static int64_t new_records(const hs_profile *p)
{
    int64_t n = 0;
    for (int m = 0; m < hs_trace_members(p->trace); m++)
        n += hs_trace_count(p->trace, m) - p->seen[m];
    return n;
}

// Of a GPU's step: from the first operation to the end of the last it is inside; what no operation took of that is in between.
static void count_streams(hs_profile *p)
{
    int64_t first = INT64_MAX, last = 0, busy = 0;
    for (int m = 0; m < hs_trace_members(p->trace); m++)
        for (int64_t i = p->seen[m]; i < hs_trace_count(p->trace, m); i++) {
            const hs_trace_record *r = hs_trace_at(p->trace, m, i);
            if (!r->thunk)
                continue;
            first = r->start < first ? r->start : first, last = r->end > last ? r->end : last;
            busy += r->end - r->start;
        }
    p->inside += last > first ? last - first : 0;
    p->between += last > first ? last - first - busy : 0;
}

static hs_status keep(hs_profile *p, int64_t ended)
{
    const int64_t n = new_records(p);
    if (p->n_kept != p->n || (p->n && p->n_events + n > HS_PROFILE_EVENTS))
        return HS_OK;
    hs_profile_event *event = realloc(p->event, (size_t)(p->n_events + n) * sizeof *event);
    if (!event)
        return HS_FAIL(MEMORY, "no memory for %lld events of a profile", (long long)(p->n_events + n));
    p->event = event;
    for (int m = 0; m < hs_trace_members(p->trace); m++)
        for (int64_t i = p->seen[m]; i < hs_trace_count(p->trace, m); i++)
            p->event[p->n_events++] = (hs_profile_event){ *hs_trace_at(p->trace, m, i), m };
    p->step[p->n_kept++] = (struct hs_profile_step){ p->began, ended };
    return HS_OK;
}

static hs_status all_done(const hs_profile *p)
{
    HS_TRY(hs_run_wait(p->engine->run));
    return p->engine->device->collect(p->engine->device);
}

hs_status hs_profile_begin(hs_profile *p)
{
    if (!p || p->n == p->wanted)
        return HS_OK;
    const int64_t step = (int64_t)p->engine->in->step;
    p->takes = p->from ? step + 1 >= p->from : p->warmup == 0;
    p->warmup -= p->warmup > 0;
    if (!p->takes)
        return HS_OK;
    HS_TRY(all_done(p)); // of what this step only follows
    if (!p->n)
        p->first = step;
    p->engine->device->trace = p->trace;
    p->began = hs_now_ns();
    return HS_OK;
}

hs_status hs_profile_end(hs_profile *p)
{
    if (!p || !p->takes)
        return HS_OK;
    p->takes = false;
    HS_TRY(all_done(p));
    const int64_t ended = hs_now_ns();
    p->engine->device->trace = NULL;
    p->wall += ended - p->began;
    for (int m = 0; m < hs_trace_members(p->trace); m++)
        if (hs_trace_count(p->trace, m) > p->seen[m] && !hs_trace_at(p->trace, m, p->seen[m]))
            return HS_FAIL(INTERNAL, "a profile lost records of member %d: its ring is too small", m);
    HS_TRY(keep(p, ended));
    if (p->is_gpu)
        count_streams(p);
    for (int m = 0; m < hs_trace_members(p->trace); m++)
        for (; p->seen[m] < hs_trace_count(p->trace, m); p->seen[m]++)
            count(p, hs_trace_at(p->trace, m, p->seen[m]), m);
    p->n++;
    return HS_OK;
}

// ---- making one
static hs_status open_file(hs_profile *p, const char *path)
{
    struct stat s;
    const bool folder = stat(path, &s) == 0 && S_ISDIR(s.st_mode);
    if ((size_t)snprintf(p->path, sizeof p->path, "%s%s", path, folder ? "/profile.json" : "") >= sizeof p->path)
        return HS_FAIL(USAGE, "--profile: a path of more than %zu bytes", sizeof p->path - 1);
    p->file = fopen(p->path, "a");
    return p->file ? HS_OK : HS_FAIL(USAGE, "--profile: cannot write %s: %s", p->path, strerror(errno));
}

// A region closes with one record more, and there may be one region per thunk.
static int64_t records_of_a_step(const hs_engine *e, int n_micro)
{
    int64_t n = hs_run_model(e->run)->params->n_derived;
    if (!e->trains)
        return 2 * (n + hs_exec_micro(hs_engine_exec(e, HS_EVAL), 0)->n);
    n += hs_run_update_segment(e->run)->n;
    for (int m = 0; m < n_micro; m++)
        n += hs_exec_micro(hs_engine_exec(e, HS_TRAIN), (m == 0 ? HS_MICRO_FIRST : 0) | (m == n_micro - 1 ? HS_MICRO_LAST : 0))->n;
    return 2 * n;
}

static hs_status open_all(hs_profile *p, const hs_profile_opts *o)
{
    const hs_device *d = o->engine->device;
    if (!d->tracks)
        return HS_FAIL(UNSUPPORTED, "--profile: device %s takes no traces", d->name);
    p->is_gpu = !d->is_cpu;
    p->members = d->is_cpu ? d->team : 1;
    if (!o->ranks || hs_ranks_first(o->ranks))
        HS_TRY(open_file(p, o->path));
    HS_TRY(hs_trace_new(&p->trace, d->tracks, records_of_a_step(o->engine, o->n_micro)));
    if (p->is_gpu)
        hs_trace_set_counts(p->trace, o->engine->in);
    if (hs_run_mode(o->engine->run) == HS_SUBMIT_GRAPH)
        hs_info("--profile: its steps are submitted in bulk, as a captured graph has no times inside");
    p->seen = calloc((size_t)d->tracks, sizeof *p->seen);
    p->step = calloc((size_t)o->steps, sizeof *p->step);
    return p->seen && p->step ? HS_OK : HS_FAIL(MEMORY, "no memory for a profile of %d steps", o->steps);
}

hs_status hs_profile_new(hs_profile **out, const hs_profile_opts *o)
{
    *out = NULL;
    hs_profile *p = calloc(1, sizeof *p);
    if (!p)
        return HS_FAIL(MEMORY, "no memory for a profile");
    p->ranks = o->ranks;
    p->engine = o->engine, p->warmup = o->warmup, p->from = o->from, p->wanted = o->steps;
    hs_status st;
    HS_TRY_GOTO(st, open_all(p, o), failed);
    *out = p;
    return HS_OK;
failed:
    hs_profile_free(p);
    return st;
}

void hs_profile_free(hs_profile *p)
{
    if (!p)
        return;
    struct stat s;
    if (p->file && fstat(fileno(p->file), &s) == 0 && S_ISREG(s.st_mode) && s.st_size == 0)
        unlink(p->path); // nothing came of it
    if (p->file)
        fclose(p->file);
    if (p->engine->device->trace == p->trace)
        p->engine->device->trace = NULL;
    hs_trace_free(p->trace);
    free(p->seen);
    free(p->ops.row);
    free(p->scopes.row);
    free(p->event);
    free(p->step);
    free(p);
}
