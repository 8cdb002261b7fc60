// decoder: pages that sequences share change no bit of a text, whatever chunks it is read in, and are computed once; what is told of a
// token's place, and what is done to logits before a draw.
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
#include <string.h>

enum { SEQUENCES = 8, NEW = 9 };
static const hs_sampling greedy = { .temperature = 0, .top_p = 1 }, warm = { .temperature = 1.3, .top_p = 0.95, .seed = 21 };

typedef struct text { // a sequence, and what became of it
    int32_t ids[TINY_CONTEXT];
    int64_t n_prompt, n, reused;
    float logprob[TINY_CONTEXT];
} text;

static hs_engine *engine(tiny_gpt *model)
{
    hs_engine *e = tiny_engine(model, &(tiny_opts){ .optim = "adamw", .threads = 2, .mode = HS_SUBMIT_BULK, .page_rows = TINY_PAGE });
    tiny_teach(e);
    return e;
}

static hs_decoder *decoder(hs_engine *e, int64_t pages, int slots, bool share, int64_t step_tokens, int64_t beside_tokens)
{
    hs_decoder *d;
    const hs_decoder_opts o = { .run = e->run,
                                .plan = e->plan[HS_DECODE],
                                .context = TINY_CONTEXT,
                                .vocab = TINY_VOCAB,
                                .cache_rows = pages * TINY_PAGE,
                                .page_rows = TINY_PAGE,
                                .max_slots = slots,
                                .share = share,
                                .step_tokens = step_tokens,
                                .beside_tokens = beside_tokens };
    assert_int_equal(hs_decoder_new(&d, &o), HS_OK);
    return d;
}

// They begin with 0 to 2 pages and a bit of the same tokens.
static void write_prompts(text *t)
{
    for (int i = 0; i < SEQUENCES; i++) {
        const int same = i % 4 * 7;
        t[i] = (text){ .n_prompt = 1 + i * 5 % 14 };
        t[i].n_prompt = t[i].n_prompt > same ? t[i].n_prompt : same < 17 ? same + 1 : 17;
        t[i].n = t[i].n_prompt;
        for (int k = 0; k < t[i].n_prompt; k++)
            t[i].ids[k] = k < same ? (3 * k + 1) % TINY_VOCAB : (i * 17 + k * 5) % TINY_VOCAB;
    }
}

static int add(hs_decoder *d, const text *t, int number, hs_sampling s, bool reserve)
{
    int slot;
    const hs_sequence q = {
        .ids = t->ids, .n = t->n_prompt, .max_tokens = NEW, .sampling = s, .number = number, .logprobs = true, .reserve = reserve
    };
    return hs_decoder_add(d, &q, &slot) == HS_OK ? slot : -1;
}

static int64_t step(hs_decoder *d, text *t, const int *who)
{
    const hs_decoded *out;
    int n;
    if (hs_decoder_step(d, &out, &n) != HS_OK)
        fail_msg("%s", hs_error());
    for (int k = 0; k < n; k++) {
        text *x = &t[who[out[k].slot]];
        x->logprob[x->n] = out[k].logprob;
        x->ids[x->n++] = out[k].id;
        x->reused = hs_decoder_slot(d, out[k].slot).reused;
    }
    return n;
}

static void alone(hs_engine *e, text *t, hs_sampling s)
{
    const int who[] = { 0 };
    for (int i = 0; i < SEQUENCES; i++) {
        hs_decoder *d = decoder(e, 3, 1, false, 0, 0);
        assert_int_equal(add(d, &t[i], i, s, false), 0);
        while (!hs_decoder_idle(d))
            step(d, &t[i], who);
        assert_int_equal(t[i].reused, 0);
        hs_decoder_free(d);
    }
}

static void same(const text *got, const text *want)
{
    const size_t drawn = (size_t)(want->n - want->n_prompt);
    assert_int_equal(got->n, want->n);
    assert_memory_equal(got->ids, want->ids, (size_t)want->n * sizeof(int32_t));
    assert_memory_equal(got->logprob + got->n_prompt, want->logprob + want->n_prompt, drawn * sizeof(float));
}

