// The fenced device: the host that touches device memory dies with a line that says where; kernels and the device's own copy do not.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/graph/derived.h"
#include "ops/ops.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct touch {
    volatile char *at;
    bool writes;
} touch;

static void *touch_it(void *arg)
{
    const touch *t = arg;
    if (t->writes)
        *t->at = 1;
    else
        (void)*t->at;
    return NULL;
}

// In a child: its exit, and the line it left on stderr.
static int touched(touch t, bool thread, char *line, size_t size)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        pthread_t other;
        dup2(ends[1], STDERR_FILENO);
        if (!thread || pthread_create(&other, NULL, touch_it, &t))
            touch_it(&t);
        else
            pthread_join(other, NULL);
        _exit(0);
    }
    close(ends[1]);
    const ssize_t n = read(ends[0], line, size - 1);
    line[n > 0 ? n : 0] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

// Read or written, by the main thread or another. The thread sanitizer starts none in the child of a process that has several.
#ifdef __SANITIZE_THREAD__
enum { WAYS = 2 };
#else
enum { WAYS = 4 };
#endif

static void expect_fault(const void *p, size_t byte, size_t bytes)
{
    for (int way = 0; way < WAYS; way++) {
        char line[256], want[64];
        const int status = touched((touch){ (volatile char *)(uintptr_t)p + byte, way & 1 }, way & 2, line, sizeof line);
        if (!(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV))
            fail_msg("%p, byte %zu of %zu, way %d: status %d, not a fault; \"%s\"", p, byte, bytes, way, status, line);
        snprintf(want, sizeof want, "byte %zu of an allocation of %zu\n", byte, bytes);
        if (strncmp(line, "halfstep: the host touched device memory: 0x", 44) != 0 || !strstr(line, want))
            fail_msg("\"%s\" does not say \"%s\"", line, want);
    }
}

static void test_memory(void **state)
{
    (void)state;
    hs_device *d;
    assert_int_equal(hs_open_device(&d, "cpu-fenced", 1, NULL, 0, HS_ONEDNN_NO), HS_OK);
    void *p[3];
    static const size_t bytes[] = { 1, 5000, 3 << 20 };
    static char in[3 << 20], out[3 << 20];
    memset(in, 7, sizeof in);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(d->alloc(d, bytes[i], &p[i]), HS_OK);
        assert_int_equal((uintptr_t)p[i] % 64, 0);
        assert_true(hs_device_bind(d, p[i]) != p[i]);
        assert_true((char *)hs_device_bind(d, (char *)p[i] + bytes[i] - 1) == (char *)hs_device_bind(d, p[i]) + bytes[i] - 1);
        d->copy(d, out, p[i], bytes[i]);
        for (size_t k = 0; k < bytes[i]; k++)
            assert_int_equal(out[k], 0);
        d->copy(d, p[i], in, bytes[i]);
    }
    d->fill(d, (char *)p[1] + 10, 9, 20);
    d->copy(d, p[2], (char *)p[1] + 10, 20); // from device to device
    d->copy(d, out, p[2], 21);
    assert_true(out[0] == 9 && out[19] == 9 && out[20] == 7);
    assert_null(hs_device_bind(d, in)); // the host's own: copies go there, kernels do not
    void *host;
    assert_int_equal(d->alloc_host(d, 100, &host), HS_OK);
    assert_ptr_equal(hs_device_bind(d, (char *)host + 99), (char *)host + 99); // for both
    memset(host, 5, 100);
    d->copy(d, hs_device_bind(d, p[0]), host, 1);
    d->copy(d, out, p[0], 1);
    assert_int_equal(out[0], 5);
    d->free_host(d, host);
    assert_null(hs_device_bind(d, host));
    for (size_t at = 0; at < 2; at++) { // the host's bytes behind a fence, at any address
        void *fence;
        assert_int_equal(d->adopt(d, in + 4 * at, 9000, &fence), HS_OK);
        assert_true(fence != in + 4 * at && (uintptr_t)fence % 64 == (uintptr_t)(in + 4 * at) % 64);
        assert_ptr_equal(hs_device_bind(d, (char *)fence + 8999), in + 4 * at + 8999);
        assert_true(hs_device_bind(d, (char *)fence + 9000) != in + 4 * at + 9000);
        expect_fault(fence, 0, 9000);
        expect_fault(fence, 8999, 9000);
        memset(out, 0, sizeof out);
        d->copy(d, out, fence, 9000);
        assert_true(out[0] == 7 && out[8999] == 7 && out[9000] == 0);
        d->disown(d, fence, 9000);
        assert_null(hs_device_bind(d, fence));
        assert_true(in[4 * at] == 7 && in[4 * at + 8999] == 7);
    }
    for (int i = 0; i < 3; i++) {
        expect_fault(p[i], 0, bytes[i]);
        expect_fault(p[i], bytes[i] - 1, bytes[i]);
    }
    for (int i = 0; i < 3; i++)
        d->release(d, p[i], bytes[i]);
    d->release(d, NULL, 0);
    assert_null(hs_device_bind(d, p[0]));
    hs_device_close(d);
    assert_int_equal(hs_open_device(&d, "cpu-fence", 1, NULL, 0, HS_ONEDNN_NO), HS_UNSUPPORTED);
    assert_non_null(strstr(hs_error(), "\"cpu-fence\" is not in this library; it has cpu, cpu-fenced and cuda"));
}

