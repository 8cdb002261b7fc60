// trainer: the loop - step, watch, log, evaluate, save, stop - and the one place that decides what comes after a skipped step.
#include "recipes/train/trainer.h"
#include "core/base/log.h"
#include "recipes/program/cli.h"
#include "recipes/program/process.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SKIPPED_IN_ROW = 10 };

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
    const double start = hs_now();
    HS_TRY(hs_run_wait(t->engine->run));
    const double waited = hs_now() - start; // steps were only submitted, until then
    t->train_seconds += waited;
    hs_progress_waited(&t->progress, waited);
    while ((r = hs_run_read_record(t->engine->run))) {
        t->last = *r;
        if (r->skipped)
            HS_TRY(tell_skip(t, r));
    }
    return HS_OK;
}

// ---- evaluation
// What is best and when it is enough follows from them on every rank: one that rounds otherwise must not go another way.
static hs_status agree_on_scores(hs_trainer *t)
{
    if (!t->judge || t->ranks.size == 1)
        return HS_OK;
    double value[HS_SCORES_MOST];
    for (int i = 0; i < t->scores.n; i++)
        value[i] = t->scores.at[i].value;
    HS_TRY(hs_ranks_tell(&t->ranks, "the evaluation's losses", &t->result, sizeof t->result));
    HS_TRY(hs_ranks_tell(&t->ranks, "the evaluation's scores", value, sizeof *value * (size_t)t->scores.n));
    for (int i = 0; i < t->scores.n; i++)
        t->scores.at[i].value = value[i];
    t->val_loss = t->result.loss;
    return HS_OK;
}

static hs_status evaluate_on(hs_trainer *t, int64_t limit)
{
    HS_TRY(hs_evaluate(&(hs_eval_opts){ .run = t->engine->run,
                                        .plan = t->engine->plan[HS_EVAL],
                                        .feed = &t->feed,
                                        .source = t->validation,
                                        .most = limit,
                                        .judge = t->judge,
                                        .teacher = t->teacher,
                                        .ranks = &t->ranks },
                       &t->result));
    if (t->judge)
        HS_TRY(hs_judge_scores(t->judge, &t->scores));
    t->val_loss = t->result.loss;
    return agree_on_scores(t);
}

// The best so far is judged by the same samples each time.
static hs_status evaluate(hs_trainer *t, bool last, bool *best)
{
    const int64_t limit = t->c->train.eval_windows;
    HS_TRY(evaluate_on(t, limit));
    *best = hs_trainer_note_best(t);
    if ((last || hs_trainer_enough(t)) && limit && limit < t->validation->n_samples)
        HS_TRY(evaluate_on(t, 0));
    return *best && hs_ranks_first(&t->ranks) ? hs_trainer_report(t) : HS_OK;
}

// ---- saving
static hs_status sync_metrics(hs_trainer *t)
{
    if (t->metrics)
        HS_TRY(hs_metrics_sync(t->metrics));
    if (t->tensorboard)
        HS_TRY(hs_tensorboard_sync(t->tensorboard));
    return HS_OK;
}

hs_status hs_trainer_save(hs_trainer *t, bool best)
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
    HS_TRY(hs_step_run(t));
    if (t->signal) // of any rank, seen before anything was done
        return HS_OK;
    const bool last = t->at.phase_step == t->c->train.steps,
               evaluates = t->validation && (last || hs_trainer_due(t, t->c->train.eval_every)),
               log = last || evaluates || hs_trainer_due(t, t->c->train.log_every) || hs_trainer_due(t, t->c->train.show_every),
               kept = hs_trainer_due(t, t->c->checkpoint.every);
    const hs_status st = log || kept || must_look(t) ? read_records(t) : HS_OK;
    const bool evaluated = evaluates && st == HS_OK;
    if (evaluated)
        HS_TRY(evaluate(t, last, &best));
    HS_TRY(
        hs_trainer_tell_step(t, log && t->last.step == t->at.step, evaluated)); // a run that diverged on the way has no values of this step
    if (st != HS_OK)
        return hs_frame_at(st, __FILE__, __LINE__);
    if (last || best || kept || (evaluated && hs_trainer_enough(t)))
        HS_TRY(hs_trainer_save(t, best));
    return HS_OK;
}

static hs_status stop(hs_trainer *t, int signal)
{
    HS_TRY(read_records(t));
    HS_TRY(hs_trainer_save(t, false));
    HS_TRY(hs_ckpt_wait(t->ckpt));
    if (t->o->json)
        hs_line_print(json_pack("{s:s, s:I, s:s}", "event", "stopped", "step", (json_int_t)t->at.step, "signal", hs_signal_name(signal)));
    return HS_FAIL(STOPPED, "stopped by %s after step %lld of %lld; saved in %s: the same command goes on from there",
                   hs_signal_name(signal), (long long)t->at.step, (long long)t->progress.steps, t->run.checkpoints);
}

