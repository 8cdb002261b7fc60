// device_program: a rank of a job whose models live on a device, for device_ranks.sh: mpirun -np N device_program DEVICE MODE [ARGUMENTS].
//   collectives     every call over device memory gives what the same call over the host's does
//   trains          a small model by dp ranks, in every way that a step is submitted, with and without a divided optimizer
//   late, ...       see `modes`
#include "core/base/rng.h"
#include "models/nn/nn.h"
#include "ops/ops.h"
#include "parallel/parallel.h"
#include "recipes/train/engine.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static hs_parallel *job;
static hs_device *dev;
static hs_grid host, grid;

static hs_status open_grid(int tp, double timeout)
{
    HS_TRY(hs_parallel_grid(job, 0, tp, timeout, &host));
    HS_TRY(hs_parallel_on_device(&grid.dp, job, host.dp, dev));
    return hs_parallel_on_device(&grid.tp, job, host.tp, dev);
}

static void close_grid(void)
{
    hs_parallel_off_device(job, host.dp, grid.dp);
    hs_parallel_off_device(job, host.tp, grid.tp);
}

// ---- calls

enum { N = 30000 };

static void fill(float *x, int rank, int salt)
{
    for (int i = 0; i < N; i++)
        x[i] = (float)((i * 7 + rank * 13 + salt) % 101 - 50);
}

static hs_status compare(hs_comm *c, hs_comm *on_host, float *there)
{
    static float want[N], got[N];
    const int64_t part[2] = { 19999, N - 19999 };
    for (int k = 0; k < 4; k++) {
        fill(want, c->rank, k);
        dev->copy(dev, there, want, sizeof want);
        hs_comm *const to[2] = { on_host, c };
        float *const buf[2] = { want, there };
        for (int i = 0; i < 2; i++) {
            to[i]->about = "test";
            if (k == 0)
                to[i]->all_reduce(to[i], NULL, buf[i], N, HS_F32, HS_REDUCE_SUM);
            else if (k == 1)
                to[i]->broadcast(to[i], NULL, buf[i], sizeof want, 1);
            else if (k == 2)
                to[i]->gather_parts(to[i], NULL, buf[i], part, HS_F32);
            else
                hs_comm_start(to[i], NULL, &(hs_collective){ .kind = HS_ALL_REDUCE, .buf = buf[i], .n = N, .dtype = HS_F32 });
            hs_comm_finish(to[i], NULL);
        }
        dev->copy(dev, got, there, sizeof got);
        HS_TRY(c->poll(c));
        if (memcmp(want, got, sizeof want))
            return HS_FAIL(INTERNAL, "call %d over %s: other bytes than over the host's memory", k, c->axis);
    }
    return HS_OK;
}

static hs_status collectives(int argc, char **argv)
{
    void *p;
    (void)argc, (void)argv;
    HS_TRY(dev->alloc(dev, N * sizeof(float), &p));
    for (int tp = 1; tp <= 2; tp++) {
        HS_TRY(open_grid(tp, 20));
        HS_TRY(compare(tp > 1 ? grid.tp : grid.dp, tp > 1 ? host.tp : host.dp, p));
        close_grid();
    }
    dev->release(dev, p, N * sizeof(float));
    return HS_OK;
}

// ---- a model

enum { ROWS = 16, WIDTH = 16, CLASSES = 8, STEPS = 4 };

static void network(hs_graph *g, const void *config)
{
    (void)config;
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ ROWS, WIDTH });
    hs_tensor *y = hs_input(g, "y", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ ROWS });
    hs_tensor *h = hs_gelu(g, hs_nn_linear(g, x, "fc", WIDTH, 4 * WIDTH, .std = 0.5f), HS_GELU_TANH);
    hs_xent(g, hs_nn_linear(g, h, "head", 4 * WIDTH, CLASSES, .std = 0.5f), y,
            (hs_xent_attr){ .classes = CLASSES, .ignore = -1, .loss = 0 });
}

typedef struct outcome {
    double loss[STEPS];
    float *value;
    size_t n;
} outcome;