// All that a model, a run and an optimizer give kernels to work on lies behind fences; what comes out is what the plain CPU gives.
static void test_model(void **state)
{
    (void)state;
    static const char *const devices[] = { "cpu", "cpu-fenced" };
    hs_engine *e[2];
    tiny_gpt model[2];
    for (int i = 0; i < 2; i++) {
        test_device = devices[i];
        e[i] = tiny_engine(&model[i],
                           &(tiny_opts){ .policy = "bf16", .optim = "adamw", .micro_steps = 4, .threads = 2, .mode = HS_SUBMIT_BULK });
        for (int step = 0; step < 3; step++)
            for (int micro = 0; micro < 4; micro++) {
                tiny_fill(e[i], HS_TRAIN, (int[]){ 16, 9, 0 }, (uint64_t)step, 2 * micro);
                e[i]->in->n_micro = 4, e[i]->in->inv_count[0] = 1.0f / 100;
                assert_int_equal(hs_engine_run(e[i], HS_TRAIN, (micro ? 0 : HS_MICRO_FIRST) | (micro < 3 ? 0 : HS_MICRO_LAST)), HS_OK);
                if (micro == 3)
                    assert_int_equal(hs_run_update(e[i]->run), HS_OK);
            }
    }
    for (int s = 0; s < e[0]->params->n_slabs; s++)
        assert_true(flat_equal(e[0]->params, e[1]->params, e[0]->params->slab[s]->spec.name));
    const hs_params *ps = e[1]->params;
    for (int s = 0; s < ps->n_slabs; s++)
        expect_fault(ps->slab[s]->p, ps->slab[s]->place[1].offset, ps->slab[s]->bytes);
    assert_true(ps->n_derived > 0);
    expect_fault(ps->derived[0]->p, 0, ps->derived[0]->block);
    size_t bytes;
    void *workspace = hs_run_workspace(e[1]->run, &bytes);
    expect_fault(workspace, bytes / 2, bytes);
    const char *blocks = hs_run_blocks(e[1]->run, &bytes);
    expect_fault(blocks, offsetof(hs_step_in, inv_count), bytes); // step block
    expect_fault(blocks, bytes - 1, bytes);                       // state
    assert_memory_equal(hs_run_state(e[1]->run), hs_run_state(e[0]->run), sizeof(hs_step_state));
    const hs_plan *train = hs_engine_plan(e[1], HS_TRAIN);
    expect_fault(hs_run_input_at(e[1]->run, e[1]->plan[HS_TRAIN], 0, NULL), 0, HS_INPUT_SLOTS * hs_plan_info_of(train)->input_bytes);
    for (int i = 0; i < 2; i++)
        hs_engine_free(e[i]);
    test_device = "cpu";
}

// ---- an operand that is not the device's

static void refused(const hs_engine *e, hs_mode mode, const hs_exec_memory *m, const char *what)
{
    hs_exec *exec;
    assert_int_equal(hs_exec_new(&exec, hs_engine_plan(e, mode), m), HS_INTERNAL);
    assert_null(exec);
    if (!strstr(hs_error(), what) || !strstr(hs_error(), "device cpu-fenced"))
        fail_msg("\"%s\" does not say \"%s\"", hs_error(), what);
}

static void test_wrong_pointer(void **state)
{
    (void)state;
    test_device = "cpu-fenced";
    tiny_gpt model;
    hs_engine *e = tiny_engine(&model, &(tiny_opts){ .policy = "bf16", .optim = "adamw", .mode = HS_SUBMIT_BULK });
    hs_params *ps = e->params;
    const size_t bytes = hs_plan_bytes(hs_engine_plan(e, HS_TRAIN));
    static char host[1 << 20], low[1 << 20];
    size_t workspace_bytes;
    void *caches[8], *wrong[8];
    hs_step_in in = { 0 };
    hs_step_state out = { 0 };
    const hs_exec_memory good = { .device = e->device,
                                  .workspace = hs_run_workspace(e->run, &workspace_bytes),
                                  .inputs = hs_run_workspace(e->run, &workspace_bytes), // nothing is run
                                  .states = caches,
                                  .in = &in,
                                  .state = &out };
    hs_exec *exec;
    assert_true(e->model->states->n > 0 && e->model->states->n < 8 && bytes <= workspace_bytes);
    for (int i = 0; i < e->model->states->n; i++) {
        assert_int_equal(e->device->alloc(e->device, e->model->states->state[i]->bytes, &caches[i]), HS_OK);
        wrong[i] = caches[i];
    }
    assert_int_equal(hs_exec_new(&exec, hs_engine_plan(e, HS_DECODE), &good), HS_OK);
    hs_exec_free(exec);
    hs_exec_memory m = good;
    m.workspace = host;
    refused(e, HS_TRAIN, &m, "the workspace of a plan");
    m = good, m.inputs = host;
    refused(e, HS_TRAIN, &m, "the room for the inputs of a plan");
    m = good, wrong[1] = host, m.states = wrong;
    char name[64];
    snprintf(name, sizeof name, "state %s", e->model->states->state[1]->name);
    refused(e, HS_DECODE, &m, name);
    char *kept = ps->low->p;
    assert_true(ps->low->bytes <= sizeof low);
    ps->low->p = low;
    refused(e, HS_EVAL, &good, "parameter h0.attn.qkv.weight");
    ps->low->p = kept;
    assert_int_equal(hs_params_lend(ps, ps->grad, host, sizeof host), HS_INTERNAL);
    for (int i = 0; i < e->model->states->n; i++)
        e->device->release(e->device, caches[i], e->model->states->state[i]->bytes);
    hs_engine_free(e);
    test_device = "cpu";
}

