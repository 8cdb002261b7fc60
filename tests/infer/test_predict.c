// predict: labels, tags and answers against transformers' (scripts/gen_golden_predict.py); a chain against all of its paths; many examples
// in many blocks as one by one; what is wrong is told behind what stood before it.
#include "tests/support/support_files.h"
#include "tests/support/support_heads.h"

#include "core/base/rng.h"
#include "infer/heads/predictor.h"
#include "infer/heads/tag_spans.h"
#include "infer/heads/viterbi.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void open_model(hs_session *s, const char *name) { heads_open(s, name, NULL, 2); }

static json_t *want_of(const char *task, json_t **root)
{
    json_error_t e;
    *root = json_load_file(golden_path("predict/want.json"), 0, &e);
    assert_non_null(*root);
    return json_object_get(*root, task);
}

static void near_number(double got, const json_t *want) { assert_true(fabs(got - json_number_value(want)) < 2e-6); }

typedef struct seen { // what `done` was told
    json_t *want;
    const hs_session *s;
    int64_t n, words;
    int64_t order; // number of the last one
    bool context;  // SPAN: check places
} seen;

static hs_predictor_count run_all(const hs_session *s, const hs_predictor_opts *o)
{
    hs_predictor *p;
    hs_predictor_opts opts = *o;
    opts.session = s;
    OK(hs_predictor_open(&p, &opts));
    OK(hs_predictor_run(p));
    const hs_predictor_count n = hs_predictor_counted(p);
    hs_predictor_close(p);
    return n;
}

// ---- goldens

static hs_status check_class(const hs_prediction *x, void *user)
{
    seen *s = user;
    const json_t *want = json_array_get(s->want, (size_t)x->number);
    assert_int_equal(x->number, s->n++);
    assert_int_equal(x->n_labels, json_array_size(want));
    for (int i = 0; i < x->n_labels; i++) {
        near_number((double)x->score[i], json_array_get(want, (size_t)i));
        assert_true(x->score[i] <= x->score[x->label]);
    }
    return HS_OK;
}

static void sequences(void **state)
{
    (void)state;
    static const struct {
        const char *name, *file;
        hs_label_format format;
    } cases[] = { { "pairs", "predict/pairs.jsonl", HS_LABEL_AUTO }, { "texts", "predict/texts.txt", HS_LABEL_TEXT } };
    hs_session s = { 0 };
    json_t *root;
    open_model(&s, "bert-sequence");
    for (int i = 0; i < HS_COUNT(cases); i++) {
        seen user = { .want = want_of(cases[i].name, &root) };
        const hs_examples_opts e = { .about = HS_ABOUT_SEQUENCE, .labels_optional = true, .format = cases[i].format };
        run_all(&s, &(hs_predictor_opts){ .examples = &e, .path = golden_path(cases[i].file), .done = check_class, .user = &user });
        assert_int_equal(user.n, json_array_size(user.want));
        json_decref(root);
    }
    hs_session_close(&s);
}

static hs_status check_tags(const hs_prediction *x, void *user)
{
    seen *s = user;
    const json_t *want = json_array_get(s->want, (size_t)x->number);
    s->n++;
    assert_int_equal(x->example->n, json_array_size(want));
    for (int32_t k = 0; k < x->example->n; k++, s->words++) {
        const json_t *word = json_array_get(want, (size_t)k);
        assert_int_equal(x->tag[k], json_integer_value(json_array_get(word, 0)));
        near_number((double)x->tag_score[k], json_array_get(word, 1));
    }
    return HS_OK;
}

static void words(void **state)
{
    (void)state;
    hs_session s = { 0 };
    json_t *root;
    seen user = { .want = want_of("tokens", &root) };
    const hs_examples_opts e = { .about = HS_ABOUT_TOKENS, .labels_optional = true };
    open_model(&s, "bert-tokens");
    const hs_predictor_count n = run_all(
        &s, &(hs_predictor_opts){
                .examples = &e, .rows = { .stride = 3 }, .path = golden_path("predict/tokens.conll"), .done = check_tags, .user = &user });
    assert_int_equal(user.n, json_array_size(user.want));
    assert_true(n.rows > user.n && user.words > 100);
    json_decref(root);
    hs_session_close(&s);
}

static int64_t characters(const char *s, int64_t bytes)
{
    int64_t n = 0;
    for (int64_t i = 0; i < bytes; i++)
        n += ((unsigned char)s[i] & 0xC0) != 0x80;
    return n;
}

