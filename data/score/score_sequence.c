// score_sequence: one class of many, as scikit-learn scores it.
#include "data/score/score.h"
#include "data/score/score_rank.h"
#include <math.h>
#include <stdlib.h>

static int64_t row(const hs_sequence_input *in, int64_t i) { return in->draw ? in->draw[i] : i; }

hs_status hs_count_classes(const hs_sequence_input *in, hs_class_counts *c)
{
    int64_t counted = 0;
    for (int k = 0; k < in->classes; k++)
        c[k] = (hs_class_counts){ 0 };
    for (int64_t i = 0; i < in->n; i++) {
        const int32_t gold = in->gold[row(in, i)], pred = in->pred[row(in, i)];
        if (gold < 0)
            continue;
        if (gold >= in->classes || pred < 0 || pred >= in->classes)
            return HS_FAIL(USAGE, "row %lld has class %d and prediction %d, allowed 0 to %d", (long long)row(in, i), (int)gold, (int)pred,
                           in->classes - 1);
        c[gold].gold++, c[pred].predicted++, c[gold].hits += gold == pred;
        counted++;
    }
    return counted ? HS_OK : HS_FAIL(USAGE, "nothing to score: no row has a gold label");
}

// Gorodkin's R_K out of sums by class: no table of classes x classes.
static double matthews(const hs_class_counts *c, int classes)
{
    double n = 0, hits = 0, both = 0, golds = 0, preds = 0;
    for (int k = 0; k < classes; k++) {
        const double gold = (double)c[k].gold, pred = (double)c[k].predicted;
        n += gold, hits += (double)c[k].hits;
        both += gold * pred, golds += gold * gold, preds += pred * pred;
    }
    const double spread = (n * n - preds) * (n * n - golds);
    return spread == 0 ? 0 : (hits * n - both) / sqrt(spread);
}

static double area_of_class(const hs_sequence_input *in, int k, hs_ranked *room)
{
    const int64_t stride = in->stride ? in->stride : in->classes;
    int64_t n = 0;
    for (int64_t i = 0; i < in->n; i++)
        if (in->gold[row(in, i)] >= 0)
            room[n++] = (hs_ranked){ in->scores[row(in, i) * stride + k], in->gold[row(in, i)] == k };
    return hs_roc_area(room, n);
}

static hs_status add_areas(const hs_sequence_input *in, hs_scores *out)
{
    hs_ranked *room = malloc((size_t)in->n * sizeof *room);
    if (!room)
        return HS_FAIL(MEMORY, "no memory for %lld scores in order", (long long)in->n);
    if (in->classes == 2)
        hs_scores_add(out, "roc_auc", area_of_class(in, in->positive, room));
    else {
        double sum = 0;
        for (int k = 0; k < in->classes && !isnan(sum); k++)
            sum += area_of_class(in, k, room);
        hs_scores_add(out, "roc_auc_ovr", sum / in->classes);
    }
    free(room);
    return HS_OK;
}

static void add_of_counts(const hs_sequence_input *in, const hs_class_counts *c, hs_scores *out)
{
    const hs_class_averages a = hs_class_average(c, in->classes, false);
    hs_scores_add(out, "accuracy", a.micro.recall);
    if (in->classes == 2) {
        const hs_prf of = hs_class_prf(c[in->positive]);
        hs_scores_add(out, "f1", of.f1);
        hs_scores_add(out, "precision", of.precision);
        hs_scores_add(out, "recall", of.recall);
    }
    hs_scores_add(out, "f1_macro", a.macro.f1);
    hs_scores_add(out, "f1_micro", a.micro.f1);
    hs_scores_add(out, "f1_weighted", a.weighted.f1);
    hs_scores_add(out, "precision_macro", a.macro.precision);
    hs_scores_add(out, "recall_macro", a.macro.recall);
    hs_scores_add(out, "mcc", matthews(c, in->classes));
}

hs_status hs_score_sequence(const hs_sequence_input *in, hs_scores *out)
{
    *out = (hs_scores){ .scorer = "scikit-learn" };
    if (in->classes < 1 || in->positive < 0 || in->positive >= (in->classes == 2 ? 2 : INT32_MAX))
        return HS_FAIL(USAGE, "%d classes of which %d is the positive one", in->classes, in->positive);
    hs_class_counts *c = malloc((size_t)in->classes * sizeof *c);
    if (!c)
        return HS_FAIL(MEMORY, "no memory for the counts of %d classes", in->classes);
    hs_status st = hs_count_classes(in, c);
    if (st == HS_OK) {
        add_of_counts(in, c, out);
        if (in->scores && in->classes > 1)
            st = add_areas(in, out);
    }
    free(c);
    return st;
}
