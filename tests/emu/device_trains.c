// A device of another library beside the CPU: tiny models of every family train on both, and losses and parameters agree within what
// sums in another order do; steps, bulks and captured graphs of it give the same bits, and so do two runs.
//   test_cuda_trains [DEVICE [products|attention]]     cuda-emu (the CUDA kernels run by the emulator of tests/emu) where none is named;
//                                                      products: a GPT and encoders alone; attention: what cuDNN's double attends for
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "models/nn/nn.h"
#include "ops/ops.h"
#include "tests/support/support_encoder.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

enum { STEPS = 5 };
static const char *device = "cuda-emu";

typedef struct result {
    double loss[STEPS + 1]; // the last: of an evaluation, where there is one
    float *start, *value;   // of the parameters, in front of the first step and behind the last
    size_t n;
    int skipped;
} result;

static void result_free(result *r)
{
    free(r->start);
    free(r->value);
}

static void finish(hs_engine *e, result *r)
{
    r->n = flat_count(e->params), r->value = flat_copy(e->params, "master");
    r->skipped = (int)hs_run_state(e->run)->skipped;
    hs_engine_free(e);
}

static void same_bits(const result *a, const result *b, const char *what)
{
    assert_int_equal(a->n, b->n);
    if (memcmp(a->loss, b->loss, sizeof a->loss) || memcmp(a->value, b->value, a->n * sizeof *a->value))
        fail_msg("%s: other bits", what);
}

// How far parameters are from each other, as a part of the way that they have gone.
static double apart(const result *a, const result *b)
{
    double between = 0, way = 0;
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->start, b->start, a->n * sizeof *a->start);
    for (size_t i = 0; i < a->n; i++) {
        between += ((double)a->value[i] - b->value[i]) * ((double)a->value[i] - b->value[i]);
        way += ((double)a->value[i] - a->start[i]) * ((double)a->value[i] - a->start[i]);
    }
    return sqrt(between / way);
}

// Of f32: sums in another order. Low precision rounds what differs so, once more in every layer. Parameters: what a gradient of nothing but
// rounding moves is another way on each device, a whole step with AdamW; there is one in every attention (the bias of keys). Bounds are a
// few times what is seen: by other rules an update is far beyond those of f32.
static const struct bounds {
    const char *policy;
    double loss, values;
} bounds[] = { { "fp32", 2e-5, 6e-5 }, { "fp16", 4e-3, 0.06 }, { "bf16", 2e-2, 0.15 }, { "fp8", 2e-2, 0.25 } };

static struct bounds bounds_of(const char *policy)
{
    int b = 0;
    while (strncmp(policy, bounds[b].policy, strlen(bounds[b].policy)) != 0)
        b++;
    return bounds[b];
}

static void near(const result *cpu, const result *other, const char *what, struct bounds most)
{
    for (int s = 0; s <= STEPS; s++)
        if (!(fabs(cpu->loss[s] - other->loss[s]) <= most.loss * fabs(cpu->loss[s])))
            fail_msg("%s, %s: loss of step %d is %.8f on the CPU, %.8f on %s", what, most.policy, s, cpu->loss[s], other->loss[s], device);
    assert_int_equal(cpu->skipped, other->skipped);
    const double part = apart(cpu, other);
    if (!(part <= most.values))
        fail_msg("%s, %s: parameters on %s are %.2g of their way from those on the CPU, at most %.2g is rounding", what, most.policy, device, part,
                 most.values);
}

// ---- GPT

