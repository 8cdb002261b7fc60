// What a training step of a model costs here, on random tokens.
#include "recipes/bench/bench.h"
#include "recipes/train/profile.h"
#include "recipes/train/progress.h"
#include <jansson.h>
#include <stdlib.h>

typedef struct bench {
    hs_feed feed;
    hs_arch_setup setup;
    hs_policy policy;
    hs_engine *engine;
    hs_batch batch;
    hs_profile *profile;
} bench;

static hs_status one_step(bench *b, double *seconds)
{
    hs_engine *e = b->engine;
    const double start = hs_now();
    HS_TRY(hs_profile_begin(b->profile));
    HS_TRY(hs_run_feed(e->run, e->plan[HS_TRAIN], &b->batch));
    e->in->n_micro = 1;
    for (int i = 0; i < HS_N_LOSS; i++)
        e->in->inv_count[i] = hs_inv_count(b->batch.labels[i]);
    HS_TRY(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
    HS_TRY(hs_run_update(e->run));
    HS_TRY(hs_run_wait(e->run));
    *seconds = hs_now() - start;
    return hs_profile_end(b->profile);
}

static hs_status prepare(bench *b, hs_bench_run *r)
{
    const hs_config *c = &r->config;
    b->feed = hs_feed_of(c);
    b->feed.distill = (hs_distill){ 0 }; // of a student without its teacher
    b->feed.layout = HS_SEQ_UNPADDED;    // full sequences: no layout has anything to do
    hs_feed_set_length(&b->feed, r->o->seq ? r->o->seq : b->feed.length);
    b->setup = hs_feed_setup(&b->feed, c->train.batch);
    HS_TRY(hs_config_policy(c, &b->policy));
    const hs_optim_config optim = hs_config_optim(c, b->policy.low);
    HS_TRY(hs_engine_new(&b->engine, &(hs_engine_opts){ .model = hs_arch_trace,
                                                        .config = &b->setup,
                                                        .policy = &b->policy,
                                                        .optim = &optim,
                                                        .micro_steps = 1,
                                                        .seed = 1,
                                                        .device = r->device,
                                                        .mode = r->mode,
                                                        .grid = hs_grid_self() }));
    HS_TRY(hs_feed_random(&b->batch, &b->feed, c->train.batch, 1));
    if (!r->o->profile[0])
        return HS_OK;
    return hs_profile_new(&b->profile, &(hs_profile_opts){ .engine = b->engine,
                                                           .path = r->o->profile,
                                                           .warmup = (int)(r->o->warmup + r->o->steps),
                                                           .steps = (int)r->o->steps,
                                                           .n_micro = 1 });
}

static void report(const bench *b, const hs_bench_run *r, double median, double peak)
{
    const hs_batch *batch = &b->batch;
    const hs_bench_options *o = r->o;
    const int64_t seq = batch->n[HS_COUNT_TOKENS] / batch->n[HS_COUNT_SEQS];
    const double rate = (double)batch->n[HS_COUNT_TOKENS] / median,
                 mfu = rate * hs_feed_flops_per_token(&b->feed, (double)seq) / (peak > 0 ? peak : INFINITY);
    double loss = 0;
    for (int i = 0; i < HS_LOSSES; i++)
        loss += hs_run_losses(b->engine->run, b->engine->plan[HS_TRAIN])[i];
    char count[32], bytes[32];
    if (o->common.json)
        hs_line_print(json_pack("{s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:s, s:i, s:s, s:I}", "tokens_per_second",
                                hs_line_real(rate), "sequences_per_second", hs_line_real((double)batch->n[HS_COUNT_SEQS] / median),
                                "peak_bytes", (json_int_t)hs_peak_rss(), "mfu", hs_line_real(mfu), "loss", hs_line_real(loss),
                                "step_seconds", hs_line_real(median), "peak_flops", hs_line_real(peak), "peak",
                                hs_peak_name(r->device, b->policy.low), "batch", (json_int_t)batch->n[HS_COUNT_SEQS], "seq",
                                (json_int_t)seq, "dtype", hs_bench_dtype_name(b->policy.low), "threads", r->device->team, "isa",
                                hs_isa_name(r->device->isa), "planned_bytes", (json_int_t)hs_engine_bytes(b->engine)));
    else
        printf("%s: %s tok/s, %.2f sequences/s, %.2f ms a step (median of %lld), MFU %.0f%% of %.0f GFLOP/s (%s), %s in memory, loss "
               "%.4f\n",
               o->model, hs_human_count(rate, count, sizeof count), (double)batch->n[HS_COUNT_SEQS] / median, 1e3 * median,
               (long long)o->steps, 100 * mfu, peak / 1e9, hs_peak_name(r->device, b->policy.low),
               hs_human_bytes((double)hs_peak_rss(), bytes, sizeof bytes), loss);
}

static hs_status measure(bench *b, hs_bench_run *r, hs_samples *times)
{
    double peak, seconds;
    HS_TRY(prepare(b, r));
    for (int64_t i = 0; i < r->o->warmup; i++)
        HS_TRY(one_step(b, &seconds));
    for (int64_t i = 0; i < r->o->steps; i++) {
        HS_TRY(one_step(b, &seconds));
        hs_samples_add(times, seconds);
    }
    while (b->profile && !hs_profile_done(b->profile)) // steps of their own: the figures are of steps without a clock inside
        HS_TRY(one_step(b, &seconds));
    HS_TRY(hs_measure_peak(r->device, &b->policy, 0.3, &peak));
    report(b, r, hs_median(times), peak);
    return b->profile ? hs_profile_report(b->profile, peak, r->o->common.json, stdout) : HS_OK;
}

static hs_status run(hs_bench_run *r)
{
    bench b = { 0 };
    hs_samples times = { 0 };
    const hs_status st = measure(&b, r, &times);
    hs_profile_free(b.profile);
    hs_engine_free(b.engine);
    hs_batch_free(&b.batch);
    return st;
}

const hs_bench hs_bench_train = {
    .name = "train",
    .summary = "tokens/s, memory and MFU of training steps on random tokens",
    .takes = "model batch seq warmup profile",
    .run = run,
};
