// config: every setting of a run as one struct and one table. YAML files, --section.key overrides, defaults, help and man
// page all come from the table: the rows that every run has, and those of the family that model.type chooses.
#ifndef HS_RECIPES_CONFIG_H
#define HS_RECIPES_CONFIG_H
#include "core/graph/divide.h"
#include "core/plan/plan.h"
#include "core/settings/schema.h"
#include "data/batches/labelled.h"
#include "data/batches/loader.h"
#include "data/batches/masked.h"
#include "data/batches/mixing.h"
#include "data/checkpoint/checkpoint.h"
#include "infer/quant/quantize_product.h"
#include "models/family.h"
#include "optim/optim.h"

typedef char hs_string[HS_KEY_STRING_BYTES];
typedef enum hs_dtype_option { HS_DTYPE_AUTO, HS_DTYPE_FP32, HS_DTYPE_BF16, HS_DTYPE_FP16, HS_DTYPE_FP8 } hs_dtype_option;

enum {
    HS_CONFIG_COMMON = 144, // rows at most: those that every run has
    HS_CONFIG_FAMILY = 64,  // those of a family
    HS_CONFIG_SOURCES = 2,  // those of an element of data.sources
    HS_OBJECTIVES = 8,      // data.objectives at most
    HS_OBJECTIVE_KEYS = 8,
    HS_PHASES = 8, // at most
    HS_PHASE_KEYS = 20,
    HS_PHASE_BYTES = 4096,
    HS_MOST_BATCH = 1 << 20,
    HS_MOST_ACCUMULATE = 4096,
    HS_CONFIG_KEYS = HS_CONFIG_COMMON + HS_CONFIG_FAMILY + HS_MIX_SOURCES * HS_CONFIG_SOURCES + HS_OBJECTIVES * HS_OBJECTIVE_KEYS +
                     HS_PHASES * HS_PHASE_KEYS
};

#define HS_LEAST_WEIGHT 1e-6
#define HS_MOST_WEIGHT  1e9
typedef struct hs_data_part { // an element of data.sources, or of data.train where that is a list
    hs_string path;
    double weight;
} hs_data_part;

typedef struct hs_phase { // an element of phases: fields of rows that are copies of a run's own (config_phases.c)
    _Alignas(8) unsigned char bytes[HS_PHASE_BYTES];
} hs_phase;

typedef struct hs_config_table { // of a program: made once of its families, which are borrowed
    const hs_family *const *families;
    hs_key key[HS_CONFIG_COMMON];
    int n_keys;
    char types[512]; // choices of model.type
    hs_section section[HS_FAMILIES];
    hs_key phase_key[HS_PHASE_KEYS];
    hs_schema phase_schema;
    hs_list list[3];
    hs_schema schema;
} hs_config_table;
hs_status hs_config_table_init(hs_config_table *t, const hs_family *const *families);

typedef enum hs_masking { HS_MASKING_LOADER, HS_MASKING_DEVICE } hs_masking; // data.masking

