// llmc_model: checkpoints of llm.c's train_gpt2: a header of 256 i32, then all parameters in a fixed order (core/settings/keys.h has it).
//
//   magic 20240326; version 1: f32, 3: f32 with a padded vocabulary, 5: bf16 with one; longest sequence, vocabulary, layers, heads,
//   channels; the padded vocabulary (versions 3 and 5): rows of the table of tokens
#ifndef HS_DATA_LLMC_MODEL_H
#define HS_DATA_LLMC_MODEL_H
#include "core/base/dtype.h"
#include "core/settings/keys.h"
#include "data/text/token_store.h" // hs_file

typedef struct hs_llmc_model {
    char *path;
    hs_file file;
    int64_t size[HS_LLMC_SIZES];
    int64_t vocab_rows;
    hs_dtype dtype;
    const char *data; // of the first parameter
    size_t bytes;     // from there on
} hs_llmc_model;

bool hs_llmc_model_is(const char *path);
hs_status hs_llmc_model_open(hs_llmc_model **out, const char *path); // CORRUPT, UNSUPPORTED: header and version; not yet the file's size
void hs_llmc_model_close(hs_llmc_model *m);                          // NULL: nothing

#endif
