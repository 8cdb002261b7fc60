// bench: what a training step costs here, on random tokens.
#include "core/rng.h"
#include "ops/ops.h"
#include "recipes/commands.h"
#include "recipes/peak.h"
#include "recipes/profile.h"
#include "recipes/progress.h"
#include "recipes/session.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_options {
    hs_common common;
    hs_string model, profile;
    int64_t batch, seq, steps, warmup;
} bench_options;

typedef struct bench {
    hs_config config;
    hs_origin origin[HS_CONFIG_KEYS];
    hs_gpt_setup setup;
    hs_policy policy;
    hs_device *device;
    hs_engine *engine;
    hs_batch batch;
    hs_profile *profile;
    double *seconds;
} bench;

static void fill(hs_batch *b, int64_t seqs, int64_t seq, int64_t vocab, uint64_t key)
{
    for (int64_t i = 0; i < seqs * seq; i++) {
        const hs_u32x4 r = hs_random(key, (uint32_t)i, 0, 0, 0);
        b->ids[i] = (int32_t)(r.v[0] % (uint32_t)vocab);
        b->targets[i] = (int32_t)(r.v[1] % (uint32_t)vocab);
        b->where[2 * i] = (int32_t)(i / seq), b->where[2 * i + 1] = (int32_t)(i % seq);
    }
    for (int64_t s = 0; s <= seqs; s++)
        b->starts[s] = (int32_t)(s * seq);
    b->n_seqs = seqs, b->n_tokens = b->n_targets = seqs * seq;
}

