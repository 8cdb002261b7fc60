// Directories of centroids: what was written comes back, of stacked, turned and tied weights alike; blocks go along the inputs; what is
// centroids already stays as it is; what is left as values; what a file may not say.
#include "tests/support/support_files.h"
#include "tests/support/support_values.h"

#include "core/base/rng.h"
#include "infer/quant/quantize_product.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { K = 16, D = 8 };
static const hs_products_opts opts = { .product = { D, K, 20, 3 }, .tables = true };
static const char *const models[] = { "encoders/bert", "encoders/albert", "encoders/distilbert", "gpt2-lm" };

static float *values_of(const hs_export_model *m, const hs_param *p)
{
    float *v = malloc((size_t)hs_param_elements(p) * sizeof *v);
    assert_non_null(v);
    OK(hs_params_values(m->params, p, v));
    return v;
}

static int different_blocks(const float *v, int64_t n)
{
    int found = 0;
    for (int64_t b = 0; b < n / D; b++) {
        bool old = false;
        for (int64_t a = 0; a < b && !old; a++)
            old = memcmp(v + a * D, v + b * D, D * sizeof *v) == 0;
        found += !old;
    }
    return found;
}

static void written(const char *from, const char *to, const hs_products_opts *o)
{
    hs_export_model m;
    hs_products *q;
    open_values(&m, from);
    OK(hs_products_new(&q, &m, o));
    OK(hs_products_write(q, to, true));
    hs_products_free(q);
    hs_export_model_close(&m);
}

static double error_of(const float *is, const float *was, int64_t n)
{
    double off = 0, all = 0;
    for (int64_t i = 0; i < n; i++)
        off += pow((double)is[i] - (double)was[i], 2), all += pow((double)was[i], 2);
    return sqrt(off / all);
}

static void comes_back(void **state)
{
    char dir[512], again[512];
    (void)state;
    snprintf(dir, sizeof dir, "%s", scratch_path("pq"));
    snprintf(again, sizeof again, "%s", scratch_path("again"));
    for (int f = 0; f < HS_COUNT(models); f++) {
        hs_export_model was, is, twice;
        hs_products *q;
        int n, kept = 0;
        open_values(&was, golden_path(models[f]));
        OK(hs_products_new(&q, &was, &opts));
        OK(hs_products_write(q, dir, true));
        open_values(&is, dir);
        written(dir, again, &opts);
        open_values(&twice, again);
        for (int i = 0; hs_products_at(q, i, &n); i++) {
            const hs_produced *w = hs_products_at(q, i, &n);
            const hs_param *p = hs_params_find(is.params, w->param->name);
            const int64_t elements = hs_param_elements(w->param), part = elements / w->param->parts;
            float *a = values_of(&was, w->param), *b = values_of(&is, p), *c = values_of(&twice, hs_params_find(twice.params, p->name));
            if (memcmp(b, c, (size_t)elements * sizeof *b) != 0)
                fail_msg("%s: %s is another one when it is quantized once more", models[f], p->name);
            if (w->why && memcmp(a, b, (size_t)elements * sizeof *a) != 0)
                fail_msg("%s: %s, which stays as it is (%s), is another one", models[f], p->name, w->why);
            for (int k = 0; k < w->param->parts && !w->why; k++) { // of several in one tensor: not more than it has
                const int found = different_blocks(b + k * part, part);
                if (found > K)
                    fail_msg("%s: %s has %d different blocks", models[f], p->name, found);
            }
            if (!w->why && !(error_of(b, a, elements) < 1.01 * w->error && error_of(b, a, elements) > 0.1 * w->error))
                fail_msg("%s: %s: error %g, said was %g", models[f], p->name, error_of(b, a, elements), w->error);
            kept += !w->why;
            free(a), free(b), free(c);
        }
        assert_true(kept >= 4);
        hs_products_free(q);
        hs_export_model_close(&was);
        hs_export_model_close(&is);
        hs_export_model_close(&twice);
    }
}

