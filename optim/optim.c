// optim: configuration, the decision of a step, and the thunks around the passes of an optimizer.
//
//   sums | decide | adamw
//   sums | decide | lamb_moments | ratios | lamb_apply          | is a barrier
//   sums | decide | sgd
//
// The decision is made once, by one member, from the partials of all ranks; everything behind it only reads `now`.

#include "core/cpu/cpu.h"
#include "optim/update.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// ---- presets

hs_optim_config hs_optim_preset(hs_preset preset)
{
    hs_optim_config c = { 0 };
    for (int k = 0; k < HS_N_OPTIMS; k++)
        for (int i = 0; i < hs_optim_portable.rule[k]->n_presets; i++)
            if (hs_optim_portable.rule[k]->preset[i].preset == preset)
                c = hs_optim_portable.rule[k]->preset[i].config;
    c.bias_correction = c.grad_averaging = true;
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1e-3, .power = 1 };
    c.decay_factor[HS_WEIGHT] = c.decay_factor[HS_EMBED] = 1;
    for (int r = 0; r < HS_N_ROLES; r++)
        c.lr_factor[r] = 1;
    c.scaler = hs_scaler_preset(HS_SCALER_NONE, HS_F32);
    return c;
}

const hs_slab_spec *hs_optim_slabs(const hs_optim_config *c, int *n)
{
    const hs_optim_rule *rule = hs_optim_portable.rule[c->kind];
    *n = rule->n_slabs;
    return rule->slab;
}

hs_status hs_optim_declare(const hs_optim_config *c, hs_params *ps)
{
    int n;
    const hs_slab_spec *slab = hs_optim_slabs(c, &n);
    for (int i = 0; i < n; i++)
        HS_TRY(hs_params_declare(ps, &slab[i]));
    return HS_OK;
}

// ---- checks

static hs_status check_range(const char *name, double v, double min, double max)
{
    if (!(v >= min && v <= max))
        return HS_FAIL(USAGE, "optim.%s is %g, allowed %g to %g", name, v, min, max);
    return HS_OK;
}

static hs_status check(const hs_optim_config *c)
{
    const double below_one = nextafter(1, 0), huge = 1e30;
    const hs_schedule *s = &c->schedule;
    const struct {
        const char *name;
        double value, min, max;
    } rows[] = {
        { "beta1", c->beta1, 0, below_one },
        { "beta2", c->beta2, 0, below_one },
        { "momentum", c->momentum, 0, below_one },
        { "eps", c->eps, 1e-30, huge },
        { "weight_decay", c->weight_decay, 0, huge },
        { "clip", c->clip, 0, huge },
        { "lr", s->lr, 0, huge },
        { "min_lr", s->min_lr, 0, huge },
        { "power", s->power, 0, huge },
        { "warmup", (double)s->warmup, 0, 9e15 },
        { "steps", (double)s->steps, 0, 9e15 },
        { "ratio_min", c->ratio_min, 0, huge },
        { "ratio_max", c->ratio_max, 0, huge },
    };
    for (int i = 0; i < HS_COUNT(rows); i++)
        HS_TRY(check_range(rows[i].name, rows[i].value, rows[i].min, rows[i].max));
    for (int r = 0; r < HS_N_ROLES; r++) {
        HS_TRY(check_range("decay_factor", c->decay_factor[r], 0, huge));
        HS_TRY(check_range("lr_factor", c->lr_factor[r], 0, huge));
    }
    if (c->ratio_max > 0 && c->ratio_min > c->ratio_max)
        return HS_FAIL(USAGE, "optim.ratio_min is %g, above ratio_max %g", c->ratio_min, c->ratio_max);
    return hs_scaler_check(&c->scaler);
}

// ---- the decision

void hs_optim_reduce_partials(hs_optim *o, hs_lane *lane)
{
    for (int k = 0; k < o->ps->n_chunks; k++)
        if (!o->ps->chunk[k].counted)
            o->partial[k] = (hs_partial){ 0, 0 };
    o->grid.tp->all_reduce(o->grid.tp, lane, o->partial, 2 * (int64_t)o->ps->n_chunks, HS_F64, HS_REDUCE_SUM);
}

// Every rank must take the same branch, so whether anyone saw a non-finite gradient is settled before anyone acts on it.
static bool any_overflow(hs_optim *o, hs_lane *lane)
{
    int32_t found = 0;
    for (int k = 0; k < o->ps->n_chunks; k++)
        found |= o->partial[k].b > 0;
    o->grid.tp->all_reduce(o->grid.tp, lane, &found, 1, HS_I32, HS_REDUCE_MAX);
    o->grid.dp->all_reduce(o->grid.dp, lane, &found, 1, HS_I32, HS_REDUCE_MAX);
    return found;
}

