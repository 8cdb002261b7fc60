// wanted_row: what a request wants of a row of tokens, and where it is: in a reader's last run, or kept from an earlier one. Both give the
// same bits, since what a row gives depends on that row alone (row_reader.h); a route cannot tell which it was.
#ifndef HS_INFER_WANTED_ROW_H
#define HS_INFER_WANTED_ROW_H
#include "infer/encode/row_reader.h"
#include "infer/server/row_cache.h"

enum { HS_WANTS = 2 }; // of one request, of each of its rows
typedef struct hs_wanted_row {
    const hs_want *want; // [n_wants]
    int n_wants;
    const hs_encode_row *row;
    const hs_row_reader *reader; // of what is not kept
    int index;                   // among the rows of its last run
    hs_kept *kept[HS_WANTS];     // held, or NULL
} hs_wanted_row;

// Looks for all that is wanted. False: something is not there, and nothing is held.
bool hs_wanted_row_find(hs_wanted_row *r, hs_row_cache *c, const void *owner);
// Has what the reader gives kept; where there is no memory for it, it is not. NONFINITE, as reading it; nothing is held then.
hs_status hs_wanted_row_keep(hs_wanted_row *r, hs_row_cache *c, const void *owner);
void hs_wanted_row_let_go(hs_wanted_row *r, hs_row_cache *c);

// Want number `want`, all but GUESSES: dst [*rows][width], one row of a VECTOR and of LOGITS of a whole sequence, else one for each token.
hs_status hs_wanted_floats(const hs_wanted_row *r, int want, float *dst, int64_t *rows);
hs_status hs_wanted_guesses(const hs_wanted_row *r, int want, int64_t pick, hs_guess *dst, int64_t *n);

#endif
