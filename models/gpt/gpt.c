// gpt: as transformers' GPT2LMHeadModel computes it - pre-norm blocks, gelu by tanh, output tied to the embedding.

#include "models/gpt/gpt.h"
#include "models/nn/taps.h"
#include "models/nn/task_head.h"
#include <math.h>

enum { VOCAB_UNIT = 64 }; // stored rows of the embedding on each rank are a multiple: whole vectors

static hs_tensor *block(hs_graph *g, hs_tensor *x, int layer, const hs_gpt_config *c, const hs_arch_shape *s, const hs_batch_in *in)
{
    const float std = 0.02f / sqrtf(2 * (float)c->layers); // of what is added to the residual stream
    const size_t mark = hs_push(g, "h%d", layer);
    hs_block_begin(g);

    hs_tensor *h = hs_nn_layernorm(g, x, "ln_1", (float)c->eps);
    h = hs_nn_linear(g, h, "attn.qkv", c->width, 3 * c->width, .shard = HS_SHARD_COL, .parts = 3);
    hs_nn_tap_qkv(g, s, layer, h, in->starts);
    h = hs_nn_causal(g, h, in, c->heads, (float)c->dropout);
    h = hs_nn_linear(g, h, "attn.proj", c->width, c->width, .shard = HS_SHARD_ROW, .std = std);
    h = hs_dropout(g, h, in->where, (float)c->dropout);
    x = hs_add(g, x, h);

    h = hs_nn_layernorm(g, x, "ln_2", (float)c->eps);
    h = hs_nn_linear(g, h, "mlp.up", c->width, 4 * c->width, .shard = HS_SHARD_COL);
    h = hs_gelu(g, h, HS_GELU_TANH);
    h = hs_nn_linear(g, h, "mlp.down", 4 * c->width, c->width, .shard = HS_SHARD_ROW, .std = std);
    h = hs_dropout(g, h, in->where, (float)c->dropout);
    x = hs_add(g, x, h);

    hs_block_end(g);
    hs_pop(g, mark);
    return x;
}

// As GPT2ForSequenceClassification (the last token, no bias), GPT2ForTokenClassification and GPT2ForQuestionAnswering have it.
static hs_tensor *task(hs_graph *g, const hs_gpt_config *c, const hs_arch_shape *s, hs_tensor *x, const hs_batch_in *in)
{
    const hs_task_head *h = &c->head;
    if (hs_task_is_class(h))
        x = hs_pool(g, x, in->starts, NULL, HS_POOL_LAST);
    else if (h->task == HS_TASK_TOKENS)
        x = hs_dropout(g, x, in->where, h->dropout >= 0 ? (float)h->dropout : 0.1f);
    x = hs_nn_task_logits(g, h, x, c->width, !hs_task_is_class(h));
    return hs_nn_task_loss(g, h, s, x, in->starts, NULL);
}

// Logits are products with the table of tokens; in training they meet the loss alone.
static hs_tensor *next_tokens(hs_graph *g, const hs_gpt_config *c, const hs_arch_shape *s, hs_tensor *x, hs_tensor *wte, hs_tensor *targets)
{
    const hs_xent_attr loss = { .classes = (int32_t)c->vocab, .ignore = -1, .loss = HS_LOSS_TOKENS };
    if (hs_nn_tapped(s, HS_TAP_LOGITS))
        hs_nn_tap_logits(g, s, hs_nn_logits(g, x, wte, NULL, true), c->vocab, targets);
    if (hs_nn_teaches(s) || (g->mode == HS_TRAIN && s->distill.no_hard))
        return x;
    if (g->mode == HS_TRAIN || (g->mode == HS_EVAL && !s->logits))
        return hs_nn_logits_xent(g, x, wte, NULL, targets, loss);
    hs_tensor *y = hs_nn_logits(g, x, wte, NULL, g->mode == HS_DECODE); // bf16 would leave logits near 100 apart by halves
    hs_output(g, y);
    return g->mode == HS_EVAL ? hs_xent(g, y, targets, loss) : y;
}

hs_tensor *hs_gpt(hs_graph *g, const hs_gpt_config *c, const hs_arch_shape *s)
{
    if (hs_gpt_check(c) != HS_OK)
        return hs_graph_fail(g, HS_USAGE, "%s", hs_error());
    if (c->vocab < 2)
        return hs_graph_fail(g, HS_USAGE, "model.vocab is %lld, needs at least 2", (long long)c->vocab);
    if (c->head.task && s->padded)
        return hs_graph_fail(g, HS_USAGE, "data.layout is padded: a GPT with model.task reads sequences without padding");
    hs_arch_shape batch = *s;
    batch.hidden |= c->head.task != HS_TASK_NONE || hs_nn_teaches(s); // then no token has a target
    const hs_batch_in in = hs_nn_batch(g, &batch);
    hs_tensor *wte = hs_nn_table(g, "wte.weight", HS_SHARD_COL, c->vocab, VOCAB_UNIT, c->width);
    hs_tensor *wpe = hs_nn_table(g, "wpe.weight", HS_SHARD_NONE, c->context, 0, c->width);

    hs_nn_states states = { 0 };
    hs_tensor *x = hs_nn_embedding(g, wte, in.ids, wpe, in.where);
    x = hs_dropout(g, x, in.where, (float)c->dropout);
    for (int i = 0; i < c->layers; i++) {
        hs_nn_keep_state(s, &states, i, x);
        x = block(g, x, i, c, s, &in);
    }
    if (g->mode == HS_DECODE)
        x = hs_gather_rows(g, x, in.picks); // the norm and the large product only for the rows that are asked for
    x = hs_nn_whole(g, hs_nn_layernorm(g, x, "ln_f", (float)c->eps));
    if (g->mode == HS_EVAL && s->hidden) {
        hs_output(g, hs_cast(g, x, HS_F32));
        if (c->head.task)
            hs_nn_task_params(g, &c->head, c->width, !hs_task_is_class(&c->head));
        return x;
    }
    hs_nn_keep_state(s, &states, c->layers, x);
    hs_nn_tap_hidden(g, s, &states);
    if (hs_nn_teaches(s) && !s->distill.tap[HS_TAP_LOGITS])
        return x;
    if (c->head.task)
        return task(g, c, s, x, &in);

    const size_t mark = hs_push(g, "lm_head");
    hs_tensor *y = next_tokens(g, c, s, x, wte, in.targets);
    hs_pop(g, mark);
    return y;
}
