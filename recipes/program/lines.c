// lines: a window over the stream that grows with its longest line.
#include "recipes/program/lines.h"
#include "data/base/utf8.h"
#include "data/text/text_stream.h"
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 1 << 16 };

struct hs_lines {
    hs_text_stream *stream;
    const char *name; // borrowed
    char *p;          // [room]: [at, end) is read and not given yet
    size_t at, end, room;
    size_t searched; // in [at, searched) there is no line feed
    bool ended;
    int64_t number;
};

hs_status hs_lines_open(hs_lines **out, const char *path)
{
    hs_text_kind kind;
    hs_lines *l = *out = calloc(1, sizeof *l);
    if (!l)
        return HS_FAIL(MEMORY, "no memory for lines");
    l->name = strcmp(path, "-") == 0 ? "standard input" : path;
    hs_status st = hs_text_stream_open(&l->stream, path, NULL);
    if (st == HS_OK)
        st = hs_text_stream_look(l->stream, HS_FORMAT_TEXT, &kind);
    if (st == HS_OK)
        return HS_OK;
    hs_lines_close(l);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_lines_close(hs_lines *l)
{
    if (!l)
        return;
    hs_text_stream_close(l->stream);
    free(l->p);
    free(l);
}

// More bytes behind those that wait, which move to the front.
static hs_status refill(hs_lines *l)
{
    size_t n;
    if (l->at > 0)
        memmove(l->p, l->p + l->at, l->end - l->at);
    l->end -= l->at, l->searched -= l->at, l->at = 0;
    if (l->room - l->end < AT_ONCE) {
        const size_t room = 2 * l->room + AT_ONCE;
        char *p = realloc(l->p, room);
        if (!p)
            return HS_FAIL(MEMORY, "%s:%lld: no memory for a line of %zu bytes", l->name, (long long)l->number + 1, l->end);
        l->p = p, l->room = room;
    }
    HS_TRY(hs_text_stream_read(l->stream, l->p + l->end, AT_ONCE, &n));
    l->end += n;
    l->ended = n == 0;
    return HS_OK;
}

static char *line_feed(hs_lines *l)
{
    char *feed = l->searched < l->end ? memchr(l->p + l->searched, '\n', l->end - l->searched) : NULL;
    if (!feed)
        l->searched = l->end;
    return feed;
}

hs_status hs_lines_next(hs_lines *l, const char **text, size_t *bytes)
{
    const char *feed;
    *text = NULL, *bytes = 0;
    while (!(feed = line_feed(l)) && !l->ended)
        HS_TRY(refill(l));
    if (!feed && l->at == l->end)
        return HS_OK;
    const char *line = l->p + l->at;
    size_t n = (size_t)((feed ? feed : l->p + l->end) - line);
    l->at = l->searched = feed ? l->at + n + 1 : l->end;
    if (l->number++ == 0 && n >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) // a byte order mark is no text
        line += 3, n -= 3;
    n -= n > 0 && line[n - 1] == '\r';
    const size_t bad = hs_utf8_find_bad(line, n, 0);
    if (bad < n && !line[bad])
        return HS_FAIL(USAGE, "%s:%lld: byte %zu of the line is zero, which no text has", l->name, (long long)l->number, bad);
    if (bad < n)
        return HS_FAIL(USAGE, "%s:%lld: byte %zu of the line (0x%02x) is not valid UTF-8; iconv -f ISO-8859-1 -t UTF-8 converts Latin-1",
                       l->name, (long long)l->number, bad, (unsigned char)line[bad]);
    *text = line, *bytes = n;
    return HS_OK;
}

const char *hs_lines_name(const hs_lines *l) { return l->name; }
int64_t hs_lines_number(const hs_lines *l) { return l->number; }
