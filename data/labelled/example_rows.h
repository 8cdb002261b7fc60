// example_rows: examples to what a model is fed: ids in rows of at most so many, with targets, and the way back to words and bytes.
//
//   one text, two texts  one row; cut by Hugging Face's longest_first where it is too long
//   TOKENS   rows of whole words. A sentence that is too long gives several, each beginning with words of the one before, `stride` tokens
//            of them at most. Every word is a target in exactly one row, the one that shows the most of its neighbours on the poorer side
//            (the earlier one among equals). `context` tokens of the sentences of the same document on each side, which are no targets,
//            stand around a sentence that leaves room.
//   SPAN     "[CLS] question [SEP] window of the context [SEP]": the question's first max_query tokens, windows `stride` tokens apart
//            (Google's doc_stride). A target where the row holds the first answer whole; else position 0 ([CLS]), or no row with `drop`.
//   LM       the turns, one behind the other, and the end token behind what is learned; cut behind max_length
#ifndef HS_DATA_EXAMPLE_ROWS_H
#define HS_DATA_EXAMPLE_ROWS_H
#include "data/base/arena.h"
#include "data/labelled/examples.h"

typedef enum hs_prefix_space { HS_PREFIX_AUTO, HS_PREFIX_NO, HS_PREFIX_YES } hs_prefix_space;
#define HS_PREFIX_SPACE_WORDS "auto|no|yes"
typedef struct hs_rows_opts {
    const hs_tokenizer *tokenizer; // borrowed
    int64_t max_length;            // tokens of a row, special ones included; at least 8
    int64_t stride;                // TOKENS: tokens that rows share at most; SPAN: from one window to the next, 0: 128
    int64_t max_query;             // SPAN; 0: 64, at most a third of max_length
    int64_t context;               // TOKENS: of neighbour sentences on each side at most; 0: none
    bool all_subtokens;            // TOKENS: later tokens of a word are targets as well
    const int32_t *later;          // of each class that of a word's later tokens (I-X of B-X); NULL: the same. Borrowed
    bool drop;                     // SPAN: rows without the answer of a question that has one are left out
    hs_prefix_space prefix_space;  // in front of a text, as RoBERTa's and GPT-2's words want it; AUTO: of BPE, for TOKENS
    int64_t vocab;                 // ids at or above it: USAGE; 0: any
    int64_t most_rows;             // TOKENS, SPAN: an example that gives more of them: USAGE, before all of it is read; 0: any
} hs_rows_opts;

typedef struct hs_example_row { // arrays are [n]
    int64_t example;            // index
    int64_t n;
    int32_t *id;
    uint8_t *type;
    int32_t *word;      // TOKENS: the word that this token begins and whose target is here; else -1
    int32_t *target;    // TOKENS: class or -1. LM: the next token or -1. Else NULL
    hs_span *bytes;     // SPAN: of the context; {0, 0}: no token of it. Else NULL
    uint8_t *best;      // SPAN: no other row shows more of the context around the token. Else NULL
    int32_t start, end; // SPAN: positions of the first answer; -1: no target
    bool cut;           // something of the example is in no row
} hs_example_row;

typedef struct hs_row_maker hs_row_maker; // of one thread
// USAGE: a length below 8, a stride that leaves nothing new, no tokenizer.
hs_status hs_row_maker_new(hs_row_maker **out, hs_about about, const hs_rows_opts *o);
void hs_row_maker_free(hs_row_maker *m);
// The rows of example i of `examples` [n], whose neighbours are its context. Until the next call. A text without tokens gives a row of
// special tokens; where there are none of those either, and of LM where nothing is learned, no row. USAGE: a character that the tokenizer
// lacks.
hs_status hs_row_maker_rows(hs_row_maker *m, const hs_example *examples, int64_t n, int64_t i, const hs_example_row **row, int64_t *n_rows);
bool hs_row_maker_over(const hs_row_maker *m); // that was an example with more rows than most_rows
// Copies of them that live as long as `a`, without targets: of what is predicted. MEMORY.
hs_status hs_example_rows_keep(hs_arena *a, const hs_example_row *row, int64_t n, const hs_example_row **out);

#endif
