// resumed: what a run that goes on keeps of the one before, and what it takes anew. Every setting that is another one is told, a line each.
#ifndef HS_RECIPES_RESUMED_H
#define HS_RECIPES_RESUMED_H
#include "recipes/program/config.h"

// What the settings before mean for the state: a loss scale is kept only where scaler and dtype are the same. before: NULL if it is not
// known.
void hs_resumed_scale(const hs_config *c, const hs_config *before, hs_step_state *state);
// The lines, for the log. c: of the whole run; at: what it goes on from.
void hs_resumed_tell(const hs_config *c, const hs_config *before, const hs_train_state *at);

#endif
