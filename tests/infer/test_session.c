// session: a transformers directory made ready: what its files say, its plans, one set of weights under two runs in two threads; refusals.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "infer/decode/generate.h"
#include "infer/session/session.h"
#include "infer/session/warm_up.h"
#include "ops/ops.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN HS_TESTS_DIR "/golden/gpt2-lm"
static const hs_policy fp32 = { .low = HS_F32 };
enum { PROMPTS = 3, NEW = 12 };
static const int32_t prompt[PROMPTS][4] = { { 5, 1, 9, 2 }, { 7 }, { 3, 3, 30 } };
static const int64_t length[PROMPTS] = { 4, 1, 3 };

static void load_golden(hs_session *s, const hs_policy *policy, int64_t n_pages)
{
    const hs_arch_shape decode = hs_session_decode_shape(s, 8, PROMPTS, n_pages);
    const hs_arch_shape eval = { .max_tokens = s->context, .max_seqs = 1, .logits = true };
    if (hs_session_load(s, policy, &(hs_session_plans){ .eval = &eval, .decode = &decode }) != HS_OK)
        fail_msg("%s", hs_error());
}

static void open_golden(hs_session *s, int64_t n_pages)
{
    if (hs_session_open(s, GOLDEN, 0, hs_families, "cpu", 2) != HS_OK)
        fail_msg("%s", hs_error());
    load_golden(s, &fp32, n_pages);
}

// Continues all prompts on a run; ids: [PROMPTS][4 + NEW].
typedef struct job {
    const hs_session *s;
    hs_run *run;
    int32_t ids[PROMPTS][4 + NEW];
    hs_status status;
} job;

static hs_status continue_all(job *j)
{
    hs_decoder *d;
    HS_TRY(hs_session_decoder(&d, j->s, j->run, PROMPTS));
    hs_status st = HS_OK;
    for (int i = 0; i < PROMPTS && st == HS_OK; i++) {
        int slot;
        st = hs_decoder_add(
            d,
            &(hs_sequence){
                .ids = prompt[i], .n = length[i], .max_tokens = NEW, .sampling = { .temperature = 0, .top_p = 1 }, .number = i },
            &slot);
    }
    while (st == HS_OK && !hs_decoder_idle(d)) {
        const hs_decoded *out;
        int n;
        st = hs_decoder_step(d, &out, &n);
    }
    for (int i = 0; i < PROMPTS && st == HS_OK; i++) {
        int64_t n;
        const int32_t *ids = hs_decoder_ids(d, i, &n);
        memcpy(j->ids[i], ids, (size_t)n * sizeof *ids);
    }
    hs_decoder_free(d);
    return st;
}

static void *work(void *arg)
{
    job *j = arg;
    for (int i = 0; i < 20 && j->status == HS_OK; i++)
        j->status = continue_all(j);
    return NULL;
}

static void what_the_files_say(void **state)
{
    (void)state;
    hs_session s;
    open_golden(&s, 4);
    assert_string_equal(s.dir, GOLDEN);
    assert_ptr_equal(s.arch.family, hs_families[0]);
    assert_true(s.context > 0 && s.vocab > 0);
    assert_null(s.tokenizer);
    assert_true(strlen(s.tokenizer_error) > 0);
    assert_true(s.eval >= 0 && s.decode >= 0 && s.eval != s.decode);
    assert_int_equal(hs_params_count(s.model->params), s.arch.family->count(s.arch.settings));
    hs_session_close(&s);
    hs_session_close(&s); // twice is once
}

