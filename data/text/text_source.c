// text_source: one buffer, refilled and cut where documents end; what is longer than a piece goes out in parts cut at white space.
#include "data/text/text_source.h"
#include "core/base/ending.h"
#include "core/base/log.h"
#include "data/base/unicode.h"
#include "data/base/utf8.h"
#include "data/text/json_record.h"
#include "data/text/text_stream.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef HS_TEXT_READ_BYTES
#define HS_TEXT_READ_BYTES (1 << 20) // see HS_TEXT_RAW_BYTES
#endif
enum { READ_BYTES = HS_TEXT_READ_BYTES, MARK = 3 }; // MARK: bytes of a byte order mark in UTF-8

struct hs_text_source {
    const hs_text_inputs *inputs;
    hs_text_read how;
    hs_text_kind *kind;     // [inputs->n], of those that were opened
    hs_text_stream *stream; // of inputs->input[at.input], or NULL
    hs_text_at at;          // of buf[start]
    int64_t raw;            // of the inputs before
    bool ended;             // the stream
    char *buf;
    size_t start, end, room;
    size_t line;                 // from start: where the line begins that the search for a document's end has come to
    size_t scanned, cut_scanned; // from start: no line feed behind `line`, no place to cut before these
    hs_json_scan scan;           // of the record from start, up to `scanned`
    bool told;                   // which field is read
};

// ---- the buffer

static const char *name_of(const hs_text_source *s)
{
    const char *path = s->inputs->input[s->at.input].path;
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

static hs_status refill(hs_text_source *s)
{
    if (s->start > 0 && s->end + READ_BYTES > s->room) {
        memmove(s->buf, s->buf + s->start, s->end - s->start);
        s->end -= s->start, s->start = 0;
    }
    if (s->end + READ_BYTES > s->room) {
        const size_t room = 2 * s->room + 4 * READ_BYTES;
        char *buf = realloc(s->buf, room);
        if (!buf)
            return HS_FAIL(MEMORY, "%s: no memory for %zu bytes of a document", name_of(s), room);
        s->buf = buf, s->room = room;
    }
    size_t n;
    HS_TRY(hs_text_stream_read(s->stream, s->buf + s->end, s->room - s->end, &n));
    s->end += n;
    s->ended = n == 0;
    return HS_OK;
}

static int64_t count_lines(const char *p, size_t bytes)
{
    int64_t n = 0;
    for (const char *end = p + bytes; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++)
        n++;
    return n;
}

static void consume(hs_text_source *s, size_t bytes)
{
    s->at.line += count_lines(s->buf + s->start, bytes);
    s->at.offset += (int64_t)bytes;
    s->start += bytes;
    s->line = s->scanned = s->cut_scanned = 0;
    s->scan = (hs_json_scan){ 0 };
}

// ---- one input after the other

static hs_status skip_mark(hs_text_source *s)
{
    while (s->end < MARK && !s->ended)
        HS_TRY(refill(s));
    consume(s, (size_t)hs_text_code_of(s->buf, s->end).mark);
    return HS_OK;
}

static void tell_kind(hs_text_source *s, const hs_text_kind *kind)
{
    const char *name = name_of(s);
    if (kind->form == HS_TEXT_PLAIN && s->how.format == HS_FORMAT_AUTO && (hs_ends_with(name, ".jsonl") || hs_ends_with(name, ".ndjson")))
        hs_warn("%s is read as plain text: it does not begin as JSON lines do", name);
    if (kind->form == HS_TEXT_PLAIN || s->told || s->how.field || strcmp(kind->field, "text") == 0 || !kind->field[0])
        return;
    hs_info("%s: its texts are read from the field \"%s\"; --field names another", name, kind->field);
    s->told = true;
}

static hs_status open_input(hs_text_source *s)
{
    const hs_text_input *in = &s->inputs->input[s->at.input];
    hs_text_kind *kind = &s->kind[s->at.input];
    struct stat st;
    HS_TRY(hs_text_stream_open(&s->stream, in->path, &st));
    if (in->bytes >= 0 && st.st_size != in->bytes)
        return HS_FAIL(USAGE, "%s changed while it was read: %lld bytes, %lld when this began", in->path, (long long)st.st_size,
                       (long long)in->bytes);
    HS_TRY(hs_text_stream_look(s->stream, s->how.format, kind));
    if (s->how.field)
        snprintf(kind->field, sizeof kind->field, "%s", s->how.field);
    tell_kind(s, kind);
    s->ended = false;
    s->start = s->end = s->line = s->scanned = s->cut_scanned = 0;
    s->scan = (hs_json_scan){ 0 };
    return s->at.offset ? hs_text_stream_skip(s->stream, s->at.offset) : skip_mark(s);
}

static void next_input(hs_text_source *s)
{
    s->raw += hs_text_stream_raw(s->stream);
    hs_text_stream_close(s->stream);
    s->stream = NULL;
    s->at = (hs_text_at){ .input = s->at.input + 1, .line = 1 };
}

// ---- where documents end

typedef struct extent {
    size_t bytes; // of the piece, from start
    size_t next;  // where what follows begins, from start
    bool ends;    // the document
} extent;

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }

