// score_report: the text and the JSON of it.
#include "data/score/score_report.h"
#include "data/base/file.h"
#include "data/base/utf8.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- text

// Columns, as far as a code point is one.
static int columns(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += (*s & 0xC0) != 0x80;
    return n;
}

static void add_padded(hs_text *t, const char *s, int width)
{
    hs_text_add(t, "%s%*s", s, width > columns(s) ? width - columns(s) : 0, "");
}

static int name_width(const hs_labels *l, int least)
{
    for (int i = 0; i < l->n; i++)
        least = columns(l->name[i]) > least ? columns(l->name[i]) : least;
    return least < 40 ? least : 40;
}

static bool is_count(double v) { return v == rint(v) && fabs(v) > 100; }

static void add_score(hs_text *t, double v)
{
    if (isnan(v))
        hs_text_add(t, "%10s", "undefined");
    else
        hs_text_add(t, "%10.*f", is_count(v) ? 0 : 4, v);
}

static void add_scores(const hs_score_report *r, hs_text *t)
{
    hs_text_add(t, "%-18s%10s", "score", "value");
    if (r->interval)
        hs_text_add(t, "   %g %% interval (%d resamples, seed %llu)", 100 * r->bootstrap.level, r->bootstrap.resamples,
                    (unsigned long long)r->bootstrap.seed);
    hs_text_add(t, "\n");
    for (int i = 0; i < r->scores->n; i++) {
        hs_text_add(t, "%-18s", r->scores->at[i].name);
        add_score(t, r->scores->at[i].value);
        if (r->interval && !isnan(r->interval[i].low))
            hs_text_add(t, "   %.*f to %.*f", is_count(r->scores->at[i].value) ? 0 : 4, r->interval[i].low,
                        is_count(r->scores->at[i].value) ? 0 : 4, r->interval[i].high);
        hs_text_add(t, "\n");
    }
}

static void add_prf(hs_text *t, const char *name, int width, hs_prf v, int64_t support)
{
    add_padded(t, name, width);
    hs_text_add(t, "%11.4f%10.4f%10.4f%10lld\n", v.precision, v.recall, v.f1, (long long)support);
}

static void add_classes(const hs_score_report *r, hs_text *t)
{
    enum { MOST = 100 };
    const int n = r->classes->n, width = name_width(r->classes, 12);
    const hs_class_averages a = hs_class_average(r->by_class, n, r->absent);
    int left = 0;
    hs_text_add(t, "\n");
    add_padded(t, r->class_word, width);
    hs_text_add(t, "%11s%10s%10s%10s\n", "precision", "recall", "f1", "support");
    for (int i = 0, shown = 0; i < n; i++) {
        if (!r->absent && r->by_class[i].gold == 0 && r->by_class[i].predicted == 0)
            continue;
        if (shown++ < MOST)
            add_prf(t, r->classes->name[i], width, hs_class_prf(r->by_class[i]), r->by_class[i].gold);
        else
            left++;
    }
    if (left)
        hs_text_add(t, "(%d more in scores.json)\n", left);
    add_prf(t, "micro", width, a.micro, a.support);
    add_prf(t, "macro", width, a.macro, a.support);
    add_prf(t, "weighted", width, a.weighted, a.support);
}

static void add_confusion(const hs_confusion *c, hs_text *t)
{
    enum { WIDE = 15 }; // columns that a page holds
    const int n = c->names.n, width = name_width(&c->names, 6);
    hs_text_add(t, "\nconfusion: rows are gold, columns predicted, numbered as the rows\n");
    if (n > WIDE) {
        hs_text_add(t, "%d x %d: in confusion.json\n", n, n);
        return;
    }
    hs_text_add(t, "%*s", width + 4, "");
    for (int k = 0; k < n; k++)
        hs_text_add(t, "%8d", k + 1);
    hs_text_add(t, "\n");
    for (int i = 0; i < n; i++) {
        hs_text_add(t, "%3d ", i + 1);
        add_padded(t, c->names.name[i], width);
        for (int k = 0; k < n; k++)
            hs_text_add(t, "%8lld", (long long)hs_confusion_at(c, i, k));
        hs_text_add(t, "\n");
    }
}

