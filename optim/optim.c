// optim: configuration, the decision of a step, and the thunks around the loops of update.c.
//
//   AdamW  sums | decide | adamw
//   LAMB   sums | decide | lamb_moments | ratios | lamb_apply          | is a barrier
//
// The decision is made once, by one member, from the partials of all ranks; everything behind it only reads `now`.

#include "core/cpu/cpu.h"
#include "optim/update.h"
#include <math.h>
#include <stdlib.h>

// ---- presets

static const struct {
    const char *name;
    hs_optim_config config;
} presets[] = {
    { "adamw", { .kind = HS_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 0 } },
    // NVIDIA's BERT recipe: apex FusedLAMB with use_nvlamb=False
    { "lamb", { .kind = HS_LAMB, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-6, .weight_decay = 0.01, .clip = 1 } },
    // the published figure
    { "nvlamb",
      { .kind = HS_LAMB,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-6,
        .weight_decay = 0.01,
        .clip = 1,
        .ratio_all = true,
        .eps_inside = true } },
};

hs_status hs_optim_preset(hs_optim_config *out, const char *name)
{
    for (int i = 0; i < HS_COUNT(presets); i++) {
        if (strcmp(presets[i].name, name))
            continue;
        *out = presets[i].config;
        out->bias_correction = out->grad_averaging = true;
        out->schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1e-3, .power = 1 };
        out->decay_factor[HS_WEIGHT] = out->decay_factor[HS_EMBED] = 1;
        for (int r = 0; r < HS_N_ROLES; r++)
            out->lr_factor[r] = 1;
        return hs_scaler_parse(&out->scaler, "none", HS_F32);
    }
    return HS_FAIL(USAGE, "unknown optimizer '%s': adamw, lamb or nvlamb", name);
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

// One number per chunk and rank becomes one per chunk: the sum over tp. What tp ranks hold in common is counted once.
static void reduce_partials(hs_optim *o, hs_lane *lane)
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

// Names the non-finite gradient that backward completed first: the ones behind it are mostly its victims.
static void find_bad_param(hs_optim *o)
{
    const hs_params *ps = o->ps;
    hs_step_state *s = o->state;
    memset(o->bad, 0, (size_t)ps->n_params * sizeof *o->bad);
    for (int k = 0; k < ps->n_chunks; k++)
        o->bad[ps->chunk[k].param] += (int64_t)o->partial[k].b;
    s->bad_param = s->bad_micro = -1, s->bad_count = 0;
    for (int i = 0; i < ps->n_params; i++)
        if (o->bad[i] && (s->bad_param < 0 || ps->param[i]->order < ps->param[s->bad_param]->order))
            s->bad_param = i, s->bad_count = o->bad[i];
}

static void begin_update(hs_optim *o, double norm, double scale)
{
    const hs_optim_config *c = &o->c;
    hs_step_state *s = o->state;
    hs_update_step *now = &o->now;
    const double lr = hs_schedule_lr(&c->schedule, s->applied), t = (double)++s->applied;
    const double bc1 = c->kind == HS_ADAMW || c->bias_correction ? 1 - pow(c->beta1, t) : 1;
    const double bc2 = c->kind == HS_ADAMW || c->bias_correction ? 1 - pow(c->beta2, t) : 1;
    const double clip = c->clip > 0 && norm > c->clip ? c->clip / norm : 1;
    now->factor = (float)(clip / scale);
    now->beta1 = (float)c->beta1, now->beta2 = (float)c->beta2;
    now->beta3 = c->kind == HS_ADAMW || c->grad_averaging ? (float)(1 - c->beta1) : 1;
    now->one_minus_beta2 = (float)(1 - c->beta2);
    now->inv_bc1 = (float)(1 / bc1), now->inv_bc2 = (float)(1 / bc2), now->inv_sqrt_bc2 = (float)(1 / sqrt(bc2));
    now->eps = (float)c->eps;
    for (int r = 0; r < HS_N_ROLES; r++) {
        now->lr[r] = (float)(lr * c->lr_factor[r]);
        now->decay[r] = (float)(c->weight_decay * c->decay_factor[r]);
    }
    s->lr = (float)lr;
}

static void decide(const hs_args *a, hs_lane *lane)
{
    hs_optim *o = (hs_optim *)a->attr;
    hs_step_state *s = o->state;
    const bool overflow = any_overflow(o, lane);
    reduce_partials(o, lane);
    o->now.skip = overflow;
    s->found_inf = overflow;
    if (overflow) {
        find_bad_param(o);
        s->grad_norm = INFINITY;
        s->skipped++, s->skipped_in_row++;
    } else {
        double squares = 0;
        for (int k = 0; k < o->ps->n_chunks; k++)
            squares += o->partial[k].a;
        const double norm = sqrt(squares) / (double)s->scale;
        s->grad_norm = (float)norm;
        s->skipped_in_row = 0;
        begin_update(o, norm, (double)s->scale);
    }
    s->step_scale = s->scale;
    hs_scaler_update(&o->c.scaler, s, overflow); // last: the gradients of this step carry the scale it began with
}

// Trust ratio |w| / |u| of one logical tensor. 1 where a norm is 0 (biases start at 0): bounds apply to real ratios only.
static double trust_ratio(const hs_optim_config *c, hs_role role, const double norms[2])
{
    const bool wanted = c->ratio_all || c->decay_factor[role] > 0;
    if (!wanted || norms[0] <= 0 || norms[1] <= 0)
        return 1;
    const double r = sqrt(norms[0]) / sqrt(norms[1]);
    return c->ratio_max > 0 ? fmin(fmax(r, c->ratio_min), c->ratio_max) : r;
}

