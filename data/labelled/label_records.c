// label_records: a buffer that grows to the longest record, and four ways to find where one ends.
#include "data/labelled/label_records.h"
#include "data/base/utf8.h"
#include "data/text/text_stream.h"
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 1 << 17, RECORD_BYTES = 1 << 30 };

struct hs_label_records {
    hs_text_stream *stream;
    char *name;
    hs_bad_utf8 bad;
    int unit; // of a character in the file, as text_kind has it
    char *buf;
    size_t at, end, room; // buf[at, end) is read and not given
    int64_t line, offset; // of buf[at]
    bool ended;
    char over; // what stood where the NUL behind the last record stands
    char *terminated;
    char *clean; // a record with U+FFFD in it
    size_t clean_room;
};

static hs_status read_more(hs_label_records *r)
{
    size_t n;
    if (r->at > 0 && r->end - r->at < r->at) { // what is left moves only where it is the smaller part
        memmove(r->buf, r->buf + r->at, r->end - r->at);
        r->end -= r->at, r->at = 0;
    }
    if (r->room - r->end < READ_BYTES + 1) {
        const size_t room = 2 * r->room > r->end + READ_BYTES + 1 ? 2 * r->room : r->end + READ_BYTES + 1;
        char *buf = realloc(r->buf, room);
        if (!buf)
            return HS_FAIL(MEMORY, "%s: no memory for a record of %zu bytes", r->name, r->end - r->at);
        r->buf = buf, r->room = room;
    }
    HS_TRY(hs_text_stream_read(r->stream, r->buf + r->end, READ_BYTES, &n));
    r->end += n;
    r->ended = n == 0;
    return HS_OK;
}

hs_status hs_label_records_open(hs_label_records **out, const char *path, hs_bad_utf8 bad)
{
    *out = NULL;
    hs_text_kind kind;
    hs_label_records *r = calloc(1, sizeof *r);
    if (!r || !(r->name = strdup(strcmp(path, "-") == 0 ? "standard input" : path))) {
        free(r);
        return HS_FAIL(MEMORY, "%s: no memory to read it", path);
    }
    hs_status st;
    r->bad = bad, r->line = 1;
    HS_TRY_GOTO(st, hs_text_stream_open(&r->stream, path, NULL), failed);
    HS_TRY_GOTO(st, hs_text_stream_look(r->stream, HS_FORMAT_TEXT, &kind), failed);
    r->unit = kind.unit;
    while (r->end < 3 && !r->ended)
        HS_TRY_GOTO(st, read_more(r), failed);
    if (r->end >= 3 && memcmp(r->buf, "\xEF\xBB\xBF", 3) == 0)
        r->at = 3, r->offset = 3;
    *out = r;
    return HS_OK;
failed:
    hs_label_records_close(r);
    return st;
}

void hs_label_records_close(hs_label_records *r)
{
    if (!r)
        return;
    hs_text_stream_close(r->stream);
    free(r->name);
    free(r->buf);
    free(r->clean);
    free(r);
}

const char *hs_label_records_name(const hs_label_records *r) { return r->name; }

static void restore(hs_label_records *r)
{
    if (r->terminated)
        *r->terminated = r->over;
    r->terminated = NULL;
}

hs_status hs_label_records_peek(hs_label_records *r, const char **p, size_t *bytes, bool *all)
{
    restore(r);
    while (r->end - r->at < HS_TEXT_HEAD && !r->ended)
        HS_TRY(read_more(r));
    const size_t n = r->end - r->at;
    *p = r->buf + r->at;
    *all = n <= HS_TEXT_HEAD && r->ended;
    *bytes = n < HS_TEXT_HEAD ? n : HS_TEXT_HEAD;
    return HS_OK;
}

// ---- where a record ends

size_t hs_line_bytes(const char *p, size_t bytes, size_t *whole)
{
    const char *feed = bytes ? memchr(p, '\n', bytes) : NULL;
    size_t n = feed ? (size_t)(feed - p) : bytes;
    *whole = feed ? n + 1 : bytes;
    if (n > 0 && p[n - 1] == '\r')
        n--;
    return n;
}

bool hs_is_blank(const char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r' && p[i] != '\n')
            return false;
    return true;
}

typedef struct scan {          // of a record that may not be there whole yet
    size_t n;                  // bytes looked at, from buf[at] on
    size_t line;               // BLOCK: where the line begins
    int64_t feeds;             // line feeds passed
    int64_t opened;            // CSV: feeds before the open quote
    bool quoted, quote, begun; // CSV: within quotes; behind one that may end them; the field has begun
    bool text, blank;          // BLOCK: there was a line with text; a blank one behind it
} scan;

static bool scan_line(scan *s, const char *p, size_t bytes, char delimiter)
{
    (void)delimiter;
    const char *feed = bytes > s->n ? memchr(p + s->n, '\n', bytes - s->n) : NULL;
    s->n = feed ? (size_t)(feed - p) + 1 : bytes;
    s->feeds += feed != NULL;
    return feed != NULL;
}

