// smooth: SmoothQuant (Xiao et al. 2023, arXiv 2211.10438): channels with large inputs hand some of their range to the weights.
//
//   x W^T = (x / s) (W s)^T       s_j = max|x_j|^a / max|W_j|^(1 - a), at least 1e-5
//
// x / s costs nothing at run time: it is folded into the gain and the bias of the norm before (or into rows and bias of a linear before), W
// s into the columns of each weight that reads x. All of these share one s.
//
//   hs_smooth_columns for each weight that reads x -> hs_smooth_scales -> hs_smooth_divide(gain), (bias) -> hs_smooth_weight for each
//   weight
#ifndef HS_INFER_SMOOTH_H
#define HS_INFER_SMOOTH_H
#include <stdint.h>

// most[j] = max(most[j], |w[.., j]|); w [out][in]. Begin with zeros.
void hs_smooth_columns(const float *w, int64_t out, int64_t in, float *most);
// x_most: of |x| by channel (hs_histogram.channel_max); w_most counts as 1e-5 at least. a in [0, 1]: 0.5, where few channels stand out up
// to 0.9. A channel of which x_most is 0 has s = 1: the data say nothing of it, and the floor would make it 10^5 times as large if it ever
// came.
void hs_smooth_scales(const float *x_most, const float *w_most, int64_t in, double a, float *s);
// v[j] /= s[j]: gain or bias of a norm. Of a linear before it, hs_smooth_rows: row j, and bias j by hs_smooth_divide.
void hs_smooth_divide(float *v, int64_t n, const float *s);
void hs_smooth_rows(float *w, int64_t out, int64_t in, const float *s);   // w[j, ..] /= s[j]
void hs_smooth_weight(float *w, int64_t out, int64_t in, const float *s); // w[.., j] *= s[j]

#endif
