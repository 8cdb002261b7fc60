// sentence: a scan for marks and line feeds, then rules on what stands around each; the only words looked up are those before a full stop.
#include "data/text/sentence.h"
#include "data/base/unicode.h"
#include "data/base/utf8.h"
#include <stdint.h>
#include <string.h>
#include <strings.h>

// Words that a full stop belongs to; those of one letter ("J.", "e.g.") need no list.
static const char *const abbreviations[] = {
    "mr",  "mrs", "ms",  "dr",  "prof", "st",  "jr",  "sr",  "rev", "hon", "gen", "col",  "capt", "lt",   "sgt",  "gov",    "sen", "rep",
    "vs",  "etc", "al",  "cf",  "ca",   "vol", "eq",  "ch",  "pp",  "ed",  "eds", "inc",  "ltd",  "co",   "jan",  "feb",    "mar", "apr",
    "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "mme", "bzw", "usw", "mlle", "corp", "dept", "univ", "approx",
};
static const char *const numbered[] = { "no", "nos", "nr", "fig", "figs", "sec", "art" }; // only before a digit

static bool is_among(const char *const *list, size_t n, const char *word, size_t bytes)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(list[i]) == bytes && strncasecmp(list[i], word, bytes) == 0)
            return true;
    return false;
}

typedef enum mark { NO_MARK, STOP, FINAL, CJK } mark; // a full stop; ! ? …; 。 ！ ？

static const unsigned char *at(const char *text, size_t i) { return (const unsigned char *)text + i; }

static mark mark_at(const char *text, size_t bytes, size_t i, int *n)
{
    const unsigned char *p = at(text, i);
    *n = 1;
    if (p[0] == '.')
        return STOP;
    if (p[0] == '!' || p[0] == '?')
        return FINAL;
    if (p[0] < 0xE2 || bytes - i < 3)
        return NO_MARK;
    *n = 3;
    if (p[0] == 0xE2 && p[1] == 0x80 && p[2] == 0xA6)
        return FINAL;
    const bool full_stop = p[0] == 0xE3 && p[1] == 0x80 && p[2] == 0x82;
    const bool wide = p[0] == 0xEF && p[1] == 0xBC && (p[2] == 0x81 || p[2] == 0x9F);
    return full_stop || wide ? CJK : NO_MARK;
}

// Bytes of a quote or bracket that closes; 0 if there is none.
static int closer_at(const char *text, size_t bytes, size_t i)
{
    int n;
    if (i == bytes)
        return 0;
    if (strchr("\"')]}", text[i]) && text[i])
        return 1;
    const uint32_t c = *at(text, i) < 0x80 ? 0 : hs_utf8_next(at(text, i), bytes - i, &n);
    if (c == 0 || c >= HS_UTF8_RAW)
        return 0;
    const hs_uni_category k = hs_uni_category_of(hs_uni_props(c));
    return k == HS_PE || k == HS_PF ? n : 0;
}

static bool space_at(const char *text, size_t bytes, size_t i, int *n)
{
    *n = 1;
    if (*at(text, i) < 0x80)
        return text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r');
    const uint32_t c = hs_utf8_next(at(text, i), bytes - i, n);
    return c < HS_UTF8_RAW && (hs_uni_props(c) & HS_UNI_SPACE);
}

static size_t skip_space(const char *text, size_t bytes, size_t i)
{
    for (int n; i < bytes && space_at(text, bytes, i, &n); i += (size_t)n)
        ;
    return i;
}

static bool is_letter(unsigned char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

// The full stop at `stop`; `after`: what stands behind the white space that follows, 0: nothing.
static bool ends_abbreviation(const char *text, size_t from, size_t stop, char after)
{
    size_t word = stop;
    while (word > from && (is_letter((unsigned char)text[word - 1]) || *at(text, word - 1) >= 0x80) && stop - word < 16)
        word--;
    const size_t n = stop - word;
    if ((n == 1 && is_letter((unsigned char)text[word])) || (n > 1 && n <= 4 && hs_utf8_length(at(text, word), n) == (int)n)) // one letter
        return true;
    return is_among(abbreviations, sizeof abbreviations / sizeof *abbreviations, text + word, n) ||
           (after >= '0' && after <= '9' && is_among(numbered, sizeof numbered / sizeof *numbered, text + word, n));
}

static bool small_letter_at(const char *text, size_t bytes, size_t i)
{
    int n;
    if (i == bytes)
        return false;
    const uint32_t c = hs_utf8_next(at(text, i), bytes - i, &n);
    return c < HS_UTF8_RAW && hs_uni_category_of(hs_uni_props(c)) == HS_LL;
}

// Behind the marks and closers at i if a sentence ends with them; else 0, and *next: where to look on.
static size_t end_at_marks(const char *text, size_t bytes, size_t from, size_t i, size_t *next)
{
    size_t j = i;
    int n, marks = 0;
    bool cjk = false, final = false;
    for (mark m; j < bytes && (m = mark_at(text, bytes, j, &n)) != NO_MARK; j += (size_t)n, marks++)
        cjk |= m == CJK, final |= m != STOP;
    const size_t behind_marks = j;
    while ((n = closer_at(text, bytes, j)) > 0)
        j += (size_t)n;
    *next = j;
    if (j == bytes || cjk)
        return j;
    if (!space_at(text, bytes, j, &n))
        return 0;
    if (final || marks > 1)
        return j;
    const size_t after = skip_space(text, bytes, j);
    const bool inside = j == behind_marks && ends_abbreviation(text, from, i, after < bytes ? text[after] : 0);
    return inside || small_letter_at(text, bytes, after) ? 0 : j;
}

// What has to be looked at: marks and line feeds, or bytes they can begin with.
static bool may_end(unsigned char c) { return c == '\n' || c == '.' || c == '!' || c == '?' || c == 0xE2 || c == 0xE3 || c == 0xEF; }

static bool blank_line_at(const char *text, size_t bytes, size_t feed)
{
    size_t i = feed + 1;
    while (i < bytes && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r'))
        i++;
    return i < bytes && text[i] == '\n';
}

// Before the white space that a line feed is in.
static size_t before_space(const char *text, size_t from, size_t i)
{
    while (i > from && (text[i - 1] == ' ' || (text[i - 1] >= '\t' && text[i - 1] <= '\r')))
        i--;
    return i;
}

static size_t candidate(const char *text, size_t bytes, size_t from, size_t *i, hs_sentences how)
{
    const char *feed;
    if (how == HS_SENTENCES_LINE) {
        feed = memchr(text + *i, '\n', bytes - *i);
        *i = feed ? (size_t)(feed - text) + 1 : bytes;
        return feed ? before_space(text, from, *i - 1) : bytes;
    }
    while (*i < bytes && !may_end(*at(text, *i)))
        ++*i;
    if (*i == bytes)
        return bytes;
    if (text[*i] == '\n') {
        const size_t here = (*i)++;
        return blank_line_at(text, bytes, here) ? before_space(text, from, here) : 0;
    }
    int n;
    if (mark_at(text, bytes, *i, &n) != NO_MARK)
        return end_at_marks(text, bytes, from, *i, i);
    ++*i;
    return 0;
}

size_t hs_sentence_end(const char *text, size_t bytes, size_t from, hs_sentences how)
{
    const size_t first = skip_space(text, bytes, from);
    if (how == HS_SENTENCES_NONE || first == bytes)
        return bytes;
    for (size_t i = first; i < bytes;) {
        const size_t end = candidate(text, bytes, from, &i, how);
        if (end > first)
            return skip_space(text, bytes, end) == bytes ? bytes : end;
    }
    return bytes;
}
