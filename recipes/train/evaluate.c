// evaluate: samples through an evaluation plan, and the loss over all of them.
#include "recipes/train/evaluate.h"
#include <sys/resource.h>

size_t hs_peak_rss(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (size_t)r.ru_maxrss * 1024;
}

// ---- batches
static hs_status evaluate_batch(hs_run *run, int plan, const hs_batch *b, double *sum)
{
    hs_step_in *in = hs_run_in(run);
    HS_TRY(hs_run_feed(run, plan, b));
    in->n_micro = 1, in->inv_count[0] = 1;
    HS_TRY(hs_run_forward(run, plan));
    HS_TRY(hs_run_wait(run));
    *sum += hs_run_losses(run, plan)[0];
    return HS_OK;
}

// Part of the samples is taken from all over them, in batches spread evenly.
static hs_status evaluate(hs_run *run, int plan, hs_source *source, int64_t at_once, int64_t most, hs_eval_result *out)
{
    const int64_t all = source->n_samples, wanted = most && most < all ? most : all, batches = (wanted + at_once - 1) / at_once;
    double sum = 0;
    hs_batch b;
    HS_TRY(hs_source_batch(source, at_once, &b));
    hs_status st = HS_OK;
    for (int64_t i = 0; i < batches && st == HS_OK; i++) {
        const int64_t done = i * at_once, n = wanted - done < at_once ? wanted - done : at_once;
        st = hs_source_fill(source, &b, (uint64_t)(wanted < all ? all * i / batches : done), n);
        if (st == HS_OK)
            st = evaluate_batch(run, plan, &b, &sum);
        out->tokens += b.labels[0];
    }
    hs_batch_free(&b);
    HS_TRY(st);
    out->loss = out->tokens ? sum / (double)out->tokens : 0;
    return HS_OK;
}

hs_status hs_evaluate(hs_run *run, int plan, hs_source *source, int64_t at_once, int64_t most, hs_eval_result *out)
{
    const double start = hs_now();
    *out = (hs_eval_result){ 0 };
    HS_TRY(evaluate(run, plan, source, at_once, most, out));
    out->seconds = hs_now() - start;
    return HS_OK;
}
