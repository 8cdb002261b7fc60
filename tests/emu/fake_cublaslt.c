// fake_cublaslt: a double of the calls of cuBLASLt that core/cuda/cublaslt.c makes, as libcublasLt.so.13: it refuses what the library would
// (sizes, leading dimensions, alignments, epilogues with what each reads and writes, workspace; of 8-bit floats what Hopper has: A transposed
// and B not, and factors in device memory; of int8 the regular orders: the same, with sums in int32 and nothing behind them), with a line on
// stderr, and computes products naively in memory of the host's.
//
// It proposes algorithms that lean on all that a preference lets them: the alignment of operands, 256 bytes where none is said, and the
// workspace, which they fill. Each is for one problem alone, sums in an order of its own and takes the time that a test gives it; one of
// them is never possible. What was destroyed is not used, and operands lie in what the double of the CUDA runtime has allocated.
#include "core/base/fp8.h"
#include <cublasLt.h>
#include <dlfcn.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef enum object_kind { GONE, HANDLE, DESCRIPTION, LAYOUT, PREFERENCE } object_kind;
typedef struct object {
    object_kind kind;
    struct object *next;
} object;

typedef struct description {
    object o;
    cublasComputeType_t compute;
    cublasOperation_t ta, tb;
    cublasLtEpilogue_t epilogue;
    const void *bias;
    const float *factor_a, *factor_b;
    int8_t fast;
    void *aux;
    int64_t ld_aux;
} description;
typedef struct layout {
    object o;
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld, step;
    int32_t batch;
} layout;
typedef struct preference {
    object o;
    size_t workspace;
    uint32_t a, b, c, d; // alignments
} preference;

