// Extents: rows that are live by any counter, in any unit. An image of several rows and a second token axis are one line of a trace, at
// live counts below capacity, with the bits of the same rows counted as tokens, on any number of members.
#include "core/base/rng.h"
#include "core/plan/plan.h"
#include "models/nn/nn.h"
#include "ops/ops.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka needs the three above
#include <cmocka.h>

enum { IMAGES = 9, SIDE = 7, UNIT = SIDE * SIDE, C = 16, CLASSES = 8, SEQS = 4, SOURCE = 61, TARGET = 45 };

typedef struct axes { // how the rows of a graph are counted, and their capacity
    hs_ext rows, units;
    int64_t n_units;
} axes;
static const axes as_images = { HS_EXT(HS_COUNT_SEQS, UNIT, 0), HS_EXT_SEQS, IMAGES };
static const axes as_tokens = { HS_EXT_TOKENS, HS_EXT_PICKS, IMAGES };
static const axes as_free = { HS_EXT(HS_COUNT_FREE, UNIT, 0), HS_EXT(HS_COUNT_FREE, 1, 0), IMAGES };

// Positions of images through row-wise ops and products; one loss of every position, one of each image by its middle.
static void images(hs_graph *g, const axes *a)
{
    const int64_t n = a->n_units * UNIT;
    hs_tensor *x = hs_input(g, "pixels", HS_F32, a->rows, 2, (int64_t[]){ n, 8 });
    hs_tensor *each = hs_input(g, "classes", HS_I32, a->rows, 1, (int64_t[]){ n });
    hs_tensor *middle = hs_input(g, "middle", HS_I32, a->units, 1, (int64_t[]){ a->n_units });
    hs_tensor *label = hs_input(g, "labels", HS_I32, a->units, 1, (int64_t[]){ a->n_units });
    hs_tensor *h = hs_gelu(g, hs_nn_linear(g, x, "stem", 8, C, .std = 0.3f), HS_GELU_ERF);
    for (int i = 0; i < 2; i++) {
        const size_t mark = hs_push(g, "b%d", i);
        hs_tensor *y = hs_nn_linear(g, hs_nn_layernorm(g, h, "ln", 1e-5f), "fc", C, 2 * C, .std = 0.3f);
        h = hs_add(g, h, hs_nn_linear(g, hs_gelu(g, y, HS_GELU_TANH), "out", 2 * C, C, .std = 0.3f));
        hs_pop(g, mark);
    }
    hs_xent(g, hs_nn_linear(g, h, "each", C, CLASSES, .std = 0.3f), each, (hs_xent_attr){ .classes = CLASSES, .ignore = -1 });
    hs_tensor *of_image = hs_tanh(g, hs_nn_layernorm(g, hs_gather_rows(g, h, middle), "ln_f", 1e-5f));
    hs_xent(g, hs_nn_linear(g, of_image, "head", C, CLASSES, .std = 0.3f), label,
            (hs_xent_attr){ .classes = CLASSES, .ignore = -1, .loss = 1 });
}

// A decoder's tokens look at an encoder's: two token axes of one set of sequences.
static void two_axes(hs_graph *g, hs_ext source, hs_ext target)
{
    hs_tensor *x = hs_input(g, "source", HS_F32, source, 2, (int64_t[]){ SOURCE, C });
    hs_tensor *keys = hs_input(g, "keys", HS_I32, HS_EXT_SEQS, 2, (int64_t[]){ SEQS, 3 });
    hs_tensor *y = hs_input(g, "target", HS_F32, target, 2, (int64_t[]){ TARGET, C });
    hs_tensor *starts = hs_input(g, "starts", HS_I32, HS_EXT_STARTS, 1, (int64_t[]){ SEQS + 1 });
    hs_tensor *label = hs_input(g, "labels", HS_I32, target, 1, (int64_t[]){ TARGET });
    hs_tensor *kv = hs_nn_linear(g, hs_gelu(g, hs_nn_linear(g, x, "enc", C, C, .std = 0.3f), HS_GELU_ERF), "kv", C, 2 * C, .std = 0.3f);
    hs_tensor *q = hs_nn_linear(g, y, "q", C, C, .std = 0.3f);
    hs_tensor *att =
        hs_attention(g, (hs_attention_in){ .qkv = q, .starts = starts, .keys = keys, .kv = kv }, (hs_attention_attr){ .heads = 2 });
    hs_tensor *h = hs_nn_layernorm(g, hs_add(g, y, att), "ln", 1e-5f);
    hs_xent(g, hs_nn_linear(g, h, "head", C, CLASSES, .std = 0.3f), label, (hs_xent_attr){ .classes = CLASSES, .ignore = -1 });
}

