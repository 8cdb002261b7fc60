// text_record: the text of a piece of a source - of JSON records the one field that is read, of any text what is no UTF-8 settled - and what
// becomes of records that have none.
#ifndef HS_DATA_TEXT_RECORD_H
#define HS_DATA_TEXT_RECORD_H
#include "data/text/text_source.h"

typedef enum hs_bad_utf8 { HS_BAD_UTF8_REFUSE, HS_BAD_UTF8_REPLACE, HS_BAD_UTF8_KEEP } hs_bad_utf8; // REPLACE: each byte by U+FFFD
// Of JSON records that are broken or have no text. STOP: an error. SKIP: left out. REPLACE: characters that are none become U+FFFD, and what
// that does not mend is left out. Both are told.
typedef enum hs_bad_records { HS_BAD_RECORDS_STOP, HS_BAD_RECORDS_SKIP, HS_BAD_RECORDS_REPLACE } hs_bad_records;
typedef struct hs_text_rules {
    hs_bad_utf8 bad_utf8;
    hs_bad_records bad_records;
} hs_text_rules;

typedef enum hs_record_fault {
    HS_RECORD_FINE,
    HS_RECORD_BROKEN,
    HS_RECORD_NO_OBJECT,
    HS_RECORD_NO_FIELD,
    HS_RECORD_NO_STRING,
    HS_RECORD_TWICE,
    HS_RECORD_SURROGATE,
    HS_RECORD_ESCAPE,
    HS_RECORD_CONTROL,
    HS_RECORD_UTF8,
    HS_RECORD_FAULTS
} hs_record_fault;
extern const char *const hs_record_fault_names[]; // "no JSON object"

typedef struct hs_text_scratch { // of one thread
    char *clean;
    size_t room;
} hs_text_scratch;
typedef struct hs_text_taken {
    const char *text; // in the batch or the scratch, until the next call; NULL: the record is left out
    size_t bytes;
    int64_t replaced;      // characters and bytes by U+FFFD
    hs_record_fault fault; // of a record that was left out or mended
} hs_text_taken;
// USAGE with file and line.
hs_status hs_text_take(const hs_text_rules *r, const hs_text_inputs *inputs, const hs_text_batch *b, const hs_text_piece *piece,
                       hs_text_scratch *s, hs_text_taken *out);
void hs_text_scratch_free(hs_text_scratch *s);

enum { HS_TEXT_PLACES = 5 }; // of bad records that are named
typedef struct hs_bad_count {
    int64_t left_out, mended;
    struct {
        int64_t input, line;
        hs_record_fault fault;
    } place[HS_TEXT_PLACES]; // the first ones
} hs_bad_count;
void hs_bad_count_add(hs_bad_count *c, bool mended, int64_t input, int64_t line, hs_record_fault fault);
// "3 bad records left out, 1 mended: a.jsonl:2 (no such field), a.jsonl:7 ..., and 2 more"; "" where there are none.
void hs_bad_count_text(const hs_bad_count *c, const hs_text_inputs *inputs, char *buf, size_t size);

#endif
