// text_store: sentence by sentence, as `prepare` encodes them (data/text/prep_text.c), so that both give the same store.
#include "data/text/text_store.h"
#include "data/tokenizers/tokenizer_impl.h"
#include <stdlib.h>
#include <string.h>

enum { HEAD = 1 << 20 };

typedef struct made {
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

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// The end of the line that begins at i, its line feed included.
static size_t line_end(const char *text, size_t bytes, size_t i, bool *blank)
{
    *blank = true;
    for (; i < bytes && text[i] != '\n'; i++)
        *blank &= is_space(text[i]);
    return i < bytes ? i + 1 : i;
}

// The end of the document that begins at `from`; what follows up to the next is blank, and part of none.
static size_t document_end(const char *text, size_t bytes, size_t from, hs_documents how, size_t *next)
{
    bool blank, any = false;
    size_t i = from;
    *next = bytes;
    if (how == HS_DOCUMENTS_FILE)
        return bytes;
    while (i < bytes) {
        const size_t end = line_end(text, bytes, i, &blank);
        if ((blank && any) || (how == HS_DOCUMENTS_LINE && any)) {
            *next = i;
            return i;
        }
        any |= !blank;
        i = end;
    }
    return bytes;
}

static hs_status put_sentence(made *m, const hs_tokenizer *t, const char *text, size_t bytes)
{
    int64_t n;
    HS_TRY(make_room(&m->ids, &m->ids_room, m->n + (int64_t)hs_tok_room(t, bytes), sizeof *m->ids, "ids of a text"));
    HS_TRY(t->kind->encode(t, (const unsigned char *)text, bytes, m->ids + m->n, &n));
    if (!n)
        return HS_OK;
    m->n += n;
    HS_TRY(make_room(&m->sentences, &m->sentences_room, m->n_sentences + 2, sizeof *m->sentences, "sentences of a text"));
    m->sentences[++m->n_sentences] = (uint64_t)m->n;
    return HS_OK;
}

static hs_status in_line(const char *text, size_t at)
{
    char why[512];
    int64_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n';
    snprintf(why, sizeof why, "%s", hs_error());
    return HS_FAIL(USAGE, "line %lld: %s", (long long)line, why);
}

static hs_status put_document(made *m, const hs_tokenizer *t, const char *text, size_t from, size_t end, hs_sentences how)
{
    const int64_t before = m->n;
    for (size_t to; from < end; from = to) {
        to = from + hs_sentence_end(text + from, end - from, 0, how);
        if (put_sentence(m, t, text + from, to - from) != HS_OK)
            return in_line(text, from);
    }
    if (m->n == before)
        return HS_OK;
    HS_TRY(make_room(&m->starts, &m->starts_room, m->n_documents + 2, sizeof *m->starts, "documents of a text"));
    m->starts[++m->n_documents] = (uint64_t)m->n;
    return HS_OK;
}

static hs_status make(made *m, const hs_tokenizer *t, const char *text, size_t bytes, hs_documents documents, hs_sentences sentences)
{
    HS_TRY(make_room(&m->starts, &m->starts_room, 1, sizeof *m->starts, "documents of a text"));
    HS_TRY(make_room(&m->sentences, &m->sentences_room, 1, sizeof *m->sentences, "sentences of a text"));
    m->starts[0] = m->sentences[0] = 0;
    for (size_t from = 0, next; from < bytes; from = next) {
        const size_t end = document_end(text, bytes, from, documents, &next);
        HS_TRY(put_document(m, t, text, from, end, sentences));
    }
    return m->n ? HS_OK : HS_FAIL(USAGE, "%zu bytes of text without a token", bytes);
}

static hs_documents settle(int documents, const char *text, size_t bytes)
{
    bool blank, any = false;
    if (documents != HS_TEXT_DOCUMENTS_AUTO)
        return (hs_documents)documents;
    for (size_t i = 0; i < bytes && i < HEAD; any = true) { // those in front of the first line divide nothing
        i = line_end(text, bytes, i, &blank);
        if (blank && any && i < bytes)
            return HS_DOCUMENTS_BLANK_LINE;
    }
    return HS_DOCUMENTS_LINE;
}

hs_status hs_text_store(hs_token_store **out, const hs_tokenizer *t, const char *text, size_t bytes, int documents, hs_sentences sentences)
{
    made m = { 0 };
    *out = NULL;
    const hs_status st = make(&m, t, text, bytes, settle(documents, text, bytes), sentences);
    if (st != HS_OK) {
        free(m.ids), free(m.starts), free(m.sentences);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    return hs_token_store_from_documents(out, m.ids, m.n, m.starts, m.n_documents, m.sentences, m.n_sentences, hs_tokenizer_vocab(t),
                                         hs_tokenizer_hash(t));
}
