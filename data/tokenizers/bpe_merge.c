// bpe_merge: bytes to ids by merges. Words are merged in place; what is long goes through a queue of ranks in linear time.
#include "data/tokenizers/bpe.h"
#include <stdlib.h>
#include <string.h>

enum { IN_PLACE = 32 }; // bytes: scanning for the lowest rank is faster up to here

static inline uint64_t key_of(int32_t left, int32_t right) { return (uint64_t)left << HS_BPE_ID_BITS | (uint64_t)right; }
static inline uint64_t first_slot(const hs_bpe_merges *m, uint64_t key) { return (key * 0x9E3779B97F4A7C15u >> 32) & m->mask; }

static inline int32_t rank_of(const hs_bpe_merges *m, int32_t left, int32_t right)
{
    const uint64_t key = key_of(left, right);
    for (uint64_t i = first_slot(m, key);; i = (i + 1) & m->mask) {
        const uint64_t slot = m->slot[i];
        if (slot >> HS_BPE_RANK_BITS == key)
            return (int32_t)(slot & ((1 << HS_BPE_RANK_BITS) - 1));
        if (slot == UINT64_MAX)
            return HS_BPE_NONE;
    }
}

hs_status hs_bpe_merges_index(hs_bpe_merges *m)
{
    size_t slots = 16;
    while (slots < 2 * (size_t)m->n)
        slots *= 2;
    m->mask = slots - 1;
    m->slot = malloc(slots * sizeof *m->slot);
    m->byte_rank = malloc(256 * 256 * sizeof *m->byte_rank);
    if (!m->slot || !m->byte_rank)
        return HS_FAIL(MEMORY, "no memory for %lld merges", (long long)m->n);
    memset(m->slot, 0xFF, slots * sizeof *m->slot);
    for (int64_t r = 0; r < m->n; r++) {
        const uint64_t key = key_of(m->pair[r].left, m->pair[r].right);
        const int32_t before = rank_of(m, m->pair[r].left, m->pair[r].right);
        if (before >= 0)
            return HS_FAIL(CORRUPT, "merge %lld is merge %d again", (long long)r, before);
        uint64_t i = first_slot(m, key);
        while (m->slot[i] != UINT64_MAX)
            i = (i + 1) & m->mask;
        m->slot[i] = key << HS_BPE_RANK_BITS | (uint64_t)r;
    }
    for (int i = 0; i < 256 * 256; i++) {
        const int32_t left = m->byte_id[i >> 8], right = m->byte_id[i & 255];
        m->byte_rank[i] = left < 0 || right < 0 ? HS_BPE_NONE : rank_of(m, left, right);
    }
    return HS_OK;
}

void hs_bpe_merges_free(hs_bpe_merges *m)
{
    free(m->pair);
    free(m->made);
    free(m->slot);
    free(m->byte_rank);
    *m = (hs_bpe_merges){ 0 };
}

// Ranks as unsigned numbers: none is the highest.
static size_t merge_in_place(const hs_bpe_merges *m, const unsigned char *s, int32_t *symbol, size_t n)
{
    uint32_t rank[IN_PLACE];
    for (size_t i = 0; i + 1 < n; i++)
        rank[i] = (uint32_t)m->byte_rank[s[i] << 8 | s[i + 1]];
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            best = rank[i] < rank[best] ? i : best;
        if (rank[best] == (uint32_t)HS_BPE_NONE)
            break;
        symbol[best] = m->made[rank[best]];
        n--;
        for (size_t i = best + 1; i < n; i++)
            symbol[i] = symbol[i + 1];
        for (size_t i = best + 1; i + 1 < n; i++)
            rank[i] = rank[i + 1];
        if (best > 0)
            rank[best - 1] = (uint32_t)rank_of(m, symbol[best - 1], symbol[best]);
        if (best + 1 < n)
            rank[best] = (uint32_t)rank_of(m, symbol[best], symbol[best + 1]);
    }
    return n;
}

// ---- long parts: positions whose pair has a rank stand in the list of that rank; three levels of bits tell the lowest rank with one

hs_status hs_bpe_scratch_init(hs_bpe_scratch *w, const hs_bpe_merges *m)
{
    *w = (hs_bpe_scratch){ .head = malloc(((size_t)m->n + 1) * sizeof *w->head) };
    size_t words = (size_t)m->n;
    bool enough = w->head != NULL;
    for (int level = 0; level < 3; level++) {
        words = words / 64 + 1;
        enough = (w->set[level] = calloc(words, sizeof(uint64_t))) != NULL && enough;
    }
    if (!enough) {
        hs_bpe_scratch_free(w);
        return HS_FAIL(MEMORY, "no memory for an encoder");
    }
    memset(w->head, 0xFF, ((size_t)m->n + 1) * sizeof *w->head);
    return HS_OK;
}

void hs_bpe_scratch_free(hs_bpe_scratch *w)
{
    free(w->link);
    free(w->head);
    for (int level = 0; level < 3; level++)
        free(w->set[level]);
    *w = (hs_bpe_scratch){ 0 };
}

typedef struct queue {
    const hs_bpe_merges *m;
    hs_bpe_scratch *w;
    int32_t *symbol, *next, *previous, *after, *before, *rank; // after, before: in the list of a rank
} queue;

