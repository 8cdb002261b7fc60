// plain_tokenizer: plain text to a tokenizer, and with it to a store of documents and sentences and a masked source on top.
#include "tests/support/support_masked.h"

#include "data/text/plain_tokenizer.h"
#include "data/text/text_store.h"
#include <stdlib.h>
#include <string.h>

static void names(void **state)
{
    (void)state;
    int64_t vocab = 0;
    assert_true(hs_plain_tokenizer_named("wordpiece", &vocab) && vocab == HS_PLAIN_VOCAB);
    assert_true(hs_plain_tokenizer_named("wordpiece:300", &vocab) && vocab == 300);
    assert_true(hs_plain_tokenizer_named("wordpiece:", &vocab) && vocab == -1);
    assert_true(hs_plain_tokenizer_named("wordpiece:12x", &vocab) && vocab == -1);
    assert_false(hs_plain_tokenizer_named("wordpieces", &vocab));
    assert_false(hs_plain_tokenizer_named("char", &vocab));
}

static const char paragraphs[] = "The first one begins here. It has two sentences.\n"
                                 "\n"
                                 "The second one has lines\nthat go on. And Mr. Smith says no. Nothing more!\n\n\n"
                                 "A third one\n";
static const char lines[] = "One line. With two sentences.\nAnother line\nAnd a third. It ends. Here.\n";

static void make(const char *text, size_t bytes, int64_t documents, const int *sentences)
{
    hs_tokenizer *t;
    hs_token_store *s;
    scratch_write("plain.txt", text, bytes);
    const char *const input[] = { scratch_path("plain.txt") };
    OK(hs_plain_tokenizer_train(&t, input, 1, 200));
    assert_string_equal(hs_tokenizer_kind(t), "wordpiece");
    hs_text_inputs inputs;
    OK(hs_text_inputs_expand(&inputs, input, 1));
    OK(hs_text_store(&s, t, &inputs, HS_TEXT_DOCUMENTS_AUTO, HS_SENTENCES_RULE));
    hs_text_inputs_free(&inputs);
    assert_int_equal(hs_token_store_info_of(s).n_documents, documents);
    assert_int_equal(hs_token_store_info_of(s).tokenizer_hash, hs_tokenizer_hash(t));
    for (int64_t d = 0; d < documents; d++) {
        int64_t first, end;
        OK(hs_token_store_sentences(s, d, &first, &end));
        assert_int_equal(end - first, sentences[d]);
    }
    hs_mask_ids ids;
    hs_source *source;
    hs_batch b;
    OK(hs_masked_ids_of(t, &ids));
    const hs_text_part part = whole(s);
    const hs_objective k = { HS_SEGMENTS_NEXT, HS_MASK_TOKEN, 0.15, 0.8, 0.1, 1, 0, 0 };
    hs_masked_opts o = masked_opts(&part, &k, 1, 24);
    o.ids = ids;
    OK(hs_masked_new(&source, &o));
    OK(hs_source_batch(source, 8, &b));
    OK(hs_source_fill(source, &b, 0, 8));
    assert_int_equal(hs_batch_i32(&b, HS_PAIR_IDS)[0], ids.cls);
    hs_batch_free(&b);
    hs_source_free(source);
    hs_token_store_close(s);
    hs_tokenizer_free(t);
}

static void documents_and_sentences(void **state)
{
    (void)state;
    make(paragraphs, sizeof paragraphs - 1, 3, (int[]){ 2, 3, 1 });
    make(lines, sizeof lines - 1, 3, (int[]){ 2, 1, 3 });
}

static void refused(void **state)
{
    (void)state;
    hs_tokenizer *t;
    scratch_write("empty.txt", "\n\n", 2);
    scratch_write("zip.txt", "PK\3\4 and so on", 14);
    const char *const empty[] = { scratch_path("empty.txt") }, *const zip[] = { scratch_path("zip.txt") }, *const in[] = { "-" };
    FAILS(USAGE, "no words", hs_plain_tokenizer_train(&t, empty, 1, 200));
    FAILS(USAGE, "zip", hs_plain_tokenizer_train(&t, zip, 1, 200));
    FAILS(USAGE, "standard input is read more than once", hs_plain_tokenizer_train(&t, in, 1, 200));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(documents_and_sentences), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
