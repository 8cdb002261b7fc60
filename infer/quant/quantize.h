// quantize: a checkpoint whose weights are kept as codes - which of them, how they are rounded, and the directory that it makes.
//
//   hs_export_model_open, _trace, _load (values)      hs_observer over calibration data, where scales of inputs are wanted
//   hs_quantizing_new(values, opts, observer) -> hs_quantizing_write
//
// The new directory is one of Hugging Face (compressed-tensors' config) that opens wherever a checkpoint does.
#ifndef HS_INFER_QUANTIZE_H
#define HS_INFER_QUANTIZE_H
#include "infer/export/export_model.h"
#include "infer/quant/calibrate.h"
#include "infer/quant/observe.h"

// How a weight's codes are chosen: each to the nearest; of 4-bit blocks with the best scale of a grid; so that outputs on the calibration
// data change least (gptq.h); with blocks cut off where that changes outputs less (awq.h). The last two need hs_observer_opts.gram.
typedef enum hs_quant_round { HS_ROUND_NEAREST, HS_ROUND_SEARCH, HS_ROUND_GPTQ, HS_ROUND_AWQ } hs_quant_round;
#define HS_QUANT_ROUND_WORDS "nearest|search|gptq|awq"

typedef struct hs_quantize_opts {
    hs_quant_bits bits;
    hs_quant_round round;
    bool rows;              // w8a8: each row of x has its own scale; else one that was calibrated
    const float *x_scale;   // w8a8 by scales that are there already (trained_scales.h), by hs_param.id, 0: none; NULL: by `seen`. Borrowed
    hs_calib_method method; // w8a8 by a calibrated scale
    double percentile;
    double gelu_most; // above 0: what a gelu puts out is clipped there (10: as NVIDIA's demoBERT)
    bool embeddings;  // tables of tokens, too
    const bool *keep; // by hs_param.id of the values: stays as it is; NULL: none. Borrowed for hs_quantizing_new
    const char *skip; // patterns of parameters that keep their values, as hs_params_freeze takes them; NULL: none
} hs_quantize_opts;

typedef struct hs_quantized { // what became of one parameter
    const hs_param *param;    // of the values
    hs_coding coding;
    const char *why; // not coded: the reason; NULL: it is coded
    float x_most;    // HS_CODING_I8_STATIC: the largest |x| that is not clipped, ...
    float x_scale;   // ... of which this is 1 / 127, to the bit the one that was there already
    double error;    // sqrt(sum (w - code * scale)^2 / sum w^2)
    bool by_outputs; // by GPTQ or AWQ; false: no output of it was seen, or plain rounding was better
} hs_quantized;

typedef struct hs_quantizing hs_quantizing;
// from: traced and loaded; seen: of a model of the same names, NULL where no scale of inputs is asked for. Both are borrowed.
// USAGE: nothing of the model can be coded, patterns that fit nothing, a weight whose inputs were not seen, values that are codes already.
hs_status hs_quantizing_new(hs_quantizing **out, hs_export_model *from, const hs_family *const *families, const hs_quantize_opts *o,
                            const hs_observer *seen, const hs_params *seen_params);
void hs_quantizing_free(hs_quantizing *q);
const hs_quantized *hs_quantizing_at(const hs_quantizing *q, int i, int *n); // by hs_param.id of the values
// Rounds the weights: hs_quantized.error and by_outputs, and hs_quantizing_bytes, are known behind it.
hs_status hs_quantizing_write(hs_quantizing *q, const char *dir, bool overwrite);
int64_t hs_quantizing_bytes(const hs_quantizing *q); // of all parameters as they are kept now

#endif
