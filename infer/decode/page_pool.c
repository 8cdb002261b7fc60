// page_pool: a page is free, held, or kept: in a list by when it was given back. Known pages hang in a table by a hash of their tokens and
// of the number of the page in front. A number is given once: a page that is known again is another one, so none is ever found behind a
// page that has gone.
#include "infer/decode/page_pool.h"
#include <stdlib.h>
#include <string.h>

typedef struct page {
    int32_t held;           // by how many
    int32_t prev, next;     // among those that are kept; -1: none
    int32_t chain;          // the next in its row of the table; -1: none
    uint64_t number, front; // 0: not known | the page in front of it, 0: it begins a sequence
} page;

struct hs_page_pool {
    int64_t n, rows, n_free, n_kept;
    page *page;
    int32_t *tokens; // [n][rows]; NULL: pages are not shared
    int32_t *table;  // [mask + 1] the first of a row; -1: none
    uint64_t mask, last_number;
    int32_t oldest, newest; // of those that are kept
};

hs_status hs_page_pool_new(hs_page_pool **out, int64_t n_pages, int64_t page_rows, bool share)
{
    *out = NULL;
    hs_page_pool *p = calloc(1, sizeof *p);
    if (!p)
        return HS_FAIL(MEMORY, "no memory for a table of %lld cache pages", (long long)n_pages);
    *p = (hs_page_pool){ .n = n_pages, .rows = page_rows, .n_free = n_pages, .mask = 1, .oldest = -1, .newest = -1 };
    while (share && p->mask < (uint64_t)n_pages)
        p->mask = 2 * p->mask + 1;
    p->page = calloc((size_t)n_pages + 1, sizeof *p->page);
    p->table = malloc((size_t)(p->mask + 1) * sizeof *p->table);
    if (share)
        p->tokens = malloc((size_t)(n_pages * page_rows + 1) * sizeof *p->tokens);
    if (!p->page || !p->table || (share && !p->tokens)) {
        hs_page_pool_free(p);
        return HS_FAIL(MEMORY, "no memory for a table of %lld cache pages", (long long)n_pages);
    }
    memset(p->table, -1, (size_t)(p->mask + 1) * sizeof *p->table);
    *out = p;
    return HS_OK;
}

void hs_page_pool_free(hs_page_pool *p)
{
    if (!p)
        return;
    free(p->page);
    free(p->table);
    free(p->tokens);
    free(p);
}

int64_t hs_page_pool_left(const hs_page_pool *p) { return p->n_free + p->n_kept; }
int64_t hs_page_pool_kept(const hs_page_pool *p) { return p->n_kept; }

// ---- known pages

static int32_t *row_of(const hs_page_pool *p, hs_page_place front, const int32_t *tokens)
{
    uint64_t h = front * 0x9E3779B97F4A7C15u;
    for (int64_t i = 0; i < p->rows; i++) {
        h = (h ^ (uint32_t)tokens[i]) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
    }
    return &p->table[h & p->mask];
}

static const int32_t *tokens_of(const hs_page_pool *p, int32_t i) { return p->tokens + (size_t)i * (size_t)p->rows; }

static int32_t look_up(const hs_page_pool *p, hs_page_place front, const int32_t *tokens)
{
    for (int32_t i = p->tokens ? *row_of(p, front, tokens) : -1; i >= 0; i = p->page[i].chain)
        if (p->page[i].front == front && !memcmp(tokens_of(p, i), tokens, (size_t)p->rows * sizeof *tokens))
            return i;
    return -1;
}

static void take_from_list(hs_page_pool *p, int32_t i)
{
    page *g = &p->page[i];
    *(g->prev >= 0 ? &p->page[g->prev].next : &p->oldest) = g->next;
    *(g->next >= 0 ? &p->page[g->next].prev : &p->newest) = g->prev;
    p->n_kept--;
}

static void put_into_list(hs_page_pool *p, int32_t i)
{
    p->page[i].prev = p->newest, p->page[i].next = -1;
    *(p->newest >= 0 ? &p->page[p->newest].next : &p->oldest) = i;
    p->newest = i;
    p->n_kept++;
}

