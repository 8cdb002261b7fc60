// score: every metric equals the field's scorer on the goldens of scripts/gen_golden_scores.py, counts exactly; bad input has one clear
// line.
#include "tests/support/support_files.h"

#include "data/base/json_util.h"
#include "data/score/bootstrap.h"
#include "data/score/calibration.h"
#include "data/score/score.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *golden(const char *name)
{
    char path[512];
    json_error_t e;
    snprintf(path, sizeof path, "%s/golden/scores/%s.json", HS_TESTS_DIR, name);
    json_t *all = json_load_file(path, 0, &e);
    if (!all)
        fail_msg("%s:%d: %s", path, e.line, e.text);
    assert_true(json_array_size(all) > 0);
    return all;
}

static void near(const char *what, size_t k, double got, const json_t *want)
{
    if (json_is_null(want) ? !isnan(got) : !(fabs(got - json_number_value(want)) <= 1e-12 * fmax(fabs(json_number_value(want)), 1e-3)))
        fail_msg("case %zu: %s is %.17g, not %.17g", k, what, got, json_is_null(want) ? NAN : json_number_value(want));
}

static void same_scores(size_t k, const hs_scores *s, const json_t *of)
{
    const char *name;
    json_t *want;
    assert_true(json_object_size(json_object_get(of, "want")) > 1);
    json_object_foreach(json_object_get(of, "want"), name, want)
    {
        if (hs_scores_find(s, name) < 0)
            fail_msg("case %zu has no %s", k, name);
        near(name, k, hs_scores_get(s, name), want);
    }
}

static int32_t *ints(const json_t *of, const char *key, int64_t *n)
{
    const json_t *a = json_object_get(of, key);
    *n = (int64_t)json_array_size(a);
    int32_t *v = malloc(((size_t)*n + 1) * sizeof *v);
    for (int64_t i = 0; i < *n; i++)
        v[i] = (int32_t)json_integer_value(json_array_get(a, (size_t)i));
    return v;
}

// Rows of numbers one behind the other, each with a number more that is not to be read.
static float *rows(const json_t *of, const char *key, int64_t *n)
{
    const json_t *a = json_object_get(of, key);
    const size_t width = json_array_size(json_array_get(a, 0)) + 1;
    *n = (int64_t)json_array_size(a);
    if (*n == 0)
        return NULL;
    float *v = malloc((size_t)*n * width * sizeof *v);
    for (size_t i = 0; i < (size_t)*n; i++)
        for (size_t k = 0; k < width; k++)
            v[i * width + k] = k + 1 == width ? NAN : (float)json_number_value(json_array_get(json_array_get(a, i), k));
    return v;
}

static int get_int(const json_t *of, const char *key) { return (int)json_integer_value(json_object_get(of, key)); }
static const char *get_text(const json_t *of, const char *key) { return json_string_value(json_object_get(of, key)); }

static void sequences(void **state)
{
    (void)state;
    json_t *all = golden("sequence"), *c;
    size_t k;
    json_array_foreach(all, k, c)
    {
        int64_t n;
        hs_scores s;
        hs_sequence_input in = { .classes = get_int(c, "classes"), .positive = 1 };
        int32_t *gold = ints(c, "gold", &in.n), *pred = ints(c, "pred", &in.n);
        float *scores = rows(c, "scores", &n);
        in.gold = gold, in.pred = pred, in.scores = scores, in.stride = in.classes + 1;
        OK(hs_score_sequence(&in, &s));
        same_scores(k, &s, c);
        assert_string_equal(s.at[0].name, hs_scores_judge(HS_TASK_SEQUENCE));
        free(gold);
        free(pred);
        free(scores);
    }
    json_decref(all);
}

static void regressions(void **state)
{
    (void)state;
    json_t *all = golden("regression"), *c;
    size_t k;
    json_array_foreach(all, k, c)
    {
        hs_scores s;
        hs_regression_input in = { .width = get_int(c, "width") };
        float *gold = rows(c, "gold", &in.n), *pred = rows(c, "pred", &in.n);
        in.gold = gold, in.pred = pred, in.gold_stride = in.pred_stride = in.width + 1;
        OK(hs_score_regression(&in, &s));
        same_scores(k, &s, c);
        assert_string_equal(s.at[0].name, hs_scores_judge(HS_TASK_REGRESSION));
        free(gold);
        free(pred);
    }
    json_decref(all);
}

