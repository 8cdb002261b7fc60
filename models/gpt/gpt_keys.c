// gpt_keys: GPT-2 as a row - its settings, its names in transformers' files, its size and cost.
#include "models/gpt/gpt.h"
#include "models/nn/task_head.h"
#include <stdio.h>
#include <string.h>

// ---- settings
#define AT(field) .offset = offsetof(hs_gpt_config, field)
static const hs_key keys[] = {
    { .name = "model.layers", .type = HS_KEY_INT, AT(layers), .value = "4", .min = 1, .max = 1000, .help = "transformer blocks" },
    { .name = "model.heads",
      .type = HS_KEY_INT,
      AT(heads),
      .value = "4",
      .min = 1,
      .max = 1024,
      .help = "attention heads; must divide model.width" },
    { .name = "model.width",
      .type = HS_KEY_INT,
      AT(width),
      .value = "128",
      .min = 8,
      .max = 65536,
      .help = "channels of the residual stream; a multiple of 8" },
    { .name = "model.context",
      .type = HS_KEY_INT,
      AT(context),
      .value = "64",
      .min = 1,
      .max = 1048576,
      .unit = "tokens",
      .help = "longest sequence, and the window of training" },
    { .name = "model.vocab",
      .type = HS_KEY_INT,
      AT(vocab),
      .value = "0",
      .min = 0,
      .max = 1000000,
      .unit = "tokens",
      .help = "size of the vocabulary; 0: the tokenizer's" },
    { .name = "model.dropout",
      .type = HS_KEY_REAL,
      AT(dropout),
      .value = "0",
      .min = 0,
      .max = 0.95,
      .help = "dropout probability while training" },
    { .name = "model.eps",
      .type = HS_KEY_REAL,
      AT(eps),
      .value = "1e-5",
      .min = 1e-12,
      .max = 1e-2,
      .help = "epsilon of layer norms",
      .advanced = true },
    HS_TASK_KEYS(hs_gpt_config, head),
};
static const hs_schema settings = HS_SCHEMA(keys, hs_gpt_config);

hs_status hs_gpt_check(const hs_gpt_config *c)
{
    const struct {
        const char *name;
        int64_t value, min, max;
    } rows[] = {
        // wider than a run's settings: what a checkpoint may say
        { "layers", c->layers, 1, 1000 },      { "heads", c->heads, 1, 1024 },    { "width", c->width, 8, 1 << 20 },
        { "context", c->context, 1, 1 << 24 }, { "vocab", c->vocab, 0, 1 << 28 },
    };
    for (int i = 0; i < HS_COUNT(rows); i++)
        if (rows[i].value < rows[i].min || rows[i].value > rows[i].max)
            return HS_FAIL(USAGE, "model.%s is %lld, allowed %lld to %lld", rows[i].name, (long long)rows[i].value, (long long)rows[i].min,
                           (long long)rows[i].max);
    if (c->width % c->heads)
        return HS_FAIL(USAGE, "model.heads is %lld, which does not divide model.width %lld", (long long)c->heads, (long long)c->width);
    if (c->width % 8)
        return HS_FAIL(USAGE, "model.width is %lld, not a multiple of 8 (next: %lld)", (long long)c->width,
                       (long long)(c->width + 7) / 8 * 8);
    if (!(c->dropout >= 0 && c->dropout < 1))
        return HS_FAIL(USAGE, "model.dropout is %g, allowed 0 to below 1", c->dropout);
    if (!(c->eps > 0 && c->eps < 1))
        return HS_FAIL(USAGE, "model.eps is %g, must be above 0 and below 1", c->eps);
    return hs_task_check(&c->head);
}

// ---- size and cost
int64_t hs_gpt_count(const hs_gpt_config *c)
{
    const int64_t C = c->width, per_layer = 12 * C * C + 13 * C; // products 3 + 1 + 4 + 4, their biases 9, norms 4
    return (c->vocab + c->context) * C + c->layers * per_layer + 2 * C + hs_task_count(&c->head, C, !hs_task_is_class(&c->head));
}

double hs_gpt_flops_per_token(const hs_gpt_config *c, double seq)
{
    const double n = (double)(hs_gpt_count(c) - c->context * c->width);
    return 6 * n + 6.0 * (double)c->layers * (double)c->width * seq;
}

