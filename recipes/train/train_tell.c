// train_tell: what a run says of itself - lines for people, JSON lines, metrics.jsonl and event files.
#include "core/base/log.h"
#include "data/checkpoint/ckpt_parts.h"
#include "recipes/program/cli.h"
#include "recipes/train/trainer.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double *last_losses(const hs_trainer *t) { return t->last.loss[hs_plan_losses(hs_engine_plan(t->engine, HS_TRAIN))]; }

static double last_loss(const hs_trainer *t)
{
    double sum = 0;
    for (int i = 0; i < HS_LOSSES; i++)
        sum += last_losses(t)[i];
    return sum;
}

// Parts of the loss that there may be: those of the model's heads, where it has several or masks tokens, and all beside a teacher.
static bool has_part(const hs_trainer *t, int i)
{
    return (t->feed.predictions || t->feed.distill.role) && hs_feed_has(&t->feed, (hs_loss)i);
}

// A head that no objective has labels for has no loss: 0 would look like one that is perfect.
static bool trained_part(const hs_trainer *t, int i) { return has_part(t, i) && t->labelled[i] && t->feed.loss_weight[i] > 0; }

// The mean over its labels, without the weight that it has in the sum.
static double part_of(const hs_trainer *t, int i) { return last_losses(t)[i] / t->feed.loss_weight[i]; }

enum { MOST_METRICS = 32 + HS_SCORES_MOST, METRIC_NAME = 32 };
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
        if (hs_eval_tells(&t->result, i))
            add(m, "val_", hs_loss_words[i], "_accuracy", hs_eval_accuracy(p));
        if (hs_eval_tells(&t->result, i) && i == HS_LOSS_REPLACED)
            add(m, "val_", hs_loss_words[i], "_recall", hs_eval_recall(p));
    }
    for (int i = 0; i < t->scores.n && t->judge; i++)
        add(m, "val_", t->scores.at[i].name, "", t->scores.at[i].value);
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
            add(m, "", hs_loss_words[i], "_loss", part_of(t, i));
    if (hs_config_n_phases(t->whole) > 1)
        add(m, "", "phase", "", (double)t->at.phase);
    if (evaluated)
        add_evaluation(t, m);
}

hs_status hs_trainer_tell_step(hs_trainer *t, bool log, bool evaluated)
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
                               .line = log && (!show || evaluated || done == t->progress.steps || hs_trainer_due(t, show)) };
    if (evaluated && t->judge)
        shown.score_name = t->metric, shown.score = hs_trainer_score(t);
    for (int i = 0; i < HS_LOSSES && (has_part(t, HS_LOSS_TOKENS) || t->teacher); i++)
        if (trained_part(t, i))
            shown.part[shown.n_parts++] = (hs_progress_part){ hs_loss_words[i], part_of(t, i),
                                                              evaluated && hs_eval_tells(&t->result, i) && t->result.part[i].labels
                                                                  ? hs_eval_accuracy(&t->result.part[i])
                                                                  : NAN };
    hs_progress_show(&t->progress, &shown);
    if (!log || !t->metrics)
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
void hs_trainer_tell_data(hs_trainer *t)
{
    char tokens[32], what[128];
    hs_progress *p = &t->progress;
    if (t->corpus.labelled.all)
        snprintf(what, sizeof what, "%lld labelled example%s, %lld to validate", (long long)t->corpus.labelled.train.n,
                 hs_plural(t->corpus.labelled.train.n), (long long)t->corpus.labelled.val.n);
    else if (t->corpus.shards.n)
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
    char peak[96] = "";
    if (t->progress.peak_flops > 0)
        snprintf(peak, sizeof peak, "; peak of this machine, measured in %s: %.0f GFLOP/s",
                 t->device->is_cpu ? "registers" : "large products", t->progress.peak_flops / 1e9);
    hs_progress_say(p, "%s, %lld step%s of %lld%s", what, (long long)t->c->train.steps, hs_plural(t->c->train.steps),
                    (long long)(t->c->train.batch * t->c->train.accumulate * t->feed.length), peak);
}

static void tell_sparsity(hs_trainer *t)
{
    const hs_params *ps = t->engine->params;
    int n = 0;
    for (int i = 0; i < ps->n_params; i++)
        n += ps->param[i]->keeps_zeros && !ps->param[i]->frozen;
    if (n)
        hs_progress_say(&t->progress, "sparsity     %s in %d weight%s: what is zero stays zero (train.keep_zeros)",
                        t->info.sparsity.pattern, n, hs_plural(n));
}

