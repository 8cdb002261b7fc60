// trainer: the loop - step, watch, log, evaluate, save, stop - and the one place that decides what comes after a skipped step.
#include "recipes/train/trainer.h"
#include "core/base/log.h"
#include "recipes/program/cli.h"
#include "recipes/program/process.h"
#include "recipes/train/grad_histogram.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SKIPPED_IN_ROW = 10 };

// ---- one step
// Of a loss: 1 over its labels; one without labels counts 0.
static float inv_count(const hs_trainer *t, const hs_batch *const *batch, int m, int loss)
{
    const int n = (int)t->c->train.accumulate;
    int64_t labels = batch[m]->labels[loss];
    if (t->c->loss.normalize == HS_NORMALIZE_MICRO)
        return labels ? 1.0f / ((float)n * (float)labels) : 0;
    labels = 0;
    for (int i = 0; i < n; i++)
        labels += batch[i]->labels[loss];
    return hs_inv_count(labels);
}

static void note_labels(hs_trainer *t, const hs_batch *const *batch, int n)
{
    for (int i = 0; i < HS_LOSSES; i++) {
        t->labelled[i] = false;
        for (int m = 0; m < n; m++)
            t->labelled[i] = t->labelled[i] || batch[m]->labels[i] > 0;
    }
}

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

// All micro-batches are fetched before the first forward: the mean is over the labels of all of them.
static hs_status run_step(hs_trainer *t)
{
    const int n = (int)t->c->train.accumulate;
    const hs_batch *batch[n];
    hs_engine *e = t->engine;
    const double start = hs_now(), waited = hs_loader_wait_seconds(t->loader);
    int64_t tokens = 0;
    hs_profile_begin(t->profile);
    for (int m = 0; m < n; m++)
        HS_TRY(hs_loader_next(t->loader, &batch[m]));
    t->watch.found = false;
    for (int m = 0; m < n; m++) {
        HS_TRY(hs_run_feed(e->run, e->plan[HS_TRAIN], batch[m]));
        e->in->n_micro = n;
        for (int i = 0; i < HS_N_LOSS; i++)
            e->in->inv_count[i] = inv_count(t, batch, m, i);
        HS_TRY(hs_engine_run(e, HS_TRAIN, (m == 0 ? HS_MICRO_FIRST : 0) | (m == n - 1 ? HS_MICRO_LAST : 0)));
        tokens += batch[m]->n[HS_COUNT_TOKENS];
    }
    note_labels(t, batch, n);
    if (t->c->amp.histogram && (due(t->at.step + 1, t->c->amp.histogram) || t->at.phase_step + 1 == t->c->train.steps))
        HS_TRY(hs_grad_histogram(e->run, t->run.dir, t->at.step + 1));
    HS_TRY(hs_run_update(e->run));
    for (int m = 0; m < n; m++)
        hs_loader_release(t->loader);
    HS_TRY(hs_profile_end(t->profile));
    t->at.step++, t->at.phase_step++;
    t->at.next_sample += (uint64_t)(n * t->c->train.batch);
    t->at.tokens_seen += tokens;
    const double seconds = hs_now() - start;
    t->train_seconds += seconds;
    hs_progress_add(&t->progress, tokens, seconds, hs_loader_wait_seconds(t->loader) - waited);
    return HS_OK;
}

// ---- skipped steps
static void tell_watch(hs_trainer *t)
{
    const hs_watch *w = &t->watch;
    if (w->found)
        hs_warn("step %lld, micro-batch %d: first non-finite values: %lld in %s of %s at %s (%s)", (long long)t->at.step, w->micro,
                (long long)w->count, w->operand, w->op, w->scope, w->backward ? "backward" : "forward");
}