static hs_status check_answers(const hs_prediction *x, void *user)
{
    seen *s = user;
    const json_t *want = json_array_get(s->want, (size_t)x->number), *nbest = json_object_get(want, "nbest");
    const char *context = x->example->text[1];
    s->n++;
    assert_int_equal(x->span.n, json_array_size(nbest));
    for (int i = 0; i < x->span.n; i++) {
        const json_t *one = json_array_get(nbest, (size_t)i);
        const hs_span_guess *g = &x->span.guess[i];
        assert_int_equal(g->none ? -1 : characters(context, g->start), json_integer_value(json_array_get(one, 0)));
        assert_int_equal(g->none ? -1 : characters(context, g->end), json_integer_value(json_array_get(one, 1)));
        near_number(g->probability, json_array_get(one, 2));
    }
    assert_true(fabs(x->span.odds - json_number_value(json_object_get(want, "odds"))) < 2e-5);
    assert_true(x->span.answer ? x->span.odds <= 0 : x->span.odds > 0 || x->span.n == 1);
    return HS_OK;
}

static void answers(void **state)
{
    (void)state;
    hs_session s = { 0 };
    json_t *root;
    seen user = { .want = want_of("span", &root) };
    const hs_examples_opts e = { .about = HS_ABOUT_SPAN, .labels_optional = true };
    open_model(&s, "bert-span");
    run_all(&s, &(hs_predictor_opts){ .examples = &e,
                                      .rows = { .stride = 3, .max_query = 3 },
                                      .span = { .n_best = 5, .max_answer = 4, .ask = true },
                                      .path = golden_path("predict/span.jsonl"),
                                      .done = check_answers,
                                      .user = &user });
    assert_int_equal(user.n, json_array_size(user.want));
    json_decref(root);
    hs_session_close(&s);
}

// ---- blocks

enum { MANY = 1500 };
typedef struct kept {
    int32_t label[MANY];
    float score[MANY][3];
    int64_t line[MANY], n;
    int32_t tag[MANY][8];
} kept;

static hs_status keep_class(const hs_prediction *x, void *user)
{
    kept *k = user;
    assert_int_equal(x->number, k->n);
    k->label[k->n] = x->label, k->line[k->n] = x->example->line;
    memcpy(k->score[k->n++], x->score, 3 * sizeof(float));
    return HS_OK;
}

static hs_status keep_tags(const hs_prediction *x, void *user)
{
    kept *k = user;
    memcpy(k->tag[k->n++], x->tag, (size_t)x->example->n * sizeof(int32_t));
    return HS_OK;
}

static void write_many(const char *name, bool words)
{
    char *text = malloc(MANY * 64), *p = text;
    for (int i = 0; i < MANY; i++) {
        const int n = 1 + (int)(hs_mix((uint64_t)i) % 6);
        for (int k = 0; k < n; k++)
            p += sprintf(p, words ? "%c\n" : "%c ", 'a' + (int)(hs_mix2((uint64_t)i, (uint64_t)k) % 8));
        p += sprintf(p, "\n");
    }
    scratch_write(name, text, (size_t)(p - text));
    free(text);
}

// In the order of the file, and each with the bits that it has alone.
static void many(void **state)
{
    (void)state;
    static kept all, one;
    hs_session s = { 0 };
    const hs_examples_opts e = { .about = HS_ABOUT_SEQUENCE, .labels_optional = true, .format = HS_LABEL_TEXT };
    open_model(&s, "bert-sequence");
    write_many("many.txt", false);
    all.n = 0;
    const hs_predictor_count n =
        run_all(&s, &(hs_predictor_opts){ .examples = &e, .path = scratch_path("many.txt"), .done = keep_class, .user = &all });
    assert_int_equal(n.examples, MANY);
    assert_int_equal(all.n, MANY);
    size_t bytes;
    char *text = scratch_read("many.txt", &bytes), *line = text;
    for (int i = 0; i < MANY; i++) {
        char *end = strchr(line, '\n');
        assert_int_equal(all.line[i], i + 1);
        if (i % 100 == 0) {
            scratch_write("one.txt", line, (size_t)(end - line));
            one.n = 0;
            run_all(&s, &(hs_predictor_opts){ .examples = &e, .path = scratch_path("one.txt"), .done = keep_class, .user = &one });
            assert_memory_equal(one.score[0], all.score[i], sizeof one.score[0]);
        }
        line = end + 1;
    }
    free(text);
    hs_session_close(&s);
}

