// gpt: as transformers' GPT2LMHeadModel computes it - pre-norm blocks, gelu by tanh, output tied to the embedding.

#include "models/gpt/gpt.h"
#include "models/nn/nn.h"
#include <math.h>

enum { VOCAB_UNIT = 64 }; // stored rows of the embedding on each rank are a multiple: whole vectors

hs_status hs_gpt_check(const hs_gpt_config *c)
{
    const struct {
        const char *name;
        int64_t value, min, max;
    } rows[] = {
        { "layers", c->layers, 1, 1000 },      { "heads", c->heads, 1, 1024 },    { "width", c->width, 8, 1 << 20 },
        { "context", c->context, 1, 1 << 24 }, { "vocab", c->vocab, 2, 1 << 28 },
    };
    for (int i = 0; i < HS_COUNT(rows); i++)
        if (rows[i].value < rows[i].min || rows[i].value > rows[i].max)
            return HS_FAIL(USAGE, "model.%s is %lld, allowed %lld to %lld", rows[i].name, (long long)rows[i].value, (long long)rows[i].min,
                           (long long)rows[i].max);
    if (c->width % 8)
        return HS_FAIL(USAGE, "model.width is %lld, must be a multiple of 8 (next: %lld)", (long long)c->width,
                       (long long)(c->width + 7) / 8 * 8);
    if (c->width % c->heads)
        return HS_FAIL(USAGE, "model.heads is %d, must divide model.width %lld", c->heads, (long long)c->width);
    if (!(c->dropout >= 0 && c->dropout < 1))
        return HS_FAIL(USAGE, "model.dropout is %g, allowed 0 to below 1", (double)c->dropout);
    if (!(c->eps > 0 && c->eps < 1))
        return HS_FAIL(USAGE, "model.eps is %g, must be above 0 and below 1", (double)c->eps);
    return HS_OK;
}

// Keys and values of earlier tokens come from the cache, into which this step's are written first.
static hs_tensor *attend(hs_graph *g, hs_tensor *qkv, const hs_gpt_config *c, const hs_gpt_shape *s, const hs_batch_in *in)
{
    const int64_t heads = hs_nn_share(g, c->heads, "model.heads"), width = c->width / c->heads * heads;
    hs_attention_in a = { .qkv = qkv, .starts = in->starts, .where = in->where };
    if (g->mode == HS_DECODE) {
        hs_tensor *cache = hs_state_get(g, "cache", g->state_dtype, 2, (int64_t[]){ s->cache_rows, 2 * width });
        a.kv = hs_cache_append(g, cache, qkv, in->rows, width);
        a.keys = in->keys;
    }
    const hs_attention_attr attr = {
        .heads = (int)heads, .causal = true, .dropout = c->dropout, .first_head = g->grid.tp->rank * (int)heads
    };
    return hs_attention(g, a, attr);
}

static hs_tensor *block(hs_graph *g, hs_tensor *x, int layer, const hs_gpt_config *c, const hs_gpt_shape *s, const hs_batch_in *in)
{
    const float std = 0.02f / sqrtf(2 * (float)c->layers); // of what is added to the residual stream
    const size_t mark = hs_push(g, "h%d", layer);

    hs_tensor *h = hs_nn_layernorm(g, x, "ln_1", c->eps);
    h = hs_nn_linear(g, h, "attn.qkv", c->width, 3 * c->width, .shard = HS_SHARD_COL, .parts = 3);
    h = attend(g, h, c, s, in);
    h = hs_nn_linear(g, h, "attn.proj", c->width, c->width, .shard = HS_SHARD_ROW, .std = std);
    h = hs_dropout(g, h, in->where, c->dropout);
    x = hs_add(g, x, h);

    h = hs_nn_layernorm(g, x, "ln_2", c->eps);
    h = hs_nn_linear(g, h, "mlp.up", c->width, 4 * c->width, .shard = HS_SHARD_COL);
    h = hs_gelu(g, h, HS_GELU_TANH);
    h = hs_nn_linear(g, h, "mlp.down", 4 * c->width, c->width, .shard = HS_SHARD_ROW, .std = std);
    h = hs_dropout(g, h, in->where, c->dropout);
    x = hs_add(g, x, h);

    hs_pop(g, mark);
    return x;
}

static hs_tensor *table(hs_graph *g, const char *name, hs_shard shard, int64_t rows, int pad_rows, int64_t width)
{
    return hs_param_get(g, &(hs_param_spec){ .name = name,
                                             .role = HS_EMBED,
                                             .shard = shard,
                                             .init = HS_INIT_NORMAL,
                                             .std = 0.02f,
                                             .pad_rows = pad_rows,
                                             .n_dims = 2,
                                             .dim = { rows, width } });
}

hs_tensor *hs_gpt(hs_graph *g, const hs_gpt_config *c, const hs_gpt_shape *s)
{
    if (hs_gpt_check(c) != HS_OK)
        return hs_graph_fail(g, HS_USAGE, "%s", hs_error());
    const hs_batch_in in = hs_nn_batch(g, s->max_tokens, s->max_seqs);
    hs_tensor *wte = table(g, "wte.weight", HS_SHARD_COL, c->vocab, VOCAB_UNIT, c->width);
    hs_tensor *wpe = table(g, "wpe.weight", HS_SHARD_NONE, c->context, 0, c->width);

    hs_tensor *x = hs_nn_embedding(g, wte, in.ids, wpe, in.where);
    x = hs_dropout(g, x, in.where, c->dropout);
    for (int i = 0; i < c->layers; i++)
        x = block(g, x, i, c, s, &in);
    if (g->mode == HS_DECODE)
        x = hs_gather_rows(g, x, in.picks); // the norm and the large product only for the rows that are asked for
    x = hs_nn_layernorm(g, x, "ln_f", c->eps);

    const size_t mark = hs_push(g, "lm_head");
    const hs_xent_attr loss = { .classes = (int32_t)c->vocab, .ignore = -1, .loss = 0 };
    hs_tensor *y;
    if (g->mode == HS_TRAIN || (g->mode == HS_EVAL && !s->logits)) {
        y = hs_nn_logits_xent(g, x, wte, in.targets, loss);
    } else {
        y = hs_nn_logits(g, x, wte, g->mode == HS_DECODE); // bf16 would leave logits near 100 apart by halves
        hs_output(g, y);
        if (g->mode == HS_EVAL)
            y = hs_xent(g, y, in.targets, loss);
    }
    hs_pop(g, mark);
    return y;
}

const hs_name_rule hs_gpt_names[] = {
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
};
const int hs_gpt_n_names = HS_COUNT(hs_gpt_names);

int64_t hs_gpt_count(const hs_gpt_config *c)
{
    const int64_t C = c->width, per_layer = 12 * C * C + 13 * C; // products 3 + 1 + 4 + 4, their biases 9, norms 4
    return (c->vocab + c->context) * C + c->layers * per_layer + 2 * C;
}

double hs_gpt_flops_per_token(const hs_gpt_config *c, int64_t seq)
{
    const double n = (double)(hs_gpt_count(c) - c->context * c->width);
    return 6 * n + 6.0 * c->layers * (double)c->width * (double)seq;
}