static void ratios(const hs_args *a, hs_lane *lane)
{
    hs_optim *o = (hs_optim *)a->attr;
    const hs_params *ps = o->ps;
    if (o->now.skip)
        return;
    reduce_partials(o, lane);
    memset(o->norms, 0, (size_t)ps->n_logical * sizeof *o->norms);
    for (int k = 0; k < ps->n_chunks; k++) {
        double *norms = o->norms[ps->chunk[k].logical];
        norms[0] += o->partial[k].a, norms[1] += o->partial[k].b;
    }
    for (int k = 0; k < ps->n_chunks; k++) { // several chunks of one logical tensor write the same value
        const hs_chunk *c = &ps->chunk[k];
        const hs_role role = ps->param[c->param]->role;
        o->ratio[c->logical] = (float)(trust_ratio(&o->c, role, o->norms[c->logical]) * (double)o->now.lr[role]);
    }
}

// ---- assembly

static const hs_update_kernels *kernels_for(hs_isa isa)
{
    static const struct {
        hs_isa isa;
        const hs_update_kernels *kernels;
    } built[] = {
#ifdef HS_HAVE_TIER_AVX512BF16
        { HS_ISA_AVX512BF16, &hs_update_avx512bf16 },
#endif
#ifdef HS_HAVE_TIER_AVX512
        { HS_ISA_AVX512, &hs_update_avx512 },
#endif
#ifdef HS_HAVE_TIER_AVX2
        { HS_ISA_AVX2, &hs_update_avx2 },
#endif
        { HS_ISA_PORTABLE, &hs_update_portable },
    };
    int i = 0;
    while (built[i].isa > isa)
        i++;
    return built[i].kernels;
}

static void add_thunk(hs_optim *o, const hs_step_in *in, hs_kernel *fn, const char *name, hs_part_kind part, hs_cost each)
{
    const double n = (double)o->ps->n;
    o->thunk[o->segment.n++] = (hs_thunk){
        .fn = fn,
        .args = { .attr = o, .step = in, .state = o->state },
        .name = name,
        .sync = true,
        .part = (uint8_t)part,
        .cost = { each.flops * n, each.bytes * n },
    };
}

static size_t table_bytes(const hs_optim *o)
{
    const size_t logical = o->c.kind == HS_LAMB ? (size_t)o->ps->n_logical : 0;
    return (size_t)o->ps->n_chunks * sizeof *o->partial + (size_t)o->ps->n_params * sizeof *o->bad +
           logical * (sizeof *o->norms + sizeof *o->ratio);
}

size_t hs_optim_bytes(const hs_optim *o) { return sizeof *o + table_bytes(o); }

static hs_status alloc_tables(hs_optim *o)
{
    const size_t logical = o->c.kind == HS_LAMB ? (size_t)o->ps->n_logical : 0;
    o->partial = calloc((size_t)o->ps->n_chunks + 1, sizeof *o->partial);
    o->bad = calloc((size_t)o->ps->n_params + 1, sizeof *o->bad);
    o->norms = calloc(logical + 1, sizeof *o->norms);
    o->ratio = calloc(logical + 1, sizeof *o->ratio);
    if (!o->partial || !o->bad || !o->norms || !o->ratio)
        return HS_FAIL(MEMORY, "no memory for the optimizer's tables: %zu bytes", table_bytes(o));
    return HS_OK;
}

hs_status hs_optim_new(hs_optim **out, const hs_optim_config *c, hs_params *ps, const hs_grid *grid, hs_device *dev, const hs_step_in *in,
                       hs_step_state *state)
{
    *out = NULL;
    HS_TRY(check(c));
    if (!ps->frozen || !ps->master || !ps->grad || !ps->m || !ps->v)
        return HS_FAIL(INTERNAL, "the optimizer needs parameters frozen with gradients and moments");
    hs_optim *o = calloc(1, sizeof *o);
    if (!o)
        return HS_FAIL(MEMORY, "no memory for the optimizer");
    *o = (hs_optim){ .c = *c, .ps = ps, .grid = *grid, .state = state, .segment = { .thunk = o->thunk } };
    hs_status st;
    HS_TRY_GOTO(st, alloc_tables(o), failed);

    const hs_update_kernels *k = kernels_for(dev->isa);
    // Costs of an element: f32 slabs read and written once each, and the low copy written.
    const double low = ps->low ? 2 : 0;
    add_thunk(o, in, k->sums, "optim.sums", HS_PART_FREE, (hs_cost){ 2, 4 });
    add_thunk(o, in, decide, "optim.decide", HS_PART_SOLO, (hs_cost){ 0 });
    if (c->kind == HS_ADAMW) {
        add_thunk(o, in, k->adamw, "optim.adamw", HS_PART_FREE, (hs_cost){ 16, 16 + 12 + low });
    } else {
        add_thunk(o, in, k->lamb_moments, "optim.lamb_moments", HS_PART_FREE, (hs_cost){ 20, 16 + 8 });
        add_thunk(o, in, ratios, "optim.lamb_ratios", HS_PART_SOLO, (hs_cost){ 0 });
        add_thunk(o, in, k->lamb_apply, "optim.lamb_apply", HS_PART_FREE, (hs_cost){ 10, 12 + 4 + low });
    }
    state->scale = state->step_scale = c->scaler.init;
    state->hysteresis = c->scaler.hysteresis;
    state->bad_param = state->bad_micro = -1;
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

const hs_segment *hs_optim_segment(hs_optim *o) { return &o->segment; }