static void multilabels(void **state)
{
    (void)state;
    json_t *all = golden("multilabel"), *c;
    size_t k;
    json_array_foreach(all, k, c)
    {
        hs_scores s;
        hs_multilabel_input in = { .labels = get_int(c, "labels"), .threshold = 0.5f, .ranked = true };
        float *gold = rows(c, "gold", &in.n), *scores = rows(c, "scores", &in.n);
        in.gold = gold, in.scores = scores, in.gold_stride = in.score_stride = in.labels + 1;
        OK(hs_score_multilabel(&in, &s));
        same_scores(k, &s, c);
        assert_string_equal(s.at[0].name, hs_scores_judge(HS_TASK_MULTILABEL));
        free(gold);
        free(scores);
    }
    json_decref(all);
}

// ---- tokens

typedef struct tagged { // sentences of one side or both, -1 between the words where a token is to be passed over
    hs_labels tags;
    int64_t starts[64], sentences;
    int32_t gold[1024], pred[1024];
} tagged;

static int64_t read_tags(tagged *t, const char *line, int32_t *out)
{
    char copy[512];
    int64_t n = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *tag = strtok(copy, " "); tag; tag = strtok(NULL, " ")) {
        int at;
        OK(hs_labels_add(&t->tags, tag, &at));
        out[n++] = (int32_t)at;
    }
    return n;
}

static void read_case(tagged *t, const json_t *c)
{
    const json_t *gold = json_object_get(c, "gold"), *pred = json_object_get(c, "pred");
    *t = (tagged){ .sentences = (int64_t)json_array_size(gold) };
    for (size_t s = 0; s < (size_t)t->sentences; s++) {
        const int64_t at = t->starts[s], n = read_tags(t, json_string_value(json_array_get(gold, s)), t->gold + at);
        assert_int_equal(read_tags(t, json_string_value(json_array_get(pred, s)), t->pred + at), n);
        t->starts[s + 1] = at + n;
    }
}

static int word_index(const char *word, const char *words)
{
    int at = 0;
    for (const char *w = words; w; w = strchr(w, '|') ? strchr(w, '|') + 1 : NULL, at++)
        if (strncmp(w, word, strlen(word)) == 0 && strchr("|", w[strlen(word)]))
            return at;
    fail_msg("no %s in %s", word, words);
    return -1;
}

static void tokens(void **state)
{
    (void)state;
    json_t *all = golden("tokens"), *c;
    size_t k;
    static tagged t;
    json_array_foreach(all, k, c)
    {
        hs_scores s;
        hs_entity_counts counts;
        read_case(&t, c);
        const hs_tokens_input in = { .tags = &t.tags,
                                     .sentences = t.sentences,
                                     .starts = t.starts,
                                     .gold = t.gold,
                                     .pred = t.pred,
                                     .mode = (hs_entity_mode)word_index(get_text(c, "mode"), HS_ENTITY_MODE_WORDS),
                                     .scheme = (hs_entity_scheme)word_index(get_text(c, "scheme"), HS_ENTITY_SCHEME_WORDS) };
        OK(hs_score_tokens(&in, &s));
        same_scores(k, &s, c);
        assert_string_equal(s.at[0].name, hs_scores_judge(HS_TASK_TOKENS));
        OK(hs_count_entities(&in, &counts));
        const json_t *want = json_object_get(c, "counts");
        assert_int_equal(counts.types.n, json_object_size(want));
        for (int i = 0; i < counts.types.n; i++) {
            const json_t *of = json_object_get(want, counts.types.name[i]);
            assert_true(i == 0 || strcmp(counts.types.name[i - 1], counts.types.name[i]) < 0);
            assert_int_equal(counts.of_type[i].hits, json_integer_value(json_array_get(of, 0)));
            assert_int_equal(counts.of_type[i].predicted, json_integer_value(json_array_get(of, 1)));
            assert_int_equal(counts.of_type[i].gold, json_integer_value(json_array_get(of, 2)));
        }
        hs_entity_counts_free(&counts);
        hs_labels_free(&t.tags);
    }
    json_decref(all);
}