typedef struct hs_config {
    struct {
        int type;             // word of model.type
        hs_settings settings; // the chosen family's
    } model;
    struct {
        hs_string train, val, tokenizer;
        int packing;                 // hs_packing
        int layout, documents;       // hs_seq_layout; hs_documents or HS_TEXT_DOCUMENTS_AUTO
        int masking;                 // hs_masking
        int64_t length, predictions; // of a sequence at most; 0: model.context, and what the probability gives
        hs_objective objective[HS_OBJECTIVES];
        int n_objectives;
        hs_data_part source[HS_MIX_SOURCES];
        int n_sources;
    } data;
    struct {
        hs_string name, init_from, freeze, keep_zeros;
        int64_t batch, accumulate, steps, seed, log_every, show_every, eval_every, eval_windows, prefetch, patience;
        double epochs, unfreeze; // 0: train.steps counts; everything is trained from the first step on
        int trained_from;        // no key: what lies less deep (hs_family.depth) stands still for now; train.unfreeze raises nothing else
        int init_tokenizer;      // HS_INIT_KEEP, HS_INIT_REPLACE
        int recompute;           // hs_recompute
        bool tensorboard;
    } train;
    struct {
        int name;     // hs_preset
        int schedule; // hs_schedule_kind
        double lr, min_lr, power, warmup_fraction, layer_decay;
        int64_t warmup;
        double momentum, eps, weight_decay, clip, clip_eps, clip_value, trust_coefficient, ratio_min, ratio_max;
        hs_reals betas;
        int trust, bounds, decay_mode, bias_correction, qkv; // hs_trust, hs_bounded, hs_decay, hs_correction, hs_qkv
        int moments;                                         // f32, bf16
        int masters;                                         // hs_masters
        bool eps_inside, grad_averaging;
    } optim;
    struct {                                         // what labelled data are and ask; config_task.c
        int kind;                                    // 0: none; else 1 + hs_about
        int format, scheme, scheme_to, prefix_space; // hs_label_format, hs_tag_scheme, hs_prefix_space
        int class_weights, head;                     // hs_class_weights; HS_HEAD_KEEP, HS_HEAD_NEW
        hs_string text, text2, label, id, labels, metric;
        hs_reals weights;
        double label_smoothing, null_threshold;
        int64_t stride, max_query, context, n_best, max_answer;
        bool all_subtokens, drop;
    } task;
    struct {          // LoRA: hs_lora
        int64_t rank; // 0: none
        double alpha, dropout;
        bool rslora;
        hs_string targets;
        bool pooler; // no key: train it too, as the weights have none
    } adapter;
    struct {                  // training that foresees codes; config_quant.c
        int bits, embeddings; // hs_quant_bits, HS_TABLES_AUTO, ...
        int activations;      // HS_ACTIVATIONS_TOKEN, HS_ACTIVATIONS_TENSOR
        int method;           // hs_calib_method
        int64_t examples;
        hs_string skip;
        double noise;
    } quant;
    struct { // weights that become centroids while they are trained: recipes/train/tied.h; config_quant.c
        int64_t every, block, centroids;
        bool embeddings;
        hs_string skip;
    } ipq;
    struct { // what a student is held by to its teacher; config_distill.c
        hs_string teacher;
        hs_ints layers, hidden_map;
        double temperature, soft, hard, cosine, hidden, relation;
        int rows, relations; // HS_ROWS_PREDICTED, HS_ROWS_ALL; index into the pairs of hs_config_distill
        int64_t relation_heads, teacher_layer, student_layer;
        int64_t other_width, other_layers, other_labels; // no keys: of the teacher, from hs_teacher_take on
    } distill;
    struct {
        int policy;   // hs_dtype_option
        int residual; // HS_RESIDUAL_F32, HS_RESIDUAL_LOW
        int scaler;   // hs_scaler_kind
        int64_t histogram;
        hs_string overrides;
        struct {
            int scaling; // HS_FP8_CURRENT, HS_FP8_DELAYED
            int64_t history, margin;
        } fp8;
    } amp;
    struct {
        int64_t every, keep;
    } checkpoint;
    struct {
        int mode; // hs_submit_mode, HS_MODE_AUTO
        int64_t bulk_size, threads;
        hs_string isa, device;
        int attention_masks; // HS_MASKS_EXACT, HS_MASKS_LIBRARY
        bool deterministic, onednn;
    } exec;
    struct {            // config_ranks.c
        int64_t dp, tp; // dp 0: follows from the ranks there are
        int64_t bucket_mb;
        double timeout;
        int shard_optimizer; // hs_config_divide
        bool sequence;
    } parallel;
    struct {
        int normalize;
        double replaced;
    } loss;
    hs_phase phase[HS_PHASES];
    int n_phases;
    const hs_config_table *table;
    hs_origin origin[HS_CONFIG_KEYS];
} hs_config;
enum { HS_NORMALIZE_GLOBAL, HS_NORMALIZE_MICRO };
enum { HS_MODE_AUTO = 3 }; // behind those of hs_submit_mode
enum { HS_INIT_KEEP, HS_INIT_REPLACE };
enum { HS_RESIDUAL_F32, HS_RESIDUAL_LOW };
enum { HS_MASKS_EXACT, HS_MASKS_LIBRARY };
enum { HS_FP8_CURRENT, HS_FP8_DELAYED };
enum { HS_HEAD_KEEP, HS_HEAD_NEW };
enum { HS_TABLES_AUTO, HS_TABLES_YES, HS_TABLES_NO };
enum { HS_ACTIVATIONS_TOKEN, HS_ACTIVATIONS_TENSOR };
bool hs_quant_tables(int choice, hs_quant_bits bits); // tables of tokens, too? auto: with blocks
enum { HS_ROWS_PREDICTED, HS_ROWS_ALL };
#define HS_TASK_KIND_WORDS "none|" HS_ABOUT_WORDS

