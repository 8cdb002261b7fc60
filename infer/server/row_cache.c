// row_cache: a table of chains, a list by last use, one lock. An entry is one block: itself, its values, its key.
#include "infer/server/row_cache.h"
#include "core/base/rng.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct hs_row_cache {
    pthread_mutex_t lock;
    hs_kept **chain; // [mask + 1]
    uint64_t mask;
    hs_kept *newest, *oldest;
    hs_row_cache_stats now;
};

// ---- keys

static bool same_want(const hs_want *a, const hs_want *b)
{
    switch (a->what) {
    case HS_WANT_VECTOR:
        return b->what == a->what && a->pooling == b->pooling && a->normalize == b->normalize;
    case HS_WANT_GUESSES:
        return b->what == a->what && a->best == b->best;
    default:
        return b->what == a->what;
    }
}

static bool has_types(const hs_encode_row *r)
{
    for (int64_t i = 0; r->type && i < r->n; i++)
        if (r->type[i])
            return true;
    return false;
}

static uint64_t hash_of(const hs_row_key *key)
{
    const hs_encode_row *r = key->row;
    uint64_t h = hs_mix2((uint64_t)(uintptr_t)key->owner, (uint64_t)key->want.what);
    for (int64_t i = 0; i < r->n; i++)
        h = hs_mix2(h, (uint64_t)(uint32_t)r->id[i] << 32 | (uint32_t)(r->type ? r->type[i] : 0));
    return h;
}

static bool is_of(const hs_kept *k, const hs_row_key *key, uint64_t hash)
{
    const hs_encode_row *r = key->row;
    if (k->hash != hash || k->owner != key->owner || k->n != r->n || k->n_picks != r->n_picks || !same_want(&k->want, &key->want) ||
        memcmp(k->id, r->id, (size_t)r->n * sizeof *r->id) != 0 || has_types(r) != (k->type != NULL))
        return false;
    return (!k->type || memcmp(k->type, r->type, (size_t)r->n * sizeof *r->type) == 0) &&
           (!r->n_picks || memcmp(k->pick, r->pick, (size_t)r->n_picks * sizeof *r->pick) == 0);
}

// ---- with the lock

static hs_kept **place_of(hs_row_cache *c, uint64_t hash) { return &c->chain[hash & c->mask]; }

static hs_kept *look_for(hs_row_cache *c, const hs_row_key *key, uint64_t hash)
{
    hs_kept *k = *place_of(c, hash);
    while (k && !is_of(k, key, hash))
        k = k->chain;
    return k;
}

static void unlink_use(hs_row_cache *c, hs_kept *k)
{
    *(k->newer ? &k->newer->older : &c->newest) = k->older;
    *(k->older ? &k->older->newer : &c->oldest) = k->newer;
}

static void link_newest(hs_row_cache *c, hs_kept *k)
{
    k->newer = NULL, k->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = k;
    c->newest = k;
}

static void release(hs_row_cache *c, hs_kept *k)
{
    if (--k->holders)
        return;
    if (k->counted)
        c->now.bytes -= k->all;
    free(k);
}

static void drop(hs_row_cache *c, hs_kept *k)
{
    hs_kept **at = place_of(c, k->hash);
    while (*at != k)
        at = &(*at)->chain;
    *at = k->chain;
    unlink_use(c, k);
    c->now.entries--;
    release(c, k);
}

// False: those who still hold what was dropped take too much.
static bool make_room(hs_row_cache *c, size_t bytes)
{
    for (; c->oldest && c->now.bytes + bytes > c->now.most_bytes; c->now.evicted++)
        drop(c, c->oldest);
    return c->now.bytes + bytes <= c->now.most_bytes;
}

// ---- from any thread

hs_kept *hs_row_cache_find(hs_row_cache *c, const hs_row_key *key)
{
    const uint64_t hash = hash_of(key);
    pthread_mutex_lock(&c->lock);
    hs_kept *k = look_for(c, key, hash);
    if (k) {
        unlink_use(c, k), link_newest(c, k);
        k->holders++;
    }
    pthread_mutex_unlock(&c->lock);
    return k;
}

