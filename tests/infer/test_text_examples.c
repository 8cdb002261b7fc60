// text_examples: texts in memory give, to the last bit, what the same texts in a file give `predict`, for every task; by several threads
// with a decoder each; and what is no example of a task is refused.
#include "tests/support/support_files.h"
#include "tests/support/support_heads.h"

#include "core/base/rng.h"
#include "infer/heads/predictor.h"
#include "infer/heads/text_examples.h"
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXTS = 40, WORDS = 64, NBEST = 8, LABELS = 4 };

// What a prediction says, as bytes that can be compared.
typedef struct said {
    int64_t n, n_tags;
    float score[LABELS], tag_score[WORDS];
    int32_t label, tag[WORDS];
    hs_span word[WORDS];
    hs_span_guess guess[NBEST];
    int64_t n_guess, answer; // -1: none
    double odds;
} said;

static void keep(const hs_prediction *x, said *s)
{
    memset(s, 0, sizeof *s);
    s->n = x->n_labels, s->label = x->label;
    if (x->score)
        memcpy(s->score, x->score, (size_t)x->n_labels * sizeof *x->score);
    if (x->tag) {
        s->n_tags = x->example->n;
        assert_in_range(s->n_tags, 0, WORDS);
        memcpy(s->tag, x->tag, (size_t)s->n_tags * sizeof *x->tag);
        memcpy(s->tag_score, x->tag_score, (size_t)s->n_tags * sizeof *x->tag_score);
        memcpy(s->word, x->example->word, (size_t)s->n_tags * sizeof *x->example->word);
    }
    s->n_guess = x->span.n, s->odds = x->span.odds;
    s->answer = x->span.answer ? x->span.answer - x->span.guess : -1;
    for (int i = 0; i < x->span.n; i++) { // member by member: what lies between them is anything
        const hs_span_guess *g = &x->span.guess[i];
        s->guess[i].start = g->start, s->guess[i].end = g->end, s->guess[i].none = g->none;
        s->guess[i].start_logit = g->start_logit, s->guess[i].end_logit = g->end_logit, s->guess[i].probability = g->probability;
    }
}

// ---- texts

static char text[2][TEXTS][400];

static void make_texts(int most)
{
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < TEXTS; i++)
            heads_text(text[k][i], i, k, most);
}

static void add_json(char **p, const char *key, const char *value)
{
    *p += sprintf(*p, "\"%s\": \"", key);
    for (; *value; value++)
        *p += sprintf(*p, *value == '"' ? "\\\"" : "%c", *value);
    *p += sprintf(*p, "\"");
}

static void write_texts(const char *name, const char *first, const char *second)
{
    char *all = malloc(2 * sizeof text), *p = all;
    assert_non_null(all);
    for (int i = 0; i < TEXTS; i++) {
        p += sprintf(p, "{");
        add_json(&p, first, text[0][i]);
        if (second) {
            p += sprintf(p, ", ");
            add_json(&p, second, text[1][i]);
        }
        p += sprintf(p, "}\n");
    }
    scratch_write(name, all, (size_t)(p - all));
    free(all);
}

// ---- both ways

typedef struct one_case {
    const char *model, *problem;
    hs_about about;
    const char *first, *second; // keys of the file
    hs_rows_opts rows;
    hs_span_opts span;
} one_case;

typedef struct collected {
    said of[TEXTS];
    int64_t n;
} collected;

static hs_status collect(const hs_prediction *x, void *user)
{
    collected *c = user;
    keep(x, &c->of[c->n++]);
    return HS_OK;
}

static void from_file(const hs_session *s, const one_case *c, collected *out)
{
    const hs_examples_opts e = { .about = c->about, .labels_optional = true, .format = HS_LABEL_JSON };
    hs_predictor *p;
    write_texts("texts.jsonl", c->first, c->second);
    out->n = 0;
    OK(hs_predictor_open(&p, &(hs_predictor_opts){ .session = s,
                                                   .examples = &e,
                                                   .rows = c->rows,
                                                   .span = c->span,
                                                   .path = scratch_path("texts.jsonl"),
                                                   .done = collect,
                                                   .user = out }));
    OK(hs_predictor_run(p));
    hs_predictor_close(p);
    assert_int_equal(out->n, TEXTS);
}