// ---- files
static const hs_name_rule names[] = {
    { "wte.weight", "transformer.wte.weight", false, 0 },
    { "wpe.weight", "transformer.wpe.weight", false, 0 },
    { "h%d.ln_1.weight", "transformer.h.%d.ln_1.weight", false, 0 },
    { "h%d.ln_1.bias", "transformer.h.%d.ln_1.bias", false, 0 },
    { "h%d.attn.qkv.weight", "transformer.h.%d.attn.c_attn.weight", true, 0 },
    { "h%d.attn.qkv.bias", "transformer.h.%d.attn.c_attn.bias", false, 0 },
    { "h%d.attn.proj.weight", "transformer.h.%d.attn.c_proj.weight", true, 0 },
    { "h%d.attn.proj.bias", "transformer.h.%d.attn.c_proj.bias", false, 0 },
    { "h%d.ln_2.weight", "transformer.h.%d.ln_2.weight", false, 0 },
    { "h%d.ln_2.bias", "transformer.h.%d.ln_2.bias", false, 0 },
    { "h%d.mlp.up.weight", "transformer.h.%d.mlp.c_fc.weight", true, 0 },
    { "h%d.mlp.up.bias", "transformer.h.%d.mlp.c_fc.bias", false, 0 },
    { "h%d.mlp.down.weight", "transformer.h.%d.mlp.c_proj.weight", true, 0 },
    { "h%d.mlp.down.bias", "transformer.h.%d.mlp.c_proj.bias", false, 0 },
    { "ln_f.weight", "transformer.ln_f.weight", false, 0 },
    { "ln_f.bias", "transformer.ln_f.bias", false, 0 },
    { "class.out.weight", "score.weight", false, 0 },
    { "tags.weight", "classifier.weight", false, 0 },
    { "tags.bias", "classifier.bias", false, 0 },
    { "span.weight", "qa_outputs.weight", false, 0 },
    { "span.bias", "qa_outputs.bias", false, 0 },
    HS_TASK_CRF_NAMES,
};
// Buffers of old files, and the head that is the embedding table.
static const hs_alias aliases[] = {
    { "*.attn.bias", NULL },
    { "*.attn.masked_bias", NULL },
    { "lm_head.weight", "transformer.wte.weight" },
};

#define SIZE(name, field) .key = name, .type = HS_FILE_INT, AT(field), .min = 1, .max = INT32_MAX
#define DROPOUT(name)     .key = name, .type = HS_FILE_REAL, AT(dropout), .value = "0.1", .min = 0, .max = 0.999999
#define FLAG(name, only)  .key = name, .type = HS_FILE_FIXED, .value = only, .accepts = only
static const hs_file_key file_keys[] = {
    { SIZE("n_layer", layers) },
    { SIZE("n_head", heads) },
    { SIZE("n_embd", width) },
    { SIZE("n_positions", context), .also = "n_ctx" },
    { SIZE("n_ctx", context), .write_only = true },
    { SIZE("vocab_size", vocab) },
    { .key = "n_inner", .type = HS_FILE_TIMES, AT(width), .times = 4, .asks = "a feed-forward width that is not 4 x n_embd" },
    { FLAG("scale_attn_weights", "true") },
    { FLAG("tie_word_embeddings", "true"), .asks = "a head of its own" },
    { FLAG("add_cross_attention", "false"), .read_only = true },
    { FLAG("scale_attn_by_inverse_layer_idx", "false"), .read_only = true },
    { .key = "activation_function", .type = HS_FILE_FIXED, .value = "\"gelu_new\"", .accepts = "gelu_new|gelu_pytorch_tanh" },
    { .key = "layer_norm_epsilon", .type = HS_FILE_REAL, AT(eps), .value = "1e-5", .min = 1e-30, .max = 0.999999 },
    { DROPOUT("resid_pdrop") },
    { DROPOUT("attn_pdrop"), .write_only = true },
    { DROPOUT("embd_pdrop"), .write_only = true },
    { .key = "bos_token_id", .type = HS_FILE_BEGIN },
    { .key = "eos_token_id", .type = HS_FILE_END },
    { .key = "initializer_range", .type = HS_FILE_FIXED, .value = "0.02" },
    { .key = "use_cache", .type = HS_FILE_FIXED, .value = "true" },
    { .key = "classifier_dropout",
      .type = HS_FILE_REAL,
      AT(head.dropout),
      .value = "null",
      .unset = true,
      .min = 0,
      .max = 0.999999,
      .tasks = 1 << HS_TASK_TOKENS },
    // by which transformers finds a text's last token
    { .key = "pad_token_id",
      .type = HS_FILE_TOKEN,
      .value = "pad",
      .tasks = 1 << HS_TASK_SEQUENCE | 1 << HS_TASK_REGRESSION | 1 << HS_TASK_MULTILABEL },
    HS_TASK_FILE_KEYS(hs_gpt_config, head),
};
static const char task_classes[] = "GPT2ForSequenceClassification|GPT2ForTokenClassification|GPT2ForQuestionAnswering";

// ---- llama.cpp's
#define PAIR(ours, theirs)                                                                                                                 \
    { ours ".weight", theirs ".weight", false, 0 }, { ours ".bias", theirs ".bias", false, 0 }
