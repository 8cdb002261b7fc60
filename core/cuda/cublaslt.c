// cublaslt: plans by shape, and which of the library's proposals is fastest.
#include "core/cuda/cublaslt.h"
#include "core/base/log.h"
#include "core/cuda/cublaslt_behind.h"
#include "core/cuda/cublaslt_kept.h"
#include "core/cuda/stopwatch.h"
#include <cublasLt.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- the library

#define CALLS(X)                                                                                                                           \
    X(cublasLtCreate)                                                                                                                      \
    X(cublasLtDestroy)                                                                                                                     \
    X(cublasLtGetVersion)                                                                                                                  \
    X(cublasLtMatmul)                                                                                                                      \
    X(cublasLtMatmulAlgoCheck)                                                                                                             \
    X(cublasLtMatmulAlgoGetHeuristic)                                                                                                      \
    X(cublasLtMatmulDescCreate)                                                                                                            \
    X(cublasLtMatmulDescDestroy)                                                                                                           \
    X(cublasLtMatmulDescSetAttribute)                                                                                                      \
    X(cublasLtMatrixLayoutCreate)                                                                                                          \
    X(cublasLtMatrixLayoutDestroy)                                                                                                         \
    X(cublasLtMatrixLayoutSetAttribute)                                                                                                    \
    X(cublasLtMatmulPreferenceCreate)                                                                                                      \
    X(cublasLtMatmulPreferenceDestroy)                                                                                                     \
    X(cublasLtMatmulPreferenceSetAttribute)

enum { PROPOSALS = 8 };
static const size_t workspace_bytes = (size_t)32 << 20; // what NVIDIA advises for Hopper
static const size_t room_bytes = (size_t)1 << 20;       // behind it: hs_lt_room
static const uint32_t unit = 16; // bytes that operands and their rows lie at multiples of: those of heads and of chunks of rows at no others

typedef struct plan {
    hs_lt_product key;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
    size_t workspace;
} plan;

_Static_assert(sizeof(cublasLtMatmulAlgo_t) == sizeof ((hs_lt_line *)NULL)->algo, "an algorithm fits into a line");

struct hs_lt {
    void *library;
#define MEMBER(f) __typeof__(&f) f;
    CALLS(MEMBER)
#undef MEMBER
    cublasLtHandle_t handle;
    cublasLtMatmulPreference_t preference;
    pthread_mutex_t lock; // of what follows
    plan *plan;
    int n_plans, room;
    hs_lt_kept *kept; // NULL: nothing is timed
    hs_lt_product *refused; // that the library does not propose anything for
    int n_refused;
    struct {
        int kind;
        const char *why;
    } said[24]; // why a product is none of its, once each
    int n_said;
    hs_lt_verdicts *verdicts;
};

static hs_status load(hs_lt *lt)
{
    static const char *const names[] = { "libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so" };
    for (int i = 0; i < HS_COUNT(names) && !lt->library; i++)
        lt->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!lt->library)
        return HS_FAIL(UNSUPPORTED, "cuBLASLt: %s", dlerror());
