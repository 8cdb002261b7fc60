// evaluate: losses and hits over the samples of a source, in training and in `halfstep eval`.
#ifndef HS_RECIPES_EVALUATE_H
#define HS_RECIPES_EVALUATE_H
#include "core/base/clock.h"
#include "core/run/run.h"
#include "recipes/train/judge.h"
#include "recipes/train/ranks.h"
#include "recipes/train/teacher.h"

typedef struct hs_eval_part { // one of the losses
    double loss;              // mean over its labels; NaN: there were none
    int64_t labels, hits;     // hits: labels that were the likeliest class
    int64_t asked, found;     // of HS_LOSS_REPLACED: tokens that were replaced, and those of them that were told
} hs_eval_part;
typedef struct hs_eval_result {
    double loss; // the sum of the parts that have labels, each with its weight
    hs_eval_part part[HS_LOSSES];
    bool has_hits;  // the plan tells the likeliest class
    int64_t tokens; // that were read: of running text each is a label as well
    double seconds;
} hs_eval_result;
typedef struct hs_eval_opts {
    hs_run *run;
    int plan; // of it
    const hs_feed *feed;
    hs_source *source;
    int64_t most;          // samples; 0: all of one epoch; else in batches spread evenly over it
    hs_judge *judge;       // begun, and told of each batch; NULL: losses alone
    hs_teacher *teacher;   // of a student's plan; NULL: there is none
    const hs_ranks *ranks; // collective: replicas take turns, batch by batch, and get the sums of all; beside a judge each does all of it.
                           // NULL: alone
} hs_eval_opts;
// The samples of the source, as many in a batch as hs_feed_eval_samples says. Leaves the step alone.
hs_status hs_evaluate(const hs_eval_opts *o, hs_eval_result *out);

extern const char *const hs_loss_words[HS_LOSSES]; // "mlm", "next", ..., "relation": as metrics call them where a batch has several
static inline double hs_eval_accuracy(const hs_eval_part *p) { return p->labels ? (double)p->hits / (double)p->labels : 0; }

static inline double hs_eval_recall(const hs_eval_part *p) { return p->asked ? (double)p->found / (double)p->asked : 0; }
static inline bool hs_eval_tells(const hs_eval_result *r, int loss) { return r->has_hits && loss <= HS_LOSS_REPLACED; } // accuracy

size_t hs_peak_rss(void); // bytes this process had in memory at most

#endif
