// labelled: a source of labelled examples. A sample is a row (data/labelled/example_rows.h): an example, or one window of it.
//
// An epoch's order is a keyed permutation of (seed, epoch); sample i is row permutation(i / n)(i % n). Nothing is drawn and the state is
// the index alone. Rows lie behind one another without padding, so nothing is gained by batching like lengths together.
#ifndef HS_DATA_LABELLED_H
#define HS_DATA_LABELLED_H
#include "data/batches/source.h"
#include "data/labelled/example_rows.h"

// The columns: ids, token_types i32 [tokens]; starts i32 [sequences + 1]; where i32 [tokens][2] {slot, position}; then that of the task:
//   SEQUENCE, PAIR  class_targets i32 [sequences], -1: does not count
//   REGRESSION      value_targets f32 [sequences][L]
//   MULTILABEL      label_targets f32 [sequences][L] 0 or 1
//   TOKENS          tag_targets i32 [tokens], -1: does not count
//   SPAN            span_targets i32 [sequences][2] start, end: positions in the sequence; -1: does not count
//   LM              targets i32 [tokens], -1: does not count (loss 0; the others' is HS_LABELLED_LOSS)
// and with class weights target_weights f32, a weight of each target in the extent of the targets.
// labels: targets that count; REGRESSION and MULTILABEL: sequences; SPAN: two of each sequence. weights: with class weights their sum.
enum { HS_LABELLED_IDS, HS_LABELLED_TYPES, HS_LABELLED_STARTS, HS_LABELLED_WHERE, HS_LABELLED_TARGETS, HS_LABELLED_WEIGHTS };
enum { HS_LABELLED_LOSS = 3 };

typedef enum hs_class_weights { HS_WEIGHTS_NONE, HS_WEIGHTS_BALANCED, HS_WEIGHTS_LIST } hs_class_weights;
#define HS_CLASS_WEIGHTS_WORDS "none|balanced|list"
typedef struct hs_labelled_opts {
    const hs_examples *examples; // borrowed, as long as the source lives
    hs_rows_opts rows;
    int n_labels;             // L of the model where it is above the examples' own; 0: theirs
    hs_class_weights weights; // SEQUENCE, PAIR, TOKENS. BALANCED: targets / (classes * targets of the class), as scikit-learn has it
    const double *weight;     // LIST: [n_labels], at least 0
    uint64_t seed;
    bool frozen; // evaluation: always in the order of the files
} hs_labelled_opts;

// USAGE: no example gives a row, weights for a task that has no classes, a weight below 0.
hs_status hs_labelled_new(hs_source **out, const hs_labelled_opts *o);

typedef struct hs_labelled_info {
    int64_t rows, tokens, longest;
    int64_t cut; // examples of which something is in no row
} hs_labelled_info;
hs_labelled_info hs_labelled_info_of(const hs_source *s);
// The row that is sample i, and the examples' way back; borrowed from the source. Only of hs_labelled_new's sources.
const hs_example_row *hs_labelled_row(const hs_source *s, uint64_t sample);

#endif
