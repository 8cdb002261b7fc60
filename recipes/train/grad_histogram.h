// grad_histogram: exponents of the gradients by scope, every so many steps, as files in the run's folder (amp.histogram).
#ifndef HS_RECIPES_GRAD_HISTOGRAM_H
#define HS_RECIPES_GRAD_HISTOGRAM_H
#include "core/run/run.h"

// Behind the last micro-step of a step and in front of its update: waits for the run, reads the gradients that this step has made, and
// writes DIR/gradients/STEP.json and, where there is libpng, STEP.png. Takes no memory between calls.
hs_status hs_grad_histogram(hs_run *run, const char *dir, int64_t step);

#endif
