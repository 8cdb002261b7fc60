// coded: directories of compressed-tensors as others write them - groups of 128, one scale for a row or for all, scales of any float type,
// packed codes of 8 bits, zero points and orders that say nothing - become the same values, copied and served from the file, of one tensor
// and of three that are stacked; what has no form here is refused by name.
#include "tests/support/support_files.h"

#include "core/graph/coding.h"
#include "data/checkpoint/ckpt_io.h"
#include "tests/support/support_ckpt.h"
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
static int32_t order[2 * COLS];
static const int64_t shape[2] = { ROWS, COLS };
static int8_t stack_code[3][N];
static float stack_scale[3][N];

static void fill(int least, int most)
{
    for (int i = 0; i < N; i++)
        code[i] = (int8_t)(least + (i * 53 + i / 7) % (most - least + 1));
    for (int i = 0; i < N; i++)
        scale[i] = (float)(1 + i % 5) / 1024; // exact in f16 and bf16
    for (int i = 0; i < 2 * COLS; i++)
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
    hs_ckpt_map *map;
    hs_param *p;
} small;

// The only parameter has `parts` parts: more than one are tensors q, k and v of the file.
static hs_status declare_small(small *m, const hs_st_tensor *t, int n, const hs_ckpt_opts *o, int parts)
{
    char path[1200];
    *m = (small){ 0 };
    mkdir(scratch_path("coded"), 0777);
    snprintf(path, sizeof path, "%s/model.safetensors", scratch_path("coded"));
    remove(path);
    OK(hs_safetensors_write(path, t, n, NULL));
    OK(hs_ckpt_codes_open(&m->codes, scratch_path("coded"), o));
    OK(hs_params_new(&m->ps, 1, 0, 1));
    OK(hs_params_code(m->ps, hs_ckpt_codes_coder(m->codes)));
    return hs_params_get(
        m->ps,
        &(hs_param_spec){
            .name = parts > 1 ? "qkv.weight" : "a.weight", .role = HS_WEIGHT, .n_dims = 2, .dim = { parts * ROWS, COLS }, .parts = parts },
        &m->p);
}

static const hs_name_rule stacked_names[] = { { "qkv.weight", "q.weight", false, 1 },
                                              { "qkv.weight", "k.weight", false, 2 },
                                              { "qkv.weight", "v.weight", false, 3 } };
static const hs_model_files plain, stacked_files = { .name = stacked_names, .n_names = HS_COUNT(stacked_names) };

static hs_status open_stack(small *m, const hs_st_tensor *t, int n, int parts)
{
    const hs_ckpt_opts o = { .files = parts > 1 ? &stacked_files : &plain };
    OK(declare_small(m, t, n, &o, parts));
    OK(hs_params_alloc(m->ps, NULL, false));
    return hs_ckpt_load_params(scratch_path("coded"), &o, m->ps);
}
static hs_status open_small(small *m, const hs_st_tensor *t, int n) { return open_stack(m, t, n, 1); }

// Served from the mapping of the file: what lies there as it is kept.
static void serve_small(small *m, const hs_st_tensor *t, int n, int parts)
{
    const hs_ckpt_opts o = { .files = parts > 1 ? &stacked_files : &plain };
    OK(declare_small(m, t, n, &o, parts));
    OK(hs_ckpt_map_open(&m->map, scratch_path("coded"), &o, m->ps));
    OK(hs_ckpt_map_adopt(m->map, m->ps, ckpt_device(), NULL));
    OK(hs_params_alloc(m->ps, NULL, false));
    OK(hs_ckpt_map_load(m->map, m->ps, NULL, NULL));
}

static void close_small(small *m)
{
    hs_params_free(m->ps);
    hs_ckpt_map_close(m->map);
    hs_ckpt_codes_close(m->codes);
}

static void has_values(const small *m, hs_coding coding, int groups, const char *how)
{
    static float v[N];
    assert_int_equal(m->p->coding, coding);
    hs_params_fetch(m->ps, m->p, 0, v, N);
    for (int i = 0; i < N; i++) {
        const float want = (float)code[i] * scale[groups ? i / COLS * groups + i % COLS * groups / COLS : 0];
        if (v[i] != want)
            fail_msg("coding %d, %d scales of a row, %s: element %d is %g, should be %g", coding, groups, how, i, (double)v[i],
                     (double)want);
    }
}

