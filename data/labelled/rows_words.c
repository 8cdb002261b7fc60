// rows_words: sentences of words to rows, cut between words, with the sentences around them as context; and turns of a language model.
#include "data/labelled/row_maker.h"
#include <stdlib.h>

typedef struct words { // tokens of each word: [begin, end) of the text's; begin == end: none
    hs_row_text text;
    int64_t *begin, *end;
    int32_t n;
} words;

static hs_status no_memory(int64_t n) { return HS_FAIL(MEMORY, "no memory for %lld words", (long long)n); }

// A token is part of the word that its last byte is in: byte-level ones have the blank before a word in front.
static hs_status encode_words(hs_row_maker *m, const hs_example *x, words *w)
{
    HS_TRY(hs_row_encode(m, x->text[0], x->bytes[0], true, hs_row_most_tokens(m), &w->text));
    HS_TRY(hs_row_check(m, w->text.more));
    w->n = x->n;
    w->begin = hs_arena_take(&m->arena, (size_t)x->n * sizeof *w->begin);
    w->end = hs_arena_take(&m->arena, (size_t)x->n * sizeof *w->end);
    if (!w->begin || !w->end)
        return no_memory(x->n);
    int64_t t = 0;
    for (int32_t k = 0; k < x->n; k++) {
        const hs_span word = x->word[k];
        while (t < w->text.n && w->text.bytes[t].end <= word.start)
            t++;
        w->begin[k] = t;
        while (t < w->text.n && w->text.bytes[t].end <= word.end && w->text.bytes[t].end > word.start)
            t++;
        w->end[k] = t;
    }
    return HS_OK;
}

// ---- windows

typedef struct window { // words [first, end), tokens [from, to)
    int32_t first, end;
    int64_t from, to;
} window;

// Whole words from `first` on; of one that does not fit by itself as much as fits.
static window window_from(const words *w, int32_t first, int64_t room)
{
    window x = { first, first, first < w->n ? w->begin[first] : 0, 0 };
    x.from = first == 0 ? 0 : x.from;
    while (x.end < w->n && w->end[x.end] - x.from <= room)
        x.end++;
    if (x.end == first && first < w->n) {
        x.end++;
        x.to = x.from + room;
    } else {
        x.to = x.end == w->n ? w->text.n : w->begin[x.end];
        x.to = x.to - x.from > room ? x.from + room : x.to;
    }
    return x;
}

static int32_t next_first(const words *w, const window *x, int64_t stride)
{
    int32_t k = x->end;
    while (k - 1 > x->first && w->begin[x->end] - w->begin[k - 1] <= stride)
        k--;
    return k;
}

// The window in which the poorer side of a word's context is the longest.
static void find_best(const words *w, const window *x, int n, int32_t *best)
{
    int least = 0;
    for (int32_t k = 0; k < w->n; k++) {
        int64_t most = -1;
        best[k] = -1;
        while (least < n && x[least].end <= k)
            least++;
        for (int i = least; i < n && x[i].first <= k; i++) {
            const int64_t left = w->begin[k] - x[i].from, right = x[i].to - w->end[k], poorer = left < right ? left : right;
            if (best[k] < 0 || poorer > most)
                most = poorer, best[k] = i;
        }
    }
}

// ---- context

typedef struct sides {
    hs_row_text left, right; // of the left one the last tokens, of the right one the first
} sides;

// Up to `most` tokens of the sentences before or behind number i.
static hs_status gather(hs_row_maker *m, const hs_example *examples, int64_t n, int64_t i, int64_t step, int64_t most, hs_row_text *out)
{
    int64_t have = 0;
    out->id = hs_arena_take(&m->arena, (size_t)most * sizeof *out->id);
    if (!out->id)
        return no_memory(most);
    for (int64_t k = i + step; k >= 0 && k < n && examples[k].document == examples[i].document && have < most; k += step) {
        hs_row_text t;
        HS_TRY(hs_row_encode(m, examples[k].text[0], examples[k].bytes[0], false, 0, &t));
        const int64_t take = t.n < most - have ? t.n : most - have;
        for (int64_t j = 0; j < take; j++) // the left side fills from its end
            out->id[step < 0 ? most - 1 - have - j : have + j] = t.id[step < 0 ? t.n - 1 - j : j];
        have += take;
    }
    if (step < 0)
        out->id += most - have;
    out->n = have;
    return HS_OK;
}

static hs_status find_sides(hs_row_maker *m, const hs_example *examples, int64_t n, int64_t i, int64_t left_over, sides *s)
{
    const int64_t most = m->o.context < left_over ? m->o.context : left_over;
    if (most <= 0)
        return HS_OK;
    HS_TRY(gather(m, examples, n, i, -1, most, &s->left));
    HS_TRY(gather(m, examples, n, i, 1, most, &s->right));
    int64_t *a = &s->left.n, *b = &s->right.n; // what one side does not need the other may have
    const int64_t half = left_over / 2, a_least = *a < half ? *a : half, b_most = left_over - a_least;
    const int64_t right = *b < b_most ? *b : b_most, left = *a < left_over - right ? *a : left_over - right;
    s->left.id += *a - left;
    *a = left, *b = right;
    return HS_OK;
}

// ---- rows

