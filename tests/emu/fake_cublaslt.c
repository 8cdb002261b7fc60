// fake_cublaslt: a double of the calls of cuBLASLt that core/cuda/cublaslt.c makes, as libcublasLt.so.13: it refuses what the library would
// (sizes, leading dimensions, alignments, epilogues, workspace; of 8-bit floats what Hopper has: A transposed and B not, and factors in
// device memory; of int8 the regular orders: the same, with sums in int32 and nothing behind them), with a line on stderr, and computes
// products naively in memory of the host's.
#include "core/base/fp8.h"
#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct description {
    cublasComputeType_t compute;
    cublasOperation_t ta, tb;
    cublasLtEpilogue_t epilogue;
    const void *bias;
    const float *factor_a, *factor_b;
    int8_t fast;
} description;
typedef struct layout {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld, step;
    int32_t batch;
} layout;
_Static_assert(sizeof(description) <= sizeof(cublasLtMatmulDescOpaque_t) && sizeof(layout) <= sizeof(cublasLtMatrixLayoutOpaque_t),
               "they fit");

static cublasStatus_t refuse(const char *why)
{
    fprintf(stderr, "cuBLASLt's double: %s\n", why);
    return CUBLAS_STATUS_NOT_SUPPORTED;
}
#define WANT(what)                                                                                                                         \
    if (!(what))                                                                                                                           \
    return refuse("not " #what)

cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) { return *h = malloc(1), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) { return free(h), CUBLAS_STATUS_SUCCESS; }
size_t cublasLtGetVersion(void) { return 130100; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute, cudaDataType_t scale)
{
    WANT((compute == CUBLAS_COMPUTE_32F && scale == CUDA_R_32F) || (compute == CUBLAS_COMPUTE_32I && scale == CUDA_R_32I));
    *d = calloc(1, sizeof **d);
    *(description *)*d = (description){ compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL, NULL, NULL, 0 };
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { return free(d), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t which, const void *value, size_t bytes)
{
    description *m = (description *)d;
    const struct {
        cublasLtMatmulDescAttributes_t which;
        void *to;
        size_t bytes;
    } known[] = { { CUBLASLT_MATMUL_DESC_TRANSA, &m->ta, 4 },
                  { CUBLASLT_MATMUL_DESC_TRANSB, &m->tb, 4 },
                  { CUBLASLT_MATMUL_DESC_EPILOGUE, &m->epilogue, 4 },
                  { CUBLASLT_MATMUL_DESC_BIAS_POINTER, &m->bias, sizeof m->bias },
                  { CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &m->factor_a, sizeof m->factor_a },
                  { CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &m->factor_b, sizeof m->factor_b },
                  { CUBLASLT_MATMUL_DESC_FAST_ACCUM, &m->fast, 1 } };
    void *to = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        to = known[i].which == which && known[i].bytes == bytes ? known[i].to : to;
    WANT(to);
    memcpy(to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld)
{
    WANT(rows && cols && ld >= (int64_t)rows);
    *l = calloc(1, sizeof **l);
    *(layout *)*l = (layout){ type, rows, cols, ld, 0, 1 };
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { return free(l), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t which, const void *value,
                                                size_t bytes)
{
    layout *m = (layout *)l;
    const bool count = which == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
    WANT((count && bytes == 4) || (which == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET && bytes == 8));
    memcpy(count ? (void *)&m->batch : (void *)&m->step, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) { return *p = calloc(1, sizeof **p), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { return free(p), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t which,
                                                    const void *value, size_t bytes)
{
    (void)p, (void)value;
    WANT(which == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && bytes == sizeof(size_t));
    return CUBLAS_STATUS_SUCCESS;
}

// ---- products

static bool is_8bit(cudaDataType_t t) { return t == CUDA_R_8F_E4M3 || t == CUDA_R_8F_E5M2; }
static bool is_int8(cudaDataType_t t) { return t == CUDA_R_8I; }
static size_t bytes_of(cudaDataType_t t) { return t == CUDA_R_32F || t == CUDA_R_32I ? 4 : is_8bit(t) || is_int8(t) ? 1 : 2; }
static float get(const void *p, cudaDataType_t t, int64_t i)
{
    return t == CUDA_R_32F       ? ((const float *)p)[i]
           : t == CUDA_R_8F_E4M3 ? hs_e4m3_f32(((const uint8_t *)p)[i])
           : t == CUDA_R_8F_E5M2 ? hs_e5m2_f32(((const uint8_t *)p)[i])
           : t == CUDA_R_16BF    ? hs_bf16_f32(((const uint16_t *)p)[i])
                                 : hs_f16_f32(((const uint16_t *)p)[i]);
}
static void set(void *p, cudaDataType_t t, int64_t i, float v)
{
    if (t == CUDA_R_32F)
        ((float *)p)[i] = v;
    else
        ((uint16_t *)p)[i] = t == CUDA_R_16BF ? hs_f32_bf16(v) : hs_f32_f16(v);
}

static cublasStatus_t check_8bit(const description *m, const layout *a, const layout *b, const layout *d)
{
    WANT(is_8bit(a->type) && is_8bit(b->type) && (a->type == CUDA_R_8F_E4M3 || b->type == CUDA_R_8F_E4M3));
    WANT(m->ta == CUBLAS_OP_T && m->tb == CUBLAS_OP_N);
    WANT(d->rows % 16 == 0 && a->rows % 16 == 0); // m and k
    WANT(!is_8bit(d->type) && (m->epilogue == CUBLASLT_EPILOGUE_DEFAULT || d->type != CUDA_R_32F)); // an f32 product's bias is bf16
    WANT(m->factor_a && m->factor_b && (uintptr_t)m->factor_a % 4 == 0 && (uintptr_t)m->factor_b % 4 == 0);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_int8(const description *m, const layout *a, const layout *b, const layout *d)
{
    WANT(m->compute == CUBLAS_COMPUTE_32I && is_int8(a->type) && is_int8(b->type) && d->type == CUDA_R_32I);
    WANT(m->ta == CUBLAS_OP_T && m->tb == CUBLAS_OP_N);
    WANT(d->rows % 4 == 0 && a->rows % 4 == 0); // m and k
    WANT(a->ld % 4 == 0 && b->ld % 4 == 0 && d->ld % 4 == 0);
    WANT(m->epilogue == CUBLASLT_EPILOGUE_DEFAULT && !m->bias && !m->factor_a && !m->factor_b && !m->fast);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check(const description *m, const layout *a, const layout *b, const layout *d)
{
    const uint64_t am = m->ta == CUBLAS_OP_T ? a->cols : a->rows, ak = m->ta == CUBLAS_OP_T ? a->rows : a->cols;
    const uint64_t bk = m->tb == CUBLAS_OP_T ? b->cols : b->rows, bn = m->tb == CUBLAS_OP_T ? b->rows : b->cols;
    WANT(am == d->rows && bn == d->cols && ak == bk);
    const bool in_8bit = is_8bit(a->type) || is_8bit(b->type), in_int8 = is_int8(a->type) || is_int8(b->type);
    WANT(in_8bit || in_int8 || (a->type == b->type && (d->type == CUDA_R_32F || d->type == a->type)));
    WANT(in_int8 || m->compute == CUBLAS_COMPUTE_32F);
    WANT(in_8bit || (!m->factor_a && !m->factor_b && !m->fast));
    WANT(a->batch == b->batch && b->batch == d->batch);
    WANT(a->ld * (int64_t)bytes_of(a->type) % 16 == 0 && b->ld * (int64_t)bytes_of(b->type) % 16 == 0 &&
         d->ld * (int64_t)bytes_of(d->type) % 16 == 0);
    WANT(m->epilogue == CUBLASLT_EPILOGUE_DEFAULT || m->epilogue == CUBLASLT_EPILOGUE_BIAS);
    return in_int8 ? check_int8(m, a, b, d) : in_8bit ? check_8bit(m, a, b, d) : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t p, int n, cublasLtMatmulHeuristicResult_t *found, int *n_found)
{
    (void)h, (void)p;
    WANT(n > 0 && !memcmp(c, d, sizeof *c));
    *found = (cublasLtMatmulHeuristicResult_t){ .workspaceSize = 4096, .state = CUBLAS_STATUS_SUCCESS };
    found->algo.data[0] = 77;
    *n_found = 1;
    return check((const description *)desc, (const layout *)a, (const layout *)b, (const layout *)d);
}

typedef struct product {
    description m;
    layout A, B, D;
    const void *a, *b;
    void *d;
    float scale, keep;
    int32_t times, added; // the same of int8
} product;

// A is transposed, B not. What rows that are nobody's hold may be too large for a sum: it wraps.
static void multiply_int8(const product *p)
{
    const layout *A = &p->A, *B = &p->B, *D = &p->D;
    for (int64_t z = 0; z < D->batch; z++)
        for (int64_t j = 0; j < (int64_t)D->cols; j++)
            for (int64_t i = 0; i < (int64_t)D->rows; i++) {
                const int8_t *a = (const int8_t *)p->a + z * A->step + i * A->ld, *b = (const int8_t *)p->b + z * B->step + j * B->ld;
                int32_t *d = (int32_t *)p->d + z * D->step + j * D->ld + i;
                uint32_t sum = 0;
                for (int64_t k = 0; k < (int64_t)A->rows; k++)
                    sum += (uint32_t)(a[k] * b[k]);
                *d = (int32_t)((uint32_t)p->times * sum + (p->added ? (uint32_t)p->added * (uint32_t)*d : 0));
            }
}

static void multiply(void *given)
{
    const product *p = given;
    if (is_int8(p->A.type)) {
        multiply_int8(p);
        return;
    }
    const description *m = &p->m;
    const layout *A = &p->A, *B = &p->B, *D = &p->D;
    const bool bias = m->epilogue == CUBLASLT_EPILOGUE_BIAS;
    const float scale = m->factor_a ? p->scale * *m->factor_a * *m->factor_b : p->scale; // read when it runs
    const int64_t K = (int64_t)(m->ta == CUBLAS_OP_T ? A->rows : A->cols);
    for (int64_t z = 0; z < D->batch; z++)
        for (int64_t j = 0; j < (int64_t)D->cols; j++)
            for (int64_t i = 0; i < (int64_t)D->rows; i++) {
                float sum = 0;
                for (int64_t k = 0; k < K; k++)
                    sum += get(p->a, A->type, z * A->step + (m->ta == CUBLAS_OP_T ? i * A->ld + k : k * A->ld + i)) *
                           get(p->b, B->type, z * B->step + (m->tb == CUBLAS_OP_T ? k * B->ld + j : j * B->ld + k));
                const int64_t at = z * D->step + j * D->ld + i;
                const float was = p->keep != 0 ? p->keep * get(p->d, D->type, at) : 0;
                set(p->d, D->type, at, scale * sum + was + (bias ? get(m->bias, D->type, i) : 0));
            }
}

typedef void call(void *);
typedef void enqueue_fn(cudaStream_t, call *, call *, void *);
static enqueue_fn *enqueue;
static long products_8bit, products_int8;
void fake_cublaslt_streams(enqueue_fn *f);
long fake_cublaslt_8bit(void);
long fake_cublaslt_int8(void);
void fake_cublaslt_streams(enqueue_fn *f) { enqueue = f; } // of a plug-in, which exports no symbol
long fake_cublaslt_8bit(void) { return products_8bit; }    // that were called for
long fake_cublaslt_int8(void) { return products_int8; }

// In the order of a stream of the emulator's, where the program has one (it exports that symbol then); NULL: at once.
static cublasStatus_t put(const product *p, cudaStream_t s)
{
    products_8bit += is_8bit(p->A.type), products_int8 += is_int8(p->A.type);
    if (!s) {
        multiply((void *)(uintptr_t)p);
        return CUBLAS_STATUS_SUCCESS;
    }
    if (!enqueue)
        *(void **)&enqueue = dlsym(RTLD_DEFAULT, "hs_emu_enqueue");
    WANT(enqueue);
    product *kept = malloc(sizeof *kept);
    *kept = *p;
    enqueue(s, multiply, free, kept);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t h, cublasLtMatmulDesc_t desc, const void *alpha, const void *a, cublasLtMatrixLayout_t la,
                              const void *b, cublasLtMatrixLayout_t lb, const void *beta, const void *c, cublasLtMatrixLayout_t lc, void *d,
                              cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                              cudaStream_t s)
{
    product p = { *(const description *)desc, *(const layout *)la, *(const layout *)lb, *(const layout *)ld, a, b, d, 0, 0, 0, 0 };
    const bool whole = p.m.compute == CUBLAS_COMPUTE_32I;
    memcpy(whole ? (void *)&p.times : &p.scale, alpha, 4);
    memcpy(whole ? (void *)&p.added : &p.keep, beta, 4);
    (void)h, (void)lc;
    WANT(algo->data[0] == 77 && workspace && (uintptr_t)workspace % 256 == 0 && workspace_bytes == 4096);
    WANT(c == d && (uintptr_t)a % 16 == 0 && (uintptr_t)b % 16 == 0 && (uintptr_t)d % 16 == 0);
    WANT(p.m.epilogue != CUBLASLT_EPILOGUE_BIAS || p.m.bias);
    const cublasStatus_t st = check(&p.m, &p.A, &p.B, &p.D);
    return st == CUBLAS_STATUS_SUCCESS ? put(&p, s) : st;
}
