// quantize_pq: `halfstep quantize --bits pq` - matrices as indices of centroids.
#ifndef HS_RECIPES_QUANTIZE_PQ_H
#define HS_RECIPES_QUANTIZE_PQ_H
#include "infer/quant/quantize_product.h"
#include "recipes/program/cli.h"

typedef struct hs_quantize_pq {
    const char *checkpoint, *output;
    hs_products_opts products;
    int want; // as in hs_ckpt_resolve
    bool overwrite, layers, json;
} hs_quantize_pq;

// USAGE: an option that is of other forms alone. Writes and says what it came to.
hs_status hs_quantize_pq_run(const hs_cli *cli, const hs_quantize_pq *o);

#endif
