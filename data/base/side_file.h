// side_file: the small text files that lie beside weights - config.json, tokenizer.json, vocab.txt - as downloads and editors leave them.
//
// A UTF-8 byte order mark at the front is no text. What is no UTF-8 text at all is told as what it is, with the way out: UTF-16, a git-lfs
// pointer, a web page that was saved under the file's name.
#ifndef HS_DATA_SIDE_FILE_H
#define HS_DATA_SIDE_FILE_H
#include "core/base/status.h"
#include <jansson.h>
#include <stddef.h>

// The text without its mark, NUL behind; malloc'd.
hs_status hs_side_read(const char *path, char **text, size_t *bytes);
// Any JSON value; the caller decrefs. Integers beyond 64 bits are read as reals. CORRUPT with line and column; a key that comes twice is
// refused by its name.
hs_status hs_side_json(const char *path, json_t **root);
// By the first bytes of a file: CORRUPT or UNSUPPORTED with what it is instead of `wanted` ("a safetensors file"), and what to do.
hs_status hs_side_foreign(const char *path, const void *head, size_t bytes, const char *wanted);

#endif
