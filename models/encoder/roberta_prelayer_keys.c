// roberta_prelayer_keys: RoBERTa with norms in front of attention and feed-forward (transformers' RobertaPreLayerNorm) as a row.
#include "models/encoder/encoder_keys.h"

static const hs_key keys[] = {
    HS_ENC_SIZES("128"), HS_ENC_TYPES("1"), HS_ENC_REST("gelu", "0.1"), HS_ENC_EPS("1e-5", 1e-30, 1e-2), HS_ENC_MLM, HS_ENC_POOLER,
    HS_ENC_PAD,          HS_ENC_TASK
};
static const hs_schema settings = HS_SCHEMA(keys, hs_encoder_config);
static const hs_encoder_kind kind = {
    .name = "roberta-prelayernorm", .pre_norm = true, .positions_behind_pad = true, .head_gelu = true, .class_head = HS_CLASS_TANH
};

#define R     "roberta_prelayernorm."
#define LAYER R "encoder.layer.%d."
static const hs_name_rule names[] = {
    HS_ENC_EMBED_NAMES(R),
    HS_ENC_TYPE_NAMES(R),
    HS_ENC_QKV(LAYER "attention.self.query", LAYER "attention.self.key", LAYER "attention.self.value"),
    HS_ENC_PAIR("l%d.attn.norm", LAYER "attention.LayerNorm"),
    HS_ENC_PAIR("l%d.attn.out", LAYER "attention.output.dense"),
    HS_ENC_PAIR("l%d.ff.norm", LAYER "intermediate.LayerNorm"),
    HS_ENC_PAIR("l%d.ff.up", LAYER "intermediate.dense"),
    HS_ENC_PAIR("l%d.ff.down", LAYER "output.dense"),
    HS_ENC_PAIR("norm", R "LayerNorm"),
    HS_ENC_PAIR("pooler", R "pooler.dense"),
    HS_ENC_PAIR("mlm.dense", "lm_head.dense"),
    HS_ENC_PAIR("mlm.norm", "lm_head.layer_norm"),
    { "mlm.bias", "lm_head.bias", false, 0 },
    HS_ENC_CLASS_TWO,
    HS_ENC_TASK_NAMES,
};
static const hs_alias aliases[] = {
    { "lm_head.decoder.weight", R "embeddings.word_embeddings.weight" },
    { "lm_head.decoder.bias", "lm_head.bias" },
    HS_ENC_BUFFERS,
    { "*pooler.dense.*", NULL }, // of a model that predicts tokens
};

#define MLM "lm_head.dense.weight"
static const hs_file_key file_keys[] = {
    HS_ENC_FILE_COMMON("1e-12"),
    { HS_ENC_FILE_INT("pad_token_id", pad, 0, "1") },
    { HS_ENC_FILE_INT("max_position_embeddings", context, 1, NULL), .above = offsetof(hs_encoder_config, pad) },
    { HS_ENC_FILE_INT("type_vocab_size", types, 1, "2") },
    { HS_ENC_FILE_TASK_DROPOUT("classifier_dropout", "null") },
    HS_ENC_FILE_TOKEN("bos_token_id", "cls"),
    HS_ENC_FILE_TOKEN("eos_token_id", "sep"),
    HS_ENC_FILE_HOLDS(MLM, mlm, NULL),
    HS_ENC_FILE_HOLDS("pooler.dense.weight", pooler, MLM "|" HS_ENC_TASK_TENSORS),
    HS_ENC_FILE_TASK,
};
HS_ENC_CLASSES("RobertaPreLayerNorm");

HS_ENC_FUNCTIONS(kind)
const hs_family hs_roberta_prelayer_family = {
    .name = "roberta-prelayernorm",
    .words = "roberta-prelayernorm",
    .title = "RoBERTa, pre-norm",
    .settings = &settings,
    HS_ENC_MEMBERS,
    .files = { .model_type = "roberta-prelayernorm",
               .architecture = "RobertaPreLayerNormForMaskedLM|RobertaPreLayerNormModel",
               HS_ENC_TABLES(hs_encoder_wearing_mlm),
               .prefix = R },
};
