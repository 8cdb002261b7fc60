// quantize: weights of every family to codes and back from the directory that is written - each value within half a step of what it was -
// and hidden states by sessions on them beside those on the values; scales of inputs that were seen; what is refused.
#include "tests/support/support_files.h"
#include "tests/support/support_values.h"

#include "core/graph/coding.h"
#include "infer/quant/fold.h"
#include "infer/quant/quantize.h"
#include "infer/session/session.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 12, WIDTH = 32 };

static const int32_t ids[N] = { 3, 17, 42, 5, 60, 11, 29, 8, 33, 50, 2, 7 };

typedef struct way {
    const char *name;
    hs_quantize_opts opts;
    double most; // distance of hidden states, relative
} way;
static const way ways[] = {
    { "w8a8, rows", { .bits = HS_QUANT_W8A8, .rows = true }, 0.03 },
    { "w8a8, calibrated", { .bits = HS_QUANT_W8A8, .method = HS_CALIB_MAX }, 0.03 },
    { "w8", { .bits = HS_QUANT_W8, .embeddings = true }, 0.02 },
    { "w4", { .bits = HS_QUANT_W4, .embeddings = true }, 0.35 },
    { "w4, search", { .bits = HS_QUANT_W4, .round = HS_ROUND_SEARCH }, 0.3 },
    { "w4, gptq", { .bits = HS_QUANT_W4, .round = HS_ROUND_GPTQ }, 0.3 },
    { "w4, awq", { .bits = HS_QUANT_W4, .round = HS_ROUND_AWQ }, 0.3 },
};
static const char *const families[] = { "encoders/bert",   "encoders/roberta", "encoders/distilbert",
                                        "encoders/albert", "encoders/electra", "encoders/ernie" };

// Hidden states of the ids, by a session on the directory. observer: sees its products.
static void hidden_of(const char *dir, float *hidden, hs_session *s, hs_observer **observer)
{
    const hs_arch_shape shape = { .max_tokens = 64, .max_seqs = 8, .hidden = true };
    const hs_policy fp32 = { .low = HS_F32 };
    hs_row_reader *r;
    int index;
    OK(hs_session_open(s, dir, 0, hs_families, "cpu", 2));
    OK(hs_session_load(s, &fp32, &(hs_session_plans){ .eval = &shape }));
    if (observer) {
        hs_run_free(s->run);
        OK(hs_run_new(&s->run, s->model, &(hs_run_opts){ .mode = HS_SUBMIT_STEP }));
        OK(hs_observer_new(observer, s->model->params, &(hs_observer_opts){ .channels = true, .gram = true }));
        hs_observer_watch(*observer, s->device);
    }
    OK(hs_session_reader(&r, s, s->run));
    OK(hs_row_reader_add(r, &(hs_encode_row){ .id = ids, .n = N }, &index));
    OK(hs_row_reader_run(r));
    OK(hs_row_reader_hidden(r, index, hidden));
    hs_row_reader_free(r);
}

// Half a step of its row or block of 32, and what f16 loses of a scale; at the end of four bits that is not symmetric a whole one.
static void check_values(const hs_export_model *was, const char *dir)
{
    hs_export_model m;
    int coded = 0;
    open_values(&m, dir);
    for (int i = 0; i < m.params->n_params; i++) {
        const hs_param *p = m.params->param[i], *q = hs_params_find(was->params, p->name);
        const size_t cols = p->n / (size_t)p->dim[0],
                     group = p->coding == HS_CODING_I8 || p->coding == HS_CODING_I8_STATIC ? cols : HS_CODE_BLOCK;
        float *a = malloc(p->n * sizeof *a), *b = malloc(p->n * sizeof *b);
        assert_true(q && a && b && p->n == q->n);
        hs_params_fetch(m.params, p, 0, a, p->n);
        hs_params_fetch(was->params, q, 0, b, p->n);
        coded += p->coding != HS_CODING_NONE;
        for (size_t at = 0; at < p->n; at += p->coding ? group : 1) {
            float most = 0;
            for (size_t k = 0; k < group && p->coding; k++)
                most = fmaxf(most, fabsf(b[at + k]));
            const float step = p->coding == HS_CODING_I4_BLOCKS ? most / 8 : most / 127;
            for (size_t k = 0; k < (p->coding ? group : 1); k++)
                if (!(fabsf(a[at + k] - b[at + k]) <= (p->coding == HS_CODING_I4_BLOCKS ? 1.0f : 0.5f) * step + 1e-3f * most))
                    fail_msg("%s: element %zu is %g, was %g, a step is %g", p->name, at + k, (double)a[at + k], (double)b[at + k],
                             (double)step);
        }
        free(a);
        free(b);
    }
    assert_true(coded >= 6);
    hs_export_model_close(&m);
}

