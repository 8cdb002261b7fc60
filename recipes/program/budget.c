// budget: an engine is planned once; only the largest micro-batch is found by planning others, by bisection.
#include "recipes/program/budget.h"
#include "core/graph/derived.h"
#include "models/lora.h"
#include "ops/dense/fp8_scale.h"
#include "recipes/train/progress.h"
#include "recipes/train/teacher.h"
#include "recipes/train/train_feed.h"
#include <stdlib.h>
#include <string.h>

// An override that names nothing in the model is a misspelt one.
static hs_status check_overrides(const hs_policy *policy, const hs_graph *g)
{
    for (int i = 0; i < policy->n_overrides; i++) {
        const char *words[2 * 512];
        int n_words = 0, k = 0;
        while (k < g->n_nodes && !hs_override_matches(&policy->override[i], g->node[k]))
            k++;
        if (k < g->n_nodes)
            continue;
        for (k = 0; k < g->n_nodes && n_words + 2 <= HS_COUNT(words); k++)
            words[n_words++] = g->node[k]->op->name, words[n_words++] = g->node[k]->scope;
        const char *near = hs_nearest_word(policy->override[i].pattern, words, n_words);
        return HS_FAIL(USAGE, "amp.overrides: %s is neither an operation nor a scope of this model%s%s", policy->override[i].pattern,
                       near ? ", nearest is " : "", near ? near : "");
    }
    return HS_OK;
}

