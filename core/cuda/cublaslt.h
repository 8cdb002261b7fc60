// cublaslt: products by cuBLASLt, which is loaded where it is there (libcublasLt.so); what a product is lies in a plan that is made once per
// shape. Everything is column-major, as cuBLASLt has it: a row-major C[M, N] = A[M, K] B[N, K]^T is m = N, n = M of B^T's and A's bytes.
#ifndef HS_CORE_CUBLASLT_H
#define HS_CORE_CUBLASLT_H
#include "core/cuda/device_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

// What stands behind a product and is done by the same kernel, from sums that are not rounded yet. Of one matrix of bf16, f16 or f32; aux and
// sums are of D's type. GELU and its gradient do not add, the gradient and SUMS have no bias, and of SUMS D is f32.
typedef enum hs_lt_behind {
    HS_LT_NOTHING,
    HS_LT_GELU,  // D = gelu(the product with its bias), by tanh; and aux[m, n] = what it is made of, where there is aux
    HS_LT_DGELU, // D = the product * gelu'(aux[m, n]), by tanh
    HS_LT_SUMS,  // D, and sums[n] = sum over k of op(B)[k, n]
} hs_lt_behind;

// D[m, n] = scale op(A)[m, k] op(B)[k, n] + (add ? D : 0) + bias[m]. A and B of one type: bf16, f16, or f32, whose products are exact (no
// TF32); or both in 8-bit floats, times a factor for each that lies in device memory: A transposed, B not, rows at multiples of 16 bytes, m
// and k multiples of 16, not both E5M2. Sums are f32. Or both int8, and D their exact sums in int32, written: A transposed, B not, rows at
// multiples of 16 bytes, m and k multiples of 4, no bias, scale 1. The key of a plan: unused fields are 0.
typedef struct hs_lt_product {
    int64_t m, n, k;
    int64_t lda, ldb, ldd;                // elements from a column to the next
    int64_t batch, step_a, step_b, step_d; // batch 0: one product
    hs_dtype a, b, d;
    hs_dtype bias; // of the type of D, or F64: none
    hs_lt_behind behind;
    int64_t ld_aux; // elements from a column to the next, a multiple of 8; 0: there is none
    bool ta, tb, add;
    bool fast; // of 8-bit floats: sums are not taken to f32 on their way, which is faster and loses some of their last bits
    float scale;
} hs_lt_product;

typedef struct hs_lt_operands { // of which the first four lie at multiples of 16 bytes
    const void *a, *b;
    void *d;
    const void *bias;               // [m], where the product has one
    const float *factor_a, *factor_b; // of 8-bit floats, one f32 each, 4-byte aligned; else NULL
    void *aux, *sums;                 // where there is such; aux 16-byte aligned
} hs_lt_operands;

typedef struct hs_lt hs_lt; // of a device: handle, plans, what was found to be fastest

// UNSUPPORTED and the reason where there is no library. where: a file in which what was timed is kept, read now and written as it grows;
// NULL: nothing is timed, the library's first proposal is taken.
hs_status hs_lt_open(hs_lt **out, const char *gpu, const char *where);
void hs_lt_close(hs_lt *lt);
size_t hs_lt_version(const hs_lt *lt); // 130100

// Why a product cannot be one of cuBLASLt's, or NULL: alignment of rows, types.
const char *hs_lt_declines(const hs_lt_product *p);
// Whether the lane's GPU has a product of these operands, by its compute capability, by where they lie (o NULL: nobody knows yet) and by what
// the library proposes, which is asked once per shape. One line of the log says why it has not, once for floats, floats of 8 bits, int8 and
// products with something behind them (at debug level) each and reason. Not first while the lane is captured.
bool hs_lt_has(hs_lane *lane, const hs_lt_product *p, const hs_lt_operands *o);
bool hs_lt_has_8bit(hs_lane *lane, const hs_lt_product *p); // o NULL
// The same line of a reason that the caller has, in static words.
void hs_lt_say(hs_lane *lane, const hs_lt_product *p, const char *why);
// Two ways to the same bytes: kernels put into the lane.
typedef struct hs_lt_ways {
    void (*together)(const void *given, hs_lane *lane); // by the product with what stands behind it
    void (*apart)(const void *given, hs_lane *lane);
    const void *given;
} hs_lt_ways;
// Whether such a product is there, and is faster than what it does apart. The first one of a shape goes both ways and is timed on the
// operands that it was given: it must not be captured. What was found is kept, so that a later run has the same bits. One that adds cannot
// be tried: it goes the way of the one that writes, or apart where none came before it. Where nothing is timed, whatever is there is taken.
bool hs_lt_is_faster(hs_lane *lane, const hs_lt_product *p, const hs_lt_operands *o, const hs_lt_ways *ways);
// What libraries may write in while a product of the lane's runs; NULL: there is no memory. Not while the first product of a lane is captured.
void *hs_lt_workspace(hs_lane *lane, size_t *bytes);
// Up to 1 MiB of device memory in front of the lane's next product; NULL: no more, or none is left. Not while the first product of a lane is captured.
void *hs_lt_room(hs_lane *lane, size_t bytes);
// In the lane's order. The first one of a shape makes its plan, and may try proposals on the operands it was given; it must not be captured.
// A failure stays in the lane, whose wait says it.
void hs_lt_multiply(hs_lane *lane, const hs_lt_product *p, const hs_lt_operands *o);

#ifdef __cplusplus
}
#endif
#endif
