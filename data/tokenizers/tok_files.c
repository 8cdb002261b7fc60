// tok_files: every older form is turned into the tokenizer.json it stands for, so that one reader knows all rules.
#include "data/tokenizers/tok_files.h"
#include "data/base/file.h"
#include "data/base/hf_folder.h"
#include "data/base/json_util.h"
#include "data/base/side_file.h"
#include "data/tokenizers/tok_beside.h"
#include "data/tokenizers/tok_json.h"
#include <stdlib.h>
#include <string.h>

// tokenizer_config.json beside a form that is only a vocabulary: whose classes it may be of, and what they must not ask for. Other keys
// name special tokens or serve other tools.
static const struct form {
    const char *name, *classes;
    struct {
        const char *key;
        bool only;
    } flag[2];                       // a NULL key ends them
    const char *named[HS_TOK_NAMES]; // what bos_token and the others are where nobody names them
} forms[] = {
    { "vocab.txt",
      "BertTokenizer BertTokenizerFast DistilBertTokenizer DistilBertTokenizerFast ElectraTokenizer ElectraTokenizerFast "
      "PreTrainedTokenizerFast",
      { { "do_basic_tokenize", true } },
      { NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]" } },
    { "vocab.json with merges.txt",
      "GPT2Tokenizer GPT2TokenizerFast PreTrainedTokenizerFast",
      { { "add_bos_token", false }, { "add_eos_token", false } },
      { "<|endoftext|>", "<|endoftext|>", "<|endoftext|>" } },
    { "vocab.json with merges.txt",
      "RobertaTokenizer RobertaTokenizerFast",
      { { "add_bos_token", false } },
      { "<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>" } },
};
enum { BERT_FORM, GPT2_FORM, ROBERTA_FORM };

static hs_status check_config(const char *dir, const json_t *config, const struct form *form)
{
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    if (class && !hs_tok_json_lists(form->classes, class))
        return HS_FAIL(UNSUPPORTED,
                       "%s/tokenizer_config.json: tokenizer_class is \"%.64s\", and %s is read as one of %s; tokenizer.json tells the "
                       "rest",
                       dir, class, form->name, form->classes);
    for (int i = 0; i < HS_COUNT(form->flag) && form->flag[i].key; i++) {
        const json_t *v = json_object_get(config, form->flag[i].key);
        if (json_is_boolean(v) && json_is_true(v) != form->flag[i].only)
            return HS_FAIL(UNSUPPORTED, "%s/tokenizer_config.json: %s is %s: not supported with %s", dir, form->flag[i].key,
                           json_is_true(v) ? "true" : "false", form->name);
    }
    return HS_OK;
}

// transformers puts these of tokenizer_config.json in the place of what tokenizer.json says, tokenizers does not know them: files that say
// two things have two readings.
static hs_status check_agreement(const char *dir, const json_t *config, const json_t *root)
{
    static const struct {
        const char *config, *part, *key;
    } pairs[] = {
        { "do_lower_case", "normalizer", "lowercase" },
        { "strip_accents", "normalizer", "strip_accents" },
        { "tokenize_chinese_chars", "normalizer", "handle_chinese_chars" },
        { "add_prefix_space", "pre_tokenizer", "add_prefix_space" },
    };
    hs_status st = HS_OK;
    for (int i = 0; st == HS_OK && i < HS_COUNT(pairs); i++) {
        const json_t *theirs = json_object_get(config, pairs[i].config);
        const json_t *ours = json_object_get(json_object_get(root, pairs[i].part), pairs[i].key);
        if (json_is_boolean(theirs) && json_is_boolean(ours) && json_is_true(theirs) != json_is_true(ours))
            st = HS_FAIL(UNSUPPORTED, "%s/tokenizer_config.json: %s is %s, but %s.%s of tokenizer.json is %s: the two must agree", dir,
                         pairs[i].config, json_is_true(theirs) ? "true" : "false", pairs[i].part, pairs[i].key,
                         json_is_true(ours) ? "true" : "false");
    }
    return st;
}

static hs_status read_hf(const char *dir, const char *path, const json_t *config, json_t **root)
{
    HS_TRY(hs_side_json(path, root));
    return check_agreement(dir, config, *root);
}

static int flag(const json_t *config, const char *key, int fallback)
{
    const json_t *v = json_object_get(config, key);
    return json_is_boolean(v) ? json_is_true(v) : fallback;
}

// Calls line(with, number, its text without "\n" or "\r\n") for each line; stops at an error.
static hs_status for_each_line(const char *path, hs_status (*line)(void *with, const char *path, int64_t number, char *text), void *with)
{
    char *text, *p;
    size_t bytes;
    HS_TRY(hs_side_read(path, &text, &bytes));
    hs_status st = memchr(text, 0, bytes) ? HS_FAIL(CORRUPT, "%s: a byte 0 in a text file", path) : HS_OK;
    int64_t number = 0;
    for (p = text; st == HS_OK && p < text + bytes; number++) {
        char *end = strchr(p, '\n'), *next = end ? end + 1 : text + bytes;
        if (end)
            *end = 0;
        else
            end = next;
        if (end > p && end[-1] == '\r')
            end[-1] = 0;
        st = line(with, path, number, p);
        p = next;
    }
    free(text);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status add_token(void *with, const char *path, int64_t number, char *text)
{
    json_t *vocab = with, *before = json_object_get(vocab, text);
    if (before)
        return HS_FAIL(CORRUPT, "%s:%lld: token \"%.64s\" is on line %lld already", path, (long long)number + 1, text,
                       (long long)json_integer_value(before) + 1);
    if (json_object_set_new(vocab, text, json_integer(number)) != 0)
        return HS_FAIL(CORRUPT, "%s:%lld: no UTF-8", path, (long long)number + 1);
    return HS_OK;
}

static hs_status add_merge(void *with, const char *path, int64_t number, char *text)
{
    if (text[0] == 0 || (number == 0 && strncmp(text, "#version", 8) == 0))
        return HS_OK;
    if (json_array_append_new(with, json_string(text)) != 0)
        return HS_FAIL(CORRUPT, "%s:%lld: no UTF-8", path, (long long)number + 1);
    return HS_OK;
}

static json_t *special_tokens(const json_t *vocab, const char *const *name, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        json_t *id = json_object_get(vocab, name[i]);
        if (id)
            json_array_append_new(list, json_pack("{s:O, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", name[i], "single_word", 0,
                                                  "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1));
    }
    return list;
}

// {"type": "TemplateProcessing"} with [CLS] A [SEP] and [CLS] A [SEP] B [SEP]; null if the vocabulary has no such tokens.
static json_t *bert_template(const json_t *vocab)
{
    json_t *cls = json_object_get(vocab, "[CLS]"), *sep = json_object_get(vocab, "[SEP]");
    if (!cls || !sep)
        return json_null();
    static const struct {
        const char *kind, *id;
        int type;
    } piece[] = { { "SpecialToken", "[CLS]", 0 },
                  { "Sequence", "A", 0 },
                  { "SpecialToken", "[SEP]", 0 },
                  { "Sequence", "B", 1 },
                  { "SpecialToken", "[SEP]", 1 } };
    json_t *list[2] = { json_array(), json_array() };
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < (k ? 5 : 3); i++)
            json_array_append_new(list[k], json_pack("{s:{s:s, s:i}}", piece[i].kind, "id", piece[i].id, "type_id", piece[i].type));
    return json_pack("{s:s, s:o, s:o, s:{s:{s:s, s:[O], s:[s]}, s:{s:s, s:[O], s:[s]}}}", "type", "TemplateProcessing", "single", list[0],
                     "pair", list[1], "special_tokens", "[CLS]", "id", "[CLS]", "ids", cls, "tokens", "[CLS]", "[SEP]", "id", "[SEP]",
                     "ids", sep, "tokens", "[SEP]");
}

json_t *hs_tok_files_bert(json_t *vocab, const json_t *config)
{
    static const char *const special[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]" };
    const int lower = flag(config, "do_lower_case", 1);
    json_t *strip = json_object_get(config, "strip_accents");
    json_t *normalizer = json_pack("{s:s, s:b, s:b, s:o, s:b}", "type", "BertNormalizer", "clean_text", 1, "handle_chinese_chars",
                                   flag(config, "tokenize_chinese_chars", 1), "strip_accents",
                                   json_is_boolean(strip) ? json_incref(strip) : json_null(), "lowercase", lower);
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:{s:s}, s:o, s:{s:s, s:s, s:b}, s:{s:s, s:s, s:s, s:i, s:O}}", "version", "1.0",
                     "truncation", "padding", "added_tokens", special_tokens(vocab, special, HS_COUNT(special)), "normalizer", normalizer,
                     "pre_tokenizer", "type", "BertPreTokenizer", "post_processor", bert_template(vocab), "decoder", "type", "WordPiece",
                     "prefix", "##", "cleanup", 1, "model", "type", "WordPiece", "unk_token", "[UNK]", "continuing_subword_prefix", "##",
                     "max_input_chars_per_word", 100, "vocab", vocab);
}

