// layouts: every way to divide a step over devices, and how long each takes. Memory grows with the micro-batch and time does not fall with
// a smaller one, so that of each layout only the largest that fits is of interest.
#include "core/base/log.h"
#include "recipes/program/sizing.h"
#include "recipes/train/progress.h"
#include <stdlib.h>
#include <string.h>

typedef struct search {
    hs_layouts *out;
    hs_config *c; // of the layout at hand
    const hs_policy *policy;
    const hs_cluster *cluster;
    hs_device *dev;
    int64_t global;   // samples of a step
    size_t least;     // bytes that a layout of this dp x tp takes at least
    bool any;         // and whether one fits
    int64_t smallest; // micro-batch of a rank that train.accumulate allows; 0: none
} search;

static int divisors(int64_t n, int64_t least, int64_t most, int64_t *out, int room)
{
    int count = 0;
    for (int64_t d = least; d <= n && d <= most && count < room; d++)
        if (n % d == 0)
            out[count++] = d;
    return count;
}

static hs_status try_one(search *s, int64_t samples, hs_layout *l, bool *fits)
{
    hs_sizing sizing;
    s->c->train.batch = samples * s->c->parallel.dp;
    s->c->train.accumulate = s->global / s->c->train.batch;
    HS_TRY(hs_sizing_of(&sizing, s->c, s->policy, s->cluster, s->dev));
    s->out->tried++;
    *l = (hs_layout){ .dp = sizing.dp,
                      .tp = sizing.tp,
                      .shard = s->c->parallel.shard_optimizer,
                      .sequence = s->c->parallel.sequence,
                      .batch = s->c->train.batch,
                      .accumulate = s->c->train.accumulate,
                      .bytes = sizing.bytes,
                      .step = sizing.step,
                      .efficiency = hs_sizing_efficiency(&sizing) };
    *fits = (double)l->bytes <= hs_cluster_memory(s->cluster);
    s->least = !s->least || l->bytes < s->least ? l->bytes : s->least;
    hs_sizing_free(&sizing);
    return HS_OK;
}

// The largest micro-batch that fits, by bisection over those that divide a rank's samples.
static hs_status largest(search *s)
{
    int64_t d[512];
    const int64_t dp = s->c->parallel.dp, samples = s->global / dp, least = (samples + HS_MOST_ACCUMULATE - 1) / HS_MOST_ACCUMULATE;
    int low = -1, high = divisors(samples, least, HS_MOST_BATCH / dp, d, HS_COUNT(d));
    s->smallest = high ? d[0] : 0;
    hs_layout l = { 0 }, best = { 0 };
    for (int at = 0; high - low > 1; at = low + (high - low) / 2) { // the smallest first: most that does not fit does not with that
        bool fits = false;
        HS_TRY(try_one(s, d[at], &l, &fits));
        if (fits)
            best = l;
        *(fits ? &low : &high) = at;
    }
    if (low >= 0 && s->out->n < HS_LAYOUTS)
        s->out->fits[s->out->n++] = best;
    s->any |= low >= 0;
    return HS_OK;
}

static void refuse(search *s, const char *why)
{
    hs_layouts *o = s->out;
    if (o->n_refused == HS_COUNT(o->refused))
        return;
    o->refused[o->n_refused].dp = (int)s->c->parallel.dp, o->refused[o->n_refused].tp = (int)s->c->parallel.tp;
    snprintf(o->refused[o->n_refused++].why, HS_LAYOUT_WHY, "%s", why);
}

static hs_status grid(search *s, int dp, int tp)
{
    char why[HS_LAYOUT_WHY], need[32];
    s->c->parallel.dp = dp, s->c->parallel.tp = tp;
    s->least = 0, s->any = false;
    if (s->global % dp) {
        snprintf(why, sizeof why, "%lld samples of a step do not divide over %d replicas", (long long)s->global, dp);
        refuse(s, why);
        return HS_OK;
    }
    for (int sequence = 0; sequence < (tp > 1 ? 2 : 1); sequence++)
        for (int shard = HS_DIVIDE_NONE; shard <= (dp > 1 ? HS_DIVIDE_GRADIENTS : HS_DIVIDE_NONE); shard++) {
            s->c->parallel.sequence = sequence, s->c->parallel.shard_optimizer = shard;
            const hs_status st = largest(s);
            if (st == HS_USAGE || st == HS_UNSUPPORTED) { // of this tp: heads, widths
                refuse(s, hs_error());
                return HS_OK;
            }
            HS_TRY(st);
        }
    if (s->any)
        return HS_OK;
    hs_human_bytes((double)s->least, need, sizeof need);
    if (s->smallest)
        snprintf(why, sizeof why, "%s a device at least, with %lld sample%s each; it has %.4g GB", need, (long long)s->smallest,
                 hs_plural(s->smallest), s->cluster->memory_gb);
    else
        snprintf(why, sizeof why, "no train.batch makes the step with train.accumulate up to %d", HS_MOST_ACCUMULATE);
    refuse(s, why);
    return HS_OK;
}

static int by_time(const void *a, const void *b)
{
    const hs_layout *x = a, *y = b;
    return x->step != y->step ? (x->step > y->step) - (x->step < y->step) : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

hs_status hs_layouts_find(hs_layouts *out, const hs_config *c, const hs_policy *policy, const hs_cluster *cluster, int devices,
                          hs_device *dev)
{
    double rate;
    memset(out, 0, sizeof *out);
    HS_TRY(hs_cluster_rate_of(cluster, policy->low, &rate)); // whatever the layout
    hs_config *own = malloc(sizeof *own);
    if (!own)
        return HS_FAIL(MEMORY, "no memory for the settings of a layout");
    *own = *c;
    search s = { .out = out, .c = own, .policy = policy, .cluster = cluster, .dev = dev };
    s.global = c->train.batch * c->train.accumulate;
    hs_status st = HS_OK;
    for (int tp = 1; tp <= devices && tp <= 1024 && st == HS_OK; tp++)
        if (devices % tp == 0)
            st = grid(&s, devices / tp, tp);
    free(own);
    qsort(out->fits, (size_t)out->n, sizeof *out->fits, by_time);
    return st;
}
