// tok_keys: the tables of tokenizer.json's keys.
#include "data/tokenizers/tok_keys.h"
#include "data/tokenizers/tok_json.h"
#include <stdlib.h>
#include <string.h>

// ---- the type of a model that does not tell it

enum { ANY = -1 };
static const struct {
    const char *key;
    int value; // json_type
    const char *type;
} signs[] = {
    // the first that fits. BPE's files have the prefix and the unknown token too, and WordPiece's have all that WordLevel's have
    { "vocab", JSON_ARRAY, "Unigram" },
    { "unk_id", ANY, "Unigram" },
    { "merges", ANY, "BPE" },
    { "end_of_word_suffix", ANY, "BPE" },
    { "fuse_unk", ANY, "BPE" },
    { "max_input_chars_per_word", ANY, "WordPiece" },
    { "continuing_subword_prefix", JSON_STRING, "WordPiece" },
    { "unk_token", JSON_STRING, "WordLevel" },
};

hs_status hs_tok_keys_type(const char *path, const json_t *root, const char **type)
{
    const json_t *model = json_object_get(root, "model"), *ours = json_object_get(model, "halfstep");
    const json_t *named = ours ? ours : json_object_get(model, "type");
    *type = json_string_value(named);
    if (*type)
        return HS_OK;
    if (named && !json_is_null(named))
        return HS_FAIL(CORRUPT, "%s: model.%s is no text", path, ours ? "halfstep" : "type");
    for (int i = 0; i < HS_COUNT(signs) && !*type; i++) {
        const json_t *value = json_object_get(model, signs[i].key);
        if (value && (signs[i].value == ANY || (int)json_typeof(value) == signs[i].value))
            *type = signs[i].type;
    }
    if (!*type)
        return HS_FAIL(CORRUPT,
                       "%s names no tokenizer type (model.type), and its model has neither merges (BPE) nor max_input_chars_per_word or "
                       "continuing_subword_prefix (WordPiece)",
                       path);
    return HS_OK;
}

// ---- keys

// A part's keys, words of a list each. What is null says nothing, whatever its key.
static const struct part {
    const char *part, *type; // type NULL: a part without one
    const char *honoured;    // read by who reads the part
    const char *harmless;    // no id and no offset depends on it here
    const char *off;         // understood where it is false, 0 or ""
} parts[] = {
    { "", NULL, "version truncation padding added_tokens normalizer pre_tokenizer post_processor decoder model", "", "" },
    // every byte has a token or is refused when it comes, so that there is nothing unknown
    { "model", "BPE", "type vocab merges ignore_merges", "unk_token fuse_unk cache_capacity",
      "dropout byte_fallback continuing_subword_prefix end_of_word_suffix" },
    { "model", "WordPiece", "type halfstep vocab unk_token continuing_subword_prefix max_input_chars_per_word", "", "" },
    { "normalizer", "BertNormalizer", "type clean_text handle_chinese_chars strip_accents lowercase", "", "" },
    { "pre_tokenizer", "ByteLevel", "type add_prefix_space use_regex", "trim_offsets", "" }, // the post-processor trims
    { "pre_tokenizer", "BertPreTokenizer", "type", "", "" },
    { "decoder", "ByteLevel", "type", "add_prefix_space trim_offsets use_regex", "" }, // bytes come back as they are
    { "decoder", "WordPiece", "type prefix cleanup", "", "" },
    { "post_processor", "ByteLevel", "type add_prefix_space trim_offsets", "use_regex", "" },
    { "post_processor", "BertProcessing", "type sep cls", "", "" },
    { "post_processor", "RobertaProcessing", "type sep cls add_prefix_space trim_offsets", "", "" },
    { "post_processor", "TemplateProcessing", "type single pair special_tokens", "", "" },
    { "post_processor", "Sequence", "type processors", "", "" },
    { "truncation", NULL, "direction max_length strategy stride", "", "" },
    { "padding", NULL, "strategy direction pad_to_multiple_of pad_id pad_type_id", "pad_token", "" },
    { "added_tokens[]", NULL, "id content single_word lstrip rstrip normalized special", "", "" },
};

static bool is_off(const json_t *value)
{
    return json_is_false(value) || (json_is_number(value) && json_number_value(value) == 0) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

static hs_status refuse(const char *path, const struct part *p, const char *key, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    const hs_status st = HS_FAIL(UNSUPPORTED, "%s: %s%s%.64s is %.64s: not supported%s%s", path, p->part, p->part[0] ? "." : "", key,
                                 text ? text : "?", p->type ? " with " : "", p->type ? p->type : "");
    free(text);
    return st;
}

static hs_status check_part(const char *path, const char *name, const char *type, const json_t *object)
{
    const char *key;
    json_t *value;
    for (int i = 0; i < HS_COUNT(parts); i++) {
        const struct part *p = &parts[i];
        if (strcmp(p->part, name) != 0 || (p->type && strcmp(p->type, type) != 0))
            continue; // a type that is not listed is refused by who reads the part
        json_object_foreach((json_t *)(uintptr_t)object, key, value)
        {
            if (json_is_null(value) || hs_tok_json_lists(p->honoured, key) || hs_tok_json_lists(p->harmless, key) ||
                (hs_tok_json_lists(p->off, key) && is_off(value)))
                continue;
            return refuse(path, p, key, value);
        }
    }
    return HS_OK;
}

static hs_status check_list(const char *path, const char *name, const json_t *list)
{
    size_t i;
    json_t *object;
    json_array_foreach((json_t *)(uintptr_t)list, i, object) HS_TRY(check_part(path, name, hs_tok_json_type(object), object));
    return HS_OK;
}

hs_status hs_tok_keys_check(const char *path, const json_t *root, const char *type)
{
    static const char *const typed[] = { "normalizer", "pre_tokenizer", "decoder", "post_processor", "truncation", "padding" };
    HS_TRY(check_part(path, "", "", root));
    HS_TRY(check_part(path, "model", type, json_object_get(root, "model")));
    for (int i = 0; i < HS_COUNT(typed); i++) {
        const json_t *object = json_object_get(root, typed[i]);
        HS_TRY(check_part(path, typed[i], hs_tok_json_type(object), object));
    }
    HS_TRY(check_list(path, "post_processor", json_object_get(json_object_get(root, "post_processor"), "processors")));
    HS_TRY(check_list(path, "added_tokens[]", json_object_get(root, "added_tokens")));
    return HS_OK;
}
