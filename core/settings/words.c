// words: which of the valid names was meant.
#include "core/settings/schema.h"
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

const char *hs_schema_nearest(const hs_schema *s, const void *config, const char *name, char buf[HS_KEY_NAME])
{
    const char *full[512], *last[512];
    int n = 0;
    for (hs_key_at at; n < HS_COUNT(full) && (at = hs_schema_row(s, config, n)).key != NULL; n++)
        full[n] = at.key->name, last[n] = last_name(full[n]);
    int i = nearest_index(name, full, n);
    if (i < 0) // the right word under the wrong section, or under none: "lr" for optim.lr
        i = nearest_index(last_name(name), last, n);
    if (i < 0)
        return NULL;
    snprintf(buf, HS_KEY_NAME, "%s", full[i]);
    return buf;
}
