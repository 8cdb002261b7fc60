// encoder_keys: what the rows of the family have in common - keys of model.*, keys of config.json, names of the parts that are called
// alike. A family's file gives defaults, its own words, and what it lacks.
#ifndef HS_MODELS_ENCODER_KEYS_H
#define HS_MODELS_ENCODER_KEYS_H
#include "models/encoder/encoder.h"
#include "models/nn/task_head.h"

#define HS_ENC_AT(field) .offset = offsetof(hs_encoder_config, field)

// ---- model.*: rows of hs_key, `standard` as one would write it
#define HS_ENC_INT(word, field, standard, least, most, unit_, text)                                                                        \
    {                                                                                                                                      \
        .name = "model." word, .type = HS_KEY_INT, HS_ENC_AT(field), .value = standard, .min = least, .max = most, .unit = unit_,          \
        .help = text                                                                                                                       \
    }
#define HS_ENC_REAL(word, field, standard, least, most, text)                                                                              \
    {                                                                                                                                      \
        .name = "model." word, .type = HS_KEY_REAL, HS_ENC_AT(field), .value = standard, .min = least, .max = most, .help = text           \
    }
#define HS_ENC_BOOL(word, field, standard, text)                                                                                           \
    {                                                                                                                                      \
        .name = "model." word, .type = HS_KEY_BOOL, HS_ENC_AT(field), .value = standard, .help = text                                      \
    }
#define HS_ENC_SIZES(context_)                                                                                                             \
    HS_ENC_INT("layers", layers, "4", 1, 1000, NULL, "transformer blocks"),                                                                \
        HS_ENC_INT("heads", heads, "4", 1, 1024, NULL, "attention heads; must divide model.width"),                                        \
        HS_ENC_INT("width", width, "256", 8, 65536, NULL, "channels of the residual stream; a multiple of 8"),                             \
        HS_ENC_INT("ff", ff, "0", 0, 1048576, NULL, "width of the feed-forward's inside; 0: 4 x model.width"),                             \
        { .name = "model.head_width",                                                                                                      \
          .type = HS_KEY_INT,                                                                                                              \
          HS_ENC_AT(head_width),                                                                                                           \
          .value = "0",                                                                                                                    \
          .min = 0,                                                                                                                        \
          .max = 65536,                                                                                                                    \
          .help = "channels of a head, of a model that heads were left out of (halfstep prune); 0: model.width / model.heads",             \
          .advanced = true },                                                                                                              \
        HS_ENC_INT("context", context, context_, 1, 1048576, "tokens", "longest sequence"),                                                \
        HS_ENC_INT("vocab", vocab, "0", 0, 1000000, "tokens", "size of the vocabulary; 0: the tokenizer's")
#define HS_ENC_TYPES(standard) HS_ENC_INT("types", types, standard, 1, 1024, NULL, "segments that have an embedding")
#define HS_ENC_EMBED_WIDTH(standard)                                                                                                       \
    HS_ENC_INT("embed_width", embed_width, standard, 0, 65536, NULL, "channels of the embeddings; 0: model.width")
#define HS_ENC_ACTS "gelu|gelu_tanh|relu" // in the order of hs_encoder_act
#define HS_ENC_REST(act_, dropout_)                                                                                                        \
    { .name = "model.activation",                                                                                                          \
      .type = HS_KEY_CHOICE,                                                                                                               \
      HS_ENC_AT(act),                                                                                                                      \
      .value = act_,                                                                                                                       \
      .choices = HS_ENC_ACTS,                                                                                                              \
      .help = "inside the feed-forward: the exact gelu, its tanh form, or relu" },                                                         \
        HS_ENC_REAL("dropout", dropout, dropout_, 0, 0.95, "dropout probability while training"),                                          \
        HS_ENC_REAL("attention_dropout", attention_dropout, dropout_, 0, 0.95, "dropout probability of attention while training")
#define HS_ENC_EPS(standard, least, most)                                                                                                  \
    {                                                                                                                                      \
        .name = "model.eps", .type = HS_KEY_REAL, HS_ENC_AT(eps), .value = standard, .min = least, .max = most,                            \
        .help = "epsilon of layer norms", .advanced = true                                                                                 \
    }
