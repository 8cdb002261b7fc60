// Training that foresees codes: what a plan rounds is, bit for bit, what a quantized directory holds, and what it computes is what that
// directory computes, by every form and every family.
#include "tests/support/support_files.h"
#include "tests/support/support_values.h"

#include "core/cpu/rows.h"
#include "core/graph/coding.h"
#include "infer/quant/quantize.h"
#include "infer/session/session.h"
#include "ops/attrs.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 12, WIDTH = 32 };

static const int32_t ids[N] = { 3, 17, 42, 5, 60, 11, 29, 8, 33, 50, 2, 7 };

static float given[4096]; // by hs_param.id

// A scale of its own for every weight, which clips some of what it multiplies.
static float scale_of(const char *name) { return 0.012f + 0.001f * (float)(strlen(name) % 7); }

typedef struct way {
    const char *name;
    hs_quantize_opts opts;
    hs_coding coding;
} way;
static const way ways[] = {
    { "w8a8", { .bits = HS_QUANT_W8A8, .rows = true }, HS_CODING_I8 },
    { "w8a8, tables, some skipped", { .bits = HS_QUANT_W8A8, .rows = true, .embeddings = true, .skip = "*.ff.up" }, HS_CODING_I8 },
    { "w8a8, scales given", { .bits = HS_QUANT_W8A8, .x_scale = given }, HS_CODING_I8_STATIC },
    { "w8", { .bits = HS_QUANT_W8, .embeddings = true }, HS_CODING_I8_BLOCKS },
    { "w4", { .bits = HS_QUANT_W4, .embeddings = true }, HS_CODING_I4_BLOCKS },
};
static const char *const families[] = { "encoders/bert",   "encoders/roberta", "encoders/distilbert",
                                        "encoders/albert", "encoders/electra", "encoders/ernie" };

static hs_policy policy_of(const way *w, double share)
{
    return (hs_policy){ .low = HS_F32,
                        .quant = { .wish = { .coding = w->coding, .tables = w->opts.embeddings, .skip = w->opts.skip }, .share = share } };
}

static void fake(int form, float *x, float *y, int64_t rows, int64_t cols) // the op's kernel
{
    const hs_fake_quant_attr attr = { form, 65536 };
    const hs_tensor t = { .dtype = HS_F32, .n_dims = 2, .dim = { rows, cols } };
    const hs_step_in step = { 0 };
    const hs_ref r = { .rows = rows, .cols = cols, .dtype = HS_F32, .t = &t };
    hs_lane lane = { .id = 0, .n = 1 };
    hs_args a = { .attr = &attr, .step = &step, .in[0] = r, .out[0] = r };
    a.in[0].p = (char *)x, a.out[0].p = (char *)y;
    a.thread_bytes = 2 * hs_row_bytes(cols), a.thread_scratch = aligned_alloc(64, a.thread_bytes);
    hs_op_fake_quant_portable.cpu.fwd(&a, &lane);
    free(a.thread_scratch);
}

static void quantized(const char *from, const way *w, const char *dir)
{
    hs_export_model m;
    hs_quantizing *q;
    open_values(&m, from);
    for (int i = 0; i < m.params->n_params; i++)
        given[i] = scale_of(m.params->param[i]->name);
    OK(hs_quantizing_new(&q, &m, hs_families, &w->opts, NULL, NULL));
    OK(hs_quantizing_write(q, dir, true));
    hs_quantizing_free(q);
    hs_export_model_close(&m);
}

// Hidden states of the ids, by a session on the directory under that policy.
static void hidden_of(const char *dir, const hs_policy *policy, float *hidden)
{
    const hs_arch_shape shape = { .max_tokens = 64, .max_seqs = 8, .hidden = true };
    hs_session s;
    hs_row_reader *r;
    int index;
    OK(hs_session_open(&s, dir, 0, hs_families, "cpu", 2));
    OK(hs_session_load(&s, policy, &(hs_session_plans){ .eval = &shape }));
    for (int i = 0; i < s.model->states->n; i++) {
        const char *name = s.model->states->state[i]->name;
        const float scale = scale_of(name + strlen(HS_X_SCALE_STATE));
        if (strncmp(name, HS_X_SCALE_STATE, strlen(HS_X_SCALE_STATE)) == 0)
            OK(hs_run_states_write(s.run, i, &scale));
    }
    OK(hs_session_reader(&r, &s, s.run));
    OK(hs_row_reader_add(r, &(hs_encode_row){ .id = ids, .n = N }, &index));
    OK(hs_row_reader_run(r));
    OK(hs_row_reader_hidden(r, index, hidden));
    hs_row_reader_free(r);
    hs_session_close(&s);
}