// What is passed over is as if it were not there; the scheme is told by the gold tags, and by nothing else.
static void passed_over(void **state)
{
    (void)state;
    hs_labels tags = { 0 };
    for (int i = 0; i < 5; i++)
        OK(hs_labels_add(&tags, (const char *[]){ "O", "B-A", "I-A", "S-A", "X-A" }[i], NULL));
    const int64_t starts[] = { 0, 6, 6, 9 };
    const int32_t gold[] = { -1, 1, -1, 2, 0, -1, 1, -1, 2 }, pred[] = { 9, 1, 4, 2, 0, -7, 1, 2, 0 };
    hs_tokens_input in = { .tags = &tags, .sentences = 3, .starts = starts, .gold = gold, .pred = pred, .mode = HS_ENTITY_STRICT };
    hs_scores s;
    OK(hs_score_tokens(&in, &s));
    assert_string_equal(s.scorer, "seqeval, strict mode, scheme IOB2");
    assert_true(hs_scores_get(&s, "accuracy") == 0.8 && hs_scores_get(&s, "f1") == 0.5 && hs_scores_get(&s, "entities") == 2);
    const int32_t other[] = { 0, 3, 0, 2, 0, 0, 1, 0, 2 };
    in.pred = other;
    FAILS(USAGE, "tag \"S-A\" is none of scheme iob2, whose tags begin with I, O or B", hs_score_tokens(&in, &s));
    in.pred = gold, in.gold = other, in.scheme = HS_SCHEME_IOBES;
    FAILS(USAGE, "token 0 has tag 0 and prediction -1, allowed 0 to 4", hs_score_tokens(&in, &s));
    in.pred = other, in.scheme = HS_SCHEME_AUTO;
    FAILS(USAGE, "the gold tags begin with I O B S alone: not the prefixes of", hs_score_tokens(&in, &s));
    const int32_t none[] = { -1, -1, -1, -1, -1, -1, -1, -1, -1 };
    in.gold = none, in.mode = HS_ENTITY_DEFAULT;
    FAILS(USAGE, "no token has a gold tag", hs_score_tokens(&in, &s));
    assert_false(hs_tags_are_chunks(&tags)); // X-
    tags.n = 4;
    assert_true(hs_tags_are_chunks(&tags));
    tags.n = 5;
    hs_labels_free(&tags);
}

// ---- span

static hs_span_answer *answers(const json_t *c, int64_t *n)
{
    const json_t *items = json_object_get(c, "items");
    *n = (int64_t)json_array_size(items);
    hs_span_answer *a = calloc((size_t)*n, sizeof *a);
    for (size_t i = 0; i < (size_t)*n; i++) {
        const json_t *of = json_array_get(items, i), *gold = json_object_get(of, "gold");
        const size_t n_gold = json_array_size(gold);
        const char **texts = malloc((n_gold + 1) * sizeof *texts);
        for (size_t k = 0; k < n_gold; k++)
            texts[k] = json_string_value(json_array_get(gold, k));
        a[i] = (hs_span_answer){ .id = get_text(of, "id"),
                                 .gold = texts,
                                 .n_gold = (int)n_gold,
                                 .pred = get_text(of, "pred"),
                                 .odds = json_number_value(json_object_get(of, "odds")) };
    }
    return a;
}

