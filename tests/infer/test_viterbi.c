// viterbi: the best path and its tags' probabilities, against all paths written out in f64; ties, forbidden steps, rows picked out of
// others.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "infer/heads/viterbi.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LABELS = 4, MOST_STEPS = 6, COLS = 8, ROWS = 3 * MOST_STEPS };

typedef struct subject {
    int labels, steps;
    float next[MOST_LABELS * MOST_LABELS], first[MOST_LABELS], last[MOST_LABELS], x[ROWS * COLS];
    int32_t row[MOST_STEPS];
} subject;

static hs_chain chain_of(const subject *s) { return (hs_chain){ s->labels, s->next, s->first, s->last }; }

static subject draw(int labels, int steps, uint64_t key)
{
    subject s = { .labels = labels, .steps = steps };
    hs_random_normal(s.next, labels * labels, hs_mix2(key, 1), 0, 0, 1);
    hs_random_normal(s.first, labels, hs_mix2(key, 2), 0, 0, 1);
    hs_random_normal(s.last, labels, hs_mix2(key, 3), 0, 0, 1);
    hs_random_normal(s.x, ROWS * COLS, hs_mix2(key, 4), 0, 0, 2);
    for (int t = 0; t < steps; t++)
        s.row[t] = 3 * t + t % 2; // not each row is of the chain
    return s;
}

static double score_of(const subject *s, const int32_t *tag)
{
    double score = (double)s->first[tag[0]] + (double)s->last[tag[s->steps - 1]];
    for (int t = 0; t < s->steps; t++)
        score += (double)s->x[s->row[t] * COLS + tag[t]] + (t ? (double)s->next[tag[t - 1] * s->labels + tag[t]] : 0);
    return score;
}

// Every path in the order of its tags, so that of equal ones the first stays.
static void all_paths(const subject *s, int32_t *best, double *p)
{
    int32_t tag[MOST_STEPS] = { 0 };
    double most = -INFINITY, all = 0, with[MOST_STEPS][MOST_LABELS] = { { 0 } };
    for (bool more = true; more;) {
        const double score = score_of(s, tag), share = exp(score);
        if (score > most)
            most = score, memcpy(best, tag, sizeof tag);
        all += share;
        for (int t = 0; t < s->steps; t++)
            with[t][tag[t]] += share;
        int t = s->steps - 1;
        while (t >= 0 && ++tag[t] == s->labels)
            tag[t--] = 0;
        more = t >= 0;
    }
    for (int t = 0; t < s->steps; t++)
        p[t] = with[t][best[t]] / all;
}

static void check(const subject *s, bool paths_tie)
{
    int32_t want[MOST_STEPS], got[MOST_STEPS];
    double share[MOST_STEPS];
    float p[MOST_STEPS];
    const hs_chain c = chain_of(s);
    all_paths(s, want, share);
    assert_int_equal(hs_viterbi(&c, s->x, COLS, s->row, s->steps, got, p), HS_OK);
    if (paths_tie)
        assert_true(fabs(score_of(s, got) - score_of(s, want)) < 1e-9);
    else
        assert_memory_equal(got, want, (size_t)s->steps * sizeof *got);
    for (int t = 0; t < s->steps && !paths_tie; t++)
        assert_true(fabs((double)p[t] - share[t]) <= 1e-6);
    int32_t alone[MOST_STEPS];
    assert_int_equal(hs_viterbi(&c, s->x, COLS, s->row, s->steps, alone, NULL), HS_OK);
    assert_memory_equal(alone, got, (size_t)s->steps * sizeof *got);
}

static void against_all_paths(void **state)
{
    (void)state;
    for (int labels = 1; labels <= MOST_LABELS; labels++)
        for (int steps = 1; steps <= MOST_STEPS; steps++)
            for (uint64_t key = 0; key < 8; key++) {
                const subject s = draw(labels, steps, key);
                check(&s, false);
            }
}

