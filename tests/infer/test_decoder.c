// decoder: sequences that come and go between steps become what they become alone; pages run out and come back; slots are used again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "infer/decode/decoder.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>

enum { SEQUENCES = 9, NEW = 11 };
static const hs_sampling greedy = { .temperature = 0, .top_p = 1 }, warm = { .temperature = 1, .top_p = 0.9, .seed = 4 };

static int32_t prompt[SEQUENCES][TINY_CONTEXT];
static int length(int i) { return 1 + i * 5 % 13; }

static hs_engine *engine(tiny_gpt *model, int64_t max_tokens, int64_t max_seqs)
{
    hs_engine *e = tiny_engine(model, &(tiny_opts){ .optim = "adamw",
                                                    .threads = 2,
                                                    .mode = HS_SUBMIT_BULK,
                                                    .max_tokens = max_tokens,
                                                    .max_seqs = max_seqs,
                                                    .page_rows = TINY_PAGE });
    const bool fits = max_tokens >= 60 && (!max_seqs || max_seqs >= 3);
    if (fits)
        tiny_teach(e);
    for (int i = 0; i < SEQUENCES; i++)
        for (int k = 0; k < TINY_CONTEXT; k++)
            prompt[i][k] = (i * 17 + k * k * 3) % TINY_VOCAB;
    return e;
}

static hs_decoder *decoder(hs_engine *e, int64_t pages, int slots)
{
    hs_decoder *d;
    const hs_decoder_opts o = { .run = e->run,
                                .plan = e->plan[HS_DECODE],
                                .context = TINY_CONTEXT,
                                .vocab = TINY_VOCAB,
                                .cache_rows = pages * TINY_PAGE + 3, // what is no whole page is not used
                                .page_rows = TINY_PAGE,
                                .max_slots = slots };
    if (hs_decoder_new(&d, &o) != HS_OK)
        fail_msg("%s", hs_error());
    return d;
}

static hs_sequence sequence(int i, hs_sampling s)
{
    return (hs_sequence){ .ids = prompt[i], .n = length(i), .max_tokens = NEW, .sampling = s, .number = i };
}

// What each becomes with nobody beside it.
static void alone(hs_engine *e, hs_sampling s, int32_t want[SEQUENCES][TINY_CONTEXT])
{
    hs_decoder *d = decoder(e, 3, 1);
    for (int i = 0; i < SEQUENCES; i++) {
        const hs_sequence q = sequence(i, s);
        int slot;
        assert_int_equal(hs_decoder_add(d, &q, &slot), HS_OK);
        while (!hs_decoder_idle(d)) {
            const hs_decoded *out;
            int n;
            assert_int_equal(hs_decoder_step(d, &out, &n), HS_OK);
        }
        int64_t n;
        const int32_t *ids = hs_decoder_ids(d, slot, &n);
        assert_int_equal(n, length(i) + NEW > TINY_CONTEXT ? TINY_CONTEXT : length(i) + NEW);
        memcpy(want[i], ids, (size_t)n * sizeof *ids);
        hs_decoder_drop(d, slot);
        assert_int_equal(hs_decoder_free_pages(d), 3);
    }
    hs_decoder_free(d);
}

typedef struct crowd {
    hs_decoder *d;
    int at[8];                            // by slot: which sequence; -1: none
    bool done[SEQUENCES];                 // its text was compared
    int32_t got[SEQUENCES][TINY_CONTEXT]; // token by token, as the steps told
    int dropped;
} crowd;

static void come_and_go(crowd *c, uint64_t key, int step, hs_sampling s)
{
    const uint32_t *r = hs_random(key, (uint32_t)step, 0, 0, 0).v;
    const int slots = HS_COUNT(c->at), go = (int)(r[0] % (uint32_t)slots), come = (int)(r[1] % SEQUENCES);
    if (r[2] % 4 == 0 && c->at[go] >= 0) { // it will begin again
        hs_decoder_drop(c->d, go);
        c->at[go] = -1, c->dropped++;
    }
    for (int k = 0; k < SEQUENCES; k++) {
        const int i = (come + k) % SEQUENCES;
        bool here = c->done[i];
        for (int b = 0; b < slots; b++)
            here |= c->at[b] == i;
        if (here)
            continue;
        hs_sequence q = sequence(i, s);
        q.reserve = r[3] % 2;
        int slot;
        const hs_status st = hs_decoder_add(c->d, &q, &slot);
        if (st == HS_OK)
            c->at[slot] = i, memcpy(c->got[i], prompt[i], sizeof prompt[i]);
        else
            assert_int_equal(st, HS_MEMORY);
        return;
    }
}

