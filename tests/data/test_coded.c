// coded: directories of compressed-tensors as others write them - groups of 128, one scale for a row or for all, scales of any float type,
// packed codes of 8 bits, zero points and orders that say nothing - become the same values; what has no form here is refused by name.
#include "tests/support/support_files.h"

#include "core/graph/coding.h"
#include "data/checkpoint/ckpt_io.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ROWS = 8, COLS = 256, N = ROWS * COLS };

static int8_t code[N]; // in [-127, 127], or [-8, 7]
static float scale[N];
static uint8_t bytes[N];
static uint16_t half[N];
static int32_t order[COLS];
static const int64_t shape[2] = { ROWS, COLS };

static void fill(int least, int most)
{
    for (int i = 0; i < N; i++)
        code[i] = (int8_t)(least + (i * 53 + i / 7) % (most - least + 1));
    for (int i = 0; i < N; i++)
        scale[i] = (float)(1 + i % 5) / 1024; // exact in f16 and bf16
    for (int i = 0; i < COLS; i++)
        order[i] = i / 128;
}

static void pack(int bits)
{
    memset(bytes, 0, sizeof bytes);
    for (int i = 0; i < N; i++)
        bytes[i * bits / 8] = (uint8_t)(bytes[i * bits / 8] | (code[i] + (1 << (bits - 1))) << i * bits % 8);
}

typedef struct small {
    hs_params *ps;
    hs_ckpt_codes *codes;
    hs_param *p;
} small;

static hs_status open_small(small *m, const hs_st_tensor *t, int n)
{
    static const hs_model_files plain;
    const hs_ckpt_opts o = { .files = &plain };
    char path[1200];
    *m = (small){ 0 };
    mkdir(scratch_path("coded"), 0777);
    snprintf(path, sizeof path, "%s/model.safetensors", scratch_path("coded"));
    remove(path);
    OK(hs_safetensors_write(path, t, n, NULL));
    OK(hs_ckpt_codes_open(&m->codes, scratch_path("coded"), &o));
    OK(hs_params_new(&m->ps, 1, 0, 1));
    OK(hs_params_code(m->ps, hs_ckpt_codes_coder(m->codes)));
    OK(hs_params_get(m->ps, &(hs_param_spec){ .name = "a.weight", .role = HS_WEIGHT, .n_dims = 2, .dim = { ROWS, COLS } }, &m->p));
    OK(hs_params_alloc(m->ps, NULL, false));
    return hs_ckpt_load_params(scratch_path("coded"), &o, m->ps);
}

static void close_small(small *m)
{
    hs_params_free(m->ps);
    hs_ckpt_codes_close(m->codes);
}

// groups: scales of a row; 0: one for all.
static void reads(const hs_st_tensor *t, int n, hs_coding coding, int groups)
{
    small m;
    static float v[N];
    OK(open_small(&m, t, n));
    assert_int_equal(m.p->coding, coding);
    hs_params_fetch(m.ps, m.p, 0, v, N);
    for (int i = 0; i < N; i++) {
        const float want = (float)code[i] * scale[groups ? i / COLS * groups + i % COLS * groups / COLS : 0];
        if (v[i] != want)
            fail_msg("coding %d, %d scales of a row: element %d is %g, should be %g", coding, groups, i, (double)v[i], (double)want);
    }
    close_small(&m);
}

#define CODES8                                                                                                                             \
    {                                                                                                                                      \
        .name = "a.weight", .dtype = HS_I8, .n_dims = 2, .dim = { ROWS, COLS }, .data = code                                               \
    }
#define PACKED(w)                                                                                                                          \
    {                                                                                                                                      \
        .name = "a.weight_packed", .dtype = HS_I32, .n_dims = 2, .dim = { ROWS, w }, .data = bytes                                         \
    }
#define SHAPE                                                                                                                              \
    {                                                                                                                                      \
        .name = "a.weight_shape", .dtype = HS_I64, .n_dims = 1, .dim = { 2 }, .data = shape                                                \
    }
#define SCALES(g)                                                                                                                          \
    {                                                                                                                                      \
        .name = "a.weight_scale", .dtype = HS_F32, .n_dims = 2, .dim = { ROWS, g }, .data = scale                                          \
    }
#define LOW(g, t)                                                                                                                          \
    {                                                                                                                                      \
        .name = "a.weight_scale", .dtype = t, .n_dims = 2, .dim = { ROWS, g }, .data = half                                                \
    }
#define READS(c, g, ...) reads((const hs_st_tensor[]){ __VA_ARGS__ }, HS_COUNT(((const hs_st_tensor[]){ __VA_ARGS__ })), c, g)