static size_t rounded(size_t n) { return (n + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t); }

hs_kept *hs_row_cache_make(hs_row_cache *c, const hs_row_key *key, size_t bytes, int64_t rows)
{
    const hs_encode_row *r = key->row;
    const size_t ids = (size_t)r->n * sizeof *r->id, types = has_types(r) ? ids : 0, picks = (size_t)r->n_picks * sizeof *r->pick;
    const size_t head = rounded(sizeof(hs_kept)), values = rounded(bytes), all = head + values + picks + ids + types;
    hs_kept *k = all <= c->now.most_bytes ? malloc(all) : NULL;
    if (!k)
        return NULL;
    char *at = (char *)k + head;
    *k = (hs_kept){ .bytes = bytes,
                    .values = at,
                    .rows = rows,
                    .hash = hash_of(key),
                    .owner = key->owner,
                    .want = key->want,
                    .pick = (int64_t *)(void *)(at + values),
                    .id = (int32_t *)(void *)(at + values + picks),
                    .type = types ? (int32_t *)(void *)(at + values + picks + ids) : NULL,
                    .n = r->n,
                    .n_picks = r->n_picks,
                    .all = all,
                    .holders = 1 };
    memcpy(k->id, r->id, ids);
    if (types)
        memcpy(k->type, r->type, types);
    if (picks)
        memcpy(k->pick, r->pick, picks);
    return k;
}

void hs_row_cache_know(hs_row_cache *c, hs_kept *k)
{
    const hs_encode_row row = { .id = k->id, .type = k->type, .n = k->n, .pick = k->pick, .n_picks = k->n_picks };
    const hs_row_key key = { .owner = k->owner, .want = k->want, .row = &row };
    pthread_mutex_lock(&c->lock);
    if (!look_for(c, &key, k->hash) && make_room(c, k->all)) {
        hs_kept **at = place_of(c, k->hash);
        k->chain = *at, *at = k;
        link_newest(c, k);
        k->holders++, k->counted = true;
        c->now.bytes += k->all, c->now.entries++;
    }
    pthread_mutex_unlock(&c->lock);
}

void hs_row_cache_let_go(hs_row_cache *c, hs_kept *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&c->lock);
    release(c, k);
    pthread_mutex_unlock(&c->lock);
}

void hs_row_cache_forget(hs_row_cache *c, const void *owner)
{
    pthread_mutex_lock(&c->lock);
    for (hs_kept *k = c->newest, *older; k; k = older) {
        older = k->older;
        if (k->owner == owner)
            drop(c, k);
    }
    pthread_mutex_unlock(&c->lock);
}

hs_row_cache_stats hs_row_cache_look(hs_row_cache *c)
{
    pthread_mutex_lock(&c->lock);
    const hs_row_cache_stats now = c->now;
    pthread_mutex_unlock(&c->lock);
    return now;
}

// ---- birth

hs_status hs_row_cache_new(hs_row_cache **out, size_t bytes)
{
    enum { ENTRY = 1024, LEAST = 64, MOST = 1 << 20 }; // bytes of a small one; chains
    hs_row_cache *c = *out = calloc(1, sizeof *c);
    uint64_t n = LEAST;
    while (n < MOST && n < bytes / ENTRY)
        n *= 2;
    if (c)
        c->chain = calloc(n, sizeof *c->chain);
    if (!c || !c->chain) {
        free(c);
        *out = NULL;
        return HS_FAIL(MEMORY, "no memory for a response cache");
    }
    c->mask = n - 1, c->now.most_bytes = bytes;
    pthread_mutex_init(&c->lock, NULL);
    return HS_OK;
}

void hs_row_cache_free(hs_row_cache *c)
{
    if (!c)
        return;
    while (c->newest)
        drop(c, c->newest);
    pthread_mutex_destroy(&c->lock);
    free(c->chain);
    free(c);
}
