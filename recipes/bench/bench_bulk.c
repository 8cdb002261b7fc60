// One region for a whole segment against one per thunk: training and decoding steps of a small model both ways, interleaved; where segments
// are captured also as graphs.
// With --busy the same beside a thread that takes a core: what a barrier must survive. A scheduler deals in milliseconds, so a
// busy sample is the mean of steps over BUSY_SECONDS, begun when the neighbour has found its core.
#include "ops/ops.h"
#include "recipes/bench/bench.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { LAYERS = 4, CONTEXT = 64, VOCAB = 65, HEAD = 32 };
#define BUSY_SECONDS 0.04

typedef struct bench {
    hs_settings settings;
    hs_arch_setup train, decode;
    hs_policy policy;
    hs_engine *engine;
    hs_batch batch;
    int64_t slots;
} bench;

// A model of the program's first family.
static hs_status settle(bench *b, const hs_family *f, int64_t width)
{
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = { { "model.layers", LAYERS },
                  { "model.width", width },
                  { "model.heads", width % HEAD == 0 ? width / HEAD : 1 },
                  { "model.context", CONTEXT },
                  { "model.vocab", VOCAB } };
    HS_TRY(hs_arch_defaults(f, &b->settings));
    for (int i = 0; i < HS_COUNT(sizes); i++)
        HS_TRY(hs_arch_set(f, &b->settings, sizes[i].key, sizes[i].value));
    b->train.arch = b->decode.arch = (hs_arch){ f, b->settings.bytes };
    return hs_arch_check(b->train.arch);
}

static hs_status prepare(bench *b, hs_bench_run *r, int64_t batch, int64_t width)
{
    const hs_optim_config optim = hs_optim_preset(HS_PRESET_ADAMW);
    hs_dtype types[2];
    b->policy = (hs_policy){ .low = types[hs_bench_dtypes(r, types) - 1] };
    b->slots = batch;
    HS_TRY(settle(b, r->cli->table->families[0], width));
    b->train.shape = (hs_arch_shape){ .max_tokens = batch * CONTEXT, .max_seqs = batch };
    b->decode.shape = (hs_arch_shape){ .max_tokens = batch, .max_seqs = batch, .cache_rows = batch * CONTEXT };
    HS_TRY(hs_engine_new(&b->engine, &(hs_engine_opts){ .model = hs_arch_trace,
                                                        .config = &b->train,
                                                        .decode_config = &b->decode,
                                                        .policy = &b->policy,
                                                        .optim = &optim,
                                                        .micro_steps = 1,
                                                        .decode = true,
                                                        .seed = 1,
                                                        .device = r->device,
                                                        .grid = hs_grid_self() }));
    const hs_feed feed = hs_feed_of_arch(b->train.arch);
    return hs_feed_random(&b->batch, &feed, batch, 1);
}

static hs_status train_step(bench *b)
{
    hs_engine *e = b->engine;
    HS_TRY(hs_run_feed(e->run, e->plan[HS_TRAIN], &b->batch));
    e->in->n_micro = 1, e->in->inv_count[0] = 1.0f / (float)b->batch.labels[0];
    HS_TRY(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
    HS_TRY(hs_run_update(e->run));
    return hs_run_wait(e->run);
}

// Each slot has half a context behind it and gets one token more.
static hs_status decode_step(bench *b)
{
    enum { POSITION = CONTEXT / 2 };
    hs_engine *e = b->engine;
    int32_t ids[b->slots], starts[b->slots + 1], where[2 * b->slots], keys[3 * b->slots], rows[b->slots], picks[b->slots];
    for (int32_t i = 0; i < (int32_t)b->slots; i++) {
        const int32_t first = i * CONTEXT;
        ids[i] = i % VOCAB, starts[i] = i, rows[i] = first + POSITION, picks[i] = i;
        where[2 * i] = i, where[2 * i + 1] = POSITION;
        keys[3 * i] = first, keys[3 * i + 1] = POSITION + 1, keys[3 * i + 2] = POSITION;
    }
    starts[b->slots] = (int32_t)b->slots;
    const struct {
        const char *name;
        const int32_t *p;
        size_t bytes;
    } input[] = { { "ids", ids, sizeof ids },    { "starts", starts, sizeof starts }, { "where", where, sizeof where },
                  { "keys", keys, sizeof keys }, { "rows", rows, sizeof rows },       { "picks", picks, sizeof picks } };
    for (int i = 0; i < HS_COUNT(input); i++)
        HS_TRY(hs_run_write(e->run, e->plan[HS_DECODE], input[i].name, input[i].p, input[i].bytes));
    hs_step_live(e->in, b->slots, b->slots, b->slots);
    HS_TRY(hs_engine_run(e, HS_DECODE, 0));
    return hs_run_wait(e->run);
}

typedef hs_status step_fn(bench *b);
static step_fn *const steps[] = { train_step, decode_step };
static const char *const names[] = { "train", "decode" };
enum { MODES = 3 };
static const hs_submit_mode modes[MODES] = { HS_SUBMIT_STEP, HS_SUBMIT_BULK, HS_SUBMIT_GRAPH };

// ---- the neighbour that takes a core
static void *keep_busy(void *stop)
{
    while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED))
        ;
    return NULL;
}

