// A tiny GPT in training and decoding: how a step is submitted, on how many threads, in how many micro-batches and at which
// capacity must not show in what comes out; and a cache gives the logits of full recomputation.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>

enum { STEPS = 4, SEQS = 8, LONGEST = 12 };
static const int lengths[SEQS + 1] = { 12, 7, 12, 1, 9, 12, 3, 10 }; // ended by 0
enum { TOKENS = 12 + 7 + 12 + 1 + 9 + 12 + 3 + 10, CAPACITY = 120 };

typedef struct way {
    const char *policy;
    int threads;
    hs_submit_mode mode;
    int bulk_size, micro; // micro-batches in a step
    int promised; // what the engine is told of them: with 1 gradients lie among the activations, from 2 on there are copies of weights
    int64_t max_tokens, max_seqs; // 0: well above what is live
    int workspace;                // byte it is filled with before every micro-step
    uint64_t seed;
    hs_recompute recompute;
} way;

typedef struct result {
    double loss[STEPS], norm[STEPS];
    float *value; // of all parameters, in the end
    size_t n;
    size_t workspace;
    bool *noise; // values whose gradient is 0 but for rounding: the keys' bias, which softmax does not see
} result;

// Bytes that nobody should read: in the workspace, and behind what is live of the inputs.
static void spoil(hs_engine *e, hs_mode mode, int byte)
{
    size_t bytes;
    void *workspace = hs_run_workspace(e->run, &bytes);
    e->device->fill(e->device, workspace, byte, bytes);
    for (int i = 0; i < hs_run_n_inputs(e->run, e->plan[mode]); i++) {
        const hs_tensor *t;
        void *input = hs_run_input_at(e->run, e->plan[mode], i, &t);
        e->device->fill(e->device, input, byte, hs_tensor_bytes(t));
    }
}

static void micro_step(hs_engine *e, const way *w, int step, int micro)
{
    const int per = SEQS / w->micro;
    int own[SEQS + 1] = { 0 };
    memcpy(own, lengths + micro * per, (size_t)per * sizeof *own);
    spoil(e, HS_TRAIN, w->workspace);
    tiny_fill(e, HS_TRAIN, own, (uint64_t)step + 1, micro * per);
    e->in->n_micro = w->micro, e->in->inv_count[0] = 1.0f / TOKENS;
    const int which = (micro == 0 ? HS_MICRO_FIRST : 0) | (micro == w->micro - 1 ? HS_MICRO_LAST : 0);
    assert_int_equal(hs_engine_run(e, HS_TRAIN, which), HS_OK);
}

static result train(way w)
{
    tiny_gpt model;
    w.micro = w.micro ? w.micro : 1;
    hs_engine *e = tiny_engine(&model, &(tiny_opts){ .dropout = 0.1f,
                                                     .policy = w.policy,
                                                     .optim = "adamw",
                                                     .threads = w.threads,
                                                     .seed = w.seed,
                                                     .mode = w.mode,
                                                     .micro_steps = w.promised,
                                                     .recompute = w.recompute,
                                                     .max_tokens = w.max_tokens ? w.max_tokens : CAPACITY,
                                                     .max_seqs = w.max_seqs ? w.max_seqs : SEQS + 5 });
    e->device->bulk_size = w.bulk_size;
    result r = { .n = flat_count(e->params), .workspace = hs_plan_info_of(hs_engine_plan(e, HS_TRAIN))->value_bytes };
    for (int step = 0; step < STEPS; step++) {
        for (int micro = 0; micro < w.micro; micro++)
            micro_step(e, &w, step, micro);
        assert_int_equal(hs_run_update(e->run), HS_OK);
        assert_int_equal(hs_run_state(e->run)->found_inf, 0);
        r.loss[step] = hs_engine_loss(e, HS_TRAIN), r.norm[step] = (double)hs_run_state(e->run)->grad_norm;
    }
    r.value = flat_copy(e->params, "master");
    r.noise = calloc(r.n, sizeof *r.noise);
    for (int i = 0; i < e->params->n_params; i++) {
        const hs_param *p = e->params->param[i];
        if (p->parts == 3 && p->role == HS_BIAS)
            memset(r.noise + flat_at(e->params, p) + p->n / 3, true, p->n / 3);
    }
    hs_engine_free(e);
    return r;
}

