// span_decode: a list of candidates over all rows, sorted. Equal sums keep the order in which they were found, as Python's sort does. Where
// it grows long only those stay that can still be among the answers: of each text the likeliest, and of those the n_best.
#include "infer/heads/span_decode.h"
#include "core/base/grow.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    hs_span_guess g;
    int64_t order;
} candidate;

enum { LONG = 1 << 14 }; // of a list

struct hs_span_decoder {
    hs_span_opts o;
    const char *context;
    candidate *found;
    int n, room;
    int64_t order; // of the next one
    candidate null;
    bool any; // row was added
    int32_t *best[2];
    hs_span_guess *guess;
};

hs_status hs_span_decoder_new(hs_span_decoder **out, const hs_span_opts *o)
{
    *out = NULL;
    if (o->n_best < 1 || o->max_answer < 1)
        return HS_FAIL(USAGE, "%d answers of %lld tokens at most: at least 1", o->n_best, (long long)o->max_answer);
    hs_span_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return HS_FAIL(MEMORY, "no memory to decode spans");
    d->o = *o;
    for (int i = 0; i < 2; i++)
        d->best[i] = malloc((size_t)o->n_best * sizeof *d->best[i]);
    d->guess = malloc(((size_t)o->n_best + 2) * sizeof *d->guess);
    if (!d->best[0] || !d->best[1] || !d->guess) {
        hs_span_decoder_free(d);
        return HS_FAIL(MEMORY, "no memory to decode %d answers", o->n_best);
    }
    *out = d;
    return HS_OK;
}

void hs_span_decoder_free(hs_span_decoder *d)
{
    if (!d)
        return;
    free(d->found);
    free(d->best[0]);
    free(d->best[1]);
    free(d->guess);
    free(d);
}

void hs_span_decoder_begin(hs_span_decoder *d, const char *context) { d->context = context, d->n = 0, d->order = 0, d->any = false; }

// The k largest of a column, the earlier among equals; returns how many.
static int largest(const float *logits, int64_t n, int64_t cols, int column, int k, int32_t *best)
{
    int m = 0;
    for (int64_t i = 0; i < n; i++) {
        const float x = logits[i * cols + column];
        if (m == k && !(x > logits[best[m - 1] * cols + column]))
            continue;
        int at = m < k ? m++ : m - 1;
        for (; at > 0 && x > logits[best[at - 1] * cols + column]; at--)
            best[at] = best[at - 1];
        best[at] = (int32_t)i;
    }
    return m;
}

static bool is_context(const hs_example_row *r, int32_t t) { return r->bytes[t].end > r->bytes[t].start; }

static int likelier(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    const double p = x->g.start_logit + x->g.end_logit, q = y->g.start_logit + y->g.end_logit;
    return p != q ? (p > q ? -1 : 1) : (x->order > y->order) - (x->order < y->order);
}

static bool same_text(const hs_span_decoder *d, const hs_span_guess *a, const hs_span_guess *b)
{
    if (a->none || b->none)
        return a->none && b->none;
    return a->end - a->start == b->end - b->start && memcmp(d->context + a->start, d->context + b->start, (size_t)(b->end - b->start)) == 0;
}

static bool seen(const hs_span_decoder *d, int n, const hs_span_guess *g)
{
    for (int i = 0; i < n; i++)
        if (same_text(d, &d->guess[i], g))
            return true;
    return false;
}

// Sorted, and those alone that can be answers. What comes later can only push them out.
static void prune(hs_span_decoder *d)
{
    int n = 0;
    qsort(d->found, (size_t)d->n, sizeof *d->found, likelier);
    for (int i = 0; i < d->n && n < d->o.n_best; i++)
        if (!seen(d, n, &d->found[i].g)) {
            d->guess[n] = d->found[i].g;
            d->found[n++] = d->found[i];
        }
    d->n = n;
}

hs_status hs_span_decoder_add(hs_span_decoder *d, const hs_example_row *r, const float *logits, int64_t cols)
{
    for (int64_t i = 0; i < r->n; i++)
        if (!isfinite(logits[i * cols]) || !isfinite(logits[i * cols + 1]))
            return HS_FAIL(NONFINITE, "the model's logits are not finite numbers");
    const int n_starts = largest(logits, r->n, cols, 0, d->o.n_best, d->best[0]);
    const int n_ends = largest(logits, r->n, cols, 1, d->o.n_best, d->best[1]);
    const double null = (double)logits[0] + (double)logits[1];
    if (!d->any || null < d->null.g.start_logit + d->null.g.end_logit)
        d->null.g = (hs_span_guess){ .start_logit = (double)logits[0], .end_logit = (double)logits[1], .none = true };
    d->any = true;
    for (int i = 0; i < n_starts; i++)
        for (int k = 0; k < n_ends; k++) {
            const int32_t start = d->best[0][i], end = d->best[1][k];
            if (!is_context(r, start) || !is_context(r, end) || !r->best[start] || end < start || end - start + 1 > d->o.max_answer)
                continue;
            if (!hs_grow(&d->found, d->n, &d->room, sizeof *d->found))
                return HS_FAIL(MEMORY, "no memory for %d answers", d->n + 1);
            d->found[d->n] = (candidate){ .order = d->order++ };
            d->found[d->n++].g = (hs_span_guess){ .start = r->bytes[start].start,
                                                  .end = r->bytes[end].end,
                                                  .start_logit = (double)logits[start * cols],
                                                  .end_logit = (double)logits[end * cols + 1] };
            if (d->n == LONG)
                prune(d);
        }
    return HS_OK;
}

static void set_probabilities(hs_span_guess *g, int n)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, g[i].start_logit + g[i].end_logit);
    for (int i = 0; i < n; i++)
        sum += g[i].probability = exp(g[i].start_logit + g[i].end_logit - most);
    for (int i = 0; i < n; i++)
        g[i].probability /= sum;
}

hs_status hs_span_decoder_end(hs_span_decoder *d, hs_span_found *out)
{
    const hs_span_guess *best = NULL;
    int n = 0;
    bool null_in = !d->o.none;
    if (d->n > 1)
        qsort(d->found, (size_t)d->n, sizeof *d->found, likelier);
    for (int i = 0; n < d->o.n_best && (i < d->n || !null_in);) {
        const double null = d->null.g.start_logit + d->null.g.end_logit;
        if (!null_in && d->any && (i == d->n || null > d->found[i].g.start_logit + d->found[i].g.end_logit)) {
            d->guess[n++] = d->null.g;
            null_in = true;
            continue;
        }
        if (i == d->n)
            break;
        if (!seen(d, n, &d->found[i].g))
            d->guess[n++] = d->found[i].g;
        i++;
    }
    if (!null_in && d->any) // it is one of them, however unlikely
        d->guess[n++] = d->null.g;
    if (n)
        set_probabilities(d->guess, n);
    for (int i = 0; i < n && !best; i++)
        best = d->guess[i].none ? NULL : &d->guess[i];
    *out = (hs_span_found){ .guess = d->guess, .n = n, .answer = best };
    if (d->o.none && best)
        out->odds = d->null.g.start_logit + d->null.g.end_logit - best->start_logit - best->end_logit;
    if (d->o.none && best && out->odds > d->o.threshold)
        out->answer = NULL;
    return HS_OK;
}
