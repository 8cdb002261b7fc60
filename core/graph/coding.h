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

// What is asked for: weights and what they multiply in 8 bits; weights alone, in blocks of 8 or 4.
typedef enum hs_quant_bits { HS_QUANT_NONE, HS_QUANT_W8A8, HS_QUANT_W8, HS_QUANT_W4, HS_N_QUANT_BITS } hs_quant_bits;
#define HS_QUANT_BITS_WORDS "none|w8a8|w8|w4"
hs_coding hs_quant_coding(hs_quant_bits bits); // of w8a8 I8: a scale for each row of x

// How values are rounded to what their codes would stand for, while they still are values (hs_fake_quant; ops/quant/fake_round.h).
typedef enum hs_fake_form {
    HS_FAKE_ROWS,         // of what is multiplied: a scale for each row, ...
    HS_FAKE_TENSOR,       // ... one that is given, ...
    HS_FAKE_BLOCKS,       // ... one for each block of a row
    HS_FAKE_WEIGHTS_ROWS, // of weights: as I8 and I8_STATIC, I8_BLOCKS, I4_BLOCKS keep them
    HS_FAKE_WEIGHTS_8,
    HS_FAKE_WEIGHTS_4,
    HS_N_FAKE_FORMS
} hs_fake_form;
#define HS_FAKE_WORDS "rows|tensor|blocks|weights_rows|weights_8|weights_4"
static inline int32_t hs_fake_share(double share) // of blocks, as the op has it: at least 1 of 65,536
{
    return share >= 1 ? 65536 : share * 65536 < 1 ? 1 : (int32_t)(share * 65536 + 0.5);
}

// Of a model that is trained for I8_STATIC: the saved state (hs_state, f32 [1]) that has the scale by which what a parameter multiplies is
// rounded; NAME is the parameter's. 0: nobody has written it yet.
#define HS_X_SCALE_STATE "quant.x_scale." // NAME

// What there is of a coded parameter; a tensor of it is a view of one of these.
typedef enum hs_view { HS_VIEW_VALUE, HS_VIEW_CODES, HS_VIEW_SCALES, HS_VIEW_X_SCALE, HS_N_VIEWS } hs_view;

// Its type and dims as an operand; false: this coding has none.
bool hs_coding_shape(hs_coding c, hs_view v, int64_t rows, int64_t cols, hs_dtype *dtype, int *n_dims, int64_t *dim);
size_t hs_coding_bytes(const hs_param *p, hs_view v); // as stored; 0: it has none
// Why a parameter of these rows and columns cannot be coded so; NULL: it can.
const char *hs_coding_declines(hs_coding c, int n_dims, int64_t rows, int64_t cols);

// ---- which of a model's parameters are coded: one rule for what is quantized and for training that foresees it
typedef struct hs_coding_wish {
    hs_coding coding; // of what a product reads; HS_CODING_NONE: none
    bool tables;      // tables of embeddings, too
    const char *skip; // patterns of those that keep their values, as hs_params_freeze takes them; NULL: none. Borrowed
} hs_coding_wish;
struct hs_graph;
typedef struct hs_coding_uses { // of a parameter by the nodes of a trace
    bool multiplied, looked_up, otherwise;
} hs_coding_uses;
void hs_coding_use(hs_coding_uses *u, const struct hs_node *n, int operand); // notes that n reads it there
void hs_coding_uses_of(hs_coding_uses *of, const struct hs_graph *g);        // by hs_param.id, of all of a trace's nodes
// USAGE: a pattern to skip that fits no parameter, in the words of `name`. Once all parameters are there.
hs_status hs_coding_check(const hs_coding_wish *w, const hs_params *ps, const char *name);
// How it is kept; why: NULL, or the reason for HS_CODING_NONE.
hs_coding hs_coding_of(const hs_coding_wish *w, const hs_param *p, const hs_coding_uses *u, const char **why);

// Declares the three slabs and says which parameters are coded, before there are any. coder: of a parameter that is asked for;
// HS_CODING_NONE: it keeps its values. user is borrowed as long as parameters are asked for.
hs_status hs_params_code(hs_params *ps, hs_coder coder);
hs_slab *hs_params_coded(const hs_params *ps, hs_view v); // the slab of that view; NULL: there is none

// Stored elements [at, at + n) of a parameter that is kept as codes, as f32 of the host's (hs_params_fetch).
void hs_coded_fetch(const hs_params *ps, const hs_param *p, size_t at, float *values, size_t n);
// [rows, cols] of codes as f32 of the host's: the definition that every kernel has to match.
void hs_coded_values(hs_coding c, const void *codes, const void *scales, int64_t rows, int64_t cols, float *values);

#ifdef __cplusplus
}
#endif
#endif
