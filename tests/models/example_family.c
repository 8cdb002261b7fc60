// example_family: all that a new family supplies - its graph, its keys, its names - and a program that has it beside those of the house.
// A causal model without positions: attention and a gated feed-forward side by side on one norm, a head of its own.
#include "models/nn/nn.h"
#include "recipes/program/cli.h"

typedef struct twin { // settings of a run, rows of `keys`
    int64_t depth, heads, width, expand, context, vocab;
    int gate; // of gates
    double eps;
} twin;
static const char gates[] = "gelu|tanh";

// ---- the graph
static hs_tensor *attend(hs_graph *g, hs_tensor *x, const twin *c, const hs_batch_in *in)
{
    hs_tensor *qkv = hs_nn_linear(g, x, "qkv", c->width, 3 * c->width, .shard = HS_SHARD_COL, .parts = 3, .no_bias = true);
    hs_tensor *y = hs_nn_causal(g, qkv, in, c->heads, 0);
    return hs_nn_linear(g, y, "out", c->width, c->width, .shard = HS_SHARD_ROW, .no_bias = true);
}

static hs_tensor *feed(hs_graph *g, hs_tensor *x, const twin *c)
{
    hs_tensor *gate = hs_nn_linear(g, x, "gate", c->width, c->expand * c->width, .shard = HS_SHARD_COL);
    hs_tensor *up = hs_nn_linear(g, x, "up", c->width, c->expand * c->width, .shard = HS_SHARD_COL, .no_bias = true);
    gate = c->gate ? hs_tanh(g, gate) : hs_gelu(g, gate, HS_GELU_ERF);
    return hs_nn_linear(g, hs_mul(g, gate, up), "down", c->expand * c->width, c->width, .shard = HS_SHARD_ROW, .no_bias = true);
}

static hs_tensor *trace(hs_graph *g, const void *settings, const hs_arch_shape *s)
{
    const twin *c = settings;
    const hs_batch_in in = hs_nn_batch(g, s);
    hs_tensor *x = hs_nn_embedding(g, hs_nn_table(g, "embed.weight", HS_SHARD_COL, c->vocab, 64, c->width), in.ids, NULL, NULL);
    for (int i = 0; i < c->depth; i++) {
        const size_t mark = hs_push(g, "b%d", i);
        hs_tensor *h = hs_nn_layernorm(g, x, "norm", (float)c->eps);
        hs_tensor *a = attend(g, h, c, &in);
        x = hs_add(g, hs_add(g, x, a), feed(g, h, c));
        hs_pop(g, mark);
    }
    if (g->mode == HS_DECODE)
        x = hs_gather_rows(g, x, in.picks);
    x = hs_nn_layernorm(g, x, "norm", (float)c->eps);
    if (s->hidden) {
        hs_output(g, hs_cast(g, x, HS_F32));
        return x;
    }
    hs_tensor *head = hs_nn_table(g, "head.weight", HS_SHARD_COL, c->vocab, 64, c->width);
    if (g->mode != HS_DECODE)
        return hs_nn_logits_xent(g, x, head, NULL, in.targets, (hs_xent_attr){ .classes = (int32_t)c->vocab, .ignore = -1 });
    hs_tensor *logits = hs_nn_logits(g, x, head, NULL, true);
    hs_output(g, logits);
    return logits;
}

// ---- keys
#define AT(field) .offset = offsetof(twin, field)
#define INT(key, field, def, lo, hi, what)                                                                                                 \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_INT, AT(field), .value = def, .min = lo, .max = hi, .help = what                                       \
    }
static const hs_key keys[] = {
    INT("model.depth", depth, "2", 1, 100, "double blocks"),
    INT("model.heads", heads, "2", 1, 64, "attention heads; must divide model.width"),
    INT("model.width", width, "64", 8, 8192, "channels; a multiple of 8"),
    INT("model.expand", expand, "2", 1, 8, "width of the feed-forward in model.width"),
    INT("model.context", context, "32", 1, 65536, "longest sequence, and the window of training"),
    INT("model.vocab", vocab, "0", 0, 1000000, "size of the vocabulary; 0: the tokenizer's"),
    { .name = "model.gate", .type = HS_KEY_CHOICE, AT(gate), .value = "gelu", .choices = gates, .help = "what gates the feed-forward" },
    { .name = "model.eps", .type = HS_KEY_REAL, AT(eps), .value = "1e-6", .min = 1e-12, .max = 1e-2, .help = "epsilon of norms" },
};
static const hs_schema schema = HS_SCHEMA(keys, twin);

