// Sessions on a device that captures: what they submit is captured once a plan, not once a step, and texts, hidden states and guesses have
// the bits that they have without, in two instances on one GPU too; layers in int8 have the same by cuBLASLt's double as by our own kernels, and layers that were pruned 2:4 are
// multiplied by cuSPARSELt's.
//   test_cuda_serves [DEVICE]     cuda-emu where none is named
//   test_cuda_serves DEVICE old   where cuSPARSELt is of another version: pruned layers have no copies
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "infer/decode/generate.h"
#include "infer/prune/prune.h"
#include "infer/quant/quantize.h"
#include "infer/session/session.h"
#include "ops/ops.h"
#include "tests/support/support_files.h"
#include "tests/support/support_values.h"
#include <dlfcn.h>
#include <pthread.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS = 2, NEW = 10, WIDTH = 32, MOST = 32 };
static const char *device = "cuda-emu";
static int captures;
static int in_full; // lines that say of pruned weights why
static int elsewhere; // ... that another device has them
static char why[256];

static void count(hs_log_level level, const char *line, void *user)
{
    (void)level, (void)user;
    captures += strstr(line, ": captured from ") != NULL;
    const char *of = strstr(line, ": read in full: ");
    in_full += of != NULL;
    elsewhere += strstr(line, "read in full: another device of this GPU has pressed them") != NULL;
    if (of)
        snprintf(why, sizeof why, "%s", of);
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
        OK(hs_session_open(&s, golden_path("gpt2-lm"), 0, hs_families, device, 1));
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
        OK(hs_session_open(&s, golden_path("encoders/bert"), 0, hs_families, device, 1));
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

// ---- layers that a library multiplies, on the device with doubles and on one without

// ---- instances of a server: runs of one model, each on a device of its own, which are of one GPU, and in a thread of its own

enum { READS = 6 };
typedef struct instance {
    hs_run *run;
    hs_row_reader *reader;
    float hidden[READS][3 * 8 * WIDTH];
} instance;

static void *read_batches(void *user)
{
    instance *i = user;
    for (int b = 0; b < READS; b++)
        read_rows(i->reader, b, i->hidden[b], NULL);
    return NULL;
}

static hs_device *open_two(hs_session *s, instance of[2], const char *dir, hs_dtype low, int64_t tokens)
{
    hs_device *second;
    const hs_policy policy = { .low = low };
    const hs_arch_shape shape = { .max_tokens = tokens, .max_seqs = 4, .hidden = true };
    OK(hs_session_open(s, dir, 0, hs_families, device, 1));
    OK(hs_session_load(s, &policy, &(hs_session_plans){ .eval = &shape, .runs = 2 }));
    OK(hs_open_device(&second, device, 1, NULL, 0, HS_ONEDNN_NO));
    of[0].run = s->run;
    OK(hs_run_new(&of[1].run, s->model, &(hs_run_opts){ .device = second, .mode = hs_submit_mode_of(second) }));
    for (int i = 0; i < 2; i++)
        OK(hs_session_reader_of(&of[i].reader, s, of[i].run, s->eval));
    return second;
}

static void close_two(hs_session *s, instance of[2], hs_device *second)
{
    for (int i = 0; i < 2; i++)
        hs_row_reader_free(of[i].reader);
    hs_run_free(of[1].run);
    hs_device_close(second);
    hs_session_close(s);
}

static void two_instances(void **state)
{
    (void)state;
    static instance of[2];
    pthread_t thread;
    hs_session s;
    hs_device *second = open_two(&s, of, golden_path("encoders/bert"), HS_F32, MOST);
    pthread_create(&thread, NULL, read_batches, &of[1]);
    read_batches(&of[0]);
    pthread_join(thread, NULL);
    for (int b = 0; b < READS; b++)
        for (int i = 0; i < 3; i++)
            assert_memory_equal(of[0].hidden[b] + i * 8 * WIDTH, of[1].hidden[b] + i * 8 * WIDTH, (size_t)(3 + 2 * i) * WIDTH * sizeof(float));
    close_two(&s, of, second);
}

// ---- layers that libraries multiply

enum { PLENTY = 96, TILE = 64, BATCHES_READ = 5, CELLS = 3 * 8 * WIDTH };

typedef struct kind {
    hs_policy policy;
    const char *library, *counter;       // of the double's products
    bool (*is)(const hs_node *n);        // whether a layer's product is to go there
} kind;

static int n_products(const hs_session *s, const kind *k)
{
    const hs_graph *g = hs_plan_graph(s->model->plan[s->eval]);
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        n += k->is(g->node[i]);
    return n;
}

static bool is_pruned(const hs_node *n)
{
    const hs_tensor *w = n->in[1];
    return !strcmp(n->op->name, "linear") && w->kind == HS_PARAM && w->param->keeps_zeros && n->in[0]->dim[0] % 8 == 0;
}

// How many the double was called for.
static long by_double(const kind *k)
{
    long (*products)(void) = NULL;
    void *library = dlopen(k->library, RTLD_NOW | RTLD_NOLOAD);
    if (library)
        *(void **)&products = dlsym(library, k->counter);
    const long n = products ? products() : 0;
    if (library)
        dlclose(library);
    return n;
}

// Hidden states of some batches in the mode that the device takes by itself, then of the first of them in another, with the same bits.
static void read_layers(const char *on, const char *dir, const kind *k, bool doubled, float *hidden)
{
    static float again[CELLS];
    const hs_arch_shape shape = { .max_tokens = PLENTY, .max_seqs = 4, .hidden = true };
    hs_session s;
    hs_row_reader *r;
    OK(hs_session_open(&s, dir, 0, hs_families, on, 1));
    OK(hs_session_load(&s, &k->policy, &(hs_session_plans){ .eval = &shape }));
    OK(hs_session_reader(&r, &s, s.run));
    assert_int_equal(hs_run_mode(s.run), HS_SUBMIT_GRAPH);
    for (int b = 0; b < BATCHES_READ; b++)
        read_rows(r, b, hidden + b * CELLS, NULL);
    hs_run_set_mode(s.run, HS_SUBMIT_BULK);
    const long before = by_double(k);
    read_rows(r, 0, again, NULL);
    assert_true(!doubled || n_products(&s, k) > 0);
    assert_true(doubled || k->is != is_pruned || n_products(&s, k) == 0); // nothing is marked
    assert_int_equal(by_double(k) - before, doubled ? n_products(&s, k) : 0);
    for (int i = 0; i < 3; i++) // what is behind a text's end is nobody's
        assert_memory_equal(again + i * 8 * WIDTH, hidden + i * 8 * WIDTH, (size_t)(3 + 2 * i) * WIDTH * sizeof *again);
    hs_row_reader_free(r);
    hs_session_close(&s);
}

// Of more rows than a tile's of our own: a pooler has one for each text.
static bool in_int8(const hs_node *n) { return !strcmp(n->op->name, "linear_i8") && n->in[0]->dim[0] > TILE; }

// What products of the values read, over a batch or two.
static hs_observer *observed(hs_session *s, const char *dir)
{
    const hs_policy fp32 = { .low = HS_F32 };
    static float hidden[CELLS];
    hs_observer *o;
    hs_row_reader *r;
    OK(hs_session_open(s, dir, 0, hs_families, "cpu", 1));
    OK(hs_session_load(s, &fp32, &(hs_session_plans){ .eval = &(hs_arch_shape){ .max_tokens = MOST, .max_seqs = 4, .hidden = true } }));
    OK(hs_session_reader(&r, s, s->run));
    hs_run_set_mode(s->run, HS_SUBMIT_STEP);
    OK(hs_observer_new(&o, s->model->params, &(hs_observer_opts){ 0 }));
    hs_observer_watch(o, s->device);
    for (int b = 0; b < 2; b++)
        read_rows(r, b, hidden, NULL);
    hs_row_reader_free(r);
    OK(hs_observer_end(o));
    return o;
}

// gelus have no node of their own; where scales are calibrated, products behind them read bytes.
static void check_fused(const char *dir, bool bytes)
{
    const hs_policy fp32 = { .low = HS_F32 };
    const hs_arch_shape shape = { .max_tokens = PLENTY, .max_seqs = 4, .hidden = true };
    hs_session s;
    OK(hs_session_open(&s, dir, 0, hs_families, device, 1));
    OK(hs_session_load(&s, &fp32, &(hs_session_plans){ .eval = &shape }));
    const hs_graph *g = hs_plan_graph(s.model->plan[s.eval]);
    int gelus = 0, of_bytes = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        gelus += strstr(g->node[i]->op->name, "gelu") != NULL;
        of_bytes += in_int8(g->node[i]) && g->node[i]->in[0]->dtype == HS_I8;
    }
    assert_int_equal(gelus, 0);
    assert_true((of_bytes > 0) == bytes);
    hs_session_close(&s);
}

