// json_tree: RFC 8259, one pass, depth bounded.
#include "data/base/json_tree.h"
#include "core/base/grow.h"
#include "data/text/json_record.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 512 };

const char *const hs_json_kind_names[] = {
    [HS_JSON_NULL] = "null",       [HS_JSON_FALSE] = "false", [HS_JSON_TRUE] = "true",        [HS_JSON_NUMBER] = "a number",
    [HS_JSON_STRING] = "a string", [HS_JSON_LIST] = "a list", [HS_JSON_OBJECT] = "an object",
};

typedef struct parser {
    hs_json_tree *t;
    size_t at, bytes;
    int depth;
} parser;

static bool fails(parser *p, const char *why)
{
    if (!p->t->wrong)
        p->t->wrong = why, p->t->wrong_at = p->at;
    return false;
}

static char peek(const parser *p) { return p->at < p->bytes ? p->t->text[p->at] : 0; }

static char skip_space(parser *p)
{
    while (p->at < p->bytes && (peek(p) == ' ' || peek(p) == '\t' || peek(p) == '\r' || peek(p) == '\n'))
        p->at++;
    return peek(p);
}

static bool missing(parser *p, const char *what) { return fails(p, p->at < p->bytes ? what : "it ends in the middle"); }

// Index of a new node; -1: no memory.
static int add(parser *p, hs_json_kind kind)
{
    hs_json_tree *t = p->t;
    if (t->n == INT32_MAX / 2 || !hs_grow(&t->node, t->n, &t->room, sizeof *t->node))
        return -1;
    t->node[t->n] = (hs_json_node){ .begin = p->at, .kind = (uint8_t)kind };
    return t->n++;
}

static bool close_node(parser *p, int i, size_t end)
{
    p->t->node[i].end = end;
    p->t->node[i].behind = p->t->n;
    return true;
}

static bool parse_string(parser *p)
{
    p->at++;
    const int i = add(p, HS_JSON_STRING);
    if (i < 0)
        return false;
    const char *text = p->t->text;
    for (; p->at < p->bytes && text[p->at] != '"'; p->at++) {
        if ((unsigned char)text[p->at] < 0x20)
            return fails(p, text[p->at] == '\n' ? "a string has no end on its line" : "a control character in a string");
        if (text[p->at] == '\\') {
            p->t->node[i].escaped = true;
            p->at++;
        }
    }
    if (p->at >= p->bytes)
        return p->at = p->bytes, fails(p, "a string has no end");
    return close_node(p, i, p->at++);
}

static size_t digits(const parser *p, size_t at)
{
    while (at < p->bytes && p->t->text[at] >= '0' && p->t->text[at] <= '9')
        at++;
    return at;
}

static bool parse_number(parser *p)
{
    const int i = add(p, HS_JSON_NUMBER);
    if (i < 0)
        return false;
    const char *s = p->t->text;
    size_t at = p->at + (s[p->at] == '-'), from = at;
    at = digits(p, at);
    if (at == from || (s[from] == '0' && at > from + 1))
        return fails(p, "a number that is none");
    if (at < p->bytes && s[at] == '.') {
        from = at + 1;
        if ((at = digits(p, from)) == from)
            return fails(p, "a number that is none");
    }
    if (at < p->bytes && (s[at] | 0x20) == 'e') {
        from = at + 1;
        from += from < p->bytes && (s[from] == '+' || s[from] == '-');
        if ((at = digits(p, from)) == from)
            return fails(p, "a number that is none");
    }
    return close_node(p, i, p->at = at);
}

static bool parse_word(parser *p)
{
    static const struct {
        const char *word;
        hs_json_kind kind;
    } words[] = { { "null", HS_JSON_NULL },  { "true", HS_JSON_TRUE },       { "false", HS_JSON_FALSE },
                  { "NaN", HS_JSON_NUMBER }, { "Infinity", HS_JSON_NUMBER }, { "-Infinity", HS_JSON_NUMBER } };
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        const size_t n = strlen(words[k].word);
        if (p->bytes - p->at < n || memcmp(p->t->text + p->at, words[k].word, n) != 0)
            continue;
        const int i = add(p, words[k].kind);
        p->at += n;
        return i >= 0 && close_node(p, i, p->at);
    }
    return peek(p) == '-' ? parse_number(p) : missing(p, "a value is missing");
}

