// linear by weights that are pressed 2:4 (core/cuda/cusparselt.c), against the library's double: the products of the definition, within
// what rounding and another order of sums allow; what is pressed, and what is not; what was timed is kept.
//   test_sp           with the double
//   test_sp none      where there is no library: one line, and whole weights
//   test_sp old       with one of another version: likewise
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/cuda/cublaslt.h"
#include "core/cuda/cusparselt.h"
#include "core/cuda/gpu.cuh"
#include "core/graph/graph.h"
#include "core/graph/params.h"
extern "C" {
#include "tests/support/support_files.h"
}
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern "C" cudaStream_t gpu_stream(const hs_lane *l) { return l->stream; }
extern "C" struct hs_lt *gpu_lt(const hs_lane *) { return nullptr; }
extern "C" const hs_kernels hs_cuda_linear;

enum { W = 1, BIAS = 2, ROWS = 48, LIVE = 41 };
static hs_gpu gpu;
static hs_lane lane;
static const char *how = "";

static int lines;
static char last_line[512];
static void hear(hs_log_level level, const char *line, void *)
{
    lines += level == HS_LOG_WARN;
    if (level == HS_LOG_WARN)
        snprintf(last_line, sizeof last_line, "%s", line);
}

static long products()
{
    long (*n)(void) = nullptr;
    void *library = dlopen("libcusparseLt.so.0", RTLD_NOW | RTLD_NOLOAD);
    if (library)
        *(void **)&n = dlsym(library, "fake_cusparselt_products");
    const long count = n ? n() : 0;
    if (library)
        dlclose(library);
    return count;
}

// ---- calls that fail (of cusparselt.c and of kernels: the linker's --wrap), and one that is counted

static int events = INT32_MAX; // that can still be made
static bool no_times, no_workspace;
static long rooms; // that were asked for

extern "C" {
cudaError_t __real_cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t __wrap_cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    return events > 0 ? (events--, __real_cudaEventCreateWithFlags(e, flags)) : cudaErrorMemoryAllocation;
}
cudaError_t __real_cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);
cudaError_t __wrap_cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    return no_times ? cudaErrorMemoryAllocation : __real_cudaEventElapsedTime(ms, from, to);
}
void *__real_hs_lt_workspace(hs_lane *l, size_t *bytes);
void *__wrap_hs_lt_workspace(hs_lane *l, size_t *bytes) { return no_workspace ? nullptr : __real_hs_lt_workspace(l, bytes); }
void *__real_hs_lt_room(hs_lane *l, size_t bytes);
void *__wrap_hs_lt_room(hs_lane *l, size_t bytes)
{
    rooms++;
    return __real_hs_lt_room(l, bytes);
}
}

// ---- one layer

typedef struct layer {
    int64_t outs, ins;
    hs_dtype type;
    hs_ref x, w, bias, y;
    size_t bytes; // of what is pressed
    char *pressed;
    hs_step_in step;
} layer;

static char *room(size_t bytes)
{
    return static_cast<char *>(memset(aligned_alloc(256, (bytes + 511) / 256 * 256), 0xFF, (bytes + 511) / 256 * 256));
}
static hs_ref operand(hs_dtype d, int64_t rows, int64_t cols, hs_ext ext)
{
    hs_ref r = {};
    r.p = room((size_t)(rows * cols) * hs_dtype_bytes(d));
    r.rows = rows, r.cols = cols, r.dtype = d, r.ext = ext;
    return r;
}
static void draw(const hs_ref &r, uint64_t key, int64_t live, bool halves)
{
    const int64_t n = r.rows * r.cols;
    float *v = static_cast<float *>(malloc((size_t)n * sizeof *v));
    hs_random_normal(v, n, key, 0, 0, 1);
    for (int64_t i = 0; i < n; i++)
        v[i] = i >= live * r.cols ? NAN : halves && hs_2of4_is_zero(i) ? i % 8 < 4 ? -0.0f : 0 : v[i];
    hs_convert(r.p, r.dtype, v, HS_F32, n);
    free(v);
}
static double value(const hs_ref &r, int64_t i)
{
    double v;
    hs_convert(&v, HS_F64, r.p + (size_t)i * hs_dtype_bytes(r.dtype), r.dtype, 1);
    return v;
}

