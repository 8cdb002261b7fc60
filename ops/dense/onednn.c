// onednn: linear through oneDNN's documented row-major sgemm (dnnl.h, dnnl_sgemm), as an optional provider and a cross-check
// of the built-in product. Where it is the faster of the two is a table in README.md.
//
// oneDNN does not promise that a row of C has the same bits in a taller product, so C is cut into blocks of BLOCK rows whatever
// the team, and members take whole blocks. Its loops run on OpenMP: each member, being no OpenMP thread, would open a team of
// its own, so it asks for one thread first. f32 only: the C API has no bf16 gemm, and primitives would have to be made in a kernel.
#include "ops/ops.h"

#ifdef HS_HAVE_ONEDNN
#include "core/cpu/rows.h"
#include <dlfcn.h>
#include <dnnl.h>
#include <stdio.h>

enum { X, W, BIAS };
enum { Y };
enum { BLOCK = 128 };

static const char *cannot(const hs_node *n)
{
    if (n->low != HS_F32)
        return "oneDNN's sgemm multiplies f32 only";
    return n->out[Y]->dtype != HS_F32 ? "oneDNN's sgemm stores f32 only" : NULL;
}

// Of tier portable; on the others registry.c does not ask.
enum { FASTER_FROM_ROWS = 256 };
static const char *not_faster(const hs_node *n)
{
    return n->in[X]->dim[0] < FASTER_FROM_ROWS ? "oneDNN was measured to be slower with fewer than 256 rows" : cannot(n);
}

static void one_thread(void)
{
    void (*set)(int) = NULL;
    *(void **)&set = dlsym(RTLD_DEFAULT, "omp_set_num_threads"); // of the OpenMP that oneDNN brought; none: it runs sequentially
    if (set)
        set(1);
}

// The gemm cannot fail here: what it checks (null pointers, sizes, leading dimensions) is right by construction.
static void product(char ta, char tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, bool add,
                    float *c)
{
    if (m && n && k)
        dnnl_sgemm(ta, tb, m, n, k, 1.0f, a, lda, b, ldb, add ? 1.0f : 0.0f, c, n);
    else if (!add)
        memset(c, 0, (size_t)(m * n) * sizeof(float));
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, O = a->in[W].rows;
    const float *bias = hs_f32(a, BIAS);
    int64_t r0, r1;
    one_thread();
    hs_part_unit(lane, N, BLOCK, &r0, &r1);
    for (int64_t r = r0; r < r1; r += BLOCK) {
        const int64_t m = r1 - r < BLOCK ? r1 - r : BLOCK;
        float *y = hs_f32_out(a, Y) + r * O;
        for (int64_t i = 0; i < m && bias; i++)
            memcpy(y + i * O, bias, (size_t)O * sizeof(float));
        product('N', 'T', m, O, C, hs_f32(a, X) + r * C, C, hs_f32(a, W), C, bias != NULL, y);
    }
}

static void bias_gradient(const hs_args *a, hs_lane *lane)
{
    const hs_ref *dy = &a->dout[Y], *db = &a->din[BIAS];
    const int64_t N = hs_ref_rows(a, dy), O = dy->cols;
    int64_t c0, c1;
    hs_part_unit(lane, O, 16, &c0, &c1);
    for (int64_t c = c0; c < c1; c++) {
        const float *g = (const float *)dy->p + c;
        float total = 0, *out = (float *)db->p + c;
        for (int64_t n = 0; n < N;) {
            float part = 0;
            for (const int64_t end = n + HS_GRAIN; n < end && n < N; n++)
                part += g[n * O];
            total += part;
        }
        *out = db->add ? *out + total : total;
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref *dx = &a->din[X], *dw = &a->din[W];
    const int64_t N = hs_ref_rows(a, &a->dout[Y]), C = a->in[W].cols, O = a->in[W].rows;
    const float *dy = (const float *)a->dout[Y].p;
    int64_t r0, r1;
    one_thread();
    hs_part_unit(lane, N, BLOCK, &r0, &r1);
    for (int64_t r = r0; r < r1 && dx->p; r += BLOCK)
        product('N', 'N', r1 - r < BLOCK ? r1 - r : BLOCK, C, O, dy + r * O, O, hs_f32(a, W), C, dx->add, (float *)dx->p + r * C);
    hs_part_unit(lane, O, BLOCK, &r0, &r1);
    for (int64_t r = r0; r < r1 && dw->p; r += BLOCK)
        product('T', 'N', r1 - r < BLOCK ? r1 - r : BLOCK, C, N, dy + r, O, hs_f32(a, X), C, dw->add, (float *)dw->p + r * C);
    if (hs_wanted(a, BIAS))
        bias_gradient(a, lane);
}

#define LINEAR(why)                                                                                                                        \
    {                                                                                                                                      \
        .fwd = forward, .bwd = backward, .fwd_part = HS_PART_FREE, .bwd_part = HS_PART_FREE, .decline = why                                \
    }
static const hs_kernels linear = LINEAR(not_faster), linear_always = LINEAR(cannot);

extern const hs_kernels *const hs_kernels_table_onednn[HS_N_OPS], *const hs_kernels_table_onednn_always[HS_N_OPS];
const hs_kernels *const hs_kernels_table_onednn[HS_N_OPS] = { [HS_ID_linear] = &linear };
const hs_kernels *const hs_kernels_table_onednn_always[HS_N_OPS] = { [HS_ID_linear] = &linear_always };

const char *hs_onednn_version(void)
{
    static _Thread_local char text[32];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "%d.%d.%d", v->major, v->minor, v->patch);
    return text;
}
#else
const char *hs_onednn_version(void) { return NULL; }
#endif