#define HS_ENC_MLM    HS_ENC_BOOL("mlm", mlm, "true", "a head that predicts masked tokens")
#define HS_ENC_NEXT   HS_ENC_BOOL("next", next, "true", "a head that says whether the second segment followed the first")
#define HS_ENC_ORDER  HS_ENC_BOOL("order", order, "true", "a head that says whether the two segments stand in their order")
#define HS_ENC_POOLER HS_ENC_BOOL("pooler", pooler, "false", "a pooled first token though no head reads it, of models that only encode")
#define HS_ENC_PAD                                                                                                                         \
    HS_ENC_INT("pad", pad, "1", 0, 1000000, NULL,                                                                                          \
               "id of the padding token, the tokenizer's; the first token of a text is at position pad + 1 of the table")
#define HS_ENC_GENERATOR                                                                                                                   \
    HS_ENC_INT(                                                                                                                            \
        "generator", generator, "0", 0, 65536, NULL,                                                                                       \
        "width of a generator that is trained beside it, ELECTRA's pretraining: the model judges which tokens it replaced; 0: none"),      \
        HS_ENC_INT("generator_heads", generator_heads, "0", 0, 1024, NULL, "attention heads of the generator; 0: one for 64 channels"),    \
        HS_ENC_BOOL("untied", untied, "false", "the generator has embeddings of its own")
#define HS_ENC_TASK HS_TASK_KEYS(hs_encoder_config, head)
#define HS_ENC_OWN  "model.dropout|model.attention_dropout|model.task_dropout|model.generator|model.generator_heads|model.untied"

// ---- config.json: rows of hs_file_key
#define HS_ENC_FILE_INT(name, field, least, standard)                                                                                      \
    .key = name, .type = HS_FILE_INT, HS_ENC_AT(field), .value = standard, .min = least, .max = INT32_MAX
// How many heads there are, and which ones transformers is to leave out of those that model.width has room for.
#define HS_ENC_FILE_HEADS(name, layers_key)                                                                                                \
    { HS_ENC_FILE_INT(name, heads, 1, NULL), .share = offsetof(hs_encoder_config, head_width),                                             \
      .shared = offsetof(hs_encoder_config, width) },                                                                                      \
    {                                                                                                                                      \
        .key = "pruned_heads", .also = layers_key, .type = HS_FILE_PRUNED, HS_ENC_AT(heads),                                               \
        .share = offsetof(hs_encoder_config, head_width), .shared = offsetof(hs_encoder_config, width)                                     \
    }
#define HS_ENC_FILE_REAL(name, field, standard, most)                                                                                      \
    .key = name, .type = HS_FILE_REAL, HS_ENC_AT(field), .value = standard, .min = 0, .max = most
#define HS_ENC_FILE_ONLY(name, only) .key = name, .type = HS_FILE_FIXED, .value = only, .accepts = only
#define HS_ENC_FILE_HOLDS(tensor, field, unless)                                                                                           \
    {                                                                                                                                      \
        .key = tensor, .type = HS_FILE_HOLDS, HS_ENC_AT(field), .accepts = unless                                                          \
    }
#define HS_ENC_FILE_ACT(name)                                                                                                              \
    {                                                                                                                                      \
        .key = name, .type = HS_FILE_CHOICE, HS_ENC_AT(act), .value = "gelu",                                                              \
        .accepts = "gelu,gelu_python|gelu_new,gelu_pytorch_tanh,gelu_python_tanh|relu", .asks = "another activation"                       \
    }
