// optim: configuration, the memory of an update, and its thunks.
//
//   sums | decide | adamw
//   sums | decide | lamb_moments | ratios | lamb_apply          | is a barrier
//   sums | decide | sgd
//   sums | decide | lars_norms | ratios | lars
//   sums | decide | novograd_scales | novograd
//
// Where weights keep their zeros (hs_params_keep_zeros), a pass `keep` stands in front: it takes their gradients away.
//
// Behind what leaves partials comes their total where there are several tensor-parallel ranks, before the decision a vote where there are
// several data-parallel ones.
//
// Where each of those has a share of moments and values (core/graph/divide.h), passes walk this rank's chunks alone. Their partials are
// gathered to the table that an undivided update has, so that what is settled from them has the same bits; no vote is needed then. The last
// pass goes group by group: values of one are gathered while the next is updated.

#include "core/cpu/cpu.h"
#include "core/graph/divide.h"
#include "optim/update.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct hs_optim {
    hs_optim_config c;
    const hs_optim_rule *rule;
    hs_params *ps;
    hs_device *dev;
    hs_slab *slab[HS_OPTIM_SLABS];
    hs_grid grid;
    char *memory; // of the device: the tables
    size_t bytes, at[HS_N_UPDATE_OPERANDS];
    hs_ref ref[HS_N_UPDATE_OPERANDS]; // as kernels get them
    int n_own;                        // chunks that are updated here ...
    size_t n_elements[HS_N_MASTERS];  // ... and what they have, by how values are kept
    int64_t *parts;                   // of the moves below: ranks of each
    hs_move *move;                    // where shares are divided: of partials, then of values
    hs_tensor *first;                 // of each move of values, the parameter at its head: for messages
    int n_moves;
    hs_segment segment;
};

static int ranks_of(const hs_optim *o) { return o->ps->shares ? o->ps->shares->size : 1; }
static bool is_own(const hs_optim *o, const hs_chunk *c) { return !o->ps->shares || hs_chunk_rank(o->ps, c) == o->ps->shares->rank; }

// ---- slabs

static const hs_optim_rule *const rules[HS_N_OPTIMS] = { [HS_ADAMW] = &hs_adamw_rule,
                                                         [HS_LAMB] = &hs_lamb_rule,
                                                         [HS_SGD] = &hs_sgd_rule,
                                                         [HS_LARS] = &hs_lars_rule,
                                                         [HS_NOVOGRAD] = &hs_novograd_rule };

static const hs_slab_spec *slabs_of(const hs_optim_rule *rule, const hs_optim_config *c)
{
    return c->moments == HS_BF16 ? rule->small : rule->slab;
}

const hs_slab_spec *hs_optim_slabs(const hs_optim_config *c, int *n)
{
    *n = rules[c->kind]->n_slabs;
    return slabs_of(rules[c->kind], c);
}

