// encoder: transformers' Bert*, Roberta*, DistilBert*, Albert*, Electra*, Ernie* models, one function.
#include "models/encoder/encoder.h"
#include "core/graph/mask_draw.h"
#include "models/nn/taps.h"
#include "models/nn/task_head.h"

enum {
    VOCAB_UNIT = 64, // stored rows of the embedding on each rank are a multiple: whole vectors
    PAIR_UNIT = 8,   // stored rows of a head of two classes
};

typedef struct inputs {
    hs_tensor *ids, *types, *tasks, *starts, *where, *keys; // types, tasks, keys: NULL where the model or the batch has none
    hs_tensor *picks, *targets;                             // NULL: not there yet
} inputs;

typedef struct encoder { // one trace
    const hs_encoder_kind *kind;
    const hs_encoder_config *c;
    const hs_arch_shape *shape;
    inputs in;
    hs_tensor *words; // the table, which is the output as well
    float eps, dropout;
    hs_nn_states states;
    const char *heads_key; // which setting says how many heads
} encoder;

static hs_tensor *input(hs_graph *g, const char *name, hs_ext ext, int64_t rows, int64_t cols)
{
    return hs_input(g, name, HS_I32, ext, cols > 1 ? 2 : 1, (int64_t[]){ rows, cols });
}

static hs_tensor *optional(hs_graph *g, const char *name, hs_ext ext, int64_t rows, double otherwise)
{
    hs_tensor *t = input(g, name, ext, rows, 1);
    hs_input_default(g, t, otherwise);
    return t;
}

static int64_t most_picks(const hs_arch_shape *s) { return s->max_picks > 0 ? s->max_picks : 1; }

static inputs inputs_of(hs_graph *g, const hs_encoder_config *c, const hs_arch_shape *s)
{
    inputs in = { 0 };
    in.ids = input(g, "ids", HS_EXT_TOKENS, s->max_tokens, 1);
    // one type is everybody's, whatever a batch says of its segments
    if (c->types)
        in.types = optional(g, c->types > 1 ? "token_types" : "only_type", HS_EXT_TOKENS, s->max_tokens, 0);
    if (c->tasks)
        in.tasks = optional(g, "task_types", HS_EXT_TOKENS, s->max_tokens, 0);
    in.starts = input(g, "starts", HS_EXT_STARTS, s->max_seqs + 1, 1);
    in.where = input(g, "where", HS_EXT_TOKENS, s->max_tokens, 2);
    if (s->padded)
        in.keys = input(g, "keys", HS_EXT_SEQS, s->max_seqs, 3);
    if (s->draws_masks && g->mode == HS_TRAIN) {
        hs_tensor *draws = input(g, "mask_draws", HS_EXT_SEQS, s->max_seqs, HS_DRAW_CELLS);
        hs_tensor *special = input(g, "mask_special", HS_EXT_FIXED, HS_DRAW_SPECIAL, 1);
        in.ids = hs_mask_tokens(g, in.ids, in.starts, draws, special, most_picks(s), &in.picks, &in.targets);
    }
    return in;
}

static hs_tensor *picks_of(hs_graph *g, const encoder *e)
{
    return e->in.picks ? e->in.picks : input(g, "picks", HS_EXT_PICKS, most_picks(e->shape), 1);
}

static hs_tensor *targets_of(hs_graph *g, const encoder *e)
{
    return e->in.targets ? e->in.targets : input(g, "pick_targets", HS_EXT_PICKS, most_picks(e->shape), 1);
}

// ---- layers

// layernorm(residual + dropout(x + bias)) in one pass.
static hs_tensor *add_norm(hs_graph *g, const encoder *e, hs_tensor *x, hs_tensor *bias, hs_tensor *residual, const char *norm, float p)
{
    hs_tensor *gamma, *beta;
    hs_nn_norm_params(g, norm, hs_tensor_width(x), &gamma, &beta);
    return hs_bias_dropout_residual_layernorm(g, x, bias, residual, gamma, beta, e->in.where, g->mode == HS_TRAIN ? p : 0, e->eps);
}

