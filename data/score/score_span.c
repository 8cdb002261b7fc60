// score_span: exact match and F1 of answers, by SQuAD's evaluate-v1.1.py and evaluate-v2.0.py.
#include "data/score/score.h"
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct words { // a normalized answer, cut at its blanks
    char *text;
    char **word; // in order of bytes
    int64_t n;
} words;

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void words_free(words *w)
{
    free(w->text);
    free(w->word);
}

static hs_status words_of(const char *answer, words *w)
{
    *w = (words){ 0 };
    HS_TRY(hs_answer_normalize(answer, &w->text));
    const size_t bytes = strlen(w->text);
    w->word = malloc((bytes / 2 + 1) * sizeof *w->word);
    if (!w->word) {
        words_free(w);
        return HS_FAIL(MEMORY, "no memory for the words of an answer");
    }
    for (char *at = w->text, *end; at && *at; at = end) {
        w->word[w->n++] = at;
        end = strchr(at, ' ');
        if (end)
            *end++ = '\0';
    }
    return HS_OK;
}

// In the order of the text still: sorting comes after.
static bool same_text(const words *a, const words *b)
{
    if (a->n != b->n)
        return false;
    for (int64_t i = 0; i < a->n; i++)
        if (strcmp(a->word[i], b->word[i]) != 0)
            return false;
    return true;
}

static int64_t in_common(const words *a, const words *b)
{
    int64_t n = 0;
    for (int64_t i = 0, k = 0; i < a->n && k < b->n;) {
        const int order = strcmp(a->word[i], b->word[k]);
        n += order == 0;
        i += order <= 0, k += order >= 0;
    }
    return n;
}

static double f1_of(const words *pred, const words *gold, bool version_2, bool same)
{
    if (version_2 && (pred->n == 0 || gold->n == 0))
        return same;
    const double common = (double)in_common(pred, gold), precision = common / (double)pred->n, recall = common / (double)gold->n;
    return common == 0 ? 0 : 2 * precision * recall / (precision + recall);
}

static void sort_words(words *w) { qsort(w->word, (size_t)w->n, sizeof *w->word, by_bytes); }

// pred: as the text has it in `plain`, sorted in `bag`.
static hs_status compare(const words *plain, const words *bag, const char *answer, bool version_2, bool *blank, hs_answer_score *best)
{
    words gold;
    HS_TRY(words_of(answer, &gold));
    *blank = gold.n == 0;
    if (!version_2 || !*blank) {
        const bool same = same_text(plain, &gold);
        sort_words(&gold);
        best->exact = fmax(best->exact, same);
        best->f1 = fmax(best->f1, f1_of(bag, &gold, version_2, same));
    }
    words_free(&gold);
    return HS_OK;
}

static hs_status score_answer(const hs_span_answer *a, bool version_2, hs_answer_score *best)
{
    words plain = { 0 }, bag = { 0 };
    bool any = false, blank = false;
    hs_status st;
    *best = (hs_answer_score){ 0 };
    HS_TRY_GOTO(st, words_of(a->pred, &plain), done);
    HS_TRY_GOTO(st, words_of(a->pred, &bag), done);
    sort_words(&bag);
    for (int i = 0; i < a->n_gold; i++) {
        HS_TRY_GOTO(st, compare(&plain, &bag, a->gold[i], version_2, &blank, best), done);
        any = any || !blank;
    }
    if (version_2 && !any) // nothing left of the gold answers: no answer is the right one
        *best = (hs_answer_score){ plain.n == 0, plain.n == 0 };
done:
    words_free(&plain);
    words_free(&bag);
    return st;
}

hs_status hs_score_answers(const hs_span_input *in, hs_answer_score *each)
{
    int64_t missing = 0, first = 0;
    for (int64_t i = 0; i < in->n; i++) {
        const hs_span_answer *a = &in->answers[i];
        each[i] = (hs_answer_score){ 0 };
        if (!in->version_2 && a->n_gold == 0)
            return HS_FAIL(USAGE, "question %s has no answer, which is a matter of version 2", a->id ? a->id : "");
        if (a->pred)
            HS_TRY(score_answer(a, in->version_2, &each[i]));
        else if (missing++ == 0)
            first = i;
    }
    if (missing && in->version_2)
        return HS_FAIL(USAGE, "no prediction for question %s%s", in->answers[first].id ? in->answers[first].id : "",
                       missing > 1 ? " and others" : "");
    return HS_OK;
}

// ---- sums

