// support_fuzz_coded: a directory with weights as codes on any bytes: what quantization_config says, tensors, and the values they become.
// libFuzzer's target: cmake -DCMAKE_C_COMPILER=clang -DHS_FUZZ=ON, then tests/fuzz_coded CORPUS tests/golden/fuzz/coded
// A u16 with the bytes of quantization_config, these, then model.safetensors. The model has a.weight [8, 256], b.weight [16, 64] and v [5].
#include "core/graph/coding.h"
#include "data/checkpoint/ckpt_parts.h"
#include "tests/support/support_fuzz.h"
#include <math.h>

int hs_fuzz_coded(const uint8_t *data, size_t bytes);

static void one_line(void) { must(hs_error()[0] != 0 && !strchr(hs_error(), '\n')); }

static hs_status check_config(const char *path)
{
    hs_json j;
    HS_TRY(hs_json_open(&j, path));
    const hs_status st = hs_quantization_check(path, j.root);
    hs_json_close(&j);
    return st;
}

static hs_status load(const char *dir, hs_params *ps, hs_ckpt_codes **codes)
{
    static const hs_model_files plain;
    static const hs_param_spec specs[] = { { .name = "a.weight", .role = HS_WEIGHT, .n_dims = 2, .dim = { 8, 256 } },
                                           { .name = "b.weight", .role = HS_WEIGHT, .n_dims = 2, .dim = { 16, 64 } },
                                           { .name = "v", .role = HS_BIAS, .n_dims = 1, .dim = { 5 } } };
    const hs_ckpt_opts o = { .files = &plain };
    hs_param *p;
    HS_TRY(hs_ckpt_codes_open(codes, dir, &o));
    HS_TRY(hs_params_code(ps, hs_ckpt_codes_coder(*codes)));
    for (int i = 0; i < HS_COUNT(specs); i++)
        must(hs_params_get(ps, &specs[i], &p) == HS_OK);
    must(hs_params_alloc(ps, NULL, false) == HS_OK);
    return hs_ckpt_load_params(dir, &o, ps);
}

static void check_values(const hs_params *ps)
{
    static float v[8 * 256];
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        hs_params_fetch(ps, p, 0, v, p->n);
        for (size_t k = 0; k < p->n && p->coding; k++)
            must(!isnan(v[k]));
    }
}

int hs_fuzz_coded(const uint8_t *data, size_t bytes)
{
    char dir[FUZZ_FOLDER], path[2][64];
    hs_ckpt_codes *codes = NULL;
    hs_params *ps;
    if (bytes < 2)
        return 0;
    size_t n = (size_t)(data[0] | data[1] << 8);
    n = n > bytes - 2 ? bytes - 2 : n;
    fuzz_folder(dir);
    fuzz_put(path[0], dir, "config.json", data + 2, n);
    fuzz_put(path[1], dir, "model.safetensors", data + 2 + n, bytes - 2 - n);
    if (check_config(path[0]) != HS_OK)
        one_line();
    must(hs_params_new(&ps, 1, 0, 1) == HS_OK);
    if (load(dir, ps, &codes) == HS_OK)
        check_values(ps);
    else
        one_line();
    hs_params_free(ps);
    hs_ckpt_codes_close(codes);
    for (int i = 0; i < HS_COUNT(path); i++)
        unlink(path[i]);
    rmdir(dir);
    return 0;
}

HS_FUZZ_TARGET(coded)