static hs_tensor *activation(hs_graph *g, hs_tensor *x, hs_tensor *bias, int act)
{
    if (act == HS_ENCODER_RELU)
        return hs_relu(g, hs_bias_add(g, x, bias));
    return hs_bias_gelu(g, x, bias, act == HS_ENCODER_GELU ? HS_GELU_ERF : HS_GELU_TANH);
}

// x's rows of first tokens alone.
static hs_tensor *first_tokens(hs_graph *g, const encoder *e, hs_tensor *x)
{
    return hs_ext_counter(x->ext) == HS_COUNT_SEQS ? x : hs_pool(g, x, e->in.starts, NULL, HS_POOL_FIRST);
}

// Behind this layer's attention, through which all tokens are heard, nobody reads another row.
static bool ends_lean(const hs_graph *g, const encoder *e, int layer)
{
    return e->shape->lean && g->mode == HS_EVAL && layer == e->c->layers - 1 && hs_task_is_class(&e->c->head) && !e->kind->pre_norm &&
           !e->shape->distill.role && !g->sequence;
}

static hs_tensor *attention(hs_graph *g, const encoder *e, hs_tensor *x, int layer, hs_tensor **bias)
{
    const hs_encoder_config *c = e->c;
    const int64_t mine = hs_nn_share(g, c->heads, e->heads_key);
    hs_tensor *qkv = hs_nn_linear(g, x, "attn.qkv", c->width, 3 * hs_encoder_attended(c), .shard = HS_SHARD_COL, .parts = 3);
    hs_nn_tap_qkv(g, e->shape, layer, qkv, e->in.starts);
    const hs_attention_in in = { .qkv = qkv, .starts = e->in.starts, .keys = e->in.keys, .where = e->in.where };
    const hs_attention_attr attr = { .heads = (int)mine,
                                     .dropout = g->mode == HS_TRAIN ? (float)c->attention_dropout : 0,
                                     .first_head = g->grid.tp->rank * (int)mine,
                                     .longest = (int)e->shape->longest,
                                     .full = e->shape->full && g->mode == HS_TRAIN,
                                     .library_masks = e->shape->library_masks,
                                     .any_order = e->shape->any_order };
    hs_tensor *y = hs_attention(g, in, attr);
    if (ends_lean(g, e, layer))
        y = first_tokens(g, e, y);
    return hs_nn_linear(g, y, "attn.out", hs_encoder_attended(c), c->width, .shard = HS_SHARD_ROW, .bias = bias);
}

static hs_tensor *feed_forward(hs_graph *g, const encoder *e, hs_tensor *x, hs_tensor **bias)
{
    const int64_t width = e->c->width, ff = hs_encoder_ff(e->c);
    hs_tensor *up, *h = hs_nn_linear(g, x, "ff.up", width, ff, .shard = HS_SHARD_COL, .bias = &up);
    return hs_nn_linear(g, activation(g, h, up, e->c->act), "ff.down", ff, width, .shard = HS_SHARD_ROW, .bias = bias);
}

static hs_tensor *post_norm_layer(hs_graph *g, const encoder *e, hs_tensor *x, int layer)
{
    hs_tensor *bias, *y = attention(g, e, x, layer, &bias);
    if (ends_lean(g, e, layer))
        x = first_tokens(g, e, x);
    x = add_norm(g, e, y, bias, x, "attn.norm", e->kind->no_attention_out_dropout ? 0 : e->dropout);
    y = feed_forward(g, e, x, &bias);
    return add_norm(g, e, y, bias, x, "ff.norm", e->kind->no_ff_out_dropout ? 0 : e->dropout);
}

static hs_tensor *pre_norm_layer(hs_graph *g, const encoder *e, hs_tensor *x, int layer)
{
    hs_tensor *bias, *y = attention(g, e, hs_nn_layernorm(g, x, "attn.norm", e->eps), layer, &bias);
    x = hs_add(g, x, hs_dropout(g, hs_bias_add(g, y, bias), e->in.where, e->dropout));
    y = feed_forward(g, e, hs_nn_layernorm(g, x, "ff.norm", e->eps), &bias);
    return hs_add(g, x, hs_dropout(g, hs_bias_add(g, y, bias), e->in.where, e->dropout));
}