typedef struct times {
    hs_samples of[2][2][MODES]; // [busy][train, decode][modes]
} times;

static hs_status one_round(bench *b, times *t, int busy)
{
    for (int s = 0; s < 2; s++)
        for (int m = 0; m < (b->engine->device->captures ? MODES : MODES - 1); m++) {
            hs_run_set_mode(b->engine->run, modes[m]);
            const double start = hs_now();
            double now = start;
            int n = 0;
            do {
                HS_TRY(steps[s](b));
                now = hs_now(), n++;
            } while (busy && now - start < BUSY_SECONDS);
            hs_samples_add(&t->of[busy][s][m], (now - start) / n);
        }
    return HS_OK;
}

static hs_status busy_round(bench *b, times *t)
{
    pthread_t neighbour;
    int stop = 0;
    if (pthread_create(&neighbour, NULL, keep_busy, &stop))
        return HS_FAIL(SYSTEM, "cannot start the thread that takes a core");
    nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    const hs_status st = one_round(b, t, 1);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(neighbour, NULL);
    return st;
}

// A fair scheduler gives team + 1 threads on fewer cores this much more time to finish.
static double fair(const hs_device *d)
{
    const double cores = hs_cpu_cores(), alone = fmax(1, d->team / cores);
    return fmax(1, (d->team + 1) / cores) / alone;
}

static void report(hs_bench_run *r, const bench *b, const int64_t *dim, times *t)
{
    for (int s = 0; s < 2; s++) {
        const double step = hs_median(&t->of[0][s][0]), bulk = hs_median(&t->of[0][s][1]);
        const double busy_step = hs_median(&t->of[1][s][0]), busy_bulk = hs_median(&t->of[1][s][1]), share = fair(r->device);
        const double graph = hs_median(&t->of[0][s][2]);
        const hs_mode mode = s ? HS_DECODE : HS_TRAIN;
        const hs_cell cells[] = {
            { .key = "step_of", .text = names[s] },
            { .key = "batch", .value = (double)dim[0] },
            { .key = "width", .value = (double)dim[1] },
            { .key = "dtype", .text = hs_bench_dtype_name(b->policy.low) },
            { .key = "thunks", .value = hs_plan_info_of(hs_engine_plan(b->engine, mode))->n_thunks },
            { .key = "step_ms", .value = 1e3 * step, .digits = 3 },
            { .key = "bulk_ms", .value = 1e3 * bulk, .digits = 3 },
            { .key = "step_over_bulk", .value = step / bulk, .digits = 2 },
            { .key = "graph_ms", .value = 1e3 * graph, .digits = 3, .json_only = !r->device->captures },
            { .key = "busy_step_ms", .value = 1e3 * busy_step, .digits = 3 },
            { .key = "busy_bulk_ms", .value = 1e3 * busy_bulk, .digits = 3 },
            { .key = "fair_share", .value = r->o->busy ? share : NAN, .digits = 2 },
            { .key = "step_over_share", .value = busy_step / step / share, .digits = 2 },
            { .key = "bulk_over_share", .value = busy_bulk / bulk / share, .digits = 2 },
        };
        hs_bench_row(r, cells, r->o->busy ? HS_COUNT(cells) : HS_COUNT(cells) - 5);
    }
}

static hs_status measure(hs_bench_run *r, const int64_t *dim, bench *b, times *t)
{
    HS_TRY(prepare(b, r, dim[0], dim[1]));
    for (int i = 0; i < (r->device->captures ? 3 : 1); i++)
        HS_TRY(one_round(b, t, 0)); // touches every page; a segment is captured when it comes again
    *t = (times){ 0 };
    const double start = hs_now();
    for (int round = 0; !hs_bench_enough(r, round, start); round++) {
        HS_TRY(one_round(b, t, 0));
        if (r->o->busy)
            HS_TRY(busy_round(b, t));
    }
    report(r, b, dim, t);
    return HS_OK;
}

static hs_status run(hs_bench_run *r)
{
    times *t = calloc(1, sizeof *t);
    hs_status st = t ? HS_OK : HS_FAIL(MEMORY, "no memory for timings");
    for (int s = 0; s < r->sizes.n && st == HS_OK; s++) {
        bench b = { 0 };
        st = measure(r, r->sizes.at[s].dim, &b, t);
        hs_engine_free(b.engine);
        hs_batch_free(&b.batch);
    }
    free(t);
    return st;
}

const hs_bench hs_bench_bulk = {
    .name = "bulk",
    .summary = "steps of a small GPT with a region per thunk, over the same with one region",
    .takes = "busy sizes",
    .sizes = "BATCHxWIDTH",
    .default_sizes = "1x32,1x128,4x128,12x128,64x128,1x768,12x768",
    .run = run,
};
