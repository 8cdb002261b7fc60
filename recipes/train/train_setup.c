// What stands before the first step: settings that depend on files, text, plans, weights, and only then the run's folder.
#include "core/base/log.h"
#include "data/checkpoint/ckpt_parts.h"
#include "ops/ops.h"
#include "recipes/program/budget.h"
#include "recipes/program/peak.h"
#include "recipes/train/trainer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- agreement with the checkpoint a run starts from
typedef struct shape_key {
    const char *key;
    size_t config, info; // offsets of int64_t
} shape_key;
static const shape_key shape_keys[] = {
    { "model.layers", offsetof(hs_config, model.layers), offsetof(hs_model_info, layers) },
    { "model.heads", offsetof(hs_config, model.heads), offsetof(hs_model_info, heads) },
    { "model.width", offsetof(hs_config, model.width), offsetof(hs_model_info, width) },
    { "model.context", offsetof(hs_config, model.context), offsetof(hs_model_info, context) },
    { "model.vocab", offsetof(hs_config, model.vocab), offsetof(hs_model_info, vocab) },
};

static int64_t at(const void *base, size_t offset) { return *(const int64_t *)((const char *)base + offset); }

static hs_status check_shape(const hs_config *c, const hs_model_info *info, const char *from)
{
    for (int i = 0; i < HS_COUNT(shape_keys); i++) {
        const int64_t ours = at(c, shape_keys[i].config), theirs = at(info, shape_keys[i].info);
        if (ours != theirs)
            return HS_FAIL(USAGE, "%s is %lld, but %s has %lld; --resume none --overwrite starts anew", shape_keys[i].key, (long long)ours,
                           from, (long long)theirs);
    }
    return HS_OK;
}

// Weights to start from bring their shape; a setting that says otherwise is refused.
static hs_status take_shape(hs_trainer *t, const char *source)
{
    hs_model_info info;
    char text[32];
    HS_TRY(hs_ckpt_read_info(source, &info));
    for (int i = 0; i < HS_COUNT(shape_keys); i++) {
        const char *key = shape_keys[i].key, *where = hs_config_where(t->o->origin, key);
        const int64_t ours = at(t->c, shape_keys[i].config), theirs = at(&info, shape_keys[i].info);
        if (strcmp(where, "default") != 0 && ours != theirs && !(ours == 0 && strcmp(key, "model.vocab") == 0))
            return HS_FAIL(USAGE, "%s: %s is %lld, but train.init_from %s has %lld", where, key, (long long)ours, source,
                           (long long)theirs);
        snprintf(text, sizeof text, "%lld", (long long)theirs);
        HS_TRY(hs_config_set(t->c, t->o->origin, key, text, "train.init_from"));
    }
    snprintf(text, sizeof text, "%.17g", info.eps);
    return hs_config_set(t->c, t->o->origin, "model.eps", text, "train.init_from");
}

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
                   strcmp(hs_tokenizer_kind(t->corpus.tokenizer), "char") == 0 ? "data.train" : "data.tokenizer");
}

// ---- settings that files decide
static hs_status settle_vocabulary(hs_trainer *t)
{
    const int64_t have = hs_tokenizer_vocab(t->corpus.tokenizer);
    if (t->c->model.vocab && t->c->model.vocab < have)
        return HS_FAIL(USAGE, "model.vocab is %lld%s%s, but the tokenizer has %lld tokens", (long long)t->c->model.vocab,
                       t->c->train.init_from[0] ? ", that of train.init_from " : "", t->c->train.init_from, (long long)have);
    if (!t->c->model.vocab) {
        char text[32];
        snprintf(text, sizeof text, "%lld", (long long)(have < 2 ? 2 : have)); // a text of one character still makes a model
        HS_TRY(hs_config_set(t->c, t->o->origin, "model.vocab", text, "data.tokenizer"));
    }
    t->gpt = hs_config_gpt(t->c, t->c->model.vocab);
    HS_TRY(hs_gpt_check(&t->gpt));
    t->info = hs_config_info(&t->gpt);
    t->train = (hs_gpt_setup){ t->gpt,
                               { .max_tokens = t->c->train.batch * t->gpt.context,
                                 .max_seqs = hs_loader_max_seqs((hs_packing)t->c->data.packing, t->c->train.batch, t->gpt.context) } };
    t->eval = hs_gpt_eval_setup(&t->gpt);
    return HS_OK;
}

