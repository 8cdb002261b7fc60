// Folders of models as they come: names behind a wrapper's prefix, tied tensors under the other name, shards that repeat one or are
// missing, other tools' files, git-lfs pointers, the tokens that end a text; each read, or told with the way out.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "data/base/json_util.h"
#include "tests/support/support_ckpt.h"
#include "tests/support/support_params.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char logged[4096];
static void keep_log(hs_log_level level, const char *line, void *user)
{
    (void)level, (void)user;
    snprintf(logged + strlen(logged), sizeof logged - strlen(logged), "%s\n", line);
}

static void ok(hs_status st, int line)
{
    if (st != HS_OK)
        fail_msg("line %d: %s", line, hs_error());
}
#define OK(expr) ok(expr, __LINE__)

static void put(const char *dir, const char *name, const char *text)
{
    char path[2 * CKPT_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void drop(const char *dir, const char *name)
{
    char path[2 * CKPT_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

typedef struct model { // one in a folder, and room to read it again
    char dir[CKPT_PATH];
    hs_params *ps, *back;
    hs_ckpt_opts o;
} model;

static void model_open(model *m, const char *name)
{
    char top[CKPT_PATH];
    const hs_model_info info = ckpt_info();
    ckpt_temp_dir(top);
    snprintf(m->dir, sizeof m->dir, "%.200s/%s", top, name);
    m->ps = ckpt_params(false), m->back = ckpt_params(false), m->o = ckpt_opts(NULL, 0);
    ckpt_fill(m->ps, 7);
    OK(hs_ckpt_export(m->dir, &m->o, m->ps, &info, NULL));
    logged[0] = 0;
}

static void model_close(model *m)
{
    *strrchr(m->dir, '/') = 0;
    ckpt_remove(m->dir);
    hs_params_free(m->ps);
    hs_params_free(m->back);
}

static void expect_read(model *m, const char *what)
{
    const hs_status st = hs_ckpt_load_params(m->dir, &m->o, m->back);
    if (st != HS_OK)
        fail_msg("%s: %s", what, hs_error());
    if (!flat_equal(m->back, m->ps, "master"))
        fail_msg("%s: other values", what);
}

static void expect_refused(model *m, hs_status want, const char *part, const char *what)
{
    const hs_status st = hs_ckpt_load_params(m->dir, &m->o, m->back);
    if (st != want || !strstr(hs_error(), part) || strchr(hs_error(), '\n'))
        fail_msg("%s: %s: %s, not %s", what, hs_status_name(st), hs_error(), part);
}

// The weights once more, with the names that `name` gives: NULL leaves one out.
static void rewrite(const model *m, const char *file, const char *(*name)(int i, const char *name, char *buf), int first, int end)
{
    enum { MOST = 64 };
    static char names[MOST][256];
    char path[2 * CKPT_PATH];
    hs_safetensors *f;
    hs_st_tensor t[MOST];
    int n = 0;
    snprintf(path, sizeof path, "%s/model.safetensors", m->dir);
    OK(hs_safetensors_open(&f, path));
    for (int i = first; i < (end < 0 ? hs_safetensors_count(f) : end); i++) {
        const hs_st_entry *e = hs_safetensors_at(f, i);
        const char *as = name ? name(i, e->name, names[n]) : e->name;
        if (!as)
            continue;
        t[n] = (hs_st_tensor){ .name = as, .dtype = e->dtype, .n_dims = e->n_dims, .data = e->data };
        memcpy(t[n].dim, e->dim, sizeof t[n].dim);
        n++;
    }
    snprintf(path, sizeof path, "%s/new", m->dir);
    OK(hs_safetensors_write(path, t, n, NULL));
    hs_safetensors_close(f);
    char to[2 * CKPT_PATH];
    snprintf(to, sizeof to, "%s/%s", m->dir, file);
    assert_int_equal(rename(path, to), 0);
}

static const char *prefix;
static const char *wrapped(int i, const char *name, char *buf)
{
    (void)i;
    snprintf(buf, 256, "%s%s", prefix, name);
    return buf;
}
static const char *bare(int i, const char *name, char *buf) // as a state_dict of what is inside the head
{
    (void)i;
    snprintf(buf, 256, "%s%s", prefix, name + strlen("transformer."));
    return buf;
}
static const char *numbered(int i, const char *name, char *buf)
{
    (void)name;
    snprintf(buf, 256, "%s%d.weight", prefix, i);
    return buf;
}
static const char *half(int i, const char *name, char *buf) { return i % 2 ? wrapped(i, name, buf) : name; }
static const char *tied(int i, const char *name, char *buf)
{
    snprintf(buf, 256, "%s", strcmp(name, "transformer.wte.weight") == 0 ? "lm_head.weight" : name);
    return prefix ? wrapped(i, buf, strcpy(buf + 128, buf)) : buf;
}

static void names_behind_a_prefix(void **state)
{
    (void)state;
    static const struct {
        const char *prefix;
        const char *(*name)(int i, const char *name, char *buf);
        const char *said, *refused;
    } c[] = {
        { "_orig_mod.", wrapped, "begin with \"_orig_mod.\" (torch.compile): read without it", NULL },
        { "module.", wrapped, "begin with \"module.\" (DistributedDataParallel)", NULL },
        { "model.", wrapped, "begin with \"model.\"", NULL },
        { "module._orig_mod.", wrapped, "begin with \"module._orig_mod.\"", NULL },
        { "_orig_mod.", bare, "begin with \"_orig_mod.\"", NULL },
        { "", bare, "", NULL },
        { NULL, tied, "", NULL },
        { "_orig_mod.", half, "", "begin with \"_orig_mod.\" (torch.compile), \"transformer." },
        { "wrapped_by_me.", wrapped, "begin with \"wrapped_by_me.\" (a module around the model)", NULL },
        { "t", numbered, "", "\"transformer.wte.weight\" is missing" },
    };
    hs_log_set(HS_LOG_INFO, keep_log, NULL);
    for (int i = 0; i < HS_COUNT(c); i++) {
        model m;
        model_open(&m, "m");
        prefix = c[i].prefix;
        rewrite(&m, "model.safetensors", c[i].name, 0, -1);
        if (c[i].refused)
            expect_refused(&m, HS_USAGE, c[i].refused, c[i].prefix);
        else
            expect_read(&m, c[i].prefix ? c[i].prefix : "tied");
        if (!strstr(logged, c[i].said) || (!c[i].said[0] && strstr(logged, "begin with")))
            fail_msg("%s: the log is %s", c[i].prefix, logged);
        model_close(&m);
    }
    hs_log_set(HS_LOG_WARN, NULL, NULL);
}

// ---- shards

static void write_index(const model *m, int first_of_two)
{
    hs_safetensors *f;
    char path[2 * CKPT_PATH];
    hs_text t = { 0 };
    snprintf(path, sizeof path, "%s/model.safetensors", m->dir);
    OK(hs_safetensors_open(&f, path));
    hs_text_add(&t, "\xEF\xBB\xBF{\"weight_map\": {");
    for (int i = 0; i < hs_safetensors_count(f); i++)
        hs_text_add(&t, "%s\"%s\": \"model-0000%d-of-00002.safetensors\"", i ? "," : "", hs_safetensors_at(f, i)->name,
                    1 + (i >= first_of_two));
    hs_text_add(&t, "}}");
    put(m->dir, "model.safetensors.index.json", t.p);
    hs_text_free(&t);
    hs_safetensors_close(f);
}

static void shards(void **state)
{
    (void)state;
    enum { FIRST = 9 };
    model m;
    model_open(&m, "sh ards");
    write_index(&m, FIRST);
    rewrite(&m, "model-00001-of-00002.safetensors", NULL, 0, FIRST + 2); // two of them are in both
    rewrite(&m, "model-00002-of-00002.safetensors", NULL, FIRST, -1);
    drop(m.dir, "model.safetensors");
    expect_read(&m, "two tensors in both shards");
    drop(m.dir, "model-00002-of-00002.safetensors");
    expect_refused(&m, HS_USAGE, "model-00002-of-00002.safetensors: no such file, but model.safetensors.index.json puts ",
                   "a shard is missing");
    put(m.dir, "model-00002-of-00002.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 548105171\n");
    expect_refused(&m, HS_CORRUPT, "model-00002-of-00002.safetensors is no safetensors file but a git-lfs pointer", "a shard is a pointer");
    drop(m.dir, "model.safetensors.index.json");
    expect_refused(&m, HS_UNSUPPORTED, "model-00001-of-00002.safetensors is a shard, and model.safetensors.index.json", "no index");
    model_close(&m);
}

static void other_values_in_both_shards(void **state)
{
    (void)state;
    model m;
    model_open(&m, "m");
    write_index(&m, 1);
    rewrite(&m, "model-00001-of-00002.safetensors", NULL, 0, 1);
    hs_params *other = ckpt_params(false);
    const hs_model_info info = ckpt_info();
    char dir[CKPT_PATH];
    snprintf(dir, sizeof dir, "%.500s2", m.dir);
    ckpt_fill(other, 8);
    OK(hs_ckpt_export(dir, &m.o, other, &info, NULL));
    char from[2 * CKPT_PATH], to[2 * CKPT_PATH];
    snprintf(from, sizeof from, "%s/model.safetensors", dir);
    snprintf(to, sizeof to, "%s/model-00002-of-00002.safetensors", m.dir);
    assert_int_equal(rename(from, to), 0);
    drop(m.dir, "model.safetensors");
    expect_refused(&m, HS_CORRUPT, "is in model-00001-of-00002.safetensors and in model-00002-of-00002.safetensors, with other values",
                   "both");
    hs_params_free(other);
    model_close(&m);
}

// ---- no weights

static void what_is_no_weights(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text;
        hs_status st;
        const char *part;
    } c[] = {
        { NULL, NULL, HS_USAGE, "has no weights: neither model.safetensors nor" },
        { "pytorch_model.bin", "PK\x03\x04", HS_UNSUPPORTED,
          "pytorch_model.bin is a pickle, which runs code when it is read: not supported; transformers writes" },
        { "pytorch_model-00001-of-00002.bin", "PK", HS_UNSUPPORTED, "pytorch_model-00001-of-00002.bin is a pickle" },
        { "tf_model.h5", "\x89HDF", HS_UNSUPPORTED, "tf_model.h5 is TensorFlow's: not supported; transformers writes model.safetensors" },
        { "consolidated.00.pth", "PK", HS_UNSUPPORTED, "consolidated.00.pth is a pickle" },
        { "gpt2.Q4_0.gguf", "GGUF", HS_UNSUPPORTED, "gpt2.Q4_0.gguf is llama.cpp's: not supported; `halfstep import" },
        { "model.onnx", "\b\b", HS_UNSUPPORTED, "model.onnx is an ONNX model: not supported; `halfstep import" },
        { "weights.safetensors", "", HS_UNSUPPORTED,
          "weights.safetensors is not looked for under this name: not supported; if it holds the whole" },
        { "training_args.bin", "PK", HS_USAGE, "has no weights" },
        { "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", HS_CORRUPT,
          "is no safetensors file but a git-lfs pointer, the file itself was not downloaded: `git lfs" },
        { "model.safetensors", "<!DOCTYPE html>\n<html>", HS_CORRUPT, "but a web page: download the file itself" },
        { "model.safetensors", "PK\x03\x04 and so on, as torch.save does", HS_UNSUPPORTED,
          "but a zip archive, as torch.save writes pickles" },
        { "model.safetensors", "GGUF\x03 and so on for a while", HS_UNSUPPORTED, "but a model of llama.cpp" },
        { "model.safetensors", "0123456789abcdef", HS_CORRUPT, "is no safetensors file, or was cut off" },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        model m;
        model_open(&m, "m");
        drop(m.dir, "model.safetensors");
        if (c[i].file)
            put(m.dir, c[i].file, c[i].text);
        expect_refused(&m, c[i].st, c[i].part, c[i].file ? c[i].file : "nothing");
        model_close(&m);
    }
}

// Whatever is in a folder's name.
static void any_path(void **state)
{
    (void)state;
    static const char *const paths[] = { "a b", "100%s%n", "quote'\"$HOME`x`", "\xE6\x97\xA5\xE6\x9C\xAC",
                                         "-rf", "*?[a]",   "line\nfeed",       "a\\b" };
    for (int i = 0; i < HS_COUNT(paths); i++) {
        model m;
        model_open(&m, paths[i]);
        expect_read(&m, paths[i]);
        hs_model_info info;
        OK(ckpt_read_info(m.dir, &info));
        drop(m.dir, "model.safetensors");
        put(m.dir, "pytorch_model.bin", "PK");
        expect_refused(&m, HS_UNSUPPORTED, "pytorch_model.bin is a pickle", paths[i]);
        model_close(&m);
    }
}

// ---- what config.json and generation_config.json say

static void ends_of_a_text(void **state)
{
    (void)state;
#define CONFIG(more) "{\"model_type\":\"gpt2\",\"n_layer\":2,\"n_head\":2,\"n_embd\":16,\"n_positions\":12,\"vocab_size\":50" more "}"
    static const struct {
        const char *config, *generation;
        int32_t id[3];
        int n;
    } c[] = {
        { CONFIG(""), NULL, { 0 }, 0 },
        { CONFIG(",\"eos_token_id\":7"), NULL, { 7 }, 1 },
        { CONFIG(",\"eos_token_id\":[7,9]"), NULL, { 7, 9 }, 2 },
        { CONFIG(",\"eos_token_id\":7"), "{\"eos_token_id\":8}", { 8 }, 1 },
        { CONFIG(",\"eos_token_id\":7"), "\xEF\xBB\xBF{\"eos_token_id\":[8,49,3]}", { 8, 49, 3 }, 3 },
        { CONFIG(",\"eos_token_id\":7"), "{\"eos_token_id\":null}", { 7 }, 1 },
        { CONFIG(",\"eos_token_id\":7"), "{\"temperature\":0.6}", { 7 }, 1 },
        { CONFIG(",\"eos_token_id\":50256"), NULL, { 0 }, 0 }, // transformers' default, in a small vocabulary
        { CONFIG(",\"eos_token_id\":7"), "{\"eos_token_id\":[50256]}", { 7 }, 1 },
    };
    char dir[CKPT_PATH];
    ckpt_temp_dir(dir);
    for (int i = 0; i < HS_COUNT(c); i++) {
        hs_model_info m;
        put(dir, "config.json", c[i].config);
        drop(dir, "generation_config.json");
        if (c[i].generation)
            put(dir, "generation_config.json", c[i].generation);
        OK(ckpt_read_info(dir, &m));
        assert_int_equal(m.end.n, c[i].n);
        assert_memory_equal(m.end.id, c[i].id, (size_t)c[i].n * sizeof(int32_t));
        char out[CKPT_PATH]; // and back
        hs_params *ps = ckpt_params(false);
        const hs_ckpt_opts o = ckpt_opts(NULL, 0);
        snprintf(out, sizeof out, "%.400s/out%d", dir, i);
        OK(hs_ckpt_export(out, &o, ps, &m, NULL));
        hs_model_info back;
        OK(ckpt_read_info(out, &back));
        assert_int_equal(back.end.n, c[i].n);
        assert_memory_equal(back.end.id, c[i].id, (size_t)c[i].n * sizeof(int32_t));
        hs_params_free(ps);
    }
    ckpt_remove(dir);
}

static void keys_that_ask_for_more(void **state)
{
    (void)state;
    static const struct {
        const char *config, *generation, *file;
        hs_status st;
        const char *part;
    } c[] = {
        { CONFIG(",\"quantization_config\":{\"quant_method\":\"gptq\"}"), NULL, NULL, HS_UNSUPPORTED,
          "quantization_config.quant_method is \"gptq\"; compressed-tensors is read" },
        { CONFIG(",\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\"}"), NULL, NULL,
          HS_UNSUPPORTED, "quantization_config: format is \"float-quantized\"; int-quantized" },
        { CONFIG(",\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"kv_cache_scheme\":{\"num_bits\":8}}"), NULL, NULL,
          HS_UNSUPPORTED, "quantization_config: kv_cache_scheme is not read" },
        { CONFIG(
              ",\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"}}"),
          NULL, NULL, HS_UNSUPPORTED, "sparsity_config: sparse weights are not read" },
        { CONFIG(",\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":[1]}"), NULL, NULL, HS_CORRUPT,
          "config_groups is no object" },
        { CONFIG(",\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"weights\":{\"num_bits\":4,"
                 "\"symmetric\":false}}}}"),
          NULL, NULL, HS_UNSUPPORTED, "g: weights have zero points; symmetric ones are read" },
        { CONFIG(",\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"weights\":{\"num_bits\":2}}"
                 "}}"),
          NULL, NULL, HS_UNSUPPORTED, "g: weights have 2 bits; 4 and 8 are read" },
        { CONFIG(",\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"weights\":{\"num_bits\":8,"
                 "\"type\":\"float\"}}}}"),
          NULL, NULL, HS_UNSUPPORTED, "g: weights are of type \"float\"; int is read" },
        { CONFIG(",\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"input_activations\":{\"num_"
                 "bits\":4}}}}"),
          NULL, NULL, HS_UNSUPPORTED, "g: input_activations have 4 bits; 8 are read" },
        { CONFIG(",\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"output_activations\":{"
                 "\"num_bits\":8}}}}"),
          NULL, NULL, HS_UNSUPPORTED, "g: output_activations are rounded" },
        { CONFIG(",\"pruned_heads\":{\"0\":[1]}"), NULL, NULL, HS_UNSUPPORTED, "\"pruned_heads\"" },
        { CONFIG(",\"auto_map\":{\"AutoModel\":\"m.M\"}"), NULL, NULL, HS_UNSUPPORTED, "code of its own (trust_remote_code)" },
        { CONFIG(""), "{\"forced_decoder_ids\":[[1,2]]}", NULL, HS_UNSUPPORTED,
          "generation_config.json: \"forced_decoder_ids\" is [[1,2]]" },
        { CONFIG(""), "{\"eos_token_id\":\"<u>\"}", NULL, HS_CORRUPT,
          "generation_config.json: \"eos_token_id\" is neither a token's id nor a list" },
        { CONFIG(""), NULL, "adapter_config.json", HS_UNSUPPORTED, "\"peft_type\" is \"\", supported: LORA" },
        { CONFIG(""), NULL, "adapter_model.safetensors", HS_UNSUPPORTED, "adapter_model.safetensors is an adapter (PEFT)" },
        { "{\"n_layer\":2}", NULL, NULL, HS_CORRUPT, "\"model_type\" is missing, and \"architectures\" names no model" },
    };
    char dir[CKPT_PATH];
    ckpt_temp_dir(dir);
    for (int i = 0; i < HS_COUNT(c); i++) {
        hs_model_info m;
        put(dir, "config.json", c[i].config);
        put(dir, "generation_config.json", c[i].generation ? c[i].generation : "{}");
        if (c[i].file)
            put(dir, c[i].file, "{}");
        const hs_status st = ckpt_read_info(dir, &m);
        if (st != c[i].st || !strstr(hs_error(), c[i].part))
            fail_msg("row %d: %s: %s", i, hs_status_name(st), hs_error());
        if (c[i].file)
            drop(dir, c[i].file);
    }
    // null, false and empty ask for nothing; what its architectures name needs no model_type
    put(dir, "generation_config.json", "{}");
    put(dir, "config.json",
        "{\"architectures\":[\"GPT2LMHeadModel\"],\"pruned_heads\":{},\"quantization_config\":null,\"n_layer\":2,\"n_head\":2,"
        "\"n_embd\":16,\"n_positions\":12,\"vocab_size\":50}");
    hs_model_info m;
    OK(ckpt_read_info(dir, &m));
    ckpt_remove(dir);
}

// ---- files that somebody changed

static void edited_side_files(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool side;
    } files[] = {
        { "config.json", true },        { "generation_config.json", true },       { "train/config.yaml", true },
        { "model.safetensors", false }, { "train/optimizer.safetensors", false }, { "train/state.json", false },
    };
    hs_log_set(HS_LOG_INFO, keep_log, NULL);
    for (int i = 0; i < HS_COUNT(files); i++)
        for (int how = 0; how < 3; how++) { // a byte changed, longer, gone
            char dir[CKPT_PATH], path[2 * CKPT_PATH], found[CKPT_PATH];
            ckpt_temp_dir(dir);
            hs_params *ps = ckpt_params(true);
            const hs_ckpt_opts o = ckpt_opts(dir, 3);
            const hs_model_info info = ckpt_info();
            hs_ckpt *c;
            const hs_train_state t = ckpt_state(100);
            ckpt_fill(ps, 3);
            OK(hs_ckpt_new(&c, &o, ps));
            OK(hs_ckpt_save(c, ps, &t, &info, NULL, "train: {}\n", false));
            hs_ckpt_free(c);
            snprintf(path, sizeof path, "%s/step-00000100/%s", dir, files[i].name);
            if (how == 2) {
                assert_int_equal(unlink(path), 0);
            } else if (how == 1) {
                FILE *f = fopen(path, "a");
                fputs(" \n", f);
                fclose(f);
            } else {
                ckpt_damage(path, 2);
            }
            snprintf(path, sizeof path, "%s/step-00000100", dir);
            assert_int_equal(hs_ckpt_resolve(path, HS_CKPT_TRAIN, found, sizeof found), HS_CORRUPT);
            const bool accepted = files[i].side && (how < 2 || strcmp(files[i].name, "config.json") != 0);
            assert_non_null(strstr(hs_error(), files[i].name));
            assert_true((strstr(hs_error(), how < 2 ? "was edited since it was saved, or is damaged" : "is missing: ") != NULL) ==
                        accepted);
            assert_true((strstr(hs_error(), "--accept-edited") != NULL) == accepted);
            logged[0] = 0;
            const hs_status st = hs_ckpt_resolve(dir, HS_CKPT_TRAIN | HS_CKPT_EDITED, found, sizeof found);
            assert_int_equal(st, accepted ? HS_OK : HS_CORRUPT);
            if (accepted)
                assert_non_null(strstr(logged, how < 2 ? "not as it was saved, accepted as it is" : "is missing, accepted without it"));
            else if (!files[i].side && how < 2)
                assert_non_null(strstr(hs_error(), "edited weights are never accepted"));
            hs_params_free(ps);
            ckpt_remove(dir);
        }
    hs_log_set(HS_LOG_WARN, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_behind_a_prefix),
        cmocka_unit_test(shards),
        cmocka_unit_test(other_values_in_both_shards),
        cmocka_unit_test(what_is_no_weights),
        cmocka_unit_test(any_path),
        cmocka_unit_test(ends_of_a_text),
        cmocka_unit_test(keys_that_ask_for_more),
        cmocka_unit_test(edited_side_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
