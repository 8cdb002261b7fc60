// words: which of the valid names was meant.
#include "core/settings/schema.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_WORD = 64, MAX_EDITS = 3 };

static int least(int a, int b) { return a < b ? a : b; }

// Insertions, deletions, substitutions and swaps of neighbours that turn a into b (optimal string alignment).
static int edits(const char *a, const char *b)
{
    const int n = (int)strlen(a), m = (int)strlen(b);
    if (n > MAX_WORD || m > MAX_WORD)
        return MAX_WORD;
    int row[3][MAX_WORD + 1] = { { 0 } }; // of i - 2, i - 1 and i, in turn
    for (int j = 0; j <= m; j++)
        row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = row[i % 3], *before = row[(i + 2) % 3], *two_before = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            now[j] = least(before[j - 1] + (a[i - 1] != b[j - 1]), least(before[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], two_before[j - 2] + 1);
        }
    }
    return row[n % 3][m];
}

const char *hs_nearest_word(const char *word, const char *const *list, int n)
{
    const int half = (int)strlen(word) / 2;
    int best = least(MAX_EDITS, half > 1 ? half : 1) + 1;
    const char *found = NULL;
    for (int i = 0; i < n; i++) {
        const int d = edits(word, list[i]);
        if (d < best)
            best = d, found = list[i];
    }
    return found;
}

static const char *last_name(const char *key) { return strrchr(key, '.') ? strrchr(key, '.') + 1 : key; }

// Index of the nearest word; -1: none is near.
static int nearest_index(const char *word, const char *const *list, int n)
{
    const char *near = hs_nearest_word(word, list, n);
    int i = 0;
    while (near && list[i] != near)
        i++;
    return near ? i : -1;
}

// "data.sources.3.weigth": 3. Of a name without a number, or with one that no element has, 0.
static int number_in(const char *name)
{
    const char *dot = strchr(name, '.');
    while (dot && !(dot[1] >= '0' && dot[1] <= '9'))
        dot = strchr(dot + 1, '.');
    return dot && strspn(dot + 1, "0123456789") <= HS_LIST_DIGITS ? atoi(dot + 1) : 0;
}

// The list of which a name is an element, or a key of one: "phases.1", "phases.1.stepz". *rest: the key, "" where there is none.
static const hs_list *list_of(const hs_schema *s, const char *name, const char **rest)
{
    for (int i = 0; i < s->n_lists; i++) {
        const size_t n = strlen(s->list[i].name),
                     digits = strncmp(name, s->list[i].name, n) == 0 && name[n] == '.' ? strspn(name + n + 1, "0123456789") : 0;
        const char *behind = name + n + 1 + digits;
        if (!digits || digits > HS_LIST_DIGITS || (*behind && *behind != '.'))
            continue;
        *rest = *behind ? behind + 1 : behind;
        return &s->list[i];
    }
    return NULL;
}

bool hs_schema_element_keys(const hs_schema *s, const char *name, char *buf, size_t size)
{
    const char *rest;
    const hs_list *l = list_of(s, name, &rest);
    if (!l)
        return false;
    int n = snprintf(buf, size, "%s.%d takes ", l->name, number_in(name));
    for (int i = 0; i < l->schema->n && n >= 0 && (size_t)n < size; i++)
        n += snprintf(buf + n, size - (size_t)n, "%s%s", i ? ", " : "", l->schema->key[i].name);
    return true;
}

// Who names an element means a key of it.
static const char *nearest_in_element(const hs_list *l, const char *name, const char *rest, char buf[HS_KEY_NAME])
{
    const char *words[64], *last[64];
    int n = 0;
    for (; n < l->schema->n && n < HS_COUNT(words); n++)
        words[n] = l->schema->key[n].name, last[n] = last_name(words[n]);
    int i = nearest_index(rest, words, n);
    if (i < 0)
        i = nearest_index(last_name(rest), last, n);
    return i < 0 ? NULL : hs_schema_name((hs_key_at){ &l->schema->key[i], l, number_in(name) }, buf);
}

const char *hs_schema_nearest(const hs_schema *s, const void *config, const char *name, char buf[HS_KEY_NAME])
{
    enum { MOST = 512, MOST_OF_LISTS = 64 };
    const char *full[MOST], *last[MOST];
    char built[MOST_OF_LISTS][HS_KEY_NAME];
    int n = 0, n_built = 0;
    hs_key_at at;
    const char *rest = "";
    const hs_list *itself = hs_schema_list(s, name), *of = list_of(s, name, &rest);
    if (itself) // who names a list and no key of it needs one of those
        return hs_schema_name((hs_key_at){ itself->schema->key, itself, 0 }, buf);
    if (of)
        return nearest_in_element(of, name, rest, buf);
    for (; n < MOST && (at = hs_schema_row(s, config, n)).key != NULL && !at.list; n++)
        full[n] = at.key->name;
    for (int i = 0; i < s->n_lists && n < MOST; i++) {
        const hs_list *l = &s->list[i];
        full[n++] = l->name;
        for (int k = 0; k < l->schema->n && n < MOST && n_built < MOST_OF_LISTS; k++)
            full[n++] = hs_schema_name((hs_key_at){ &l->schema->key[k], l, number_in(name) }, built[n_built++]);
    }
    for (int i = 0; i < n; i++)
        last[i] = last_name(full[i]);
    int i = nearest_index(name, full, n);
    if (i < 0) // the right word under the wrong section, or under none: "lr" for optim.lr
        i = nearest_index(last_name(name), last, n);
    if (i < 0)
        return NULL;
    snprintf(buf, HS_KEY_NAME, "%s", full[i]);
    return buf;
}