static void layers_in_int8(void **state)
{
    (void)state;
    static const kind k = { { .low = HS_F32 }, "libcublasLt.so.13", "fake_cublaslt_int8", in_int8 };
    static float by_library[BATCHES_READ * CELLS], by_kernels[BATCHES_READ * CELLS];
    hs_export_model m;
    hs_session values;
    if (strcmp(device, "cuda-emu-lt"))
        skip();
    open_values(&m, golden_path("encoders/bert"));
    hs_observer *seen = observed(&values, golden_path("encoders/bert"));
    const char *dir = scratch_path("int8");
    for (int rows = 0; rows < 2; rows++) { // each with a scale of its own
        hs_quantizing *q;
        OK(hs_quantizing_new(&q, &m, hs_families, &(hs_quantize_opts){ .bits = HS_QUANT_W8A8, .rows = rows }, seen, values.model->params));
        OK(hs_quantizing_write(q, dir, true));
        hs_quantizing_free(q);
        read_layers(device, dir, &k, true, by_library);
        read_layers("cuda-emu", dir, &k, false, by_kernels);
        assert_memory_equal(by_library, by_kernels, sizeof by_library);
        check_fused(dir, !rows);
    }
    hs_observer_free(seen), hs_session_close(&values), hs_export_model_close(&m);
}