static size_t bytes_of(const layer *l, hs_mode mode, int runs, bool keeps_zeros)
{
    hs_param param = {};
    hs_tensor w = {}, x = {};
    hs_node n = {};
    param.keeps_zeros = keeps_zeros;
    w.kind = HS_PARAM, w.param = &param, w.n_dims = 2, w.dim[0] = l->outs, w.dim[1] = l->ins;
    n.in[0] = &x, n.in[W] = &w, n.mode = mode, n.low = l->type;
    return hs_cuda_linear.derive.bytes(&n, false, runs);
}

static void open_layer(layer *l, int64_t outs, int64_t ins, hs_dtype type, bool bias, int64_t rows)
{
    memset(l, 0, sizeof *l);
    l->outs = outs, l->ins = ins, l->type = type;
    l->x = operand(type, rows, ins, HS_EXT_TOKENS), l->w = operand(type, outs, ins, HS_EXT_FIXED),
    l->y = operand(type, rows, outs, HS_EXT_TOKENS);
    draw(l->x, 1, rows < LIVE ? rows : LIVE, false), draw(l->w, 2, outs, true);
    if (bias)
        l->bias = operand(HS_F32, outs, 1, HS_EXT_FIXED), draw(l->bias, 3, outs, false);
    l->step.n[HS_COUNT_TOKENS] = rows < LIVE ? rows : LIVE;
    l->bytes = bytes_of(l, HS_EVAL, INT32_MAX, true);
    l->pressed = room(l->bytes + 64);
}
static void close_layer(layer *l) { free(l->x.p), free(l->w.p), free(l->y.p), free(l->bias.p), free(l->pressed); }

static void press(layer *l)
{
    hs_args a;
    memset(&a, 0, sizeof a);
    a.in[0] = l->w;
    a.out[0].p = l->pressed, a.out[0].rows = 1, a.out[0].cols = (int64_t)l->bytes, a.out[0].dtype = HS_U8;
    hs_cuda_linear.derive.forward(&a, &lane);
}
static void run(layer *l, bool pressed)
{
    hs_args a;
    memset(&a, 0, sizeof a);
    a.in[0] = l->x, a.in[W] = l->w, a.in[BIAS] = l->bias, a.out[0] = l->y, a.step = &l->step;
    a.derived = pressed ? l->pressed : nullptr, a.derived_bytes = pressed ? l->bytes : 0;
    hs_cuda_linear.fwd(&a, &lane);
    assert_int_equal(cudaStreamSynchronize(lane.stream), cudaSuccess);
    assert_string_equal(lane.failed, "");
}

// Half a unit in the last place of the type, and what f32 loses of sums in whatever order.
static void check(const layer *l, const char *what)
{
    const double half = l->type == HS_BF16 ? 0x1p-8 : 0x1p-11;
    for (int64_t r = 0; r < l->step.n[HS_COUNT_TOKENS]; r++)
        for (int64_t o = 0; o < l->outs; o++) {
            double want = 0, size = 0;
            for (int64_t c = 0; c < l->ins; c++) {
                const double t = value(l->x, r * l->ins + c) * value(l->w, o * l->ins + c);
                want += t, size += fabs(t);
            }
            const double bias = l->bias.p ? value(l->bias, o) : 0, of_bias = half * fabs(bias); // it is narrowed
            want += bias, size += fabs(bias);
            const double got = value(l->y, r * l->outs + o), bound = half * fabs(want) + of_bias + (double)l->ins * 0x1p-23 * size + 1e-7;
            if (!(fabs(got - want) <= bound))
                fail_msg("%s: [%lld, %lld] of %lld x %lld %s is %.9g, should be %.9g", what, (long long)r, (long long)o, (long long)l->outs,
                         (long long)l->ins, hs_dtype_name(l->type), got, want);
        }
}

// ---- tests

static void products_of_pressed_weights(void **)
{
    static const int64_t widths[][2] = { { 16, 16 }, { 96, 32 }, { 32, 96 }, { 208, 64 }, { 64, 208 } };
    static const hs_dtype types[] = { HS_BF16, HS_F16 };
    for (const auto &w : widths)
        for (hs_dtype type : types)
            for (int bias = 0; bias < 2; bias++) {
                layer l;
                open_layer(&l, w[0], w[1], type, bias, ROWS);
                assert_int_equal(l.bytes, w[0] * w[1] * 2 * 9 / 16);
                press(&l);
                for (int i = 0; i < 64; i++)
                    assert_int_equal((uint8_t)l.pressed[l.bytes + (size_t)i], 0xFF);
                long before = products();
                run(&l, true);
                assert_true(products() > before);
                check(&l, "pressed");
                before = products();
                run(&l, true); // its plan is there
                assert_int_equal(products(), before + 1);
                check(&l, "again");
                run(&l, false);
                assert_int_equal(products(), before + 1);
                check(&l, "whole");
                close_layer(&l);
            }
}

