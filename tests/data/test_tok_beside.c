// What lies beside a vocabulary: added tokens with their flags, names of special tokens, ids without a token; read, matched, written back.
// Ids are those that transformers 5.23 gives for the same folders.
#include "tests/support/support_files.h"

#include "data/tokenizers/tokenizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
    "tokenizer.json",          "vocab.txt",          "vocab.json", "merges.txt", "tokenizer_config.json", "added_tokens.json",
    "special_tokens_map.json", "chat_template.jinja"
};

static void clear(void)
{
    for (int i = 0; i < HS_COUNT(names); i++)
        remove(scratch_path(names[i]));
}

static void write_text(const char *name, const char *text)
{
    if (text)
        scratch_write(name, text, strlen(text));
}

// h 0, i 1, space 2, z 3, "hi" 4, " z" 5, <|endoftext|> 6
#define VOCAB                  "{\"h\":0,\"i\":1,\"\\u0120\":2,\"z\":3,\"hi\":4,\"\\u0120z\":5,\"<|endoftext|>\":6}"
#define MERGES                 "#version: 0.2\nh i\n\xC4\xA0 z\n"
#define ADDED(id, text, flags) "\"" #id "\":{\"content\":\"" text "\"" flags "}"

static void write_base(void)
{
    write_text("vocab.json", VOCAB);
    write_text("merges.txt", MERGES);
}

static void expect_ids(const hs_tokenizer *t, const char *text, const int32_t *want, int n_want, const char *what)
{
    int32_t *ids;
    int64_t n;
    char got[256] = "", expected[256] = "";
    OK(hs_tokenizer_encode(t, text, strlen(text), &ids, &n));
    for (int64_t i = 0; i < n; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), " %d", ids[i]);
    for (int i = 0; i < n_want; i++)
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), " %d", want[i]);
    if (strcmp(got, expected) != 0)
        fail_msg("%s: \"%s\" is%s, not%s", what, text, got, expected);
    free(ids);
}

typedef struct folder {
    const char *what, *config, *added, *map;
    const char *text;
    int32_t ids[12];
    int n;
    int64_t vocab;
    int32_t begin, end;
} folder;

static const folder folders[] = {
    { "nothing beside", NULL, NULL, NULL, "hi<u>", { 4 }, -1, 7, 6, 6 },
    { "added_tokens.json", NULL, "{\"<u>\":7,\"<v>\":8}", NULL, "hi<v>z<u>", { 4, 8, 3, 7 }, 4, 9, 6, 6 },
    { "added_tokens_decoder",
      "{\"added_tokens_decoder\":{" ADDED(8, "<v>", "") "," ADDED(7, "<u>", ",\"special\":true") "}}",
      NULL,
      NULL,
      "hi<v>z<u>",
      { 4, 8, 3, 7 },
      4,
      9,
      6,
      6 },
    { "lstrip and rstrip",
      "{\"added_tokens_decoder\":{" ADDED(7, "<u>", ",\"lstrip\":true") "," ADDED(8, "<v>", ",\"rstrip\":true") "}}",
      NULL,
      NULL,
      "hi <u> z<v>  hi",
      { 4, 7, 5, 8, 4 },
      5,
      9,
      6,
      6 },
    { "single_word",
      "{\"added_tokens_decoder\":{" ADDED(7, "zz", ",\"single_word\":true") "}}",
      NULL,
      NULL,
      "zz hizz zz",
      { 7, 2, 4, 3, 3, 2, 7 },
      7,
      8,
      6,
      6 },
    { "names with an id, of the map",
      NULL,
      "{\"<u>\":7}",
      "{\"eos_token\":\"<u>\",\"bos_token\":{\"content\":\"z\"}}",
      "hi<u>z",
      { 4, 7, 3 },
      3,
      8,
      3,
      7 },
    { "names without an id take the next, in the order of transformers",
      "{\"pad_token\":\"<p>\",\"eos_token\":\"<u>\"}",
      NULL,
      NULL,
      "<p><u>",
      { 8, 7 },
      2,
      9,
      6,
      7 },
    { "more of them", "{\"additional_special_tokens\":[\"<v>\",\"<u>\"]}", NULL, NULL, "<u><v>", { 8, 7 }, 2, 9, 6, 6 },
    { "a map goes before the configuration", "{\"eos_token\":\"z\"}", NULL, "{\"eos_token\":\"hi\"}", "zhi", { 3, 4 }, 2, 7, 6, 4 },
    { "but not where that has a list of added tokens",
      "{\"eos_token\":\"z\",\"added_tokens_decoder\":{" ADDED(7, "<u>", "") "}}",
      NULL,
      "{\"eos_token\":\"hi\"}",
      "<u>z",
      { 7, 3 },
      2,
      8,
      6,
      3 },
    { "other names for all three", "{\"eos_token\":\"z\",\"bos_token\":\"z\",\"unk_token\":\"z\"}", NULL, NULL, "z", { 3 }, 1, 7, 3, 3 },
    { "null names nothing", "{\"pad_token\":null,\"sep_token\":false,\"eos_token\":\"hi\"}", NULL, NULL, "hi", { 4 }, 1, 7, 6, 4 },
    { "no limit, as transformers writes it",
      "{\"model_max_length\":1000000000000000019884624838656,\"eos_token\":\"hi\"}",
      NULL,
      NULL,
      "hi",
      { 4 },
      1,
      7,
      6,
      4 },
    { "a mark at the front of each",
      "\xEF\xBB\xBF{\"eos_token\":\"<u>\"}",
      "\xEF\xBB\xBF{\"<u>\":7}",
      "\xEF\xBB\xBF{\"bos_token\":\"hi\"}",
      "hi<u>",
      { 4, 7 },
      2,
      8,
      4,
      7 },
};