// Layers that share parameters share a scope; each use is a node of its own, with masks of its own.
static hs_tensor *layers(hs_graph *g, encoder *e, hs_tensor *x)
{
    const hs_encoder_config *c = e->c;
    for (int64_t i = 0; i < c->layers; i++) {
        hs_nn_keep_state(e->shape, &e->states, i, x);
        const size_t mark = hs_push(g, "l%d", (int)(c->groups ? i / (c->layers / c->groups) : i));
        hs_block_begin(g);
        x = e->kind->pre_norm ? pre_norm_layer(g, e, x, (int)i) : post_norm_layer(g, e, x, (int)i);
        hs_block_end(g);
        hs_pop(g, mark);
    }
    x = hs_nn_whole(g, e->kind->pre_norm ? hs_nn_layernorm(g, x, "norm", e->eps) : x);
    hs_nn_keep_state(e->shape, &e->states, c->layers, x);
    return x;
}

// ---- embeddings
// What tables say of the tokens, as wide as the tables are.
static hs_tensor *lookups(hs_graph *g, encoder *e)
{
    const hs_encoder_config *c = e->c;
    const int64_t width = hs_encoder_embed_width(c), first = e->kind->positions_behind_pad ? c->pad + 1 : 0;
    const size_t mark = hs_push(g, "embed");
    e->words = hs_nn_table(g, "word.weight", HS_SHARD_COL, c->vocab, VOCAB_UNIT, width);
    hs_tensor *places = hs_nn_table(g, "position.weight", HS_SHARD_NONE, hs_encoder_positions(e->kind, c), 0, width);
    hs_tensor *x = hs_nn_embedding_from(g, e->words, e->in.ids, places, e->in.where, first);
    hs_tensor *type = NULL;
    if (c->types) {
        hs_tensor *table = hs_nn_table(g, "type.weight", HS_SHARD_NONE, c->types, 0, width);
        type = hs_nn_embedding(g, table, e->in.types, NULL, NULL);
    }
    if (c->tasks) {
        hs_tensor *table = hs_nn_table(g, "task.weight", HS_SHARD_NONE, c->tasks, 0, width);
        x = hs_add(g, x, hs_nn_embedding(g, table, e->in.tasks, NULL, NULL));
    }
    // the last sum and its norm in one pass
    x = type ? add_norm(g, e, type, NULL, x, "norm", 0) : hs_nn_layernorm(g, x, "norm", e->eps);
    x = hs_dropout(g, x, e->in.where, e->dropout);
    hs_pop(g, mark);
    return x;
}

// To the width of the model.
static hs_tensor *project(hs_graph *g, const encoder *e, hs_tensor *x)
{
    const int64_t width = hs_encoder_embed_width(e->c);
    if (width == e->c->width)
        return x;
    const size_t mark = hs_push(g, "embed");
    x = hs_nn_linear(g, x, "project", width, e->c->width);
    hs_pop(g, mark);
    return x;
}

static hs_tensor *embeddings(hs_graph *g, encoder *e) { return project(g, e, lookups(g, e)); }

// ---- heads

static hs_tensor *pooler(hs_graph *g, const encoder *e, hs_tensor *x)
{
    return hs_tanh(g, hs_nn_linear(g, first_tokens(g, e, x), "pooler", e->c->width, e->c->width));
}

static hs_tensor *output_bias(hs_graph *g, const encoder *e)
{
    return hs_param_get(g, &(hs_param_spec){ .name = "bias",
                                             .role = HS_BIAS,
                                             .shard = HS_SHARD_COL,
                                             .init = HS_INIT_ZERO,
                                             .pad_rows = VOCAB_UNIT,
                                             .n_dims = 1,
                                             .dim = { e->c->vocab } });
}

static bool no_loss(const hs_graph *g, const encoder *e) { return e->shape->lean && g->mode == HS_EVAL; }

