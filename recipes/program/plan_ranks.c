// plan_ranks: a sizing and a search, for people and as JSON.
#include "core/base/log.h"
#include "recipes/program/plan_parts.h"
#include "recipes/train/progress.h"
#include "recipes/train/train_feed.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 12 };

static const char *const shard_words[] = { "none", "states", "gradients", "none", "states" };

static double tokens_of(const hs_config *c) { return (double)(c->train.batch * c->train.accumulate * hs_feed_of(c).length); }

static const char *milliseconds(double seconds, char buf[32])
{
    snprintf(buf, 32, seconds < 0.1 ? "%.3g ms" : "%.4g s", seconds < 0.1 ? 1e3 * seconds : seconds);
    return buf;
}

static const char *cluster_name(const hs_cluster *c)
{
    const char *base = strrchr(c->path, '/');
    return c->name[0] ? c->name : c->path[0] ? (base ? base + 1 : c->path) : "this machine";
}

// ---- one layout

static void print_wires(const hs_sizing *s)
{
    char all[32], each[32], took[32], waits[32];
    if (!s->n_wires)
        return;
    printf("\n%-12s %-15s %8s %10s %10s %10s %10s\n", "collectives", "of a step", "calls", "longest", "bytes", "takes", "waits");
    for (int i = 0; i < s->n_wires; i++) {
        const hs_wire *w = &s->wire[i];
        printf("  %-10s %-15s %8.0f %10s %10s %10s %10s\n", w->axis, hs_wire_word(w), w->calls,
               hs_human_bytes(w->longest, each, sizeof each), hs_human_bytes(w->bytes, all, sizeof all), milliseconds(w->seconds, took),
               milliseconds(w->exposed, waits));
    }
}

void hs_sizing_print(const hs_sizing *s, const hs_config *c, const hs_cluster *cluster)
{
    char need[32], step[32], work[32], waits[32], update[32], rate[32], alone[32];
    const hs_feed feed = hs_feed_of(c);
    const bool fits = (double)s->bytes <= hs_cluster_memory(cluster);
    printf("\nranks        %d: dp %d x tp %d%s, optimizer's shards: %s; each %lld %s%s a micro-batch\n", hs_sizing_ranks(s), s->dp, s->tp,
           c->parallel.sequence && s->tp > 1 ? " with sequence parallelism" : "", shard_words[c->parallel.shard_optimizer],
           (long long)s->samples, hs_feed_unit(&feed), hs_plural(s->samples));
    printf("cluster      %s: %lld x %lld devices of %.4g GB; a rank takes %s%s: %s\n", cluster_name(cluster), (long long)cluster->nodes,
           (long long)cluster->devices, cluster->memory_gb, hs_human_bytes((double)s->bytes, need, sizeof need),
           cluster->device != HS_CLUSTER_CUDA ? ""
           : s->budget.of_gpu                 ? " (snapshot and loader are not the GPU's)"
           : s->budget.codes                  ? " (what is packed, workspace, snapshot and loader is not the GPU's, codes of weights are)"
                                              : " (what is packed, workspace, snapshot and loader is not the GPU's)",
           fits ? "it fits" : "it does not fit");
    print_wires(s);
    printf("\nstep         %s: %s of products at %.4g TFLOP/s a rank, %s waiting for others, %s the update; %s tok/s\n",
           milliseconds(s->step, step), milliseconds(s->compute, work), s->flops / s->compute / 1e12, milliseconds(s->waiting, waits),
           milliseconds(s->update, update), hs_human_count(tokens_of(c) / s->step, rate, sizeof rate));
    printf("efficiency   %.0f%%: one rank would take %s for the same step, %.4g times as long\n", 100 * hs_sizing_efficiency(s),
           milliseconds(s->alone, alone), s->alone / s->step);
}

static json_t *wires_json(const hs_sizing *s)
{
    json_t *list = json_array();
    for (int i = 0; i < s->n_wires; i++) {
        const hs_wire *w = &s->wire[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "axis", w->axis, "kind", hs_wire_word(w),
                                              "calls", hs_line_real(w->calls), "longest_bytes", hs_line_real(w->longest), "bytes",
                                              hs_line_real(w->bytes), "seconds", hs_line_real(w->seconds), "exposed_seconds",
                                              hs_line_real(w->exposed)));
    }
    return list;
}

