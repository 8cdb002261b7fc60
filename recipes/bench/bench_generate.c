// Reading a prompt and continuing it, one sequence, random weights. Every new token reads every weight once: how fast this
// memory can be read, measured beside it on as many bytes, is the limit.
#include "core/graph/derived.h"
#include "infer/decode/generate.h"
#include "ops/ops.h"
#include "recipes/bench/bench.h"
#include <math.h>
#include <stdlib.h>

typedef struct bench {
    hs_arch_setup setup;
    int64_t context, vocab;
    hs_policy policy;
    hs_engine *engine;
    int32_t *prompt;
    int64_t n_prompt;
    const hs_derived *memory; // for the reading loop: the largest weight, as products read it
    size_t weight_bytes;
    double first, last; // when the first and the newest token came
    hs_samples prefill, decode, read;
} bench;

static bool on_token(int prompt, int32_t id, void *user)
{
    bench *b = user;
    (void)prompt, (void)id;
    b->last = hs_now();
    b->first = b->first > 0 ? b->first : b->last;
    return true;
}

static hs_status one(bench *b, hs_bench_run *r)
{
    hs_engine *e = b->engine;
    const hs_generate_opts g = { .run = e->run,
                                 .plan = e->plan[HS_DECODE],
                                 .context = b->context,
                                 .vocab = b->vocab,
                                 .cache_rows = b->setup.shape.cache_rows,
                                 .page_rows = b->setup.shape.page_rows,
                                 .max_tokens = r->o->tokens,
                                 .sampling = { .temperature = 0, .top_p = 1 },
                                 .on_token = on_token,
                                 .user = b };
    hs_generated out = { 0 };
    const double start = hs_now();
    b->first = b->last = 0;
    HS_TRY(hs_generate(&g, &(hs_prompt){ b->prompt, b->n_prompt }, 1, &out));
    const int64_t fresh = out.n - out.n_prompt;
    hs_generated_free(&out, 1);
    hs_samples_add(&b->prefill, (double)b->n_prompt / (b->first - start));
    if (fresh > 1)
        hs_samples_add(&b->decode, (double)(fresh - 1) / (b->last - b->first));
    return HS_OK;
}

// What decoding is held against: the widest weight, over and over; the loops are a CPU's, another device copies.
static hs_status read_once(bench *b, hs_bench_run *r, bool keep)
{
    if (!r->device->is_cpu) {
        double rate;
        HS_TRY(hs_measure_read(r->device, 0, &rate));
        if (keep)
            hs_samples_add(&b->read, rate);
        return HS_OK;
    }
    const hs_stream_job job = { .loop = hs_peak_loops_of(r->device->isa)->read,
                                .a = (float *)b->memory->k,
                                .n = (int64_t)(b->memory->bytes / sizeof(float)),
                                .passes = 1 };
    double seconds;
    HS_TRY(hs_stream_time(r->device, &job, &seconds));
    if (keep)
        hs_samples_add(&b->read, (double)b->memory->bytes / seconds);
    return HS_OK;
}

