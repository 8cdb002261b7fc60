// encode: encoders of transformers (tests/golden/encoders) through a session's row reader - hidden states, pooling, guesses - against what
// PyTorch computed; rows whose bits depend on nothing beside them; what is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "infer/encode/texts.h"
#include "tests/support/support_files.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64, ROWS = 3, WIDTH = 32, VOCAB = 61, CONTEXT = 20 };

static const char *device = "cpu";

typedef struct subject {
    hs_session s;
    hs_safetensors *golden;
    hs_row_reader *reader;
    const int32_t *ids, *types, *tasks, *picks; // of batch 0
    const int32_t *starts;
    int64_t n, n_picks;
} subject;

static const void *stored(const subject *t, const char *name)
{
    const hs_st_entry *e = hs_safetensors_find(t->golden, name);
    return e ? e->data : NULL;
}

// false: there is no such golden, or it needs what rows do not carry (tasks).
static bool open_subject(subject *t, const char *family, bool masks, const hs_policy *policy)
{
    char dir[64], path[1024];
    *t = (subject){ 0 };
    snprintf(dir, sizeof dir, "encoders/%s", family);
    snprintf(path, sizeof path, "%s/golden.safetensors", golden_path(dir));
    OK(hs_safetensors_open(&t->golden, path));
    t->ids = stored(t, "ids"), t->types = stored(t, "types"), t->tasks = stored(t, "tasks"), t->picks = stored(t, "picks");
    t->starts = stored(t, "starts");
    t->n = t->starts[ROWS];
    t->n_picks = hs_safetensors_find(t->golden, "picks")->dim[1];
    OK(hs_session_open(&t->s, golden_path(dir), 0, hs_families, device, 2));
    const hs_arch_shape shape = {
        .max_tokens = MOST, .max_seqs = 8, .max_picks = masks ? 24 : 0, .hidden = !masks, .logits = masks, .lean = masks
    };
    OK(hs_session_load(&t->s, policy, &(hs_session_plans){ .eval = &shape }));
    OK(hs_session_reader(&t->reader, &t->s, t->s.run));
    for (int64_t i = 0; i < t->n; i++)
        if (t->tasks[i])
            return false;
    return true;
}

static void close_subject(subject *t)
{
    hs_row_reader_free(t->reader);
    hs_session_close(&t->s);
    hs_safetensors_close(t->golden);
}

static hs_encode_row row_of(const subject *t, int i)
{
    const int64_t at = t->starts[i];
    return (hs_encode_row){ .id = t->ids + at, .type = t->types + at, .n = t->starts[i + 1] - at };
}

static void read_all(subject *t)
{
    for (int i = 0; i < ROWS; i++) {
        int index;
        const hs_encode_row row = row_of(t, i);
        OK(hs_row_reader_add(t->reader, &row, &index));
        assert_int_equal(index, i);
    }
    OK(hs_row_reader_run(t->reader));
    assert_int_equal(hs_row_reader_rows(t->reader), ROWS);
}

static void close_to(const float *got, const float *want, int64_t n, double tolerance, const char *what)
{
    double most = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)want[i]));
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    }
    if (!(worst <= tolerance * most))
        fail_msg("%s: %g apart, of %g", what, worst, most);
}

static const char *const families[] = { "bert", "roberta", "distilbert", "albert", "electra", "ernie" };

// As sentence-transformers pools, from PyTorch's hidden states.
static void pool(const float *hidden, int64_t n, hs_pooling pooling, bool unit, float *out)
{
    double sum = 0;
    for (int c = 0; c < WIDTH; c++) {
        double v = (double)hidden[c];
        for (int64_t i = 1; i < n && pooling != HS_POOLING_CLS; i++)
            v = pooling == HS_POOLING_MAX ? fmax(v, (double)hidden[i * WIDTH + c]) : v + (double)hidden[i * WIDTH + c];
        out[c] = (float)(pooling == HS_POOLING_MEAN ? v / (double)n : v);
        sum += (double)out[c] * (double)out[c];
    }
    for (int c = 0; c < WIDTH && unit; c++)
        out[c] = (float)((double)out[c] / sqrt(sum));
}