static int order_of(const hs_optim *o, int param) { return o->order ? o->order[param] : param; }

// Names the non-finite gradient that backward completed first: the ones behind it are mostly its victims.
static void find_bad_param(hs_optim *o, hs_step_state *s)
{
    const hs_params *ps = o->ps;
    memset(o->bad, 0, (size_t)ps->n_params * sizeof *o->bad);
    for (int k = 0; k < ps->n_chunks; k++)
        o->bad[ps->chunk[k].param] += (int64_t)o->partial[k].b;
    s->bad_param = s->bad_micro = -1, s->bad_count = 0;
    for (int i = 0; i < ps->n_params; i++)
        if (o->bad[i] && (s->bad_param < 0 || order_of(o, i) < order_of(o, s->bad_param)))
            s->bad_param = i, s->bad_count = o->bad[i];
}

static void begin_update(hs_optim *o, hs_step_state *s, double norm)
{
    const hs_optim_config *c = &o->c;
    hs_update_step *now = &o->now;
    const double lr = hs_schedule_lr(&c->schedule, s->applied), t = (double)++s->applied;
    const double bc1 = c->kind == HS_ADAMW || c->bias_correction ? 1 - pow(c->beta1, t) : 1;
    const double bc2 = c->kind == HS_ADAMW || c->bias_correction ? 1 - pow(c->beta2, t) : 1;
    const double clip = c->clip > 0 && norm > c->clip ? c->clip / norm : 1;
    now->factor = (float)(clip / (double)s->scale);
    now->beta1 = (float)c->beta1, now->beta2 = (float)c->beta2;
    now->beta3 = c->kind == HS_ADAMW || c->grad_averaging ? (float)(1 - c->beta1) : 1;
    now->one_minus_beta2 = (float)(1 - c->beta2);
    now->inv_bc1 = (float)(1 / bc1), now->inv_bc2 = (float)(1 / bc2), now->inv_sqrt_bc2 = (float)(1 / sqrt(bc2));
    now->eps = (float)c->eps, now->momentum = (float)c->momentum;
    for (int r = 0; r < HS_N_ROLES; r++) {
        now->lr[r] = (float)(lr * c->lr_factor[r]);
        now->decay[r] = (float)(c->weight_decay * c->decay_factor[r]);
    }
    s->lr = (float)lr;
}

void hs_optim_decide(const hs_args *a, hs_lane *lane)
{
    hs_optim *o = (hs_optim *)a->attr;
    hs_step_state *s = a->state;
    const bool overflow = any_overflow(o, lane);
    hs_optim_reduce_partials(o, lane);
    o->now.skip = overflow;
    s->found_inf = overflow;
    if (overflow) {
        find_bad_param(o, s);
        s->grad_norm = INFINITY;
        s->skipped++, s->skipped_in_row++;
    } else {
        double squares = 0;
        for (int k = 0; k < o->ps->n_chunks; k++)
            squares += o->partial[k].a;
        const double norm = sqrt(squares) / (double)s->scale;
        s->grad_norm = (float)norm;
        s->skipped_in_row = 0;
        begin_update(o, s, norm);
    }
    s->step_scale = s->scale;
    hs_scaler_update(&o->c.scaler, s, overflow); // last: the gradients of this step carry the scale it began with
}

// ---- assembly

static const hs_optim_tier *tier_for(hs_isa isa)
{
    static const struct {
        hs_isa isa;
        const hs_optim_tier *tier;
    } built[] = {
#ifdef HS_HAVE_TIER_AVX512BF16
        { HS_ISA_AVX512BF16, &hs_optim_avx512bf16 },
#endif
#ifdef HS_HAVE_TIER_AVX512
        { HS_ISA_AVX512, &hs_optim_avx512 },
#endif
#ifdef HS_HAVE_TIER_AVX2
        { HS_ISA_AVX2, &hs_optim_avx2 },
#endif
        { HS_ISA_PORTABLE, &hs_optim_portable },
    };
    int i = 0;
    while (built[i].isa > isa)
        i++;
    return built[i].tier;
}

static hs_status kernels_of(const hs_device *dev, hs_optim_kind kind, const hs_optim_tier **out)
{
    *out = dev->optim ? dev->optim : dev->is_cpu ? tier_for(dev->isa) : NULL;
    if (!*out)
        return HS_FAIL(UNSUPPORTED, "device %s has no optimizers", dev->name);
    if (!(*out)->rule[kind])
        return HS_FAIL(UNSUPPORTED, "device %s has no %s", dev->name, tier_for(HS_ISA_PORTABLE)->rule[kind]->name);
    return HS_OK;
}

