// examples_impl: what collecting and labelling share.
#ifndef HS_DATA_EXAMPLES_IMPL_H
#define HS_DATA_EXAMPLES_IMPL_H
#include "data/base/arena.h"
#include "data/labelled/label_reader.h"

typedef struct hs_label_place { // where a label was seen first
    int32_t file;
    int64_t line;
} hs_label_place;

struct hs_examples_own {
    hs_arena arena;
    int64_t room;
    hs_labels raw; // as written, in the order of the files: examples' labels are indices of it until they are settled
    hs_label_place *place;
    int place_room;
    int64_t documents, contexts; // begun; the last one that was copied
    const char *context;
    size_t context_bytes;
};

// label_order.c: raw labels to e->labels, in the order that README.md tells, or to those that are given; and every example's.
hs_status hs_examples_settle(hs_examples *e, const hs_examples_opts *o);

#endif
