// ernie_keys: ERNIE 2.0 (Sun et al. 2019) as a row: BERT with a table of tasks.
#include "models/encoder/encoder_keys.h"

static const hs_key keys[] = { HS_ENC_SIZES("128"),
                               HS_ENC_TYPES("4"),
                               HS_ENC_INT("tasks", tasks, "16", 0, 1024, NULL, "tasks with an embedding of their own; 0: no such table"),
                               HS_ENC_REST("gelu", "0.1"),
                               HS_ENC_EPS("1e-12", 1e-30, 1e-2),
                               HS_ENC_MLM,
                               HS_ENC_NEXT,
                               HS_ENC_POOLER,
                               HS_ENC_TASK };
static const hs_schema settings = HS_SCHEMA(keys, hs_encoder_config);
static const hs_encoder_kind kind = { .name = "ernie" };

#define N "ernie."
static const hs_name_rule names[] = {
    HS_ENC_EMBED_NAMES(N),
    HS_ENC_TYPE_NAMES(N),
    { "embed.task.weight", N "embeddings.task_type_embeddings.weight", false, 0 },
    HS_ENC_LAYER_NAMES(N),
    HS_ENC_PAIR("pooler", N "pooler.dense"),
    HS_ENC_PAIR("mlm.dense", "cls.predictions.transform.dense"),
    HS_ENC_PAIR("mlm.norm", "cls.predictions.transform.LayerNorm"),
    { "mlm.bias", "cls.predictions.bias", false, 0 },
    HS_ENC_PAIR("next", "cls.seq_relationship"),
    HS_ENC_CLASS_OUT,
    HS_ENC_TASK_NAMES,
};
static const hs_alias aliases[] = {
    { "cls.predictions.decoder.weight", N "embeddings.word_embeddings.weight" },
    { "cls.predictions.decoder.bias", "cls.predictions.bias" },
    HS_ENC_BUFFERS,
    { "*pooler.dense.*", NULL }, // of a model that predicts tokens alone
};

#define MLM  "cls.predictions.transform.dense.weight"
#define NEXT "cls.seq_relationship.weight"
static const hs_file_key file_keys[] = {
    HS_ENC_FILE_COMMON("1e-12"),
    { HS_ENC_FILE_INT("max_position_embeddings", context, 1, NULL) },
    { HS_ENC_FILE_INT("type_vocab_size", types, 1, "2") },
    { HS_ENC_FILE_INT("task_type_vocab_size", tasks, 0, "3") },
    { .key = "use_task_id", .type = HS_FILE_NONZERO, HS_ENC_AT(tasks), .value = "false" },
    { HS_ENC_FILE_TASK_DROPOUT("classifier_dropout", "null") },
    HS_ENC_FILE_TOKEN("pad_token_id", "pad"),
    HS_ENC_FILE_HOLDS(MLM, mlm, NULL),
    HS_ENC_FILE_HOLDS(NEXT, next, NULL),
    HS_ENC_FILE_HOLDS("pooler.dense.weight", pooler, MLM "|" NEXT "|" HS_ENC_TASK_TENSORS),
    HS_ENC_FILE_TASK,
};
HS_ENC_CLASSES("Ernie");

static const hs_size_row sizes[] = { HS_ENC_SEEN_SIZES, HS_ENC_SIZE("embed.type.weight", 0, types),
                                     HS_ENC_SIZE("embed.task.weight", 0, tasks) };

HS_ENC_FUNCTIONS(kind)
const hs_family hs_ernie_family = {
    .name = "ernie",
    .words = "ernie",
    .title = "ERNIE",
    .settings = &settings,
    HS_ENC_MEMBERS,
    .files = { .model_type = "ernie",
               .architecture = "ErnieForPreTraining|ErnieForMaskedLM|ErnieForNextSentencePrediction|ErnieModel",
               HS_ENC_TABLES(hs_encoder_wearing_pair),
               .prefix = N,
               .size = sizes,
               .n_sizes = HS_COUNT(sizes) },
};
