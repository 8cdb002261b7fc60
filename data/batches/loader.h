// loader: micro-batches ahead of time. The whole state is one integer: the index of the next sample.
//
// A sample is a window of the text (data/batches/sampler.h) or a row of packed documents (data/batches/packing.h), from one source or from
// several in fixed proportions (data/batches/mixing.h): always a function of (seed, index) alone. Any number of threads, ranks or
// micro-batches sees the same stream, and it is taken up anywhere by computing one sample.
#ifndef HS_DATA_LOADER_H
#define HS_DATA_LOADER_H
#include "data/batches/mixing.h"
#include "data/batches/sampler.h"

enum { HS_TARGET_IGNORE = -1 }; // target of tokens beyond the live ones

// One micro-batch: sequences one behind another, without padding between them. Arrays belong to the slot; beyond the live part ids are 0
// and targets HS_TARGET_IGNORE.
typedef struct hs_batch {
    int64_t n_seqs, n_tokens, n_targets; // n_targets: labels that count
    uint64_t first_sample;               // of the micro-batch over all ranks: the state to go on *behind* it is first_sample + batch
    int32_t *ids, *targets;              // [n_tokens]
    int32_t *starts;                     // [n_seqs + 1]
    int32_t *where; // [n_tokens][2] {slot of the sequence in the optimizer step's global batch, position in the sequence}
} hs_batch;

typedef struct hs_loader hs_loader;
typedef struct hs_loader_source {
    hs_token_range range;
    double weight;
} hs_loader_source;
typedef enum hs_packing { HS_PACKING_NONE, HS_PACKING_FFD } hs_packing;
typedef struct hs_loader_opts {
    hs_token_range range;
    const hs_loader_source *sources; // (optional) mixed in place of range; copied
    int n_sources;
    hs_packing packing;          // FFD: rows of `window` tokens full of documents, each a sequence of its own with positions from 0
    int64_t vocab;               // ids at or above it are an error; 0: each store's own vocabulary
    int64_t window, batch;       // tokens per window; windows per micro-batch (all ranks together)
    int n_micro;                 // micro-batches per optimizer step: slots are numbered over all of them
    int rank, size;              // this dp rank takes its slice of each micro-batch; batch must divide
    uint64_t seed, first_sample; // where to go on
    int depth;                   // ring slots; at least n_micro + 1
} hs_loader_opts;
hs_status hs_loader_new(hs_loader **out, const hs_loader_opts *o); // starts the thread
void hs_loader_free(hs_loader *l);
// The next micro-batch: waits if it is not ready. Borrowed until hs_loader_release, which frees the oldest one held. CORRUPT, at the batch
// concerned and from then on: an id outside the vocabulary (file and token), a file that has become another one since it was opened.
hs_status hs_loader_next(hs_loader *l, const hs_batch **out);
void hs_loader_release(hs_loader *l);
double hs_loader_wait_seconds(const hs_loader *l); // spent waiting in hs_loader_next so far

// Evaluation: consecutive windows; each token but the first is predicted once. Window w predicts tokens
// [1 + w*S, 1 + (w+1)*S) of the range; the last may be short. fill returns the number of windows put into the batch, 0 at the end.
int64_t hs_eval_fill(const hs_token_range *r, int64_t window, int64_t max_windows, int64_t *next_window, hs_batch *b);
hs_status hs_batch_alloc(hs_batch *b, int64_t max_seqs, int64_t window);
hs_status hs_batch_alloc_tokens(hs_batch *b, int64_t max_seqs, int64_t max_tokens); // sequences of any length
int64_t hs_loader_max_seqs(hs_packing packing, int64_t windows, int64_t window);    // that so many windows or rows can hold
void hs_batch_free(hs_batch *b);

#endif