static hs_status one_step(bench *b, double *seconds)
{
    hs_engine *e = b->engine;
    const double start = hs_now();
    hs_profile_begin(b->profile);
    HS_TRY(hs_feed(e, HS_TRAIN, &b->batch));
    e->in.micro = 0, e->in.n_micro = 1, e->in.inv_count[0] = 1.0f / (float)b->batch.n_targets;
    HS_TRY(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
    HS_TRY(hs_engine_update(e));
    *seconds = hs_now() - start;
    return hs_profile_end(b->profile);
}

static int ascending(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : 1; }

static hs_status prepare(bench *b, const hs_cli *cli)
{
    const bench_options *o = cli->options;
    hs_config *c = &b->config;
    hs_optim_config optim;
    hs_submit_mode mode;
    char text[16];
    HS_TRY(hs_cli_config(cli, o->model, c, b->origin));
    if (o->seq && o->seq > c->model.context) // positions beyond the recipe's
        c->model.context = o->seq;
    if (o->batch)
        c->train.batch = o->batch;
    HS_TRY(hs_config_check(c, b->origin, false));
    b->setup.gpt = hs_config_gpt(c, c->model.vocab ? c->model.vocab : 65); // 65: the characters of the shipped text
    HS_TRY(hs_gpt_check(&b->setup.gpt));
    const int64_t seq = o->seq ? o->seq : c->model.context;
    b->setup.shape = (hs_gpt_shape){ .max_tokens = c->train.batch * seq, .max_seqs = c->train.batch };
    HS_TRY(hs_config_policy(c, &b->policy));
    HS_TRY(hs_config_optim(c, b->policy.low, &optim));
    HS_TRY(hs_open_device(&b->device, c->exec.device, (int)c->exec.threads, c->exec.isa, (int)c->exec.bulk_size, c->exec.onednn));
    hs_config_text(c, "exec.mode", text, sizeof text);
    HS_TRY(hs_submit_mode_parse(text, b->device, &mode));
    HS_TRY(hs_engine_new(&b->engine, &(hs_engine_opts){ .model = hs_gpt_trace,
                                                        .config = &b->setup,
                                                        .policy = &b->policy,
                                                        .optim = &optim,
                                                        .seed = 1,
                                                        .device = b->device,
                                                        .mode = mode,
                                                        .grid = hs_grid_self() }));
    HS_TRY(hs_batch_alloc(&b->batch, c->train.batch, seq));
    fill(&b->batch, c->train.batch, seq, b->setup.gpt.vocab, 1);
    if (o->profile[0])
        HS_TRY(hs_profile_new(
            &b->profile,
            &(hs_profile_opts){
                .engine = b->engine, .path = o->profile, .warmup = (int)(o->warmup + o->steps), .steps = (int)o->steps, .n_micro = 1 }));
    b->seconds = malloc((size_t)o->steps * sizeof *b->seconds);
    return b->seconds ? HS_OK : HS_FAIL(MEMORY, "no memory for %lld timings", (long long)o->steps);
}

static void report(const bench *b, const bench_options *o, double median, double peak)
{
    const hs_batch *batch = &b->batch;
    const int64_t seq = batch->n_tokens / batch->n_seqs;
    const double rate = (double)batch->n_tokens / median, mfu = rate * hs_gpt_flops_per_token(&b->setup.gpt, seq) / peak;
    const double loss = b->engine->state.loss[0];
    char count[32], bytes[32];
    if (o->common.json)
        hs_line_print(json_pack("{s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:I, s:I, s:s, s:i, s:s, s:I}", "tokens_per_second",
                                hs_line_real(rate), "sequences_per_second", hs_line_real((double)batch->n_seqs / median), "peak_bytes",
                                (json_int_t)hs_peak_rss(), "mfu", hs_line_real(mfu), "loss", hs_line_real(loss), "step_seconds",
                                hs_line_real(median), "peak_flops", hs_line_real(peak), "batch", (json_int_t)batch->n_seqs, "seq",
                                (json_int_t)seq, "dtype", hs_dtype_name(b->policy.low), "threads", b->device->team, "isa",
                                hs_isa_name(b->device->isa), "planned_bytes", (json_int_t)hs_engine_bytes(b->engine)));
    else
        printf("%s: %s tok/s, %.2f sequences/s, %.2f ms a step (median of %lld), MFU %.0f%% of %.0f GFLOP/s, %s in memory, loss %.4f\n",
               o->model, hs_human_count(rate, count, sizeof count), (double)batch->n_seqs / median, 1e3 * median, (long long)o->steps,
               100 * mfu, peak / 1e9, hs_human_bytes((double)hs_peak_rss(), bytes, sizeof bytes), loss);
}

static hs_status measure(bench *b, const hs_cli *cli)
{
    const bench_options *o = cli->options;
    double peak, ignored;
    HS_TRY(prepare(b, cli));
    for (int64_t i = 0; i < o->warmup; i++)
        HS_TRY(one_step(b, &ignored));
    for (int64_t i = 0; i < o->steps; i++)
        HS_TRY(one_step(b, &b->seconds[i]));
    qsort(b->seconds, (size_t)o->steps, sizeof *b->seconds, ascending);
    const double median = (b->seconds[(o->steps - 1) / 2] + b->seconds[o->steps / 2]) / 2;
    while (b->profile && !hs_profile_done(b->profile)) // steps of their own: the figures are of steps without a clock inside
        HS_TRY(one_step(b, &ignored));
    HS_TRY(hs_measure_peak(b->device, &b->policy, 0.3, &peak));
    report(b, o, median, peak);
    return b->profile ? hs_profile_report(b->profile, peak, o->common.json, stdout) : HS_OK;
}

static hs_status run_bench(const hs_cli *cli)
{
    if (strcmp(cli->arg[0], "train") != 0)
        return HS_FAIL(USAGE, "bench measures 'train', not '%s'", cli->arg[0]);
    bench *b = calloc(1, sizeof *b);
    if (!b)
        return HS_FAIL(MEMORY, "no memory for a bench");
    const hs_status st = measure(b, cli);
    hs_profile_free(b->profile);
    hs_engine_free(b->engine);
    hs_device_close(b->device);
    hs_batch_free(&b->batch);
    free(b->seconds);
    free(b);
    return st;
}

#define AT(field) .offset = offsetof(bench_options, field)
static const hs_key keys[] = {
    { .name = "model",
      .type = HS_KEY_STRING,
      AT(model),
      .value = "gpt2-124m",
      .help = "a shipped recipe (gpt2-124m, shakespeare-char, ...) or a YAML file" },
    { .name = "batch",
      .type = HS_KEY_INT,
      AT(batch),
      .value = "0",
      .min = 0,
      .max = 1e6,
      .unit = "windows",
      .help = "of a step; 0: train.batch of the model's settings" },
    { .name = "seq",
      .type = HS_KEY_INT,
      AT(seq),
      .value = "0",
      .min = 0,
      .max = 1e6,
      .unit = "tokens",
      .help = "of a window; 0: the model's context" },
    { .name = "steps",
      .type = HS_KEY_INT,
      AT(steps),
      .value = "10",
      .min = 1,
      .max = 1e6,
      .unit = "steps",
      .help = "measured; the median counts" },
    { .name = "warmup",
      .type = HS_KEY_INT,
      AT(warmup),
      .value = "2",
      .min = 0,
      .max = 1e6,
      .unit = "steps",
      .help = "before them",
      .advanced = true },
    { .name = "profile",
      .type = HS_KEY_STRING,
      AT(profile),
      .value = "",
      .help = "then as many steps again with a clock: tables by operation and scope, and a trace in this file (or folder) for "
              "ui.perfetto.dev" },
    HS_COMMON_KEYS(bench_options),
};
static const hs_schema schema = { keys, HS_COUNT(keys), sizeof(bench_options) };

const hs_command hs_cmd_bench = {
    .name = "bench",
    .arguments = "train",
    .summary = "measure training steps on random tokens",
    .examples = "halfstep bench train --model shakespeare-char --steps 50\n"
                "halfstep bench train --model gpt2-124m --batch 4 --seq 256 --dtype bf16 --steps 5 --json\n"
                "halfstep bench train --model shakespeare-char --profile profile.json   # where the time of a step goes",
    .notes = "MFU is the model's FLOPs (6 per parameter and token, and attention) against a peak measured here with the same products.\n"
             "With --json: tokens_per_second, sequences_per_second, peak_bytes (of this process), mfu, loss, step_seconds, peak_flops, ...",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .takes_config = true,
    .run = run_bench,
};
