// A whole model: what a token's logits are does not depend on what ran beside it - alone, among other sequences, with its prompt token by
// token, in chunks or at once: the same bits, in every tier and policy, with weights packed, over a cache of values and of codes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "ops/ops.h"
#include "tests/support/support_gpt.h"
#include <math.h>
#include <stdlib.h>

enum { SEQS = 8, TOTAL = 22, ROWS = 64 };

typedef struct text { // how far a sequence is
    int at, n;        // of it in this step
} text;

static int32_t token(int seq, int i) { return (seq * 31 + i * i * 7 + 3 * i) % TINY_VOCAB; }

// Feeds n tokens of each sequence; logits of its last one go to out[sequence][position].
static void step(hs_engine *e, text s[SEQS], float out[SEQS][TOTAL][TINY_VOCAB])
{
    int32_t ids[ROWS], starts[SEQS + 1] = { 0 }, where[2 * ROWS], keys[3 * SEQS], rows[ROWS], picks[SEQS], who[SEQS];
    int n = 0, b = 0;
    for (int q = 0; q < SEQS; q++) {
        if (!s[q].n)
            continue;
        for (int i = 0; i < s[q].n; i++, n++) {
            const int at = s[q].at + i;
            ids[n] = token(q, at), rows[n] = q * TINY_CONTEXT + at, where[2 * n] = q, where[2 * n + 1] = at;
        }
        keys[3 * b] = q * TINY_CONTEXT, keys[3 * b + 1] = s[q].at + s[q].n, keys[3 * b + 2] = s[q].at;
        picks[b] = n - 1, who[b] = q, starts[++b] = n;
    }
    const struct {
        const char *name;
        const int32_t *p;
        int n;
    } in[] = { { "ids", ids, n },       { "starts", starts, b + 1 }, { "where", where, 2 * n },
               { "keys", keys, 3 * b }, { "rows", rows, n },         { "picks", picks, b } };
    for (int i = 0; i < HS_COUNT(in); i++)
        assert_int_equal(hs_run_write(e->run, e->plan[HS_DECODE], in[i].name, in[i].p, (size_t)in[i].n * sizeof(int32_t)), HS_OK);
    hs_step_live(e->in, n, b, b);
    assert_int_equal(hs_engine_run(e, HS_DECODE, 0), HS_OK);
    hs_ref y;
    assert_non_null(hs_run_output(e->run, e->plan[HS_DECODE], 0, &y));
    float *row = malloc((size_t)y.cols * sizeof *row);
    for (int i = 0; i < b; i++) {
        text *t = &s[who[i]];
        assert_int_equal(hs_run_read(e->run, e->plan[HS_DECODE], 0, i, 1, row), HS_OK);
        t->at += t->n;
        memcpy(out[who[i]][t->at - 1], row, sizeof out[0][0]);
    }
    free(row);
}

static float want[SEQS][TOTAL][TINY_VOCAB], got[SEQS][TOTAL][TINY_VOCAB];

// Rounding keys and values moves logits a little: by a hundredth of what they differ among themselves.
static void near_values(const tiny_opts *o)
{
    static float values[SEQS][TOTAL][TINY_VOCAB];
    tiny_gpt model;
    tiny_opts plain = *o;
    plain.cache_i8 = false;
    hs_engine *e = tiny_engine(&model, &plain);
    double apart = 0, all = 0;
    for (int q = 0; q < SEQS; q++) {
        text s[SEQS] = { { 0 } };
        for (s[q].n = 1; s[q].at < TOTAL;)
            step(e, s, values);
    }
    for (int64_t i = 0; i < SEQS * TOTAL * TINY_VOCAB; i++) {
        const double was = (&values[0][0][0])[i], is = (&want[0][0][0])[i];
        apart += (is - was) * (is - was), all += was * was;
    }
    if (!(apart > 0 && sqrt(apart / all) < 0.01))
        fail_msg("%s, %s: logits over codes are %.3g of their size from those over values", o->isa, o->policy, sqrt(apart / all));
    hs_engine_free(e);
}

static void check(const tiny_opts *o)
{
    tiny_gpt model;
    hs_engine *e = tiny_engine(&model, o);
    assert_true(hs_plan_info_of(hs_engine_plan(e, HS_DECODE))->derived_bytes > 0);
    for (int q = 0; q < SEQS; q++) { // each alone, token by token
        text s[SEQS] = { { 0 } };
        for (s[q].n = 1; s[q].at < TOTAL;)
            step(e, s, want);
    }
    if (o->cache_i8 && o->threads == 1)
        near_values(o);
    for (int round = 0; round < 12; round++) { // all together, by 1 to 40 rows a step
        text s[SEQS] = { { 0 } };
        bool any = true;
        for (uint32_t k = 0; any; k++) {
            any = false;
            int room = 1 + (int)(hs_random(3, (uint32_t)round, k, 0, 0).v[0] % 40);
            for (int q = 0; q < SEQS; q++) {
                const int left = TOTAL - s[q].at, most = left < room ? left : room;
                s[q].n = round == 0 ? left > 0
                         : most > 0 ? (int)(hs_random(4, (uint32_t)round, k, (uint32_t)q, 0).v[0] % (uint32_t)(most + 1))
                                    : 0;
                room -= s[q].n, any |= left > 0;
            }
            bool some = false;
            for (int q = 0; q < SEQS; q++)
                some |= s[q].n > 0;
            if (!some)
                continue;
            text was[SEQS];
            memcpy(was, s, sizeof was);
            step(e, s, got);
            for (int q = 0; q < SEQS; q++)
                if (was[q].n && memcmp(got[q][s[q].at - 1], want[q][s[q].at - 1], sizeof want[0][0]))
                    fail_msg("%s, %s%s, %d threads: logits of token %d of sequence %d have other bits beside others, %d tokens at once",
                             o->isa, o->policy, o->cache_i8 ? " over codes" : "", o->threads, s[q].at - 1, q, was[q].n);
        }
    }
    hs_engine_free(e);
}

static void logits_of_a_row(void **state)
{
    (void)state;
    static const char *const policies[] = { "fp32", "bf16", "fp16" };
    for (int isa = 0; isa < HS_N_ISA; isa++)
        for (int p = 0; p < HS_COUNT(policies) && hs_isa_built((hs_isa)isa) && hs_isa_supported((hs_isa)isa); p++)
            for (int threads = 1; threads <= 3; threads += 2)
                for (int codes = 0; codes < 2; codes++)
                    check(&(tiny_opts){ .policy = policies[p],
                                        .threads = threads,
                                        .mode = HS_SUBMIT_BULK,
                                        .cache_i8 = codes,
                                        .isa = hs_isa_name((hs_isa)isa) });
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(logits_of_a_row) };
    return cmocka_run_group_tests_name("gpt: a row's bits", tests, NULL, NULL);
}
