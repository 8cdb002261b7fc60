// generate: the cache gives what full recomputation gives; sampling; limits.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "infer/decode/generate.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <stdlib.h>

static const int lengths[] = { 20, 20, 20, 0 };

// A model that has learned something: the untrained one's logits are all but equal.
static hs_engine *trained(tiny_gpt *model, const char *policy, int threads)
{
    hs_engine *e = tiny_engine(
        model, &(tiny_opts){ .policy = policy, .optim = "adamw", .threads = threads, .mode = HS_SUBMIT_BULK, .page_rows = TINY_PAGE });
    for (int t = 0; t < 30; t++) {
        tiny_fill(e, HS_TRAIN, lengths, 1, 0);
        e->in->inv_count[0] = 1.0f / 60;
        assert_int_equal(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST), HS_OK);
        assert_int_equal(hs_run_update(e->run), HS_OK);
    }
    return e;
}

static hs_generate_opts options(hs_engine *e, int64_t max_tokens, hs_sampling s)
{
    return (hs_generate_opts){ .run = e->run,
                               .plan = e->plan[HS_DECODE],
                               .context = TINY_CONTEXT,
                               .vocab = TINY_VOCAB,
                               .cache_rows = TINY_CACHE,
                               .page_rows = TINY_PAGE,
                               .max_tokens = max_tokens,
                               .sampling = s };
}

static const hs_sampling greedy = { .temperature = 0, .top_p = 1 };

// The next token after ids[n], by running all of them through the eval plan.
static int32_t recompute(hs_engine *e, const int32_t *ids, int64_t n, double *margin)
{
    tiny_fill(e, HS_EVAL, (int[]){ (int)n, 0 }, 1, 0);
    assert_int_equal(hs_run_write(e->run, e->plan[HS_EVAL], "ids", ids, (size_t)n * sizeof *ids), HS_OK);
    assert_int_equal(hs_engine_run(e, HS_EVAL, 0), HS_OK);
    float logits[2 * TINY_VOCAB], second = -INFINITY; // padded
    assert_int_equal(hs_run_read(e->run, e->plan[HS_EVAL], 0, n - 1, 1, logits), HS_OK);
    int32_t best = 0;
    for (int i = 1; i < TINY_VOCAB; i++)
        best = logits[i] > logits[best] ? i : best;
    for (int i = 0; i < TINY_VOCAB; i++)
        second = i != best && logits[i] > second ? logits[i] : second;
    *margin = (double)(logits[best] - second);
    return best;
}

static void test_greedy_equals_recomputation(void **state)
{
    (void)state;
    static const char *const policies[] = { "fp32", "bf16", "fp16" };
    for (int p = 0; p < 3; p++) {
        tiny_gpt model;
        hs_engine *e = trained(&model, policies[p], 2);
        const int32_t a[] = { 7 }, b[] = { 1, 2, 3, 4, 5 }, c[] = { 40, 30, 20, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2 };
        const hs_prompt prompts[] = { { a, 1 }, { b, 5 }, { c, 13 } };
        hs_generated out[3];
        const hs_generate_opts o = options(e, 10, greedy);
        assert_int_equal(hs_generate(&o, prompts, 3, out), HS_OK);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(out[i].n, out[i].n_prompt + 10);
            assert_int_equal(out[i].stop, HS_STOP_MAX_TOKENS);
            for (int64_t n = out[i].n_prompt; n < out[i].n; n++) {
                double margin;
                const int32_t id = recompute(e, out[i].ids, n, &margin);
                if (p == 0 || margin > 0.1) // in low precision the cache is rounded: only a close call may differ
                    assert_int_equal(out[i].ids[n], id);
            }
        }
        hs_generated_free(out, 3);
        hs_engine_free(e);
    }
}

