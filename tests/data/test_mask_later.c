// mask_later: batches whose masks are drawn in a plan have the ids, places and labels that the loader's masker gives them, in every layout,
// mixed of several objectives.
//   test_mask_later [DEVICE]
#include "tests/support/support_masked.h"

#include "core/run/feed.h"
#include "core/run/run.h"
#include "data/batches/loader.h"
#include "ops/ops.h"
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 40, BATCH = 12, BATCHES = 30, TOKENS = LENGTH * BATCH };
static const char *device = "cpu";
static const hs_objective objectives[] = {
    { HS_SEGMENTS_NEXT, HS_MASK_TOKEN, 0.15, 0.8, 0.1, 0.5, 0, 0 },
    { HS_SEGMENTS_FULL, HS_MASK_TOKEN, 0.4, 0.3, 0.6, 0.3, 0, 0 },
    { HS_SEGMENTS_ORDER, HS_MASK_TOKEN, 0.2, 1, 0, 0.2, 0, 0 },
};

typedef struct rig {
    hs_device *dev;
    hs_model *model;
    hs_run *run;
    int plan;
    int64_t most; // predictions
} rig;

static void trace(hs_graph *g, const void *most)
{
    hs_tensor *picks, *targets;
    hs_tensor *ids = hs_input(g, "ids", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ TOKENS });
    hs_tensor *starts = hs_input(g, "starts", HS_I32, HS_EXT_STARTS, 1, (int64_t[]){ BATCH + 1 });
    hs_tensor *draws = hs_input(g, "mask_draws", HS_I32, HS_EXT_SEQS, 2, (int64_t[]){ BATCH, HS_DRAW_CELLS });
    hs_tensor *special = hs_input(g, "mask_special", HS_I32, HS_EXT_FIXED, 1, (int64_t[]){ HS_DRAW_SPECIAL });
    hs_output(g, hs_mask_tokens(g, ids, starts, draws, special, *(const int64_t *)most, &picks, &targets));
    hs_output(g, picks);
    hs_output(g, targets);
}

static void open_rig(rig *r, int64_t most)
{
    *r = (rig){ .most = most };
    OK(hs_open_device(&r->dev, device, 2, NULL, 0, HS_ONEDNN_NO));
    OK(hs_model_new(&r->model, &(hs_model_opts){ .device = r->dev, .micro_steps = HS_VALUES_STAY }));
    OK(hs_model_plan(r->model, HS_EVAL, trace, &r->most, &r->plan));
    OK(hs_model_alloc(r->model, false));
    OK(hs_run_new(&r->run, r->model, &(hs_run_opts){ .mode = hs_submit_mode_of(r->dev) }));
}

static void close_rig(rig *r)
{
    hs_run_free(r->run);
    hs_model_free(r->model);
    hs_device_close(r->dev);
}

static hs_source *open_source(const hs_text_part *parts, int layout, bool later)
{
    hs_source *s;
    hs_masked_opts o = masked_opts(parts, objectives, HS_COUNT(objectives), LENGTH);
    o.n_parts = 2, o.short_share = 0.3, o.layout = (hs_seq_layout)layout, o.batch = BATCH, o.later = later;
    OK(hs_masked_new(&s, &o));
    return s;
}

static void same_cells(rig *r, int output, const int32_t *want, int64_t n, const char *what, int layout)
{
    int32_t got[TOKENS];
    assert_true(n <= TOKENS);
    OK(hs_run_read_i32(r->run, r->plan, output, 0, n, got));
    for (int64_t i = 0; i < n; i++)
        if (got[i] != want[i])
            fail_msg("layout %d, %s %lld of %lld: %d, the loader's %d", layout, what, (long long)i, (long long)n, got[i], want[i]);
}

static void check_layout(const hs_text_part *parts, int layout)
{
    const hs_loader_opts ring = { .batch = BATCH, .n_micro = 1, .size = 1, .depth = 3, .first_sample = BATCH << 20 };
    hs_source *source = open_source(parts, layout, false);
    hs_loader *masked, *plain;
    rig r;
    int64_t changed = 0;
    open_rig(&r, BATCH * source->most[HS_COUNT_PICKS]);
    hs_loader_opts shared = ring;
    shared.memory = hs_device_batches(r.dev);
    OK(hs_loader_new(&masked, source, &ring));
    OK(hs_loader_new(&plain, open_source(parts, layout, true), &shared));
    for (int m = 0; m < BATCHES; m++) {
        const hs_batch *a, *b;
        OK(hs_loader_next(masked, &a));
        OK(hs_loader_next(plain, &b));
        assert_memory_equal(a->n, b->n, sizeof a->n);
        assert_memory_equal(a->labels, b->labels, sizeof a->labels);
        assert_true(a->n[HS_COUNT_PICKS] > 0);
        for (int64_t i = 0; i < a->n[HS_COUNT_TOKENS]; i++)
            changed += hs_batch_i32(a, HS_PAIR_IDS)[i] != hs_batch_i32(b, HS_PAIR_IDS)[i];
        OK(hs_run_feed(r.run, r.plan, b));
        hs_loader_release(plain);
        OK(hs_run_forward(r.run, r.plan));
        same_cells(&r, 0, hs_batch_i32(a, HS_PAIR_IDS), a->n[HS_COUNT_TOKENS], "id", layout);
        same_cells(&r, 1, hs_batch_i32(a, HS_PAIR_PICKS), a->n[HS_COUNT_PICKS], "pick", layout);
        same_cells(&r, 2, hs_batch_i32(a, HS_PAIR_PICK_TARGETS), a->n[HS_COUNT_PICKS], "target", layout);
        hs_loader_release(masked);
    }
    assert_true(changed > BATCHES);
    hs_loader_free(masked);
    hs_loader_free(plain);
    close_rig(&r);
}

static void every_layout(void **state)
{
    (void)state;
    hs_token_store *store = counting_store("later.bin", 90, 20, 1, 20, 31, true);
    hs_text_part parts[2] = { whole(store), whole(store) };
    parts[0].range.end = parts[1].range.first = parts[0].range.end / 2;
    parts[0].weight = 0.6, parts[1].weight = 0.4;
    for (int layout = HS_SEQ_UNPADDED; layout <= HS_SEQ_PACKED; layout++)
        check_layout(parts, layout);
    hs_token_store_close(store);
}

static void refused(void **state)
{
    (void)state;
    hs_token_store *store = counting_store("words.bin", 40, 20, 1, 20, 32, true);
    const hs_text_part part = whole(store);
    hs_objective o = objectives[0];
    hs_source *s;
    hs_masked_opts opts = masked_opts(&part, &o, 1, LENGTH);
    opts.later = true;
    o.unit = HS_MASK_WORD;
    FAILS(USAGE, "objective 1 (next sentence) masks by more than single tokens", hs_masked_new(&s, &opts));
    o.unit = HS_MASK_TOKEN, o.rare = 0.7;
    FAILS(USAGE, "objective 1 (next sentence) prefers rare tokens", hs_masked_new(&s, &opts));
    hs_token_store_close(store);
}

int main(int argc, char **argv)
{
    device = argc > 1 ? argv[1] : device;
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_layout), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
