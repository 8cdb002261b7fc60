// row_maker: what the tasks' ways of making rows share.
#ifndef HS_DATA_ROW_MAKER_H
#define HS_DATA_ROW_MAKER_H
#include "data/base/arena.h"
#include "data/labelled/example_rows.h"

typedef struct hs_row_ids { // special tokens
    int32_t *id;
    uint8_t *type;
    int64_t n;
} hs_row_ids;
typedef struct hs_row_frame { // of one text (between is empty) or of two
    hs_row_ids before, between, behind;
    uint8_t type[2];
} hs_row_frame;

typedef struct hs_row_text { // ids of a text
    int32_t *id;
    hs_span *bytes; // of each, in the text; NULL where not asked for
    int64_t n;
    bool more; // than were wanted: n is at least that
} hs_row_text;

struct hs_row_maker {
    hs_about about;
    hs_rows_opts o;
    bool space; // in front of texts
    bool over;  // the last example gave more than o.most_rows
    int32_t end;
    hs_row_frame frame[2]; // of one text, of two
    hs_arena fixed, arena; // for ever; of the last call
    hs_example_row *row;
    int n_rows, room;
    char *spaced;
    size_t spaced_room;
};

// most: ids that are wanted; 0: all.
hs_status hs_row_encode(hs_row_maker *m, const char *text, size_t bytes, bool offsets, int64_t most, hs_row_text *out);
int64_t hs_row_most_tokens(const hs_row_maker *m);  // beyond which a text gives more rows than o.most_rows; 0: there is no such bound
hs_status hs_row_check(hs_row_maker *m, bool over); // USAGE: it does
// A row of so many tokens, without arrays that its task does not ask for. NULL: no memory.
hs_example_row *hs_row_add(hs_row_maker *m, int64_t example, int64_t n, bool word, bool target, bool bytes);
// Parts behind one another into the row from position `at` on; returns where they end.
int64_t hs_row_put_special(hs_example_row *r, int64_t at, const hs_row_ids *special);
int64_t hs_row_put_text(hs_example_row *r, int64_t at, const hs_row_text *t, int64_t first, int64_t end, uint8_t type);
int64_t hs_row_special(const hs_row_frame *f);

hs_status hs_rows_of_texts(hs_row_maker *m, const hs_example *x, int64_t i);
hs_status hs_rows_of_words(hs_row_maker *m, const hs_example *examples, int64_t n, int64_t i);
hs_status hs_rows_of_span(hs_row_maker *m, const hs_example *x, int64_t i);
hs_status hs_rows_of_turns(hs_row_maker *m, const hs_example *x, int64_t i);

#endif
