// cusparselt_abi: what cusparselt.c and the test double know of libcusparseLt.so.0: the objects and calls of 0.8, by whose header they are
// (cuSPARSELt 0.8.1). Objects of 0.5 to 0.7 are of other sizes, so the version is asked before anything else.
#ifndef HS_CORE_CUSPARSELT_ABI_H
#define HS_CORE_CUSPARSELT_ABI_H
#include <stddef.h>
#include <stdint.h>

enum { SP_MAJOR = 0, SP_MINOR = 8 };

typedef struct sp_object {
    _Alignas(16) uint8_t data[512];
} sp_object;
typedef sp_object sp_handle, sp_matrix, sp_matmul, sp_choice, sp_plan;

enum { SP_OK = 0, SP_NOT_SUPPORTED = 10 };        // cusparseStatus_t
enum { SP_KEEP = 0, SP_TURN = 1 };                // cusparseOperation_t
enum { SP_COLS = 1, SP_ROWS = 2 };                // cusparseOrder_t
enum { SP_F16 = 2, SP_BF16 = 14 };                // cudaDataType
enum { SP_HALF_ZERO = 0 };                        // cusparseLtSparsity_t
enum { SP_SUMS_F32 = 2 };                         // cusparseComputeType
enum { SP_BIAS_POINTER = 8 };                     // cusparseLtMatmulDescAttribute_t
enum { SP_ALGORITHM = 0, SP_LAST_ALGORITHM = 1 }; // cusparseLtMatmulAlgAttribute_t: its number, int32
enum { SP_CHOICE_DEFAULT = 0 };                   // cusparseLtMatmulAlg_t
enum { SP_ALIGNED = 16 };                         // bytes, of every operand

// X(name, parameters) of calls that begin with cusparseLt and return a status. Operands lie in device memory.
#define SP_CALLS(X)                                                                                                                        \
    X(GetProperty, (int which, int *value)) /* 0: major, 1: minor, 2: patch; needs no handle and no GPU */                                 \
    X(Init, (sp_handle * h))                                                                                                               \
    X(Destroy, (const sp_handle *h))                                                                                                       \
    X(DenseDescriptorInit,                                                                                                                 \
      (const sp_handle *h, sp_matrix *m, int64_t rows, int64_t cols, int64_t ld, uint32_t aligned, int type, int order))                   \
    X(StructuredDescriptorInit,                                                                                                            \
      (const sp_handle *h, sp_matrix *m, int64_t rows, int64_t cols, int64_t ld, uint32_t aligned, int type, int order, int sparsity))     \
    X(MatDescriptorDestroy, (const sp_matrix *m))                                                                                          \
    X(MatmulDescriptorInit, (const sp_handle *h, sp_matmul *p, int op_a, int op_b, const sp_matrix *a, const sp_matrix *b,                 \
                             const sp_matrix *c, const sp_matrix *d, int sums))                                                            \
    X(MatmulDescSetAttribute, (const sp_handle *h, sp_matmul *p, int which, const void *value, size_t bytes))                              \
    X(MatmulAlgSelectionInit, (const sp_handle *h, sp_choice *c, const sp_matmul *p, int which))                                           \
    X(MatmulAlgSelectionDestroy, (const sp_choice *c))                                                                                     \
    X(MatmulAlgSetAttribute, (const sp_handle *h, sp_choice *c, int which, const void *value, size_t bytes))                               \
    X(MatmulAlgGetAttribute, (const sp_handle *h, const sp_choice *c, int which, void *value, size_t bytes))                               \
    X(MatmulPlanInit, (const sp_handle *h, sp_plan *p, const sp_matmul *m, const sp_choice *c))                                            \
    X(MatmulPlanDestroy, (const sp_plan *p))                                                                                               \
    X(MatmulGetWorkspace, (const sp_handle *h, const sp_plan *p, size_t *bytes))                                                           \
    X(Matmul, (const sp_handle *h, const sp_plan *p, const void *alpha, const void *a, const void *b, const void *beta, const void *c,     \
               void *d, void *workspace, cudaStream_t *streams, int32_t n_streams))                                                        \
    X(SpMMAPruneCheck2, (const sp_handle *h, const sp_matrix *m, int is_a, int op, const void *dense, int *wrong, cudaStream_t stream))    \
    X(SpMMACompressedSize2, (const sp_handle *h, const sp_matrix *m, size_t *bytes, size_t *room))                                         \
    X(SpMMACompress2,                                                                                                                      \
      (const sp_handle *h, const sp_matrix *m, int is_a, int op, const void *dense, void *pressed, void *room, cudaStream_t stream))

#endif