// Decoding gives, token by token, the largest logit of the evaluation of all tokens before it.
static void decoding_is_evaluation(void **state)
{
    (void)state;
    hs_session s;
    open_golden(&s, 4);
    job j = { .s = &s, .run = s.run };
    assert_int_equal(continue_all(&j), HS_OK);
    for (int i = 0; i < PROMPTS; i++) {
        const int64_t n = length[i] + NEW - 1;
        int32_t *ids = hs_run_input(s.run, s.eval, "ids"), *where = hs_run_input(s.run, s.eval, "where");
        int32_t *starts = hs_run_input(s.run, s.eval, "starts"), *targets = hs_run_input(s.run, s.eval, "targets");
        for (int64_t k = 0; k < n; k++)
            ids[k] = j.ids[i][k], targets[k] = -1, where[2 * k] = 0, where[2 * k + 1] = (int32_t)k;
        starts[0] = 0, starts[1] = (int32_t)n;
        hs_step_live(hs_run_in(s.run), n, 1, 0);
        assert_int_equal(hs_run_forward(s.run, s.eval), HS_OK);
        hs_ref y;
        assert_non_null(hs_run_output(s.run, s.eval, 0, &y));
        for (int64_t k = length[i] - 1; k < n; k++) {
            const float *row = (const float *)y.p + k * y.cols;
            int32_t best = 0;
            for (int32_t v = 1; v < s.vocab; v++)
                best = row[v] > row[best] ? v : best;
            assert_int_equal(j.ids[i][k + 1], best);
        }
    }
    hs_session_close(&s);
}