#define FIND(f)                                                                                                                            \
    if (!(*(void **)&lt->f = dlsym(lt->library, #f)))                                                                                      \
        return HS_FAIL(UNSUPPORTED, "cuBLASLt: its library has no %s", #f);
    CALLS(FIND)
#undef FIND
    return HS_OK;
}

size_t hs_lt_version(const hs_lt *lt) { return lt->cublasLtGetVersion(); }
hs_lt_verdicts *hs_lt_verdicts_of(const hs_lt *lt) { return lt->verdicts; }

// ---- opening

// What an algorithm may count on: left alone, it is that there is no workspace, and that operands lie at multiples of 256 bytes.
static bool prefer(hs_lt *lt)
{
    const struct {
        cublasLtMatmulPreferenceAttributes_t which;
        const void *value;
        size_t bytes;
    } attr[] = { { CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes, sizeof workspace_bytes },
                 { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &unit, sizeof unit },
                 { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &unit, sizeof unit },
                 { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &unit, sizeof unit },
                 { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &unit, sizeof unit } };
    cublasStatus_t st = lt->cublasLtMatmulPreferenceCreate(&lt->preference);
    for (int i = 0; i < HS_COUNT(attr) && st == CUBLAS_STATUS_SUCCESS; i++)
        st = lt->cublasLtMatmulPreferenceSetAttribute(lt->preference, attr[i].which, attr[i].value, attr[i].bytes);
    return st == CUBLAS_STATUS_SUCCESS;
}

hs_status hs_lt_open(hs_lt **out, const char *gpu, const char *where)
{
    *out = NULL;
    hs_lt *lt = calloc(1, sizeof *lt);
    if (!lt)
        return HS_FAIL(MEMORY, "no memory for cuBLASLt");
    pthread_mutex_init(&lt->lock, NULL);
    hs_status st;
    HS_TRY_GOTO(st, load(lt), failed);
    if (lt->cublasLtCreate(&lt->handle) != CUBLAS_STATUS_SUCCESS || !prefer(lt)) {
        st = HS_FAIL(SYSTEM, "cuBLASLt does not open on this GPU");
        goto failed;
    }
    if (where)
        HS_TRY_GOTO(st, hs_lt_kept_new(&lt->kept, where, gpu, hs_lt_version(lt), workspace_bytes), failed);
    HS_TRY_GOTO(st, hs_lt_verdicts_new(&lt->verdicts, gpu, hs_lt_version(lt), where), failed);
    *out = lt;
    return HS_OK;
failed:
    hs_lt_close(lt);
    return st;
}

static void free_plan(hs_lt *lt, plan *p)
{
    if (p->product)
        lt->cublasLtMatmulDescDestroy(p->product);
    const cublasLtMatrixLayout_t layout[] = { p->a, p->b, p->d };
    for (int i = 0; i < HS_COUNT(layout); i++)
        if (layout[i])
            lt->cublasLtMatrixLayoutDestroy(layout[i]);
}

void hs_lt_close(hs_lt *lt)
{
    if (!lt)
        return;
    for (int i = 0; i < lt->n_plans; i++)
        free_plan(lt, &lt->plan[i]);
    if (lt->preference)
        lt->cublasLtMatmulPreferenceDestroy(lt->preference);
    if (lt->handle)
        lt->cublasLtDestroy(lt->handle);
    if (lt->library)
        dlclose(lt->library);
    hs_lt_verdicts_free(lt->verdicts);
    pthread_mutex_destroy(&lt->lock);
    free(lt->plan);
    hs_lt_kept_free(lt->kept);
    free(lt->refused);
    free(lt);
}

// ---- a plan

static cudaDataType_t type_of(hs_dtype d)
{
    static const cudaDataType_t type[] = { [HS_F32] = CUDA_R_32F,         [HS_BF16] = CUDA_R_16BF,       [HS_F16] = CUDA_R_16F, [HS_I8] = CUDA_R_8I,
                                           [HS_E4M3] = CUDA_R_8F_E4M3, [HS_E5M2] = CUDA_R_8F_E5M2, [HS_I32] = CUDA_R_32I };
    return type[d];
}

static const char *declines_fp8(const hs_lt_product *p)
{
    if (!hs_dtype_is_fp8(p->a) || !hs_dtype_is_fp8(p->b) || (p->a == HS_E5M2 && p->b == HS_E5M2))
        return "both operands are of 8 bits, and not both E5M2";
    if (!p->ta || p->tb)
        return "in 8 bits A is transposed, and B is not";
    if (p->m % 16 || p->k % 16)
        return "in 8 bits widths are multiples of 16";
    if (hs_dtype_is_fp8(p->d) || (p->bias != HS_F64 && p->d == HS_F32))
        return "in 8 bits a product with a bias is bf16 or f16";
    return NULL;
}

static const char *declines_int8(const hs_lt_product *p)
{
    if (p->a != HS_I8 || p->b != HS_I8 || p->d != HS_I32)
        return "operands of a product in int8 are both int8, and sums int32";
    if (!p->ta || p->tb)
        return "in int8 A is transposed, and B is not";
    if (p->m % 4 || p->k % 4)
        return "in int8 widths are multiples of 4";
    if (p->bias != HS_F64 || p->add || p->scale != 1)
        return "sums of int8 are written as they are";
    return NULL;
}

static const char *declines_floats(const hs_lt_product *p)
{
    return p->a != p->b || (p->d != HS_F32 && p->d != p->a) ? "operands are of one type, and a product is f32 or of that" : NULL;
}

static const char *declines_behind(const hs_lt_product *p)
{
    if (p->batch || hs_dtype_bytes(p->a) == 1)
        return "nothing stands behind products of 8 bits or of several matrices";
    const char *why = declines_floats(p);
    if (why)
        return why;
    if (p->behind == HS_LT_SUMS)
        return p->d != HS_F32 || p->bias != HS_F64 || p->ld_aux ? "sums are of a product that is f32 and has no bias" : NULL;
    if (p->add || (p->behind == HS_LT_DGELU && (p->bias != HS_F64 || !p->ld_aux)))
        return "GELU is written, and its gradient has what it was made of, and no bias";
    return p->ld_aux % 8 || (p->ld_aux && p->ld_aux < p->m) ? "rows of what GELU is made of are no multiple of 8" : NULL;
}

// What follows from the types of operands.
typedef enum kind_of { FLOATS, FP8, INT8, BEHIND, N_KINDS } kind_of;
static const struct kind {
    const char *(*declines)(const hs_lt_product *p);
    cublasComputeType_t sums;
    cudaDataType_t scale; // type of what a product is multiplied by
    bool has_factors;     // each operand is times a number in device memory; and `fast` says something
    int least;            // compute capability, times ten; 0: any that kernels are compiled for
    const char *instead;  // what is done where there is none
    hs_log_level level;   // of that: layers of few outputs are in many a model
} kinds[N_KINDS] = {
    [FLOATS] = { declines_floats, CUBLAS_COMPUTE_32F, CUDA_R_32F, false, 0, "some products by kernels of Halfstep's own", HS_LOG_INFO },
    [FP8] = { declines_fp8, CUBLAS_COMPUTE_32F, CUDA_R_32F, true, 89, "fp8 layers by bf16 products, at their speed", HS_LOG_WARN },
    [INT8] = { declines_int8, CUBLAS_COMPUTE_32I, CUDA_R_32I, false, 0, "int8 layers by kernels of Halfstep's own", HS_LOG_WARN },
    [BEHIND] = { declines_behind, CUBLAS_COMPUTE_32F, CUDA_R_32F, false, 0, "what stands behind some products by kernels of Halfstep's own", HS_LOG_DEBUG },
};

static kind_of kind_for(const hs_lt_product *p)
{
    return p->behind                                        ? BEHIND
           : hs_dtype_is_fp8(p->a) || hs_dtype_is_fp8(p->b) ? FP8
           : p->a == HS_I8 || p->b == HS_I8                 ? INT8
                                                            : FLOATS;
}

const char *hs_lt_declines(const hs_lt_product *p)
{
    const int64_t bytes[] = { (int64_t)hs_dtype_bytes(p->a), (int64_t)hs_dtype_bytes(p->b), (int64_t)hs_dtype_bytes(p->d) };
    if (p->lda * bytes[0] % unit || p->ldb * bytes[1] % unit || p->ldd * bytes[2] % unit)
        return "rows are no multiple of 16 bytes";
    if (p->step_a * bytes[0] % unit || p->step_b * bytes[1] % unit || p->step_d * bytes[2] % unit)
        return "the products of a batch do not lie at multiples of 16 bytes";
    if (p->bias != HS_F64 && p->bias != p->d)
        return "the bias is of another type than the product";
    return kinds[kind_for(p)].declines(p);
}

static bool is_aligned(const hs_lt_operands *o)
{
    return (((uintptr_t)o->a | (uintptr_t)o->b | (uintptr_t)o->d | (uintptr_t)o->bias | (uintptr_t)o->aux | (uintptr_t)o->sums) & (unit - 1)) == 0;
}

static cublasStatus_t layout(hs_lt *lt, cublasLtMatrixLayout_t *out, hs_dtype d, int64_t rows, int64_t cols, int64_t ld, int64_t batch, int64_t step)
{
    cublasStatus_t st = lt->cublasLtMatrixLayoutCreate(out, type_of(d), (uint64_t)rows, (uint64_t)cols, ld);
    const int32_t n = (int32_t)batch;
    if (st == CUBLAS_STATUS_SUCCESS && batch)
        st = lt->cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &n, sizeof n);
    if (st == CUBLAS_STATUS_SUCCESS && batch)
        st = lt->cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step);
    return st;
}

static cublasLtEpilogue_t epilogue_of(const hs_lt_product *p)
{
    static const cublasLtEpilogue_t of[][2][2] = { // by bias and aux
        [HS_LT_NOTHING] = { { CUBLASLT_EPILOGUE_DEFAULT }, { CUBLASLT_EPILOGUE_BIAS } },
        [HS_LT_GELU] = { { CUBLASLT_EPILOGUE_GELU, CUBLASLT_EPILOGUE_GELU_AUX }, { CUBLASLT_EPILOGUE_GELU_BIAS, CUBLASLT_EPILOGUE_GELU_AUX_BIAS } },
        [HS_LT_DGELU] = { { 0, CUBLASLT_EPILOGUE_DGELU } },
        [HS_LT_SUMS] = { { CUBLASLT_EPILOGUE_BGRADB } }, // of D[m, n] it is B that has n
    };
    return of[p->behind][p->bias != HS_F64][p->ld_aux != 0];
}

static cublasStatus_t describe(hs_lt *lt, plan *p)
{
    const hs_lt_product *k = &p->key;
    const struct kind *kind = &kinds[kind_for(k)];
    const cublasOperation_t ta = k->ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb = k->tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = epilogue_of(k);
    const int8_t fast = k->fast;
    cublasStatus_t st = lt->cublasLtMatmulDescCreate(&p->product, kind->sums, kind->scale);
    const struct {
        cublasLtMatmulDescAttributes_t which;
        const void *value;
        size_t bytes;
    } attr[] = { { CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta },
                 { CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb },
                 { CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue },
                 { CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &k->ld_aux, sizeof k->ld_aux },
                 { CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof fast } };
    for (int i = 0; i < HS_COUNT(attr) - !kind->has_factors && st == CUBLAS_STATUS_SUCCESS; i++)
        st = lt->cublasLtMatmulDescSetAttribute(p->product, attr[i].which, attr[i].value, attr[i].bytes);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = layout(lt, &p->a, k->a, k->ta ? k->k : k->m, k->ta ? k->m : k->k, k->lda, k->batch, k->step_a);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = layout(lt, &p->b, k->b, k->tb ? k->n : k->k, k->tb ? k->k : k->n, k->ldb, k->batch, k->step_b);
    return st == CUBLAS_STATUS_SUCCESS ? layout(lt, &p->d, k->d, k->m, k->n, k->ldd, k->batch, k->step_d) : st;
}

// What the description itself points to.
static void point(hs_lt *lt, const plan *p, const hs_lt_operands *o)
{
    if (p->key.bias != HS_F64)
        lt->cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &o->bias, sizeof o->bias);
    if (p->key.behind == HS_LT_SUMS)
        lt->cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &o->sums, sizeof o->sums);
    if (p->key.ld_aux)
        lt->cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &o->aux, sizeof o->aux);
    if (!kinds[kind_for(&p->key)].has_factors)
        return;
    lt->cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &o->factor_a, sizeof o->factor_a);
    lt->cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &o->factor_b, sizeof o->factor_b);
}