static void spans(void **state)
{
    (void)state;
    json_t *all = golden("span"), *c;
    size_t k;
    json_array_foreach(all, k, c)
    {
        hs_scores s, again;
        hs_span_input in = { .version_2 = json_is_true(json_object_get(c, "version_2")),
                             .odds = json_is_true(json_object_get(c, "odds")),
                             .threshold = json_number_value(json_object_get(c, "threshold")) };
        hs_span_answer *a = answers(c, &in.n);
        in.answers = a;
        OK(hs_score_span(&in, &s));
        same_scores(k, &s, c);
        assert_string_equal(s.at[0].name, hs_scores_judge(HS_TASK_SPAN));
        hs_answer_score *each = malloc((size_t)in.n * sizeof *each);
        OK(hs_score_answers(&in, each));
        in.each = each;
        OK(hs_score_span(&in, &again));
        assert_memory_equal(s.at, again.at, (size_t)s.n * sizeof *s.at);
        in.each = NULL;
        if (in.version_2) {
            a[1].pred = NULL;
            FAILS(USAGE, a[1].id, hs_score_span(&in, &s));
        } else {
            a[1].n_gold = 0;
            FAILS(USAGE, "has no answer, which is a matter of version 2", hs_score_span(&in, &s));
        }
        for (int64_t i = 0; i < in.n; i++)
            free((void *)(uintptr_t)a[i].gold);
        free(each);
        free(a);
    }
    json_decref(all);
}

static void normal_forms(void **state)
{
    (void)state;
    json_t *all = golden("normal"), *c;
    size_t k;
    char *text;
    json_array_foreach(all, k, c)
    {
        OK(hs_answer_normalize(get_text(c, "text"), &text));
        assert_string_equal(text, get_text(c, "want"));
        free(text);
    }
    json_decref(all);
    OK(hs_answer_normalize("The \xff\xfe cat \xe2\x82", &text)); // bytes of no text stay as they are
    assert_string_equal(text, "\xff\xfe cat \xe2\x82");
    free(text);
}

// ---- intervals, calibration

static void intervals(void **state)
{
    (void)state;
    json_t *all = golden("intervals"), *c = json_array_get(all, 0), *want;
    hs_scores s;
    hs_interval interval[HS_SCORES_MOST];
    hs_sequence_input in = { .classes = 2, .positive = 1 };
    int32_t *gold = ints(c, "gold", &in.n), *pred = ints(c, "pred", &in.n);
    in.gold = gold, in.pred = pred;
    OK(hs_score_sequence(&in, &s));
    hs_bootstrap_opts o = { .n = in.n,
                            .resamples = get_int(c, "resamples"),
                            .level = json_number_value(json_object_get(c, "level")),
                            .seed = (uint64_t)get_int(c, "seed") };
    OK(hs_bootstrap(hs_rescore_sequence, &in, &o, &s, interval));
    const char *name;
    json_object_foreach(json_object_get(c, "want"), name, want)
    {
        const int at = hs_scores_find(&s, name);
        near(name, 0, interval[at].low, json_array_get(want, 0));
        near(name, 0, interval[at].high, json_array_get(want, 1));
        assert_true(interval[at].low < s.at[at].value && s.at[at].value < interval[at].high);
    }
    o.resamples = 1;
    FAILS(USAGE, "a bootstrap of 50 rows in 1 resamples", hs_bootstrap(hs_rescore_sequence, &in, &o, &s, interval));
    free(gold);
    free(pred);
    json_decref(all);
}