static void result_free(result *r)
{
    free(r->value);
    free(r->noise);
}

static const char *const policies[] = { "fp32", "bf16", "fp16" };
static const char *const all_policies[] = { "fp32", "bf16", "fp16", "fp8", "fp8 delayed" };

static void assert_same_bits(const result *a, const result *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->loss, b->loss, sizeof a->loss);
    assert_memory_equal(a->value, b->value, a->n * sizeof *a->value);
}

static void submission_and_threads(void **state)
{
    (void)state;
    static const int bulk[] = { -1, 0, 1, 7 }; // -1: step by step
    for (int p = 0; p < HS_COUNT(policies); p++) {
        result first = train((way){ .policy = policies[p], .threads = 1, .mode = HS_SUBMIT_STEP });
        for (int threads = 1; threads <= 3; threads++)
            for (int b = 0; b < HS_COUNT(bulk); b++) {
                const hs_submit_mode mode = bulk[b] < 0 ? HS_SUBMIT_STEP : HS_SUBMIT_BULK;
                result r = train((way){
                    .policy = policies[p], .threads = threads, .mode = mode, .bulk_size = bulk[b] < 0 ? 0 : bulk[b], .promised = b % 2 });
                assert_same_bits(&first, &r);
                result_free(&r);
            }
        result_free(&first);
    }
}

// What backward makes again, under dropout, is what forward made.
static void values_made_again(void **state)
{
    (void)state;
    for (int p = 0; p < HS_COUNT(policies); p++)
        for (int promised = 1; promised <= 2; promised++) {
            way w = { .policy = policies[p], .threads = 2, .mode = HS_SUBMIT_BULK, .micro = promised, .promised = promised, .workspace = 0xFF };
            result kept = train(w);
            size_t least = kept.workspace;
            for (w.recompute = HS_RECOMPUTE_SELECTIVE; w.recompute <= HS_RECOMPUTE_FULL; w.recompute++) {
                result r = train(w);
                assert_same_bits(&kept, &r);
                assert_true(r.workspace <= least && (w.recompute != HS_RECOMPUTE_FULL || r.workspace < kept.workspace));
                least = r.workspace;
                result_free(&r);
            }
            result_free(&kept);
        }
}

// Weights packed (and rounded to codes) once per step, or in every product.
static void copies_of_weights(void **state)
{
    (void)state;
    for (int p = 0; p < HS_COUNT(all_policies); p++)
        for (int micro = 1; micro <= 4; micro *= 2) {
            const way plain = { .policy = all_policies[p], .threads = 1, .mode = HS_SUBMIT_BULK, .micro = micro };
            result first = train(plain);
            for (int threads = 1; threads <= 3; threads++)
                for (int step_mode = 0; step_mode < 2; step_mode++) {
                    way w = plain;
                    w.threads = threads, w.promised = 4, w.mode = step_mode ? HS_SUBMIT_STEP : HS_SUBMIT_BULK;
                    result r = train(w);
                    assert_same_bits(&first, &r);
                    result_free(&r);
                }
            result_free(&first);
        }
}

static double eval_loss(hs_engine *e)
{
    tiny_fill(e, HS_EVAL, lengths, 77, 0);
    e->in->n_micro = 1, e->in->inv_count[0] = 1.0f / TOKENS;
    assert_int_equal(hs_engine_run(e, HS_EVAL, 0), HS_OK);
    return hs_engine_loss(e, HS_EVAL);
}

