// Products beyond the sizes of the op table's cases: several slabs of packed weights, several blocks of a long inner width,
// sums that wait in f32 for a low-precision result, more members than rows. Against f64 at sampled places, and bit for bit
// between teams. The kernels are those of linear, in every table this machine can run, oneDNN's included.
#include "core/base/log.h"
#include "core/base/rng.h"
#include "ops/ops.h"
#include "tests/support/support_kernel.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

enum { X, W, BIAS };
enum { LANES = 4 };
static const int lanes_of[LANES] = { 1, 2, 3, 7 };

typedef struct problem {
    int64_t n, c, o; // y[n, o] = x[n, c] w[o, c]^T
    hs_dtype low;
    bool only_dx;        // the rest would take too long
    hs_tensor tensor[4]; // x, w, bias, y
    hs_node node;
    hs_step_in step;
    hs_args args;
} problem;

static void *bytes_new(size_t n, int fill) { return memset(aligned_alloc(64, (n + 127) / 64 * 64), fill, n); }

static hs_ref operand(const hs_tensor *t, int fill)
{
    return (hs_ref){
        .p = bytes_new(hs_tensor_bytes(t), fill), .rows = t->dim[0], .cols = hs_tensor_cols(t), .dtype = t->dtype, .ext = t->ext, .t = t
    };
}
static size_t size_of(const hs_ref *r) { return (size_t)(r->rows * r->cols) * hs_dtype_bytes(r->dtype); }

static hs_ref random_operand(const hs_tensor *t, uint64_t key)
{
    hs_ref r = operand(t, 0);
    const int64_t n = hs_tensor_count(t);
    float *v = malloc((size_t)n * sizeof *v);
    hs_random_normal(v, n, key, 0, 0, 1);
    hs_convert(r.p, t->dtype, v, HS_F32, n);
    free(v);
    return r;
}

static double at(const hs_ref *r, int64_t row, int64_t col)
{
    double v;
    hs_convert(&v, HS_F64, r->p + (size_t)(row * r->cols + col) * hs_dtype_bytes(r->dtype), r->dtype, 1);
    return v;
}

static problem *problem_new(int64_t n, int64_t c, int64_t o, hs_dtype low)
{
    problem *p = calloc(1, sizeof *p);
    *p = (problem){ .n = n, .c = c, .o = o, .low = low };
    p->tensor[0] = (hs_tensor){ .dtype = low, .n_dims = 2, .ext = HS_EXT_TOKENS, .dim = { n, c } };
    p->tensor[1] = (hs_tensor){ .dtype = low, .n_dims = 2, .dim = { o, c } };
    p->tensor[2] = (hs_tensor){ .dtype = HS_F32, .n_dims = 1, .dim = { o } };
    p->tensor[3] = (hs_tensor){ .dtype = low, .n_dims = 2, .ext = HS_EXT_TOKENS, .dim = { n, o } };
    p->node = (hs_node){ .op = hs_ops[HS_ID_linear], .low = low, .scope = "test", .out = { &p->tensor[3] } };
    for (int i = 0; i < 3; i++) {
        p->node.in[i] = &p->tensor[i];
        p->args.in[i] = random_operand(&p->tensor[i], (uint64_t)i + 1);
    }
    hs_step_live(&p->step, n, 1, 1);
    p->args.step = &p->step;
    p->args.dout[0] = random_operand(&p->tensor[3], 4);
    return p;
}
static void problem_free(problem *p)
{
    for (int i = 0; i < 3; i++)
        free(p->args.in[i].p);
    free(p->args.dout[0].p);
    free(p);
}

static size_t packed_bytes(const problem *p, const hs_kernels *k, bool backward)
{
    return k->derive.bytes ? k->derive.bytes(&p->node, backward, INT32_MAX) : 0;
}

// Weights packed beforehand; w itself becomes NaN: nothing may look at it any more.
static void pack(const problem *p, const hs_kernels *k, bool backward, int lanes, hs_args *a)
{
    const hs_args args = { .in[0] = a->in[W], .out[0].p = bytes_new(packed_bytes(p, k, backward), 0xFF) };
    kernel_on_lanes(lanes, backward ? k->derive.backward : k->derive.forward, &args);
    a->derived = args.out[0].p;
    a->in[W].p = bytes_new(size_of(&a->in[W]), 0xFF);
}

