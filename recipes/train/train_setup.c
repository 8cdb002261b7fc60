// What stands before the first step: settings that depend on files, text, plans, weights, and only then the run's folder.
#include "core/base/log.h"
#include "data/checkpoint/ckpt_parts.h"
#include "infer/session/session.h"
#include "ops/ops.h"
#include "recipes/program/budget.h"
#include "recipes/program/peak.h"
#include "recipes/train/resumed.h"
#include "recipes/train/trainer.h"
#include "recipes/train/weights_from.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hs_status check_vocabulary(const hs_trainer *t)
{
    hs_tokenizer *tok;
    HS_TRY(hs_tokenizer_load(&tok, t->run.from));
    const bool same = hs_tokenizer_gives(tok, hs_tokenizer_hash(t->corpus.tokenizer));
    const int64_t theirs = hs_tokenizer_vocab(tok);
    hs_tokenizer_free(tok);
    if (same)
        return HS_OK;
    return HS_FAIL(USAGE, "data.tokenizer: the vocabulary (%lld tokens) is not the one %s was trained with (%lld tokens): %s has changed",
                   (long long)hs_tokenizer_vocab(t->corpus.tokenizer), t->run.from, (long long)theirs,
                   strcmp(hs_tokenizer_kind(t->corpus.tokenizer), "char") == 0 ? hs_config_data_key(t->c) : "data.tokenizer");
}

// ---- settings that files decide
static hs_status settle_model(hs_trainer *t)
{
    HS_TRY(hs_weights_vocabulary(t->c, hs_tokenizer_vocab(t->corpus.tokenizer)));
    t->arch = hs_config_arch(t->c);
    HS_TRY(hs_arch_check(t->arch));
    t->feed = hs_feed_of(t->c);
    t->info = hs_config_info(t->c);
    return HS_OK;
}

static hs_status settle_policy(hs_trainer *t)
{
    HS_TRY(hs_config_policy(t->c, &t->policy));
    if (t->c->amp.policy == HS_DTYPE_AUTO) {
        const bool fast = t->policy.low == HS_BF16;
        t->policy_note = fast ? "amp.policy auto: bf16, which this CPU multiplies in hardware"
                              : "amp.policy auto: fp32, as this CPU is not fast at bf16";
        HS_TRY(hs_config_set(t->c, "amp.policy", fast ? "bf16" : "fp32", "auto"));
    }
    return HS_OK;
}

static hs_status open_text(hs_trainer *t)
{
    const char *tokenizer_dir;
    HS_TRY(hs_weights_take(t->c, &t->run, &tokenizer_dir));
    HS_TRY(hs_corpus_open(&t->corpus, t->c, t->run.dir, tokenizer_dir));
    return settle_model(t);
}

// ---- engine and weights
static hs_status load_weights(hs_trainer *t)
{
    const hs_ckpt_opts names = { .files = t->info.files };
    hs_engine *e = t->engine;
    if (!t->run.from[0])
        return t->run.init[0] ? hs_ckpt_load_params(t->run.init, &names, e->params) : HS_OK;
    HS_TRY(hs_ckpt_load_params(t->run.from, &names, e->params));
    HS_TRY(hs_ckpt_load_train(t->run.from, e->params, &t->at));
    if (t->at.seed != (uint64_t)t->c->train.seed)
        return HS_FAIL(USAGE, "train.seed is %lld, but %s was begun with %llu; --resume none --overwrite starts anew",
                       (long long)t->c->train.seed, t->run.from, (unsigned long long)t->at.seed);
    hs_resumed_scale(t->c, t->before, &t->at.step_state);
    hs_run_set_state(e->run, &t->at.step_state);
    memcpy(t->last.loss, t->at.step_state.loss, sizeof t->last.loss); // of a run that has nothing left to do
    hs_run_begin(e->run, (uint64_t)t->at.step);
    return HS_OK;
}

static void watch(const hs_thunk *thunk, double seconds, void *user)
{
    (void)seconds;
    hs_trainer *t = user;
    const char *operand = "";
    const int64_t n = t->watch.found ? 0 : hs_thunk_nonfinite(t->device, t->engine->in->n, thunk, &operand);
    if (!n)
        return;
    t->watch = (hs_watch){ .found = true, .backward = thunk->backward, .count = n, .micro = t->engine->in->micro };
    snprintf(t->watch.scope, sizeof t->watch.scope, "%s", thunk->node && thunk->node->scope ? thunk->node->scope : "");
    snprintf(t->watch.op, sizeof t->watch.op, "%s", thunk->name ? thunk->name : "");
    snprintf(t->watch.operand, sizeof t->watch.operand, "%s", operand ? operand : "");
}

