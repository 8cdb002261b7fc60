// score: lists of scores, and what follows from the counts of classes.
#include "data/score/score.h"
#include <math.h>
#include <string.h>

void hs_scores_add(hs_scores *s, const char *name, double value)
{
    if (s->n < HS_SCORES_MOST)
        s->at[s->n++] = (hs_metric){ name, value };
}

int hs_scores_find(const hs_scores *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->at[i].name, name) == 0)
            return i;
    return -1;
}

double hs_scores_get(const hs_scores *s, const char *name)
{
    const int i = hs_scores_find(s, name);
    return i < 0 ? NAN : s->at[i].value;
}

const char *hs_scores_judge(hs_task task)
{
    static const char *const name[HS_TASKS] = { [HS_TASK_SEQUENCE] = "accuracy",
                                                [HS_TASK_REGRESSION] = "pearson",
                                                [HS_TASK_MULTILABEL] = "f1_micro",
                                                [HS_TASK_TOKENS] = "f1",
                                                [HS_TASK_SPAN] = "f1" };
    return name[task];
}

static double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

hs_prf hs_class_prf(hs_class_counts c)
{
    return (hs_prf){ .precision = share((double)c.hits, (double)c.predicted),
                     .recall = share((double)c.hits, (double)c.gold),
                     .f1 = share(2.0 * (double)c.hits, (double)(c.predicted + c.gold)) };
}

static void add_weighted(hs_prf *sum, hs_prf v, double weight)
{
    sum->precision += weight * v.precision, sum->recall += weight * v.recall, sum->f1 += weight * v.f1;
}

static void divide(hs_prf *sum, double by) { *sum = (hs_prf){ share(sum->precision, by), share(sum->recall, by), share(sum->f1, by) }; }

hs_class_averages hs_class_average(const hs_class_counts *c, int n, bool absent)
{
    hs_class_averages a = { 0 };
    hs_class_counts all = { 0 };
    int classes = 0;
    for (int i = 0; i < n; i++) {
        if (!absent && c[i].predicted == 0 && c[i].gold == 0)
            continue;
        const hs_prf of = hs_class_prf(c[i]);
        add_weighted(&a.macro, of, 1);
        add_weighted(&a.weighted, of, (double)c[i].gold);
        all.hits += c[i].hits, all.predicted += c[i].predicted, all.gold += c[i].gold;
        classes++;
    }
    a.micro = hs_class_prf(all);
    a.support = all.gold;
    if (classes)
        divide(&a.macro, classes);
    else // seqeval: the mean of nothing
        a.macro = (hs_prf){ NAN, NAN, NAN };
    divide(&a.weighted, (double)all.gold);
    return a;
}
