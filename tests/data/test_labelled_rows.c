// labelled_rows: rows of examples, and batches of them, against their definitions.
#include "tests/support/support_labelled.h"

#include "data/batches/loader.h"
#include <stdio.h>
#include <stdlib.h>

enum { PAD, UNK, CLS, SEP, MASK, FIRST }; // of the vocabulary below

static hs_tokenizer *letters(void) // [PAD] [UNK] [CLS] [SEP] [MASK] a-z ##a-##z
{
    static const char *const special[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]" };
    char text[2000] = "";
    hs_tokenizer *t;
    for (int i = 0; i < HS_COUNT(special); i++)
        sprintf(text + strlen(text), "%s\n", special[i]);
    for (int i = 0; i < 52; i++)
        sprintf(text + strlen(text), "%s%c\n", i < 26 ? "" : "##", 'a' + i % 26);
    file("vocab.txt", text);
    char folder[500];
    snprintf(folder, sizeof folder, "%s", scratch_path("vocab.txt"));
    *strrchr(folder, '/') = 0;
    OK(hs_tokenizer_load(&t, folder));
    return t;
}

// "[CLS] a ##b [SEP]"
static void check_row(const hs_tokenizer *t, const hs_example_row *r, const char *want)
{
    char got[1000] = "";
    for (int64_t i = 0; i < r->n; i++) {
        size_t n;
        const char *p = hs_tokenizer_piece(t, r->id[i], &n);
        sprintf(got + strlen(got), "%s%.*s", i ? " " : "", (int)n, p);
    }
    assert_string_equal(got, want);
}

static void check_i32(const int32_t *got, const int32_t *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(got[i], want[i]);
}
#define I32(...)                                                                                                                           \
    (const int32_t[]) { __VA_ARGS__ }

typedef struct made {
    hs_tokenizer *t;
    hs_examples *e;
    hs_row_maker *m;
    const hs_example_row *row;
    int64_t n;
} made;

static made make(hs_about about, const char *text, hs_rows_opts o, int64_t i)
{
    made x = { .t = letters(), .e = open_as(about, "make", text) };
    o.tokenizer = x.t;
    OK(hs_row_maker_new(&x.m, about, &o));
    OK(hs_row_maker_rows(x.m, x.e->example, x.e->n, i, &x.row, &x.n));
    return x;
}

static void drop(made *x)
{
    hs_row_maker_free(x->m);
    hs_examples_close(x->e);
    hs_tokenizer_free(x->t);
}

static void rows_of_texts(void **state)
{
    (void)state;
    made x = make(HS_ABOUT_PAIR, "text1\ttext2\tlabel\nab c\td\t1\n", (hs_rows_opts){ .max_length = 8 }, 0);
    assert_int_equal(x.n, 1);
    check_row(x.t, x.row, "[CLS] a ##b c [SEP] d [SEP]");
    for (int i = 0; i < 7; i++)
        assert_int_equal(x.row->type[i], i > 4);
    drop(&x);
    x = make(HS_ABOUT_PAIR, "text1\ttext2\tlabel\nabcdefgh\tijk\t1\n", (hs_rows_opts){ .max_length = 10 }, 0);
    check_row(x.t, x.row, "[CLS] a ##b ##c ##d [SEP] i ##j ##k [SEP]"); // as Hugging Face's longest_first: the shorter keeps its own
    assert_true(x.row->cut);
    drop(&x);
    x = make(HS_ABOUT_SEQUENCE, "1 abcdefghi\n0 a\n", (hs_rows_opts){ .max_length = 8 }, 0);
    check_row(x.t, x.row, "[CLS] a ##b ##c ##d ##e ##f [SEP]");
    drop(&x);
}

