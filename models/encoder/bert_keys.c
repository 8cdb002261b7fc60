// bert_keys: BERT (Devlin et al. 2018) as a row. MiniLM's encoders are BERTs of 384 channels.
#include "models/encoder/encoder_keys.h"

static const hs_key keys[] = {
    HS_ENC_SIZES("128"), HS_ENC_TYPES("2"), HS_ENC_REST("gelu", "0.1"), HS_ENC_EPS("1e-12", 1e-30, 1e-2), HS_ENC_MLM, HS_ENC_NEXT,
    HS_ENC_POOLER,       HS_ENC_TASK
};
static const hs_schema settings = HS_SCHEMA(keys, hs_encoder_config);
static const hs_encoder_kind kind = { .name = "bert" };

#define B "bert."
static const hs_name_rule names[] = {
    HS_ENC_EMBED_NAMES(B),
    HS_ENC_TYPE_NAMES(B),
    HS_ENC_LAYER_NAMES(B),
    HS_ENC_PAIR("pooler", B "pooler.dense"),
    HS_ENC_PAIR("mlm.dense", "cls.predictions.transform.dense"),
    HS_ENC_PAIR("mlm.norm", "cls.predictions.transform.LayerNorm"),
    { "mlm.bias", "cls.predictions.bias", false, 0 },
    HS_ENC_PAIR("next", "cls.seq_relationship"),
    HS_ENC_CLASS_OUT,
    HS_ENC_TASK_NAMES,
};
static const hs_alias aliases[] = {
    { "cls.predictions.decoder.weight", B "embeddings.word_embeddings.weight" },
    { "cls.predictions.decoder.bias", "cls.predictions.bias" },
    HS_ENC_BUFFERS,
    { "*pooler.dense.*", NULL }, // of a model that predicts tokens alone: transformers' class for that has none
};

#define MLM  "cls.predictions.transform.dense.weight"
#define NEXT "cls.seq_relationship.weight"
static const hs_file_key file_keys[] = {
    HS_ENC_FILE_COMMON("1e-12"),
    { HS_ENC_FILE_INT("max_position_embeddings", context, 1, NULL) },
    { HS_ENC_FILE_INT("type_vocab_size", types, 1, "2") },
    { HS_ENC_FILE_TASK_DROPOUT("classifier_dropout", "null") },
    HS_ENC_FILE_TOKEN("pad_token_id", "pad"),
    HS_ENC_FILE_HOLDS(MLM, mlm, NULL),
    HS_ENC_FILE_HOLDS(NEXT, next, NULL),
    HS_ENC_FILE_HOLDS("pooler.dense.weight", pooler, MLM "|" NEXT "|" HS_ENC_TASK_TENSORS),
    HS_ENC_FILE_TASK,
};
HS_ENC_CLASSES("Bert");

HS_ENC_FUNCTIONS(kind)
const hs_family hs_bert_family = {
    .name = "bert",
    .words = "bert",
    .title = "BERT",
    .settings = &settings,
    HS_ENC_MEMBERS,
    .files = { .model_type = "bert",
               .architecture = "BertForPreTraining|BertForMaskedLM|BertForNextSentencePrediction|BertModel",
               HS_ENC_TABLES(hs_encoder_wearing_pair),
               .prefix = B },
};