static cublasStatus_t multiply(hs_lt *lt, hs_lane *lane, const plan *p, const hs_lt_operands *o)
{
    const bool whole = kinds[kind_for(&p->key)].scale == CUDA_R_32I;
    const float alpha = p->key.scale, beta = p->key.add ? 1 : 0;
    const int32_t once = 1, nothing = 0;
    const void *scale = whole ? (const void *)&once : &alpha, *keep = whole ? (const void *)&nothing : &beta;
    return lt->cublasLtMatmul(lt->handle, p->product, scale, o->a, p->a, o->b, p->b, keep, o->d, p->d, o->d, p->d, &p->algo, lane->workspace,
                              p->workspace, lane->stream);
}

typedef struct trial {
    hs_lt *lt;
    const plan *plan;
    const hs_lt_operands *operands;
} trial;

static bool run_trial(const void *given, hs_lane *lane)
{
    const trial *t = given;
    return multiply(t->lt, lane, t->plan, t->operands) == CUBLAS_STATUS_SUCCESS;
}

// False: nothing was timed, and the first proposal stays.
static bool try_all(hs_lt *lt, hs_lane *lane, plan *p, const hs_lt_operands *o, const cublasLtMatmulHeuristicResult_t *found, int n)
{
    hs_stopwatch watch;
    if (!hs_stopwatch_open(&watch))
        return false;
    float best = -1;
    plan candidate = *p;
    const trial t = { lt, &candidate, o };
    for (int i = 0; i < n; i++) {
        candidate.algo = found[i].algo, candidate.workspace = found[i].workspaceSize;
        const float ms = hs_stopwatch_least(&watch, lane, run_trial, &t);
        if (ms >= 0 && (best < 0 || ms < best))
            best = ms, p->algo = candidate.algo, p->workspace = candidate.workspace;
    }
    hs_stopwatch_close(&watch);
    return best >= 0;
}

