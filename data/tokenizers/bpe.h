// bpe: GPT-2's byte-level pair encoding.
//
// Text is cut by GPT-2's expression  's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+  (Unicode 15.0; bytes that
// are not UTF-8 count as neither space, letter nor number, so that any bytes come back). Inside a part, the pair of lowest rank is merged,
// leftmost first, until none is left. A merge list is well-formed if every token that a merge uses is a byte or made by an earlier one.
#ifndef HS_DATA_BPE_H
#define HS_DATA_BPE_H
#include "data/tokenizers/tok_subword.h"

enum { HS_BPE_NONE = -1 };

typedef struct hs_bpe_pair {
    int32_t left, right;
} hs_bpe_pair;
typedef struct hs_bpe_merges {
    hs_bpe_pair *pair; // [n] in the order of ranks
    int32_t *made;     // [n] the token a merge makes
    int64_t n;
    uint64_t *slot; // [mask + 1] by hash: left, right and rank in one word, so that the table is half as large as it looks: 1 MB for GPT-2
    uint64_t mask;
    int32_t byte_id[256]; // of single bytes, -1: none
    int32_t *byte_rank;   // [256][256] ranks of pairs of single bytes
} hs_bpe_merges;
enum { HS_BPE_ID_BITS = 21, HS_BPE_RANK_BITS = 22 };

// Bytes of 's 't 're 've 'm 'll 'd at an apostrophe, 0 if it is none of them.
size_t hs_bpe_contraction(const unsigned char *s, size_t room);
// Where the part that begins at i ends; i < to.
size_t hs_bpe_part(const unsigned char *s, size_t i, size_t to);

hs_status hs_bpe_merges_index(hs_bpe_merges *m); // slot and byte_rank, from the rest; CORRUPT: a pair that comes twice
void hs_bpe_merges_free(hs_bpe_merges *m);

typedef struct hs_bpe_scratch { // of one thread
    int32_t *link;              // [6][room] symbol, next, previous, next and previous of equal rank, rank
    size_t room;
    int32_t *head;    // [n merges] first position of a rank
    uint64_t *set[3]; // ranks that have one; words of it that are not 0; words of those
} hs_bpe_scratch;
hs_status hs_bpe_scratch_init(hs_bpe_scratch *w, const hs_bpe_merges *m);
void hs_bpe_scratch_free(hs_bpe_scratch *w);
// The ids of a part, at most one per byte, written to id. Time grows with bytes, whatever they are.
hs_status hs_bpe_merge(const hs_bpe_merges *m, hs_bpe_scratch *w, const unsigned char *s, size_t bytes, int32_t *id, size_t *n);

#endif