static result train_gpt_as(const char *on, const tiny_opts *o, int micro)
{
    static const int lengths[2][5] = { { 12, 7, 3, 24 }, { 1, 9, 17, 5 } };
    tiny_gpt model;
    result r = { .skipped = 0 };
    test_device = on;
    hs_engine *e = tiny_engine(&model, o);
    r.start = flat_copy(e->params, "master");
    for (int s = 0; s < STEPS; s++) {
        for (int m = 0; m < micro; m++) {
            tiny_fill(e, HS_TRAIN, lengths[(s + m) % 2], (uint64_t)s + 1, 4 * m);
            e->in->n_micro = micro, e->in->inv_count[0] = 1.0f / 46;
            OK(hs_engine_run(e, HS_TRAIN, (m == 0 ? HS_MICRO_FIRST : 0) | (m == micro - 1 ? HS_MICRO_LAST : 0)));
        }
        OK(hs_run_update(e->run));
        r.loss[s] = hs_engine_loss(e, HS_TRAIN);
    }
    if (!o->attention) { // of which runs are counted
        e->in->inv_count[0] = hs_inv_count(tiny_fill(e, HS_EVAL, lengths[0], 11, 0));
        OK(hs_run_forward(e->run, e->plan[HS_EVAL]));
        r.loss[STEPS] = hs_engine_loss(e, HS_EVAL);
    }
    finish(e, &r);
    return r;
}

static result train_gpt(const char *on, const char *policy, hs_submit_mode mode, int micro)
{
    const tiny_opts o = { .dropout = 0.1f, .policy = policy, .optim = "adamw", .mode = mode, .micro_steps = micro, .max_tokens = 60 };
    return train_gpt_as(on, &o, micro);
}

// A step of one micro-batch, first and last at once, has captures of its own.
static void a_gpt(void **state)
{
    (void)state;
    static const char *const policies[] = { "fp32", "bf16", "fp16", "fp8", "fp8 delayed" };
    static const hs_submit_mode modes[] = { HS_SUBMIT_GRAPH, HS_SUBMIT_STEP };
    for (int p = 0; p < HS_COUNT(policies); p++)
        for (int micro = strncmp(policies[p], "fp8", 3) ? 1 : 2; micro <= 2; micro++) {
            result cpu = train_gpt("cpu", policies[p], HS_SUBMIT_BULK, micro),
                   first = train_gpt(device, policies[p], HS_SUBMIT_BULK, micro);
            near(&cpu, &first, "a GPT", bounds_of(policies[p]));
            for (int m = 0; m < micro; m++) {
                result r = train_gpt(device, policies[p], modes[m], micro);
                same_bits(&first, &r, "a GPT, submitted in another way");
                result_free(&r);
            }
            result_free(&cpu), result_free(&first);
        }
}

// On a device with cuBLASLt's double: layers in 8 bits went to it, as codes.
static void products_of_8_bits(void **state)
{
    (void)state;
    long (*products)(void) = NULL;
    void *library = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_NOLOAD);
    if (!library)
        skip();
    *(void **)&products = dlsym(library, "fake_cublaslt_8bit");
    assert_true(products && products() > 0);
    dlclose(library);
}

// And what stands behind products went there with them: GELU with what it is made of in training, without it in evaluation, its gradient, and
// gradients of biases. By the values of cublasLtEpilogue_t.
static void what_stands_behind(void **state)
{
    (void)state;
    static const int epilogues[] = { 164 /* GELU_AUX_BIAS */, 36 /* GELU_BIAS */, 192 /* DGELU */, 512 /* BGRADB */ };
    long (*products)(int epilogue) = NULL;
    void *library = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_NOLOAD);
    if (!library)
        skip();
    *(void **)&products = dlsym(library, "fake_cublaslt_with");
    assert_non_null(products);
    for (int i = 0; i < HS_COUNT(epilogues); i++)
        if (!products(epilogues[i]))
            fail_msg("no product with epilogue %d", epilogues[i]);
    dlclose(library);
}

// ---- encoders, and every task

static const encoder_batch whole = { .n = 6, .slot = { 0, 1, 2, 3, 4, 5 }, .length = { 12, 24, 5, 17, 1, 9 }, .key = 1 };