// The line at buf[start + s->line): *end of its text, *next behind its line feed. false: more must be read to know.
static bool line_at(hs_text_source *s, size_t *end, size_t *next)
{
    const char *p = s->buf + s->start;
    const size_t have = s->end - s->start;
    const char *feed = have > s->scanned ? memchr(p + s->scanned, '\n', have - s->scanned) : NULL;
    s->scanned = feed ? (size_t)(feed - p) : have;
    if (!feed && !s->ended)
        return false;
    *next = feed ? s->scanned + 1 : have;
    *end = s->scanned;
    if (feed && *end > s->line && p[*end - 1] == '\r')
        --*end;
    return true;
}

// Each finds the end of the document, or says how many bytes surely belong to it.
static bool find_line(hs_text_source *s, extent *e, size_t *known)
{
    e->ends = true;
    const bool found = line_at(s, &e->bytes, &e->next);
    *known = found ? e->bytes : s->scanned;
    return found;
}

static size_t without_feeds(const char *p, size_t bytes)
{
    while (bytes > 0 && (p[bytes - 1] == '\n' || p[bytes - 1] == '\r'))
        bytes--;
    return bytes;
}

// Lines up to a blank one, which belongs to what follows.
static bool find_paragraph(hs_text_source *s, extent *e, size_t *known)
{
    const char *p = s->buf + s->start;
    for (size_t end, next = 0;; s->line = s->scanned = next) {
        const bool whole = line_at(s, &end, &next);
        size_t i = s->line;
        while (i < s->scanned && is_blank(p[i]))
            i++;
        const bool blank = i == s->scanned;
        *known = blank ? without_feeds(p, s->line) : s->scanned;
        if (!whole)
            return false;
        if (!blank && next < s->end - s->start)
            continue;
        if (!blank && !s->ended) {
            s->line = s->scanned = next;
            return false;
        }
        *e = (extent){ .bytes = blank ? *known : without_feeds(p, next), .next = next, .ends = true };
        *known = e->bytes;
        return true;
    }
}

static bool find_file(hs_text_source *s, extent *e, size_t *known)
{
    *known = s->end - s->start;
    *e = (extent){ .bytes = *known, .next = *known, .ends = true };
    return s->ended;
}

// To the end of a record; one that is cut by the end of the text is given as it is.
static bool find_value(hs_text_source *s, extent *e, size_t *known)
{
    const size_t have = s->end - s->start;
    s->scanned += hs_json_scan_to_end(&s->scan, s->buf + s->start + s->scanned, have - s->scanned);
    *known = s->scanned;
    *e = (extent){ .bytes = s->scanned, .next = s->scanned, .ends = true };
    return s->scan.done || (s->ended && s->scanned == have);
}

static hs_text_form form_of(const hs_text_source *s) { return s->kind[s->at.input].form; }
static bool find_end(hs_text_source *s, extent *e, size_t *known)
{
    if (form_of(s) != HS_TEXT_PLAIN)
        return (form_of(s) == HS_TEXT_JSON_LINES ? find_line : find_value)(s, e, known);
    switch (s->how.documents) {
    case HS_DOCUMENTS_LINE:
        return find_line(s, e, known);
    case HS_DOCUMENTS_BLANK_LINE:
        return find_paragraph(s, e, known);
    case HS_DOCUMENTS_FILE:
        break;
    }
    return find_file(s, e, known);
}

