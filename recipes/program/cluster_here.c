// cluster_here: this machine as a cluster. Its rate is what a micro-step of the model at hand reaches, not a data sheet's: barriers, caches
// and row-wise operations are in it.
#include "core/cpu/cpu.h"
#include "recipes/program/peak.h"
#include "recipes/program/sizing.h"
#include "recipes/train/evaluate.h"
#include "recipes/train/train_feed.h"
#include <math.h>
#include <string.h>

#define MOST_FLOPS 1e12 // of a micro-step that is measured, about
enum { ROUNDS = 3 };

typedef struct probe {
    hs_engine *engine;
    hs_batch batch;
} probe;

static hs_status micro_step(probe *p, double *seconds)
{
    hs_engine *e = p->engine;
    const double start = hs_now();
    HS_TRY(hs_run_feed(e->run, e->plan[HS_TRAIN], &p->batch));
    e->in->n_micro = 1;
    for (int i = 0; i < HS_N_LOSS; i++)
        e->in->inv_count[i] = hs_inv_count(p->batch.labels[i]);
    HS_TRY(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
    HS_TRY(hs_run_wait(e->run));
    *seconds = hs_now() - start;
    return HS_OK;
}

// As many samples as a rank has, fewer where one step of them would take long.
static hs_status open_probe(probe *p, const hs_config *c, const hs_policy *policy, hs_device *dev, int dp)
{
    hs_feed feed = hs_feed_of(c);
    feed.distill = (hs_distill){ 0 }; // of a student without its teacher
    feed.layout = HS_SEQ_UNPADDED;
    const double each = hs_feed_flops_per_token(&feed, (double)feed.length) * (double)feed.length;
    const int64_t most = (int64_t)fmax(1, MOST_FLOPS / each), share = c->train.batch / dp ? c->train.batch / dp : 1;
    const int64_t samples = share < most ? share : most;
    const hs_arch_setup setup = hs_feed_setup(&feed, samples);
    const hs_optim_config optim = hs_config_optim(c, policy->low);
    HS_TRY(hs_engine_open(&p->engine, &(hs_engine_opts){ .model = hs_arch_trace,
                                                         .config = &setup,
                                                         .policy = policy,
                                                         .optim = &optim,
                                                         .micro_steps = 1,
                                                         .seed = 1,
                                                         .device = dev,
                                                         .mode = hs_config_mode(c, dev) }));
    const hs_model_bytes m = hs_model_bytes_of(p->engine->model);
    if (m.slabs.all + m.derived + m.workspace + m.inputs > hs_cpu_free_bytes())
        return HS_FAIL(MEMORY, "this model does not fit here with one sample, so that its speed cannot be measured: say --cluster");
    HS_TRY(hs_engine_start(p->engine));
    return hs_feed_random(&p->batch, &feed, samples, 1);
}

static hs_status measure(probe *p, double *flops_per_second)
{
    double best = INFINITY, seconds = 0;
    for (int i = 0; i <= ROUNDS; i++) { // the first one touches every page
        HS_TRY(micro_step(p, &seconds));
        best = i ? fmin(best, seconds) : best;
    }
    const hs_plan_info *info = hs_plan_info_of(hs_engine_plan(p->engine, HS_TRAIN));
    *flops_per_second = (info->flops_forward + info->flops_backward) / best;
    return HS_OK;
}

// What a rank has of the device's team: ranks whose threads find cores of their own have as much as one alone.
static double share_of(const hs_device *dev, int ranks)
{
    const double wanted = (double)ranks * dev->team;
    return wanted > hs_cpu_cores() ? hs_cpu_cores() / wanted : 1;
}

// Bytes of a message are written by one rank and read by another, twice in an all-reduce: a quarter of what a rank reads was measured
// between two ranks (1.3 GB/s beside 5.2).
hs_status hs_cluster_here(hs_cluster *out, const hs_config *c, const hs_policy *policy, hs_device *dev, int ranks)
{
    probe p = { 0 };
    double flops = 0, read = 0;
    const int dp = (int)(c->parallel.dp ? c->parallel.dp : 1);
    hs_status st = open_probe(&p, c, policy, dev, dp);
    if (st == HS_OK)
        st = measure(&p, &flops);
    hs_engine_free(p.engine);
    hs_batch_free(&p.batch);
    HS_TRY(st);
    HS_TRY(hs_measure_read(dev, 0.1, &read));
    const double share = share_of(dev, ranks), bytes = read / 1e9 * share;
    const hs_cluster_rate rate = { flops / 1e12 * share, 1 };
    *out = (hs_cluster){ .device = HS_CLUSTER_CPU,
                         .nodes = 1,
                         .devices = ranks,
                         .memory_gb = (double)hs_cpu_free_bytes() / 1e9 / ranks,
                         .memory_gb_per_second = bytes,
                         .fp32 = rate,
                         .bf16 = rate,
                         .fp16 = rate,
                         .inside = { bytes / 4, 1 } };
    return HS_OK;
}
