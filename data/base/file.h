// file: whole files in, whole files out. What is written appears under its name complete or not at all.
//
// A file is written under a temporary name beside the target ("NAME.tmp-PID-K"), synced, renamed, and its folder is synced: a crash or a
// full disk at any moment leaves the old file. Errors are SYSTEM with the path and the system's reason; nothing is left behind. USAGE: there
// is a folder, a pipe or a device of that name, which would be replaced.
#ifndef HS_DATA_FILE_H
#define HS_DATA_FILE_H
#include "data/text/token_store.h" // hs_file_map
#include <stdbool.h>
#include <stdio.h>

typedef struct hs_file_out {
    FILE *f;
    char *path, *temporary; // owned
} hs_file_out;

// Open for reading; *fd -1 on error. USAGE: not there, a folder, an endless device; SYSTEM.
struct stat;
hs_status hs_file_open(const char *path, int *fd, struct stat *st);

const char *hs_file_kind(unsigned mode); // of st_mode: "a folder", "a pipe", ...

// The first bytes of a regular file, at most n; 0 if it is none or cannot be read: a pipe would lose what is read here, or wait.
size_t hs_file_head(const char *path, void *buf, size_t n);
size_t hs_file_part(const char *path, int64_t at, void *buf, size_t n); // the same from byte `at` on

hs_status hs_file_create(hs_file_out *o, const char *path);
hs_status hs_file_write(hs_file_out *o, const void *data, size_t bytes);
hs_status hs_file_commit(hs_file_out *o);                                 // in any case the end: on error the temporary file is gone
hs_status hs_file_commit_unsynced(hs_file_out *o);                        // of what can be made again and is checked when it is read
void hs_file_discard(hs_file_out *o);                                     // gives up before commit; harmless after it
hs_status hs_file_save(const char *path, const void *data, size_t bytes); // all of the above

// The regular file or stream at path in one malloc'd block with a NUL behind it (not counted); may be empty. Caller frees.
hs_status hs_file_read(const char *path, char **out, size_t *bytes);

#endif
