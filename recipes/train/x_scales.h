// x_scales: the scales that a run with quant.activations tensor rounds by what products multiply (HS_X_SCALE_STATE), before its first step.
#ifndef HS_RECIPES_X_SCALES_H
#define HS_RECIPES_X_SCALES_H
#include "recipes/train/trainer.h"

// Those of the checkpoint that the run goes on from stay; else those of the one that its weights are from, where it was trained so and has
// all of them; else they are calibrated: the first quant.examples samples of `source` through the weights as they are, nothing rounded, in
// f32, which takes a second copy of the values meanwhile. The device is the trainer's, and idle. Nothing where no scales are asked for.
hs_status hs_trainer_x_scales(hs_trainer *t, hs_source *source);

#endif