// The plan's token capacity cuts prompts into chunks; more prompts than the plan has sequences wait for their turn.
static void test_chunks_and_batches(void **state)
{
    (void)state;
    tiny_gpt wide, narrow;
    hs_engine *e = tiny_engine(&wide, &(tiny_opts){ .threads = 1, .page_rows = TINY_PAGE });
    hs_engine *f = tiny_engine(&narrow, &(tiny_opts){ .threads = 2, .max_tokens = 4, .max_seqs = 2, .page_rows = TINY_PAGE });
    int32_t ids[5][13];
    hs_prompt prompts[5];
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 13; k++)
            ids[i][k] = (i * 17 + k * k * 3) % TINY_VOCAB;
        prompts[i] = (hs_prompt){ ids[i], 13 - 2 * i };
    }
    const hs_sampling warm = { .temperature = 1, .top_k = 0, .top_p = 0.9, .seed = 4 };
    hs_generated x[5], y[5];
    const hs_generate_opts oe = options(e, 8, warm), of = options(f, 8, warm);
    assert_int_equal(hs_generate(&oe, prompts, 5, x), HS_OK);
    assert_int_equal(hs_generate(&of, prompts, 5, y), HS_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(x[i].n, y[i].n);
        assert_memory_equal(x[i].ids, y[i].ids, (size_t)x[i].n * sizeof(int32_t));
    }
    hs_generated_free(x, 5);
    hs_generated_free(y, 5);
    hs_engine_free(e);
    hs_engine_free(f);
}

typedef struct seen {
    int32_t id[32];
    int n, stop_after;
} seen;
static bool note(int prompt, int32_t id, void *user)
{
    seen *s = user;
    assert_int_equal(prompt, 0);
    s->id[s->n++] = id;
    return s->n != s->stop_after;
}

static void test_stops(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = tiny_engine(&model, &(tiny_opts){ .threads = 1, .page_rows = TINY_PAGE });
    int32_t ids[TINY_CONTEXT + 1];
    for (int i = 0; i <= TINY_CONTEXT; i++)
        ids[i] = i;
    hs_generated out;
    hs_generate_opts o = options(e, 1000, greedy);
    seen s = { .stop_after = -1 };
    o.on_token = note, o.user = &s;
    assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, 20 }, 1, &out), HS_OK);
    assert_int_equal(out.stop, HS_STOP_CONTEXT);
    assert_int_equal(out.n, TINY_CONTEXT);
    assert_int_equal(s.n, TINY_CONTEXT - 20);
    assert_memory_equal(s.id, out.ids + 20, sizeof(int32_t) * (size_t)s.n);
    const int32_t first = out.ids[20];
    hs_generated_free(&out, 1);

    s = (seen){ .stop_after = 2 };
    assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, 20 }, 1, &out), HS_OK);
    assert_int_equal(out.stop, HS_STOP_CALLER);
    assert_int_equal(out.n, 22);
    hs_generated_free(&out, 1);

    s = (seen){ .stop_after = -1 };
    o.stop_ids = &first, o.n_stops = 1;
    assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, 20 }, 1, &out), HS_OK);
    assert_int_equal(out.stop, HS_STOP_TOKEN);
    assert_int_equal(out.n, 21);
    hs_generated_free(&out, 1);

    assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, TINY_CONTEXT + 1 }, 1, &out), HS_USAGE);
    assert_non_null(strstr(hs_error(), "25 tokens"));
    assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, 0 }, 1, &out), HS_USAGE);
    ids[3] = TINY_VOCAB;
    assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, 5 }, 1, &out), HS_USAGE);
    assert_non_null(strstr(hs_error(), "token 4 is 50"));
    o.sampling.top_p = 0;
    assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, 2 }, 1, &out), HS_USAGE);
    o.sampling = greedy, o.cache_rows = 5;
    assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, 2 }, 1, &out), HS_USAGE);
    assert_null(out.ids);
    o.cache_rows = TINY_CACHE;
    flat_set(e->params, "master", hs_params_find(e->params, "ln_f.weight"), 0, NAN);
    assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, 2 }, 1, &out), HS_NONFINITE);
    hs_engine_free(e);
}

