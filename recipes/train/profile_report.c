// profile_report: the tables of a profile, and its file.
#include "core/base/clock.h"
#include "core/base/log.h"
#include "recipes/program/cli.h"
#include "recipes/program/peak.h"
#include "recipes/train/profile.h"
#include "recipes/train/progress.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- tables
typedef struct figures { // of one row, per step
    double ms, share, wait_ms, gflops, of_peak, gbps, of_memory, runs;
} figures;

typedef struct report {
    const hs_profile *p;
    double peak_flops, read_bytes; // per second
    double members, steps, step_ms;
    FILE *out;
} report;

static double ms_of(const report *r, double ns) { return ns * 1e-6 / r->members / r->steps; }

static figures figures_of(const report *r, const hs_profile_row *row)
{
    const double ms = ms_of(r, (double)row->ns), per_ms = ms > 0 ? 1e-6 / (ms * r->steps) : 0; // of a sum over steps, to G/s
    return (figures){ .ms = ms,
                      .share = ms / r->step_ms,
                      .wait_ms = ms_of(r, (double)row->waited),
                      .gflops = row->flops * per_ms,
                      .of_peak = r->peak_flops > 0 ? row->flops * per_ms * 1e9 / r->peak_flops : 0,
                      .gbps = row->bytes * per_ms,
                      .of_memory = row->bytes * per_ms * 1e9 / r->read_bytes,
                      .runs = (double)row->runs / r->members / r->steps };
}

static void print_head(const report *r, const char *what)
{
    fprintf(r->out, "\n%-22s %-8s %7s %9s %6s %8s %8s %7s %8s %7s\n", what, "", "runs", "ms", "share", "waits", "GFLOP/s", "of peak",
            "GB/s", "of mem");
}

// A rate and its share of what the machine can do; blank where nothing is counted.
static void print_rate(const report *r, double rate, double share)
{
    if (rate > 0)
        fprintf(r->out, " %8.1f %6.0f%%", rate, 100 * share);
    else
        fprintf(r->out, " %8s %7s", "", "");
}

static void print_row(const report *r, const hs_profile_row *row)
{
    const figures f = figures_of(r, row);
    fprintf(r->out, "%-22.*s %-8s %7.0f %9.3f %5.1f%% %8.3f", row->name_bytes, row->name, row->pass, f.runs, f.ms, 100 * f.share,
            f.wait_ms);
    print_rate(r, f.gflops, f.of_peak);
    print_rate(r, f.gbps, f.of_memory);
    fputc('\n', r->out);
}

static void print_rest(const report *r, const char *name, double ms)
{
    fprintf(r->out, "%-22s %-8s %7s %9.3f %5.1f%%\n", name, "", "", ms, 100 * ms / r->step_ms);
}

static void print_table(const report *r, const char *what, const hs_profile_table *t)
{
    print_head(r, what);
    for (int i = 0; i < t->n; i++)
        print_row(r, &t->row[i]);
    print_rest(r, "waiting in between", ms_of(r, (double)r->p->between));
    print_rest(r, "outside", r->step_ms - ms_of(r, (double)r->p->inside));
    print_rest(r, "step", r->step_ms);
}

static void print_text(const report *r)
{
    const hs_profile *p = r->p;
    char members[32];
    snprintf(members, sizeof members, "mean of %.0f members", r->members);
    fprintf(r->out, "profile of %d step%s from step %lld on, per step, %s; peak %.0f GFLOP/s (%s), memory %.1f GB/s (%s)\n", p->n,
            hs_plural(p->n), (long long)p->first + 1, p->is_gpu ? "by the GPU's events" : members, r->peak_flops / 1e9,
            p->is_gpu ? "large products" : "in registers", r->read_bytes / 1e9, p->is_gpu ? "copied" : "read");
    print_table(r, "by operation", &p->ops);
    print_table(r, "by scope", &p->scopes);
    fprintf(r->out,
            "\nwaits: at barriers inside the operation, part of its ms. GB/s: least traffic; beyond memory where it stays in the caches.\n"
            "trace of %d step%s in %s: open it in ui.perfetto.dev or chrome://tracing\n",
            p->n_kept, hs_plural(p->n_kept), p->path);
    fflush(r->out);
}

