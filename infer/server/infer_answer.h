// infer_answer: an inference response of the Open Inference Protocol, written - JSON, or JSON with raw tensors behind it, output by output.
#ifndef HS_INFER_INFER_ANSWER_H
#define HS_INFER_INFER_ANSWER_H
#include "core/base/status.h"
#include "data/labelled/labels.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hs_infer_value { // FP32, or a text
    const char *name;
    int n_dims;
    int64_t dim[3];
    const float *value; // finite; borrowed
    const char *text;   // [n_text] instead: BYTES of one element
    size_t n_text;
    bool binary;
    int64_t classes;         // of each row of [rows, columns] the so many largest instead, as BYTES "value:column[:label]"; 0: no
    const hs_labels *labels; // of columns, borrowed; NULL, or none of them: they have none
} hs_infer_value;

typedef struct hs_infer_answer {
    const char *model;
    int version;
    const char *id; // NULL: none
    const hs_infer_value *out;
    int n_out;
} hs_infer_answer;

// *body: malloc'd. *head: bytes of JSON in front of raw tensors (Inference-Header-Content-Length); -1: there are none. MEMORY.
hs_status hs_infer_write(const hs_infer_answer *a, char **body, size_t *bytes, int64_t *head);

#endif