// An engine that only infers keeps copies; they follow values that are loaded or drawn again.
static void copies_follow_the_values(void **state)
{
    (void)state;
    for (int p = 0; p < HS_COUNT(policies); p++) {
        tiny_gpt model[2];
        hs_engine *with, *without;
        with = tiny_engine(&model[0], &(tiny_opts){ .policy = policies[p], .threads = 2, .mode = HS_SUBMIT_BULK, .max_tokens = CAPACITY });
        without = tiny_engine(&model[1], &(tiny_opts){ .policy = policies[p], .optim = "adamw", .threads = 2, .max_tokens = CAPACITY });
        assert_true(hs_plan_info_of(hs_engine_plan(with, HS_EVAL))->derived_bytes > 0);
        assert_int_equal(hs_plan_info_of(hs_engine_plan(without, HS_EVAL))->derived_bytes, 0);
        assert_true(hs_plan_info_of(hs_engine_plan(with, HS_EVAL))->scratch_bytes <
                    hs_plan_info_of(hs_engine_plan(without, HS_EVAL))->scratch_bytes);
        double before = 0;
        for (uint64_t seed = 3; seed < 6; seed++) {
            with->params->seed = without->params->seed = seed;
            hs_params_init_values(with->params);
            hs_params_init_values(without->params);
            const double loss = eval_loss(with);
            assert_true(loss == eval_loss(without) && loss == eval_loss(with) && loss != before);
            before = loss;
        }
        hs_engine_free(with);
        hs_engine_free(without);
    }
}

// Dead rows of every tensor and all scratch full of NaN, and a plan that has room for nothing else.
static void capacity_and_stale_bytes(void **state)
{
    (void)state;
    for (int p = 0; p < HS_COUNT(policies); p++) {
        result first = train((way){ .policy = policies[p], .threads = 2, .mode = HS_SUBMIT_BULK });
        result nan = train((way){ .policy = policies[p], .threads = 2, .mode = HS_SUBMIT_BULK, .promised = 1, .workspace = 0xFF });
        result tight = train((way){ .policy = policies[p],
                                    .threads = 2,
                                    .mode = HS_SUBMIT_BULK,
                                    .promised = 1,
                                    .workspace = 0xFF,
                                    .max_tokens = TOKENS,
                                    .max_seqs = SEQS });
        assert_same_bits(&first, &nan);
        assert_same_bits(&first, &tight);
        result_free(&first);
        result_free(&nan);
        result_free(&tight);
    }
}

// 1 x 8, 2 x 4, 4 x 2 and 8 x 1 sequences, dropout on: sums are added up in another order, and nothing else is different.
// Adam divides a gradient by its size: one that is nothing but rounding moves its value by up to lr either way. Seed 3 has one
// value with such a gradient by chance; others are 20 times closer than the bound.
static void accumulation(void **state)
{
    (void)state;
    result whole = train((way){ .policy = "fp32", .threads = 2, .mode = HS_SUBMIT_BULK, .seed = 4 });
    for (int micro = 2; micro <= SEQS; micro *= 2) {
        result r = train((way){ .policy = "fp32", .threads = 2, .mode = HS_SUBMIT_BULK, .micro = micro, .seed = 4 });
        double off = 0, size = 0, worst = 0, worst_norm = 0;
        for (int t = 0; t < STEPS; t++) {
            worst = fmax(worst, fabs(r.loss[t] - whole.loss[t]) / whole.loss[t]);
            worst_norm = fmax(worst_norm, fabs(r.norm[t] - whole.norm[t]) / whole.norm[t]);
        }
        for (size_t i = 0; i < r.n; i++)
            if (!r.noise[i])
                off += pow((double)r.value[i] - (double)whole.value[i], 2), size += pow((double)whole.value[i], 2);
        if (!(worst <= 1e-6 && worst_norm <= 1e-6 && sqrt(off) <= 1e-6 * sqrt(size)))
            fail_msg("%d micro-batches: relative to one, loss is off by %.1e, gradient norm by %.1e, values by %.1e", micro, worst,
                     worst_norm, sqrt(off / size));
        result_free(&r);
    }
    result_free(&whole);
}

// ---- decoding

enum { PROMPTS = 3, PROMPT = 5, TOTAL = 20 };

static int32_t token(int seq, int i) { return (seq * 31 + i * i * 7 + 3 * i) % TINY_VOCAB; }

