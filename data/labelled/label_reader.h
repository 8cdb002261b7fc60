// label_reader: labelled examples one by one, as they stand: what hs_examples_open collects, and what a file that is written back with
// predictions is read by. Memory: the longest record; a list of JSON records, and SQuAD, whole.
#ifndef HS_DATA_LABEL_READER_H
#define HS_DATA_LABEL_READER_H
#include "data/labelled/examples.h"
#include "data/labelled/label_records.h"

typedef struct hs_slice {
    const char *p;
    size_t bytes;
} hs_slice;

typedef struct hs_label_entry { // until the next call
    hs_slice raw;               // the record as it stands, with its line ends; of a list of JSON records and of SQuAD the value alone
    int64_t raw_line;           // of the first byte of raw
    int64_t line;               // of the example; of TOKENS of its first word
    bool document;              // it begins one
    hs_slice text[2];           // [1].p NULL: there is none
    int64_t text_number;        // SPAN: of the context, which is the same for several questions
    hs_slice id;                // p NULL: none
    bool labelled;              // false: the file has no label here
    const hs_slice *label;      // [n_labels] as written: classes; numbers; of TOKENS a tag of each word
    int n_labels;
    const hs_span *word;      // TOKENS: [n_words] bytes in text[0]
    const int32_t *word_line; // of each, counted from `line`
    int n_words;
    const hs_answer *answer;
    int n_answers;
    const hs_turn *turn;
    int n_turns;
} hs_label_entry;

typedef struct hs_label_reader hs_label_reader;
// One file. o is borrowed until the reader is closed; path and n_paths are not read.
hs_status hs_label_reader_open(hs_label_reader **out, const char *path, const hs_examples_opts *o);
void hs_label_reader_close(hs_label_reader *r);
// *entry NULL: the end. USAGE and CORRUPT with file:line.
hs_status hs_label_reader_next(hs_label_reader *r, const hs_label_entry **entry);

typedef struct hs_label_found { // what the file was found to be, or was said to be
    hs_label_format format;
    char delimiter;             // of TSV, CSV, CONLL (' ': any number of spaces)
    bool header;                // TSV, CSV: the first record names the columns
    bool list;                  // JSON: records in a list, or over several lines
    int columns;                // of most records; 0 of JSON
    int text, text2, label, id; // columns from 0; -1: none. Of MULTILABEL and REGRESSION in several columns label is the first
    bool impossible;            // SPAN: the file knows questions without an answer (SQuAD 2.0)
    char said[400];             // "TSV with a header, text: sentence, label: label"
} hs_label_found;
const hs_label_found *hs_label_reader_found(const hs_label_reader *r);
const char *hs_label_reader_name(const hs_label_reader *r); // of the file, for messages
// The first record where it is a header, as it stands; p NULL: there is none.
hs_slice hs_label_reader_header(const hs_label_reader *r);
bool hs_label_reader_has(const hs_label_reader *r, const char *column); // TSV, CSV with a header: is there one of that name?
// CONLL: what stands behind the last example and is none; raw of the others has what stands before them.
hs_slice hs_label_reader_tail(const hs_label_reader *r);

#endif