// The library's proposals that it can do, the first the one that it holds for the fastest.
static cublasStatus_t proposals(hs_lt *lt, const plan *p, cublasLtMatmulHeuristicResult_t found[PROPOSALS], int *n)
{
    int given = 0;
    *n = 0;
    cublasStatus_t st =
        lt->cublasLtMatmulAlgoGetHeuristic(lt->handle, p->product, p->a, p->b, p->d, p->d, lt->preference, PROPOSALS, found, &given);
    for (int i = 0; st == CUBLAS_STATUS_SUCCESS && i < given; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS)
            found[(*n)++] = found[i];
    return st == CUBLAS_STATUS_SUCCESS && !*n ? CUBLAS_STATUS_NOT_SUPPORTED : st;
}

// What was found before, and is still one of the library's algorithms for this product.
static bool take_known(hs_lt *lt, plan *p, const hs_lt_line *line)
{
    cublasLtMatmulHeuristicResult_t said;
    cublasLtMatmulAlgo_t algo;
    if (!line)
        return false;
    memcpy(&algo, line->algo, sizeof algo);
    if (lt->cublasLtMatmulAlgoCheck(lt->handle, p->product, p->a, p->b, p->d, p->d, &algo, &said) != CUBLAS_STATUS_SUCCESS ||
        said.workspaceSize > workspace_bytes)
        return false;
    p->algo = algo, p->workspace = said.workspaceSize;
    return true;
}

