// What dividing the tokens between the products saves and moves: of a plan, bytes of values and of each collective; of ranks that are
// threads, that they ask for what the plan says. That they compute the same is test_family_ranks and test_tp.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/encoder/encoder.h"
#include "models/gpt/gpt.h"
#include "ops/ops.h"
#include "tests/support/support_comm.h"
#include "tests/support/support_encoder.h"

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

enum { LAYERS = 4, WIDTH = 128, TOKENS = 128, PICKS = 16, HEADS = 8 };

typedef struct planned { // a model of one plan
    hs_settings settings;
    hs_arch_setup setup;
    hs_device *dev;
    hs_model *model;
    const hs_plan_info *info;
} planned;

static void plan_open(planned *t, const hs_family *f, const char *policy, hs_mode mode, int rank, int size, bool sequence)
{
    static const struct {
        const char *key;
        int64_t value;
    } sizes[] = {
        { "model.layers", LAYERS }, { "model.heads", HEADS }, { "model.width", WIDTH }, { "model.context", 32 }, { "model.vocab", 500 }
    };
    *t = (planned){ 0 };
    OK(hs_arch_defaults(f, &t->settings));
    for (int i = 0; i < HS_COUNT(sizes); i++)
        OK(hs_arch_set(f, &t->settings, sizes[i].key, sizes[i].value));
    t->setup = (hs_arch_setup){ { f, t->settings.bytes }, { .max_tokens = TOKENS, .max_seqs = 8, .max_picks = PICKS } };
    OK(hs_open_device(&t->dev, "cpu", 1, NULL, 0, HS_ONEDNN_NO));
    const hs_policy low = { .low = policy[0] == 'b' ? HS_BF16 : HS_F32 };
    const hs_model_opts opts = { .device = t->dev, .policy = &low, .grid = ranks_absent(rank, size), .sequence = sequence };
    int plan;
    OK(hs_model_new(&t->model, &opts));
    OK(hs_model_plan(t->model, mode, hs_arch_trace, &t->setup, &plan));
    t->info = hs_plan_info_of(t->model->plan[plan]);
}

static void plan_close(planned *t)
{
    hs_model_free(t->model);
    hs_device_close(t->dev);
}

static const hs_family *const families[] = { &hs_gpt_family, &hs_bert_family };

// Between the products a rank keeps its share of the rows: residual stream, norms, dropout, what is gathered. What the products make and
// read is divided anyway.
static void a_share_of_the_tokens_is_kept(void **state)
{
    (void)state;
    static const double most[2][2] = { { 0.7, 0.45 }, { 0.8, 0.55 } }; // by family and ranks, of values in training
    for (int f = 0; f < HS_COUNT(families); f++)
        for (int size = 2; size <= 4; size *= 2) {
            planned tensor, rows;
            plan_open(&tensor, families[f], "bf16", HS_TRAIN, size - 1, size, false);
            plan_open(&rows, families[f], "bf16", HS_TRAIN, size - 1, size, true);
            const double part = (double)rows.info->value_bytes / (double)tensor.info->value_bytes;
            print_message("%s on %d ranks: %zu bytes of values, %zu where rows are divided (%.2f)\n", families[f]->name, size,
                          tensor.info->value_bytes, rows.info->value_bytes, part);
            if (!(part <= most[f][size / 4]))
                fail_msg("%s on %d ranks: values take %.2f of what they take where rows are whole", families[f]->name, size, part);
            assert_true(rows.info->flops_forward + rows.info->flops_backward < tensor.info->flops_forward + tensor.info->flops_backward);
            plan_close(&tensor);
            plan_close(&rows);
        }
}

// ---- what moves

typedef struct moved { // bytes of the tp axis, by kind, and how many calls
    double bytes[3];
    int calls[3];
} moved;

static moved moved_by(const hs_plan_info *info)
{
    moved m = { 0 };
    for (int i = 0; i < info->n_moves; i++) {
        assert_string_equal(info->move[i].axis, "tp");
        assert_false(info->move[i].last_only);
        m.bytes[info->move[i].what.kind] += info->move[i].what.bytes;
        m.calls[info->move[i].what.kind] += info->move[i].what.calls;
    }
    return m;
}

