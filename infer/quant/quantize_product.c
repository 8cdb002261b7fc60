// quantize_product: decisions by parameter, k-means by logical tensor, an export with what they came to.
#include "infer/quant/quantize_product.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct hs_products {
    hs_export_model *from;
    hs_products_opts opts;
    hs_produced *what;        // by hs_param.id
    hs_product **product;     // of each logical tensor, n_made
    hs_ckpt_product *written; // the same, for the file
    int n_made, room;
};

const char *hs_product_declines(const hs_param *p, const hs_coding_uses *u, const hs_coding_wish *wish, const hs_product_opts *o,
                                hs_product_part *part)
{
    const int64_t rows = hs_param_part_rows(p), cols = hs_param_cols(p);
    *part = u->looked_up ? HS_PRODUCT_TABLE : strstr(p->name, ".attn.") ? HS_PRODUCT_ATTENTION : HS_PRODUCT_FFN;
    if (p->n_dims != 2 || (!u->multiplied && !u->looked_up))
        return "no product reads it";
    if (u->looked_up && !wish->tables)
        return "a table of embeddings";
    if (hs_patterns_fit(wish->skip, p->name))
        return "to be skipped";
    if (cols % o->block)
        return "blocks do not divide its width";
    if (hs_product_bytes(rows, cols, o->block, o->centroids) > 2.0 * (double)(rows * cols))
        return "its centroids would take more than half of it";
    return NULL;
}

static hs_status decide(hs_products *q)
{
    const hs_params *ps = q->from->params;
    const hs_coding_wish wish = { .tables = q->opts.tables, .skip = q->opts.skip };
    const hs_arch_shape eval = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = hs_arch_bare(q->from->arch) };
    hs_graph *g;
    hs_name_piece piece[HS_NAME_PIECES];
    int kept = 0, n;
    hs_coding_uses *of = calloc((size_t)ps->n_params + 1, sizeof *of);
    if (!of)
        return HS_FAIL(MEMORY, "no memory to decide on %d parameters", ps->n_params);
    hs_status st = hs_coding_check(&wish, ps, "--skip");
    if (st == HS_OK)
        st = hs_export_model_trace(q->from, HS_EVAL, &eval, &g);
    if (st == HS_OK) {
        hs_coding_uses_of(of, g);
        hs_graph_free(g);
    }
    for (int i = 0; i < ps->n_params && st == HS_OK; i++) {
        hs_produced *w = &q->what[i];
        w->param = ps->param[i];
        w->why = hs_product_declines(w->param, &of[i], &wish, &q->opts.product, &w->part);
        st = hs_export_pieces(q->from, w->param, piece, &n);
        const size_t end = st == HS_OK ? strlen(piece->name) : 0;
        if (st == HS_OK && !w->why && (end < 7 || strcmp(piece->name + end - 7, ".weight") != 0))
            w->why = "files have no weight of that name";
        kept += !w->why, q->room += w->why ? 0 : n;
    }
    free(of);
    if (st == HS_OK && !kept)
        st = HS_FAIL(USAGE, "%s: none of its %d parameters can be kept as centroids%s", q->from->dir, ps->n_params,
                     q->opts.skip ? ": some are to be skipped" : "");
    return st;
}

hs_status hs_products_new(hs_products **out, hs_export_model *from, const hs_products_opts *o)
{
    hs_products *q = *out = calloc(1, sizeof *q);
    hs_status st = q ? HS_OK : HS_FAIL(MEMORY, "no memory to quantize %s", from->dir);
    if (q) {
        *q = (hs_products){ .from = from, .opts = *o, .what = calloc((size_t)from->params->n_params + 1, sizeof *q->what) };
        st = q->what ? decide(q) : HS_FAIL(MEMORY, "no memory to quantize %s", from->dir);
    }
    if (st == HS_OK) {
        q->product = calloc((size_t)q->room, sizeof *q->product), q->written = calloc((size_t)q->room, sizeof *q->written);
        st = q->product && q->written ? HS_OK : HS_FAIL(MEMORY, "no memory for %d tensors of centroids", q->room);
    }
    if (st == HS_OK)
        return HS_OK;
    hs_products_free(q);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_products_free(hs_products *q)
{
    if (!q)
        return;
    for (int i = 0; i < q->n_made; i++)
        hs_product_free(q->product[i]);
    free(q->product);
    free(q->written);
    free(q->what);
    free(q);
}

// Behind the paper's sizes: centroids in f16.
static hs_status to_halves(hs_product *p, const char *name)
{
    for (int i = 0; i < p->centroids * p->block; i++) {
        p->centroid[i] = hs_f16_f32(hs_f32_f16(p->centroid[i]));
        if (!isfinite(p->centroid[i]))
            return HS_FAIL(USAGE, "%s: a weight is too large for f16, as which centroids are written", name);
    }
    return HS_OK;
}

static hs_status make_one(hs_products *q, hs_produced *w, const float *values, int part)
{
    const hs_param *p = w->param;
    const int64_t rows = hs_param_part_rows(p) * (part ? 1 : p->parts), cols = hs_param_cols(p);
    hs_product *made;
    HS_TRY(hs_product_new(&made, values + (part ? part - 1 : 0) * rows * cols, rows, cols, &q->opts.product));
    q->product[q->n_made] = made;
    q->written[q->n_made++] = (hs_ckpt_product){
        .param = p, .part = part, .block = made->block, .centroids = made->centroids, .centroid = made->centroid, .index = made->index
    };
    w->error = fmax(w->error, made->error), w->centroids = made->centroids;
    return to_halves(made, p->name);
}

static hs_status make_all(hs_products *q, hs_produced *w)
{
    hs_name_piece piece[HS_NAME_PIECES];
    int n;
    HS_TRY(hs_export_pieces(q->from, w->param, piece, &n));
    float *values = malloc((size_t)hs_param_elements(w->param) * sizeof *values);
    if (!values)
        return HS_FAIL(MEMORY, "no memory for the values of %s", w->param->name);
    hs_status st = hs_params_values(q->from->params, w->param, values);
    for (int k = 0; k < n && st == HS_OK; k++)
        st = make_one(q, w, values, piece[k].part);
    free(values);
    return st;
}

hs_status hs_products_write(hs_products *q, const char *dir, bool overwrite)
{
    const hs_export_model *m = q->from;
    for (int i = 0; i < m->params->n_params; i++)
        if (!q->what[i].why)
            HS_TRY(make_all(q, &q->what[i]));
    return hs_sentence_export(dir, &(hs_export_opts){ .dtype = HS_F32, .overwrite = overwrite },
                              &(hs_ckpt_opts){ .files = m->info.files, .product = q->written, .n_products = q->n_made }, m->params,
                              &m->info, m->tokenizer, &m->sentence, m->path, hs_arch_int(m->arch, "model.width"));
}

const hs_produced *hs_products_at(const hs_products *q, int i, int *n)
{
    *n = q->from->params->n_params;
    return i < *n ? &q->what[i] : NULL;
}

double hs_products_bytes(const hs_products *q)
{
    double sum = 0;
    for (int i = 0; i < q->from->params->n_params; i++) {
        const hs_param *p = q->what[i].param;
        sum += q->what[i].why ? 4.0 * (double)hs_param_elements(p) : 0;
    }
    for (int i = 0; i < q->n_made; i++)
        sum += (double)(q->product[i]->rows * q->product[i]->cols / q->product[i]->block) +
               2.0 * q->product[i]->block * q->product[i]->centroids;
    return sum;
}
