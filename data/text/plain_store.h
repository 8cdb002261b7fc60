// plain_store: plain texts to what masked training needs of them, on a run's first start: a tokenizer that is learned on them, and a token
// store with documents and sentences.
#ifndef HS_DATA_PLAIN_STORE_H
#define HS_DATA_PLAIN_STORE_H
#include "data/text/text_source.h"
#include "data/tokenizers/tokenizer.h"

enum { HS_PLAIN_VOCAB = 8000 };
// Whether `name` is "wordpiece" (HS_PLAIN_VOCAB tokens) or "wordpiece:N"; *vocab: N, -1 where it is no number.
bool hs_plain_tokenizer_named(const char *name, int64_t *vocab);

// inputs: files, folders and patterns, as `halfstep prepare` takes them, packed ones and JSON records among them; no pipes, for they are
// read twice. Lower-case WordPiece of at most `vocab` tokens. USAGE.
hs_status hs_plain_tokenizer_train(hs_tokenizer **out, const char *const *input, int n, int64_t vocab);

typedef struct hs_plain_store_opts {
    const char *const *input;
    int n;
    const char *output; // "....bin"; what is there is replaced when the new one is whole. Beside it a folder of parts, while it is made
    const hs_tokenizer *tokenizer;
    int threads; // 0: 1
} hs_plain_store_opts;
// What documents are: what lies between blank lines if the first MiB has any, else lines.
hs_status hs_plain_store_documents(hs_documents *out, const hs_text_inputs *inputs);
// Sentences by rule (data/text/sentence.h), no end-of-text tokens. USAGE: no text, files that are none.
hs_status hs_plain_store_make(const hs_plain_store_opts *o);

#endif