static void open_folder(hs_tokenizer **t, const folder *f)
{
    write_base();
    write_text("tokenizer_config.json", f->config);
    write_text("added_tokens.json", f->added);
    write_text("special_tokens_map.json", f->map);
    OK(hs_tokenizer_load(t, scratch_path("")));
}

static void are_read_and_written_back(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(folders); i++) {
        const folder *f = &folders[i];
        hs_tokenizer *t, *again;
        open_folder(&t, f);
        const uint64_t hash = hs_tokenizer_hash(t);
        for (int time = 0; time < 3; time++) { // as it lies; saved; saved, without tokenizer.json
            assert_int_equal(hs_tokenizer_vocab(t), f->vocab);
            if (f->n >= 0)
                expect_ids(t, f->text, f->ids, f->n, f->what);
            if (hs_tokenizer_end(t) != f->end || hs_tokenizer_begin(t) != f->begin)
                fail_msg("%s: ends with %d, begins with %d", f->what, hs_tokenizer_end(t), hs_tokenizer_begin(t));
            assert_true(hs_tokenizer_gives(t, hash));
            clear();
            OK(hs_tokenizer_save(t, scratch_path("")));
            if (time == 1)
                remove(scratch_path("tokenizer.json"));
            OK(hs_tokenizer_load(&again, scratch_path("")));
            hs_tokenizer_free(t);
            t = again;
        }
        hs_tokenizer_free(t);
        clear();
    }
}

