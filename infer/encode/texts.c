// texts: what waits for its batch is kept as text and tokens, and given back in order.
#include "infer/encode/texts.h"
#include <stdlib.h>
#include <string.h>

// Enough rows for products to reach their speed; more only takes memory. Logits are V columns wide, and few places of a text are masks.
enum { TOKENS = 1024, MASKS = 64 };

typedef struct waiting { // in the order of rows in the batch
    char *text;
    size_t bytes;
    int64_t n_masks;
} waiting;

struct hs_texts {
    hs_texts_opts o;
    hs_row_reader *reader;
    int64_t context; // tokens of a text at most
    int32_t mask;
    char mask_name[256];
    waiting *wait; // [most seqs]
    int n;
    int64_t *pick; // [context]
    hs_texts_count count;
};

hs_arch_shape hs_texts_shape(const hs_session *s, bool masks)
{
    const int64_t tokens = s->context > TOKENS ? s->context : TOKENS;
    // the shortest text has one token
    return (hs_arch_shape){ .max_tokens = tokens,
                            .max_seqs = tokens / 4 + 1,
                            .longest = s->context,
                            .max_picks = masks ? MASKS < s->context ? MASKS : s->context : 0,
                            .hidden = !masks,
                            .logits = masks,
                            .lean = masks };
}

// ---- birth
static hs_status prepare(hs_texts *t)
{
    const hs_session *s = t->o.session;
    if (!s->tokenizer)
        return HS_FAIL(USAGE, "texts need a tokenizer: %s", s->tokenizer_error);
    t->mask = hs_tokenizer_role(s->tokenizer, HS_TOKEN_MASK);
    if (t->o.masks && t->mask < 0)
        return HS_FAIL(USAGE, "%s: the tokenizer has no mask token (mask_token of tokenizer_config.json or special_tokens_map.json)",
                       s->dir);
    if (t->mask >= 0)
        t->mask_name[hs_tokenizer_name(s->tokenizer, t->mask, t->mask_name, sizeof t->mask_name - 1)] = 0;
    t->context = t->o.max_length > 0 && t->o.max_length < s->context ? t->o.max_length : s->context;
    t->count.max_length = t->context;
    HS_TRY(hs_session_reader(&t->reader, s, t->o.run ? t->o.run : s->run));
    t->wait = calloc((size_t)hs_row_reader_most_rows(t->reader), sizeof *t->wait);
    t->pick = malloc((size_t)t->context * sizeof *t->pick);
    return t->wait && t->pick ? HS_OK : HS_FAIL(MEMORY, "no memory for texts of %lld tokens", (long long)t->context);
}

hs_status hs_texts_new(hs_texts **out, const hs_texts_opts *o)
{
    hs_texts *t = *out = calloc(1, sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for texts");
    t->o = *o;
    const hs_status st = prepare(t);
    if (st == HS_OK)
        return HS_OK;
    hs_texts_free(t);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

static void forget(hs_texts *t)
{
    for (int i = 0; i < t->n; i++)
        free(t->wait[i].text);
    t->n = 0;
}

void hs_texts_free(hs_texts *t)
{
    if (!t)
        return;
    forget(t);
    hs_row_reader_free(t->reader);
    free(t->wait);
    free(t->pick);
    free(t);
}

// ---- texts
hs_status hs_texts_finish(hs_texts *t)
{
    hs_status st = hs_row_reader_run(t->reader);
    for (int i = 0; st == HS_OK && i < t->n; i++) {
        const waiting *w = &t->wait[i];
        const hs_text_out out = {
            .number = t->count.texts - t->n + i, .text = w->text, .bytes = w->bytes, .reader = t->reader, .index = i, .n_masks = w->n_masks
        };
        st = t->o.done(&out, t->o.user);
    }
    forget(t);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status find_masks(hs_texts *t, const hs_row *r, bool cut, hs_encode_row *row)
{
    row->pick = t->pick, row->n_picks = 0;
    for (int64_t i = 0; i < r->n; i++)
        if (r->id[i] == t->mask)
            t->pick[row->n_picks++] = i;
    if (cut)
        return HS_FAIL(USAGE, "the text is longer than the model's context of %lld tokens, and would be filled by half of it",
                       (long long)t->context);
    if (row->n_picks == 0)
        return HS_FAIL(USAGE, "the text has nothing to fill: write %s where a word is wanted", t->mask_name);
    return HS_OK;
}

static hs_status keep(hs_texts *t, const char *text, size_t bytes, const hs_encode_row *row)
{
    int index;
    HS_TRY(hs_row_reader_add(t->reader, row, &index));
    if (index < 0) {
        HS_TRY(hs_texts_finish(t));
        HS_TRY(hs_row_reader_add(t->reader, row, &index));
    }
    waiting *w = &t->wait[t->n];
    *w = (waiting){ .text = malloc(bytes + 1), .bytes = bytes, .n_masks = row->n_picks };
    if (!w->text)
        return HS_FAIL(MEMORY, "no memory for a text of %zu bytes", bytes);
    memcpy(w->text, text, bytes);
    w->text[bytes] = 0;
    t->n++;
    t->count.texts++, t->count.tokens += row->n;
    return HS_OK;
}

hs_status hs_texts_add(hs_texts *t, const char *text, size_t bytes)
{
    hs_rows rows;
    HS_TRY(hs_tokenizer_rows(t->o.session->tokenizer, text, bytes, NULL, 0,
                             &(hs_row_opts){ .max_length = t->context, .overflow = HS_OVERFLOW_DROP }, &rows));
    const hs_row *r = rows.row;
    hs_encode_row row = { .id = r->id, .type = r->type, .n = r->n };
    const bool cut = rows.more;
    hs_status st = t->o.masks ? find_masks(t, r, cut, &row) : HS_OK;
    if (st == HS_OK)
        st = keep(t, text, bytes, &row);
    if (st == HS_OK)
        t->count.cut += cut;
    hs_rows_free(&rows);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_texts_count hs_texts_counted(const hs_texts *t) { return t->count; }