hs_status hs_optim_declare(const hs_optim_config *c, hs_params *ps)
{
    int n;
    const hs_slab_spec *slab = hs_optim_slabs(c, &n);
    for (int i = 0; i < n; i++)
        HS_TRY(hs_params_declare(ps, &slab[i]));
    HS_TRY(hs_params_set_masters(ps, c->masters));
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
        { "clip_eps", c->clip_eps, 0, huge },
        { "clip_value", c->clip_value, 0, huge },
        { "trust_coefficient", c->trust_coefficient, 0, huge },
        { "lr", s->lr, 0, huge },
        { "min_lr", s->min_lr, 0, huge },
        { "power", s->power, 0, huge },
        { "warmup", (double)s->warmup, 0, 9e15 },
        { "steps", (double)s->steps, 0, 9e15 },
        { "warmup_share", s->warmup_share, 0, 1 },
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
    if (c->moments != HS_F32 && c->moments != HS_BF16)
        return HS_FAIL(USAGE, "optim.moments is %s, allowed f32 and bf16", hs_dtype_name(c->moments));
    return hs_scaler_check(&c->scaler);
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

// Has a weight zeros that it keeps, and a part of it that is trained?
static bool keeps_zeros(const hs_params *ps)
{
    bool any = false;
    for (int i = 0; i < ps->n_params; i++)
        any |= ps->param[i]->keeps_zeros && !ps->param[i]->frozen;
    return any;
}

static hs_status kernels_of(const hs_device *dev, const hs_optim_config *c, const hs_params *ps, const hs_grid *grid,
                            const hs_optim_tier **out)
{
    const hs_optim_kind kind = c->kind;
    *out = dev->optim ? dev->optim : dev->is_cpu ? tier_for(dev->isa) : NULL;
    if (!*out)
        return HS_FAIL(UNSUPPORTED, "device %s has no optimizers", dev->name);
    if (!(*out)->rule[kind])
        return HS_FAIL(UNSUPPORTED, "device %s has no %s", dev->name, rules[kind]->name);
    if (c->moments != HS_F32 && !(*out)->rule[kind]->small)
        return HS_FAIL(UNSUPPORTED, "device %s has no %s with moments in %s", dev->name, rules[kind]->name, hs_dtype_name(c->moments));
    if (c->masters != HS_MASTERS_F32 && !(*out)->rule[kind]->masters)
        return HS_FAIL(UNSUPPORTED, "device %s has no %s with values in less than f32", dev->name, rules[kind]->name);
    if ((grid->tp->size > 1 && !(*out)->total) || (grid->dp->size > 1 && !((*out)->vote && (*out)->gather)))
        return HS_FAIL(UNSUPPORTED, "device %s has no optimizers for several ranks", dev->name);
    if (keeps_zeros(ps) && !(*out)->keep)
        return HS_FAIL(UNSUPPORTED, "device %s has no optimizers that keep zeros", dev->name);
    return HS_OK;
}

// ---- memory

typedef struct table { // beside the slabs
    int64_t rows, cols;
    hs_dtype dtype; // U8: bytes of a struct, cols of them
} table;

static int64_t bytes_of(const table *t) { return t->rows * t->cols * (int64_t)hs_dtype_bytes(t->dtype); }

static bool votes(const hs_optim *o) { return o->grid.dp->size > 1 && !o->ps->shares; }

static void tables_of(const hs_optim *o, table all[HS_N_UPDATE_OPERANDS])
{
    const hs_params *ps = o->ps;
    const int64_t logical = o->rule->per_tensor ? ps->n_logical : 0, dealt = ps->shares ? ps->n_chunks : 0;
    const table t[] = {
        [HS_UPDATE_CHUNKS] = { dealt ? o->n_own : 0, sizeof(hs_update_chunk), HS_U8 },
        [HS_UPDATE_ALL] = { ps->n_chunks, sizeof(hs_update_chunk), HS_U8 },
        [HS_UPDATE_DEALT] = { dealt, 2, HS_F64 },
        [HS_UPDATE_SPOT] = { dealt, 1, HS_I32 },
        [HS_UPDATE_ORDER] = { ps->n_params, 1, HS_I32 },
        [HS_UPDATE_NOW] = { 1, sizeof(hs_update_step), HS_U8 },
        [HS_UPDATE_PARTIALS] = { ps->n_chunks, 2, HS_F64 },
        [HS_UPDATE_FOUND] = { votes(o), 1, HS_I32 },
        [HS_UPDATE_BAD] = { ps->n_params, 1, HS_I64 },
        [HS_UPDATE_NORMS] = { logical, 2, HS_F64 },
        [HS_UPDATE_RATIO] = { logical, 1, HS_F32 },
    };
    memset(all, 0, HS_N_UPDATE_OPERANDS * sizeof *all);
    memcpy(all, t, sizeof t);
}

// One piece of the device's memory for all tables, each on lines of its own.
static hs_status alloc_tables(hs_optim *o)
{
    table t[HS_N_UPDATE_OPERANDS];
    void *p;
    tables_of(o, t);
    for (int i = 0; i < HS_N_UPDATE_OPERANDS; i++) {
        o->at[i] = o->bytes;
        o->bytes += ((size_t)bytes_of(&t[i]) + 63) / 64 * 64;
    }
    if (o->dev->alloc(o->dev, o->bytes, &p) != HS_OK)
        return HS_FAIL(MEMORY, "no memory for the optimizer's tables: %zu bytes", o->bytes);
    o->memory = p;
    char *bound = hs_device_bind(o->dev, p);
    for (int i = 0; i < HS_N_UPDATE_OPERANDS; i++)
        if (t[i].rows || i == HS_UPDATE_CHUNKS)
            o->ref[i] = (hs_ref){ .p = bound + o->at[i], .rows = t[i].rows, .cols = t[i].cols, .dtype = t[i].dtype };
    return HS_OK;
}

static void write_table(hs_optim *o, hs_update_operand which, const void *src, size_t bytes)
{
    o->dev->copy(o->dev, o->memory + o->at[which], src, bytes);
}

// Where a chunk begins in a slab: of one that has a number per tensor, which of these is its own.
static int64_t kept_at(const hs_slab *s, const hs_chunk *c, int tensor)
{
    return s->spec.per_tensor ? (int64_t)(s->place[c->param].offset / hs_dtype_bytes(s->spec.dtype)) + tensor
                              : (int64_t)hs_slab_element(s, c);
}

// Where a chunk, which lies in one part of its parameter, is in the whole model's.
static void find_logical(hs_update_chunk *row, const hs_params *ps, const hs_chunk *c)
{
    const hs_param *p = ps->param[c->param];
    const int64_t rows = p->dim[0] / p->parts, cols = (int64_t)p->n / p->dim[0], part = (int64_t)c->first / (rows * cols);
    const int64_t in_part = (int64_t)c->first % (rows * cols), all = hs_param_cols(p);
    const int64_t row0 = p->shard == HS_SHARD_COL ? ps->tp_rank * rows : 0, col0 = p->shard == HS_SHARD_ROW ? ps->tp_rank * cols : 0;
    row->first = (part * hs_param_part_rows(p) + row0 + in_part / cols) * all + col0 + in_part % cols;
    if (cols < all)
        row->run = (int32_t)cols, row->column = (int32_t)(in_part % cols), row->skip = (int32_t)(all - cols);
}

// tensor: of the parameter; where it begins in slabs is for whoever updates it.
static hs_update_chunk chunk_row(const hs_optim *o, const hs_chunk *c, int tensor, float rate)
{
    const hs_params *ps = o->ps;
    hs_update_chunk row = { .n = c->n,
                            .param = c->param,
                            .rate = rate,
                            .role = (uint8_t)ps->param[c->param]->role,
                            .masters = (uint8_t)hs_param_masters(ps, ps->param[c->param]),
                            .counted = c->counted,
                            .keeps = ps->param[c->param]->keeps_zeros };
    const bool own = is_own(o, c);
    find_logical(&row, ps, c);
    if (own) {
        row.value = row.masters == HS_MASTERS_NONE ? 0 : (int64_t)hs_slab_element(ps->master, c),
        row.grad = (int64_t)hs_slab_element(ps->grad, c);
        row.low = ps->low ? (int64_t)hs_slab_element(ps->low, c) : 0;
    }
    for (int i = 0; i < o->rule->n_slabs; i++)
        row.kept[i] = own || o->slab[i]->spec.per_tensor ? kept_at(o->slab[i], c, tensor) : 0;
    return row;
}

// rate: by parameter; NULL: 1 for all.
static hs_status fill_chunks(hs_optim *o, const float *rate)
{
    const hs_params *ps = o->ps;
    int first = 0, n_own = 0; // first: logical tensor of the parameter
    hs_update_chunk *row = calloc((size_t)ps->n_chunks + (size_t)o->n_own + 1, sizeof *row), *own = row + ps->n_chunks;
    if (!row)
        return HS_FAIL(MEMORY, "no memory for %d chunks", ps->n_chunks);
    for (int k = 0; k < ps->n_chunks; k++) {
        const hs_chunk *c = &ps->chunk[k];
        first = k && c->param == ps->chunk[k - 1].param ? first : c->logical;
        const int tensor = o->c.qkv == HS_QKV_ONE ? 0 : c->logical - first;
        row[k] = chunk_row(o, c, tensor, rate ? rate[c->param] : 1);
        row[k].logical = first + tensor;
        if (ps->shares && is_own(o, c))
            own[n_own++] = row[k];
    }
    write_table(o, HS_UPDATE_ALL, row, (size_t)ps->n_chunks * sizeof *row);
    if (n_own)
        write_table(o, HS_UPDATE_CHUNKS, own, (size_t)n_own * sizeof *own);
    free(row);
    return HS_OK;
}

static void count_own(hs_optim *o)
{
    for (int k = 0; k < o->ps->n_chunks; k++)
        if (is_own(o, &o->ps->chunk[k]))
            o->n_own++, o->n_elements[hs_param_masters(o->ps, o->ps->param[o->ps->chunk[k].param])] += (size_t)o->ps->chunk[k].n;
}

// Own partials of a rank behind those of the ranks before it, each rank's in the order of the table.
static hs_status deal_partials(hs_optim *o)
{
    const hs_params *ps = o->ps;
    const int ranks = ranks_of(o), n = ps->n_chunks;
    if (!ps->shares)
        return HS_OK;
    int32_t *spot = malloc(((size_t)n + 1) * sizeof *spot), next = 0;
    int64_t *count = o->parts; // of the first move
    if (!spot)
        return HS_FAIL(MEMORY, "no memory for %d chunks", n);
    for (int k = 0; k < n; k++)
        count[hs_chunk_rank(ps, &ps->chunk[k])]++;
    for (int r = 0; r < ranks; r++) { // from counts to where each rank's begin
        const int64_t own = count[r];
        if (r == ps->shares->rank) {
            o->ref[HS_UPDATE_OWN] = o->ref[HS_UPDATE_DEALT];
            o->ref[HS_UPDATE_OWN].p += (size_t)next * sizeof(hs_partial), o->ref[HS_UPDATE_OWN].rows = own;
        }
        count[r] = next, next += (int32_t)own;
    }
    for (int k = 0; k < n; k++)
        spot[k] = (int32_t)count[hs_chunk_rank(ps, &ps->chunk[k])]++;
    for (int r = ranks - 1; r >= 0; r--) // count[r]: where those of r end
        count[r] = (count[r] - (r ? count[r - 1] : 0)) * (int64_t)(sizeof(hs_partial) / sizeof(double));
    write_table(o, HS_UPDATE_SPOT, spot, (size_t)n * sizeof *spot);
    o->move[o->n_moves++] = (hs_move){ .kind = HS_GATHER_PARTS, .parts = count };
    free(spot);
    return HS_OK;
}

static hs_status fill_order(hs_optim *o, const int *order)
{
    const int n = o->ps->n_params;
    int32_t *place = malloc(((size_t)n + 1) * sizeof *place);
    if (!place)
        return HS_FAIL(MEMORY, "no memory for the order of %d gradients", n);
    for (int i = 0; i < n; i++)
        place[i] = order ? order[i] : i;
    write_table(o, HS_UPDATE_ORDER, place, (size_t)n * sizeof *place);
    free(place);
    return HS_OK;
}

static hs_ref slab_ref(const hs_slab *s)
{
    return s ? (hs_ref){ .p = s->k, .rows = (int64_t)(s->bytes / hs_dtype_bytes(s->spec.dtype)), .cols = 1, .dtype = s->spec.dtype }
             : (hs_ref){ 0 };
}

static void bind_slabs(hs_optim *o)
{
    const hs_params *ps = o->ps;
    if (!ps->shares)
        o->ref[HS_UPDATE_CHUNKS] = o->ref[HS_UPDATE_ALL], o->ref[HS_UPDATE_OWN] = o->ref[HS_UPDATE_PARTIALS];
    o->ref[HS_UPDATE_MADE] = (hs_ref){ .p = ps->marks_k, .rows = ps->n_params, .cols = 1, .dtype = HS_U8 };
    o->ref[HS_UPDATE_VALUE] = slab_ref(ps->master), o->ref[HS_UPDATE_LOW] = slab_ref(ps->low), o->ref[HS_UPDATE_GRAD] = slab_ref(ps->grad);
    for (int i = 0; i < o->rule->n_slabs; i++)
        o->ref[HS_UPDATE_KEPT + i] = slab_ref(o->slab[i]);
}

static hs_status find_slabs(hs_optim *o)
{
    const hs_params *ps = o->ps;
    const hs_slab_spec *spec = slabs_of(o->rule, &o->c);
    for (int i = 0; i < o->rule->n_slabs; i++)
        o->slab[i] = hs_params_slab(ps, spec[i].name);
    for (int i = 0; i < o->rule->n_slabs; i++)
        if (!o->slab[i] || !o->slab[i]->p || o->slab[i]->spec.dtype != spec[i].dtype)
            return HS_FAIL(INTERNAL, "the optimizer needs slab %s of %s: hs_optim_declare before hs_params_alloc", spec[i].name,
                           hs_dtype_name(spec[i].dtype));
    if (ps->masters != o->c.masters)
        return HS_FAIL(INTERNAL, "the optimizer's values are kept in another way than it says: hs_optim_declare before hs_params_alloc");
    if (!ps->allocated || !ps->grad || !ps->grad->p)
        return HS_FAIL(INTERNAL, "the optimizer needs parameters laid out with gradients");
    return HS_OK;
}

size_t hs_optim_bytes(const hs_optim *o) { return sizeof *o + o->bytes; }

// ---- the segment

// Bytes of values that a pass moves beside what hs_optim_pass.each has of them: a low copy is written, or read in place of f32.
static double low_bytes(const hs_optim *o, const hs_optim_pass *p)
{
    static const double stores[HS_N_MASTERS] = { 2, 0, -4 }, reads[HS_N_MASTERS] = { 0, 0, -2 };
    bool any = false;
    double bytes = 0;
    for (int i = 0; i < HS_MAX_IN; i++)
        any |= p->in[i] == HS_UPDATE_VALUE;
    for (int k = 0; k < HS_N_MASTERS && o->ps->low; k++)
        bytes += (p->stores ? stores[k] : any ? reads[k] : 0) * (double)o->n_elements[k];
    return bytes;
}

static hs_thunk *add_thunk(hs_optim *o, const hs_optim_pass *p, hs_kernel *fn, hs_comm *comm)
{
    double n = 0, moments = p->moments * (double)hs_dtype_bytes(o->c.moments);
    for (int k = 0; k < HS_N_MASTERS; k++)
        n += (double)o->n_elements[k];
    hs_thunk *t = &o->segment.thunk[o->segment.n++];
    *t = (hs_thunk){
        .fn = fn,
        .args = { .attr = &o->c, .comm = comm },
        .name = p->name,
        .sync = true,
        .part = (uint8_t)p->part,
        .cost = { p->each.flops * n, (p->each.bytes + moments) * n + low_bytes(o, p) },
    };
    for (int i = 0; i < HS_MAX_IN; i++)
        t->args.in[i] = o->ref[p->in[i]];
    for (int i = 0; i < HS_MAX_OUT; i++)
        t->args.out[i] = o->ref[p->out[i]];
    return t;
}

static void add_pass(hs_optim *o, const hs_optim_tier *tier, const hs_optim_pass *p, hs_kernel *fn)
{
    const hs_optim_pass gather = {
        .name = "optim.gather", .part = HS_PART_SOLO, .in = { HS_UPDATE_SPOT }, .out = { HS_UPDATE_DEALT, HS_UPDATE_PARTIALS }
    };
    const hs_optim_pass total = { .name = "optim.total", .part = HS_PART_SOLO, .in = { HS_UPDATE_ALL }, .out = { HS_UPDATE_PARTIALS } };
    add_thunk(o, p, fn, NULL);
    if (p->totals && o->ps->shares)
        add_thunk(o, &gather, tier->gather, o->grid.dp)->args.attr = o->move;
    if (p->totals && o->grid.tp->size > 1)
        add_thunk(o, &total, tier->total, o->grid.tp);
}

// Values of a run of neighbours, from those who have updated them to all.
static void add_gather(hs_optim *o, const hs_slab *s, const hs_share_run *run)
{
    const size_t width = hs_dtype_bytes(s->spec.dtype);
    hs_move *m = &o->move[o->n_moves];
    int64_t *parts = o->parts + (size_t)o->n_moves++ * (size_t)ranks_of(o);
    hs_share_parts(o->ps, s, run, parts);
    *m = (hs_move){ .kind = HS_GATHER_PARTS, .parts = parts };
    hs_tensor *first = &o->first[m - o->move];
    first->kind = HS_PARAM, first->param = o->ps->param[run->first], first->name = first->param->name;
    o->segment.thunk[o->segment.n++] =
        (hs_thunk){ .fn = o->dev->core->begin,
                    .args = { .attr = m,
                              .comm = o->grid.dp,
                              .out[0] = { .p = s->k + run->at * width, .rows = run->n, .cols = 1, .dtype = s->spec.dtype, .t = first } },
                    .name = "values gather",
                    .sync = true,
                    .part = HS_PART_SOLO };
}

// Own ones among the chunks of a group, which begin at *chunk; that is where the next group's do then.
static int own_of_group(const hs_optim *o, int group, int *chunk)
{
    const hs_params *ps = o->ps;
    int n = 0;
    for (; *chunk < ps->n_chunks && hs_param_group(ps, ps->param[ps->chunk[*chunk].param]) == group; ++*chunk)
        n += is_own(o, &ps->chunk[*chunk]);
    return n;
}

// The pass that writes values, group by group; a group's move while the next is written, whose bytes are others.
static void add_stores(hs_optim *o, const hs_optim_pass *p, hs_kernel *fn)
{
    const hs_params *ps = o->ps;
    const hs_slab *const slab[] = { ps->low, ps->master };
    for (int g = 0, chunk = 0, first = 0; g < ps->shares->n_groups; g++) {
        const int n = own_of_group(o, g, &chunk);
        const double part = (double)n / (double)(o->n_own > 0 ? o->n_own : 1);
        hs_thunk *t = add_thunk(o, p, fn, NULL);
        t->args.in[0].p += (size_t)first * sizeof(hs_update_chunk), t->args.in[0].rows = n;
        t->sync = g == 0;
        t->cost.flops *= part, t->cost.bytes *= part;
        first += n;
        for (int i = 0; i < HS_COUNT(slab); i++) {
            hs_share_run run = { .last = -1 };
            while (slab[i] && hs_share_run_next(ps, slab[i], run.last + 1, &run))
                if (hs_param_group(ps, ps->param[run.first]) == g)
                    add_gather(o, slab[i], &run);
        }
    }
    o->segment.thunk[o->segment.n++] = (hs_thunk){
        .fn = o->dev->core->finish, .args = { .comm = o->grid.dp }, .name = "values finish", .sync = true, .part = HS_PART_SOLO
    };
}

static void build_segment(hs_optim *o, const hs_optim_tier *tier)
{
    // Costs of an element: f32 slabs read and written once each, and the low copy written.
    static const hs_optim_pass keep = { .name = "optim.keep",
                                        .part = HS_PART_FREE,
                                        .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_VALUE, HS_UPDATE_LOW },
                                        .out = { HS_UPDATE_GRAD },
                                        .each = { 0, 12 } };
    static const hs_optim_pass sums = { .name = "optim.sums",
                                        .part = HS_PART_FREE,
                                        .in = { HS_UPDATE_CHUNKS, HS_UPDATE_MADE, HS_UPDATE_GRAD },
                                        .out = { HS_UPDATE_OWN },
                                        .each = { 2, 4 },
                                        .totals = true };
    static const hs_optim_pass vote = {
        .name = "optim.vote", .part = HS_PART_SOLO, .in = { HS_UPDATE_PARTIALS }, .out = { HS_UPDATE_FOUND }
    };
    static const hs_optim_pass decide = { .name = "optim.decide",
                                          .part = HS_PART_SOLO,
                                          .in = { HS_UPDATE_ALL, HS_UPDATE_PARTIALS, HS_UPDATE_ORDER, HS_UPDATE_FOUND },
                                          .out = { HS_UPDATE_NOW, HS_UPDATE_BAD } };
    const hs_optim_pass *pass = o->rule->pass;
    hs_kernel *const *fn = tier->rule[o->c.kind]->pass;
    if (keeps_zeros(o->ps))
        add_pass(o, tier, &keep, tier->keep);
    add_pass(o, tier, &sums, tier->sums);
    if (votes(o))
        add_thunk(o, &vote, tier->vote, o->grid.dp);
    add_thunk(o, &decide, tier->decide, NULL);
    for (int i = 0; i < HS_OPTIM_PASSES && pass[i].name; i++)
        if (o->ps->shares && pass[i].stores)
            add_stores(o, &pass[i], fn[i]);
        else
            add_pass(o, tier, &pass[i], fn[i]);
}

