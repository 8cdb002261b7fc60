// config: every setting of a run as one struct and one table. YAML files, --section.key overrides, defaults, help and man
// page all come from hs_config_schema.
#ifndef HS_RECIPES_CONFIG_H
#define HS_RECIPES_CONFIG_H
#include "core/plan/plan.h"
#include "core/settings/schema.h"
#include "data/batches/loader.h"
#include "data/checkpoint/checkpoint.h"
#include "models/gpt/gpt.h"
#include "optim/optim.h"

typedef char hs_string[HS_KEY_STRING_BYTES];

typedef struct hs_config {
    struct {
        int type;
        int64_t layers, heads, width, context, vocab;
        double dropout, eps;
    } model;
    struct {
        hs_string train, val, tokenizer;
        int packing; // hs_packing
    } data;
    struct {
        hs_string name, init_from, freeze;
        int64_t batch, accumulate, steps, seed, log_every, eval_every, eval_windows, prefetch;
        int init_tokenizer; // HS_INIT_KEEP, HS_INIT_REPLACE
        bool tensorboard;
    } train;
    struct {
        int name, schedule;
        double lr, min_lr, power, momentum, eps, weight_decay, clip;
        int64_t warmup;
        hs_reals betas;
    } optim;
    struct {
        int policy, residual;
        hs_string overrides, scaler;
    } amp;
    struct {
        int64_t every, keep;
    } checkpoint;
    struct {
        int mode;
        int64_t bulk_size, threads;
        hs_string isa, device;
        bool onednn;
    } exec;
    struct {
        int normalize;
    } loss;
} hs_config;
enum { HS_NORMALIZE_GLOBAL, HS_NORMALIZE_MICRO };
enum { HS_INIT_KEEP, HS_INIT_REPLACE };

extern const hs_schema hs_config_schema;
enum { HS_CONFIG_KEYS = 64 }; // at least the rows of the table: size of origin arrays

// A path as given, or a shipped recipe by its name ("gpt2-124m"). USAGE with the names if there is neither.
hs_status hs_config_find(const char *name, char *path, size_t size);
// data.train as a list: one file of weight 1, or, where no file has that name and it has a comma, PATH:WEIGHT,PATH:WEIGHT,... (weight 1
// where none is given). USAGE: an empty path, a weight that is no number, more than HS_MIX_SOURCES.
typedef struct hs_data_part {
    hs_string path;
    double weight;
} hs_data_part;
hs_status hs_config_parts(const char *text, hs_data_part *part, int *n);
// What the table cannot say: values that must agree with each other. data_needed: data.train must be there.
hs_status hs_config_check(const hs_config *c, const hs_origin *origin, bool data_needed);
// data.* and train.init_from relative to the folder of the file that set them become absolute; train.name defaults to its base name.
hs_status hs_config_resolve_paths(hs_config *c, const hs_origin *origin, const char *file);
void hs_config_text(const hs_config *c, const char *key, char *buf, size_t size); // value as text
const char *hs_config_where(const hs_origin *origin, const char *key);            // "config.yaml:12"; "default"
hs_status hs_config_set(hs_config *c, hs_origin *origin, const char *key, const char *value, const char *where);
char *hs_config_yaml(const hs_config *c); // the resolved configuration; malloc'd

// The parts of it in the words of the rooms that use them.
hs_gpt_config hs_config_gpt(const hs_config *c, int64_t vocab);
hs_status hs_config_optim(const hs_config *c, hs_dtype low, hs_optim_config *out);
hs_status hs_config_policy(const hs_config *c, hs_policy *out); // auto is settled here
hs_model_info hs_config_info(const hs_gpt_config *g);

#endif
