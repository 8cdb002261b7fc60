// kept_file: what was found once per machine, in a file of lines behind one that says for what: which of a library's ways is fastest.
#ifndef HS_CORE_KEPT_FILE_H
#define HS_CORE_KEPT_FILE_H
#include <stdbool.h>
#include <stdio.h>

typedef struct hs_kept_file {
    const char *what;                                // whose it is, as a log names it
    const char *path;                                // NULL: nothing is read or written
    const char *head;                                // the first line with its end, less than 256 bytes
    bool (*read)(FILE *f, void *user);               // one line, in the place of one for the same; false: there are no more
    bool (*write)(FILE *f, const void *user, int i); // line i
    void *user;
} hs_kept_file;

// Reads all lines. A file with another head is no error: it is written anew.
void hs_kept_read(const hs_kept_file *k);
// Reads what others have written meanwhile, then writes *n lines, whole and under the file's name, or not at all; nobody else does meanwhile.
// So of several that found something for the same, the first is kept, and all of them know it behind this. That it cannot be written is said
// at debug level.
void hs_kept_write(const hs_kept_file *k, const int *n);

#endif
