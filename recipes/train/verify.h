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
    const char *out;      // folder of runs that have to save: of resume, and where phases or stages (train.unfreeze) lie between steps
    int then_dp, then_tp; // of resume: the layout that goes on; 0: the same
} hs_verify_opts;

typedef struct hs_verify_row { // of one logical tensor: of a parameter in which several are stacked (q, k, v) each, "h0.attn.qkv.bias[2/3]"
    char name[128];
    double ulp, relative; // its largest difference, and that in terms of its largest magnitude
    double rms, bound;    // root of the mean square of differences, in terms of the same of the values; and what that may be
} hs_verify_row;

// ALL_NOISE: it may differ by as much as it is and be within the bound, which says nothing of it then - a bias of keys, whose gradient is 0
// but for rounding. By its own row: beside queries and values it would hide what befalls these.
typedef enum hs_verify_verdict { HS_VERIFY_FINE, HS_VERIFY_ALL_NOISE, HS_VERIFY_FAILS } hs_verify_verdict;
hs_verify_verdict hs_verify_judge(const hs_verify_row *r);

typedef struct hs_verify_result {
    hs_verify_row *row; // [n], the worst first; of resume files
    int n;
    double loss, loss_bound; // relative, over all steps
    bool same_scaler;        // scale, applied and skipped steps
    bool same_samples;       // as many samples and tokens were seen
    int64_t applied, skipped;
    int n_replicated, n_differ; // tensors that several ranks have; of these not bit-identical
    char differs[128];          // the first of these
    bool passed;
} hs_verify_result;

// Of a divided optimizer nothing may differ, but where gradients are divided too and come in several micro-batches: each of these is
// reduced by itself then, in another order.
bool hs_verify_exact(const hs_verify_opts *o);
// Collective. Of resume with another layout: o->steps by the ranks as they are, as many by that layout, against one process that never
// stopped, as tp and dp are. USAGE: the layout has nothing of what is to be verified; more steps than there are.
hs_status hs_verify(const hs_verify_opts *o, hs_verify_result *out);
// Of one that did not pass: why not, with the tensor's name.
void hs_verify_why(const hs_verify_result *r, char *buf, size_t size);
hs_status hs_verify_folder(const hs_verify_opts *o); // USAGE: o->out is there already
// Of verify_resume.c: out->row are files, .ulp the bytes in which they differ.
hs_status hs_verify_resume(const hs_verify_opts *o, hs_verify_result *out);
void hs_verify_free(hs_verify_result *r);

#endif
