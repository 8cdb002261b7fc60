// What lies in a tokenizer's folder: older forms of tokenizer.json are read as what they are, each key is honoured, harmless or refused by
// name, and half a form or one of another kind is not nothing.
#include "tests/support/support_tokenizers.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *golden_json(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, HS_TESTS_DIR "/golden/tokenizers/%s/tokenizer.json", name);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    return root;
}

// "model.dropout" becomes what the JSON says; NULL: it goes.
static void put(json_t *root, const char *member, const char *json)
{
    char path[128], *rest = path, *key;
    json_t *at = root;
    snprintf(path, sizeof path, "%s", member);
    while ((key = strsep(&rest, ".")) && rest)
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(key)) : json_object_get(at, key);
    if (json)
        assert_int_equal(json_object_set_new(at, key, json_loads(json, JSON_DECODE_ANY, NULL)), 0);
    else
        json_object_del(at, key);
}

static void write_json(json_t *root)
{
    char *text = json_dumps(root, 0);
    scratch_write("tokenizer.json", text, strlen(text));
    free(text);
    json_decref(root);
}

static void clear(void)
{
    static const char *const names[] = {
        "tokenizer.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "vocab.bpe",
        "spiece.model",
        "tokenizer_config.json",
        "added_tokens.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    };
    for (int i = 0; i < HS_COUNT(names); i++)
        remove(scratch_path(names[i]));
}

// ---- a model that does not tell its type

static void older_forms_are_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *change[8][2]; // member, JSON
        bool strings;             // merges as "a b"
    } c[] = {
        // tokenizers 0.8 and before, as the Hub's gpt2
        { "bpe",
          { { "model.type", NULL },
            { "model.byte_fallback", NULL },
            { "model.ignore_merges", NULL },
            { "model.continuing_subword_prefix", "\"\"" },
            { "model.end_of_word_suffix", "\"\"" },
            { "pre_tokenizer.use_regex", NULL },
            { "decoder.use_regex", NULL },
            { "post_processor.use_regex", NULL } },
          true },
        { "bpe",
          { { "model.type", "null" }, { "version", NULL }, { "truncation", NULL }, { "padding", NULL }, { "normalizer", NULL } },
          false },
        { "bpe-roberta", { { "model.type", NULL }, { "model.unk_token", "\"<unk>\"" }, { "model.cache_capacity", "10000" } }, true },
        { "wordpiece", { { "model.type", NULL } }, false },
        { "wordpiece", { { "model.type", NULL }, { "model.continuing_subword_prefix", NULL } }, false },
        { "wordpiece-cased", { { "model.type", NULL }, { "model.max_input_chars_per_word", NULL }, { "decoder", "null" } }, false },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        json_t *root = golden_json(c[i].name), *merges = json_object_get(json_object_get(root, "model"), "merges");
        for (int k = 0; k < HS_COUNT(c[i].change) && c[i].change[k][0]; k++)
            put(root, c[i].change[k][0], c[i].change[k][1]);
        for (size_t r = 0; c[i].strings && r < json_array_size(merges); r++) {
            const json_t *pair = json_array_get(merges, r);
            json_array_set_new(
                merges, r, json_sprintf("%s %s", json_string_value(json_array_get(pair, 0)), json_string_value(json_array_get(pair, 1))));
        }
        write_json(root);
        hs_tokenizer *want = golden_tokenizer(c[i].name), *got;
        OK(hs_tokenizer_load(&got, scratch_path("")));
        assert_string_equal(hs_tokenizer_kind(got), hs_tokenizer_kind(want));
        assert_true(hs_tokenizer_hash(got) == hs_tokenizer_hash(want));
        golden_cases(got, c[i].name);
        hs_tokenizer_free(got);
        hs_tokenizer_free(want);
    }
    clear();
}

static void untyped_google(void **state)
{
    (void)state;
    json_t *root = golden_json("wordpiece");
    put(root, "model.type", NULL);
    write_json(root);
    hs_tokenizer *t;
    OK(hs_tokenizer_load_google(&t, scratch_path("")));
    assert_string_equal(hs_tokenizer_kind(t), "wordpiece-google");
    hs_tokenizer_free(t);
    root = golden_json("bpe");
    put(root, "model.type", NULL);
    write_json(root);
    FAILS(USAGE, "Google's rules are for WordPiece, this is of type BPE", hs_tokenizer_load_google(&t, scratch_path("")));
    clear();
}

