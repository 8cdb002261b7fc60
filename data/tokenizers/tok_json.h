// tok_json: tokenizer.json, the parts that are the same for the subword kinds. Whatever is not understood is refused by its name.
#ifndef HS_DATA_TOK_JSON_H
#define HS_DATA_TOK_JSON_H
#include "data/tokenizers/tok_subword.h"

typedef struct hs_tok_items { // tokens by id
    hs_tok_text *token;       // [n]; text NULL: an id without a token
    int64_t n, n_model;       // n_model: without added tokens that the model does not have
    char *pool;               // the bytes, if they are not borrowed from the JSON
} hs_tok_items;
void hs_tok_items_free(hs_tok_items *t);

// The model's vocabulary, in which ids may have no token where none is added, and the added tokens right behind it. to_bytes: NULL, or
// turns a token as it is written into its bytes (at most as many), returning false if it stands for none; added tokens are left as they
// are.
hs_status hs_tok_json_items(hs_tok_items *out, const char *path, const json_t *root,
                            bool (*to_bytes)(const char *text, char *out, size_t *n));
// added_tokens, post_processor, truncation, padding into s, and a copy of the parts to write them again.
hs_status hs_tok_json_common(hs_subword *s, const char *path, const json_t *root);
json_t *hs_tok_json_root(const hs_subword *s, json_t *model); // takes model over; NULL: no memory

// Members with a message for each way to be wrong; absent or null: fallback.
hs_status hs_tok_json_bool(const char *path, const json_t *object, const char *key, bool fallback, bool *out);
hs_status hs_tok_json_int(const char *path, const json_t *object, const char *key, int64_t min, int64_t max, int64_t fallback,
                          int64_t *out);
const char *hs_tok_json_type(const json_t *object); // its "type"; "null" if it is null or absent, "?" if it has none
hs_status hs_tok_json_refuse(const char *path, const char *part, const json_t *object, const char *known);
bool hs_tok_json_lists(const char *list, const char *word); // whether the word stands in a list with blanks between its words

#endif
