// bucket: batches of samples of like lengths, so that little is padded. The samplers are those of GluonNLP by name and by rule (batch
// sizes, keys); their shuffles are ours, functions of a key.
//
// hs_bucket_batches makes all batches of a set of samples. hs_bucket_stream does it in fixed windows of an endless shuffled stream: the
// state is one integer, the number of samples so far, and going on anywhere costs the batching of one window.
#ifndef HS_DATA_BUCKET_H
#define HS_DATA_BUCKET_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum hs_bucket_method {
    HS_BUCKET_NONE,   // in order
    HS_BUCKET_FIXED,  // FixedBucketSampler: every sample in the bucket of the least key that holds it; batches from one bucket
    HS_BUCKET_SORTED, // SortedBucketSampler: pools of mult batches, sorted inside; one pool of everything is SortedSampler
    HS_BUCKET_BUDGET, // as many samples in order as hold at most `tokens` tokens, unpadded (one that has more is alone)
} hs_bucket_method;
typedef enum hs_bucket_scheme {
    HS_BUCKET_CONST,  // ConstWidthBucket: keys equally far apart
    HS_BUCKET_LINEAR, // LinearWidthBucket: distances 1 + a i
    HS_BUCKET_EXP,    // ExpWidthBucket: distances grow by the factor `step`
} hs_bucket_scheme;

typedef struct hs_bucket_opts {
    hs_bucket_method method;
    int64_t batch;  // samples; of fixed, those of the longest bucket
    int64_t tokens; // of budget; of fixed, where not 0, max(1, tokens / (mean + standard deviation)) samples in place of batch
    int n_buckets;  // of fixed: at most; empty ones and equal keys fall away
    hs_bucket_scheme scheme;
    double step;  // of HS_BUCKET_EXP; 0: 1.1
    double ratio; // of fixed: buckets of short samples have max(batch, ratio * batch * longest key / key)
    double mult;  // of sorted: batches in a pool; 0: 100
    bool shuffle; // samples before they are batched, and batches
    uint64_t key;
} hs_bucket_opts;

typedef struct hs_batches {
    int64_t n;
    int64_t *starts, *sample; // batch b: sample[starts[b]] to sample[starts[b + 1] - 1]. One block: free starts
} hs_batches;

enum { HS_BUCKETS = 1024 };
// Ascending, without duplicates; returns how many. The largest is at least `longest`.
int hs_bucket_keys(hs_bucket_scheme scheme, double step, int64_t longest, int64_t shortest, int n, int64_t *keys);
// Every sample in one batch. Lengths are at least 1. USAGE: options out of range.
hs_status hs_bucket_batches(hs_batches *out, const int32_t *length, int64_t n, const hs_bucket_opts *o);
void hs_batches_free(hs_batches *b);
double hs_batches_padding(const hs_batches *b, const int32_t *length); // tokens per sample, each batch padded to its longest

typedef struct hs_bucket_stream hs_bucket_stream;
// Epoch after epoch, each in an order of its own, in windows of `window` samples (the last of an epoch has what is left). Borrows length.
hs_status hs_bucket_stream_new(hs_bucket_stream **out, const int32_t *length, int64_t n, int64_t window, const hs_bucket_opts *o);
void hs_bucket_stream_free(hs_bucket_stream *s);
// The batch that begins at *index, and *index behind it. USAGE: no batch begins there. Borrowed until the next call.
hs_status hs_bucket_stream_next(hs_bucket_stream *s, uint64_t *index, const int64_t **sample, int64_t *n);

#endif
