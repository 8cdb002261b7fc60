// coding: parameters that are kept as codes of few bits with scales, instead of as values.
//
//   I8, I8_STATIC   value[o, c] = codes[o, c] * scales[o]             codes i8 [out, in] in [-127, 127] (others write -128,
//                                                                     which products by row take), scales f32 [out]
//   I8_BLOCKS       value[o, c] = codes[o, c] * scales[o, c / 32]     codes i8 [out, in] in [-127, 127], scales f16 [out, in / 32]
//   I4_BLOCKS       likewise                                          codes u8 [out, in / 2]: element 2i in the low half, 2i + 1 in the
//                                                                     high, each plus 8, in [-8, 7]
//
// A product with I8 rounds each row of what it multiplies to 127 steps of that row's largest magnitude; with I8_STATIC to steps of one
// scale that was calibrated, f32 [1], kept beside; with blocks it rounds each block of 32. Which parameters are coded is settled before any
// are asked for (hs_params_code). They are frozen, are in no slab but "codes", "scales" and "x_scale", and a plan puts the ops that read
// them in the place of those that the model asked for (core/plan/coded.c): no model knows of it.
#ifndef HS_CORE_CODING_H
#define HS_CORE_CODING_H
#include "core/graph/params.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HS_CODE_BLOCK = 32 };

// What there is of a coded parameter; a tensor of it is a view of one of these.
typedef enum hs_view { HS_VIEW_VALUE, HS_VIEW_CODES, HS_VIEW_SCALES, HS_VIEW_X_SCALE, HS_N_VIEWS } hs_view;

// Its type and dims as an operand; false: this coding has none.
bool hs_coding_shape(hs_coding c, hs_view v, int64_t rows, int64_t cols, hs_dtype *dtype, int *n_dims, int64_t *dim);
size_t hs_coding_bytes(const hs_param *p, hs_view v); // as stored; 0: it has none
// Why a parameter of these rows and columns cannot be coded so; NULL: it can.
const char *hs_coding_declines(hs_coding c, int n_dims, int64_t rows, int64_t cols);

// Declares the three slabs and says which parameters are coded, before there are any. coder: of a parameter that is asked for;
// HS_CODING_NONE: it keeps its values. user is borrowed as long as parameters are asked for.
hs_status hs_params_code(hs_params *ps, hs_coder coder);
hs_slab *hs_params_coded(const hs_params *ps, hs_view v); // the slab of that view; NULL: there is none

// [rows, cols] of codes as f32 of the host's: the definition that every kernel has to match.
void hs_coded_values(hs_coding c, const void *codes, const void *scales, int64_t rows, int64_t cols, float *values);

#ifdef __cplusplus
}
#endif
#endif
