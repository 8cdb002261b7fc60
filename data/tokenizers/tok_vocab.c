// tok_vocab: a hash table over one block of bytes, and a trie in arrays made level by level from the sorted tokens.
#include "data/tokenizers/tok_vocab.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static uint64_t slot_of(const hs_tok_vocab *v, const char *text, size_t bytes)
{
    uint64_t i = XXH3_64bits(text, bytes) & v->mask;
    while (v->slot[i] >= 0) {
        const hs_tok_text other = hs_tok_vocab_text(v, v->slot[i]);
        if (other.bytes == bytes && memcmp(other.text, text, bytes) == 0)
            break;
        i = (i + 1) & v->mask;
    }
    return i;
}

hs_status hs_tok_vocab_make(hs_tok_vocab *v, const hs_tok_text *token, int64_t n)
{
    size_t total = 0, slots = 16;
    for (int64_t id = 0; id < n; id++)
        total += token[id].bytes;
    while (slots < 2 * (size_t)n)
        slots *= 2;
    *v = (hs_tok_vocab){ .n = n, .pool = malloc(total + 1), .mask = slots - 1 };
    v->start = malloc(((size_t)n + 1) * sizeof *v->start);
    v->slot = malloc(slots * sizeof *v->slot);
    if (!v->pool || !v->start || !v->slot) {
        hs_tok_vocab_free(v);
        return HS_FAIL(MEMORY, "no memory for a vocabulary of %lld tokens", (long long)n);
    }
    memset(v->slot, 0xFF, slots * sizeof *v->slot);
    v->start[0] = 0;
    for (int64_t id = 0; id < n; id++) {
        if (token[id].bytes)
            memcpy(v->pool + v->start[id], token[id].text, token[id].bytes);
        v->start[id + 1] = v->start[id] + token[id].bytes;
        if (token[id].text)
            v->slot[slot_of(v, v->pool + v->start[id], token[id].bytes)] = (int32_t)id;
    }
    v->pool[total] = '\0'; // strndup and its like may look for it
    return HS_OK;
}

void hs_tok_vocab_free(hs_tok_vocab *v)
{
    free(v->pool);
    free(v->start);
    free(v->slot);
    *v = (hs_tok_vocab){ 0 };
}

int32_t hs_tok_vocab_find(const hs_tok_vocab *v, const char *text, size_t bytes) { return v->slot[slot_of(v, text, bytes)]; }

// ---- trie

typedef struct sorted_token {
    hs_tok_text t;
    int32_t id;
} sorted_token;

static int by_bytes(const void *a, const void *b)
{
    const sorted_token *x = a, *y = b;
    const int c = memcmp(x->t.text, y->t.text, x->t.bytes < y->t.bytes ? x->t.bytes : y->t.bytes);
    if (c)
        return c;
    return x->t.bytes != y->t.bytes ? (x->t.bytes < y->t.bytes ? -1 : 1) : (x->id > y->id) - (x->id < y->id);
}

typedef struct node_range { // the tokens below a node: [first, end) of the sorted ones, alike in depth bytes
    uint32_t first, end, depth;
} node_range;

// Makes the children of every node in turn; returns the number of nodes.
static uint32_t grow(hs_tok_trie *t, const sorted_token *token, node_range *range, uint32_t n_tokens)
{
    uint32_t n_nodes = 1;
    range[0] = (node_range){ 0, n_tokens, 0 };
    for (uint32_t i = 0; i < n_nodes; i++) {
        node_range r = range[i];
        hs_tok_node *node = &t->node[i];
        *node = (hs_tok_node){ .id = -1 };
        for (; r.first < r.end && token[r.first].t.bytes == r.depth; r.first++)
            node->id = token[r.first].id;
        node->child = r.first < r.end ? n_nodes : 0;
        while (r.first < r.end) {
            const uint8_t byte = (uint8_t)token[r.first].t.text[r.depth];
            uint32_t end = r.first;
            while (end < r.end && (uint8_t)token[end].t.text[r.depth] == byte)
                end++;
            t->byte[n_nodes] = byte;
            range[n_nodes++] = (node_range){ r.first, end, r.depth + 1 };
            node->n_child++;
            r.first = end;
        }
    }
    return n_nodes;
}

hs_status hs_tok_trie_make(hs_tok_trie *t, const hs_tok_text *token, const int32_t *id, int64_t n)
{
    sorted_token *sorted = malloc(((size_t)n + 1) * sizeof *sorted);
    size_t n_sorted = 0, most = 1;
    for (int64_t i = 0; sorted && i < n; i++)
        if (token[i].bytes) {
            sorted[n_sorted++] = (sorted_token){ token[i], id ? id[i] : (int32_t)i };
            most += token[i].bytes;
        }
    node_range *range = malloc(most * sizeof *range);
    *t = (hs_tok_trie){ .node = malloc(most * sizeof *t->node), .byte = calloc(most, 1) };
    if (!sorted || !range || !t->node || !t->byte) {
        free(sorted);
        free(range);
        hs_tok_trie_free(t);
        return HS_FAIL(MEMORY, "no memory for a vocabulary of %lld tokens", (long long)n);
    }
    qsort(sorted, n_sorted, sizeof *sorted, by_bytes);
    const uint32_t n_nodes = grow(t, sorted, range, (uint32_t)n_sorted);
    for (uint32_t i = 0; i < t->node[0].n_child; i++)
        t->root[t->byte[t->node[0].child + i]] = t->node[0].child + i;
    free(sorted);
    free(range);
    hs_tok_node *fit = realloc(t->node, n_nodes * sizeof *fit);
    t->node = fit ? fit : t->node;
    return HS_OK;
}

void hs_tok_trie_free(hs_tok_trie *t)
{
    free(t->node);
    free(t->byte);
    *t = (hs_tok_trie){ 0 };
}

int32_t hs_tok_trie_longest(const hs_tok_trie *t, const char *s, size_t room, size_t *bytes)
{
    int32_t best = -1;
    uint32_t at = room ? t->root[(uint8_t)s[0]] : 0;
    for (size_t i = 1; at; i++) {
        const hs_tok_node *node = &t->node[at];
        if (node->id >= 0)
            best = node->id, *bytes = i;
        if (i == room || !node->child)
            break;
        const uint8_t *labels = t->byte + node->child, *hit;
        hit = node->n_child == 1 ? (labels[0] == (uint8_t)s[i] ? labels : NULL) : memchr(labels, (uint8_t)s[i], node->n_child);
        at = hit ? node->child + (uint32_t)(hit - labels) : 0;
    }
    return best;
}