static void rows_of_words(void **state)
{
    (void)state;
    // words of 2, 1, 3 tokens; later ones do not count
    made x = make(HS_ABOUT_TOKENS, "ab B-X\nc O\ndef B-Y\n", (hs_rows_opts){ .max_length = 16 }, 0); // O B-X B-Y
    check_row(x.t, x.row, "[CLS] a ##b c d ##e ##f [SEP]");
    check_i32(x.row->target, I32(-1, 1, -1, 0, 2, -1, -1, -1), 8);
    check_i32(x.row->word, I32(-1, 0, -1, 1, 2, -1, -1, -1), 8);
    drop(&x);
    x = make(HS_ABOUT_TOKENS, "ab B-X\nc O\ndef B-Y\n", (hs_rows_opts){ .max_length = 16, .all_subtokens = true, .later = I32(0, 5, 6) },
             0);
    check_i32(x.row->target, I32(-1, 1, 5, 0, 2, 6, 6, -1), 8);
    drop(&x);
    // six tokens of room, two shared: a b c d e f | e f g h i j | i j k l; every word once, where it has most around it
    x = make(HS_ABOUT_TOKENS, "a O\nb O\nc O\nd O\ne O\nf O\ng O\nh O\ni O\nj O\nk O\nl O\n",
             (hs_rows_opts){ .max_length = 8, .stride = 2 }, 0);
    assert_int_equal(x.n, 3);
    check_row(x.t, &x.row[0], "[CLS] a b c d e f [SEP]");
    check_row(x.t, &x.row[1], "[CLS] e f g h i j [SEP]");
    check_row(x.t, &x.row[2], "[CLS] i j k l [SEP]");
    check_i32(x.row[0].word, I32(-1, 0, 1, 2, 3, 4, -1, -1), 8);
    check_i32(x.row[1].word, I32(-1, -1, 5, 6, 7, 8, -1, -1), 8);
    check_i32(x.row[2].word, I32(-1, -1, 9, 10, 11, -1), 6);
    drop(&x);
    // a word that is longer than a row is cut, and the others are whole
    x = make(HS_ABOUT_TOKENS, "a O\nbcdefghij O\nkl O\n", (hs_rows_opts){ .max_length = 8 }, 0);
    assert_int_equal(x.n, 3);
    check_row(x.t, &x.row[1], "[CLS] b ##c ##d ##e ##f ##g [SEP]");
    assert_true(x.row[1].cut && !x.row[0].cut);
    check_row(x.t, &x.row[2], "[CLS] k ##l [SEP]");
    drop(&x);
    // two tokens of the neighbours on each side, of the same document only
    const char *text = "-DOCSTART- O\n\na O\n\nb O\nc O\n\nd O\n\ne O\nf O\ng O\n\n-DOCSTART- O\n\nh O\n";
    x = make(HS_ABOUT_TOKENS, text, (hs_rows_opts){ .max_length = 16, .context = 2 }, 2);
    check_row(x.t, x.row, "[CLS] b c d e f [SEP]");
    check_i32(x.row->target, I32(-1, -1, -1, 0, -1, -1, -1), 7);
    drop(&x);
    x = make(HS_ABOUT_TOKENS, text, (hs_rows_opts){ .max_length = 16, .context = 9 }, 2);
    check_row(x.t, x.row, "[CLS] a b c d e f g [SEP]");
    drop(&x);
    x = make(HS_ABOUT_TOKENS, text, (hs_rows_opts){ .max_length = 8, .context = 9 }, 3); // three of its own and three of room
    check_row(x.t, x.row, "[CLS] b c d e f g [SEP]");
    drop(&x);
    x = make(HS_ABOUT_TOKENS, text, (hs_rows_opts){ .max_length = 8, .context = 9 }, 1); // five of room: one before, the rest behind
    check_row(x.t, x.row, "[CLS] a b c d e f [SEP]");
    drop(&x);
}

// Of a choice of examples the neighbours are those of the file.
static void rows_of_a_choice(void **state)
{
    (void)state;
    hs_tokenizer *t = letters();
    hs_examples *e = open_as(HS_ABOUT_TOKENS, "choice", "a O\n\nb O\nc X\n\nd O\n\ne X\n"), view = *e;
    hs_example some[] = { e->example[1], e->example[3] };
    hs_source *s;
    view.example = some, view.n = 2, view.read = e->example, view.n_read = e->n;
    OK(hs_labelled_new(
        &s, &(hs_labelled_opts){ .examples = &view, .rows = { .tokenizer = t, .max_length = 16, .context = 1 }, .frozen = true }));
    check_row(t, hs_labelled_row(s, 0), "[CLS] a b c d [SEP]");
    check_row(t, hs_labelled_row(s, 1), "[CLS] d e [SEP]");
    assert_int_equal(hs_labelled_row(s, 0)->example, 0);
    assert_int_equal(hs_labelled_row(s, 1)->example, 1);
    hs_source_free(s);
    hs_examples_close(e);
    hs_tokenizer_free(t);
}