static void check_crowd(hs_engine *e, hs_sampling s, int64_t pages)
{
    int32_t want[SEQUENCES][TINY_CONTEXT];
    alone(e, s, want);
    for (uint64_t key = 1; key <= 6; key++) {
        crowd c = { .d = decoder(e, pages, HS_COUNT(c.at)) };
        int left = SEQUENCES;
        memset(c.at, -1, sizeof c.at);
        for (int step = 0; left && step < 2000; step++) {
            come_and_go(&c, key, step, s);
            const hs_decoded *out;
            int n;
            if (hs_decoder_step(c.d, &out, &n) == HS_MEMORY) { // all wait: somebody has to go
                int b = (int)(key % HS_COUNT(c.at));
                while (c.at[b] < 0)
                    b = (b + 1) % HS_COUNT(c.at);
                hs_decoder_drop(c.d, b);
                c.at[b] = -1, c.dropped++;
                continue;
            }
            for (int k = 0; k < n; k++) {
                const int i = c.at[out[k].slot];
                int64_t known;
                const int32_t *ids = hs_decoder_ids(c.d, out[k].slot, &known);
                assert_true(i >= 0);
                c.got[i][known - 1] = out[k].id;
                if (out[k].stop == HS_STOP_NONE)
                    continue;
                assert_int_equal(out[k].stop, length(i) + NEW > TINY_CONTEXT ? HS_STOP_CONTEXT : HS_STOP_MAX_TOKENS);
                assert_memory_equal(ids, want[i], (size_t)known * sizeof *ids);
                assert_memory_equal(c.got[i], want[i], (size_t)known * sizeof *ids);
                hs_decoder_drop(c.d, out[k].slot);
                c.done[i] = true, c.at[out[k].slot] = -1, left--;
            }
        }
        assert_int_equal(left, 0);
        assert_true(c.dropped > 0);
        assert_true(hs_decoder_idle(c.d));
        assert_int_equal(hs_decoder_free_pages(c.d), pages);
        assert_int_equal(hs_decoder_free_slots(c.d), HS_COUNT(c.at));
        hs_decoder_free(c.d);
    }
}

static void others_come_and_go(void **state)
{
    (void)state;
    tiny_gpt wide, narrow;
    hs_engine *e = engine(&wide, 64, 8), *f = engine(&narrow, 5, 3); // room for all; chunks of prompts, and turns
    check_crowd(e, greedy, 24);
    check_crowd(e, warm, 24);
    check_crowd(e, greedy, 5); // hardly more than one needs
    check_crowd(f, warm, 9);
    hs_engine_free(e);
    hs_engine_free(f);
}

static void run_out(hs_decoder *d, int *steps, hs_status want)
{
    const hs_decoded *out;
    int n;
    hs_status st = HS_OK;
    for (*steps = 0; st == HS_OK && !hs_decoder_idle(d) && *steps < 100; ++*steps)
        st = hs_decoder_step(d, &out, &n);
    assert_int_equal(st, want);
}

static void pages_run_out(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model, 64, 8);
    int32_t want[SEQUENCES][TINY_CONTEXT];
    alone(e, greedy, want);
    hs_decoder *d = decoder(e, 4, 4);
    hs_sequence a = sequence(5, greedy), b = sequence(7, greedy); // 13 + 11 and 10 + 11 tokens: three pages each
    assert_true(length(5) == 13 && length(7) == 10);
    int at, bt, none, steps;
    int64_t n;
    assert_int_equal(hs_decoder_add(d, &a, &at), HS_OK);
    assert_int_equal(hs_decoder_add(d, &b, &bt), HS_OK);
    run_out(d, &steps, HS_MEMORY); // two pages each, and no third
    assert_string_equal(hs_error(), "all 4 cache pages are taken, and 2 sequences wait for one: drop one of them");
    assert_int_equal(hs_decoder_free_pages(d), 0);
    assert_memory_equal(hs_decoder_ids(d, at, &n), want[5], 16 * sizeof(int32_t));
    hs_decoder_drop(d, bt);
    run_out(d, &steps, HS_OK);
    assert_memory_equal(hs_decoder_ids(d, at, &n), want[5], (size_t)n * sizeof(int32_t));
    assert_int_equal(n, TINY_CONTEXT);
    assert_int_equal(hs_decoder_free_pages(d), 4); // of one that has ended, too

    a.reserve = b.reserve = true;
    hs_decoder_drop(d, at);
    assert_int_equal(hs_decoder_add(d, &a, &at), HS_OK);
    assert_int_equal(hs_decoder_free_pages(d), 1);
    assert_int_equal(hs_decoder_add(d, &b, &none), HS_MEMORY);
    assert_string_equal(hs_error(), "21 tokens need 3 cache pages, 1 are free");
    assert_int_equal(none, -1);
    assert_int_equal(hs_decoder_free_slots(d), 3);
    run_out(d, &steps, HS_OK);
    assert_memory_equal(hs_decoder_ids(d, at, &n), want[5], (size_t)n * sizeof(int32_t));
    hs_decoder_free(d);

    d = decoder(e, 2, 4);
    a.reserve = false;
    assert_int_equal(hs_decoder_add(d, &a, &at), HS_MEMORY);
    assert_string_equal(hs_error(), "24 tokens need 3 cache pages, 2 are all there are");
    hs_decoder_free(d);
    hs_engine_free(e);
}