void hs_trainer_tell_start(hs_trainer *t)
{
    char count[32], bytes[32], policy[16], sizes[256], on[64];
    const int64_t parameters = t->arch.family->count(t->arch.settings);
    const double total = (double)(hs_engine_bytes(t->engine) + hs_ckpt_bytes_on(t->engine->params, &t->ranks.grid));
    hs_config_text(t->c, "amp.policy", policy, sizeof policy);
    hs_progress *p = &t->progress;
    if (t->device->is_cpu)
        snprintf(on, sizeof on, "%d thread%s (%s)", t->device->team, hs_plural(t->device->team), hs_isa_name(t->device->isa));
    else
        snprintf(on, sizeof on, "device %s", t->device->name);
    hs_arch_describe(t->arch, sizes, sizeof sizes);
    hs_progress_say(p, "%s: %s of %s parameters (%s), %s, %s, %s planned", t->c->train.name, t->arch.family->title,
                    hs_human_count((double)parameters, count, sizeof count), sizes, policy, on, hs_human_bytes(total, bytes, sizeof bytes));
    if (t->ranks.size > 1)
        hs_progress_say(p, "%d ranks     parallel.dp %d times parallel.tp %d", t->ranks.size, t->ranks.dp, t->ranks.tp);
    hs_ranks_tell_crowded(&t->ranks, t->device->team);
    hs_trainer_tell_data(t);
    if (t->corpus.labelled.all)
        hs_progress_say(p, "data: %s", t->corpus.labelled.all->said);
    const size_t all = hs_params_count(t->engine->params), trained = hs_params_count_trained(t->engine->params);
    if (trained < all && t->c->adapter.rank)
        hs_progress_say(p, "%s of them are trained: pairs of rank %lld and the task's head (adapter.rank)",
                        hs_human_count((double)trained, count, sizeof count), (long long)t->c->adapter.rank);
    else if (trained < all)
        hs_progress_say(p, "%s of them are trained (train.freeze)", hs_human_count((double)trained, count, sizeof count));
    tell_sparsity(t);
    if (t->teacher)
        hs_progress_say(p, "teacher      %s, %s parameters", t->c->distill.teacher,
                        hs_human_count((double)hs_params_count(hs_teacher_model(t->teacher)->params), count, sizeof count));
    if (t->policy_note)
        hs_progress_say(p, "%s", t->policy_note);
    if (t->run.from[0])
        hs_progress_say(p, "going on from %s, after step %lld", t->run.from, (long long)t->at.step);
    else if (t->run.init[0])
        hs_progress_say(p, "weights from %s", t->run.init);
    if (t->o->json)
        hs_line_print(json_pack("{s:s, s:s, s:I, s:s, s:I, s:I, s:o, s:o, s:i, s:i, s:i}", "event", "start", "run", t->run.dir,
                                "parameters", (json_int_t)parameters, "policy", policy, "step", (json_int_t)t->at.step, "steps",
                                (json_int_t)t->progress.steps, "planned_bytes", hs_line_real(total), "peak_flops",
                                hs_line_real(t->progress.peak_flops), "threads", t->device->team, "dp", t->ranks.dp, "tp", t->ranks.tp));
}

// Once: when its steps are in, or when the run ends before.
hs_status hs_trainer_tell_profile(hs_trainer *t)
{
    hs_profile *p = t->profile;
    if (!p)
        return HS_OK;
    t->profile = NULL;
    hs_status st = HS_OK;
    if (p->n) {
        hs_progress_say(&t->progress, "%s", "");
        st = hs_profile_report(p, t->peak_flops, t->o->json, t->o->json ? stdout : t->o->quiet ? NULL : t->progress.out);
    } else {
        hs_warn("--profile: the run ended before the first step it would have taken");
    }
    hs_profile_free(p);
    return st;
}

void hs_trainer_tell_end(hs_trainer *t, const char *png)
{
    char latest[4096] = "", val[64] = "", time[32];
    int64_t step;
    char name[HS_STEP_NAME];
    if (hs_pointer_read(t->run.checkpoints, "LATEST", &step)) { // saved by this run: not verified again while other ranks wait
        hs_step_name(name, step);
        snprintf(latest, sizeof latest, "%s/%s", t->run.checkpoints, name);
    }
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