// All of them twice, a few at a time, through so many slots and pages: texts are those of each alone.
static int64_t check_shared(hs_engine *e, const text *want, hs_sampling s, int64_t pages, int64_t step_tokens, bool reserve)
{
    enum { SLOTS = 3 };
    hs_decoder *d = decoder(e, pages, SLOTS, true, step_tokens, step_tokens / 2);
    text got[2 * SEQUENCES];
    int who[SLOTS] = { -1, -1, -1 }, next = 0, left = 2 * SEQUENCES;
    int64_t reused = 0;
    write_prompts(got), write_prompts(got + SEQUENCES);
    for (int guard = 0; left; guard++) {
        assert_true(guard < 3000);
        while (next < 2 * SEQUENCES && hs_decoder_free_slots(d) && (hs_decoder_free_pages(d) >= 9 || hs_decoder_idle(d))) {
            const int slot = add(d, &got[next], next % SEQUENCES, s, reserve);
            if (slot < 0)
                break;
            who[slot] = next++;
        }
        step(d, got, who);
        for (int k = 0; k < SLOTS; k++)
            if (who[k] >= 0 && got[who[k]].n == want[who[k] % SEQUENCES].n) {
                same(&got[who[k]], &want[who[k] % SEQUENCES]);
                hs_decoder_drop(d, k);
                who[k] = -1, left--;
            }
    }
    for (int i = 0; i < 2 * SEQUENCES; i++)
        reused += got[i].reused;
    assert_int_equal(hs_decoder_free_pages(d), pages);
    hs_decoder_free(d);
    return reused;
}

static void sharing_changes_no_bit(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model);
    text want[SEQUENCES];
    for (int k = 0; k < 2; k++) {
        write_prompts(want);
        alone(e, want, k ? warm : greedy);
        for (int64_t chunk = 1; chunk <= 24; chunk++)
            assert_true(check_shared(e, want, k ? warm : greedy, 20, chunk, chunk % 2) > 0);
        assert_true(check_shared(e, want, k ? warm : greedy, 4, 0, true) > 0); // kept pages are needed again and again
    }
    hs_engine_free(e);
}

static void computed_once(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model);
    hs_decoder *d = decoder(e, 6, 2, true, 0, 0);
    text t[2] = { { .n_prompt = 17, .n = 17 }, { .n_prompt = 17, .n = 17 } };
    const int who[] = { 0, 1 };
    for (int i = 0; i < 34; i++)
        t[i / 17].ids[i % 17] = i % 17 * 2;
    assert_int_equal(hs_decoder_needs(d, t[0].ids, 17), 3);
    assert_int_equal(add(d, &t[0], 0, greedy, false), 0);
    assert_int_equal(hs_decoder_owed(d), 3);
    step(d, t, who);
    assert_int_equal(hs_decoder_slot(d, 0).fed, 17);
    assert_int_equal(hs_decoder_owed(d), 0);
    assert_int_equal(hs_decoder_needs(d, t[1].ids, 17), 1); // two of its three are held already
    assert_int_equal(add(d, &t[1], 1, greedy, false), 1);
    assert_int_equal(hs_decoder_slot(d, 1).reused, 16);
    assert_int_equal(hs_decoder_free_pages(d), 3);
    step(d, t, who);
    assert_int_equal(hs_decoder_slot(d, 1).fed, 1); // the last token, whose logits are wanted
    assert_int_equal(hs_decoder_free_pages(d), 2);
    while (!hs_decoder_idle(d))
        step(d, t, who);
    same(&t[1], &t[0]);
    hs_decoder_drop(d, 0), hs_decoder_drop(d, 1);
    assert_int_equal(hs_decoder_free_pages(d), 6);

    text longer = { .n_prompt = 24 }; // an answer is read as the beginning of what follows
    memcpy(longer.ids, t[0].ids, sizeof longer.ids);
    longer.n_prompt = longer.n = 20;
    assert_int_equal(add(d, &longer, 2, greedy, true), 0);
    assert_int_equal(hs_decoder_slot(d, 0).reused, 16);
    hs_decoder_drop(d, 0);

    hs_params_changed(e->params); // by other values pages are others
    t[1].n = t[1].n_prompt = 5;
    assert_int_equal(add(d, &t[1], 1, greedy, false), 0);
    assert_int_equal(hs_decoder_slot(d, 0).reused, 0);
    step(d, t, (int[]){ 1, 0 });
    hs_params_changed(e->params); // under way: its own go on, nobody takes them
    while (!hs_decoder_idle(d))
        step(d, t, (int[]){ 1, 0 });
    t[0] = t[1], t[0].n_prompt = t[0].n = 13;
    assert_int_equal(add(d, &t[0], 0, greedy, false), 1);
    assert_int_equal(hs_decoder_slot(d, 1).reused, 0);
    hs_decoder_free(d);
    hs_engine_free(e);
}

