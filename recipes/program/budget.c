// budget: models planned and thrown away again until the figures are known, also by bisection over the micro-batch.
#include "recipes/program/budget.h"
#include "recipes/train/progress.h"
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

static hs_status build(hs_budget *b, const hs_config *c, const hs_policy *policy, int64_t micro_batch, hs_device *dev)
{
    const hs_arch arch = hs_config_arch(c);
    const int64_t context = hs_arch_int(arch, "model.context");
    const int64_t max_seqs = hs_windows_max_seqs((hs_packing)c->data.packing, micro_batch, context);
    const hs_arch_setup train = { arch, { .max_tokens = micro_batch * context, .max_seqs = max_seqs } };
    const hs_arch_setup eval = hs_eval_setup(arch);
    int t, e;
    HS_TRY(hs_model_new(&b->model, &(hs_model_opts){ .device = dev, .policy = policy, .micro_steps = (int)c->train.accumulate }));
    HS_TRY(hs_params_freeze(b->model->params, c->train.freeze, "train.freeze"));
    HS_TRY(hs_model_plan(b->model, HS_TRAIN, hs_arch_trace, &train, &t));
    HS_TRY(hs_params_check_freeze(b->model->params));
    HS_TRY(check_overrides(policy, hs_plan_graph(b->model->plan[t])));
    HS_TRY(hs_model_plan(b->model, HS_EVAL, hs_arch_trace, &eval, &e));
    const hs_optim_config optim = hs_config_optim(c, policy->low);
    HS_TRY(hs_optim_declare(&optim, b->model->params));

    const hs_model_bytes m = hs_model_bytes_of(b->model);
    const hs_params *ps = b->model->params;
    const size_t train_bytes = hs_plan_bytes(b->model->plan[t]);
    b->info = *hs_plan_info_of(b->model->plan[t]);
    b->graph = hs_plan_graph(b->model->plan[t]);
    b->parameters = (int64_t)hs_params_count(ps);
    b->masters = m.slabs.master, b->weights = m.slabs.low, b->moments = m.slabs.saved, b->packed = m.derived;
    b->gradients = hs_params_bytes_of(ps).grad; // wherever they lie
    b->inputs = m.inputs, b->activations = b->info.value_bytes, b->workspace = b->info.scratch_bytes;
    b->evaluation = m.workspace - train_bytes;
    b->snapshot = hs_ckpt_bytes(ps);
    b->loader = (size_t)((c->train.accumulate + c->train.prefetch) * (4 * micro_batch * context + max_seqs + 1)) * sizeof(int32_t);
    b->total = m.slabs.all + m.derived + m.workspace + m.inputs + b->snapshot + b->loader;
    b->flops_forward = b->info.flops_forward * (double)c->train.accumulate;
    b->flops_backward = b->info.flops_backward * (double)c->train.accumulate;
    const double tokens = (double)(micro_batch * context), shortest = tokens / (double)max_seqs;
    const double longer =
        arch.family->flops_per_token(arch.settings, (double)context) - arch.family->flops_per_token(arch.settings, shortest);
    b->flops_longer = 7.0 / 6.0 * longer * tokens * (double)c->train.accumulate; // backward makes the scores again
    b->traffic_bytes = b->info.traffic_bytes * (double)c->train.accumulate;
    return HS_OK;
}

hs_status hs_budget_new(hs_budget *b, const hs_config *c, const hs_policy *policy, int64_t micro_batch, hs_device *dev)
{
    *b = (hs_budget){ 0 };
    const hs_status st = build(b, c, policy, micro_batch, dev);
    if (st == HS_OK)
        return HS_OK;
    hs_budget_free(b);
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_budget_free(hs_budget *b)
{
    hs_model_free(b->model);
    b->model = NULL;
}

static hs_status fits(const hs_config *c, const hs_policy *policy, int64_t windows, size_t bytes, hs_device *dev, bool *yes)
{
    hs_budget b;
    HS_TRY(hs_budget_new(&b, c, policy, windows, dev));
    *yes = b.total <= bytes;
    hs_budget_free(&b);
    return HS_OK;
}

hs_status hs_budget_largest(const hs_config *c, const hs_policy *policy, size_t bytes, hs_device *dev, int64_t *windows)
{
    enum { MOST = 1 << 20 };
    int64_t low = 0, high = 1; // low fits, high does not
    bool yes = true;
    for (; yes && high <= MOST; high *= 2) {
        HS_TRY(fits(c, policy, high, bytes, dev, &yes));
        if (!yes)
            break;
        low = high;
    }
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        HS_TRY(fits(c, policy, middle, bytes, dev, &yes));
        *(yes ? &low : &high) = middle;
    }
    *windows = low;
    return HS_OK;
}

hs_status hs_budget_check(const hs_config *c, const hs_policy *policy, hs_device *dev)
{
    hs_budget b;
    char need[32], have[32];
    HS_TRY(hs_budget_new(&b, c, policy, c->train.batch, dev));
    const size_t total = b.total, available = hs_cpu_free_bytes();
    hs_budget_free(&b);
    if (total <= available)
        return HS_OK;
    int64_t windows = 0;
    HS_TRY(hs_budget_largest(c, policy, available, dev, &windows));
    hs_human_bytes((double)total, need, sizeof need), hs_human_bytes((double)available, have, sizeof have);
    if (windows)
        return HS_FAIL(MEMORY, "this run needs %s, %s are free: train.batch is %lld, %lld would fit (train.accumulate makes up for it)",
                       need, have, (long long)c->train.batch, (long long)windows);
    return HS_FAIL(MEMORY, "this run needs %s, %s are free: not even train.batch 1 would fit; see halfstep plan", need, have);
}