static void feed(hs_engine *e, int rank, int step)
{
    float x[ROWS * WIDTH];
    int32_t y[ROWS];
    hs_random_normal(x, ROWS * WIDTH, 7, ROWS * WIDTH * (rank + 2 * step), 0, 1);
    for (int i = 0; i < ROWS; i++)
        y[i] = (int32_t)(hs_random(9, (uint32_t)i, (uint32_t)rank, (uint32_t)step, 1).v[0] % CLASSES);
    e->device->copy(e->device, hs_engine_input(e, HS_TRAIN, "x"), x, sizeof x);
    e->device->copy(e->device, hs_engine_input(e, HS_TRAIN, "y"), y, sizeof y);
    hs_step_live(e->in, ROWS, 1, 0);
    e->in->inv_count[0] = hs_inv_count(ROWS * host.dp->size);
}

static hs_status train(outcome *o, hs_device *on, const hs_grid *ranks, hs_submit_mode mode, hs_divide divide)
{
    hs_optim_config optim = hs_optim_preset(HS_PRESET_ADAMW);
    optim.schedule.lr = 1e-2;
    hs_engine *e;
    HS_TRY(hs_engine_new(&e, &(hs_engine_opts){ .model = network,
                                                .optim = &optim,
                                                .micro_steps = 2,
                                                .seed = 5,
                                                .device = on,
                                                .mode = mode,
                                                .grid = *ranks,
                                                .bucket_bytes = 1 << 10,
                                                .divide = divide }));
    for (int s = 0; s < STEPS; s++) {
        for (int m = 0; m < 2; m++) {
            feed(e, host.dp->rank, 2 * s + m);
            e->in->n_micro = 2;
            HS_TRY(hs_engine_run(e, HS_TRAIN, (m == 0 ? HS_MICRO_FIRST : 0) | (m == 1 ? HS_MICRO_LAST : 0)));
        }
        HS_TRY(hs_run_update(e->run));
        HS_TRY(hs_run_wait(e->run));
        o->loss[s] = hs_engine_loss(e, HS_TRAIN);
    }
    o->n = flat_count(e->params), o->value = flat_copy(e->params, "master");
    hs_engine_free(e);
    return HS_OK;
}

static hs_status near(const outcome *a, const outcome *b, double bound, const char *what)
{
    for (int s = 0; s < STEPS; s++)
        if (!(fabs(a->loss[s] - b->loss[s]) <= bound * fabs(a->loss[s])))
            return HS_FAIL(INTERNAL, "%s: the loss of step %d is %.9g, and %.9g", what, s, a->loss[s], b->loss[s]);
    for (size_t i = 0; i < a->n; i++)
        if (!(fabsf(a->value[i] - b->value[i]) <= (float)bound))
            return HS_FAIL(INTERNAL, "%s: value %zu is %.9g, and %.9g", what, i, (double)a->value[i], (double)b->value[i]);
    return HS_OK;
}

// Bits: of all ways on the device and of all ranks; those of the CPU are near. Divided gradients are added up in another order.
static hs_status trains(int argc, char **argv)
{
    static const hs_submit_mode modes[] = { HS_SUBMIT_BULK, HS_SUBMIT_STEP, HS_SUBMIT_GRAPH };
    outcome first = { .value = NULL }, cpu, other;
    hs_device *c;
    (void)argc, (void)argv;
    HS_TRY(open_grid(1, 20));
    HS_TRY(hs_open_device(&c, "cpu", 1, NULL, 0, HS_ONEDNN_NO));
    HS_TRY(train(&cpu, c, &host, HS_SUBMIT_BULK, HS_DIVIDE_NONE));
    for (int d = HS_DIVIDE_GRADIENTS; d >= HS_DIVIDE_NONE; d--)
        for (int m = 0; m < HS_COUNT(modes); m++) {
            const bool begins = m == 0 && d != HS_DIVIDE_NONE; // states that are divided change no bit
            char what[64];
            snprintf(what, sizeof what, "divided %d, submitted %d", d, m);
            HS_TRY(train(&other, dev, &grid, modes[m], (hs_divide)d));
            HS_TRY(near(&cpu, &other, 2e-5, what));
            if (!begins)
                HS_TRY(near(&first, &other, 0, what));
            free(begins ? first.value : other.value);
            first = begins ? other : first;
        }
    float *low = malloc(2 * first.n * sizeof *low), *high = low + first.n;
    memcpy(low, first.value, first.n * sizeof *low);
    for (size_t i = 0; i < first.n; i++)
        high[i] = first.value[i], low[i] = -first.value[i];
    host.dp->all_reduce(host.dp, NULL, low, 2 * (int64_t)first.n, HS_F32, HS_REDUCE_MAX);
    for (size_t i = 0; i < first.n; i++)
        if (high[i] != -low[i])
            return HS_FAIL(INTERNAL, "value %zu is from %.9g to %.9g on the ranks", i, (double)-low[i], (double)high[i]);
    if (host.dp->rank == 0)
        printf("losses %.9g to %.9g, last value %.9g\n", first.loss[0], first.loss[STEPS - 1], (double)first.value[first.n - 1]);
    free(low), free(first.value), free(cpu.value);
    hs_device_close(c);
    close_grid();
    return HS_OK;
}