static void groups(void **state)
{
    (void)state;
    static const int8_t none[ROWS * 8];
    fill(-127, 127);
    READS(HS_CODING_I8, 1, CODES8, SCALES(1));
    READS(HS_CODING_I8, 0, CODES8, { .name = "a.weight_scale", .dtype = HS_F32, .n_dims = 1, .dim = { 1 }, .data = scale });
    READS(HS_CODING_I8_BLOCKS, 8, CODES8, SCALES(8));
    READS(HS_CODING_I8_BLOCKS, 2, CODES8, SCALES(2));
    READS(HS_CODING_I8, 1, CODES8, SCALES(1),
          { .name = "a.weight_zero_point", .dtype = HS_I8, .n_dims = 2, .dim = { ROWS, 1 }, .data = none });
    code[5] = -128; // others' rounding makes it
    READS(HS_CODING_I8, 1, CODES8, SCALES(1));
    code[5] = 1;
    pack(8);
    READS(HS_CODING_I8_BLOCKS, 2, PACKED(COLS / 4), SHAPE, SCALES(2));
    READS(HS_CODING_I8, 1, PACKED(COLS / 4), SHAPE, SCALES(1));
    fill(-8, 7);
    pack(4);
    READS(HS_CODING_I4_BLOCKS, 8, PACKED(COLS / 8), SHAPE, SCALES(8));
    READS(HS_CODING_I4_BLOCKS, 2, PACKED(COLS / 8), SCALES(2));
    READS(HS_CODING_I4_BLOCKS, 1, PACKED(COLS / 8), SHAPE, SCALES(1));
    for (int i = 0; i < ROWS * 2; i++)
        half[i] = hs_f32_bf16(scale[i]);
    READS(HS_CODING_I4_BLOCKS, 2, PACKED(COLS / 8), SHAPE, LOW(2, HS_BF16));
    for (int i = 0; i < ROWS * 2; i++)
        half[i] = hs_f32_f16(scale[i]);
    READS(HS_CODING_I4_BLOCKS, 2, PACKED(COLS / 8), SHAPE, LOW(2, HS_F16),
          { .name = "a.weight_g_idx", .dtype = HS_I32, .n_dims = 1, .dim = { COLS }, .data = order });
}

static void refuses(const char *part, hs_status want, const hs_st_tensor *t, int n)
{
    small m;
    expect_error(open_small(&m, t, n), want, part, __FILE__, __LINE__);
    close_small(&m);
}
#define REFUSES(part, want, ...)                                                                                                           \
    refuses(part, want, (const hs_st_tensor[]){ __VA_ARGS__ }, HS_COUNT(((const hs_st_tensor[]){ __VA_ARGS__ })))

static void refused(void **state)
{
    (void)state;
    static const int8_t ones[ROWS * 8] = { 0, 1 };
    static const float nought = 0, step = 0.01f;
    fill(-8, 7);
    pack(4);
    REFUSES("has groups that are no multiples of 32", HS_USAGE, PACKED(COLS / 8), SHAPE, SCALES(16));
    REFUSES("has groups that are no multiples of 32", HS_USAGE, PACKED(COLS / 8), SHAPE, SCALES(3));
    REFUSES("has zero points", HS_USAGE, PACKED(COLS / 8), SCALES(8),
            { .name = "a.weight_zero_point", .dtype = HS_I8, .n_dims = 2, .dim = { ROWS, 8 }, .data = ones });
    order[3] = 1;
    REFUSES("another order (weight_g_idx of actorder)", HS_USAGE, PACKED(COLS / 8), SCALES(2),
            { .name = "a.weight_g_idx", .dtype = HS_I32, .n_dims = 1, .dim = { COLS }, .data = order });
    REFUSES("a scale of inputs beside groups", HS_USAGE, PACKED(COLS / 8), SCALES(2),
            { .name = "a.input_scale", .dtype = HS_F32, .n_dims = 1, .dim = { 1 }, .data = &step });
    REFUSES("the model needs [8,256]", HS_USAGE, PACKED(COLS / 8), SCALES(8),
            { .name = "a.weight_shape", .dtype = HS_I64, .n_dims = 1, .dim = { 2 }, .data = (const int64_t[]){ 8, 255 } });
    REFUSES("the model needs [8,256]", HS_USAGE, PACKED(COLS / 8),
            { .name = "a.weight_scale", .dtype = HS_F32, .n_dims = 2, .dim = { 4, 8 }, .data = scale });
    fill(-127, 127);
    code[77] = -128;
    REFUSES("holds codes of -128", HS_USAGE, CODES8, SCALES(8));
    REFUSES("is 0, a scale of inputs must be above 0", HS_CORRUPT, CODES8, SCALES(1),
            { .name = "a.input_scale", .dtype = HS_F32, .n_dims = 1, .dim = { 1 }, .data = &nought });
    code[77] = 0;
    scale[9] = NAN;
    REFUSES("a scale must be finite", HS_CORRUPT, CODES8, SCALES(8));
    hs_convert(half, HS_F16, scale, HS_F32, N); // as they are kept: a scale for each block of 32, copied as it is
    REFUSES("a scale must be finite", HS_CORRUPT, CODES8, LOW(8, HS_F16));
    scale[9] = 1e6f;
    REFUSES("scales of groups are kept in f16", HS_UNSUPPORTED, CODES8, SCALES(8));
    scale[9] = 1e-12f;
    REFUSES("scales of groups are kept in f16", HS_UNSUPPORTED, CODES8, SCALES(8));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(groups), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
