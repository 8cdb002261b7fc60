// What stands before the first step: settings that depend on files, text, plans, weights, and only then the run's folder.
#include "core/base/log.h"
#include "data/checkpoint/peft.h"
#include "infer/session/session.h"
#include "ops/ops.h"
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
    const bool same = hs_tokenizer_gives(tok, hs_tokenizer_hash(t->tokenizer));
    const int64_t theirs = hs_tokenizer_vocab(tok);
    hs_tokenizer_free(tok);
    if (same)
        return HS_OK;
    return HS_FAIL(USAGE, "data.tokenizer: the vocabulary (%lld tokens) is not the one %s was trained with (%lld tokens): %s has changed",
                   (long long)hs_tokenizer_vocab(t->tokenizer), t->run.from, (long long)theirs,
                   strcmp(hs_tokenizer_kind(t->tokenizer), "char") == 0 ? hs_config_data_key(t->c) : "data.tokenizer");
}

// ---- settings that files decide
static hs_status settle_policy(hs_trainer *t)
{
    HS_TRY(hs_config_policy(t->c, &t->policy));
    if (t->c->amp.policy == HS_DTYPE_AUTO) {
        const bool fast = t->policy.low == HS_BF16;
        hs_isa best;
        HS_TRY(hs_isa_of_option("auto", &best));
        t->policy_note = hs_is_gpu(t->c->exec.device) ? "amp.policy auto: bf16, which this GPU multiplies in hardware"
                         : fast                       ? "amp.policy auto: bf16, which this CPU multiplies in hardware"
                         : hs_isa_fast_bf16(best)     ? "amp.policy auto: fp32, as the kernels of exec.isa do not multiply bf16"
                                                      : "amp.policy auto: fp32, as this CPU is not fast at bf16";
        HS_TRY(hs_config_set(t->c, "amp.policy", fast ? "bf16" : "fp32", "auto"));
        HS_TRY(hs_config_set(t->whole, "amp.policy", fast ? "bf16" : "fp32", "auto"));
    }
    return HS_OK;
}

// Which phase it is that goes on, and how far it is.
static hs_status find_phase(hs_trainer *t)
{
    char path[4200];
    hs_train_state s;
    if (!t->run.from[0])
        return HS_OK;
    snprintf(path, sizeof path, "%s/train/state.json", t->run.from);
    HS_TRY(hs_state_read(path, &s));
    if (s.phase < 0 || s.phase >= hs_config_n_phases(t->whole))
        return HS_FAIL(USAGE, "%s is in phases.%lld, but the configuration has %d phase%s; --resume none --overwrite starts anew",
                       t->run.from, (long long)s.phase, hs_config_n_phases(t->whole), hs_plural(hs_config_n_phases(t->whole)));
    hs_trainer_move_on(t, &s);
    t->at = s;
    return HS_OK;
}

// ---- device
static void watch_one(hs_trainer *t, const hs_thunk *thunk)
{
    const char *operand = "";
    const int64_t n = t->watch.found ? 0 : hs_thunk_nonfinite(t->device, t->engine->in->n, thunk, &operand);
    if (!n)
        return;
    t->watch = (hs_watch){ .found = true, .backward = thunk->backward, .count = n, .micro = t->engine->in->micro };
    snprintf(t->watch.scope, sizeof t->watch.scope, "%s", thunk->node && thunk->node->scope ? thunk->node->scope : "");
    snprintf(t->watch.op, sizeof t->watch.op, "%s", thunk->name ? thunk->name : "");
    snprintf(t->watch.operand, sizeof t->watch.operand, "%s", operand ? operand : "");
}

static void watch(const hs_thunk *thunk, double seconds, void *user)
{
    (void)seconds;
    for (; thunk; thunk = thunk->then)
        watch_one(user, thunk);
}

static hs_status open_device(hs_trainer *t)
{
    const hs_config *c = t->c;
    HS_TRY(hs_open_device_at(&t->device, c->exec.device, t->ranks.parallel ? hs_parallel_local(t->ranks.parallel) : t->o->local,
                             hs_ranks_threads(&t->ranks, c->exec.threads), c->exec.isa, (int)c->exec.bulk_size,
                             c->exec.onednn ? HS_ONEDNN_FASTER : HS_ONEDNN_NO));
    HS_TRY(hs_submit_mode_check(hs_config_mode(c, t->device), t->device));
    HS_TRY(hs_ranks_on_device(&t->ranks, t->device));
    if (c->exec.attention_masks == HS_MASKS_LIBRARY && !hs_is_gpu(c->exec.device))
        hs_warn("exec.attention_masks is library, but device %s has no library that attends: masks are exact", t->device->name);
    if (c->exec.mode == HS_SUBMIT_STEP)
        t->device->hook = watch, t->device->hook_user = t;
    return HS_OK;
}

