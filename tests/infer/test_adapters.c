// adapters: one base and two adapters of PEFT (tests/golden/peft), of other ranks and targets, worn in turn: outputs are PyTorch's, bits do
// not depend on what was worn before; what does not go together is told.
#include "tests/support/support_files.h"

#include "infer/session/adapters.h"
#include "models/encoder/encoder.h"
#include "tests/support/support_golden.h"
#include "tests/support/support_words.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEFT HS_TESTS_DIR "/golden/peft/"
static const char *const dirs[] = { PEFT "bert-class", PEFT "bert-class-2" };
static const hs_arch_shape shape = { .max_tokens = 64, .max_seqs = 6 };

static void open_session(hs_session *s)
{
    const hs_policy fp32 = policy_named("fp32");
    OK(hs_session_open(s, dirs[0], 0, hs_families, "cpu", 2));
    OK(hs_session_adapters(s, dirs, 2, hs_families));
    OK(hs_session_load(s, &fp32, &(hs_session_plans){ .eval = &shape }));
}

// The run of a session as the helpers of goldens take it.
static hs_engine engine_of(const hs_session *s)
{
    return (hs_engine){ .run = s->run, .plan = { -1, s->eval, -1 }, .in = hs_run_in(s->run), .model = s->model };
}

static void run(hs_session *s, const golden *g, float *logits)
{
    hs_engine e = engine_of(s);
    golden_put_texts(g, &e, HS_EVAL, 0);
    OK(hs_run_forward(s->run, s->eval));
    OK(hs_run_read(s->run, s->eval, 0, 0, 3, logits));
}

static void worn_in_turn(void **state)
{
    (void)state;
    static const int turns[] = { 0, 1, 0, -1, 1, 0 };
    float first[2][64] = { { 0 } }, bare[64], now[64];
    bool seen[2] = { false };
    golden g[2];
    hs_session s;
    for (int i = 0; i < 2; i++)
        golden_open(&g[i], &hs_bert_family, i ? "peft/bert-class-2" : "peft/bert-class", &shape);
    open_session(&s);
    for (int t = 0; t < HS_COUNT(turns); t++) {
        const int which = turns[t];
        OK(hs_session_wear(&s, which));
        if (which < 0) {
            run(&s, &g[0], bare);
            assert_memory_not_equal(bare, first[0], 24);
            continue;
        }
        run(&s, &g[which], now);
        hs_engine e = engine_of(&s);
        golden_check_output(&g[which], &e, 0, "out", "session");
        if (!seen[which])
            memcpy(first[which], now, sizeof now);
        assert_memory_equal(first[which], now, 3 * 8 * sizeof *now); // 3 rows of 3 labels, padded to 8
        seen[which] = true;
    }
    assert_int_equal(hs_session_adapter_info(&s, 1)->labels.n, 3);
    FAILS(USAGE, "adapter 2 of 2", hs_session_wear(&s, 2));
    hs_session_close(&s);
    golden_close(&g[0]);
    golden_close(&g[1]);
}

static void do_not_go_together(void **state)
{
    (void)state;
    hs_session s;
    OK(hs_session_open(&s, dirs[0], 0, hs_families, "cpu", 1));
    FAILS(USAGE, "bert: is no adapter",
          hs_session_adapters(&s, (const char *const[]){ dirs[0], HS_TESTS_DIR "/golden/encoders/bert" }, 2, hs_families));
    FAILS(USAGE, "gpt2-lm: is beside", hs_session_adapters(&s, (const char *const[]){ dirs[0], PEFT "gpt2-lm" }, 2, hs_families));
    FAILS(USAGE, "bert-bare: its head is of another task or width",
          hs_session_adapters(&s, (const char *const[]){ dirs[0], PEFT "bert-bare" }, 2, hs_families));
    hs_session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(worn_in_turn), cmocka_unit_test(do_not_go_together) };
    return cmocka_run_group_tests_name("adapters", tests, NULL, NULL);
}
