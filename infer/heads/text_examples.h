// text_examples: texts in memory as examples and their rows of tokens - of a request what example_blocks makes of a file. Each text stands
// alone: it has no neighbours, so that hs_rows_opts.context changes nothing.
#ifndef HS_INFER_TEXT_EXAMPLES_H
#define HS_INFER_TEXT_EXAMPLES_H
#include "data/labelled/example_rows.h"

typedef struct hs_text_example {
    hs_example example;        // without labels; `line` is its number, from 1
    const hs_example_row *row; // [n_rows]
    int64_t n_rows;
    bool cut; // something of it is in no row
} hs_text_example;

typedef struct hs_text_examples { // all zeros: nothing is open
    hs_text_example *at;          // [n]; moves when more are added
    int n, room;
    int64_t rows, tokens; // of all
    hs_about about;
    hs_row_maker *maker;
    hs_arena arena; // of what stands in them
    hs_span *word;  // of the last text
    int word_room;
} hs_text_examples;

// Of one thread. rows: its tokenizer is borrowed. USAGE: as hs_row_maker_new.
hs_status hs_text_examples_open(hs_text_examples *e, hs_about about, const hs_rows_opts *rows);
void hs_text_examples_close(hs_text_examples *e);
void hs_text_examples_clear(hs_text_examples *e); // none are left; to be used anew
// One more. text, second: copied; UTF-8. TOKENS: words as hs_plain_words finds them. SPAN: a question and its context; of tasks about texts
// second may be NULL. USAGE: a second text where there can be none, or none where there must be one; a character that the tokenizer lacks;
// the examples before it are left as they are.
hs_status hs_text_examples_add(hs_text_examples *e, const char *text, size_t bytes, const char *second, size_t second_bytes);

#endif