static hs_status tell_skip(hs_trainer *t, const hs_step_record *r)
{
    const bool scaled = t->policy.low == HS_F16;
    const char *name = r->bad_param >= 0 ? t->engine->params->param[r->bad_param]->name : "unknown";
    char micro[48] = "accumulated gradient", scale[64] = "";
    if (r->bad_micro >= 0)
        snprintf(micro, sizeof micro, "micro-batch %d", r->bad_micro);
    if (scaled)
        snprintf(scale, sizeof scale, "; loss scale %g -> %g", (double)r->scale, (double)r->next_scale);
    tell_watch(t);
    hs_warn("step %lld skipped: gradient of %s has %lld non-finite value%s (%s)%s", (long long)r->step, name, (long long)r->bad_count,
            hs_plural(r->bad_count), micro, scale);
    if (t->o->json)
        hs_line_print(json_pack("{s:s, s:I, s:s, s:I, s:i, s:o, s:i}", "event", "skipped", "step", (json_int_t)r->step, "parameter", name,
                                "count", (json_int_t)r->bad_count, "micro", (int)r->bad_micro, "scale", hs_line_real((double)r->next_scale),
                                "in_row", (int)r->skipped_in_row));
    // A dynamic scale that can still fall deserves its chance; nothing else gets better by waiting.
    const bool may_fall = scaled && r->next_scale < r->scale;
    if (r->skipped_in_row >= MAX_SKIPPED_IN_ROW && !may_fall)
        return HS_FAIL(NONFINITE, "training diverged: %d steps in a row had non-finite gradients, the last at step %lld in %s%s%s",
                       r->skipped_in_row, (long long)r->step, name, t->saved_step >= 0 ? "; last checkpoint in " : "",
                       t->saved_step >= 0 ? t->run.checkpoints : "");
    return HS_OK;
}

// Looks at what the steps since the last look left behind. The device need not be waited for in between.
static hs_status read_records(hs_trainer *t)
{
    const hs_step_record *r;
    HS_TRY(hs_run_wait(t->engine->run));
    while ((r = hs_run_read_record(t->engine->run))) {
        t->last = *r;
        if (r->skipped)
            HS_TRY(tell_skip(t, r));
    }
    return HS_OK;
}

// ---- evaluation
// True if this is the best model so far, judged by the same windows each time.
static bool note_best(hs_trainer *t, double loss)
{
    if (!isfinite(loss) || (t->at.best_val_loss >= 0 && loss >= t->at.best_val_loss))
        return false;
    t->at.best_val_loss = loss, t->at.best_step = t->at.step;
    return true;
}

static hs_status evaluate(hs_trainer *t, bool last, bool *best)
{
    hs_source *v = t->validation;
    const hs_engine *e = t->engine;
    const int64_t limit = t->c->train.eval_windows;
    HS_TRY(hs_evaluate(e->run, e->plan[HS_EVAL], &t->feed, v, limit, &t->result));
    *best = note_best(t, t->result.loss);
    if (last && limit && limit < v->n_samples)
        HS_TRY(hs_evaluate(e->run, e->plan[HS_EVAL], &t->feed, v, 0, &t->result));
    t->val_loss = t->result.loss;
    return HS_OK;
}

// ---- saving
static hs_status sync_metrics(hs_trainer *t)
{
    HS_TRY(hs_metrics_sync(t->metrics));
    if (t->tensorboard)
        HS_TRY(hs_tensorboard_sync(t->tensorboard));
    return HS_OK;
}

static hs_status save(hs_trainer *t, bool best)
{
    if (t->saved_step == t->at.step)
        return HS_OK;
    HS_TRY(hs_run_wait(t->engine->run));
    t->at.step_state = *hs_run_state(t->engine->run);
    HS_TRY(sync_metrics(t)); // before the checkpoint that stands on them
    HS_TRY(hs_ckpt_save(t->ckpt, t->engine->params, &t->at, &t->info, t->tokenizer, t->yaml, best));
    t->saved_step = t->at.step;
    if (t->o->json)
        hs_line_print(json_pack("{s:s, s:I, s:b}", "event", "checkpoint", "step", (json_int_t)t->at.step, "best", best));
    return HS_OK;
}

// ---- what is told
static const double *last_losses(const hs_trainer *t) { return t->last.loss[hs_plan_losses(hs_engine_plan(t->engine, HS_TRAIN))]; }

static double last_loss(const hs_trainer *t)
{
    double sum = 0;
    for (int i = 0; i < HS_LOSSES; i++)
        sum += last_losses(t)[i];
    return sum;
}

// Parts of the loss that there may be: those of the model's heads, where it has several or masks tokens.
static bool has_part(const hs_trainer *t, int i) { return t->feed.predictions && hs_arch_wears(t->arch, (hs_loss)i); }

// A head that no objective has labels for has no loss: 0 would look like one that is perfect.
static bool trained_part(const hs_trainer *t, int i) { return has_part(t, i) && t->labelled[i]; }

enum { MOST_METRICS = 32, METRIC_NAME = 24 };
typedef struct metrics {
    hs_metric line[MOST_METRICS];
    char name[MOST_METRICS][METRIC_NAME];
    int n;
} metrics;

