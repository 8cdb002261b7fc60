// unicode: look-ups by bisection in tables of ranges: a page of code and a few kilobytes instead of a library.
#include "data/base/unicode.h"
#include <stddef.h>

typedef struct uni_pair {
    uint32_t from, to;
} uni_pair;
typedef struct uni_part {
    uint32_t from;
    uint16_t first, n; // of uni_pool
} uni_part;
typedef struct uni_class {
    uint32_t first, last;
    int ccc;
} uni_class;
#include "data/base/unicode_tables.inc"

enum { BLOCK = 128 };

uint32_t hs_uni_props(uint32_t c) { return uni_props[(size_t)uni_index[c / BLOCK] * BLOCK + c % BLOCK]; }

// The last row of a table, sorted by its first member, that begins at or before c; -1 for none.
static int row_of(const void *table, size_t row_bytes, int n, uint32_t c)
{
    int lo = 0, hi = n;
    while (lo < hi) {
        const int mid = (lo + hi) / 2;
        if (*(const uint32_t *)((const char *)table + (size_t)mid * row_bytes) <= c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo - 1;
}
#define ROW_OF(table, c) row_of(table, sizeof(table)[0], (int)(sizeof(table) / sizeof(table)[0]), c)

int hs_uni_lower(uint32_t c, uint32_t out[2])
{
    if (c == 0x130) { // the only one that becomes two
        out[0] = 'i', out[1] = 0x307;
        return 2;
    }
    const int i = ROW_OF(uni_lower, c);
    out[0] = i >= 0 && uni_lower[i].from == c ? uni_lower[i].to : c;
    return 1;
}

int hs_uni_decompose(uint32_t c, uint32_t out[HS_UNI_MOST])
{
    enum { HANGUL = 0xAC00, LAST = 0xD7A3, L = 0x1100, V = 0x1161, T = 0x11A7, N_V = 21, N_T = 28 };
    if (c >= HANGUL && c <= LAST) {
        const uint32_t s = c - HANGUL;
        out[0] = L + s / (N_V * N_T), out[1] = V + s % (N_V * N_T) / N_T, out[2] = T + s % N_T;
        return s % N_T ? 3 : 2;
    }
    const int i = ROW_OF(uni_decomposed, c);
    if (i < 0 || uni_decomposed[i].from != c) {
        out[0] = c;
        return 1;
    }
    for (int k = 0; k < uni_decomposed[i].n; k++)
        out[k] = uni_pool[uni_decomposed[i].first + k];
    return uni_decomposed[i].n;
}

int hs_uni_combining_class(uint32_t c)
{
    const int i = ROW_OF(uni_classes, c);
    return i >= 0 && c <= uni_classes[i].last ? uni_classes[i].ccc : 0;
}
