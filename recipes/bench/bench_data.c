// bench_data: what the loader can deliver, and what it costs a training step. Steps with a loader and steps that replay the same batches
// from memory alternate in blocks, in one process on one engine; the first step of a block is not counted, as the ring is still full, or
// being filled, from what came before.
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/run/feed.h"
#include "data/batches/loader.h"
#include "recipes/bench/bench.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 16, PAIRS = 12, SYNTHETIC_TOKENS = 1 << 23, ALONE_BATCHES = 20000 };
#define ALONE_SECONDS 0.5

typedef struct mode { // packing: of running text; layout: of sequences with masked tokens
    const char *name;
    hs_batch_kind kind;
    hs_packing packing;
    hs_seq_layout layout;
    int n_sources;
} mode;
static const mode modes[] = {
    { "windows", HS_BATCH_TEXT, HS_PACKING_NONE, HS_SEQ_UNPADDED, 1 }, { "mixed", HS_BATCH_TEXT, HS_PACKING_NONE, HS_SEQ_UNPADDED, 2 },
    { "packed", HS_BATCH_TEXT, HS_PACKING_FFD, HS_SEQ_UNPADDED, 1 },   { "unpadded", HS_BATCH_MASKED, HS_PACKING_NONE, HS_SEQ_UNPADDED, 1 },
    { "mixed", HS_BATCH_MASKED, HS_PACKING_NONE, HS_SEQ_UNPADDED, 2 },
};

typedef struct bench {
    hs_bench_run *run;
    hs_feed feed;
    hs_arch_setup setup;
    hs_engine *engine;
    hs_token_store *store;
    int64_t seq, batch;
    hs_batch kept[BLOCK + 1]; // the batches of a block
} bench;

// ---- data
// Random tokens in documents of up to two windows, most of them short, in a file that has no name any more.
static hs_status synthetic_store(hs_token_store **out, int64_t vocab, int64_t seq)
{
    char folder[] = P_tmpdir "/halfstep-bench-XXXXXX", path[sizeof folder + 16];
    const int64_t n = SYNTHETIC_TOKENS;
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    int64_t *starts = malloc((size_t)(n + 1) * sizeof *starts), documents = 0, at = 0;
    hs_status st = ids && starts ? HS_OK : HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)n);
    for (int64_t i = 0; st == HS_OK && i < n; i++)
        ids[i] = (int32_t)(hs_mix((uint64_t)i) % (uint64_t)vocab);
    while (st == HS_OK && at < n) {
        const double u = hs_u32_unit((uint32_t)hs_mix2(7, (uint64_t)documents));
        starts[documents++] = at;
        at += 2 + (int64_t)(u * u * 2 * (double)seq);
    }
    if (st == HS_OK && !mkdtemp(folder))
        st = HS_FAIL(SYSTEM, "cannot make a folder in %s", P_tmpdir);
    if (st == HS_OK) {
        snprintf(path, sizeof path, "%s/tokens.bin", folder);
        starts[documents] = n;
        st = hs_token_store_write(path, ids, n, starts, documents, vocab, 0);
        if (st == HS_OK)
            st = hs_token_store_open(out, path);
        unlink(path);
        rmdir(folder);
    }
    free(ids);
    free(starts);
    return st;
}

static hs_status open_loader(hs_loader **out, const bench *b, const mode *m)
{
    const hs_token_range all = { b->store, 0, hs_token_store_info_of(b->store).n_tokens };
    hs_corpus corpus = { .source = { { all, 0.7 }, { all, 0.3 } }, .n_sources = m->n_sources };
    hs_feed feed = b->feed;
    hs_source *source;
    feed.packing = m->packing, feed.layout = m->layout;
    HS_TRY(hs_feed_train(&source, &feed, &corpus));
    return hs_loader_new(out, source,
                         &(hs_loader_opts){ .batch = b->batch,
                                            .n_micro = 1,
                                            .size = 1,
                                            .depth = 1 + (int)b->run->config.train.prefetch,
                                            .memory = hs_device_batches(b->run->device) });
}

