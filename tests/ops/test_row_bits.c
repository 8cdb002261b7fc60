// A row's bits depend on that row alone: every row-wise op of the table at 1 to 40 rows, a row by itself and beside others, in every
// tier and type, with weights as they lie and packed; attention's queries by themselves, in chunks and beside other sequences; pooled
// sequences likewise.
#include "core/base/rng.h"
#include "core/run/run.h"
#include "tests/support/support_ops.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

enum { MOST = 40 };

// ---- the op table

// The counter of a row-wise op's rows, all of whose inputs are divided by rows or read whole by everyone; 0: none, or sequences matter.
static int rows_counter(const probe *p)
{
    const int counter = hs_ext_counter(p->n->out[0]->ext);
    if (p->op->flags & HS_OP_ROWS_MEET || p->n->out[0]->ext == HS_EXT_FIXED || p->op->out[0].flags & HS_IS_INPUT_0)
        return 0;
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        const hs_tensor *t = p->n->in[i];
        if (t && (hs_ext_units(t->ext, t->dim[0]) != t->dim[0] || (hs_ext_counter(t->ext) == counter && p->op->in[i].flags & HS_WHOLE)))
            return 0;
        if (t && (counter == HS_COUNT_SHARE) != (hs_ext_counter(t->ext) == HS_COUNT_SHARE))
            return 0; // rows go to other ranks, or come from them
    }
    return counter;
}

static void compare(const probe *p, const op_run *alone, const op_run *all, int64_t first)
{
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        const hs_tensor *t = p->n->out[o];
        if (!t || !alone->out[o].p || p->op->out[o].flags & HS_SCRATCH || t->ext == HS_EXT_FIXED)
            continue;
        const size_t row = (size_t)hs_tensor_cols(t) * hs_dtype_bytes(p->types.out[o]);
        for (int64_t i = 0; i < t->dim[0]; i++)
            if (memcmp(alone->out[o].p + (size_t)i * row, all->out[o].p + (size_t)(first + i) * row, row)) {
                op_fail(p, alone, "row %lld of %s has other bits among %d rows than among %lld", (long long)(first + i), p->op->out[o].name,
                        MOST, (long long)t->dim[0]);
                return;
            }
    }
}

static int slices; // that were compared

static void check_slices(const probe *all, int counter, const kernel_set *set, const hs_kernels *k)
{
    for (int packed = 0; packed <= (k->derive.bytes != NULL); packed++) {
        op_run whole = { .k = k, .table = set->name, .lanes = 1, .tail = 0xFF, .derived = packed };
        run_forward(all, &whole);
        for (int64_t n = 1; n < MOST; n += n < 8 ? 1 : 5) {
            const int64_t first = (int64_t)(hs_random(5, (uint32_t)n, 0, 0, 0).v[0] % (uint64_t)(MOST - n + 1));
            probe *p = probe_slice(all, counter, first, n);
            assert_non_null(p->n);
            if (k->decline && k->decline(p->n)) {
                probe_free(p);
                continue;
            }
            for (int lanes = 1; lanes < (hs_tested.no_team ? 2 : MAX_LANES); lanes++) {
                op_run r = { .k = k, .table = set->name, .lanes = lanes, .tail = 0xFF, .derived = packed };
                run_forward(p, &r);
                compare(p, &r, &whole, first);
                run_free(&r);
                slices++;
            }
            probe_free(p);
        }
        run_free(&whole);
    }
}

static void ops_of_the_table(void **state)
{
    (void)state;
    int ops = 0, tiers = 0; // that this machine and build have
    for (int op = 0; op < hs_tested.n; op++) {
        bool any = false;
        for (int c = 0; c < hs_tested.ops[op]->n_cases; c++) {
            probe *one = probe_new(op, c, HS_TRAIN);
            if (!one)
                continue;
            const int counter = rows_counter(one);
            probe_free(one);
            if (!counter || hs_tested.ops[op]->cases[c].live[counter])
                continue; // the latter: more rows than here, for chunks of their own
            probe *all = probe_rows(op, c, HS_TRAIN, counter, MOST);
            assert_non_null(all->n);
            op_types t[MAX_TYPES];
            const op_types types[] = { probe_f32(all), probe_low(all, HS_BF16, false, t) ? t[0] : probe_f32(all),
                                       probe_low(all, HS_F16, false, t) ? t[0] : probe_f32(all) };
            for (int i = 0; i < HS_COUNT(types); i++) {
                int sets = 0;
                probe_set_types(all, &types[i]);
                for_each_set(set, k, all) if (strcmp(set->name, "onednn") != 0) // makes no such promise
                {
                    check_slices(all, counter, set, k);
                    sets++;
                }
                tiers = sets > tiers ? sets : tiers;
            }
            probe_free(all);
            any = true;
        }
        ops += any;
    }
    assert_no_failures();
    assert_true(ops > 15 && tiers > 0 && slices > (hs_tested.no_team ? 800 : 2500) * tiers);
}

