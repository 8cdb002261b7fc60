// distilbert_keys: DistilBERT (Sanh et al. 2019) as a row: no segments, no pooler, no dropout behind attention.
#include "models/encoder/encoder_keys.h"

static const hs_key keys[] = { HS_ENC_SIZES("128"), HS_ENC_REST("gelu", "0.1"), HS_ENC_EPS("1e-12", 1e-12, 1e-12), HS_ENC_MLM,
                               HS_ENC_TASK };
static const hs_schema settings = HS_SCHEMA(keys, hs_encoder_config);
static const hs_encoder_kind kind = {
    .name = "distilbert",
    .no_attention_out_dropout = true,
    .class_head = HS_CLASS_RELU,
    .task_dropout = { [HS_TASK_SEQUENCE] = 0.2, [HS_TASK_REGRESSION] = 0.2, [HS_TASK_MULTILABEL] = 0.2, [HS_TASK_SPAN] = 0.1 }
};

#define D     "distilbert."
#define LAYER D "transformer.layer.%d."
static const hs_name_rule names[] = {
    HS_ENC_EMBED_NAMES(D),
    HS_ENC_QKV(LAYER "attention.q_lin", LAYER "attention.k_lin", LAYER "attention.v_lin"),
    HS_ENC_PAIR("l%d.attn.out", LAYER "attention.out_lin"),
    HS_ENC_PAIR("l%d.attn.norm", LAYER "sa_layer_norm"),
    HS_ENC_PAIR("l%d.ff.up", LAYER "ffn.lin1"),
    HS_ENC_PAIR("l%d.ff.down", LAYER "ffn.lin2"),
    HS_ENC_PAIR("l%d.ff.norm", LAYER "output_layer_norm"),
    HS_ENC_PAIR("mlm.dense", "vocab_transform"),
    HS_ENC_PAIR("mlm.norm", "vocab_layer_norm"),
    { "mlm.bias", "vocab_projector.bias", false, 0 },
    HS_ENC_PAIR("class.dense", "pre_classifier"),
    HS_ENC_CLASS_OUT,
    HS_ENC_TASK_NAMES,
};
static const hs_alias aliases[] = {
    { "vocab_projector.weight", D "embeddings.word_embeddings.weight" },
    HS_ENC_BUFFERS,
};

static const hs_file_key file_keys[] = {
    { HS_ENC_FILE_INT("n_layers", layers, 1, NULL) },
    HS_ENC_FILE_HEADS("n_heads", "n_layers"),
    { HS_ENC_FILE_INT("dim", width, 1, NULL) },
    { HS_ENC_FILE_INT("hidden_dim", ff, 1, NULL), .times = 4, .of = offsetof(hs_encoder_config, width) },
    { HS_ENC_FILE_INT("vocab_size", vocab, 1, NULL) },
    { HS_ENC_FILE_INT("max_position_embeddings", context, 1, NULL) },
    HS_ENC_FILE_ACT("activation"),
    { HS_ENC_FILE_REAL("dropout", dropout, "0.1", 0.999999) },
    { HS_ENC_FILE_REAL("attention_dropout", attention_dropout, "0.1", 0.999999) },
    { HS_ENC_FILE_ONLY("sinusoidal_pos_embds", "false"), .asks = "positions by sines" },
    { HS_ENC_FILE_ONLY("tie_weights_", "true"), .asks = "a head of its own" },
    { HS_ENC_FILE_ONLY("tie_word_embeddings", "true"), .asks = "a head of its own" },
    { .key = "initializer_range", .type = HS_FILE_FIXED, .value = "0.02" },
    { HS_ENC_FILE_TASK_DROPOUT("qa_dropout", "0.1"), .tasks = 1 << HS_TASK_SPAN },
    { HS_ENC_FILE_TASK_DROPOUT("seq_classif_dropout", "0.2"),
      .tasks = 1 << HS_TASK_SEQUENCE | 1 << HS_TASK_REGRESSION | 1 << HS_TASK_MULTILABEL },
    HS_ENC_FILE_TOKEN("pad_token_id", "pad"),
    // transformers has this value in its code, and no key
    { .key = "layer_norm_eps", .type = HS_FILE_REAL, HS_ENC_AT(eps), .value = "1e-12", .min = 1e-12, .max = 1e-12 },
    HS_ENC_FILE_HOLDS("vocab_transform.weight", mlm, NULL),
    HS_ENC_FILE_TASK,
};
HS_ENC_CLASSES("DistilBert");

static const hs_size_row sizes[] = { HS_ENC_SEEN_SIZES };

HS_ENC_FUNCTIONS(kind)
const hs_family hs_distilbert_family = {
    .name = "distilbert",
    .words = "distilbert",
    .title = "DistilBERT",
    .settings = &settings,
    HS_ENC_MEMBERS,
    .files = { .model_type = "distilbert",
               .architecture = "DistilBertForMaskedLM|DistilBertModel",
               HS_ENC_TABLES(hs_encoder_wearing_mlm),
               .prefix = D,
               .size = sizes,
               .n_sizes = HS_COUNT(sizes) },
};
