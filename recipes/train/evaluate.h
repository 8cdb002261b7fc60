// evaluate: the loss of a range of tokens, in training and in `halfstep eval`.
#ifndef HS_RECIPES_EVALUATE_H
#define HS_RECIPES_EVALUATE_H
#include "core/base/clock.h"
#include "core/run/run.h"
#include "data/batches/windows.h"
#include "models/family.h"

// Evaluation takes as many windows at once as keep its logits small, whatever the batch of training was: the same bits everywhere.
hs_arch_setup hs_eval_setup(hs_arch m);

typedef struct hs_eval_result {
    double loss;    // mean over all predicted tokens
    int64_t tokens; // predicted
    double seconds;
} hs_eval_result;
// Consecutive windows of the range; each token but the first is predicted once. max_windows (0: all) takes that many, in batches spread
// evenly over the range. Leaves the step alone.
hs_status hs_evaluate(hs_run *run, int plan, const hs_arch_setup *setup, const hs_token_range *range, int64_t max_windows,
                      hs_eval_result *out);

size_t hs_peak_rss(void); // bytes this process had in memory at most

#endif