// Values that change are pressed anew, to the same place.
static void other_values(void **)
{
    layer l;
    open_layer(&l, 64, 64, HS_BF16, true, ROWS);
    for (uint64_t key = 10; key < 13; key++) {
        draw(l.w, key, l.outs, true);
        press(&l);
        run(&l, true);
        check(&l, "other values");
    }
    close_layer(&l);
}

static void what_is_not_pressed(void **)
{
    layer l;
    open_layer(&l, 64, 64, HS_BF16, false, ROWS);
    assert_int_equal(bytes_of(&l, HS_TRAIN, INT32_MAX, true), 0);
    assert_int_equal(bytes_of(&l, HS_EVAL, 2, true), 0);
    assert_int_equal(bytes_of(&l, HS_EVAL, INT32_MAX, false), 0);
    l.type = HS_F32;
    assert_int_equal(bytes_of(&l, HS_EVAL, INT32_MAX, true), 0);
    l.type = HS_BF16, l.outs = 72;
    assert_int_equal(bytes_of(&l, HS_EVAL, INT32_MAX, true), 0);
    l.outs = 64;
    const float three[4] = { 1, 0, 2, 3 };
    hs_convert(l.w.p + 2 * 60, HS_BF16, three, HS_F32, 4); // columns 60 to 63 of row 0
    lines = 0;
    press(&l), press(&l);
    assert_int_equal(lines, 1);
    assert_string_equal(last_line, "device cuda: 2:4 weights read in full: one of 64 x 64: it has not two zeros in every four values");
    const long before = products();
    run(&l, true);
    assert_int_equal(products(), before);
    check(&l, "not 2:4");
    close_layer(&l);
}

// Another device's object, as each says only once why.
static void open_sp(const char *where)
{
    hs_sp_free(gpu.sp);
    OK(hs_sp_new(&gpu.sp, "a double", where));
}

static void rows_that_do_not_fit(void **)
{
    layer l;
    open_sp(nullptr);
    open_layer(&l, 64, 64, HS_BF16, true, 12);
    press(&l);
    lines = 0;
    const long before = products();
    run(&l, true), run(&l, true);
    assert_int_equal(products(), before);
    assert_int_equal(lines, 1);
    assert_string_equal(last_line, "device cuda: 2:4 weights read in full: rows of x are no multiple of 8");
    check(&l, "12 rows");
    close_layer(&l);
}

static void what_was_timed_is_kept(void **)
{
    layer l;
    char first[128], line[128];
    const char *where = scratch_path("cusparselt");
    size_t bytes;
    open_layer(&l, 96, 64, HS_F16, true, ROWS);
    open_sp(where);
    press(&l), run(&l, true);
    check(&l, "timed");
    char *text = scratch_read("cusparselt", &bytes);
    int taken = -1, algorithm = -1;
    assert_int_equal(sscanf(text, "%127[^\n]\n48 96 64 2 1 %d %d\n", first, &taken, &algorithm), 3);
    assert_string_equal(first, "halfstep-cusparselt 1 801 a double");
    assert_in_range(taken, 0, 1);
    assert_in_range(algorithm, 0, 2);
    free(text);
    for (int take = 0; take < 2; take++) { // what stands there is done, with nothing timed
        const int n = snprintf(line, sizeof line, "%s\n48 96 64 2 1 %d 1\n", first, take);
        scratch_write("cusparselt", line, (size_t)n);
        open_sp(where);
        press(&l);
        const long before = products();
        run(&l, true);
        assert_int_equal(products() - before, take);
        check(&l, "as it was timed");
    }
    close_layer(&l);
}

// A product that is timed has its bias narrowed in front, as one that counts has; the whole one, here of kernels that take it as it is, not.
static void the_bias_is_timed_too(void **)
{
    layer l;
    open_layer(&l, 32, 64, HS_BF16, true, ROWS);
    open_sp(scratch_path("with-bias"));
    press(&l);
    const long before = products(), rooms_before = rooms;
    run(&l, true);
    const long timed = products() - before;
    assert_in_range(timed, 12, 100);
    assert_int_equal(rooms - rooms_before, 1 + timed);
    close_layer(&l);
}

