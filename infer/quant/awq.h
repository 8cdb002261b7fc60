// awq: activation-aware weight quantization (Lin et al. 2024, arXiv 2306.00978): columns whose inputs are large are made larger before the
// weight is rounded, so that they keep more digits, and their inputs smaller by as much.
//
//   W x = (W s) (x / s)     s_j = x_j^r / (v_j^(1 - r) + 1e-4), at least 1e-4, over sqrt(max s min s);     r = 0, 1/20, .. 19/20
//
// x_j is the mean of |x_j| over the calibration data; v_j the mean over rows of |w_j| over the largest |w| of its group (a block of 32, or
// the row). Of the 20, and of s = 1, which is plain rounding and among no r of theirs, the one with the least error of outputs is taken,
//
//   mean over rows x of |W x - Q(W s) x / s|^2     (gram.h)
//
// so the result is never worse on the calibration data than hs_round_weights. Channels that nothing reached keep s = 1. x / s is folded
// into what comes before (smooth.h); where nothing can take it, ask for no scales.
//
// clip: then, for each block of 32 for itself (never for whole rows), w is cut off at (1 - i / 20) of its largest |w|, i = 0 .. 9 (as the
// reference goes: down to 0.55), where that gives less error of that block's part of the outputs. It is kept if the error of whole outputs,
// too, is less.
#ifndef HS_INFER_AWQ_H
#define HS_INFER_AWQ_H
#include "core/graph/coding.h"
#include "infer/quant/gram.h"
#include <stdbool.h>

typedef struct hs_awq_opts {
    bool scales, clip; // what is searched
    bool search;       // scales of 4-bit blocks by hs_round_weights' grid, in all that is tried
} hs_awq_opts;

typedef struct hs_awq_report {
    double error, plain; // of the result, and of hs_round_weights' codes
    double ratio;        // r; below 0: s = 1
    int64_t clipped;     // blocks that are cut off
} hs_awq_report;

// w [rows][cols]; g of x as it comes, x_mean [cols]. s [cols] is written, and codes and scales of W s: what multiplies x / s. report may be
// NULL. USAGE: g is of another width or has no rows; what hs_round_weights refuses. MEMORY: about 12 rows cols + 400 cols bytes.
hs_status hs_awq(hs_coding c, const float *w, int64_t rows, int64_t cols, const hs_gram *g, const float *x_mean, const hs_awq_opts *o,
                 const char *name, float *s, void *codes, void *scales, hs_awq_report *report);

#endif
