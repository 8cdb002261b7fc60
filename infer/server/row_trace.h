// row_trace: what a model gives for the rows of a request, for its trace, whichever route asks: the outputs that `infer` has of the same
// rows. Guesses at masks, which `infer` has none of, are `ids` and `scores`, [masks, best].
#ifndef HS_INFER_ROW_TRACE_H
#define HS_INFER_ROW_TRACE_H
#include "infer/server/served.h"
#include "infer/server/tracer.h"
#include "infer/server/wanted_row.h"

typedef struct hs_row_trace hs_row_trace;
// For n rows (borrowed until it is freed), of each of which `want` is wanted. NULL: there is no memory for it.
hs_row_trace *hs_row_trace_new(hs_traced *r, const hs_served *m, const hs_encode_row *row, int n, const hs_want *want);
void hs_row_trace_free(hs_row_trace *x); // NULL: nothing
// Row i, want 0 of it. What cannot be read stays 0. NULL: nothing.
void hs_row_trace_add(hs_row_trace *x, const hs_wanted_row *w, int i);

#endif
