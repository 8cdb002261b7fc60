// plan_budget: compute that there is, as parameters and tokens, by every law that is known here, and the shipped recipe that is nearest.
#include "core/base/log.h"
#include "recipes/program/laws.h"
#include "recipes/program/plan_parts.h"
#include "recipes/train/progress.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

hs_status hs_spend_parse(hs_spend *out, const char *text)
{
    char *end;
    const double v = strtod(text, &end);
    const bool hours = strcmp(end, "h") == 0, days = strcmp(end, "d") == 0;
    *out = (hs_spend){ .flops = hours || days ? 0 : v, .hours = hours ? v : days ? 24 * v : 0 };
    if (end == text || (*end && !hours && !days))
        return HS_FAIL(USAGE, "--budget is '%s', must be a number of FLOPs (1e21), or hours or days with h or d behind them (24h, 3d)",
                       text);
    if (!(v > 0 && v < 1e40))
        return HS_FAIL(USAGE, "--budget is %s, allowed above 0 to 1e40", text);
    if (out->flops && out->flops < 1e9)
        return HS_FAIL(USAGE, "--budget is %s FLOPs, no model is trained with less than 1e9; hours have an h behind them (%sh)", text,
                       text);
    return HS_OK;
}

// ---- sizes of models

typedef struct size {
    char name[64];
    double all, inner; // parameters; without embeddings
} size;

static hs_status size_of(const hs_config *c, hs_device *dev, size *out)
{
    const hs_policy fp32 = { .low = HS_F32 };
    hs_engine *e;
    HS_TRY(hs_budget_engine(&e, c, &fp32, 1, dev, NULL, false, (hs_coder){ 0 }));
    out->all = out->inner = (double)hs_params_count(e->params);
    for (int i = 0; i < e->params->n_params; i++) {
        const hs_param *p = e->params->param[i];
        out->inner -= p->role == HS_EMBED ? (double)hs_param_elements(p) : 0;
    }
    hs_engine_free(e);
    return HS_OK;
}

// Of a recipe for such batches whose size its file says and that trains a model from nothing: others are of no size, or of another's.
static bool sized(const hs_cli *cli, const char *name, hs_batch_kind batch, hs_config *c, hs_device *dev, size *out)
{
    hs_cli plain = *cli;
    int64_t wordpieces;
    plain.n_overrides = 0;
    if (hs_cli_config(&plain, name, c) != HS_OK || hs_config_check(c, false) != HS_OK || hs_config_batch(c) != batch || hs_config_learns(c))
        return false;
    if (!hs_config_model_int(c, "model.vocab") &&
        (!hs_config_wordpiece(c, &wordpieces) || hs_config_set_int(c, "model.vocab", wordpieces, "plan") != HS_OK))
        return false;
    snprintf(out->name, sizeof out->name, "%s", name);
    return size_of(c, dev, out) == HS_OK;
}

static int recipes_of(const hs_cli *cli, hs_batch_kind batch, hs_config *c, hs_device *dev, size out[64])
{
    hs_recipes *r = malloc(sizeof *r);
    int n = 0;
    if (r)
        hs_config_recipes(r);
    for (int i = 0; r && i < r->n; i++)
        n += sized(cli, r->sorted[i], batch, c, dev, &out[n]);
    free(r);
    return n;
}

static double counted(const hs_law *l, const size *s) { return strcmp(l->counts, "all") ? s->inner : s->all; }

static const size *nearest(const hs_law *l, double parameters, const size *s, int n)
{
    const size *best = NULL;
    for (int i = 0; i < n; i++)
        if (!best || fabs(log(counted(l, &s[i]) / parameters)) < fabs(log(counted(l, best) / parameters)))
            best = &s[i];
    return best;
}

// ---- output

typedef struct question {
    double flops;
    const size *own, *recipe;
    int n_recipes;
} question;

static void print_row(const char *law, const char *what, double parameters, double tokens, double loss, const char *more)
{
    char n[32], d[32], l[32] = "-";
    if (isfinite(loss))
        snprintf(l, sizeof l, "%.3f", loss);
    printf("%-17s %-18s %10s %10s %12.3g %7s  %s\n", law, what, hs_human_count(parameters, n, sizeof n),
           hs_human_count(tokens, d, sizeof d), tokens / parameters, l, more);
}