// How many moves of values and thunks there may be.
static hs_status make_room(hs_optim *o)
{
    const hs_params *ps = o->ps;
    const int moves = 1 + (ps->shares ? hs_share_moves(ps, ps->shares->n_groups) : 0);
    const size_t thunks = 4 + 3 * (1 + HS_OPTIM_PASSES) + (ps->shares ? (size_t)(moves + ps->shares->n_groups) : 0);
    o->parts = calloc((size_t)moves * (size_t)ranks_of(o), sizeof *o->parts);
    o->move = calloc((size_t)moves, sizeof *o->move);
    o->first = calloc((size_t)moves, sizeof *o->first);
    o->segment.thunk = calloc(thunks, sizeof *o->segment.thunk);
    return o->parts && o->move && o->first && o->segment.thunk ? HS_OK : HS_FAIL(MEMORY, "no memory for %zu thunks of an update", thunks);
}

hs_status hs_optim_new(hs_optim **out, const hs_optim_config *c, hs_params *ps, const hs_grid *grid, hs_device *dev)
{
    *out = NULL;
    HS_TRY(check(c));
    const hs_optim_tier *tier;
    HS_TRY(kernels_of(dev, c, ps, grid, &tier));
    hs_optim *o = calloc(1, sizeof *o);
    if (!o)
        return HS_FAIL(MEMORY, "no memory for the optimizer");
    *o = (hs_optim){ .c = *c, .rule = rules[c->kind], .ps = ps, .dev = dev, .grid = *grid };
    hs_status st;
    HS_TRY_GOTO(st, find_slabs(o), failed);
    count_own(o);
    HS_TRY_GOTO(st, make_room(o), failed);
    HS_TRY_GOTO(st, alloc_tables(o), failed);
    HS_TRY_GOTO(st, fill_chunks(o, NULL), failed);
    HS_TRY_GOTO(st, fill_order(o, NULL), failed);
    HS_TRY_GOTO(st, deal_partials(o), failed);
    bind_slabs(o);
    build_segment(o, tier);
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
    o->dev->release(o->dev, o->memory, o->bytes);
    free(o->parts);
    free(o->move);
    free(o->first);
    o->dev->forget(o->dev, o->segment.thunk);
    free(o->segment.thunk);
    free(o);
}

hs_status hs_optim_set_order(hs_optim *o, const int *order)
{
    HS_TRY(fill_order(o, order));
    return HS_OK;
}

hs_status hs_optim_set_rates(hs_optim *o, const float *rate)
{
    for (int i = 0; i < o->ps->n_params; i++)
        if (!(rate[i] >= 0 && isfinite(rate[i])))
            return HS_FAIL(INTERNAL, "the learning rate of %s is to be multiplied by %g, which is no factor", o->ps->param[i]->name,
                           (double)rate[i]);
    HS_TRY(fill_chunks(o, rate));
    return HS_OK;
}

const hs_segment *hs_optim_segment(const hs_optim *o) { return &o->segment; }

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
