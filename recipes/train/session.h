// session: a model opened from a checkpoint to be evaluated or to generate; and what training and evaluation share.
#ifndef HS_RECIPES_SESSION_H
#define HS_RECIPES_SESSION_H
#include "data/batches/loader.h"
#include "data/checkpoint/checkpoint.h"
#include "models/family.h"
#include "recipes/program/cli.h"
#include "recipes/train/engine.h"

// Evaluation takes as many windows at once as keep its logits small, whatever the batch of training was: the same bits everywhere.
hs_arch_setup hs_eval_setup(hs_arch m);

// Copies a micro-batch into a mode's static inputs and its live counts into e->in.
hs_status hs_feed(hs_engine *e, hs_mode mode, const hs_batch *b);

typedef struct hs_eval_result {
    double loss;    // mean over all predicted tokens
    int64_t tokens; // predicted
    double seconds;
} hs_eval_result;
// Consecutive windows of the range; each token but the first is predicted once. max_windows (0: all) takes that many, in batches spread
// evenly over the range. Leaves e->in's step alone.
hs_status hs_evaluate(hs_engine *e, const hs_arch_setup *setup, const hs_token_range *range, int64_t max_windows, hs_eval_result *out);

typedef struct hs_session {
    char dir[4096]; // the model directory
    hs_model_info info;
    hs_arch arch;           // its settings are info's
    int64_t context, vocab; // of the model
    hs_policy policy;
    int32_t end;             // token that ends a text, -1: the model has none
    hs_tokenizer *tokenizer; // NULL: the directory has none that Halfstep reads; hs_error of it in tokenizer_error
    char tokenizer_error[512];
    hs_device *device;
    hs_engine *engine;
} hs_session;

// Finds the checkpoint, verifies it, and reads what config.json, tokenizer and options say; no weights yet.
// s must not move while it is open.
hs_status hs_session_open(hs_session *s, const char *path, const hs_common *o, const hs_config_table *table);
hs_status hs_session_load(hs_session *s, const hs_engine_opts *plans); // engine with these plans (model and device are filled in), weights
void hs_session_close(hs_session *s);

// --dtype in words of a policy; auto: `trained` if known, else the CPU's best.
hs_status hs_session_policy(int dtype_option, const char *trained, hs_policy *out);

double hs_now(void);      // seconds, monotonic
size_t hs_peak_rss(void); // bytes this process had in memory at most

#endif
