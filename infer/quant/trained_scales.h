// trained_scales: the scales of inputs that a run with quant.activations tensor was trained by, out of its checkpoint.
#ifndef HS_INFER_TRAINED_SCALES_H
#define HS_INFER_TRAINED_SCALES_H
#include "core/graph/params.h"

// scale: by hs_param.id, the caller's; 0: it has none. *n: how many there are; 0 where the directory keeps nothing of a run.
// CORRUPT: a scale that is none. MEMORY.
hs_status hs_trained_scales(const char *dir, const hs_params *ps, float **scale, int *n);

#endif