enum { PROFILE_AFTER = 5, PROFILE_STEPS = 10 };

// "100-109", or "100".
static hs_status profile_steps(const hs_trainer *t, int64_t *from, int *n)
{
    enum { MOST = 10000 };
    const char *text = t->o->profile_steps;
    long long a = 0, b = 0;
    int used = 0;
    *from = 0, *n = PROFILE_STEPS;
    if (!text || !text[0])
        return HS_OK;
    if (sscanf(text, "%lld%n", &a, &used) == 1 && !text[used])
        b = a;
    else if (sscanf(text, "%lld-%lld%n", &a, &b, &used) != 2 || text[used])
        a = 0;
    if (a < 1 || b < a || b - a >= MOST)
        return HS_FAIL(USAGE, "--profile-steps is '%s', not steps of the run, from 1, as 100-109 (at most %d)", text, MOST);
    if (!t->o->profile || !t->o->profile[0])
        return HS_FAIL(USAGE, "--profile-steps is %s, but --profile names no file", text);
    if (b <= t->at.step)
        return HS_FAIL(USAGE, "--profile-steps is %s, but the run goes on behind step %lld", text, (long long)t->at.step);
    *from = a > t->at.step ? a : t->at.step + 1;
    *n = (int)(b - *from + 1);
    return HS_OK;
}

hs_status hs_phase_profile(hs_trainer *t)
{
    int64_t from;
    int n;
    HS_TRY(profile_steps(t, &from, &n));
    if (!t->o->profile || !t->o->profile[0])
        return HS_OK;
    return hs_profile_new(&t->profile, &(hs_profile_opts){ .engine = t->engine,
                                                           .path = t->o->profile,
                                                           .warmup = PROFILE_AFTER,
                                                           .from = from,
                                                           .steps = n,
                                                           .n_micro = (int)t->c->train.accumulate,
                                                           .ranks = &t->ranks });
}

// ---- the folder and what writes into it
// The run's folder, or that of the run it goes on from, holds a cache of these texts.
static bool text_is_known(const hs_trainer *t)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/../..", t->run.from);
    return t->corpus.known || hs_corpus_known(&t->corpus, path);
}

static hs_status make_folder(void *arg)
{
    hs_trainer *t = arg;
    HS_TRY(hs_run_dir_create(&t->run, t->yaml, t->tokenizer));
    if (!t->run.from[0])
        hs_corpus_clean(&t->corpus, t->run.dir);
    return HS_OK;
}

// Nothing is removed before every rank has seen that this is the folder it sees.
static hs_status open_folder(hs_trainer *t)
{
    const bool first = hs_ranks_first(&t->ranks);
    if (first)
        HS_TRY(hs_run_dir_take(&t->run));
    HS_TRY(hs_ranks_meet(&t->ranks, "the run's folder"));
    if (!first)
        HS_TRY(hs_run_dir_look(&t->run));
    HS_TRY(hs_ranks_meet(&t->ranks, "the run's folder"));
    return hs_ranks_first_does(&t->ranks, "what is written before the first step", make_folder, t);
}

static hs_status open_outputs(hs_trainer *t)
{
    char path[4096];
    if (t->o->dry)
        return HS_OK;
    t->yaml = hs_config_yaml(t->whole);
    if (!t->yaml)
        return HS_FAIL(MEMORY, "no memory for the resolved configuration");
    if (t->run.from[0] && t->at.phase_step > 0 && !text_is_known(t))
        hs_warn("the text (of stores also weights and packing) is not the one this run was using, or its tokens-*.bin (or .txt) is gone: "
                "losses will not repeat those of an uninterrupted run");
    HS_TRY(open_folder(t));
    HS_TRY(hs_phase_writer(t));
    if (!hs_ranks_first(&t->ranks))
        return HS_OK;
    snprintf(path, sizeof path, "%s/metrics.jsonl", t->run.dir);
    HS_TRY(hs_metrics_open(&t->metrics, path, t->at.step));
    if (t->whole->train.tensorboard && t->at.step < hs_trainer_steps(t)) // a run that is done needs no further file
        HS_TRY(hs_tensorboard_open(&t->tensorboard, t->run.dir, t->at.step));
    return HS_OK;
}

