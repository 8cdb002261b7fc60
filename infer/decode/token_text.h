// token_text: tokens as they come, text as it may be shown: whole UTF-8 characters only, U+FFFD for what is none, and nothing that may
// turn out to be the beginning of a stop string. What comes out, all put together, is the same however text is cut into tokens.
#ifndef HS_INFER_TOKEN_TEXT_H
#define HS_INFER_TOKEN_TEXT_H
#include "data/tokenizers/tokenizer.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hs_token_text hs_token_text;
typedef struct hs_token_text_opts {
    const hs_tokenizer *tokenizer; // borrowed
    const char *const *stop;       // [n_stops] texts that end it, none of them empty; copied
    int n_stops;
    bool behind; // other tokens stand before the first: a kind that begins a text without a space does not do so here
} hs_token_text_opts;

hs_status hs_token_text_new(hs_token_text **out, const hs_token_text_opts *o);
void hs_token_text_free(hs_token_text *t);

// One more token. *text: [*n] what may be shown now, valid until the next call. Of several stop strings the one counts that ends first, of
// those the longest; from then on nothing comes out. A token without text is U+FFFD.
hs_status hs_token_text_put(hs_token_text *t, int32_t id, const char **text, size_t *n);
// Nothing comes behind: what was held back.
hs_status hs_token_text_end(hs_token_text *t, const char **text, size_t *n);
int hs_token_text_stop(const hs_token_text *t); // which stop string was met; -1: none

#endif
