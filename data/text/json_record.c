// json_record: a walk over the members of an object, and a scan for the end of any value.
#include "data/text/json_record.h"
#include "data/base/utf8.h"
#include <string.h>

enum { DEPTH = 1024, WORD = 64 };

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    return p;
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' || c == '.';
}

// From behind the opening quote to behind the closing one; NULL: there is none.
static const char *take_string(const char *p, const char *end, hs_json_string *s)
{
    s->p = p, s->escaped = false;
    while (p < end && *p != '"') {
        s->escaped |= *p == '\\';
        p += *p == '\\' ? 2 : 1;
    }
    if (p >= end)
        return NULL;
    s->bytes = (size_t)(p - s->p);
    return p + 1;
}

// ---- members

static bool fails(hs_json_walk *w, const char *why)
{
    w->wrong = why;
    return false;
}

// A list or object to behind its last bracket.
static bool skip_nested(hs_json_walk *w)
{
    uint64_t is_list[DEPTH / WORD];
    int depth = 0;
    hs_json_string s;
    do {
        const char c = w->p < w->end ? *w->p++ : 0;
        if (c == '"') {
            if (!(w->p = take_string(w->p, w->end, &s)))
                return fails(w, "a string has no end");
        } else if (c == '{' || c == '[') {
            if (depth == DEPTH)
                return fails(w, "more than 1024 levels of brackets");
            const uint64_t bit = (uint64_t)1 << depth % WORD;
            is_list[depth / WORD] = (depth % WORD ? is_list[depth / WORD] & (bit - 1) : 0) | (c == '[' ? bit : 0);
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
            if ((is_list[depth / WORD] >> depth % WORD & 1) != (c == ']'))
                return fails(w, "brackets that do not match");
        } else if (c == 0) {
            return fails(w, w->p >= w->end ? "it ends in the middle" : "a byte of zero");
        }
    } while (depth > 0);
    return true;
}

static bool take_value(hs_json_walk *w, hs_json_member *m)
{
    w->p = skip_space(w->p, w->end);
    m->kind = w->p < w->end ? *w->p : 0;
    if (m->kind == '"')
        return (w->p = take_string(w->p + 1, w->end, &m->value)) || fails(w, "a string has no end");
    if (m->kind == '{' || m->kind == '[')
        return skip_nested(w);
    const char *begin = w->p;
    while (w->p < w->end && is_word(*w->p))
        w->p++;
    m->kind = 'v';
    return w->p > begin || fails(w, w->p < w->end ? "a value is missing" : "it ends in the middle");
}

const char *hs_json_begin(hs_json_walk *w, const char *record, size_t bytes)
{
    *w = (hs_json_walk){ .p = record, .end = record + bytes };
    w->p = skip_space(w->p, w->end);
    const char c = w->p < w->end ? *w->p : 0;
    w->p += c == '{';
    return c == '{' ? "an object" : c == '[' ? "a list" : c == '"' ? "a string" : is_word(c) ? "a number or word" : NULL;
}

bool hs_json_next(hs_json_walk *w, hs_json_member *m)
{
    w->p = skip_space(w->p, w->end);
    if (w->p < w->end && *w->p == '}') {
        w->p = skip_space(w->p + 1, w->end);
        return w->p < w->end ? fails(w, "more behind its end") : false;
    }
    if (w->begun) {
        if (w->p >= w->end || *w->p != ',')
            return fails(w, w->p < w->end ? "a comma is missing" : "it ends in the middle");
        w->p = skip_space(w->p + 1, w->end);
    }
    w->begun = true;
    if (w->p >= w->end || *w->p != '"')
        return fails(w, w->p < w->end ? "a key is missing" : "it ends in the middle");
    if (!(w->p = take_string(w->p + 1, w->end, &m->key)))
        return fails(w, "a string has no end");
    w->p = skip_space(w->p, w->end);
    if (w->p >= w->end || *w->p++ != ':')
        return fails(w, "a colon is missing");
    return take_value(w, m);
}