static void add(metrics *m, const char *prefix, const char *name, const char *what, double value)
{
    snprintf(m->name[m->n], METRIC_NAME, "%s%s%s", prefix, name, what);
    m->line[m->n] = (hs_metric){ m->name[m->n], value };
    m->n++;
}

static void add_evaluation(const hs_trainer *t, metrics *m)
{
    add(m, "", "val_loss", "", t->val_loss);
    for (int i = 0; i < HS_LOSSES; i++) {
        const hs_eval_part *p = &t->result.part[i];
        if (!has_part(t, i) || !p->labels)
            continue;
        add(m, "val_", hs_loss_words[i], "_loss", p->loss);
        if (t->result.has_hits)
            add(m, "val_", hs_loss_words[i], "_accuracy", hs_eval_accuracy(p));
    }
}

static void make_metrics(const hs_trainer *t, bool evaluated, metrics *m)
{
    const hs_step_record *s = &t->last;
    const hs_rates r = hs_progress_rates(&t->progress, t->at.step);
    const hs_metric usual[] = {
        { "lr", (double)s->lr },
        { "grad_norm", (double)s->grad_norm },
        { "scale", (double)s->next_scale },
        { "skipped", (double)s->n_skipped },
        { "tokens", (double)t->at.tokens_seen },
        { "tokens_per_second", r.tokens_per_second },
        { "mfu", r.mfu < 0 ? NAN : r.mfu },
        { "data_wait", r.data_wait },
        { "memory_bytes", (double)hs_peak_rss() },
        { "seconds", t->train_seconds },
    };
    m->n = 0;
    add(m, "", "loss", "", last_loss(t));
    for (int i = 0; i < HS_COUNT(usual); i++)
        add(m, "", usual[i].name, "", usual[i].value);
    for (int i = 0; i < HS_LOSSES; i++)
        if (trained_part(t, i))
            add(m, "", hs_loss_words[i], "_loss", last_losses(t)[i]);
    if (hs_config_n_phases(t->whole) > 1)
        add(m, "", "phase", "", (double)t->at.phase);
    if (evaluated)
        add_evaluation(t, m);
}

static hs_status tell_step(hs_trainer *t, bool log, bool evaluated)
{
    const hs_step_record *s = &t->last;
    const int64_t show = t->c->train.show_every, done = t->at.step;
    hs_progress_step shown = { .step = t->at.step,
                               .tokens_seen = t->at.tokens_seen,
                               .loss = last_loss(t),
                               .lr = (double)s->lr,
                               .grad_norm = (double)s->grad_norm,
                               .scale = (double)s->next_scale,
                               .val_loss = evaluated ? t->val_loss : NAN,
                               .line = log && (!show || evaluated || done == t->progress.steps || due(done, show)) };
    for (int i = 0; i < HS_LOSSES && has_part(t, HS_LOSS_TOKENS); i++)
        if (trained_part(t, i))
            shown.part[shown.n_parts++] =
                (hs_progress_part){ hs_loss_words[i], last_losses(t)[i],
                                    evaluated && t->result.has_hits && t->result.part[i].labels ? hs_eval_accuracy(&t->result.part[i])
                                                                                                : NAN };
    hs_progress_show(&t->progress, &shown);
    if (!log)
        return HS_OK;
    metrics m;
    make_metrics(t, evaluated, &m);
    if (t->o->json) {
        json_t *o = json_pack("{s:s, s:I}", "event", "step", "step", (json_int_t)t->at.step);
        for (int i = 0; i < m.n; i++)
            json_object_set_new(o, m.line[i].name, hs_line_real(m.line[i].value));
        hs_line_print(o);
    }
    HS_TRY(hs_metrics_write(t->metrics, t->at.step, m.line, m.n));
    if (t->tensorboard)
        HS_TRY(hs_tensorboard_write(t->tensorboard, t->at.step, m.line, m.n));
    return HS_OK;
}

