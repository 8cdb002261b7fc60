// text_stream: tokens as they come, text as it may be shown: whole UTF-8 characters only, U+FFFD for what is none, and nothing that may
// turn out to be the beginning of a stop string. What comes out, all put together, is the same however text is cut into tokens.
#ifndef HS_INFER_TEXT_STREAM_H
#define HS_INFER_TEXT_STREAM_H
#include "data/tokenizers/tokenizer.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hs_text_stream hs_text_stream;
typedef struct hs_text_stream_opts {
    const hs_tokenizer *tokenizer; // borrowed
    const char *const *stop;       // [n_stops] texts that end it, none of them empty; copied
    int n_stops;
    bool behind; // other tokens stand before the first: a kind that begins a text without a space does not do so here
} hs_text_stream_opts;

hs_status hs_text_stream_new(hs_text_stream **out, const hs_text_stream_opts *o);
void hs_text_stream_free(hs_text_stream *t);

// One more token. *text: [*n] what may be shown now, valid until the next call. Of several stop strings the one counts that ends first, of
// those the longest; from then on nothing comes out. A token without text is U+FFFD.
hs_status hs_text_stream_put(hs_text_stream *t, int32_t id, const char **text, size_t *n);
// Nothing comes behind: what was held back.
hs_status hs_text_stream_end(hs_text_stream *t, const char **text, size_t *n);
int hs_text_stream_stop(const hs_text_stream *t); // which stop string was met; -1: none

#endif