// The neighbours of a sentence are its own, wherever a block ends: the same as rows that are made of all examples at once.
static void context(void **state)
{
    (void)state;
    static kept all;
    hs_session s = { 0 };
    const hs_examples_opts e = { .about = HS_ABOUT_TOKENS, .labels_optional = true, .format = HS_LABEL_CONLL };
    open_model(&s, "bert-tokens");
    write_many("words.conll", true);
    all.n = 0;
    run_all(&s, &(hs_predictor_opts){
                    .examples = &e, .rows = { .context = 2 }, .path = scratch_path("words.conll"), .done = keep_tags, .user = &all });
    assert_int_equal(all.n, MANY);
    const char *path = scratch_path("words.conll");
    hs_examples *x;
    OK(hs_examples_open(
        &x,
        &(hs_examples_opts){ .about = HS_ABOUT_TOKENS, .path = &path, .n_paths = 1, .labels_optional = true, .format = HS_LABEL_CONLL }));
    hs_row_maker *m;
    hs_row_reader *reader;
    OK(hs_row_maker_new(&m, HS_ABOUT_TOKENS, &(hs_rows_opts){ .tokenizer = s.tokenizer, .max_length = s.context, .context = 2 }));
    OK(hs_session_reader(&reader, &s, s.run));
    for (int64_t i = 0; i < MANY; i += 7) {
        const hs_example_row *row;
        int64_t n, rows;
        int index;
        float logits[16 * 16];
        OK(hs_row_maker_rows(m, x->example, x->n, i, &row, &n));
        assert_int_equal(n, 1);
        assert_true(i == 0 || i == MANY - 1 || row->n >= x->example[i].n + 2 + 2);
        const hs_encode_row r = { .id = row->id, .n = row->n };
        OK(hs_row_reader_add(reader, &r, &index));
        OK(hs_row_reader_run(reader));
        OK(hs_row_reader_task(reader, index, logits, &rows));
        const int64_t cols = hs_row_reader_width(reader);
        for (int64_t t = 0; t < rows; t++) {
            int32_t best = 0;
            for (int32_t c = 1; c < 3; c++)
                best = logits[t * cols + c] > logits[t * cols + best] ? c : best;
            if (row->word[t] >= 0)
                assert_int_equal(best, all.tag[i][row->word[t]]);
        }
    }
    hs_row_reader_free(reader);
    hs_row_maker_free(m);
    hs_examples_close(x);
    hs_session_close(&s);
}

static void errors(void **state)
{
    (void)state;
    static kept all;
    hs_session s = { 0 };
    hs_predictor *p;
    const hs_examples_opts e = { .about = HS_ABOUT_SEQUENCE, .labels_optional = true };
    open_model(&s, "bert-sequence");
    scratch_write("bad.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": 1}\n{\"text\": \"c\"}\n", 52);
    all.n = 0;
    OK(hs_predictor_open(
        &p, &(hs_predictor_opts){ .session = &s, .examples = &e, .path = scratch_path("bad.jsonl"), .done = keep_class, .user = &all }));
    FAILS(USAGE, "bad.jsonl:3: text is a number, not a string", hs_predictor_run(p));
    assert_int_equal(all.n, 2);
    hs_predictor_close(p);
    OK(hs_predictor_open(
        &p, &(hs_predictor_opts){ .session = &s, .examples = &e, .path = scratch_path("bad.jsonl"), .done = keep_class, .user = &all }));
    hs_predictor_close(p); // without a run: the thread ends
    FAILS(USAGE, "no such file",
          hs_predictor_open(&p, &(hs_predictor_opts){ .session = &s, .examples = &e, .path = "/nowhere", .done = keep_class }));
    hs_session_close(&s);
}

// ---- chains

static double score_of(const hs_chain *c, const float *x, int64_t cols, const int32_t *row, int64_t n, const int32_t *y)
{
    double v = (double)c->first[y[0]] + (double)c->last[y[n - 1]];
    for (int64_t t = 0; t < n; t++)
        v += (double)x[row[t] * cols + y[t]] + (t ? (double)c->next[y[t - 1] * c->labels + y[t]] : 0);
    return v;
}