static double distance(const float *a, const float *b)
{
    double off = 0, all = 0;
    for (int i = 0; i < N * WIDTH; i++)
        off += pow((double)a[i] - (double)b[i], 2), all += pow((double)b[i], 2);
    return sqrt(off / all);
}

// Products of codes take over a gelu and, where scales of inputs are known, the rounding for the product behind it.
static void check_fused(const hs_session *s, bool rounds, const char *what)
{
    const hs_graph *g = hs_plan_graph(s->model->plan[s->eval]);
    int gelus = 0, relus = 0, bytes = 0; // a relu stays an op of its own
    for (int i = 0; i < g->n_nodes; i++) {
        const hs_node *n = g->node[i];
        if (!strcmp(n->op->name, "bias_gelu") || !strcmp(n->op->name, "gelu"))
            gelus++;
        relus += !strcmp(n->op->name, "relu");
        bytes += !strcmp(n->op->name, "linear_i8") && n->in[0]->dtype == HS_I8;
    }
    if (gelus || (bytes > 0) != (rounds && !relus))
        fail_msg("%s: %d gelus of their own, %d products that read bytes", what, gelus, bytes);
}

static void check_family(const char *family)
{
    hs_export_model m;
    hs_session s, coded;
    hs_observer *seen;
    float want[N * WIDTH], got[N * WIDTH];
    open_values(&m, golden_path(family));
    hidden_of(golden_path(family), want, &s, &seen);
    OK(hs_observer_end(seen));
    for (int w = 0; w < HS_COUNT(ways); w++) {
        const char *dir = scratch_path("quantized");
        hs_quantizing *q;
        OK(hs_quantizing_new(&q, &m, hs_families, &ways[w].opts, seen, s.model->params));
        OK(hs_quantizing_write(q, dir, true));
        hs_quantizing_free(q);
        if (ways[w].opts.round < HS_ROUND_SEARCH) // the others choose codes that are not the nearest
            check_values(&m, dir);
        hidden_of(dir, got, &coded, NULL);
        const double d = distance(got, want);
        if (!(d > 1e-6 && d < ways[w].most))
            fail_msg("%s, %s: hidden states are %g from those of the values", family, ways[w].name, d);
        if (ways[w].opts.bits == HS_QUANT_W8A8)
            check_fused(&coded, !ways[w].opts.rows, family);
        hs_session_close(&coded);
    }
    hs_observer_free(seen);
    hs_session_close(&s);
    hs_export_model_close(&m);
}

static void every_family(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(families); i++)
        check_family(families[i]);
}

static void a_writer(void **state) // tied table, turned weights, padded rows
{
    (void)state;
    hs_export_model m;
    open_values(&m, golden_path("gpt2-lm"));
    for (int w = 0; w < HS_COUNT(ways); w++) {
        hs_quantizing *q;
        if ((!ways[w].opts.rows && ways[w].opts.bits == HS_QUANT_W8A8) || ways[w].opts.round)
            continue;
        OK(hs_quantizing_new(&q, &m, hs_families, &ways[w].opts, NULL, NULL));
        OK(hs_quantizing_write(q, scratch_path("quantized"), true));
        hs_quantizing_free(q);
        check_values(&m, scratch_path("quantized"));
    }
    hs_export_model_close(&m);
}

