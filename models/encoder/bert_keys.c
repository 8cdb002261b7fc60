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

// ---- llama.cpp's: an encoder without heads. It computes gelu by tanh, whatever the model has.
static const hs_name_rule gguf_names[] = {
    { "embed.word.weight", "token_embd.weight", false, 0 },
    { "embed.position.weight", "position_embd.weight", false, 0 },
    { "embed.type.weight", "token_types.weight", false, 0 },
    HS_ENC_PAIR("embed.norm", "token_embd_norm"),
    HS_ENC_QKV("blk.%d.attn_q", "blk.%d.attn_k", "blk.%d.attn_v"),
    HS_ENC_PAIR("l%d.attn.out", "blk.%d.attn_output"),
    HS_ENC_PAIR("l%d.attn.norm", "blk.%d.attn_output_norm"),
    HS_ENC_PAIR("l%d.ff.up", "blk.%d.ffn_up"),
    HS_ENC_PAIR("l%d.ff.down", "blk.%d.ffn_down"),
    HS_ENC_PAIR("l%d.ff.norm", "blk.%d.layer_output_norm"),
};
static const hs_file_key gguf_keys[] = {
    { HS_ENC_FILE_INT("block_count", layers, 1, NULL) },
    { HS_ENC_FILE_INT("attention.head_count", heads, 1, NULL) },
    { HS_ENC_FILE_INT("embedding_length", width, 1, NULL) },
    { HS_ENC_FILE_INT("feed_forward_length", ff, 1, NULL), .times = 4, .of = offsetof(hs_encoder_config, width) },
    { HS_ENC_FILE_INT("context_length", context, 1, NULL) },
    { HS_ENC_FILE_REAL("attention.layer_norm_epsilon", eps, "1e-12", 0.999999) },
    { HS_ENC_FILE_ONLY("attention.causal", "false"), .asks = "attention to what stands before alone" },
};
static const hs_size_row gguf_sizes[] = { { "token_embd.weight", 0, offsetof(hs_encoder_config, vocab), 0 },
                                          { "token_types.weight", 0, offsetof(hs_encoder_config, types), 0 } };
static const char *gguf_cannot(const void *settings_)
{
    const hs_encoder_config *c = settings_;
    return c->act == HS_ENCODER_RELU ? "model.activation is relu, and llama.cpp computes gelu"
           : c->head_width           ? "heads were left out of it, and llama.cpp divides its width by their number"
                                     : NULL;
}
static const hs_gguf_files gguf = { .architecture = "bert",
                                    .key = gguf_keys,
                                    .n_keys = HS_COUNT(gguf_keys),
                                    .size = gguf_sizes,
                                    .n_sizes = HS_COUNT(gguf_sizes),
                                    .name = gguf_names,
                                    .n_names = HS_COUNT(gguf_names),
                                    .cannot = gguf_cannot };

static const hs_size_row sizes[] = { HS_ENC_SEEN_SIZES, HS_ENC_SIZE("embed.type.weight", 0, types) };

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
               .prefix = B,
               .size = sizes,
               .n_sizes = HS_COUNT(sizes),
               .gguf = &gguf },
};
