// evaluate: losses over the samples of a source, in training and in `halfstep eval`.
#ifndef HS_RECIPES_EVALUATE_H
#define HS_RECIPES_EVALUATE_H
#include "core/base/clock.h"
#include "core/run/run.h"
#include "data/batches/source.h"

typedef struct hs_eval_result {
    double loss;    // mean over all predicted tokens
    int64_t tokens; // predicted
    double seconds;
} hs_eval_result;
// The samples of one epoch of the source, at_once of them in a batch. most (0: all) takes that many, in batches spread evenly over the
// epoch. Leaves the step alone.
hs_status hs_evaluate(hs_run *run, int plan, hs_source *source, int64_t at_once, int64_t most, hs_eval_result *out);

size_t hs_peak_rss(void); // bytes this process had in memory at most

#endif