// ---- devices: that of the registry, else every tier of the CPU

typedef void on_device(hs_device *dev);
static void each_device(on_device *fn)
{
    hs_device *dev;
    if (hs_tested.open) {
        assert_int_equal(hs_tested.open(&dev), HS_OK);
        fn(dev);
        hs_device_close(dev);
        return;
    }
    for (int isa = 0; isa < HS_N_ISA; isa++)
        for (int threads = 1; threads <= 2 && hs_isa_built((hs_isa)isa) && hs_isa_supported((hs_isa)isa); threads++) {
            assert_int_equal(hs_open_device(&dev, "cpu", threads, hs_isa_name((hs_isa)isa), 0, HS_ONEDNN_NO), HS_OK);
            fn(dev);
            hs_device_close(dev);
        }
}

// ---- attention: queries [first, first + n) of a sequence of KEYS, over keys of several blocks

enum { KEYS = 410, HEADS = 2, C = 2 * 24, CAPACITY = 2 * MOST };

enum { CODES = 2 * C + 8 * HEADS }; // bytes of a row of them
static void attend_model(hs_graph *g, const void *arg)
{
    const bool codes = *(const bool *)arg;
    hs_attention_in in = { 0 };
    in.qkv = hs_input(g, "q", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ CAPACITY, C });
    in.kv = hs_input(g, "kv", codes ? HS_I8 : HS_F32, HS_EXT_FIXED, 2, (int64_t[]){ 2 * KEYS, codes ? CODES : 2 * C });
    in.starts = hs_input(g, "starts", HS_I32, HS_EXT_STARTS, 1, (int64_t[]){ 3 });
    in.keys = hs_input(g, "keys", HS_I32, HS_EXT_SEQS, 2, (int64_t[]){ 2, 3 });
    const hs_attention_i8_in i8 = { .qkv = in.qkv, .starts = in.starts, .keys = in.keys, .cache = in.kv };
    hs_output(g, codes ? hs_attention_i8(g, i8, (hs_attention_i8_attr){ .heads = HEADS, .causal = true })
                       : hs_attention(g, in, (hs_attention_attr){ .heads = HEADS, .causal = true }));
}

static void fill_keys(void *kv, bool codes)
{
    if (!codes)
        hs_random_normal(kv, 2 * KEYS * 2 * C, 7, 0, 0, 1);
    for (int64_t row = 0; row < 2 * KEYS && codes; row++) {
        int8_t *code = (int8_t *)kv + row * CODES;
        float scales[2 * HEADS];
        for (int c = 0; c < 2 * C; c++)
            code[c] = (int8_t)((int32_t)(hs_random(7, (uint32_t)row, (uint32_t)c, 0, 0).v[0] % 255) - 127);
        hs_random_normal(scales, 2 * HEADS, 8, row * 2 * HEADS, 0, 0x1p-6f);
        memcpy(code + 2 * C, scales, sizeof scales);
    }
}

// y of n queries of sequence 0 from `first` on, beside `others` of sequence 1.
static void attend(hs_run *r, int plan, int first, int n, int others, float *y)
{
    float *q = hs_run_input(r, plan, "q");
    int32_t *starts = hs_run_input(r, plan, "starts"), *keys = hs_run_input(r, plan, "keys");
    hs_random_normal(q, n * C, 5, (int64_t)first * C, 0, 1);
    hs_random_normal(q + n * C, others * C, 6, 0, 0, 1);
    starts[0] = 0, starts[1] = n, starts[2] = n + others;
    const int32_t k[] = { 0, first + n, first, KEYS, others, 0 };
    memcpy(keys, k, sizeof k);
    hs_step_live(hs_run_in(r), n + others, others ? 2 : 1, 0);
    assert_int_equal(hs_run_forward(r, plan), HS_OK);
    assert_int_equal(hs_run_read(r, plan, 0, 0, n, y), HS_OK);
}