// Runs a kernel of linear with its results in fresh bytes of NaN; results: y, or dx, dw, dbias.
static void run_on(const problem *p, const hs_kernels *k, bool backward, int lanes, bool packed, hs_ref result[3])
{
    hs_args a = p->args;
    if (packed)
        pack(p, k, backward, lanes, &a);
    const hs_scratch s = k->scratch ? k->scratch(&p->node, lanes, backward) : (hs_scratch){ 0 };
    a.thread_bytes = (s.per_thread + 63) / 64 * 64;
    const bool needs_none = packed && k->derive.replaces_shared && (!backward || p->only_dx); // dw packs as ever
    a.scratch = needs_none ? NULL : bytes_new(s.shared, 0xFF);
    a.thread_scratch = bytes_new(a.thread_bytes * (size_t)lanes, 0xFF);
    if (!backward)
        a.out[0] = result[0] = operand(&p->tensor[3], 0xFF);
    hs_tensor wide = p->tensor[1];
    wide.dtype = HS_F32;
    for (int i = 0; i < (p->only_dx ? 1 : 3) && backward; i++)
        a.din[i] = result[i] = operand(i == W ? &wide : &p->tensor[i], 0xFF);
    for (int i = 0; i < 3; i++)
        result[i].t = NULL;
    kernel_on_lanes(lanes, backward ? k->bwd : k->fwd, &a);
    free(a.scratch);
    free(a.thread_scratch);
    if (packed)
        free((void *)a.derived), free(a.in[W].p);
}

// What an element of y, dx, dw or dbias (what: 0 to 3) is, and the sum of magnitudes it is made of.
static double exact(const problem *p, int what, int64_t i, int64_t j, double *size)
{
    const hs_ref *x = &p->args.in[X], *w = &p->args.in[W], *dy = &p->args.dout[0];
    double sum = what == 0 ? at(&p->args.in[BIAS], j, 0) : 0;
    *size = fabs(sum);
    for (int64_t k = 0; k < (what == 0 ? p->c : what == 1 ? p->o : p->n); k++) {
        const double a = what == 0 ? at(x, i, k) : what == 1 ? at(dy, i, k) : at(dy, k, i);
        const double b = what == 0 ? at(w, j, k) : what == 1 ? at(w, k, j) : what == 2 ? at(x, k, j) : 1;
        sum += a * b;
        *size += fabs(a * b);
    }
    return sum;
}

static void check_samples(const problem *p, int what, const hs_ref *r, const char *table)
{
    const double eps = r->dtype == HS_BF16 ? 0x1p-8 : r->dtype == HS_F16 ? 0x1p-11 : 0;
    for (uint32_t s = 0; s < 60; s++) { // the corners first
        const hs_u32x4 u = hs_random(7, s, 0, 0, 0);
        const int64_t i = s < 4 ? (s & 1) * (r->rows - 1) : (int64_t)(u.v[0] % (uint64_t)r->rows);
        const int64_t j = s < 4 ? (s >> 1) * (r->cols - 1) : (int64_t)(u.v[1] % (uint64_t)r->cols);
        double size;
        const double want = exact(p, what, i, j, &size), got = at(r, i, j);
        if (!(fabs(got - want) <= eps * fabs(want) + 1e-6 * size))
            fail_msg("%s, %s, result %d of %d x %d x %d at [%d,%d]: %.9g, should be %.9g", table, hs_dtype_name(p->low), what, (int)p->n,
                     (int)p->c, (int)p->o, (int)i, (int)j, got, want);
    }
}

static void check_table(const problem *p, const hs_kernels *k, const char *table)
{
    if (k->decline && k->decline(&p->node))
        return;
    for (int backward = p->only_dx; backward < 2; backward++) {
        hs_ref first[3] = { { 0 } };
        const int n = backward && !p->only_dx ? 3 : 1;
        const int teams = p->only_dx ? 2 : LANES, ways = packed_bytes(p, k, backward) ? 2 * teams : teams;
        for (int l = 0; l < ways; l++) {
            const int lanes = lanes_of[l % teams];
            const bool packed = l >= teams;
            hs_ref r[3] = { { 0 } };
            run_on(p, k, backward, lanes, packed, r);
            for (int i = 0; i < n; i++) {
                if (!l) {
                    first[i] = r[i];
                    check_samples(p, backward ? i + 1 : 0, &r[i], table);
                    continue;
                }
                if (memcmp(first[i].p, r[i].p, size_of(&r[i])))
                    fail_msg("%s, %s, result %d of %d x %d x %d: %d members%s give other bits than one", table, hs_dtype_name(p->low), i,
                             (int)p->n, (int)p->c, (int)p->o, lanes, packed ? " and packed weights" : "");
                free(r[i].p);
            }
        }
        for (int i = 0; i < n; i++)
            free(first[i].p);
    }
}

