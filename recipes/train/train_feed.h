// train_feed: what the batches of a run are made of - its family decides, by hs_family.batch, or the labelled data it has - for whoever
// trains, evaluates, plans or measures. None of them asks which family it is.
#ifndef HS_RECIPES_TRAIN_FEED_H
#define HS_RECIPES_TRAIN_FEED_H
#include "data/batches/source.h"
#include "infer/heads/span_decode.h"
#include "models/family.h"
#include "recipes/program/config.h"
#include "recipes/train/corpus.h"

typedef struct hs_feed {
    hs_arch arch; // settings are borrowed
    hs_batch_kind kind;
    int64_t length; // tokens of a sample at most
    uint64_t seed;
    hs_packing packing; // of running text
    // of sequences with masked tokens
    hs_seq_layout layout;
    int64_t predictions;                   // of a sequence at most
    bool masks_later;                      // training: in the plan, not by the loader
    hs_objective objective[HS_OBJECTIVES]; // at least one
    int n_objectives;
    // of labelled examples
    hs_about about;
    hs_rows_opts rows; // but for tokenizer, max_length and vocab, which are the run's
    hs_class_weights class_weights;
    const double *weight; // [n_weights] of HS_WEIGHTS_LIST; borrowed
    int n_weights;
    double label_smoothing;
    hs_span_opts span; // how answers are read out of logits
    int64_t batch;     // samples of a micro-batch, all ranks together, which layouts go by
    int ranks;         // that divide it evenly
    bool library_masks, any_order; // of attention: hs_arch_shape
    // of a student
    hs_distill distill;
    double loss_weight[HS_LOSSES]; // what the mean of each loss is multiplied by; 1 but beside a teacher
} hs_feed;

hs_feed hs_feed_of(const hs_config *c); // of a configuration that hs_config_check took; its settings are borrowed
static inline int64_t hs_feed_share(const hs_feed *f) { return f->batch / f->ranks; } // samples of a micro-batch that a rank has
hs_feed hs_feed_of_arch(hs_arch m); // by the model alone: all of its positions, what its heads are for
// Takes over from a configuration, the one that a checkpoint was trained with, what an evaluation goes by: length, predictions, objectives,
// how rows of examples are made. One with a task.kind makes it a feed of labelled examples.
void hs_feed_take(hs_feed *f, const hs_config *c);

// Is the loss part of what the run goes by; how many rows of a batch it is the mean over, and their weights' sum.
bool hs_feed_has(const hs_feed *f, hs_loss which);
int64_t hs_feed_labels(const hs_feed *f, const hs_batch *b, hs_loss which);
double hs_feed_counted(const hs_feed *f, const hs_batch *b, hs_loss which);

void hs_feed_set_length(hs_feed *f, int64_t length); // and predictions in proportion

// Capacities of micro-batches of so many samples.
hs_arch_setup hs_feed_setup(const hs_feed *f, int64_t samples);
// Evaluation takes as many samples at once as keep its logits small, whatever the batch of training was: the same bits everywhere.
hs_arch_setup hs_feed_eval_setup(const hs_feed *f);
int64_t hs_feed_eval_samples(const hs_feed *f); // that many
// Forward and backward, of a token of a full sample in which attention sees so many tokens, with its share of predictions.
double hs_feed_flops_per_token(const hs_feed *f, double attended);
size_t hs_feed_bytes(const hs_feed *f, int64_t samples); // of a micro-batch in the loader's ring
const char *hs_feed_unit(const hs_feed *f);              // what messages call a sample: "window"
// One such micro-batch without a text, for measurements: full samples, random ids, the same of the same key.
hs_status hs_feed_random(hs_batch *out, const hs_feed *f, int64_t samples, uint64_t key);

// Sources. The corpus is borrowed as long as they live; one without a tokenizer has made-up ids, whose first four are special. Of labelled
// examples it keeps the rows, which are made when they are first asked for.
hs_status hs_feed_train(hs_source **out, const hs_feed *f, hs_corpus *corpus);
hs_status hs_feed_eval(hs_source **out, const hs_feed *f, hs_corpus *corpus); // the same samples each time, each once an epoch
// The validation data's tokens, each masked alone in turn: a sample a token.
hs_status hs_feed_turns(hs_source **out, const hs_feed *f, const hs_corpus *corpus);
// Would there be samples? USAGE: too little text, a tokenizer without the tokens that are needed, none that could be masked.
hs_status hs_feed_check(const hs_feed *f, hs_corpus *corpus);
// The part of it that takes no time: rows of HDF5 shards against lengths and predictions, of layouts that know them row by row where
// the corpus read them through.
hs_status hs_feed_check_shards(const hs_feed *f, const hs_corpus *corpus);
// Warns of what is there and not used: heads that no sample has a label for, objectives (set: are they the user's?) beside shards. *told
// remembers it from one phase to the next; 0 at first.
void hs_feed_tell(const hs_feed *f, const hs_corpus *corpus, bool objectives_set, unsigned *told);

#endif