static void what_was_not_timed_is_not_kept(void **)
{
    layer l;
    size_t bytes;
    const char *where = scratch_path("untimed");
    open_layer(&l, 64, 96, HS_BF16, true, ROWS);
    for (int what = 0; what < 4; what++) {
        open_sp(where);
        press(&l);
        lines = 0;
        events = what < 2 ? what : INT32_MAX, no_times = what == 2, no_workspace = what == 3;
        const long before = products();
        run(&l, true);
        events = INT32_MAX, no_times = no_workspace = false;
        check(&l, "not timed");
        assert_int_equal(lines, 1);
        assert_string_equal(last_line, what < 3 ? "device cuda: 2:4 weights of 64 x 96 for 48 rows: taken untimed: the GPU gave no times"
                                                : "device cuda: 2:4 weights read in full: cuSPARSELt has no product of 64 x 48 x 96");
        assert_int_equal(products() > before, what < 3);
        assert_int_equal(access(where, F_OK), -1);
    }
    open_sp(where);
    press(&l), run(&l, true);
    free(scratch_read("untimed", &bytes)); // there it is
    close_layer(&l);
}

static void no_library(void **)
{
    layer l;
    for (int i = 0; i < 2; i++) { // who asks first need not press
        assert_int_equal(hs_sp_open(gpu.sp), HS_UNSUPPORTED);
        assert_non_null(strstr(hs_error(), strcmp(how, "old") == 0 ? "its library is 0.7.1, known is 0.8" : "libcusparseLt.so.0: "));
    }
    assert_int_equal(lines, 0);
    open_layer(&l, 64, 64, HS_BF16, true, ROWS);
    lines = 0;
    for (int i = 0; i < 2; i++) {
        press(&l), run(&l, true);
        check(&l, "without a library");
    }
    assert_int_equal(lines, 1);
    const char *want = strcmp(how, "old") == 0 ? "device cuda: 2:4 weights read in full: cuSPARSELt: its library is 0.7.1, known is 0.8"
                                               : "device cuda: 2:4 weights read in full: cuSPARSELt: ";
    assert_int_equal(strncmp(last_line, want, strlen(want)), 0);
    assert_null(strchr(last_line, '\n'));
    close_layer(&l);
}

static int begin(void **state)
{
    lane.gpu = &gpu;
    hs_log_set(HS_LOG_WARN, hear, nullptr);
    if (cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking) != cudaSuccess || hs_sp_new(&gpu.sp, "a double", nullptr) != HS_OK)
        return -1;
    return scratch_open(state);
}
// The double's objects of all devices that were there, and what it refused.
static void every_object_has_ended(void **)
{
    long (*left)(void) = nullptr;
    void *library = dlopen("libcusparseLt.so.0", RTLD_NOW | RTLD_NOLOAD);
    hs_sp_free(gpu.sp);
    gpu.sp = nullptr;
    assert_non_null(library);
    *(void **)&left = dlsym(library, "fake_cusparselt_left");
    assert_non_null(left);
    assert_int_equal(left(), 0);
    dlclose(library);
}

static int end(void **state)
{
    hs_sp_free(gpu.sp);
    cudaFree(lane.workspace), cudaStreamDestroy(lane.stream);
    return scratch_close(state);
}

int main(int argc, char **argv)
{
    how = argc > 1 ? argv[1] : "";
    const struct CMUnitTest tests[] = { cmocka_unit_test(products_of_pressed_weights), cmocka_unit_test(other_values),
                                        cmocka_unit_test(what_is_not_pressed),         cmocka_unit_test(rows_that_do_not_fit),
                                        cmocka_unit_test(what_was_timed_is_kept),      cmocka_unit_test(the_bias_is_timed_too),
                                        cmocka_unit_test(what_was_not_timed_is_not_kept), cmocka_unit_test(every_object_has_ended) };
    const struct CMUnitTest without[] = { cmocka_unit_test(no_library) };
    if (*how)
        return cmocka_run_group_tests_name("2:4 weights without cuSPARSELt", without, begin, end);
    return cmocka_run_group_tests_name("2:4 weights by cuSPARSELt", tests, begin, end);
}