static void rows_of_spans(void **state)
{
    (void)state;
    const char *text =
        "{\"question\": \"q r s\", \"context\": \"a b c d e f\", \"answers\": {\"text\": [\"c d\"], \"answer_start\": [4]}}\n";
    made x = make(HS_ABOUT_SPAN, text, (hs_rows_opts){ .max_length = 9, .max_query = 2, .stride = 2 }, 0);
    assert_int_equal(x.n, 2);
    check_row(x.t, &x.row[0], "[CLS] q r [SEP] a b c d [SEP]");
    check_row(x.t, &x.row[1], "[CLS] q r [SEP] c d e f [SEP]");
    check_i32(I32(x.row[0].start, x.row[0].end, x.row[1].start, x.row[1].end), I32(6, 7, 4, 5), 4);
    assert_int_equal(x.row[0].bytes[6].start, 4);
    assert_int_equal(x.row[0].bytes[7].end, 7);
    const uint8_t best[2][9] = { { 0, 0, 0, 0, 1, 1, 1, 0, 0 }, { 0, 0, 0, 0, 0, 1, 1, 1, 0 } };
    for (int k = 0; k < 2; k++)
        assert_memory_equal(x.row[k].best, best[k], 9);
    drop(&x);
    x = make(HS_ABOUT_SPAN, text, (hs_rows_opts){ .max_length = 8, .max_query = 2, .stride = 3 }, 0); // a b c | d e f
    assert_int_equal(x.n, 2);
    assert_int_equal(x.row[0].start, 0);
    assert_int_equal(x.row[1].end, 0);
    drop(&x);
    x = make(HS_ABOUT_SPAN, text, (hs_rows_opts){ .max_length = 8, .max_query = 2, .stride = 3, .drop = true }, 0);
    assert_int_equal(x.n, 0);
    drop(&x);
}

static void rows_of_turns(void **state)
{
    (void)state;
    made x = make(HS_ABOUT_LM, "{\"prompt\": \"a b\", \"response\": \"c d\"}\n", (hs_rows_opts){ .max_length = 16 }, 0);
    check_row(x.t, x.row, "[CLS] a b c d");
    check_i32(x.row->target, I32(-1, -1, FIRST + 2, FIRST + 3, SEP), 5);
    drop(&x);
    x = make(HS_ABOUT_LM, "{\"prompt\": \"a b c d e f g h\", \"response\": \"i\"}\n", (hs_rows_opts){ .max_length = 8 }, 0);
    assert_int_equal(x.n, 0); // nothing is learned of it
    drop(&x);
}

// ---- batches

static hs_source *source_of(const hs_examples *e, const hs_tokenizer *t, hs_labelled_opts o)
{
    hs_source *s;
    o.examples = e, o.rows.tokenizer = t;
    o.rows.max_length = o.rows.max_length ? o.rows.max_length : 16;
    OK(hs_labelled_new(&s, &o));
    return s;
}

