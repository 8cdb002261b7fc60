// quantize: decisions by parameter from a walk of the trace, codes from the values, and a second set of parameters that is written.
#include "infer/quant/quantize.h"
#include "core/graph/coding.h"
#include "data/checkpoint/sentence_folder.h"
#include "infer/quant/awq.h"
#include "infer/quant/gptq.h"
#include "infer/quant/round.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hs_quantizing {
    hs_export_model *from;
    const hs_family *const *families;
    hs_export_model to; // the same model, its parameters as they will be kept
    bool opened;
    hs_quantize_opts opts;
    const hs_observer *seen;
    const hs_params *seen_params;
    hs_quantized *what; // by hs_param.id of from
    bool *gelu;         // by id: what it multiplies comes out of a gelu
};

// ---- which

static bool is_gelu(const hs_tensor *x)
{
    return x->from && (!strcmp(x->from->op->name, "bias_gelu") || !strcmp(x->from->op->name, "gelu"));
}

static hs_status find_uses(hs_quantizing *q, hs_coding_uses *of)
{
    const hs_arch_shape eval = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = hs_arch_bare(q->from->arch) };
    hs_graph *g;
    HS_TRY(hs_export_model_trace(q->from, HS_EVAL, &eval, &g));
    hs_coding_uses_of(of, g);
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < HS_MAX_IN; k++) {
            const hs_node *n = g->node[i];
            const hs_tensor *t = n->in[k];
            if (!t || t->kind != HS_PARAM)
                continue;
            hs_coding_uses here = { 0 };
            hs_coding_use(&here, n, k);
            q->gelu[t->param->id] |= here.multiplied && is_gelu(n->in[0]);
        }
    hs_graph_free(g);
    return HS_OK;
}

static hs_coding wanted(const hs_quantize_opts *o)
{
    const hs_coding c = hs_quant_coding(o->bits);
    return c == HS_CODING_I8 && !o->rows ? HS_CODING_I8_STATIC : c;
}

static const hs_observed *seen_of(const hs_quantizing *q, const hs_param *p)
{
    const hs_param *same = q->seen ? hs_params_find(q->seen_params, p->name) : NULL;
    return same ? hs_observer_of(q->seen, same) : NULL;
}

// Is there anything that a scale of its inputs follows from? There is nothing of a head that this use does not ask for.
static bool has_scale(const hs_quantizing *q, const hs_param *p)
{
    return q->opts.x_scale ? q->opts.x_scale[p->id] > 0 : seen_of(q, p) != NULL;
}

static hs_status calibrate(const hs_quantizing *q, hs_quantized *w)
{
    const hs_observed *seen = seen_of(q, w->param);
    if (q->opts.x_scale) {
        w->x_scale = q->opts.x_scale[w->param->id], w->x_most = 127 * w->x_scale;
        return HS_OK;
    }
    HS_TRY(hs_calibrate(seen->x, q->opts.method, q->opts.percentile, w->param->name, &w->x_most));
    w->x_most *= seen->shrink;
    if (q->gelu[w->param->id] && q->opts.gelu_most > 0 && w->x_most > (float)q->opts.gelu_most)
        w->x_most = (float)q->opts.gelu_most;
    w->x_scale = hs_int8_scale(w->x_most);
    return HS_OK;
}

static hs_status decide(hs_quantizing *q)
{
    const hs_params *ps = q->from->params;
    const hs_coding_wish wish = { .coding = wanted(&q->opts), .tables = q->opts.embeddings, .skip = q->opts.skip };
    hs_coding_uses *of = calloc((size_t)ps->n_params + 1, sizeof *of);
    if (!of)
        return HS_FAIL(MEMORY, "no memory to decide on %d parameters", ps->n_params);
    hs_status st = hs_coding_check(&wish, ps, "--skip");
    if (st == HS_OK)
        st = find_uses(q, of);
    int coded = 0;
    for (int i = 0; i < ps->n_params && st == HS_OK; i++) {
        const hs_param *p = ps->param[i];
        q->what[i] = (hs_quantized){ .param = p };
        q->what[i].coding = hs_coding_of(&wish, p, &of[i], &q->what[i].why);
        if (!q->what[i].why && q->opts.keep && q->opts.keep[i])
            q->what[i].why = "to be skipped";
        if (p->coding)
            st = HS_FAIL(USAGE, "%s: %s is kept as codes already; take the checkpoint that was quantized", q->from->dir, p->name);
        if (q->what[i].coding == HS_CODING_I8_STATIC && !q->what[i].why && !has_scale(q, p))
            q->what[i].why = "nothing that it multiplies was seen";
        if (q->what[i].why)
            q->what[i].coding = HS_CODING_NONE;
        else
            coded++;
        if (st == HS_OK && q->what[i].coding == HS_CODING_I8_STATIC)
            st = calibrate(q, &q->what[i]);
    }
    free(of);
    if (st == HS_OK && !coded)
        st = HS_FAIL(USAGE, "%s: none of its %d parameters can be kept as codes%s", q->from->dir, ps->n_params,
                     q->opts.skip                              ? ": some are to be skipped"
                     : wanted(&q->opts) == HS_CODING_I8_STATIC ? ": of none was anything seen that it multiplies"
                                                               : "");
    return st;
}

