// export: checkpoints in other tools' forms. Each writes a folder that appears whole or not at all: config.json, the tokenizer's files, and
// the model.
#ifndef HS_INFER_EXPORT_H
#define HS_INFER_EXPORT_H
#include "infer/export/export_model.h"

typedef struct hs_export_said { // what the file has not
    int left_out;               // parameters: of heads, or what only decodes (a chain)
    int rows_rounded;           // ONNX: products that round each row of x by a scale of its own here, and multiply it as it is there
    char tokenizer[512];        // GGUF: why there is no tokenizer in it; "": there is
    int narrow;                 // GGUF: matrices that are Q4_0 where Q4_K was asked for
    bool pooling;               // GGUF: it has the pooling of a folder of sentence-transformers
} hs_export_said;

typedef struct hs_export_onnx_opts {
    const char *version; // of this program, for the file
    hs_dtype dtype;      // of weights and arithmetic: F32 or F16
    bool hidden;         // last hidden states instead of what heads make of them; of a model without a head always
    bool past;           // of a model that writes texts: keys and values of earlier steps go in and out
    bool beside;         // weights in model.onnx_data; of more than 2 GB always
    bool overwrite;      // as hs_export_opts has it
} hs_export_onnx_opts;
// DIR/model.onnx, and what a folder of sentence-transformers says: opset 17, batch_size and sequence_length free; inputs, outputs and
// weights named as transformers' exporter names them; what is kept as codes stays codes (onnx_coded.c). m: opened, neither traced nor
// loaded. UNSUPPORTED: an op that has no form in ONNX, by name and scope. USAGE: f16 beside codes.
hs_status hs_export_onnx(hs_export_model *m, const char *dir, const hs_export_onnx_opts *o, hs_export_said *said);

typedef enum hs_export_type {
    HS_EXPORT_F32,
    HS_EXPORT_BF16,
    HS_EXPORT_F16,
    HS_EXPORT_Q8_0,
    HS_EXPORT_Q4_0,
    HS_EXPORT_Q4_K
} hs_export_type;
typedef struct hs_export_gguf_opts {
    hs_export_type type; // of matrices; Q4_K: Q4_0 where rows are no multiple of 256. Codes that the type has as they are stay the same
    bool codes;          // those that another type has do as well: blocks of 8 bits as Q8_0, of 4 as Q4_0
    bool overwrite;
} hs_export_gguf_opts;
// DIR/model.gguf, with llama.cpp's names, keys and tokenizer. UNSUPPORTED: a model that llama.cpp
// does not have.
hs_status hs_export_gguf(hs_export_model *m, const char *dir, const hs_export_gguf_opts *o, hs_export_said *said);

#endif