static void check_attention(hs_device *dev, hs_dtype low, bool codes)
{
    const hs_policy policy = { .low = low };
    hs_model *m;
    hs_run *r;
    int plan;
    assert_int_equal(hs_model_new(&m, &(hs_model_opts){ .device = dev, .policy = &policy }), HS_OK);
    assert_int_equal(hs_model_plan(m, HS_EVAL, attend_model, &codes, &plan), HS_OK);
    assert_int_equal(hs_model_alloc(m, false), HS_OK);
    assert_int_equal(hs_run_new(&r, m, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }), HS_OK);
    fill_keys(hs_run_input(r, plan, "kv"), codes);
    static const int firsts[] = { 0, 160, 187, KEYS - MOST }, counts[] = { 2, 3, 4, 5, 8, 24, 25, MOST };
    for (int f = 0; f < HS_COUNT(firsts); f++) {
        float want[MOST * C], got[MOST * C];
        for (int i = 0; i < MOST; i++)
            attend(r, plan, firsts[f] + i, 1, 0, want + i * C);
        for (int k = 0; k < HS_COUNT(counts); k++)
            for (int others = 0; others <= MOST; others += MOST - 3) {
                attend(r, plan, firsts[f], counts[k], others, got);
                for (int i = 0; i < counts[k]; i++)
                    if (memcmp(got + i * C, want + i * C, C * sizeof *got))
                        fail_msg("%s, %s, %s%s: query %d has other bits among %d and %d others than alone", dev->name,
                                 hs_isa_name(dev->isa), hs_dtype_name(low), codes ? " over codes" : "", firsts[f] + i, counts[k] - 1,
                                 others);
            }
    }
    hs_run_free(r);
    hs_model_free(m);
}

static void attention_on(hs_device *dev)
{
    static const hs_dtype types[] = { HS_F32, HS_BF16, HS_F16 };
    for (int t = 0; t < HS_COUNT(types); t++)
        for (int codes = 0; codes < 2; codes++)
            check_attention(dev, types[t], codes);
}
static void queries_of_attention(void **state)
{
    (void)state;
    each_device(attention_on);
}

// ---- pool: a sequence alone, and as the second of three

static void pool_model(hs_graph *g, const void *kind)
{
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ CAPACITY, C });
    hs_tensor *starts = hs_input(g, "starts", HS_I32, HS_EXT_STARTS, 1, (int64_t[]){ 4 });
    hs_output(g, hs_pool(g, x, starts, NULL, *(const hs_pool_kind *)kind));
}

// y of n rows behind `before` rows of another sequence; beside a third one if there is.
static void pool_of(hs_run *r, int plan, int before, int n, float *y)
{
    float *x = hs_run_input(r, plan, "x");
    int32_t *starts = hs_run_input(r, plan, "starts");
    const int seqs = before ? 3 : 1, third = before ? 3 : 0;
    hs_random_normal(x, before * C, 6, 0, 0, 1);
    hs_random_normal(x + before * C, n * C, 5, 0, 0, 1);
    hs_random_normal(x + (before + n) * C, third * C, 7, 0, 0, 1);
    starts[0] = 0, starts[1] = before ? before : n, starts[2] = before + n, starts[3] = before + n + third;
    hs_step_live(hs_run_in(r), before + n + third, seqs, 0);
    assert_int_equal(hs_run_forward(r, plan), HS_OK);
    assert_int_equal(hs_run_read(r, plan, 0, before ? 1 : 0, 1, y), HS_OK);
}

static void pool_on(hs_device *dev)
{
    static const hs_pool_kind kinds[] = { HS_POOL_FIRST, HS_POOL_MEAN, HS_POOL_MAX, HS_POOL_LAST };
    for (int k = 0; k < HS_COUNT(kinds); k++) {
        const hs_policy policy = { .low = HS_F32 };
        hs_model *m;
        hs_run *r;
        int plan;
        assert_int_equal(hs_model_new(&m, &(hs_model_opts){ .device = dev, .policy = &policy }), HS_OK);
        assert_int_equal(hs_model_plan(m, HS_EVAL, pool_model, &kinds[k], &plan), HS_OK);
        assert_int_equal(hs_model_alloc(m, false), HS_OK);
        assert_int_equal(hs_run_new(&r, m, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }), HS_OK);
        for (int n = 1; n <= MOST; n += n < 8 ? 1 : 5) {
            float alone[C], among[C];
            pool_of(r, plan, 0, n, alone);
            pool_of(r, plan, 1 + n % 7, n, among);
            assert_memory_equal(alone, among, sizeof alone);
        }
        hs_run_free(r);
        hs_model_free(m);
    }
}
static void sequences_of_pool(void **state)
{
    (void)state;
    each_device(pool_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ops_of_the_table),
        cmocka_unit_test(queries_of_attention),
        cmocka_unit_test(sequences_of_pool),
    };
    return cmocka_run_group_tests_name("ops: a row's bits", tests, setup_devices, teardown_devices);
}