static hs_status prepare(bench *b, hs_bench_run *r)
{
    const hs_config *c = &r->config;
    b->setup.arch = hs_config_arch(c);
    const int64_t context = b->context = hs_arch_int(b->setup.arch, "model.context");
    b->vocab = hs_arch_int(b->setup.arch, "model.vocab");
    b->n_prompt = r->o->seq ? r->o->seq : context / 2;
    if (b->n_prompt + r->o->tokens > context)
        return HS_FAIL(USAGE, "a prompt of %lld tokens and %lld new ones do not fit model.context %lld", (long long)b->n_prompt,
                       (long long)r->o->tokens, (long long)context);
    b->setup.shape = (hs_arch_shape){ .max_tokens = context < HS_PREFILL_TOKENS ? context : HS_PREFILL_TOKENS,
                                      .max_seqs = 1,
                                      .cache_rows = hs_cache_pages(context, HS_CACHE_PAGE) * HS_CACHE_PAGE,
                                      .page_rows = HS_CACHE_PAGE,
                                      .cache_i8 = r->o->kv == HS_KV_INT8,
                                      .seq_pages = hs_cache_pages(context, HS_CACHE_PAGE) };
    HS_TRY(hs_config_policy(c, &b->policy));
    HS_TRY(hs_engine_new(&b->engine, &(hs_engine_opts){ .model = hs_arch_trace,
                                                        .config = &b->setup,
                                                        .policy = &b->policy,
                                                        .coder = hs_bench_coder(r),
                                                        .decode = true,
                                                        .seed = 1,
                                                        .device = r->device,
                                                        .mode = r->mode,
                                                        .grid = hs_grid_self() }));
    const hs_arch m = b->setup.arch;                 // a token is multiplied with every weight that is read: 6 FLOPs each in training
    static const double bits[] = { 0, 8, 8.5, 4.5 }; // of a weight, its scale counted
    b->weight_bytes = (size_t)(m.family->flops_per_token(m.settings, 0) / 6 *
                               (r->o->bits ? bits[r->o->bits] / 8 : (double)hs_dtype_bytes(b->policy.low)));
    b->prompt = malloc((size_t)b->n_prompt * sizeof *b->prompt);
    if (!b->prompt)
        return HS_FAIL(MEMORY, "no memory for a prompt of %lld tokens", (long long)b->n_prompt);
    HS_TRY(hs_bench_draw_codes(b->engine->params));
    HS_TRY(hs_model_release_values(b->engine->model));
    const hs_params *ps = b->engine->params;
    for (int i = 0; i < ps->n_derived && r->device->is_cpu; i++)
        if (!b->memory || ps->derived[i]->bytes > b->memory->bytes)
            b->memory = ps->derived[i];
    if (!b->memory && r->device->is_cpu)
        return HS_FAIL(INTERNAL, "this model has no products to read weights for");
    for (int64_t i = 0; i < b->n_prompt; i++)
        b->prompt[i] = (int32_t)(i * 7919 % b->vocab);
    return HS_OK;
}

static hs_status measure(bench *b, hs_bench_run *r)
{
    double peak;
    HS_TRY(prepare(b, r));
    for (int64_t i = 0; i < r->o->warmup; i++)
        HS_TRY(read_once(b, r, false));
    for (int64_t i = 0; i < r->o->steps; i++) {
        HS_TRY(read_once(b, r, true));
        HS_TRY(one(b, r));
    }
    HS_TRY(hs_measure_peak(r->device, &b->policy, 0.1, &peak));
    const double prefill = hs_median(&b->prefill), decode = hs_median(&b->decode), limit = hs_median(&b->read) / (double)b->weight_bytes;
    // forward is a third of a step; but the head works on the last token alone
    const hs_arch m = b->setup.arch;
    const double flops = m.family->flops_per_token(m.settings, (double)b->n_prompt) / 3 - m.family->head_flops(m.settings);
    const hs_cell cells[] = {
        { .key = "prompt_tokens", .value = (double)b->n_prompt },
        { .key = "new_tokens", .value = (double)r->o->tokens },
        { .key = "dtype", .text = hs_bench_dtype_name(b->policy.low) },
        { .key = "prefill_tokens_per_second", .value = prefill, .digits = 1 },
        { .key = "prefill_mfu", .value = prefill * flops / peak, .digits = 2 },
        { .key = "tokens_per_second", .value = decode, .digits = 1 },
        { .key = "weight_bytes", .value = (double)b->weight_bytes },
        { .key = "read_gbps", .value = limit * (double)b->weight_bytes / 1e9, .digits = 1 },
        { .key = "limit_tokens_per_second", .value = limit, .digits = 1 },
        { .key = "share_of_limit", .value = decode / limit, .digits = 2 },
        { .key = "kv", .text = r->o->kv == HS_KV_INT8 ? "int8" : hs_bench_dtype_name(b->policy.low) },
        { .key = "cache_bytes_per_token",
          .value = (double)hs_model_bytes_of(b->engine->model).states / (double)b->setup.shape.cache_rows },
        { .key = "peak_bytes", .value = (double)hs_peak_rss() },
    };
    HS_BENCH_ROW(r, cells);
    return HS_OK;
}

static hs_status run(hs_bench_run *r)
{
    bench *b = calloc(1, sizeof *b);
    if (!b)
        return HS_FAIL(MEMORY, "no memory for a bench");
    const hs_status st = measure(b, r);
    hs_engine_free(b->engine);
    free(b->prompt);
    free(b);
    return st;
}

const hs_bench hs_bench_generate = {
    .name = "generate",
    .summary = "tokens/s of reading a prompt (--seq) and of continuing it (--tokens), against reading the weights",
    .takes = "bits kv model seq tokens warmup",
    .run = run,
};
