// wordpiece_char: what becomes of one code point.
#include "data/base/unicode.h"
#include "data/base/utf8.h"
#include "data/tokenizers/wordpiece.h"

static bool is_ideograph(bool google, uint32_t c)
{
    static const uint32_t range[][2] = { { 0x4E00, 0x9FFF },   { 0x3400, 0x4DBF },   { 0x20000, 0x2A6DF }, { 0x2A700, 0x2B73F },
                                         { 0x2B740, 0x2B81F }, { 0x2B920, 0x2CEAF }, { 0xF900, 0xFAFF },   { 0x2F800, 0x2FA1F } };
    for (int i = 0; i < HS_COUNT(range); i++)
        if (c >= range[i][0] && c <= range[i][1])
            return true;
    return google && c >= 0x2B820 && c < 0x2B920;
}

static bool is_punct(bool google, uint32_t c)
{
    if (c < 0x80)
        return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
    return google ? hs_uni_is_punct(hs_uni_props(c)) : hs_uni_props(c) & HS_UNI_PUNCT_8;
}

static bool is_accent(bool google, uint32_t c)
{
    const uint32_t p = hs_uni_props(c);
    return google ? hs_uni_category_of(p) == HS_MN : (p & HS_UNI_MN_8) != 0;
}

bool hs_wordpiece_drops(const hs_wordpiece_rules *r, uint32_t c)
{
    if (!r->clean_text || c == '\t' || c == '\n' || c == '\r')
        return false;
    const uint32_t p = hs_uni_props(c);
    const bool control = r->google ? hs_uni_category_of(p) == HS_CC || hs_uni_category_of(p) == HS_CF : (p & HS_UNI_CONTROL_8) != 0;
    return c == 0 || c == 0xFFFD || control;
}

enum { MOST = 2 * HS_UNI_MOST };

static int lower_all(uint32_t *c, int n)
{
    uint32_t out[MOST];
    int m = 0;
    for (int i = 0; i < n && m + 2 <= MOST; i++)
        m += hs_uni_lower(c[i], out + m);
    for (int i = 0; i < m; i++)
        c[i] = out[i];
    return m;
}

static int strip_all(bool google, uint32_t *c, int n)
{
    uint32_t out[MOST], part[HS_UNI_MOST];
    int m = 0;
    for (int i = 0; i < n; i++) {
        // Hugging Face's table of decompositions is older than this one of 13.0.
        const int k = !google && c[i] == 0x11938 ? (part[0] = c[i], 1) : hs_uni_decompose(c[i], part);
        for (int j = 0; j < k && m < MOST; j++)
            if (!is_accent(google, part[j]))
                out[m++] = part[j];
    }
    for (int i = 0; i < m; i++)
        c[i] = out[i];
    return m;
}

hs_wordpiece_char hs_wordpiece_char_of(const hs_wordpiece_rules *r, uint32_t c)
{
    hs_wordpiece_char out = { .what = HS_WP_DROP };
    uint32_t seq[MOST] = { c };
    int n = 1;
    if (hs_wordpiece_drops(r, c))
        return out;
    if (hs_uni_props(c) & HS_UNI_SPACE) {
        out.what = HS_WP_SPACE;
        return out;
    }
    if (r->google && r->lowercase)
        n = lower_all(seq, n);
    if (r->strip_accents)
        n = strip_all(r->google, seq, n);
    if (!r->google && r->lowercase)
        n = lower_all(seq, n);
    if (n == 0)
        return out;
    out.what = HS_WP_PLAIN;
    for (int i = 0; i < n && out.n + 4 <= (int)sizeof out.text; i++) {
        out.n = (uint8_t)(out.n + hs_utf8_put(out.text + out.n, seq[i]));
        if (r->strip_accents && hs_uni_props(seq[i]) & HS_UNI_REORDERS)
            out.what = HS_WP_REORDERS;
    }
    if ((r->ideographs && is_ideograph(r->google, c)) || (n == 1 && is_punct(r->google, seq[0])))
        out.what = HS_WP_ALONE;
    else if (r->google && r->lowercase && c == 0x3A3)
        out.what = HS_WP_SIGMA;
    return out;
}
