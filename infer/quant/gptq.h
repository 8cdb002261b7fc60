// gptq: codes of a weight that keep its outputs, not its values (Frantar et al. 2023, arXiv 2210.17323). Columns are rounded one after the
// other, and what each rounding did to the outputs of the calibration data is made good, as far as it can be, by those that are still to
// come:
//
//   H = G + damp mean(diag G) I       U upper, U^T U = H^-1 (factor.h)
//   for j:  e = (w_j - q_j) / U_jj    w_k -= e U_jk for k > j          each row of W for itself
//
// By blocks of 128 columns: inside, one after the other; what a block did to those behind it is one product. A block of 32 gets its scale
// when its first column is reached, from its values as they are by then; a row's scale (I8) is that of the weight as it was.
//
// order: columns with large inputs first, while there are most others to make good. Scales are then of the weight as it was, since the
// columns of a block are no longer met together.
//
// A column that no row of the calibration data reached (G_jj = 0) is rounded for itself, and takes no part. (The reference sets it to
// zero.) An H that is not positive definite gets ten times the damping, and again, up to 1; the report says which it was. Deterministic:
// one thread, one order. The bits depend on the ISA tier, which sums in other orders.
#ifndef HS_INFER_GPTQ_H
#define HS_INFER_GPTQ_H
#include "core/graph/coding.h"
#include "infer/quant/gram.h"

typedef struct hs_gptq_opts {
    double damp; // 0.01
    bool order;  // by falling G_jj
    bool search; // scales of 4-bit blocks by hs_round_weights' grid
} hs_gptq_opts;

typedef struct hs_gptq_report {
    double damp;         // that was taken: more than was asked for if H was not positive definite
    int64_t dead;        // columns that nothing reached
    double error, plain; // mean over rows x of |W x - Q x|^2: of these codes, and of those that hs_round_weights gives
    bool kept;           // these codes; false: plain rounding was better, and its codes are what was written
} hs_gptq_report;

// w [rows][cols], codes and scales as hs_coding_shape has them; report may be NULL. name: of the parameter, for messages.
// USAGE: g is of another width or has no rows, a damp out of (0, 1]; what hs_round_weights refuses. NONFINITE: in w or g. MEMORY: about
// 12 cols^2 + 520 cols + 5 rows cols bytes are taken.
hs_status hs_gptq(hs_coding c, const float *w, int64_t rows, int64_t cols, const hs_gram *g, const hs_gptq_opts *o, const char *name,
                  void *codes, void *scales, hs_gptq_report *report);

#endif