// What BERT, RoBERTa, ALBERT, ELECTRA and ERNIE write alike; eps, context, types and ids are each one's own.
#define HS_ENC_FILE_COMMON(eps_)                                                                                                           \
    { HS_ENC_FILE_INT("num_hidden_layers", layers, 1, NULL) }, HS_ENC_FILE_HEADS("num_attention_heads", "num_hidden_layers"),              \
        { HS_ENC_FILE_INT("hidden_size", width, 1, NULL) },                                                                                \
        { HS_ENC_FILE_INT("intermediate_size", ff, 1, NULL), .times = 4, .of = offsetof(hs_encoder_config, width) },                       \
        { HS_ENC_FILE_INT("vocab_size", vocab, 1, NULL) }, HS_ENC_FILE_ACT("hidden_act"),                                                  \
        { HS_ENC_FILE_REAL("hidden_dropout_prob", dropout, "0.1", 0.999999) },                                                             \
        { HS_ENC_FILE_REAL("attention_probs_dropout_prob", attention_dropout, "0.1", 0.999999) },                                          \
        { .key = "layer_norm_eps", .type = HS_FILE_REAL, HS_ENC_AT(eps), .value = eps_, .min = 1e-30, .max = 0.999999 }, HS_ENC_FILE_CODE
// What transformers can do elsewhere.
#define HS_ENC_FILE_CODE                                                                                                                   \
    { HS_ENC_FILE_ONLY("position_embedding_type", "absolute"), .asks = "positions by distance", .read_only = true },                       \
        { HS_ENC_FILE_ONLY("is_decoder", "false"), .asks = "attention to what stands before alone", .read_only = true },                   \
        { HS_ENC_FILE_ONLY("add_cross_attention", "false"), .asks = "attention to an encoder", .read_only = true },                        \
        { HS_ENC_FILE_ONLY("tie_word_embeddings", "true"), .asks = "a head of its own" },                                                  \
    {                                                                                                                                      \
        .key = "initializer_range", .type = HS_FILE_FIXED, .value = "0.02"                                                                 \
    }
#define HS_ENC_FILE_TOKEN(name, role)                                                                                                      \
    {                                                                                                                                      \
        .key = name, .type = HS_FILE_TOKEN, .value = role                                                                                  \
    }

#define HS_ENC_FILE_TASK HS_TASK_FILE_KEYS(hs_encoder_config, head)
// Dropout of the head; `standard` is what an absent key means, and what -1 is in ours.
#define HS_ENC_FILE_TASK_DROPOUT(name, standard)                                                                                           \
    .key = name, .type = HS_FILE_REAL, HS_ENC_AT(head.dropout), .value = standard, .unset = true, .min = 0, .max = 0.999999
// Classes of transformers with a head for: sequences, tokens, spans.
#define HS_ENC_CLASSES(name)                                                                                                               \
    static const char task_classes[] = name "ForSequenceClassification|" name "ForTokenClassification|" name "ForQuestionAnswering"

// ---- names. Ours are the same in all families: embed.word, l0.attn.qkv, mlm.dense, ...
#define HS_ENC_PAIR(ours, theirs)                                                                                                          \
    { ours ".weight", theirs ".weight", false, 0 }, { ours ".bias", theirs ".bias", false, 0 }
#define HS_ENC_QKV(query, key, value)                                                                                                      \
    { "l%d.attn.qkv.weight", query ".weight", false, 1 }, { "l%d.attn.qkv.bias", query ".bias", false, 1 },                                \
        { "l%d.attn.qkv.weight", key ".weight", false, 2 }, { "l%d.attn.qkv.bias", key ".bias", false, 2 },                                \
        { "l%d.attn.qkv.weight", value ".weight", false, 3 },                                                                              \
    {                                                                                                                                      \
        "l%d.attn.qkv.bias", value ".bias", false, 3                                                                                       \
    }
#define HS_ENC_EMBED_NAMES(prefix)                                                                                                         \
    { "embed.word.weight", prefix "embeddings.word_embeddings.weight", false, 0 },                                                         \
        { "embed.position.weight", prefix "embeddings.position_embeddings.weight", false, 0 },                                             \
        HS_ENC_PAIR("embed.norm", prefix "embeddings.LayerNorm")
#define HS_ENC_TYPE_NAMES(prefix)                                                                                                          \
    {                                                                                                                                      \
        "embed.type.weight", prefix "embeddings.token_type_embeddings.weight", false, 0                                                    \
    }
