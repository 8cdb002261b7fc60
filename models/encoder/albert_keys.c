// albert_keys: ALBERT (Lan et al. 2019) as a row: layers that share their parameters, narrow embeddings, order instead of next sentence.
#include "models/encoder/encoder_keys.h"

static const hs_key keys[] = { HS_ENC_SIZES("128"),
                               HS_ENC_TYPES("2"),
                               HS_ENC_EMBED_WIDTH("128"),
                               HS_ENC_INT("groups", groups, "1", 1, 1000, NULL,
                                          "sets of parameters that the layers share, each by neighbours; must divide model.layers"),
                               HS_ENC_REST("gelu_tanh", "0"),
                               HS_ENC_EPS("1e-12", 1e-30, 1e-2),
                               HS_ENC_MLM,
                               HS_ENC_ORDER,
                               HS_ENC_POOLER,
                               HS_ENC_TASK };
static const hs_schema settings = HS_SCHEMA(keys, hs_encoder_config);
static const hs_encoder_kind kind = {
    .name = "albert",
    .no_ff_out_dropout = true,
    .task_dropout = { [HS_TASK_SEQUENCE] = 0.1, [HS_TASK_REGRESSION] = 0.1, [HS_TASK_MULTILABEL] = 0.1, [HS_TASK_TOKENS] = 0.1 }
};

#define A     "albert."
#define LAYER A "encoder.albert_layer_groups.%d.albert_layers.0."
static const hs_name_rule names[] = {
    HS_ENC_EMBED_NAMES(A),
    HS_ENC_TYPE_NAMES(A),
    HS_ENC_PAIR("embed.project", A "encoder.embedding_hidden_mapping_in"),
    HS_ENC_QKV(LAYER "attention.query", LAYER "attention.key", LAYER "attention.value"),
    HS_ENC_PAIR("l%d.attn.out", LAYER "attention.dense"),
    HS_ENC_PAIR("l%d.attn.norm", LAYER "attention.LayerNorm"),
    HS_ENC_PAIR("l%d.ff.up", LAYER "ffn"),
    HS_ENC_PAIR("l%d.ff.down", LAYER "ffn_output"),
    HS_ENC_PAIR("l%d.ff.norm", LAYER "full_layer_layer_norm"),
    HS_ENC_PAIR("pooler", A "pooler"),
    HS_ENC_PAIR("mlm.dense", "predictions.dense"),
    HS_ENC_PAIR("mlm.norm", "predictions.LayerNorm"),
    { "mlm.bias", "predictions.bias", false, 0 },
    HS_ENC_PAIR("order", "sop_classifier.classifier"),
    HS_ENC_CLASS_OUT,
    HS_ENC_TASK_NAMES,
};
static const hs_alias aliases[] = {
    { "predictions.decoder.weight", A "embeddings.word_embeddings.weight" },
    { "predictions.decoder.bias", "predictions.bias" },
    HS_ENC_BUFFERS,
    { "*pooler.weight", NULL }, // of a model that predicts tokens alone
    { "*pooler.bias", NULL },
};

#define MLM   "predictions.dense.weight"
#define ORDER "sop_classifier.classifier.weight"
static const hs_file_key file_keys[] = {
    HS_ENC_FILE_COMMON("1e-12"),
    { HS_ENC_FILE_INT("embedding_size", embed_width, 1, "128"), .times = 1, .of = offsetof(hs_encoder_config, width) },
    { HS_ENC_FILE_INT("num_hidden_groups", groups, 1, "1") },
    { HS_ENC_FILE_ONLY("inner_group_num", "1"), .asks = "several layers in a group" },
    { HS_ENC_FILE_INT("max_position_embeddings", context, 1, NULL) },
    { HS_ENC_FILE_INT("type_vocab_size", types, 1, "2") },
    { HS_ENC_FILE_TASK_DROPOUT("classifier_dropout_prob", "0.1") },
    HS_ENC_FILE_TOKEN("pad_token_id", "pad"),
    HS_ENC_FILE_TOKEN("bos_token_id", "cls"),
    HS_ENC_FILE_TOKEN("eos_token_id", "sep"),
    HS_ENC_FILE_HOLDS(MLM, mlm, NULL),
    HS_ENC_FILE_HOLDS(ORDER, order, NULL),
    HS_ENC_FILE_HOLDS("pooler.weight", pooler, MLM "|" ORDER "|" HS_ENC_TASK_TENSORS),
    HS_ENC_FILE_TASK,
};
HS_ENC_CLASSES("Albert");

static int wearing(const void *settings_)
{
    const hs_encoder_config *c = settings_;
    return c->order ? 0 : c->mlm ? 1 : 2;
}
static hs_status check(const void *settings_)
{
    const hs_encoder_config *c = settings_;
    HS_TRY(hs_encoder_check(c));
    if (c->order && !c->mlm) // no class of transformers has the one alone
        return HS_FAIL(USAGE, "model.order is true without model.mlm: a model that judges order predicts tokens as well");
    return HS_OK;
}

HS_ENC_FUNCTIONS(kind)
const hs_family hs_albert_family = {
    .name = "albert",
    .words = "albert",
    .title = "ALBERT",
    .settings = &settings,
    HS_ENC_MEMBERS_CHECKED(check),
    .files = { .model_type = "albert",
               .architecture = "AlbertForPreTraining|AlbertForMaskedLM|AlbertModel",
               HS_ENC_TABLES(wearing),
               .prefix = A },
};
