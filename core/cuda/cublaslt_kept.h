// cublaslt_kept: which of cuBLASLt's algorithms was fastest for which product, kept in a file for one GPU's name and one version of the library.
// What ranks and later runs find there they take, so that sums are in the same order: of several that looked at once the first is right.
#ifndef HS_CORE_CUBLASLT_KEPT_H
#define HS_CORE_CUBLASLT_KEPT_H
#include "core/cuda/cublaslt.h"

typedef struct hs_lt_line {
    hs_lt_product key;
    uint64_t algo[8]; // cublasLtMatmulAlgo_t
    size_t workspace;
} hs_lt_line;

typedef struct hs_lt_kept hs_lt_kept;
hs_status hs_lt_kept_new(hs_lt_kept **out, const char *where, const char *gpu, size_t version, size_t most_workspace);
void hs_lt_kept_free(hs_lt_kept *k); // NULL: nothing

// By this process or, meanwhile, another; NULL: by nobody, or it wants more workspace than there is.
const hs_lt_line *hs_lt_kept_of(hs_lt_kept *k, const hs_lt_product *key);
// Writes it, unless another process was first: its line stays, and is this process' too. anew: where a line of this key was no good, and this
// one takes its place.
void hs_lt_kept_add(hs_lt_kept *k, const hs_lt_line *line, bool anew);

#endif