static void row_json(const report *r, const char *table, const hs_profile_row *row)
{
    const figures f = figures_of(r, row);
    hs_line_print(json_pack("{s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "event", "profile", "table", table, "name",
                            json_stringn(row->name, (size_t)row->name_bytes), "pass", row->pass, "runs", hs_line_real(f.runs), "ms",
                            hs_line_real(f.ms), "share", hs_line_real(f.share), "wait_ms", hs_line_real(f.wait_ms), "gflops",
                            hs_line_real(f.gflops), "of_peak", hs_line_real(f.of_peak), "gbps", hs_line_real(f.gbps), "of_memory",
                            hs_line_real(f.of_memory)));
}

static void print_json(const report *r)
{
    for (int i = 0; i < r->p->ops.n; i++)
        row_json(r, "operation", &r->p->ops.row[i]);
    for (int i = 0; i < r->p->scopes.n; i++)
        row_json(r, "scope", &r->p->scopes.row[i]);
    hs_line_print(json_pack("{s:s, s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:s}", "event", "profile", "table", "step", "steps", r->p->n,
                            "members", (int)r->members, "ms", hs_line_real(r->step_ms), "between_ms",
                            hs_line_real(ms_of(r, (double)r->p->between)), "outside_ms",
                            hs_line_real(r->step_ms - ms_of(r, (double)r->p->inside)), "peak_flops", hs_line_real(r->peak_flops),
                            "read_bytes_per_second", hs_line_real(r->read_bytes), "file", r->p->path));
}

// ---- the file
// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU: an object with traceEvents. "X" is a complete
// event with ts and dur in microseconds, "M" names a process or thread. Ours: the process is the rank, its threads are the members, or a
// GPU's streams.
typedef struct writer {
    FILE *f;
    int rank;
    int64_t zero;
    bool first;
} writer;

static void put(writer *w, json_t *event)
{
    fputs(w->first ? "\n" : ",\n", w->f);
    w->first = false;
    json_dumpf(event, w->f, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(event);
}

static void put_name(writer *w, const char *what, int tid, const char *name)
{
    put(w, json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "name", what, "ph", "M", "pid", w->rank, "tid", tid, "args", "name", name));
}

static void put_span(writer *w, const char *name, const char *cat, int tid, int64_t start, int64_t end, json_t *args)
{
    put(w, json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i, s:o*}", "name", name, "cat", cat, "ph", "X", "ts",
                     1e-3 * (double)(start - w->zero), "dur", 1e-3 * (double)(end - start), "pid", w->rank, "tid", tid, "args", args));
}

static void put_event(writer *w, const hs_profile_event *e, bool is_gpu)
{
    const hs_trace_record *r = &e->r;
    if (r->start > r->arrived)
        put_span(w, "wait", "wait", e->member, r->arrived, r->start, NULL);
    const hs_thunk *t = r->thunk;
    if (r->copied)
        put_span(w, "copy", "copy", e->member, r->start, r->end, json_pack("{s:I}", "bytes", (json_int_t)r->copied));
    if (!t || (!is_gpu && e->member > 0 && (t->part == HS_PART_SOLO || t->part == HS_PART_HOST))) // member 0's alone
        return;
    put_span(w, t->name,
             !t->node      ? "update"
             : t->backward ? "backward"
                           : "forward",
             e->member, r->start, r->end,
             json_pack("{s:s, s:f, s:f, s:f}", "scope", t->node && t->node->scope ? t->node->scope : "", "waited_us",
                       1e-3 * (double)r->waited, "flops", t->cost.flops * r->live, "bytes", t->cost.bytes * r->live));
}

// What moved between ranks beside compute, on a track of its own; the other calls are thunks of member 0.
static void put_calls(writer *w, const hs_profile *p, int tid)
{
    enum { MOST = 4096 };
    hs_parallel_call *call = p->ranks && p->ranks->parallel && p->n_kept ? malloc(MOST * sizeof *call) : NULL;
    const int n = call ? hs_parallel_calls(p->ranks->parallel, p->step[0].began, call, MOST) : 0;
    if (n > 0)
        put_name(w, "thread_name", tid, "between ranks, beside compute");
    for (int i = 0; i < n && call[i].begun < p->step[p->n_kept - 1].ended; i++)
        if (call[i].started)
            put_span(w, call[i].call, "ranks", tid, call[i].begun, call[i].ended,
                     json_pack("{s:s, s:s, s:f}", "about", call[i].about, "axis", call[i].axis, "bytes", call[i].bytes));
    free(call);
}