// What is left out, and that a plan without any is refused.
static void choices(void **state)
{
    hs_export_model m;
    hs_products *q;
    int n, tables = 0;
    (void)state;
    open_values(&m, golden_path("encoders/bert"));
    hs_products_opts o = opts;
    o.skip = "l0.*", o.tables = false;
    OK(hs_products_new(&q, &m, &o));
    for (int i = 0; hs_products_at(q, i, &n); i++) {
        const hs_produced *w = hs_products_at(q, i, &n);
        if (strncmp(w->param->name, "l0.", 3) == 0)
            assert_non_null(w->why);
        if (strstr(w->param->name, ".attn.") && !w->why)
            assert_int_equal(w->part, HS_PRODUCT_ATTENTION);
        tables += w->part == HS_PRODUCT_TABLE && !w->why;
    }
    assert_int_equal(tables, 0);
    hs_products_free(q);
    o.skip = "*";
    assert_int_equal(hs_products_new(&q, &m, &o), HS_USAGE);
    o.skip = "nosuch";
    assert_int_equal(hs_products_new(&q, &m, &o), HS_USAGE);
    o.skip = NULL, o.product.centroids = 256; // larger than the matrices
    assert_int_equal(hs_products_new(&q, &m, &o), HS_USAGE);
    hs_export_model_close(&m);
}

// ---- files that say what cannot be

static const char *const weight = "bert.encoder.layer.0.intermediate.dense";

// The directory's file with one tensor changed by `change`, which returns whether it stays.
static void changed(const char *dir, const char *end, bool (*change)(hs_st_tensor *t, char *data))
{
    char path[600], name[200];
    hs_safetensors *f;
    hs_st_tensor t[256];
    int n = 0;
    written(golden_path("encoders/bert"), dir, &opts);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    snprintf(name, sizeof name, "%s%s", weight, end);
    OK(hs_safetensors_open(&f, path));
    char *data[256];
    for (int i = 0; i < hs_safetensors_count(f); i++) {
        const hs_st_entry *e = hs_safetensors_at(f, i);
        data[i] = malloc(e->bytes + 64);
        memcpy(data[i], e->data, e->bytes);
        t[n] = (hs_st_tensor){ .name = strdup(e->name), .dtype = e->dtype, .n_dims = e->n_dims, .data = data[i] };
        memcpy(t[n].dim, e->dim, sizeof t[n].dim);
        if (strcmp(e->name, name) != 0 || change(&t[n], data[i]))
            n++;
    }
    hs_safetensors_close(f);
    OK(hs_safetensors_write(path, t, n, NULL));
}

static bool drop(hs_st_tensor *t, char *data) { return (void)t, (void)data, false; }
static bool too_high(hs_st_tensor *t, char *data) { return (void)t, data[5] = K, true; }
static bool not_finite(hs_st_tensor *t, char *data) { return (void)t, data[7] = 0x7C, data[6] = 0, true; }
static bool other_rows(hs_st_tensor *t, char *data) { return (void)t, data[0]++, true; }
static bool negative(hs_st_tensor *t, char *data) { return (void)t, memset(data, 0xFF, 8), true; }
static bool flat(hs_st_tensor *t, char *data) { return (void)data, t->dim[0] *= t->dim[1], t->n_dims = 1, true; }

static void refused(void **state)
{
    static const struct {
        const char *end, *says;
        bool (*change)(hs_st_tensor *t, char *data);
    } cases[] = { { ".weight_centroids", "has no", drop },
                  { ".weight_shape", "has no", drop },
                  { ".weight_indices", "is 16, and there are 16 centroids", too_high },
                  { ".weight_centroids", "is not finite", not_finite },
                  { ".weight_shape", "no blocks of their shape", other_rows },
                  { ".weight_shape", "a shape that is none", negative },
                  { ".weight_indices", "are no u8", flat } };
    char dir[512];
    (void)state;
    snprintf(dir, sizeof dir, "%s", scratch_path("broken"));
    for (int i = 0; i < HS_COUNT(cases); i++) {
        hs_export_model m;
        const hs_arch_shape eval = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
        hs_graph *g;
        changed(dir, cases[i].end, cases[i].change);
        hs_status st = hs_export_model_open(&m, dir, 0, hs_families);
        if (st == HS_OK)
            st = hs_export_model_trace(&m, HS_EVAL, &eval, &g);
        if (st == HS_OK) {
            hs_graph_free(g);
            st = hs_export_model_load(&m);
        }
        if (st != HS_CORRUPT || !strstr(hs_error(), cases[i].says))
            fail_msg("%s: status %d, %s", cases[i].says, st, hs_error());
        hs_export_model_close(&m);
    }
    changed(dir, ".weight_indices", drop); // then it is a weight that is not there
    hs_export_model m;
    const hs_arch_shape eval = { .max_tokens = 8, .max_seqs = 2, .max_picks = 4, .hidden = true };
    hs_graph *g;
    OK(hs_export_model_open(&m, dir, 0, hs_families));
    OK(hs_export_model_trace(&m, HS_EVAL, &eval, &g));
    hs_graph_free(g);
    assert_int_equal(hs_export_model_load(&m), HS_USAGE);
    hs_export_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(comes_back), cmocka_unit_test(choices), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
