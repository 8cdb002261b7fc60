// narrowed: see the header. The narrow model is traced by its own settings, and each of its parameters is cut out of the one of that name.
#include "infer/prune/narrowed.h"
#include "infer/prune/channel_pairs.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct cut { // of one pair of layers
    const hs_channel_pair *pair;
    int64_t *stays, n; // units that do, in their order: heads, or columns of a feed-forward
    int64_t wide;      // channels of a unit
} cut;

typedef struct work {
    hs_export_model *m;
    const hs_narrow_opts *o;
    hs_channel_pair *pair;
    cut *cut;
    int n;
    int64_t heads, ff; // that stay
    double all, kept;
} work;

static bool is_heads(const hs_channel_pair *p) { return p->part > 0; }

// ---- what units are worth

static hs_status worth_of(const work *k, const hs_param *p, float **out)
{
    const int64_t n = hs_param_elements(p);
    *out = malloc((size_t)n * sizeof **out + 1);
    if (!*out)
        return HS_FAIL(MEMORY, "no memory for what the values of %s are worth", p->name);
    if (k->o->worth)
        return k->o->worth(k->o->user, p, *out);
    hs_params_export(k->m->params, k->m->params->master, p, *out);
    for (int64_t i = 0; i < n; i++)
        (*out)[i] = fabsf((*out)[i]);
    return HS_OK;
}

