// tok_added: two tries of the same list, for tokens found in the text itself and for those found in what normalization leaves.
#include "data/tokenizers/tok_added.h"
#include "data/base/unicode.h"
#include "data/base/utf8.h"
#include <stdlib.h>
#include <string.h>

hs_status hs_tok_added_add(hs_tok_added *a, hs_tok_added_token token)
{
    hs_tok_added_token *grown = realloc(a->token, ((size_t)a->n + 1) * sizeof *grown);
    char *copy = grown ? malloc(token.bytes + 1) : NULL;
    if (grown)
        a->token = grown;
    if (!copy)
        return HS_FAIL(MEMORY, "no memory for an added token");
    memcpy(copy, token.text, token.bytes);
    copy[token.bytes] = 0;
    token.text = copy;
    a->token[a->n++] = token;
    return HS_OK;
}

static hs_status make_finder(const hs_tok_added *a, struct hs_tok_finder *f, bool normalized)
{
    hs_tok_text *text = malloc(((size_t)a->n + 1) * sizeof *text);
    int32_t *index = malloc(((size_t)a->n + 1) * sizeof *index);
    hs_status st = text && index ? HS_OK : HS_FAIL(MEMORY, "no memory for added tokens");
    for (int i = 0; st == HS_OK && i < a->n; i++)
        if (a->token[i].normalized == normalized && !a->unmatched && a->token[i].bytes) {
            const unsigned char first = (unsigned char)a->token[i].text[0];
            f->first = f->n == 0 || f->first == first ? first : -1;
            f->begins[first] = true;
            text[f->n] = (hs_tok_text){ a->token[i].text, a->token[i].bytes };
            index[f->n++] = i;
        }
    if (st == HS_OK)
        st = hs_tok_trie_make(&f->trie, text, index, f->n);
    free(text);
    free(index);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_tok_added_ready(hs_tok_added *a)
{
    for (int i = 0; i < a->n; i++)
        a->most_id = a->token[i].id > a->most_id ? a->token[i].id : a->most_id;
    a->has = calloc((size_t)a->most_id + 1, 1);
    if (!a->has)
        return HS_FAIL(MEMORY, "no memory for added tokens");
    for (int i = 0; i < a->n; i++)
        a->has[a->token[i].id] = 1;
    for (int which = 0; which < 2; which++)
        HS_TRY(make_finder(a, &a->finder[which], which == 1));
    return HS_OK;
}

void hs_tok_added_free(hs_tok_added *a)
{
    for (int i = 0; i < a->n; i++)
        free(a->token[i].text);
    for (int which = 0; which < 2; which++)
        hs_tok_trie_free(&a->finder[which].trie);
    free(a->token);
    free(a->has);
    *a = (hs_tok_added){ 0 };
}

// ---- what stands beside a match

static uint32_t before(const char *s, size_t begin, size_t at, int *n)
{
    size_t i = at - 1;
    while (i > begin && at - i < 4 && ((unsigned char)s[i] & 0xC0) == 0x80)
        i--;
    const uint32_t c = hs_utf8_next((const unsigned char *)s + i, at - i, n);
    if ((size_t)*n == at - i)
        return c;
    *n = 1;
    return HS_UTF8_RAW + (unsigned char)s[at - 1];
}

static bool is_space(uint32_t c) { return c < HS_UTF8_RAW && (hs_uni_props(c) & HS_UNI_SPACE); }

// \w of regular expressions: letters, marks, decimal digits, connectors, joiners, and the letters in circles and squares.
static bool is_word(uint32_t c)
{
    if (c >= HS_UTF8_RAW)
        return false;
    const hs_uni_category g = hs_uni_category_of(hs_uni_props(c));
    return (g >= HS_LU && g <= HS_NL) || g == HS_PC || c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
           (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

static bool stands_alone(const char *s, size_t begin, size_t to, const hs_tok_match *m)
{
    int n;
    return (m->start == begin || !is_word(before(s, begin, m->start, &n))) &&
           (m->end == to || !is_word(hs_utf8_next((const unsigned char *)s + m->end, to - m->end, &n)));
}

static void strip(const hs_tok_added_token *token, const char *s, size_t from, size_t to, hs_tok_match *m)
{
    int n;
    while (token->lstrip && m->start > from && is_space(before(s, from, m->start, &n)))
        m->start -= (size_t)n;
    while (token->rstrip && m->end < to && is_space(hs_utf8_next((const unsigned char *)s + m->end, to - m->end, &n)))
        m->end += (size_t)n;
}

void hs_tok_added_blanks(const char *s, size_t start, size_t end, int64_t leading[2], int64_t trailing[2])
{
    int n;
    for (size_t i = start; i < end && is_space(hs_utf8_next((const unsigned char *)s + i, end - i, &n)); i += (size_t)n)
        leading[0] += n, leading[1]++;
    for (size_t i = end; i > start && is_space(before(s, start, i, &n)); i -= (size_t)n)
        trailing[0] += n, trailing[1]++;
}

bool hs_tok_added_next(const hs_tok_added *a, int which, const char *s, size_t begin, size_t from, size_t to, hs_tok_match *m)
{
    const struct hs_tok_finder *f = &a->finder[which];
    for (size_t i = from; f->n > 0 && i < to;) {
        if (f->first >= 0) {
            const char *hit = memchr(s + i, f->first, to - i);
            if (!hit)
                return false;
            i = (size_t)(hit - s);
        } else if (!f->begins[(unsigned char)s[i]]) {
            i++;
            continue;
        }
        size_t bytes = 0;
        const int32_t index = hs_tok_trie_longest(&f->trie, s + i, to - i, &bytes);
        if (index < 0) {
            i++;
            continue;
        }
        *m = (hs_tok_match){ i, i + bytes, index };
        if (!a->token[index].single_word || stands_alone(s, begin, to, m)) {
            strip(&a->token[index], s, from, to, m);
            return true;
        }
        i += bytes;
    }
    return false;
}
