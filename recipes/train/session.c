// session: from a checkpoint to an engine with its tokenizer, and the loop of an evaluation.
#include "recipes/train/session.h"
#include "core/base/log.h"
#include "data/base/yaml.h"
#include "ops/ops.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

double hs_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

size_t hs_peak_rss(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (size_t)r.ru_maxrss * 1024;
}

// ---- the model
hs_arch_setup hs_eval_setup(hs_arch m)
{
    enum { LOGITS = 1 << 25, TOKENS = 4096 };
    const int64_t vocab = hs_arch_int(m, "model.vocab"), context = hs_arch_int(m, "model.context");
    int64_t windows = (LOGITS / vocab < TOKENS ? LOGITS / vocab : TOKENS) / context;
    if (windows < 1)
        windows = 1;
    return (hs_arch_setup){ m, { .max_tokens = windows * context, .max_seqs = windows } };
}

// ---- batches
static void feed_input(hs_engine *e, hs_mode mode, const char *name, const int32_t *src, int64_t n)
{
    int32_t *dst = hs_engine_input(e, mode, name);
    if (dst)
        memcpy(dst, src, (size_t)n * sizeof *dst);
}

hs_status hs_feed(hs_engine *e, hs_mode mode, const hs_batch *b)
{
    feed_input(e, mode, "ids", b->ids, b->n_tokens);
    feed_input(e, mode, "targets", b->targets, b->n_tokens);
    feed_input(e, mode, "starts", b->starts, b->n_seqs + 1);
    feed_input(e, mode, "where", b->where, 2 * b->n_tokens);
    hs_step_live(e->in, b->n_tokens, b->n_seqs, 0);
    return HS_OK;
}

static hs_status evaluate_batch(hs_engine *e, const hs_batch *b, double *sum)
{
    HS_TRY(hs_feed(e, HS_EVAL, b));
    e->in->n_micro = 1, e->in->inv_count[0] = 1;
    HS_TRY(hs_engine_run(e, HS_EVAL, 0));
    *sum += hs_engine_loss(e, HS_EVAL);
    return HS_OK;
}

hs_status hs_evaluate(hs_engine *e, const hs_arch_setup *setup, const hs_token_range *range, int64_t max_windows, hs_eval_result *out)
{
    const int64_t context = hs_arch_int(setup->arch, "model.context"), at_once = setup->shape.max_seqs,
                  windows = (range->end - range->first - 2) / context + 1;
    const int64_t wanted = max_windows && max_windows < windows ? max_windows : windows, batches = (wanted + at_once - 1) / at_once;
    const double start = hs_now();
    double sum = 0;
    hs_batch b = { 0 };
    *out = (hs_eval_result){ 0 };
    HS_TRY(hs_batch_alloc(&b, at_once, context));
    hs_status st = HS_OK;
    for (int64_t i = 0; i < batches && st == HS_OK; i++) {
        const int64_t first = i * at_once, n = wanted - first < at_once ? wanted - first : at_once;
        int64_t next = wanted < windows ? windows * i / batches : first; // a part of the text is taken from all over it
        hs_eval_fill(range, context, n, &next, &b);
        st = evaluate_batch(e, &b, &sum);
        out->tokens += b.n_targets;
    }
    hs_batch_free(&b);
    HS_TRY(st);
    out->loss = out->tokens ? sum / (double)out->tokens : 0;
    out->seconds = hs_now() - start;
    return HS_OK;
}

// ---- a checkpoint
hs_status hs_session_policy(int dtype_option, const char *trained, hs_policy *out)
{
    static const char *const names[] = { [HS_DTYPE_FP32] = "fp32", [HS_DTYPE_BF16] = "bf16", [HS_DTYPE_FP16] = "fp16" };
    const char *name = names[dtype_option];
    if (dtype_option == HS_DTYPE_AUTO)
        name = trained && strcmp(trained, "auto") != 0 ? trained : hs_cpu_has_fast_bf16() ? "bf16" : "fp32";
    return hs_policy_parse(out, name, "f32", "");
}

// The policy a checkpoint's resolved configuration names; "auto" where there is none.
static void trained_policy(const hs_config_table *table, const char *dir, char *buf, size_t size)
{
    char path[4200];
    hs_config *c = malloc(sizeof *c);
    snprintf(path, sizeof path, "%s/train/config.yaml", dir);
    snprintf(buf, size, "auto");
    if (c && access(path, R_OK) == 0 && hs_config_init(c, table) == HS_OK && hs_yaml_load(path, &table->schema, c, c->origin) == HS_OK)
        hs_config_text(c, "amp.policy", buf, size);
    free(c);
}

hs_status hs_session_open(hs_session *s, const char *path, const hs_common *o, const hs_config_table *table)
{
    *s = (hs_session){ 0 };
    char trained[16];
    HS_TRY(hs_ckpt_resolve(path, false, s->dir, sizeof s->dir));
    HS_TRY(hs_config_read_info(table, s->dir, &s->info, &s->arch.family));
    s->end = (int32_t)s->info.end;
    s->arch.settings = s->info.settings.bytes;
    s->context = hs_arch_int(s->arch, "model.context"), s->vocab = hs_arch_int(s->arch, "model.vocab");
    HS_TRY(hs_arch_check(s->arch));
    trained_policy(table, s->dir, trained, sizeof trained);
    HS_TRY(hs_session_policy(o->dtype, trained, &s->policy));
    if (hs_tokenizer_load(&s->tokenizer, s->dir) != HS_OK) {
        s->tokenizer = NULL;
        snprintf(s->tokenizer_error, sizeof s->tokenizer_error, "%s", hs_error());
    }
    return hs_open_device(&s->device, o->device, (int)o->threads, NULL, 0, false);
}

// Memory is asked for by config.json, so that must not promise what the files cannot hold. Smaller differences are told tensor by tensor.
static hs_status check_size(const hs_session *s)
{
    int64_t have;
    HS_TRY(hs_ckpt_count(s->dir, &have));
    const int64_t promised = s->arch.family->count(s->arch.settings);
    if (promised / 2 > have)
        return HS_FAIL(CORRUPT, "%s: config.json describes %lld parameters, its weights are %lld", s->dir, (long long)promised,
                       (long long)have);
    return HS_OK;
}

hs_status hs_session_load(hs_session *s, const hs_engine_opts *plans)
{
    HS_TRY(check_size(s));
    hs_engine_opts o = *plans;
    o.model = hs_arch_trace;
    o.policy = &s->policy;
    o.device = s->device;
    o.mode = HS_SUBMIT_BULK;
    o.loads_values = true;
    o.grid = hs_grid_self();
    HS_TRY(hs_engine_new(&s->engine, &o));
    const hs_ckpt_opts names = { .files = s->info.files };
    HS_TRY(hs_ckpt_load_params(s->dir, &names, s->engine->params));
    return s->engine->optim ? HS_OK : hs_model_release_masters(s->engine->model);
}

void hs_session_close(hs_session *s)
{
    hs_engine_free(s->engine);
    hs_device_close(s->device);
    hs_tokenizer_free(s->tokenizer);
    *s = (hs_session){ 0 };
}
