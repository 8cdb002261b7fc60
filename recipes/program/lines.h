// lines: the lines of a file or of standard input, one by one as they come: text of any encoding that says what it is, packed or not.
#ifndef HS_RECIPES_LINES_H
#define HS_RECIPES_LINES_H
#include "core/base/status.h"
#include <stddef.h>
#include <stdint.h>

typedef struct hs_lines hs_lines;
hs_status hs_lines_open(hs_lines **out, const char *path); // "-": standard input. USAGE: no such file, no text
// Without its end ("\n", "\r\n"), valid until the next call; *text NULL: there is none left. USAGE with file and line: not UTF-8.
hs_status hs_lines_next(hs_lines *l, const char **text, size_t *bytes);
const char *hs_lines_name(const hs_lines *l); // for messages
int64_t hs_lines_number(const hs_lines *l);   // of the line given last, from 1
void hs_lines_close(hs_lines *l);             // NULL: nothing

#endif
