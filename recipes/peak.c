#include "recipes/peak.h"
#include "core/rows.h"
#include "ops/ops.h"
#include "recipes/session.h"

enum { ROWS = 1024, WIDTH = 1024, DEPTH = 4 }; // depth: the cast of x in front is then below 3 % of the time

static void product(hs_graph *g, const void *config)
{
    (void)config;
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ ROWS, WIDTH });
    hs_tensor *w = hs_param_get(
        g, &(hs_param_spec){ .name = "w", .role = HS_WEIGHT, .init = HS_INIT_NORMAL, .std = 0.02f, .n_dims = 2, .dim = { WIDTH, WIDTH } });
    for (int i = 0; i < DEPTH; i++)
        x = hs_linear(g, x, w, NULL);
    hs_output(g, x);
}

hs_status hs_measure_peak(hs_device *d, const hs_policy *policy, double seconds, double *flops_per_second)
{
    hs_engine *e = NULL;
    hs_status st;
    double best = 1e30;
    HS_TRY_GOTO(
        st,
        hs_engine_new(
            &e,
            &(hs_engine_opts){
                .model = product, .policy = policy, .eval = true, .device = d, .seed = 1, .mode = HS_SUBMIT_BULK, .grid = hs_grid_self() }),
        done);
    float *x = hs_engine_input(e, HS_EVAL, "x");
    for (int i = 0; i < ROWS * WIDTH; i++)
        x[i] = 1.0f / (float)(1 + i % 7);
    hs_step_live(&e->in, ROWS, 1, 0);
    const double end = hs_now() + seconds;
    do {
        const double start = hs_now();
        HS_TRY_GOTO(st, hs_engine_run(e, HS_EVAL, 0), done);
        const double took = hs_now() - start;
        if (took < best)
            best = took;
    } while (hs_now() < end);
    *flops_per_second = 2.0 * DEPTH * ROWS * WIDTH * WIDTH / best;
done:
    hs_engine_free(e);
    return st;
}

// ---- memory
enum { READ_BYTES = 256 << 20 }; // several times what one core's share of a last-level cache is today

typedef struct reading {
    const uint64_t *word;
    uint64_t *sum; // by member: the reads must be for something
} reading;

static void read_all(const hs_args *a, hs_lane *lane)
{
    const reading *r = a->attr;
    int64_t i0, i1;
    uint64_t sum = 0;
    hs_part_unit(lane, READ_BYTES / 8, 512, &i0, &i1);
    HS_SIMD_SUM(sum)
    for (int64_t i = i0; i < i1; i++)
        sum += r->word[i];
    r->sum[lane->id] = sum;
}

hs_status hs_measure_read(hs_device *d, double seconds, double *bytes_per_second)
{
    void *word = NULL, *sum = NULL;
    double best = 1e30;
    hs_status st;
    HS_TRY_GOTO(st, d->alloc(READ_BYTES, &word), done);
    HS_TRY_GOTO(st, d->alloc((size_t)d->team * sizeof(uint64_t), &sum), done);
    d->fill(d, word, 1, READ_BYTES);
    hs_thunk thunk = { .fn = read_all, .args.attr = &(reading){ word, sum }, .name = "read", .part = HS_PART_FREE };
    const double end = hs_now() + seconds;
    do {
        const double start = hs_now();
        HS_TRY_GOTO(st, d->submit(d, &(hs_segment){ &thunk, 1 }, HS_SUBMIT_BULK), done);
        const double took = hs_now() - start;
        if (took < best)
            best = took;
    } while (hs_now() < end);
    *bytes_per_second = READ_BYTES / best;
done:
    d->release(word);
    d->release(sum);
    return st;
}
