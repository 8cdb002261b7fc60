// score_report: the text says every score, the JSON reads back to the same numbers, the pictures are pictures; classes beyond the most
// share a row.
#include "tests/support/support_files.h"

#include "data/score/score_report.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { N = 400, CLASSES = 5 };

typedef struct example {
    hs_labels names;
    int32_t gold[N], pred[N];
    hs_sequence_input in;
    hs_scores scores;
    hs_class_counts by_class[CLASSES];
    hs_interval interval[HS_SCORES_MOST];
    hs_confusion confusion;
    hs_calibration calibration;
    hs_length_errors length;
    hs_score_report report;
} example;

static void make(example *e)
{
    static const char *const names[CLASSES] = { "good", "bad", "na\xc3\xafve", "none", "never" };
    *e = (example){ 0 };
    for (int i = 0; i < CLASSES; i++)
        OK(hs_labels_add(&e->names, names[i], NULL));
    for (int i = 0; i < N; i++) {
        e->gold[i] = i % 7 == 6 ? -1 : i * i % 4;
        e->pred[i] = i % 5 == 0 ? (i * i + i) % 4 : i * i % 4;
        const bool right = e->gold[i] == e->pred[i];
        if (e->gold[i] >= 0) {
            hs_calibration_add(&e->calibration, 0.3 + 0.7 * (i % 11) / 10, right);
            hs_length_add(&e->length, i % 40, 1, !right);
        }
    }
    e->in = (hs_sequence_input){ .n = N, .classes = CLASSES, .gold = e->gold, .pred = e->pred };
    OK(hs_score_sequence(&e->in, &e->scores));
    OK(hs_count_classes(&e->in, e->by_class));
    OK(hs_confusion_make(&e->confusion, &e->names, e->gold, e->pred, N, HS_CONFUSION_MOST));
    const hs_bootstrap_opts o = { .n = N, .resamples = 50, .level = 0.95, .seed = 7 };
    OK(hs_bootstrap(hs_rescore_sequence, &e->in, &o, &e->scores, e->interval));
    e->report = (hs_score_report){ .task = "sequence",
                                   .title = "gold.tsv against pred.tsv",
                                   .examples = N,
                                   .unit = "rows",
                                   .scores = &e->scores,
                                   .interval = e->interval,
                                   .bootstrap = o,
                                   .classes = &e->names,
                                   .by_class = e->by_class,
                                   .class_word = "class",
                                   .confusion = &e->confusion,
                                   .calibration = &e->calibration,
                                   .length = &e->length,
                                   .length_unit = "words",
                                   .error_name = "wrong" };
}

static void unmake(example *e)
{
    hs_labels_free(&e->names);
    hs_confusion_free(&e->confusion);
}

static void says(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in:\n%s", part, text);
}

static void text_says_all(void **state)
{
    (void)state;
    static example e;
    hs_text t = { 0 };
    char line[128];
    make(&e);
    hs_score_text(&e.report, &t);
    says(t.p, "sequence: gold.tsv against pred.tsv\n400 rows, scored as by scikit-learn\n");
    says(t.p, "95 % interval (50 resamples, seed 7)");
    for (int i = 0; i < e.scores.n; i++) {
        snprintf(line, sizeof line, "%-18s%10.4f   %.4f to %.4f\n", e.scores.at[i].name, e.scores.at[i].value, e.interval[i].low,
                 e.interval[i].high);
        says(t.p, line);
    }
    const hs_prf v = hs_class_prf(e.by_class[2]);
    snprintf(line, sizeof line, "na\xc3\xafve       %11.4f%10.4f%10.4f%10lld\n", v.precision, v.recall, v.f1,
             (long long)e.by_class[2].gold);
    says(t.p, line);
    snprintf(line, sizeof line, "calibration: expected error %.4f", hs_calibration_error(&e.calibration));
    says(t.p, line);
    says(t.p, "\n17 to 32");
    hs_text_free(&t);
    unmake(&e);
}