static void types_by_their_signs(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        hs_status st;
        const char *part;
    } c[] = {
        { "{\"unk_id\":0,\"vocab\":[[\"<unk>\",0.0],[\"a\",-1.5]]}", HS_UNSUPPORTED, "of type Unigram: not supported" },
        { "{\"vocab\":[[\"<unk>\",0.0]],\"merges\":[]}", HS_UNSUPPORTED, "of type Unigram: not supported" },
        { "{\"unk_token\":\"[UNK]\",\"vocab\":{\"[UNK]\":0}}", HS_UNSUPPORTED, "of type WordLevel: not supported" },
        { "{\"dropout\":null,\"fuse_unk\":false,\"continuing_subword_prefix\":\"\",\"vocab\":{\"a\":0}}", HS_UNSUPPORTED, "for BPE" },
        { "{\"vocab\":{\"a\":0}}", HS_CORRUPT, "names no tokenizer type (model.type), and its model has neither merges" },
        { "{\"type\":7,\"merges\":[],\"vocab\":{\"a\":0}}", HS_CORRUPT, "model.type is no text" },
        { "{\"type\":\"BPEmb\",\"merges\":[],\"vocab\":{\"a\":0}}", HS_UNSUPPORTED,
          "of type BPEmb: not supported; this version reads byte" },
        { "null", HS_CORRUPT, "names no tokenizer type" },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        char text[512];
        const int n = snprintf(text, sizeof text, "{\"version\":\"1.0\",\"model\":%s}", c[i].model);
        scratch_write("tokenizer.json", text, (size_t)n);
        // what would be read if the other were passed over
        scratch_write("vocab.json", "{\"a\":0,\"b\":1,\"ab\":2}", 20);
        scratch_write("merges.txt", "#version: 0.2\na b\n", 18);
        hs_tokenizer *t;
        expect_error(hs_tokenizer_load(&t, scratch_path("")), c[i].st, c[i].part, c[i].model, i);
        assert_null(t);
        assert_true(hs_tokenizer_found(scratch_path("")));
    }
    clear();
}

// ---- keys

static void each_key_has_a_verdict(void **state)
{
    (void)state;
    static const struct {
        const char *name, *member, *json;
        const char *part; // of the refusal; NULL: read, and the ids are the same
    } c[] = {
        { "bpe", "model.dropout", "0.0", NULL },
        { "bpe", "model.dropout", "0.1", "model.dropout is 0.1: not supported with BPE" },
        { "bpe", "model.byte_fallback", "true", "model.byte_fallback is true: not supported with BPE" },
        { "bpe", "model.continuing_subword_prefix", "\"##\"", "model.continuing_subword_prefix is \"##\"" },
        { "bpe", "model.end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix is \"</w>\"" },
        { "bpe", "model.fuse_unk", "true", NULL },
        { "bpe", "model.unk_token", "\"<unk>\"", NULL },
        { "bpe", "model.merge_order", "\"last\"", "model.merge_order is \"last\": not supported with BPE" },
        { "bpe", "model.merge_order", "null", NULL },
        { "bpe", "pre_tokenizer.trim_offsets", "false", NULL },
        { "bpe", "pre_tokenizer.lowercase", "true", "pre_tokenizer.lowercase is true: not supported with ByteLevel" },
        { "bpe", "decoder.add_prefix_space", "false", NULL },
        { "bpe", "decoder", "null", NULL },
        { "bpe", "post_processor", "null", NULL },
        { "bpe", "subsampling", "{\"rate\":2}", "tokenizer.json: subsampling is {\"rate\":2}: not supported" },
        { "bpe", "truncation", "{\"direction\":\"Right\",\"max_length\":8,\"strategy\":\"LongestFirst\",\"stride\":0,\"pieces\":3}",
          "truncation.pieces is 3: not supported" },
        { "bpe", "padding",
          "{\"strategy\":\"BatchLongest\",\"direction\":\"Right\",\"pad_to_multiple_of\":null,\"pad_id\":0,\"pad_type_id\":0,"
          "\"pad_token\":\"!\"}",
          NULL },
        { "bpe", "added_tokens.0.regex", "true", "added_tokens[].regex is true: not supported" },
        { "wordpiece", "model.max_words", "5", "model.max_words is 5: not supported with WordPiece" },
        { "wordpiece", "normalizer.nfkc", "true", "normalizer.nfkc is true: not supported with BertNormalizer" },
        { "wordpiece", "decoder.prefix", "\"@@\"", "decoder.prefix is \"@@\", but continuing_subword_prefix \"##\"" },
        { "wordpiece", "post_processor.triple", "[]", "post_processor.triple is []: not supported with TemplateProcessing" },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        json_t *root = golden_json(c[i].name);
        put(root, c[i].member, c[i].json);
        write_json(root);
        hs_tokenizer *t, *plain = golden_tokenizer(c[i].name);
        const hs_status st = hs_tokenizer_load(&t, scratch_path(""));
        if (c[i].part) {
            expect_error(st, HS_UNSUPPORTED, c[i].part, c[i].member, i);
        } else {
            OK(st);
            assert_true(hs_tokenizer_hash(t) == hs_tokenizer_hash(plain));
            hs_tokenizer_free(t);
        }
        hs_tokenizer_free(plain);
    }
    clear();
}

