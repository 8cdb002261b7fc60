// Which of cuBLASLt's algorithms is taken (core/cuda/cublaslt.c, cublaslt_kept.c), against its double, whose algorithms take the time that a
// test gives them: the fastest, in every later run and in every other process the same, for what adds as for what writes; and what of a
// file is not believed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/kept_file.h"
#include "core/base/log.h"
#include "core/cuda/cublaslt_kept.h"
#include "tests/support/support_files.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FORTH = 1, BACK = 2, M = 24, N = 40, K = 72, SLOW = 3000 }; // of the double's; microseconds
static hs_gpu gpu = { .major = 9 };
static hs_lane lane = { .gpu = &gpu };
static float *operand[3];
static void (*delay)(int algorithm, unsigned us);
static long (*taken)(int algorithm);
static const char *where;

static void rewrite(const char *line, const char *more);
static bool no_memory, no_events;
static const char *arrives; // what another process writes while this one tries
cudaError_t __real_cudaMalloc(void **p, size_t bytes);
cudaError_t __real_cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t __wrap_cudaMalloc(void **p, size_t bytes);
cudaError_t __wrap_cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t __wrap_cudaMalloc(void **p, size_t bytes) { return no_memory ? hs_emu_failed(cudaErrorMemoryAllocation) : __real_cudaMalloc(p, bytes); }
cudaError_t __wrap_cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    if (arrives)
        rewrite(arrives, "");
    return no_events ? hs_emu_failed(cudaErrorMemoryAllocation) : __real_cudaEventCreateWithFlags(e, flags);
}

static void open_lt(const char *name)
{
    OK(hs_lt_open(&gpu.lt, name, where));
}
static void close_lt(void)
{
    hs_lt_close(gpu.lt);
    gpu.lt = NULL;
}

static void be_fast(int algorithm)
{
    delay(FORTH, algorithm == FORTH ? 0 : SLOW), delay(BACK, algorithm == BACK ? 0 : SLOW);
}

static hs_lt_product product_of(int64_t n, bool add)
{
    return (hs_lt_product){ .m = M, .n = n, .k = K, .lda = K, .ldb = K, .ldd = M, .a = HS_F32, .b = HS_F32, .d = HS_F32, .bias = HS_F64, .ta = true, .add = add, .scale = 1 };
}

// Which algorithm a product is made by; and whether it was tried before, so that there were more calls than one.
static int multiply(int64_t n, bool add, bool tried)
{
    const hs_lt_product p = product_of(n, add);
    const hs_lt_operands o = { .a = operand[0], .b = operand[1], .d = operand[2] };
    for (int i = 0; i < N * K; i++)
        operand[0][i] = (float)(i % 7), operand[1][i] = (float)(i % 5);
    for (int i = 0; i < M * N; i++)
        operand[2][i] = 1000;
    const long forth = taken(FORTH), back = taken(BACK);
    assert_true(hs_lt_has(&lane, &p, &o));
    hs_lt_multiply(&lane, &p, &o);
    const long calls = taken(FORTH) - forth + taken(BACK) - back;
    assert_int_equal(cudaStreamSynchronize(lane.stream), cudaSuccess);
    assert_string_equal(lane.failed, "");
    assert_int_equal(cudaPeekAtLastError(), cudaSuccess);
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < M; i++) {
            float want = add ? 1000 : 0;
            for (int k = 0; k < K; k++)
                want += operand[0][i * K + k] * operand[1][j * K + k];
            assert_true(operand[2][j * M + i] == want); // of whole numbers, in any order
        }
    if (tried != (calls > 1))
        fail_msg("%d products were made, which is %s", (int)calls, tried ? "no trial" : "a trial");
    const long before = taken(BACK);
    hs_lt_multiply(&lane, &p, &o);
    assert_int_equal(cudaStreamSynchronize(lane.stream), cudaSuccess);
    return taken(BACK) > before ? BACK : FORTH;
}

static void start_over(const char *file)
{
    where = scratch_path(file);
    unlink(where);
}