// What it is trained on, and for how long.
static void tell_data(const hs_trainer *t)
{
    char tokens[32], what[128];
    hs_progress *p = (hs_progress *)&t->progress;
    if (t->corpus.shards.n)
        snprintf(what, sizeof what, "%d shard%s of sequences", t->corpus.shards.n, hs_plural(t->corpus.shards.n));
    else if (t->corpus.n_sources > 1)
        snprintf(what, sizeof what, "%s tokens of training text in %d stores",
                 hs_human_count((double)hs_corpus_train_tokens(&t->corpus), tokens, sizeof tokens), t->corpus.n_sources);
    else
        snprintf(what, sizeof what, "%s tokens of training text",
                 hs_human_count((double)hs_corpus_train_tokens(&t->corpus), tokens, sizeof tokens));
    if (hs_config_n_phases(t->whole) > 1)
        hs_progress_say(p, "phases.%lld%s%s:", (long long)t->at.phase, hs_config_phase_name(t->whole, (int)t->at.phase)[0] ? ", " : "",
                        hs_config_phase_name(t->whole, (int)t->at.phase));
    hs_progress_say(p, "%s, %lld step%s of %lld; peak of this machine, measured in registers: %.0f GFLOP/s", what,
                    (long long)t->c->train.steps, hs_plural(t->c->train.steps),
                    (long long)(t->c->train.batch * t->c->train.accumulate * t->feed.length), t->progress.peak_flops / 1e9);
}

static void tell_start(const hs_trainer *t)
{
    char count[32], bytes[32], policy[16], sizes[256];
    const int64_t parameters = t->arch.family->count(t->arch.settings);
    const double total = (double)(hs_engine_bytes(t->engine) + hs_ckpt_bytes(t->engine->params));
    hs_config_text(t->c, "amp.policy", policy, sizeof policy);
    hs_progress *p = (hs_progress *)&t->progress;
    hs_arch_describe(t->arch, sizes, sizeof sizes);
    hs_progress_say(p, "%s: %s of %s parameters (%s), %s, %d thread%s (%s), %s planned", t->c->train.name, t->arch.family->title,
                    hs_human_count((double)parameters, count, sizeof count), sizes, policy, t->device->team, hs_plural(t->device->team),
                    hs_isa_name(t->device->isa), hs_human_bytes(total, bytes, sizeof bytes));
    tell_data(t);
    const size_t all = hs_params_count(t->engine->params), trained = hs_params_count_trained(t->engine->params);
    if (trained < all)
        hs_progress_say(p, "%s of them are trained (train.freeze)", hs_human_count((double)trained, count, sizeof count));
    if (t->policy_note)
        hs_progress_say(p, "%s", t->policy_note);
    if (t->run.from[0])
        hs_progress_say(p, "going on from %s, after step %lld", t->run.from, (long long)t->at.step);
    else if (t->run.init[0])
        hs_progress_say(p, "weights from %s", t->run.init);
    if (t->o->json)
        hs_line_print(json_pack("{s:s, s:s, s:I, s:s, s:I, s:I, s:o, s:o, s:i}", "event", "start", "run", t->run.dir, "parameters",
                                (json_int_t)parameters, "policy", policy, "step", (json_int_t)t->at.step, "steps",
                                (json_int_t)t->progress.steps, "planned_bytes", hs_line_real(total), "peak_flops",
                                hs_line_real(t->progress.peak_flops), "threads", t->device->team));
}

// Once: when its steps are in, or when the run ends before.
static hs_status tell_profile(hs_trainer *t)
{
    hs_profile *p = t->profile;
    if (!p)
        return HS_OK;
    t->profile = NULL;
    hs_status st = HS_OK;
    if (p->n) {
        hs_progress_say(&t->progress, "%s", "");
        st = hs_profile_report(p, t->progress.peak_flops, t->o->json, t->o->json ? stdout : t->o->quiet ? NULL : t->progress.out);
    } else {
        hs_warn("--profile: the run ended before the first step it would have taken");
    }
    hs_profile_free(p);
    return st;
}

static void tell_end(hs_trainer *t, const char *png)
{
    char latest[4096] = "", val[64] = "", time[32];
    hs_ckpt_resolve(t->run.checkpoints, false, latest, sizeof latest);
    if (!isnan(t->val_loss))
        snprintf(val, sizeof val, ", validation loss %.4f", t->val_loss);
    hs_progress_say(&t->progress, "done: %lld step%s, %s of training%s", (long long)t->at.step, hs_plural(t->at.step),
                    hs_human_time(t->train_seconds, time, sizeof time), val);
    hs_progress_say(&t->progress, "checkpoint   %s", latest);
    if (png[0])
        hs_progress_say(&t->progress, "loss curve   %s", png);
    if (t->o->json)
        hs_line_print(json_pack("{s:s, s:I, s:o, s:o, s:o, s:s, s:s}", "event", "end", "step", (json_int_t)t->at.step, "loss",
                                hs_line_real(last_loss(t)), "val_loss", hs_line_real(t->val_loss), "seconds",
                                hs_line_real(t->train_seconds), "checkpoint", latest, "loss_png", png));
}