// ---- values to codes

static hs_coding coding_of(const void *user, const hs_param_spec *spec)
{
    const hs_quantizing *q = user;
    const hs_param *p = hs_params_find(q->from->params, spec->name);
    return p ? q->what[p->id].coding : HS_CODING_NONE;
}

static double error_of(hs_coding c, const float *w, const void *codes, const void *scales, int64_t rows, int64_t cols, float *row)
{
    const size_t code = (size_t)(c == HS_CODING_I4_BLOCKS ? cols / 2 : cols);
    const size_t scale = c == HS_CODING_I8 || c == HS_CODING_I8_STATIC ? sizeof(float) : (size_t)(cols / HS_CODE_BLOCK) * sizeof(uint16_t);
    double off = 0, all = 0;
    for (int64_t r = 0; r < rows; r++) {
        hs_coded_values(c, (const char *)codes + (size_t)r * code, (const char *)scales + (size_t)r * scale, 1, cols, row);
        for (int64_t k = 0; k < cols; k++) {
            const double x = w[r * cols + k], d = x - row[k];
            off += d * d, all += x * x;
        }
    }
    return all > 0 ? sqrt(off / all) : 0;
}

// By the parameter's own shape: rows of padding stay zero.
static hs_status choose_codes(const hs_quantizing *q, const hs_param *to, hs_quantized *w, const float *values, void *codes, void *scales)
{
    const int64_t rows = to->dim[0], cols = (int64_t)to->n / rows;
    const hs_observed *seen = seen_of(q, w->param);
    const bool search = q->opts.round != HS_ROUND_NEAREST;
    w->by_outputs = false;
    if (q->opts.round < HS_ROUND_GPTQ || !seen || !seen->gram)
        return hs_round_weights(to->coding, values, rows, cols, search, to->name, codes, scales);
    if (q->opts.round == HS_ROUND_GPTQ) {
        hs_gptq_report said;
        HS_TRY(hs_gptq(to->coding, values, rows, cols, seen->gram, &(hs_gptq_opts){ .damp = 0.01, .search = search }, to->name, codes,
                       scales, &said));
        w->by_outputs = said.kept;
        return HS_OK;
    }
    hs_awq_report said;
    float *s = malloc((size_t)cols * 2 * sizeof *s);
    if (!s)
        return HS_FAIL(MEMORY, "no memory for the channels of %s", to->name);
    for (int64_t j = 0; j < cols; j++)
        s[cols + j] = 1;
    const hs_status st = hs_awq(to->coding, values, rows, cols, seen->gram, s + cols, &(hs_awq_opts){ .clip = true, .search = search },
                                to->name, s, codes, scales, &said);
    w->by_outputs = said.clipped > 0;
    free(s);
    return st;
}