// groups: scales of a row; 0: one for all. Codes are served where the file has the bytes that are kept: all but packed ones of 8 bits.
static void reads(const hs_st_tensor *t, int n, hs_coding coding, int groups)
{
    small m;
    OK(open_small(&m, t, n));
    has_values(&m, coding, groups, "copied");
    close_small(&m);
    serve_small(&m, t, n, 1);
    has_values(&m, coding, groups, "served");
    const bool turned = t[0].dtype == HS_I32 && coding != HS_CODING_I4_BLOCKS;
    const hs_slab *codes = hs_params_coded(m.ps, HS_VIEW_CODES);
    assert_int_equal(hs_slab_adopted(codes, m.p), !turned);
    if (!turned)
        assert_memory_equal(hs_slab_at(codes, m.p), t[0].data, hs_coding_bytes(m.p, HS_VIEW_CODES));
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

// ---- three that are stacked

enum { PARTS = 3 };

// Part k of the tensors: codes, scales and the scale of what all three multiply.
static int stack_tensors(hs_st_tensor *t, const float *x_scale, bool blocks)
{
    static const char *const name[PARTS][3] = { { "q.weight", "q.weight_scale", "q.input_scale" },
                                                { "k.weight", "k.weight_scale", "k.input_scale" },
                                                { "v.weight", "v.weight_scale", "v.input_scale" } };
    int n = 0;
    for (int k = 0; k < PARTS; k++) {
        t[n++] = (hs_st_tensor){ .name = name[k][0], .dtype = HS_I8, .n_dims = 2, .dim = { ROWS, COLS }, .data = stack_code[k] };
        t[n++] = (hs_st_tensor){
            .name = name[k][1], .dtype = HS_F32, .n_dims = 2, .dim = { ROWS, blocks ? COLS / 32 : 1 }, .data = stack_scale[k]
        };
        if (!blocks)
            t[n++] = (hs_st_tensor){ .name = name[k][2], .dtype = HS_F32, .n_dims = 1, .dim = { 1 }, .data = &x_scale[k] };
    }
    return n;
}

static void has_stack(const small *m, bool blocks)
{
    static float v[PARTS * N];
    const int groups = blocks ? COLS / 32 : 1;
    assert_int_equal(m->p->coding, blocks ? HS_CODING_I8_BLOCKS : HS_CODING_I8_STATIC);
    hs_params_fetch(m->ps, m->p, 0, v, PARTS * N);
    for (int k = 0; k < PARTS; k++)
        for (int i = 0; i < N; i++) {
            const float want = (float)stack_code[k][i] * stack_scale[k][i / COLS * groups + i % COLS * groups / COLS];
            if (v[k * N + i] != want)
                fail_msg("part %d, element %d is %g, should be %g", k, i, (double)v[k * N + i], (double)want);
        }
}

// What is stacked reads one x: its scale is the largest of the three, whichever part has it, so that nothing is cut off.
static void stacked(void **state)
{
    (void)state;
    for (int k = 0; k < PARTS; k++)
        for (int i = 0; i < N; i++) {
            stack_code[k][i] = (int8_t)((i * 53 + i / 7 + k * 31) % 255 - 127);
            stack_scale[k][i] = (float)(1 + (i + k) % 7) / 1024;
        }
    for (int largest = 0; largest <= PARTS; largest++) { // the last: of blocks, which have none
        const bool blocks = largest == PARTS;
        float x_scale[PARTS] = { 0.25f, 0.5f, 0.125f }, have;
        hs_st_tensor t[3 * PARTS];
        small m;
        if (!blocks)
            x_scale[largest] = 2;
        const int n = stack_tensors(t, x_scale, blocks);
        OK(open_stack(&m, t, n, PARTS));
        has_stack(&m, blocks);
        if (!blocks) {
            hs_params_read(m.ps, hs_params_coded(m.ps, HS_VIEW_X_SCALE), m.p, &have);
            assert_true(have == 2);
        }
        close_small(&m);
        serve_small(&m, t, n, PARTS);
        has_stack(&m, blocks);
        assert_false(hs_slab_adopted(hs_params_coded(m.ps, HS_VIEW_CODES), m.p)); // in three places
        close_small(&m);
    }
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
    for (int64_t n = COLS / 2; n <= 2 * COLS; n += COLS / 2) // of other columns than there are, all of them in order
        if (n != COLS)
            REFUSES("another order (weight_g_idx of actorder)", HS_USAGE, PACKED(COLS / 8), SCALES(2),
                    { .name = "a.weight_g_idx", .dtype = HS_I32, .n_dims = 1, .dim = { n }, .data = order });
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
    const struct CMUnitTest tests[] = { cmocka_unit_test(groups), cmocka_unit_test(stacked), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
