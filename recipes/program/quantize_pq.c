// quantize_pq: the export, and what is told of it.
#include "recipes/program/quantize_pq.h"
#include "data/checkpoint/new_folder.h"
#include <jansson.h>
#include <stdio.h>

static const char *const part_words[HS_N_PRODUCT_PARTS] = { "feed-forward", "table", "attention" };

static void tell_layers(const hs_products *q)
{
    int n;
    printf("%-44s %-16s %10s %10s\n", "parameter", "kept as", "error", "centroids");
    for (int i = 0; hs_products_at(q, i, &n); i++) {
        const hs_produced *w = hs_products_at(q, i, &n);
        if (w->param->n_dims < 2)
            continue;
        if (w->why)
            printf("%-44s %-16s %s\n", w->param->name, "f32", w->why);
        else
            printf("%-44s %-16s %9.2f%% %10d\n", w->param->name, part_words[w->part], 100 * w->error, w->centroids);
    }
}

static void report(const hs_products *q, const hs_quantize_pq *o, const hs_export_model *from)
{
    int n, kept = 0;
    double worst = 0;
    const char *worst_of = "";
    for (int i = 0; hs_products_at(q, i, &n); i++) {
        const hs_produced *w = hs_products_at(q, i, &n);
        kept += !w->why;
        if (w->error > worst)
            worst = w->error, worst_of = w->param->name;
    }
    const double before = 4e-6 * (double)hs_params_count(from->params), after = 1e-6 * hs_products_bytes(q);
    if (o->json) {
        hs_line_print(json_pack("{s:s, s:s, s:i, s:i, s:o, s:o, s:o, s:s}", "output", o->output, "bits", "pq", "parameters", n, "coded",
                                kept, "megabytes", hs_line_real(after), "megabytes_f32", hs_line_real(before), "worst_error",
                                hs_line_real(worst), "worst_of", worst_of));
        return;
    }
    if (o->layers)
        tell_layers(q);
    printf(
        "%s: blocks of %d, %d of %d parameters as indices of centroids; %.2f MB, in f32 %.1f MB; largest error of a weight %.2f %% (%s)\n",
        o->output, o->products.product.block, kept, n, after, before, 100 * worst, worst_of);
}

static hs_status quantize(const hs_cli *cli, const hs_quantize_pq *o, hs_export_model *m)
{
    const hs_arch_shape eval = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    hs_products *q;
    hs_graph *g;
    HS_TRY(hs_export_model_open(m, o->checkpoint, o->want, cli->table->families));
    if (m->info.coded)
        return HS_FAIL(USAGE, "%s is quantized already: take the checkpoint that it was made from", m->dir);
    HS_TRY(hs_new_folder_apart(o->output, m->dir));
    HS_TRY(hs_export_model_trace(m, HS_EVAL, &eval, &g));
    hs_graph_free(g);
    HS_TRY(hs_export_model_load(m));
    HS_TRY(hs_products_new(&q, m, &o->products));
    const hs_status st = hs_products_write(q, o->output, o->overwrite);
    if (st == HS_OK)
        report(q, o, m);
    hs_products_free(q);
    return st;
}

hs_status hs_quantize_pq_run(const hs_cli *cli, const hs_quantize_pq *o)
{
    static const char *const others[] = { "calib", "examples",  "method",    "percentile", "round",       "smooth",
                                          "gate",  "gelu-most", "gate.data", "auto",       "activations", "sensitivity" };
    hs_export_model m = { 0 };
    for (int i = 0; i < HS_COUNT(others); i++)
        if (hs_cli_given(cli, others[i]))
            return HS_FAIL(USAGE, "--%s is not of --bits pq, which looks at weights alone", others[i]);
    const hs_status st = quantize(cli, o, &m);
    hs_export_model_close(&m);
    return st;
}
