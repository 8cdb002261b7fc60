// support_gpt: the engine around a model of 2 layers, and batches that depend on a key alone.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "ops/ops.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include "tests/support/support_words.h"

void tiny_gpt_model(hs_graph *g, const void *tiny)
{
    const tiny_gpt *t = tiny;
    hs_gpt(g, &t->config, &t->shape);
}

tiny_gpt tiny_gpt_of(const tiny_opts *o)
{
    const hs_arch_shape *a = o->attention ? o->attention : &(hs_arch_shape){ 0 };
    return (tiny_gpt){
        .config = { .layers = 2,
                    .heads = 2,
                    .width = 32,
                    .context = TINY_CONTEXT,
                    .vocab = TINY_VOCAB,
                    .dropout = o->dropout,
                    .eps = 1e-5f },
        .shape = { .max_tokens = o->max_tokens ? o->max_tokens : 64,
                   .max_seqs = o->max_seqs ? o->max_seqs : 8,
                   .cache_rows = TINY_CACHE,
                   .cache_i8 = o->cache_i8,
                   .page_rows = o->page_rows,
                   .seq_pages = o->page_rows ? (TINY_CONTEXT + o->page_rows - 1) / o->page_rows : 0,
                   .logits = true,
                   .longest = a->longest,
                   .library_masks = a->library_masks,
                   .any_order = a->any_order },
    };
}

hs_engine *tiny_engine(tiny_gpt *model, const tiny_opts *o)
{
    *model = tiny_gpt_of(o);
    const hs_policy policy = policy_named(o->policy ? o->policy : "fp32");
    hs_optim_config optim;
    hs_device *dev;
    optim = optim_named(o->optim ? o->optim : "adamw");
    optim.scaler = hs_scaler_preset(HS_SCALER_AUTO, policy.low);
    optim.clip = 1, optim.masters = o->masters;
    optim.schedule = (hs_schedule){ .kind = HS_SCHEDULE_COSINE, .lr = 1e-2, .min_lr = 1e-3, .power = 1, .warmup = 5, .steps = 200 };
    assert_int_equal(hs_open_device(&dev, test_device, o->threads ? o->threads : 1, o->isa, 0, false), HS_OK);
    hs_engine *e;
    const hs_engine_opts opts = { .model = tiny_gpt_model,
                                  .config = model,
                                  .policy = &policy,
                                  .optim = o->optim ? &optim : NULL,
                                  .freeze = o->freeze,
                                  .adapter = o->adapter,
                                  .eval = true,
                                  .decode = true,
                                  .micro_steps = o->micro_steps,
                                  .recompute = o->recompute,
                                  .seed = o->seed ? o->seed : 3,
                                  .device = dev,
                                  .mode = o->mode };
    const hs_status st = hs_engine_new(&e, &opts);
    if (st != HS_OK)
        fail_msg("%s", hs_error());
    e->owns_device = true;
    return e;
}

int64_t tiny_fill(hs_engine *e, hs_mode mode, const int *lengths, uint64_t key, int first_slot)
{
    return tiny_fill_run(e->run, e->plan[mode], lengths, key, first_slot);
}

int64_t tiny_fill_run(hs_run *run, int plan, const int *lengths, uint64_t key, int first_slot)
{
    enum { TOKENS = 4096, SEQS = 512 };
    static const char *const names[] = { "ids", "targets", "starts", "where" };
    static _Thread_local int32_t ids[TOKENS], targets[TOKENS], starts[SEQS + 1], where[2 * TOKENS];
    int32_t *const numbers[] = { ids, targets, starts, where };
    int64_t n = 0, b = 0;
    starts[0] = 0;
    for (; lengths[b]; b++) {
        const int slot = first_slot + (int)b;
        for (int i = 0; i < lengths[b]; i++, n++) {
            ids[n] = (int32_t)(hs_random(key, (uint32_t)slot, (uint32_t)i, 0, 0).v[0] % TINY_VOCAB);
            targets[n] = (int32_t)(hs_random(key, (uint32_t)slot, (uint32_t)i + 1, 0, 0).v[0] % TINY_VOCAB);
            where[2 * n] = slot, where[2 * n + 1] = i;
        }
        starts[b + 1] = (int32_t)n;
    }
    const int64_t live[] = { n, n, b + 1, 2 * n };
    assert_true(n <= TOKENS && b <= SEQS);
    for (int i = 0; i < HS_COUNT(names); i++)
        if (hs_run_input(run, plan, names[i]))
            assert_int_equal(hs_run_write(run, plan, names[i], numbers[i], (size_t)live[i] * sizeof(int32_t)), HS_OK);
    hs_step_live(hs_run_in(run), n, b, 0);
    return n;
}

void tiny_teach(hs_engine *e)
{
    static const int lengths[] = { 20, 20, 20, 0 };
    for (int t = 0; t < 30; t++) {
        tiny_fill(e, HS_TRAIN, lengths, 1, 0);
        e->in->inv_count[0] = 1.0f / 60;
        assert_int_equal(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST), HS_OK);
        assert_int_equal(hs_run_update(e->run), HS_OK);
    }
}