// Channel c of a pair is row c of each part of `from`, where heads stand between, else of the only one.
static hs_status add_rows(const work *k, const hs_param *p, const cut *c, double *worth)
{
    float *w;
    const hs_status st = worth_of(k, p, &w);
    const int64_t n = c->pair->n, width = p->n_dims > 1 ? hs_param_cols(p) : 1;
    for (int64_t i = 0; st == HS_OK && i < p->parts * n; i++)
        for (int64_t j = 0; j < width; j++)
            worth[i % n / c->wide] += (double)w[i * width + j];
    free(w);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status add_columns(const work *k, const hs_param *p, const cut *c, double *worth)
{
    float *w;
    const hs_status st = worth_of(k, p, &w);
    const int64_t n = c->pair->n, all = hs_param_elements(p);
    for (int64_t i = 0; st == HS_OK && i < all; i++)
        worth[i % n / c->wide] += (double)w[i];
    free(w);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

typedef struct unit {
    double worth;
    int64_t at;
} unit;

static int by_worth(const void *a, const void *b) // the first of equal ones stays
{
    const unit *x = a, *y = b;
    return x->worth != y->worth ? (x->worth < y->worth ? 1 : -1) : x->at < y->at ? -1 : x->at > y->at;
}

static int by_place(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static hs_status choose(work *k, cut *c)
{
    const int64_t units = c->pair->n / c->wide;
    double *worth = calloc((size_t)units + 1, sizeof *worth);
    unit *u = calloc((size_t)units + 1, sizeof *u);
    c->stays = calloc((size_t)units + 1, sizeof *c->stays);
    hs_status st = worth && u && c->stays ? HS_OK : HS_FAIL(MEMORY, "no memory to choose among %lld", (long long)units);
    if (st == HS_OK)
        st = add_rows(k, c->pair->from, c, worth);
    if (st == HS_OK && c->pair->bias)
        st = add_rows(k, c->pair->bias, c, worth);
    if (st == HS_OK)
        st = add_columns(k, c->pair->to, c, worth);
    for (int64_t i = 0; st == HS_OK && i < units; i++)
        u[i] = (unit){ worth[i], i }, k->all += worth[i];
    if (st == HS_OK) {
        qsort(u, (size_t)units, sizeof *u, by_worth);
        for (int64_t i = 0; i < c->n; i++)
            c->stays[i] = u[i].at, k->kept += u[i].worth;
        qsort(c->stays, (size_t)c->n, sizeof *c->stays, by_place);
    }
    free(worth), free(u);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- parameters of the narrow model

static const cut *cut_of(const work *k, const hs_param *p, bool *columns)
{
    for (int i = 0; i < k->n; i++) {
        *columns = k->cut[i].pair->to == p;
        if (*columns || k->cut[i].pair->from == p || k->cut[i].pair->bias == p)
            return &k->cut[i];
    }
    return NULL;
}

// Lines of what stays, one behind the other: of `outer` pieces, each of so many lines of `width`.
static float *take_lines(const float *from, float *to, const cut *c, int64_t outer, int64_t width)
{
    for (int64_t o = 0; o < outer; o++, from += c->pair->n * width)
        for (int64_t i = 0; i < c->n; i++, to += c->wide * width)
            memcpy(to, from + c->stays[i] * c->wide * width, (size_t)(c->wide * width) * sizeof *to);
    return to;
}

static hs_status cut_param(const work *k, const hs_params *before, hs_params *ps, const hs_param *p)
{
    const hs_param *old = hs_params_find(before, p->name);
    bool columns = false;
    if (!old)
        return HS_FAIL(INTERNAL, "the narrow model has a parameter %s, which the whole one has not", p->name);
    const cut *c = cut_of(k, old, &columns);
    const int64_t n = hs_param_elements(old), left = hs_param_elements(p);
    float *w = malloc((size_t)n * sizeof *w), *narrow = malloc((size_t)(left > n ? left : n) * sizeof *narrow);
    hs_status st = w && narrow ? HS_OK : HS_FAIL(MEMORY, "no memory for %s", p->name);
    if (st == HS_OK) {
        hs_params_export(before, before->master, old, w);
        const int64_t width = old->n_dims > 1 ? hs_param_cols(old) : 1;
        const float *end = !c ? w + n : columns ? take_lines(w, narrow, c, n / c->pair->n, 1) : take_lines(w, narrow, c, old->parts, width);
        if (end - (c ? narrow : w) != left)
            st = HS_FAIL(INTERNAL, "%s has %lld elements in the narrow model, %lld were to stay", p->name, (long long)left,
                         (long long)(end - (c ? narrow : w)));
        else
            st = hs_params_import(ps, ps->master, p, c ? narrow : w);
    }
    free(w), free(narrow);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status trace(hs_export_model *m)
{
    const hs_arch_shape shape = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    hs_graph *g;
    HS_TRY(hs_params_new(&m->params, 0, 0, 1));
    HS_TRY(hs_export_model_trace(m, HS_EVAL, &shape, &g));
    hs_graph_free(g);
    return hs_params_alloc(m->params, NULL, false);
}

static hs_status settle(work *k)
{
    hs_export_model *m = k->m;
    const hs_family *f = m->arch.family;
    const int64_t width = hs_arch_int(m->arch, "model.width"), heads = hs_arch_int(m->arch, "model.heads"),
                  own = hs_arch_int(m->arch, "model.head_width");
    if (k->heads < heads) {
        HS_TRY(hs_arch_set(f, &m->info.settings, "model.head_width", own ? own : width / heads));
        HS_TRY(hs_arch_set(f, &m->info.settings, "model.heads", k->heads));
    }
    HS_TRY(hs_arch_set(f, &m->info.settings, "model.ff", k->ff));
    return hs_arch_check(m->arch);
}

static hs_status rebuild(work *k)
{
    hs_params *before = k->m->params;
    k->m->params = NULL;
    hs_status st = settle(k);
    if (st == HS_OK)
        st = trace(k->m);
    for (int i = 0; st == HS_OK && i < k->m->params->n_params; i++)
        st = cut_param(k, before, k->m->params, k->m->params->param[i]);
    hs_params_free(before);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- how much

static hs_status check(const hs_export_model *m, const hs_narrow_opts *o)
{
    if (m->info.sparsity.pattern[0])
        return HS_FAIL(USAGE, "%s is pruned already: %s in %s; heads and columns first, then the pattern", m->dir, m->info.sparsity.pattern,
                       m->info.sparsity.weights);
    if (m->info.coded)
        return HS_FAIL(USAGE, "%s is quantized: prune the folder that it was made from, and quantize that", m->dir);
    if (!hs_schema_find(m->arch.family->settings, NULL, "model.head_width").key)
        return HS_FAIL(UNSUPPORTED, "%s: a %s of fewer heads or columns than its width says has no form here", m->dir,
                       m->arch.family->title);
    return o->heads > 0 || o->ff > 0 ? HS_OK : HS_FAIL(USAGE, "neither heads nor columns are to be left out");
}

// Whole heads, one at least.
static int64_t heads_left(int64_t heads, double share)
{
    const int64_t left = heads - (int64_t)floor((double)heads * share + 0.5);
    return left < 1 ? 1 : left;
}

static int64_t columns_left(int64_t ff, double share)
{
    const int64_t left = ff - (int64_t)floor((double)ff * share / 8 + 0.5) * 8;
    return left < 8 ? 8 : left;
}

// Not of a head of the model's.
static bool in_layer(hs_arch m, const hs_param *p)
{
    const int at = m.family->depth(m.settings, p->name);
    return at > 0 && at < m.family->depth(m.settings, "");
}

static hs_status find_cuts(work *k, hs_narrowed *out)
{
    k->cut = calloc((size_t)k->n + 1, sizeof *k->cut);
    if (!k->cut)
        return HS_FAIL(MEMORY, "no memory for %d pairs of layers", k->n);
    int n = 0;
    for (int i = 0; i < k->n; i++) {
        const hs_channel_pair *p = &k->pair[i];
        int64_t *before = is_heads(p) ? &out->heads_before : &out->ff_before, *left = is_heads(p) ? &k->heads : &k->ff;
        cut c = { .pair = p, .wide = is_heads(p) ? p->block : 1 };
        const int64_t units = p->n / c.wide;
        if (!in_layer(k->m->arch, p->to))
            continue;
        if (*before && *before != units)
            return HS_FAIL(UNSUPPORTED, "%s: its layers are not alike: %s has %lld, others %lld", k->m->dir, p->to->name, (long long)units,
                           (long long)*before);
        *before = units;
        *left = c.n = is_heads(p) ? heads_left(units, k->o->heads) : columns_left(units, k->o->ff);
        k->cut[n++] = c;
    }
    k->n = n;
    out->heads = k->heads, out->ff = k->ff;
    if (out->heads == out->heads_before && out->ff == out->ff_before)
        return HS_FAIL(USAGE, "%s: of %lld heads and %lld columns in a layer nothing is left out by these shares", k->m->dir,
                       (long long)out->heads_before, (long long)out->ff_before);
    return HS_OK;
}

static hs_status narrow(work *k, hs_narrowed *out)
{
    HS_TRY(find_cuts(k, out));
    for (int i = 0; i < k->n; i++)
        HS_TRY(choose(k, &k->cut[i]));
    out->parameters_before = (int64_t)hs_params_count(k->m->params);
    HS_TRY(rebuild(k));
    out->parameters = (int64_t)hs_params_count(k->m->params);
    out->kept = k->all > 0 ? k->kept / k->all : 0;
    return HS_OK;
}

hs_status hs_narrow(hs_export_model *m, const hs_graph *g, const hs_narrow_opts *o, hs_narrowed *out)
{
    work k = { .m = m, .o = o };
    *out = (hs_narrowed){ 0 };
    HS_TRY(check(m, o));
    hs_status st = hs_channel_pairs(g, &k.pair, &k.n);
    const int all = k.n;
    if (st == HS_OK)
        st = narrow(&k, out);
    for (int i = 0; k.cut && i < all; i++)
        free(k.cut[i].stays);
    free(k.cut);
    free(k.pair);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
