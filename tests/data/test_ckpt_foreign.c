// checkpoint: directories of transformers load, in all the shapes they come in, and what does not fit is named.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/checkpoint/ckpt_parts.h"
#include "models/gpt/gpt.h"
#include "tests/support/support_ckpt.h"
#include "tests/support/support_params.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

static void exports_and_loads_again(void **state)
{
    (void)state;
    char dir[CKPT_PATH], path[2 * CKPT_PATH];
    ckpt_temp_dir(dir);
    snprintf(path, sizeof path, "%s/model/", dir);
    hs_params *ps = ckpt_params(false), *back = ckpt_params(false);
    const hs_model_info info = ckpt_info();
    const hs_ckpt_opts o = ckpt_opts(NULL, 0);
    ckpt_fill(ps, 7);
    OK(hs_ckpt_export(path, &o, ps, &info, NULL));
    assert_false(hs_ckpt_has_train(path));
    OK(hs_ckpt_load_params(path, &o, back));
    assert_true(ckpt_filled(back, 7, false));
    hs_safetensors *f;
    strcat(path, "model.safetensors");
    OK(hs_safetensors_open(&f, path));
    assert_int_equal(hs_safetensors_count(f), 28);
    assert_null(hs_safetensors_find(f, "lm_head.weight"));
    const hs_st_entry *e = hs_safetensors_find(f, "transformer.h.1.attn.c_attn.weight");
    assert_int_equal(e->dim[0], 16);
    assert_int_equal(e->dim[1], 48);
    const hs_param *qkv = hs_params_find(ps, "h1.attn.qkv.weight");
    float stored[48 * 16];
    hs_params_read(ps, ps->master, qkv, stored);
    for (int o_ = 0; o_ < 48; o_++)
        for (int i = 0; i < 16; i++)
            assert_memory_equal((const float *)e->data + i * 48 + o_, stored + o_ * 16 + i, 4);
    assert_int_equal(hs_safetensors_find(f, "transformer.wte.weight")->dim[0], 50);
    hs_safetensors_close(f);
    path[strlen(path) - strlen("model.safetensors")] = 0;
    assert_int_equal(hs_ckpt_export(path, &o, ps, &info, NULL), HS_USAGE); // not empty any more
    hs_params_free(ps);
    hs_params_free(back);
    ckpt_remove(dir);
}

enum { MAX_TENSORS = 40 };
typedef struct foreign { // a model directory written by hand
    char dir[CKPT_PATH];
    hs_params *ps;
    hs_safetensors *file;
    hs_st_tensor t[MAX_TENSORS];
    int n;
} foreign;

static void foreign_open(foreign *x)
{
    char path[2 * CKPT_PATH];
    const hs_model_info info = ckpt_info();
    const hs_ckpt_opts o = ckpt_opts(NULL, 0);
    ckpt_temp_dir(x->dir);
    x->ps = ckpt_params(false);
    for (int i = 0; i < x->ps->n_params; i++) {
        float logical[4096];
        for (int k = 0; k < 4096; k++)
            logical[k] = (float)((k * 7 + i) % 251 - 125) / 64; // exact in bf16
        OK(hs_params_import(x->ps, x->ps->master, x->ps->param[i], logical));
    }
    snprintf(path, sizeof path, "%s/m", x->dir);
    OK(hs_ckpt_export(path, &o, x->ps, &info, NULL));
    strcat(path, "/model.safetensors");
    OK(hs_safetensors_open(&x->file, path));
    x->n = hs_safetensors_count(x->file);
    for (int i = 0; i < x->n; i++) {
        const hs_st_entry *e = hs_safetensors_at(x->file, i);
        x->t[i] = (hs_st_tensor){ .name = e->name, .dtype = e->dtype, .n_dims = e->n_dims, .data = e->data };
        memcpy(x->t[i].dim, e->dim, sizeof x->t[i].dim);
    }
}