static void keep_for_all(hs_lt *lt, plan *p, const hs_lt_product *written, bool anew)
{
    hs_lt_line line;
    memset(&line, 0, sizeof line);
    memcpy(&line.key, written, sizeof line.key);
    memcpy(line.algo, &p->algo, sizeof line.algo);
    line.workspace = p->workspace;
    hs_lt_kept_add(lt->kept, &line, anew);
    take_known(lt, p, hs_lt_kept_of(lt->kept, written));
}

static size_t bytes_of_d(const hs_lt_product *p)
{
    return (size_t)((p->batch ? p->batch - 1 : 0) * p->step_d + (p->n - 1) * p->ldd + p->m) * hs_dtype_bytes(p->d);
}

// One that adds is tried as the one that writes, as beta has no part in the choice, and beside what it adds to. False: it was not.
static bool try_written(hs_lt *lt, hs_lane *lane, plan *p, const hs_lt_operands *o, const cublasLtMatmulHeuristicResult_t *found, int n)
{
    hs_lt_operands to = *o;
    plan written = *p;
    void *room = NULL;
    written.key.add = false;
    if (p->key.add && cudaMalloc(&room, bytes_of_d(&p->key)) != cudaSuccess) {
        cudaGetLastError();
        hs_debug("device cuda: no memory to try a product of %lld x %lld x %lld in", (long long)p->key.m, (long long)p->key.n, (long long)p->key.k);
        return false;
    }
    to.d = room ? room : o->d;
    const bool timed = try_all(lt, lane, &written, &to, found, n);
    cudaFree(room);
    p->algo = written.algo, p->workspace = written.workspace;
    return timed;
}

static cublasStatus_t choose(hs_lt *lt, hs_lane *lane, plan *p, const hs_lt_operands *o)
{
    cublasLtMatmulHeuristicResult_t found[PROPOSALS];
    hs_lt_product written;
    int n;
    memcpy(&written, &p->key, sizeof written);
    written.add = false;
    const hs_lt_line *before = lt->kept ? hs_lt_kept_of(lt->kept, &written) : NULL;
    if (take_known(lt, p, before))
        return CUBLAS_STATUS_SUCCESS;
    const cublasStatus_t st = proposals(lt, p, found, &n);
    if (st != CUBLAS_STATUS_SUCCESS)
        return st;
    p->algo = found[0].algo, p->workspace = found[0].workspaceSize;
    if (lt->kept && try_written(lt, lane, p, o, found, n))
        keep_for_all(lt, p, &written, before != NULL);
    return CUBLAS_STATUS_SUCCESS;
}

