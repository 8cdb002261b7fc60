// plain_text: a file that is read as text as it is, all of it at once: through the door of data/text/text_kind.h, and valid UTF-8.
#ifndef HS_RECIPES_PLAIN_TEXT_H
#define HS_RECIPES_PLAIN_TEXT_H
#include "data/text/text_kind.h"
#include "data/text/token_store.h"

typedef struct hs_plain_text {
    const char *data; // behind a byte order mark, which is no text
    size_t bytes;
    hs_text_form form; // JSON or not: it is read as it is all the same
    hs_file file;
    char *decoded; // of UTF-16 and UTF-32
} hs_plain_text;

// path "-": standard input. USAGE: no text, a packed one, bytes that are not UTF-8. A pipe is read to its end.
hs_status hs_plain_text_open(hs_plain_text *t, const char *path);
void hs_plain_text_close(hs_plain_text *t); // also of zeros

#endif
