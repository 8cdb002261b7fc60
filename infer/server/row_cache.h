// row_cache: what rows of tokens gave, for who asks again - a server's response cache. The key is what the values follow from: the model
// that is loaded (owner), what is wanted, and the tokens themselves; so all routes that want the same find what another one left. Hashes
// find, tokens decide: all of them are compared.
//
// All models of a server share one bound, which counts keys, values and what stands around them. Where it is reached, who was not asked
// for longest goes first; what somebody holds counts until it is let go. From any thread.
#ifndef HS_INFER_ROW_CACHE_H
#define HS_INFER_ROW_CACHE_H
#include "infer/encode/row_reader.h"

typedef enum hs_want_what {
    HS_WANT_VECTOR,  // hs_row_reader_vector, with pooling and normalize
    HS_WANT_HIDDEN,  // hs_row_reader_hidden
    HS_WANT_LOGITS,  // hs_row_reader_task
    HS_WANT_GUESSES, // hs_row_reader_guess of each pick, the `best` likeliest
} hs_want_what;
typedef struct hs_want {
    hs_want_what what;
    hs_pooling pooling; // of a VECTOR
    bool normalize;
    int64_t best; // of GUESSES
} hs_want;

typedef struct hs_row_key { // borrowed for the call
    const void *owner;
    hs_want want;
    const hs_encode_row *row;
} hs_row_key;

typedef struct hs_kept hs_kept;
struct hs_kept { // by whoever makes it written until it is known, then read alone
    size_t bytes;
    void *values; // [bytes] aligned for any type
    int64_t rows; // of them, in the maker's sense
    // the cache's
    uint64_t hash;
    const void *owner;
    hs_want want;
    int32_t *id, *type; // [n] type NULL: all 0
    int64_t *pick;      // [n_picks]
    int64_t n, n_picks;
    size_t all; // bytes
    int holders;
    bool counted; // in the cache's bytes, from when it is known until nobody holds it
    hs_kept *chain, *newer, *older;
};

typedef struct hs_row_cache hs_row_cache;
hs_status hs_row_cache_new(hs_row_cache **out, size_t bytes);
void hs_row_cache_free(hs_row_cache *c); // nobody holds anything of it any more. NULL: nothing

hs_kept *hs_row_cache_find(hs_row_cache *c, const hs_row_key *key); // held, and the newest now; NULL: it is not there
// Held; nobody finds it yet. NULL: no memory for it, or it is larger than the bound.
hs_kept *hs_row_cache_make(hs_row_cache *c, const hs_row_key *key, size_t bytes, int64_t rows);
// From here on it is found, unless another one has been made for its key meanwhile, or what is held leaves no room. Others may go for it.
void hs_row_cache_know(hs_row_cache *c, hs_kept *k);
void hs_row_cache_let_go(hs_row_cache *c, hs_kept *k);        // NULL: nothing
void hs_row_cache_forget(hs_row_cache *c, const void *owner); // all of it

typedef struct hs_row_cache_stats {
    size_t bytes, most_bytes;
    uint64_t entries, evicted; // evicted: for want of room, ever
} hs_row_cache_stats;
hs_row_cache_stats hs_row_cache_look(hs_row_cache *c);

#endif
