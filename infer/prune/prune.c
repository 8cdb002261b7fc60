// prune: which weights are pruned, and how config.json says it; see the header.
#include "infer/prune/prune.h"
#include "infer/prune/permute.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_matrix(const hs_param *p) { return p->role == HS_WEIGHT && p->n_dims == 2 && !p->pair_parts; }

// What tensor cores take: other matrices would be pruned for nothing.
static bool is_eligible(const hs_param *p) { return is_matrix(p) && hs_param_part_rows(p) % 8 == 0 && hs_param_cols(p) % 16 == 0; }

// Is the name one of the scopes "a|b", or in one?
static bool in_scopes(const char *scopes, const char *name)
{
    for (const char *p = scopes; p && *p; p += strcspn(p, "|"), p += *p == '|') {
        const size_t n = strcspn(p, "|");
        if (strncmp(name, p, n) == 0 && (name[n] == '.' || !name[n]))
            return true;
    }
    return false;
}

// Embeddings, heads and a second network beside the model are pruned only where somebody names them.
static bool is_usual(const hs_model_files *f, const hs_param *p)
{
    return !in_scopes("embed", p->name) && !in_scopes(f->heads, p->name) && !in_scopes(f->second.scope, p->name);
}

static bool is_given(const char *patterns) { return patterns && patterns[0]; }

static hs_status check_names(const hs_params *ps, const char *patterns, const char *what)
{
    const char **names = malloc(((size_t)ps->n_params + 1) * sizeof *names);
    if (!names)
        return HS_FAIL(MEMORY, "no memory for the names of %d parameters", ps->n_params);
    for (int i = 0; i < ps->n_params; i++)
        names[i] = ps->param[i]->name;
    const hs_status st = hs_patterns_check(patterns, names, ps->n_params, what);
    free(names);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_prune_choose(const hs_export_model *m, const hs_prune_opts *o, bool *chosen, int *n)
{
    const hs_params *ps = m->params;
    const bool only = is_given(o->only);
    *n = 0;
    HS_TRY(check_names(ps, o->only, "--only"));
    HS_TRY(check_names(ps, o->skip, "--skip"));
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        chosen[i] =
            is_eligible(p) && (only ? hs_patterns_fit(o->only, p->name) : is_usual(m->info.files, p)) && !hs_patterns_fit(o->skip, p->name);
        *n += chosen[i];
    }
    if (*n)
        return HS_OK;
    return HS_FAIL(USAGE, "%s: nothing to prune: %sweights need a multiple of 8 outputs and of 16 inputs", m->dir,
                   only || is_given(o->skip) ? "no weight is left by --only and --skip; " : "");
}

// ---- names for config.json

// "l11.ff.up.weight" as "l*.ff.up.weight"; false: no number, or no room.
static bool general(const char *name, char *out, size_t size)
{
    size_t n = 0;
    bool any = false;
    for (const char *p = name; *p && n + 1 < size; p++)
        if (isdigit((unsigned char)*p)) {
            any = true;
            if (!isdigit((unsigned char)p[1]))
                out[n++] = '*';
        } else {
            out[n++] = *p;
        }
    out[n] = 0;
    return any && n + 1 < size;
}

// Whatever training would keep zeros of by that pattern is chosen.
static bool means_chosen(const hs_params *ps, const bool *chosen, const char *pattern)
{
    for (int i = 0; i < ps->n_params; i++)
        if (is_matrix(ps->param[i]) && !chosen[i] && hs_patterns_fit(pattern, ps->param[i]->name))
            return false;
    return true;
}

static bool add_pattern(hs_sparsity *s, const char *pattern)
{
    const size_t used = strlen(s->weights);
    return (size_t)snprintf(s->weights + used, sizeof s->weights - used, "%s%s", used ? "," : "", pattern) < sizeof s->weights - used;
}

static hs_status say_weights(const hs_params *ps, const bool *chosen, hs_sparsity *s)
{
    char pattern[256];
    s->weights[0] = 0;
    for (int i = 0; i < ps->n_params; i++) {
        const char *name = ps->param[i]->name;
        if (!chosen[i] || hs_patterns_fit(s->weights, name))
            continue;
        if (!general(name, pattern, sizeof pattern) || !means_chosen(ps, chosen, pattern))
            snprintf(pattern, sizeof pattern, "%s", name);
        if (!add_pattern(s, pattern))
            return HS_FAIL(USAGE,
                           "the weights to prune take more than %zu bytes to name in config.json: choose by kind (l*.ff), not one by one",
                           sizeof s->weights - 1);
    }
    return HS_OK;
}

// ---- values

// stores: false: only looks what would come out.
static hs_status prune_weight(hs_params *ps, const hs_param *p, bool stores, hs_pruned *out)
{
    const int64_t n = hs_param_elements(p), cols = hs_param_cols(p);
    float *w = malloc((size_t)n * sizeof *w);
    if (!w)
        return HS_FAIL(MEMORY, "no memory for %lld values of %s", (long long)n, p->name);
    hs_params_export(ps, ps->master, p, w);
    hs_prune_2of4(w, n / cols, cols, &out->magnitude, &out->kept);
    for (int64_t i = 0; i < n; i++)
        out->zeros += w[i] == 0;
    const hs_status st = stores ? hs_params_import(ps, ps->master, p, w) : HS_OK;
    free(w);
    out->weights++, out->values += n;
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status prune_all(hs_params *ps, const bool *chosen, bool stores, hs_pruned *out)
{
    *out = (hs_pruned){ 0 };
    for (int i = 0; i < ps->n_params; i++)
        if (chosen[i])
            HS_TRY(prune_weight(ps, ps->param[i], stores, out));
    return HS_OK;
}

static hs_status prune_chosen(hs_export_model *m, const hs_graph *g, const bool *chosen, bool permute, hs_pruned *out)
{
    hs_sparsity s = { .pattern = "2:4" };
    hs_pruned unmoved = { 0 };
    int moved = 0;
    HS_TRY(say_weights(m->params, chosen, &s));
    if (permute) {
        HS_TRY(prune_all(m->params, chosen, false, &unmoved));
        HS_TRY(hs_prune_permute(m, g, chosen, &moved));
    }
    HS_TRY(prune_all(m->params, chosen, true, out));
    out->permuted = moved, out->kept_unmoved = unmoved.kept;
    m->info.sparsity = s;
    return HS_OK;
}

hs_status hs_prune_weights(hs_export_model *m, const hs_graph *g, const hs_prune_opts *o, hs_pruned *out)
{
    int n;
    *out = (hs_pruned){ 0 };
    if (m->info.sparsity.pattern[0])
        return HS_FAIL(USAGE, "%s is pruned already: %s in %s", m->dir, m->info.sparsity.pattern, m->info.sparsity.weights);
    if (m->info.coded)
        return HS_FAIL(USAGE, "%s is quantized: prune the folder that it was made from, and quantize that", m->dir);
    bool *chosen = calloc((size_t)m->params->n_params + 1, sizeof *chosen);
    if (!chosen)
        return HS_FAIL(MEMORY, "no memory to choose among %d parameters", m->params->n_params);
    hs_status st = hs_prune_choose(m, o, chosen, &n);
    if (st == HS_OK)
        st = prune_chosen(m, g, chosen, o->permute, out);
    free(chosen);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
