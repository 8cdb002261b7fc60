// cusparselt: products with weights that have two zeros in every four (2:4), by cuSPARSELt (libcusparseLt.so.0, 0.8), which is loaded when
// a model has such weights. A weight is pressed once, when its copies are made (core/graph/derived.h); whether a product by it is faster
// than that of the whole weight is timed once per shape, on the device, and kept.
#ifndef HS_CORE_CUSPARSELT_H
#define HS_CORE_CUSPARSELT_H
#include "core/cuda/device_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hs_sp hs_sp; // of a device

// where: a file in which what was timed is kept, read when the library is loaded and written as it grows; NULL: nothing is timed or kept,
// and pressed weights are used wherever they can be.
hs_status hs_sp_new(hs_sp **out, const char *gpu, const char *where);
void hs_sp_free(hs_sp *sp);
// Loads the library, if nobody did, for the GPU that is current. UNSUPPORTED and the reason where it is not there or of another version, or
// sp is NULL: nobody need make copies.
hs_status hs_sp_open(hs_sp *sp);

// Why a weight [outs, ins] cannot be pressed, or NULL.
const char *hs_sp_declines(int64_t outs, int64_t ins, hs_dtype type);
size_t hs_sp_bytes(int64_t outs, int64_t ins); // of a pressed weight, at most

// w [outs, ins], bf16 or f16, to bytes at `to`, in the lane's order, for which the host waits: not while the lane is captured. Where it
// cannot be done - no library, values that are not 2:4 - one line of the log says why, and products by `to` are declined.
void hs_sp_press(hs_lane *lane, const hs_ref *w, void *to, size_t bytes);

// y[rows, outs] = x[rows, ins] w^T + bias, all of one type, with f32 sums in an order of the library's
typedef struct hs_sp_product {
    int64_t rows, outs, ins; // rows: a multiple of 8
    hs_dtype type;
    const void *pressed, *x;
    void *y;
    const void *bias; // [outs] of that type, or NULL
} hs_sp_product;

typedef void hs_sp_step(const void *given, hs_lane *lane); // kernels put into the lane
// How the caller multiplies: what is timed against what.
typedef struct hs_sp_ways {
    hs_sp_step *whole;  // the same product by the whole weight, into the same y
    hs_sp_step *before; // what comes in front of each pressed product; NULL: nothing
    const void *given;
} hs_sp_ways;

// Whether a product is one of the library's: this device has pressed its weight (of several on one GPU the one that made the copy), there is
// an algorithm for its shape, and that is not slower. The first one of a shape makes its plan and times it, with what comes before it, beside
// the whole one, which leaves some y: it must not be captured. Kept is what both times were taken for; else one that runs is taken. Plans are
// made for a bias by its address; what is there does not matter yet.
bool hs_sp_has(hs_lane *lane, const hs_sp_product *p, const hs_sp_ways *ways);
// One that it has, in the lane's order. A failure stays in the lane, whose wait says it.
void hs_sp_multiply(hs_lane *lane, const hs_sp_product *p);

#ifdef __cplusplus
}
#endif
#endif