static const kind pruned = { { .low = HS_BF16 }, "libcusparseLt.so.0", "fake_cusparselt_products", is_pruned };

static const char *write_pruned(void)
{
    const hs_arch_shape small = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    hs_export_model m;
    hs_graph *g;
    hs_pruned said;
    OK(hs_export_model_open(&m, golden_path("encoders/bert"), 0, hs_families));
    OK(hs_export_model_trace(&m, HS_EVAL, &small, &g));
    OK(hs_export_model_load(&m));
    OK(hs_prune_weights(&m, g, &(hs_prune_opts){ 0 }, &said));
    const char *dir = scratch_path("pruned");
    OK(hs_ckpt_export_as(dir, &(hs_export_opts){ .dtype = HS_F32, .overwrite = true }, &(hs_ckpt_opts){ .files = m.info.files }, m.params, &m.info,
                         NULL));
    hs_graph_free(g), hs_export_model_close(&m);
    return dir;
}

// Where weights are read in full one line says why.
static void read_in_full(const char *on, const char *dir, const char *because, float *hidden)
{
    in_full = 0;
    read_layers(on, dir, &pruned, false, hidden);
    assert_int_equal(in_full, 1);
    assert_non_null(strstr(why, because));
}

static void check_close(const float *by_library, const float *by_kernels)
{
    double apart = 0, size = 0;
    for (int i = 0; i < BATCHES_READ * CELLS; i++) {
        apart += (double)(by_library[i] - by_kernels[i]) * (by_library[i] - by_kernels[i]);
        size += (double)by_kernels[i] * by_kernels[i];
    }
    if (!(apart <= 1e-4 * size && size > 0)) // bf16 rounds to 0.4 %, in each layer anew
        fail_msg("hidden states by pressed weights are %g from those by whole ones", sqrt(apart / size));
}

static float by_some[BATCHES_READ * CELLS], by_own[BATCHES_READ * CELLS];

static void pruned_layers(void **state)
{
    (void)state;
    if (strcmp(device, "cuda-emu-lt"))
        skip();
    const char *dir = write_pruned();
    in_full = 0;
    read_layers(device, dir, &pruned, true, by_some);
    assert_int_equal(in_full, 0);
    read_in_full("cuda-emu", dir, "there is no cuSPARSELt", by_own);
    check_close(by_some, by_own);
}

// The copies are those of the device that made them: the others say so, and read in full.
static void pruned_instances(void **state)
{
    (void)state;
    static instance of[2];
    hs_session s;
    if (strcmp(device, "cuda-emu-lt"))
        skip();
    elsewhere = 0;
    hs_device *second = open_two(&s, of, write_pruned(), HS_BF16, PLENTY);
    for (int i = 0; i < 2; i++) {
        const long before = by_double(&pruned);
        read_batches(&of[i]);
        assert_int_equal(elsewhere, i);
        assert_int_equal(by_double(&pruned) > before, !i);
    }
    close_two(&s, of, second);
}

static void library_of_another_version(void **state)
{
    (void)state;
    const char *dir = write_pruned();
    read_in_full(device, dir, "its library is 0.7.1, known is 0.8", by_some);
    read_in_full("cuda-emu", dir, "there is no cuSPARSELt", by_own);
    check_close(by_some, by_own);
}

int main(int argc, char **argv)
{
    device = argc > 1 ? argv[1] : device;
    hs_log_set(HS_LOG_DEBUG, count, NULL);
    const struct CMUnitTest tests[] = { cmocka_unit_test(decoding), cmocka_unit_test(rows), cmocka_unit_test(two_instances), cmocka_unit_test(layers_in_int8), cmocka_unit_test(pruned_layers),
                                        cmocka_unit_test(pruned_instances) };
    const struct CMUnitTest old[] = { cmocka_unit_test(library_of_another_version) };
    if (argc > 2)
        return cmocka_run_group_tests_name("sessions on a device with an old library", old, scratch_open, scratch_close);
    return cmocka_run_group_tests_name("sessions on a device that captures", tests, scratch_open, scratch_close);
}
