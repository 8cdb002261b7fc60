// rows_span: a question and its context in windows, as Google's run_squad.py makes them.
#include "data/labelled/row_maker.h"

typedef struct window {
    int64_t first, end; // tokens of the context
} window;

static hs_status no_memory(int64_t n) { return HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)n); }

// Tokens that an answer's bytes begin and end in; false: there are none.
static bool find_tokens(const hs_row_text *t, hs_answer a, int64_t *first, int64_t *last)
{
    *first = 0;
    while (*first < t->n && t->bytes[*first].end <= a.start)
        ++*first;
    *last = *first;
    while (*last + 1 < t->n && t->bytes[*last + 1].start < a.end)
        ++*last;
    return *first < t->n && t->bytes[*first].start < a.end;
}

// min(left, right) and a hundredth of the length: Google's _check_is_max_context.
static void mark_best(const window *w, int n, int own, uint8_t *best)
{
    for (int64_t t = w[own].first; t < w[own].end; t++) {
        double most = -1;
        int at = -1, least = own;
        while (least > 0 && w[least - 1].end > t)
            least--;
        for (int k = least; k < n && w[k].first <= t; k++) {
            const int64_t left = t - w[k].first, right = w[k].end - 1 - t;
            const double score = (double)(left < right ? left : right) + 0.01 * (double)(w[k].end - w[k].first);
            if (score > most)
                most = score, at = k;
        }
        best[t - w[own].first] = at == own;
    }
}

static hs_status put_row(hs_row_maker *m, int64_t i, const hs_row_text t[2], int64_t query, const window *w, int n, int own)
{
    const hs_row_frame *f = &m->frame[1];
    hs_example_row *r = hs_row_add(m, i, hs_row_special(f) + query + w[own].end - w[own].first, false, false, true);
    if (!r)
        return no_memory(w[own].end - w[own].first);
    int64_t at = hs_row_put_special(r, 0, &f->before);
    at = hs_row_put_text(r, at, &t[0], 0, query, f->type[0]);
    const int64_t begin = at = hs_row_put_special(r, at, &f->between);
    at = hs_row_put_text(r, at, &t[1], w[own].first, w[own].end, f->type[1]);
    hs_row_put_special(r, at, &f->behind);
    for (int64_t k = w[own].first; k < w[own].end; k++)
        r->bytes[begin + k - w[own].first] = t[1].bytes[k];
    mark_best(w, n, own, r->best + begin);
    r->cut = query < t[0].n;
    return HS_OK;
}

// False: the row is to be left out.
static bool set_target(const hs_row_maker *m, const hs_example *x, const hs_row_text *context, const window *w, int64_t begin,
                       hs_example_row *r)
{
    int64_t first, last;
    if (x->label < 0)
        return true;
    r->start = r->end = 0;
    if (x->n == 0)
        return true;
    if (!find_tokens(context, x->answer[0], &first, &last) || first < w->first || last >= w->end)
        return !m->o.drop;
    r->start = (int32_t)(begin + first - w->first);
    r->end = (int32_t)(begin + last - w->first);
    return true;
}

hs_status hs_rows_of_span(hs_row_maker *m, const hs_example *x, int64_t i)
{
    const hs_row_frame *f = &m->frame[1];
    hs_row_text t[2];
    HS_TRY(hs_row_encode(m, x->text[0], x->bytes[0], false, m->o.max_query, &t[0]));
    HS_TRY(hs_row_encode(m, x->text[1], x->bytes[1], true, hs_row_most_tokens(m), &t[1]));
    HS_TRY(hs_row_check(m, t[1].more));
    const int64_t query = t[0].n < m->o.max_query ? t[0].n : m->o.max_query, room = m->o.max_length - hs_row_special(f) - query;
    const int64_t most = t[1].n / (m->o.stride < room ? m->o.stride : room) + 2, begin = f->before.n + query + f->between.n;
    window *w = hs_arena_take(&m->arena, (size_t)most * sizeof *w);
    int n = 0;
    if (!w)
        return no_memory(t[1].n);
    for (int64_t at = 0;; n++) {
        const int64_t length = t[1].n - at < room ? t[1].n - at : room;
        w[n] = (window){ at, at + length };
        if (at + length == t[1].n) {
            n++;
            break;
        }
        at += length < m->o.stride ? length : m->o.stride;
    }
    HS_TRY(hs_row_check(m, m->o.most_rows && n > m->o.most_rows));
    for (int k = 0; k < n; k++) {
        HS_TRY(put_row(m, i, t, query, w, n, k));
        if (!set_target(m, x, &t[1], &w[k], begin, &m->row[m->n_rows - 1]))
            m->n_rows--;
    }
    return HS_OK;
}