static const plan *find(const hs_lt *lt, const hs_lt_product *key)
{
    for (int i = 0; i < lt->n_plans; i++)
        if (!memcmp(&lt->plan[i].key, key, sizeof *key))
            return &lt->plan[i];
    return NULL;
}

// Asked for once in the life of a lane: who makes a product is not to change from one step to the next.
static bool has_workspace(hs_lane *lane)
{
    if (lane->workspace || lane->no_workspace)
        return lane->workspace;
    if (cudaMalloc(&lane->workspace, workspace_bytes + room_bytes) == cudaSuccess)
        return true;
    cudaGetLastError(); // or the lane's next wait would take it for its own
    lane->workspace = NULL, lane->no_workspace = true;
    return false;
}

void *hs_lt_workspace(hs_lane *lane, size_t *bytes)
{
    *bytes = workspace_bytes;
    return has_workspace(lane) ? lane->workspace : NULL;
}

void *hs_lt_room(hs_lane *lane, size_t bytes)
{
    return bytes <= room_bytes && has_workspace(lane) ? (char *)lane->workspace + workspace_bytes : NULL;
}

static cublasStatus_t make(hs_lt *lt, hs_lane *lane, const hs_lt_product *key, const hs_lt_operands *o)
{
    plan p;
    memset(&p, 0, sizeof p);
    memcpy(&p.key, key, sizeof *key);
    if (lt->n_plans == lt->room) {
        const int room = lt->room ? 2 * lt->room : 64;
        plan *more = realloc(lt->plan, (size_t)room * sizeof *more);
        if (!more)
            return CUBLAS_STATUS_ALLOC_FAILED;
        lt->plan = more, lt->room = room;
    }
    cublasStatus_t st = describe(lt, &p);
    if (st == CUBLAS_STATUS_SUCCESS) {
        point(lt, &p, o);
        st = choose(lt, lane, &p, o);
    }
    if (st == CUBLAS_STATUS_SUCCESS)
        lt->plan[lt->n_plans++] = p;
    else
        free_plan(lt, &p);
    return st;
}

// As bytes are compared, padding included.
void hs_lt_key(hs_lt_product *key, const hs_lt_product *p)
{
    memset(key, 0, sizeof *key);
    key->m = p->m, key->n = p->n, key->k = p->k;
    key->lda = p->lda, key->ldb = p->ldb, key->ldd = p->ldd;
    key->batch = p->batch, key->step_a = p->step_a, key->step_b = p->step_b, key->step_d = p->step_d;
    key->a = p->a, key->b = p->b, key->d = p->d, key->bias = p->bias;
    key->behind = p->behind, key->ld_aux = p->ld_aux;
    key->ta = p->ta, key->tb = p->tb, key->add = p->add, key->fast = p->fast, key->scale = p->scale;
}

void hs_lt_multiply(hs_lane *lane, const hs_lt_product *p, const hs_lt_operands *o)
{
    hs_lt *lt = lane->gpu->lt;
    hs_lt_product key;
    hs_lt_key(&key, p);
    pthread_mutex_lock(&lt->lock); // a description has one bias at a time
    cublasStatus_t st = !is_aligned(o) ? CUBLAS_STATUS_INVALID_VALUE : has_workspace(lane) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
    if (st == CUBLAS_STATUS_SUCCESS && !find(lt, &key))
        st = make(lt, lane, &key, o);
    if (st == CUBLAS_STATUS_SUCCESS) {
        point(lt, find(lt, &key), o);
        st = multiply(lt, lane, find(lt, &key), o);
    }
    pthread_mutex_unlock(&lt->lock);
    if (st != CUBLAS_STATUS_SUCCESS && !lane->failed[0])
        snprintf(lane->failed, sizeof lane->failed, "cuBLASLt: a product of %lld x %lld x %lld: status %d", (long long)key.m, (long long)key.n,
                 (long long)key.k, (int)st);
}

// ---- which products it has