static void add_calibration(const hs_calibration *c, hs_text *t)
{
    hs_text_add(t, "\ncalibration: expected error %.4f, largest %.4f\n%-18s%10s%12s%10s\n", hs_calibration_error(c),
                hs_calibration_largest(c), "confidence", "n", "mean", "right");
    for (int b = 0; b < HS_CALIBRATION_BINS; b++)
        if (c->bin[b].n)
            hs_text_add(t, "%.3f to %.3f    %10lld%12.4f%10.4f\n", (double)b / HS_CALIBRATION_BINS, (b + 1.0) / HS_CALIBRATION_BINS,
                        (long long)c->bin[b].n, hs_calibration_confidence(c, b), hs_calibration_accuracy(c, b));
}

static void length_name(char buf[48], int bin)
{
    const long long from = hs_length_from(bin), to = hs_length_to(bin);
    if (from == to)
        snprintf(buf, 48, "%lld", from);
    else
        snprintf(buf, 48, "%lld to %lld", from, to);
}

static void add_length(const hs_score_report *r, hs_text *t)
{
    char name[48];
    const int wide = (int)strlen(r->error_name) + 2, width = wide > 12 ? wide : 12;
    hs_text_add(t, "\nby length in %s\n%-18s%10s%*s\n", r->length_unit, "length", "n", width, r->error_name);
    for (int b = 0; b < HS_LENGTH_BINS; b++)
        if (r->length->bin[b].n) {
            length_name(name, b);
            hs_text_add(t, "%-18s%10lld%*.4f\n", name, (long long)r->length->bin[b].n, width,
                        r->length->bin[b].error / (double)r->length->bin[b].n);
        }
}

void hs_score_text(const hs_score_report *r, hs_text *t)
{
    const int unit = (int)strlen(r->unit) - (r->examples == 1); // "1 row"
    hs_text_add(t, "%s: %s\n%lld %.*s, scored as by %s\n\n", r->task, r->title, (long long)r->examples, unit, r->unit, r->scores->scorer);
    add_scores(r, t);
    if (r->classes)
        add_classes(r, t);
    if (r->confusion)
        add_confusion(r->confusion, t);
    if (r->calibration)
        add_calibration(r->calibration, t);
    if (r->length)
        add_length(r, t);
}

// ---- JSON

