// hf_folder: the tables, and what follows from them.
#include "data/base/hf_folder.h"
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- files

#define READ(name, part)                                                                                                                   \
    {                                                                                                                                      \
        name, part, HS_HF_READ, NULL, NULL, NULL                                                                                           \
    }
#define HALF(name, other)                                                                                                                  \
    {                                                                                                                                      \
        name, HS_HF_VOCABULARY, HS_HF_READ, other, NULL, NULL                                                                              \
    }
#define OTHER(name, part, is, way)                                                                                                         \
    {                                                                                                                                      \
        name, part, HS_HF_REFUSED, NULL, is, way                                                                                           \
    }
#define NO_VOCABULARY(name, is) OTHER(name, HS_HF_VOCABULARY, is, NULL)
#define HARMLESS(name)                                                                                                                     \
    {                                                                                                                                      \
        name, HS_HF_REST, HS_HF_HARMLESS, NULL, NULL, NULL                                                                                 \
    }
#define BY_TRANSFORMERS(load)                                                                                                              \
    "transformers writes model.safetensors: python3 -c 'from transformers import %c as M; "                                                \
    "M.from_pretrained(\"%s\"" load ").save_pretrained(\"converted\")'"

#define SAVE_FILE "save_file of the Python package safetensors writes its state_dict as model.safetensors"

static const hs_hf_file files[] = {
    READ("config.json", HS_HF_SETTINGS),
    READ("generation_config.json", HS_HF_SETTINGS),
    // the first that is whole is read
    READ("tokenizer.json", HS_HF_VOCABULARY),
    READ("vocab.txt", HS_HF_VOCABULARY),
    HALF("vocab.json", "merges.txt"),
    HALF("encoder.json", "vocab.bpe"),
    HALF("merges.txt", "vocab.json"),
    HALF("vocab.bpe", "encoder.json"),
    NO_VOCABULARY("tokenizer.model", "SentencePiece"),
    NO_VOCABULARY("spiece.model", "SentencePiece"),
    NO_VOCABULARY("sentencepiece.bpe.model", "SentencePiece"),
    NO_VOCABULARY("sentencepiece.model", "SentencePiece"),
    NO_VOCABULARY("spm.model", "SentencePiece"),
    NO_VOCABULARY("source.spm", "SentencePiece"),
    NO_VOCABULARY("tiktoken.model", "tiktoken"),
    NO_VOCABULARY("tekken.json", "tekken"),
    READ("tokenizer_config.json", HS_HF_BESIDE),
    READ("added_tokens.json", HS_HF_BESIDE),
    READ("special_tokens_map.json", HS_HF_BESIDE),
    { "chat_template.jinja", HS_HF_BESIDE, HS_HF_KEPT, NULL, NULL, NULL },
    READ("model.safetensors", HS_HF_WEIGHTS),
    READ("model.safetensors.index.json", HS_HF_WEIGHTS),
    OTHER("adapter_config.json", HS_HF_ADAPTER, "an adapter (PEFT), which changes what the weights compute",
          "merge it into its model first: peft's merge_and_unload(), then save_pretrained"),
    OTHER("adapter_model.*", HS_HF_ADAPTER, "an adapter (PEFT), which changes what the weights compute",
          "merge it into its model first: peft's merge_and_unload(), then save_pretrained"),
    OTHER("pytorch_model*.bin", HS_HF_WEIGHTS, "a pickle, which runs code when it is read", BY_TRANSFORMERS("")),
    OTHER("pytorch_model.bin.index.json", HS_HF_WEIGHTS, "the index of pickles, which run code when they are read", BY_TRANSFORMERS("")),
    OTHER("tf_model.h5", HS_HF_WEIGHTS, "TensorFlow's", BY_TRANSFORMERS(", from_tf=True")),
    OTHER("flax_model.msgpack", HS_HF_WEIGHTS, "Flax's", BY_TRANSFORMERS(", from_flax=True")),
    OTHER("model.ckpt.index", HS_HF_WEIGHTS, "TensorFlow's of before 2.0", BY_TRANSFORMERS(", from_tf=True")),
    OTHER("model-*-of-*.safetensors", HS_HF_WEIGHTS, "a shard, and model.safetensors.index.json, which lists them, is not there",
          "download that file too"),
    OTHER("*.gguf", HS_HF_WEIGHTS, "llama.cpp's", "`halfstep import FILE -o DIR` makes a folder of it"),
    OTHER("*.onnx", HS_HF_WEIGHTS, "an ONNX model", "`halfstep import FILE -o DIR` makes a folder of it"),
    HARMLESS("rng_state*.pth"),
    OTHER("*.pt", HS_HF_WEIGHTS, "a pickle, which runs code when it is read", SAVE_FILE),
    OTHER("*.pth", HS_HF_WEIGHTS, "a pickle, which runs code when it is read", SAVE_FILE),
    OTHER("*.ckpt", HS_HF_WEIGHTS, "a pickle, which runs code when it is read", SAVE_FILE),
    OTHER("*.bin", HS_HF_WEIGHTS, "perhaps a pickle, which runs code when it is read", BY_TRANSFORMERS("")),
    OTHER("*.safetensors", HS_HF_WEIGHTS, "not looked for under this name", "if it holds the whole model, name it model.safetensors"),
    HARMLESS("README.md"),
    HARMLESS("LICENSE*"),
    HARMLESS(".git*"),
    HARMLESS("*.msgpack"),
    HARMLESS("*.ot"),
    HARMLESS("*.tflite"),
    HARMLESS("preprocessor_config.json"),
    HARMLESS("training_args.bin"),
    HARMLESS("trainer_state.json"),
    HARMLESS("optimizer.pt"),
    HARMLESS("scheduler.pt"),
};