static void batches(void **state)
{
    (void)state;
    hs_tokenizer *t = letters();
    hs_examples *e = open_as(HS_ABOUT_SEQUENCE, "batches", "text\tlabel\na\tx\nb c\ty\nd\tx\nef\tx\n");
    hs_source *s = source_of(e, t, (hs_labelled_opts){ .seed = 5, .weights = HS_WEIGHTS_BALANCED });
    hs_batch b;
    OK(hs_source_batch(s, 4, &b));
    int seen[2][4] = { { 0 } };
    for (int epoch = 0; epoch < 2; epoch++) {
        OK(hs_source_fill(s, &b, (uint64_t)epoch * 4, 4));
        assert_int_equal(b.n[HS_COUNT_SEQS], 4);
        assert_int_equal(b.n[HS_COUNT_TOKENS], 14);
        assert_int_equal(b.labels[HS_LABELLED_LOSS], 4);
        assert_true(b.weights[HS_LABELLED_LOSS] > 3.999 && b.weights[HS_LABELLED_LOSS] < 4.001);
        const int32_t *starts = hs_batch_i32(&b, HS_LABELLED_STARTS), *ids = hs_batch_i32(&b, HS_LABELLED_IDS);
        const float *weight = (const float *)hs_batch_find(&b, "target_weights")->p;
        for (int k = 0; k < 4; k++) {
            const hs_example_row *r = hs_labelled_row(s, (uint64_t)(epoch * 4 + k));
            seen[epoch][r->example]++;
            assert_int_equal(starts[k + 1] - starts[k], r->n);
            check_i32(ids + starts[k], r->id, r->n);
            assert_int_equal(((const int32_t *)hs_batch_find(&b, "class_targets")->p)[k], e->example[r->example].label);
            assert_true(weight[k] == (float)(r->example == 1 ? 4 / (2 * 1.0) : 4 / (2 * 3.0)));
            for (int64_t i = 0; i < r->n; i++)
                check_i32(hs_batch_i32(&b, HS_LABELLED_WHERE) + 2 * (starts[k] + i), I32(k, (int32_t)i), 2);
        }
    }
    for (int i = 0; i < 8; i++)
        assert_int_equal(seen[i / 4][i % 4], 1); // each once an epoch
    hs_batch_free(&b);
    hs_source_free(s);
    hs_examples_close(e);
    hs_source *none;
    e = open_as(HS_ABOUT_MULTILABEL, "several", "text\tlabels\na\tx,z\nb\ty\n");
    FAILS(USAGE, "class weights are for",
          hs_labelled_new(&none, &(hs_labelled_opts){ .examples = e, .rows = { .tokenizer = t, .max_length = 16 }, .weights = 1 }));
    s = source_of(e, t, (hs_labelled_opts){ .frozen = true });
    OK(hs_source_batch(s, 2, &b));
    OK(hs_source_fill(s, &b, 0, 2));
    const float *cell = (const float *)hs_batch_find(&b, "label_targets")->p, want[] = { 1, 0, 1, 0, 1, 0 };
    for (int i = 0; i < 6; i++)
        assert_true(cell[i] == want[i]);
    hs_batch_free(&b);
    hs_source_free(s);
    hs_examples_close(e);
    hs_tokenizer_free(t);
}

// The stream is the same through the loader, at any number of ranks, from any sample on.
static void resumes(void **state)
{
    (void)state;
    hs_tokenizer *t = letters();
    hs_examples *e = open_as(HS_ABOUT_TOKENS, "resumes", "a O\nb B-X\n\nc O\n\nd B-X\ne I-X\n\nf O\n\ng O\nh O\n");
    int32_t whole[40], n = 0;
    for (int pass = 0; pass < 3; pass++) { // one rank; two ranks; from sample 4 on
        int32_t got[40];
        int k = 0;
        for (int rank = 0; rank < (pass == 1 ? 2 : 1); rank++) {
            hs_loader *l;
            const hs_batch *b;
            OK(hs_loader_new(
                &l, source_of(e, t, (hs_labelled_opts){ .seed = 9 }),
                &(hs_loader_opts){
                    .batch = 2, .n_micro = 1, .rank = rank, .size = pass == 1 ? 2 : 1, .first_sample = pass == 2 ? 4 : 0, .depth = 3 }));
            for (int i = 0; i < (pass == 2 ? 3 : 5); i++) {
                OK(hs_loader_next(l, &b));
                for (int64_t seq = 0; seq < b->n[HS_COUNT_SEQS]; seq++) {
                    const int32_t *starts = hs_batch_i32(b, HS_LABELLED_STARTS), first = hs_batch_i32(b, HS_LABELLED_IDS)[starts[seq] + 1];
                    if (pass == 1)
                        got[2 * i + rank] = first, k++;
                    else
                        got[k++] = first;
                }
                hs_loader_release(l);
            }
            hs_loader_free(l);
        }
        if (pass == 0)
            memcpy(whole, got, sizeof got), n = k;
        assert_int_equal(k, pass == 2 ? n - 4 : n);
        check_i32(got, whole + (pass == 2 ? 4 : 0), k);
    }
    hs_examples_close(e);
    hs_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_texts), cmocka_unit_test(rows_of_words), cmocka_unit_test(rows_of_a_choice),
        cmocka_unit_test(rows_of_spans), cmocka_unit_test(rows_of_turns), cmocka_unit_test(batches),
        cmocka_unit_test(resumes),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