typedef struct rig {
    hs_device *dev;
    hs_params *ps;
    hs_graph *graph; // until there is a plan
    hs_plan *plan;
    hs_exec *exec;
    void *workspace, *inputs;
    hs_step_in in;
    hs_step_state state;
} rig;

static void rig_trace(rig *r, int threads)
{
    *r = (rig){ .in = { .n_micro = 1, .seed = 3, .inv_count = { 0.125f, 0.5f } }, .state = { .scale = 1 } };
    assert_int_equal(hs_open_device(&r->dev, "cpu", threads, NULL, 0, false), HS_OK);
    assert_int_equal(hs_params_new(&r->ps, 5, 0, 1), HS_OK);
    assert_int_equal(hs_graph_new(&r->graph, r->ps, NULL, HS_TRAIN, NULL), HS_OK);
}

static void rig_bind(rig *r, hs_dtype low)
{
    if (hs_plan_new(&r->plan, r->graph, r->dev, &(hs_plan_opts){ .policy = { .low = low } }))
        fail_msg("%s", hs_error());
    hs_graph_free(r->graph);
    assert_int_equal(hs_params_declare_low(r->ps, low), HS_OK);
    assert_int_equal(hs_params_alloc(r->ps, NULL, true), HS_OK);
    const size_t bytes = hs_plan_bytes(r->plan);
    assert_int_equal(r->dev->alloc(r->dev, bytes, &r->workspace), HS_OK);
    memset(r->workspace, 0xFF, bytes); // NaN wherever nothing live is written
    const size_t input_bytes = HS_INPUT_SLOTS * hs_plan_info_of(r->plan)->input_bytes;
    assert_int_equal(r->dev->alloc(r->dev, input_bytes, &r->inputs), HS_OK);
    memset(r->inputs, 0xFF, input_bytes);
    const hs_exec_memory memory = { .workspace = r->workspace, .inputs = r->inputs, .in = &r->in, .state = &r->state };
    assert_int_equal(hs_exec_new(&r->exec, r->plan, &memory), HS_OK);
}

static void rig_close(rig *r)
{
    hs_exec_free(r->exec);
    r->dev->release(r->dev, r->workspace, hs_plan_bytes(r->plan));
    r->dev->release(r->dev, r->inputs, HS_INPUT_SLOTS * hs_plan_info_of(r->plan)->input_bytes);
    hs_plan_free(r->plan);
    hs_params_free(r->ps);
    hs_device_close(r->dev);
}

static void run(rig *r)
{
    assert_int_equal(r->dev->submit(r->dev, NULL, hs_exec_micro(r->exec, HS_MICRO_FIRST | HS_MICRO_LAST), HS_SUBMIT_BULK), HS_OK);
}

static void same_bits(const rig *a, const rig *b)
{
    assert_int_equal(a->ps->n_params, b->ps->n_params);
    assert_true(isfinite(a->state.loss[0][0]) && a->state.loss[0][0] > 0);
    assert_memory_equal(a->state.loss, b->state.loss, sizeof a->state.loss);
    for (int p = 0; p < a->ps->n_params; p++)
        assert_memory_equal(hs_slab_at(a->ps->grad, a->ps->param[p]), hs_slab_at(b->ps->grad, b->ps->param[p]),
                            (size_t)a->ps->param[p]->n * sizeof(float));
}

// ---- images

static void images_open(rig *r, const axes *a, hs_dtype low, int threads, int64_t live)
{
    rig_trace(r, threads);
    images(r->graph, a);
    rig_bind(r, low);
    float *x = hs_exec_input(r->exec, "pixels");
    int32_t *each = hs_exec_input(r->exec, "classes"), *middle = hs_exec_input(r->exec, "middle"),
            *label = hs_exec_input(r->exec, "labels");
    hs_random_normal(x, live * UNIT * 8, 21, 0, 0, 1);
    for (int32_t i = 0; i < live * UNIT; i++)
        each[i] = i * 7 % CLASSES;
    for (int32_t i = 0; i < live; i++)
        middle[i] = i * UNIT + UNIT / 2, label[i] = i % CLASSES;
    const int units = hs_ext_counter(a->units);
    r->in.n[hs_ext_counter(a->rows)] = live * (units == hs_ext_counter(a->rows) ? 1 : UNIT);
    r->in.n[units] = live;
}