hs_status hs_budget_engine(hs_engine **out, const hs_config *c, const hs_policy *policy, int64_t micro_batch, hs_device *dev,
                           const hs_grid *grid, bool loads_values, hs_coder coder)
{
    const hs_feed feed = hs_feed_of(c);
    const hs_arch_setup train = hs_feed_setup(&feed, micro_batch), eval = hs_feed_eval_setup(&feed);
    const hs_optim_config optim = hs_config_optim(c, policy->low);
    const hs_lora lora = { .rank = c->adapter.rank,
                           .alpha = c->adapter.alpha,
                           .dropout = c->adapter.dropout,
                           .rslora = c->adapter.rslora,
                           .targets = c->adapter.targets,
                           .pooler = c->adapter.pooler };
    hs_adapter_spec adapter;
    char text[HS_LORA_TEXT];
    if (lora.rank)
        HS_TRY(hs_lora_spec(&adapter, &lora, train.arch, text));
    HS_TRY(hs_engine_open(out, &(hs_engine_opts){ .model = hs_arch_trace,
                                                  .config = &train,
                                                  .eval_config = &eval,
                                                  .policy = policy,
                                                  .optim = &optim,
                                                  .freeze = c->train.freeze,
                                                  .keep_zeros = hs_config_keep_zeros(c),
                                                  .adapter = lora.rank ? &adapter : NULL,
                                                  .hold = { train.arch.family->depth, train.arch.settings, c->train.trained_from },
                                                  .eval = true,
                                                  .micro_steps = (int)c->train.accumulate,
                                                  .loads_values = loads_values,
                                                  .coder = coder,
                                                  .seed = (uint64_t)c->train.seed,
                                                  .device = dev,
                                                  .mode = hs_config_mode(c, dev),
                                                  .grid = grid ? *grid : hs_grid_self(),
                                                  .bucket_bytes = (size_t)c->parallel.bucket_mb << 20,
                                                  .divide = hs_config_divide(c),
                                                  .sequence = c->parallel.sequence,
                                                  .recompute = (hs_recompute)c->train.recompute }));
    const hs_status st = check_overrides(policy, hs_plan_graph(hs_engine_plan(*out, HS_TRAIN)));
    if (st == HS_OK)
        return HS_OK;
    hs_engine_free(*out);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

// ---- what does not divide
enum { MOST_TP = 64, EXPLAIN = 512 };

static bool divides(const hs_config *c, const hs_policy *policy, hs_device *dev, int tp)
{
    hs_engine *e;
    hs_comm absent[2];
    const hs_grid grid = hs_grid_absent(absent, 1, tp, 0);
    if (hs_budget_engine(&e, c, policy, 1, dev, &grid, false, (hs_coder){ 0 }) != HS_OK)
        return false;
    hs_engine_free(e);
    return true;
}

// "1, 2 or 4"
static void list(char *buf, size_t size, const int *number, int n)
{
    buf[0] = 0;
    for (int i = 0; i < n; i++) {
        const size_t used = strlen(buf);
        snprintf(buf + used, size - used, "%s%d", i == 0 ? "" : i == n - 1 ? " or " : ", ", number[i]);
    }
}

hs_status hs_budget_explain(hs_status st, const hs_config *c, const hs_policy *policy, hs_device *dev)
{
    char why[EXPLAIN], at[128], would[EXPLAIN];
    int good[MOST_TP], n = 0;
    const hs_arch arch = hs_config_arch(c);
    const int64_t heads = hs_arch_int(arch, "model.heads");
    snprintf(why, sizeof why, "%s", hs_error());
    if (st != HS_USAGE || c->parallel.tp == 1 || !divides(c, policy, dev, 1))
        return hs_fail_at(st, __FILE__, __LINE__, "%s", why);
    for (int tp = 1; tp <= MOST_TP; tp++)
        if (tp == 1 || (heads % tp == 0 && divides(c, policy, dev, tp)))
            good[n++] = tp;
    list(would, sizeof would, good, n);
    return HS_FAIL(USAGE, "%sparallel.tp is %lld, which does not divide this model (model.heads %lld, model.width %lld): %s; %s would",
                   hs_config_prefix(c, "parallel.tp", at, sizeof at), (long long)c->parallel.tp, (long long)heads,
                   (long long)hs_arch_int(arch, "model.width"), why, would);
}

// Of linear_fp8 both a CPU and a GPU keep copies, as many of each weight; of other products only a CPU does. Theirs alone depend on the
// op's attributes.
static size_t codes_on_gpu(const hs_params *ps)
{
    size_t bytes = 0;
    for (int i = 0; i < ps->n_derived; i++)
        bytes += ps->derived[i]->attr_bytes ? hs_fp8_kept_bytes((int64_t)ps->derived[i]->param->n) : 0;
    return bytes;
}

void hs_budget_of(hs_budget *b, const hs_engine *e, const hs_config *c, int64_t micro_batch)
{
    const hs_feed feed = hs_feed_of(c);
    const hs_arch_setup train = hs_feed_setup(&feed, micro_batch);
    const hs_plan *plan = hs_engine_plan(e, HS_TRAIN);
    const hs_model_bytes m = hs_model_bytes_of(e->model);
    const int64_t max_seqs = train.shape.max_seqs;
    *b = (hs_budget){ .info = *hs_plan_info_of(plan), .graph = hs_plan_graph(plan) };
    b->parameters = (int64_t)hs_params_count(e->params);
    b->masters = m.slabs.master, b->weights = m.slabs.low, b->moments = m.slabs.saved, b->packed = m.derived;
    b->of_gpu = !e->device->is_cpu;
    b->codes = codes_on_gpu(e->params);
    b->gradients = hs_params_bytes_of(e->params).grad; // wherever they lie
    b->inputs = m.inputs, b->activations = b->info.value_bytes, b->workspace = b->info.scratch_bytes;
    b->evaluation = m.workspace - hs_plan_bytes(plan);
    b->snapshot = hs_ckpt_bytes_on(e->params, &e->model->grid);
    b->loader = (size_t)(c->train.accumulate + c->train.prefetch) * hs_feed_bytes(&feed, micro_batch);
    b->total = m.slabs.all + m.derived + m.workspace + m.inputs + b->snapshot + b->loader;
    b->flops_forward = b->info.flops_forward * (double)c->train.accumulate;
    b->flops_backward = b->info.flops_backward * (double)c->train.accumulate;
    const double tokens = (double)(train.shape.max_tokens), shortest = tokens / (double)max_seqs;
    const double longer = hs_feed_flops_per_token(&feed, (double)feed.length) - hs_feed_flops_per_token(&feed, shortest);
    b->flops_longer = 7.0 / 6.0 * longer * tokens * (double)c->train.accumulate; // backward makes the scores again
    b->traffic_bytes = b->info.traffic_bytes * (double)c->train.accumulate;
}

hs_status hs_budget_add_teacher(hs_budget *b, const hs_engine *e, const hs_config *c, int64_t micro_batch)
{
    hs_feed feed = hs_feed_of(c);
    feed.batch = micro_batch;
    HS_TRY(hs_teacher_bytes(c, &feed, e->model, &b->teacher));
    b->total += b->teacher;
    return HS_OK;
}

size_t hs_budget_on_gpu(const hs_budget *b)
{
    const size_t bytes = b->total - b->loader - b->snapshot;
    return b->of_gpu ? bytes : bytes - b->packed - b->workspace + b->codes;
}

typedef struct fitting {
    const hs_config *c;
    const hs_policy *policy;
    size_t bytes;
    hs_budget_counts *counts;
    hs_device *dev;
    const hs_grid *grid;
} fitting;

static hs_status fits(const fitting *f, int64_t windows, bool *yes)
{
    hs_budget b;
    hs_engine *e;
    HS_TRY(hs_budget_engine(&e, f->c, f->policy, windows, f->dev, f->grid, false, (hs_coder){ 0 }));
    hs_budget_of(&b, e, f->c, windows);
    const hs_status st = hs_budget_add_teacher(&b, e, f->c, windows);
    *yes = (f->counts ? f->counts(&b) : b.total) <= f->bytes;
    hs_engine_free(e);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_budget_largest(const hs_config *c, const hs_policy *policy, size_t bytes, hs_budget_counts *counts, hs_device *dev,
                            const hs_grid *grid, int64_t *windows)
{
    const fitting f = { c, policy, bytes, counts, dev, grid };
    const int64_t most = hs_config_most_batch(c);
    int64_t low = 0, high = most + 1; // low fits, high does not
    bool yes = true;
    for (int64_t n = 1; yes && n <= most; n *= 2) {
        HS_TRY(fits(&f, n, &yes));
        *(yes ? &low : &high) = n;
    }
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        HS_TRY(fits(&f, middle, &yes));
        *(yes ? &low : &high) = middle;
    }
    *windows = low;
    return HS_OK;
}

hs_status hs_budget_check(const hs_engine *e, const hs_config *c, const hs_policy *policy, int here)
{
    hs_budget b;
    char need[32], have[32], each[64] = "";
    const int dp = e->model->grid.dp->size;
    hs_budget_of(&b, e, c, c->train.batch / dp);
    HS_TRY(hs_budget_add_teacher(&b, e, c, c->train.batch / dp));
    const size_t total = b.total, available = hs_cpu_free_bytes() / (size_t)here;
    if (total <= available)
        return HS_OK;
    int64_t windows = 0;
    HS_TRY(hs_budget_largest(c, policy, available, NULL, e->device, &e->model->grid, &windows));
    hs_human_bytes((double)total, need, sizeof need), hs_human_bytes((double)available, have, sizeof have);
    if (here > 1)
        snprintf(each, sizeof each, " for each of the %d ranks on this host", here);
    if (windows)
        return HS_FAIL(MEMORY, "this run needs %s, %s are free%s: train.batch is %lld, %lld would fit (train.accumulate makes up for it)",
                       need, have, each, (long long)c->train.batch, (long long)windows * dp);
    return HS_FAIL(MEMORY, "this run needs %s, %s are free%s: not even train.batch %d would fit; see halfstep plan", need, have, each, dp);
}
