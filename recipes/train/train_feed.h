// train_feed: what the batches of a run are made of - its family decides, by hs_family.batch - for whoever trains, evaluates, plans or
// measures. None of them asks which family it is.
#ifndef HS_RECIPES_FEED_H
#define HS_RECIPES_FEED_H
#include "data/batches/source.h"
#include "models/family.h"
#include "recipes/program/config.h"
#include "recipes/train/corpus.h"

typedef struct hs_feed {
    hs_arch arch;       // settings are borrowed
    int64_t length;     // tokens of a sample at most
    hs_packing packing; // of running text
    uint64_t seed;
} hs_feed;

hs_feed hs_feed_of(const hs_config *c); // of a configuration that hs_config_check took; its settings are borrowed
hs_feed hs_feed_of_arch(hs_arch m);     // by the model alone: evaluation of a checkpoint

// Capacities of micro-batches of so many samples.
hs_arch_setup hs_feed_setup(const hs_feed *f, int64_t samples);
// Evaluation takes as many samples at once as keep its logits small, whatever the batch of training was: the same bits everywhere.
hs_arch_setup hs_feed_eval_setup(const hs_feed *f);
int64_t hs_feed_eval_samples(const hs_feed *f);          // that many
size_t hs_feed_bytes(const hs_feed *f, int64_t samples); // of a micro-batch in the loader's ring

// One such micro-batch without a text, for measurements: full samples, random ids, the same of the same key.
hs_status hs_feed_random(hs_batch *out, const hs_feed *f, int64_t samples, uint64_t key);

// Sources. The corpus is borrowed as long as they live.
hs_status hs_feed_train(hs_source **out, const hs_feed *f, const hs_corpus *corpus);
hs_status hs_feed_eval(hs_source **out, const hs_feed *f, const hs_corpus *corpus); // the same samples each time, each once an epoch

#endif
