// squad_text: answers as SQuAD's scripts compare them. Python's own lower(), \w and split() are meant, for every code point: a final sigma,
// articles between word characters of any script, the separators that Python alone calls white.
#include "data/base/unicode.h"
#include "data/base/utf8.h"
#include "data/score/score.h"
#include <stdlib.h>
#include <string.h>

static uint32_t props(uint32_t c) { return c < HS_UTF8_RAW ? hs_uni_props(c) : 0; }

// The first of the code points from i on, in steps of `by`, that decides on a sigma: is it cased?
static bool cased_beside(const uint32_t *c, int64_t n, int64_t i, int by)
{
    for (i += by; i >= 0 && i < n; i += by)
        if (!(props(c[i]) & HS_UNI_CASE_IGNORABLE))
            return props(c[i]) & HS_UNI_CASED;
    return false;
}

// out: room for 2 n. Returns how many code points it has.
static int64_t lower(const uint32_t *c, int64_t n, uint32_t *out)
{
    enum { SIGMA = 0x3A3, FINAL = 0x3C2 };
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if (c[i] == SIGMA && cased_beside(c, n, i, -1) && !cased_beside(c, n, i, 1))
            out[m++] = FINAL;
        else if (c[i] < HS_UTF8_RAW)
            m += hs_uni_lower(c[i], out + m);
        else
            out[m++] = c[i];
    return m;
}

static bool is_punct(uint32_t c) { return (c > 32 && c < 48) || (c > 57 && c < 65) || (c > 90 && c < 97) || (c > 122 && c < 127); }
static bool is_word(uint32_t c) { return hs_uni_is_letter(props(c)) || hs_uni_is_number(props(c)) || c == '_'; }
static bool is_space(uint32_t c) { return (c >= 0x1C && c <= 0x1F) || props(c) & HS_UNI_SPACE; }

static bool is_article(const uint32_t *c, int64_t n)
{
    return (n == 1 && c[0] == 'a') || (n == 2 && c[0] == 'a' && c[1] == 'n') || (n == 3 && c[0] == 't' && c[1] == 'h' && c[2] == 'e');
}

static int64_t without_punct(uint32_t *c, int64_t n)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if (!is_punct(c[i]))
            c[m++] = c[i];
    return m;
}

// Words of \w that are articles become blanks; the rest is written with one blank between what blanks part.
static void write_words(uint32_t *c, int64_t n, char *out)
{
    for (int64_t i = 0, end; i < n; i = end) {
        end = i + 1;
        if (!is_word(c[i]))
            continue;
        while (end < n && is_word(c[end]))
            end++;
        if (is_article(c + i, end - i))
            for (int64_t k = i; k < end; k++)
                c[k] = ' ';
    }
    char *at = out;
    bool apart = false;
    for (int64_t i = 0; i < n; i++) {
        if (is_space(c[i])) {
            apart = at > out;
            continue;
        }
        if (apart)
            *at++ = ' ';
        apart = false;
        at += hs_utf8_put(at, c[i]);
    }
    *at = '\0';
}

hs_status hs_answer_normalize(const char *text, char **out)
{
    const size_t bytes = strlen(text);
    uint32_t *c = malloc(3 * (bytes + 1) * sizeof *c);
    *out = malloc(8 * bytes + 1); // one byte may be one code point, that two in lower case, those four bytes each
    if (!c || !*out) {
        free(c);
        free(*out);
        *out = NULL;
        return HS_FAIL(MEMORY, "no memory for an answer of %zu bytes", bytes);
    }
    int64_t n = 0;
    for (size_t i = 0; i < bytes;) {
        int taken;
        c[n++] = hs_utf8_next((const unsigned char *)text + i, bytes - i, &taken);
        i += (size_t)taken;
    }
    uint32_t *low = c + n;
    write_words(low, without_punct(low, lower(c, n, low)), *out);
    free(c);
    return HS_OK;
}
