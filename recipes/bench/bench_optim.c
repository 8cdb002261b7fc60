// What an update costs by itself: all values, gradients and moments pass through memory, which copying is measured beside.
#include "recipes/bench/bench.h"
#include <math.h>
#include <stdlib.h>

enum { WIDTH = 1024 };

typedef struct subject {
    const char *name;
    int preset;
} subject;
static const subject subjects[] = { { "adamw", HS_PRESET_ADAMW }, { "lamb", HS_PRESET_LAMB } };

// One table, of which a loss reads a row: the optimizer walks all of it.
static void trace(hs_graph *g, const void *rows)
{
    static const int64_t one[] = { 1 };
    hs_tensor *id = hs_input(g, "id", HS_I32, HS_EXT_TOKENS, 1, one), *target = hs_input(g, "target", HS_I32, HS_EXT_TOKENS, 1, one);
    hs_tensor *x = hs_embedding(g, hs_nn_table(g, "table", HS_SHARD_NONE, *(const int64_t *)rows, 1, WIDTH), id, NULL, NULL);
    hs_xent(g, x, target, (hs_xent_attr){ .classes = WIDTH, .ignore = -1 });
}

static hs_status start(hs_engine **e, const hs_bench_run *r, const subject *s, hs_dtype low, const int64_t *rows)
{
    const hs_policy policy = { .low = low };
    hs_optim_config optim = hs_optim_preset(s->preset);
    optim.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 1e-3, .power = 1, .steps = 1000 };
    HS_TRY(hs_engine_new(e, &(hs_engine_opts){ .model = trace,
                                               .config = rows,
                                               .policy = &policy,
                                               .optim = &optim,
                                               .micro_steps = 1,
                                               .seed = 1,
                                               .device = r->device,
                                               .mode = hs_submit_mode_of(r->device),
                                               .grid = hs_grid_self() }));
    HS_TRY(hs_run_write((*e)->run, (*e)->plan[HS_TRAIN], "id", &(int32_t){ 1 }, sizeof(int32_t)));
    HS_TRY(hs_run_write((*e)->run, (*e)->plan[HS_TRAIN], "target", &(int32_t){ 2 }, sizeof(int32_t)));
    hs_step_live((*e)->in, 1, 1, 0);
    (*e)->in->inv_count[0] = 1;
    return HS_OK;
}

static hs_status update(hs_engine *e, double *seconds)
{
    e->in->n_micro = 1, e->in->inv_count[0] = 1;
    HS_TRY(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
    HS_TRY(hs_run_wait(e->run));
    const double from = hs_now();
    HS_TRY(hs_run_update(e->run));
    HS_TRY(hs_run_wait(e->run));
    *seconds = hs_now() - from;
    return HS_OK;
}

static hs_status measure(hs_engine *e, hs_bench_run *r, const subject *s, hs_dtype low, int64_t rows)
{
    hs_samples times = { 0 };
    double seconds, copy = 0, bytes = 0;
    for (int i = 0; i < 3; i++) // a captured one comes the third time
        HS_TRY(update(e, &seconds));
    const double begun = hs_now();
    for (int i = 0; !hs_bench_enough(r, i, begun); i++) {
        HS_TRY(update(e, &seconds));
        hs_samples_add(&times, seconds);
    }
    HS_TRY(hs_measure_read(r->device, 0.1, &copy));
    const hs_segment *u = hs_run_update_segment(e->run);
    for (int i = 0; i < u->n; i++)
        bytes += u->thunk[i].cost.bytes;
    const double median = hs_median(&times), rate = bytes / median;
    const hs_cell cells[] = {
        { .key = "optimizer", .text = s->name, .width = 9 },
        { .key = "parameters", .value = (double)(rows * WIDTH), .width = 10 },
        { .key = "dtype", .text = hs_bench_dtype_name(low) },
        { .key = "update_ms", .value = 1e3 * median, .digits = 3 },
        { .key = "update_gbps", .value = rate / 1e9, .digits = 1 },
        { .key = r->device->is_cpu ? "read_gbps" : "copy_gbps", .value = copy / 1e9, .digits = 1 },
        { .key = "share", .value = rate / copy, .digits = 2 },
    };
    HS_BENCH_ROW(r, cells);
    return HS_OK;
}

static hs_status run(hs_bench_run *r)
{
    hs_dtype types[2];
    const int n_types = hs_bench_dtypes(r, types);
    for (int i = 0; i < r->sizes.n; i++)
        for (int s = 0; s < HS_COUNT(subjects); s++)
            for (int t = 0; t < n_types; t++) {
                const int64_t rows = r->sizes.at[i].dim[0] / WIDTH;
                if (rows < 2)
                    return HS_FAIL(USAGE, "sizes: %lld parameters are fewer than the 2K that are measured at least",
                                   (long long)r->sizes.at[i].dim[0]);
                hs_engine *e = NULL;
                hs_status st = start(&e, r, &subjects[s], types[t], &rows);
                if (st == HS_OK)
                    st = measure(e, r, &subjects[s], types[t], rows);
                hs_engine_free(e);
                HS_TRY(st);
            }
    return HS_OK;
}

const hs_bench hs_bench_optim = {
    .name = "optim",
    .summary = "GB/s of updates of so many parameters, beside what memory does",
    .takes = "sizes",
    .sizes = "PARAMETERS",
    .default_sizes = "1M,16M",
    .run = run,
};