static hs_status open_device(hs_trainer *t)
{
    const hs_config *c = t->c;
    HS_TRY(hs_open_device(&t->device, c->exec.device, (int)c->exec.threads, c->exec.isa, (int)c->exec.bulk_size,
                          c->exec.onednn ? HS_ONEDNN_FASTER : HS_ONEDNN_NO));
    HS_TRY(hs_submit_mode_check((hs_submit_mode)c->exec.mode, t->device));
    if (c->exec.mode == HS_SUBMIT_STEP)
        t->device->hook = watch, t->device->hook_user = t;
    return HS_OK;
}

static hs_status open_engine(hs_trainer *t)
{
    HS_TRY(settle_policy(t));
    if (t->c->optim.warmup >= t->c->train.steps)
        hs_warn("optim.warmup is %lld steps, train.steps %lld: the learning rate never gets to optim.lr", (long long)t->c->optim.warmup,
                (long long)t->c->train.steps);
    HS_TRY(open_device(t));
    HS_TRY(hs_budget_engine(&t->engine, t->c, &t->policy, t->c->train.batch, t->device, t->run.from[0] || t->run.init[0]));
    HS_TRY(hs_budget_check(t->engine, t->c, &t->policy));
    HS_TRY(hs_engine_start(t->engine));
    t->at = (hs_train_state){ .seed = (uint64_t)t->c->train.seed, .best_val_loss = -1 };
    HS_TRY(load_weights(t));
    t->first_step = t->at.step;
    t->saved_step = t->run.from[0] ? t->at.step : -1;
    return HS_OK;
}

enum { PROFILE_AFTER = 5, PROFILE_STEPS = 10 };

static hs_status open_profile(hs_trainer *t)
{
    if (!t->o->profile || !t->o->profile[0])
        return HS_OK;
    return hs_profile_new(&t->profile, &(hs_profile_opts){ .engine = t->engine,
                                                           .path = t->o->profile,
                                                           .warmup = PROFILE_AFTER,
                                                           .steps = PROFILE_STEPS,
                                                           .n_micro = (int)t->c->train.accumulate });
}

// ---- the folder and what writes into it
// The run's folder, or that of the run it goes on from, holds a cache of these texts.
static bool text_is_known(const hs_trainer *t)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/../..", t->run.from);
    return t->corpus.known || hs_corpus_known(&t->corpus, path);
}

static hs_status find_best(hs_trainer *t)
{
    HS_TRY(hs_ckpt_go_on(t->ckpt, &t->at));
    if (t->at.best_val_loss >= 0 && !hs_folder_has_best(t->run.checkpoints, &t->at))
        hs_info("the best checkpoint so far, of step %lld, is not in %s: BEST will name the first that is better",
                (long long)t->at.best_step, t->run.checkpoints);
    return HS_OK;
}

static hs_status open_outputs(hs_trainer *t)
{
    char path[4096];
    t->yaml = hs_config_yaml(t->c);
    if (!t->yaml)
        return HS_FAIL(MEMORY, "no memory for the resolved configuration");
    if (t->run.from[0] && !text_is_known(t))
        hs_warn("the text (of stores also weights and packing) is not the one this run was using, or its tokens-*.bin (or .txt) is gone: "
                "losses will not repeat those of an uninterrupted run");
    HS_TRY(hs_run_dir_create(&t->run, t->yaml, t->corpus.tokenizer));
    HS_TRY(hs_corpus_cache(&t->corpus, t->run.dir));
    if (!t->run.from[0])
        hs_corpus_clean(&t->corpus, t->run.dir);
    const hs_ckpt_opts opts = { .dir = t->run.checkpoints, .keep = (int)t->c->checkpoint.keep, .files = t->info.files };
    HS_TRY(hs_ckpt_new(&t->ckpt, &opts, t->engine->params));
    if (t->run.from[0])
        HS_TRY(find_best(t));
    snprintf(path, sizeof path, "%s/metrics.jsonl", t->run.dir);
    HS_TRY(hs_metrics_open(&t->metrics, path, t->at.step));
    if (t->c->train.tensorboard && t->at.step < t->c->train.steps) // a run that is done needs no further file
        HS_TRY(hs_tensorboard_open(&t->tensorboard, t->run.dir, t->at.step));
    return HS_OK;
}