// The same files beside tokenizer.json: what that lacks is added, flags of the list go before its own.
static void go_with_tokenizer_json(void **state)
{
    (void)state;
    static const char root[] =
        "{\"added_tokens\":[{\"id\":6,\"content\":\"<|endoftext|>\",\"special\":true,\"normalized\":false,"
        "\"single_word\":false,\"lstrip\":false,\"rstrip\":false}],\"pre_tokenizer\":{\"type\":\"ByteLevel\","
        "\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",\"vocab\":" VOCAB ",\"merges\":[\"h i\",\"\\u0120 z\"]}}";
    hs_tokenizer *t;
    write_text("tokenizer.json", root);
    write_text("added_tokens.json", "{\"<u>\":7}");
    write_text("tokenizer_config.json",
               "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"eos_token\":\"<u>\",\"added_tokens_decoder\":{" ADDED(
                   6, "<|endoftext|>", ",\"lstrip\":true,\"special\":true") "}}");
    OK(hs_tokenizer_load(&t, scratch_path("")));
    expect_ids(t, "hi <|endoftext|><u>", (int32_t[]){ 4, 6, 7 }, 3, "lstrip of the list");
    assert_int_equal(hs_tokenizer_end(t), 7);
    assert_true(hs_tokenizer_special(t, 7));
    hs_tokenizer_free(t);
    clear();
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *config, *added, *map;
        hs_status st;
        const char *part;
    } c[] = {
        { NULL, "{\"<u>\":9}", NULL, HS_CORRUPT, "added token \"<u>\" has id 9, where the tokenizer's vocabulary goes on with 7 to 7" },
        { NULL, "{\"<u>\":7,\"<v>\":7}", NULL, HS_CORRUPT, "token \"<v>\" has the id of another, 7" },
        { NULL, "{\"hi\":7}", NULL, HS_CORRUPT, "added_tokens.json: \"hi\" has id 7, but 4 in the other files" },
        { "{\"added_tokens_decoder\":{" ADDED(7, "<u>", "") "}}", "{\"<u>\":8}", NULL, HS_CORRUPT,
          "added_tokens.json: \"<u>\" has id 8, but 7" },
        { NULL, "{\"<u>\":\"7\"}", NULL, HS_CORRUPT, "added_tokens.json: \"<u>\" has no id" },
        { NULL, "[\"<u>\"]", NULL, HS_CORRUPT, "added_tokens.json: not a JSON object" },
        { NULL, "{\"<u>\":7,\"<u>\":7}", NULL, HS_CORRUPT, "added_tokens.json:1: column 14: duplicate object key near '\"<u>\"'" },
        { "{\"added_tokens_decoder\":{\"seven\":{\"content\":\"<u>\"}}}", NULL, NULL, HS_CORRUPT,
          "tokenizer_config.json: \"seven\" has no id" },
        { "{\"added_tokens_decoder\":{" ADDED(7, "<u>", ",\"regex\":true") "}}", NULL, NULL, HS_UNSUPPORTED,
          "\"regex\" of an added token" },
        { "{\"split_special_tokens\":true}", NULL, NULL, HS_UNSUPPORTED,
          "\"split_special_tokens\" is true: it asks for special tokens that are not" },
        { "{\"eos_token\":7}", NULL, NULL, HS_CORRUPT, "tokenizer_config.json: \"eos_token\" names no token" },
        { NULL, NULL, "{\"eos_token\":[\"<u>\"]}", HS_CORRUPT, "special_tokens_map.json: \"eos_token\" names no token" },
        { NULL, NULL, "\xFF\xFE{\0}\0", HS_CORRUPT, "special_tokens_map.json is UTF-16, but must be UTF-8: `iconv" },
        { "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", NULL, NULL, HS_CORRUPT,
          "tokenizer_config.json is no text but a git-lfs pointer" },
        { NULL, "<!DOCTYPE html><html>", NULL, HS_CORRUPT, "added_tokens.json is no text but a web page" },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        hs_tokenizer *t;
        write_base();
        write_text("tokenizer_config.json", c[i].config);
        write_text("added_tokens.json", c[i].added);
        write_text("special_tokens_map.json", c[i].map);
        const hs_status st = hs_tokenizer_load(&t, scratch_path(""));
        expect_error(st, c[i].st, c[i].part, "row", i);
        clear();
    }
}

// Ids of the model's vocabulary without a token are read, shown as none, and written as they are; two tokens of one id are not.
static void holes_and_repeats(void **state)
{
    (void)state;
    hs_tokenizer *t, *again;
    size_t bytes;
    bool space;
    write_text("vocab.json", "{\"h\":0,\"i\":1,\"hi\":4,\"z\":6}");
    write_text("merges.txt", "h i\r\n");
    OK(hs_tokenizer_load(&t, scratch_path("")));
    assert_int_equal(hs_tokenizer_vocab(t), 7);
    for (int id = 0; id < 9; id++) {
        const bool has = id < 2 || id == 4 || id == 6;
        assert_int_equal(hs_tokenizer_has(t, id), has);
        assert_int_equal(hs_tokenizer_piece(t, id, &bytes) != NULL, has);
        assert_int_equal(hs_tokenizer_spoken(t, id, false, &bytes, &space) != NULL, has);
    }
    expect_ids(t, "hiz", (int32_t[]){ 4, 6 }, 2, "a vocabulary with holes");
    char *text;
    OK(hs_tokenizer_decode(t, (int32_t[]){ 4, 2, 6 }, 3, &text, &bytes));
    assert_string_equal(text, "hiz");
    free(text);
    OK(hs_tokenizer_save(t, scratch_path("")));
    OK(hs_tokenizer_load(&again, scratch_path("")));
    assert_true(hs_tokenizer_hash(again) == hs_tokenizer_hash(t) && hs_tokenizer_vocab(again) == 7 && !hs_tokenizer_has(again, 5));
    hs_tokenizer_free(again);
    hs_tokenizer_free(t);
    clear();
    write_text("vocab.json", "{\"h\":0,\"i\":1,\"hi\":1}");
    write_text("merges.txt", "h i\n");
    FAILS(CORRUPT, "token \"hi\" has the id of another, 1", hs_tokenizer_load(&t, scratch_path("")));
    write_text("vocab.json", "{\"h\":0,\"i\":1,\"hi\":2,\"h\":3}");
    FAILS(CORRUPT, "duplicate object key near '\"h\"'", hs_tokenizer_load(&t, scratch_path("")));
    clear();
}