static void unlink_pair(queue *q, int32_t at)
{
    const int32_t r = q->rank[at];
    if (r < 0)
        return;
    if (q->after[at] >= 0)
        q->before[q->after[at]] = q->before[at];
    if (q->before[at] >= 0) {
        q->after[q->before[at]] = q->after[at];
    } else if ((q->w->head[r] = q->after[at]) < 0) {
        uint64_t **set = q->w->set;
        if (!(set[0][r >> 6] &= ~(1ull << (r & 63))) && !(set[1][r >> 12] &= ~(1ull << (r >> 6 & 63))))
            set[2][r >> 18] &= ~(1ull << (r >> 12 & 63));
    }
    q->rank[at] = HS_BPE_NONE;
}

static void link_pair(queue *q, int32_t at)
{
    const int32_t r = q->next[at] < 0 ? HS_BPE_NONE : rank_of(q->m, q->symbol[at], q->symbol[q->next[at]]);
    q->rank[at] = r;
    if (r < 0)
        return;
    int32_t *head = &q->w->head[r];
    q->after[at] = *head, q->before[at] = -1;
    if (*head >= 0)
        q->before[*head] = at;
    *head = at;
    q->w->set[0][r >> 6] |= 1ull << (r & 63);
    q->w->set[1][r >> 12] |= 1ull << (r >> 6 & 63);
    q->w->set[2][r >> 18] |= 1ull << (r >> 12 & 63);
}

static int32_t lowest_rank(const queue *q)
{
    const int64_t top_words = q->m->n >> 18;
    for (int64_t i = 0; i <= top_words; i++)
        if (q->w->set[2][i]) {
            const int64_t a = i << 6 | __builtin_ctzll(q->w->set[2][i]);
            const int64_t b = a << 6 | __builtin_ctzll(q->w->set[1][a]);
            return (int32_t)(b << 6 | __builtin_ctzll(q->w->set[0][b]));
        }
    return HS_BPE_NONE;
}

static void merge_at(queue *q, int32_t at, int32_t made)
{
    const int32_t gone = q->next[at], behind = q->next[gone], in_front = q->previous[at];
    unlink_pair(q, at);
    unlink_pair(q, gone);
    q->symbol[at] = made;
    q->next[at] = behind;
    if (behind >= 0)
        q->previous[behind] = at;
    if (in_front >= 0) {
        unlink_pair(q, in_front);
        link_pair(q, in_front);
    }
    link_pair(q, at);
}

// All pairs of a rank. Only where both are the same symbol can they overlap: then a whole run is merged from its left end.
static void merge_rank(queue *q, int32_t r)
{
    const hs_bpe_pair *p = &q->m->pair[r];
    const int32_t made = q->m->made[r];
    while (q->w->head[r] >= 0) {
        int32_t at = q->w->head[r];
        if (p->left != p->right) {
            merge_at(q, at, made);
            continue;
        }
        while (q->previous[at] >= 0 && q->symbol[q->previous[at]] == p->left)
            at = q->previous[at];
        while (at >= 0 && q->symbol[at] == p->left && q->next[at] >= 0 && q->symbol[q->next[at]] == p->left) {
            merge_at(q, at, made);
            at = q->next[at];
        }
    }
}

static hs_status reserve(hs_bpe_scratch *w, size_t n)
{
    if (n <= w->room)
        return HS_OK;
    free(w->link);
    w->room = n < 1024 ? 1024 : n;
    w->link = malloc(6 * w->room * sizeof *w->link);
    if (!w->link) {
        w->room = 0;
        return HS_FAIL(MEMORY, "no memory to merge %zu bytes", n);
    }
    return HS_OK;
}

static hs_status merge_long(const hs_bpe_merges *m, hs_bpe_scratch *w, int32_t *symbol, size_t n, size_t *n_left)
{
    HS_TRY(reserve(w, n));
    int32_t *l = w->link;
    const size_t room = w->room;
    queue q = { m, w, l, l + room, l + 2 * room, l + 3 * room, l + 4 * room, l + 5 * room };
    for (size_t i = 0; i < n; i++) {
        q.symbol[i] = symbol[i];
        q.next[i] = i + 1 < n ? (int32_t)i + 1 : -1;
        q.previous[i] = (int32_t)i - 1;
    }
    for (size_t i = n; i-- > 0;)
        link_pair(&q, (int32_t)i);
    for (int32_t r; (r = lowest_rank(&q)) >= 0;)
        merge_rank(&q, r);
    *n_left = 0;
    for (int32_t at = 0; at >= 0; at = q.next[at])
        symbol[(*n_left)++] = q.symbol[at];
    enum { KEEP = 1 << 16 };
    if (w->room > KEEP) { // one giant must not hold its memory for good
        free(w->link);
        w->link = NULL, w->room = 0;
    }
    return HS_OK;
}

hs_status hs_bpe_merge(const hs_bpe_merges *m, hs_bpe_scratch *w, const unsigned char *s, size_t bytes, int32_t *id, size_t *n)
{
    if (bytes > INT32_MAX)
        return HS_FAIL(UNSUPPORTED, "a word of %zu bytes, at most %d", bytes, INT32_MAX);
    for (size_t i = 0; i < bytes; i++)
        id[i] = m->byte_id[s[i]];
    if (bytes > IN_PLACE)
        return merge_long(m, w, id, bytes, n);
    *n = merge_in_place(m, s, id, bytes);
    return HS_OK;
}