static json_t *real(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static json_t *intervals_json(const hs_score_report *r)
{
    json_t *o = json_pack("{s:f, s:i, s:I}", "level", r->bootstrap.level, "resamples", r->bootstrap.resamples, "seed",
                          (json_int_t)r->bootstrap.seed);
    for (int i = 0; i < r->scores->n; i++)
        json_object_set_new(o, r->scores->at[i].name, json_pack("[o, o]", real(r->interval[i].low), real(r->interval[i].high)));
    return o;
}

static json_t *classes_json(const hs_score_report *r)
{
    json_t *a = json_array();
    for (int i = 0; i < r->classes->n; i++) {
        const hs_prf v = hs_class_prf(r->by_class[i]);
        json_array_append_new(a, json_pack("{s:s, s:f, s:f, s:f, s:I, s:I}", "name", r->classes->name[i], "precision", v.precision,
                                           "recall", v.recall, "f1", v.f1, "support", (json_int_t)r->by_class[i].gold, "predicted",
                                           (json_int_t)r->by_class[i].predicted));
    }
    return a;
}

hs_status hs_score_json(const hs_score_report *r, json_t **out)
{
    json_t *scores = json_object();
    for (int i = 0; i < r->scores->n; i++)
        json_object_set_new(scores, r->scores->at[i].name, real(r->scores->at[i].value));
    *out = json_pack("{s:s, s:s, s:I, s:o}", "task", r->task, "scorer", r->scores->scorer, "examples", (json_int_t)r->examples, "scores",
                     scores);
    if (!*out)
        return HS_FAIL(MEMORY, "no memory for the JSON of %d scores", r->scores->n);
    if (r->interval)
        json_object_set_new(*out, "intervals", intervals_json(r));
    if (r->classes)
        json_object_set_new(*out, "classes", classes_json(r));
    return HS_OK;
}

static json_t *confusion_json(const hs_confusion *c)
{
    json_t *labels = json_array(), *rows = json_array();
    for (int i = 0; i < c->names.n; i++) {
        json_t *row = json_array();
        json_array_append_new(labels, json_string(c->names.name[i]));
        for (int k = 0; k < c->names.n; k++)
            json_array_append_new(row, json_integer(hs_confusion_at(c, i, k)));
        json_array_append_new(rows, row);
    }
    return json_pack("{s:o, s:o}", "labels", labels, "counts", rows);
}

static json_t *calibration_json(const hs_calibration *c)
{
    json_t *bins = json_array();
    for (int b = 0; b < HS_CALIBRATION_BINS; b++)
        json_array_append_new(bins, json_pack("{s:f, s:f, s:I, s:f, s:f}", "from", (double)b / HS_CALIBRATION_BINS, "to",
                                              (b + 1.0) / HS_CALIBRATION_BINS, "n", (json_int_t)c->bin[b].n, "confidence",
                                              hs_calibration_confidence(c, b), "accuracy", hs_calibration_accuracy(c, b)));
    return json_pack("{s:o, s:o, s:o}", "ece", real(hs_calibration_error(c)), "mce", real(hs_calibration_largest(c)), "bins", bins);
}

static json_t *length_json(const hs_score_report *r)
{
    json_t *bins = json_array();
    for (int b = 0; b < HS_LENGTH_BINS; b++)
        if (r->length->bin[b].n)
            json_array_append_new(bins, json_pack("{s:I, s:I, s:I, s:f}", "from", (json_int_t)hs_length_from(b), "to",
                                                  (json_int_t)hs_length_to(b), "n", (json_int_t)r->length->bin[b].n, "error",
                                                  r->length->bin[b].error / (double)r->length->bin[b].n));
    return json_pack("{s:s, s:s, s:o}", "unit", r->length_unit, "error", r->error_name, "bins", bins);
}

// ---- files

static hs_status save_json(json_t *o, const char *dir, const char *name)
{
    char path[4096];
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!text)
        return HS_FAIL(MEMORY, "no memory for the text of %s", name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    const hs_status st = hs_file_save(path, text, strlen(text));
    free(text);
    return st;
}

static hs_status write_text(const hs_score_report *r, const char *dir)
{
    char path[4096];
    hs_text t = { 0 };
    hs_score_text(r, &t);
    snprintf(path, sizeof path, "%s/report.txt", dir);
    const hs_status st = t.failed ? HS_FAIL(MEMORY, "no memory for the text of %s", path) : hs_file_save(path, t.p, t.n);
    hs_text_free(&t);
    return st;
}

static hs_status draw(const hs_score_report *r, const char *dir)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/confusion.png", dir);
    if (r->confusion)
        HS_TRY(hs_draw_confusion(path, r->title, r->confusion));
    snprintf(path, sizeof path, "%s/calibration.png", dir);
    if (r->calibration)
        HS_TRY(hs_draw_calibration(path, r->title, r->calibration));
    snprintf(path, sizeof path, "%s/length.png", dir);
    if (r->length)
        HS_TRY(hs_draw_length(path, r->title, r->length, r->length_unit, r->error_name));
    return HS_OK;
}

hs_status hs_score_write(const hs_score_report *r, const char *dir)
{
    json_t *scores;
    HS_TRY(hs_score_json(r, &scores));
    HS_TRY(save_json(scores, dir, "scores.json"));
    if (r->confusion)
        HS_TRY(save_json(confusion_json(r->confusion), dir, "confusion.json"));
    if (r->calibration)
        HS_TRY(save_json(calibration_json(r->calibration), dir, "calibration.json"));
    if (r->length)
        HS_TRY(save_json(length_json(r), dir, "length.json"));
    HS_TRY(write_text(r, dir));
    return hs_plot_available() ? draw(r, dir) : HS_OK;
}
