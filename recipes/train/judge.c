// judge: one row of functions for each kind of task - what it keeps of a row's logits, what it is scored by, what its report shows.
#include "recipes/train/judge_task.h"
#include "recipes/train/run_dir.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct task task;
// ---- logits
static double softmax_sum(const float *x, int n, float most)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)most);
    return sum;
}

// ---- one class of a text
static hs_status take_class(hs_judge *j, const hs_example_row *row, const float *logits, int64_t cols)
{
    (void)cols;
    const int32_t best = hs_judge_best(logits, j->width);
    const double sum = softmax_sum(logits, j->width, logits[best]);
    j->pred[row->example] = best;
    j->sure[row->example] = (float)(1 / sum);
    for (int i = 0; j->value && i < j->width; i++)
        j->value[row->example * j->width + i] = (float)(exp((double)logits[i] - (double)logits[best]) / sum);
    return HS_OK;
}

// Of texts, and of words whose tags are no entities.
static hs_sequence_input classes_of(const hs_judge *j)
{
    return (hs_sequence_input){ .n = j->n, .classes = j->width, .gold = j->gold, .pred = j->pred, .scores = j->value, .positive = 1 };
}

hs_status hs_judge_score_class(hs_judge *j, hs_scores *out)
{
    const hs_sequence_input in = classes_of(j);
    return hs_score_sequence(&in, out);
}

static int64_t characters_of(const hs_example *e) { return (int64_t)(e->bytes[0] + e->bytes[1]); }

hs_status hs_judge_count(hs_judge *j, hs_judge_facts *f)
{
    const hs_sequence_input in = classes_of(j);
    f->by_class = calloc((size_t)j->width + 1, sizeof *f->by_class);
    if (!f->by_class)
        return HS_FAIL(MEMORY, "no memory to count %d classes", j->width);
    HS_TRY(hs_count_classes(&in, f->by_class));
    HS_TRY(hs_confusion_make(&f->confusion, &j->examples->labels, j->gold, j->pred, j->n, HS_CONFUSION_MOST));
    f->classes = j->examples->labels;
    f->report.by_class = f->by_class, f->report.classes = &f->classes, f->report.class_word = "class";
    f->report.confusion = &f->confusion;
    return HS_OK;
}

static hs_status facts_class(hs_judge *j, hs_judge_facts *f)
{
    HS_TRY(hs_judge_count(j, f));
    for (int64_t i = 0; i < j->n; i++) {
        if (j->gold[i] < 0)
            continue;
        hs_calibration_add(&f->calibration, (double)j->sure[i], j->pred[i] == j->gold[i]);
        hs_length_add(&f->length, characters_of(&j->examples->example[i]), 1, j->pred[i] != j->gold[i]);
    }
    f->report.calibration = &f->calibration;
    f->report.length = &f->length, f->report.length_unit = "bytes", f->report.error_name = "wrong";
    return HS_OK;
}

// ---- numbers
static hs_status take_numbers(hs_judge *j, const hs_example_row *row, const float *logits, int64_t cols)
{
    (void)cols;
    memcpy(j->value + row->example * j->width, logits, (size_t)j->width * sizeof *logits);
    return HS_OK;
}

// What was seen, for scores that know no gaps; NULL: all of it. The caller frees it.
static hs_status draw_seen(const hs_judge *j, int64_t **draw, int64_t *n)
{
    *n = 0;
    *draw = malloc(((size_t)j->n + 1) * sizeof **draw);
    if (!*draw)
        return HS_FAIL(MEMORY, "no memory to score %lld examples", (long long)j->n);
    for (int64_t i = 0; i < j->n; i++)
        if (j->seen[i])
            (*draw)[(*n)++] = i;
    if (*n < j->n)
        return HS_OK;
    free(*draw);
    *draw = NULL;
    return HS_OK;
}