static void slots_are_used_again(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model, 64, 8);
    hs_decoder *d = decoder(e, 20, 2);
    hs_sequence q = sequence(3, greedy);
    int s[3], steps;
    int64_t n;
    assert_int_equal(hs_decoder_add(d, &q, &s[0]), HS_OK);
    q.max_tokens = 0; // has ended before it began
    assert_int_equal(hs_decoder_add(d, &q, &s[1]), HS_OK);
    assert_int_equal(hs_decoder_add(d, &q, &s[2]), HS_MEMORY);
    assert_string_equal(hs_error(), "all 2 slots are taken");
    hs_decoder_ids(d, s[1], &n);
    assert_int_equal(n, length(3));
    hs_decoder_drop(d, s[0]);
    hs_decoder_drop(d, s[0]); // twice is once
    assert_null(hs_decoder_ids(d, s[0], &n));
    assert_true(hs_decoder_idle(d));
    q.max_tokens = 4;
    assert_int_equal(hs_decoder_add(d, &q, &s[2]), HS_OK);
    assert_int_equal(s[2], s[0]);
    run_out(d, &steps, HS_OK);
    assert_int_equal(steps, 4);
    q.n = 0;
    assert_int_equal(hs_decoder_add(d, &q, &s[2]), HS_USAGE);
    q = sequence(3, (hs_sampling){ .temperature = 1, .top_p = 0 });
    assert_int_equal(hs_decoder_add(d, &q, &s[2]), HS_USAGE);
    hs_decoder_free(d);
    hs_engine_free(e);
}

// More sequences than a step has room for take turns: none waits until another ends.
static void they_take_turns(void **state)
{
    (void)state;
    enum { CROWD = 5 };
    tiny_gpt model;
    hs_engine *e = engine(&model, 64, 2);
    hs_decoder *d = decoder(e, 20, CROWD);
    const hs_decoded *out;
    int slot, n;
    for (int i = 0; i < CROWD; i++) {
        hs_sequence q = sequence(0, greedy);
        assert_int_equal(hs_decoder_add(d, &q, &slot), HS_OK);
    }
    for (int step = 1; step <= 10; step++) {
        assert_int_equal(hs_decoder_step(d, &out, &n), HS_OK);
        assert_int_equal(n, 2);
        for (int i = 0; i < CROWD; i++) {
            int64_t have;
            hs_decoder_ids(d, i, &have);
            assert_in_range(have - length(0), 2 * step / CROWD, (2 * step + CROWD - 1) / CROWD);
        }
    }
    hs_decoder_free(d);
    hs_engine_free(e);
}

// One stops where its caller says so, one at its token, one at logits that are not numbers: the others go on.
static void ends(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model, 64, 8);
    int32_t want[SEQUENCES][TINY_CONTEXT];
    alone(e, greedy, want);
    hs_decoder *d = decoder(e, 20, 3);
    const hs_decoded *out;
    int slot[3], n;
    int64_t k;
    const int32_t stops[] = { TINY_VOCAB - 1, want[1][length(1)] };
    for (int i = 0; i < 3; i++) {
        hs_sequence q = sequence(i, greedy);
        q.stop_ids = stops, q.n_stops = i == 1 ? 2 : 0;
        assert_int_equal(hs_decoder_add(d, &q, &slot[i]), HS_OK);
    }
    assert_int_equal(hs_decoder_step(d, &out, &n), HS_OK);
    assert_int_equal(n, 3);
    assert_true(out[0].stop == HS_STOP_NONE && out[1].stop == HS_STOP_TOKEN && out[2].stop == HS_STOP_NONE);
    hs_decoder_stop(d, slot[2]);
    assert_memory_equal(hs_decoder_ids(d, slot[2], &k), want[2], (size_t)(length(2) + 1) * sizeof(int32_t));
    assert_int_equal(k, length(2) + 1);
    assert_int_equal(hs_decoder_step(d, &out, &n), HS_OK);
    assert_true(n == 1 && out[0].slot == slot[0]);
    flat_set(e->params, "master", hs_params_find(e->params, "ln_f.weight"), 0, NAN);
    assert_int_equal(hs_decoder_step(d, &out, &n), HS_OK);
    assert_true(n == 1 && out[0].stop == HS_STOP_NONFINITE && out[0].id == 0);
    assert_true(hs_decoder_idle(d));
    assert_int_equal(hs_decoder_free_pages(d), 20);
    hs_decoder_free(d);
    hs_engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(others_come_and_go), cmocka_unit_test(pages_run_out),
                                        cmocka_unit_test(slots_are_used_again), cmocka_unit_test(they_take_turns), cmocka_unit_test(ends) };
    return cmocka_run_group_tests_name("decoder", tests, NULL, NULL);
}
