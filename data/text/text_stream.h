// text_stream: the bytes of a file or pipe from front to end, unpacked where they begin as gzip or Zstandard does, whatever the name.
// Members and frames that follow each other are one text, as for gunzip and zstd. What is looked at (hs_text_stream_look) comes as UTF-8,
// also where the file is UTF-16 or UTF-32 and says so. Memory: a constant.
#ifndef HS_DATA_TEXT_STREAM_H
#define HS_DATA_TEXT_STREAM_H
#include "data/text/text_kind.h"
#include <sys/stat.h>

typedef struct hs_text_stream hs_text_stream;

// path "-": standard input. st (or NULL): of the file. UNSUPPORTED: packed in a way that this build cannot read.
hs_status hs_text_stream_open(hs_text_stream **out, const char *path, struct stat *st);
const char *hs_text_packed(const void *head, size_t bytes); // "gzip", "Zstandard": what a file that begins so is packed with, or NULL
// What the text is, by its first bytes, unpacked; once, before anything is read. USAGE: it is none (data/text/text_kind.h).
hs_status hs_text_stream_look(hs_text_stream *s, hs_text_format format, hs_text_kind *kind);
// *n == 0: the end. CORRUPT names the file: damaged, or cut short.
hs_status hs_text_stream_read(hs_text_stream *s, void *to, size_t room, size_t *n);
// From the start, of what is read; at once where nothing is unpacked or turned into UTF-8. USAGE: it is shorter.
hs_status hs_text_stream_skip(hs_text_stream *s, int64_t bytes);
int64_t hs_text_stream_raw(const hs_text_stream *s);             // bytes of the file taken so far
void hs_text_stream_close(hs_text_stream *s);

#endif
