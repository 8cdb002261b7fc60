// onnx_values: values of an ONNX graph that do not depend on its inputs - initializers, and what Cast, Mul, DequantizeLinear, Transpose and
// their like make of them - as f32; and who reads what.
#ifndef HS_INFER_ONNX_VALUES_H
#define HS_INFER_ONNX_VALUES_H
#include "data/formats/onnx.h"

typedef struct hs_onnx_values hs_onnx_values;
hs_status hs_onnx_values_new(hs_onnx_values **out, const hs_onnx *m, const char *path); // m, path: borrowed
void hs_onnx_values_free(hs_onnx_values *v);

const hs_onnx_tensor *hs_onnx_initializer(const hs_onnx_values *v, const char *name); // NULL: none of that name
const hs_onnx_node *hs_onnx_maker(const hs_onnx_values *v, const char *name);         // of a value; NULL: an input or an initializer
typedef struct hs_onnx_reading {
    const hs_onnx_node *node;
    int input;
} hs_onnx_reading;
// The next that reads it, in the order of execution, behind `last`, or the first (NULL); NULL: no more.
const hs_onnx_reading *hs_onnx_reader(const hs_onnx_values *v, const char *name, const hs_onnx_reading *last);
const char *hs_onnx_called(const hs_onnx_node *n); // for messages: its name, or of one without that of what it makes

typedef struct hs_onnx_constant {
    int n_dims;
    int64_t dim[HS_ONNX_DIMS];
    float *v; // malloc'd: the caller frees
} hs_onnx_constant;
bool hs_onnx_is_constant(const hs_onnx_values *v, const char *name);
// UNSUPPORTED: made by an operator that is not computed here.
hs_status hs_onnx_constant_of(const hs_onnx_values *v, const char *name, hs_onnx_constant *out);
// Short lists of integers (shapes, axes): how many, at most `most`; -1: not constant, or longer.
int hs_onnx_ints(const hs_onnx_values *v, const char *name, int64_t *out, int most);

#endif
