// tok_learn: pair counts kept up to date merge by merge, with a heap whose stale entries are corrected when they come up.
#include "data/tokenizers/tok_learn.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct places { // words that a pair may be in, ascending
    uint32_t *word;
    uint32_t n, room;
} places;
typedef struct pair {
    int32_t left, right;
    int64_t count;
    places fresh; // since it was last queued
} pair;
typedef struct entry { // of the queue: a pair's count as it was, and some of its places
    int64_t count;
    uint32_t pair;
    places at;
} entry;

typedef struct learner {
    hs_tok_words *w;
    pair *pair;
    uint32_t n_pairs, room_pairs;
    uint32_t *slot; // number + 1
    uint64_t mask;
    uint32_t *touched; // pairs with fresh places
    uint32_t n_touched, room_touched;
    entry *heap;
    size_t n_heap, room_heap;
    char *buf; // a token's text
    size_t buf_room;
} learner;

static hs_status no_memory(void) { return HS_FAIL(MEMORY, "no memory to learn merges"); }

// ---- pairs

static uint64_t hash_of(int32_t left, int32_t right)
{
    const uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static hs_status grow_table(learner *l)
{
    const uint64_t slots = l->slot ? 2 * (l->mask + 1) : 1 << 12;
    free(l->slot);
    l->slot = calloc(slots, sizeof *l->slot);
    if (!l->slot)
        return no_memory();
    l->mask = slots - 1;
    for (uint32_t i = 0; i < l->n_pairs; i++) {
        uint64_t k = hash_of(l->pair[i].left, l->pair[i].right) & l->mask;
        while (l->slot[k])
            k = (k + 1) & l->mask;
        l->slot[k] = i + 1;
    }
    return HS_OK;
}

static hs_status find_pair(learner *l, int32_t left, int32_t right, uint32_t *number)
{
    if (!l->slot || 2 * (uint64_t)l->n_pairs > l->mask)
        HS_TRY(grow_table(l));
    uint64_t k = hash_of(left, right) & l->mask;
    for (; l->slot[k]; k = (k + 1) & l->mask) {
        *number = l->slot[k] - 1;
        if (l->pair[*number].left == left && l->pair[*number].right == right)
            return HS_OK;
    }
    if (l->n_pairs == l->room_pairs) {
        const uint32_t room = 2 * l->room_pairs + 1024;
        pair *grown = realloc(l->pair, room * sizeof *grown);
        if (!grown)
            return no_memory();
        l->pair = grown, l->room_pairs = room;
    }
    l->pair[l->n_pairs] = (pair){ left, right, 0, { 0 } };
    *number = l->n_pairs++;
    l->slot[k] = *number + 1;
    return HS_OK;
}

// Changes a pair's count by that of a word; more: the word is a place of it from now on.
static hs_status count_pair(learner *l, int32_t left, int32_t right, int64_t count, uint32_t word, bool more)
{
    uint32_t number = 0;
    HS_TRY(find_pair(l, left, right, &number));
    pair *p = &l->pair[number];
    p->count += more ? count : -count;
    places *f = &p->fresh;
    if (!more || (f->n && f->word[f->n - 1] == word))
        return HS_OK;
    if (f->n == 0) {
        if (l->n_touched == l->room_touched) {
            const uint32_t room = 2 * l->room_touched + 1024;
            uint32_t *grown = realloc(l->touched, room * sizeof *grown);
            if (!grown)
                return no_memory();
            l->touched = grown, l->room_touched = room;
        }
        l->touched[l->n_touched++] = number;
    }
    if (f->n == f->room) {
        const uint32_t room = f->room ? 2 * f->room : 4;
        uint32_t *grown = realloc(f->word, room * sizeof *grown);
        if (!grown)
            return no_memory();
        f->word = grown, f->room = room;
    }
    f->word[f->n++] = word;
    return HS_OK;
}

// ---- queue: the highest count first, then the lowest ids

static bool before(const learner *l, const entry *a, const entry *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    const pair *p = &l->pair[a->pair], *q = &l->pair[b->pair];
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static void sink(learner *l, size_t i)
{
    const entry e = l->heap[i];
    for (size_t child; (child = 2 * i + 1) < l->n_heap; i = child) {
        if (child + 1 < l->n_heap && before(l, &l->heap[child + 1], &l->heap[child]))
            child++;
        if (!before(l, &l->heap[child], &e))
            break;
        l->heap[i] = l->heap[child];
    }
    l->heap[i] = e;
}

static hs_status push(learner *l, entry e)
{
    if (l->n_heap == l->room_heap) {
        const size_t room = 2 * l->room_heap + 1024;
        entry *grown = realloc(l->heap, room * sizeof *grown);
        if (!grown)
            return no_memory();
        l->heap = grown, l->room_heap = room;
    }
    size_t i = l->n_heap++;
    for (; i > 0 && before(l, &e, &l->heap[(i - 1) / 2]); i = (i - 1) / 2)
        l->heap[i] = l->heap[(i - 1) / 2];
    l->heap[i] = e;
    return HS_OK;
}

static hs_status queue_touched(learner *l)
{
    for (uint32_t i = 0; i < l->n_touched; i++) {
        pair *p = &l->pair[l->touched[i]];
        const places at = p->fresh;
        p->fresh = (places){ 0 };
        if (p->count <= 0) {
            free(at.word);
        } else if (push(l, (entry){ p->count, l->touched[i], at }) != HS_OK) {
            free(at.word);
            return no_memory();
        }
    }
    l->n_touched = 0;
    return HS_OK;
}

// ---- merging

static hs_status count_all(learner *l)
{
    const hs_tok_words *w = l->w;
    for (int64_t i = 0; i < w->n; i++)
        for (const int32_t *id = w->id + w->start[i], *last = id + w->length[i] - 1; id < last; id++)
            HS_TRY(count_pair(l, id[0], id[1], w->count[i], (uint32_t)i, true));
    HS_TRY(queue_touched(l));
    return HS_OK;
}

// Left to right; each merge takes the counts of its neighbours' pairs along.
static hs_status merge_word(learner *l, uint32_t word, int32_t left, int32_t right, int32_t made)
{
    int32_t *id = l->w->id + l->w->start[word];
    const int32_t n = l->w->length[word];
    const int64_t count = l->w->count[word];
    int32_t out = 0;
    for (int32_t i = 0; i < n; i++) {
        if (i + 1 >= n || id[i] != left || id[i + 1] != right) {
            id[out++] = id[i];
            continue;
        }
        if (out > 0) {
            HS_TRY(count_pair(l, id[out - 1], left, count, word, false));
            HS_TRY(count_pair(l, id[out - 1], made, count, word, true));
        }
        if (i + 2 < n) {
            HS_TRY(count_pair(l, right, id[i + 2], count, word, false));
            HS_TRY(count_pair(l, made, id[i + 2], count, word, true));
        }
        id[out++] = made;
        i++;
    }
    l->w->length[word] = out;
    return HS_OK;
}

static hs_status name_token(learner *l, hs_tok_counts *tokens, const pair *p, const char *prefix, int64_t *made)
{
    const hs_tok_text a = hs_tok_counts_text(tokens, p->left), b = hs_tok_counts_text(tokens, p->right);
    const size_t n = strlen(prefix), skip = n && b.bytes >= n && memcmp(b.text, prefix, n) == 0 ? n : 0, bytes = a.bytes + b.bytes - skip;
    if (bytes > l->buf_room) {
        char *grown = realloc(l->buf, 2 * bytes);
        if (!grown)
            return no_memory();
        l->buf = grown, l->buf_room = 2 * bytes;
    }
    memcpy(l->buf, a.text, a.bytes); // adding moves the pool
    memcpy(l->buf + a.bytes, b.text + skip, b.bytes - skip);
    HS_TRY(hs_tok_counts_add(tokens, l->buf, bytes, 0, made));
    return HS_OK;
}

static hs_status merge_all(learner *l, hs_tok_counts *tokens, int64_t vocab, int64_t min_count, const char *prefix, hs_tok_merge **merge,
                           int64_t *n_merges)
{
    int64_t room = 0;
    HS_TRY(count_all(l));
    while (tokens->n < vocab && l->n_heap > 0) {
        entry top = l->heap[0];
        const pair p = l->pair[top.pair];
        if (top.count != p.count) { // it has changed since
            l->heap[0].count = p.count;
            sink(l, 0);
            continue;
        }
        if (top.count < 1 || top.count < min_count)
            break;
        l->heap[0] = l->heap[--l->n_heap];
        sink(l, 0);
        int64_t made;
        hs_status st = name_token(l, tokens, &p, prefix, &made);
        if (st == HS_OK && *n_merges == room) {
            room = 2 * room + 1024;
            hs_tok_merge *grown = realloc(*merge, (size_t)room * sizeof *grown);
            st = grown ? HS_OK : no_memory();
            *merge = grown ? grown : *merge;
        }
        for (uint32_t i = 0; st == HS_OK && i < top.at.n; i++)
            st = merge_word(l, top.at.word[i], p.left, p.right, (int32_t)made);
        free(top.at.word);
        HS_TRY(st);
        (*merge)[(*n_merges)++] = (hs_tok_merge){ p.left, p.right };
        HS_TRY(queue_touched(l));
    }
    return HS_OK;
}

hs_status hs_tok_learn(hs_tok_counts *tokens, hs_tok_words *words, int64_t vocab, int64_t min_count, const char *prefix,
                       hs_tok_merge **merge, int64_t *n_merges)
{
    learner l = { .w = words };
    *merge = NULL, *n_merges = 0;
    hs_status st = words->n < UINT32_MAX ? HS_OK : HS_FAIL(UNSUPPORTED, "%lld different words", (long long)words->n);
    if (st == HS_OK)
        st = merge_all(&l, tokens, vocab, min_count, prefix, merge, n_merges);
    for (size_t i = 0; i < l.n_heap; i++)
        free(l.heap[i].at.word);
    for (uint32_t i = 0; i < l.n_pairs; i++)
        free(l.pair[i].fresh.word);
    free(l.pair);
    free(l.slot);
    free(l.touched);
    free(l.heap);
    free(l.buf);
    if (st == HS_OK)
        return HS_OK;
    free(*merge);
    *merge = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}