static bool space_ends_at(const char *text, size_t at)
{
    size_t i = at - 1;
    while (i > 0 && at - i < 4 && (text[i] & 0xC0) == 0x80)
        i--;
    int n;
    const uint32_t c = hs_utf8_next((const unsigned char *)text + i, at - i, &n);
    return c < HS_UTF8_RAW && (hs_uni_props(c) & HS_UNI_SPACE);
}

// A place to cut among the first `known` bytes of a document.
static bool find_cut(hs_text_source *s, size_t known, extent *e)
{
    const char *p = s->buf + s->start;
    size_t i = s->cut_scanned > HS_PIECE ? s->cut_scanned : HS_PIECE;
    for (; i < known; i++)
        if ((p[i] == ' ' || p[i] == '\n') && !space_ends_at(p, i))
            break;
    s->cut_scanned = i;
    if (i >= known)
        return false;
    *e = (extent){ .bytes = i, .next = i };
    return true;
}

// ---- pieces

static hs_status find_piece(hs_text_source *s, extent *e)
{
    for (;;) {
        extent cut;
        size_t known;
        const bool found = find_end(s, e, &known);
        if (form_of(s) == HS_TEXT_PLAIN && find_cut(s, known, &cut)) {
            *e = cut;
            return HS_OK;
        }
        if (found)
            return HS_OK;
        if (form_of(s) != HS_TEXT_PLAIN && known > HS_JSON_LINE)
            return HS_FAIL(USAGE, "%s:%lld: a record of more than %d bytes is no JSON object to read", name_of(s), (long long)s->at.line,
                           HS_JSON_LINE);
        HS_TRY(refill(s));
    }
}

static hs_status grow(const hs_text_source *s, hs_text_batch *b, size_t bytes)
{
    if (b->bytes + bytes > b->room || !b->text) {
        const size_t room = b->bytes + bytes + b->room / 2 + 64;
        char *text = realloc(b->text, room);
        if (!text)
            return HS_FAIL(MEMORY, "%s: no memory for %zu bytes of text", name_of(s), room);
        b->text = text, b->room = room;
    }
    if (b->n == b->piece_room) {
        const int64_t room = 2 * b->piece_room + 64;
        hs_text_piece *piece = realloc(b->piece, (size_t)room * sizeof *piece);
        if (!piece)
            return HS_FAIL(MEMORY, "%s: no memory for %lld documents", name_of(s), (long long)room);
        b->piece = piece, b->piece_room = room;
    }
    return HS_OK;
}

static hs_status add_piece(hs_text_source *s, hs_text_batch *b, const extent *e)
{
    HS_TRY(grow(s, b, e->bytes));
    if (e->bytes)
        memcpy(b->text + b->bytes, s->buf + s->start, e->bytes);
    b->piece[b->n++] = (hs_text_piece){
        .offset = b->bytes, .bytes = e->bytes, .at = s->at, .begins = !s->at.inside, .ends = e->ends, .kind = &s->kind[s->at.input]
    };
    b->bytes += e->bytes;
    consume(s, e->next);
    s->at.inside = !e->ends;
    return HS_OK;
}

// Bytes between records: white space, commas, byte order marks, and the brackets of a list of them.
static size_t between_records(hs_text_source *s, const char *p, size_t have)
{
    size_t i = 0;
    for (; i < have; i++) {
        const char c = p[i];
        if (is_blank(c) || c == '\n' || c == ',' || c == 0x1E)
            continue;
        if (have - i >= MARK && memcmp(p + i, "\xEF\xBB\xBF", MARK) == 0)
            i += MARK - 1;
        else if (c == '[' && !s->at.list)
            s->at.list = true;
        else if (c == ']' && s->at.list)
            s->at.list = false;
        else
            break;
    }
    return i;
}