static hs_status settle_policy(hs_trainer *t)
{
    HS_TRY(hs_config_policy(t->c, &t->policy));
    if (t->c->amp.policy == 0) {
        const bool fast = t->policy.low == HS_BF16;
        t->policy_note = fast ? "amp.policy auto: bf16, which this CPU multiplies in hardware"
                              : "amp.policy auto: fp32, as this CPU is not fast at bf16";
        HS_TRY(hs_config_set(t->c, t->o->origin, "amp.policy", fast ? "bf16" : "fp32", "auto"));
    }
    return HS_OK;
}

static hs_status open_text(hs_trainer *t)
{
    const char *tokenizer_dir;
    if (t->c->train.init_from[0]) // a run that goes on has its own copy of what it took over
        HS_TRY(take_shape(t, t->run.from[0] ? t->run.from : t->run.init));
    HS_TRY(hs_train_tokenizer(t, &tokenizer_dir));
    HS_TRY(hs_corpus_open(&t->corpus, t->c, t->run.dir, tokenizer_dir));
    return settle_vocabulary(t);
}

// ---- engine and weights
static hs_status load_weights(hs_trainer *t)
{
    const hs_ckpt_opts names = hs_gpt_ckpt_opts(NULL, 0);
    hs_engine *e = t->engine;
    if (!t->run.from[0])
        return t->run.init[0] ? hs_ckpt_load_params(t->run.init, &names, e->params) : HS_OK;
    HS_TRY(hs_ckpt_load_params(t->run.from, &names, e->params));
    HS_TRY(hs_ckpt_load_train(t->run.from, &names, e->params, &t->at));
    if (t->at.seed != (uint64_t)t->c->train.seed)
        return HS_FAIL(USAGE, "train.seed is %lld, but %s was begun with %llu; --resume none --overwrite starts anew",
                       (long long)t->c->train.seed, t->run.from, (unsigned long long)t->at.seed);
    *e->state = t->at.step_state;
    memcpy(t->last.loss, e->state->loss, sizeof t->last.loss); // of a run that has nothing left to do
    hs_run_begin(e->run, (uint64_t)t->at.step);
    return HS_OK;
}

static void watch(const hs_thunk *thunk, double seconds, void *user)
{
    (void)seconds;
    hs_trainer *t = user;
    const char *operand = "";
    const int64_t n = t->watch.found ? 0 : hs_thunk_nonfinite(thunk, &operand);
    if (!n)
        return;
    t->watch = (hs_watch){ .found = true, .backward = thunk->backward, .count = n, .micro = t->engine->in->micro };
    snprintf(t->watch.scope, sizeof t->watch.scope, "%s", thunk->node && thunk->node->scope ? thunk->node->scope : "");
    snprintf(t->watch.op, sizeof t->watch.op, "%s", thunk->name ? thunk->name : "");
    snprintf(t->watch.operand, sizeof t->watch.operand, "%s", operand ? operand : "");
}

static hs_status open_device(hs_trainer *t, hs_submit_mode *mode)
{
    const hs_config *c = t->c;
    char text[16];
    HS_TRY(hs_open_device(&t->device, c->exec.device, (int)c->exec.threads, c->exec.isa, (int)c->exec.bulk_size,
                          c->exec.onednn ? HS_ONEDNN_FASTER : HS_ONEDNN_NO));
    hs_config_text(c, "exec.mode", text, sizeof text);
    HS_TRY(hs_submit_mode_parse(text, t->device, mode));
    if (*mode == HS_SUBMIT_STEP)
        t->device->hook = watch, t->device->hook_user = t;
    return HS_OK;
}

