// text_store: a text becomes the store that `prepare` makes of it; mask_turns: each of its tokens is masked once, alone.
#include "tests/support/support_files.h"

#include "data/batches/mask_turns.h"
#include "data/text/prepare.h"
#include "data/text/text_store.h"
#include <stdlib.h>
#include <string.h>

static const char text[] =
    "\n\nOne cat sat. It saw two dogs!\nThey ran (very fast).\n \nA second text\nof two lines. Mr. Smith was there.\n\n\n\nA third.\n";
static hs_text_inputs inputs_of(const char *name, const char *bytes, size_t n)
{
    hs_text_inputs inputs;
    scratch_write(name, bytes, n);
    const char *path = scratch_path(name);
    OK(hs_text_inputs_expand(&inputs, &path, 1));
    return inputs;
}

static const char lines[] = "the first. line\nthe second line\n";

static void same_as_prepare(void **state)
{
    (void)state;
    hs_tokenizer *t;
    hs_prepare_result r;
    hs_token_store *prepared, *made;
    OK(hs_tokenizer_byte(&t));
    for (int how = HS_DOCUMENTS_FILE; how <= HS_DOCUMENTS_LINE; how++) {
        hs_text_inputs inputs = inputs_of("text.txt", text, sizeof text - 1);
        OK(hs_prepare(&(hs_prepare_opts){ .output = scratch_path("store"),
                                          .tokenizer = t,
                                          .read.documents = (hs_documents)how,
                                          .sentences = HS_SENTENCES_RULE,
                                          .eot = -1,
                                          .threads = 1,
                                          .part_bytes = 1 << 20,
                                          .overwrite = true },
                      &inputs, &r));
        OK(hs_token_store_open(&prepared, scratch_path("store.bin")));
        OK(hs_text_store(&made, t, &inputs, how, HS_SENTENCES_RULE));
        hs_text_inputs_free(&inputs);
        const hs_token_store_info a = hs_token_store_info_of(prepared), b = hs_token_store_info_of(made);
        assert_int_equal(a.n_documents, b.n_documents);
        assert_int_equal(a.n_sentences, b.n_sentences);
        OK(hs_token_store_save(made, scratch_path("saved.bin")));
        hs_token_store *saved;
        OK(hs_token_store_open(&saved, scratch_path("saved.bin")));
        OK(hs_token_store_verify(saved));
        assert_int_equal(hs_token_store_info_of(saved).n_sentences, a.n_sentences);
        for (int64_t d = 0; d < a.n_documents; d++) {
            int64_t first, end, from, to;
            OK(hs_token_store_sentences(saved, d, &first, &end));
            OK(hs_token_store_sentences(prepared, d, &from, &to));
            assert_int_equal(end - first, to - from);
        }
        hs_token_store_close(saved);
        hs_token_store_close(made);
        hs_token_store_close(prepared);
    }
    hs_tokenizer_free(t);
}

static int64_t documents_of(const char *name, const char *bytes, size_t n, int64_t *sentences)
{
    hs_tokenizer *t;
    hs_token_store *s;
    hs_text_inputs inputs = inputs_of(name, bytes, n);
    OK(hs_tokenizer_byte(&t));
    OK(hs_text_store(&s, t, &inputs, HS_TEXT_DOCUMENTS_AUTO, HS_SENTENCES_RULE));
    const int64_t documents = hs_token_store_info_of(s).n_documents;
    *sentences = hs_token_store_info_of(s).n_sentences;
    hs_token_store_close(s);
    hs_text_inputs_free(&inputs);
    hs_tokenizer_free(t);
    return documents;
}

static void documents_found(void **state)
{
    (void)state;
    static const char records[] = "{\"text\": \"One. Two.\"}\n{\"text\": \"Three\"}\n";
    int64_t sentences;
    assert_int_equal(documents_of("blank.txt", text, sizeof text - 1, &sentences), 3);
    assert_int_equal(documents_of("lines.txt", lines, sizeof lines - 1, &sentences), 2);
    assert_int_equal(documents_of("records.jsonl", records, sizeof records - 1, &sentences), 2);
    assert_int_equal(sentences, 3);
    hs_tokenizer *t;
    hs_token_store *s;
    hs_text_inputs inputs = inputs_of("blank.txt", "\n \n", 3);
    OK(hs_tokenizer_char_from_text(&t, "abc", 3));
    FAILS(USAGE, "", hs_text_store(&s, t, &inputs, HS_DOCUMENTS_FILE, HS_SENTENCES_RULE));
    hs_text_inputs_free(&inputs);
    inputs = inputs_of("other.txt", "ab\ncab\nbax\n", 11);
    FAILS(USAGE, "other.txt:3:", hs_text_store(&s, t, &inputs, HS_DOCUMENTS_LINE, HS_SENTENCES_RULE));
    hs_text_inputs_free(&inputs);
    hs_tokenizer_free(t);
}

static void each_token_in_its_turn(void **state)
{
    (void)state;
    enum { LENGTH = 12, CLS = 1, SEP = 2, MASK = 3 };
    hs_tokenizer *t;
    hs_token_store *s;
    hs_source *source;
    hs_batch b;
    OK(hs_tokenizer_byte(&t));
    hs_text_inputs inputs = inputs_of("text.txt", text, sizeof text - 1);
    OK(hs_text_store(&s, t, &inputs, HS_DOCUMENTS_BLANK_LINE, HS_SENTENCES_RULE));
    hs_text_inputs_free(&inputs);
    const int64_t n = hs_token_store_info_of(s).n_tokens;
    OK(hs_mask_turns_new(&source, &(hs_mask_turns_opts){ { s, 0, n }, LENGTH, 256, { .cls = CLS, .sep = SEP, .mask = MASK } }));
    assert_int_equal(source->n_samples, n);
    OK(hs_source_batch(source, 1, &b));
    for (int64_t i = 0; i < n; i++) {
        int32_t id;
        OK(hs_source_fill(source, &b, (uint64_t)i, 1));
        hs_token_store_read(s, i, 1, &id);
        const int32_t *ids = hs_batch_i32(&b, HS_PAIR_IDS);
        const int64_t tokens = b.n[HS_COUNT_TOKENS], pick = hs_batch_i32(&b, HS_PAIR_PICKS)[0];
        assert_in_range(tokens, 3, LENGTH);
        assert_int_equal(ids[0], CLS);
        assert_int_equal(ids[tokens - 1], SEP);
        assert_int_equal(ids[pick], MASK);
        assert_int_equal(hs_batch_i32(&b, HS_PAIR_PICK_TARGETS)[0], id);
        assert_int_equal(b.labels[0], 1);
        assert_int_equal(hs_batch_i32(&b, HS_PAIR_TARGETS)[0], -1);
    }
    hs_batch_free(&b);
    hs_source_free(source);
    FAILS(USAGE, "needs 3", hs_mask_turns_new(&source, &(hs_mask_turns_opts){ { s, 0, n }, 2, 256, { 0 } }));
    hs_token_store_close(s);
    hs_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_prepare),
        cmocka_unit_test(documents_found),
        cmocka_unit_test(each_token_in_its_turn),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
