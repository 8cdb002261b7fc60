// oip_model: what a served model looks like in the Open Inference Protocol - names, types and shapes of its tensors.
#ifndef HS_INFER_OIP_MODEL_H
#define HS_INFER_OIP_MODEL_H
#include "infer/server/infer_request.h"
#include "infer/server/served.h"

typedef enum hs_oip_what { // a tensor is
    HS_OIP_IDS,            // tokens, [batch, seq]
    HS_OIP_MASK,           // which of them are no padding
    HS_OIP_SEGMENTS,       // their token types
    HS_OIP_TEXT,           // a text, instead of tokens
    HS_OIP_SECOND,         // the other one of a pair
    HS_OIP_PROMPT,         // of a model that continues texts
    HS_OIP_HIDDEN,         // last hidden states, [batch, seq, width], 0 where there is padding
    HS_OIP_VECTOR,         // a vector of each row, made as the model says, [batch, width]
    HS_OIP_LOGITS,         // of a task about whole rows [batch, labels], about tokens [batch, seq, labels]
    HS_OIP_START,          // of answers, [batch, seq]
    HS_OIP_END,
    HS_OIP_CONTINUED,
    HS_OIP_OF_STEPS, // of an ensemble: what its models make of it
} hs_oip_what;

typedef struct hs_oip_tensor {
    const char *name;
    hs_oip_what what;
    hs_oip_type type; // that is told; other integers are taken for integers
    int n_dims;       // with the batch, but for prompts and what follows them
    int64_t dim[3];   // -1: any
} hs_oip_tensor;

enum { HS_OIP_TENSORS = 16 };
typedef struct hs_oip_model {
    hs_oip_tensor in[HS_OIP_TENSORS], out[HS_OIP_TENSORS]; // of inputs none must be there alone: tokens or texts, not both
    int n_in, n_out;
    int64_t most_batch; // 0: shapes have no batch in front
} hs_oip_model;

void hs_oip_model_of(hs_oip_model *o, const hs_served *m);
const hs_oip_tensor *hs_oip_find(const hs_oip_tensor *t, int n, const char *name); // NULL: none

// An encoder's outputs, of `rows` rows with at most `seq` tokens: their numbers, and in dim [n_dims] how they stand.
int64_t hs_oip_shape(const hs_oip_tensor *t, int64_t rows, int64_t seq, int64_t *dim);
// What the model gave for a row, [n][columns] with n tokens or 1, to where the output [rows, ...] has it. token: the row's first one, among
// [rows, seq].
void hs_oip_place(const hs_oip_tensor *t, float *output, int64_t row, int64_t token, const float *from, int64_t n, int64_t columns);

#endif
