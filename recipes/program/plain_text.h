// plain_text: a file that is read as text as it is - not one of token ids, not a packed one.
#ifndef HS_RECIPES_PLAIN_TEXT_H
#define HS_RECIPES_PLAIN_TEXT_H
#include "data/text/token_store.h"

typedef struct hs_plain_text {
    const char *data; // behind a byte order mark, which is no text
    size_t bytes;
    hs_file file;
} hs_plain_text;

// Any bytes can be encoded, also those that mean something else: USAGE for files of token ids and packed ones. A pipe is read to its end.
hs_status hs_plain_text_open(hs_plain_text *t, const char *path);
void hs_plain_text_close(hs_plain_text *t); // also of zeros
// USAGE where path is a file of token ids, by its contents.
hs_status hs_plain_text_check(const char *path);

#endif