// B I O: an I behind an O is not to be had, whatever the tokens say.
static void forbidden_steps(void **state)
{
    (void)state;
    enum { B, I, O };
    for (uint64_t key = 0; key < 16; key++) {
        subject s = draw(3, MOST_STEPS, key);
        s.next[O * 3 + I] = -INFINITY, s.first[I] = -INFINITY;
        for (int t = 0; t < s.steps; t++)
            s.x[s.row[t] * COLS + I] += 3;
        check(&s, false);
        int32_t tag[MOST_STEPS];
        const hs_chain c = chain_of(&s);
        assert_int_equal(hs_viterbi(&c, s.x, COLS, s.row, s.steps, tag, NULL), HS_OK);
        for (int t = 0; t < s.steps; t++)
            assert_false(tag[t] == I && (t == 0 || tag[t - 1] == O));
    }
}

static void ties(void **state)
{
    (void)state;
    subject s = draw(3, 4, 1);
    memset(s.next, 0, sizeof s.next);
    memset(s.first, 0, sizeof s.first);
    memset(s.last, 0, sizeof s.last);
    memset(s.x, 0, sizeof s.x);
    int32_t tag[MOST_STEPS];
    float p[MOST_STEPS];
    const hs_chain c = chain_of(&s);
    assert_int_equal(hs_viterbi(&c, s.x, COLS, s.row, s.steps, tag, p), HS_OK);
    for (int t = 0; t < s.steps; t++) {
        assert_int_equal(tag[t], 0); // the lower label
        assert_true(fabs((double)p[t] - 1.0 / 3) < 1e-6);
    }
    for (uint64_t key = 0; key < 8; key++) {
        s = draw(3, 5, key);
        for (int i = 0; i < ROWS * COLS; i++)
            s.x[i] = roundf(s.x[i]);
        for (int i = 0; i < 9; i++)
            s.next[i] = roundf(s.next[i]);
        check(&s, true);
    }
    assert_int_equal(hs_viterbi(&c, s.x, COLS, s.row, 0, tag, p), HS_OK); // no tokens, no tags
}

// 3,000 tokens: the sum over paths is beyond what f32, or an e^score, could hold.
static void a_long_chain(void **state)
{
    (void)state;
    enum { N = 3000, L = 5 };
    float *x = malloc(N * L * sizeof *x), next[L * L], ends[L] = { 0 }, *p = malloc(N * sizeof *p);
    int32_t *row = malloc(N * sizeof *row), *tag = malloc(N * sizeof *tag);
    hs_random_normal(x, N * L, 5, 0, 0, 4);
    hs_random_normal(next, L * L, 6, 0, 0, 1);
    for (int32_t i = 0; i < N; i++)
        row[i] = i;
    const hs_chain c = { L, next, ends, ends };
    assert_int_equal(hs_viterbi(&c, x, L, row, N, tag, p), HS_OK);
    for (int i = 0; i < N; i++)
        assert_true(tag[i] >= 0 && tag[i] < L && p[i] > 0 && p[i] <= 1);
    for (int i = 0; i < N; i += 7) { // no single tag can be changed for the better
        const int32_t was = tag[i];
        for (int32_t j = 0; j < L; j++) {
            const double before = (double)x[i * L + was] + (i ? (double)next[tag[i - 1] * L + was] : 0) +
                                  (i + 1 < N ? (double)next[was * L + tag[i + 1]] : 0);
            const double other =
                (double)x[i * L + j] + (i ? (double)next[tag[i - 1] * L + j] : 0) + (i + 1 < N ? (double)next[j * L + tag[i + 1]] : 0);
            assert_true(other <= before + 1e-6);
        }
    }
    free(x);
    free(p);
    free(row);
    free(tag);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(against_all_paths), cmocka_unit_test(forbidden_steps), cmocka_unit_test(ties),
                                        cmocka_unit_test(a_long_chain) };
    return cmocka_run_group_tests_name("viterbi", tests, NULL, NULL);
}
