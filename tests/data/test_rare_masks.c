// Masks that prefer some tokens: each is chosen in proportion to its preference, which is made of how often a text has it.
#include "tests/support/support_masked.h"

#include <math.h>
#include <stdlib.h>

enum { MASKED_MOST = 20, IDS = 1000 };
static const int32_t special[] = { MASK, PAD, UNK, CLS, SEP };

static hs_mask_opts masking(void)
{
    return (hs_mask_opts){ .probability = 0.15,
                           .masked = 0.8,
                           .random = 0.1,
                           .max_predictions = MASKED_MOST,
                           .mask_id = MASK,
                           .vocab = IDS,
                           .special = special,
                           .n_special = HS_COUNT(special),
                           .max_tokens = 128,
                           .seed = 3 };
}

// Of one prediction a sample, each token is chosen in proportion to its preference; of several, as drawing without replacement has it.
static void preferences(void **state)
{
    (void)state;
    enum { SAMPLES = 40000, LEN = 8, FIRST = 10 };
    hs_mask_opts o = masking();
    double preference[IDS];
    int64_t counts[IDS] = { 0 };
    for (int i = 0; i < LEN; i++)
        counts[FIRST + i] = (int64_t)1 << (2 * i); // 1, 4, 16, ...
    hs_mask_preference(counts, IDS, 0.5, preference);
    assert_true(preference[FIRST] == 1 && fabs(preference[FIRST + 3] - 1 / 8.0) < 1e-15 && preference[0] == 1);
    o.preference = preference;
    for (int two = 0; two < 2; two++) {
        o.probability = two ? 0.2 : 0.1; // of 10 tokens
        hs_masker *m;
        OK(hs_masker_new(&m, &o));
        double got[LEN] = { 0 }, want[LEN] = { 0 }, all = 0;
        for (uint32_t s = 0; s < SAMPLES; s++) {
            int32_t ids[LEN + 2] = { CLS, 10, 11, 12, 13, 14, 15, 16, 17, SEP }, positions[MASKED_MOST], labels[MASKED_MOST];
            const int64_t n = hs_mask(m, 1, s, ids, LEN + 2, NULL, positions, labels);
            assert_int_equal(n, 1 + two);
            for (int64_t i = 0; i < n; i++)
                got[labels[i] - FIRST]++;
        }
        hs_masker_free(m);
        for (int i = 0; i < LEN; i++)
            all += preference[FIRST + i];
        for (int i = 0; i < LEN; i++) {
            want[i] += preference[FIRST + i] / all;
            for (int k = 0; k < LEN && two; k++) // k first, then i
                if (k != i)
                    want[i] += preference[FIRST + k] / all * preference[FIRST + i] / (all - preference[FIRST + k]);
            const double deviation = sqrt(SAMPLES * want[i] * (1 - want[i]));
            if (!(fabs(got[i] - SAMPLES * want[i]) < 5 * deviation))
                fail_msg("token %d is chosen %g times, should be %g by %g", i, got[i], SAMPLES * want[i], deviation);
        }
    }
    preference[7] = 0;
    hs_masker *m;
    FAILS(USAGE, "token 7 is preferred by 0; above 0", hs_masker_new(&m, &o));
}

// A word counts as its rarest token.
static void preferred_words(void **state)
{
    (void)state;
    enum { SAMPLES = 20000 };
    static const int32_t word[] = { 0, 1, 1, 2, 3, 4, 5, 6, 7, 8 };
    hs_mask_opts o = masking();
    double preference[IDS];
    for (int i = 0; i < IDS; i++)
        preference[i] = 1;
    preference[12] = 7; // of word 1, beside 11
    o.preference = preference, o.unit = HS_MASK_WORD, o.probability = 0.2;
    hs_masker *m;
    OK(hs_masker_new(&m, &o));
    int64_t first = 0;
    for (uint32_t s = 0; s < SAMPLES; s++) {
        int32_t ids[] = { CLS, 11, 12, 13, 14, 15, 16, 17, 18, SEP }, positions[MASKED_MOST], labels[MASKED_MOST];
        const int64_t n = hs_mask(m, 1, s, ids, 10, word, positions, labels);
        assert_int_equal(n, 2);
        first += positions[0] == 1 && positions[1] == 2;
    }
    hs_masker_free(m);
    assert_true(fabs((double)first / SAMPLES - 7.0 / 13) < 0.02); // beside six others; behind one of those it is too long for the room
}

static double share_of_first(const hs_masked_opts *o)
{
    hs_source *source;
    hs_batch b = { 0 };
    int64_t all = 0, first = 0;
    OK(hs_masked_new(&source, o));
    OK(hs_source_batch(source, 1, &b));
    for (int64_t k = 0; k < source->n_samples; k++) {
        OK(hs_source_fill(source, &b, (uint64_t)k, 1));
        for (int64_t i = 0; i < b.n[HS_COUNT_PICKS]; i++, all++)
            first += hs_batch_i32(&b, HS_PAIR_PICK_TARGETS)[i] == FIRST_ID;
    }
    hs_batch_free(&b);
    hs_source_free(source);
    return (double)first / (double)all;
}

// Every second token is the same: chosen as often as any, or as seldom as it is frequent, by the counts of this text or of another.
static void rare_tokens(void **state)
{
    (void)state;
    enum { TOKENS = 6000 };
    int32_t *ids = malloc(TOKENS * sizeof *ids), *other = malloc(2 * sizeof *other);
    hs_token_store *store, *another;
    for (int i = 0; i < TOKENS; i++)
        ids[i] = i % 2 ? FIRST_ID + i : FIRST_ID;
    other[0] = other[1] = FIRST_ID + 1;
    OK(hs_token_store_from_ids(&store, ids, TOKENS, FIRST_ID + TOKENS, 7));
    OK(hs_token_store_from_ids(&another, other, 2, FIRST_ID + TOKENS, 7));
    const hs_text_part part = whole(store), elsewhere = whole(another);
    hs_objective k = { .segments = HS_SEGMENTS_FULL, .probability = 0.15, .masked = 0.8, .random = 0.1, .weight = 1 };
    hs_masked_opts o = masked_opts(&part, &k, 1, 40);
    assert_true(fabs(share_of_first(&o) - 0.5) < 0.06);
    k.rare = 0.5; // 1 to 55
    assert_true(share_of_first(&o) < 0.04 && share_of_first(&o) > 0.005);
    o.counted = &elsewhere, o.n_counted = 1;
    assert_true(fabs(share_of_first(&o) - 0.5) < 0.06);
    k.rare = 5;
    hs_source *s;
    FAILS(USAGE, "prefers rare tokens by 5; allowed 0 to 4", hs_masked_new(&s, &o));
    hs_token_store_close(store), hs_token_store_close(another);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(preferences), cmocka_unit_test(preferred_words), cmocka_unit_test(rare_tokens) };
    return cmocka_run_group_tests_name("masks that prefer", tests, scratch_open, scratch_close);
}
