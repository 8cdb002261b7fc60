// text_store: sentence by sentence, as `prepare` encodes them (data/text/prep_text.c), so that both give the same store.
#include "data/text/text_store.h"
#include "data/text/text_record.h"
#include "data/tokenizers/tokenizer_impl.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 1 << 20, AT_ONCE = 4 << 20 };

typedef struct made {
    const hs_tokenizer *t;
    const hs_text_inputs *inputs;
    hs_sentences how;
    int32_t *ids;
    uint64_t *starts, *sentences; // of documents and sentences, ends behind the last
    int64_t n, n_documents, n_sentences;
    int64_t ids_room, starts_room, sentences_room;
} made;

static hs_status make_room(void *array, int64_t *room, int64_t n, size_t item, const char *what)
{
    if (n <= *room)
        return HS_OK;
    const int64_t more = n < 1024 ? 1024 : 2 * n;
    void *grown = realloc(*(void **)array, (size_t)more * item);
    if (!grown)
        return HS_FAIL(MEMORY, "no memory for %lld %s", (long long)n, what);
    *(void **)array = grown, *room = more;
    return HS_OK;
}

static hs_status put_sentence(made *m, const char *text, size_t bytes)
{
    int64_t n;
    HS_TRY(make_room(&m->ids, &m->ids_room, m->n + (int64_t)hs_tok_room(m->t, bytes), sizeof *m->ids, "ids of a text"));
    HS_TRY(m->t->kind->encode(m->t, (const unsigned char *)text, bytes, m->ids + m->n, &n));
    if (!n)
        return HS_OK;
    m->n += n;
    HS_TRY(make_room(&m->sentences, &m->sentences_room, m->n_sentences + 2, sizeof *m->sentences, "sentences of a text"));
    m->sentences[++m->n_sentences] = (uint64_t)m->n;
    return HS_OK;
}

static bool is_blank(const hs_text_taken *t)
{
    for (size_t i = 0; i < t->bytes; i++)
        if (t->text[i] != ' ' && (t->text[i] < '\t' || t->text[i] > '\r'))
            return false;
    return true;
}

// The error at hand, of byte `at` of a piece.
static hs_status in_line(const made *m, const hs_text_piece *piece, const char *text, size_t at)
{
    char why[512];
    int64_t line = piece->at.line;
    for (size_t i = 0; i < at && piece->kind->form == HS_TEXT_PLAIN; i++)
        line += text[i] == '\n';
    snprintf(why, sizeof why, "%s", hs_error());
    const char *path = m->inputs->input[piece->at.input].path;
    return HS_FAIL(USAGE, "%s:%lld: %s", strcmp(path, "-") == 0 ? "standard input" : path, (long long)line, why);
}

static hs_status end_document(made *m)
{
    if ((uint64_t)m->n == m->starts[m->n_documents]) // without a token
        return HS_OK;
    HS_TRY(make_room(&m->starts, &m->starts_room, m->n_documents + 2, sizeof *m->starts, "documents of a text"));
    m->starts[++m->n_documents] = (uint64_t)m->n;
    return HS_OK;
}

static hs_status put_piece(made *m, const hs_text_batch *b, const hs_text_piece *piece, hs_text_scratch *scratch)
{
    hs_text_taken taken;
    HS_TRY(hs_text_take(&(hs_text_rules){ 0 }, m->inputs, b, piece, scratch, &taken));
    if (!taken.text || (piece->begins && piece->ends && is_blank(&taken)))
        return HS_OK; // no document
    for (size_t from = 0, end; from < taken.bytes; from = end) {
        end = hs_sentence_end(taken.text, taken.bytes, from, m->how);
        if (put_sentence(m, taken.text + from, end - from) != HS_OK)
            return in_line(m, piece, taken.text, from);
    }
    return piece->ends ? end_document(m) : HS_OK;
}

static hs_status put_all(made *m, hs_text_source *source)
{
    hs_text_batch b = { 0 };
    hs_text_scratch scratch = { 0 };
    hs_status st = HS_OK;
    while (st == HS_OK && !b.last) {
        st = hs_text_source_next(source, &b, AT_ONCE);
        for (int64_t i = 0; i < b.n && st == HS_OK; i++)
            st = put_piece(m, &b, &b.piece[i], &scratch);
    }
    hs_text_scratch_free(&scratch);
    hs_text_batch_free(&b);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// Is there a blank line between two texts in the front of the first input?
static hs_status settle(int documents, const hs_text_inputs *inputs, hs_documents *out)
{
    hs_text_source *source;
    hs_text_batch b = { 0 };
    int64_t found = 0;
    *out = documents == HS_TEXT_DOCUMENTS_AUTO ? HS_DOCUMENTS_BLANK_LINE : (hs_documents)documents;
    if (documents != HS_TEXT_DOCUMENTS_AUTO || inputs->n == 0 || inputs->input[0].bytes < 0)
        return HS_OK;
    HS_TRY(hs_text_source_open(&source, inputs, &(hs_text_read){ .documents = HS_DOCUMENTS_BLANK_LINE }, NULL));
    const hs_status st = hs_text_source_next(source, &b, HEAD);
    for (int64_t i = 0; i < b.n && st == HS_OK; i++)
        found += b.piece[i].begins && b.piece[i].at.input == b.piece[0].at.input;
    *out = found > 1 ? HS_DOCUMENTS_BLANK_LINE : HS_DOCUMENTS_LINE;
    hs_text_batch_free(&b);
    hs_text_source_close(source);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status make(made *m, int documents)
{
    hs_text_source *source;
    hs_text_read read = { 0 };
    HS_TRY(make_room(&m->starts, &m->starts_room, 1, sizeof *m->starts, "documents of a text"));
    HS_TRY(make_room(&m->sentences, &m->sentences_room, 1, sizeof *m->sentences, "sentences of a text"));
    m->starts[0] = m->sentences[0] = 0;
    HS_TRY(settle(documents, m->inputs, &read.documents));
    HS_TRY(hs_text_source_open(&source, m->inputs, &read, NULL));
    const hs_status st = put_all(m, source);
    hs_text_source_close(source);
    HS_TRY(st);
    return m->n ? HS_OK : HS_FAIL(USAGE, "%s: a text without a token", m->inputs->input[0].path);
}

// A text is called by its file, several by the first of them.
static hs_status name_it(hs_token_store *s, const hs_text_inputs *in)
{
    char name[PATH_MAX + 32];
    snprintf(name, sizeof name, in->n > 1 ? "%s and %d more" : "%s", in->input[0].path, in->n - 1);
    return hs_token_store_call(s, name);
}

hs_status hs_text_store(hs_token_store **out, const hs_tokenizer *t, const hs_text_inputs *inputs, int documents, hs_sentences sentences)
{
    made m = { .t = t, .inputs = inputs, .how = sentences };
    *out = NULL;
    const hs_status st = make(&m, documents);
    if (st != HS_OK) {
        free(m.ids), free(m.starts), free(m.sentences);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    HS_TRY(hs_token_store_from_documents(out, m.ids, m.n, m.starts, m.n_documents, m.sentences, m.n_sentences, hs_tokenizer_vocab(t),
                                         hs_tokenizer_hash(t)));
    const hs_status named = name_it(*out, inputs);
    if (named == HS_OK)
        return HS_OK;
    hs_token_store_close(*out);
    *out = NULL;
    return hs_frame_at(named, __FILE__, __LINE__);
}