json_t *hs_sizing_json(const hs_sizing *s, const hs_config *c, const hs_cluster *cluster)
{
    return json_pack("{s:i, s:i, s:i, s:b, s:s, s:I, s:s, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "ranks",
                     hs_sizing_ranks(s), "dp", s->dp, "tp", s->tp, "sequence", c->parallel.sequence, "shard_optimizer",
                     shard_words[c->parallel.shard_optimizer], "rank_batch", (json_int_t)s->samples, "cluster", cluster_name(cluster),
                     "rank_bytes", (json_int_t)s->bytes, "fits", (double)s->bytes <= hs_cluster_memory(cluster), "collectives",
                     wires_json(s), "rank_flops", hs_line_real(s->flops), "step_seconds", hs_line_real(s->step), "compute_seconds",
                     hs_line_real(s->compute), "waiting_seconds", hs_line_real(s->waiting), "update_seconds", hs_line_real(s->update),
                     "alone_seconds", hs_line_real(s->alone), "efficiency", hs_line_real(hs_sizing_efficiency(s)),
                     "predicted_tokens_per_second", hs_line_real(tokens_of(c) / s->step));
}

// ---- a search

static void print_layouts(const hs_layouts *l, const hs_config *c, const hs_cluster *cluster, int devices)
{
    char need[32], step[32], rate[32];
    printf("%d device%s of %s, %.4g GB each; %lld samples a step as it is, whatever the layout; %d layouts looked at, %d fit\n\n", devices,
           hs_plural(devices), cluster_name(cluster), cluster->memory_gb, (long long)(c->train.batch * c->train.accumulate), l->tried,
           l->n);
    if (l->n)
        printf("%5s %5s %10s %9s %12s %17s %9s %10s %9s %10s\n", "dp", "tp", "shards", "sequence", "train.batch", "train.accumulate",
               "a rank", "a step", "tok/s", "efficiency");
    for (int i = 0; i < l->n && i < SHOWN; i++) {
        const hs_layout *a = &l->fits[i];
        printf("%5d %5d %10s %9s %12lld %17lld %9s %10s %9s %9.0f%%\n", a->dp, a->tp, shard_words[a->shard], a->sequence ? "yes" : "no",
               (long long)a->batch, (long long)a->accumulate, hs_human_bytes((double)a->bytes, need, sizeof need),
               milliseconds(a->step, step), hs_human_count(tokens_of(c) / a->step, rate, sizeof rate), 100 * a->efficiency);
    }
    if (l->n > SHOWN)
        printf("%5s and %d slower ones\n", "...", l->n - SHOWN);
    for (int i = 0; i < l->n_refused; i++)
        printf("%sno dp %d x tp %d: %s\n", i ? "" : "\n", l->refused[i].dp, l->refused[i].tp, l->refused[i].why);
    if (l->n)
        printf("\nthe first: --parallel.dp=%d --parallel.tp=%d --parallel.sequence=%s --parallel.shard_optimizer=%s --train.batch=%lld "
               "--train.accumulate=%lld\n",
               l->fits[0].dp, l->fits[0].tp, l->fits[0].sequence ? "true" : "false", shard_words[l->fits[0].shard],
               (long long)l->fits[0].batch, (long long)l->fits[0].accumulate);
}

static void json_layouts(const hs_layouts *l, const hs_config *c, const hs_cluster *cluster, int devices)
{
    json_t *fits = json_array(), *refused = json_array();
    for (int i = 0; i < l->n; i++) {
        const hs_layout *a = &l->fits[i];
        json_array_append_new(fits, json_pack("{s:i, s:i, s:s, s:b, s:I, s:I, s:I, s:o, s:o, s:o}", "dp", a->dp, "tp", a->tp,
                                              "shard_optimizer", shard_words[a->shard], "sequence", a->sequence, "batch",
                                              (json_int_t)a->batch, "accumulate", (json_int_t)a->accumulate, "rank_bytes",
                                              (json_int_t)a->bytes, "step_seconds", hs_line_real(a->step), "tokens_per_second",
                                              hs_line_real(tokens_of(c) / a->step), "efficiency", hs_line_real(a->efficiency)));
    }
    for (int i = 0; i < l->n_refused; i++)
        json_array_append_new(refused,
                              json_pack("{s:i, s:i, s:s}", "dp", l->refused[i].dp, "tp", l->refused[i].tp, "why", l->refused[i].why));
    hs_line_print(json_pack("{s:i, s:s, s:I, s:i, s:o, s:o}", "devices", devices, "cluster", cluster_name(cluster), "samples",
                            (json_int_t)(c->train.batch * c->train.accumulate), "tried", l->tried, "layouts", fits, "refused", refused));
}

hs_status hs_layouts_show(const hs_config *c, const hs_policy *policy, const hs_cluster *cluster, int devices, hs_device *dev, bool json)
{
    hs_layouts *l = malloc(sizeof *l);
    if (!l)
        return HS_FAIL(MEMORY, "no memory for layouts");
    const hs_status st = hs_layouts_find(l, c, policy, cluster, devices, dev);
    if (st == HS_OK)
        (json ? json_layouts : print_layouts)(l, c, cluster, devices);
    free(l);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
