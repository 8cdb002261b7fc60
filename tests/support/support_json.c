// support_json: the program check_json - what the cli scripts ask about JSON, without an interpreter that a bare machine may lack.
//
//   check_json lines FILE                          every line is one object
//   check_json trace FILE STEPS MEMBERS            a Chrome trace of a profile of the scripts' two-layer model; MEMBERS gpu: by a GPU's
//   streams check_json profile FILE STEPS CLASSES [gpu]    the rows of its JSON report, of a head with so many classes
//
// Exit 1 and one line on stderr that says what is wrong.
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

static void stop(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void stop(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}
#define NEED(what, ...)                                                                                                                    \
    do {                                                                                                                                   \
        if (!(what))                                                                                                                       \
            stop(__VA_ARGS__);                                                                                                             \
    } while (0)

static const char *text(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    NEED(json_is_string(v), "no text '%s'", key);
    return json_string_value(v);
}
static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    NEED(json_is_number(v), "no number '%s'", key);
    return json_number_value(v);
}
static bool is(const json_t *o, const char *key, const char *want)
{
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) && strcmp(json_string_value(v), want) == 0;
}
static bool one_of(const char *s, const char *const *words, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(s, words[i]) == 0)
            return true;
    return false;
}

// ---- lines

static json_t *lines_of(const char *file) // an array of objects
{
    json_t *all = json_array();
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    FILE *f = fopen(file, "r");
    NEED(f, "cannot read %s", file);
    for (int at = 1; (n = getline(&line, &size, f)) >= 0; at++) {
        json_error_t why;
        json_t *o = json_loadb(line, (size_t)n, JSON_REJECT_DUPLICATES, &why);
        NEED(o, "line %d: %s: %s", at, why.text, line);
        NEED(json_is_object(o), "line %d is no object: %s", at, line);
        json_array_append_new(all, o);
    }
    free(line);
    fclose(f);
    return all;
}

// ---- a trace: complete events of named threads that lie inside each other or apart, never across; every thunk of every step

typedef struct span {
    double begin, end;
} span;
enum { SLACK = 2 }; // nanoseconds: times are rounded to one

