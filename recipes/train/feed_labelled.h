// feed_labelled: batches of labelled examples, a kind of train_feed. Of that room.
#ifndef HS_RECIPES_FEED_LABELLED_H
#define HS_RECIPES_FEED_LABELLED_H
#include "recipes/train/train_feed.h"

hs_arch_shape hs_labelled_shape(const hs_feed *f, int64_t samples);
int64_t hs_labelled_logits(const hs_feed *f);
hs_status hs_labelled_random(hs_batch *out, const hs_feed *f, int64_t samples, uint64_t key);
hs_status hs_labelled_train(hs_source **out, const hs_feed *f, hs_corpus *corpus);
hs_status hs_labelled_eval(hs_source **out, const hs_feed *f, hs_corpus *corpus);
// What a configuration says of them; of a model alone its task.
void hs_labelled_take(hs_feed *f, const hs_config *c);
void hs_labelled_of_arch(hs_feed *f);

#endif
