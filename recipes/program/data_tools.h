// data_tools: what the parts of `halfstep data` share.
#ifndef HS_RECIPES_DATA_TOOLS_H
#define HS_RECIPES_DATA_TOOLS_H
#include "data/text/token_file.h"
#include "recipes/program/cli.h"

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
    const char *const *more; // convert: what follows it in the output
    int n_more;
    hs_tokenizer *tokenizer; // or NULL
    hs_token_file *file;
    hs_token_file_info info;
    int64_t vocab; // of tokenizer, --vocab or file; 0: not known
} data_job;

// Of o, path and tokenizer: the others. A vocabulary that is set holds where nothing tells one. hs_token_file_close(j->file) in any case.
hs_status hs_data_open(data_job *j);

hs_status hs_data_info(const data_job *j);
hs_status hs_data_check(const data_job *j);
hs_status hs_data_sample(const data_job *j);
hs_status hs_data_convert(const data_job *j);

#endif
