// task_head: what every model with a task has behind its last layer - settings, logits, targets, losses. What stands between the layer and
// the logits is each family's.
#ifndef HS_MODELS_TASK_HEAD_H
#define HS_MODELS_TASK_HEAD_H
#include "models/nn/nn.h"

// Rows of hs_key for a hs_task_head that is `member` of the struct settings_.
#define HS_TASK_KEYS(settings_, member)                                                                                                    \
    { .name = "model.task",                                                                                                                \
      .type = HS_KEY_CHOICE,                                                                                                               \
      .offset = offsetof(settings_, member.task),                                                                                          \
      .value = "none",                                                                                                                     \
      .choices = HS_TASK_WORDS,                                                                                                            \
      .help = "what is asked of a text, or of a pair: one class, numbers, any of several labels, a class of each token, a span; none: "    \
              "what the model was pretrained for" },                                                                                       \
        { .name = "model.labels",                                                                                                          \
          .type = HS_KEY_INT,                                                                                                              \
          .offset = offsetof(settings_, member.labels),                                                                                    \
          .value = "0",                                                                                                                    \
          .min = 0,                                                                                                                        \
          .max = 1 << 24,                                                                                                                  \
          .help = "classes, numbers or labels of model.task; 0: those of the data",                                                        \
          .advanced = true },                                                                                                              \
        { .name = "model.task_dropout",                                                                                                    \
          .type = HS_KEY_REAL,                                                                                                             \
          .offset = offsetof(settings_, member.dropout),                                                                                   \
          .value = "-1",                                                                                                                   \
          .min = -1,                                                                                                                       \
          .max = 0.95,                                                                                                                     \
          .help =                                                                                                                          \
              "dropout probability in the head of model.task while training; -1: what transformers' class takes, mostly model.dropout" },  \
    {                                                                                                                                      \
        .name = "model.crf", .type = HS_KEY_BOOL, .offset = offsetof(settings_, member.crf), .value = "false",                             \
        .help = "model.task tokens: the tags of a text are judged as one chain (a conditional random field)"                               \
    }
#define HS_TASK_HEADS  "model.task|model.labels|model.crf" // of hs_family.heads
#define HS_TASK_SCOPES "class|tags|span|crf"               // of hs_model_files.heads
// Rows of hs_file_key: what config.json says of it.
#define HS_TASK_FILE_KEYS(settings_, member)                                                                                               \
    { .key = "problem_type", .type = HS_FILE_TASK, .offset = offsetof(settings_, member.task) },                                           \
        { .key = "id2label", .type = HS_FILE_LABELS, .offset = offsetof(settings_, member.labels) },                                       \
        { .key = "label2id", .type = HS_FILE_LABEL_IDS },                                                                                  \
    {                                                                                                                                      \
        .key = "crf.transitions", .type = HS_FILE_HOLDS, .offset = offsetof(settings_, member.crf), .tasks = 1 << HS_TASK_TOKENS           \
    }
// Rows of hs_name_rule: tensors of a chain are called as pytorch-crf calls them.
#define HS_TASK_CRF_NAMES                                                                                                                  \
    { "crf.next", "crf.transitions", false, 0 }, { "crf.first", "crf.start_transitions", false, 0 },                                       \
    {                                                                                                                                      \
        "crf.last", "crf.end_transitions", false, 0                                                                                        \
    }

bool hs_task_is_class(const hs_task_head *h);                           // of a whole sequence: its class, numbers or labels
int64_t hs_task_outputs(const hs_task_head *h);                         // columns of its logits that count: labels, of a span 2
hs_status hs_task_check(const hs_task_head *h);                         // the message begins with the key
int64_t hs_task_count(const hs_task_head *h, int64_t width, bool bias); // parameters of what follows

// The head's last product, "class.out", "tags" or "span": x [rows, width] to f32 logits, padded. USAGE: labels are not known.
hs_tensor *hs_nn_task_logits(hs_graph *g, const hs_task_head *h, hs_tensor *x, int64_t width, bool bias);
// Targets as inputs (models/family.h), in eval mode the logits as an output, and the loss HS_LOSS_TASK. keys: NULL, or of padded rows.
hs_tensor *hs_nn_task_loss(hs_graph *g, const hs_task_head *h, const hs_arch_shape *s, hs_tensor *logits, hs_tensor *starts,
                           hs_tensor *keys);
// The parameters of both alone, in their order.
void hs_nn_task_params(hs_graph *g, const hs_task_head *h, int64_t width, bool bias);

#endif
