// Sessions on a device that captures: what they submit is captured once a plan, not once a step, and texts, hidden states and guesses have
// the bits that they have without; and layers in int8 have the same by cuBLASLt's double as by our own kernels.
//   test_cuda_serves [DEVICE]     cuda-emu where none is named
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "infer/decode/generate.h"
#include "infer/quant/quantize.h"
#include "infer/session/session.h"
#include "ops/ops.h"
#include "tests/support/support_files.h"
#include "tests/support/support_values.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS = 2, NEW = 10, WIDTH = 32, MOST = 32 };
static const char *device = "cuda-emu";
static int captures;

static void count(hs_log_level level, const char *line, void *user)
{
    (void)level, (void)user;
    captures += strstr(line, ": captured from ") != NULL;
}

// ---- decoding

typedef struct texts {
    int32_t id[PROMPTS][4 + NEW];
    int64_t steps;
} texts;

static void continue_all(const hs_session *s, texts *t)
{
    static const int32_t prompt[PROMPTS][4] = { { 5, 1, 9, 2 }, { 7 } };
    static const int64_t length[PROMPTS] = { 4, 1 };
    hs_decoder *d;
    OK(hs_session_decoder(&d, s, s->run, PROMPTS));
    for (int i = 0; i < PROMPTS; i++) {
        int slot;
        OK(hs_decoder_add(d,
                          &(hs_sequence){ .ids = prompt[i],
                                          .n = length[i],
                                          .max_tokens = NEW,
                                          .sampling = { .temperature = 0.8, .top_p = 1, .seed = 3 },
                                          .number = i },
                          &slot));
    }
    memset(t, 0, sizeof *t);
    for (; !hs_decoder_idle(d); t->steps++) {
        const hs_decoded *out;
        int n;
        OK(hs_decoder_step(d, &out, &n));
    }
    for (int i = 0; i < PROMPTS; i++) {
        int64_t n;
        const int32_t *ids = hs_decoder_ids(d, i, &n);
        memcpy(t->id[i], ids, (size_t)n * sizeof *ids);
    }
    hs_decoder_free(d);
}

static void decoding(void **state)
{
    (void)state;
    static const hs_policy policies[] = { { .low = HS_F32 }, { .low = HS_BF16 } };
    for (int p = 0; p < HS_COUNT(policies); p++) {
        hs_session s;
        texts graph, again, bulk;
        OK(hs_session_open(&s, HS_TESTS_DIR "/golden/gpt2-lm", 0, hs_families, device, 1));
        const hs_arch_shape decode = hs_session_decode_shape(&s, 8, PROMPTS, 4);
        captures = 0;
        OK(hs_session_load(&s, &policies[p], &(hs_session_plans){ .decode = &decode }));
        assert_int_equal(hs_run_mode(s.run), HS_SUBMIT_GRAPH);
        continue_all(&s, &graph);
        assert_in_range(captures, 1, HS_INPUT_SLOTS); // one for each slot of inputs, whatever the number of steps
        assert_true(graph.steps >= NEW);
        const int before = captures;
        continue_all(&s, &again);
        assert_int_equal(captures, before);
        hs_run_set_mode(s.run, HS_SUBMIT_BULK);
        continue_all(&s, &bulk);
        assert_int_equal(captures, before);
        assert_memory_equal(&graph, &again, sizeof graph);
        assert_memory_equal(&graph, &bulk, sizeof graph);
        hs_session_close(&s);
    }
}

// ---- encoders: what embed, fill-mask and predict submit

static void read_rows(hs_row_reader *r, int key, float *hidden, hs_guess *guess)
{
    static const int64_t pick[] = { 1 };
    int32_t id[3][8];
    for (int i = 0; i < 3; i++) {
        int index;
        for (int k = 0; k < 8; k++)
            id[i][k] = 5 + (i * 7 + k * 11 + key * 13) % 50;
        OK(hs_row_reader_add(r, &(hs_encode_row){ .id = id[i], .n = 3 + 2 * i, .pick = pick, .n_picks = guess ? 1 : 0 }, &index));
    }
    OK(hs_row_reader_run(r));
    for (int i = 0; i < 3; i++) {
        int64_t n;
        if (guess)
            OK(hs_row_reader_guess(r, i, 0, 3, guess + 3 * i, &n));
        else
            OK(hs_row_reader_hidden(r, i, hidden + i * 8 * WIDTH));
    }
}

