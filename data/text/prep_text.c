// prep_text: a piece of text to ids, sentences, hash and sketch: what every thread of `prepare` does.
#include "data/text/prep_part.h"
#include "data/text/store_format.h"
#include "data/tokenizers/tokenizer_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct work {
    const hs_prepare_opts *o;
    const hs_text_inputs *inputs;
    const hs_text_input *input;
    const hs_text_batch *batch;
    const hs_text_piece *piece;
    hs_prep_scratch *scratch;
    hs_prep *p;
    uint32_t id_bytes;
} work;

// "FILE:LINE", of byte `at` of the piece.
static const char *where(const work *w, const char *text, size_t at, char *buf, size_t size)
{
    int64_t line = w->piece->at.line;
    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n';
    snprintf(buf, size, "%s:%lld", strcmp(w->input->path, "-") == 0 ? "standard input" : w->input->path, (long long)line);
    return buf;
}

// ---- ids

static bool is_blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != ' ' && (text[i] < '\t' || text[i] > '\r'))
            return false;
    return true;
}

// Into memory that stays: a call for every sentence of a text must not ask for some each time.
static hs_status encode(const work *w, const char *text, size_t bytes, int64_t *n)
{
    const hs_tokenizer *t = w->o->tokenizer;
    hs_prep_scratch *s = w->scratch;
    const size_t room = hs_tok_room(t, bytes);
    if (s->ids_room < room) {
        free(s->ids);
        s->ids = malloc(room * sizeof *s->ids);
        s->ids_room = s->ids ? room : 0;
    }
    if (!s->ids)
        return HS_FAIL(MEMORY, "no memory for the ids of %zu bytes of text", bytes);
    HS_TRY(t->kind->encode(t, (const unsigned char *)text, bytes, s->ids, n));
    return HS_OK;
}

static hs_status put_ids(work *w, const char *text, size_t from, size_t to)
{
    int64_t n;
    char at[4200];
    if (encode(w, text + from, to - from, &n) != HS_OK) {
        char why[512];
        snprintf(why, sizeof why, "%s", hs_error());
        return HS_FAIL(USAGE, "%s: %s", where(w, text, w->piece->kind->form == HS_TEXT_PLAIN ? from : 0, at, sizeof at), why);
    }
    hs_prep *p = w->p;
    const int32_t *ids = w->scratch->ids;
    HS_TRY(hs_prep_reserve(p, n + 1, 0, 1, w->id_bytes, false)); // + 1: there is an array to add nothing to
    if (w->id_bytes == 4) {
        memcpy(p->ids + 4 * p->n_ids, ids, (size_t)n * 4);
    } else {
        uint16_t *narrow = (uint16_t *)p->ids + p->n_ids;
        for (int64_t i = 0; i < n; i++)
            narrow[i] = (uint16_t)ids[i];
    }
    p->n_ids += n;
    if (w->o->sentences != HS_SENTENCES_NONE && n > 0)
        p->sentence[p->n_sentences++] = (uint32_t)n;
    return HS_OK;
}

static hs_status put_text(work *w, const char *text, size_t bytes)
{
    hs_prep *p = w->p;
    const int64_t ids = p->n_ids, sentences = p->n_sentences;
    const bool sketch = w->o->dedup >= HS_DEDUP_NEAR, whole = w->piece->begins && w->piece->ends;
    if (!whole || !is_blank(text, bytes))
        for (size_t from = 0, end; from < bytes; from = end) {
            end = hs_sentence_end(text, bytes, from, w->o->sentences);
            HS_TRY(put_ids(w, text, from, end));
        }
    HS_TRY(hs_prep_reserve(p, 0, 1, 0, w->id_bytes, sketch));
    const XXH128_hash_t hash = XXH3_128bits(text, bytes);
    if (sketch) {
        hs_sketch_clear(&p->sketch[p->n_pieces]);
        hs_sketch_add(&p->sketch[p->n_pieces], text, bytes);
    }
    p->piece[p->n_pieces++] = (hs_prep_piece){ .hash = { hash.low64, hash.high64 },
                                               .n_ids = (uint64_t)(p->n_ids - ids),
                                               .n_sentences = (uint32_t)(p->n_sentences - sentences),
                                               .flags = (w->piece->begins ? HS_PREP_BEGINS : 0) | (w->piece->ends ? HS_PREP_ENDS : 0) };
    return HS_OK;
}

// Of a bad record, so that a later call on these parts can tell of it too.
static hs_status put_note(work *w, hs_record_fault fault, bool mended)
{
    hs_prep *p = w->p;
    const bool sketch = w->o->dedup >= HS_DEDUP_NEAR;
    HS_TRY(hs_prep_reserve(p, 0, 1, 0, w->id_bytes, sketch));
    if (sketch)
        hs_sketch_clear(&p->sketch[p->n_pieces]);
    p->piece[p->n_pieces++] =
        (hs_prep_piece){ .hash = { (uint64_t)w->piece->at.line, (uint64_t)w->piece->at.input },
                         .flags = HS_PREP_NOTE | (mended ? HS_PREP_MENDED : 0) | HS_PREP_FAULT * (uint32_t)fault };
    return HS_OK;
}

static hs_status put_piece(work *w)
{
    hs_text_taken t;
    HS_TRY(hs_text_take(&w->o->rules, w->inputs, w->batch, w->piece, &w->scratch->text, &t));
    if (t.fault != HS_RECORD_FINE)
        HS_TRY(put_note(w, t.fault, t.text != NULL));
    if (!t.text)
        return HS_OK;
    w->p->replaced += t.replaced;
    w->p->text_bytes += (int64_t)t.bytes;
    HS_TRY(put_text(w, t.text, t.bytes));
    return HS_OK;
}

void hs_prep_scratch_free(hs_prep_scratch *s)
{
    hs_text_scratch_free(&s->text);
    free(s->ids);
    *s = (hs_prep_scratch){ 0 };
}

hs_status hs_prep_encode(const hs_prepare_opts *o, const hs_text_inputs *inputs, const hs_text_batch *b, hs_prep_scratch *s, hs_prep *p)
{
    const uint32_t id_bytes = hs_store_id_bytes(hs_tokenizer_vocab(o->tokenizer));
    hs_prep_clear(p);
    for (int64_t i = 0; i < b->n; i++) {
        work w = { .o = o,
                   .inputs = inputs,
                   .input = &inputs->input[b->piece[i].at.input],
                   .batch = b,
                   .piece = &b->piece[i],
                   .scratch = s,
                   .p = p,
                   .id_bytes = id_bytes };
        HS_TRY(put_piece(&w));
    }
    return HS_OK;
}
