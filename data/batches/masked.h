// masked: a source of sequences of a text of which some tokens are to be guessed: BERT's pretraining and what came after it.
//
// Segments: where a sample's text lies.
//   NEXT   [CLS] A [SEP] B [SEP]: consecutive sentences of a document, split in two; in half of the samples, exactly, B is text of another
//          document, from the beginning of the sentence at a random token of all others. pair_targets: 1 where it is.
//   ORDER  the same two, in half of the samples swapped. order_targets: 1 where they are.
//   FULL   [CLS] text [SEP]: full sentences up to the length, over the ends of documents, where a [SEP] stands (RoBERTa's FULL-SENTENCES).
// Sentences are gathered as Google's create_pretraining_data.py does, once for all epochs, and each belongs to one chunk: until a chunk has
// `length` less the special tokens, in one of ten (short_share; never of FULL) only up to a random length. What is too much is cut off
// the longer of A and B, at either end, in each epoch anew. Where A ends is a random sentence's end, in a chunk of one sentence the end of
// a random word. Of a third of the chunks NEXT makes two samples, one of each half beside a random B; of the others one: so no sentence is
// lost or comes twice as its sample's own text, half of all samples have a random B, and their number is known before anything is drawn.
// Sentences longer than a sample are cut. A document of one token gives nothing (but in FULL).
//
// Every draw is a function of (seed, epoch, sample), the order of an epoch a keyed permutation: a sample at any index costs O(log n)
// look-ups in the store's tables, and a source holds 8 bytes for each chunk.
#ifndef HS_DATA_MASKED_H
#define HS_DATA_MASKED_H
#include "data/batches/masking.h"
#include "data/batches/pair_rows.h"
#include "data/batches/seq_layout.h"
#include "data/batches/windows.h"

typedef enum hs_segments { HS_SEGMENTS_NEXT, HS_SEGMENTS_ORDER, HS_SEGMENTS_FULL } hs_segments;

typedef struct hs_objective {
    hs_segments segments;
    hs_mask_unit unit;
    double probability, masked, random; // 0.15, 0.8, 0.1 (data/batches/masking.h)
    double weight;                      // share of the samples, in any unit; exact (data/batches/mixing.h)
    int64_t ngram;                      // of HS_MASK_NGRAM: words of the longest; 0: 3
    double rare;                        // a token is chosen with a probability like (how often it occurs)^-rare; 0: all alike
} hs_objective;

typedef struct hs_mask_ids {
    int32_t cls, sep, mask, pad;
    bool double_sep;                  // between A and B stand two, as RoBERTa has it
    int32_t special[HS_MASK_SPECIAL]; // never chosen and never drawn; with those above
    int n_special;
} hs_mask_ids;
// [CLS], [SEP], [MASK], [PAD], or <s>, </s>, <mask>, <pad>, or <cls>, <sep>, <mask>, <pad>, by the names in the tokenizer's files first;
// all special tokens; double_sep with <s>. USAGE names the one that is missing; for a pad stands the separator.
hs_status hs_masked_ids_of(const hs_tokenizer *t, hs_mask_ids *out);
// Marks of tokens that go on with the word of the one before: WordPiece's "##..."; of others what begins with neither white space nor
// U+2581. Special tokens go on with nothing. continues: [vocab].
void hs_masked_continues_of(const hs_tokenizer *t, uint8_t *continues);

typedef struct hs_masked_opts {
    const hs_text_part *parts; // ranges of stores, mixed by weight; stores are borrowed
    int n_parts;
    int64_t length;      // tokens of a sequence at most, special ones included; 8 or more
    int64_t predictions; // of a sequence at most; 0: what the largest probability gives of `length`
    int64_t vocab;       // ids at or above it are an error; 0: each store's own
    const hs_objective *objective;
    int n_objectives;
    const hs_text_part *counted; // texts in which tokens are counted for objectives with `rare`; NULL: `parts`
    int n_counted;
    hs_mask_ids ids;
    bool types;               // token_types 1 in B (and its [SEP]); else 0 everywhere
    const uint8_t *continues; // [vocab] as above, copied; NULL: every token is a word
    double short_share;       // 0.1
    int64_t sentence;         // tokens of one where a store has no table of them; 0: 32
    uint64_t seed;
    bool frozen; // evaluation: always epoch 0, so that sample i is the same for ever
    bool later;  // whoever reads a batch masks it, by the columns mask_draws and mask_special: ids are the text's, picks have a count alone
    hs_seq_layout layout;
    int64_t batch; // of layouts other than UNPADDED: samples of a micro-batch, all ranks together
    int ranks;     // that share it; 0: 1
} hs_masked_opts;

// The columns: those of pairs (hs_pair_columns, same places); then order_targets i32 [sequences], task_types i32 [tokens] (number of the
// objective); mask_draws i32 [sequences][HS_DRAW_CELLS], mask_special i32 [HS_DRAW_SPECIAL] (core/graph/mask_draw.h; 0 but of `later`). A
// target of what a sample is not about is -1. Labels: of loss 0 predictions, of 1 NEXT's sequences, of 2 ORDER's. Layouts
// other than UNPADDED have `keys` behind them (data/batches/seq_layout.h).
enum { HS_MASKED_ORDER_TARGETS = HS_PAIR_COLUMNS, HS_MASKED_TASK_TYPES, HS_MASKED_DRAWS, HS_MASKED_SPECIAL, HS_MASKED_COLUMNS };
extern const hs_column hs_masked_columns[HS_MASKED_COLUMNS];

// USAGE: a length below 8, no objective, ids outside the vocabulary, a range without documents, or with a single one for NEXT, or in which
// every token is special; `later` with an objective of another unit than TOKEN, or with `rare`. Fill gives CORRUPT as windows do. A sample
// whose tokens are all special has no predictions.
hs_status hs_masked_new(hs_source **out, const hs_masked_opts *o);

#endif
