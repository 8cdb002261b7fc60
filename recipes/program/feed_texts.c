// feed_texts: arguments and lines, one text each.
#include "recipes/program/feed_texts.h"
#include "recipes/program/lines.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// USAGE is about the text that was added, all else about those that were done meanwhile.
static hs_status add(hs_texts *t, const char *text, size_t bytes, const char *place)
{
    char why[1024];
    const hs_status st = hs_texts_add(t, text, bytes);
    if (st != HS_USAGE)
        return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
    snprintf(why, sizeof why, "%s", hs_error());
    HS_TRY(hs_texts_finish(t));
    return HS_FAIL(USAGE, "%s: %s", place, why);
}

hs_status hs_feed_text(hs_texts *t, const char *text, int number)
{
    char place[32];
    snprintf(place, sizeof place, "text %d", number);
    return add(t, text, strlen(text), place);
}

static hs_status feed(hs_texts *t, hs_lines *lines, const char *prompt, char **joined)
{
    const size_t before = strlen(prompt);
    const char *text;
    char place[4200];
    size_t bytes;
    for (;;) {
        HS_TRY(hs_lines_next(lines, &text, &bytes));
        if (!text)
            break;
        snprintf(place, sizeof place, "%s:%lld", hs_lines_name(lines), (long long)hs_lines_number(lines));
        if (before) {
            char *p = realloc(*joined, before + bytes + 1);
            if (!p)
                return HS_FAIL(MEMORY, "%s: no memory for a text of %zu bytes", place, bytes);
            *joined = p;
            memcpy(p, prompt, before);
            memcpy(p + before, text, bytes);
            text = p, bytes += before;
        }
        HS_TRY(add(t, text, bytes, place));
    }
    return hs_lines_number(lines) ? HS_OK : HS_FAIL(USAGE, "%s is empty: no text in it", hs_lines_name(lines));
}

hs_status hs_feed_lines(hs_texts *t, const char *path, const char *prompt)
{
    hs_lines *lines;
    char *joined = NULL;
    HS_TRY(hs_lines_open(&lines, path));
    const hs_status st = feed(t, lines, prompt, &joined);
    hs_lines_close(lines);
    free(joined);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