static hs_train_result result_of(const hs_trainer *t)
{
    hs_train_result r = { .score = t->at.best_score,
                          .val_loss = t->at.best_val_loss,
                          .best_step = t->at.best_step,
                          .steps = t->at.step,
                          .seconds = t->train_seconds };
    if (t->at.best_val_loss >= 0)
        snprintf(r.metric, sizeof r.metric, "%s", t->metric);
    return r;
}

static hs_status draw_and_tell(hs_trainer *t)
{
    char png[4096], jsonl[4096];
    snprintf(jsonl, sizeof jsonl, "%s/metrics.jsonl", t->run.dir);
    snprintf(png, sizeof png, "%s/loss.png", t->run.dir);
    if (!hs_plot_available()) {
        hs_info("built without libpng: no loss curve");
        png[0] = 0;
    } else if (hs_plot_metrics(png, jsonl, t->c->train.name) != HS_OK) {
        hs_warn("no loss curve: %s", hs_error());
        png[0] = 0;
    }
    hs_trainer_tell_end(t, png);
    hs_trainer_tell_result(t);
    return HS_OK;
}

static hs_status finish(hs_trainer *t)
{
    if (t->at.step == t->first_step && t->validation) { // nothing was left to do: say where the run stands
        bool best;
        HS_TRY(evaluate(t, true, &best));
    }
    HS_TRY(hs_trainer_save(t, false)); // of a run that had nothing left to do and goes on from another's folder
    HS_TRY(hs_ckpt_wait(t->ckpt));
    HS_TRY(sync_metrics(t));
    if (t->o->result)
        *t->o->result = result_of(t);
    return hs_ranks_first(&t->ranks) ? draw_and_tell(t) : HS_OK;
}

static hs_status cross_stage(hs_trainer *t)
{
    if (hs_trainer_stage(t) == t->c->train.trained_from)
        return HS_OK;
    HS_TRY(hs_trainer_save(t, false));
    return hs_trainer_next_stage(t);
}

hs_status hs_trainer_cross(hs_trainer *t)
{
    if (t->at.phase_step == t->c->train.steps && t->at.phase + 1 < hs_config_n_phases(t->whole)) {
        HS_TRY(hs_trainer_save(t, false));
        HS_TRY(hs_trainer_next_phase(t));
    }
    return cross_stage(t);
}

static hs_status run_phase(hs_trainer *t)
{
    while (t->at.phase_step < t->c->train.steps && !hs_trainer_enough(t)) {
        HS_TRY(cross_stage(t));
        HS_TRY(one_step(t));
        if (hs_profile_done(t->profile))
            HS_TRY(hs_trainer_tell_profile(t));
        hs_process_check_output();
        const int signal = t->ranks.size > 1 ? t->signal : hs_signal_seen();
        if (signal && t->at.step < t->progress.steps)
            return stop(t, signal);
    }
    return HS_OK;
}

static hs_status run(hs_trainer *t)
{
    hs_trainer_tell_start(t);
    hs_process_check_output();
    HS_TRY(run_phase(t));
    while (t->at.phase + 1 < hs_config_n_phases(t->whole)) {
        HS_TRY(hs_trainer_next_phase(t));
        hs_trainer_tell_data(t);
        if (t->o->json)
            hs_line_print(json_pack("{s:s, s:I, s:I, s:s}", "event", "phase", "step", (json_int_t)t->at.step, "phase",
                                    (json_int_t)t->at.phase, "name", hs_config_phase_name(t->whole, (int)t->at.phase)));
        HS_TRY(run_phase(t));
    }
    HS_TRY(hs_trainer_tell_profile(t));
    return finish(t);
}

static bool stop_all(void *parallel, const char *why) { return hs_parallel_stop(parallel, why); }

hs_status hs_train(const hs_train_opts *o)
{
    hs_trainer *t = malloc(sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for the trainer");
    hs_signals_catch(!o->parallel || hs_parallel_world(o->parallel)->rank == 0);
    hs_signals_stop_by(stop_all, o->parallel);
    hs_process_outlive_output();
    hs_status st = hs_trainer_open(t, o);
    if (st == HS_OK) {
        hs_signals_defer();
        st = run(t);
        hs_progress_end(&t->progress);
    }
    if (st != HS_OK)
        hs_trainer_fail(t, st);
    hs_trainer_close(t);
    free(t);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
