// support_fuzz_peft: an adapter of PEFT on any bytes: its settings, its pairs, and what becomes of the base's weights.
// libFuzzer's target: cmake -DCMAKE_C_COMPILER=clang -DHS_FUZZ=ON, then tests/fuzz_peft CORPUS tests/golden/fuzz/peft
// A u16 with the bytes of adapter_config.json, these, then adapter_model.safetensors. The base, ../base, has w.weight [4, 3], f32, and v
// [5].
#include "data/checkpoint/peft.h"
#include "tests/support/support_fuzz.h"
#include <math.h>
#include <sys/stat.h>

int hs_fuzz_peft(const uint8_t *data, size_t bytes);

enum { OUT = 4, IN = 3, LONG = 5 };

static void put_base(const char *dir, char path[64])
{
    float w[OUT * IN], v[LONG];
    for (int i = 0; i < OUT * IN; i++)
        w[i] = (float)i;
    for (int i = 0; i < LONG; i++)
        v[i] = 1;
    const hs_st_tensor t[] = { { .name = "v", .dtype = HS_F32, .n_dims = 1, .dim = { LONG }, .data = v },
                               { .name = "w.weight", .dtype = HS_F32, .n_dims = 2, .dim = { OUT, IN }, .data = w } };
    snprintf(path, 64, "%s/model.safetensors", dir);
    must(hs_safetensors_write(path, t, 2, NULL) == HS_OK);
}

static hs_params *make_params(void)
{
    static const hs_param_spec specs[] = { { .name = "w.weight", .role = HS_WEIGHT, .n_dims = 2, .dim = { OUT, IN } },
                                           { .name = "v", .role = HS_BIAS, .n_dims = 1, .dim = { LONG } } };
    hs_params *ps;
    hs_param *p;
    must(hs_params_new(&ps, 1, 0, 1) == HS_OK);
    for (int i = 0; i < HS_COUNT(specs); i++)
        must(hs_params_get(ps, &specs[i], &p) == HS_OK);
    must(hs_params_alloc(ps, NULL, false) == HS_OK);
    return ps;
}

static void load(const char *adapter)
{
    static const hs_model_files plain;
    hs_params *ps = make_params();
    hs_peft p;
    const hs_status st = hs_peft_read(&p, adapter);
    if (st == HS_OK)
        must(p.rank > 0 && p.base[0] && p.dropout >= 0 && p.dropout < 1);
    if (hs_ckpt_load_params(adapter, &(hs_ckpt_opts){ .files = &plain }, ps) == HS_OK) {
        float v[LONG];
        must(st == HS_OK);
        hs_params_export(ps, ps->master, hs_params_find(ps, "v"), v);
    } else
        must(hs_error()[0] != 0);
    hs_peft_free(&p);
    hs_params_free(ps);
}

int hs_fuzz_peft(const uint8_t *data, size_t bytes)
{
    char dir[FUZZ_FOLDER], base[FUZZ_FOLDER + 5], adapter[FUZZ_FOLDER + 2], path[3][64];
    if (bytes < 2)
        return 0;
    size_t n = (size_t)(data[0] | data[1] << 8);
    n = n > bytes - 2 ? bytes - 2 : n;
    fuzz_folder(dir);
    snprintf(base, sizeof base, "%s/base", dir), snprintf(adapter, sizeof adapter, "%s/a", dir);
    must(mkdir(base, 0777) == 0 && mkdir(adapter, 0777) == 0);
    put_base(base, path[0]);
    fuzz_put(path[1], adapter, HS_PEFT_CONFIG, data + 2, n);
    fuzz_put(path[2], adapter, HS_PEFT_WEIGHTS, data + 2 + n, bytes - 2 - n);
    load(adapter);
    for (int i = 0; i < HS_COUNT(path); i++)
        unlink(path[i]);
    rmdir(base), rmdir(adapter), rmdir(dir);
    return 0;
}

HS_FUZZ_TARGET(peft)