static double distance(const float *a, const float *b)
{
    double off = 0, all = 0;
    for (int i = 0; i < N * WIDTH; i++)
        off += pow((double)a[i] - (double)b[i], 2), all += pow((double)b[i], 2);
    return sqrt(off / all);
}

// Sums are rounded in another order: hidden states agree as f32 does, but where that carries one value over the middle between two codes.
// It then is one step of 127 off (one of the 384 values that go into a product here), and what is made of it; a few of all pairs may be.
static void computes_the_same(void **state)
{
    enum { FEW = 4 };
    (void)state;
    const hs_policy fp32 = { .low = HS_F32 };
    float plain[N * WIDTH], trained[N * WIDTH], kept[N * WIDTH];
    int stepped = 0;
    for (int f = 0; f < HS_COUNT(families); f++)
        for (int w = 0; w < HS_COUNT(ways); w++) {
            const hs_policy policy = policy_of(&ways[w], 1), some = policy_of(&ways[w], 0.3);
            const char *dir = scratch_path("kept");
            quantized(golden_path(families[f]), &ways[w], dir);
            hidden_of(golden_path(families[f]), &fp32, plain);
            hidden_of(golden_path(families[f]), &policy, trained);
            hidden_of(dir, &fp32, kept);
            const double same = distance(trained, kept), apart = distance(plain, kept);
            stepped += same > 2e-6;
            if (!(same < 0.25 * apart && apart > 1e-3))
                fail_msg("%s, %s: %g from the quantized directory, which is %g from the values", families[f], ways[w].name, same, apart);
            hidden_of(golden_path(families[f]), &some, kept); // an evaluation rounds all blocks
            assert_memory_equal(kept, trained, sizeof kept);
        }
    if (stepped > FEW)
        fail_msg("%d of %d pairs are further apart than f32's rounding", stepped, (int)(HS_COUNT(families) * HS_COUNT(ways)));
}

// The values themselves are those of the directory, to the bit.
static void rounds_the_same(void **state)
{
    (void)state;
    static const hs_fake_form form[HS_N_CODINGS] = { [HS_CODING_I8] = HS_FAKE_WEIGHTS_ROWS,
                                                     [HS_CODING_I8_STATIC] = HS_FAKE_WEIGHTS_ROWS,
                                                     [HS_CODING_I8_BLOCKS] = HS_FAKE_WEIGHTS_8,
                                                     [HS_CODING_I4_BLOCKS] = HS_FAKE_WEIGHTS_4 };
    for (int w = 0; w < HS_COUNT(ways); w++) {
        hs_export_model was, is;
        int coded = 0;
        quantized(golden_path("encoders/bert"), &ways[w], scratch_path("kept"));
        open_values(&was, golden_path("encoders/bert"));
        open_values(&is, scratch_path("kept"));
        for (int i = 0; i < is.params->n_params; i++) {
            const hs_param *p = is.params->param[i], *q = hs_params_find(was.params, p->name);
            float *want = malloc(p->n * sizeof *want), *x = malloc(p->n * sizeof *x), *y = malloc(p->n * sizeof *y);
            assert_true(q && want && x && y && q->n == p->n);
            hs_params_fetch(is.params, p, 0, want, p->n);
            hs_params_fetch(was.params, q, 0, x, p->n);
            if (p->coding) {
                fake(form[p->coding], x, y, p->dim[0], (int64_t)p->n / p->dim[0]);
                for (size_t k = 0; k < p->n; k++)
                    if (want[k] != y[k])
                        fail_msg("%s, %s: element %zu is %.9g, training has %.9g", ways[w].name, p->name, k, (double)want[k], (double)y[k]);
                coded++;
            }
            free(want);
            free(x);
            free(y);
        }
        assert_true(coded >= 6);
        hs_export_model_close(&is);
        hs_export_model_close(&was);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rounds_the_same), cmocka_unit_test(computes_the_same) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
