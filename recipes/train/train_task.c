// train_task: what fine-tuning adds to a run - epochs, rates by layer, layers that are trained later, scores that decide which checkpoint
// is best and when it is enough.
#include "core/base/log.h"
#include "data/base/file.h"
#include "recipes/program/cli.h"
#include "recipes/train/epochs.h"
#include "recipes/train/trainer.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- epochs
hs_status hs_trainer_settle_epochs(hs_trainer *t) { return hs_epochs_settle(t->whole, t->c, &t->feed, &t->corpus, &t->epoch); }

// Counted in samples, so that a run that goes on with other batches has its epochs where they were.
static int64_t epochs_done(const hs_trainer *t, uint64_t samples) { return (int64_t)(samples / (uint64_t)t->epoch); }

bool hs_trainer_due(const hs_trainer *t, int64_t every)
{
    const uint64_t step = (uint64_t)(t->c->train.batch * t->c->train.accumulate);
    if (every >= 0)
        return every > 0 && t->at.step % every == 0;
    return t->epoch && t->at.next_sample >= step && epochs_done(t, t->at.next_sample) > epochs_done(t, t->at.next_sample - step);
}

// ---- layers
// The depth of what is in none of them is one more.
static int n_layers(const hs_trainer *t) { return t->arch.family->depth(t->arch.settings, ""); }

int hs_trainer_stage(const hs_trainer *t)
{
    const double epochs = t->epoch ? (double)t->at.next_sample / (double)t->epoch : 0;
    const int top = n_layers(t), stage = t->c->train.unfreeze > 0 ? (int)fmin(epochs / t->c->train.unfreeze + 1e-9, top) : top;
    return top - stage;
}

hs_status hs_trainer_rates(hs_trainer *t)
{
    const hs_params *ps = t->engine->params;
    if (t->c->optim.layer_decay == 1)
        return HS_OK;
    float *rate = malloc((size_t)ps->n_params * sizeof *rate + 1);
    if (!rate)
        return HS_FAIL(MEMORY, "no memory for the rates of %d parameters", ps->n_params);
    for (int i = 0; i < ps->n_params; i++)
        rate[i] =
            (float)hs_layer_rate(t->c->optim.layer_decay, n_layers(t) - 1, t->arch.family->depth(t->arch.settings, ps->param[i]->name));
    const hs_status st = hs_optim_set_rates(t->engine->optim, rate);
    free(rate);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- scores
static hs_status unknown_metric(const hs_trainer *t, const char *const *names)
{
    const char *words[HS_SCORES_MOST + 1];
    char list[1024] = "loss", at[128];
    int n = 0;
    words[n++] = "loss";
    for (; *names; names++) {
        words[n++] = *names;
        snprintf(list + strlen(list), sizeof list - strlen(list), ", %s", *names);
    }
    const char *near = hs_nearest_word(t->c->task.metric, words, n);
    return HS_FAIL(USAGE, "%stask.metric is '%s', which is no score here (%s)%s%s", hs_config_prefix(t->c, "task.metric", at, sizeof at),
                   t->c->task.metric, list, near ? "; nearest is " : "", near ? near : "");
}

hs_status hs_trainer_judge(hs_trainer *t)
{
    t->metric = "loss";
    hs_judge_free(t->judge);
    t->judge = NULL;
    if (!t->corpus.labelled.val.n)
        return HS_OK;
    hs_source *rows;
    HS_TRY(hs_feed_eval(&rows, &t->feed, &t->corpus));
    hs_source_free(rows);
    HS_TRY(hs_judge_new(&t->judge, &t->feed, &t->corpus));
    const char *none = NULL, *const *names = t->judge ? hs_judge_names(t->judge) : &none;
    if (t->judge && !t->c->task.metric[0])
        t->metric = hs_judge_usual(t->judge);
    if (!t->c->task.metric[0] || strcmp(t->c->task.metric, "loss") == 0)
        return HS_OK;
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], t->c->task.metric) == 0) {
            t->metric = names[i];
            return HS_OK;
        }
    return unknown_metric(t, names);
}

double hs_trainer_score(const hs_trainer *t)
{
    return strcmp(t->metric, "loss") == 0 ? t->result.loss : hs_scores_get(&t->scores, t->metric);
}

bool hs_trainer_note_best(hs_trainer *t)
{
    const double score = hs_trainer_score(t), best = t->at.best_score;
    const bool first = t->at.best_val_loss < 0, lower = hs_judge_lower_is_better(t->metric);
    t->at.worse++;
    if (!isfinite(score) || !isfinite(t->result.loss) || !(first || (lower ? score < best : score > best)))
        return false;
    t->at.best_val_loss = t->result.loss, t->at.best_score = score, t->at.best_step = t->at.step;
    t->at.worse = 0;
    return true;
}

bool hs_trainer_enough(const hs_trainer *t) { return t->c->train.patience > 0 && t->at.worse >= t->c->train.patience; }

// ---- reports
static void report_dir(const hs_trainer *t, char *buf, size_t size) { snprintf(buf, size, "%s/report", t->run.dir); }

hs_status hs_trainer_report(hs_trainer *t)
{
    char dir[4096], title[2048];
    if (!t->judge)
        return HS_OK;
    report_dir(t, dir, sizeof dir);
    snprintf(title, sizeof title, "%.500s, step %lld, on %.1000s", t->c->train.name, (long long)t->at.step,
             t->corpus.labelled.all->path[t->corpus.labelled.all->n_paths - 1]);
    return hs_judge_report(t->judge, dir, title);
}

void hs_trainer_tell_result(hs_trainer *t)
{
    char dir[4096], path[4200], *text = NULL;
    size_t bytes;
    if (!t->corpus.labelled.all || t->at.best_val_loss < 0)
        return;
    hs_progress *p = &t->progress;
    report_dir(t, dir, sizeof dir);
    hs_progress_say(p, "best         %s %.4f, of step %lld: %s/BEST", t->metric, t->at.best_score, (long long)t->at.best_step,
                    t->run.checkpoints);
    snprintf(path, sizeof path, "%s/report.txt", dir);
    if (t->judge && hs_file_read(path, &text, &bytes) == HS_OK) {
        hs_progress_say(p, "report       %s\n\n%s", dir, text);
        free(text);
    }
    if (t->o->json)
        hs_line_print(json_pack("{s:s, s:s, s:o, s:o, s:I, s:s}", "event", "result", "metric", t->metric, "score",
                                hs_line_real(t->at.best_score), "val_loss", hs_line_real(t->at.best_val_loss), "step",
                                (json_int_t)t->at.best_step, "report", t->judge ? dir : ""));
}
