// wanted_row: see the header.
#include "infer/server/wanted_row.h"
#include <string.h>

static hs_row_key key_of(const hs_wanted_row *r, int want, const void *owner)
{
    return (hs_row_key){ .owner = owner, .want = r->want[want], .row = r->row };
}

void hs_wanted_row_let_go(hs_wanted_row *r, hs_row_cache *c)
{
    for (int i = 0; i < r->n_wants; i++) {
        hs_row_cache_let_go(c, r->kept[i]);
        r->kept[i] = NULL;
    }
}

bool hs_wanted_row_find(hs_wanted_row *r, hs_row_cache *c, const void *owner)
{
    for (int i = 0; i < r->n_wants; i++) {
        const hs_row_key key = key_of(r, i, owner);
        if (!(r->kept[i] = hs_row_cache_find(c, &key))) {
            hs_wanted_row_let_go(r, c);
            return false;
        }
    }
    return r->n_wants > 0;
}

static hs_kept *make(const hs_wanted_row *r, hs_row_cache *c, const void *owner, int want)
{
    const hs_want *w = &r->want[want];
    const hs_row_key key = key_of(r, want, owner);
    const size_t width = (size_t)hs_row_reader_width(r->reader) * sizeof(float);
    const int64_t rows = w->what == HS_WANT_VECTOR   ? 1
                         : w->what == HS_WANT_HIDDEN ? r->row->n
                         : w->what == HS_WANT_LOGITS ? hs_row_reader_task_rows(r->reader, r->index)
                                                     : r->row->n_picks;
    return hs_row_cache_make(c, &key, (size_t)rows * (w->what == HS_WANT_GUESSES ? (size_t)w->best * sizeof(hs_guess) : width), rows);
}

static hs_status read_values(const hs_wanted_row *r, int want, hs_kept *k)
{
    hs_guess *guess = k->values;
    int64_t rows;
    if (r->want[want].what != HS_WANT_GUESSES)
        return hs_wanted_floats(r, want, k->values, &rows);
    for (int64_t i = 0; i < r->row->n_picks; i++) // each has as many as the others
        HS_TRY(hs_wanted_guesses(r, want, i, guess + i * r->want[want].best, &k->rows));
    return HS_OK;
}

hs_status hs_wanted_row_keep(hs_wanted_row *r, hs_row_cache *c, const void *owner)
{
    for (int i = 0; i < r->n_wants; i++) {
        hs_kept *k = make(r, c, owner, i);
        const hs_status st = k ? read_values(r, i, k) : HS_OK;
        if (st != HS_OK) {
            hs_row_cache_let_go(c, k);
            hs_wanted_row_let_go(r, c);
            return hs_frame_at(st, __FILE__, __LINE__);
        }
        if (k)
            hs_row_cache_know(c, k);
        r->kept[i] = k;
    }
    return HS_OK;
}

hs_status hs_wanted_floats(const hs_wanted_row *r, int want, float *dst, int64_t *rows)
{
    const hs_want *w = &r->want[want];
    const hs_kept *k = r->kept[want];
    if (k) {
        memcpy(dst, k->values, k->bytes);
        *rows = k->rows;
        return HS_OK;
    }
    *rows = w->what == HS_WANT_HIDDEN ? r->row->n : 1;
    if (w->what == HS_WANT_VECTOR)
        return hs_row_reader_vector(r->reader, r->index, w->pooling, w->normalize, dst);
    return w->what == HS_WANT_HIDDEN ? hs_row_reader_hidden(r->reader, r->index, dst) : hs_row_reader_task(r->reader, r->index, dst, rows);
}

hs_status hs_wanted_guesses(const hs_wanted_row *r, int want, int64_t pick, hs_guess *dst, int64_t *n)
{
    const int64_t best = r->want[want].best;
    const hs_kept *k = r->kept[want];
    if (!k)
        return hs_row_reader_guess(r->reader, r->index, pick, best, dst, n);
    memcpy(dst, (const hs_guess *)k->values + pick * best, (size_t)k->rows * sizeof *dst);
    *n = k->rows;
    return HS_OK;
}