// Of a GPT in f32: a row of all tokens goes round in front of and behind each half of a layer, forward and backward, behind the embedding
// and in front of the logits; three numbers a token in the loss.
static void a_plan_says_what_moves(void **state)
{
    (void)state;
    const double rows = TOKENS * WIDTH * 4, loss = TOKENS * 3 * 4;
    for (int mode = HS_TRAIN; mode <= HS_EVAL; mode++) {
        const double halves = 2 * LAYERS, backward = mode == HS_TRAIN;
        planned tensor, divided;
        plan_open(&tensor, &hs_gpt_family, "fp32", (hs_mode)mode, 1, 4, false);
        plan_open(&divided, &hs_gpt_family, "fp32", (hs_mode)mode, 1, 4, true);
        const moved t = moved_by(tensor.info), d = moved_by(divided.info);
        assert_true(t.bytes[HS_ALL_REDUCE] == rows * (1 + halves + backward * (halves + 1)) + loss);
        assert_true(t.bytes[HS_REDUCE_PARTS] == 0 && t.bytes[HS_GATHER_PARTS] == 0);
        // an all-reduce of rows is one of each, and what is gathered for a product is gathered again for its backward
        assert_true(d.bytes[HS_ALL_REDUCE] == rows * backward + loss);
        assert_true(d.bytes[HS_REDUCE_PARTS] == rows * (1 + halves + backward * halves));
        assert_true(d.bytes[HS_GATHER_PARTS] == rows * (1 + halves + backward * (1 + 2 * halves)));
        plan_close(&tensor);
        plan_close(&divided);
    }
}

typedef struct run {
    const hs_family *family;
    bool sequence;
    tiny_encoder model[MAX_RANKS];
    hs_engine *e[MAX_RANKS];
} run;

static hs_status micro_step(const hs_grid *grid, void *arg, int rank)
{
    run *r = arg;
    const encoder_batch full = { .n = 2, .slot = { 0, 1 }, .length = { 24, 24 }, .key = 1 };
    const hs_optim_config optim = hs_optim_preset(HS_PRESET_LAMB);
    const encoder_opts o = { .optim = &optim, .max_tokens = 48, .grid = grid, .sequence = r->sequence };
    HS_TRY(encoder_engine(&r->e[rank], &r->model[rank], r->family, &o));
    HS_TRY(encoder_fill(r->e[rank], HS_TRAIN, &full));
    r->e[rank]->in->n[HS_COUNT_PICKS] = 48; // at capacity in everything
    return hs_engine_run(r->e[rank], HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST);
}

static void ranks_ask_for_it(void **state)
{
    (void)state;
    for (int f = 0; f < HS_COUNT(families); f++)
        for (int sequence = 0; sequence < 2; sequence++) {
            run r = { .family = families[f], .sequence = sequence };
            comm_calls calls;
            OK(ranks_run(2, micro_step, &r, &calls));
            const moved m = moved_by(hs_plan_info_of(hs_engine_plan(r.e[0], HS_TRAIN)));
            assert_int_equal(calls.all_reduces, m.calls[HS_ALL_REDUCE]);
            assert_int_equal(calls.reduce_parts, m.calls[HS_REDUCE_PARTS]);
            assert_int_equal(calls.gather_parts, m.calls[HS_GATHER_PARTS]);
            assert_int_equal(4 * calls.elements, (int64_t)(m.bytes[HS_ALL_REDUCE] + m.bytes[HS_REDUCE_PARTS] + m.bytes[HS_GATHER_PARTS]));
            for (int i = 0; i < 2; i++)
                hs_engine_free(r.e[i]);
        }
}

// What is summed over ranks in front of an update: norms, biases behind products, tables of types.
static void gradients_of_shares(void **state)
{
    (void)state;
    planned t;
    plan_open(&t, &hs_bert_family, "fp32", HS_TRAIN, 0, 2, true);
    const size_t layer = 4 * WIDTH + 2 * WIDTH;           // two norms, two biases
    const size_t want = 4 * (LAYERS * layer + 4 * WIDTH); // two types, the norm of the embedding
    assert_int_equal(hs_params_tp_sum_bytes(t.model->params), want);
    plan_close(&t);
    plan_open(&t, &hs_bert_family, "fp32", HS_TRAIN, 0, 2, false);
    assert_int_equal(hs_params_tp_sum_bytes(t.model->params), 0);
    plan_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_share_of_the_tokens_is_kept), cmocka_unit_test(a_plan_says_what_moves),
                                        cmocka_unit_test(ranks_ask_for_it), cmocka_unit_test(gradients_of_shares) };
    return cmocka_run_group_tests_name("sequence parallelism", tests, NULL, NULL);
}