static void the_fastest(void **state)
{
    (void)state;
    for (int fast = FORTH; fast <= BACK; fast++) {
        start_over("fastest");
        be_fast(fast);
        open_lt("a GPU");
        assert_int_equal(multiply(N, false, true), fast);
        be_fast(FORTH + BACK - fast);
        assert_int_equal(multiply(N, false, false), fast);
        close_lt();
        open_lt("a GPU");
        assert_int_equal(multiply(N, false, false), fast); // of the file
        assert_int_equal(multiply(N - 1, false, true), FORTH + BACK - fast);
        close_lt();
    }
    where = NULL;
    open_lt("a GPU");
    be_fast(BACK);
    assert_int_equal(multiply(N, false, false), FORTH); // the first proposal that is one
    close_lt();
}

static void one_that_adds(void **state)
{
    (void)state;
    start_over("adds");
    be_fast(BACK);
    open_lt("a GPU");
    assert_int_equal(multiply(N, true, true), BACK);
    be_fast(FORTH);
    assert_int_equal(multiply(N, false, false), BACK);
    close_lt();
    open_lt("a GPU");
    assert_int_equal(multiply(N, true, false), BACK);
    no_memory = true; // to try it in
    assert_int_equal(multiply(N - 2, true, false), FORTH);
    no_memory = false;
    close_lt();
    be_fast(BACK);
    open_lt("a GPU");
    assert_int_equal(multiply(N - 2, true, true), BACK); // what was not timed was not kept
    close_lt();
}

static void no_times(void **state)
{
    (void)state;
    start_over("times");
    be_fast(BACK);
    open_lt("a GPU");
    no_events = true;
    assert_int_equal(multiply(N, false, false), FORTH);
    no_events = false;
    close_lt();
    assert_int_not_equal(access(where, F_OK), 0);
}

static void others_meanwhile(void **state)
{
    (void)state;
    start_over("others");
    be_fast(BACK);
    open_lt("a GPU");
    hs_lt *first = gpu.lt;
    open_lt("a GPU");
    hs_lt *second = gpu.lt;
    assert_int_equal(multiply(N, false, true), BACK);
    gpu.lt = first, be_fast(FORTH);
    assert_int_equal(multiply(N, false, false), BACK); // what the second found
    assert_int_equal(multiply(N - 3, false, true), FORTH);
    gpu.lt = second;
    assert_int_equal(multiply(N - 4, false, true), FORTH);
    hs_lt_close(first), hs_lt_close(second);
    be_fast(BACK);
    open_lt("a GPU");
    assert_int_equal(multiply(N, false, false), BACK); // all three are in the file
    assert_int_equal(multiply(N - 3, false, false), FORTH);
    assert_int_equal(multiply(N - 4, false, false), FORTH);
    close_lt();
}

// ---- what a file says

static void rewrite(const char *line, const char *more)
{
    FILE *f = fopen(where, "w");
    assert_non_null(f);
    fprintf(f, "%s%s", line, more);
    fclose(f);
}