static void unknow(hs_page_pool *p, int32_t i)
{
    int32_t *at = row_of(p, p->page[i].front, tokens_of(p, i));
    while (*at != i)
        at = &p->page[*at].chain;
    *at = p->page[i].chain;
    p->page[i].number = 0;
}

static void hold(hs_page_pool *p, int32_t i)
{
    if (p->page[i].held++ == 0 && p->page[i].number)
        take_from_list(p, i);
}

static void let_go(hs_page_pool *p, int32_t i)
{
    if (--p->page[i].held > 0)
        return;
    if (p->page[i].number)
        put_into_list(p, i);
    else
        p->n_free++;
}

int32_t hs_page_pool_find(hs_page_pool *p, hs_page_place *place, const int32_t *tokens)
{
    const int32_t i = look_up(p, *place, tokens);
    if (i < 0)
        return -1;
    hold(p, i);
    *place = p->page[i].number;
    return i;
}

int32_t hs_page_pool_know(hs_page_pool *p, hs_page_place *place, const int32_t *tokens, int32_t i)
{
    if (!p->tokens)
        return i;
    const int32_t before = hs_page_pool_find(p, place, tokens);
    if (before >= 0) {
        let_go(p, i);
        return before;
    }
    int32_t *row = row_of(p, *place, tokens);
    memcpy(p->tokens + (size_t)i * (size_t)p->rows, tokens, (size_t)p->rows * sizeof *tokens);
    p->page[i].chain = *row, p->page[i].front = *place, p->page[i].number = ++p->last_number;
    *row = i;
    *place = p->page[i].number;
    return i;
}

int64_t hs_page_pool_shared(const hs_page_pool *p, const int32_t *ids, int64_t n)
{
    int64_t shared = 0;
    hs_page_place front = 0;
    for (int64_t at = 0; at + p->rows <= n; at += p->rows) {
        const int32_t i = look_up(p, front, ids + at);
        if (i < 0 || p->page[i].held == 0) // who holds a page holds those in front of it, too
            break;
        front = p->page[i].number;
        shared++;
    }
    return shared;
}

void hs_page_pool_forget(hs_page_pool *p)
{
    while (p->oldest >= 0) {
        const int32_t i = p->oldest;
        take_from_list(p, i);
        p->page[i].number = 0;
        p->n_free++;
    }
    for (int64_t i = 0; i < p->n; i++)
        p->page[i].number = 0;
    memset(p->table, -1, (size_t)(p->mask + 1) * sizeof *p->table);
}

// ---- free pages

static bool is_free(const hs_page_pool *p, int64_t i) { return p->page[i].held == 0 && p->page[i].number == 0; }

// The first of n free pages behind each other, from `from` on; -1: there are none.
static int64_t stretch(const hs_page_pool *p, int64_t from, int64_t n)
{
    int64_t run = 0;
    for (int64_t i = from; i < p->n; i++) {
        run = is_free(p, i) ? run + 1 : 0;
        if (run == n)
            return i - n + 1;
    }
    return -1;
}

// Of those that are kept the oldest: a sequence gives its last page back first, so that none goes before those behind it.
static int64_t make_free(hs_page_pool *p)
{
    const int32_t i = p->oldest;
    take_from_list(p, i);
    unknow(p, i);
    p->n_free++;
    return i;
}

int64_t hs_page_pool_take(hs_page_pool *p, int32_t *list, int64_t n, int64_t want)
{
    int64_t next = n ? list[n - 1] + 1 : stretch(p, 0, want); // -1: nowhere
    for (; n < want && hs_page_pool_left(p); next++) {
        if (next < 0 || next >= p->n || !is_free(p, next))
            next = p->n_free ? stretch(p, 0, 1) : make_free(p);
        p->page[next].held = 1;
        p->n_free--;
        list[n++] = (int32_t)next;
    }
    return n;
}

void hs_page_pool_give_back(hs_page_pool *p, const int32_t *list, int64_t n)
{
    while (n > 0)
        let_go(p, list[--n]);
}
