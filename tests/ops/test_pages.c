// Attention over keys in pages gives the bits of attention over the same keys in one stretch: one query and many, keys of several
// blocks, pages behind each other and apart, of values and of codes, every type and tier.
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
enum { CODES = 2 * C + 8 * HEADS }; // bytes of a row of them

typedef struct setup {
    int queries; // of a sequence
    bool paged, codes;
    int page_rows; // what the op is told
} setup;

static void model(hs_graph *g, const void *arg)
{
    const setup *s = arg;
    const int64_t n = SEQS * s->queries;
    hs_attention_in in = { 0 };
    in.qkv = hs_input(g, "q", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ n, C });
    in.kv = hs_input(g, "kv", s->codes ? HS_I8 : HS_F32, HS_EXT_FIXED, 2, (int64_t[]){ ROWS, s->codes ? CODES : 2 * C });
    in.starts = hs_input(g, "starts", HS_I32, HS_EXT_STARTS, 1, (int64_t[]){ SEQS + 1 });
    in.keys = hs_input(g, "keys", HS_I32, HS_EXT_SEQS, 2, (int64_t[]){ SEQS, 3 });
    if (s->paged)
        in.pages = hs_input(g, "pages", HS_I32, HS_EXT_SEQS, 2, (int64_t[]){ SEQS, TABLE });
    const hs_attention_i8_in i8 = { in.qkv, in.starts, in.keys, in.kv, in.pages };
    if (s->codes)
        hs_output(g, hs_attention_i8(g, i8, (hs_attention_i8_attr){ .heads = HEADS, .causal = true, .page_rows = s->page_rows }));
    else
        hs_output(g, hs_attention(g, in, (hs_attention_attr){ .heads = HEADS, .causal = true, .page_rows = s->page_rows }));
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

// Keys and values of a token, the index-th of all.
static void fill_row(void *kv, int64_t row, int64_t index, bool codes)
{
    float *values = (float *)kv + row * 2 * C, scales[2 * HEADS];
    int8_t *code = (int8_t *)kv + row * CODES;
    if (!codes) {
        hs_random_normal(values, 2 * C, 6, index * 2 * C, 0, 1);
        return;
    }
    for (int c = 0; c < 2 * C; c++)
        code[c] = (int8_t)((int32_t)(hs_random(6, (uint32_t)index, (uint32_t)c, 0, 0).v[0] % 255) - 127);
    hs_random_normal(scales, 2 * HEADS, 7, index * 2 * HEADS, 0, 0x1p-6f);
    memcpy(code + 2 * C, scales, sizeof scales);
}

static void attend(hs_device *dev, hs_dtype low, bool codes, int queries, int how, float *y)
{
    const setup s = { queries, how >= 0, codes, how >= 0 ? PAGE : 0 };
    const hs_policy policy = { .low = low };
    hs_model *m;
    hs_run *r;
    int plan;
    assert_int_equal(hs_model_new(&m, &(hs_model_opts){ .device = dev, .policy = &policy }), HS_OK);
    assert_int_equal(hs_model_plan(m, HS_EVAL, model, &s, &plan), HS_OK);
    assert_int_equal(hs_model_alloc(m, false), HS_OK);
    assert_int_equal(hs_run_new(&r, m, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }), HS_OK);
    hs_random_normal(hs_run_input(r, plan, "q"), SEQS * queries * C, 5, 0, 0, 1);
    void *kv = hs_run_input(r, plan, "kv");
    int32_t *starts = hs_run_input(r, plan, "starts"), *keys = hs_run_input(r, plan, "keys"), *pages = hs_run_input(r, plan, "pages");
    memset(kv, 0xFF, (size_t)ROWS * (codes ? (size_t)CODES : 2 * C * sizeof(float))); // what is not asked for must not be read
    for (int b = 0; b < SEQS; b++) {
        const int n = KEYS - 130 * b;
        starts[b] = b * queries, starts[b + 1] = (b + 1) * queries;
        keys[3 * b] = how < 0 ? b * TABLE * PAGE : -1, keys[3 * b + 1] = n, keys[3 * b + 2] = n - queries;
        for (int i = 0; how >= 0 && i < TABLE; i++)
            pages[b * TABLE + i] = i * PAGE < n ? page(how, b, i) : -9;
        for (int j = 0; j < n; j++) {
            const int64_t row = how < 0 ? b * TABLE * PAGE + j : page(how, b, j / PAGE) * PAGE + j % PAGE;
            fill_row(kv, row, b * KEYS + j, codes);
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
    enum { TYPES = HS_COUNT(types) };
    static const int queries[] = { 1, 3, 4, MOST };
    static float want[SEQS * MOST * C], got[SEQS * MOST * C];
    for (int isa = 0; isa < HS_N_ISA; isa++) {
        hs_device *dev;
        if (!hs_isa_built((hs_isa)isa) || !hs_isa_supported((hs_isa)isa))
            continue;
        assert_int_equal(hs_open_device(&dev, "cpu", 2, hs_isa_name((hs_isa)isa), 0, HS_ONEDNN_NO), HS_OK);
        for (int t = 0; t < 2 * TYPES; t++)
            for (int q = 0; q < HS_COUNT(queries); q++) {
                const size_t bytes = (size_t)SEQS * (size_t)queries[q] * C * sizeof *want;
                attend(dev, types[t % TYPES], t >= TYPES, queries[q], -1, want);
                for (size_t i = 0; i < bytes / sizeof *want; i++)
                    assert_true(want[i] == want[i]);
                for (int how = 0; how < 4; how++) {
                    attend(dev, types[t % TYPES], t >= TYPES, queries[q], how, got);
                    if (memcmp(want, got, bytes) != 0)
                        fail_msg("%s, %s%s, %d queries, pages %d", hs_isa_name((hs_isa)isa), hs_dtype_name(types[t % TYPES]),
                                 t >= TYPES ? " over codes" : "", queries[q], how);
                }
            }
        hs_device_close(dev);
    }
}

// Pages without their rows and rows without pages, rows that no block divides, a page that is larger than all there is.
static void pages_that_do_not_fit(void **state)
{
    (void)state;
    static const setup wrong[] = {
        { 1, true, false, 0 }, { 1, false, false, PAGE }, { 1, true, false, PAGE - 4 }, { 1, true, false, -8 }, { 1, true, false, ROWS + 8 }
    };
    const hs_policy policy = { .low = HS_F32 };
    hs_device *dev;
    assert_int_equal(hs_open_device(&dev, "cpu", 1, NULL, 0, HS_ONEDNN_NO), HS_OK);
    for (int i = 0; i < 2 * HS_COUNT(wrong); i++) {
        setup s = wrong[i / 2];
        hs_model *m;
        int plan;
        s.codes = i % 2;
        assert_int_equal(hs_model_new(&m, &(hs_model_opts){ .device = dev, .policy = &policy }), HS_OK);
        assert_int_not_equal(hs_model_plan(m, HS_EVAL, model, &s, &plan), HS_OK);
        assert_non_null(strstr(hs_error(), "the rows of a page must be a multiple of 8"));
        hs_model_free(m);
    }
    hs_device_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(pages_are_as_good_as_a_stretch), cmocka_unit_test(pages_that_do_not_fit) };
    return cmocka_run_group_tests_name("attention: pages", tests, NULL, NULL);
}