static void take_rows(hs_row_reader *reader, const hs_head *h, hs_head_decoder *d, const hs_text_example *x)
{
    float logits[64 * 16];
    int32_t type[64];
    for (int64_t k = 0; k < x->n_rows; k++) {
        const hs_example_row *row = &x->row[k];
        int index;
        int64_t rows;
        assert_true(row->n <= 64 && hs_head_columns(h) <= 16);
        for (int64_t i = 0; i < row->n; i++)
            type[i] = row->type[i];
        OK(hs_row_reader_add(reader, &(hs_encode_row){ .id = row->id, .type = type, .n = row->n }, &index));
        OK(hs_row_reader_run(reader));
        OK(hs_row_reader_task(reader, index, logits, &rows));
        OK(hs_head_decoder_take(d, row, logits, rows));
    }
}

static void open_texts(hs_text_examples *e, const hs_session *s, const one_case *c)
{
    hs_rows_opts rows = c->rows;
    rows.tokenizer = s->tokenizer, rows.vocab = s->vocab;
    rows.max_length = rows.max_length ? rows.max_length : s->context;
    OK(hs_text_examples_open(e, c->about, &rows));
    for (int i = 0; i < TEXTS; i++)
        OK(hs_text_examples_add(e, text[0][i], strlen(text[0][i]), c->second ? text[1][i] : NULL, strlen(text[1][i])));
}

static void from_memory(const hs_session *s, const one_case *c, collected *out)
{
    hs_text_examples e;
    hs_head *h;
    hs_head_decoder *d;
    hs_row_reader *reader;
    hs_prediction x;
    open_texts(&e, s, c);
    OK(hs_head_new(&h, s, s->run, c->about));
    OK(hs_head_decoder_new(&d, h, &c->span));
    OK(hs_session_reader(&reader, s, s->run));
    for (int i = 0; i < TEXTS; i++) {
        OK(hs_head_decoder_begin(d, &e.at[i].example));
        take_rows(reader, h, d, &e.at[i]);
        OK(hs_head_decoder_end(d, &x));
        keep(&x, &out->of[i]);
    }
    hs_row_reader_free(reader);
    hs_head_decoder_free(d);
    hs_head_free(h);
    hs_text_examples_close(&e);
}

static const one_case cases[] = {
    { "bert-sequence", NULL, HS_ABOUT_SEQUENCE, "text", NULL, { 0 }, { 0 } },
    { "bert-sequence", NULL, HS_ABOUT_SEQUENCE, "sentence1", "sentence2", { 0 }, { 0 } },
    { "bert-sequence", "multi_label_classification", HS_ABOUT_MULTILABEL, "text", NULL, { 0 }, { 0 } },
    { "roberta-sequence", "regression", HS_ABOUT_REGRESSION, "text", NULL, { 0 }, { 0 } },
    { "bert-tokens", NULL, HS_ABOUT_TOKENS, "text", NULL, { .stride = 3 }, { 0 } },
    { "bert-crf", NULL, HS_ABOUT_TOKENS, "text", NULL, { .max_length = 8 }, { 0 } },
    { "bert-span", NULL, HS_ABOUT_SPAN, "question", "context", { .stride = 3, .max_query = 3 }, { .n_best = 5, .max_answer = 4 } },
    { "albert-span", NULL, HS_ABOUT_SPAN, "question", "context", { 0 }, { .n_best = 3, .max_answer = 9, .none = true } },
};

static void same_as_a_file(void **state)
{
    (void)state;
    static collected file, memory;
    make_texts(24);
    for (int i = 0; i < HS_COUNT(cases); i++) {
        hs_session s = { 0 };
        heads_open(&s, cases[i].model, cases[i].problem, 2);
        from_file(&s, &cases[i], &file);
        from_memory(&s, &cases[i], &memory);
        for (int k = 0; k < TEXTS; k++)
            assert_memory_equal(&file.of[k], &memory.of[k], sizeof file.of[k]);
        hs_session_close(&s);
    }
}

// ---- several threads

typedef struct worker {
    const hs_head *h;
    const one_case *c;
    const hs_text_examples *e;
    const float *logits; // [rows of all][64][columns]
    const int64_t *rows;
    collected *out;
} worker;

static void *decode_all(void *arg)
{
    const worker *w = arg;
    hs_head_decoder *d;
    hs_prediction x;
    OK(hs_head_decoder_new(&d, w->h, &w->c->span));
    for (int64_t i = 0, at = 0; i < TEXTS; i++) {
        OK(hs_head_decoder_begin(d, &w->e->at[i].example));
        for (int64_t k = 0; k < w->e->at[i].n_rows; k++, at++)
            OK(hs_head_decoder_take(d, &w->e->at[i].row[k], w->logits + at * 64 * hs_head_columns(w->h), w->rows[at]));
        OK(hs_head_decoder_end(d, &x));
        keep(&x, &w->out->of[i]);
    }
    hs_head_decoder_free(d);
    return NULL;
}