static void foreign_close(foreign *x)
{
    hs_safetensors_close(x->file);
    hs_params_free(x->ps);
    ckpt_remove(x->dir);
}

static hs_st_tensor *tensor(foreign *x, const char *name)
{
    for (int i = 0; i < x->n; i++)
        if (strcmp(x->t[i].name, name) == 0)
            return &x->t[i];
    return NULL;
}

static hs_status foreign_load(foreign *x, bool *same)
{
    char path[2 * CKPT_PATH];
    const hs_ckpt_opts o = ckpt_opts(NULL, 0);
    snprintf(path, sizeof path, "%s/model.safetensors", x->dir);
    OK(hs_safetensors_write(path, x->t, x->n, NULL));
    hs_params *ps = ckpt_params(false);
    const hs_status st = hs_ckpt_load_params(x->dir, &o, ps);
    *same = flat_equal(ps, x->ps, "master");
    hs_params_free(ps);
    return st;
}

static void loads_bare_names_aliases_and_low_precision(void **state)
{
    (void)state;
    bool same;
    for (int d = 0; d < 4; d++) {
        foreign x;
        foreign_open(&x);
        static const hs_dtype dtypes[] = { HS_F32, HS_BF16, HS_F16, HS_F64 };
        static char zeros[64];
        void *data[MAX_TENSORS];
        const int n = x.n;
        for (int i = 0; i < n; i++) {
            int64_t count = 1;
            for (int k = 0; k < x.t[i].n_dims; k++)
                count *= x.t[i].dim[k];
            data[i] = malloc((size_t)count * 8);
            hs_convert(data[i], dtypes[d], x.t[i].data, HS_F32, count);
            x.t[i].data = data[i], x.t[i].dtype = dtypes[d];
            x.t[i].name += strlen("transformer.");
        }
        hs_st_tensor head = *tensor(&x, "wte.weight");
        head.name = "lm_head.weight";
        x.t[x.n++] = head;
        x.t[x.n++] = (hs_st_tensor){ .name = "h.0.attn.bias", .dtype = HS_U8, .n_dims = 4, .dim = { 1, 1, 8, 8 }, .data = zeros };
        x.t[x.n++] = (hs_st_tensor){ .name = "h.0.attn.masked_bias", .dtype = HS_F32, .n_dims = 0, .data = zeros };
        OK(foreign_load(&x, &same));
        assert_true(same);
        for (int i = 0; i < n; i++)
            free(data[i]);
        foreign_close(&x);
    }
}

static void names_what_does_not_fit(void **state)
{
    (void)state;
    foreign x;
    bool same;
    foreign_open(&x);
    static const float zeros[50 * 16];
    const hs_st_tensor keep = *tensor(&x, "transformer.wpe.weight");
    hs_st_tensor *t = tensor(&x, "transformer.wpe.weight");
    t->name = "transformer.wqe.weight";
    assert_int_equal(foreign_load(&x, &same), HS_USAGE); // missing and unexpected in one message
    assert_non_null(strstr(hs_error(), "\"transformer.wpe.weight\" is missing"));
    assert_non_null(strstr(hs_error(), "\"transformer.wqe.weight\" is unexpected"));
    *t = keep;
    t->dim[0] = 4, t->dim[1] = 48;
    assert_int_equal(foreign_load(&x, &same), HS_USAGE);
    assert_non_null(strstr(hs_error(), "\"transformer.wpe.weight\" is [4,48], the model needs [12,16]"));
    *t = keep;
    t = tensor(&x, "transformer.h.0.mlp.c_fc.weight"); // [16,64] in the file
    t->dim[0] = 64, t->dim[1] = 16;
    assert_int_equal(foreign_load(&x, &same), HS_USAGE);
    assert_non_null(strstr(hs_error(), "is [64,16], the model needs [16,64]"));
    t->dim[0] = 16, t->dim[1] = 64;
    x.t[x.n] = (hs_st_tensor){ .name = "lm_head.weight", .dtype = HS_F32, .n_dims = 2, .dim = { 50, 16 }, .data = zeros };
    x.n++;
    assert_int_equal(foreign_load(&x, &same), HS_USAGE);
    assert_non_null(strstr(hs_error(), "\"lm_head.weight\" differs from \"transformer.wte.weight\", to which it is tied"));
    x.n--;
    tensor(&x, "transformer.ln_f.bias")->dtype = HS_I32;
    assert_int_equal(foreign_load(&x, &same), HS_USAGE);
    assert_non_null(strstr(hs_error(), "\"transformer.ln_f.bias\" holds i32"));
    tensor(&x, "transformer.ln_f.bias")->dtype = HS_F32;
    OK(foreign_load(&x, &same));
    assert_true(same);
    x.n = 5; // most are missing: the log has the rest
    ckpt_logged[0] = 0;
    assert_int_equal(foreign_load(&x, &same), HS_USAGE);
    assert_non_null(strstr(hs_error(), "23 of the tensors"));
    assert_non_null(strstr(ckpt_logged, "transformer.wte.weight\" is missing") ? ckpt_logged
                                                                               : strstr(hs_error(), "transformer.wte.weight\" is missing"));
    foreign_close(&x);
}

