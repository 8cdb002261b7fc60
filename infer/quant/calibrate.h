// calibrate: what |x| an int8 scale is made for, from a histogram of the tensor. Symmetric: scale = amax / 127, codes -127 to 127.
//
//   max         the largest |x| there was
//   percentile  the lower edge of the first bin at which a share of `percentile` / 100 of all values has been counted (99.99: of BERT the
//   best
//               choice by NVIDIA's account); counts as shares, added in order, as numpy adds them
//   entropy     the edge i w, i = 128 .. n, with the smallest D(P || Q): P has the counts of bins [0, i), all that is beyond in the last; Q
//               those counts summed over 128 levels of equal width, each spread evenly over its bins that are not empty. Bin 0 is taken to
//               have as many as bin 1 (zeros of padding and of activations would outweigh all else). The last of equals
//   mse         the centre of bin i, i = 128 .. n - 1, with the smallest sum of count (x - fake(x))^2 over the centres x of all bins. The
//   first
//               of equals
//
// These are the algorithms of TensorRT's pytorch-quantization (calib/histogram.py), which adds in f32 for mse. Equal is what differs by
// less than sums in f64 are good for (1e-12 of D; of mse, 1e-12 of itself): then no machine's rounding decides.
//
// ONNX Runtime (1.32) has two of the same names. Its percentile of a symmetric tensor is this one; its default is 99.999, and an amax is no
// more than the largest x, of either sign. Its entropy is another algorithm, and there is no second one here: it takes bins of
// signed x, two-sided (128 levels of both signs: half as fine); merges by whole bins, what is left over going into the last level; spreads
// a level in whole numbers, rounded down, over bins counted with the outliers added; adds 0.0001 to empty bins; keeps zeros; takes the
// first of equals.
//
// Where bins say nothing: all zeros give 0 by any method, which is no scale (hs_int8_scale); fewer than 128 bins are searched by neither
// entropy nor mse, and give the top edge; a percentile in the first bin gives that bin's upper edge, not 0.
#ifndef HS_INFER_CALIBRATE_H
#define HS_INFER_CALIBRATE_H
#include "infer/quant/histogram.h"

typedef enum hs_calib_method { HS_CALIB_MAX, HS_CALIB_ENTROPY, HS_CALIB_PERCENTILE, HS_CALIB_MSE, HS_N_CALIB } hs_calib_method;
#define HS_CALIB_WORDS              "max|entropy|percentile|mse"
#define HS_CALIB_PERCENTILE_DEFAULT 99.99

// percentile: above 0, up to 100; read by that method alone. name: of the tensor, for messages.
// USAGE: nothing was counted, a percentile out of range. MEMORY.
hs_status hs_calibrate(const hs_histogram *h, hs_calib_method method, double percentile, const char *name, float *amax);

// amax / 127; of 0: 1, by which zeros stay zeros and what the data did not show is clipped at 127.
static inline float hs_int8_scale(float amax) { return amax > 0 ? amax / 127 : 1; }

#endif
