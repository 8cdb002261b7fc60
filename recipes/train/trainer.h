// trainer: a training run from its settings to its last checkpoint.
#ifndef HS_RECIPES_TRAINER_H
#define HS_RECIPES_TRAINER_H
#include "data/batches/loader.h"
#include "data/report/tensorboard.h"
#include "recipes/train/corpus.h"
#include "recipes/train/engine.h"
#include "recipes/train/evaluate.h"
#include "recipes/train/profile.h"
#include "recipes/train/progress.h"
#include "recipes/train/run_dir.h"
#include "recipes/train/train_feed.h"

typedef struct hs_train_opts {
    hs_config *config;        // paths resolved; completed by the trainer: vocabulary, policy, shape taken over from train.init_from
    const char *dir, *resume; // --out; auto, none or a path
    const char *profile;      // --profile; NULL or "": none
    bool overwrite, accept_edited, json, quiet;
} hs_train_opts;

typedef struct hs_watch { // step mode: the first result of a step that was not finite
    bool found, backward;
    int64_t count;
    int32_t micro;
    char scope[128], op[48], operand[32];
} hs_watch;

typedef struct hs_trainer {
    const hs_train_opts *o;
    hs_config *c;
    hs_config *before; // of the checkpoint it goes on from; NULL: none, or not known
    hs_run_dir run;
    hs_corpus corpus;
    hs_arch arch; // of the configuration
    hs_feed feed;
    hs_source *validation; // NULL: no evaluation
    hs_policy policy;
    hs_device *device;
    hs_engine *engine;
    hs_loader *loader;
    hs_ckpt *ckpt;
    hs_metrics *metrics;
    hs_tensorboard *tensorboard; // NULL: not wanted
    hs_progress progress;
    hs_profile *profile; // NULL: not wanted, or told
    hs_model_info info;
    hs_train_state at; // what a checkpoint of this moment would say; its step_state is the engine's
    char *yaml;
    const char *policy_note; // how amp.policy auto was settled; NULL: it was not auto
    hs_watch watch;
    hs_step_record last;  // of the steps whose records were read
    int64_t saved_step;   // of the last checkpoint handed over; -1: none
    int64_t first_step;   // of this process
    double val_loss;      // of the last evaluation; NaN: none
    double train_seconds; // in steps of this process
} hs_trainer;

hs_status hs_train(const hs_train_opts *o); // STOPPED after a signal, NONFINITE after ten skipped steps in a row

// Of train_setup.c: all that stands before the first step. Nothing is written before everything was checked.
hs_status hs_trainer_open(hs_trainer *t, const hs_train_opts *o);
void hs_trainer_close(hs_trainer *t);

#endif