// Once more with a header longer by `more` bytes: other writers align nothing.
static void shift_data(const char *path, size_t more)
{
    static char whole[1 << 17];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t size = fread(whole, 1, sizeof whole, f);
    fclose(f);
    assert_true(size < sizeof whole);
    uint64_t header;
    memcpy(&header, whole, sizeof header);
    const size_t front = sizeof header + header;
    f = fopen(path, "wb");
    assert_non_null(f);
    header += more;
    fwrite(&header, sizeof header, 1, f);
    fwrite(whole + sizeof header, front - sizeof header, 1, f);
    fprintf(f, "%*s", (int)more, "");
    fwrite(whole + front, size - front, 1, f);
    assert_int_equal(fclose(f), 0);
}

// Whole, f32 and not turned; wte is padded here, the Conv1D weights are turned, one bias is bf16.
static bool as_stored(const hs_param *p)
{
    return (p->n_dims == 1 || !strcmp(p->name, "wpe.weight")) && strcmp(p->name, "h0.ln_1.bias") != 0;
}

static void is_only_read(hs_params *ps, const foreign *x)
{
    char path[2 * CKPT_PATH];
    const hs_ckpt_opts o = ckpt_opts(NULL, 0);
    const hs_model_info info = ckpt_info();
    hs_ckpt *writer;
    const hs_param *p = hs_params_find(ps, "wpe.weight");
    float other[12 * 16] = { 0 };
    assert_int_equal(hs_params_write(ps, ps->master, p, other), HS_INTERNAL);
    assert_non_null(strstr(hs_error(), "master of parameter wpe.weight is adopted"));
    assert_int_equal(hs_params_import(ps, ps->master, p, other), HS_INTERNAL);
    assert_int_equal(hs_params_clear(ps, ps->master, p), HS_INTERNAL);
    assert_int_equal(hs_params_init_values(ps), HS_INTERNAL);
    assert_int_equal(hs_params_declare_grad(ps), HS_INTERNAL);
    assert_true(flat_equal(ps, x->ps, "master"));
    snprintf(path, sizeof path, "%s/run", x->dir);
    assert_int_equal(hs_ckpt_new(&writer, &(hs_ckpt_opts){ .dir = path, .files = o.files }, ps), HS_INTERNAL);
    snprintf(path, sizeof path, "%s/again", x->dir);
    ckpt_remove(path);
    OK(hs_ckpt_export(path, &o, ps, &info, NULL)); // writing elsewhere is reading
    hs_params *again = ckpt_params(false);
    OK(hs_ckpt_load_params(path, &o, again));
    assert_true(flat_equal(again, x->ps, "master"));
    hs_params_free(again);
}