static char text[4096], *head_end;
static void read_text(void)
{
    FILE *f = fopen(where, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    head_end = strchr(text, '\n') + 1;
}

static void others_at_once(void **state)
{
    (void)state;
    start_over("once");
    be_fast(BACK);
    open_lt("a GPU");
    assert_int_equal(multiply(N, false, true), BACK);
    close_lt();
    read_text();
    unlink(where);
    be_fast(FORTH);
    open_lt("a GPU");
    arrives = text;
    assert_int_equal(multiply(N, false, true), BACK); // the other was first
    arrives = NULL;
    close_lt();
}

static void another_machine(void **state)
{
    (void)state;
    char other[4096];
    start_over("machine");
    be_fast(BACK);
    open_lt("a GPU");
    assert_int_equal(multiply(N, false, true), BACK);
    close_lt();
    be_fast(FORTH);
    open_lt("another GPU");
    assert_int_equal(multiply(N, false, true), FORTH);
    close_lt();
    read_text();
    assert_non_null(strstr(text, " another GPU\n"));
    char *version = strstr(text, " 130100 ");
    assert_non_null(version);
    snprintf(other, sizeof other, "%.*s 130000 %s", (int)(version - text), text, version + strlen(" 130100 "));
    rewrite(other, "");
    be_fast(BACK);
    open_lt("another GPU");
    assert_int_equal(multiply(N, false, true), BACK);
    close_lt();
}

static void not_a_line(void **state)
{
    (void)state;
    start_over("garbage");
    be_fast(BACK);
    open_lt("a GPU");
    assert_int_equal(multiply(N, false, true), BACK);
    close_lt();
    read_text();
    char head[512], line[4096];
    snprintf(head, sizeof head, "%.*s", (int)(head_end - text), text);
    snprintf(line, sizeof line, "%s", head_end);
    const char *const wrong[] = { "", "\n", "0123\n", "not even numbers\n", "\xff\xfe\x01", line + 2 };
    be_fast(FORTH);
    for (int i = 0; i < HS_COUNT(wrong); i++) {
        rewrite(head, wrong[i]);
        open_lt("a GPU");
        assert_int_equal(multiply(N, false, true), FORTH);
        close_lt();
        open_lt("a GPU");
        assert_int_equal(multiply(N, false, false), FORTH); // the file is whole again
        close_lt();
    }
    rewrite("", line);
    open_lt("a GPU");
    assert_int_equal(multiply(N, false, true), FORTH);
    close_lt();
}

static void no_algorithm(void **state)
{
    (void)state;
    start_over("algorithm");
    be_fast(BACK);
    open_lt("a GPU");
    assert_int_equal(multiply(N, false, true), BACK);
    close_lt();
    for (int i = 0; i < 2; i++) { // a number that is none of its; more workspace than there is
        read_text();
        const size_t at = 2 * (i ? offsetof(hs_lt_line, workspace) + 4 : offsetof(hs_lt_line, algo) + 1);
        memcpy(head_end + at, "7f", 2);
        rewrite(text, "");
        be_fast(FORTH);
        open_lt("a GPU");
        assert_int_equal(multiply(N, false, true), FORTH);
        close_lt();
        be_fast(BACK);
        open_lt("a GPU");
        assert_int_equal(multiply(N, false, false), FORTH); // in place of the wrong one
        close_lt();
    }
}

// ---- a file that several write

typedef struct numbers {
    int of[64], n;
} numbers;

static bool read_number(FILE *f, void *user)
{
    numbers *l = user;
    int v;
    if (fscanf(f, "%d\n", &v) != 1)
        return false;
    for (int i = 0; i < l->n; i++)
        if (l->of[i] == v)
            return true;
    l->of[l->n++] = v;
    return true;
}
static bool write_number(FILE *f, const void *user, int i) { return fprintf(f, "%d\n", ((const numbers *)user)->of[i]) > 0; }

static void *add_numbers(void *user)
{
    const int first = *(const int *)user;
    numbers l = { .n = 0 };
    const hs_kept_file f = { "a test", where, "numbers\n", read_number, write_number, &l };
    for (int i = 0; i < 8; i++) {
        l.of[l.n++] = first + i;
        hs_kept_write(&f, &l.n);
    }
    return NULL;
}

static void several_write(void **state)
{
    (void)state;
    enum { THREADS = 6 };
    pthread_t thread[THREADS];
    int first[THREADS];
    start_over("several");
    for (int i = 0; i < THREADS; i++) {
        first[i] = 8 * i;
        pthread_create(&thread[i], NULL, add_numbers, &first[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    numbers l = { .n = 0 };
    const hs_kept_file f = { "a test", where, "numbers\n", read_number, write_number, &l };
    hs_kept_read(&f);
    assert_int_equal(l.n, 8 * THREADS);
}

static int begin(void **state)
{
    scratch_open(state);
    hs_log_set(HS_LOG_QUIET, NULL, NULL);
    void *library = dlopen("libcublasLt.so.13", RTLD_NOW); // stays
    if (!library || cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking) != cudaSuccess)
        return -1;
    *(void **)&delay = dlsym(library, "fake_cublaslt_delay"), *(void **)&taken = dlsym(library, "fake_cublaslt_taken");
    for (int i = 0; i < 3; i++)
        if (cudaMalloc((void **)&operand[i], N * K * sizeof(float)) != cudaSuccess)
            return -1;
    return delay && taken ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_fastest),     cmocka_unit_test(one_that_adds), cmocka_unit_test(no_times),
                                        cmocka_unit_test(others_meanwhile), cmocka_unit_test(others_at_once), cmocka_unit_test(another_machine), cmocka_unit_test(not_a_line),
                                        cmocka_unit_test(no_algorithm),    cmocka_unit_test(several_write) };
    return cmocka_run_group_tests_name("algorithms of cuBLASLt", tests, begin, scratch_close);
}
