// electra_keys: ELECTRA's encoder (Clark et al. 2020) as a row: embeddings that may be narrower than the model. As a discriminator it
// encodes; with a head that predicts tokens it is a generator, or an encoder trained as BERT is; with model.generator both are trained, and
// the generator lies in a folder of its own beside the discriminator.
#include "models/encoder/encoder_keys.h"

static const hs_key keys[] = { HS_ENC_SIZES("128"),
                               HS_ENC_TYPES("2"),
                               HS_ENC_EMBED_WIDTH("128"),
                               HS_ENC_REST("gelu", "0.1"),
                               HS_ENC_EPS("1e-12", 1e-30, 1e-2),
                               HS_ENC_MLM,
                               HS_ENC_GENERATOR,
                               HS_ENC_TASK };
static const hs_schema settings = HS_SCHEMA(keys, hs_encoder_config);
static const hs_encoder_kind kind = { .name = "electra", .head_gelu = true, .class_head = HS_CLASS_GELU };

#define E "electra."
static const hs_name_rule names[] = {
    HS_ENC_EMBED_NAMES(E),
    HS_ENC_TYPE_NAMES(E),
    HS_ENC_PAIR("embed.project", E "embeddings_project"),
    HS_ENC_LAYER_NAMES(E),
    HS_ENC_PAIR("mlm.dense", "generator_predictions.dense"),
    HS_ENC_PAIR("mlm.norm", "generator_predictions.LayerNorm"),
    { "mlm.bias", "generator_lm_head.bias", false, 0 },
    HS_ENC_PAIR("judge.dense", "discriminator_predictions.dense"),
    HS_ENC_PAIR("judge.out", "discriminator_predictions.dense_prediction"),
    HS_ENC_CLASS_TWO,
    HS_ENC_TASK_NAMES,
};
static const hs_alias aliases[] = {
    { "generator_lm_head.weight", E "embeddings.word_embeddings.weight" },
    HS_ENC_BUFFERS,
    { "discriminator_predictions.*", NULL }, // the judge of replaced tokens: only beside a generator is it of use
};

static const hs_file_key file_keys[] = {
    HS_ENC_FILE_COMMON("1e-12"),
    { HS_ENC_FILE_INT("embedding_size", embed_width, 1, "128"), .times = 1, .of = offsetof(hs_encoder_config, width) },
    { HS_ENC_FILE_INT("max_position_embeddings", context, 1, NULL) },
    { HS_ENC_FILE_INT("type_vocab_size", types, 1, "2") },
    { HS_ENC_FILE_TASK_DROPOUT("classifier_dropout", "null") },
    HS_ENC_FILE_TOKEN("pad_token_id", "pad"),
    HS_ENC_FILE_HOLDS("generator_predictions.dense.weight", mlm, NULL),
    HS_ENC_FILE_TASK,
};
HS_ENC_CLASSES("Electra");

static const hs_size_row sizes[] = { HS_ENC_SEEN_SIZES, HS_ENC_SIZE("embed.type.weight", 0, types),
                                     HS_ENC_SIZE("embed.word.weight", 1, embed_width) };

static bool generator(const void *ours, void *its)
{
    const hs_encoder_config *c = ours, g = hs_encoder_generator(c);
    *(hs_encoder_config *)its = g;
    return c->generator > 0;
}

HS_ENC_FUNCTIONS(kind)
const hs_family hs_electra_family = {
    .name = "electra",
    .words = "electra",
    .title = "ELECTRA",
    .settings = &settings,
    HS_ENC_MEMBERS,
    .files = { .model_type = "electra",
               .architecture = "ElectraForMaskedLM|ElectraModel|ElectraForPreTraining",
               HS_ENC_TABLES(hs_encoder_wearing_replaced),
               .prefix = E,
               .size = sizes,
               .n_sizes = HS_COUNT(sizes),
               .second = { .scope = "gen",
                           .folder = "generator",
                           .shared = "embed.word|embed.position|embed.type|embed.norm",
                           .settings = generator } },
};