// What rows of x meet the table of words with.
static hs_tensor *word_features(hs_graph *g, const encoder *e, hs_tensor *x)
{
    hs_tensor *dense, *h = hs_nn_linear(g, x, "dense", e->c->width, hs_encoder_embed_width(e->c), .bias = &dense);
    return hs_nn_layernorm(g, activation(g, h, dense, e->kind->head_gelu ? HS_ENCODER_GELU : e->c->act), "norm", e->eps);
}

// Logits, only of rows that are predicted, are products with the table of words. A teacher and its student may look at every row.
static hs_tensor *predictions(hs_graph *g, const encoder *e, hs_tensor *x)
{
    const hs_arch_shape *s = e->shape;
    const hs_xent_attr attr = { .classes = (int32_t)e->c->vocab, .ignore = -1, .loss = HS_LOSS_TOKENS };
    const bool tapped = hs_nn_tapped(s, HS_TAP_LOGITS), every = tapped && s->distill.every_row, teaches = hs_nn_teaches(s);
    hs_tensor *picks = teaches && every ? NULL : picks_of(g, e), *targets = teaches || no_loss(g, e) ? NULL : targets_of(g, e);
    const size_t mark = hs_push(g, "mlm");
    hs_tensor *h = word_features(g, e, every ? x : hs_gather_rows(g, x, picks));
    hs_tensor *bias = output_bias(g, e), *y = h;
    if (tapped)
        hs_nn_tap_logits(g, s, hs_nn_logits(g, h, e->words, bias, true), e->c->vocab, every ? NULL : targets);
    if (every && !teaches)
        h = hs_gather_rows(g, h, picks);
    if (g->mode == HS_TRAIN && !s->distill.no_hard) {
        y = hs_nn_logits_xent(g, h, e->words, bias, targets, attr);
    } else if (g->mode != HS_TRAIN && !teaches) {
        y = hs_nn_logits(g, h, e->words, bias, true);
        hs_output(g, s->logits ? y : hs_argmax(g, y, (int32_t)e->c->vocab));
        y = targets ? hs_xent(g, y, targets, attr) : y;
    }
    hs_pop(g, mark);
    return y;
}

static const char *const pair_heads[HS_LOSSES] = { [HS_LOSS_NEXT] = "next", [HS_LOSS_ORDER] = "order" };

// Two classes of the pooled first token.
static hs_tensor *pair_head(hs_graph *g, const encoder *e, hs_tensor *pooled, hs_loss which, const char *targets)
{
    const bool shown = g->mode == HS_EVAL && !(which == HS_LOSS_ORDER && e->c->next); // of two heads the first
    hs_tensor *target = no_loss(g, e) ? NULL : optional(g, targets, HS_EXT_SEQS, e->shape->max_seqs, -1);
    hs_tensor *y = hs_nn_linear(g, pooled, pair_heads[which], e->c->width, 2, .pad_rows = PAIR_UNIT);
    y = hs_cast(g, y, HS_F32); // sinks into the product
    if (shown)
        hs_output(g, e->shape->logits ? y : hs_argmax(g, y, 2));
    if (!target)
        return y;
    const size_t mark = hs_push(g, "%s", pair_heads[which]);
    y = hs_xent(g, y, target, (hs_xent_attr){ .classes = 2, .ignore = -1, .loss = which });
    hs_pop(g, mark);
    return y;
}

// ---- a task

static float task_dropout(const encoder *e)
{
    const hs_task_head *h = &e->c->head;
    const double standard = e->kind->task_dropout[h->task], whole = h->task == HS_TASK_SPAN ? 0 : e->c->dropout;
    return (float)(h->dropout >= 0 && (standard > 0 || h->task != HS_TASK_SPAN) ? h->dropout : standard > 0 ? standard : whole);
}

static hs_tensor *drop_seqs(hs_graph *g, const encoder *e, hs_tensor *x)
{
    return hs_dropout_seqs(g, x, e->in.where, e->in.starts, task_dropout(e));
}

