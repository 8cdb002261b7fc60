// config.json and generation_config.json, as transformers writes and reads them for GPT-2.
#include "data/checkpoint/ckpt_parts.h"
#include <string.h>

// Buffers of old GPT-2 files, and the head that is the embedding table.
const hs_alias hs_hf_aliases[] = {
    { "*.attn.bias", NULL },
    { "*.attn.masked_bias", NULL },
    { "lm_head.weight", "transformer.wte.weight" },
};
const int hs_hf_n_aliases = HS_COUNT(hs_hf_aliases);

// What began as an f32 setting is written as it was typed: 0.1, not 0.10000000149011612.
static void add_real(hs_text *t, double v)
{
    if ((double)(float)v == v)
        hs_text_f32(t, (float)v);
    else
        hs_text_f64(t, v);
}

// null, not absent: transformers would fill in 50256, which lies outside a small vocabulary.
static void add_end(hs_text *t, const char *key, int32_t end)
{
    if (end < 0)
        hs_text_add(t, ",\n  \"%s\": null", key);
    else
        hs_text_add(t, ",\n  \"%s\": %d", key, end);
}

hs_status hs_config_json(hs_text *t, const hs_model_info *m, int32_t end)
{
    if (strcmp(m->type, "gpt2") != 0)
        return HS_FAIL(UNSUPPORTED, "config.json: model type \"%.31s\" cannot be written, known: gpt2", m->type);
    hs_text_add(t, "{\n  \"activation_function\": ");
    hs_text_string(t, m->activation);
    hs_text_add(t, ",\n  \"architectures\": [\n    \"GPT2LMHeadModel\"\n  ]");
    static const char *const drops[] = { "attn_pdrop", "embd_pdrop", "resid_pdrop" };
    for (int i = 0; i < HS_COUNT(drops); i++) {
        hs_text_add(t, ",\n  \"%s\": ", drops[i]);
        add_real(t, m->dropout);
    }
    add_end(t, "bos_token_id", end);
    hs_text_add(t, ",\n  \"dtype\": \"float32\"");
    add_end(t, "eos_token_id", end);
    hs_text_add(t, ",\n  \"initializer_range\": 0.02,\n  \"layer_norm_epsilon\": ");
    add_real(t, m->eps);
    hs_text_add(t, ",\n  \"model_type\": \"gpt2\"");
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {
        { "n_ctx", m->context },  { "n_embd", m->width },        { "n_head", m->heads },
        { "n_layer", m->layers }, { "n_positions", m->context }, { "vocab_size", m->vocab },
    };
    hs_text_add(t, ",\n  \"n_inner\": null");
    for (int i = 0; i < HS_COUNT(sizes); i++)
        hs_text_add(t, ",\n  \"%s\": %lld", sizes[i].key, (long long)sizes[i].value);
    hs_text_add(t, ",\n  \"scale_attn_weights\": true,\n  \"tie_word_embeddings\": true,\n  \"torch_dtype\": \"float32\",\n"
                   "  \"use_cache\": true\n}\n");
    return HS_OK;
}

void hs_generation_json(hs_text *t, int32_t end)
{
    hs_text_add(t, "{\n  \"_from_model_config\": true");
    add_end(t, "bos_token_id", end);
    add_end(t, "eos_token_id", end);
    hs_text_add(t, ",\n  \"use_cache\": true\n}\n");
}

// One id, the first of a list, or none: also where it lies outside the vocabulary (transformers' default in a small one).
static int64_t end_of(const hs_json *j, const hs_model_info *m)
{
    const json_t *end = json_object_get(j->root, "eos_token_id");
    if (json_is_array(end))
        end = json_array_get(end, 0);
    const json_int_t id = json_is_integer(end) ? json_integer_value(end) : -1;
    return id >= 0 && id < m->vocab ? id : -1;
}