static result train_encoder_as(const char *on, const hs_family *f, encoder_opts o, int preset)
{
    hs_optim_config optim;
    optim = hs_optim_preset(preset);
    optim.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1e-3, .power = 1, .steps = 100 };
    tiny_encoder t;
    hs_engine *e;
    result r = { .skipped = 0 };
    test_device = on;
    o.optim = &optim;
    OK(encoder_engine(&e, &t, f, &o));
    r.start = flat_copy(e->params, "master");
    for (int s = 0; s < STEPS; s++) {
        encoder_batch now = whole;
        now.key += (uint64_t)s, now.row = o.padded ? ENCODER_CONTEXT : 0;
        OK(encoder_fill(e, HS_TRAIN, &now));
        OK(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
        OK(hs_run_update(e->run));
        r.loss[s] = encoder_loss(e, HS_TRAIN);
    }
    finish(e, &r);
    return r;
}

static result train_encoder(const char *on, const hs_family *f, hs_task task, bool crf, const char *policy, hs_submit_mode mode, int preset)
{
    const encoder_opts o = { .dropout = "0.1", .policy = policy, .mode = mode, .task = task, .crf = crf, .max_tokens = 80 };
    return train_encoder_as(on, f, o, preset);
}

static void compare(const hs_family *f, hs_task task, bool crf, const char *policy, int preset)
{
    char what[128];
    snprintf(what, sizeof what, "%s, task %d%s, optimizer %d", f->name, task, crf ? " with a CRF" : "", preset);
    struct bounds most = bounds_of(policy);
    if (preset == HS_PRESET_NOVOGRAD) // divides by the norm of each tensor's gradient, of the bias of keys too
        most.values *= 10;
    if (task == HS_TASK_SPAN) // a softmax over tokens: the head's bias has no gradient
        most.values *= 100;
    result cpu = train_encoder("cpu", f, task, crf, policy, HS_SUBMIT_BULK, preset);
    result other = train_encoder(device, f, task, crf, policy, HS_SUBMIT_GRAPH, preset);
    near(&cpu, &other, what, most);
    result_free(&cpu), result_free(&other);
}

static void encoders(void **state)
{
    (void)state;
    for (int i = 0; hs_families[i]; i++)
        if (hs_families[i]->batch == HS_BATCH_MASKED) {
            compare(hs_families[i], HS_TASK_NONE, false, "fp32", HS_PRESET_LAMB);
            compare(hs_families[i], HS_TASK_NONE, false, "bf16", HS_PRESET_LAMB);
        }
}

// In every way that it is submitted the same bits, and the same in two runs.
static void an_encoder(void **state)
{
    (void)state;
    const hs_submit_mode modes[] = { HS_SUBMIT_GRAPH, HS_SUBMIT_STEP, HS_SUBMIT_BULK };
    const hs_family *const *f = hs_families;
    while ((*f)->batch != HS_BATCH_MASKED)
        f++;
    result first = train_encoder(device, *f, HS_TASK_NONE, false, "bf16", HS_SUBMIT_GRAPH, HS_PRESET_LAMB);
    for (int m = 0; m < HS_COUNT(modes); m++) {
        result r = train_encoder(device, *f, HS_TASK_NONE, false, "bf16", modes[m], HS_PRESET_LAMB);
        same_bits(&first, &r, "an encoder, submitted in another way");
        result_free(&r);
    }
    result_free(&first);
}

static void tasks(void **state)
{
    (void)state;
    for (int i = 0; hs_families[i]; i++)
        if (hs_families[i]->batch == HS_BATCH_MASKED) { // one family: heads are the same of all
            for (int task = HS_TASK_SEQUENCE; task < HS_TASKS; task++)
                for (int crf = 0; crf <= (task == HS_TASK_TOKENS); crf++)
                    compare(hs_families[i], (hs_task)task, crf, "fp32", HS_PRESET_ADAMW);
            return;
        }
}

