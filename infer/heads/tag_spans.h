// tag_spans: tags of words to spans of their text.
#ifndef HS_INFER_TAG_SPANS_H
#define HS_INFER_TAG_SPANS_H
#include "data/labelled/examples.h"

typedef struct hs_tag_span {
    int32_t first, end; // words [first, end)
    int type;           // index in hs_tag_spans_types
    double score;       // mean of its words'
} hs_tag_span;

typedef struct hs_tag_spans hs_tag_spans;
// labels: of the model. Where they are no tags of spans each run of words of the same class (but O) is one, and all classes are types.
hs_status hs_tag_spans_new(hs_tag_spans **out, const hs_labels *labels);
void hs_tag_spans_free(hs_tag_spans *t);
const hs_labels *hs_tag_spans_types(const hs_tag_spans *t);
// tags, scores [n]; of words in order. A tag that no scheme would have there is read as conlleval reads it: a span begins where the type
// changes, whatever its prefix. Until the next call.
hs_status hs_tag_spans_of(hs_tag_spans *t, const int32_t *tags, const float *scores, int32_t n, const hs_tag_span **out, int *n_out);

#endif
