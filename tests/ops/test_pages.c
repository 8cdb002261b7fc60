// Attention over keys in pages gives the bits of attention over the same keys in one stretch: one query and many, keys of several
// blocks, pages behind each other and apart, every type and tier.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/run/run.h"
#include "ops/ops.h"
#include <stdlib.h>

enum { SEQS = 3, KEYS = 400, PAGE = 16, TABLE = (KEYS + PAGE - 1) / PAGE, ROWS = SEQS * TABLE * PAGE, HEADS = 2, C = 2 * 24, MOST = 40 };

typedef struct setup {
    int queries; // of a sequence
    bool paged;
} setup;

static void model(hs_graph *g, const void *arg)
{
    const setup *s = arg;
    const int64_t n = SEQS * s->queries;
    hs_attention_in in = { 0 };
    in.qkv = hs_input(g, "q", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ n, C });
    in.kv = hs_input(g, "kv", HS_F32, HS_EXT_FIXED, 2, (int64_t[]){ ROWS, 2 * C });
    in.starts = hs_input(g, "starts", HS_I32, HS_EXT_STARTS, 1, (int64_t[]){ SEQS + 1 });
    in.keys = hs_input(g, "keys", HS_I32, HS_EXT_SEQS, 2, (int64_t[]){ SEQS, 3 });
    if (s->paged)
        in.pages = hs_input(g, "pages", HS_I32, HS_EXT_SEQS, 2, (int64_t[]){ SEQS, TABLE });
    hs_output(g, hs_attention(g, in, (hs_attention_attr){ .heads = HEADS, .causal = true, .page_rows = s->paged ? PAGE : 0 }));
}

// How page i of sequence b lies: all in order; backwards; scattered; in pairs.
static int32_t page(int how, int b, int i)
{
    const int at = b * TABLE + i, all = SEQS * TABLE;
    return how == 0         ? at
           : how == 1       ? all - 1 - at
           : how == 2       ? at * 7 % all
           : (at ^ 2) < all ? at ^ 2
                            : at; // 75 = 3 x 25: 7 is prime to it
}

static void attend(hs_device *dev, hs_dtype low, int queries, int how, float *y)
{
    const setup s = { queries, how >= 0 };
    const hs_policy policy = { .low = low };
    hs_model *m;
    hs_run *r;
    int plan;
    assert_int_equal(hs_model_new(&m, &(hs_model_opts){ .device = dev, .policy = &policy }), HS_OK);
    assert_int_equal(hs_model_plan(m, HS_EVAL, model, &s, &plan), HS_OK);
    assert_int_equal(hs_model_alloc(m, false), HS_OK);
    assert_int_equal(hs_run_new(&r, m, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }), HS_OK);
    hs_random_normal(hs_run_input(r, plan, "q"), SEQS * queries * C, 5, 0, 0, 1);
    float *kv = hs_run_input(r, plan, "kv");
    int32_t *starts = hs_run_input(r, plan, "starts"), *keys = hs_run_input(r, plan, "keys"), *pages = hs_run_input(r, plan, "pages");
    memset(kv, 0xFF, (size_t)ROWS * 2 * C * sizeof *kv); // what is not asked for must not be read
    for (int b = 0; b < SEQS; b++) {
        const int n = KEYS - 130 * b;
        starts[b] = b * queries, starts[b + 1] = (b + 1) * queries;
        keys[3 * b] = how < 0 ? b * TABLE * PAGE : -1, keys[3 * b + 1] = n, keys[3 * b + 2] = n - queries;
        for (int i = 0; how >= 0 && i < TABLE; i++)
            pages[b * TABLE + i] = i * PAGE < n ? page(how, b, i) : -9;
        for (int j = 0; j < n; j++) {
            const int64_t row = how < 0 ? b * TABLE * PAGE + j : page(how, b, j / PAGE) * PAGE + j % PAGE;
            hs_random_normal(kv + row * 2 * C, 2 * C, 6, (int64_t)(b * KEYS + j) * 2 * C, 0, 1);
        }
    }
    hs_step_live(hs_run_in(r), SEQS * queries, SEQS, 0);
    assert_int_equal(hs_run_forward(r, plan), HS_OK);
    hs_ref out;
    hs_run_output(r, plan, 0, &out);
    hs_convert(y, HS_F32, out.p, out.dtype, SEQS * queries * C);
    hs_run_free(r);
    hs_model_free(m);
}

static void pages_are_as_good_as_a_stretch(void **state)
{
    (void)state;
    static const hs_dtype types[] = { HS_F32, HS_BF16, HS_F16 };
    static const int queries[] = { 1, 3, 4, MOST };
    static float want[SEQS * MOST * C], got[SEQS * MOST * C];
    for (int isa = 0; isa < HS_N_ISA; isa++) {
        hs_device *dev;
        if (!hs_isa_built((hs_isa)isa) || !hs_isa_supported((hs_isa)isa))
            continue;
        assert_int_equal(hs_open_device(&dev, "cpu", 2, hs_isa_name((hs_isa)isa), 0, HS_ONEDNN_NO), HS_OK);
        for (int t = 0; t < HS_COUNT(types); t++)
            for (int q = 0; q < HS_COUNT(queries); q++) {
                const size_t bytes = (size_t)SEQS * (size_t)queries[q] * C * sizeof *want;
                attend(dev, types[t], queries[q], -1, want);
                for (size_t i = 0; i < bytes / sizeof *want; i++)
                    assert_true(want[i] == want[i]);
                for (int how = 0; how < 4; how++) {
                    attend(dev, types[t], queries[q], how, got);
                    if (memcmp(want, got, bytes) != 0)
                        fail_msg("%s, %s, %d queries, pages %d", hs_isa_name((hs_isa)isa), hs_dtype_name(types[t]), queries[q], how);
                }
            }
        hs_device_close(dev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(pages_are_as_good_as_a_stretch) };
    return cmocka_run_group_tests_name("attention: pages", tests, NULL, NULL);
}