// The likeliest of each place with their probabilities, which bias and penalties do not touch; and what these do to draws.
static void places(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model);
    hs_decoder *d = decoder(e, 6, 1, false, 0, 0);
    const int32_t ids[] = { 3, 8, 20 };
    hs_token_bias bias[] = { { 0, -1000 }, { 7, 1000 } };
    hs_sequence q = { .ids = ids, .n = 3, .max_tokens = 6, .sampling = greedy, .logprobs = true, .n_top = HS_TOP_LOGPROBS };
    int32_t plain[6];
    hs_logprob first[HS_TOP_LOGPROBS];
    int slot, n;
    const hs_decoded *out;
    assert_int_equal(hs_decoder_add(d, &q, &slot), HS_OK);
    for (int i = 0; i < 6; i++) {
        double sum = 0;
        assert_int_equal(hs_decoder_step(d, &out, &n), HS_OK);
        assert_true(n == 1 && out->n_top == HS_TOP_LOGPROBS);
        assert_true(out->top[0].id == out->id && out->top[0].logprob == out->logprob); // greedy
        for (int k = 0; k < out->n_top; k++) {
            assert_true(k == 0 || out->top[k].logprob <= out->top[k - 1].logprob);
            sum += exp((double)out->top[k].logprob);
        }
        assert_true(sum > 0.4 && sum <= 1 + 1e-5);
        plain[i] = out->id;
        if (i == 0)
            memcpy(first, out->top, sizeof first);
    }
    hs_decoder_drop(d, slot);

    q.bias = bias, q.n_bias = 2; // to the exclusion of all others
    assert_int_equal(hs_decoder_add(d, &q, &slot), HS_OK);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(hs_decoder_step(d, &out, &n), HS_OK);
        assert_int_equal(out->id, 7);
        assert_true(i > 0 || !memcmp(out->top, first, sizeof first));
    }
    hs_decoder_drop(d, slot);

    q.n_bias = 1, bias[0].id = plain[0]; // out of the way
    assert_int_equal(hs_decoder_add(d, &q, &slot), HS_OK);
    assert_int_equal(hs_decoder_step(d, &out, &n), HS_OK);
    assert_int_equal(out->id, first[1].id);
    hs_decoder_drop(d, slot);

    q.n_bias = 0, q.presence = 1000; // each once
    bool seen[TINY_VOCAB] = { false };
    assert_int_equal(hs_decoder_add(d, &q, &slot), HS_OK);
    int32_t drawn[3 + 6] = { 3, 8, 20 };
    for (int i = 0; i < 6; i++) {
        assert_int_equal(hs_decoder_step(d, &out, &n), HS_OK);
        assert_false(seen[out->id]);
        seen[drawn[3 + i] = out->id] = true;
    }
    hs_decoder_drop(d, slot);
    q.ids = drawn, q.n = 6, q.drawn = 3, q.max_tokens = 3; // goes on from its half
    assert_int_equal(hs_decoder_add(d, &q, &slot), HS_OK);
    for (int i = 3; i < 6; i++) {
        assert_int_equal(hs_decoder_step(d, &out, &n), HS_OK);
        assert_int_equal(out->id, drawn[3 + i]);
    }
    hs_decoder_drop(d, slot);

    q = (hs_sequence){ .ids = ids, .n = 3, .max_tokens = 6, .sampling = greedy, .bias = bias, .n_bias = 2, .frequency = 400 };
    bias[0] = (hs_token_bias){ 9, 1000 }, bias[1] = (hs_token_bias){ 7, 900 }; // 9 until it is 400 below
    static const int32_t want[] = { 9, 7, 9, 7, 9, 7 };
    assert_int_equal(hs_decoder_add(d, &q, &slot), HS_OK);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(hs_decoder_step(d, &out, &n), HS_OK);
        assert_int_equal(out->id, want[i]);
        assert_null(out->top);
    }
    hs_decoder_drop(d, slot);
    bias[1].id = TINY_VOCAB;
    assert_int_equal(hs_decoder_add(d, &q, &slot), HS_USAGE);
    assert_string_equal(hs_error(), "prompt 1: a bias for token 50, the model's vocabulary is 0 to 49");
    q.n_bias = 0, q.n_top = HS_TOP_LOGPROBS + 1;
    assert_int_equal(hs_decoder_add(d, &q, &slot), HS_USAGE);
    hs_decoder_free(d);
    hs_engine_free(e);
}

// A prompt is read in pieces while another text goes on, whole where it is alone.
static void prompts_beside_others(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model);
    hs_decoder *d = decoder(e, 8, 2, false, 0, 4);
    text t[2] = { { .n_prompt = 9, .n = 9 }, { .n_prompt = 11, .n = 11 } };
    const int who[] = { 0, 1 };
    for (int k = 0; k < 11; k++)
        t[0].ids[k] = t[1].ids[k] = 2 * k;
    add(d, &t[0], 0, greedy, false);
    step(d, t, who);
    assert_int_equal(hs_decoder_slot(d, 0).fed, 9);
    add(d, &t[1], 1, greedy, false);
    for (int read = 0; read < 11; read += 4) {
        step(d, t, who);
        assert_int_equal(hs_decoder_slot(d, 0).fed, 1);
        assert_int_equal(hs_decoder_slot(d, 1).fed, read < 8 ? 4 : 3);
    }
    hs_decoder_free(d);
    hs_engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(sharing_changes_no_bit), cmocka_unit_test(computed_once), cmocka_unit_test(places),
                                        cmocka_unit_test(prompts_beside_others) };
    return cmocka_run_group_tests_name("decode_shared", tests, NULL, NULL);
}