static void serves_what_lies_in_the_file_as_it_is_stored(void **state)
{
    (void)state;
    foreign x;
    char path[2 * CKPT_PATH];
    uint16_t low[16];
    foreign_open(&x);
    hs_st_tensor *bias = tensor(&x, "transformer.h.0.ln_1.bias");
    hs_convert(low, HS_BF16, bias->data, HS_F32, 16);
    bias->dtype = HS_BF16, bias->data = low;
    snprintf(path, sizeof path, "%s/model.safetensors", x.dir);
    static const size_t shifts[] = { 0, 4, 3 };
    for (int i = 0; i < HS_COUNT(shifts); i++) {
        const hs_ckpt_opts o = ckpt_opts(NULL, 0);
        hs_params *ps = ckpt_params_listed();
        hs_ckpt_map *map;
        const size_t all = hs_params_bytes_of(ps).master;
        size_t adopted = 0, saved = 0;
        OK(hs_safetensors_write(path, x.t, x.n, NULL));
        shift_data(path, shifts[i]);
        OK(hs_ckpt_map_open(&map, x.dir, &o, ps));
        OK(hs_ckpt_map_adopt(map, ps, ckpt_device(), NULL));
        OK(hs_params_alloc(ps, ckpt_device(), false));
        OK(hs_ckpt_map_load(map, ps, NULL, NULL));
        for (int k = 0; k < ps->n_params; k++) {
            const hs_param *p = ps->param[k];
            const bool expected = as_stored(p) && shifts[i] % sizeof(float) == 0;
            if (hs_slab_adopted(ps->master, p) != expected)
                fail_msg("%s, data %zu bytes further: adopted %d", p->name, shifts[i], !expected);
            adopted += expected ? p->n * sizeof(float) : 0;
            saved += expected ? (p->n + 63) / 64 * 64 * sizeof(float) : 0;
        }
        assert_int_equal(hs_params_bytes_of(ps).adopted, adopted);
        assert_int_equal(hs_params_bytes_of(ps).master, all - saved);
        assert_true(flat_equal(ps, x.ps, "master"));
        hs_params_refresh_low(x.ps);
        assert_true(flat_equal(ps, x.ps, "low"));
        if (adopted)
            is_only_read(ps, &x);
        hs_params_free(ps);
        hs_ckpt_map_close(map);
    }
    foreign_close(&x);
}