static const hs_name_rule gguf_names[] = {
    { "wte.weight", "token_embd.weight", false, 0 },
    { "wpe.weight", "position_embd.weight", false, 0 },
    PAIR("h%d.ln_1", "blk.%d.attn_norm"),
    PAIR("h%d.attn.qkv", "blk.%d.attn_qkv"),
    PAIR("h%d.attn.proj", "blk.%d.attn_output"),
    PAIR("h%d.ln_2", "blk.%d.ffn_norm"),
    PAIR("h%d.mlp.up", "blk.%d.ffn_up"),
    PAIR("h%d.mlp.down", "blk.%d.ffn_down"),
    PAIR("ln_f", "output_norm"),
};
static const hs_file_key gguf_keys[] = {
    { SIZE("block_count", layers) },
    { SIZE("attention.head_count", heads) },
    { SIZE("embedding_length", width) },
    { SIZE("context_length", context) },
    { .key = "feed_forward_length", .type = HS_FILE_TIMES, AT(width), .times = 4 },
    { .key = "attention.layer_norm_epsilon", .type = HS_FILE_REAL, AT(eps), .value = "1e-5", .min = 1e-30, .max = 0.999999 },
};
static const hs_size_row gguf_sizes[] = { { "token_embd.weight", 0, offsetof(hs_gpt_config, vocab), 0 } };
static const hs_alias gguf_aliases[] = { { "output.weight", "token_embd.weight" } };
static const hs_gguf_files gguf = { .architecture = "gpt2",
                                    .key = gguf_keys,
                                    .n_keys = HS_COUNT(gguf_keys),
                                    .size = gguf_sizes,
                                    .n_sizes = HS_COUNT(gguf_sizes),
                                    .name = gguf_names,
                                    .n_names = HS_COUNT(gguf_names),
                                    .alias = gguf_aliases,
                                    .n_aliases = HS_COUNT(gguf_aliases) };

// ---- llm.c's
static const char *const llmc_params[] = { "wte.weight",
                                           "wpe.weight",
                                           "h%d.ln_1.weight",
                                           "h%d.ln_1.bias",
                                           "h%d.attn.qkv.weight",
                                           "h%d.attn.qkv.bias",
                                           "h%d.attn.proj.weight",
                                           "h%d.attn.proj.bias",
                                           "h%d.ln_2.weight",
                                           "h%d.ln_2.bias",
                                           "h%d.mlp.up.weight",
                                           "h%d.mlp.up.bias",
                                           "h%d.mlp.down.weight",
                                           "h%d.mlp.down.bias",
                                           "ln_f.weight",
                                           "ln_f.bias",
                                           NULL };
#define FIELD(field) offsetof(hs_gpt_config, field)
static const hs_llmc_files llmc = { .size = { FIELD(context), FIELD(vocab), FIELD(layers), FIELD(heads), FIELD(width) },
                                    .param = llmc_params };

// ---- the row
static hs_status check(const void *c) { return hs_gpt_check(c); }
static hs_tensor *trace(hs_graph *g, const void *c, const hs_arch_shape *s) { return hs_gpt(g, c, s); }
static bool wears(const void *c, hs_loss which) { return which == (((const hs_gpt_config *)c)->head.task ? HS_LOSS_TASK : HS_LOSS_TOKENS); }
static int64_t count(const void *c) { return hs_gpt_count(c); }
static int depth(const void *c, const char *param)
{
    int layer;
    if (strncmp(param, "wte.", 4) == 0 || strncmp(param, "wpe.", 4) == 0)
        return 0;
    return sscanf(param, "h%d.", &layer) == 1 ? layer + 1 : (int)((const hs_gpt_config *)c)->layers + 1;
}
static double flops_per_token(const void *c, double seq) { return hs_gpt_flops_per_token(c, seq); }
static double head_flops(const void *c)
{
    const hs_gpt_config *gpt = c;
    return 2.0 * (double)((gpt->head.task ? hs_task_outputs(&gpt->head) : gpt->vocab) * gpt->width);
}

const hs_family hs_gpt_family = {
    .name = "gpt2",
    .words = "gpt2|gpt",
    .title = "GPT",
    .settings = &settings,
    .own = "model.dropout|model.task_dropout",
    .heads = HS_TASK_HEADS,
    .wears = wears,
    .check = check,
    .trace = trace,
    .count = count,
    .depth = depth,
    .flops_per_token = flops_per_token,
    .head_flops = head_flops,
    .files = { .model_type = "gpt2",
               .architecture = "GPT2LMHeadModel",
               .key = file_keys,
               .n_keys = HS_COUNT(file_keys),
               .name = names,
               .n_names = HS_COUNT(names),
               .alias = aliases,
               .n_aliases = HS_COUNT(aliases),
               .heads = HS_TASK_SCOPES,
               .task_classes = task_classes,
               .prefix = "transformer.",
               .gguf = &gguf,
               .llmc = &llmc },
};