// Of the weights that were pruned and stay so, the pattern that they have; of others that keep zeros nobody knows one.
static void take_pattern(hs_trainer *t, const hs_sparsity *theirs)
{
    const char *weights = hs_config_keep_zeros(t->whole);
    hs_sparsity *s = &t->info.sparsity;
    *s = (hs_sparsity){ 0 };
    if (!weights[0] || t->whole->adapter.rank)
        return;
    snprintf(s->weights, sizeof s->weights, "%s", weights);
    snprintf(s->pattern, sizeof s->pattern, "%s", strcmp(theirs->weights, weights) == 0 ? theirs->pattern : "unstructured");
}

// What ends a text goes on with the weights, unless other tokens were put in the place of theirs; what they were pruned by does.
static hs_status take_said(hs_trainer *t)
{
    const char *source = t->run.from[0] ? t->run.from : t->run.init;
    hs_model_info info = { 0 };
    const hs_family *family;
    take_pattern(t, &info.sparsity);
    if (!source[0])
        return HS_OK;
    const hs_status st = hs_session_info(t->whole->table->families, source, &info, &family);
    if (st == HS_OK && (t->run.from[0] || t->whole->train.init_tokenizer != HS_INIT_REPLACE))
        t->info.end = info.end;
    if (st == HS_OK)
        take_pattern(t, &info.sparsity);
    hs_model_info_free(&info);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status check_rank(const hs_trainer *t)
{
    hs_peft before;
    if (!t->c->adapter.rank)
        return HS_OK;
    const hs_status st = hs_peft_read(&before, t->run.from);
    const int64_t rank = before.rank;
    hs_peft_free(&before);
    if (st == HS_OK && rank != t->c->adapter.rank)
        return HS_FAIL(USAGE, "adapter.rank is %lld, but %s holds pairs of rank %lld; --resume none --overwrite starts anew",
                       (long long)t->c->adapter.rank, t->run.from, (long long)rank);
    return st;
}

// Of a run that goes on: what it must have in common with the one before.
static hs_status check_resumed(hs_trainer *t)
{
    hs_model_info info = { 0 };
    const hs_family *family;
    if (!t->run.from[0])
        return HS_OK;
    HS_TRY(check_vocabulary(t));
    if (hs_peft_is(t->run.from) != (t->c->adapter.rank > 0))
        return HS_FAIL(USAGE, "adapter.rank is %lld, but %s holds %s; --resume none --overwrite starts anew", (long long)t->c->adapter.rank,
                       t->run.from, hs_peft_is(t->run.from) ? "an adapter" : "a whole model");
    HS_TRY(check_rank(t));
    hs_status st = hs_session_info(t->whole->table->families, t->run.from, &info, &family);
    if (st == HS_OK)
        st = hs_weights_check(t->c, &info, family, t->run.from);
    hs_model_info_free(&info);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// A file of resolved settings has all keys, so that only what was asked for by hand is held against a rank of 0.
static hs_status check_adapter(const hs_config *c)
{
    static const char *const keys[] = { "adapter.alpha", "adapter.targets", "adapter.dropout", "adapter.rslora" };
    for (int i = 0; !c->adapter.rank && i < HS_COUNT(keys); i++)
        if (strncmp(hs_config_where(c, keys[i]), "--", 2) == 0)
            return HS_FAIL(USAGE, "--%s is of pairs, and adapter.rank is 0: there are none", keys[i]);
    return HS_OK;
}

static hs_status open_run(void *arg)
{
    hs_trainer *t = arg;
    const hs_train_opts *o = t->o;
    return hs_run_dir_open(&t->run, o->dry ? "/dev/null" : o->dir, o->resume, o->overwrite, o->accept_edited ? HS_CKPT_EDITED : 0,
                           t->whole);
}

// The first rank decides where the run is and from what it goes on: it verifies a checkpoint for that.
static hs_status find_run(hs_trainer *t)
{
    t->run = (hs_run_dir){ .lock = -1 };
    HS_TRY(hs_ranks_first_does(&t->ranks, "the checkpoint to go on from", open_run, t));
    if (t->ranks.size == 1)
        return HS_OK;
    const int lock = t->run.lock;
    t->run.mark = (uint64_t)hs_now_ns() ^ (uint64_t)getpid() << 40;
    HS_TRY(hs_ranks_tell(&t->ranks, "the run's folder", &t->run, sizeof t->run));
    t->run.lock = lock;
    return HS_OK;
}

// Data were read by each rank itself: a file that differs is found here, before anything is written.
static hs_status same_data(const hs_trainer *t)
{
    char text[128];
    snprintf(text, sizeof text, "%016llx (validation %016llx)", (unsigned long long)t->corpus.key, (unsigned long long)t->corpus.val_key);
    char what[HS_KEY_STRING_BYTES + 64];
    snprintf(what, sizeof what, "what %s holds, as a hash,", hs_config_data_key(t->c));
    return hs_ranks_same(&t->ranks, t->ranks.world, what, text);
}

// The run's own folder, which all must share, is looked at when it is taken.
static hs_status same_weights(const hs_trainer *t)
{
    if (t->run.from[0] && !hs_run_dir_holds(&t->run, t->run.from))
        HS_TRY(hs_weights_same(&t->ranks, "--resume", t->run.from, true));
    if (!t->run.from[0] && t->run.init[0])
        HS_TRY(hs_weights_same(&t->ranks, "train.init_from", t->run.init, false));
    return hs_config_learns(t->whole) ? hs_weights_same(&t->ranks, "distill.teacher", t->whole->distill.teacher, false) : HS_OK;
}

static hs_status open_all(hs_trainer *t)
{
    const hs_train_opts *o = t->o;
    t->c = malloc(sizeof *t->c);
    if (!t->c)
        return HS_FAIL(MEMORY, "no memory for the settings of a phase");
    HS_TRY(hs_config_check(t->whole, true));
    HS_TRY(hs_ranks_open(&t->ranks, o->parallel, t->whole));
    HS_TRY(find_run(t));
    if (t->whole->adapter.rank && !hs_trainer_weights(t)[0])
        return HS_FAIL(USAGE, "adapter.rank is %lld, but there are no weights that it could stand beside: train.init_from names them",
                       (long long)t->whole->adapter.rank);
    HS_TRY(find_phase(t));
    if (t->run.from[0])
        HS_TRY(hs_config_of_checkpoint(&t->before, t->whole->table, t->run.from));
    HS_TRY(hs_phase_settle(t));
    HS_TRY(same_data(t));
    HS_TRY(same_weights(t));
    HS_TRY(check_resumed(t));
    HS_TRY(check_adapter(t->whole));
    HS_TRY(take_said(t));
    HS_TRY(settle_policy(t));
    HS_TRY(hs_ranks_same_settings(&t->ranks, t->whole)); // as files and the CPU settled them
    HS_TRY(open_device(t));
    HS_TRY(hs_phase_check_later(t));
    HS_TRY(hs_phase_engine(t));
    t->first_step = t->at.step;
    if (t->before && strcmp(t->before->task.metric, t->whole->task.metric) != 0)
        t->at.best_val_loss = -1, t->at.worse = 0; // judged by something else from here on
    HS_TRY(hs_phase_profile(t));
    HS_TRY(open_outputs(t));
    HS_TRY(hs_phase_loader(t));
    if (t->run.from[0])
        hs_resumed_tell(t->whole, t->before, &t->at);
    t->progress = (hs_progress){ .json = o->json, .quiet = o->quiet, .plain = t->ranks.size > 1, .show_scale = t->policy.low == HS_F16 };
    HS_TRY(hs_phase_progress(t));
    hs_progress_begin(&t->progress);
    return HS_OK;
}

hs_status hs_trainer_open(hs_trainer *t, const hs_train_opts *o)
{
    *t = (hs_trainer){ .o = o, .whole = o->config, .val_loss = NAN, .saved_step = -1, .run.lock = -1, .ranks = hs_ranks_alone() };
    if (o->parallel && hs_parallel_world(o->parallel)->rank > 0) {
        t->silent = *o;
        t->silent.quiet = true, t->silent.json = false;
        t->o = &t->silent;
    }
    return open_all(t);
}

void hs_trainer_fail(hs_trainer *t, hs_status st)
{
    hs_ckpt_free(t->ckpt);
    t->ckpt = NULL;
    hs_ranks_fail(&t->ranks, st);
}

void hs_trainer_close(hs_trainer *t)
{
    hs_phase_close(t);
    free(t->agreed);
    hs_metrics_close(t->metrics);
    hs_tensorboard_close(t->tensorboard);
    hs_ranks_off_device(&t->ranks);
    hs_device_close(t->device);
    hs_tokenizer_free(t->tokenizer);
    hs_run_dir_close(&t->run);
    free(t->yaml);
    free(t->before);
    hs_labels_free(&t->classes);
    free(t->c);
}