// What the product of classes reads: [B, C].
static hs_tensor *class_features(hs_graph *g, const encoder *e, hs_tensor *x)
{
    const hs_encoder_class kind = e->kind->class_head;
    hs_tensor *bias;
    if (kind == HS_CLASS_POOLER)
        return drop_seqs(g, e, pooler(g, e, x));
    x = first_tokens(g, e, x);
    if (kind != HS_CLASS_RELU)
        x = drop_seqs(g, e, x);
    x = hs_nn_linear(g, x, "class.dense", e->c->width, e->c->width, .bias = &bias);
    x = kind == HS_CLASS_TANH ? hs_tanh(g, hs_bias_add(g, x, bias))
                              : activation(g, x, bias, kind == HS_CLASS_GELU ? HS_ENCODER_GELU : HS_ENCODER_RELU);
    return drop_seqs(g, e, x);
}

static hs_tensor *task(hs_graph *g, const encoder *e, hs_tensor *x)
{
    const hs_task_head *h = &e->c->head;
    x = hs_task_is_class(h) ? class_features(g, e, x) : hs_dropout(g, x, e->in.where, task_dropout(e));
    x = hs_nn_task_logits(g, h, x, e->c->width, true);
    return hs_nn_task_loss(g, h, e->shape, x, e->in.starts, e->in.keys);
}

static hs_tensor *heads(hs_graph *g, const encoder *e, hs_tensor *x)
{
    const hs_encoder_config *c = e->c;
    const bool teaches = hs_nn_teaches(e->shape);
    hs_nn_tap_hidden(g, e->shape, &e->states);
    if (teaches && !e->shape->distill.tap[HS_TAP_LOGITS])
        return x;
    if (c->head.task)
        return task(g, e, x);
    hs_tensor *y = x;
    if (c->mlm)
        y = predictions(g, e, x);
    if (teaches)
        return y;
    hs_tensor *pooled = hs_encoder_pooled(e->kind, c) ? pooler(g, e, x) : NULL;
    if (c->next)
        y = pair_head(g, e, pooled, HS_LOSS_NEXT, "pair_targets");
    if (c->order)
        y = pair_head(g, e, pooled, HS_LOSS_ORDER, "order_targets");
    return y;
}

// ---- ELECTRA: a generator fills the places that are predicted, and the model says of every token whether it is the one that stood there
// What the generator draws; its loss. It gets no gradient from the judge: what is drawn is data.
static hs_tensor *drawn_tokens(hs_graph *g, const encoder *e, hs_tensor *x, hs_tensor *picks, hs_tensor *targets)
{
    const int32_t vocab = (int32_t)e->c->vocab;
    const hs_xent_attr attr = { .classes = vocab, .ignore = -1, .loss = HS_LOSS_TOKENS };
    const size_t mark = hs_push(g, "mlm");
    hs_tensor *h = word_features(g, e, hs_gather_rows(g, x, picks)), *bias = output_bias(g, e);
    hs_tensor *logits = hs_nn_logits(g, h, e->words, bias, true);
    hs_tensor *drawn = hs_draw(g, logits, picks, e->in.where, vocab, g->mode != HS_TRAIN);
    if (g->mode == HS_TRAIN) { // in chunks, with gradients of its own: those of the logits would overwrite what was drawn from
        hs_nn_logits_xent(g, h, e->words, bias, targets, attr);
    } else {
        hs_output(g, e->shape->logits ? logits : hs_argmax(g, logits, vocab));
        hs_xent(g, logits, targets, attr);
    }
    hs_pop(g, mark);
    return drawn;
}

static hs_tensor *judge(hs_graph *g, const encoder *e, hs_tensor *x, hs_tensor *label)
{
    hs_tensor *dense;
    const size_t mark = hs_push(g, "judge");
    x = hs_nn_linear(g, x, "dense", e->c->width, e->c->width, .bias = &dense);
    x = hs_nn_linear(g, activation(g, x, dense, e->c->act), "out", e->c->width, 1, .pad_rows = PAIR_UNIT);
    x = hs_cast(g, x, HS_F32); // sinks into the product
    if (g->mode == HS_EVAL)
        hs_output(g, x), hs_output(g, label);
    x = hs_bce(g, x, label, NULL, (hs_label_attr){ .labels = 1, .loss = HS_LOSS_REPLACED });
    hs_pop(g, mark);
    return x;
}

