// quant_trials: see the header. A trial is a directory like the one that will be written, so that what is measured is what will be used.
#include "recipes/program/quant_trials.h"
#include "core/base/log.h"
#include "data/checkpoint/ckpt_io.h"
#include "data/report/metrics.h"
#include "recipes/program/measure.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hs_status list_weights(hs_quant_trials *t)
{
    hs_quantizing *q;
    int n;
    HS_TRY(hs_quantizing_new(&q, t->from, t->cli->table->families, &t->opts, t->seen, t->seen_params));
    hs_quantizing_at(q, 0, &n);
    t->weight = calloc((size_t)n + 1, sizeof *t->weight), t->keep = calloc((size_t)n + 1, sizeof *t->keep);
    for (int i = 0; t->weight && t->keep && i < n; i++) {
        const hs_quantized *w = hs_quantizing_at(q, i, &n);
        if (w->coding)
            t->weight[t->n++] = (hs_quant_weight){ .id = i, .name = w->param->name, .elements = (double)w->param->n, .rise = NAN };
    }
    hs_quantizing_free(q);
    return t->weight && t->keep ? HS_OK : HS_FAIL(MEMORY, "no memory for %d weights", n);
}

hs_status hs_quant_trials_open(hs_quant_trials *t, const hs_quant_trials *of, const char *output)
{
    *t = *of;
    HS_TRY(hs_path_join(t->dir, "%s.trial-%ld", output, (long)getpid()));
    HS_TRY(list_weights(t));
    return hs_eval_measure(t->cli, t->cli->arg[0], t->data, &t->original);
}

void hs_quant_trials_close(hs_quant_trials *t)
{
    if (t->dir[0])
        hs_remove_tree(&hs_io_system, t->dir);
    json_decref(t->original);
    free(t->weight);
    free(t->keep);
    *t = (hs_quant_trials){ 0 };
}

hs_status hs_quant_trial(hs_quant_trials *t, json_t **measured)
{
    hs_quantizing *q;
    hs_quantize_opts opts = t->opts;
    opts.keep = t->keep;
    *measured = NULL;
    HS_TRY(hs_quantizing_new(&q, t->from, t->cli->table->families, &opts, t->seen, t->seen_params));
    hs_status st = hs_quantizing_write(q, t->dir, false);
    hs_quantizing_free(q);
    if (st == HS_OK)
        st = hs_eval_measure(t->cli, t->dir, t->data, measured);
    hs_remove_tree(&hs_io_system, t->dir);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static double loss_of(const json_t *measured) { return json_number_value(json_object_get(measured, "loss")); }

static int by_rise(const void *a, const void *b)
{
    const hs_quant_weight *x = a, *y = b;
    return x->rise > y->rise ? -1 : x->rise < y->rise ? 1 : x->id - y->id;
}

// Keeps all weights but one, or none.
static void keep_but(hs_quant_trials *t, int only)
{
    for (int i = 0; i < t->n; i++)
        t->keep[t->weight[i].id] = only >= 0 && i != only;
}

hs_status hs_quant_trials_sensitivity(hs_quant_trials *t)
{
    for (int i = 0; i < t->n; i++) {
        json_t *measured;
        keep_but(t, i);
        HS_TRY(hs_quant_trial(t, &measured));
        t->weight[i].rise = loss_of(measured) - loss_of(t->original);
        json_decref(measured);
        hs_info("%s alone: loss %+.5f", t->weight[i].name, t->weight[i].rise);
    }
    keep_but(t, -1);
    qsort(t->weight, (size_t)t->n, sizeof *t->weight, by_rise);
    return HS_OK;
}

// ---- the fastest mix: what a weight costs in time goes with its size, so those that lose most for it stay

static int by_worth(const void *a, const void *b)
{
    const hs_quant_weight *x = a, *y = b;
    const double p = x->rise / x->elements, q = y->rise / y->elements;
    return p > q ? -1 : p < q ? 1 : x->id - y->id;
}

static void keep_first(hs_quant_trials *t, int n)
{
    for (int i = 0; i < t->n; i++)
        t->keep[t->weight[i].id] = t->weight[i].kept = i < n;
}

static hs_status misses(hs_quant_trials *t, const hs_gate *g, int kept, double *miss, char *why, size_t size)
{
    json_t *measured;
    keep_first(t, kept);
    HS_TRY(hs_quant_trial(t, &measured));
    const hs_status st = hs_gate_judge(g, t->original, measured, miss, why, size);
    json_decref(measured);
    if (st == HS_OK)
        hs_info("%d of %d weights as they were: %s", kept, t->n, *miss > 0 ? why : "the gate passes");
    return st;
}

hs_status hs_quant_trials_search(hs_quant_trials *t, const hs_gate *g)
{
    char why[256], best[320] = "";
    double miss, least = INFINITY;
    int fails = -1, passes = t->n; // numbers kept; with all of them it is the original
    HS_TRY(hs_quant_trials_sensitivity(t));
    qsort(t->weight, (size_t)t->n, sizeof *t->weight, by_worth);
    while (passes - fails > 1) {
        const int half = fails < 0 ? 0 : fails + (passes - fails) / 2;
        HS_TRY(misses(t, g, half, &miss, why, sizeof why));
        if (miss > 0 && miss < least)
            least = miss, snprintf(best, sizeof best, "%s, with %d of %d weights as they were", why, half, t->n);
        *(miss > 0 ? &fails : &passes) = half;
    }
    if (passes == t->n)
        return HS_FAIL(USAGE, "no mix passes the gate; the best: %s", best);
    keep_first(t, passes);
    return HS_OK;
}

// ---- a report

static hs_status write_json(const hs_quant_trials *t, const char *path)
{
    json_t *all = json_array();
    for (int i = 0; i < t->n; i++)
        json_array_append_new(all, json_pack("{s:s, s:f, s:f, s:b}", "weight", t->weight[i].name, "loss_rise", t->weight[i].rise,
                                             "elements", t->weight[i].elements, "kept", t->weight[i].kept));
    json_t *root = json_pack("{s:O, s:o}", "original", t->original, "alone", all);
    const bool failed = !root || json_dump_file(root, path, JSON_INDENT(2));
    json_decref(root);
    return failed ? HS_FAIL(SYSTEM, "%s: cannot be written", path) : HS_OK;
}

hs_status hs_quant_trials_report(hs_quant_trials *t, const char *folder)
{
    char path[HS_PATH];
    qsort(t->weight, (size_t)t->n, sizeof *t->weight, by_rise);
    HS_TRY(hs_make_dirs(&hs_io_system, folder));
    HS_TRY(hs_path_join(path, "%s/sensitivity.json", folder));
    HS_TRY(write_json(t, path));
    HS_TRY(hs_path_join(path, "%s/sensitivity.png", folder));
    if (!hs_plot_available())
        return HS_OK;
    hs_bar *bar = calloc((size_t)t->n + 1, sizeof *bar);
    if (!bar)
        return HS_FAIL(MEMORY, "no memory for %d bars", t->n);
    for (int i = 0; i < t->n; i++)
        bar[i] = (hs_bar){ t->weight[i].name, t->weight[i].rise, t->weight[i].kept };
    const hs_status st =
        hs_bars_png(path, "loss by the weight that alone is kept as codes", "rise of the loss (red: stays as it was)", bar, t->n);
    free(bar);
    return st;
}
