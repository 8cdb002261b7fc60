// page_pool: who holds which page of a KV cache. A page that is full of tokens may be known by them: by its own and, through the page in
// front of it, by all before. Sequences that begin with the same tokens then hold the same pages, and a page that nobody holds is kept
// until its room is needed, the one first that was given back first.
//
// What lies in a page that is known follows from its tokens and those before, to the last bit (a row depends on its sequence alone), so a
// sequence reads the same whether it computed a page or found it. Nobody writes into such a page: rows are added behind it.
#ifndef HS_INFER_PAGE_POOL_H
#define HS_INFER_PAGE_POOL_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct hs_page_pool hs_page_pool;
hs_status hs_page_pool_new(hs_page_pool **out, int64_t n_pages, int64_t page_rows, bool share); // not share: no page is ever known
void hs_page_pool_free(hs_page_pool *p);
int64_t hs_page_pool_left(const hs_page_pool *p); // pages that can be had: nobody holds them
int64_t hs_page_pool_kept(const hs_page_pool *p); // how many of these are kept for what lies in them

// Grows list[n] to `want` pages, as far as there are any; returns how many it has then. Pages behind each other are read as one stretch:
// so all at once where they are, else the next one where it is free.
int64_t hs_page_pool_take(hs_page_pool *p, int32_t *list, int64_t n, int64_t want);
void hs_page_pool_give_back(hs_page_pool *p, const int32_t *list, int64_t n); // a sequence's, from its beginning on

// A place in a sequence behind a whole number of known pages: 0 at its beginning. Every token of the pages is compared, none is trusted to
// a hash.
typedef uint64_t hs_page_place;
// The page of tokens[page_rows] behind *place, which moves behind it: held once more. -1: none is known.
int32_t hs_page_pool_find(hs_page_pool *p, hs_page_place *place, const int32_t *tokens);
// A page that the caller holds, and filled with tokens[page_rows] behind *place, is known from now on. Where another one was already, the
// caller holds that instead, and this one is free. Returns the page that it holds.
int32_t hs_page_pool_know(hs_page_pool *p, hs_page_place *place, const int32_t *tokens, int32_t page);
// How many pages from the beginning of ids[n] on are known and held by somebody.
int64_t hs_page_pool_shared(const hs_page_pool *p, const int32_t *ids, int64_t n);
void hs_page_pool_forget(hs_page_pool *p); // what lies in them is worth nothing any more: no page is known

#endif