// vocab.txt and merges.txt as Windows leaves them.
static void marks_and_line_ends(void **state)
{
    (void)state;
    hs_tokenizer *t;
    write_text("vocab.json", "\xEF\xBB\xBF" VOCAB);
    write_text("merges.txt", "\xEF\xBB\xBF#version: 0.2\r\nh i\r\n\xC4\xA0 z\r\n");
    OK(hs_tokenizer_load(&t, scratch_path("")));
    expect_ids(t, "hi z", (int32_t[]){ 4, 5 }, 2, "BPE");
    hs_tokenizer_free(t);
    clear();
    write_text("vocab.txt", "\xEF\xBB\xBF[UNK]\r\nhi\r\n##z\r\n[SEP]\r\n");
    OK(hs_tokenizer_load(&t, scratch_path("")));
    expect_ids(t, "hiz [SEP] q", (int32_t[]){ 1, 2, 3, 0 }, 4, "WordPiece");
    assert_int_equal(hs_tokenizer_end(t), 3);
    hs_tokenizer_free(t);
    clear();
}

// What its files name, else the usual names.
static void tokens_of_an_encoder(void **state)
{
    (void)state;
    hs_tokenizer *t;
    write_text("vocab.txt", "[UNK]\nhi\n[PAD]\n[SEP]\n[CLS]\n<m>\n[MASK]\n");
    for (int named = 0; named < 2; named++) {
        if (named)
            write_text("special_tokens_map.json", "{\"mask_token\":{\"content\":\"<m>\",\"lstrip\":true}}");
        OK(hs_tokenizer_load(&t, scratch_path("")));
        static const int32_t ids[HS_TOKEN_ROLES] = { [HS_TOKEN_SEP] = 3, [HS_TOKEN_PAD] = 2, [HS_TOKEN_CLS] = 4 };
        for (int i = 0; i < HS_TOKEN_MASK; i++)
            assert_int_equal(hs_tokenizer_role(t, i), ids[i]);
        assert_int_equal(hs_tokenizer_role(t, HS_TOKEN_MASK), named ? 5 : 6);
        hs_tokenizer_free(t);
    }
    clear();
    OK(hs_tokenizer_byte(&t));
    assert_int_equal(hs_tokenizer_role(t, HS_TOKEN_MASK), -1);
    hs_tokenizer_free(t);
    OK(hs_tokenizer_load(&t, HS_TESTS_DIR "/golden/tokenizers/bpe-roberta"));
    assert_int_equal(hs_tokenizer_role(t, HS_TOKEN_MASK), 700);
    assert_int_equal(hs_tokenizer_role(t, HS_TOKEN_CLS), 0);
    assert_int_equal(hs_tokenizer_role(t, HS_TOKEN_SEP), 1);
    hs_tokenizer_free(t);
}

