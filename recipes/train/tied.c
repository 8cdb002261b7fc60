// tied: on the host, between submissions - values and gradients are read, changed and written back.
#include "recipes/train/tied.h"
#include "core/base/grow.h"
#include "core/base/log.h"
#include "core/graph/coding.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct tensor { // one of a file, of a parameter here
    const hs_param *param;
    hs_product_part group;
    int64_t rows, cols;
    size_t first;   // its first element of the stored parameter
    uint8_t *index; // of each block; NULL: its turn has not come
} tensor;

struct hs_tied {
    hs_engine *engine;
    hs_tied_opts opts;
    tensor *tensor;
    int n, room;
    float *buffer; // of the largest parameter, as it is stored
    double *sum;   // [HS_PRODUCT_MOST][block]
};

static int64_t blocks(const hs_tied *t, const tensor *x) { return x->rows * x->cols / t->opts.products.product.block; }

// ---- which

static hs_status add(hs_tied *t, const hs_param *p, hs_product_part group)
{
    hs_name_piece piece[HS_NAME_PIECES];
    const hs_model_files *f = t->opts.files;
    int n;
    HS_TRY(hs_name_pieces(f ? f->name : NULL, f ? f->n_names : 0, p->name, p->parts, piece, &n));
    for (int k = 0; k < n; k++) {
        if (!hs_grow(&t->tensor, t->n, &t->room, sizeof *t->tensor))
            return HS_FAIL(MEMORY, "no memory for the weights that are tied");
        const int64_t rows = hs_param_part_rows(p) * (piece[k].part ? 1 : p->parts), cols = hs_param_cols(p);
        const size_t part = p->n / (size_t)p->parts;
        t->tensor[t->n++] = (tensor){ p, group, rows, cols, (size_t)(piece[k].part ? piece[k].part - 1 : 0) * part, NULL };
    }
    return HS_OK;
}

static hs_status find_tensors(hs_tied *t)
{
    const hs_params *ps = t->engine->params;
    const hs_coding_wish wish = { .tables = t->opts.products.tables, .skip = t->opts.products.skip };
    size_t most = 1;
    HS_TRY(hs_coding_check(&wish, ps, "ipq.skip"));
    hs_coding_uses *of = calloc((size_t)ps->n_params + 1, sizeof *of);
    if (!of)
        return HS_FAIL(MEMORY, "no memory for the uses of %d parameters", ps->n_params);
    hs_coding_uses_of(of, hs_plan_graph(hs_engine_plan(t->engine, HS_TRAIN)));
    hs_status st = HS_OK;
    for (int i = 0; i < ps->n_params && st == HS_OK; i++) {
        const hs_param *p = ps->param[i];
        hs_product_part group;
        if (p->frozen || hs_product_declines(p, &of[i], &wish, &t->opts.products.product, &group))
            continue;
        most = p->n > most ? p->n : most;
        st = add(t, p, group);
    }
    free(of);
    HS_TRY(st);
    t->buffer = malloc(most * sizeof *t->buffer);
    t->sum = malloc((size_t)(HS_PRODUCT_MOST * t->opts.products.product.block) * sizeof *t->sum);
    return t->buffer && t->sum ? HS_OK : HS_FAIL(MEMORY, "no memory for the gradients of centroids");
}

// ---- what belongs together

static hs_status new_index(const hs_tied *t, tensor *x)
{
    x->index = malloc((size_t)blocks(t, x));
    return x->index ? HS_OK : HS_FAIL(MEMORY, "no memory for the blocks of %s", x->param->name);
}

// Equal blocks have one centroid. false: there are more different ones than that.
static bool index_of(const hs_tied *t, const tensor *x, const float *values)
{
    enum { SLOTS = 1024 };
    const int d = t->opts.products.product.block, most = t->opts.products.product.centroids;
    int64_t first[HS_PRODUCT_MOST];
    int slot[SLOTS], n = 0;
    memset(slot, -1, sizeof slot);
    for (int64_t b = 0; b < blocks(t, x); b++) {
        const float *block = values + b * d;
        unsigned at = (unsigned)(XXH3_64bits(block, (size_t)d * sizeof *block) % SLOTS);
        while (slot[at] >= 0 && memcmp(values + first[slot[at]] * d, block, (size_t)d * sizeof *block) != 0)
            at = (at + 1) % SLOTS;
        if (slot[at] < 0 && n == most)
            return false;
        if (slot[at] < 0)
            first[n] = b, slot[at] = n++;
        x->index[b] = (uint8_t)slot[at];
    }
    return true;
}

// Of a run that goes on.
static hs_status see_group(hs_tied *t, hs_product_part group)
{
    const hs_params *ps = t->engine->params;
    for (int i = 0; i < t->n; i++) {
        tensor *x = &t->tensor[i];
        if (x->group != group)
            continue;
        HS_TRY(new_index(t, x));
        hs_params_fetch(ps, x->param, x->first, t->buffer, (size_t)(x->rows * x->cols));
        if (!index_of(t, x, t->buffer))
            return HS_FAIL(CORRUPT, "ipq: the blocks of %s are of more than %d centroids, and its turn was at step %lld", x->param->name,
                           t->opts.products.product.centroids, (long long)(group * t->opts.every));
    }
    return HS_OK;
}

