// near: which documents say nearly the same. A document is the set of its runs of five words (of all its words where it has fewer); a word
// is letters and digits without regard to ASCII case, or one character from U+3000 on. The set is sketched by one permutation into 128
// least hashes (Li, Owen, Zhang 2012; empty places borrow from others, Shrivastava 2017), and the share of places in which two sketches
// agree estimates the share of runs that two documents have in common (Jaccard), with a standard error of 0.035 at 0.8.
//
// Two documents are near-duplicates if all 8 places of one of 16 bands agree, and at least 102 of all 128 (0.797). Of documents that share
// runs to 0.9 this finds 99.9 %, to 0.8 about half, to 0.7 under 1 %.
#ifndef HS_DATA_NEAR_H
#define HS_DATA_NEAR_H
#include "core/base/status.h"
#include <stddef.h>
#include <stdint.h>

enum { HS_NEAR_PLACES = 128, HS_NEAR_BANDS = 16, HS_NEAR_ROWS = 8, HS_NEAR_AGREE = 102, HS_NEAR_WORDS = 5, HS_NEAR_BUCKET = 16 };

typedef struct hs_sketch {
    uint32_t least[HS_NEAR_PLACES]; // UINT32_MAX: none
} hs_sketch;

void hs_sketch_clear(hs_sketch *s);
void hs_sketch_add(hs_sketch *s, const char *text, size_t bytes); // a text; of several, those of each
void hs_sketch_join(hs_sketch *s, const hs_sketch *other);

// first[d]: the first document that d is a near-duplicate of, also through others between them; d itself where there is none, or where
// sketch[d] is NULL. Time linear in n: of documents that agree in a band, each is compared with the first HS_NEAR_BUCKET. Memory while it
// runs: 170 to 340 bytes a document. n < 2^32.
hs_status hs_near_cluster(const hs_sketch *const *sketch, int64_t n, uint32_t *first);

#endif