static void optimizers(void **state)
{
    (void)state;
    for (int i = 0; hs_families[i]; i++)
        if (hs_families[i]->batch == HS_BATCH_MASKED) {
            for (int preset = 0; preset < HS_N_PRESETS; preset++)
                if (preset != HS_PRESET_LAMB) // which all encoders have above
                    compare(hs_families[i], HS_TASK_NONE, false, "fp32", preset);
            return;
        }
}

// ---- attention by a library: on a device with cuDNN's double

// Runs of attention that went there, all of them or those that drop; -1: there is no double.
static long attended(bool drops)
{
    static long (*runs)(bool drops);
    if (!runs) {
        void *library = dlopen("libcudnn.so.9", RTLD_NOW); // stays
        assert_non_null(library);
        *(void **)&runs = dlsym(library, "fake_cudnn_runs");
        assert_non_null(runs);
    }
    return runs(drops);
}

enum { LAYERS = 2, RUNS = 2 * LAYERS * STEPS }; // of both passes
typedef struct attention {
    const char *policy;
    float dropout; // 0 or 0.1
    bool library_masks, any_order, padded;
} attention;

static const hs_family *bert(void)
{
    for (int i = 0; hs_families[i]; i++)
        if (!strcmp(hs_families[i]->name, "bert"))
            return hs_families[i];
    return NULL;
}

static result attend(const char *on, const attention *a, bool encoder, hs_submit_mode mode, int micro)
{
    const hs_arch_shape shape = {
        .longest = TINY_CONTEXT, .full = a->padded, .library_masks = a->library_masks, .any_order = a->any_order
    };
    _Static_assert((int)TINY_CONTEXT == (int)ENCODER_CONTEXT, "one promise");
    if (!encoder)
        return train_gpt_as(on,
                            &(tiny_opts){ .dropout = a->dropout,
                                          .policy = a->policy,
                                          .optim = "adamw",
                                          .mode = mode,
                                          .micro_steps = micro,
                                          .max_tokens = 60,
                                          .max_seqs = 4,
                                          .attention = &shape },
                            micro);
    const encoder_opts o = { .dropout = a->dropout > 0 ? "0.1" : NULL,
                             .policy = a->policy,
                             .mode = mode,
                             .padded = a->padded,
                             .max_tokens = a->padded ? ENCODER_SEQS * ENCODER_CONTEXT : 128,
                             .attention = &shape };
    return train_encoder_as(on, bert(), o, HS_PRESET_LAMB);
}

static void attention_of(const attention *a, bool encoder, int micro)
{
    char what[128];
    snprintf(what, sizeof what, "%s, dropout %g%s%s%s", encoder ? "an encoder" : "a GPT", (double)a->dropout,
             a->library_masks ? " by cuDNN's masks" : "", a->any_order ? ", sums in any order" : "", a->padded ? ", padded" : "");
    const long before = attended(false), before_drops = attended(true);
    result cpu = attend("cpu", a, encoder, HS_SUBMIT_BULK, micro), first = attend(device, a, encoder, HS_SUBMIT_BULK, micro);
    const bool goes = a->dropout == 0 || a->library_masks, other_masks = a->dropout > 0 && a->library_masks;
    assert_int_equal(attended(false) - before, goes ? micro * RUNS : 0);
    assert_int_equal(attended(true) - before_drops, other_masks ? micro * RUNS : 0);
    if (!other_masks)
        near(&cpu, &first, what, bounds_of(a->policy));
    for (int s = 0; s < STEPS && other_masks; s++)
        if (!(fabs(cpu.loss[s] - first.loss[s]) <= 0.05 * cpu.loss[s]) || cpu.loss[s] == first.loss[s])
            fail_msg("%s: loss of step %d is %.8f on the CPU, %.8f on %s", what, s, cpu.loss[s], first.loss[s], device);
    const hs_submit_mode modes[] = { HS_SUBMIT_STEP, HS_SUBMIT_GRAPH };
    for (int m = 0; m < HS_COUNT(modes); m++) {
        result r = attend(device, a, encoder, modes[m], micro);
        same_bits(&first, &r, what);
        result_free(&r);
    }
    result_free(&cpu), result_free(&first);
}