json_t *hs_tok_files_gpt2(json_t *vocab, json_t *merges, const json_t *config)
{
    static const char *const special[] = { "<|endoftext|>" };
    json_t *level = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", flag(config, "add_prefix_space", 0),
                              "trim_offsets", 1, "use_regex", 1);
    json_t *post = json_deep_copy(level), *decoder = json_deep_copy(level);
    json_object_set_new(post, "trim_offsets", json_false());
    return json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:o, s:o, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:O, s:O}}", "version", "1.0",
                     "truncation", "padding", "added_tokens", special_tokens(vocab, special, HS_COUNT(special)), "normalizer",
                     "pre_tokenizer", level, "post_processor", post, "decoder", decoder, "model", "type", "BPE", "dropout", "unk_token",
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0, "vocab",
                     vocab, "merges", merges);
}

// GPT-2's, with <s> A </s> and <s> A </s></s> B </s>; the mask takes the space before it along.
json_t *hs_tok_files_roberta(json_t *vocab, json_t *merges, const json_t *config)
{
    static const char *const special[] = { "<s>", "<pad>", "</s>", "<unk>", "<mask>" };
    json_t *root = hs_tok_files_gpt2(vocab, merges, config), *list = special_tokens(vocab, special, HS_COUNT(special)), *token;
    json_t *cls = json_object_get(vocab, "<s>"), *sep = json_object_get(vocab, "</s>");
    size_t i;
    json_array_foreach(list, i, token) if (strcmp(json_string_value(json_object_get(token, "content")), "<mask>") == 0)
        json_object_set_new(token, "lstrip", json_true());
    json_object_set_new(root, "added_tokens", list);
    json_object_set_new(root, "post_processor",
                        json_pack("{s:s, s:[s, O], s:[s, O], s:b, s:b}", "type", "RobertaProcessing", "sep", "</s>", sep, "cls", "<s>", cls,
                                  "trim_offsets", 1, "add_prefix_space", flag(config, "add_prefix_space", 0)));
    return root;
}

