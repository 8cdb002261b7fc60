// importance: what each value of a model's weights is worth to a task - |w dL/dw|, summed over batches of its training data: to first order
// what the loss would change by without it (Molchanov et al., arXiv 1906.10771).
#ifndef HS_RECIPES_IMPORTANCE_H
#define HS_RECIPES_IMPORTANCE_H
#include "recipes/program/config.h"

typedef struct hs_importance hs_importance;
// Goes through so many examples of the run that `config` would begin, at most through all of its steps: nothing is trained, nothing
// written. config: its learning rate and dropout are set to 0. One process.
hs_status hs_importance_new(hs_importance **out, hs_config *config, int64_t examples);
void hs_importance_free(hs_importance *i);
int64_t hs_importance_examples(const hs_importance *i); // that it was
// As the hs_value_worth of infer/prune/narrowed.h; user: the hs_importance. INTERNAL: a parameter that the run has not.
hs_status hs_importance_worth(void *user, const hs_param *p, float *logical);

#endif
