// quantize_product: a checkpoint whose matrices are kept as indices of centroids (product.h): which of them, and the directory that it
// makes.
//
//   hs_export_model_open, _trace, _load (values)  ->  hs_products_new  ->  hs_products_write
//
// k-means of a matrix whose blocks are at most `centroids` different ones - training tied them (recipes/train/tied) - finds just these.
#ifndef HS_INFER_QUANTIZE_PRODUCT_H
#define HS_INFER_QUANTIZE_PRODUCT_H
#include "core/graph/coding.h"
#include "infer/export/export_model.h"
#include "infer/quant/product.h"

// Why the logical tensors of a parameter are not kept so; NULL: they are, as `part`. wish.coding is not looked at.
const char *hs_product_declines(const hs_param *p, const hs_coding_uses *u, const hs_coding_wish *wish, const hs_product_opts *o,
                                hs_product_part *part);

typedef struct hs_products_opts {
    hs_product_opts product; // of each logical tensor: query, key and value have centroids of their own
    const char *skip;        // patterns of parameters that keep their values; NULL: none
    bool tables;
} hs_products_opts;

typedef struct hs_produced { // what became of one parameter
    const hs_param *param;
    hs_product_part part;
    const char *why; // it keeps its values: the reason; NULL: it is centroids
    double error;    // sqrt(sum (w - value)^2 / sum w^2), the worst of its logical tensors
    int centroids;
} hs_produced;

typedef struct hs_products hs_products;
// from: traced and loaded; borrowed. USAGE: nothing can be kept so, patterns that fit nothing.
hs_status hs_products_new(hs_products **out, hs_export_model *from, const hs_products_opts *o);
void hs_products_free(hs_products *q);
// k-means, then the directory; errors are known behind it.
hs_status hs_products_write(hs_products *q, const char *dir, bool overwrite);
const hs_produced *hs_products_at(const hs_products *q, int i, int *n); // by hs_param.id
double hs_products_bytes(const hs_products *q);                         // of all parameters as the file has them, f32 where they are values

#endif