// ---- files that say the same in another way

static void same_ids_in_another_file(void **state)
{
    (void)state;
    static const char end[] = "[{\"id\":3,\"content\":\"<|endoftext|>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                              "\"normalized\":true,\"special\":true}]";
    static const char vocab[] = "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}";
    char text[1024];
    hs_tokenizer *files, *json, *other;
    scratch_write("vocab.json", vocab, sizeof vocab - 1);
    scratch_write("merges.txt", "#version: 0.2\na b\n", 18);
    OK(hs_tokenizer_load(&files, scratch_path("")));
    for (int i = 0; i < 2; i++) { // the second with other merges
        const int n = snprintf(text, sizeof text,
                               "{\"added_tokens\":%s,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{"
                               "\"vocab\":%s,\"merges\":[%s]}}",
                               end, vocab, i ? "" : "\"a b\"");
        scratch_write("tokenizer.json", text, (size_t)n);
        OK(hs_tokenizer_load(i ? &other : &json, scratch_path("")));
    }
    assert_true(hs_tokenizer_hash(files) != hs_tokenizer_hash(json)); // of every flag, as stores have recorded it
    assert_true(hs_tokenizer_gives(files, hs_tokenizer_hash(json)) && hs_tokenizer_gives(json, hs_tokenizer_hash(files)));
    assert_true(hs_tokenizer_gives(files, hs_tokenizer_hash(files)));
    assert_false(hs_tokenizer_gives(files, hs_tokenizer_hash(other)) || hs_tokenizer_gives(other, hs_tokenizer_hash(json)));
    hs_tokenizer_free(files);
    hs_tokenizer_free(json);
    hs_tokenizer_free(other);
    clear();
}

// ---- folders

static void half_a_form_is_not_nothing(void **state)
{
    (void)state;
    hs_tokenizer *t;
    char dir[1024];
    snprintf(dir, sizeof dir, "%s", scratch_path(""));
    assert_false(hs_tokenizer_found(dir));
    FAILS(USAGE, "tokenizer.json: no such file, nor vocab.txt, nor vocab.json with merges.txt", hs_tokenizer_load(&t, dir));
    scratch_write("tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\"}", 35);
    assert_false(hs_tokenizer_found(dir));
    FAILS(USAGE, "tokenizer_config.json has no vocabulary", hs_tokenizer_load(&t, dir));
    static const struct {
        const char *file, *part;
        hs_status st;
    } c[] = {
        { "vocab.json", "merges.txt: no such file, beside vocab.json", HS_USAGE },
        { "merges.txt", "vocab.json: no such file, beside merges.txt", HS_USAGE },
        { "vocab.bpe", "encoder.json: no such file, beside vocab.bpe", HS_USAGE },
        { "spiece.model", "spiece.model is a tokenizer of SentencePiece: not supported", HS_UNSUPPORTED },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        scratch_write(c[i].file, "{}", 2);
        assert_true(hs_tokenizer_found(dir));
        expect_error(hs_tokenizer_load(&t, dir), c[i].st, c[i].part, c[i].file, i);
        remove(scratch_path(c[i].file));
    }
    // a download's link to a file that is gone, with an older form beside it
    scratch_write("vocab.txt", "[UNK]\na\n", 8);
    assert_int_equal(symlink("blobs/absent", scratch_path("tokenizer.json")), 0);
    FAILS(USAGE, "tokenizer.json: no such file", hs_tokenizer_load(&t, dir));
    clear();
}