// ---- ranks that fail. Rank 1 is the one that it befalls

static bool is_victim(void) { return hs_parallel_world(job)->rank == 1; }

static void sum_kernel(const hs_args *a, hs_lane *lane)
{
    a->comm->all_reduce(a->comm, lane, a->out[0].p, a->out[0].rows, HS_F32, HS_REDUCE_SUM);
}

// Sums one behind the other, four in a segment; `after` of them rank 1 does something else.
static hs_status sums(hs_submit_mode mode, int after, void (*something)(void))
{
    void *p;
    HS_TRY(open_grid(1, 1));
    HS_TRY(dev->alloc(dev, 400 * sizeof(float), &p));
    hs_thunk t[4];
    for (int i = 0; i < 4; i++)
        t[i] = (hs_thunk){ .fn = sum_kernel,
                           .name = "gradients",
                           .args = { .out[0] = { .p = p, .rows = 100 * (i + 1), .cols = 1, .dtype = HS_F32 }, .comm = grid.dp } };
    for (int i = 0; i < 8; i++) {
        if (i == after && is_victim())
            something();
        HS_TRY(dev->submit(dev, NULL, &(hs_segment){ t, 4 }, mode));
        HS_TRY(dev->wait(dev, NULL));
        HS_TRY(grid.dp->poll(grid.dp));
    }
    return HS_FAIL(INTERNAL, "nobody has ended the job");
}

static void sleep_long(void) { sleep(60); }
static void kill_self(void) { raise(SIGKILL); }
static void give_up(void) { grid.dp->abort(grid.dp); }

static hs_status late(int argc, char **argv)
{
    return sums(argc > 0 && !strcmp(argv[0], "graph") ? HS_SUBMIT_GRAPH : HS_SUBMIT_BULK, 5, sleep_long);
}
static hs_status killed(int argc, char **argv) { return (void)argc, (void)argv, sums(HS_SUBMIT_BULK, 5, kill_self); }
static hs_status gives_up(int argc, char **argv) { return (void)argc, (void)argv, sums(HS_SUBMIT_BULK, 5, give_up); }

static const struct mode {
    const char *name;
    hs_status (*run)(int argc, char **argv);
} modes[] = { { "collectives", collectives }, { "trains", trains }, { "late", late }, { "killed", killed }, { "gives-up", gives_up } };

static hs_status run(int argc, char **argv)
{
    HS_TRY(hs_open_device_at(&dev, argv[1], hs_parallel_local(job), 1, NULL, 0, HS_ONEDNN_NO));
    for (int i = 0; i < HS_COUNT(modes); i++)
        if (!strcmp(modes[i].name, argv[2])) {
            HS_TRY(modes[i].run(argc - 3, argv + 3));
            hs_device_close(dev);
            return HS_OK;
        }
    return HS_FAIL(USAGE, "device_program DEVICE MODE");
}

int main(int argc, char **argv)
{
    hs_status st = hs_parallel_open(&job);
    if (st == HS_OK) {
        st = argc > 2 ? run(argc, argv) : HS_FAIL(USAGE, "device_program DEVICE MODE");
        if (st == HS_OK) {
            hs_parallel_close(job);
            return 0;
        }
        hs_parallel_fail(job, st);
    }
    fprintf(stderr, "halfstep: %s\n", hs_error());
    return hs_status_exit(st);
}