static void put_rank(writer *w, const hs_profile *p)
{
    const int members = hs_trace_members(p->trace);
    char name[64];
    snprintf(name, sizeof name, "halfstep rank %d", w->rank);
    put_name(w, "process_name", 0, name);
    for (int m = 0; m < members; m++) {
        snprintf(name, sizeof name, p->is_gpu ? "GPU stream %d" : "member %d", m);
        if (!p->is_gpu || hs_trace_count(p->trace, m)) // of as many as it may have
            put_name(w, "thread_name", m, name);
    }
    put_name(w, "thread_name", members, "steps");
    for (int i = 0; i < p->n_kept; i++) {
        snprintf(name, sizeof name, "step %lld", (long long)(p->first + 1 + i));
        put_span(w, name, "step", members, p->step[i].began, p->step[i].ended, NULL);
    }
    for (int64_t i = 0; i < p->n_events; i++)
        put_event(w, &p->event[i], p->is_gpu);
    put_calls(w, p, members + 1);
}

// The moment from which all ranks count, by this one's clock: hosts have clocks of their own, and leave a meeting at the same time.
static hs_status find_zero(const hs_profile *p, int64_t *zero)
{
    *zero = p->step[0].began;
    if (!p->ranks)
        return HS_OK;
    HS_TRY(hs_ranks_meet(p->ranks, "the profile's clock"));
    const int64_t now = hs_now_ns();
    int64_t since = now - p->step[0].began;
    HS_TRY(hs_ranks_tell(p->ranks, "the profile's clock", &since, sizeof since));
    *zero = now - since;
    return HS_OK;
}

// The events of another rank as text, on all ranks; malloc'd.
static hs_status text_of(const hs_profile *p, int rank, int64_t zero, char **text, uint64_t *bytes)
{
    hs_comm *c = p->ranks->world;
    size_t n = 0;
    *text = NULL;
    if (c->rank == rank) {
        writer w = { .f = open_memstream(text, &n), .rank = rank, .zero = zero };
        if (!w.f)
            return HS_FAIL(MEMORY, "no memory for a profile as text");
        put_rank(&w, p);
        fclose(w.f);
    }
    *bytes = n;
    c->about = "the profile's events";
    c->broadcast(c, NULL, bytes, sizeof *bytes, rank);
    if (c->rank != rank && !(*text = malloc(*bytes + 1)))
        return HS_FAIL(MEMORY, "no memory for the profile of rank %d", rank);
    c->broadcast(c, NULL, *text, *bytes, rank);
    return c->poll(c);
}

static hs_status put_others(writer *w, const hs_profile *p)
{
    for (int r = 1; p->ranks && r < p->ranks->size; r++) {
        char *text;
        uint64_t bytes;
        const hs_status st = text_of(p, r, w->zero, &text, &bytes);
        if (st == HS_OK && w->f)
            fwrite(text, 1, bytes, w->f);
        free(text);
        HS_TRY(st);
    }
    return HS_OK;
}

static hs_status write_file(hs_profile *p)
{
    writer w = { .f = p->file, .first = true };
    HS_TRY(find_zero(p, &w.zero));
    if (!w.f)
        return put_others(&w, p);
    if (ftruncate(fileno(w.f), 0)) // not a file: a pipe
        rewind(w.f);
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", w.f);
    put_rank(&w, p);
    HS_TRY(put_others(&w, p));
    fputs("\n]}\n", w.f);
    const bool whole = !ferror(w.f);
    p->file = NULL;
    return fclose(w.f) == 0 && whole ? HS_OK : HS_FAIL(SYSTEM, "--profile: cannot write %s: %s", p->path, strerror(errno));
}

// ---- both
static int longest_first(const void *a, const void *b)
{
    const hs_profile_row *x = a, *y = b;
    return (y->ns > x->ns) - (y->ns < x->ns);
}

hs_status hs_profile_report(hs_profile *p, double peak_flops, bool json, FILE *out)
{
    report r = { .p = p, .peak_flops = peak_flops, .members = p->members, .steps = p->n, .out = out };
    r.step_ms = (double)p->wall * 1e-6 / p->n;
    HS_TRY(write_file(p));
    if (!out)
        return HS_OK;
    HS_TRY(hs_measure_read(p->engine->device, 0.2, &r.read_bytes));
    qsort(p->ops.row, (size_t)p->ops.n, sizeof *p->ops.row, longest_first);
    json ? print_json(&r) : print_text(&r);
    return HS_OK;
}
