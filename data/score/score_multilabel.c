// score_multilabel: any of the labels, each judged by itself, as scikit-learn scores it.
#include "data/score/score.h"
#include "data/score/score_rank.h"
#include <math.h>
#include <stdlib.h>

static int64_t row(const hs_multilabel_input *in, int64_t i) { return in->draw ? in->draw[i] : i; }
static const float *golds(const hs_multilabel_input *in, int64_t i)
{
    return in->gold + row(in, i) * (in->gold_stride ? in->gold_stride : in->labels);
}
static const float *scores(const hs_multilabel_input *in, int64_t i)
{
    return in->scores + row(in, i) * (in->score_stride ? in->score_stride : in->labels);
}

hs_status hs_count_labels(const hs_multilabel_input *in, hs_class_counts *c)
{
    for (int k = 0; k < in->labels; k++)
        c[k] = (hs_class_counts){ 0 };
    for (int64_t i = 0; i < in->n; i++) {
        const float *gold = golds(in, i), *score = scores(in, i);
        for (int k = 0; k < in->labels; k++) {
            const bool g = gold[k] > 0.5f, p = score[k] > in->threshold;
            c[k].gold += g, c[k].predicted += p, c[k].hits += g && p;
        }
    }
    return in->n > 0 ? HS_OK : HS_FAIL(USAGE, "nothing to score: no row");
}

static void add_by_row(const hs_multilabel_input *in, hs_scores *out)
{
    double f1 = 0;
    int64_t whole = 0, wrong = 0;
    for (int64_t i = 0; i < in->n; i++) {
        const float *gold = golds(in, i), *score = scores(in, i);
        hs_class_counts c = { 0 };
        for (int k = 0; k < in->labels; k++) {
            const bool g = gold[k] > 0.5f, p = score[k] > in->threshold;
            c.gold += g, c.predicted += p, c.hits += g && p;
        }
        const int64_t differ = c.gold + c.predicted - 2 * c.hits;
        f1 += hs_class_prf(c).f1;
        whole += differ == 0, wrong += differ;
    }
    hs_scores_add(out, "f1_samples", f1 / (double)in->n);
    hs_scores_add(out, "accuracy", (double)whole / (double)in->n);
    hs_scores_add(out, "hamming_loss", (double)wrong / ((double)in->n * in->labels));
}

static hs_status add_area(const hs_multilabel_input *in, hs_scores *out)
{
    hs_ranked *room = malloc((size_t)in->n * sizeof *room);
    if (!room)
        return HS_FAIL(MEMORY, "no memory for %lld scores in order", (long long)in->n);
    double sum = 0;
    for (int k = 0; k < in->labels && !isnan(sum); k++) {
        for (int64_t i = 0; i < in->n; i++)
            room[i] = (hs_ranked){ scores(in, i)[k], golds(in, i)[k] > 0.5f };
        sum += hs_roc_area(room, in->n);
    }
    free(room);
    hs_scores_add(out, "roc_auc_macro", sum / in->labels);
    return HS_OK;
}

hs_status hs_score_multilabel(const hs_multilabel_input *in, hs_scores *out)
{
    *out = (hs_scores){ .scorer = "scikit-learn" };
    if (in->labels < 1)
        return HS_FAIL(USAGE, "%d labels", in->labels);
    hs_class_counts *c = malloc((size_t)in->labels * sizeof *c);
    if (!c)
        return HS_FAIL(MEMORY, "no memory for the counts of %d labels", in->labels);
    hs_status st = hs_count_labels(in, c);
    if (st == HS_OK) {
        const hs_class_averages a = hs_class_average(c, in->labels, true);
        hs_scores_add(out, "f1_micro", a.micro.f1);
        hs_scores_add(out, "f1_macro", a.macro.f1);
        hs_scores_add(out, "f1_weighted", a.weighted.f1);
        hs_scores_add(out, "precision_micro", a.micro.precision);
        hs_scores_add(out, "recall_micro", a.micro.recall);
        add_by_row(in, out);
        if (in->ranked)
            st = add_area(in, out);
    }
    free(c);
    return st;
}
