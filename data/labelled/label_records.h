// label_records: a file of labelled examples, record by record, as it stands: unpacked, UTF-8, without the byte order mark, each with its
// line.
#ifndef HS_DATA_LABEL_RECORDS_H
#define HS_DATA_LABEL_RECORDS_H
#include "data/text/text_record.h"

typedef enum hs_cut {
    HS_CUT_LINE,
    HS_CUT_CSV,   // a line feed within quotes ends nothing
    HS_CUT_BLOCK, // lines up to one that is blank, which is part of it with all blank ones behind
    HS_CUT_ALL    // what is left
} hs_cut;

typedef struct hs_label_record { // until the next call
    const char *p;               // a NUL stands behind
    size_t bytes;                // line ends included
    int64_t line;                // of its first byte, from 1
} hs_label_record;

typedef struct hs_label_records hs_label_records;
// path "-": standard input. bad: of bytes that are no UTF-8, and of zeros; KEEP is REFUSE. USAGE: it is no text.
hs_status hs_label_records_open(hs_label_records **out, const char *path, hs_bad_utf8 bad);
void hs_label_records_close(hs_label_records *r);
const char *hs_label_records_name(const hs_label_records *r); // of the file, for messages
// What comes next, as much of it as fits in HS_TEXT_HEAD bytes; *all: that is all there is. Until the next call.
hs_status hs_label_records_peek(hs_label_records *r, const char **p, size_t *bytes, bool *all);
// delimiter: of CSV. out->p NULL: the end. USAGE with file:line: bad bytes, a quote without an end, a record of more than 1 GiB.
hs_status hs_label_records_next(hs_label_records *r, hs_cut cut, char delimiter, hs_label_record *out);

// Bytes of the line at p without its end; *whole: with it.
size_t hs_line_bytes(const char *p, size_t bytes, size_t *whole);
bool hs_is_blank(const char *p, size_t bytes); // spaces, tabs, line ends

#endif