// What the library says to one: factors and a bias have to lie somewhere.
static cublasStatus_t propose(hs_lt *lt, hs_lane *lane, const hs_lt_product *key)
{
    plan p = { .key = *key };
    cublasLtMatmulHeuristicResult_t found[PROPOSALS];
    int n;
    const float *some = lane->workspace;
    cublasStatus_t st = describe(lt, &p);
    if (st == CUBLAS_STATUS_SUCCESS) {
        point(lt, &p, &(hs_lt_operands){ .bias = some, .factor_a = some, .factor_b = some, .aux = lane->workspace, .sums = lane->workspace });
        st = proposals(lt, &p, found, &n);
    }
    free_plan(lt, &p);
    return st;
}

// Once for each kind and reason, which is of static words.
static void say(hs_lt *lt, kind_of kind, const char *why, const char *line)
{
    for (int i = 0; i < lt->n_said; i++)
        if (lt->said[i].kind == (int)kind && !strcmp(lt->said[i].why, why))
            return;
    if (lt->n_said == HS_COUNT(lt->said))
        return;
    lt->said[lt->n_said].kind = (int)kind, lt->said[lt->n_said++].why = why;
    hs_log(kinds[kind].level, "device cuda: %s: %s", kinds[kind].instead, line);
}

static void say_of(hs_lt *lt, const hs_lt_product *p, const char *why, cublasStatus_t st)
{
    char line[256], status[32] = "";
    if (st != CUBLAS_STATUS_SUCCESS)
        snprintf(status, sizeof status, ": status %d", (int)st);
    snprintf(line, sizeof line, "%s (the first is of %lld x %lld x %lld%s)", why, (long long)p->m, (long long)p->n, (long long)p->k, status);
    say(lt, kind_for(p), why, line);
}

static bool is_of_this_gpu(hs_lt *lt, const hs_gpu *g, kind_of kind)
{
    const int least = kinds[kind].least;
    char line[sizeof g->name + 80];
    if (10 * g->major + g->minor >= least)
        return true;
    snprintf(line, sizeof line, "%s is of compute capability %d.%d, 8 bits need %d.%d", g->name, g->major, g->minor, least / 10, least % 10);
    say(lt, kind, "compute capability", line);
    return false;
}

static bool is_proposed(hs_lt *lt, hs_lane *lane, const hs_lt_product *key)
{
    for (int i = 0; i < lt->n_refused; i++)
        if (!memcmp(&lt->refused[i], key, sizeof *key))
            return false;
    const cublasStatus_t st = propose(lt, lane, key);
    if (st == CUBLAS_STATUS_SUCCESS)
        return true;
    say_of(lt, key, "cuBLASLt proposes nothing", st);
    hs_lt_product *more = realloc(lt->refused, (size_t)(lt->n_refused + 1) * sizeof *more);
    if (more)
        lt->refused = more, lt->refused[lt->n_refused++] = *key;
    return false;
}

static bool ask(hs_lt *lt, hs_lane *lane, const hs_lt_product *key, const hs_lt_operands *o)
{
    const bool known = find(lt, key) != NULL;
    if (!known && !is_of_this_gpu(lt, lane->gpu, kind_for(key)))
        return false;
    const char *why = known ? NULL : hs_lt_declines(key);
    if (!why && o && !is_aligned(o))
        why = "operands do not lie at multiples of 16 bytes";
    if (!why && !has_workspace(lane))
        why = "there is no memory for a workspace of the library";
    if (why)
        return say_of(lt, key, why, CUBLAS_STATUS_SUCCESS), false;
    return known || is_proposed(lt, lane, key);
}

bool hs_lt_has(hs_lane *lane, const hs_lt_product *p, const hs_lt_operands *o)
{
    hs_lt *lt = lane->gpu->lt;
    hs_lt_product key;
    if (!lt)
        return false;
    hs_lt_key(&key, p);
    pthread_mutex_lock(&lt->lock);
    const bool has = ask(lt, lane, &key, o);
    pthread_mutex_unlock(&lt->lock);
    return has;
}

bool hs_lt_has_8bit(hs_lane *lane, const hs_lt_product *p) { return hs_lt_has(lane, p, NULL); }

void hs_lt_say(hs_lane *lane, const hs_lt_product *p, const char *why)
{
    hs_lt *lt = lane->gpu->lt;
    pthread_mutex_lock(&lt->lock);
    say_of(lt, p, why, CUBLAS_STATUS_SUCCESS);
    pthread_mutex_unlock(&lt->lock);
}
