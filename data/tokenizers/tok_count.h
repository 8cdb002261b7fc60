// tok_count: distinct byte strings in the order they came, each with its number and a count.
#ifndef HS_DATA_TOK_COUNT_H
#define HS_DATA_TOK_COUNT_H
#include "data/tokenizers/tok_vocab.h"

typedef struct hs_tok_counts {
    char *pool;
    size_t pool_bytes, pool_room;
    size_t *start; // [n + 1] into pool
    int64_t *count;
    int64_t n, room;
    uint32_t *slot; // [mask + 1]: number + 1, 0: empty
    uint64_t mask;
} hs_tok_counts;

// Finds or adds a string and adds to its count; *number: which it is.
hs_status hs_tok_counts_add(hs_tok_counts *c, const char *text, size_t bytes, int64_t add, int64_t *number);
int64_t hs_tok_counts_find(const hs_tok_counts *c, const char *text, size_t bytes); // -1: not there
static inline hs_tok_text hs_tok_counts_text(const hs_tok_counts *c, int64_t i)
{
    return (hs_tok_text){ c->pool + c->start[i], c->start[i + 1] - c->start[i] };
}
void hs_tok_counts_free(hs_tok_counts *c);

#endif