static hs_status score_numbers(hs_judge *j, hs_scores *out)
{
    int64_t *draw, n;
    HS_TRY(draw_seen(j, &draw, &n));
    const hs_status st = hs_score_regression(
        &(hs_regression_input){ .n = n, .width = j->width, .gold = j->gold_value, .pred = j->value, .draw = draw }, out);
    free(draw);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status facts_numbers(hs_judge *j, hs_judge_facts *f)
{
    for (int64_t i = 0; i < j->n; i++) {
        double error = 0;
        for (int k = 0; k < j->width; k++)
            error += fabs((double)j->value[i * j->width + k] - (double)j->gold_value[i * j->width + k]) / j->width;
        if (j->seen[i])
            hs_length_add(&f->length, characters_of(&j->examples->example[i]), 1, error);
    }
    f->report.length = &f->length, f->report.length_unit = "bytes", f->report.error_name = "mean absolute error";
    return HS_OK;
}

// ---- any of several labels
static hs_status take_labels(hs_judge *j, const hs_example_row *row, const float *logits, int64_t cols)
{
    (void)cols;
    for (int k = 0; k < j->width; k++)
        j->value[row->example * j->width + k] = (float)(1 / (1 + exp(-(double)logits[k])));
    return HS_OK;
}

static hs_multilabel_input labels_of(const hs_judge *j)
{
    return (
        hs_multilabel_input){ .n = j->n, .labels = j->width, .gold = j->gold_value, .scores = j->value, .threshold = 0.5f, .ranked = true };
}

static hs_status score_labels(hs_judge *j, hs_scores *out)
{
    int64_t *draw;
    hs_multilabel_input in = labels_of(j);
    HS_TRY(draw_seen(j, &draw, &in.n));
    in.draw = draw;
    const hs_status st = hs_score_multilabel(&in, out);
    free(draw);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status facts_labels(hs_judge *j, hs_judge_facts *f)
{
    const hs_multilabel_input in = labels_of(j);
    f->by_class = calloc((size_t)j->width + 1, sizeof *f->by_class);
    if (!f->by_class)
        return HS_FAIL(MEMORY, "no memory to count %d labels", j->width);
    HS_TRY(hs_count_labels(&in, f->by_class));
    f->classes = j->examples->labels;
    f->report.by_class = f->by_class, f->report.classes = &f->classes, f->report.class_word = "label", f->report.absent = true;
    return HS_OK;
}

static const hs_judge_task tasks[HS_ABOUTS] = {
    [HS_ABOUT_SEQUENCE] = { "sequence", "texts", "accuracy", false, take_class, hs_judge_score_class, facts_class },
    [HS_ABOUT_PAIR] = { "pair", "pairs", "accuracy", false, take_class, hs_judge_score_class, facts_class },
    [HS_ABOUT_REGRESSION] = { "regression", "texts", "pearson", false, take_numbers, score_numbers, facts_numbers },
    [HS_ABOUT_MULTILABEL] = { "multilabel", "texts", "f1_micro", false, take_labels, score_labels, facts_labels },
    [HS_ABOUT_TOKENS] = { "tokens", "sentences", "f1", true, hs_judge_tags_take, hs_judge_tags_score, hs_judge_tags_facts },
    [HS_ABOUT_SPAN] = { "span", "questions", "f1", true, hs_judge_span_take, hs_judge_span_score, hs_judge_span_facts },
};

// ---- the whole
static bool judges_numbers(const hs_judge *j)
{
    return j->examples->about == HS_ABOUT_REGRESSION || j->examples->about == HS_ABOUT_MULTILABEL;
}

static hs_status alloc(hs_judge *j)
{
    const size_t n = (size_t)j->n + 1, w = (size_t)(j->width > 0 ? j->width : 1);
    const bool numbers = judges_numbers(j), words = j->examples->about == HS_ABOUT_TOKENS;
    j->seen = calloc((size_t)j->examples->n + 1, sizeof *j->seen);
    j->gold = malloc(n * sizeof *j->gold), j->pred = malloc(n * sizeof *j->pred);
    j->starts = malloc(((size_t)j->examples->n + 1) * sizeof *j->starts);
    j->gold_value = numbers ? calloc(n * w, sizeof *j->gold_value) : NULL;
    const bool kept = numbers || (!words && w <= HS_JUDGE_AREAS);
    j->value = kept ? calloc(n * w, sizeof *j->value) : NULL;
    j->sure = calloc(n, sizeof *j->sure);
    if (!j->seen || !j->gold || !j->pred || !j->starts || !j->sure || (numbers && !j->gold_value) || (kept && !j->value))
        return HS_FAIL(MEMORY, "no memory to judge %lld examples", (long long)j->examples->n);
    return HS_OK;
}

// Gold of all, as if each was seen.
static void fill_gold(hs_judge *j)
{
    const hs_examples *e = j->examples;
    for (int64_t i = 0; i < e->n; i++) {
        const hs_example *x = &e->example[i];
        if (e->about == HS_ABOUT_TOKENS) {
            memcpy(j->gold + j->starts[i], x->labels, (size_t)x->n * sizeof *x->labels);
            continue;
        }
        j->gold[i] = x->label;
        if (e->about == HS_ABOUT_REGRESSION)
            memcpy(j->gold_value + i * j->width, x->value, (size_t)x->n * sizeof *x->value);
        for (int32_t k = 0; e->about == HS_ABOUT_MULTILABEL && k < x->n; k++)
            j->gold_value[i * j->width + x->labels[k]] = 1;
    }
}

static hs_status make(hs_judge *j)
{
    const hs_examples *e = j->examples;
    j->n = e->n;
    j->width = e->about == HS_ABOUT_REGRESSION ? e->n_values : e->labels.n;
    j->chunks = e->about == HS_ABOUT_TOKENS && hs_tags_are_chunks(&e->labels);
    if (e->about == HS_ABOUT_TOKENS) {
        j->n = 0;
        for (int64_t i = 0; i < e->n; i++)
            j->n += e->example[i].n;
    }
    if (e->about == HS_ABOUT_SPAN) {
        j->seen = calloc((size_t)e->n + 1, sizeof *j->seen);
        return j->seen ? hs_judge_span_open(j) : HS_FAIL(MEMORY, "no memory to judge %lld questions", (long long)e->n);
    }
    HS_TRY(alloc(j));
    for (int64_t i = 0, at = 0; i <= e->n; i++) {
        j->starts[i] = at;
        at += i < e->n ? e->example[i].n : 0;
    }
    fill_gold(j);
    return HS_OK;
}

// SQuAD 2.0: some question has no answer.
static bool asks_for_nothing(const hs_examples *e)
{
    int64_t i = 0;
    while (e->about == HS_ABOUT_SPAN && i < e->n && e->example[i].n)
        i++;
    return e->about == HS_ABOUT_SPAN && i < e->n;
}

hs_status hs_judge_new(hs_judge **out, const hs_feed *f, const hs_corpus *corpus)
{
    *out = NULL;
    const hs_examples *e = &corpus->labelled.val;
    if (!tasks[e->about].name)
        return HS_OK;
    hs_judge *j = calloc(1, sizeof *j);
    if (!j)
        return HS_FAIL(MEMORY, "no memory to judge %lld examples", (long long)e->n);
    *j = (hs_judge){ .task = &tasks[e->about], .examples = e, .rows = corpus->labelled.rows[1], .span = f->span };
    j->span.none = asks_for_nothing(corpus->labelled.all);
    const hs_status st = make(j);
    if (st == HS_OK) {
        *out = j;
        return HS_OK;
    }
    hs_judge_free(j);
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_judge_free(hs_judge *j)
{
    if (!j)
        return;
    hs_judge_span_free(j);
    for (int i = 0; i < HS_COUNT(j->chain); i++)
        free(j->chain[i]);
    free(j->chain_row), free(j->chain_tag);
    free(j->seen), free(j->gold), free(j->pred), free(j->gold_value), free(j->value), free(j->sure), free(j->starts), free(j->logits);
    free(j);
}

const char *hs_judge_usual(const hs_judge *j) { return j->examples->about == HS_ABOUT_TOKENS && !j->chunks ? "accuracy" : j->task->usual; }

bool hs_judge_lower_is_better(const char *score)
{
    static const char *const errors[] = { "loss", "mse", "rmse", "mae", "hamming_loss" };
    for (int i = 0; i < HS_COUNT(errors); i++)
        if (strcmp(score, errors[i]) == 0)
            return true;
    return false;
}

void hs_judge_begin(hs_judge *j)
{
    j->has_chain = false;
    memset(j->seen, 0, (size_t)j->examples->n * sizeof *j->seen);
    if (j->examples->about == HS_ABOUT_SPAN) {
        hs_judge_span_begin(j);
        return;
    }
    int32_t outside = hs_labels_find(&j->examples->labels, "O");
    outside = outside < 0 ? 0 : outside;
    for (int64_t i = 0; i < j->n; i++)
        j->pred[i] = j->examples->about == HS_ABOUT_TOKENS ? outside : 0;
    fill_gold(j);
}

// What each score is called follows from the labels alone: those of the gold labels against themselves.
const char *const *hs_judge_names(hs_judge *j)
{
    hs_scores s = { 0 };
    int n = 0;
    const bool span = j->examples->about == HS_ABOUT_SPAN;
    hs_judge_begin(j);
    if (span)
        hs_judge_span_gold(j);
    for (int64_t i = 0; i < j->n && !span && !judges_numbers(j); i++)
        j->pred[i] = j->gold[i] < 0 ? 0 : j->gold[i];
    if (judges_numbers(j))
        memcpy(j->value, j->gold_value, (size_t)j->n * (size_t)j->width * sizeof *j->value);
    memset(j->seen, 1, (size_t)j->examples->n * sizeof *j->seen);
    if (j->task->score(j, &s) == HS_OK)
        for (int i = 0; i < s.n; i++)
            j->names[n++] = s.at[i].name;
    j->names[n] = NULL;
    hs_judge_begin(j);
    return j->names;
}

static hs_status read_logits(hs_judge *j, hs_run *run, int plan, int64_t rows, int64_t *cols)
{
    hs_ref ref;
    if (!hs_run_output(run, plan, 0, &ref) || ref.dtype != HS_F32)
        return HS_FAIL(INTERNAL, "the evaluation plan gives no logits");
    const size_t need = (size_t)(rows * ref.cols);
    if (need > j->room) {
        free(j->logits);
        j->logits = malloc(need * sizeof *j->logits);
        j->room = j->logits ? need : 0;
        if (!j->logits)
            return HS_FAIL(MEMORY, "no memory for %zu logits", need);
    }
    *cols = ref.cols;
    return hs_run_read(run, plan, 0, 0, rows, j->logits);
}

hs_status hs_judge_batch(hs_judge *j, hs_run *run, int plan, uint64_t first, int64_t n)
{
    int64_t rows = 0, cols = 0;
    for (int64_t i = 0; i < n; i++)
        rows += j->task->tokens ? hs_labelled_row(j->rows, first + (uint64_t)i)->n : 1;
    if (!rows)
        return HS_OK;
    HS_TRY(read_logits(j, run, plan, rows, &cols));
    if (j->examples->about == HS_ABOUT_TOKENS && !j->has_chain)
        HS_TRY(hs_judge_tags_chain(j, hs_run_model(run)->params));
    const float *at = j->logits;
    for (int64_t i = 0; i < n; i++) {
        const hs_example_row *row = hs_labelled_row(j->rows, first + (uint64_t)i);
        j->seen[row->example] = true;
        HS_TRY(j->task->take(j, row, at, cols));
        at += (j->task->tokens ? row->n : 1) * cols;
    }
    return HS_OK;
}

static void hide_unseen(hs_judge *j)
{
    if (j->examples->about == HS_ABOUT_SPAN)
        return;
    for (int64_t i = 0; i < j->examples->n; i++)
        for (int64_t k = j->task->tokens ? j->starts[i] : i; !j->seen[i] && k < (j->task->tokens ? j->starts[i + 1] : i + 1); k++)
            j->gold[k] = -1;
}

hs_status hs_judge_scores(hs_judge *j, hs_scores *out)
{
    j->scores = (hs_scores){ 0 };
    hide_unseen(j);
    HS_TRY(j->task->score(j, &j->scores));
    *out = j->scores;
    return HS_OK;
}

// ---- reports
static void free_facts(hs_judge_facts *f)
{
    free(f->by_class);
    hs_entity_counts_free(&f->entities);
    hs_confusion_free(&f->confusion);
}

static hs_status with_report(hs_judge *j, const char *title, hs_status (*use)(const hs_score_report *r, void *user), void *user)
{
    hs_judge_facts *f = calloc(1, sizeof *f);
    if (!f)
        return HS_FAIL(MEMORY, "no memory for a report");
    f->report =
        (hs_score_report){ .task = j->task->name, .title = title, .examples = j->examples->n, .unit = j->task->unit, .scores = &j->scores };
    hs_status st = j->task->facts(j, f);
    if (st == HS_OK)
        st = use(&f->report, user);
    free_facts(f);
    free(f);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status write_files(const hs_score_report *r, void *dir) { return hs_score_write(r, dir); }

hs_status hs_judge_report(hs_judge *j, const char *dir, const char *title)
{
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", dir);
    HS_TRY(hs_make_folders(copy));
    return with_report(j, title, write_files, copy);
}

static hs_status write_text(const hs_score_report *r, void *text)
{
    hs_score_text(r, text);
    return HS_OK;
}

hs_status hs_judge_text(hs_judge *j, const char *title, char **out)
{
    hs_text t = { 0 };
    *out = NULL;
    HS_TRY(with_report(j, title, write_text, &t));
    *out = t.p;
    return t.p ? HS_OK : HS_FAIL(MEMORY, "no memory for a report");
}