bool hs_hf_exists(const char *dir, const char *name, char *path, size_t room)
{
    const int n = snprintf(path, room, "%s/%s", dir, name);
    return n > 0 && (size_t)n < room && faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static const hs_hf_file *row_of(const char *name)
{
    const hs_hf_file *pattern = NULL;
    for (int i = 0; i < HS_COUNT(files); i++) {
        if (strcmp(files[i].name, name) == 0)
            return &files[i];
        if (pattern == NULL && fnmatch(files[i].name, name, 0) == 0)
            pattern = &files[i];
    }
    return pattern;
}

// The first name in the order of bytes that has that row.
static bool find_pattern(const char *dir, const hs_hf_file *row, char name[256])
{
    DIR *d = opendir(dir);
    name[0] = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        if (row_of(e->d_name) == row && (name[0] == 0 || strcmp(e->d_name, name) < 0))
            snprintf(name, 256, "%s", e->d_name);
    if (d)
        closedir(d);
    return name[0] != 0;
}

const hs_hf_file *hs_hf_next(const char *dir, hs_hf_part part, const hs_hf_file *after, char name[256])
{
    char path[4096];
    for (const hs_hf_file *f = after ? after + 1 : files; f < files + HS_COUNT(files); f++) {
        if (f->part != part)
            continue;
        snprintf(name, 256, "%s", f->name);
        if (strchr(f->name, '*') ? find_pattern(dir, f, name) : hs_hf_exists(dir, f->name, path, sizeof path))
            return f;
    }
    return NULL;
}

// The class that its config.json names: another one would drop heads, or add some.
static void class_of(const char *dir, char *buf, size_t size)
{
    char path[4096];
    json_t *config = hs_hf_exists(dir, "config.json", path, sizeof path) ? json_load_file(path, 0, NULL) : NULL;
    const char *name = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    const bool plain = name && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(name) && *name;
    snprintf(buf, size, "%s", plain ? name : "AutoModelForCausalLM");
    json_decref(config);
}

static hs_status refuse(const char *dir, const hs_hf_file *f, const char *name)
{
    char way[1024], class[128];
    size_t n = 0;
    class_of(dir, class, sizeof class);
    for (const char *p = f->way; *p && n + 1 < sizeof way; p++) {
        const char *put = strncmp(p, "%s", 2) == 0 ? dir : strncmp(p, "%c", 2) == 0 ? class : NULL;
        n += (size_t)snprintf(way + n, sizeof way - n, "%.*s", put ? (int)strlen(put) : 1, put ? put : p);
        p += put != NULL;
    }
    return HS_FAIL(UNSUPPORTED, "%s/%s is %s: not supported; %s", dir, name, f->is, way);
}

static hs_status foreign_file(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const hs_hf_file *f = row_of(name);
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    return f && f->part == HS_HF_WEIGHTS && f->verdict == HS_HF_REFUSED ? refuse(dir, f, name) : HS_OK;
}

hs_status hs_hf_foreign(const char *path)
{
    char dir[4096], name[256];
    struct stat is;
    if (stat(path, &is) == 0 && S_ISREG(is.st_mode))
        return foreign_file(path);
    for (int i = 0; i < 2; i++) {
        const hs_hf_file *f = NULL;
        if (snprintf(dir, sizeof dir, "%s%s", path, i ? "/onnx" : "") >= (int)sizeof dir)
            return HS_OK;
        while ((f = hs_hf_next(dir, HS_HF_WEIGHTS, f, name)) != NULL)
            if (f->verdict == HS_HF_REFUSED)
                return refuse(dir, f, name);
    }
    return HS_OK;
}

hs_status hs_hf_no_weights(const char *dir)
{
    HS_TRY(hs_hf_foreign(dir));
    return HS_FAIL(USAGE, "%s has no weights: neither model.safetensors nor model.safetensors.index.json with its shards", dir);
}

hs_status hs_hf_check(const char *dir)
{
    char name[256];
    const hs_hf_file *f = hs_hf_next(dir, HS_HF_ADAPTER, NULL, name);
    return f == NULL ? HS_OK : refuse(dir, f, name);
}

// ---- keys

static const struct key {
    const char *file, *key;
    hs_hf_verdict verdict;
    const char *asks; // what another value asks for
} keys[] = {
    // of every family; a family's own are its rows (hs_model_files)
    { "config.json", "model_type", HS_HF_READ, NULL },
    { "config.json", "architectures", HS_HF_READ, NULL },
    { "config.json", "quantization_config", HS_HF_READ, NULL },
    { "config.json", "sparsity", HS_HF_READ, NULL },
    { "config.json", "pruned_heads", HS_HF_READ, NULL }, // or refused, by the rows of the family
    { "config.json", "auto_map", HS_HF_REFUSED, "code of its own (trust_remote_code), which this version does not run" },
    { "config.json", "is_encoder_decoder", HS_HF_REFUSED, "an encoder before the decoder" },
    { "config.json", "torch_dtype", HS_HF_HARMLESS, NULL }, // the weights say what they are
    { "config.json", "dtype", HS_HF_HARMLESS, NULL },

    // how texts are drawn is for the command to say; what may not be drawn at all is not
    { "generation_config.json", "eos_token_id", HS_HF_READ, NULL },
    { "generation_config.json", "forced_bos_token_id", HS_HF_REFUSED, "a first token of its own" },
    { "generation_config.json", "forced_decoder_ids", HS_HF_REFUSED, "tokens at fixed places" },

    { "tokenizer_config.json", "tokenizer_class", HS_HF_READ, NULL },
    { "tokenizer_config.json", "added_tokens_decoder", HS_HF_READ, NULL },
    { "tokenizer_config.json", "split_special_tokens", HS_HF_REFUSED, "special tokens that are not looked for in a text" },
    { "tokenizer_config.json", "never_split", HS_HF_REFUSED, "words that are left whole" },
    { "tokenizer_config.json", "add_prefix_space", HS_HF_READ, NULL },
    { "tokenizer_config.json", "do_lower_case", HS_HF_READ, NULL },
    { "tokenizer_config.json", "strip_accents", HS_HF_READ, NULL },
    { "tokenizer_config.json", "tokenize_chinese_chars", HS_HF_READ, NULL },
    { "tokenizer_config.json", "do_basic_tokenize", HS_HF_READ, NULL },
    { "tokenizer_config.json", "add_bos_token", HS_HF_READ, NULL },
    { "tokenizer_config.json", "add_eos_token", HS_HF_READ, NULL },
    { "tokenizer_config.json", "model_max_length", HS_HF_KEPT, NULL },
    { "tokenizer_config.json", "chat_template", HS_HF_KEPT, NULL },
    { "tokenizer_config.json", "padding_side", HS_HF_KEPT, NULL },
    { "tokenizer_config.json", "truncation_side", HS_HF_KEPT, NULL },
    { "tokenizer_config.json", "errors", HS_HF_KEPT, NULL },
    { "tokenizer_config.json", "model_input_names", HS_HF_KEPT, NULL },
};

static bool is_nothing(const json_t *v)
{
    const char *text = json_string_value(v);
    return json_is_null(v) || json_is_false(v) || (json_is_number(v) && json_number_value(v) == 0) || (text && !*text) ||
           (json_is_array(v) && json_array_size(v) == 0) || (json_is_object(v) && json_object_size(v) == 0);
}

hs_status hs_hf_check_keys(const char *path, const char *file, const json_t *root)
{
    for (int i = 0; i < HS_COUNT(keys); i++) {
        const json_t *v = strcmp(keys[i].file, file) == 0 ? json_object_get(root, keys[i].key) : NULL;
        if (v == NULL || keys[i].verdict != HS_HF_REFUSED || is_nothing(v))
            continue;
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        const hs_status st =
            HS_FAIL(UNSUPPORTED, "%s: \"%s\" is %.64s: it asks for %s: not supported", path, keys[i].key, text ? text : "?", keys[i].asks);
        free(text);
        return st;
    }
    return HS_OK;
}

void hs_hf_keep(json_t *to, const char *file, const json_t *from)
{
    for (int i = 0; i < HS_COUNT(keys); i++)
        if (keys[i].verdict == HS_HF_KEPT && strcmp(keys[i].file, file) == 0 && json_object_get(from, keys[i].key) &&
            !json_object_get(to, keys[i].key))
            json_object_set(to, keys[i].key, json_object_get(from, keys[i].key));
}