// Channels folded into norms in front: other weights, the same model. Where norms stand behind, nothing is.
static void folded(void **state)
{
    (void)state;
    static const hs_fold_opts ways_to[] = { { .smooth = 0.5 }, { .awq = true, .coding = HS_CODING_I4_BLOCKS } };
    for (int k = 0; k < HS_COUNT(ways_to) * 2; k++) {
        const char *family = k % 2 ? "encoders/bert" : "encoders/roberta-prelayernorm";
        hs_export_model m, plain;
        hs_session s, after;
        hs_observer *seen;
        hs_quantizing *q;
        float want[N * WIDTH], got[N * WIDTH];
        int n, moved = 0;
        open_values(&m, golden_path(family));
        open_values(&plain, golden_path(family));
        hidden_of(golden_path(family), want, &s, &seen);
        OK(hs_quantize_fold(&m, seen, s.model->params, &ways_to[k / 2], &n));
        assert_true((n > 0) == !(k % 2));
        for (int i = 0; i < m.params->n_params; i++) {
            float a, b;
            hs_params_fetch(m.params, m.params->param[i], 0, &a, 1);
            hs_params_fetch(plain.params, plain.params->param[i], 0, &b, 1);
            moved += a != b;
        }
        assert_true(k % 2 ? moved == 0 : k / 2 || moved > 0);
        OK(hs_quantizing_new(&q, &m, hs_families,
                             &(hs_quantize_opts){ .bits = HS_QUANT_W8,
                                                  .skip = "*"
                                                          "ff.down*" },
                             NULL, NULL));
        OK(hs_quantizing_write(q, scratch_path("folded"), true));
        hs_quantizing_free(q);
        hidden_of(scratch_path("folded"), got, &after, NULL);
        const double d = distance(got, want);
        if (!(d < 0.02))
            fail_msg("%s, way %d: hidden states are %g from those of the values", family, k / 2, d);
        hs_session_close(&after);
        hs_observer_free(seen);
        hs_session_close(&s);
        hs_export_model_close(&plain);
        hs_export_model_close(&m);
    }
}

// What comes out of a gelu is clipped where it is asked for, and nothing else.
static void clipped_gelu(void **state)
{
    (void)state;
    hs_export_model m;
    hs_session s;
    hs_observer *seen;
    hs_quantizing *q;
    float hidden[N * WIDTH];
    int n, clipped = 0;
    open_values(&m, golden_path("encoders/bert"));
    hidden_of(golden_path("encoders/bert"), hidden, &s, &seen);
    OK(hs_quantizing_new(&q, &m, hs_families, &(hs_quantize_opts){ .bits = HS_QUANT_W8A8, .gelu_most = 1e-3 }, seen, s.model->params));
    for (int i = 0; hs_quantizing_at(q, i, &n); i++) {
        const hs_quantized *w = hs_quantizing_at(q, i, &n);
        if (w->coding != HS_CODING_I8_STATIC)
            continue;
        const bool down = strstr(w->param->name, "ff.down") != NULL;
        assert_true(down == (w->x_most == 1e-3f));
        clipped += down;
    }
    assert_int_equal(clipped, 2);
    hs_quantizing_free(q);
    hs_observer_free(seen);
    hs_session_close(&s);
    hs_export_model_close(&m);
}

static void refused(void **state)
{
    (void)state;
    hs_export_model m, again;
    hs_quantizing *q;
    open_values(&m, golden_path("encoders/bert"));
    assert_int_equal(hs_quantizing_new(&q, &m, hs_families, &(hs_quantize_opts){ .bits = HS_QUANT_W8A8 }, NULL, NULL), HS_USAGE);
    assert_non_null(strstr(hs_error(), "of none was anything seen"));
    assert_int_equal(hs_quantizing_new(&q, &m, hs_families, &(hs_quantize_opts){ .bits = HS_QUANT_W4, .skip = "*" }, NULL, NULL), HS_USAGE);
    assert_non_null(strstr(hs_error(), "to be skipped"));
    OK(hs_quantizing_new(&q, &m, hs_families, &(hs_quantize_opts){ .bits = HS_QUANT_W4 }, NULL, NULL));
    OK(hs_quantizing_write(q, scratch_path("quantized"), true));
    hs_quantizing_free(q);
    open_values(&again, scratch_path("quantized"));
    assert_int_equal(hs_quantizing_new(&q, &again, hs_families, &(hs_quantize_opts){ .bits = HS_QUANT_W8 }, NULL, NULL), HS_USAGE);
    assert_non_null(strstr(hs_error(), "codes already"));
    hs_export_model_close(&again);
    hs_export_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_family), cmocka_unit_test(a_writer), cmocka_unit_test(clipped_gelu),
                                        cmocka_unit_test(folded), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
