// tied: iPQ (Stock et al. 2020, arXiv:1907.05686; Fan et al. 2020, arXiv:2004.07320) - matrices become centroids group by group while the
// rest of the model is trained on, and centroids with it.
//
//   before step 0          feed-forwards, heads and whatever else is multiplied
//   before step every      tables of embeddings
//   before step 2 every    attention
//
// A group's values become those of their centroids (k-means, infer/quant/product.h), and its moments begin anew. From then on the gradient
// of a block is the mean over all blocks of its centroid, so that all of them take the same step in any optimizer that works on each
// element alone: values stay centroids, and `halfstep quantize --bits pq` of the last checkpoint finds just these. What belongs together a
// run that goes on sees by the values: nothing is kept beside them.
#ifndef HS_RECIPES_TIED_H
#define HS_RECIPES_TIED_H
#include "data/checkpoint/checkpoint.h"
#include "infer/quant/quantize_product.h"
#include "recipes/train/engine.h"

typedef struct hs_tied_opts {
    int64_t every, step, steps; // optimizer steps: between groups; done so far; of the run
    hs_products_opts products;
    const hs_model_files *files; // what is one tensor there has centroids of its own
} hs_tied_opts;

typedef struct hs_tied hs_tied;
// The engine trains, alone, with values in f32, and has its values; it is borrowed. USAGE: the run ends before attention's turn, patterns
// that fit nothing. CORRUPT: values of a group whose turn is over are not those of so few centroids.
hs_status hs_tied_new(hs_tied **out, hs_engine *e, const hs_tied_opts *o);
void hs_tied_free(hs_tied *t);
hs_status hs_tied_begin_step(hs_tied *t, int64_t step); // before the first forward of a step: is it a group's turn? t NULL: nothing
hs_status hs_tied_gradients(hs_tied *t);                // between the last backward and the update, likewise

#endif