static void vectors_as_pytorch(void **state)
{
    (void)state;
    const hs_policy fp32 = { .low = HS_F32 };
    int n = 0;
    for (int f = 0; f < HS_COUNT(families); f++) {
        subject t;
        float got[CONTEXT * WIDTH], want[WIDTH];
        if (open_subject(&t, families[f], false, &fp32)) {
            const float *hidden = stored(&t, "hidden");
            assert_int_equal(hs_row_reader_width(t.reader), WIDTH);
            read_all(&t);
            for (int i = 0; i < ROWS; i++) {
                const int64_t length = t.starts[i + 1] - t.starts[i];
                assert_int_equal(hs_row_reader_length(t.reader, i), length);
                OK(hs_row_reader_hidden(t.reader, i, got));
                close_to(got, hidden + t.starts[i] * WIDTH, length * WIDTH, 1e-5, families[f]);
                for (int way = 0; way < 2 * HS_POOLINGS; way++) {
                    pool(hidden + t.starts[i] * WIDTH, length, way / 2, way % 2, want);
                    OK(hs_row_reader_vector(t.reader, i, way / 2, way % 2, got));
                    close_to(got, want, WIDTH, 1e-5, families[f]);
                }
            }
            n++;
        }
        close_subject(&t);
    }
    assert_true(n >= 5);
}

static void guesses_as_pytorch(void **state)
{
    (void)state;
    const hs_policy fp32 = { .low = HS_F32 };
    for (int f = 0; f < HS_COUNT(families); f++) {
        subject t;
        if (open_subject(&t, families[f], true, &fp32)) {
            const float *logits = stored(&t, "logits");
            int64_t pick[8], p = 0;
            for (int i = 0; i < ROWS; i++) {
                int index;
                hs_encode_row row = row_of(&t, i);
                for (row.pick = pick; p + row.n_picks < t.n_picks && t.picks[p + row.n_picks] < t.starts[i + 1]; row.n_picks++)
                    pick[row.n_picks] = t.picks[p + row.n_picks] - t.starts[i];
                OK(hs_row_reader_add(t.reader, &row, &index));
                OK(hs_row_reader_run(t.reader));
                for (int64_t k = 0; k < row.n_picks; k++, p++) {
                    hs_guess g[VOCAB];
                    int64_t n;
                    double total = 0, sum = 0;
                    OK(hs_row_reader_guess(t.reader, index, k, 2 * VOCAB, g, &n));
                    assert_int_equal(n, VOCAB);
                    for (int v = 0; v < VOCAB; v++)
                        total += exp((double)logits[p * VOCAB + v]);
                    for (int v = 0; v < VOCAB; v++) {
                        const double want = exp((double)logits[p * VOCAB + g[v].id]) / total;
                        if (fabs(g[v].score - want) > 2e-5)
                            fail_msg("%s: token %d has %.8f, not %.8f", families[f], g[v].id, g[v].score, want);
                        assert_true(v == 0 || g[v].score <= g[v - 1].score);
                        sum += g[v].score;
                    }
                    assert_true(fabs(sum - 1) < 1e-9);
                    hs_guess few[3];
                    OK(hs_row_reader_guess(t.reader, index, k, 3, few, &n));
                    assert_int_equal(n, 3);
                    for (int v = 0; v < 3; v++)
                        assert_true(few[v].id == g[v].id && few[v].score == g[v].score);
                }
                assert_int_not_equal(hs_row_reader_guess(t.reader, index, row.n_picks, 1, &(hs_guess){ 0 }, &(int64_t){ 0 }), HS_OK);
            }
            assert_int_equal(p, t.n_picks);
        }
        close_subject(&t);
    }
}

