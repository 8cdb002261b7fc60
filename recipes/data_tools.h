// data_tools: what the parts of `halfstep data` share.
#ifndef HS_RECIPES_DATA_TOOLS_H
#define HS_RECIPES_DATA_TOOLS_H
#include "data/token_file.h"
#include "recipes/cli.h"

typedef struct data_options {
    hs_common common;
    hs_string tokenizer, output, png;
    int to;     // hs_token_format
    int layout; // hs_h5_layout
    int64_t vocab, document_token, first, count, tokens, length, predictions, copies, cut, shards, seed;
    double mask_prob, short_prob;
    bool overwrite;
} data_options;

typedef struct data_job { // one file
    const data_options *o;
    const char *path;
    hs_tokenizer *tokenizer; // or NULL
    hs_token_file *file;
    hs_token_file_info info;
    int64_t vocab; // of tokenizer, --vocab or file; 0: not known
} data_job;

hs_status hs_data_info(const data_job *j);
hs_status hs_data_check(const data_job *j);
hs_status hs_data_sample(const data_job *j);
hs_status hs_data_convert(const data_job *j);

#endif
