// masking: the words BERT is to guess (Devlin et al. 2018), drawn anew each epoch: a function of (seed, epoch, sample), so that it is the
// same at every number of ranks and threads and never stored.
//
// round(probability * tokens) tokens (to even; at least 1, at most max_predictions, as Google's create_pretraining_data.py) are chosen
// among those that are not special. Of these `masked` become mask_id, `random` a uniformly drawn id that is not special, the rest stay.
//   TOKEN  uniformly.
//   WORD   word by word: one that would be a token too many is passed over.
//   NGRAM  (ALBERT) from words in random order on 1 to `ngram` words, n with p ~ 1/n among those that lie before the next special token;
//          shortened by words until it fits, passed over where a word of it is chosen already.
//   SPAN   (SpanBERT) from words in random order on n words, p ~ (1 - q)^(n - 1) up to `span_longest`, so 3.8 in the mean; ends before a
//          special token, a chosen word, or what does not fit. Whether its tokens are masked, drawn or stay is settled once for the span.
// With `preference` words are taken in an order drawn by weight instead: the next is one of those left with probability preference / their
// sum, where a word's is the largest of its tokens' (DistilBERT draws tokens so: torch.multinomial without replacement).
#ifndef HS_DATA_MASKING_H
#define HS_DATA_MASKING_H
#include "core/base/status.h"
#include "core/graph/mask_draw.h"
#include <stdint.h>

enum { HS_MASK_SPECIAL = HS_DRAW_SPECIAL };
typedef enum hs_mask_unit { HS_MASK_TOKEN, HS_MASK_WORD, HS_MASK_NGRAM, HS_MASK_SPAN } hs_mask_unit;
typedef struct hs_mask_opts {
    double probability, masked, random; // 0.15, 0.8, 0.1
    int32_t max_predictions;
    int32_t mask_id, vocab;
    const int32_t *special; // ids never chosen and never drawn: [PAD], [CLS], [SEP], [MASK], [UNK]; copied
    int n_special;
    int64_t max_tokens; // of a sample
    hs_mask_unit unit;
    int64_t ngram;            // 0: 3
    double span_share;        // q; 0: 0.2
    int64_t span_longest;     // 0: 10
    const double *preference; // [vocab], above 0, copied; NULL: all alike
    uint64_t seed;
} hs_mask_opts;

typedef struct hs_masker hs_masker;                              // one per thread: it holds scratch
hs_status hs_masker_new(hs_masker **out, const hs_mask_opts *o); // USAGE: a share outside [0, 1], ids outside the vocabulary
void hs_masker_free(hs_masker *m);
// Changes ids[n]; positions[] and labels[] (room for max_predictions) get the places, ascending, and what stood there. Returns how many: 0
// only where every token is special, or no word is as short as what is wanted. word: [n] numbers of words, one word's tokens side by side
// with one number, below 0: in none (never chosen); NULL: every token is a word.
int64_t hs_mask(hs_masker *m, uint64_t epoch, uint64_t sample, int32_t *ids, int64_t n, const int32_t *word, int32_t *positions,
                int32_t *labels);
// A sample that somebody masks later, by its row and the special ids (hs_mask_tokens): with the same places, labels and ids as hs_mask
// gives, of unit TOKEN without preference. Changes no id; returns how many places.
int64_t hs_mask_row(const hs_masker *m, uint64_t epoch, uint64_t sample, const int32_t *ids, int64_t n, int32_t row[HS_DRAW_CELLS]);
void hs_mask_special(const hs_masker *m, int32_t special[HS_DRAW_SPECIAL]);
// preference of tokens of which there are so many in a text: max(count, 1)^-power; out may be counts' own bytes.
void hs_mask_preference(const int64_t *counts, int64_t vocab, double power, double *out);
// Numbers of words from marks: continues[i] != 0: token i goes on with the word of the one before.
void hs_mask_words(const uint8_t *continues, int64_t n, int32_t *word);

// Words of an n-gram and of a span, from a uniform draw in (0, 1).
int64_t hs_mask_ngram(double u, int64_t longest);
int64_t hs_mask_span(double u, double q, int64_t longest);

#endif