static hs_status open_engine(hs_trainer *t)
{
    hs_submit_mode mode;
    hs_optim_config optim;
    HS_TRY(settle_policy(t));
    HS_TRY(hs_config_optim(t->c, t->policy.low, &optim));
    if (t->c->optim.warmup >= t->c->train.steps)
        hs_warn("optim.warmup is %lld steps, train.steps %lld: the learning rate never gets to optim.lr", (long long)t->c->optim.warmup,
                (long long)t->c->train.steps);
    HS_TRY(open_device(t, &mode));
    HS_TRY(hs_budget_check(t->c, &t->gpt, &t->policy, t->device));
    HS_TRY(hs_engine_new(&t->engine, &(hs_engine_opts){ .model = hs_gpt_trace,
                                                        .config = &t->train,
                                                        .eval_config = &t->eval,
                                                        .policy = &t->policy,
                                                        .optim = &optim,
                                                        .freeze = t->c->train.freeze,
                                                        .eval = true,
                                                        .micro_steps = (int)t->c->train.accumulate,
                                                        .loads_values = t->run.from[0] || t->run.init[0],
                                                        .seed = (uint64_t)t->c->train.seed,
                                                        .device = t->device,
                                                        .mode = mode,
                                                        .grid = hs_grid_self() }));
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
    const hs_ckpt_opts opts = hs_gpt_ckpt_opts(t->run.checkpoints, (int)t->c->checkpoint.keep);
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
    const hs_corpus *corpus = &t->corpus;
    return hs_loader_new(&t->loader, &(hs_loader_opts){ .sources = corpus->source,
                                                        .n_sources = corpus->n_sources,
                                                        .packing = (hs_packing)t->c->data.packing,
                                                        .window = t->gpt.context,
                                                        .batch = t->c->train.batch,
                                                        .n_micro = (int)t->c->train.accumulate,
                                                        .size = 1,
                                                        .seed = (uint64_t)t->c->train.seed,
                                                        .first_sample = t->at.next_sample,
                                                        .depth = (int)(t->c->train.accumulate + t->c->train.prefetch) });
}

// Tokens that attention sees: a window, or a document of mean length (that is the least they can see: longer ones count for more).
static int64_t attended(const hs_trainer *t)
{
    const int64_t window = t->gpt.context, mean = hs_corpus_mean_document(&t->corpus);
    return t->c->data.packing == HS_PACKING_NONE || mean > window ? window : mean;
}

static hs_status open_progress(hs_trainer *t)
{
    hs_policy policy = t->policy;
    policy.n_overrides = 0; // the peak is the machine's, not the model's
    t->progress = (hs_progress){ .json = t->o->json,
                                 .quiet = t->o->quiet,
                                 .show_scale = t->policy.low == HS_F16,
                                 .steps = t->c->train.steps,
                                 .flops_per_token = hs_gpt_flops_per_token(&t->gpt, attended(t)) };
    HS_TRY(hs_measure_peak(t->device, &policy, 0.1, &t->progress.peak_flops));
    hs_progress_begin(&t->progress);
    return HS_OK;
}

static hs_status open_all(hs_trainer *t)
{
    const hs_train_opts *o = t->o;
    HS_TRY(hs_config_check(t->c, o->origin, true));
    HS_TRY(hs_run_dir_open(&t->run, o->dir, o->resume, o->overwrite, t->c));
    HS_TRY(open_text(t));
    if (t->run.from[0]) {
        hs_model_info info;
        HS_TRY(check_vocabulary(t));
        HS_TRY(hs_ckpt_read_info(t->run.from, &info));
        HS_TRY(check_shape(t->c, &info, t->run.from));
    }
    HS_TRY(open_engine(t));
    HS_TRY(open_profile(t));
    HS_TRY(open_outputs(t));
    HS_TRY(open_loader(t));
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
    hs_profile_free(t->profile);
    hs_ckpt_free(t->ckpt);
    hs_metrics_close(t->metrics);
    hs_tensorboard_close(t->tensorboard);
    hs_engine_free(t->engine);
    hs_device_close(t->device);
    hs_corpus_close(&t->corpus);
    hs_run_dir_close(&t->run);
    free(t->yaml);
}