// Of every task: the rows once each, in order, are the whole.
static void drawn_once(void **state)
{
    (void)state;
    static const int64_t draw[] = { 0, 1, 2, 3 }, starts[] = { 0, 1, 2, 3, 4 };
    static const int32_t gold[] = { 0, 1, 1, 0 }, pred[] = { 0, 1, 0, 0 };
    static const float numbers[] = { 1, 0, 1, 0.5f }, others[] = { 0.7f, 0.2f, 0.4f, 0.9f };
    static const char *const texts[] = { "a cat" };
    hs_labels tags = { 0 };
    OK(hs_labels_add(&tags, "O", NULL));
    OK(hs_labels_add(&tags, "B-A", NULL));
    const hs_span_answer a[] = { { .id = "1", .gold = texts, .n_gold = 1, .pred = "cat" },
                                 { .id = "2", .pred = "" },
                                 { .id = "3", .pred = "x" },
                                 { .id = "4", .pred = "" } };
    const struct {
        hs_rescore *score;
        const void *input;
    } task[] = {
        { hs_rescore_sequence, &(hs_sequence_input){ .n = 4, .classes = 2, .gold = gold, .pred = pred, .positive = 1 } },
        { hs_rescore_regression, &(hs_regression_input){ .n = 4, .width = 1, .gold = numbers, .pred = others } },
        { hs_rescore_multilabel, &(hs_multilabel_input){ .n = 4, .labels = 1, .gold = numbers, .scores = others, .threshold = 0.5f } },
        { hs_rescore_tokens, &(hs_tokens_input){ .tags = &tags, .sentences = 4, .starts = starts, .gold = gold, .pred = pred } },
        { hs_rescore_span, &(hs_span_input){ .n = 4, .answers = a, .version_2 = true } },
    };
    for (int k = 0; k < HS_COUNT(task); k++) {
        hs_scores whole, drawn;
        OK(task[k].score(task[k].input, NULL, &whole));
        OK(task[k].score(task[k].input, draw, &drawn));
        assert_int_equal(whole.n, drawn.n);
        assert_true(whole.n > 1);
        assert_memory_equal(whole.at, drawn.at, (size_t)whole.n * sizeof *whole.at);
        OK(task[k].score(task[k].input, (const int64_t[]){ 3, 3, 3, 3 }, &drawn));
        assert_memory_not_equal(whole.at, drawn.at, (size_t)whole.n * sizeof *whole.at);
    }
    hs_labels_free(&tags);
}

static void calibrations(void **state)
{
    (void)state;
    json_t *all = golden("calibration"), *c = json_array_get(all, 0);
    const json_t *confidence = json_object_get(c, "confidence"), *right = json_object_get(c, "right"), *bins = json_object_get(c, "bins");
    hs_calibration k = { 0 };
    for (size_t i = 0; i < json_array_size(confidence); i++)
        hs_calibration_add(&k, json_number_value(json_array_get(confidence, i)), json_integer_value(json_array_get(right, i)) != 0);
    near("ece", 0, hs_calibration_error(&k), json_object_get(c, "ece"));
    for (size_t b = 0; b < HS_CALIBRATION_BINS; b++) {
        const json_t *want = json_array_get(bins, b);
        assert_int_equal(k.bin[b].n, json_integer_value(json_array_get(want, 0)));
        near("confidence", b, hs_calibration_confidence(&k, (int)b), json_array_get(want, 1));
        near("accuracy", b, hs_calibration_accuracy(&k, (int)b), json_array_get(want, 2));
    }
    json_decref(all);
}

static void refused(void **state)
{
    (void)state;
    hs_scores s;
    FAILS(USAGE, "row 1 has class 3 and prediction 0, allowed 0 to 2",
          hs_score_sequence(&(hs_sequence_input){ .n = 2, .classes = 3, .gold = (int32_t[]){ 0, 3 }, .pred = (int32_t[]){ 0, 0 } }, &s));
    FAILS(USAGE, "no row has a gold label",
          hs_score_sequence(&(hs_sequence_input){ .n = 1, .classes = 3, .gold = (int32_t[]){ -1 }, .pred = (int32_t[]){ 0 } }, &s));
    FAILS(USAGE, "nothing to score", hs_score_regression(&(hs_regression_input){ .width = 1 }, &s));
    FAILS(USAGE, "nothing to score", hs_score_multilabel(&(hs_multilabel_input){ .labels = 1 }, &s));
    FAILS(USAGE, "nothing to score", hs_score_span(&(hs_span_input){ 0 }, &s));
    assert_null(hs_scores_judge(HS_TASK_NONE));
    assert_true(isnan(hs_scores_get(&s, "no such score")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences),   cmocka_unit_test(regressions),  cmocka_unit_test(multilabels),  cmocka_unit_test(tokens),
        cmocka_unit_test(passed_over), cmocka_unit_test(spans),        cmocka_unit_test(normal_forms), cmocka_unit_test(intervals),
        cmocka_unit_test(drawn_once),  cmocka_unit_test(calibrations), cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("score", tests, NULL, NULL);
}