static hs_status make_tensor(hs_tied *t, tensor *x, double *error)
{
    hs_params *ps = t->engine->params;
    const size_t n = (size_t)(x->rows * x->cols);
    hs_product *p;
    HS_TRY(new_index(t, x));
    hs_params_fetch(ps, x->param, x->first, t->buffer, n);
    HS_TRY(hs_product_new(&p, t->buffer, x->rows, x->cols, &t->opts.products.product));
    memcpy(x->index, p->index, (size_t)blocks(t, x));
    hs_product_values(p, t->buffer);
    *error = p->error > *error ? p->error : *error;
    hs_product_free(p);
    hs_params_put(ps, ps->master, x->param, x->first, t->buffer, n);
    for (int k = 0; k < ps->n_slabs; k++)
        if (ps->slab[k]->spec.saved)
            HS_TRY(hs_params_clear(ps, ps->slab[k], x->param));
    return HS_OK;
}

static hs_status make_group(hs_tied *t, hs_product_part group)
{
    static const char *const words[HS_N_PRODUCT_PARTS] = { "feed-forwards", "tables of embeddings", "attention" };
    int n = 0;
    double error = 0;
    HS_TRY(hs_run_wait(t->engine->run));
    for (int i = 0; i < t->n; i++) {
        if (t->tensor[i].group != group)
            continue;
        HS_TRY(make_tensor(t, &t->tensor[i], &error));
        n++;
    }
    hs_params_refresh_low(t->engine->params);
    hs_params_changed(t->engine->params);
    hs_info("step %lld: %d matrices of %s are centroids from here on; largest error %.2f %%", (long long)(group * t->opts.every), n,
            words[group], 100 * error);
    return HS_OK;
}

hs_status hs_tied_new(hs_tied **out, hs_engine *e, const hs_tied_opts *o)
{
    const int64_t last = (HS_N_PRODUCT_PARTS - 1) * o->every;
    *out = NULL;
    if (last >= o->steps)
        return HS_FAIL(USAGE, "ipq.every is %lld: attention's turn would be at step %lld, and the run has %lld", (long long)o->every,
                       (long long)last, (long long)o->steps);
    hs_tied *t = calloc(1, sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for weights that are tied");
    t->engine = e, t->opts = *o;
    hs_status st = find_tensors(t);
    for (int g = 0; g < HS_N_PRODUCT_PARTS && st == HS_OK; g++)
        if (g * o->every < o->step)
            st = see_group(t, (hs_product_part)g);
    if (st == HS_OK) {
        *out = t;
        return HS_OK;
    }
    hs_tied_free(t);
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_tied_free(hs_tied *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->n; i++)
        free(t->tensor[i].index);
    free(t->tensor);
    free(t->buffer);
    free(t->sum);
    free(t);
}

hs_status hs_tied_begin_step(hs_tied *t, int64_t step)
{
    for (int g = 0; t && g < HS_N_PRODUCT_PARTS; g++)
        if (step == g * t->opts.every)
            HS_TRY(make_group(t, (hs_product_part)g));
    return HS_OK;
}

// ---- gradients

static void average(const hs_tied *t, const tensor *x, float *grad)
{
    const int d = t->opts.products.product.block;
    int64_t count[HS_PRODUCT_MOST] = { 0 };
    memset(t->sum, 0, (size_t)(HS_PRODUCT_MOST * d) * sizeof *t->sum);
    for (int64_t b = 0; b < blocks(t, x); b++) {
        double *sum = t->sum + x->index[b] * d;
        count[x->index[b]]++;
        for (int j = 0; j < d; j++)
            sum[j] += (double)grad[b * d + j];
    }
    for (int64_t b = 0; b < blocks(t, x); b++)
        for (int j = 0; j < d; j++)
            grad[b * d + j] = (float)(t->sum[x->index[b] * d + j] / (double)count[x->index[b]]);
}

hs_status hs_tied_gradients(hs_tied *t)
{
    if (!t)
        return HS_OK;
    hs_params *ps = t->engine->params;
    HS_TRY(hs_run_wait(t->engine->run));
    for (int i = 0; i < t->n;) { // a parameter's tensors stand behind each other
        const hs_param *p = t->tensor[i].param;
        const bool tied = t->tensor[i].index;
        if (tied)
            hs_params_read(ps, ps->grad, p, t->buffer);
        for (; i < t->n && t->tensor[i].param == p; i++)
            if (tied)
                average(t, &t->tensor[i], t->buffer + t->tensor[i].first);
        if (tied)
            HS_TRY(hs_params_write(ps, ps->grad, p, t->buffer));
    }
    return HS_OK;
}