typedef struct sums {
    double exact, f1;
    int64_t n;
} sums;

static void add(sums *s, hs_answer_score v) { s->exact += v.exact, s->f1 += v.f1, s->n++; }

static int64_t row(const hs_span_input *in, int64_t i) { return in->draw ? in->draw[i] : i; }

static void add_part(hs_scores *out, const sums *s, const char *exact, const char *f1, const char *total)
{
    if (s->n == 0)
        return;
    hs_scores_add(out, exact, 100 * s->exact / (double)s->n);
    hs_scores_add(out, f1, 100 * s->f1 / (double)s->n);
    hs_scores_add(out, total, (double)s->n);
}

typedef struct placed {
    double odds, exact, f1; // what the score of the whole changes by, once this answer is given
    int64_t order, at;
} placed;

static int by_odds(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    if (x->odds != y->odds)
        return x->odds < y->odds ? -1 : 1;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static double best_of(const placed *p, int64_t n, int64_t unanswerable, size_t member, double *threshold)
{
    double now = (double)unanswerable, best = now;
    *threshold = 0;
    for (int64_t i = 0; i < n; i++) {
        now += *(const double *)(const void *)((const char *)&p[i] + member);
        if (now > best)
            best = now, *threshold = p[i].odds;
    }
    return 100 * best / (double)n;
}

// Every question is answered "" at first; answers are then given in the order of the odds that there is none.
static hs_status add_thresholds(const hs_span_input *in, const hs_answer_score *each, int64_t unanswerable, hs_scores *out)
{
    placed *p = malloc((size_t)in->n * sizeof *p);
    if (!p)
        return HS_FAIL(MEMORY, "no memory for %lld odds in order", (long long)in->n);
    for (int64_t i = 0; i < in->n; i++) {
        const hs_span_answer *a = &in->answers[row(in, i)];
        const double wrong = a->pred[0] ? -1 : 0;
        const hs_answer_score s = a->n_gold ? each[row(in, i)] : (hs_answer_score){ wrong, wrong };
        p[i] = (placed){ a->odds, s.exact, s.f1, a->order, i };
    }
    qsort(p, (size_t)in->n, sizeof *p, by_odds);
    double threshold;
    const double exact = best_of(p, in->n, unanswerable, offsetof(placed, exact), &threshold);
    hs_scores_add(out, "best_exact", exact);
    hs_scores_add(out, "best_exact_thresh", threshold);
    const double f1 = best_of(p, in->n, unanswerable, offsetof(placed, f1), &threshold);
    hs_scores_add(out, "best_f1", f1);
    hs_scores_add(out, "best_f1_thresh", threshold);
    free(p);
    return HS_OK;
}

static hs_status sum_up(const hs_span_input *in, const hs_answer_score *each, hs_scores *out)
{
    sums all = { 0 }, with = { 0 }, without = { 0 };
    for (int64_t i = 0; i < in->n; i++) {
        const hs_span_answer *a = &in->answers[row(in, i)];
        hs_answer_score s = each[row(in, i)];
        if (in->version_2 && in->odds && a->odds > in->threshold)
            s.exact = s.f1 = a->n_gold == 0;
        add(&all, s);
        add(a->n_gold ? &with : &without, s);
    }
    *out = (hs_scores){ .scorer = in->version_2 ? "SQuAD 2.0" : "SQuAD 1.1" };
    hs_scores_add(out, "f1", 100 * all.f1 / (double)all.n);
    hs_scores_add(out, in->version_2 ? "exact" : "exact_match", 100 * all.exact / (double)all.n);
    hs_scores_add(out, "total", (double)all.n);
    if (!in->version_2)
        return HS_OK;
    add_part(out, &with, "HasAns_exact", "HasAns_f1", "HasAns_total");
    add_part(out, &without, "NoAns_exact", "NoAns_f1", "NoAns_total");
    return in->odds ? add_thresholds(in, each, without.n, out) : HS_OK;
}

hs_status hs_score_span(const hs_span_input *in, hs_scores *out)
{
    if (in->n < 1)
        return HS_FAIL(USAGE, "nothing to score: no question");
    if (in->each)
        return sum_up(in, in->each, out);
    hs_answer_score *each = malloc((size_t)in->n * sizeof *each);
    if (!each)
        return HS_FAIL(MEMORY, "no memory for the scores of %lld answers", (long long)in->n);
    hs_status st = hs_score_answers(in, each);
    if (st == HS_OK)
        st = sum_up(in, each, out);
    free(each);
    return st;
}
