// bench_tokenizer: how many megabytes of text a second become ids. The file is cut at line ends into one part per thread and
// encoded --steps times; the fastest counts, the first is reported too.
#include "core/base/log.h"
#include "data/tokenizers/tokenizer.h"
#include "recipes/bench/bench.h"
#include "recipes/program/plain_text.h"
#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

typedef struct part {
    const hs_tokenizer *tokenizer;
    const char *text;
    size_t bytes;
    int64_t n_ids;
    hs_status st;
    char error[256];
    pthread_t thread;
} part;

static void *encode(void *arg)
{
    part *p = arg;
    int32_t *ids;
    p->st = hs_tokenizer_encode(p->tokenizer, p->text, p->bytes, &ids, &p->n_ids);
    if (p->st == HS_OK)
        free(ids);
    else
        snprintf(p->error, sizeof p->error, "%s", hs_error());
    return NULL;
}

// Parts end behind a line feed, so that no word is cut.
static void divide(part *p, int n, const char *text, size_t bytes)
{
    size_t at = 0;
    for (int k = 0; k < n; k++) {
        size_t end = k == n - 1 ? bytes : bytes * (size_t)(k + 1) / (size_t)n;
        end = end < at ? at : end;
        const char *line = end < bytes ? memchr(text + end, '\n', bytes - end) : NULL;
        end = line ? (size_t)(line - text) + 1 : bytes;
        p[k].text = text + at, p[k].bytes = end - at;
        at = end;
    }
}

static hs_status run_once(part *p, int n, double *seconds)
{
    const double start = hs_now();
    int started = 0;
    hs_status st = HS_OK;
    for (int k = 1; k < n && st == HS_OK; k++, started += st == HS_OK)
        if (pthread_create(&p[k].thread, NULL, encode, &p[k]) != 0)
            st = HS_FAIL(SYSTEM, "thread %d of %d cannot be started", k, n);
    if (st == HS_OK)
        encode(&p[0]);
    for (int k = 1; k <= started; k++)
        pthread_join(p[k].thread, NULL);
    *seconds = hs_now() - start;
    for (int k = 0; k < n && st == HS_OK; k++)
        if (p[k].st != HS_OK)
            st = HS_FAIL(USAGE, "%s", p[k].error);
    return st;
}

static int threads_of(const hs_common *common)
{
    cpu_set_t set;
    return common->threads ? (int)common->threads : sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static hs_status measure(const hs_tokenizer *t, const char *text, size_t bytes, int64_t runs, const hs_common *common)
{
    const int n = threads_of(common);
    part *p = calloc((size_t)n, sizeof *p);
    double best = 0, first = 0;
    hs_status st = p ? HS_OK : HS_FAIL(MEMORY, "no memory for %d threads", n);
    for (int k = 0; p && k < n; k++)
        p[k].tokenizer = t;
    if (p)
        divide(p, n, text, bytes);
    for (int64_t r = 0; r < runs && st == HS_OK; r++) {
        double seconds;
        st = run_once(p, n, &seconds);
        best = r == 0 || seconds < best ? seconds : best;
        first = r == 0 ? seconds : first;
    }
    int64_t ids = 0;
    for (int k = 0; p && k < n; k++)
        ids += p[k].n_ids;
    free(p);
    HS_TRY(st);
    const double mb = (double)bytes / 1e6;
    if (common->json)
        hs_line_print(json_pack("{s:o, s:o, s:o, s:I, s:I, s:i, s:I, s:s}", "megabytes_per_second", hs_line_real(mb / best),
                                "first_megabytes_per_second", hs_line_real(mb / first), "tokens_per_second",
                                hs_line_real((double)ids / best), "bytes", (json_int_t)bytes, "tokens", (json_int_t)ids, "threads", n,
                                "runs", (json_int_t)runs, "tokenizer", hs_tokenizer_kind(t)));
    else
        printf("%s: %.1f MB/s with %d thread%s (first of %lld runs %.1f MB/s), %.1f MB, %lld ids, %.2f bytes an id\n", hs_tokenizer_kind(t),
               mb / best, n, hs_plural(n), (long long)runs, mb / first, mb, (long long)ids, ids ? (double)bytes / (double)ids : 0.0);
    return HS_OK;
}

static hs_status run(hs_bench_run *r)
{
    const hs_bench_options *o = r->o;
    hs_tokenizer *t;
    hs_plain_text text;
    if (!o->tokenizer[0] || !o->file[0])
        return HS_FAIL(USAGE, "bench tokenizer needs --tokenizer DIR and --file FILE");
    HS_TRY(o->google ? hs_tokenizer_load_google(&t, o->tokenizer) : hs_tokenizer_load(&t, o->tokenizer));
    hs_status st = hs_plain_text_open(&text, o->file);
    if (st == HS_OK) {
        st = text.bytes ? measure(t, text.data, text.bytes, o->steps, &o->common) : HS_FAIL(USAGE, "%s is empty", o->file);
        hs_plain_text_close(&text);
    }
    hs_tokenizer_free(t);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

const hs_bench hs_bench_tokenizer = {
    .name = "tokenizer", .summary = "text to ids, already in memory", .takes = "tokenizer file google", .run = run
};