static void write_input(hs_engine *e, hs_mode mode, const char *name, const int32_t *src, size_t bytes)
{
    assert_int_equal(hs_run_write(e->run, e->plan[mode], name, src, bytes), HS_OK);
}

static void read_row(hs_engine *e, hs_mode mode, int64_t row, float *logits)
{
    float padded[2 * TINY_VOCAB];
    hs_ref y;
    assert_non_null(hs_run_output(e->run, e->plan[mode], 0, &y));
    assert_true(y.cols <= HS_COUNT(padded));
    assert_int_equal(hs_run_read(e->run, e->plan[mode], 0, row, 1, padded), HS_OK);
    memcpy(logits, padded, TINY_VOCAB * sizeof *logits);
}

// Logits of every position of every sequence, [PROMPTS][TOTAL][TINY_VOCAB], by one evaluation.
static void recompute(hs_engine *e, float *logits)
{
    int32_t ids[PROMPTS * TOTAL], targets[PROMPTS * TOTAL], starts[PROMPTS + 1], where[2 * PROMPTS * TOTAL];
    for (int b = 0; b <= PROMPTS; b++)
        starts[b] = b * TOTAL;
    for (int n = 0; n < PROMPTS * TOTAL; n++) {
        ids[n] = token(n / TOTAL, n % TOTAL), targets[n] = -1;
        where[2 * n] = n / TOTAL, where[2 * n + 1] = n % TOTAL;
    }
    write_input(e, HS_EVAL, "ids", ids, sizeof ids);
    write_input(e, HS_EVAL, "targets", targets, sizeof targets);
    write_input(e, HS_EVAL, "starts", starts, sizeof starts);
    write_input(e, HS_EVAL, "where", where, sizeof where);
    hs_step_live(e->in, PROMPTS * TOTAL, PROMPTS, 0);
    assert_int_equal(hs_engine_run(e, HS_EVAL, 0), HS_OK);
    for (int n = 0; n < PROMPTS * TOTAL; n++)
        read_row(e, HS_EVAL, n, logits + n * TINY_VOCAB);
}

// Where a cache in pages has a position: all over it.
static int32_t page_of(int seq, int i) { return (seq * (TINY_CONTEXT / TINY_PAGE) + i) * 7 % (TINY_CACHE / TINY_PAGE); }

// Tokens [first, first + n) of every sequence through the cache; logits of the last of each, [PROMPTS][TINY_VOCAB].
static void decode(hs_engine *e, int first, int n, float *logits)
{
    spoil(e, HS_DECODE, 0xFF);
    int32_t ids[PROMPTS * TOTAL], starts[PROMPTS + 1], where[2 * PROMPTS * TOTAL], keys[3 * PROMPTS], rows[PROMPTS * TOTAL], picks[PROMPTS];
    int32_t pages[PROMPTS * (TINY_CONTEXT / TINY_PAGE)];
    const bool paged = hs_engine_input(e, HS_DECODE, "pages"); // else: a stretch for each
    for (int b = 0; b < PROMPTS; b++) {
        for (int i = 0; paged && i < TINY_CONTEXT / TINY_PAGE; i++)
            pages[b * (TINY_CONTEXT / TINY_PAGE) + i] = page_of(b, i);
        starts[b] = b * n, picks[b] = b * n + n - 1;
        keys[3 * b] = b * TINY_CONTEXT, keys[3 * b + 1] = first + n, keys[3 * b + 2] = first;
        for (int i = 0; i < n; i++) {
            const int k = b * n + i, at = first + i;
            ids[k] = token(b, at);
            rows[k] = paged ? page_of(b, at / TINY_PAGE) * TINY_PAGE + at % TINY_PAGE : b * TINY_CONTEXT + at;
            where[2 * k] = b, where[2 * k + 1] = first + i;
        }
    }
    starts[PROMPTS] = PROMPTS * n;
    const size_t tokens = (size_t)(PROMPTS * n) * sizeof *ids;
    write_input(e, HS_DECODE, "ids", ids, tokens);
    write_input(e, HS_DECODE, "starts", starts, sizeof starts);
    write_input(e, HS_DECODE, "where", where, 2 * tokens);
    write_input(e, HS_DECODE, "keys", keys, sizeof keys);
    write_input(e, HS_DECODE, "rows", rows, tokens);
    write_input(e, HS_DECODE, "picks", picks, sizeof picks);
    if (paged)
        write_input(e, HS_DECODE, "pages", pages, sizeof pages);
    hs_step_live(e->in, PROMPTS * n, PROMPTS, PROMPTS);
    assert_int_equal(hs_engine_run(e, HS_DECODE, 0), HS_OK);
    for (int b = 0; b < PROMPTS; b++)
        read_row(e, HS_DECODE, b, logits + b * TINY_VOCAB);
}

