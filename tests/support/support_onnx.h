// support_onnx: an ONNX model computed node by node in f64, for the operators that exports write. Nothing is fast here, and nothing shared
// with what writes them.
#ifndef HS_TESTS_SUPPORT_ONNX_H
#define HS_TESTS_SUPPORT_ONNX_H
#include "data/formats/onnx.h"

typedef struct onnx_array {
    char name[192];
    int n_dims; // 0: one number
    int64_t dim[HS_ONNX_DIMS];
    double *v; // owned by the run
} onnx_array;

typedef struct onnx_run {
    const hs_onnx *m;
    onnx_array *at;
    int n, capacity;
} onnx_run;

void onnx_run_begin(onnx_run *r, const hs_onnx *m);                                      // initializers are there from here on
onnx_array *onnx_run_put(onnx_run *r, const char *name, int n_dims, const int64_t *dim); // zeroed; an input to be filled in
void onnx_run_all(onnx_run *r); // every node; an operator that is not known, or a missing input, fails the test
const onnx_array *onnx_run_get(const onnx_run *r, const char *name); // NULL: nothing of that name
void onnx_run_end(onnx_run *r);

int onnx_count_ops(const hs_onnx *m, const char *op);

#endif
