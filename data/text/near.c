// near: sketches of documents in bands of a hash table; only pairs that share a band are compared.
#include "data/text/near.h"
#include "core/base/rng.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// ---- sketches

static const uint64_t STEP = 0x9E3779B97F4A7C15ull; // of the polynomial over five words; odd

void hs_sketch_clear(hs_sketch *s) { memset(s->least, 0xFF, sizeof s->least); }

static void add_run(hs_sketch *s, uint64_t polynomial)
{
    const uint64_t h = hs_mix(polynomial);
    uint32_t *least = &s->least[h >> 57], v = (uint32_t)h;
    v -= v == UINT32_MAX;
    *least = v < *least ? v : *least;
}

typedef struct runs {
    hs_sketch *sketch;
    uint64_t word[HS_NEAR_WORDS], sum, oldest_factor; // the last words; their polynomial
    size_t n;
} runs;

static void add_word(runs *r, uint64_t word)
{
    uint64_t *oldest = &r->word[r->n % HS_NEAR_WORDS];
    r->sum = (r->sum - *oldest * r->oldest_factor) * STEP + word;
    *oldest = word;
    if (++r->n >= HS_NEAR_WORDS)
        add_run(r->sketch, r->sum);
}

// A letter or digit in small, 0: divides words. What is not ASCII is a letter.
static unsigned char fold(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c | 32;
    return c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : 0;
}

void hs_sketch_add(hs_sketch *s, const char *text, size_t bytes)
{
    unsigned char small[256];
    for (int c = 0; c < 256; c++)
        small[c] = fold((unsigned char)c);
    runs r = { .sketch = s, .oldest_factor = 1 };
    for (int i = 1; i < HS_NEAR_WORDS; i++)
        r.oldest_factor *= STEP;
    uint64_t word = 0, all = bytes;
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = small[(unsigned char)text[i]];
        const bool alone = c >= 0xE3;
        if (word && (c == 0 || alone)) {
            add_word(&r, hs_mix(word));
            word = 0;
        }
        if (c)
            word = (word ^ c) * 0x100000001B3ull + 1;
        else
            all = (all ^ (unsigned char)text[i]) * 0x100000001B3ull;
        if (!alone)
            continue;
        for (; i + 1 < bytes && ((unsigned char)text[i + 1] & 0xC0) == 0x80; i++)
            word = (word ^ (unsigned char)text[i + 1]) * 0x100000001B3ull + 1;
        add_word(&r, hs_mix(word));
        word = 0;
    }
    if (word)
        add_word(&r, hs_mix(word));
    if (r.n < HS_NEAR_WORDS)
        add_run(s, r.n ? r.sum : ~all); // no words at all: every byte counts
}

void hs_sketch_join(hs_sketch *s, const hs_sketch *other)
{
    for (int i = 0; i < HS_NEAR_PLACES; i++)
        s->least[i] = other->least[i] < s->least[i] ? other->least[i] : s->least[i];
}

// Empty places take the value of another, the same one in every sketch in which that is not empty.
static void fill(hs_sketch *out, const hs_sketch *s)
{
    *out = *s;
    bool any = false;
    for (int i = 0; i < HS_NEAR_PLACES; i++)
        any |= s->least[i] != UINT32_MAX;
    for (int i = 0; any && i < HS_NEAR_PLACES; i++)
        for (uint64_t k = 0; out->least[i] == UINT32_MAX; k++)
            out->least[i] = s->least[hs_mix2((uint64_t)i, k) % HS_NEAR_PLACES];
}

// ---- clusters

typedef struct entry {
    uint32_t document, tag; // document + 1; 0: free
} entry;
typedef struct table {
    const hs_sketch *const *sketch;
    uint32_t *parent; // of each document, itself or an earlier one
    entry *entry;
    uint64_t mask;
} table;

static uint32_t root_of(uint32_t *parent, uint32_t d)
{
    while (parent[d] != d)
        d = parent[d] = parent[parent[d]];
    return d;
}

static void unite(uint32_t *parent, uint32_t a, uint32_t b)
{
    a = root_of(parent, a), b = root_of(parent, b);
    parent[a < b ? b : a] = a < b ? a : b;
}

static bool agree(const hs_sketch *a, const hs_sketch *b)
{
    int n = 0;
    for (int i = 0; i < HS_NEAR_PLACES; i++)
        n += a->least[i] == b->least[i];
    return n >= HS_NEAR_AGREE;
}

static void look_up(table *t, uint32_t d, const hs_sketch *mine, int band)
{
    uint64_t key = hs_mix((uint64_t)band);
    for (int i = 0; i < HS_NEAR_ROWS; i++)
        key = hs_mix(key ^ mine->least[band * HS_NEAR_ROWS + i]);
    const uint32_t tag = (uint32_t)(key >> 32);
    int seen = 0;
    uint64_t at = key & t->mask;
    for (; t->entry[at].document && seen < HS_NEAR_BUCKET; at = (at + 1) & t->mask) {
        if (t->entry[at].tag != tag)
            continue;
        const uint32_t other = t->entry[at].document - 1;
        seen++;
        if (root_of(t->parent, other) == root_of(t->parent, d))
            continue;
        hs_sketch theirs;
        fill(&theirs, t->sketch[other]);
        if (agree(mine, &theirs))
            unite(t->parent, d, other);
    }
    if (seen < HS_NEAR_BUCKET)
        t->entry[at] = (entry){ d + 1, tag };
}

hs_status hs_near_cluster(const hs_sketch *const *sketch, int64_t n, uint32_t *first)
{
    uint64_t slots = 64;
    while (slots < (uint64_t)n * HS_NEAR_BANDS * 4 / 3)
        slots *= 2;
    if (n >= UINT32_MAX)
        return HS_FAIL(UNSUPPORTED, "%lld documents; near-duplicates are found among fewer than %u", (long long)n, UINT32_MAX);
    table t = { .sketch = sketch, .parent = first, .entry = calloc(slots, sizeof(entry)), .mask = slots - 1 };
    if (!t.entry)
        return HS_FAIL(MEMORY, "no memory (%llu bytes) to find near-duplicates among %lld documents",
                       (unsigned long long)(slots * sizeof(entry)), (long long)n);
    for (uint32_t d = 0; d < (uint32_t)n; d++)
        first[d] = d;
    for (uint32_t d = 0; d < (uint32_t)n; d++) {
        hs_sketch mine;
        if (!sketch[d])
            continue;
        fill(&mine, sketch[d]);
        for (int band = 0; band < HS_NEAR_BANDS; band++)
            look_up(&t, d, &mine, band);
    }
    for (uint32_t d = 0; d < (uint32_t)n; d++)
        first[d] = root_of(first, d);
    free(t.entry);
    return HS_OK;
}