static hs_status open_loader(hs_trainer *t)
{
    hs_source *source;
    if (hs_corpus_has_val(&t->corpus))
        HS_TRY(hs_feed_eval(&t->validation, &t->feed, &t->corpus));
    HS_TRY(hs_feed_train(&source, &t->feed, &t->corpus));
    return hs_loader_new(&t->loader, source,
                         &(hs_loader_opts){ .batch = t->c->train.batch,
                                            .n_micro = (int)t->c->train.accumulate,
                                            .size = 1,
                                            .first_sample = t->at.next_sample,
                                            .depth = (int)(t->c->train.accumulate + t->c->train.prefetch) });
}

// Tokens that attention sees: a window, or a document of mean length (that is the least they can see: longer ones count for more).
static int64_t attended(const hs_trainer *t)
{
    const int64_t window = t->feed.length, mean = hs_corpus_mean_document(&t->corpus);
    return t->c->data.packing == HS_PACKING_NONE || mean > window ? window : mean;
}

// Of the whole model the family's figure, which attention makes smaller in packed rows; where parts are frozen the plan's, of whole
// windows.
static double flops_per_token(const hs_trainer *t)
{
    const hs_plan_info *info = hs_plan_info_of(hs_engine_plan(t->engine, HS_TRAIN));
    if (t->c->train.freeze[0])
        return (info->flops_forward + info->flops_backward) / (double)hs_feed_setup(&t->feed, t->c->train.batch).shape.max_tokens;
    return t->arch.family->flops_per_token(t->arch.settings, (double)attended(t));
}

static hs_status open_progress(hs_trainer *t)
{
    hs_policy policy = t->policy;
    policy.n_overrides = 0; // the peak is the machine's, not the model's
    t->progress = (hs_progress){ .json = t->o->json,
                                 .quiet = t->o->quiet,
                                 .show_scale = t->policy.low == HS_F16,
                                 .steps = t->c->train.steps,
                                 .flops_per_token = flops_per_token(t) };
    HS_TRY(hs_measure_peak(t->device, &policy, 0.1, &t->progress.peak_flops));
    hs_progress_begin(&t->progress);
    return HS_OK;
}

// What ends a text goes on with the weights, unless other tokens were put in the place of theirs.
static hs_status take_ends(hs_trainer *t)
{
    const char *source = t->run.from[0] ? t->run.from : t->run.init;
    hs_model_info info;
    const hs_family *family;
    if (!source[0] || (!t->run.from[0] && t->c->train.init_tokenizer == HS_INIT_REPLACE))
        return HS_OK;
    HS_TRY(hs_session_info(t->c->table->families, source, &info, &family));
    t->info.end = info.end;
    return HS_OK;
}

static hs_status open_all(hs_trainer *t)
{
    const hs_train_opts *o = t->o;
    HS_TRY(hs_config_check(t->c, true));
    HS_TRY(hs_run_dir_open(&t->run, o->dir, o->resume, o->overwrite, o->accept_edited ? HS_CKPT_EDITED : 0, t->c));
    HS_TRY(open_text(t));
    if (t->run.from[0]) {
        HS_TRY(hs_config_of_checkpoint(&t->before, t->c->table, t->run.from));
        hs_model_info info;
        const hs_family *family;
        HS_TRY(check_vocabulary(t));
        HS_TRY(hs_session_info(t->c->table->families, t->run.from, &info, &family));
        HS_TRY(hs_weights_check(t->c, &info, family, t->run.from));
    }
    HS_TRY(take_ends(t));
    HS_TRY(open_engine(t));
    HS_TRY(open_profile(t));
    HS_TRY(open_outputs(t));
    HS_TRY(open_loader(t));
    if (t->run.from[0])
        hs_resumed_tell(t->c, t->before, &t->at.step_state);
    return open_progress(t);
}

hs_status hs_trainer_open(hs_trainer *t, const hs_train_opts *o)
{
    *t = (hs_trainer){ .o = o, .c = o->config, .val_loss = NAN, .saved_step = -1, .run.lock = -1 };
    return open_all(t);
}

void hs_trainer_close(hs_trainer *t)
{
    hs_loader_free(t->loader);
    hs_source_free(t->validation);
    hs_profile_free(t->profile);
    hs_ckpt_free(t->ckpt);
    hs_metrics_close(t->metrics);
    hs_tensorboard_close(t->tensorboard);
    hs_engine_free(t->engine);
    hs_device_close(t->device);
    hs_corpus_close(&t->corpus);
    hs_run_dir_close(&t->run);
    free(t->yaml);
    free(t->before);
}
