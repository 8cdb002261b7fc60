// tok_keys: what each key of tokenizer.json does here. A file is read whole or refused by the name of what is not understood: a key that is
// passed over in silence gives other ids without a word.
#ifndef HS_DATA_TOK_KEYS_H
#define HS_DATA_TOK_KEYS_H
#include "core/base/status.h"
#include <jansson.h>

// model.halfstep, else model.type. Files older than tokenizers 0.9 (the published ones of GPT-2, BERT, RoBERTa and T5) have no type: what
// the model has tells it, as in Hugging Face's reader. CORRUPT: nothing tells it, or the type is no text.
hs_status hs_tok_keys_type(const char *path, const json_t *root, const char **type);
// Each key of a file of a subword type: honoured, harmless, or UNSUPPORTED with its name and value.
hs_status hs_tok_keys_check(const char *path, const json_t *root, const char *type);

#endif
