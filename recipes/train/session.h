// session: a GPT opened from a checkpoint to be evaluated or to generate; and what training and evaluation share.
#ifndef HS_RECIPES_SESSION_H
#define HS_RECIPES_SESSION_H
#include "data/batches/loader.h"
#include "data/checkpoint/checkpoint.h"
#include "models/gpt/gpt.h"
#include "recipes/program/cli.h"
#include "recipes/train/engine.h"

typedef struct hs_gpt_setup { // config of hs_gpt_trace
    hs_gpt_config gpt;
    hs_gpt_shape shape;
} hs_gpt_setup;
void hs_gpt_trace(hs_graph *g, const void *setup); // an hs_model_fn

// Evaluation takes as many windows at once as keep its logits small, whatever the batch of training was: the same bits everywhere.
hs_gpt_setup hs_gpt_eval_setup(const hs_gpt_config *g);
hs_gpt_config hs_gpt_of_info(const hs_model_info *m);
hs_ckpt_opts hs_gpt_ckpt_opts(const char *dir, int keep); // names and aliases of GPT-2 files

// Copies a micro-batch into a mode's static inputs and its live counts into e->in.
hs_status hs_feed(hs_engine *e, hs_mode mode, const hs_batch *b);

typedef struct hs_eval_result {
    double loss;    // mean over all predicted tokens
    int64_t tokens; // predicted
    double seconds;
} hs_eval_result;
// Consecutive windows of the range; each token but the first is predicted once. max_windows (0: all) takes that many, in batches spread
// evenly over the range. Leaves e->in's step alone.
hs_status hs_evaluate(hs_engine *e, const hs_gpt_setup *setup, const hs_token_range *range, int64_t max_windows, hs_eval_result *out);

typedef struct hs_session {
    char dir[4096]; // the model directory
    hs_gpt_setup setup;
    hs_policy policy;
    int32_t end;             // token that ends a text, -1: the model has none
    hs_tokenizer *tokenizer; // NULL: the directory has none that Halfstep reads; hs_error of it in tokenizer_error
    char tokenizer_error[512];
    hs_device *device;
    hs_engine *engine;
} hs_session;

// Finds the checkpoint, verifies it, and reads what config.json, tokenizer and options say; no weights yet.
hs_status hs_session_open(hs_session *s, const char *path, const hs_common *o);
hs_status hs_session_load(hs_session *s, const hs_engine_opts *plans); // engine with these plans (model and device are filled in), weights
void hs_session_close(hs_session *s);

// --dtype in words of a policy; auto: `trained` if known, else the CPU's best.
hs_status hs_session_policy(int dtype_option, const char *trained, hs_policy *out);

double hs_now(void);      // seconds, monotonic
size_t hs_peak_rss(void); // bytes this process had in memory at most

#endif
