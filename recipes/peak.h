// peak: what this machine can do at most, measured with the engine's own products: the denominator of MFU.
#ifndef HS_RECIPES_PEAK_H
#define HS_RECIPES_PEAK_H
#include "recipes/engine.h"

// FLOP/s of y = x w^T, x [1024, 1024], w [1024, 1024], in the policy's type on the device: the best of the runs that fit into `seconds`.
hs_status hs_measure_peak(hs_device *d, const hs_policy *policy, double seconds, double *flops_per_second);
// Bytes/s that the team reads from memory: 256 MB over and over, the best of the rounds that fit into `seconds`.
hs_status hs_measure_read(hs_device *d, double seconds, double *bytes_per_second);

#endif
