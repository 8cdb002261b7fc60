// label_reader_impl: what the formats of the reader share.
#ifndef HS_DATA_LABEL_READER_IMPL_H
#define HS_DATA_LABEL_READER_IMPL_H
#include "data/base/json_tree.h"
#include "data/labelled/label_reader.h"

enum { HS_LABEL_COLUMNS = 4096, HS_LABEL_NAME = 128 };

typedef struct hs_slices { // grows
    hs_slice *at;
    int n, room;
} hs_slices;

typedef struct hs_label_roles { // columns by what they are
    int text[2], id;
    int *label; // [n_labels]
    int n_labels;
    bool indicator; // MULTILABEL: each label has a column of zeros and ones
} hs_label_roles;

typedef struct hs_label_filled { // a pool that was too small for its record, whose slices are in use
    struct hs_label_filled *next;
    char *pool;
} hs_label_filled;

struct hs_label_reader {
    const hs_examples_opts *o;
    char *path;
    hs_label_records *records, *second; // second: labels_X of NeMo's pairs
    hs_label_found found;
    hs_label_entry entry;
    hs_slices label, field;
    hs_span *word;
    int32_t *word_line;
    int n_words, word_room, line_room;
    hs_answer *answer;
    int n_answers, answer_room;
    hs_turn *turn;
    int n_turns, turn_room;
    char *pool; // texts of one record; what stands in it does not move while that is read
    size_t pool_at, pool_room;
    hs_label_filled *filled;
    // tables and JSON records
    hs_label_roles roles;
    char **name; // [n_names] of the header; of JSON keys by role: text, text2, label, id
    int n_names, n_columns;
    char *header;
    size_t header_bytes;
    bool begun; // the roles are settled
    // JSON
    hs_json_tree tree;
    hs_label_record record;
    int item, articles, article, paragraphs, paragraph, questions, question; // nodes; of lists 0: none is open
    size_t value_at;                                                         // of the record: where the next value is looked for
    size_t counted_to;                                                       // bytes of the record in which `counted` line feeds are
    int64_t counted;
    char *context;
    size_t context_bytes;
    hs_labels ids; // of SQuAD's questions so far
    bool document; // the next example begins one
    char *passed;  // CONLL: blocks that were no examples, in front of the next one; in front of that itself where it was given
    size_t passed_bytes;
    int64_t passed_line;
    bool passed_given;
};

// A file that ends at once, and where it does not, what a format is told by.
typedef struct hs_label_head {
    const char *p;
    size_t bytes;
    bool all;
} hs_label_head;

typedef struct hs_label_kind {
    const char *name;
    hs_status (*begin)(hs_label_reader *r, const hs_label_head *head); // columns, if they can be told before the first record
    hs_status (*next)(hs_label_reader *r, bool *end);
} hs_label_kind;
extern const hs_label_kind hs_label_kinds[HS_LABEL_FORMATS];

// label_detect.c. USAGE: it cannot be told.
hs_status hs_label_detect(hs_label_reader *r, const hs_label_head *head);
// label_roles.c: columns by names that are usual, or by those that are given. names [n].
bool hs_label_names_known(const hs_slice *name, int n);
// bits [n]: what is 0 or 1 in the records that were looked at.
hs_status hs_label_roles_by_name(hs_label_reader *r, int64_t line, const hs_slice *name, const bool *bits, int n);
// field [n_rows][n]: of the first records, of a table whose columns have no usual names. name [n] or NULL.
hs_status hs_label_roles_by_content(hs_label_reader *r, int64_t line, const hs_slice *name, const hs_slice *field, int n_rows, int n);
void hs_label_say(hs_label_reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3))); // adds to found.said
bool hs_label_is_number(hs_slice s);
bool hs_label_is_integer(hs_slice s);
// read_table.c: the fields of a record into r->field, quotes taken off into the pool. USAGE: text behind a quote.
hs_status hs_table_split(hs_label_reader *r, hs_label_format format, char delimiter, const char *p, size_t bytes, int64_t line);
// read_conll.c: where columns are. Fields into r->field.
void hs_conll_split(hs_label_reader *r, char delimiter, const char *p, size_t bytes);
bool hs_conll_is_tag(hs_slice s); // O, or one of BIESLUM, a dash and a type

// Room for a record of so many bytes: 3 of each and 64, which is enough where each value is taken once.
hs_status hs_label_pool(hs_label_reader *r, size_t bytes);
// So many bytes behind pool_at, in another pool where this one is full. What is taken more than once, and what grows, asks here first.
hs_status hs_label_room(hs_label_reader *r, size_t bytes);
hs_status hs_slices_add(hs_slices *s, hs_slice slice);
// One more word, which text[0] in the pool gets behind a space.
hs_status hs_label_add_word(hs_label_reader *r, hs_slice word, int32_t line);
hs_status hs_label_add_tag(hs_label_reader *r, hs_slice tag);
hs_status hs_label_add_turn(hs_label_reader *r, int64_t start, int64_t end, bool learned);
// Prompt, `more` of it, response: text[0] and text[1] become one, in the pool. A line feed ends each part of a prompt that is not called
// so.
hs_status hs_label_join_turns(hs_label_reader *r, hs_slice more);
hs_status hs_label_plain_words(hs_label_reader *r); // read_conll.c: text[0] becomes words (plain_words.h)
// USAGE with the file, this line and the message.
hs_status hs_label_fail(const hs_label_reader *r, int64_t line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

hs_status hs_table_begin(hs_label_reader *r, const hs_label_head *head);
hs_status hs_table_next(hs_label_reader *r, bool *end);
hs_status hs_conll_begin(hs_label_reader *r, const hs_label_head *head);
hs_status hs_conll_next(hs_label_reader *r, bool *end);
hs_status hs_nemo_begin(hs_label_reader *r, const hs_label_head *head);
hs_status hs_nemo_next(hs_label_reader *r, bool *end);
hs_status hs_jsonl_begin(hs_label_reader *r, const hs_label_head *head);
hs_status hs_jsonl_next(hs_label_reader *r, bool *end);
hs_status hs_squad_begin(hs_label_reader *r, const hs_label_head *head);
hs_status hs_squad_next(hs_label_reader *r, bool *end);

#endif
