// What keys and values in int8 cost: a text is read token by token by a decode plan, over a cache of values and over one of codes, windows
// of the model's context side by side.
//   cc -std=gnu11 -D_GNU_SOURCE -O2 -I . scripts/check_kv.c -o build/check_kv -L build/recipes -lhalfstep -Wl,-rpath,build/recipes -lm
//   build/check_kv CHECKPOINT TEXT [WINDOWS [fp32|bf16]]     mean loss of both (nats a token), how many of the likeliest tokens are alike
#include "infer/session/session.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BESIDE = 8 }; // windows at once

typedef struct reading {
    double loss;     // of all tokens
    int64_t n;       // of them
    int32_t *likely; // [n]
    size_t bytes;    // of the cache, a token
} reading;

static char *text_of(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END))
        return NULL;
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n + 1);
    *n = text ? fread(text, 1, *n, f) : 0;
    fclose(f);
    return text;
}

// Token `at` of each of n windows.
static hs_status step(const hs_session *s, const int32_t *ids, int n, int64_t at)
{
    const int64_t pages = s->decode_shape.seq_pages;
    int32_t id[BESIDE], starts[BESIDE + 1] = { 0 }, where[2 * BESIDE], keys[3 * BESIDE], rows[BESIDE], picks[BESIDE];
    int32_t *table = malloc((size_t)(n * pages) * sizeof *table);
    for (int w = 0; w < n; w++) {
        const int32_t k[] = { 0, (int32_t)at + 1, (int32_t)at };
        id[w] = ids[w * s->context + at], starts[w + 1] = w + 1, picks[w] = w;
        where[2 * w] = w, where[2 * w + 1] = (int32_t)at;
        memcpy(keys + 3 * w, k, sizeof k);
        rows[w] = (int32_t)(w * pages * HS_CACHE_PAGE + at);
        for (int64_t i = 0; i < pages; i++)
            table[w * pages + i] = (int32_t)(w * pages + i);
    }
    const struct {
        const char *name;
        const int32_t *p;
        int64_t n;
    } in[] = { { "ids", id, n },     { "starts", starts, n + 1 }, { "where", where, 2 * n },      { "keys", keys, 3 * n },
               { "rows", rows, n }, { "picks", picks, n },       { "pages", table, n * pages } };
    for (size_t i = 0; i < sizeof in / sizeof *in; i++)
        HS_TRY(hs_run_write(s->run, s->decode, in[i].name, in[i].p, (size_t)in[i].n * sizeof(int32_t)));
    free(table);
    hs_step_live(hs_run_in(s->run), n, n, n);
    return hs_run_forward(s->run, s->decode);
}

static void judge(const float *logits, int64_t vocab, int32_t next, reading *r)
{
    double sum = 0;
    int32_t best = 0;
    for (int64_t i = 1; i < vocab; i++)
        best = logits[i] > logits[best] ? (int32_t)i : best;
    for (int64_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - (double)logits[best]);
    r->loss += log(sum) + (double)logits[best] - (double)logits[next];
    r->likely[r->n++] = best;
}

static hs_status read_by(const char *model, const int32_t *ids, int64_t windows, hs_dtype low, bool codes, reading *r)
{
    hs_session s;
    HS_TRY(hs_session_open(&s, model, 0, hs_families, "cpu", 0));
    hs_arch_shape shape = hs_session_decode_shape(&s, BESIDE, BESIDE, BESIDE * hs_cache_pages(s.context, HS_CACHE_PAGE));
    shape.cache_i8 = codes;
    HS_TRY(hs_session_load(&s, &(hs_policy){ .low = low }, &(hs_session_plans){ .decode = &shape }));
    hs_ref y;
    hs_run_output(s.run, s.decode, 0, &y);
    float *logits = malloc((size_t)(BESIDE * y.cols) * sizeof *logits);
    for (int64_t w = 0; w < windows; w += BESIDE) {
        const int n = windows - w < BESIDE ? (int)(windows - w) : BESIDE;
        for (int64_t at = 0; at + 1 < s.context; at++) {
            HS_TRY(step(&s, ids + w * s.context, n, at));
            HS_TRY(hs_run_read(s.run, s.decode, 0, 0, n, logits));
            for (int k = 0; k < n; k++)
                judge(logits + k * y.cols, s.vocab, ids[(w + k) * s.context + at + 1], r);
        }
    }
    r->bytes = hs_model_bytes_of(s.model).states / (size_t)shape.cache_rows;
    free(logits);
    hs_session_close(&s);
    return HS_OK;
}

static hs_status compare(int argc, char **argv)
{
    hs_session s;
    size_t bytes;
    int32_t *ids;
    int64_t n, windows = argc > 3 ? atoll(argv[3]) : 64;
    char *text = text_of(argv[2], &bytes);
    if (!text)
        return HS_FAIL(USAGE, "%s: cannot be read", argv[2]);
    HS_TRY(hs_session_open(&s, argv[1], 0, hs_families, "cpu", 0));
    HS_TRY(hs_tokenizer_encode(s.tokenizer, text, bytes, &ids, &n));
    const int64_t context = s.context;
    hs_session_close(&s);
    windows = windows < n / context ? windows : n / context;
    reading r[2] = { 0 };
    for (int codes = 0; codes < 2; codes++) {
        r[codes].likely = malloc((size_t)(windows * context) * sizeof(int32_t));
        HS_TRY(read_by(argv[1], ids, windows, argc > 4 && strcmp(argv[4], "bf16") == 0 ? HS_BF16 : HS_F32, codes, &r[codes]));
        r[codes].loss /= (double)r[codes].n;
    }
    int64_t alike = 0;
    for (int64_t i = 0; i < r[0].n; i++)
        alike += r[0].likely[i] == r[1].likely[i];
    printf("%lld tokens: loss %.6f over values, %.6f over codes (%+.6f); %.3f %% of the likeliest alike; %zu and %zu bytes a token\n",
           (long long)r[0].n, r[0].loss, r[1].loss, r[1].loss - r[0].loss, 100.0 * (double)alike / (double)r[0].n, r[0].bytes, r[1].bytes);
    free(r[0].likely), free(r[1].likely), free(ids), free(text);
    return HS_OK;
}

int main(int argc, char **argv)
{
    if (argc < 3 || compare(argc, argv) != HS_OK) {
        fprintf(stderr, "%s\n", argc < 3 ? "check_kv CHECKPOINT TEXT [WINDOWS [fp32|bf16]]" : hs_error());
        return 2;
    }
    return 0;
}