static cublasStatus_t refuse(const char *why)
{
    fprintf(stderr, "cuBLASLt's double: %s\n", why);
    return CUBLAS_STATUS_NOT_SUPPORTED;
}
#define WANT(what)                                                                                                                         \
    if (!(what))                                                                                                                           \
    return refuse("not " #what)

// ---- objects, which stay where they were when they are gone

static object *gone;
static long n_alive;
long fake_cublaslt_alive(void);
long fake_cublaslt_alive(void) { return n_alive; }

static void *make(object_kind kind, size_t bytes)
{
    object *o = calloc(1, bytes);
    if (!o)
        abort();
    o->kind = kind;
    n_alive++;
    return o;
}
static bool is(const void *p, object_kind kind) { return p && ((const object *)p)->kind == kind; }
static cublasStatus_t destroy(void *p, object_kind kind)
{
    WANT(is(p, kind));
    *(object *)p = (object){ GONE, gone };
    gone = p;
    n_alive--;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) { return *h = make(HANDLE, sizeof(object)), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) { return destroy(h, HANDLE); }
size_t cublasLtGetVersion(void) { return 130100; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute, cudaDataType_t scale)
{
    WANT((compute == CUBLAS_COMPUTE_32F && scale == CUDA_R_32F) || (compute == CUBLAS_COMPUTE_32I && scale == CUDA_R_32I));
    description *m = make(DESCRIPTION, sizeof *m);
    m->compute = compute, m->ta = m->tb = CUBLAS_OP_N, m->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    *d = (cublasLtMatmulDesc_t)m;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { return destroy(d, DESCRIPTION); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t which, const void *value, size_t bytes)
{
    description *m = (description *)d;
    WANT(is(m, DESCRIPTION));
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
                  { CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &m->aux, sizeof m->aux },
                  { CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &m->ld_aux, 8 },
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
    layout *m = make(LAYOUT, sizeof *m);
    m->type = type, m->rows = rows, m->cols = cols, m->ld = ld, m->batch = 1;
    *l = (cublasLtMatrixLayout_t)m;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { return destroy(l, LAYOUT); }
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t which, const void *value,
                                                size_t bytes)
{
    layout *m = (layout *)l;
    WANT(is(m, LAYOUT));
    const bool count = which == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
    WANT((count && bytes == 4) || (which == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET && bytes == 8));
    memcpy(count ? (void *)&m->batch : (void *)&m->step, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    preference *p = make(PREFERENCE, sizeof *p);
    p->a = p->b = p->c = p->d = 256;
    *out = (cublasLtMatmulPreference_t)p;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { return destroy(p, PREFERENCE); }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t given, cublasLtMatmulPreferenceAttributes_t which,
                                                    const void *value, size_t bytes)
{
    preference *p = (preference *)given;
    WANT(is(p, PREFERENCE));
    uint32_t *const to = which == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES   ? &p->a
                         : which == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES ? &p->b
                         : which == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES ? &p->c
                         : which == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES ? &p->d
                                                                               : NULL;
    WANT(to ? bytes == 4 : which == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && bytes == sizeof(size_t));
    memcpy(to ? (void *)to : (void *)&p->workspace, value, bytes);
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

// By cublasLt.h: a bias, or the gradient of one, is of D's type here; so is what GELU was made of, its rows multiples of 8 apart.
enum { READS_BIAS = 4, HAS_AUX = 128 };
static bool has_vector(const description *m) { return m->epilogue & READS_BIAS || m->epilogue >= CUBLASLT_EPILOGUE_BGRADA; }
static cublasStatus_t check_epilogue(const description *m, const layout *a, const layout *d)
{
    static const cublasLtEpilogue_t known[] = { CUBLASLT_EPILOGUE_DEFAULT,   CUBLASLT_EPILOGUE_BIAS,     CUBLASLT_EPILOGUE_GELU,
                                                CUBLASLT_EPILOGUE_GELU_BIAS, CUBLASLT_EPILOGUE_GELU_AUX, CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
                                                CUBLASLT_EPILOGUE_DGELU,     CUBLASLT_EPILOGUE_BGRADA,   CUBLASLT_EPILOGUE_BGRADB };
    bool is_known = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        is_known |= m->epilogue == known[i];
    WANT(is_known);
    WANT(m->epilogue <= CUBLASLT_EPILOGUE_BIAS || (bytes_of(a->type) > 1 && d->batch == 1));
    WANT(!has_vector(m) || m->bias);
    if (m->epilogue & HAS_AUX) {
        WANT(m->aux && (uintptr_t)m->aux % 16 == 0);
        WANT(m->ld_aux % 8 == 0 && m->ld_aux >= (int64_t)d->rows);
    }
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
    const cublasStatus_t st = check_epilogue(m, a, d);
    if (st != CUBLAS_STATUS_SUCCESS)
        return st;
    return in_int8 ? check_int8(m, a, b, d) : in_8bit ? check_8bit(m, a, b, d) : CUBLAS_STATUS_SUCCESS;
}

// ---- algorithms: [0] whose, [1] the problem, [2] to [5] alignments of A, B, C and D, [6] workspace

enum { NEVER = 77, FORTH, BACK, N_PROPOSED = 3, N_WORDS = 7 };
static const size_t workspace_of[N_PROPOSED] = { 0, 4096, 65536 };
static unsigned delay[N_PROPOSED]; // microseconds
static long taken[N_PROPOSED];
void fake_cublaslt_delay(int algorithm, unsigned us);
long fake_cublaslt_taken(int algorithm);
void fake_cublaslt_delay(int algorithm, unsigned us) { delay[algorithm] = us; }
long fake_cublaslt_taken(int algorithm) { return taken[algorithm]; } // how often, since the library was loaded

static uint64_t hash(uint64_t h, uint64_t v) { return (h ^ v) * 0x100000001b3; }
static uint64_t hash_layout(uint64_t h, const layout *l)
{
    const uint64_t v[] = { (uint64_t)l->type, l->rows, l->cols, (uint64_t)l->ld, (uint64_t)l->step, (uint64_t)l->batch };
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        h = hash(h, v[i]);
    return h;
}
static uint64_t problem_of(const description *m, const layout *a, const layout *b, const layout *d)
{
    uint64_t h = hash(hash(hash(hash(hash(1, (uint64_t)m->compute), m->ta), m->tb), m->epilogue), (uint64_t)m->fast);
    h = hash(h, (uint64_t)m->ld_aux);
    return hash_layout(hash_layout(hash_layout(h, a), b), d);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t given, int n, cublasLtMatmulHeuristicResult_t *found, int *n_found)
{
    const preference *p = (const preference *)given;
    WANT(is(h, HANDLE) && is(desc, DESCRIPTION) && is(a, LAYOUT) && is(b, LAYOUT) && is(c, LAYOUT) && is(d, LAYOUT) && is(p, PREFERENCE));
    WANT(n > 0 && hash_layout(0, (const layout *)c) == hash_layout(0, (const layout *)d));
    const uint64_t problem = problem_of((const description *)desc, (const layout *)a, (const layout *)b, (const layout *)d);
    *n_found = 0;
    for (int i = 0; i < N_PROPOSED && *n_found < n; i++) {
        if (workspace_of[i] > p->workspace)
            continue;
        const uint64_t data[N_WORDS] = { NEVER + (uint64_t)i, problem, p->a, p->b, p->c, p->d, workspace_of[i] };
        cublasLtMatmulHeuristicResult_t *r = &found[(*n_found)++];
        *r = (cublasLtMatmulHeuristicResult_t){ .workspaceSize = workspace_of[i],
                                                .state = !i ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS };
        memcpy(r->algo.data, data, sizeof data);
    }
    return check((const description *)desc, (const layout *)a, (const layout *)b, (const layout *)d);
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t h, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algo,
                                       cublasLtMatmulHeuristicResult_t *said)
{
    uint64_t data[N_WORDS];
    WANT(is(h, HANDLE) && is(desc, DESCRIPTION) && is(a, LAYOUT) && is(b, LAYOUT) && is(c, LAYOUT) && is(d, LAYOUT));
    memcpy(data, algo->data, sizeof data);
    if ((data[0] != FORTH && data[0] != BACK) ||
        data[1] != problem_of((const description *)desc, (const layout *)a, (const layout *)b, (const layout *)d))
        return CUBLAS_STATUS_INVALID_VALUE; // as anything may lie in a file
    *said = (cublasLtMatmulHeuristicResult_t){ .algo = *algo, .workspaceSize = workspace_of[data[0] - NEVER], .state = CUBLAS_STATUS_SUCCESS };
    return check((const description *)desc, (const layout *)a, (const layout *)b, (const layout *)d);
}

typedef struct product {
    description m;
    layout A, B, D;
    const void *a, *b;
    void *d;
    float scale, keep;
    int32_t times, added; // the same of int8
    int algorithm;
    void *workspace;
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

// What becomes of a cell, and of what GELU was made of.
static float behind(const description *m, cudaDataType_t type, int64_t aux, float x)
{
    const bool gelu = m->epilogue & CUBLASLT_EPILOGUE_GELU, slope = (m->epilogue & CUBLASLT_EPILOGUE_DGELU) == CUBLASLT_EPILOGUE_DGELU;
    if (gelu && m->epilogue & HAS_AUX)
        set(m->aux, type, aux, x);
    const double v = slope ? get(m->aux, type, aux) : x, c = sqrt(2 / M_PI), t = tanh(c * (v + 0.044715 * v * v * v));
    return (float)(gelu    ? 0.5 * v * (1 + t)
                   : slope ? x * (0.5 * (1 + t) + 0.5 * v * (1 - t * t) * c * (1 + 3 * 0.044715 * v * v))
                           : x);
}

// A matrix of a batch as rows of n floats, one for each of the K terms of a sum.
static void spread(float *to, const void *from, const layout *l, int64_t z, int64_t K, int64_t n, bool turned)
{
    for (int64_t k = 0; k < K; k++)
        for (int64_t i = 0; i < n; i++)
            to[k * n + i] = get(from, l->type, z * l->step + (turned ? i * l->ld + k : k * l->ld + i));
}

// A column of the product: each sum for itself in the order of its terms, many beside each other.
static void add_products(float *restrict sums, const float *restrict a, const float *restrict b, int64_t M, int64_t K, int64_t N, bool back)
{
    for (int64_t i = 0; i < M; i++)
        sums[i] = 0;
    for (int64_t step = 0; step < K; step++) {
        const int64_t k = back ? K - 1 - step : step;
        for (int64_t i = 0; i < M; i++)
            sums[i] += a[k * M + i] * b[k * N];
    }
}

static void multiply(void *given)
{
    const product *p = given;
    const int which = p->algorithm - NEVER;
    if (delay[which])
        usleep(delay[which]);
    memset(p->workspace, 0xFF, workspace_of[which]);
    if (is_int8(p->A.type)) {
        multiply_int8(p);
        return;
    }
    const description *m = &p->m;
    const layout *A = &p->A, *B = &p->B, *D = &p->D;
    const bool bias = m->epilogue & READS_BIAS;
    const float scale = m->factor_a ? p->scale * *m->factor_a * *m->factor_b : p->scale; // read when it runs
    const int64_t K = (int64_t)(m->ta == CUBLAS_OP_T ? A->rows : A->cols), M = (int64_t)D->rows, N = (int64_t)D->cols;
    float *const sums = malloc((size_t)(M + K * (M + N)) * sizeof *sums), *const a = sums + M, *const b = a + K * M;
    if (!sums)
        abort();
    for (int64_t z = 0; z < D->batch; z++) {
        spread(a, p->a, A, z, K, M, m->ta == CUBLAS_OP_T);
        spread(b, p->b, B, z, K, N, m->tb != CUBLAS_OP_T);
        for (int64_t j = 0; j < N; j++) {
            add_products(sums, a, b + j, M, K, N, p->algorithm == BACK);
            for (int64_t i = 0; i < M; i++) {
                const int64_t at = z * D->step + j * D->ld + i;
                const float was = p->keep != 0 ? p->keep * get(p->d, D->type, at) : 0;
                const float whole = scale * sums[i] + was + (bias ? get(m->bias, D->type, i) : 0);
                set(p->d, D->type, at, behind(m, D->type, j * m->ld_aux + i, whole));
            }
        }
    }
    free(sums);
    const bool of_a = m->epilogue == CUBLASLT_EPILOGUE_BGRADA, of_b = m->epilogue == CUBLASLT_EPILOGUE_BGRADB;
    for (int64_t i = 0; i < (int64_t)(of_a ? D->rows : of_b ? D->cols : 0); i++) {
        float sum = 0;
        for (int64_t k = 0; k < K; k++)
            sum += of_a ? get(p->a, A->type, m->ta == CUBLAS_OP_T ? i * A->ld + k : k * A->ld + i)
                        : get(p->b, B->type, m->tb == CUBLAS_OP_T ? k * B->ld + i : i * B->ld + k);
        set((void *)(uintptr_t)m->bias, D->type, i, sum);
    }
}

typedef void call(void *);
typedef void enqueue_fn(cudaStream_t, call *, call *, void *);
typedef size_t extent_fn(const void *);
static enqueue_fn *enqueue;
static extent_fn *extent; // bytes of device memory from there to the end of an allocation
static long products_8bit, products_int8, products_with[1024];
void fake_cublaslt_streams(enqueue_fn *f);
long fake_cublaslt_8bit(void);
long fake_cublaslt_int8(void);
long fake_cublaslt_with(int epilogue);
void fake_cublaslt_streams(enqueue_fn *f) { enqueue = f; } // of a plug-in, which exports no symbol
void fake_cublaslt_memory(extent_fn *f);
void fake_cublaslt_memory(extent_fn *f) { extent = f; }
long fake_cublaslt_8bit(void) { return products_8bit; }    // that were called for
long fake_cublaslt_int8(void) { return products_int8; }
long fake_cublaslt_with(int epilogue) { return products_with[epilogue]; }

// In the order of a stream of the emulator's, where the program has one (it exports that symbol then); NULL: at once.
static cublasStatus_t put(const product *p, cudaStream_t s)
{
    products_8bit += is_8bit(p->A.type), products_int8 += is_int8(p->A.type), products_with[p->m.epilogue]++;
    if (!s) {
        multiply((void *)(uintptr_t)p);
        return CUBLAS_STATUS_SUCCESS;
    }
    if (!enqueue)
        *(void **)&enqueue = dlsym(RTLD_DEFAULT, "hs_emu_enqueue");
    WANT(enqueue);
    product *kept = malloc(sizeof *kept);
    memset(kept, 0, malloc_usable_size(kept)); // for who looks for addresses in it
    *kept = *p;
    enqueue(s, multiply, free, kept);
    return CUBLAS_STATUS_SUCCESS;
}

// Whether there are so many bytes, where anybody knows.
static bool lies(const void *p, size_t bytes)
{
    if (!extent)
        *(void **)&extent = dlsym(RTLD_DEFAULT, "hs_emu_extent");
    return !extent || extent(p) >= bytes;
}
static size_t bytes_of_all(const layout *l)
{
    return (size_t)((l->batch - 1) * l->step + ((int64_t)l->cols - 1) * l->ld + (int64_t)l->rows) * bytes_of(l->type);
}
static bool at_multiple(const void *p, uint64_t bytes) { return (uintptr_t)p % bytes == 0; }

static cublasStatus_t check_operands(const product *p, const uint64_t *algorithm)
{
    WANT(at_multiple(p->a, algorithm[2]) && at_multiple(p->b, algorithm[3]) && at_multiple(p->d, algorithm[4]) && at_multiple(p->d, algorithm[5]));
    WANT(at_multiple(p->a, 16) && at_multiple(p->b, 16) && at_multiple(p->d, 16));
    WANT(lies(p->a, bytes_of_all(&p->A)) && lies(p->b, bytes_of_all(&p->B)) && lies(p->d, bytes_of_all(&p->D)));
    const bool by_cols = p->m.epilogue == CUBLASLT_EPILOGUE_BGRADB;
    if (has_vector(&p->m))
        WANT(at_multiple(p->m.bias, 16) && lies(p->m.bias, (by_cols ? p->D.cols : p->D.rows) * bytes_of(p->D.type)));
    if (p->m.epilogue & HAS_AUX) {
        const size_t bytes = (((size_t)p->D.cols - 1) * (size_t)p->m.ld_aux + p->D.rows) * bytes_of(p->D.type);
        const char *aux = p->m.aux, *d = p->d;
        WANT(lies(aux, bytes) && (aux + bytes <= d || d + bytes_of_all(&p->D) <= aux)); // beside what comes out
    }
    WANT(lies(p->workspace, algorithm[6]));
    WANT(!p->m.factor_a || (lies(p->m.factor_a, 4) && lies(p->m.factor_b, 4)));
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t h, cublasLtMatmulDesc_t desc, const void *alpha, const void *a, cublasLtMatrixLayout_t la,
                              const void *b, cublasLtMatrixLayout_t lb, const void *beta, const void *c, cublasLtMatrixLayout_t lc, void *d,
                              cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                              cudaStream_t s)
{
    uint64_t algorithm[N_WORDS];
    WANT(is(h, HANDLE) && is(desc, DESCRIPTION) && is(la, LAYOUT) && is(lb, LAYOUT) && is(lc, LAYOUT) && is(ld, LAYOUT));
    memcpy(algorithm, algo->data, sizeof algorithm);
    product p = { *(const description *)desc, *(const layout *)la, *(const layout *)lb, *(const layout *)ld, a, b, d, 0, 0, 0, 0,
                  (int)algorithm[0], workspace };
    const bool whole = p.m.compute == CUBLAS_COMPUTE_32I;
    memcpy(whole ? (void *)&p.times : &p.scale, alpha, 4);
    memcpy(whole ? (void *)&p.added : &p.keep, beta, 4);
    WANT(p.algorithm == FORTH || p.algorithm == BACK);
    WANT(algorithm[1] == problem_of(&p.m, &p.A, &p.B, &p.D));
    WANT(workspace && at_multiple(workspace, 256) && workspace_bytes >= algorithm[6]);
    WANT(c == d);
    cublasStatus_t st = check_operands(&p, algorithm);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = check(&p.m, &p.A, &p.B, &p.D);
    if (st != CUBLAS_STATUS_SUCCESS)
        return st;
    taken[p.algorithm - NEVER]++;
    return put(&p, s);
}