// vocab.json with merges.txt may be RoBERTa's: its class says so, or nobody does and the vocabulary has its tokens.
static void pairs_of_roberta(void **state)
{
    (void)state;
    static const struct {
        const char *config, *text;
        int32_t ids[8];
        int64_t n;
    } forms[] = {
        { NULL, "hi <mask>h", { 0, 6, 8, 4, 2 }, 5 },
        { "{\"tokenizer_class\":\"RobertaTokenizer\"}", "hi<mask> h", { 0, 6, 8, 7, 4, 2 }, 6 },
        { "{\"tokenizer_class\":\"GPT2Tokenizer\",\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"unk_token\":\"<unk>\"}",
          "hi h",
          { 6, 7, 4 },
          3 },
    };
    for (int i = 0; i < HS_COUNT(forms); i++) {
        hs_tokenizer *t;
        hs_rows rows;
        write_text("vocab.json", "{\"<s>\":0,\"<pad>\":1,\"</s>\":2,\"<unk>\":3,\"h\":4,\"i\":5,\"hi\":6,\"\\u0120\":7,\"<mask>\":8}");
        write_text("merges.txt", "#version: 0.2\nh i\n");
        write_text("tokenizer_config.json", forms[i].config);
        OK(hs_tokenizer_load(&t, scratch_path("")));
        OK(hs_tokenizer_rows(t, forms[i].text, strlen(forms[i].text), NULL, 0, &(hs_row_opts){ 0 }, &rows));
        assert_int_equal(rows.row->n, forms[i].n);
        assert_memory_equal(rows.row->id, forms[i].ids, (size_t)forms[i].n * sizeof(int32_t));
        assert_int_equal(hs_tokenizer_role(t, HS_TOKEN_MASK), i < 2 ? 8 : -1);
        hs_rows_free(&rows);
        hs_tokenizer_free(t);
        clear();
    }
    hs_tokenizer *none;
    write_text("vocab.json", VOCAB);
    write_text("merges.txt", "h i\n");
    write_text("tokenizer_config.json", "{\"tokenizer_class\":\"RobertaTokenizer\"}");
    assert_int_equal(hs_tokenizer_load(&none, scratch_path("")), HS_CORRUPT);
    assert_non_null(strstr(hs_error(), "a RobertaTokenizer without <s> or </s>"));
    clear();
}

// What means nothing to Halfstep goes on with the tokenizer; what an earlier tokenizer left does not speak for the next.
static void the_rest_is_kept(void **state)
{
    (void)state;
    hs_tokenizer *t;
    size_t bytes;
    write_base();
    write_text("added_tokens.json", "{\"<u>\":7}");
    write_text("tokenizer_config.json", "{\"model_max_length\":512,\"chat_template\":\"{{ messages }}\",\"padding_side\":\"left\"}");
    write_text("chat_template.jinja", "{% for m in messages %}\n");
    OK(hs_tokenizer_load(&t, scratch_path("")));
    clear();
    OK(hs_tokenizer_save(t, scratch_path("")));
    hs_tokenizer_free(t);
    char *text = scratch_read("tokenizer_config.json", &bytes);
    static const char *const parts[] = { "\"model_max_length\": 512", "\"chat_template\": \"{{ messages }}\"", "\"padding_side\": \"left\"",
                                         "\"eos_token\": \"<|endoftext|>\"", "\"7\": {" };
    for (int i = 0; i < HS_COUNT(parts); i++)
        if (!strstr(text, parts[i]))
            fail_msg("no %s in %s", parts[i], text);
    free(text);
    text = scratch_read("chat_template.jinja", &bytes);
    assert_string_equal(text, "{% for m in messages %}\n");
    free(text);
    text = scratch_read("added_tokens.json", &bytes);
    assert_non_null(strstr(text, "\"<u>\": 7"));
    free(text);
    OK(hs_tokenizer_byte(&t));
    OK(hs_tokenizer_save(t, scratch_path("")));
    hs_tokenizer_free(t);
    OK(hs_tokenizer_load(&t, scratch_path("")));
    assert_string_equal(hs_tokenizer_kind(t), "byte");
    FILE *f = fopen(scratch_path("added_tokens.json"), "r");
    assert_null(f);
    hs_tokenizer_free(t);
    clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(are_read_and_written_back), cmocka_unit_test(go_with_tokenizer_json), cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(holes_and_repeats),         cmocka_unit_test(marks_and_line_ends),    cmocka_unit_test(tokens_of_an_encoder),
        cmocka_unit_test(pairs_of_roberta),          cmocka_unit_test(the_rest_is_kept),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
