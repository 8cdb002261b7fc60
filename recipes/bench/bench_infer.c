// What one forward pass costs: the latency of a request, from token ids to the last hidden states (and the pooled first tokens of models
// that have a pooler). Random weights for a recipe, a checkpoint's own for a checkpoint; no head, no cache.
#include "core/base/rng.h"
#include "recipes/bench/bench.h"
#include "recipes/train/profile.h"
#include <stdlib.h>
#include <string.h>

enum { IDS, STARTS, WHERE, COLUMNS };
static const hs_column columns[COLUMNS] = { [IDS] = { .name = "ids", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
                                            [STARTS] = { .name = "starts", .dtype = HS_I32, .ext = HS_EXT_STARTS },
                                            [WHERE] = { .name = "where", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .row = { 2 } } };

typedef struct bench {
    hs_arch_setup setup;
    hs_policy policy;
    hs_engine *engine; // of a recipe; NULL: the session's run
    hs_run *run;
    int plan;
    hs_batch batch;
    hs_samples seconds;
    hs_profile *profile;
} bench;

static hs_status make_batch(bench *b, int64_t seqs, int64_t seq)
{
    const int64_t most[HS_N_COUNTERS] = { [HS_COUNT_TOKENS] = seqs * seq, [HS_COUNT_SEQS] = seqs };
    const int64_t vocab = hs_arch_int(b->setup.arch, "model.vocab");
    HS_TRY(hs_batch_new(&b->batch, columns, COLUMNS, most));
    memcpy(b->batch.n, most, sizeof most);
    for (int64_t i = 0; i < seqs * seq; i++) {
        hs_batch_i32(&b->batch, IDS)[i] = (int32_t)(hs_random(1, (uint32_t)i, 0, 0, 0).v[0] % (uint32_t)vocab);
        hs_batch_i32(&b->batch, WHERE)[2 * i] = (int32_t)(i / seq);
        hs_batch_i32(&b->batch, WHERE)[2 * i + 1] = (int32_t)(i % seq);
    }
    for (int64_t s = 0; s <= seqs; s++)
        hs_batch_i32(&b->batch, STARTS)[s] = (int32_t)(s * seq);
    return HS_OK;
}

static hs_status load_checkpoint(bench *b, const hs_bench_run *r)
{
    hs_session *s = r->session;
    const hs_dtype_option dtype = (hs_dtype_option)r->o->common.dtype;
    b->policy = (hs_policy){ .low = hs_dtype_of_option(dtype, "auto", r->o->common.device) };
    HS_TRY(hs_session_load(s, &b->policy, &(hs_session_plans){ .eval = &b->setup.shape }));
    b->run = s->run, b->plan = s->eval;
    return HS_OK;
}

static hs_status make_engine(bench *b, const hs_bench_run *r)
{
    HS_TRY(hs_config_policy(&r->config, &b->policy));
    HS_TRY(hs_engine_new(&b->engine, &(hs_engine_opts){ .model = hs_arch_trace,
                                                        .config = &b->setup,
                                                        .policy = &b->policy,
                                                        .coder = hs_bench_coder(r),
                                                        .eval = true,
                                                        .seed = 1,
                                                        .device = r->device,
                                                        .mode = r->mode,
                                                        .grid = hs_grid_self() }));
    HS_TRY(hs_bench_draw_codes(b->engine->params));
    HS_TRY(hs_model_release_values(b->engine->model));
    b->run = b->engine->run, b->plan = b->engine->plan[HS_EVAL];
    return HS_OK;
}

static hs_status prepare(bench *b, const hs_bench_run *r)
{
    if (r->o->static_scales && (r->session || r->o->bits != HS_QUANT_W8A8))
        return HS_FAIL(USAGE, "--static is of a recipe with --bits w8a8");
    if (r->o->bits && r->session)
        return HS_FAIL(USAGE, "--bits is of a recipe: %s is a checkpoint, and what it is kept in it says itself", r->o->model);
    b->setup.arch = r->session ? r->session->arch : hs_config_arch(&r->config);
    const int64_t context = hs_arch_int(b->setup.arch, "model.context"), seqs = r->o->batch ? r->o->batch : 1;
    const int64_t seq = r->o->seq ? r->o->seq : context < 128 ? context : 128;
    if (seq > context)
        return HS_FAIL(USAGE, "--seq %lld is more than the model's context of %lld tokens", (long long)seq, (long long)context);
    b->setup.shape = (hs_arch_shape){ .max_tokens = seqs * seq, .max_seqs = seqs, .longest = seq, .hidden = true };
    HS_TRY(r->session ? load_checkpoint(b, r) : make_engine(b, r));
    HS_TRY(make_batch(b, seqs, seq));
    if (!r->o->profile[0])
        return HS_OK;
    if (r->session)
        return HS_FAIL(USAGE, "--profile is of a recipe's model, not of a checkpoint");
    return hs_profile_new(&b->profile, &(hs_profile_opts){ .engine = b->engine, .path = r->o->profile, .steps = (int)r->o->steps });
}

static hs_status once(bench *b, bool keep)
{
    const double start = hs_now();
    HS_TRY(hs_run_feed(b->run, b->plan, &b->batch));
    hs_run_in(b->run)->n_micro = 1;
    HS_TRY(hs_run_forward(b->run, b->plan));
    HS_TRY(hs_run_wait(b->run));
    if (keep)
        hs_samples_add(&b->seconds, hs_now() - start);
    return HS_OK;
}

static hs_status measure(bench *b, hs_bench_run *r)
{
    double peak;
    HS_TRY(prepare(b, r));
    for (int64_t i = 0; i < r->o->warmup; i++)
        HS_TRY(once(b, false));
    const double start = hs_now();
    for (int i = 0; !hs_bench_enough(r, i, start); i++)
        HS_TRY(once(b, true));
    HS_TRY(hs_measure_peak(r->device, &b->policy, 0.1, &peak));
    const hs_arch m = b->setup.arch;
    const double seqs = (double)b->setup.shape.max_seqs, tokens = (double)b->setup.shape.max_tokens, median = hs_median(&b->seconds);
    // forward is a third of a step, and of running text that has the head in it
    const double head = m.family->batch == HS_BATCH_TEXT ? m.family->head_flops(m.settings) : 0;
    const double flops = tokens * (m.family->flops_per_token(m.settings, tokens / seqs) / 3 - head);
    static const char *const bits[] = { "none", "w8a8", "w8", "w4", "coded" };
    const hs_cell cells[] = {
        { .key = "batch", .value = seqs },
        { .key = "seq", .value = tokens / seqs },
        { .key = "dtype", .text = hs_bench_dtype_name(b->policy.low) },
        { .key = "bits", .text = bits[r->session && r->session->info.coded ? HS_COUNT(bits) - 1 : r->o->bits] },
        { .key = "static", .value = r->o->static_scales, .json_only = true },
        { .key = "milliseconds", .value = 1e3 * median, .digits = 2 },
        { .key = "p90_milliseconds", .value = 1e3 * hs_percentile(&b->seconds, 0.9), .digits = 2 },
        { .key = "p99_milliseconds", .value = 1e3 * hs_percentile(&b->seconds, 0.99), .digits = 2 },
        { .key = "sequences_per_second", .value = seqs / median, .digits = 1 },
        { .key = "tokens_per_second", .value = tokens / median, .digits = 1, .json_only = true },
        { .key = "gflops", .value = flops / median / 1e9, .digits = 1 },
        { .key = "mfu", .value = flops / median / peak, .digits = 2 },
        { .key = "peak_bytes", .value = (double)hs_peak_rss(), .json_only = true },
    };
    HS_BENCH_ROW(r, cells);
    while (b->profile && !hs_profile_done(b->profile)) { // passes of their own: the figures are of passes without a clock inside
        HS_TRY(hs_profile_begin(b->profile));
        HS_TRY(once(b, false));
        HS_TRY(hs_profile_end(b->profile));
    }
    return b->profile ? hs_profile_report(b->profile, peak, r->o->common.json, stdout) : HS_OK;
}

static hs_status run(hs_bench_run *r)
{
    bench *b = calloc(1, sizeof *b);
    if (!b)
        return HS_FAIL(MEMORY, "no memory for a bench");
    const hs_status st = measure(b, r);
    hs_profile_free(b->profile);
    hs_engine_free(b->engine);
    hs_batch_free(&b->batch);
    free(b);
    return st;
}

const hs_bench hs_bench_infer = {
    .name = "infer",
    .summary = "milliseconds of a forward pass over --batch sequences of --seq tokens, of a recipe or a checkpoint",
    .takes = "bits static model checkpoint batch seq warmup profile",
    .run = run,
};