static hs_status read_bert(const char *dir, const char *path, const json_t *config, json_t **root)
{
    HS_TRY(check_config(dir, config, &forms[BERT_FORM]));
    json_t *vocab = json_object();
    hs_status st = vocab ? for_each_line(path, add_token, vocab) : HS_FAIL(MEMORY, "%s: no memory", path);
    if (st == HS_OK && !(*root = hs_tok_files_bert(vocab, config)))
        st = HS_FAIL(MEMORY, "%s: no memory", path);
    json_decref(vocab);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

// The class says it; where none is named, the vocabulary does.
static const struct form *form_of_pairs(const json_t *vocab, const json_t *config)
{
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    static const char *const of[] = { "<s>", "</s>", "<mask>" };
    bool has = !class && !json_object_get(vocab, "<|endoftext|>");
    for (int i = 0; i < HS_COUNT(of); i++)
        has = has && json_is_integer(json_object_get(vocab, of[i]));
    return &forms[has || (class && hs_tok_json_lists(forms[ROBERTA_FORM].classes, class)) ? ROBERTA_FORM : GPT2_FORM];
}

static hs_status read_pairs(const char *dir, const char *vocab_path, const char *merges_path, const json_t *config, json_t **root,
                            const struct form **form)
{
    json_t *vocab = NULL, *merges = json_array();
    hs_status st = merges ? hs_side_json(vocab_path, &vocab) : HS_FAIL(MEMORY, "%s: no memory", merges_path);
    *form = form_of_pairs(vocab, config);
    const bool roberta = *form == &forms[ROBERTA_FORM];
    if (st == HS_OK)
        st = check_config(dir, config, *form);
    if (st == HS_OK)
        st = for_each_line(merges_path, add_merge, merges);
    if (st == HS_OK && roberta && !(json_is_integer(json_object_get(vocab, "<s>")) && json_is_integer(json_object_get(vocab, "</s>"))))
        st = HS_FAIL(CORRUPT, "%s: the vocabulary of a RobertaTokenizer without <s> or </s>", vocab_path);
    if (st == HS_OK && !(*root = (roberta ? hs_tok_files_roberta : hs_tok_files_gpt2)(vocab, merges, config)))
        st = HS_FAIL(MEMORY, "%s: no memory", vocab_path);
    json_decref(vocab);
    json_decref(merges);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

// A whole form that can be read, else the first file at all.
static const hs_hf_file *find(const char *dir)
{
    char name[256], path[4096];
    const hs_hf_file *first = NULL, *f = NULL;
    while ((f = hs_hf_next(dir, HS_HF_VOCABULARY, f, name)) != NULL) {
        if (f->verdict == HS_HF_READ && (!f->beside || hs_hf_exists(dir, f->beside, path, sizeof path)))
            return f;
        first = first ? first : f;
    }
    return first;
}

const char *hs_tok_files_find(const char *dir)
{
    const hs_hf_file *f = find(dir);
    return f ? f->name : NULL;
}

static hs_status read_form(const char *dir, const hs_hf_file *f, const char *path, const json_t *config, json_t **root, json_t **beside)
{
    char other[4096];
    const struct form *form = NULL;
    if (strcmp(f->name, "tokenizer.json") == 0) {
        HS_TRY(read_hf(dir, path, config, root));
    } else if (!f->beside) {
        form = &forms[BERT_FORM];
        HS_TRY(read_bert(dir, path, config, root));
    } else {
        hs_hf_exists(dir, f->beside, other, sizeof other);
        HS_TRY(read_pairs(dir, path, other, config, root, &form));
    }
    HS_TRY(hs_tok_beside_read(dir, config, form ? form->named : NULL, *root, beside));
    return HS_OK;
}

hs_status hs_tok_files_read(const char *dir, json_t **root, json_t **beside, char *path, size_t room)
{
    const hs_hf_file *f = find(dir);
    char other[4096];
    *root = *beside = NULL;
    if (!f) {
        const bool config = hs_hf_exists(dir, "tokenizer_config.json", path, room);
        snprintf(path, room, "%s", dir);
        return HS_FAIL(USAGE, "%s/tokenizer.json: no such file, nor vocab.txt, nor vocab.json with merges.txt%s", dir,
                       config ? "; tokenizer_config.json has no vocabulary" : "");
    }
    hs_hf_exists(dir, f->name, path, room);
    if (f->verdict == HS_HF_REFUSED)
        return HS_FAIL(UNSUPPORTED,
                       "%s is a tokenizer of %s: not supported; this version reads tokenizer.json, vocab.txt, or vocab.json with "
                       "merges.txt",
                       path, f->is);
    if (f->beside && !hs_hf_exists(dir, f->beside, other, sizeof other))
        return HS_FAIL(USAGE, "%s: no such file, beside %s", other, f->name);
    json_t *config;
    HS_TRY(hs_tok_beside_config(dir, &config));
    const hs_status st = read_form(dir, f, path, config, root, beside);
    json_decref(config);
    if (st == HS_OK)
        return HS_OK;
    json_decref(*root);
    *root = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

// ---- writing

hs_status hs_tok_files_save_json(const char *dir, const char *name, json_t *j, size_t flags)
{
    char path[4096];
    char *text = j ? json_dumps(j, flags) : NULL;
    json_decref(j);
    if (!text)
        return HS_FAIL(MEMORY, "no memory for %s", name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    const hs_status st = hs_file_save(path, text, strlen(text));
    free(text);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status save_text(const char *dir, const char *name, hs_text *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    const hs_status st = text->failed ? HS_FAIL(MEMORY, "no memory for %s", name) : hs_file_save(path, text->p ? text->p : "", text->n);
    hs_text_free(text);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status write_vocab(const char *dir, json_t *vocab)
{
    const size_t n = json_object_size(vocab);
    const char **line = calloc(n + 1, sizeof *line), *name;
    json_t *id;
    hs_text text = { 0 };
    bool whole = true;
    if (!line)
        return HS_FAIL(MEMORY, "no memory for vocab.txt");
    json_object_foreach(vocab, name, id)
    {
        whole = whole && (size_t)json_integer_value(id) < n;
        if (whole)
            line[json_integer_value(id)] = name;
    }
    if (!whole) { // ids without a token have no line
        free(line);
        return HS_OK;
    }
    for (size_t i = 0; i < n; i++)
        hs_text_add(&text, "%s\n", line[i]);
    free(line);
    HS_TRY(save_text(dir, "vocab.txt", &text));
    return HS_OK;
}

static hs_status write_merges(const char *dir, const json_t *merges)
{
    hs_text text = { 0 };
    size_t i;
    json_t *merge;
    hs_text_add(&text, "#version: 0.2\n");
    json_array_foreach((json_t *)(uintptr_t)merges, i, merge)
        hs_text_add(&text, "%s %s\n", json_string_value(json_array_get(merge, 0)), json_string_value(json_array_get(merge, 1)));
    HS_TRY(save_text(dir, "merges.txt", &text));
    return HS_OK;
}

hs_status hs_tok_files_write(const char *dir, const json_t *root)
{
    const json_t *model = json_object_get(root, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type && strcmp(type, "WordPiece") == 0)
        return write_vocab(dir, json_object_get(model, "vocab"));
    if (type && strcmp(type, "BPE") == 0 && !json_object_get(model, "halfstep")) {
        HS_TRY(write_merges(dir, json_object_get(model, "merges")));
        HS_TRY(hs_tok_files_save_json(dir, "vocab.json", json_incref(json_object_get(model, "vocab")), JSON_COMPACT));
    }
    return HS_OK;
}
