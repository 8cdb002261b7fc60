// sizing: from the plan of one rank to its memory, its messages and its time.
#include "recipes/program/sizing.h"
#include <math.h>
#include <string.h>

const char *hs_wire_word(const hs_wire *w)
{
    static const char *const words[] = { "all-reduce", "reduce-scatter", "all-gather" };
    return w->op == HS_REDUCE_MAX ? "all-reduce max" : words[w->kind];
}

// ---- messages

static hs_wire *wire_of(hs_sizing *s, const char *axis, hs_collective_kind kind, hs_reduce op)
{
    for (int i = 0; i < s->n_wires; i++)
        if (s->wire[i].kind == kind && s->wire[i].op == op && strcmp(s->wire[i].axis, axis) == 0)
            return &s->wire[i];
    hs_wire *w = &s->wire[s->n_wires++];
    *w = (hs_wire){ .axis = axis, .kind = kind, .op = op };
    return w;
}

static void add(hs_wire *w, double calls, double bytes)
{
    if (w->kind != HS_GATHER_PARTS || !w->calls)
        w->end = bytes;
    w->calls += calls, w->bytes += calls * bytes;
    w->longest = fmax(w->longest, bytes);
}

static void gather_values(hs_sizing *s, const hs_slab *slab)
{
    const hs_params *ps = s->engine->params;
    hs_share_run run;
    for (int from = 0; slab && ps->shares && hs_share_run_next(ps, slab, from, &run); from = run.last + 1)
        add(wire_of(s, "dp", HS_GATHER_PARTS, HS_REDUCE_SUM), 1, (double)run.n * (double)hs_dtype_bytes(slab->spec.dtype));
}

// What the plan's calls move; the update sums what ranks that divide tokens have a part of each, gathers what has shares, and finds the
// largest of states.
static void find_wires(hs_sizing *s, const hs_config *c)
{
    const hs_plan_info *info = &s->budget.info;
    for (int i = 0; i < info->n_moves; i++) {
        const hs_plan_move *m = &info->move[i];
        if (m->what.calls)
            add(wire_of(s, m->axis, m->what.kind, HS_REDUCE_SUM), (m->last_only ? 1 : (double)c->train.accumulate) * m->what.calls,
                m->what.bytes / m->what.calls);
    }
    const size_t parts = hs_params_tp_sum_bytes(s->engine->params);
    if (parts)
        add(wire_of(s, "tp", HS_ALL_REDUCE, HS_REDUCE_SUM), 1, (double)parts);
    const size_t largest = hs_states_largest_bytes(s->engine->model->states);
    if (largest && s->tp > 1)
        add(wire_of(s, "tp", HS_ALL_REDUCE, HS_REDUCE_MAX), 1, (double)largest);
    if (largest && s->dp > 1)
        add(wire_of(s, "dp", HS_ALL_REDUCE, HS_REDUCE_MAX), 1, (double)largest);
    gather_values(s, s->engine->params->master);
    gather_values(s, s->engine->params->low);
}

// ---- time

// How much of the backward pass is over when the first bucket of n is complete is about 1/n of it.
static double left_behind(double all, double end, double calls, double beside) { return fmax(end, all - beside * (calls - 1) / calls); }

static void time_wires(hs_sizing *s, const hs_cluster *c, double forward, double backward)
{
    const hs_ring tp = { s->tp, 1 }, dp = { s->dp, s->tp };
    for (int i = 0; i < s->n_wires; i++) {
        hs_wire *w = &s->wire[i];
        const bool layers = strcmp(w->axis, "tp") == 0, beside = !layers && w->op == HS_REDUCE_SUM;
        const hs_ring r = layers ? tp : dp;
        w->seconds = w->exposed = hs_cluster_seconds(c, r, w->kind, w->calls, w->bytes);
        if (beside && c->overlap)
            w->exposed = left_behind(w->seconds, hs_cluster_seconds(c, r, w->kind, 1, w->end), w->calls,
                                     w->kind == HS_GATHER_PARTS ? forward : backward);
        s->waiting += w->exposed;
    }
}

// Masters and moments are read and written, gradients read and cleared, low copies written, and read where values are part of them.
static double update_bytes(const hs_engine *e)
{
    const hs_params_bytes b = hs_params_bytes_of(e->params);
    return 2 * (double)(b.master + b.saved + b.grad) + (e->params->masters == HS_MASTERS_F32 ? 1 : 2) * (double)b.low;
}

// The same samples by one rank: as many micro-batches of a rank as all of them have.
static hs_status time_alone(hs_sizing *s, const hs_config *c, const hs_policy *policy, const hs_cluster *cluster, double rate,
                            hs_device *dev)
{
    hs_engine *e;
    hs_budget b;
    HS_TRY(hs_budget_engine(&e, c, policy, s->samples, dev, NULL, false, (hs_coder){ 0 }));
    hs_budget_of(&b, e, c, s->samples);
    s->alone = (b.flops_forward + b.flops_backward) * s->dp / rate + update_bytes(e) / (1e9 * cluster->memory_gb_per_second);
    hs_engine_free(e);
    return HS_OK;
}

static void time_step(hs_sizing *s, const hs_cluster *c, double rate)
{
    const hs_plan_info *info = &s->budget.info;
    time_wires(s, c, info->flops_forward / rate, info->flops_backward / rate);
    s->compute = s->flops / rate;
    s->update = update_bytes(s->engine) / (1e9 * c->memory_gb_per_second);
    s->step = s->compute + s->waiting + s->update;
}

hs_status hs_sizing_of(hs_sizing *s, const hs_config *c, const hs_policy *policy, const hs_cluster *cluster, hs_device *dev)
{
    double rate = 0;
    *s = (hs_sizing){ .tp = (int)c->parallel.tp };
    if (cluster)
        HS_TRY(hs_cluster_rate_of(cluster, policy->low, &rate));
    HS_TRY(hs_config_check_ranks(c, (int)((c->parallel.dp ? c->parallel.dp : 1) * c->parallel.tp), &s->dp));
    s->samples = c->train.batch / s->dp;
    const hs_grid grid = hs_grid_absent(s->absent, s->dp, s->tp, 0);
    HS_TRY(hs_budget_engine(&s->engine, c, policy, s->samples, dev, &grid, false, (hs_coder){ 0 }));
    hs_budget_of(&s->budget, s->engine, c, s->samples);
    hs_status st = hs_budget_add_teacher(&s->budget, s->engine, c, s->samples);
    if (st == HS_OK && cluster)
        st = time_alone(s, c, policy, cluster, rate, dev);
    if (st != HS_OK) {
        hs_sizing_free(s);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    s->flops = s->budget.flops_forward + s->budget.flops_backward;
    s->bytes = hs_cluster_counts(cluster) ? hs_cluster_counts(cluster)(&s->budget) : s->budget.total;
    find_wires(s, c);
    if (cluster)
        time_step(s, cluster, rate);
    return HS_OK;
}

void hs_sizing_free(hs_sizing *s)
{
    hs_engine_free(s->engine);
    s->engine = NULL;
}
