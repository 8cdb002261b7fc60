// example_rows: special tokens in front, between and behind; texts cut to length.
#include "core/base/grow.h"
#include "data/labelled/row_maker.h"
#include <stdlib.h>
#include <string.h>

// ---- special tokens, by a look at rows of one letter

static hs_status keep_part(hs_row_maker *m, const hs_row *r, int64_t first, int64_t end, hs_row_ids *out)
{
    out->n = end - first;
    out->id = hs_arena_take(&m->fixed, (size_t)out->n * sizeof *out->id);
    out->type = hs_arena_take(&m->fixed, (size_t)out->n);
    if (!out->id || !out->type)
        return HS_FAIL(MEMORY, "no memory for %lld special tokens", (long long)out->n);
    for (int64_t i = 0; i < out->n; i++)
        out->id[i] = r->id[first + i], out->type[i] = (uint8_t)r->type[first + i];
    return HS_OK;
}

static hs_status find_frame(hs_row_maker *m, const hs_row *r, int n_texts, hs_row_frame *f)
{
    int64_t first[2] = { r->n, r->n }, end[2] = { r->n, r->n };
    for (int64_t i = r->n; i-- > 0;)
        if (r->sequence[i] >= 0) {
            const int k = r->sequence[i];
            end[k] = end[k] == r->n && first[k] == r->n ? i + 1 : end[k];
            first[k] = i;
            f->type[k] = (uint8_t)r->type[i];
        }
    if (n_texts == 1)
        first[1] = end[1] = end[0];
    HS_TRY(keep_part(m, r, 0, first[0], &f->before));
    HS_TRY(keep_part(m, r, end[0], first[1], &f->between));
    return keep_part(m, r, end[1], r->n, &f->behind);
}

static hs_status find_frames(hs_row_maker *m)
{
    const hs_row_opts plain = { 0 };
    const char *kind = hs_tokenizer_kind(m->o.tokenizer);
    m->frame[1].type[1] = 1;
    if (strcmp(kind, "byte") == 0 || strcmp(kind, "char") == 0) // have none, and may not have the letter
        return HS_OK;
    for (int k = 0; k < 2; k++) {
        hs_rows rows;
        HS_TRY(hs_tokenizer_rows(m->o.tokenizer, "a", 1, k ? "a" : NULL, 1, &plain, &rows));
        const hs_status st = find_frame(m, &rows.row[0], k + 1, &m->frame[k]);
        hs_rows_free(&rows);
        HS_TRY(st);
    }
    return HS_OK;
}

int64_t hs_row_special(const hs_row_frame *f) { return f->before.n + f->between.n + f->behind.n; }

static hs_status check_opts(const hs_row_maker *m)
{
    const hs_rows_opts *o = &m->o;
    const int64_t room = o->max_length - hs_row_special(&m->frame[m->about == HS_ABOUT_SPAN]);
    if (o->max_length < 8)
        return HS_FAIL(USAGE, "rows of %lld tokens, at least 8", (long long)o->max_length);
    if (m->about == HS_ABOUT_TOKENS && o->stride >= room)
        return HS_FAIL(USAGE, "stride is %lld: rows of %lld tokens that share so many show nothing new", (long long)o->stride,
                       (long long)room);
    if (m->about == HS_ABOUT_SPAN && room - o->max_query < 1)
        return HS_FAIL(USAGE, "max_query is %lld: questions of so many tokens leave no room for their context in rows of %lld",
                       (long long)o->max_query, (long long)o->max_length);
    if (o->stride < 0 || o->context < 0 || o->max_query < 0)
        return HS_FAIL(USAGE, "a stride, a context or a question's length cannot be negative");
    return HS_OK;
}