static void print_laws(const question *q)
{
    char near[128], n[32];
    printf("%-17s %-18s %10s %10s %12s %7s  %s\n", "law", "N counts", "parameters", "tokens", "tokens per N", "loss", "nearest recipe");
    for (int i = 0; i < hs_n_laws; i++) {
        const hs_law *l = &hs_laws[i];
        const double best = l->best(q->flops);
        const size *s = nearest(l, best, q->recipe, q->n_recipes);
        if (s)
            snprintf(near, sizeof near, "%s (%s, %.2g of it)", s->name, hs_human_count(counted(l, s), n, sizeof n), counted(l, s) / best);
        print_row(l->name, l->counts, best, hs_law_tokens(q->flops, best), hs_law_best_loss(l, q->flops), s ? near : "");
    }
    printf("\nthis model with as much compute\n");
    for (int i = 0; i < hs_n_laws; i++) {
        const hs_law *l = &hs_laws[i];
        const double have = counted(l, q->own), tokens = hs_law_tokens(q->flops, have);
        if (l->loss)
            print_row(l->name, l->counts, have, tokens, l->loss(have, tokens), "");
    }
    printf("\ntokens follow from C = 6 N D; losses are nats a token of models that read left to right, each of its authors' text and "
           "tokenizer\n");
    for (int i = 0; i < hs_n_laws; i++)
        printf("%-17s %s\n%-17s %s\n", hs_laws[i].name, hs_laws[i].formula, "", hs_laws[i].source);
}

static json_t *laws_json(const question *q)
{
    json_t *list = json_array();
    for (int i = 0; i < hs_n_laws; i++) {
        const hs_law *l = &hs_laws[i];
        const double best = l->best(q->flops), have = counted(l, q->own), tokens = hs_law_tokens(q->flops, have);
        const size *s = nearest(l, best, q->recipe, q->n_recipes);
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:o, s:o, s:o, s:s*, s:o, s:o, s:o, s:s, s:s}", "law", l->name, "counts", l->counts, "parameters",
                            hs_line_real(best), "tokens", hs_line_real(hs_law_tokens(q->flops, best)), "loss",
                            hs_line_real(hs_law_best_loss(l, q->flops)), "nearest_recipe", s ? s->name : NULL, "own_parameters",
                            hs_line_real(have), "own_tokens", hs_line_real(tokens), "own_loss",
                            l->loss ? hs_line_real(l->loss(have, tokens)) : json_null(), "formula", l->formula, "source", l->source));
    }
    return list;
}

hs_status hs_spend_show(const hs_cli *cli, const hs_config *c, const hs_policy *policy, const hs_spend *spend, const hs_cluster *cluster,
                        int devices, hs_device *dev)
{
    size own, recipe[64];
    double rate = 0;
    hs_config *other = malloc(sizeof *other);
    if (!other)
        return HS_FAIL(MEMORY, "no memory for a recipe's settings");
    hs_status st = size_of(c, dev, &own);
    if (st == HS_OK && spend->hours)
        st = hs_cluster_rate_of(cluster, policy->low, &rate);
    question q = { .flops = spend->hours ? 3600 * spend->hours * devices * rate : spend->flops, .own = &own, .recipe = recipe };
    if (st == HS_OK)
        q.n_recipes = recipes_of(cli, hs_config_batch(c), other, dev, recipe);
    free(other);
    HS_TRY(st);
    if (hs_cli_common(cli)->json) {
        hs_line_print(json_pack("{s:o, s:o, s:o, s:i, s:o}", "flops", hs_line_real(q.flops), "hours", hs_line_real(spend->hours),
                                "flops_per_second", hs_line_real(rate * devices), "devices", devices, "laws", laws_json(&q)));
        return HS_OK;
    }
    printf("budget       %.4g FLOPs, %.4g PF-days", q.flops, q.flops / HS_PF_DAY);
    if (spend->hours)
        printf(": %.4g hours of %d device%s at %.4g TFLOP/s each", spend->hours, devices, hs_plural(devices), rate / 1e12);
    printf("\n\n");
    print_laws(&q);
    return HS_OK;
}
