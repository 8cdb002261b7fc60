// evaluate: samples through an evaluation plan, and what they come to.
#include "recipes/train/evaluate.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

const char *const hs_loss_words[HS_LOSSES] = { "mlm", "next", "order", "task", "replaced", "soft", "cosine", "hidden", "relation" };

size_t hs_peak_rss(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (size_t)r.ru_maxrss * 1024;
}

typedef struct evaluation {
    const hs_eval_opts *o;
    hs_loss pair; // what the last output judges
    hs_batch batch;
    float *said, *was; // of a model that judges its generator: of each token; NULL: of others
    int64_t said_cols;
    int32_t *best; // the likeliest classes of an output; NULL: the plan does not tell
    double sum[HS_LOSSES];
    hs_eval_result *out;
} evaluation;

// Labels of a column that an output has as its likeliest class.
static hs_status count_hits(evaluation *e, int output, const char *column, hs_loss loss)
{
    const hs_column *c = hs_batch_find(&e->batch, column);
    const int64_t n = c ? hs_column_live(c, &e->batch) : 0;
    if (!n || !e->batch.labels[loss])
        return HS_OK;
    HS_TRY(hs_run_read_i32(e->o->run, e->o->plan, output, 0, n, e->best));
    for (int64_t i = 0; i < n; i++)
        e->out->part[loss].hits += ((const int32_t *)c->p)[i] >= 0 && ((const int32_t *)c->p)[i] == e->best[i];
    return HS_OK;
}

// Of every token: was it said to be replaced, and was it?
static hs_status count_replaced(evaluation *e)
{
    hs_eval_part *part = &e->out->part[HS_LOSS_REPLACED];
    const int64_t n = e->batch.n[HS_COUNT_TOKENS];
    HS_TRY(hs_run_read(e->o->run, e->o->plan, 1, 0, n, e->said));
    HS_TRY(hs_run_read(e->o->run, e->o->plan, 2, 0, n, e->was));
    for (int64_t i = 0; i < n; i++) {
        const bool told = e->said[i * e->said_cols] >= 0, was = e->was[i] > 0;
        part->hits += told == was, part->asked += was, part->found += told && was;
    }
    return HS_OK;
}

static hs_status run_batch(evaluation *e, uint64_t first, int64_t n)
{
    hs_step_in *in = hs_run_in(e->o->run);
    HS_TRY(hs_run_feed(e->o->run, e->o->plan, &e->batch));
    in->n_micro = 1;
    for (int i = 0; i < HS_N_LOSS; i++)
        in->inv_count[i] = 1;
    if (e->o->teacher)
        HS_TRY(hs_teacher_show(e->o->teacher, HS_EVAL, &e->batch, e->o->run, e->o->plan));
    HS_TRY(hs_run_forward(e->o->run, e->o->plan));
    HS_TRY(hs_run_wait(e->o->run));
    e->out->tokens += e->batch.n[HS_COUNT_TOKENS];
    for (int i = 0; i < HS_LOSSES; i++) {
        e->sum[i] += hs_run_losses(e->o->run, e->o->plan)[i];
        e->out->part[i].labels += hs_feed_has(e->o->feed, (hs_loss)i) ? hs_feed_labels(e->o->feed, &e->batch, (hs_loss)i) : 0;
    }
    if (e->o->judge)
        HS_TRY(hs_judge_batch(e->o->judge, e->o->run, e->o->plan, first, n));
    if (!e->best)
        return HS_OK;
    const bool mlm = hs_arch_wears(e->o->feed->arch, HS_LOSS_TOKENS);
    if (mlm)
        HS_TRY(count_hits(e, 0, "pick_targets", HS_LOSS_TOKENS));
    if (e->said)
        return count_replaced(e);
    return count_hits(e, mlm, e->pair == HS_LOSS_NEXT ? "pair_targets" : "order_targets", e->pair);
}

// A judge keeps what batches say of each example: it has to see all of them.
static bool shared(const evaluation *e) { return e->o->ranks && !e->o->judge; }

