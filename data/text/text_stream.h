// text_stream: the bytes of a file or pipe from front to end, unpacked where they begin as gzip or Zstandard does, whatever the name.
// Members and frames that follow each other are one text, as for gunzip and zstd. Memory: a constant.
#ifndef HS_DATA_TEXT_STREAM_H
#define HS_DATA_TEXT_STREAM_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

typedef struct hs_text_stream hs_text_stream;

// path "-": standard input. st (or NULL): of the file. UNSUPPORTED: packed in a way that this build cannot read.
hs_status hs_text_stream_open(hs_text_stream **out, const char *path, struct stat *st);
const char *hs_text_packed(const void *head, size_t bytes); // "gzip", "Zstandard": what a file that begins so is packed with, or NULL
// Bytes of a byte order mark at the front of a text, which says UTF-8 and is no text: HS_TEXT_MARK or 0.
enum { HS_TEXT_MARK = 3 };
size_t hs_text_mark(const char *text, size_t bytes);
// *n == 0: the end. CORRUPT names the file: damaged, or cut short.
hs_status hs_text_stream_read(hs_text_stream *s, void *to, size_t room, size_t *n);
hs_status hs_text_stream_skip(hs_text_stream *s, int64_t bytes); // from the start; at once where nothing is packed. USAGE: it is shorter
int64_t hs_text_stream_raw(const hs_text_stream *s);             // bytes of the file taken so far
void hs_text_stream_close(hs_text_stream *s);

#endif