// Defaults of the table, which is borrowed.
hs_status hs_config_init(hs_config *c, const hs_config_table *t);

// A path as given, or a shipped recipe by its name ("gpt2-124m"). USAGE with the names if there is neither.
hs_status hs_config_find(const char *name, char *path, size_t size);
hs_status hs_config_find_cluster(const char *name, char *path, size_t size); // the same of clusters: "dgx-h100"
typedef struct hs_recipes {
    char name[64][64];
    const char *sorted[64];
    int n;
} hs_recipes;
void hs_config_recipes(hs_recipes *r); // those that are shipped
// What training draws from: data.sources, or data.train as one file of weight 1, or, where no file has that name and it has a comma, as
// PATH:WEIGHT,PATH:WEIGHT,... (weight 1 where none is given). USAGE: both are set, an empty path, a weight that is no number, weights of
// some only, more than HS_MIX_SOURCES.
hs_status hs_config_sources(const hs_config *c, hs_data_part part[HS_MIX_SOURCES], int *n);
// data.tokenizer wordpiece or wordpiece:SIZE, to be learned from the text; *size: tokens, -1 where it is no number.
bool hs_config_wordpiece(const hs_config *c, int64_t *size);
static inline const char *hs_config_data_key(const hs_config *c) { return c->data.n_sources ? "data.sources" : "data.train"; }
// How batches of the family are made, by what only these settings and the model say. USAGE: a key that this family has no use for, a length
// beyond the model's positions, an objective that it has no head for.
hs_status hs_config_check_batches(const hs_config *c);

// ---- tasks (config_task.c)
static inline bool hs_config_labelled(const hs_config *c) { return c->task.kind != 0; }
static inline hs_about hs_config_about(const hs_config *c) { return (hs_about)(c->task.kind - 1); } // of one that is labelled
hs_task hs_config_task(const hs_config *c);        // of the head that task.kind asks for; NONE of lm, and where there is no task
hs_batch_kind hs_config_batch(const hs_config *c); // what its batches are: labelled, or the model's own
// model.task as task.kind asks for it. USAGE: the settings name another task, or the family has no heads of that kind. To be done again
// where model.type has changed.
hs_status hs_config_settle_task(hs_config *c);
// What of task.* does not go together, or is for another task or for none. Asked before the data are looked at.
hs_status hs_config_check_task(const hs_config *c);
// A model with a head for a task has labelled data, and texts another one. Once the model is known.
hs_status hs_config_check_head(const hs_config *c);
bool hs_config_chain(const hs_config *c); // model.crf: are tags judged as one chain?
// Elements of task.labels as names; n 0: none. MEMORY, USAGE: an empty or a repeated name.
hs_status hs_config_labels(const hs_config *c, hs_labels *out);

// ---- a teacher (config_distill.c)
static inline bool hs_config_learns(const hs_config *c) { return c->distill.teacher[0] != 0; }
// Does distill.* go together, and with the rest? What files say of the teacher is not looked at.
hs_status hs_config_check_distill(const hs_config *c);
hs_status hs_config_check_student(const hs_config *c); // the same of the model, once it is known
hs_distill hs_config_distill(const hs_config *c);      // a student's part of a plan's shape; of a run without a teacher nothing
// Hidden states that are compared, by number: the student's, and the teacher's that each of them meets. NULL: not asked for. Returns how
// many.
int hs_config_states(const hs_config *c, int16_t *student, int16_t *teacher);
// What the mean of a loss is multiplied by in a run of these settings.
double hs_config_loss_weight(const hs_config *c, hs_loss loss);