static void chains(void **state)
{
    (void)state;
    enum { L = 3, N = 5, COLS = 8, ROWS = 9, PATHS = 243 };
    float next[L * L], first[L], last[L], x[ROWS * COLS];
    for (uint64_t seed = 1; seed < 40; seed++) {
        hs_random_normal(next, L * L, seed, 0, 0, 1);
        hs_random_normal(first, L, seed, 100, 0, 1);
        hs_random_normal(last, L, seed, 200, 0, 1);
        hs_random_normal(x, ROWS * COLS, seed, 300, 0, seed % 4 == 0 ? 200 : 1);
        const hs_chain c = { L, next, first, last };
        const int64_t n = 1 + (int64_t)(seed % N);
        const int32_t row[N] = { 1, 2, 4, 7, 8 };
        int32_t tag[N], y[N], best[N] = { 0 };
        float p[N];
        double most = -INFINITY, sum = 0, of_tag[N] = { 0 };
        OK(hs_viterbi(&c, x, COLS, row, n, tag, p));
        for (int pass = 0; pass < 2; pass++)
            for (int path = 0; path < (int)pow(L, (double)n); path++) {
                for (int64_t t = 0, rest = path; t < n; t++, rest /= L)
                    y[t] = (int32_t)(rest % L);
                const double v = score_of(&c, x, COLS, row, n, y);
                if (pass == 0 && v > most)
                    most = v, memcpy(best, y, sizeof y);
                if (pass == 1)
                    sum += exp(v - most);
                for (int64_t t = 0; t < n && pass == 1; t++)
                    of_tag[t] += y[t] == tag[t] ? exp(v - most) : 0;
            }
        for (int64_t t = 0; t < n; t++) {
            assert_int_equal(tag[t], best[t]);
            assert_true(fabs((double)p[t] - of_tag[t] / sum) < 1e-6);
        }
    }
}

static hs_status keep_chain(const hs_prediction *x, void *user)
{
    kept *k = user;
    k->n++;
    for (int32_t i = 0; i < x->example->n; i++)
        assert_true(x->tag[i] >= 0 && x->tag[i] < x->n_labels && x->tag_score[i] > 0 && x->tag_score[i] <= 1);
    return HS_OK;
}

// The chain's parameters are the checkpoint's.
static void chain_model(void **state)
{
    (void)state;
    static kept all;
    hs_session s = { 0 };
    const hs_examples_opts e = { .about = HS_ABOUT_TOKENS, .labels_optional = true };
    open_model(&s, "bert-crf");
    all.n = 0;
    run_all(&s, &(hs_predictor_opts){ .examples = &e, .path = golden_path("predict/tokens.conll"), .done = keep_chain, .user = &all });
    assert_int_equal(all.n, 25);
    hs_session_close(&s);
}

// ---- spans of tags

static void check_spans(const char *const *names, int n_names, const int32_t *tags, int32_t n, const char *want)
{
    hs_labels l = { 0 };
    hs_tag_spans *t;
    const hs_tag_span *span;
    float score[16];
    char got[200] = "";
    int m;
    for (int i = 0; i < n_names; i++)
        OK(hs_labels_add(&l, names[i], NULL));
    for (int32_t i = 0; i < n; i++)
        score[i] = 0.5f;
    OK(hs_tag_spans_new(&t, &l));
    OK(hs_tag_spans_of(t, tags, score, n, &span, &m));
    for (int i = 0; i < m; i++)
        sprintf(got + strlen(got), "%s%s %d-%d", i ? ", " : "", hs_tag_spans_types(t)->name[span[i].type], span[i].first, span[i].end);
    assert_string_equal(got, want);
    hs_tag_spans_free(t);
    hs_labels_free(&l);
}

static void tag_spans(void **state)
{
    (void)state;
    static const char *const iob[] = { "O", "B-X", "I-X", "B-Y", "I-Y" }, *const bioes[] = { "O", "B-X", "I-X", "E-X", "S-X" };
    static const char *const plain[] = { "O", "NN", "VB" };
    check_spans(iob, 5, (const int32_t[]){ 1, 2, 0, 1, 1, 3, 2, 4 }, 8, "X 0-2, X 3-4, X 4-5, Y 5-6, X 6-7, Y 7-8");
    check_spans(bioes, 5, (const int32_t[]){ 1, 2, 3, 4, 4, 0, 1, 3 }, 8, "X 0-3, X 3-4, X 4-5, X 6-8");
    check_spans(plain, 3, (const int32_t[]){ 1, 1, 2, 0, 1 }, 5, "NN 0-2, VB 2-3, NN 4-5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences), cmocka_unit_test(words),       cmocka_unit_test(answers),
        cmocka_unit_test(many),      cmocka_unit_test(context),     cmocka_unit_test(errors),
        cmocka_unit_test(chains),    cmocka_unit_test(chain_model), cmocka_unit_test(tag_spans),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