// ---- the run
// Before records are lost; while there is nothing to show yet; for someone who watches; and step by step, for the debugger.
static bool must_look(hs_trainer *t)
{
    return hs_run_unread(t->engine->run) == HS_STEP_RECORDS || !t->last.step || hs_run_mode(t->engine->run) == HS_SUBMIT_STEP ||
           hs_progress_due(&t->progress);
}

static hs_status one_step(hs_trainer *t)
{
    bool best = false;
    HS_TRY(run_step(t));
    const bool last = t->at.phase_step == t->c->train.steps, evaluates = t->validation && (last || due(t->at.step, t->c->train.eval_every)),
               log = last || evaluates || due(t->at.step, t->c->train.log_every) || due(t->at.step, t->c->train.show_every),
               kept = due(t->at.step, t->c->checkpoint.every);
    const hs_status st = log || kept || must_look(t) ? read_records(t) : HS_OK;
    const bool evaluated = evaluates && st == HS_OK;
    if (evaluated)
        HS_TRY(evaluate(t, last, &best));
    HS_TRY(tell_step(t, log && t->last.step == t->at.step, evaluated)); // a run that diverged on the way has no values of this step
    if (st != HS_OK)
        return hs_frame_at(st, __FILE__, __LINE__);
    if (last || best || kept)
        HS_TRY(save(t, best));
    return HS_OK;
}

static hs_status stop(hs_trainer *t, int signal)
{
    HS_TRY(read_records(t));
    HS_TRY(save(t, false));
    HS_TRY(hs_ckpt_wait(t->ckpt));
    if (t->o->json)
        hs_line_print(json_pack("{s:s, s:I, s:s}", "event", "stopped", "step", (json_int_t)t->at.step, "signal", hs_signal_name(signal)));
    return HS_FAIL(STOPPED, "stopped by %s after step %lld of %lld; saved in %s: the same command goes on from there",
                   hs_signal_name(signal), (long long)t->at.step, (long long)t->progress.steps, t->run.checkpoints);
}

static hs_status finish(hs_trainer *t)
{
    char png[4096], jsonl[4096];
    if (t->at.step == t->first_step && t->validation) { // nothing was left to do: say where the run stands
        bool best;
        HS_TRY(evaluate(t, true, &best));
    }
    HS_TRY(save(t, false)); // of a run that had nothing left to do and goes on from another's folder
    HS_TRY(hs_ckpt_wait(t->ckpt));
    HS_TRY(sync_metrics(t));
    snprintf(jsonl, sizeof jsonl, "%s/metrics.jsonl", t->run.dir);
    snprintf(png, sizeof png, "%s/loss.png", t->run.dir);
    if (!hs_plot_available()) {
        hs_info("built without libpng: no loss curve");
        png[0] = 0;
    } else if (hs_plot_metrics(png, jsonl, t->c->train.name) != HS_OK) {
        hs_warn("no loss curve: %s", hs_error());
        png[0] = 0;
    }
    tell_end(t, png);
    return HS_OK;
}

static hs_status run_phase(hs_trainer *t)
{
    while (t->at.phase_step < t->c->train.steps) {
        HS_TRY(one_step(t));
        if (hs_profile_done(t->profile))
            HS_TRY(tell_profile(t));
        hs_process_check_output();
        const int signal = hs_signal_seen();
        if (signal && t->at.step < t->progress.steps)
            return stop(t, signal);
    }
    return tell_profile(t);
}

static hs_status run(hs_trainer *t)
{
    tell_start(t);
    hs_process_check_output();
    HS_TRY(run_phase(t));
    while (t->at.phase + 1 < hs_config_n_phases(t->whole)) {
        HS_TRY(hs_trainer_next_phase(t));
        tell_data(t);
        if (t->o->json)
            hs_line_print(json_pack("{s:s, s:I, s:I, s:s}", "event", "phase", "step", (json_int_t)t->at.step, "phase",
                                    (json_int_t)t->at.phase, "name", hs_config_phase_name(t->whole, (int)t->at.phase)));
        HS_TRY(run_phase(t));
    }
    return finish(t);
}

hs_status hs_train(const hs_train_opts *o)
{
    hs_trainer *t = malloc(sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for the trainer");
    hs_signals_catch();
    hs_process_outlive_output();
    hs_status st = hs_trainer_open(t, o);
    if (st == HS_OK) {
        hs_signals_defer();
        st = run(t);
        hs_progress_end(&t->progress);
    }
    hs_trainer_close(t);
    free(t);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
