// perf_http: a grammar in a few states. Lines of the head are gathered, bodies pass through.
#include "recipes/perf/perf_http.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { STATUS_LINE, FIELDS, BODY, TO_THE_END, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILERS, DONE };

void hs_perf_answer_begin(hs_perf_answer *a, hs_perf_bytes_fn *body, void *user)
{
    a->status = 0, a->closes = a->has_length = a->chunked = a->http10 = false;
    a->body_bytes = a->left = 0, a->wrong = NULL, a->part = STATUS_LINE, a->n = 0;
    a->body = body, a->user = user;
}

static hs_perf_answer_state bad(hs_perf_answer *a, const char *why)
{
    a->wrong = why;
    return HS_ANSWER_BAD;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static hs_perf_answer_state status_line(hs_perf_answer *a)
{
    const char *l = a->line; // "HTTP/1.1 200 OK"
    if (strncmp(l, "HTTP/1.", 7) != 0 || !is_digit(l[7]) || l[8] != ' ' || !is_digit(l[9]) || !is_digit(l[10]) || !is_digit(l[11]) ||
        (l[12] && l[12] != ' '))
        return bad(a, "the answer does not begin as HTTP/1.1 does");
    a->http10 = a->closes = l[7] == '0';
    a->status = 100 * (l[9] - '0') + 10 * (l[10] - '0') + (l[11] - '0');
    a->part = FIELDS;
    return HS_ANSWER_MORE;
}

// Does a list of words, "keep-alive, x", have this one?
static bool lists(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = list; *p;) {
        p += strspn(p, " \t,");
        const size_t len = strcspn(p, ",");
        size_t end = len;
        while (end && (p[end - 1] == ' ' || p[end - 1] == '\t'))
            end--;
        if (end == n && strncasecmp(p, word, n) == 0)
            return true;
        p += len;
    }
    return false;
}

static hs_perf_answer_state length_field(hs_perf_answer *a, const char *value)
{
    int64_t v = 0;
    const char *p = value;
    for (; is_digit(*p) && v < INT64_MAX / 10 - 9; p++)
        v = 10 * v + (*p - '0');
    if (p == value || *p || (a->has_length && a->left != v))
        return bad(a, "its Content-Length is no number, or two of them");
    a->has_length = true, a->left = v;
    return HS_ANSWER_MORE;
}

static hs_perf_answer_state field(hs_perf_answer *a)
{
    char *colon = strchr(a->line, ':');
    if (!colon || colon == a->line)
        return bad(a, "a line of its head is no field");
    *colon = 0;
    char *value = colon + 1 + strspn(colon + 1, " \t");
    for (size_t n = strlen(value); n && (value[n - 1] == ' ' || value[n - 1] == '\t');)
        value[--n] = 0;
    if (strcasecmp(a->line, "content-length") == 0)
        return length_field(a, value);
    if (strcasecmp(a->line, "transfer-encoding") == 0)
        a->chunked |= lists(value, "chunked");
    else if (strcasecmp(a->line, "connection") == 0)
        a->closes = lists(value, "close") || (a->http10 && !lists(value, "keep-alive"));
    return HS_ANSWER_MORE;
}

static hs_perf_answer_state head_ends(hs_perf_answer *a)
{
    if (a->status < 200) { // 100 Continue: the answer comes behind it
        if (a->status == 101)
            return bad(a, "the server changes the protocol");
        a->part = STATUS_LINE, a->status = 0, a->has_length = a->chunked = false;
        return HS_ANSWER_MORE;
    }
    if (a->status == 204 || a->status == 304)
        a->part = DONE;
    else if (a->chunked)
        a->part = CHUNK_SIZE;
    else if (a->has_length)
        a->part = a->left ? BODY : DONE;
    else
        a->part = TO_THE_END, a->closes = true;
    return a->part == DONE ? HS_ANSWER_DONE : HS_ANSWER_MORE;
}

static hs_perf_answer_state chunk_size(hs_perf_answer *a)
{
    char *end;
    if (!strchr("0123456789abcdefABCDEF", a->line[0]) || !a->line[0])
        return bad(a, "the size of a chunk is no number");
    const unsigned long long v = strtoull(a->line, &end, 16);
    if ((*end && *end != ';' && *end != ' ' && *end != '\t') || v > INT64_MAX / 2)
        return bad(a, "the size of a chunk is no number");
    a->left = (int64_t)v;
    a->part = v ? CHUNK : TRAILERS;
    return HS_ANSWER_MORE;
}