static void rows(void **state)
{
    (void)state;
    enum { BATCHES = 6 };
    for (int masks = 0; masks < 2; masks++) {
        hs_session s;
        hs_row_reader *r;
        const hs_policy fp32 = { .low = HS_F32 };
        const hs_arch_shape shape = { .max_tokens = MOST, .max_seqs = 4, .max_picks = masks ? 4 : 0, .hidden = !masks, .logits = masks };
        OK(hs_session_open(&s, HS_TESTS_DIR "/golden/encoders/bert", 0, hs_families, device, 1));
        OK(hs_session_load(&s, &fp32, &(hs_session_plans){ .eval = &shape }));
        OK(hs_session_reader(&r, &s, s.run));
        captures = 0;
        static float hidden[2][BATCHES][3 * 8 * WIDTH];
        static hs_guess guess[2][BATCHES][9];
        memset(guess, 0, sizeof guess);
        for (int bulk = 0; bulk < 2; bulk++) {
            if (bulk)
                hs_run_set_mode(s.run, HS_SUBMIT_BULK);
            for (int b = 0; b < BATCHES; b++)
                read_rows(r, b, hidden[bulk][b], masks ? guess[bulk][b] : NULL);
            assert_int_equal(captures, HS_INPUT_SLOTS);
        }
        assert_memory_equal(hidden[0], hidden[1], sizeof hidden[0]);
        assert_memory_equal(guess[0], guess[1], sizeof guess[0]);
        hs_row_reader_free(r);
        hs_session_close(&s);
    }
}

// ---- an encoder in int8, whose rows are more than a tile of our own is high

enum { PLENTY = 96, TILE = 64, BATCHES_I8 = 5 };

// Those of more rows than a tile's: a pooler has one for each text.
static int n_products(const hs_session *s)
{
    const hs_graph *g = hs_plan_graph(s->model->plan[s->eval]);
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        n += !strcmp(g->node[i]->op->name, "linear_i8") && g->node[i]->in[0]->dim[0] > TILE;
    return n;
}

// How many products in int8 cuBLASLt's double was called for.
static long by_double(void)
{
    long (*products)(void) = NULL;
    void *library = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_NOLOAD);
    if (library)
        *(void **)&products = dlsym(library, "fake_cublaslt_int8");
    const long n = products ? products() : 0;
    if (library)
        dlclose(library);
    return n;
}

// Hidden states of some batches in the mode that the device takes by itself, then of one in another, in which all products go to the double
// or none does.
static void read_int8(const char *on, const char *dir, float *hidden, bool doubled)
{
    const hs_policy fp32 = { .low = HS_F32 };
    const hs_arch_shape shape = { .max_tokens = PLENTY, .max_seqs = 4, .hidden = true };
    hs_session s;
    hs_row_reader *r;
    OK(hs_session_open(&s, dir, 0, hs_families, on, 1));
    OK(hs_session_load(&s, &fp32, &(hs_session_plans){ .eval = &shape }));
    OK(hs_session_reader(&r, &s, s.run));
    assert_int_equal(hs_run_mode(s.run), HS_SUBMIT_GRAPH);
    for (int b = 0; b < BATCHES_I8; b++)
        read_rows(r, b, hidden + b * 3 * 8 * WIDTH, NULL);
    hs_run_set_mode(s.run, HS_SUBMIT_BULK);
    const long before = by_double();
    read_rows(r, BATCHES_I8, hidden + BATCHES_I8 * 3 * 8 * WIDTH, NULL);
    assert_true(n_products(&s) > 0);
    assert_int_equal(by_double() - before, doubled ? n_products(&s) : 0);
    hs_row_reader_free(r);
    hs_session_close(&s);
}

static void layers_in_int8(void **state)
{
    (void)state;
    static float by_library[(BATCHES_I8 + 1) * 3 * 8 * WIDTH], by_kernels[(BATCHES_I8 + 1) * 3 * 8 * WIDTH];
    hs_export_model m;
    hs_quantizing *q;
    if (strcmp(device, "cuda-emu-lt"))
        skip();
    open_values(&m, golden_path("encoders/bert"));
    const char *dir = scratch_path("int8");
    OK(hs_quantizing_new(&q, &m, hs_families, &(hs_quantize_opts){ .bits = HS_QUANT_W8A8, .rows = true }, NULL, NULL));
    OK(hs_quantizing_write(q, dir, true));
    hs_quantizing_free(q), hs_export_model_close(&m);
    read_int8(device, dir, by_library, true);
    read_int8("cuda-emu", dir, by_kernels, false);
    assert_memory_equal(by_library, by_kernels, sizeof by_library);
}

int main(int argc, char **argv)
{
    device = argc > 1 ? argv[1] : device;
    hs_log_set(HS_LOG_DEBUG, count, NULL);
    const struct CMUnitTest tests[] = { cmocka_unit_test(decoding), cmocka_unit_test(rows), cmocka_unit_test(layers_in_int8) };
    return cmocka_run_group_tests_name("sessions on a device that captures", tests, scratch_open, scratch_close);
}