static void attention_by_a_library(void **state)
{
    (void)state;
    static const attention kinds[] = {
        { "bf16", 0, false, false, false },   { "fp16", 0, false, false, false },  { "bf16", 0.1f, false, false, false },
        { "bf16", 0.1f, true, false, false }, { "fp16", 0.1f, true, true, false },
    };
    static const attention padded = { "bf16", 0.1f, true, false, true };
    for (int i = 0; i < HS_COUNT(kinds); i++) {
        attention_of(&kinds[i], false, 1 + i % 2);
        if (!strcmp(kinds[i].policy, "bf16"))
            attention_of(&kinds[i], true, 1);
    }
    attention_of(&padded, true, 1);
}

// ---- a chunk of logits: of a GPU's own height

static int64_t chunk_of(const char *on, int64_t rows, int64_t classes)
{
    hs_device *d;
    hs_params *ps;
    hs_graph *g;
    hs_plan *plan;
    int64_t high = 0;
    OK(hs_open_device(&d, on, 1, NULL, 0, HS_ONEDNN_NO));
    OK(hs_params_new(&ps, 1, 0, 1));
    OK(hs_graph_new(&g, ps, NULL, HS_TRAIN, NULL));
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ rows, 8 });
    hs_tensor *y = hs_input(g, "y", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ rows });
    hs_linear_xent(g, x, hs_nn_table(g, "head", HS_SHARD_NONE, classes, 1, 8), NULL, y,
                   (hs_xent_attr){ .classes = (int32_t)classes, .ignore = -1 });
    OK(hs_plan_new(&plan, g, d, &(hs_plan_opts){ .policy = { .low = HS_BF16 } }));
    const hs_graph *planned = hs_plan_graph(plan);
    for (int i = 0; i < planned->n_nodes; i++)
        if (!strcmp(planned->node[i]->op->name, "linear_xent"))
            high = planned->node[i]->out[1]->dim[0];
    hs_plan_free(plan), hs_graph_free(g), hs_params_free(ps), hs_device_close(d);
    return high;
}

static void chunks(void **state)
{
    (void)state;
    assert_int_equal(chunk_of("cpu", 40000, 64), 1024);
    assert_int_equal(chunk_of(device, 40000, 64), 8192);
    assert_int_equal(chunk_of(device, 2000, 64), 2000);
    assert_int_equal(chunk_of(device, 40000, 50304), 8192);   // 0.8 GB of bf16
    assert_int_equal(chunk_of(device, 40000, 128256), 4096);  // a GiB holds 4,185
    assert_int_equal(chunk_of(device, 40000, 1 << 20), 1024); // the least, beyond it
}

int main(int argc, char **argv)
{
    device = argc > 1 ? argv[1] : device;
    hs_log_set(HS_LOG_WARN, NULL, NULL);
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_gpt), cmocka_unit_test(encoders), cmocka_unit_test(an_encoder), cmocka_unit_test(tasks),
                                        cmocka_unit_test(optimizers), cmocka_unit_test(chunks) };
    if (argc > 2 && !strcmp(argv[2], "attention")) {
        const struct CMUnitTest of_a_library[] = { cmocka_unit_test(attention_by_a_library) };
        return cmocka_run_group_tests_name("training with attention of another library", of_a_library, NULL, NULL);
    }
    if (argc > 2) {
        const struct CMUnitTest products[] = { cmocka_unit_test(a_gpt), cmocka_unit_test(products_of_8_bits), cmocka_unit_test(what_stands_behind),
                                               cmocka_unit_test(encoders), cmocka_unit_test(an_encoder) };
        return cmocka_run_group_tests_name("training with products of another library", products, NULL, NULL);
    }
    return cmocka_run_group_tests_name("training on a device of another library", tests, NULL, NULL);
}