static void threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    static collected of[THREADS];
    make_texts(24);
    for (int c = 4; c < HS_COUNT(cases); c++) {
        hs_session s = { 0 };
        hs_text_examples e;
        hs_head *h;
        pthread_t thread[THREADS];
        worker w[THREADS];
        heads_open(&s, cases[c].model, cases[c].problem, 1);
        open_texts(&e, &s, &cases[c]);
        OK(hs_head_new(&h, &s, s.run, cases[c].about));
        const size_t n = (size_t)(e.rows * 64 * hs_head_columns(h));
        float *logits = malloc(n * sizeof *logits);
        int64_t *rows = malloc((size_t)e.rows * sizeof *rows), at = 0;
        assert_true(logits && rows);
        hs_random_normal(logits, (int64_t)n, 3, 0, 0, 1);
        for (int i = 0; i < TEXTS; i++)
            for (int64_t k = 0; k < e.at[i].n_rows; k++)
                rows[at++] = e.at[i].row[k].n;
        for (int i = 0; i < THREADS; i++) {
            w[i] = (worker){ h, &cases[c], &e, logits, rows, &of[i] };
            assert_int_equal(pthread_create(&thread[i], NULL, decode_all, &w[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
        for (int i = 1; i < THREADS; i++)
            assert_memory_equal(&of[0], &of[i], sizeof of[0]);
        free(logits);
        free(rows);
        hs_head_free(h);
        hs_text_examples_close(&e);
        hs_session_close(&s);
    }
}

// Of logits that say nothing what the checkpoint's chain says is left; an example without a row is empty, whatever came before it.
static void chain(void **state)
{
    (void)state;
    hs_session s = { 0 };
    hs_text_examples e;
    hs_head *h;
    hs_head_decoder *d;
    hs_prediction x;
    float logits[5 * 16] = { 0 };
    heads_open(&s, "bert-crf", NULL, 1);
    OK(hs_text_examples_open(&e, HS_ABOUT_TOKENS, &(hs_rows_opts){ .tokenizer = s.tokenizer, .max_length = s.context }));
    OK(hs_text_examples_add(&e, "a b c", 5, NULL, 0));
    OK(hs_head_new(&h, &s, s.run, HS_ABOUT_TOKENS));
    OK(hs_head_decoder_new(&d, h, NULL));
    OK(hs_head_decoder_begin(d, &e.at[0].example));
    OK(hs_head_decoder_take(d, &e.at[0].row[0], logits, 5));
    OK(hs_head_decoder_end(d, &x));
    assert_false(x.empty);
    for (int i = 0; i < 3; i++)
        assert_true(x.tag_score[i] > 0.34f && x.tag_score[i] < 1);
    OK(hs_head_decoder_begin(d, &e.at[0].example));
    OK(hs_head_decoder_end(d, &x));
    assert_true(x.empty && x.tag[0] == 1 && x.tag_score[0] == 0); // O
    hs_head_decoder_free(d);
    hs_head_free(h);
    hs_text_examples_close(&e);
    hs_session_close(&s);
}

// ---- answers of very long contexts

enum { SPAN_ROWS = 40, SPAN_TOKENS = 48, SPAN_BEST = 48 };
typedef struct reference {
    double sum;
    int order;
    int64_t start, end;
} reference;

static int by_sum(const void *a, const void *b)
{
    const reference *x = a, *y = b;
    return x->sum != y->sum ? (x->sum > y->sum ? -1 : 1) : x->order - y->order;
}

// More candidates than are kept: the answers are those of all of them sorted at once. The context has few different texts.
static void long_context(void **state)
{
    (void)state;
    static reference all[SPAN_ROWS * SPAN_TOKENS * SPAN_TOKENS], want[SPAN_BEST];
    static char context[SPAN_ROWS * SPAN_TOKENS + 1];
    static float logits[SPAN_ROWS][SPAN_TOKENS * 2];
    hs_span_decoder *d;
    hs_span_found found;
    hs_span bytes[SPAN_TOKENS];
    uint8_t best[SPAN_TOKENS];
    int n = 0, m = 0;
    for (int i = 0; i < SPAN_ROWS * SPAN_TOKENS; i++)
        context[i] = (char)('a' + hs_mix((uint64_t)i) % 3);
    memset(best, 1, sizeof best);
    OK(hs_span_decoder_new(&d, &(hs_span_opts){ .n_best = SPAN_BEST, .max_answer = SPAN_TOKENS }));
    hs_span_decoder_begin(d, context);
    for (int r = 0; r < SPAN_ROWS; r++) {
        hs_random_normal(logits[r], SPAN_TOKENS * 2, 5, (uint64_t)r, 0, 1);
        for (int t = 0; t < SPAN_TOKENS * 2; t++)                                                           // many ties
            logits[r][t] = roundf(logits[r][t] * 4) / 4 + (float)(SPAN_ROWS - abs(2 * r - SPAN_ROWS)) / 8; // the best in the middle
        for (int t = 0; t < SPAN_TOKENS; t++)
            bytes[t] = (hs_span){ r * SPAN_TOKENS + t, r * SPAN_TOKENS + t + 1 };
        const hs_example_row row = { .n = SPAN_TOKENS, .bytes = bytes, .best = best };
        OK(hs_span_decoder_add(d, &row, logits[r], 2));
        int32_t order[2][SPAN_TOKENS]; // of starts and ends, the largest first, the earlier among equals
        for (int k = 0; k < 2; k++)
            for (int t = 0; t < SPAN_TOKENS; t++) {
                int at = t;
                for (; at > 0 && logits[r][2 * t + k] > logits[r][2 * order[k][at - 1] + k]; at--)
                    order[k][at] = order[k][at - 1];
                order[k][at] = t;
            }
        for (int i = 0; i < SPAN_TOKENS; i++)
            for (int k = 0; k < SPAN_TOKENS; k++) {
                const int s = order[0][i], e = order[1][k];
                if (e >= s) {
                    all[n] = (reference){ (double)logits[r][2 * s] + (double)logits[r][2 * e + 1], n, bytes[s].start, bytes[e].end };
                    n++;
                }
            }
    }
    assert_true(n > 40000);
    OK(hs_span_decoder_end(d, &found));
    qsort(all, (size_t)n, sizeof *all, by_sum);
    for (int i = 0; i < n && m < SPAN_BEST; i++) {
        bool seen = false;
        for (int k = 0; k < m && !seen; k++)
            seen = want[k].end - want[k].start == all[i].end - all[i].start &&
                   memcmp(context + want[k].start, context + all[i].start, (size_t)(all[i].end - all[i].start)) == 0;
        if (!seen)
            want[m++] = all[i];
    }
    assert_int_equal(found.n, m);
    for (int i = 0; i < m; i++) {
        assert_int_equal(found.guess[i].start, want[i].start);
        assert_int_equal(found.guess[i].end, want[i].end);
        assert_true(found.guess[i].start_logit + found.guess[i].end_logit == want[i].sum);
    }
    hs_span_decoder_free(d);
}

// ---- what is no example

static void refused(void **state)
{
    (void)state;
    hs_session s = { 0 };
    hs_text_examples e;
    heads_open(&s, "bert-tokens", NULL, 1);
    hs_rows_opts rows = { .tokenizer = s.tokenizer, .vocab = s.vocab, .max_length = s.context };
    OK(hs_text_examples_open(&e, HS_ABOUT_TOKENS, &rows));
    OK(hs_text_examples_add(&e, "a b", 3, NULL, 0));
    FAILS(USAGE, "a second text", hs_text_examples_add(&e, "a", 1, "b", 1));
    assert_int_equal(e.n, 1);
    OK(hs_text_examples_add(&e, "", 0, NULL, 0)); // no word: a row of special tokens
    assert_int_equal(e.at[1].example.n, 0);
    assert_int_equal(e.at[1].n_rows, 1);
    assert_int_equal(e.tokens, 4 + 2);
    hs_text_examples_clear(&e);
    OK(hs_text_examples_add(&e, "b", 1, NULL, 0));
    assert_int_equal(e.n, 1);
    assert_int_equal(e.tokens, 3);
    hs_text_examples_close(&e);
    OK(hs_text_examples_open(&e, HS_ABOUT_SPAN, &rows));
    FAILS(USAGE, "without a context", hs_text_examples_add(&e, "a", 1, NULL, 0));
    hs_text_examples_close(&e);
    OK(hs_text_examples_open(&e, HS_ABOUT_SEQUENCE, &rows));
    OK(hs_text_examples_add(&e, "a b c d e f g h a b c d e", 25, NULL, 0));
    assert_true(e.at[0].cut);
    OK(hs_text_examples_add(&e, "a", 1, "", 0)); // a pair with nothing in it
    assert_false(e.at[1].cut);
    assert_int_equal(e.at[1].row[0].n, 4);
    hs_text_examples_close(&e);
    hs_session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_as_a_file), cmocka_unit_test(threads), cmocka_unit_test(chain),
                                        cmocka_unit_test(long_context), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