static hs_status add_up(evaluation *e)
{
    enum { EACH = 5, TOKENS = EACH * HS_LOSSES, VALUES };
    double v[VALUES];
    hs_eval_result *r = e->out;
    if (!shared(e))
        return HS_OK;
    for (int i = 0; i < HS_LOSSES; i++) {
        const hs_eval_part *p = &r->part[i];
        memcpy(v + EACH * i, (double[]){ e->sum[i], (double)p->labels, (double)p->hits, (double)p->asked, (double)p->found },
               EACH * sizeof *v);
    }
    v[TOKENS] = (double)r->tokens;
    HS_TRY(hs_ranks_sum_dp(e->o->ranks, "sums of the evaluation", v, VALUES));
    for (int i = 0; i < HS_LOSSES; i++) {
        const double *x = v + EACH * i;
        hs_eval_part *p = &r->part[i];
        e->sum[i] = x[0];
        p->labels = (int64_t)x[1], p->hits = (int64_t)x[2], p->asked = (int64_t)x[3], p->found = (int64_t)x[4];
    }
    r->tokens = (int64_t)v[TOKENS];
    return HS_OK;
}

// Part of the samples is taken from all over them, in batches spread evenly.
static hs_status run_samples(evaluation *e, int64_t at_once)
{
    hs_source *source = e->o->source;
    const int64_t all = source->n_samples, most = e->o->most, wanted = most && most < all ? most : all,
                  batches = (wanted + at_once - 1) / at_once;
    const hs_comm *dp = shared(e) ? e->o->ranks->grid.dp : &hs_comm_self_dp;
    for (int64_t i = dp->rank; i < batches; i += dp->size) {
        const int64_t done = i * at_once, n = wanted - done < at_once ? wanted - done : at_once;
        const uint64_t first = (uint64_t)(wanted < all ? all * i / batches : done);
        HS_TRY(hs_source_fill(source, &e->batch, first, n));
        HS_TRY(run_batch(e, first, n));
    }
    return HS_OK;
}

static hs_status evaluate(evaluation *e, int64_t at_once)
{
    hs_source *source = e->o->source;
    hs_ref ref;
    HS_TRY(hs_source_batch(source, at_once, &e->batch));
    if (hs_run_output(e->o->run, e->o->plan, 0, &ref) && ref.dtype == HS_I32) {
        const int64_t rows = at_once * (source->most[HS_COUNT_PICKS] > 1 ? source->most[HS_COUNT_PICKS] : 1);
        e->best = malloc((size_t)rows * sizeof *e->best);
        if (!e->best)
            return HS_FAIL(MEMORY, "no memory for the likeliest classes of %lld rows", (long long)rows);
    }
    e->out->has_hits = e->best != NULL;
    if (hs_arch_wears(e->o->feed->arch, HS_LOSS_REPLACED) && hs_run_output(e->o->run, e->o->plan, 1, &ref)) {
        e->said_cols = ref.cols;
        e->said = malloc((size_t)(ref.rows * ref.cols) * sizeof *e->said), e->was = malloc((size_t)ref.rows * sizeof *e->was);
        if (!e->said || !e->was)
            return HS_FAIL(MEMORY, "no memory for what is said of %lld tokens", (long long)ref.rows);
    }
    HS_TRY(run_samples(e, at_once));
    return add_up(e);
}

hs_status hs_evaluate(const hs_eval_opts *o, hs_eval_result *out)
{
    const double start = hs_now();
    const hs_loss pair = hs_arch_wears(o->feed->arch, HS_LOSS_NEXT) ? HS_LOSS_NEXT : HS_LOSS_ORDER;
    evaluation e = { .o = o, .pair = pair, .out = out };
    if (o->judge)
        hs_judge_begin(o->judge);
    *out = (hs_eval_result){ 0 };
    const hs_status st = evaluate(&e, hs_feed_eval_samples(o->feed));
    hs_batch_free(&e.batch);
    free(e.best), free(e.said), free(e.was);
    HS_TRY(st);
    for (int i = 0; i < HS_LOSSES; i++) {
        hs_eval_part *p = &out->part[i];
        p->loss = p->labels ? e.sum[i] / (double)p->labels : NAN;
        out->loss += p->labels ? o->feed->loss_weight[i] * p->loss : 0;
    }
    out->seconds = hs_now() - start;
    return HS_OK;
}