// ---- phases: stretches of a run, one behind the other
int hs_config_n_phases(const hs_config *c);                   // 1 where none are given: the whole run
int64_t hs_config_phase_steps(const hs_config *c, int phase); // train.steps where there are none
// The settings of one of them as those of a run, without phases of its own.
hs_status hs_config_phase(hs_config *out, const hs_config *c, int phase);
// The error at hand as one of that phase; as it is where there are none.
hs_status hs_config_in_phase(hs_status st, const hs_config *c, int phase);
const char *hs_config_phase_name(const hs_config *c, int phase); // "": it has none
// What phases leave out becomes what the run has, so that the resolved configuration says all of it.
// USAGE: the command line sets for the run what each phase has of its own.
hs_status hs_config_fill_phases(hs_config *c);
hs_status hs_config_init_phases(hs_config_table *t); // part of hs_config_table_init

// ---- ranks (config_ranks.c)
// Does parallel.* go with so many ranks, and does train.batch, of every phase, divide over them? USAGE, with the numbers. *dp: what
// parallel.dp is, or what follows from ranks.
hs_status hs_config_check_ranks(const hs_config *c, int ranks, int *dp);
void hs_config_tell_idle(const hs_config *c, int dp); // warns of what parallel.* asks for that so few ranks have no use for
hs_divide hs_config_divide(const hs_config *c);       // parallel.shard_optimizer

// What the table cannot say: values that must agree with each other. data_needed: data.train must be there.
hs_status hs_config_check(const hs_config *c, bool data_needed);
int64_t hs_config_most_batch(const hs_config *c); // train.batch at most, with this context
// data.*, train.init_from and distill.teacher relative to the folder of the file that set them become absolute; train.name defaults to its
// base name.
hs_status hs_config_resolve_paths(hs_config *c, const char *file);
void hs_config_text(const hs_config *c, const char *key, char *buf, size_t size); // value as text
const char *hs_config_where(const hs_config *c, const char *key);                 // "config.yaml:12"; "default"
void *hs_config_field(hs_config *c, const char *key);                             // where its value lies; NULL: no such key
bool hs_config_is_default(const hs_config *c, const char *key);                   // nobody set it
hs_status hs_config_set(hs_config *c, const char *key, const char *value, const char *where);
hs_status hs_config_set_int(hs_config *c, const char *key, int64_t value, const char *where);
// "config.yaml:12: ", for the front of a message about a key; "" for a default, and for an option, which is named like the key.
const char *hs_config_prefix(const hs_config *c, const char *key, char *buf, size_t size);
char *hs_config_yaml(const hs_config *c); // the resolved configuration; malloc'd
// That dir/train/config.yaml says; malloc'd. NULL: there is none, or one of settings that are not known here, which a warning says. One
// that cannot be read is an error.
hs_status hs_config_of_checkpoint(hs_config **out, const hs_config_table *t, const char *dir);

// The parts of it in the words of the rooms that use them.
hs_arch hs_config_arch(const hs_config *c);                       // settings stay the configuration's own
int64_t hs_config_model_int(const hs_config *c, const char *key); // "model.context"; 0 where the family has no such key
const char *hs_config_keep_zeros(const hs_config *c);             // patterns; "": none
hs_model_info hs_config_info(const hs_config *c);                 // what a checkpoint's config.json will say
hs_optim_config hs_config_optim(const hs_config *c, hs_dtype low);
// config_optim.c. Switches of the optimizer that nobody set get what its preset says, so that the resolved configuration says all; to be
// done again where optim.name has changed. The two below show a configuration in which it was done.
hs_status hs_config_settle_optim(hs_config *c);
hs_status hs_config_check_optim(const hs_config *c);
void hs_config_tell_optim(const hs_config *c); // warns of what a file sets for another optimizer
void hs_config_print_optim(const hs_config *c, hs_dtype low);
struct json_t *hs_config_optim_json(const hs_config *c, hs_dtype low);
hs_status hs_config_policy(const hs_config *c, hs_policy *out); // quant.skip is the configuration's own
hs_status hs_config_quant(const hs_config *c, hs_quant_policy *out);
hs_products_opts hs_config_products(const hs_config *c); // ipq.*; skip is the configuration's own
hs_status hs_config_check_ipq(const hs_config *c);
// auto: bf16 where the device multiplies it in hardware, else fp32. A GPU that is supported does; a CPU where isa (exec.isa) does not hold
// its kernels to less.
hs_dtype hs_dtype_of_option(hs_dtype_option o, const char *isa, const char *device);
// exec.mode on that device. auto: graph where it captures segments, else bulk.
hs_submit_mode hs_config_mode(const hs_config *c, const hs_device *d);

#endif