static void bits_of_a_row_are_its_own(void **state)
{
    (void)state;
    static const hs_policy policies[] = { { .low = HS_F32 }, { .low = HS_BF16 } };
    for (int way = 0; way < 2; way++) {
        subject t;
        float together[ROWS][CONTEXT * WIDTH], alone[CONTEXT * WIDTH];
        open_subject(&t, "bert", false, &policies[way]);
        read_all(&t);
        for (int i = 0; i < ROWS; i++)
            OK(hs_row_reader_hidden(t.reader, i, together[i]));
        for (int i = ROWS - 1; i >= 0; i--) {
            int index;
            const hs_encode_row row = row_of(&t, i);
            OK(hs_row_reader_add(t.reader, &row, &index));
            assert_int_equal(index, 0);
            OK(hs_row_reader_run(t.reader));
            OK(hs_row_reader_hidden(t.reader, 0, alone));
            assert_memory_equal(alone, together[i], (size_t)row.n * WIDTH * sizeof *alone);
        }
        close_subject(&t);
    }
}

static void room_ends(void **state)
{
    (void)state;
    const hs_policy fp32 = { .low = HS_F32 };
    subject t;
    int index, n = 0;
    open_subject(&t, "bert", false, &fp32);
    const hs_encode_row row = row_of(&t, 0); // 15 tokens of 64
    do
        OK(hs_row_reader_add(t.reader, &row, &index));
    while (index >= 0 && ++n);
    assert_int_equal(n, 4);
    OK(hs_row_reader_run(t.reader));
    const hs_encode_row one = { .id = t.ids, .n = 1 };
    for (n = 0; n <= 8; n++) {
        OK(hs_row_reader_add(t.reader, &one, &index));
        assert_int_equal(index, n < 8 ? n : -1);
    }
    OK(hs_row_reader_run(t.reader));
    close_subject(&t);
}

#define REFUSED(expr, words)                                                                                                               \
    do {                                                                                                                                   \
        assert_int_equal(expr, HS_USAGE);                                                                                                  \
        if (!strstr(hs_error(), words))                                                                                                    \
            fail_msg("%s: not %s", hs_error(), words);                                                                                     \
    } while (0)

static void what_is_refused(void **state)
{
    (void)state;
    const hs_policy fp32 = { .low = HS_F32 };
    static const int32_t ids[CONTEXT + 1] = { 5, 6, 7 }, far[] = { 5, VOCAB }, below[] = { -1 }, types[] = { 0, 2, 0 };
    static const int64_t pick[25] = { 0 }, outside[] = { 3 };
    subject t;
    int index;
    hs_texts *texts;
    open_subject(&t, "bert", true, &fp32);
    REFUSED(hs_row_reader_add(t.reader, &(hs_encode_row){ .id = ids }, &index), "without tokens");
    REFUSED(hs_row_reader_add(t.reader, &(hs_encode_row){ .id = ids, .n = CONTEXT + 1 }, &index), "21 tokens; the model's context is 20");
    REFUSED(hs_row_reader_add(t.reader, &(hs_encode_row){ .id = far, .n = 2 }, &index),
            "token 1 has id 61, and the model's vocabulary ends at 60");
    REFUSED(hs_row_reader_add(t.reader, &(hs_encode_row){ .id = below, .n = 1 }, &index), "id -1");
    REFUSED(hs_row_reader_add(t.reader, &(hs_encode_row){ .id = ids, .type = types, .n = 3 }, &index), "token type 2, and the model has 2");
    REFUSED(hs_row_reader_add(t.reader, &(hs_encode_row){ .id = ids, .n = 3, .pick = pick, .n_picks = 25 }, &index), "at most 24");
    REFUSED(hs_row_reader_add(t.reader, &(hs_encode_row){ .id = ids, .n = 3, .pick = outside, .n_picks = 1 }, &index),
            "position 3 of a row of 3");
    OK(hs_row_reader_run(t.reader)); // nothing to do
    assert_int_equal(hs_row_reader_guess(t.reader, 0, 0, 1, &(hs_guess){ 0 }, &(int64_t){ 0 }), HS_INTERNAL);
    REFUSED(hs_texts_new(&texts, &(hs_texts_opts){ .session = &t.s }), "texts need a tokenizer");
    close_subject(&t);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(vectors_as_pytorch), cmocka_unit_test(guesses_as_pytorch),
                                        cmocka_unit_test(bits_of_a_row_are_its_own), cmocka_unit_test(room_ends),
                                        cmocka_unit_test(what_is_refused) };
    device = argc > 1 ? argv[1] : device;
    return cmocka_run_group_tests_name("encode", tests, NULL, NULL);
}
