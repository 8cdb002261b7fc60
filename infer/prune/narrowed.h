// narrowed: heads and columns of feed-forwards left out of a model for good - smaller matrices, the same number in every layer.
#ifndef HS_INFER_NARROWED_H
#define HS_INFER_NARROWED_H
#include "infer/export/export_model.h"

// What a value is worth: of a parameter as it lies logically; NULL: the magnitude of the value itself.
typedef hs_status (*hs_value_worth)(void *user, const hs_param *p, float *logical);

typedef struct hs_narrow_opts {
    double heads, ff; // shares that are left out, from 0 to below 1: rounded to whole heads, and to multiples of 8 columns
    hs_value_worth worth;
    void *user;
} hs_narrow_opts;

typedef struct hs_narrowed {
    int64_t heads, heads_before, ff, ff_before; // of a layer
    int64_t parameters, parameters_before;
    double kept; // share of what the heads and columns were worth together that stays
} hs_narrowed;

// Leaves out of each layer the heads, and the columns, that are worth least: a head is worth what its rows of query, key and value and its
// columns of the output are together, a column its row of the first product, with its bias, and its column of the second. m is loaded, g a
// trace of it; behind it m has the narrow model. USAGE, and nothing is changed: a share that is none, nothing that could be left out; m is
// pruned already. UNSUPPORTED: its family has no settings for it.
hs_status hs_narrow(hs_export_model *m, const hs_graph *g, const hs_narrow_opts *o, hs_narrowed *out);

#endif
