// tags: "B-PER" and its kin: which scheme tags follow, do they, and the same spans in another scheme.
//
// Inside a span of type X, O elsewhere (Ramshaw and Marcus 1995; Tjong Kim Sang and Veenstra 1999):
//   IOB1   I-X; B-X where a span of the same type stands right before
//   IOB2   B-X at the first word, I-X behind it (BIO)
//   IOE1   I-X; E-X at the last word where a span of the same type follows at once
//   IOE2   E-X at the last word, I-X before it
//   BIOES  B-X, I-X, E-X; S-X where it is one word. L and U are E and S (BILOU), so is M I (BMES)
#ifndef HS_DATA_TAGS_H
#define HS_DATA_TAGS_H
#include "data/labelled/examples.h"

typedef struct hs_tag {
    char prefix; // 'O', 'B', 'I', 'E', 'S'; 0: the tag is a class without a scheme
    int type;    // index of it; of O and of classes -1
} hs_tag;

extern const char *const hs_tag_scheme_names[HS_TAG_SCHEMES]; // "IOB1"
// The tag of each label [labels.n], and the types there are. False: some label is none, all are classes. MEMORY.
hs_status hs_tags_of(const hs_labels *labels, hs_tag *tag, hs_labels *types, bool *spans);
// The scheme that all examples' tags follow (their `labels` are indices of tag; -1: O). *bad: NULL, or where none does: two places that
// contradict each other.
typedef struct hs_tag_fault {
    int64_t example;
    int32_t word;
    char what[100]; // "I-PER behind O"
} hs_tag_fault;
hs_tag_scheme hs_tags_scheme(const hs_example *e, int64_t n, const hs_tag *tag, const hs_labels *labels, hs_tag_fault fault[2],
                             int *n_faults);
// The first place where they do not follow it. False: they do.
bool hs_tags_fault(const hs_example *e, int64_t n, const hs_tag *tag, const hs_labels *labels, hs_tag_scheme scheme, hs_tag_fault *fault);
// First and last word of a span, of a word whose neighbours are before and behind ({'O', -1} at the ends).
typedef struct hs_tag_edges {
    bool inside, first, last;
} hs_tag_edges;
hs_tag_edges hs_tag_edges_of(hs_tag before, hs_tag own, hs_tag behind, hs_tag_scheme scheme);
// Its prefix in `to`: edges of a word, of the one before and of the one behind it, and whether those are of the same type.
char hs_tag_prefix(hs_tag_edges own, bool same_before, bool same_behind, hs_tag_scheme to);

#endif
