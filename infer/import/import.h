// import: models of other tools' files as directories of transformers, f32, that open here.
//
//   GGUF (llama.cpp)   gpt2 and bert, of F32, F16, BF16, Q8_0, Q4_0, with their tokenizers
//   ONNX               encoders and GPT-2 as exporters of PyTorch leave them, also where weights have no names, stand turned, or lie in 8
//   or
//                      4 bits; settings of config.json beside, or read off the graph
//   llm.c              checkpoints of train_gpt2 (magic 20240326), f32 and bf16; they have no tokenizer
#ifndef HS_INFER_IMPORT_H
#define HS_INFER_IMPORT_H
#include "models/family.h"

typedef struct hs_import_opts {
    const char *config;    // config.json to read an ONNX model by; NULL or "": the one beside it
    const char *tokenizer; // folder of the tokenizer; NULL or "": what the file has, or lies beside it
    bool overwrite;        // as hs_export_opts has it
} hs_import_opts;

typedef struct hs_import_said {
    char from[32]; // "GGUF", "ONNX", "llm.c"
    char title[64], what[256];
    int64_t parameters;
    bool tokenizer; // there is one now
} hs_import_said;

// path: a file, or a folder with one. USAGE or UNSUPPORTED: what it is instead, and the way; CORRUPT: what is damaged. Nothing is written
// then.
hs_status hs_import(const char *path, const char *dir, const hs_family *const *families, const hs_import_opts *o, hs_import_said *said);

#endif