static void add_thunk(hs_optim *o, const hs_optim_pass *p)
{
    const double n = (double)o->ps->n_trained, low = p->stores && o->ps->low ? 2 : 0;
    o->thunk[o->segment.n++] = (hs_thunk){
        .fn = p->fn,
        .args = { .attr = o },
        .name = p->name,
        .sync = true,
        .part = (uint8_t)p->part,
        .cost = { p->each.flops * n, (p->each.bytes + low) * n },
    };
}

static size_t table_bytes(const hs_optim *o)
{
    const size_t logical = o->rule->per_tensor ? (size_t)o->ps->n_logical : 0;
    return (size_t)o->ps->n_chunks * sizeof *o->partial + (size_t)o->ps->n_params * sizeof *o->bad +
           logical * (sizeof *o->norms + sizeof *o->ratio);
}

size_t hs_optim_bytes(const hs_optim *o) { return sizeof *o + table_bytes(o); }

static hs_status alloc_tables(hs_optim *o)
{
    const size_t logical = o->rule->per_tensor ? (size_t)o->ps->n_logical : 0;
    o->partial = calloc((size_t)o->ps->n_chunks + 1, sizeof *o->partial);
    o->bad = calloc((size_t)o->ps->n_params + 1, sizeof *o->bad);
    o->norms = calloc(logical + 1, sizeof *o->norms);
    o->ratio = calloc(logical + 1, sizeof *o->ratio);
    if (!o->partial || !o->bad || !o->norms || !o->ratio)
        return HS_FAIL(MEMORY, "no memory for the optimizer's tables: %zu bytes", table_bytes(o));
    return HS_OK;
}

static hs_status find_slabs(hs_optim *o)
{
    const hs_params *ps = o->ps;
    for (int i = 0; i < o->rule->n_slabs; i++)
        o->slab[i] = hs_params_slab(ps, o->rule->slab[i].name);
    for (int i = 0; i < o->rule->n_slabs; i++)
        if (!o->slab[i] || !o->slab[i]->p)
            return HS_FAIL(INTERNAL, "the optimizer needs slab %s: hs_optim_declare before hs_params_alloc", o->rule->slab[i].name);
    if (!ps->allocated || !ps->grad || !ps->grad->p)
        return HS_FAIL(INTERNAL, "the optimizer needs parameters laid out with gradients");
    return HS_OK;
}

hs_status hs_optim_new(hs_optim **out, const hs_optim_config *c, hs_params *ps, const hs_grid *grid, hs_device *dev)
{
    *out = NULL;
    HS_TRY(check(c));
    const hs_optim_tier *tier;
    HS_TRY(kernels_of(dev, c->kind, &tier));
    hs_optim *o = calloc(1, sizeof *o);
    if (!o)
        return HS_FAIL(MEMORY, "no memory for the optimizer");
    *o = (hs_optim){ .c = *c, .rule = tier->rule[c->kind], .ps = ps, .grid = *grid, .segment = { .thunk = o->thunk } };
    hs_status st;
    HS_TRY_GOTO(st, find_slabs(o), failed);
    HS_TRY_GOTO(st, alloc_tables(o), failed);

    // Costs of an element: f32 slabs read and written once each, and the low copy written.
    add_thunk(o, &(hs_optim_pass){ .name = "optim.sums", .fn = tier->sums, .part = HS_PART_FREE, .each = { 2, 4 } });
    add_thunk(o, &(hs_optim_pass){ .name = "optim.decide", .fn = tier->decide, .part = HS_PART_SOLO });
    for (int i = 0; i < HS_OPTIM_PASSES && o->rule->pass[i].name; i++)
        add_thunk(o, &o->rule->pass[i]);
    *out = o;
    return HS_OK;
failed:
    hs_optim_free(o);
    return st;
}

void hs_optim_free(hs_optim *o)
{
    if (!o)
        return;
    free(o->partial);
    free(o->bad);
    free(o->norms);
    free(o->ratio);
    free(o);
}

void hs_optim_set_order(hs_optim *o, const int *order) { o->order = order; }
const hs_segment *hs_optim_segment(hs_optim *o) { return &o->segment; }

void hs_optim_init_state(const hs_optim_config *c, hs_step_state *state)
{
    *state = (hs_step_state){
        .scale = c->scaler.init,
        .step_scale = c->scaler.init,
        .hysteresis = c->scaler.hysteresis,
        .bad_param = -1,
        .bad_micro = -1,
    };
}