static bool scan_csv(scan *s, const char *p, size_t bytes, char delimiter)
{
    while (s->n < bytes) {
        const char c = p[s->n++];
        s->feeds += c == '\n';
        if (s->quoted) {
            if (s->quote && c != '"')
                s->quoted = false; // the quote before ended the field: c is read as what follows one
            else
                s->quote = c == '"' && !s->quote;
        }
        if (s->quoted)
            continue;
        if (c == '\n')
            return true;
        if (c == '"' && !s->begun)
            s->quoted = true, s->quote = false, s->opened = s->feeds;
        s->begun = c != delimiter;
    }
    return false;
}

static bool scan_block(scan *s, const char *p, size_t bytes, char delimiter)
{
    (void)delimiter;
    while (s->n < bytes) {
        const char *feed = memchr(p + s->n, '\n', bytes - s->n);
        if (!feed) {
            s->n = bytes;
            return false;
        }
        const bool blank = hs_is_blank(p + s->line, (size_t)(feed - p) - s->line);
        if (!blank && s->blank) { // the next block's first line
            s->n = s->line;
            return true;
        }
        s->text |= !blank, s->blank = blank && s->text;
        s->n = s->line = (size_t)(feed - p) + 1;
        s->feeds++;
    }
    return false;
}

static bool scan_all(scan *s, const char *p, size_t bytes, char delimiter)
{
    (void)p, (void)delimiter;
    s->n = bytes;
    return false;
}

static bool (*const scans[])(scan *s, const char *p, size_t bytes, char delimiter) = {
    [HS_CUT_LINE] = scan_line, [HS_CUT_CSV] = scan_csv, [HS_CUT_BLOCK] = scan_block, [HS_CUT_ALL] = scan_all
};

// A last line without a line feed may begin another block.
static void end_block(scan *s, const char *p, size_t bytes)
{
    if (s->blank && !hs_is_blank(p + s->line, bytes - s->line))
        s->n = s->line;
    else
        s->n = bytes;
}

// ---- bytes that no text has

static hs_status settle_bytes(hs_label_records *r, hs_label_record *out)
{
    size_t bad = hs_utf8_find_bad(out->p, out->bytes, 0);
    if (bad == out->bytes)
        return HS_OK;
    if (r->bad != HS_BAD_UTF8_REPLACE) {
        long long line = out->line;
        for (size_t i = 0; i < bad; i++)
            line += out->p[i] == '\n';
        return hs_text_bad_byte(r->name, r->unit, line, r->offset + (long long)bad, out->p[bad], "utf8 replace puts U+FFFD there");
    }
    if (r->clean_room < 3 * out->bytes + 1) {
        char *clean = realloc(r->clean, 3 * out->bytes + 1);
        if (!clean)
            return HS_FAIL(MEMORY, "%s: no memory for a record of %zu bytes", r->name, out->bytes);
        r->clean = clean, r->clean_room = 3 * out->bytes + 1;
    }
    size_t n = 0;
    for (size_t from = 0;; bad = hs_utf8_find_bad(out->p, out->bytes, from)) {
        memcpy(r->clean + n, out->p + from, bad - from);
        n += bad - from;
        if (bad == out->bytes)
            break;
        memcpy(r->clean + n, "\xEF\xBF\xBD", 3);
        n += 3, from = bad + 1;
    }
    r->clean[n] = 0;
    out->p = r->clean, out->bytes = n;
    return HS_OK;
}

hs_status hs_label_records_next(hs_label_records *r, hs_cut cut, char delimiter, hs_label_record *out)
{
    restore(r);
    scan s = { 0 };
    *out = (hs_label_record){ 0 };
    while (!scans[cut](&s, r->buf + r->at, r->end - r->at, delimiter) && !r->ended) {
        if (s.n > RECORD_BYTES)
            return HS_FAIL(USAGE, "%s:%lld: a record of more than 1 GiB begins here", r->name, (long long)r->line);
        HS_TRY(read_more(r));
    }
    if (cut == HS_CUT_BLOCK && s.n == r->end - r->at)
        end_block(&s, r->buf + r->at, s.n);
    if (s.n == 0)
        return HS_OK;
    if (s.quoted && !s.quote)
        return HS_FAIL(USAGE, "%s:%lld: the quote that begins a field here has no end", r->name, (long long)(r->line + s.opened));
    *out = (hs_label_record){ .p = r->buf + r->at, .bytes = s.n, .line = r->line };
    r->terminated = r->buf + r->at + s.n, r->over = *r->terminated, *r->terminated = 0; // buf has room for one byte more
    const size_t bytes = s.n;
    HS_TRY(settle_bytes(r, out));
    r->at += bytes, r->offset += (int64_t)bytes, r->line += s.feeds;
    return HS_OK;
}