static hs_status put_codes(hs_quantizing *q, const hs_param *to, hs_quantized *w)
{
    hs_params *ps = q->to.params;
    const int64_t rows = to->dim[0], cols = (int64_t)to->n / rows;
    float *values = calloc(to->n + (size_t)cols, sizeof *values);
    char *codes = calloc(hs_coding_bytes(to, HS_VIEW_CODES), 1), *scales = calloc(hs_coding_bytes(to, HS_VIEW_SCALES), 1);
    hs_status st = values && codes && scales ? HS_OK : HS_FAIL(MEMORY, "no memory for the codes of %s", to->name);
    if (st == HS_OK) {
        hs_params_fetch(q->from->params, w->param, 0, values, to->n);
        st = choose_codes(q, to, w, values, codes, scales);
    }
    if (st == HS_OK) {
        w->error = error_of(to->coding, values, codes, scales, rows, cols, values + to->n);
        st = hs_params_write(ps, hs_params_coded(ps, HS_VIEW_CODES), to, codes);
    }
    if (st == HS_OK)
        st = hs_params_write(ps, hs_params_coded(ps, HS_VIEW_SCALES), to, scales);
    if (st == HS_OK && to->coding == HS_CODING_I8_STATIC)
        st = hs_params_write(ps, hs_params_coded(ps, HS_VIEW_X_SCALE), to, &w->x_scale);
    free(values);
    free(codes);
    free(scales);
    return st;
}

static hs_status put_values(hs_quantizing *q, const hs_param *to, const hs_param *from)
{
    float *values = malloc(to->n * sizeof *values);
    if (!values)
        return HS_FAIL(MEMORY, "no memory for the values of %s", to->name);
    hs_params_fetch(q->from->params, from, 0, values, to->n);
    const hs_status st = hs_params_write(q->to.params, q->to.params->master, to, values);
    free(values);
    return st;
}

static hs_status fill(hs_quantizing *q)
{
    hs_params *ps = q->to.params;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *to = ps->param[i], *from = hs_params_find(q->from->params, to->name);
        if (!from)
            return HS_FAIL(INTERNAL, "parameter %s is of one trace alone", to->name);
        HS_TRY(to->coding ? put_codes(q, to, &q->what[from->id]) : put_values(q, to, from));
    }
    return HS_OK;
}

// Once, when it is written.
static hs_status make(hs_quantizing *q)
{
    const hs_arch_shape eval = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    hs_graph *g;
    if (q->opened)
        return HS_OK;
    q->opened = true;
    HS_TRY(hs_export_model_open(&q->to, q->from->path, 0, q->families));
    HS_TRY(hs_params_code(q->to.params, (hs_coder){ coding_of, q }));
    HS_TRY(hs_export_model_trace(&q->to, HS_EVAL, &eval, &g));
    hs_graph_free(g);
    HS_TRY(hs_params_alloc(q->to.params, NULL, false));
    return fill(q);
}

hs_status hs_quantizing_new(hs_quantizing **out, hs_export_model *from, const hs_family *const *families, const hs_quantize_opts *o,
                            const hs_observer *seen, const hs_params *seen_params)
{
    hs_quantizing *q = *out = calloc(1, sizeof *q);
    const size_t n = (size_t)from->params->n_params + 1;
    if (!q)
        return HS_FAIL(MEMORY, "no memory to quantize %s", from->dir);
    *q = (hs_quantizing){ .from = from, .families = families, .opts = *o, .seen = seen, .seen_params = seen_params };
    q->what = calloc(n, sizeof *q->what), q->gelu = calloc(n, sizeof *q->gelu);
    hs_status st = q->what && q->gelu ? HS_OK : HS_FAIL(MEMORY, "no memory to quantize %s", from->dir);
    if (st == HS_OK)
        st = decide(q);
    if (st == HS_OK)
        return HS_OK;
    hs_quantizing_free(q);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_quantizing_free(hs_quantizing *q)
{
    if (!q)
        return;
    if (q->opened)
        hs_export_model_close(&q->to);
    free(q->what);
    free(q->gelu);
    free(q);
}

const hs_quantized *hs_quantizing_at(const hs_quantizing *q, int i, int *n)
{
    *n = q->from->params->n_params;
    return i < *n ? &q->what[i] : NULL;
}

int64_t hs_quantizing_bytes(const hs_quantizing *q) { return (int64_t)hs_params_bytes_of(q->to.params).all; }

hs_status hs_quantizing_write(hs_quantizing *q, const char *dir, bool overwrite)
{
    const hs_export_model *m = &q->to;
    HS_TRY(make(q));
    return hs_sentence_export(dir, &(hs_export_opts){ .dtype = HS_F32, .overwrite = overwrite }, &(hs_ckpt_opts){ .files = m->info.files },
                              m->params, &m->info, m->tokenizer, &m->sentence, m->path, hs_arch_int(m->arch, "model.width"));
}
