// Name rules in files: parts of a stacked parameter under names of their own.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/support_ckpt.h"
#include <stdio.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

// A stacked parameter whose parts other files keep apart, as they lie or turned, with and without padding of each part.
static void reads_and_writes_parts(void **state)
{
    (void)state;
    static const hs_name_rule rules[] = {
        { "l%d.qkv.weight", "layer.%d.query.weight", false, 1 }, { "l%d.qkv.weight", "layer.%d.key.weight", true, 2 },
        { "l%d.qkv.weight", "layer.%d.value.weight", false, 3 }, { "l%d.qkv.bias", "layer.%d.query.bias", false, 1 },
        { "l%d.qkv.bias", "layer.%d.key.bias", false, 2 },       { "l%d.qkv.bias", "layer.%d.value.bias", false, 3 },
    };
    enum { ROWS = 5, COLS = 7 };
    char dir[CKPT_PATH], path[2 * CKPT_PATH];
    const hs_model_info info = ckpt_info();
    const hs_model_files files = { .name = rules, .n_names = HS_COUNT(rules) };
    const hs_ckpt_opts o = { .files = &files };
    ckpt_temp_dir(dir);
    for (int pad = 0; pad <= 8; pad += 8) {
        hs_params *ps[2];
        hs_param *w[2], *b[2];
        for (int i = 0; i < 2; i++) {
            OK(hs_params_new(&ps[i], 1, 0, 1));
            const hs_param_spec weight = { .name = "l4.qkv.weight",
                                           .role = HS_WEIGHT,
                                           .init = HS_INIT_ZERO,
                                           .parts = 3,
                                           .pad_rows = pad,
                                           .n_dims = 2,
                                           .dim = { 3 * ROWS, COLS } };
            const hs_param_spec bias = {
                .name = "l4.qkv.bias", .role = HS_BIAS, .parts = 3, .pad_rows = pad, .n_dims = 1, .dim = { 3 * ROWS }
            };
            OK(hs_params_get(ps[i], &weight, &w[i]));
            OK(hs_params_get(ps[i], &bias, &b[i]));
            OK(hs_params_alloc(ps[i], NULL, true));
        }
        float values[3 * ROWS * COLS], back[3 * ROWS * COLS];
        for (int i = 0; i < HS_COUNT(values); i++)
            values[i] = (float)i + 0.5f;
        OK(hs_params_import(ps[0], ps[0]->master, w[0], values));
        OK(hs_params_import(ps[0], ps[0]->master, b[0], values));
        snprintf(path, sizeof path, "%s/m%d", dir, pad);
        OK(hs_ckpt_export(path, &o, ps[0], &info, NULL));
        OK(hs_ckpt_load_params(path, &o, ps[1]));
        hs_param_export(w[1], hs_slab_at(ps[1]->master, w[1]), back);
        assert_memory_equal(back, values, sizeof values);
        hs_param_export(b[1], hs_slab_at(ps[1]->master, b[1]), back);
        assert_memory_equal(back, values, 3 * ROWS * sizeof *values);

        hs_safetensors *f;
        strcat(path, "/model.safetensors");
        OK(hs_safetensors_open(&f, path));
        assert_int_equal(hs_safetensors_count(f), 6);
        const hs_st_entry *key = hs_safetensors_find(f, "layer.4.key.weight"), *value = hs_safetensors_find(f, "layer.4.value.weight");
        assert_true(key->dim[0] == COLS && key->dim[1] == ROWS && value->dim[0] == ROWS && value->dim[1] == COLS);
        assert_memory_equal(value->data, values + 2 * ROWS * COLS, ROWS * COLS * sizeof *values);
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < COLS; c++)
                assert_memory_equal((const float *)key->data + c * ROWS + r, &values[(ROWS + r) * COLS + c], sizeof *values);
        assert_memory_equal(hs_safetensors_find(f, "layer.4.query.bias")->data, values, ROWS * sizeof *values);
        hs_safetensors_close(f);

        const hs_model_files fewer = { .name = rules, .n_names = 2 };
        const hs_ckpt_opts two = { .files = &fewer }; // a part without a name
        path[strlen(path) - strlen("/model.safetensors")] = 0;
        assert_int_equal(hs_ckpt_load_params(path, &two, ps[1]), HS_INTERNAL);
        assert_int_equal(hs_ckpt_export(path, &two, ps[0], &info, NULL), HS_USAGE); // not empty
        hs_params_free(ps[0]);
        hs_params_free(ps[1]);
    }
    ckpt_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(reads_and_writes_parts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