// Rows of the model without a token - a padded end, holes - are never drawn, whatever the sampling; a mask that bars none changes no draw.
static void test_only_what_may_be_drawn(void **state)
{
    (void)state;
    static const hs_sampling how[] = {
        { .temperature = 0, .top_p = 1 },
        { .temperature = 0.8, .top_p = 1, .seed = 5 },
        { .temperature = 500, .top_p = 1, .seed = 6 }, // all alike
        { .temperature = 500, .top_k = TINY_VOCAB - 1, .top_p = 1, .seed = 7 },
        { .temperature = 500, .top_k = 30, .top_p = 0.9, .seed = 8 },
        { .temperature = 500, .top_p = 0.99, .seed = 9 },
    };
    tiny_gpt model;
    hs_engine *e = trained(&model, "fp32", 1);
    uint8_t all[TINY_VOCAB], some[TINY_VOCAB];
    const int32_t ids[] = { 1, 2 };
    for (int i = 0; i < TINY_VOCAB; i++)
        all[i] = 1, some[i] = i < 40 && i % 3 != 0;
    for (int h = 0; h < HS_COUNT(how); h++) {
        hs_generate_opts o = options(e, TINY_CONTEXT - 2, how[h]);
        hs_generated free_draw, same, barred;
        bool bars = false;
        assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, 2 }, 1, &free_draw), HS_OK);
        o.drawable = all;
        assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, 2 }, 1, &same), HS_OK);
        o.drawable = some;
        assert_int_equal(hs_generate(&o, &(hs_prompt){ ids, 2 }, 1, &barred), HS_OK);
        assert_memory_equal(free_draw.ids, same.ids, (size_t)same.n * sizeof *same.ids);
        assert_int_equal(barred.n, TINY_CONTEXT);
        for (int64_t i = 2; i < barred.n; i++)
            assert_true(some[barred.ids[i]]);
        for (int64_t i = 2; i < free_draw.n; i++)
            bars = bars || !some[free_draw.ids[i]];
        assert_true(bars || how[h].temperature == 0); // there was something to bar
        hs_generated_free(&free_draw, 1);
        hs_generated_free(&same, 1);
        hs_generated_free(&barred, 1);
    }
    hs_engine_free(e);
}

// ---- sampling alone

enum { N = 40, DRAWS = 20000 };

static void draw(const float *logits, const hs_sampling *s, double *share)
{
    int32_t order[N];
    for (int i = 0; i < N; i++)
        share[i] = 0;
    for (int t = 0; t < DRAWS; t++)
        share[hs_sample(logits, N, s, 0, t, order)] += 1.0 / DRAWS;
}

static void test_sampling(void **state)
{
    (void)state;
    float logits[N];
    double share[N], p[N], total = 0;
    for (int i = 0; i < N; i++)
        logits[i] = 3 * sinf((float)(i * 7)), total += exp((double)logits[i] / 0.7);
    for (int i = 0; i < N; i++)
        p[i] = exp((double)logits[i] / 0.7) / total;
    draw(logits, &(hs_sampling){ .temperature = 0.7, .top_p = 1, .seed = 11 }, share);
    for (int i = 0; i < N; i++)
        assert_true(fabs(share[i] - p[i]) < 5 * sqrt(p[i] / DRAWS) + 1e-3);

    int rank[N]; // how many are better
    double above[N];
    for (int i = 0; i < N; i++) {
        rank[i] = 0, above[i] = 0;
        for (int k = 0; k < N; k++)
            if (logits[k] > logits[i])
                rank[i]++, above[i] += p[k];
    }
    draw(logits, &(hs_sampling){ .temperature = 0.7, .top_k = 5, .top_p = 1, .seed = 12 }, share);
    for (int i = 0; i < N; i++)
        assert_int_equal(share[i] > 0, rank[i] < 5);
    draw(logits, &(hs_sampling){ .temperature = 0.7, .top_p = 0.5, .seed = 13 }, share);
    for (int i = 0; i < N; i++)
        assert_int_equal(share[i] > 0, above[i] < 0.5);

    // ties: the lowest ids; and a draw is a function of its address
    int32_t order[N];
    for (int i = 0; i < N; i++)
        logits[i] = i == 7 || i == 9 || i == 30 ? 1.0f : 0.0f;
    assert_int_equal(hs_sample(logits, N, &greedy, 0, 0, order), 7);
    draw(logits, &(hs_sampling){ .temperature = 1, .top_k = 2, .top_p = 1, .seed = 1 }, share);
    assert_true(share[7] > 0.4 && share[9] > 0.4 && share[7] + share[9] > 0.9999);
    const hs_sampling s = { .temperature = 1, .top_p = 1, .seed = 8 };
    for (int t = 0; t < 100; t++)
        assert_int_equal(hs_sample(logits, N, &s, 3, t, order), hs_sample(logits, N, &s, 3, t, order));
}

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_what_may_be_drawn), cmocka_unit_test(test_sampling), cmocka_unit_test(test_greedy_equals_recomputation),
        cmocka_unit_test(test_chunks_and_batches),     cmocka_unit_test(test_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
