// tok_vocab: a subword vocabulary - bytes of an id, id of bytes - and a trie for longest matches.
#ifndef HS_DATA_TOK_VOCAB_H
#define HS_DATA_TOK_VOCAB_H
#include "core/base/status.h"
#include <stddef.h>
#include <stdint.h>

typedef struct hs_tok_text { // borrowed bytes; text NULL: no such token
    const char *text;
    size_t bytes;
} hs_tok_text;

typedef struct hs_tok_vocab {
    int64_t n;
    char *pool;
    size_t *start; // [n + 1] into pool
    int32_t *slot; // [mask + 1] ids or -1, by hash
    uint64_t mask;
} hs_tok_vocab;

// Copies n tokens. Of equal ones the last is what hs_tok_vocab_find gives, as it is for a line of vocab.txt that comes twice.
hs_status hs_tok_vocab_make(hs_tok_vocab *v, const hs_tok_text *token, int64_t n);
void hs_tok_vocab_free(hs_tok_vocab *v);
int32_t hs_tok_vocab_find(const hs_tok_vocab *v, const char *text, size_t bytes); // -1: none
static inline hs_tok_text hs_tok_vocab_text(const hs_tok_vocab *v, int64_t id)
{
    return (hs_tok_text){ v->pool + v->start[id], v->start[id + 1] - v->start[id] };
}

// Children of a node stand side by side, in the order of their bytes.
typedef struct hs_tok_node {
    uint32_t child;   // the first; 0: none
    int32_t id;       // of the token that ends here, -1: none
    uint16_t n_child; // up to 256
} hs_tok_node;
typedef struct hs_tok_trie {
    hs_tok_node *node;  // [0] is the root
    uint8_t *byte;      // that leads to a node
    uint32_t root[256]; // 0: none
} hs_tok_trie;

// id may be NULL: the index. Tokens without bytes are left out.
hs_status hs_tok_trie_make(hs_tok_trie *t, const hs_tok_text *token, const int32_t *id, int64_t n);
void hs_tok_trie_free(hs_tok_trie *t);
// The longest token that s begins with: its id and bytes; -1 for none.
int32_t hs_tok_trie_longest(const hs_tok_trie *t, const char *s, size_t room, size_t *bytes);

#endif
