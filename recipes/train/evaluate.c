#include "recipes/train/evaluate.h"
#include <string.h>
#include <sys/resource.h>

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
static void feed_input(hs_run *run, int plan, const char *name, const int32_t *src, int64_t n)
{
    int32_t *dst = hs_run_input(run, plan, name);
    if (dst)
        memcpy(dst, src, (size_t)n * sizeof *dst);
}

hs_status hs_feed(hs_run *run, int plan, const hs_batch *b)
{
    feed_input(run, plan, "ids", b->ids, b->n_tokens);
    feed_input(run, plan, "targets", b->targets, b->n_tokens);
    feed_input(run, plan, "starts", b->starts, b->n_seqs + 1);
    feed_input(run, plan, "where", b->where, 2 * b->n_tokens);
    hs_step_live(hs_run_in(run), b->n_tokens, b->n_seqs, 0);
    return HS_OK;
}

static hs_status evaluate_batch(hs_run *run, int plan, const hs_batch *b, double *sum)
{
    hs_step_in *in = hs_run_in(run);
    HS_TRY(hs_feed(run, plan, b));
    in->n_micro = 1, in->inv_count[0] = 1;
    HS_TRY(hs_run_forward(run, plan));
    *sum += hs_run_losses(run, plan)[0];
    return HS_OK;
}

hs_status hs_evaluate(hs_run *run, int plan, const hs_arch_setup *setup, const hs_token_range *range, int64_t max_windows,
                      hs_eval_result *out)
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
        st = evaluate_batch(run, plan, &b, &sum);
        out->tokens += b.n_targets;
    }
    hs_batch_free(&b);
    HS_TRY(st);
    out->loss = out->tokens ? sum / (double)out->tokens : 0;
    out->seconds = hs_now() - start;
    return HS_OK;
}
