// fold: channels of x are made smaller where a norm makes them, and the columns of the one weight that reads them larger by as much: the
// model computes what it did, and less is lost when the weight, or x, is rounded.
//
//   smooth   s by SmoothQuant (smooth.h)          awq   s by the error of outputs (awq.h), which may be 1
//
// Only where a norm's result has one reader, a product: in models that put norms in front (GPT-2, RoBERTa-PreLayerNorm). Behind a norm at
// the end of a block the residual stream reads it, too, and nothing is folded.
#ifndef HS_INFER_FOLD_H
#define HS_INFER_FOLD_H
#include "infer/export/export_model.h"
#include "infer/quant/observe.h"

typedef struct hs_fold_opts {
    double smooth;    // a of smooth.h; 0: none
    bool awq;         // instead: by the error of outputs, of codes as `coding` has them
    hs_coding coding; // awq
    bool search;      // awq: scales of 4-bit blocks by hs_round_weights' grid
} hs_fold_opts;

// Once, before hs_quantizing_new: values of m, and what the observer saw (channels, and for awq X^T X), are those of the folded model
// afterwards; histograms keep their bins, and hs_observed.shrink says what became of the largest. *n: norms that took part.
hs_status hs_quantize_fold(hs_export_model *m, hs_observer *seen, const hs_params *seen_params, const hs_fold_opts *o, int *n);

#endif
