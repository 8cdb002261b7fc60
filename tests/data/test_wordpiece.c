// wordpiece: rows as Hugging Face's and ids as Google's, from golden files; the fast way is the slow way; files in every form; refusals.
#include "tests/support/support_tokenizers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static golden list[] = {
    { "wordpiece", "wordpiece" }, { "wordpiece-cased", "wordpiece" }, { "wordpiece-google", "wordpiece-google" }, { NULL, NULL }
};

static int64_t count(const hs_tokenizer *t, const char *text, size_t bytes, int32_t *first)
{
    int32_t *ids;
    int64_t n;
    OK(hs_tokenizer_encode(t, text, bytes, &ids, &n));
    *first = n ? ids[0] : -1;
    free(ids);
    return n;
}

// Words past the limit are one unknown each, however long; Google's limit is 200, counted after decomposition.
static void long_words(void **state)
{
    (void)state;
    hs_tokenizer *hf = golden_tokenizer("wordpiece"), *google = golden_tokenizer("wordpiece-google");
    const size_t room = 3000000;
    char *text = malloc(room);
    int32_t unk, first;
    memset(text, 'a', room);
    assert_int_equal(count(hf, text, room, &unk), 1);
    assert_true(count(hf, text, 100, &first) > 1 && first != unk);
    assert_int_equal(count(hf, text, 101, &first), 1);
    assert_true(first == unk);
    assert_true(count(google, text, 200, &first) > 1);
    assert_int_equal(count(google, text, 201, &first), 1);
    hs_rows rows;
    OK(hs_tokenizer_rows(hf, text, 5000, NULL, 0, &(hs_row_opts){ .no_special = true }, &rows));
    assert_int_equal(rows.row[0].bytes[0].end, 5000);
    hs_rows_free(&rows);
    free(text);
    hs_tokenizer_free(hf);
    hs_tokenizer_free(google);
}

static void back_to_text(void **state)
{
    (void)state;
    hs_tokenizer *t = golden_tokenizer("wordpiece");
    static const char text[] = "To be, or not to be: that's the question.";
    int32_t *ids;
    int64_t n;
    char *back;
    size_t bytes;
    OK(hs_tokenizer_encode(t, text, strlen(text), &ids, &n));
    OK(hs_tokenizer_decode(t, ids, n, &back, &bytes));
    assert_string_equal(back, "to be, or not to be : that ' s the question.");
    free(back);
    free(ids);
    hs_tokenizer_free(t);
}

static void refusals(void **state)
{
    (void)state;
    golden_refused("wordpiece", "normalizer", "{\"type\":\"NFKC\"}", HS_UNSUPPORTED, "normalizer of type NFKC");
    golden_refused("wordpiece", "normalizer", "{\"type\":\"Sequence\",\"normalizers\":[]}", HS_UNSUPPORTED, "normalizer of type Sequence");
    golden_refused("wordpiece", "pre_tokenizer", "{\"type\":\"Whitespace\"}", HS_UNSUPPORTED, "pre_tokenizer of type Whitespace");
    golden_refused("wordpiece", "pre_tokenizer", "null", HS_UNSUPPORTED, "pre_tokenizer of type null");
    golden_refused("wordpiece", "decoder", "{\"type\":\"CTC\"}", HS_UNSUPPORTED, "decoder of type CTC");
    golden_refused("wordpiece", "post_processor", "{\"type\":\"Odd\"}", HS_UNSUPPORTED, "post_processor of type Odd");
    golden_refused("wordpiece", "model.unk_token", "\"<u>\"", HS_CORRUPT, "unknown token \"<u>\" is not in");
    golden_refused("wordpiece", "model.vocab", "{\"[UNK]\":0,\"a\":2}", HS_UNSUPPORTED, "1 ids below 3 have no token, and there are added");
    golden_refused("wordpiece", "model.vocab", "{\"[UNK]\":0,\"a\":20000}", HS_CORRUPT, "\"a\" has id 20000 in a vocabulary of 2");
    golden_refused("wordpiece", "model.vocab", "{\"[UNK]\":0,\"a\":-2}", HS_CORRUPT, "\"a\" has no id");
    golden_refused("wordpiece", "model.vocab", "{}", HS_CORRUPT, "no vocabulary");
    golden_refused("wordpiece", "model.type", "\"Unigram\"", HS_UNSUPPORTED, "of type Unigram");
    golden_refused("wordpiece", "normalizer.lowercase", "1", HS_CORRUPT, "\"lowercase\" is neither");
    golden_refused("wordpiece", "added_tokens", "[{\"id\":1}]", HS_CORRUPT, "added_tokens[0]");
    golden_refused("wordpiece", "added_tokens", "[{\"id\":600,\"content\":\"Zq\",\"normalized\":true}]", HS_UNSUPPORTED,
                   "\"Zq\" is looked for in");
    golden_refused("wordpiece", "version", "\"2.0\"", HS_UNSUPPORTED, "version 2.0");
    golden_refused("wordpiece", "truncation", "{\"strategy\":\"Middle\"}", HS_UNSUPPORTED, "truncation strategy Middle");
    golden_refused("wordpiece-google", "normalizer.clean_text", "false", HS_UNSUPPORTED, "Google's WordPiece always cleans");
    scratch_write("vocab.txt", "[UNK]\na\n[UNK]\n", 14);
    hs_tokenizer *t;
    FAILS(CORRUPT, "vocab.txt:3: token \"[UNK]\" is on line 1 already", hs_tokenizer_load(&t, scratch_path("")));
    remove(scratch_path("vocab.txt"));
}

static void bad_rows(void **state)
{
    (void)state;
    hs_tokenizer *t = golden_tokenizer("wordpiece");
    hs_rows rows;
    const struct {
        hs_row_opts o;
        const char *part;
    } c[] = {
        { { .max_length = 2 }, "max_length 2 leaves no room beside 2 special tokens" },
        { { .max_length = 4, .stride = 2 }, "stride 2 leaves nothing new in windows of 2" },
        { { .max_length = 4, .truncate = HS_TRUNCATE_ONLY_SECOND }, "there is none" },
        { { .stride = -1 }, "cannot be negative" },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        expect_error(hs_tokenizer_rows(t, "to be or not", 12, NULL, 0, &c[i].o, &rows), HS_USAGE, c[i].part, __FILE__, i);
        assert_null(rows.row);
    }
    FAILS(USAGE, "cannot be cut by",
          hs_tokenizer_rows(t, "a", 1, "to be or not", 12, &(hs_row_opts){ .max_length = 5, .truncate = HS_TRUNCATE_ONLY_FIRST }, &rows));
    hs_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(golden_rows_test, list),
        cmocka_unit_test_prestate(golden_fast_way_test, list),
        cmocka_unit_test_prestate(golden_saved_test, list),
        cmocka_unit_test(long_words),
        cmocka_unit_test(back_to_text),
        cmocka_unit_test(refusals),
        cmocka_unit_test(bad_rows),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