static hs_tensor *replaced(hs_graph *g, encoder *e)
{
    const hs_encoder_config small = hs_encoder_generator(e->c);
    encoder generator = *e;
    generator.c = &small, generator.heads_key = "model.generator_heads";
    if (e->shape->distill.role)
        return hs_graph_fail(g, HS_USAGE, "model.generator is %lld: a model beside its generator neither teaches nor is taught",
                             (long long)e->c->generator);
    hs_tensor *picks = picks_of(g, e), *targets = targets_of(g, e), *label;
    hs_tensor *x = e->c->untied ? NULL : lookups(g, &generator); // tables that both have
    const size_t mark = hs_push(g, "gen");
    x = project(g, &generator, x ? x : lookups(g, &generator));
    hs_tensor *drawn = drawn_tokens(g, &generator, layers(g, &generator, x), picks, targets);
    hs_pop(g, mark);
    e->in.ids = hs_replace(g, e->in.ids, picks, drawn, targets, &label);
    return judge(g, e, layers(g, e, embeddings(g, e)), label);
}

static void heads_unused(hs_graph *g, const encoder *e)
{
    hs_tensor *weight, *bias;
    const size_t mark = hs_push(g, "mlm");
    if (e->c->mlm) {
        const int64_t width = hs_encoder_embed_width(e->c);
        hs_nn_linear_params(g, "dense", e->c->width, width, (hs_linear_opts){ 0 }, &weight, &bias);
        hs_nn_norm_params(g, "norm", width, &weight, &bias);
        output_bias(g, e);
    }
    hs_pop(g, mark);
    for (int i = HS_LOSS_NEXT; i <= HS_LOSS_ORDER; i++)
        if (hs_encoder_wears(e->c, (hs_loss)i))
            hs_nn_linear_params(g, pair_heads[i], e->c->width, 2, (hs_linear_opts){ .pad_rows = PAIR_UNIT }, &weight, &bias);
    if (hs_task_is_class(&e->c->head) && e->kind->class_head != HS_CLASS_POOLER)
        hs_nn_linear_params(g, "class.dense", e->c->width, e->c->width, (hs_linear_opts){ 0 }, &weight, &bias);
    if (e->c->head.task)
        hs_nn_task_params(g, &e->c->head, e->c->width, true);
}

static hs_tensor *hidden(hs_graph *g, const encoder *e, hs_tensor *x)
{
    x = hs_cast(g, x, HS_F32);
    hs_output(g, x);
    if (hs_encoder_pooled(e->kind, e->c))
        hs_output(g, hs_cast(g, pooler(g, e, x), HS_F32));
    heads_unused(g, e);
    return x;
}

hs_tensor *hs_encoder(hs_graph *g, const hs_encoder_kind *kind, const hs_encoder_config *c, const hs_arch_shape *s)
{
    if (hs_encoder_check(c) != HS_OK)
        return hs_graph_fail(g, HS_USAGE, "%s", hs_error());
    if (c->vocab < 2)
        return hs_graph_fail(g, HS_USAGE, "model.vocab is %lld, needs at least 2", (long long)c->vocab);
    if (!c->mlm && !c->next && !c->order && !c->head.task && !c->generator && !s->hidden && !s->distill.role)
        return hs_graph_fail(
            g, HS_USAGE, "model.mlm, model.next and model.order are false: a model without a head has no loss (model.mlm: true adds one)");
    encoder e = { .kind = kind, .c = c, .shape = s, .eps = (float)c->eps, .dropout = (float)c->dropout, .heads_key = "model.heads" };
    e.in = inputs_of(g, c, s);
    if (c->generator && !s->hidden)
        return replaced(g, &e);
    hs_tensor *x = layers(g, &e, embeddings(g, &e));
    return s->hidden ? hidden(g, &e, x) : heads(g, &e, x);
}