bool hs_json_is_string(const hs_json_walk *w, hs_json_string *s)
{
    const char *behind = w->p < w->end && *w->p == '"' ? take_string(w->p + 1, w->end, s) : NULL;
    return behind && skip_space(behind, w->end) == w->end;
}

bool hs_json_key_is(const hs_json_string *key, const char *name)
{
    char plain[256];
    const size_t n = strlen(name);
    hs_json_flaws flaws = { 0 };
    if (!key->escaped)
        return key->bytes == n && memcmp(key->p, name, n) == 0;
    return key->bytes <= sizeof plain / 2 && hs_json_unescape(key, plain, &flaws) == n && memcmp(plain, name, n) == 0;
}

// ---- strings

static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const char c = p[i];
        const int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

static bool is_high(int c) { return c >= 0xD800 && c < 0xDC00; }
static bool is_low(int c) { return c >= 0xDC00 && c < 0xE000; }

// At the backslash of an escape; returns the bytes it takes.
static size_t take_escape(const char *p, const char *end, uint32_t *c, hs_json_flaws *flaws)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *known = p + 1 < end && p[1] ? strchr(from, p[1]) : NULL;
    if (known) {
        *c = (unsigned char)to[known - from];
        return 2;
    }
    const int first = p + 1 < end && p[1] == 'u' ? hex4(p + 2, end) : -1;
    if (first < 0) {
        flaws->wrong++;
        *c = 0xFFFD;
        return p + 1 < end ? 2 : 1;
    }
    const int second = is_high(first) && end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8, end) : -1;
    if (second >= 0 && is_low(second)) {
        *c = 0x10000u + ((uint32_t)(first - 0xD800) << 10) + (uint32_t)(second - 0xDC00);
        return 12;
    }
    const bool lone = is_high(first) || is_low(first);
    flaws->lone += lone;
    *c = lone ? 0xFFFD : (uint32_t)first;
    return 6;
}

size_t hs_json_unescape(const hs_json_string *s, char *out, hs_json_flaws *flaws)
{
    const char *p = s->p, *end = s->p + s->bytes;
    size_t n = 0;
    while (p < end) {
        if (*p != '\\') {
            flaws->control += (unsigned char)*p < 0x20;
            out[n++] = *p++;
            continue;
        }
        uint32_t c;
        char symbol[4];
        const size_t bytes = take_escape(p, end, &c, flaws);
        const int m = hs_utf8_put(symbol, c);
        memcpy(out + n, symbol, (size_t)m); // a wrong escape of two bytes becomes three
        n += (size_t)m, p += bytes;
    }
    return n;
}

// ---- where a value ends

size_t hs_json_scan_to_end(hs_json_scan *s, const char *p, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && !s->done) {
        const char c = p[i];
        if (s->string) {
            const bool ends = c == '"' && !s->escape;
            s->escape = c == '\\' && !s->escape;
            s->string = !ends;
            s->done = ends && s->depth == 0;
        } else if (s->word && !is_word(c)) {
            s->word = false, s->done = true;
            break;
        } else if (c == '"') {
            s->string = true;
        } else if (c == '{' || c == '[') {
            s->depth++;
        } else if (c == '}' || c == ']') {
            s->depth -= s->depth > 0;
            s->done = s->depth == 0;
        } else if (s->depth == 0) {
            s->word = is_word(c);
            s->done = !s->word;
        }
        i++;
    }
    return i;
}

bool hs_json_object_begins(const char *p, size_t bytes)
{
    const char *end = p + bytes;
    hs_json_string key;
    if (bytes == 0 || *p != '{')
        return false;
    p = skip_space(p + 1, end);
    if (p < end && *p == '}')
        return true;
    if (p >= end || *p != '"' || !(p = take_string(p + 1, end, &key)) || memchr(key.p, '\n', key.bytes))
        return false;
    p = skip_space(p, end);
    return p < end && *p == ':';
}
