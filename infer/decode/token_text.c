// token_text: bytes of tokens become characters (held: one whose rest may come), characters wait in `text` while they may begin a stop
// string.
#include "infer/decode/token_text.h"
#include "data/base/utf8.h"
#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD"; // U+FFFD
enum { REPLACEMENT = 3, CHARACTER = 4 };          // bytes of it, and of any at most

typedef struct stop_text {
    const char *text;
    size_t n;
} stop_text;

struct hs_token_text {
    const hs_tokenizer *tokenizer;
    stop_text *stop;
    int n_stops, met; // met: -1 while none was
    bool begun;
    unsigned char held[CHARACTER]; // the beginning of a character whose rest may come
    size_t n_held;
    char *text; // whole characters: `out` of them were shown by the last call, the others wait
    size_t n, out, room;
};

hs_status hs_token_text_new(hs_token_text **out, const hs_token_text_opts *o)
{
    size_t bytes = 0;
    *out = NULL;
    for (int i = 0; i < o->n_stops; i++) {
        if (!o->stop[i][0])
            return HS_FAIL(USAGE, "stop string %d is empty", i + 1);
        bytes += strlen(o->stop[i]) + 1;
    }
    hs_token_text *t = calloc(1, sizeof *t + (size_t)o->n_stops * sizeof *t->stop + bytes);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for a stream of text");
    *t = (hs_token_text){ .tokenizer = o->tokenizer, .stop = (stop_text *)(t + 1), .met = -1, .begun = o->behind };
    char *copy = (char *)(t->stop + o->n_stops);
    for (; t->n_stops < o->n_stops; t->n_stops++) {
        stop_text *s = &t->stop[t->n_stops];
        s->n = strlen(o->stop[t->n_stops]);
        s->text = memcpy(copy, o->stop[t->n_stops], s->n + 1);
        copy += s->n + 1;
    }
    *out = t;
    return HS_OK;
}

void hs_token_text_free(hs_token_text *t)
{
    if (t)
        free(t->text);
    free(t);
}

int hs_token_text_stop(const hs_token_text *t) { return t->met; }

// The n bytes at s, all that is left, begin a character.
static bool begins(const unsigned char *s, size_t n)
{
    const size_t want = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || n >= want)
        return false;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return false;
    return true;
}

static hs_status make_room(hs_token_text *t, size_t more)
{
    if (t->n + more <= t->room)
        return HS_OK;
    const size_t room = 2 * (t->n + more) + 64;
    char *text = realloc(t->text, room);
    if (!text)
        return HS_FAIL(MEMORY, "no memory for %zu bytes of text", room);
    t->text = text, t->room = room;
    return HS_OK;
}

static void show(hs_token_text *t, const void *character, size_t n)
{
    memcpy(t->text + t->n, character, n);
    t->n += n;
}

// Bytes of a token: what is a whole character goes into text, for which there is room.
static void take(hs_token_text *t, const char *bytes, size_t n)
{
    unsigned char some[CHARACTER + 64];
    while (n > 0) {
        const size_t now = n < 64 ? n : 64, all = t->n_held + now;
        size_t at = 0;
        memcpy(some, t->held, t->n_held);
        memcpy(some + t->n_held, bytes, now);
        bytes += now, n -= now, t->n_held = 0;
        while (at < all) {
            const int length = hs_utf8_length(some + at, all - at);
            if (length == 0 && begins(some + at, all - at))
                break;
            show(t, length ? (const char *)some + at : replacement, length ? (size_t)length : REPLACEMENT);
            at += length ? (size_t)length : 1;
        }
        t->n_held = all - at;
        memcpy(t->held, some + at, t->n_held);
    }
}

static bool ends_with(const char *text, size_t n, const stop_text *s, size_t length)
{
    return length <= n && memcmp(text + n - length, s->text, length) == 0;
}

// Looks for a stop string that ends behind byte `from`; cuts the text in front of it.
static void look_for_stop(hs_token_text *t, size_t from)
{
    for (size_t end = from + 1; end <= t->n && t->met < 0; end++)
        for (int i = 0; i < t->n_stops; i++)
            if (ends_with(t->text, end, &t->stop[i], t->stop[i].n) && (t->met < 0 || t->stop[i].n > t->stop[t->met].n))
                t->met = i, t->n = end - t->stop[i].n;
}

// Bytes at the end of text that may be the beginning of a stop string.
static size_t doubtful(const hs_token_text *t)
{
    size_t most = 0;
    for (int i = 0; i < t->n_stops; i++)
        for (size_t k = t->stop[i].n - 1; k > most; k--)
            if (ends_with(t->text, t->n, &t->stop[i], k))
                most = k;
    return most;
}

static void drop_shown(hs_token_text *t)
{
    t->n -= t->out;
    if (t->out && t->n)
        memmove(t->text, t->text + t->out, t->n);
    t->out = 0;
}

static void give(hs_token_text *t, size_t kept, const char **text, size_t *n)
{
    t->out = t->n - kept;
    *text = t->text, *n = t->out;
}

hs_status hs_token_text_put(hs_token_text *t, int32_t id, const char **text, size_t *n)
{
    size_t bytes = 0;
    bool space = false;
    *text = NULL, *n = 0;
    drop_shown(t);
    if (t->met >= 0)
        return HS_OK;
    const char *piece = hs_tokenizer_spoken(t->tokenizer, id, !t->begun, &bytes, &space);
    t->begun = true;
    HS_TRY(make_room(t, (CHARACTER + (piece ? bytes : REPLACEMENT) + 1) * REPLACEMENT)); // each byte may be none of UTF-8
    const size_t from = t->n;
    if (space)
        take(t, " ", 1);
    take(t, piece ? piece : replacement, piece ? bytes : REPLACEMENT);
    look_for_stop(t, from);
    give(t, t->met >= 0 ? 0 : doubtful(t), text, n);
    return HS_OK;
}

hs_status hs_token_text_end(hs_token_text *t, const char **text, size_t *n)
{
    *text = NULL, *n = 0;
    drop_shown(t);
    HS_TRY(make_room(t, REPLACEMENT));
    const size_t from = t->n;
    if (t->n_held && t->met < 0)
        show(t, replacement, REPLACEMENT), look_for_stop(t, from);
    t->n_held = 0;
    give(t, 0, text, n);
    return HS_OK;
}
