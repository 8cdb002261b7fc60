// loader: micro-batches ahead of time, from any source. The whole state is one integer: the index of the next sample.
//
// A sample is a function of (source, index) alone, so any number of threads, ranks or micro-batches sees the same stream, and it is taken
// up anywhere by computing one sample.
#ifndef HS_DATA_LOADER_H
#define HS_DATA_LOADER_H
#include "data/batches/source.h"

typedef struct hs_loader hs_loader;
typedef struct hs_loader_opts {
    int64_t batch;         // samples per micro-batch (all ranks together)
    int n_micro;           // micro-batches per optimizer step: slots are numbered over all of them
    int rank, size;        // this dp rank takes its part of each micro-batch; batch must divide, unless the source is interleaved
    uint64_t first_sample; // where to go on
    int depth;             // ring slots; at least n_micro + 1
    hs_batch_memory memory; // where they lie; all 0: the host's own
} hs_loader_opts;
// Takes the source over, also where it fails, and starts the thread.
hs_status hs_loader_new(hs_loader **out, hs_source *source, const hs_loader_opts *o);
void hs_loader_free(hs_loader *l);
// The next micro-batch: waits if it is not ready. Borrowed until hs_loader_release, which frees the oldest one held: it is filled again
// when all that a device was asked to read of it has been read, for which the loader's thread waits. What the source fails with comes at
// the batch concerned and from then on.
hs_status hs_loader_next(hs_loader *l, const hs_batch **out);
void hs_loader_release(hs_loader *l);
double hs_loader_wait_seconds(const hs_loader *l); // spent waiting in hs_loader_next so far

#endif