static void check_decoding(const char *policy, double tolerance)
{
    tiny_gpt model;
    hs_engine *e =
        tiny_engine(&model, &(tiny_opts){ .policy = policy, .optim = "adamw", .threads = 2, .mode = HS_SUBMIT_BULK, .dropout = 0.1f });
    for (int step = 0; step < 10; step++) { // logits that differ
        tiny_fill(e, HS_TRAIN, (int[]){ 16, 12, 0 }, 1, 0);
        e->in->n_micro = 1, e->in->inv_count[0] = 1.0f / 28;
        assert_int_equal(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST), HS_OK);
        assert_int_equal(hs_run_update(e->run), HS_OK);
    }
    static float want[PROMPTS * TOTAL * TINY_VOCAB], got[PROMPTS * TINY_VOCAB];
    recompute(e, want);
    double worst = 0, largest = 0;
    for (int at = 0; at < TOTAL;) {
        const int n = at ? 1 : PROMPT; // the prompt at once, then token by token
        decode(e, at, n, got);
        at += n;
        for (int b = 0; b < PROMPTS; b++)
            for (int v = 0; v < TINY_VOCAB; v++) {
                const double w = (double)want[(b * TOTAL + at - 1) * TINY_VOCAB + v];
                worst = fmax(worst, fabs((double)got[b * TINY_VOCAB + v] - w));
                largest = fmax(largest, fabs(w));
            }
    }
    if (!(worst <= tolerance * largest))
        fail_msg("%s: decoding is off by %g of %g", policy, worst, largest);
    hs_engine_free(e);
}

// Keys in pages all over the cache, against keys in one stretch: the same bits.
static void pages_change_nothing(void **state)
{
    (void)state;
    for (int p = 0; p < HS_COUNT(policies); p++) {
        tiny_gpt model[2];
        const tiny_opts o = { .policy = policies[p], .threads = 2, .mode = HS_SUBMIT_BULK };
        tiny_opts paged = o;
        paged.page_rows = TINY_PAGE;
        hs_engine *e = tiny_engine(&model[0], &o), *f = tiny_engine(&model[1], &paged);
        assert_null(hs_engine_input(e, HS_DECODE, "pages"));
        static float want[PROMPTS * TINY_VOCAB], got[PROMPTS * TINY_VOCAB];
        for (int at = 0; at < TOTAL;) {
            const int n = at ? 1 : PROMPT;
            decode(e, at, n, want);
            decode(f, at, n, got);
            at += n;
            assert_memory_equal(got, want, sizeof want);
        }
        hs_engine_free(e);
        hs_engine_free(f);
    }
}

static void decoding_equals_recomputation(void **state)
{
    (void)state;
    check_decoding("fp32", 5e-6);
    check_decoding("bf16", 0x1p-6); // the cache and the evaluation's logits are rounded
    check_decoding("fp16", 0x1p-9);
}

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submission_and_threads), cmocka_unit_test(capacity_and_stale_bytes),
        cmocka_unit_test(copies_of_weights), cmocka_unit_test(values_made_again),      cmocka_unit_test(copies_follow_the_values),
        cmocka_unit_test(accumulation),           cmocka_unit_test(decoding_equals_recomputation),
        cmocka_unit_test(pages_change_nothing),
    };
    return cmocka_run_group_tests_name("gpt: bits", tests, NULL, NULL);
}