static int by_begin(const void *a, const void *b)
{
    const span *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static span *spans_of(const json_t *events, const char *cat, int tid, int *n) // cat NULL: any; tid -1: any
{
    const json_t *e;
    size_t i;
    span *s = calloc(json_array_size(events) + 1, sizeof *s);
    *n = 0;
    json_array_foreach(events, i, e) if (is(e, "ph", "X") && (!cat || is(e, "cat", cat)) && (tid < 0 || (int)number(e, "tid") == tid))
        s[(*n)++] = (span){ number(e, "ts"), number(e, "ts") + number(e, "dur") };
    qsort(s, (size_t)*n, sizeof *s, by_begin);
    return s;
}

enum { GPU_STREAMS = 8 }; // at most

static void check_names(const json_t *events, int members, bool gpu)
{
    bool named[64] = { false };
    int processes = 0, threads = 0;
    const json_t *e;
    size_t i;
    json_array_foreach(events, i, e)
    {
        if (!is(e, "ph", "M"))
            continue;
        const char *name = text(json_object_get(e, "args"), "name");
        if (is(e, "name", "process_name")) {
            NEED(strcmp(name, "halfstep rank 0") == 0, "the process is '%s'", name);
            processes++;
        } else if (is(e, "name", "thread_name")) {
            const int tid = (int)number(e, "tid");
            char want[32];
            snprintf(want, sizeof want, gpu ? "GPU stream %d" : "member %d", tid);
            NEED(tid >= 0 && tid <= members && !named[tid], "thread %d is named twice, or there is none", tid);
            NEED(strcmp(name, tid < members ? want : "steps") == 0, "thread %d is '%s'", tid, name);
            named[tid] = true, threads++;
        }
    }
    NEED(processes == 1 && (gpu ? threads >= 2 : threads == members + 1), "%d process names, %d thread names of %d", processes, threads,
         members + 1);
}

static void check_events(const json_t *events, int members)
{
    static const char *const keys[] = { "name", "cat", "ph", "ts", "dur", "pid", "tid" };
    static const char *const cats[] = { "step", "wait", "forward", "backward", "update", "copy" };
    const json_t *e;
    size_t i;
    int n = 0;
    json_array_foreach(events, i, e)
    {
        if (is(e, "ph", "M"))
            continue;
        for (int k = 0; k < COUNT(keys); k++)
            NEED(json_object_get(e, keys[k]), "event %zu has no %s", i, keys[k]);
        const double tid = number(e, "tid");
        NEED(is(e, "ph", "X") && number(e, "ts") >= 0 && number(e, "dur") >= 0 && number(e, "pid") == 0, "event %zu is not complete", i);
        NEED(tid >= 0 && tid <= members && tid == floor(tid), "event %zu is of thread %g", i, tid);
        NEED(one_of(text(e, "cat"), cats, COUNT(cats)), "event %zu is a '%s'", i, text(e, "cat"));
        n++;
    }
    NEED(n, "no events");
}

// Spans of one thread lie behind each other, inside of steps.
static int check_spans(const json_t *events, int member)
{
    const double slack = SLACK * 1e-3; // times are in microseconds
    int n_own, n_outer;
    span *own = spans_of(events, NULL, member, &n_own), *outer = spans_of(events, "step", -1, &n_outer);
    for (int i = 0; i + 1 < n_own; i++)
        NEED(own[i].end <= own[i + 1].begin + slack, "member %d: spans overlap at %g", member, own[i].end);
    for (int i = 0; i < n_own; i++) {
        bool inside = false;
        for (int s = 0; s < n_outer; s++)
            inside |= outer[s].begin <= own[i].begin && own[i].end <= outer[s].end + slack;
        NEED(inside, "member %d: outside of the steps at %g", member, own[i].begin);
    }
    free(own);
    free(outer);
    return n_own;
}

static void check_member(const json_t *events, int steps, int member) // -1: any
{
    static const struct {
        const char *name, *cat;
        int per_step, gpu; // there some are with the gelu behind them
    } wanted[] = { { "attention", "backward", 2, 2 }, { "linear", "forward", 8, 6 }, { "linear, gelu", "forward", 0, 2 }, { "optim.adamw", "update", 1, 1 } };
    for (int w = 0; w < COUNT(wanted); w++) {
        const json_t *e;
        size_t i;
        int n = 0;
        const int per_step = member < 0 ? wanted[w].gpu : wanted[w].per_step;
        json_array_foreach(events, i, e) n +=
            is(e, "name", wanted[w].name) && is(e, "cat", wanted[w].cat) && (member < 0 || (int)number(e, "tid") == member);
        NEED(n == per_step * steps, "member %d: %d of %s, %s, not %d", member, n, wanted[w].name, wanted[w].cat, per_step * steps);
    }
}

static void check_scopes(const json_t *events)
{
    static const char *const scopes[] = { "h0", "h1", "lm_head" };
    for (int s = 0; s < COUNT(scopes); s++) {
        const json_t *e;
        size_t i;
        bool found = false;
        json_array_foreach(events, i, e)
        {
            if (!is(e, "cat", "forward") && !is(e, "cat", "backward"))
                continue;
            const char *scope = text(json_object_get(e, "args"), "scope");
            found |= strcspn(scope, ".") == strlen(scopes[s]) && strncmp(scope, scopes[s], strlen(scopes[s])) == 0;
        }
        NEED(found, "no event in %s", scopes[s]);
    }
}

static void check_trace(const char *file, int steps, const char *of)
{
    const bool gpu = strcmp(of, "gpu") == 0;
    const int members = gpu ? GPU_STREAMS : atoi(of);
    json_error_t why;
    int n;
    json_t *top = json_load_file(file, 0, &why);
    NEED(top, "line %d: %s", why.line, why.text);
    const json_t *events = json_object_get(top, "traceEvents");
    NEED(json_is_array(events), "no traceEvents");
    check_names(events, members, gpu);
    check_events(events, members);
    free(spans_of(events, "step", -1, &n));
    NEED(n == steps, "%d steps, not %d", n, steps);
    int busy = 0;
    for (int m = 0; m < members; m++) {
        const int spans = check_spans(events, m);
        NEED(spans || gpu, "member %d: no spans", m);
        busy += spans > 0;
        if (!gpu)
            check_member(events, steps, m);
    }
    if (gpu) { // kernels on one stream, what they read is copied on another
        check_member(events, steps, -1);
        free(spans_of(events, "copy", -1, &n));
        NEED(busy >= 2 && n >= steps, "%d streams did anything, %d copies", busy, n);
    }
    check_scopes(events);
    json_decref(top);
}

// ---- a report: in both tables the rows add up to the step

static const json_t *the_row(const json_t *rows, const char *table, const char *name, const char *pass)
{
    const json_t *r, *found = NULL;
    size_t i;
    json_array_foreach(rows, i, r)
    {
        if (!is(r, "event", "profile") || !is(r, "table", table) || (name && !(is(r, "name", name) && is(r, "pass", pass))))
            continue;
        NEED(!found, "two rows of %s %s in the table of %ss", name ? name : table, name ? pass : "", table);
        found = r;
    }
    NEED(found, "no row of %s %s in the table of %ss", name ? name : table, name ? pass : "", table);
    return found;
}

static void check_table(const json_t *rows, const json_t *step, const char *table)
{
    const double ms = number(step, "ms");
    double total = number(step, "between_ms") + number(step, "outside_ms");
    const json_t *r;
    size_t i;
    json_array_foreach(rows, i, r)
    {
        if (!is(r, "event", "profile") || !is(r, "table", table))
            continue;
        const double wait = number(r, "wait_ms"), share = number(r, "share");
        NEED(wait >= 0 && wait <= number(r, "ms") + 1e-6 && share >= 0 && share <= 1, "%s: wait %g of %g ms, share %g", table, wait,
             number(r, "ms"), share);
        total += number(r, "ms");
    }
    NEED(fabs(total - ms) < 1e-3 * ms + 1e-3, "%ss add up to %g, the step takes %g ms", table, total, ms);
}

static void check_flops(const json_t *row, double want, double within, const char *what)
{
    const double flops = number(row, "gflops") * number(row, "ms") * 1e6;
    NEED(fabs(flops - want) < within, "%s: %g FLOPs, not %g", what, flops, want);
}

static void check_profile(const char *file, int steps, int classes, bool gpu)
{
    json_t *rows = lines_of(file);
    const json_t *step = the_row(rows, "step", NULL, NULL);
    NEED(number(step, "steps") == steps && number(step, "members") == (gpu ? 1 : 2), "%g steps of %g members", number(step, "steps"),
         number(step, "members"));
    NEED(number(step, "between_ms") >= 0 && number(step, "outside_ms") >= 0, "time in between or outside is negative");
    NEED(number(step, "read_bytes_per_second") > 1e8, "reads %g bytes/s", number(step, "read_bytes_per_second"));
    check_table(rows, step, "operation");
    check_table(rows, step, "scope");
    const json_t *f = the_row(rows, "operation", "linear", "forward"), *b = the_row(rows, "operation", "linear", "backward");
    const int joint = gpu ? 2 : 0; // of each pass, with the gelu behind it
    NEED(number(f, "runs") == 8 - joint && number(b, "runs") == 16 - joint, "linear: %g and %g runs", number(f, "runs"), number(b, "runs"));
    const double flops = 2.0 * 128 * 64 * 2 * 12 * 64, cells = 128.0 * classes; // 128 tokens, two layers
    const double up = gpu ? flops * 4 / 12 : 0, gelu = 128.0 * 4 * 64 * 2;
    check_flops(f, flops - up, 1e-3 * flops, "linear, forward");
    check_flops(b, 2 * flops - up, 2e-3 * flops, "linear, backward");
    if (gpu) {
        check_flops(the_row(rows, "operation", "linear, gelu", "forward"), up + 20 * gelu, 1e-3 * flops, "linear, gelu, forward");
        check_flops(the_row(rows, "operation", "linear, gelu", "backward"), up + 30 * gelu, 1e-3 * flops, "linear, gelu, backward");
    }
    const json_t *head = the_row(rows, "operation", "linear_xent", "backward"); // three products, and softmax
    check_flops(head, (6 * 64 + 24) * cells, 1e-3 * 6 * 64 * cells, "linear_xent");
    NEED(number(the_row(rows, "operation", "optim.adamw", "update"), "gbps") > 0, "the optimizer moves nothing");
    json_decref(rows);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "lines") == 0)
        json_decref(lines_of(argv[2]));
    else if (argc == 5 && strcmp(argv[1], "trace") == 0)
        check_trace(argv[2], atoi(argv[3]), argv[4]);
    else if ((argc == 5 || argc == 6) && strcmp(argv[1], "profile") == 0)
        check_profile(argv[2], atoi(argv[3]), atoi(argv[4]), argc == 6);
    else
        stop("check_json lines FILE | trace FILE STEPS MEMBERS | profile FILE STEPS CLASSES [gpu]");
    return 0;
}
