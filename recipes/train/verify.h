// verify: does a layout train what one process trains? The same steps on the ranks that were started and on one process, tensor by tensor.
//
// The bound is measured, not chosen: what the one process differs from itself by when every weight begins half a unit in the last place
// away - of the type that products read where tensor parallelism rounds partial products in it, else of f32. A layout that sums in another
// order is noise of that kind; a missing reduction, a wrong mask or slice is orders of magnitude more.
#ifndef HS_RECIPES_VERIFY_H
#define HS_RECIPES_VERIFY_H
#include "recipes/train/trainer.h"

typedef enum hs_verify_what { HS_VERIFY_TP, HS_VERIFY_DP, HS_VERIFY_SHARD, HS_VERIFY_RESUME } hs_verify_what;
#define HS_VERIFY_WORDS "tp|dp|shard|resume"
enum { HS_VERIFY_NOISE = 32 }; // times the noise is the bound

typedef struct hs_verify_opts {
    hs_verify_what what;
    const hs_config *config;
    hs_parallel *parallel;
    int steps;
    const char *out; // of resume: folder of its two runs
} hs_verify_opts;

typedef struct hs_verify_row { // of one tensor
    char name[128];
    double ulp, relative; // its largest difference, and that in terms of its largest magnitude
    double rms, bound;    // root of the mean square of differences, in terms of the same of the values; and what that may be
} hs_verify_row;

typedef struct hs_verify_result {
    hs_verify_row *row; // [n], the worst first; of resume files
    int n;
    double loss, loss_bound; // relative, over all steps
    bool same_scaler;        // scale, applied and skipped steps
    int64_t applied, skipped;
    int n_replicated, n_differ; // tensors that several ranks have; of these not bit-identical
    bool passed;
} hs_verify_result;

// Of a divided optimizer nothing may differ, but where gradients are divided too and come in several micro-batches: each of these is
// reduced by itself then, in another order.
bool hs_verify_exact(const hs_verify_opts *o);
// Collective. USAGE: the layout has nothing of what is to be verified; more steps than train.steps.
hs_status hs_verify(const hs_verify_opts *o, hs_verify_result *out);
// Of verify_resume.c: out->row are files, .ulp the bytes in which they differ.
hs_status hs_verify_resume(const hs_verify_opts *o, hs_verify_result *out);
void hs_verify_free(hs_verify_result *r);

#endif