hs_status hs_row_maker_new(hs_row_maker **out, hs_about about, const hs_rows_opts *o)
{
    *out = NULL;
    if (!o->tokenizer)
        return HS_FAIL(USAGE, "labelled texts need a tokenizer");
    hs_row_maker *m = calloc(1, sizeof *m);
    if (!m)
        return HS_FAIL(MEMORY, "no memory to make rows");
    m->about = about, m->o = *o;
    if (about == HS_ABOUT_SPAN) {
        m->o.stride = o->stride ? o->stride : 128;
        m->o.max_query = o->max_query ? o->max_query : 64;
        if (!o->max_query && m->o.max_query > o->max_length / 3) // of short rows most is left to the context
            m->o.max_query = o->max_length / 3;
    }
    const bool bpe = strcmp(hs_tokenizer_kind(o->tokenizer), "bpe") == 0;
    m->space = o->prefix_space == HS_PREFIX_YES || (o->prefix_space == HS_PREFIX_AUTO && bpe && about == HS_ABOUT_TOKENS);
    m->end = hs_tokenizer_end(o->tokenizer);
    hs_status st = find_frames(m);
    if (st == HS_OK)
        st = check_opts(m);
    if (st != HS_OK) {
        hs_row_maker_free(m);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = m;
    return HS_OK;
}

void hs_row_maker_free(hs_row_maker *m)
{
    if (!m)
        return;
    hs_arena_free(&m->fixed);
    hs_arena_free(&m->arena);
    free(m->row);
    free(m->spaced);
    free(m);
}

// ---- ids

static hs_status with_space(hs_row_maker *m, const char **text, size_t *bytes)
{
    if (m->spaced_room < *bytes + 2) {
        char *more = realloc(m->spaced, 2 * *bytes + 64);
        if (!more)
            return HS_FAIL(MEMORY, "no memory for a text of %zu bytes", *bytes);
        m->spaced = more, m->spaced_room = 2 * *bytes + 64;
    }
    m->spaced[0] = ' ';
    memcpy(m->spaced + 1, *text, *bytes);
    *text = m->spaced, *bytes += 1;
    return HS_OK;
}

static hs_status encode_with_offsets(hs_row_maker *m, const char *text, size_t bytes, int64_t most, hs_row_text *out)
{
    const hs_row_opts plain = { .no_special = true, .max_length = most, .overflow = most ? HS_OVERFLOW_DROP : HS_OVERFLOW_ROWS };
    hs_rows rows;
    HS_TRY(hs_tokenizer_rows(m->o.tokenizer, text, bytes, NULL, 0, &plain, &rows));
    const hs_row *r = &rows.row[0];
    out->n = r->n, out->more = rows.more;
    out->id = hs_arena_copy(&m->arena, r->id, (size_t)r->n, sizeof *r->id);
    out->bytes = hs_arena_copy(&m->arena, r->bytes, (size_t)r->n, sizeof *r->bytes);
    hs_rows_free(&rows);
    return out->id && out->bytes ? HS_OK : HS_FAIL(MEMORY, "no memory for %lld ids", (long long)out->n);
}

static hs_status encode_alone(hs_row_maker *m, const char *text, size_t bytes, int64_t most, hs_row_text *out)
{
    int32_t *id;
    HS_TRY(hs_tokenizer_encode_most(m->o.tokenizer, text, bytes, most, &id, &out->n));
    out->more = most && out->n > most;
    out->id = hs_arena_copy(&m->arena, id, (size_t)out->n, sizeof *id);
    free(id);
    return out->id ? HS_OK : HS_FAIL(MEMORY, "no memory for %lld ids", (long long)out->n);
}

hs_status hs_row_encode(hs_row_maker *m, const char *text, size_t bytes, bool offsets, int64_t most, hs_row_text *out)
{
    const bool space = m->space && bytes > 0 && text[0] != ' ';
    *out = (hs_row_text){ 0 };
    if (space)
        HS_TRY(with_space(m, &text, &bytes));
    HS_TRY((offsets ? encode_with_offsets : encode_alone)(m, text, bytes, most, out));
    for (int64_t i = 0; out->bytes && space && i < out->n; i++) {
        out->bytes[i].start -= out->bytes[i].start > 0;
        out->bytes[i].end -= out->bytes[i].end > 0;
    }
    for (int64_t i = 0; m->o.vocab && i < out->n; i++)
        if (out->id[i] < 0 || out->id[i] >= m->o.vocab)
            return HS_FAIL(USAGE, "the tokenizer gives id %d, and the model's vocabulary has %lld", out->id[i], (long long)m->o.vocab);
    return HS_OK;
}

// ---- rows

int64_t hs_row_most_tokens(const hs_row_maker *m) { return m->o.most_rows * m->o.max_length; }

hs_status hs_row_check(hs_row_maker *m, bool over)
{
    m->over = over;
    return !over ? HS_OK
                 : HS_FAIL(USAGE, "it takes more than %lld rows of %lld tokens", (long long)m->o.most_rows, (long long)m->o.max_length);
}

bool hs_row_maker_over(const hs_row_maker *m) { return m->over; }

hs_example_row *hs_row_add(hs_row_maker *m, int64_t example, int64_t n, bool word, bool target, bool bytes)
{
    hs_arena *a = &m->arena;
    const size_t count = (size_t)n;
    if (!hs_grow(&m->row, m->n_rows, &m->room, sizeof *m->row))
        return NULL;
    hs_example_row *r = &m->row[m->n_rows];
    *r = (hs_example_row){ .example = example, .n = n, .start = -1, .end = -1 };
    r->id = hs_arena_take(a, count * sizeof *r->id);
    r->type = hs_arena_take(a, count);
    r->word = word ? hs_arena_take(a, count * sizeof *r->word) : NULL;
    r->target = target ? hs_arena_take(a, count * sizeof *r->target) : NULL;
    r->bytes = bytes ? hs_arena_take(a, count * sizeof *r->bytes) : NULL;
    r->best = bytes ? hs_arena_take(a, count) : NULL;
    if (!r->id || !r->type || (word && !r->word) || (target && !r->target) || (bytes && (!r->bytes || !r->best)))
        return NULL;
    for (int64_t i = 0; i < n; i++) {
        if (word)
            r->word[i] = -1;
        if (target)
            r->target[i] = -1;
        if (bytes)
            r->bytes[i] = (hs_span){ 0, 0 }, r->best[i] = 0;
    }
    m->n_rows++;
    return r;
}

int64_t hs_row_put_special(hs_example_row *r, int64_t at, const hs_row_ids *special)
{
    for (int64_t i = 0; i < special->n; i++, at++)
        r->id[at] = special->id[i], r->type[at] = special->type[i];
    return at;
}

int64_t hs_row_put_text(hs_example_row *r, int64_t at, const hs_row_text *t, int64_t first, int64_t end, uint8_t type)
{
    for (int64_t i = first; i < end; i++, at++)
        r->id[at] = t->id[i], r->type[at] = type;
    return at;
}

// longest_first: the shorter keeps what it has as long as it is not longer than half.
static void share(int64_t max, int64_t n[2])
{
    const bool swap = n[0] > n[1];
    int64_t few = n[swap], many = n[!swap];
    if (n[0] + n[1] <= max)
        return;
    many = few > max ? few : few > max - few ? few : max - few;
    if (few + many > max) {
        few = max / 2;
        many = few + max % 2;
    }
    n[swap] = few, n[!swap] = many;
}

hs_status hs_rows_of_texts(hs_row_maker *m, const hs_example *x, int64_t i)
{
    const bool pair = x->text[1] != NULL;
    const hs_row_frame *f = &m->frame[pair];
    const int64_t room = m->o.max_length - hs_row_special(f);
    hs_row_text t[2] = { 0 };
    for (int k = 0; k < 1 + pair; k++)
        HS_TRY(hs_row_encode(m, x->text[k], x->bytes[k], false, room, &t[k]));
    const bool tie = t[0].more && t[1].more && room % 2; // the longer one has the odd id
    for (int k = 0; k < 2 && tie; k++)
        HS_TRY(hs_row_encode(m, x->text[k], x->bytes[k], false, 0, &t[k]));
    int64_t n[2] = { t[0].n, t[1].n };
    if (pair)
        share(room, n);
    else if (n[0] > room)
        n[0] = room;
    if (hs_row_special(f) + n[0] + n[1] == 0)
        return HS_OK;
    hs_example_row *r = hs_row_add(m, i, hs_row_special(f) + n[0] + n[1], false, false, false);
    if (!r)
        return HS_FAIL(MEMORY, "no memory for a row of %lld tokens", (long long)(n[0] + n[1]));
    int64_t at = hs_row_put_special(r, 0, &f->before);
    at = hs_row_put_text(r, at, &t[0], 0, n[0], f->type[0]);
    at = hs_row_put_special(r, at, &f->between);
    at = hs_row_put_text(r, at, &t[1], 0, n[1], f->type[1]);
    hs_row_put_special(r, at, &f->behind);
    r->cut = n[0] < t[0].n || n[1] < t[1].n;
    return HS_OK;
}

hs_status hs_row_maker_rows(hs_row_maker *m, const hs_example *examples, int64_t n, int64_t i, const hs_example_row **row, int64_t *n_rows)
{
    hs_arena_clear(&m->arena);
    m->n_rows = 0, m->over = false;
    const hs_example *x = &examples[i];
    hs_status st;
    switch (m->about) {
    case HS_ABOUT_TOKENS:
        st = hs_rows_of_words(m, examples, n, i);
        break;
    case HS_ABOUT_SPAN:
        st = hs_rows_of_span(m, x, i);
        break;
    case HS_ABOUT_LM:
        st = hs_rows_of_turns(m, x, i);
        break;
    default:
        st = hs_rows_of_texts(m, x, i);
    }
    *row = m->row, *n_rows = m->n_rows;
    return st;
}

// ---- copies

static void *copied(hs_arena *a, const void *p, int64_t n, size_t item) { return p ? hs_arena_copy(a, p, (size_t)n, item) : NULL; }

hs_status hs_example_rows_keep(hs_arena *a, const hs_example_row *row, int64_t n, const hs_example_row **out)
{
    hs_example_row *to = hs_arena_copy(a, row, (size_t)n, sizeof *row);
    if (!to)
        return HS_FAIL(MEMORY, "no memory for %lld rows", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        hs_example_row *r = &to[i];
        const bool words = r->word, context = r->bytes;
        r->id = copied(a, r->id, r->n, sizeof *r->id), r->type = copied(a, r->type, r->n, sizeof *r->type);
        r->word = copied(a, r->word, r->n, sizeof *r->word), r->bytes = copied(a, r->bytes, r->n, sizeof *r->bytes);
        r->best = copied(a, r->best, r->n, sizeof *r->best), r->target = NULL;
        if (!r->id || !r->type || (words && !r->word) || (context && (!r->bytes || !r->best)))
            return HS_FAIL(MEMORY, "no memory for a row of %lld tokens", (long long)r->n);
    }
    *out = to;
    return HS_OK;
}