// ---- step mode looks at what kernels wrote, through the device

typedef struct seen {
    hs_engine *engine;
    const hs_thunk *first;
    const char *operand;
    int64_t n;
} seen;

static void watch(const hs_thunk *t, double seconds, void *user)
{
    (void)seconds;
    seen *s = user;
    const char *operand = NULL;
    const int64_t n = s->first ? 0 : hs_thunk_nonfinite(s->engine->device, s->engine->in->n, t, &operand);
    if (n)
        s->first = t, s->operand = operand, s->n = n;
}

// A NaN in the last layer's second product: the first operand with one is that product's output, a column of all live rows.
static void test_nonfinite(void **state)
{
    (void)state;
    static const char *const devices[] = { "cpu", "cpu-fenced" };
    for (int i = 0; i < 2; i++) {
        tiny_gpt model;
        test_device = devices[i];
        hs_engine *e = tiny_engine(&model, &(tiny_opts){ .policy = "fp32", .optim = "adamw", .threads = 2, .mode = HS_SUBMIT_STEP });
        const hs_param *p = hs_params_find(e->params, "h1.mlp.down.bias");
        assert_non_null(p);
        float *bias = calloc(p->n, sizeof *bias);
        bias[3] = NAN;
        assert_int_equal(hs_params_write(e->params, e->params->master, p, bias), HS_OK);
        free(bias);
        seen s = { .engine = e };
        e->device->hook = watch, e->device->hook_user = &s;
        tiny_fill(e, HS_TRAIN, (int[]){ 16, 9, 0 }, 1, 0);
        e->in->n_micro = 1, e->in->inv_count[0] = 1.0f / 25;
        assert_int_equal(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST), HS_OK);
        assert_non_null(s.first);
        assert_false(s.first->backward);
        assert_int_equal(s.n, 25);
        assert_string_equal(s.first->name, "linear");
        assert_string_equal(s.operand, "y");
        assert_non_null(strstr(s.first->node->scope, "h1.mlp.down"));
        hs_engine_free(e);
    }
    test_device = "cpu";
}

// ---- a fault while other threads take memory and give it back

static _Atomic bool enough;

static void *take_and_give(void *device)
{
    hs_device *d = device;
    while (!enough) {
        void *p[3];
        for (int i = 0; i < 3; i++)
            if (d->alloc(d, 100, &p[i]) != HS_OK)
                abort();
        for (int i = 0; i < 3; i++)
            d->release(d, p[i], 100);
    }
    return NULL;
}

static void test_busy(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); // it starts no thread in the child of a process that has several
#endif
    hs_device *d;
    void *p;
    assert_int_equal(hs_open_device(&d, "cpu-fenced", 1, NULL, 0, HS_ONEDNN_NO), HS_OK);
    assert_int_equal(d->alloc(d, 1000, &p), HS_OK);
    for (int round = 0; round < 10; round++) {
        int ends[2], status;
        char line[256];
        assert_int_equal(pipe(ends), 0);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
            pthread_t thread[2];
            dup2(ends[1], STDERR_FILENO);
            for (int i = 0; i < 2; i++)
                pthread_create(&thread[i], NULL, take_and_give, d);
            usleep(2000);
            (void)*((volatile char *)p + 7);
            _exit(0);
        }
        close(ends[1]);
        const ssize_t n = read(ends[0], line, sizeof line - 1);
        line[n > 0 ? n : 0] = 0;
        close(ends[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && strstr(line, "byte 7 of an allocation of 1000\n")))
            fail_msg("status %d, \"%s\"", status, line);
    }
    d->release(d, p, 1000);
    hs_device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_memory), cmocka_unit_test(test_model), cmocka_unit_test(test_wrong_pointer),
                                        cmocka_unit_test(test_nonfinite), cmocka_unit_test(test_busy) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