static hs_perf_answer_state line_ends(hs_perf_answer *a)
{
    if (a->n && a->line[a->n - 1] == '\r')
        a->n--;
    a->line[a->n] = 0;
    const bool empty = a->n == 0;
    a->n = 0;
    switch (a->part) {
    case STATUS_LINE:
        return status_line(a);
    case FIELDS:
        return empty ? head_ends(a) : field(a);
    case CHUNK_SIZE:
        return chunk_size(a);
    case CHUNK_END:
        a->part = CHUNK_SIZE;
        return empty ? HS_ANSWER_MORE : bad(a, "a chunk is longer than its size");
    default: // trailers
        if (!empty)
            return HS_ANSWER_MORE;
        a->part = DONE;
        return HS_ANSWER_DONE;
    }
}

// Of a body: what may be passed on. Returns how much it was.
static size_t pass(hs_perf_answer *a, const char *bytes, size_t n)
{
    const size_t take = a->part == TO_THE_END || (int64_t)n < a->left ? n : (size_t)a->left;
    if (a->body)
        a->body(a->user, bytes, take);
    a->body_bytes += (int64_t)take;
    if (a->part != TO_THE_END && (a->left -= (int64_t)take) == 0)
        a->part = a->part == BODY ? DONE : CHUNK_END;
    return take;
}

hs_perf_answer_state hs_perf_answer_feed(hs_perf_answer *a, const char *bytes, size_t n, size_t *used)
{
    hs_perf_answer_state st = a->part == DONE ? HS_ANSWER_DONE : HS_ANSWER_MORE;
    size_t at = 0;
    while (at < n && st == HS_ANSWER_MORE) {
        if (a->part == BODY || a->part == TO_THE_END || a->part == CHUNK) {
            at += pass(a, bytes + at, n - at);
            st = a->part == DONE ? HS_ANSWER_DONE : HS_ANSWER_MORE;
            continue;
        }
        const char c = bytes[at++];
        if (c == '\n')
            st = line_ends(a);
        else if (a->n + 1 == sizeof a->line)
            st = bad(a, "a line of its head is too long");
        else
            a->line[a->n++] = c;
    }
    *used = at;
    return st;
}

hs_perf_answer_state hs_perf_answer_close(hs_perf_answer *a)
{
    if (a->part == TO_THE_END)
        a->part = DONE;
    return a->part == DONE ? HS_ANSWER_DONE : bad(a, "the connection ended within the answer");
}

// ---- events

void hs_perf_events_begin(hs_perf_events *e, hs_perf_bytes_fn *event, void *user)
{
    e->event = event, e->user = user;
    e->n_line = e->n_data = 0;
    e->has_data = e->after_cr = e->failed = false;
}

static void append(hs_perf_events *e, char **to, size_t *n, size_t *room, const char *bytes, size_t more)
{
    if (*n + more > *room) {
        const size_t wanted = 2 * (*n + more) + 256;
        char *p = realloc(*to, wanted);
        if (!p) {
            e->failed = true;
            return;
        }
        *to = p, *room = wanted;
    }
    if (more)
        memcpy(*to + *n, bytes, more);
    *n += more;
}

static void event_line(hs_perf_events *e)
{
    const char *l = e->line;
    size_t n = e->n_line;
    e->n_line = 0;
    if (n == 0) {
        if (e->has_data)
            e->event(e->user, e->data, e->n_data);
        e->n_data = 0, e->has_data = false;
        return;
    }
    if (n < 5 || memcmp(l, "data:", 5) != 0)
        return;
    l += 5, n -= 5;
    if (n && *l == ' ')
        l++, n--;
    if (e->has_data)
        append(e, &e->data, &e->n_data, &e->data_room, "\n", 1);
    append(e, &e->data, &e->n_data, &e->data_room, l, n);
    e->has_data = true;
}

void hs_perf_events_feed(hs_perf_events *e, const char *bytes, size_t n)
{
    for (size_t at = 0; at < n && !e->failed;) {
        size_t len = 0; // of what is no end of a line
        while (at + len < n && bytes[at + len] != '\n' && bytes[at + len] != '\r')
            len++;
        if (len)
            e->after_cr = false;
        append(e, &e->line, &e->n_line, &e->line_room, bytes + at, len);
        at += len;
        if (at == n || e->failed)
            return;
        const char c = bytes[at++];
        if (!(c == '\n' && e->after_cr)) // the second half of CR LF
            event_line(e);
        e->after_cr = c == '\r';
    }
}

void hs_perf_events_free(hs_perf_events *e)
{
    free(e->line);
    free(e->data);
    *e = (hs_perf_events){ 0 };
}