// Logits of the evaluation of some tokens, [n][vocab].
static float *logits_of(hs_session *s, int64_t n)
{
    int32_t ids[64], where[128], targets[64];
    const int32_t starts[2] = { 0, (int32_t)n };
    for (int32_t k = 0; k < n; k++)
        ids[k] = (k * 7 + 3) % (int32_t)s->vocab, targets[k] = -1, where[2 * k] = 0, where[2 * k + 1] = k;
    const struct {
        const char *name;
        const void *p;
        size_t bytes;
    } in[] = {
        { "ids", ids, 4 * (size_t)n }, { "where", where, 8 * (size_t)n }, { "targets", targets, 4 * (size_t)n }, { "starts", starts, 8 }
    };
    for (int i = 0; i < HS_COUNT(in); i++)
        assert_int_equal(hs_run_write(s->run, s->eval, in[i].name, in[i].p, in[i].bytes), HS_OK);
    hs_step_live(hs_run_in(s->run), n, 1, 0);
    assert_int_equal(hs_run_forward(s->run, s->eval), HS_OK);
    hs_ref y;
    assert_non_null(hs_run_output(s->run, s->eval, 0, &y));
    float *logits = malloc((size_t)(n * y.cols) * sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(hs_run_read(s->run, s->eval, 0, 0, n, logits), HS_OK);
    for (int64_t k = 0; k < n; k++)
        memmove(logits + k * s->vocab, logits + k * y.cols, (size_t)s->vocab * sizeof *logits);
    return logits;
}

// Weights served from the file are the weights that were copied out of it, to the last bit, on memory that the host may touch and on
// fenced, in f32 and in bf16.
static void weights_in_the_file_or_copied(void **state)
{
    (void)state;
    static const char *const devices[] = { "cpu", "cpu-fenced" };
    static const hs_policy policies[] = { { .low = HS_F32 }, { .low = HS_BF16 } };
    for (int way = 0; way < HS_COUNT(devices) * HS_COUNT(policies); way++) {
        float *logits[2];
        job j[2];
        size_t all[2];
        for (int copied = 0; copied < 2; copied++) {
            hs_session s;
            assert_int_equal(hs_session_open(&s, GOLDEN, 0, hs_families, devices[way / 2], 2), HS_OK);
            if (copied)
                s.device->adopt = NULL; // as a device that brings none
            load_golden(&s, &policies[way % 2], 4);
            const hs_params_bytes b = hs_params_bytes_of(s.model->params);
            const hs_param *wpe = hs_params_find(s.model->params, "wpe.weight"),
                           *qkv = hs_params_find(s.model->params, "h0.attn.qkv.weight");
            assert_int_equal(hs_slab_adopted(s.model->params->master, wpe), !copied);
            assert_int_equal(hs_slab_adopted(s.model->params->master, qkv), !copied); // turned in the file: that does, for what packs it
            assert_int_equal(s.model->params->master->place[qkv->id].turned, !copied);
            assert_true(copied ? !b.adopted && !s.map : b.adopted && s.map);
            all[copied] = b.all;
            j[copied] = (job){ .s = &s, .run = s.run };
            assert_int_equal(continue_all(&j[copied]), HS_OK);
            logits[copied] = logits_of(&s, 16);
            hs_session_close(&s);
        }
        assert_true(all[0] < all[1]);
        assert_memory_equal(logits[0], logits[1], 16 * 61 * sizeof(float));
        assert_memory_equal(j[0].ids, j[1].ids, sizeof j[0].ids);
        free(logits[0]), free(logits[1]);
    }
}

static void two_runs_share_the_weights(void **state)
{
    (void)state;
    hs_session s;
    hs_device *other;
    hs_run *second;
    open_golden(&s, 4);
    job alone = { .s = &s, .run = s.run };
    assert_int_equal(continue_all(&alone), HS_OK);
    assert_int_equal(hs_open_device(&other, "cpu", 1, NULL, 0, HS_ONEDNN_NO), HS_OK);
    assert_int_equal(
        hs_run_new(&second, s.model, &(hs_run_opts){ .device = other, .mode = HS_SUBMIT_BULK, .plans = &s.decode, .n_plans = 1 }), HS_OK);
    job both[] = { { .s = &s, .run = s.run }, { .s = &s, .run = second } };
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &both[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(both[i].status, HS_OK);
        assert_memory_equal(both[i].ids, alone.ids, sizeof alone.ids);
    }
    hs_run_free(second);
    hs_device_close(other);
    hs_session_close(&s);
}

// It ran, and what is said behind it is what was said before.
static void warm_up_changes_nothing(void **state)
{
    (void)state;
    hs_session s;
    open_golden(&s, 4);
    job cold = { .s = &s, .run = s.run }, warm = { .s = &s };
    assert_int_equal(continue_all(&cold), HS_OK);
    assert_int_equal(hs_run_new(&warm.run, s.model, &(hs_run_opts){ .mode = hs_run_mode(s.run) }), HS_OK);
    const hs_decoder_opts o = hs_session_decoder_opts(&s, warm.run, PROMPTS);
    assert_int_equal(hs_warm_up_decoder(&o), HS_OK);
    float row[64] = { 0 };
    assert_true(s.vocab <= 64);
    assert_int_equal(hs_run_read(warm.run, s.decode, 0, 0, 1, row), HS_OK);
    bool any = false;
    for (int i = 0; i < s.vocab; i++)
        any = any || row[i] != 0;
    assert_true(any);
    assert_int_equal(continue_all(&warm), HS_OK);
    for (int i = 0; i < PROMPTS; i++)
        assert_memory_equal(cold.ids[i], warm.ids[i], (size_t)(length[i] + NEW) * 4);
    hs_run_free(warm.run);
    hs_session_close(&s);
}

static void what_is_refused(void **state)
{
    (void)state;
    static const hs_family *const nobody[] = { NULL };
    hs_session s;
    assert_int_equal(hs_session_open(&s, HS_TESTS_DIR "/golden/nothing", 0, hs_families, "cpu", 1), HS_USAGE);
    hs_session_close(&s);
    assert_int_equal(hs_session_open(&s, GOLDEN, 0, nobody, "cpu", 1), HS_UNSUPPORTED);
    hs_session_close(&s);
    assert_int_not_equal(hs_session_open(&s, GOLDEN, 0, hs_families, "abacus", 1), HS_OK);
    hs_session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(what_the_files_say),
                                        cmocka_unit_test(decoding_is_evaluation),
                                        cmocka_unit_test(weights_in_the_file_or_copied),
                                        cmocka_unit_test(two_runs_share_the_weights),
                                        cmocka_unit_test(warm_up_changes_nothing),
                                        cmocka_unit_test(what_is_refused) };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