static void check(int64_t n, int64_t c, int64_t o, bool only_dx)
{
    static const hs_dtype types[] = { HS_BF16, HS_F32, HS_F16 };
    for (int t = 0; t < (only_dx ? 1 : HS_COUNT(types)); t++) {
        problem *p = problem_new(n, c, o, types[t]);
        p->only_dx = only_dx;
        for (int isa = 0; isa <= HS_N_ISA; isa++) { // the last: oneDNN
            const bool onednn = isa == HS_N_ISA;
            if (onednn ? !hs_onednn_version() : !hs_isa_built((hs_isa)isa) || !hs_isa_supported((hs_isa)isa))
                continue;
            hs_device *d;
            assert_int_equal(
                hs_open_device(&d, "cpu", 1, onednn ? NULL : hs_isa_name((hs_isa)isa), 0, onednn ? HS_ONEDNN_ALWAYS : HS_ONEDNN_NO), HS_OK);
            check_table(p, d->tables[0][HS_ID_linear], d->table_names[0]);
            hs_device_close(d);
        }
        problem_free(p);
    }
}

// Where exec.onednn asks for oneDNN only where it is faster: on tier portable, from 256 rows on.
static void onednn_where_it_is_faster(void **state)
{
    (void)state;
    hs_device *d;
    if (!hs_onednn_version()) {
        assert_int_equal(hs_open_device(&d, "cpu", 1, NULL, 0, HS_ONEDNN_FASTER), HS_UNSUPPORTED);
        return;
    }
    hs_log_set(HS_LOG_WARN, NULL, NULL);
    for (int isa = 0; isa < HS_N_ISA; isa++) {
        if (!hs_isa_built((hs_isa)isa) || !hs_isa_supported((hs_isa)isa))
            continue;
        for (int t = 0; t < 2; t++)
            for (int64_t rows = 248; rows <= 256; rows += 8) {
                problem *p = problem_new(rows, 16, 24, t ? HS_BF16 : HS_F32);
                assert_int_equal(hs_open_device(&d, "cpu", 1, hs_isa_name((hs_isa)isa), 0, HS_ONEDNN_FASTER), HS_OK);
                const bool first = !strcmp(d->table_names[0], "onednn");
                const bool taken = first && hs_device_kernels(d, &p->node) == d->tables[0][HS_ID_linear];
                assert_int_equal(first, isa == HS_ISA_PORTABLE);
                assert_int_equal(taken, isa == HS_ISA_PORTABLE && rows == 256 && !t);
                hs_device_close(d);
                problem_free(p);
            }
    }
    hs_log_set(HS_LOG_INFO, NULL, NULL);
}

static void rows_from_one_to_many(void **state)
{
    (void)state;
    static const int64_t rows[] = { 1, 2, 3, 6, 7, 31, 64, 97, 300 };
    for (int i = 0; i < HS_COUNT(rows); i++)
        check(rows[i], 72, 104, false);
}
static void no_rows(void **state) // nothing to read; gradients of parameters are zero
{
    (void)state;
    problem *p = problem_new(8, 16, 24, HS_F32);
    hs_step_live(&p->step, 0, 0, 0);
    hs_ref r[3] = { { 0 } };
    run_on(p, &hs_ops[HS_ID_linear]->cpu, true, 3, false, r);
    for (int64_t i = 0; i < 24 * 16; i++)
        assert_true(at(&r[W], 0, i) == 0);
    for (int i = 0; i < 3; i++)
        free(r[i].p);
    problem_free(p);
}
static void inner_width_of_several_blocks(void **state)
{
    (void)state;
    check(70, 2312, 136, false);
}
static void weights_of_several_slabs(void **state)
{
    (void)state;
    check(40, 2056, 2200, false);
}
static void vocabulary(void **state) // so long an inner width in dx that rows are done in chunks
{
    (void)state;
    check(1060, 456, 8704, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_from_one_to_many),    cmocka_unit_test(no_rows),    cmocka_unit_test(inner_width_of_several_blocks),
        cmocka_unit_test(weights_of_several_slabs), cmocka_unit_test(vocabulary), cmocka_unit_test(onednn_where_it_is_faster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
