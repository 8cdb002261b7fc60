// infer_scan: the least that tells where a value ends.
#include "infer/server/infer_scan.h"

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
static bool is_mark(char c) { return c == ',' || c == ':' || c == '[' || c == ']' || c == '{' || c == '}' || c == '"'; }

bool hs_scan_at(hs_scan *s, char c)
{
    while (s->p < s->end && is_space(*s->p))
        s->p++;
    return s->p < s->end && *s->p == c;
}

bool hs_scan_take(hs_scan *s, char c)
{
    const bool here = hs_scan_at(s, c);
    s->p += here;
    return here;
}

bool hs_scan_string(hs_scan *s)
{
    if (!hs_scan_take(s, '"'))
        return false;
    for (; s->p < s->end; s->p++)
        if (*s->p == '"') {
            s->p++;
            return true;
        } else if (*s->p == '\\' && ++s->p == s->end)
            return false;
    return false;
}

size_t hs_scan_word(hs_scan *s)
{
    const char *from = s->p;
    while (s->p < s->end && !is_space(*s->p) && !is_mark(*s->p))
        s->p++;
    return (size_t)(s->p - from);
}

bool hs_scan_value(hs_scan *s)
{
    int64_t depth = 0;
    do {
        if (hs_scan_at(s, '"')) {
            if (!hs_scan_string(s))
                return false;
        } else if (s->p == s->end)
            return false;
        else if (*s->p == '[' || *s->p == '{')
            depth++, s->p++;
        else if (depth > 0 && (*s->p == ']' || *s->p == '}'))
            depth--, s->p++;
        else if (depth > 0 && is_mark(*s->p))
            s->p++;
        else if (hs_scan_word(s) == 0)
            return false;
    } while (depth > 0);
    return true;
}