static hs_status check(const void *settings)
{
    const twin *c = settings;
    if (c->width % c->heads || c->width % 8)
        return HS_FAIL(USAGE, "model.width is %lld, must be a multiple of 8 and of model.heads %lld", (long long)c->width,
                       (long long)c->heads);
    return HS_OK;
}

static int64_t count(const void *settings)
{
    const twin *c = settings;
    const int64_t C = c->width, F = c->expand * C, block = 4 * C * C + 3 * F * C + F + 2 * C;
    return 2 * c->vocab * C + c->depth * block + 2 * C;
}

static int depth(const void *settings, const char *param)
{
    int block;
    return strncmp(param, "embed.", 6) == 0 ? 0 : sscanf(param, "b%d.", &block) == 1 ? block + 1 : (int)((const twin *)settings)->depth + 1;
}

static double flops_per_token(const void *settings, double seq)
{
    const twin *c = settings;
    return 6.0 * (double)(count(c) - c->vocab * c->width) + 6.0 * (double)(c->depth * c->width) * seq;
}

static double head_flops(const void *settings) { return 2.0 * (double)(((const twin *)settings)->vocab * ((const twin *)settings)->width); }

// ---- names
#define LAYER "model.layers.%d."
static const hs_name_rule names[] = {
    { "embed.weight", "model.embed_tokens.weight", false, 0 }, { "head.weight", "lm_head.weight", false, 0 },
    { "b%d.norm.weight", LAYER "norm.weight", false, 0 },      { "b%d.norm.bias", LAYER "norm.bias", false, 0 },
    { "b%d.qkv.weight", LAYER "q_proj.weight", false, 1 },     { "b%d.qkv.weight", LAYER "k_proj.weight", false, 2 },
    { "b%d.qkv.weight", LAYER "v_proj.weight", false, 3 },     { "b%d.out.weight", LAYER "o_proj.weight", false, 0 },
    { "b%d.gate.weight", LAYER "gate_proj.weight", false, 0 }, { "b%d.gate.bias", LAYER "gate_proj.bias", false, 0 },
    { "b%d.up.weight", LAYER "up_proj.weight", true, 0 },      { "b%d.down.weight", LAYER "down_proj.weight", false, 0 },
    { "norm.weight", "model.norm.weight", false, 0 },          { "norm.bias", "model.norm.bias", false, 0 },
};
#define SIZE(name, field)                                                                                                                  \
    {                                                                                                                                      \
        .key = name, .type = HS_FILE_INT, AT(field), .min = 1, .max = INT32_MAX                                                            \
    }
static const hs_file_key file_keys[] = {
    SIZE("num_hidden_layers", depth),
    SIZE("num_attention_heads", heads),
    SIZE("hidden_size", width),
    SIZE("expansion", expand),
    SIZE("max_position_embeddings", context),
    SIZE("vocab_size", vocab),
    { .key = "hidden_act", .type = HS_FILE_CHOICE, AT(gate), .value = "gelu", .accepts = gates },
    { .key = "norm_eps", .type = HS_FILE_REAL, AT(eps), .value = "1e-6", .min = 1e-12, .max = 1 },
    { .key = "tie_word_embeddings", .type = HS_FILE_FIXED, .value = "false", .accepts = "false", .asks = "a head that is the embedding" },
    { .key = "eos_token_id", .type = HS_FILE_END },
};

static const hs_family family = {
    .name = "twin",
    .words = "twin",
    .title = "Twin",
    .settings = &schema,
    .check = check,
    .trace = trace,
    .count = count,
    .depth = depth,
    .flops_per_token = flops_per_token,
    .head_flops = head_flops,
    .files = { .model_type = "twin",
               .architecture = "TwinForCausalLM",
               .key = file_keys,
               .n_keys = HS_COUNT(file_keys),
               .name = names,
               .n_names = HS_COUNT(names) },
};

int main(int argc, char **argv)
{
    const hs_family *families[HS_FAMILIES] = { NULL };
    int n = 0;
    for (; hs_families[n]; n++)
        families[n] = hs_families[n];
    families[n] = &family; // one row more
    return hs_program(argc, argv, families);
}
