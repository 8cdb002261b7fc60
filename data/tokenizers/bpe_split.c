// bpe_split: GPT-2's expression by hand, one code point after the other.
#include "data/base/unicode.h"
#include "data/base/utf8.h"
#include "data/tokenizers/bpe.h"

typedef enum what { OTHER, LETTER, NUMBER, SPACE } what;

static what what_at(const unsigned char *s, size_t i, size_t to, int *n)
{
    const uint32_t c = hs_utf8_next(s + i, to - i, n);
    if (c >= HS_UTF8_RAW)
        return OTHER;
    const uint32_t p = hs_uni_props(c);
    return hs_uni_is_letter(p) ? LETTER : hs_uni_is_number(p) ? NUMBER : p & HS_UNI_SPACE ? SPACE : OTHER;
}

size_t hs_bpe_contraction(const unsigned char *s, size_t room)
{
    if (room < 2)
        return 0;
    switch (s[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd':
        return 2;
    case 'r':
    case 'v':
        return room > 2 && s[2] == 'e' ? 3 : 0;
    case 'l':
        return room > 2 && s[2] == 'l' ? 3 : 0;
    }
    return 0;
}

size_t hs_bpe_part(const unsigned char *s, size_t i, size_t to)
{
    int n;
    if (s[i] == '\'') {
        const size_t bytes = hs_bpe_contraction(s + i, to - i);
        if (bytes)
            return i + bytes;
    }
    const size_t start = i;
    what w = what_at(s, i, to, &n);
    if (s[i] == ' ' && i + 1 < to) {
        int ahead;
        const what behind = what_at(s, i + 1, to, &ahead);
        if (behind != SPACE)
            i++, n = ahead, w = behind;
    }
    size_t last = i; // of the run: where its last character begins
    while (true) {
        last = i;
        i += (size_t)n;
        if (i == to)
            return to; // a run of blanks at the end belongs together
        if (what_at(s, i, to, &n) != w)
            break;
    }
    return w == SPACE && last > start ? last : i; // the last blank goes with what follows
}