// Tokens a second of the loader's thread with nothing else to do; keeps the first batches.
static hs_status alone(bench *b, const mode *m, double *rate)
{
    hs_loader *l;
    HS_TRY(open_loader(&l, b, m));
    const double start = hs_now();
    int64_t tokens = 0;
    hs_status st = HS_OK;
    for (int i = 0; st == HS_OK && (i <= BLOCK || (i < ALONE_BATCHES && hs_now() - start < ALONE_SECONDS)); i++) {
        const hs_batch *batch;
        st = hs_loader_next(l, &batch);
        if (st != HS_OK)
            break;
        if (i <= BLOCK)
            st = hs_batch_copy(&b->kept[i], batch);
        tokens += batch->n[HS_COUNT_TOKENS];
        hs_loader_release(l);
    }
    *rate = (double)tokens / (hs_now() - start);
    hs_loader_free(l);
    return st;
}

// ---- steps
static hs_status step(hs_engine *e, const hs_batch *batch)
{
    HS_TRY(hs_run_feed(e->run, e->plan[HS_TRAIN], batch));
    e->in->n_micro = 1;
    for (int i = 0; i < HS_N_LOSS; i++)
        e->in->inv_count[i] = hs_inv_count(batch->labels[i]);
    HS_TRY(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
    HS_TRY(hs_run_update(e->run));
    return hs_run_wait(e->run);
}

static hs_status loader_block(bench *b, const mode *m, int steps, hs_samples *times, double *waited)
{
    hs_loader *l;
    HS_TRY(open_loader(&l, b, m));
    hs_status st = HS_OK;
    for (int i = 0; i <= steps && st == HS_OK; i++) {
        const double start = hs_now(), before = hs_loader_wait_seconds(l);
        const hs_batch *batch;
        st = hs_loader_next(l, &batch);
        if (st == HS_OK)
            st = step(b->engine, batch);
        hs_loader_release(l);
        if (i)
            hs_samples_add(times, hs_now() - start), *waited += hs_loader_wait_seconds(l) - before;
    }
    hs_loader_free(l);
    return st;
}

static hs_status replay_block(bench *b, int steps, hs_samples *times)
{
    for (int i = 0; i <= steps; i++) {
        const double start = hs_now();
        HS_TRY(step(b->engine, &b->kept[i]));
        if (i)
            hs_samples_add(times, hs_now() - start);
    }
    return HS_OK;
}

// Pairs of blocks, the order within a pair in turn. A pair's ratio is of times taken side by side; the median of them counts. Where
// steps are long and pairs few, the loader's time for a batch as a share of the step tells more: what it can cost at most.
static hs_status compare(bench *b, const mode *m, double rate)
{
    const int64_t steps = b->run->o->steps;
    const int block = steps < PAIRS ? 1 : steps < PAIRS * BLOCK ? (int)(steps / PAIRS) : BLOCK, pairs = (int)((steps + block - 1) / block);
    hs_samples with = { 0 }, without = { 0 }, ratios = { 0 };
    double waited = 0;
    for (int64_t i = 0; i < b->run->o->warmup; i++)
        HS_TRY(step(b->engine, &b->kept[0]));
    if (pairs < PAIRS)
        hs_warn("%d pairs are too few to tell a percent; --steps %d makes %d", pairs, PAIRS, PAIRS);
    for (int p = 0; p < pairs; p++) {
        hs_samples a = { 0 }, r = { 0 };
        if (p % 2)
            HS_TRY(replay_block(b, block, &r));
        HS_TRY(loader_block(b, m, block, &a, &waited));
        if (p % 2 == 0)
            HS_TRY(replay_block(b, block, &r));
        for (int i = 0; i < block; i++)
            hs_samples_add(&with, a.v[i]), hs_samples_add(&without, r.v[i]);
        hs_samples_add(&ratios, hs_median(&a) / hs_median(&r));
    }
    const double per_step = waited / (block * pairs), ratio = hs_median(&ratios), loaded = hs_median(&with);
    double tokens = 0; // of a batch
    for (int i = 0; i <= BLOCK; i++)
        tokens += (double)b->kept[i].n[HS_COUNT_TOKENS] / (BLOCK + 1);
    const hs_cell cells[] = { { .key = "mode", .text = m->name },
                              { .key = "alone_tokens_per_second", .value = rate },
                              { .key = "step_ms", .value = 1e3 * loaded, .digits = 3 },
                              { .key = "replay_ms", .value = 1e3 * hs_median(&without), .digits = 3 },
                              { .key = "overhead_percent", .value = 100 * (ratio - 1), .digits = 2 },
                              { .key = "wait_percent", .value = 100 * per_step / loaded, .digits = 3 },
                              { .key = "busy_percent", .value = 100 * tokens / rate / loaded, .digits = 3 },
                              { .key = "step_tokens_per_second", .value = tokens / loaded },
                              { .key = "pairs", .value = pairs } };
    HS_BENCH_ROW(b->run, cells);
    return HS_OK;
}

static hs_status open_engine(bench *b)
{
    const hs_config *c = &b->run->config;
    hs_policy policy;
    hs_feed most = b->feed;
    most.packing = HS_PACKING_FFD, most.layout = HS_SEQ_UNPADDED; // of the modes the one with most sequences
    b->setup = hs_feed_setup(&most, b->batch);
    HS_TRY(hs_config_policy(c, &policy));
    const hs_optim_config optim = hs_config_optim(c, policy.low);
    return hs_engine_new(&b->engine, &(hs_engine_opts){ .model = hs_arch_trace,
                                                        .config = &b->setup,
                                                        .policy = &policy,
                                                        .optim = &optim,
                                                        .micro_steps = 1,
                                                        .seed = 1,
                                                        .device = b->run->device,
                                                        .mode = b->run->mode,
                                                        .grid = hs_grid_self() });
}

// A batch of any mode.
static hs_status keep_room(const bench *b, hs_batch *kept)
{
    const hs_arch_shape s = b->setup.shape;
    const int64_t most[HS_N_COUNTERS] = { [HS_COUNT_TOKENS] = s.max_tokens, [HS_COUNT_SEQS] = s.max_seqs, [HS_COUNT_PICKS] = s.max_picks };
    return s.max_picks ? hs_batch_new(kept, hs_masked_columns, HS_MASKED_COLUMNS, most) : hs_windows_batch(kept, s.max_seqs, s.max_tokens);
}

static hs_status measure(bench *b)
{
    hs_bench_run *r = b->run;
    hs_config *c = &r->config;
    int64_t vocab = hs_config_model_int(c, "model.vocab");
    b->seq = r->o->seq ? r->o->seq : hs_config_model_int(c, "model.context"), b->batch = c->train.batch;
    if (r->o->file[0]) {
        HS_TRY(hs_token_store_open(&b->store, r->o->file));
        const int64_t needs = hs_token_store_info_of(b->store).vocab;
        vocab = vocab < needs ? needs : vocab;
    } else {
        HS_TRY(synthetic_store(&b->store, vocab, b->seq));
    }
    HS_TRY(hs_config_set_int(c, "model.vocab", vocab, "--file"));
    b->feed = hs_feed_of(c);
    b->feed.distill = (hs_distill){ 0 }; // of a student without its teacher
    hs_feed_set_length(&b->feed, b->seq);
    b->feed.seed = 1, b->feed.batch = b->batch;
    HS_TRY(open_engine(b));
    for (int i = 0; i <= BLOCK; i++)
        HS_TRY(keep_room(b, &b->kept[i]));
    for (int i = 0; i < HS_COUNT(modes); i++) {
        double rate = 0;
        if (modes[i].kind != b->feed.kind)
            continue;
        HS_TRY(alone(b, &modes[i], &rate));
        HS_TRY(compare(b, &modes[i], rate));
    }
    return HS_OK;
}

static hs_status run(hs_bench_run *r)
{
    bench *b = calloc(1, sizeof *b);
    if (!b)
        return HS_FAIL(MEMORY, "no memory for a bench");
    b->run = r;
    const hs_status st = measure(b);
    for (int i = 0; i <= BLOCK; i++)
        hs_batch_free(&b->kept[i]);
    hs_engine_free(b->engine);
    hs_token_store_close(b->store);
    free(b);
    return st;
}

const hs_bench hs_bench_data = {
    .name = "data",
    .summary = "the loader alone, and what it costs a training step",
    .takes = "model batch seq warmup file",
    .run = run,
};