static void loads_shards(void **state)
{
    (void)state;
    static const char *const names[] = { "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors" };
    foreign x;
    char path[2 * CKPT_PATH];
    foreign_open(&x);
    hs_text index = { 0 };
    hs_text_add(&index, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for (int i = 0; i < x.n; i++)
        hs_text_add(&index, "%s\"%s\": \"%s\"", i ? "," : "", x.t[i].name, names[i >= 10]);
    hs_text_add(&index, "}}");
    snprintf(path, sizeof path, "%s/%s", x.dir, names[0]);
    OK(hs_safetensors_write(path, x.t, 10, NULL));
    snprintf(path, sizeof path, "%s/%s", x.dir, names[1]);
    OK(hs_safetensors_write(path, x.t + 10, x.n - 10, NULL));
    ckpt_put(x.dir, "model.safetensors.index.json", index.p);
    hs_params *ps = ckpt_params(false);
    const hs_ckpt_opts o = ckpt_opts(NULL, 0);
    OK(hs_ckpt_load_params(x.dir, &o, ps));
    assert_true(flat_equal(ps, x.ps, "master"));
    static const struct {
        const char *from, *to, *message;
    } bad[] = {
        { "model-00002-of", "model-00003-of", "no such file, but model.safetensors.index.json puts 1 of 28 tensors into it" },
        { "model-00002-of", "../00002-of", "not a plain name" },
        { "transformer.wte", "transformer.wxe", "\"transformer.wxe.weight\" is not in" },
        { "weight_map", "weight_mop", "\"weight_map\" is missing" },
    };
    for (int i = 0; i < HS_COUNT(bad); i++) {
        char *changed = strdup(index.p), *at = strstr(changed, bad[i].from);
        hs_text t = { 0 };
        *at = 0;
        hs_text_add(&t, "%s%s%s", changed, bad[i].to, at + strlen(bad[i].from));
        ckpt_put(x.dir, "model.safetensors.index.json", t.p);
        assert_true(hs_ckpt_load_params(x.dir, &o, ps) != HS_OK);
        assert_non_null(strstr(hs_error(), bad[i].message));
        hs_text_free(&t);
        free(changed);
    }
    hs_text_free(&index);
    hs_params_free(ps);
    foreign_close(&x);
}

static void reads_only_what_it_can_run(void **state)
{
    (void)state;
#define SIZES "\"n_layer\": 2, \"n_head\": 2, \"n_embd\": 16, \"n_positions\": 12, \"vocab_size\": 50"
    static const struct {
        const char *json, *message;
        hs_status st;
    } bad[] = {
        { "{\"model_type\": \"llama\"}", "\"llama\", supported: gpt2", HS_UNSUPPORTED },
        { "{" SIZES "}", "\"model_type\" is missing", HS_CORRUPT },
        { "{\"model_type\": \"gpt2\"}", "\"n_layer\" is missing", HS_CORRUPT },
        { "{\"model_type\": \"gpt2\", " SIZES ", \"activation_function\": \"relu\"}", "\"relu\"", HS_UNSUPPORTED },
        { "{\"model_type\": \"gpt2\", " SIZES ", \"n_inner\": 99}", "\"n_inner\" is 99", HS_UNSUPPORTED },
        { "{\"model_type\": \"gpt2\", " SIZES ", \"tie_word_embeddings\": false}", "\"tie_word_embeddings\"", HS_UNSUPPORTED },
        { "{\"model_type\": \"gpt2\", " SIZES ", \"layer_norm_epsilon\": \"x\"}", "\"layer_norm_epsilon\"", HS_CORRUPT },
        { "{\"model_type\": \"gpt2\", \"n_layer\": -2, \"n_head\": 2}", "\"n_layer\" is -2", HS_CORRUPT },
        { "{\"model_type\": \"gpt2\", \"n_layer\": 99999999999999999999}", "\"n_layer\" is not an integer", HS_CORRUPT },
        { "{\"model_type\": \"gpt2\", \"model_type\": \"gpt2\"}", "duplicate", HS_CORRUPT },
        { "[1]", "not a JSON object", HS_CORRUPT },
        { "", "config.json", HS_CORRUPT },
    };
    char dir[CKPT_PATH];
    ckpt_temp_dir(dir);
    hs_model_info m;
    for (int i = 0; i < HS_COUNT(bad); i++) {
        ckpt_put(dir, "config.json", bad[i].json);
        assert_int_equal(ckpt_read_info(dir, &m), bad[i].st);
        assert_non_null(strstr(hs_error(), bad[i].message));
    }
    ckpt_put(dir, "config.json", "{\"model_type\": \"gpt2\", " SIZES ", \"layer_norm_epsilon\": 1e-6, \"resid_pdrop\": 0}");
    OK(ckpt_read_info(dir, &m));
    const hs_gpt_config *gpt = (const hs_gpt_config *)m.settings.bytes;
    assert_true(gpt->eps == 1e-6 && gpt->dropout == 0 && gpt->vocab == 50);
    ckpt_remove(dir);
}

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exports_and_loads_again),
        cmocka_unit_test(loads_bare_names_aliases_and_low_precision),
        cmocka_unit_test_setup(names_what_does_not_fit, ckpt_listen),
        cmocka_unit_test(serves_what_lies_in_the_file_as_it_is_stored),
        cmocka_unit_test(loads_shards),
        cmocka_unit_test(reads_only_what_it_can_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
