// channel_pairs: layers of a trace between which channels may change places, or be left out, without anybody else seeing it - what the
// inside of a feed-forward is to the products around it, and what a head's values are to those of attention. The residual stream is never
// one.
#ifndef HS_INFER_CHANNEL_PAIRS_H
#define HS_INFER_CHANNEL_PAIRS_H
#include "core/graph/graph.h"

typedef struct hs_channel_pair {
    const hs_param *from, *bias; // whose rows the channels are, of one part; bias NULL: none
    const hs_param *to;          // whose columns they are
    int part;                    // of from and bias: 2, the values, where attention stands between
    int64_t n, block;            // channels; they may change places within blocks so wide: of a head, or all of them
} hs_channel_pair;

// g: a trace in evaluation. *out: malloc'd, one for each `to`. A layer used twice counts where it is the same pair each time.
hs_status hs_channel_pairs(const hs_graph *g, hs_channel_pair **out, int *n);

#endif
