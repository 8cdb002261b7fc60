// roberta_keys: RoBERTa (Liu et al. 2019) as a row: positions counted from behind the padding token's id, one segment, no judge of pairs.
#include "models/encoder/encoder_keys.h"

static const hs_key keys[] = {
    HS_ENC_SIZES("128"), HS_ENC_TYPES("1"), HS_ENC_REST("gelu", "0.1"), HS_ENC_EPS("1e-5", 1e-30, 1e-2), HS_ENC_MLM, HS_ENC_POOLER,
    HS_ENC_PAD,          HS_ENC_TASK
};
static const hs_schema settings = HS_SCHEMA(keys, hs_encoder_config);
static const hs_encoder_kind kind = { .name = "roberta", .positions_behind_pad = true, .head_gelu = true, .class_head = HS_CLASS_TANH };

#define R "roberta."
static const hs_name_rule names[] = {
    HS_ENC_EMBED_NAMES(R),
    HS_ENC_TYPE_NAMES(R),
    HS_ENC_LAYER_NAMES(R),
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
    { "*pooler.dense.*", NULL }, // published files have one that was never trained
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
HS_ENC_CLASSES("Roberta");

HS_ENC_FUNCTIONS(kind)
const hs_family hs_roberta_family = {
    .name = "roberta",
    .words = "roberta",
    .title = "RoBERTa",
    .settings = &settings,
    HS_ENC_MEMBERS,
    .files = { .model_type = "roberta",
               .architecture = "RobertaForMaskedLM|RobertaModel",
               HS_ENC_TABLES(hs_encoder_wearing_mlm),
               .prefix = R },
};