static void set_target(const hs_row_maker *m, const hs_example *x, const words *w, int32_t k, const window *win, int64_t at,
                       hs_example_row *r)
{
    const int32_t label = x->labels ? x->labels[k] : -1;
    const int64_t first = at + w->begin[k] - win->from, last = w->end[k] < win->to ? w->end[k] : win->to;
    if (w->begin[k] >= w->end[k] || w->begin[k] < win->from || w->begin[k] >= win->to)
        return;
    r->word[first] = k;
    r->target[first] = label;
    for (int64_t t = 1; m->o.all_subtokens && t < last - w->begin[k]; t++)
        r->target[first + t] = label >= 0 && m->o.later ? m->o.later[label] : label;
}

static hs_status put_window(hs_row_maker *m, const hs_example *x, int64_t i, const words *w, const window *win, int number,
                            const int32_t *best, const sides *s)
{
    const hs_row_frame *f = &m->frame[0];
    const int64_t n = hs_row_special(f) + win->to - win->from + s->left.n + s->right.n;
    if (n == 0)
        return HS_OK;
    hs_example_row *r = hs_row_add(m, i, n, true, true, false);
    if (!r)
        return no_memory(n);
    int64_t at = hs_row_put_special(r, 0, &f->before);
    const int64_t begin = at = hs_row_put_text(r, at, &s->left, 0, s->left.n, f->type[0]);
    at = hs_row_put_text(r, at, &w->text, win->from, win->to, f->type[0]);
    at = hs_row_put_text(r, at, &s->right, 0, s->right.n, f->type[0]);
    hs_row_put_special(r, at, &f->behind);
    for (int32_t k = win->first; k < win->end; k++)
        if (best[k] == number)
            set_target(m, x, w, k, win, begin, r);
    r->cut = win->end == win->first + 1 && w->end[win->first] > win->to;
    return HS_OK;
}

hs_status hs_rows_of_words(hs_row_maker *m, const hs_example *examples, int64_t n, int64_t i)
{
    const hs_example *x = &examples[i];
    words w = { 0 };
    sides s = { 0 };
    HS_TRY(encode_words(m, x, &w));
    const int64_t room = m->o.max_length - hs_row_special(&m->frame[0]);
    window *win = malloc(((size_t)x->n + 1) * sizeof *win);
    int32_t *best = malloc(((size_t)x->n + 1) * sizeof *best);
    int n_win = 0;
    hs_status st = win && best ? HS_OK : no_memory(x->n);
    for (int32_t first = 0; st == HS_OK && (first < x->n || n_win == 0);) {
        win[n_win] = window_from(&w, first, room);
        if (win[n_win].end == x->n)
            first = x->n;
        else
            first = next_first(&w, &win[n_win], m->o.stride);
        n_win++;
    }
    if (st == HS_OK)
        st = hs_row_check(m, m->o.most_rows && n_win > m->o.most_rows);
    if (st == HS_OK && m->o.context && n_win == 1)
        st = find_sides(m, examples, n, i, room - w.text.n, &s);
    if (st == HS_OK)
        find_best(&w, win, n_win, best);
    for (int k = 0; k < n_win && st == HS_OK; k++)
        st = put_window(m, x, i, &w, &win[k], k, best, &s);
    free(win);
    free(best);
    return st;
}

// ---- turns

typedef struct turns {
    int32_t *id;
    uint8_t *learned;
    int64_t n;
} turns;

static hs_status join_turns(hs_row_maker *m, const hs_example *x, turns *out)
{
    const hs_row_ids *before = &m->frame[0].before;
    hs_row_text *t = hs_arena_take(&m->arena, (size_t)x->n * sizeof *t);
    int64_t n = before->n, at = 0;
    if (!t)
        return no_memory(x->n);
    for (int32_t k = 0; k < x->n; k++) {
        HS_TRY(hs_row_encode(m, x->text[0] + x->turn[k].start, (size_t)(x->turn[k].end - x->turn[k].start), false, 0, &t[k]));
        n += t[k].n + 1;
    }
    out->id = hs_arena_take(&m->arena, (size_t)n * sizeof *out->id);
    out->learned = hs_arena_take(&m->arena, (size_t)n);
    if (!out->id || !out->learned)
        return no_memory(n);
    for (int64_t k = 0; k < before->n; k++, at++)
        out->id[at] = before->id[k], out->learned[at] = 0;
    for (int32_t k = 0; k < x->n; k++) {
        const bool learned = x->turn[k].learned;
        for (int64_t j = 0; j < t[k].n; j++, at++)
            out->id[at] = t[k].id[j], out->learned[at] = learned;
        if (learned && m->end >= 0)
            out->id[at] = m->end, out->learned[at++] = 1;
    }
    out->n = at;
    return HS_OK;
}

hs_status hs_rows_of_turns(hs_row_maker *m, const hs_example *x, int64_t i)
{
    turns t = { 0 };
    HS_TRY(join_turns(m, x, &t));
    const int64_t n = t.n - 1 < m->o.max_length ? t.n - 1 : m->o.max_length;
    bool any = false;
    for (int64_t k = 0; k < n; k++)
        any |= t.learned[k + 1];
    if (!any)
        return HS_OK;
    hs_example_row *r = hs_row_add(m, i, n, false, true, false);
    if (!r)
        return no_memory(n);
    for (int64_t k = 0; k < n; k++) {
        r->id[k] = t.id[k], r->type[k] = 0;
        r->target[k] = t.learned[k + 1] ? t.id[k + 1] : -1;
    }
    r->cut = n < t.n - 1;
    return HS_OK;
}
