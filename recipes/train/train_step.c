// train_step: one optimizer step - its micro-batches, what all ranks agree on before the first forward, forward and backward, the update.
#include "recipes/program/process.h"
#include "recipes/train/grad_histogram.h"
#include "recipes/train/trainer.h"
#include <stdlib.h>
#include <string.h>

// ---- what all ranks agree on: one sum over all of them a step. Counts are those of tp rank 0 alone, as its peers read the same batches.
enum { TOKENS, STOPS, SIGNALS, COUNTS }; // counts: for each set of losses' labels and their weights

// One set for the whole step, or one for each micro-batch, whose means are what is averaged.
static int n_sets(const hs_trainer *t) { return t->c->loss.normalize == HS_NORMALIZE_MICRO ? (int)t->c->train.accumulate : 1; }
static double *counts_of(const hs_trainer *t, int m) { return t->agreed + COUNTS + (n_sets(t) > 1 ? m : 0) * 2 * HS_LOSSES; }

hs_status hs_step_open(hs_trainer *t)
{
    free(t->agreed);
    t->agreed = calloc((size_t)(COUNTS + n_sets(t) * 2 * HS_LOSSES), sizeof *t->agreed);
    return t->agreed ? HS_OK : HS_FAIL(MEMORY, "no memory for the counts of %lld micro-batches", (long long)t->c->train.accumulate);
}

static hs_status agree(hs_trainer *t, const hs_batch *const *batch)
{
    const int n = (int)t->c->train.accumulate, n_values = COUNTS + n_sets(t) * 2 * HS_LOSSES;
    const int signal = t->ranks.size > 1 ? hs_signal_seen() : 0; // alone it is asked behind the step
    memset(t->agreed, 0, (size_t)n_values * sizeof *t->agreed);
    for (int m = 0; m < n && t->ranks.grid.tp->rank == 0; m++) {
        t->agreed[TOKENS] += (double)batch[m]->n[HS_COUNT_TOKENS];
        for (int i = 0; i < HS_LOSSES; i++) {
            counts_of(t, m)[i] += (double)hs_feed_labels(&t->feed, batch[m], (hs_loss)i);
            counts_of(t, m)[HS_LOSSES + i] += hs_feed_counted(&t->feed, batch[m], (hs_loss)i);
        }
    }
    t->agreed[STOPS] = signal != 0, t->agreed[SIGNALS] = signal;
    HS_TRY(hs_ranks_sum(&t->ranks, "counts of the step", t->agreed, n_values));
    if (t->agreed[STOPS] > 0)
        t->signal = signal ? signal : (int)(t->agreed[SIGNALS] / t->agreed[STOPS]);
    for (int i = 0; i < HS_LOSSES; i++) {
        t->labelled[i] = false;
        for (int m = 0; m < n; m++)
            t->labelled[i] = t->labelled[i] || counts_of(t, m)[i] > 0;
    }
    return HS_OK;
}

// Of a loss: 1 over its labels in the whole step, times its weight among the losses; one without labels counts 0.
static float inv_count(const hs_trainer *t, int m, hs_loss loss)
{
    const double share = t->feed.loss_weight[loss], labels = counts_of(t, m)[loss], weights = counts_of(t, m)[HS_LOSSES + loss];
    if (t->c->loss.normalize == HS_NORMALIZE_MICRO)
        return labels > 0 ? (float)(share / ((double)t->c->train.accumulate * weights)) : 0;
    return share == 1 && weights == labels ? hs_inv_count((int64_t)labels) : labels > 0 ? (float)(share / weights) : 0;
}

// ---- the step
static hs_status run_micro(hs_trainer *t, const hs_batch *batch, int m)
{
    const int n = (int)t->c->train.accumulate;
    hs_engine *e = t->engine;
    HS_TRY(hs_run_feed(e->run, e->plan[HS_TRAIN], batch));
    e->in->n_micro = n;
    for (int i = 0; i < HS_LOSSES; i++)
        e->in->inv_count[i] = inv_count(t, m, (hs_loss)i);
    if (t->teacher)
        HS_TRY(hs_teacher_show(t->teacher, HS_TRAIN, batch, e->run, e->plan[HS_TRAIN]));
    return hs_engine_run(e, HS_TRAIN, (m == 0 ? HS_MICRO_FIRST : 0) | (m == n - 1 ? HS_MICRO_LAST : 0));
}

static bool wants_histogram(const hs_trainer *t)
{
    const int64_t every = t->c->amp.histogram;
    return every && hs_ranks_first(&t->ranks) && !t->o->dry && ((t->at.step + 1) % every == 0 || t->at.phase_step + 1 == t->c->train.steps);
}

// All micro-batches are fetched before the first forward: the mean is over the labels of all of them.
hs_status hs_step_run(hs_trainer *t)
{
    const int n = (int)t->c->train.accumulate;
    const hs_batch *batch[n];
    const double start = hs_now(), waited = hs_loader_wait_seconds(t->loader);
    HS_TRY(hs_profile_begin(t->profile));
    for (int m = 0; m < n; m++)
        HS_TRY(hs_loader_next(t->loader, &batch[m]));
    HS_TRY(agree(t, batch));
    if (t->signal)
        return HS_OK;
    t->watch.found = false;
    HS_TRY(hs_tied_begin_step(t->tied, t->at.step));
    for (int m = 0; m < n; m++)
        HS_TRY(run_micro(t, batch[m], m));
    HS_TRY(hs_tied_gradients(t->tied));
    if (wants_histogram(t))
        HS_TRY(hs_grad_histogram(t->engine->run, t->run.dir, t->at.step + 1));
    HS_TRY(hs_run_update(t->engine->run));
    for (int m = 0; m < n; m++)
        hs_loader_release(t->loader);
    HS_TRY(hs_profile_end(t->profile));
    const int64_t tokens = (int64_t)t->agreed[TOKENS];
    t->at.step++, t->at.phase_step++;
    t->at.next_sample += (uint64_t)(n * t->c->train.batch);
    t->at.tokens_seen += tokens;
    const double seconds = hs_now() - start;
    t->train_seconds += seconds;
    hs_progress_add(&t->progress, tokens, seconds, hs_loader_wait_seconds(t->loader) - waited);
    return HS_OK;
}
