// loader: batches of windows, shuffled, ahead of time. The whole state is one integer: the index of the next sample.
//
// Sample i of a range of n tokens and windows of S: epoch e = i / W, place p = i % W, W windows per epoch. The windows of an epoch start at
// offset(seed, e) + S * permutation(seed, e)(p): every token is a target at most once an epoch, and no two epochs cut alike.
// The stream is a function of (seed, i) alone: any number of threads, ranks or micro-batches sees the same one.
#ifndef HS_DATA_LOADER_H
#define HS_DATA_LOADER_H
#include "data/token_store.h"

// A keyed permutation of [0, n), x < n: O(1), no table. Under 1 us.
uint64_t hs_permute(uint64_t key, uint64_t n, uint64_t x);

typedef struct hs_sampler {
    int64_t n_tokens, window, per_epoch; // per_epoch = windows of `window` + 1 tokens that fit behind any offset
    uint64_t seed;
} hs_sampler;
hs_status hs_sampler_init(hs_sampler *s, int64_t n_tokens, int64_t window, uint64_t seed); // USAGE: text shorter than a window + 1, with both numbers
int64_t hs_sampler_start(const hs_sampler *s, uint64_t sample); // first token of the window

enum { HS_TARGET_IGNORE = -1 }; // target of tokens beyond the live ones

// One micro-batch of fixed windows. Arrays belong to the slot; beyond the live part ids are 0 and targets HS_TARGET_IGNORE.
typedef struct hs_batch {
    int64_t n_seqs, n_tokens, n_targets; // n_targets: labels that count
    uint64_t first_sample;               // of the micro-batch over all ranks: the state to go on *behind* it is first_sample + batch
    int32_t *ids, *targets; // [n_tokens]
    int32_t *starts;        // [n_seqs + 1]
    int32_t *where;         // [n_tokens][2] {slot of the sample in the optimizer step's global batch, position}
} hs_batch;

typedef struct hs_loader hs_loader;
typedef struct hs_loader_opts {
    hs_token_range range;
    int64_t window, batch;  // tokens per window; windows per micro-batch (all ranks together)
    int n_micro;            // micro-batches per optimizer step: slots are numbered over all of them
    int rank, size;         // this dp rank takes its slice of each micro-batch; batch must divide
    uint64_t seed, first_sample; // where to go on
    int depth;              // ring slots; at least n_micro + 1
} hs_loader_opts;
hs_status hs_loader_new(hs_loader **out, const hs_loader_opts *o); // starts the thread
void hs_loader_free(hs_loader *l);
// The next micro-batch: waits if it is not ready. Borrowed until hs_loader_release, which frees the oldest one held.
hs_status hs_loader_next(hs_loader *l, const hs_batch **out);
void hs_loader_release(hs_loader *l);
double hs_loader_wait_seconds(const hs_loader *l); // spent waiting in hs_loader_next so far

// Evaluation: consecutive windows; each token but the first is predicted once. Window w predicts tokens
// [1 + w*S, 1 + (w+1)*S) of the range; the last may be short. fill returns the number of windows put into the batch, 0 at the end.
int64_t hs_eval_fill(const hs_token_range *r, int64_t window, int64_t max_windows, int64_t *next_window, hs_batch *b);
hs_status hs_batch_alloc(hs_batch *b, int64_t max_seqs, int64_t window);
void hs_batch_free(hs_batch *b);

#endif