// What this GPT-2 does not do, by the key that asks for it.
static hs_status check_variant(const hs_json *j)
{
    static const struct {
        const char *key;
        bool only;
    } flags[] = {
        { "scale_attn_weights", true },
        { "tie_word_embeddings", true },
        { "add_cross_attention", false },
        { "scale_attn_by_inverse_layer_idx", false },
    };
    for (int i = 0; i < HS_COUNT(flags); i++) {
        const json_t *v = json_object_get(j->root, flags[i].key);
        if (json_is_boolean(v) && json_is_true(v) != flags[i].only)
            return HS_FAIL(UNSUPPORTED, "%s: \"%s\" is %s, supported: %s", j->path, flags[i].key, flags[i].only ? "false" : "true",
                           flags[i].only ? "true" : "false");
    }
    return HS_OK;
}

static hs_status read_optional_f64(const hs_json *j, const char *key, double *out)
{
    return json_object_get(j->root, key) != NULL ? hs_json_f64(j, key, out) : HS_OK;
}

static hs_status read_sizes(const hs_json *j, hs_model_info *m)
{
    const int64_t most = INT32_MAX;
    HS_TRY(hs_json_i64(j, "n_layer", 1, most, &m->layers));
    HS_TRY(hs_json_i64(j, "n_head", 1, most, &m->heads));
    HS_TRY(hs_json_i64(j, "n_embd", 1, most, &m->width));
    HS_TRY(hs_json_i64(j, json_object_get(j->root, "n_positions") ? "n_positions" : "n_ctx", 1, most, &m->context));
    HS_TRY(hs_json_i64(j, "vocab_size", 1, most, &m->vocab));
    const json_t *inner = json_object_get(j->root, "n_inner");
    if (json_is_integer(inner) && json_integer_value(inner) != 4 * m->width)
        return HS_FAIL(UNSUPPORTED, "%s: \"n_inner\" is %lld, supported: 4 x n_embd = %lld", j->path, (long long)json_integer_value(inner),
                       (long long)(4 * m->width));
    return HS_OK;
}

static hs_status read_info(const hs_json *j, hs_model_info *m)
{
    const char *type = hs_json_text(j, "model_type"), *activation = hs_json_text(j, "activation_function");
    if (type == NULL)
        return HS_FAIL(CORRUPT, "%s: \"model_type\" is missing", j->path);
    if (strcmp(type, "gpt2") != 0)
        return HS_FAIL(UNSUPPORTED, "%s: \"model_type\" is \"%.60s\", supported: gpt2", j->path, type);
    *m = (hs_model_info){ .type = "gpt2", .activation = "gelu_new", .eps = 1e-5, .dropout = 0.1 }; // transformers' defaults
    HS_TRY(read_sizes(j, m));
    HS_TRY(check_variant(j));
    if (activation != NULL && strcmp(activation, "gelu_new") != 0 && strcmp(activation, "gelu_pytorch_tanh") != 0)
        return HS_FAIL(UNSUPPORTED, "%s: \"activation_function\" is \"%.60s\", supported: gelu_new", j->path, activation);
    HS_TRY(read_optional_f64(j, "layer_norm_epsilon", &m->eps));
    HS_TRY(read_optional_f64(j, "resid_pdrop", &m->dropout));
    if (!(m->eps > 0 && m->eps < 1) || !(m->dropout >= 0 && m->dropout < 1))
        return HS_FAIL(CORRUPT, "%s: \"layer_norm_epsilon\" is %g, allowed 0 to 1; \"resid_pdrop\" is %g, allowed 0 up to 1", j->path,
                       m->eps, m->dropout);
    m->end = end_of(j, m);
    return HS_OK;
}

hs_status hs_ckpt_read_info(const char *model_dir, hs_model_info *m)
{
    char path[HS_PATH];
    HS_TRY(hs_path_join(path, "%s/config.json", model_dir));
    hs_json j;
    HS_TRY(hs_json_open(&j, path));
    const hs_status st = read_info(&j, m);
    hs_json_close(&j);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