static void images_are_rows_of_a_unit(void **state)
{
    (void)state;
    const hs_dtype low[] = { HS_F32, HS_BF16 };
    const int64_t counts[] = { 1, 5, IMAGES };
    for (int v = 0; v < HS_COUNT(low) * HS_COUNT(counts); v++) {
        const int64_t live = counts[v / HS_COUNT(low)];
        const hs_dtype d = low[v % HS_COUNT(low)];
        rig want;
        images_open(&want, &as_tokens, d, 1, live);
        run(&want);
        for (int threads = 1; threads <= 3; threads++) {
            const axes exact = { as_images.rows, as_images.units, live };
            const axes *const all[] = { &as_images, &as_free, &exact };
            for (int i = 0; i < HS_COUNT(all); i++) {
                rig r;
                images_open(&r, all[i], d, threads, live);
                run(&r);
                same_bits(&want, &r);
                rig_close(&r);
            }
        }
        rig_close(&want);
    }
}

// ---- two token axes

static void axes_open(rig *r, hs_ext source, hs_ext target, int threads)
{
    static const int32_t begin[] = { 0, 13, 13, 30 }, keys[] = { 0, 20, 0, 20, 7, 0, 27, 24, 0 }; // 3 of 4 sequences, one of them empty
    rig_trace(r, threads);
    two_axes(r->graph, source, target);
    rig_bind(r, HS_F32);
    hs_random_normal(hs_exec_input(r->exec, "source"), 51 * C, 22, 0, 0, 1);
    hs_random_normal(hs_exec_input(r->exec, "target"), 30 * C, 23, 0, 0, 1);
    memcpy(hs_exec_input(r->exec, "starts"), begin, sizeof begin);
    memcpy(hs_exec_input(r->exec, "keys"), keys, sizeof keys);
    int32_t *label = hs_exec_input(r->exec, "labels");
    for (int i = 0; i < 30; i++)
        label[i] = i * 3 % CLASSES;
    hs_step_live(&r->in, 51, 3, 0);
    r->in.n[hs_ext_counter(source)] = 51;
    r->in.n[hs_ext_counter(target)] = 30;
}

static void a_second_token_axis_has_a_count_of_its_own(void **state)
{
    (void)state;
    const hs_ext second = HS_EXT(HS_COUNT_TOKENS2, 1, 0);
    rig want;
    axes_open(&want, HS_EXT_TOKENS, second, 1);
    run(&want);
    for (int threads = 1; threads <= 3; threads++) {
        rig r, other;
        axes_open(&r, HS_EXT_TOKENS, second, threads);
        axes_open(&other, HS_EXT(HS_COUNT_FREE + 1, 1, 0), HS_EXT_TOKENS, threads);
        run(&r), run(&other);
        same_bits(&want, &r);
        same_bits(&want, &other);
        rig_close(&r), rig_close(&other);
    }
    rig_close(&want);
}

// ---- refused

static void refused(hs_ext e, int64_t rows, const char *why)
{
    hs_params *ps;
    hs_graph *g;
    assert_int_equal(hs_params_new(&ps, 1, 0, 1), HS_OK);
    assert_int_equal(hs_graph_new(&g, ps, NULL, HS_EVAL, NULL), HS_OK);
    hs_input(g, "x", HS_F32, e, 1, &rows);
    assert_int_equal(hs_graph_status(g), HS_USAGE);
    assert_string_equal(hs_error(), why);
    hs_graph_free(g);
    hs_params_free(ps);
}

static void a_capacity_is_whole_units(void **state)
{
    (void)state;
    refused(HS_EXT(HS_COUNT_SEQS, 49, 0), 100, "input x: 100 rows are no whole number of sequences of 49 rows");
    refused(HS_EXT(HS_COUNT_TOKENS, 4, 2), 8, "input x: 8 rows are no whole number of tokens of 4 rows and 2 more");
    refused(HS_EXT(HS_COUNT_SEQS, 0, 0), 3, "input x: an extent of sequences without rows");
    refused(HS_EXT(HS_N_COUNTERS, 1, 0), 3, "input x: an extent counts by 8, allowed 0 to 7");
    assert_int_equal(hs_ext_units(HS_EXT_STARTS, 5), 4);
    assert_int_equal(hs_ext_rows(HS_EXT_STARTS, (int64_t[HS_N_COUNTERS]){ [HS_COUNT_SEQS] = 3 }, 5), 4);
    assert_int_equal(hs_ext_rows(as_images.rows, (int64_t[HS_N_COUNTERS]){ [HS_COUNT_SEQS] = 3 }, 5 * UNIT), 3 * UNIT);
    assert_int_equal(hs_ext_rows(HS_EXT_FIXED, (int64_t[HS_N_COUNTERS]){ 0 }, 5), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_are_rows_of_a_unit),
        cmocka_unit_test(a_second_token_axis_has_a_count_of_its_own),
        cmocka_unit_test(a_capacity_is_whole_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
