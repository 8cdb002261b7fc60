// lean plans: of a last layer what nobody reads is not computed, and what is read has the same bits.
#include "core/graph/comm.h"
#include "infer/encode/texts.h"
#include "tests/support/support_files.h"
#include "tests/support/support_heads.h"
#include <string.h>

enum { ROWS = 6, LABELS = 16, MOST = 12 };

typedef struct subject {
    const char *name;
    bool lean; // there is something that it leaves out
} subject;
static const subject subjects[] = {
    { "albert-sequence", true },
    { "bert-sequence", true },
    { "distilbert-sequence", true },
    { "electra-sequence", true },
    { "ernie-sequence", true },
    { "roberta-sequence", true },
    { "roberta-prelayernorm-sequence", false },
    { "bert-tokens", false },
    { "bert-span", false },
    { "gpt2-sequence", false },
};

static hs_arch_shape shape_of(const hs_session *s, bool lean)
{
    hs_arch_shape shape = hs_head_shape(s);
    shape.lean = lean;
    return shape;
}

static bool is_product_of_sequences(const hs_node *n)
{
    return strcmp(n->op->name, "linear") == 0 && hs_ext_counter(n->out[0]->ext) == HS_COUNT_SEQS;
}
static bool is_loss(const hs_node *n) { return n->op->flags & HS_OP_LOSS; }

static int count_nodes(const hs_session *s, hs_arch_shape shape, bool (*is)(const hs_node *n))
{
    const hs_grid grid = hs_grid_self();
    const hs_arch_setup setup = { s->arch, shape };
    hs_params *ps;
    hs_graph *g;
    int n = 0;
    OK(hs_params_new(&ps, 1, 0, 1));
    OK(hs_graph_new(&g, ps, NULL, HS_EVAL, &grid));
    hs_arch_trace(g, &setup);
    OK(hs_graph_status(g));
    for (int i = 0; i < g->n_nodes; i++)
        n += is(g->node[i]);
    hs_graph_free(g);
    hs_params_free(ps);
    return n;
}

static void read_rows(const char *path, hs_dtype low, bool lean, float logits[ROWS][MOST * LABELS], size_t n[ROWS])
{
    hs_session s;
    hs_row_reader *r;
    int index[ROWS];
    int32_t id[ROWS][MOST];
    OK(hs_session_open(&s, path, 0, hs_families, "cpu", 2));
    const hs_arch_shape shape = shape_of(&s, lean);
    OK(hs_session_load(&s, &(hs_policy){ .low = low }, &(hs_session_plans){ .eval = &shape }));
    OK(hs_session_reader_of(&r, &s, s.run, s.eval));
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < MOST; k++)
            id[i][k] = 1 + (7 * i + 3 * k) % 20;
        OK(hs_row_reader_add(r, &(hs_encode_row){ .id = id[i], .n = 1 + 2 * i }, &index[i]));
        assert_int_equal(index[i], i);
    }
    OK(hs_row_reader_run(r));
    for (int i = 0; i < ROWS; i++) {
        int64_t rows;
        hs_ref out;
        assert_true(hs_run_output(s.run, s.eval, 0, &out));
        assert_in_range(out.cols, 1, LABELS);
        OK(hs_row_reader_task(r, i, logits[i], &rows));
        n[i] = (size_t)(rows * out.cols);
    }
    hs_row_reader_free(r);
    hs_session_close(&s);
}

static void test_same_bits(void **state)
{
    (void)state;
    static float whole[ROWS][MOST * LABELS], lean[ROWS][MOST * LABELS];
    static const hs_dtype lows[] = { HS_F32, HS_BF16 };
    for (int k = 0; k < HS_COUNT(subjects); k++) {
        const char *path = heads_folder(subjects[k].name, NULL, 0);
        for (int l = 0; l < HS_COUNT(lows); l++) {
            size_t n[ROWS], m[ROWS];
            read_rows(path, lows[l], false, whole, n);
            read_rows(path, lows[l], true, lean, m);
            assert_memory_equal(n, m, sizeof n);
            for (int i = 0; i < ROWS; i++)
                assert_memory_equal(whole[i], lean[i], n[i] * sizeof(float));
        }
    }
}

static void test_less_work(void **state)
{
    (void)state;
    for (int k = 0; k < HS_COUNT(subjects); k++) {
        hs_session s;
        OK(hs_session_open(&s, scratch_path(subjects[k].name), 0, hs_families, "cpu", 1));
        const hs_arch_shape lean = shape_of(&s, true), whole = shape_of(&s, false);
        const int more = count_nodes(&s, lean, is_product_of_sequences) - count_nodes(&s, whole, is_product_of_sequences);
        assert_int_equal(more, subjects[k].lean ? 3 : 0); // out of attention, and two of the feed-forward
        assert_int_equal(count_nodes(&s, whole, is_loss), 1);
        assert_int_equal(count_nodes(&s, lean, is_loss), 0);
        hs_session_close(&s);
    }
}

// A chain of tags has parameters that only its loss reads, and that decoding wants; predictions of masks want none.
static void test_losses_that_stay(void **state)
{
    (void)state;
    for (int masks = 0; masks <= 1; masks++) {
        hs_session s;
        OK(hs_session_open(&s, masks ? golden_path("encoders/bert") : heads_folder("bert-crf", NULL, 0), 0, hs_families, "cpu", 1));
        hs_arch_shape shape = masks ? hs_texts_shape(&s, true) : shape_of(&s, true);
        assert_true(shape.lean);
        assert_int_equal(count_nodes(&s, shape, is_loss), masks ? 0 : 1);
        shape.lean = false;
        assert_true(count_nodes(&s, shape, is_loss) > 0);
        hs_session_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_same_bits), cmocka_unit_test(test_less_work),
                                        cmocka_unit_test(test_losses_that_stay) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
