// schedule: the learning rate as a function of the count of applied steps.

#include "optim/schedule.h"

double hs_schedule_lr(const hs_schedule *s, int64_t t) { return hs_schedule_at(s, t); }

double hs_layer_rate(double decay, int layers, int depth) { return depth > layers ? 1 : pow(decay, layers + 2 - depth); }