static void older_forms_have_a_class(void **state)
{
    (void)state;
    static const struct {
        bool bert;
        const char *config, *part;
    } c[] = {
        { true, "{\"tokenizer_class\":\"BertTokenizer\",\"do_lower_case\":true,\"do_basic_tokenize\":true}", NULL },
        { true, "{\"tokenizer_class\":\"DistilBertTokenizerFast\",\"model_max_length\":512}", NULL },
        { true, "{\"tokenizer_class\":\"BertJapaneseTokenizer\"}",
          "tokenizer_class is \"BertJapaneseTokenizer\", and vocab.txt is read as" },
        { true, "{\"do_basic_tokenize\":false}", "do_basic_tokenize is false: not supported with vocab.txt" },
        { false, "{\"tokenizer_class\":\"GPT2TokenizerFast\",\"add_prefix_space\":false,\"add_bos_token\":false}", NULL },
        { false, "{\"tokenizer_class\":\"BartTokenizer\"}", "tokenizer_class is \"BartTokenizer\", and vocab.json with merges.txt" },
        { false, "{\"tokenizer_class\":\"GPT2\"}", "tokenizer_class is \"GPT2\"" },
        { false, "{\"tokenizer_class\":\"GPT2Tokenizer\",\"add_bos_token\":true}", "add_bos_token is true: not supported" },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        hs_tokenizer *t;
        if (c[i].bert) {
            scratch_write("vocab.txt", "[UNK]\na\n", 8);
        } else {
            scratch_write("vocab.json", "{\"a\":0,\"b\":1,\"ab\":2}", 20);
            scratch_write("merges.txt", "#version: 0.2\na b\n", 18);
        }
        scratch_write("tokenizer_config.json", c[i].config, strlen(c[i].config));
        const hs_status st = hs_tokenizer_load(&t, scratch_path(""));
        if (c[i].part) {
            expect_error(st, HS_UNSUPPORTED, c[i].part, c[i].config, i);
        } else {
            OK(st);
            hs_tokenizer_free(t);
        }
        clear();
    }
}

// tokenizer_config.json beside tokenizer.json: what both say, they say alike.
static void two_files_agree(void **state)
{
    (void)state;
    static const struct {
        const char *name, *config, *part;
    } c[] = {
        { "wordpiece", "{\"do_lower_case\":true,\"strip_accents\":null,\"tokenize_chinese_chars\":true}", NULL },
        { "wordpiece", "{\"do_lower_case\":false}", "do_lower_case is false, but normalizer.lowercase of tokenizer.json is true" },
        { "wordpiece-cased", "{\"strip_accents\":true}", NULL }, // null there: it follows
        { "bpe", "{\"add_prefix_space\":false,\"model_max_length\":1024}", NULL },
        { "bpe", "{\"add_prefix_space\":true}", "add_prefix_space is true, but pre_tokenizer.add_prefix_space of tokenizer.json is false" },
        { "bpe", "{\"add_prefix_space\":", "tokenizer_config.json:1:" },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        hs_tokenizer *t;
        write_json(golden_json(c[i].name));
        scratch_write("tokenizer_config.json", c[i].config, strlen(c[i].config));
        const hs_status st = hs_tokenizer_load(&t, scratch_path(""));
        if (c[i].part) {
            expect_error(st, strstr(c[i].part, "json:1") ? HS_CORRUPT : HS_UNSUPPORTED, c[i].part, c[i].config, i);
        } else {
            OK(st);
            hs_tokenizer_free(t);
        }
        clear();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(older_forms_are_the_same), cmocka_unit_test(untyped_google),
        cmocka_unit_test(types_by_their_signs),     cmocka_unit_test(each_key_has_a_verdict),
        cmocka_unit_test(same_ids_in_another_file), cmocka_unit_test(half_a_form_is_not_nothing),
        cmocka_unit_test(older_forms_have_a_class), cmocka_unit_test(two_files_agree),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