// Layers as BERT calls them.
#define HS_ENC_LAYER_NAMES(prefix)                                                                                                         \
    HS_ENC_QKV(prefix "encoder.layer.%d.attention.self.query", prefix "encoder.layer.%d.attention.self.key",                               \
               prefix "encoder.layer.%d.attention.self.value"),                                                                            \
        HS_ENC_PAIR("l%d.attn.out", prefix "encoder.layer.%d.attention.output.dense"),                                                     \
        HS_ENC_PAIR("l%d.attn.norm", prefix "encoder.layer.%d.attention.output.LayerNorm"),                                                \
        HS_ENC_PAIR("l%d.ff.up", prefix "encoder.layer.%d.intermediate.dense"),                                                            \
        HS_ENC_PAIR("l%d.ff.down", prefix "encoder.layer.%d.output.dense"),                                                                \
        HS_ENC_PAIR("l%d.ff.norm", prefix "encoder.layer.%d.output.LayerNorm")
// Heads of tasks. Of classes there is one product behind a pooler, or two.
#define HS_ENC_TASK_NAMES HS_ENC_PAIR("tags", "classifier"), HS_ENC_PAIR("span", "qa_outputs"), HS_TASK_CRF_NAMES
#define HS_ENC_CLASS_OUT  HS_ENC_PAIR("class.out", "classifier")
#define HS_ENC_CLASS_TWO  HS_ENC_PAIR("class.dense", "classifier.dense"), HS_ENC_PAIR("class.out", "classifier.out_proj")
// One of them is in every file with such a head: then its pooler is no part of its own.
#define HS_ENC_TASK_TENSORS "classifier.weight|classifier.dense.weight|qa_outputs.weight"
// Sizes that the tensors of a model without config.json say. Layers that share their parameters cannot be counted, and positions behind
// a padding token's id neither.
#define HS_ENC_SIZE(tensor, dim, field)                                                                                                    \
    {                                                                                                                                      \
        tensor, dim, offsetof(hs_encoder_config, field), 0                                                                                 \
    }
#define HS_ENC_SEEN_SIZES                                                                                                                  \
    HS_ENC_SIZE("embed.word.weight", 0, vocab), HS_ENC_SIZE("embed.position.weight", 0, context), HS_ENC_SIZE("l%d.ff.up.weight", 0, ff),  \
        HS_ENC_SIZE("l%d.ff.down.weight", 0, width), HS_ENC_SIZE("l%d.attn.norm.weight", -1, layers)
// Buffers of old files.
#define HS_ENC_BUFFERS                                                                                                                     \
    { "*embeddings.position_ids", NULL }, { "*embeddings.token_type_ids", NULL }

// ---- the row: functions of a family whose kind is `kind`, and the members they fill
#define HS_ENC_FUNCTIONS(kind)                                                                                                             \
    static hs_tensor *trace(hs_graph *g, const void *c, const hs_arch_shape *s) { return hs_encoder(g, &kind, c, s); }                     \
    static int64_t count(const void *c) { return hs_encoder_count(&kind, c); }
#define HS_ENC_MEMBERS HS_ENC_MEMBERS_CHECKED(hs_encoder_check)
#define HS_ENC_MEMBERS_CHECKED(check_)                                                                                                     \
    .batch = HS_BATCH_MASKED, .own = HS_ENC_OWN, .heads = "model.mlm|model.next|model.order|model.pooler|" HS_TASK_HEADS,                  \
    .wears = hs_encoder_wears, .check = check_, .trace = trace, .count = count, .depth = hs_encoder_depth,                                 \
    .flops_per_token = hs_encoder_flops_per_token, .head_flops = hs_encoder_head_flops
// Of .files: the tables file_keys, names and aliases of the family's file.
#define HS_ENC_TABLES(wearing)                                                                                                             \
    .wears = wearing, .key = file_keys, .n_keys = HS_COUNT(file_keys), .name = names, .n_names = HS_COUNT(names), .alias = aliases,        \
    .n_aliases = HS_COUNT(aliases), .heads = "mlm|next|order|pooler|judge|gen|" HS_TASK_SCOPES, .task_classes = task_classes

#endif