static bool parse_value(parser *p);

static bool parse_key(parser *p)
{
    if (skip_space(p) != '"')
        return missing(p, "a key is missing");
    if (!parse_string(p))
        return false;
    if (skip_space(p) != ':')
        return missing(p, "a colon is missing");
    p->at++;
    return true;
}

static bool parse_nested(parser *p, hs_json_kind kind)
{
    const char close = kind == HS_JSON_LIST ? ']' : '}';
    const int i = add(p, kind);
    if (i < 0)
        return false;
    if (++p->depth > DEPTH)
        return fails(p, "more than 512 levels of brackets");
    p->at++;
    if (skip_space(p) != close)
        for (;;) {
            if (kind == HS_JSON_OBJECT && !parse_key(p))
                return false;
            if (!parse_value(p))
                return false;
            p->t->node[i].n++;
            const char c = skip_space(p);
            if (c == close)
                break;
            if (c != ',')
                return missing(p, "a comma is missing");
            p->at++;
        }
    p->at++, p->depth--;
    return close_node(p, i, p->at);
}

static bool parse_value(parser *p)
{
    const char c = skip_space(p);
    if (c == '"')
        return parse_string(p);
    if (c == '{' || c == '[')
        return parse_nested(p, c == '{' ? HS_JSON_OBJECT : HS_JSON_LIST);
    return c >= '0' && c <= '9' ? parse_number(p) : parse_word(p);
}

bool hs_json_tree_parse(hs_json_tree *t, const char *text, size_t bytes)
{
    t->text = text, t->n = 0, t->wrong = NULL, t->wrong_at = 0;
    parser p = { .t = t, .bytes = bytes };
    const bool fine = parse_value(&p);
    t->end = p.at;
    return fine;
}

void hs_json_tree_free(hs_json_tree *t)
{
    free(t->node);
    *t = (hs_json_tree){ 0 };
}

static hs_json_string string_of(const hs_json_tree *t, int i)
{
    const hs_json_node *s = &t->node[i];
    return (hs_json_string){ .p = t->text + s->begin, .bytes = s->end - s->begin, .escaped = s->escaped };
}

bool hs_json_tree_is(const hs_json_tree *t, int i, const char *text)
{
    const hs_json_string s = string_of(t, i);
    return hs_json_key_is(&s, text);
}

int hs_json_tree_get(const hs_json_tree *t, int object, const char *key, bool *twice)
{
    int found = 0;
    bool again = false;
    for (int i = hs_json_first(object); i < t->node[object].behind; i = t->node[i + 1].behind)
        if (hs_json_tree_is(t, i, key)) {
            again |= found > 0;
            found = i + 1;
        }
    if (twice)
        *twice = again;
    return found;
}

size_t hs_json_tree_string(const hs_json_tree *t, int i, char *out, const char **wrong)
{
    hs_json_flaws flaws = { 0 };
    const hs_json_string s = string_of(t, i);
    const size_t n = hs_json_unescape(&s, out, &flaws);
    out[n] = 0;
    *wrong = flaws.wrong ? "an escape that is none" : flaws.lone ? "a lone surrogate" : NULL;
    return n;
}

double hs_json_tree_number(const hs_json_tree *t, int i)
{
    char buf[64];
    const hs_json_node *s = &t->node[i];
    const size_t n = s->end - s->begin;
    if (n >= sizeof buf) { // hundreds of digits: the text goes on behind it, and strtod stops there
        return strtod(t->text + s->begin, NULL);
    }
    memcpy(buf, t->text + s->begin, n);
    buf[n] = 0;
    return buf[0] == 'N' ? NAN : strtod(buf, NULL); // "Infinity" is strtod's too
}