static json_t *load(const char *name)
{
    json_error_t error;
    json_t *o = json_load_file(scratch_path(name), 0, &error);
    if (!o)
        fail_msg("%s: %s", name, error.text);
    return o;
}

static void is_picture(const char *name)
{
    size_t n;
    char *bytes = scratch_read(name, &n);
    assert_true(n > 1000);
    assert_memory_equal(bytes, "\x89PNG\r\n\x1a\n", 8);
    free(bytes);
}

static void files(void **state)
{
    (void)state;
    static example e;
    make(&e);
    char dir[512];
    snprintf(dir, sizeof dir, "%s", scratch_path("report"));
    assert_int_equal(mkdir(dir, 0777), 0);
    OK(hs_score_write(&e.report, dir));
    json_t *o = load("report/scores.json"), *scores = json_object_get(o, "scores"), *low = json_object_get(o, "intervals");
    assert_int_equal(json_object_size(scores), e.scores.n);
    for (int i = 0; i < e.scores.n; i++) {
        assert_true(json_real_value(json_object_get(scores, e.scores.at[i].name)) == e.scores.at[i].value);
        assert_true(json_real_value(json_array_get(json_object_get(low, e.scores.at[i].name), 0)) == e.interval[i].low);
    }
    json_decref(o);
    o = load("report/confusion.json");
    int64_t sum = 0;
    for (int i = 0; i < CLASSES; i++)
        for (int k = 0; k < CLASSES; k++)
            sum += json_integer_value(json_array_get(json_array_get(json_object_get(o, "counts"), (size_t)i), (size_t)k));
    assert_int_equal(sum, N - N / 7);
    json_decref(o);
    o = load("report/length.json");
    assert_string_equal(json_string_value(json_object_get(o, "unit")), "words");
    json_decref(o);
    o = load("report/calibration.json");
    assert_true(json_real_value(json_object_get(o, "ece")) == hs_calibration_error(&e.calibration));
    json_decref(o);
    if (hs_plot_available()) {
        is_picture("report/confusion.png");
        is_picture("report/calibration.png");
        is_picture("report/length.png");
    }
    FAILS(SYSTEM, "no-such-folder", hs_score_write(&e.report, scratch_path("no-such-folder")));
    unmake(&e);
}

static void others_share(void **state)
{
    (void)state;
    static example e;
    hs_confusion c;
    make(&e);
    OK(hs_confusion_make(&c, &e.names, e.gold, e.pred, N, 3));
    assert_int_equal(c.names.n, 3);
    assert_string_equal(c.names.name[2], "(3 others)");
    int64_t all = 0, kept = 0;
    for (int i = 0; i < 9; i++)
        all += c.count[i];
    for (int i = 0; i < CLASSES; i++)
        for (int k = 0; k < CLASSES; k++)
            if (strcmp(e.names.name[i], c.names.name[0]) == 0 && strcmp(e.names.name[k], c.names.name[1]) == 0)
                kept = hs_confusion_at(&e.confusion, i, k);
    assert_int_equal(all, N - N / 7);
    assert_int_equal(hs_confusion_at(&c, 0, 1), kept);
    hs_confusion_free(&c);
    hs_confusion_free(NULL);
    unmake(&e);
}

static void length_bins(void **state)
{
    (void)state;
    hs_length_errors e = { 0 };
    for (int64_t n = 0; n < 3000; n++)
        hs_length_add(&e, n, 1, 0);
    for (int b = 0; hs_length_to(b) < 3000; b++)
        assert_int_equal(e.bin[b].n, hs_length_to(b) - hs_length_from(b) + 1);
    hs_length_add(&e, INT64_MAX, 1, 0);
    assert_int_equal(e.bin[HS_LENGTH_BINS - 1].n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(text_says_all), cmocka_unit_test(files), cmocka_unit_test(others_share),
                                        cmocka_unit_test(length_bins) };
    return cmocka_run_group_tests_name("score_report", tests, scratch_open, scratch_close);
}