static hs_status skip_to_record(hs_text_source *s)
{
    do {
        while (s->end - s->start < MARK && !s->ended)
            HS_TRY(refill(s));
        consume(s, between_records(s, s->buf + s->start, s->end - s->start));
    } while (s->end - s->start < MARK && !s->ended);
    if (s->start == s->end && s->at.list)
        return HS_FAIL(CORRUPT, "%s:%lld: the list of records has no end: truncated", name_of(s), (long long)s->at.line);
    return HS_OK;
}

// What stands between documents: blank lines where they divide them. More is read until something else is there, or the end.
static hs_status skip_between(hs_text_source *s)
{
    const bool blank_lines = form_of(s) == HS_TEXT_PLAIN && s->how.documents == HS_DOCUMENTS_BLANK_LINE && !s->at.inside;
    if (form_of(s) == HS_TEXT_JSON_VALUES)
        return skip_to_record(s);
    for (;;) {
        size_t end, next, i = 0;
        while (s->start == s->end && !s->ended)
            HS_TRY(refill(s));
        if (!blank_lines || s->start == s->end)
            return HS_OK;
        const char *p = s->buf + s->start;
        while (i < s->end - s->start && is_blank(p[i]))
            i++;
        if (i < s->end - s->start && p[i] != '\n')
            return HS_OK;
        if (line_at(s, &end, &next))
            consume(s, next);
        else
            HS_TRY(refill(s));
    }
}

hs_status hs_text_source_next(hs_text_source *s, hs_text_batch *b, size_t want)
{
    b->bytes = 0, b->n = 0;
    b->last = false;
    while (b->bytes < want && (size_t)b->n * sizeof(hs_text_piece) < want) {
        if (s->at.input == s->inputs->n) {
            b->last = true;
            break;
        }
        if (!s->stream)
            HS_TRY(open_input(s));
        HS_TRY(skip_between(s));
        // An empty file is an empty document, and so is the end of one that was cut.
        const bool whole_file = form_of(s) == HS_TEXT_PLAIN && s->how.documents == HS_DOCUMENTS_FILE && s->at.offset == 0;
        extent e = { 0 };
        if (s->start == s->end && !whole_file && !s->at.inside) {
            next_input(s);
            continue;
        }
        HS_TRY(find_piece(s, &e));
        HS_TRY(add_piece(s, b, &e));
        if (s->ended && s->start == s->end && !s->at.inside && !s->at.list)
            next_input(s);
    }
    b->after = s->at;
    return HS_OK;
}

int64_t hs_text_source_raw(const hs_text_source *s) { return s->raw + (s->stream ? hs_text_stream_raw(s->stream) : 0); }

hs_status hs_text_source_open(hs_text_source **out, const hs_text_inputs *inputs, const hs_text_read *how, const hs_text_at *from)
{
    *out = calloc(1, sizeof **out);
    hs_text_kind *kind = calloc((size_t)inputs->n + 1, sizeof *kind);
    if (!*out || !kind) {
        free(*out);
        free(kind);
        return HS_FAIL(MEMORY, "no memory to read texts");
    }
    **out = (hs_text_source){ .inputs = inputs, .how = *how, .kind = kind, .at = from ? *from : (hs_text_at){ .line = 1 } };
    for (int64_t i = 0; i < (*out)->at.input; i++)
        (*out)->raw += inputs->input[i].bytes > 0 ? inputs->input[i].bytes : 0;
    return HS_OK;
}

void hs_text_source_close(hs_text_source *s)
{
    if (!s)
        return;
    hs_text_stream_close(s->stream);
    free(s->kind);
    free(s->buf);
    free(s);
}

hs_status hs_text_inputs_check(const hs_text_inputs *inputs)
{
    for (int i = 0; i < inputs->n; i++) {
        hs_text_stream *s;
        hs_text_kind kind;
        if (inputs->input[i].bytes < 0)
            continue;
        HS_TRY(hs_text_stream_open(&s, inputs->input[i].path, NULL));
        const hs_status st = hs_text_stream_look(s, HS_FORMAT_TEXT, &kind);
        hs_text_stream_close(s);
        HS_TRY(st);
    }
    return HS_OK;
}

void hs_text_batch_free(hs_text_batch *b)
{
    free(b->text);
    free(b->piece);
    *b = (hs_text_batch){ 0 };
}
