// masking: counts, what becomes of chosen tokens, who is never chosen, words whole, and that a sample's mask is its address's alone.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/batches/masking.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAD = 0, UNK = 1, CLS = 2, SEP = 3, MASK = 4, VOCAB = 1000, N = 128, P = 20 };
static const int32_t special[] = { MASK, PAD, UNK, CLS, SEP, CLS };

static hs_mask_opts opts(void)
{
    return (hs_mask_opts){ .probability = 0.15,
                           .masked = 0.8,
                           .random = 0.1,
                           .max_predictions = P,
                           .mask_id = MASK,
                           .vocab = VOCAB,
                           .special = special,
                           .n_special = HS_COUNT(special),
                           .max_tokens = N,
                           .seed = 3 };
}

// [CLS] a a a [SEP] b b [SEP]
static void sample_ids(uint32_t sample, int32_t *ids, int n)
{
    for (int i = 0; i < n; i++)
        ids[i] = 5 + (int32_t)(hs_random(1, sample, (uint32_t)i, 0, 0).v[0] % (VOCAB - 5));
    ids[0] = CLS, ids[n / 2] = ids[n - 1] = SEP;
}

static void shares(void **state)
{
    (void)state;
    enum { SAMPLES = 4000, LEN = 100 };
    const hs_mask_opts o = opts();
    hs_masker *m;
    OK(hs_masker_new(&m, &o));
    int64_t at[LEN] = { 0 }, drawn[VOCAB] = { 0 }, masked = 0, same = 0, other = 0, total = 0;
    for (uint32_t s = 0; s < SAMPLES; s++) {
        int32_t ids[LEN], before[LEN], positions[P], labels[P];
        sample_ids(s, before, LEN);
        memcpy(ids, before, sizeof ids);
        const int64_t k = hs_mask(m, 7, s, ids, LEN, NULL, positions, labels);
        assert_int_equal(k, 15);
        int64_t next = 0;
        for (int i = 0; i < LEN; i++) {
            if (next == k || positions[next] != i) {
                assert_int_equal(ids[i], before[i]);
                continue;
            }
            assert_int_equal(labels[next++], before[i]);
            assert_true(before[i] >= 5); // never special
            at[i]++, total++;
            masked += ids[i] == MASK, same += ids[i] == before[i];
            if (ids[i] != MASK && ids[i] != before[i]) {
                assert_true(ids[i] >= 5 && ids[i] < VOCAB);
                other++, drawn[ids[i]]++;
            }
        }
        assert_int_equal(next, k);
    }
    // 60,000 trials: five standard deviations
    assert_true(fabs((double)masked / (double)total - 0.8) < 5 * sqrt(0.16 / (double)total));
    assert_true(fabs((double)same / (double)total - 0.1 - 0.1 / (VOCAB - 5)) < 5 * sqrt(0.09 / (double)total));
    for (int i = 0; i < LEN; i++) { // every place that may be chosen is so equally often: 15 of 97
        const double p = 15.0 / 97, want = i == 0 || i == LEN / 2 || i == LEN - 1 ? 0 : p;
        assert_true(fabs((double)at[i] / SAMPLES - want) <= (want > 0 ? 5 * sqrt(p * (1 - p) / SAMPLES) : 0));
    }
    double chi = 0; // 995 ids, about 6 draws each
    for (int i = 5; i < VOCAB; i++)
        chi += pow((double)drawn[i] - (double)other / (VOCAB - 5), 2) / ((double)other / (VOCAB - 5));
    assert_true(fabs(chi - 994) < 5 * sqrt(2 * 994.0));
    hs_masker_free(m);
}

static void counts(void **state)
{
    (void)state;
    static const struct {
        int n, want;
    } rows[] = {
        { 4, 1 }, { 9, 1 }, { 10, 2 }, { 30, 4 }, { 50, 8 }, { 70, 10 }, { 120, 18 }, { 128, 19 }
    }; // 1.5, 4.5, 7.5, 10.5: to even
    hs_mask_opts o = opts();
    hs_masker *m;
    int32_t ids[N], positions[N], labels[N];
    OK(hs_masker_new(&m, &o));
    for (int r = 0; r < HS_COUNT(rows); r++) {
        sample_ids(1, ids, rows[r].n);
        assert_int_equal(hs_mask(m, 0, 0, ids, rows[r].n, NULL, positions, labels), rows[r].want);
    }
    ids[0] = CLS, ids[1] = SEP;
    assert_int_equal(hs_mask(m, 0, 0, ids, 2, NULL, positions, labels), 0); // nothing to guess
    hs_masker_free(m);
    o.max_predictions = 5;
    OK(hs_masker_new(&m, &o));
    sample_ids(1, ids, N);
    assert_int_equal(hs_mask(m, 0, 0, ids, N, NULL, positions, labels), 5);
    hs_masker_free(m);
}

// The same at any order of samples and in any masker; another seed, epoch or sample is another mask.
static void address_is_all(void **state)
{
    (void)state;
    const hs_mask_opts o = opts();
    hs_mask_opts other = opts();
    other.seed = 4;
    hs_masker *a, *b, *c;
    OK(hs_masker_new(&a, &o));
    OK(hs_masker_new(&b, &o));
    OK(hs_masker_new(&c, &other));
    int32_t pos[4][P], labels[P], ids[4][N];
    int equal_epoch = 0, equal_seed = 0;
    for (uint64_t s = 0; s < 50; s++) {
        const uint64_t far = s << 40; // high half of the index
        for (int i = 0; i < 4; i++)
            sample_ids(1, ids[i], N);
        const int64_t k = hs_mask(a, 5, far, ids[0], N, NULL, pos[0], labels);
        hs_mask(b, 1, s + 77, ids[1], N, NULL, pos[1], labels); // something else before
        sample_ids(1, ids[1], N);
        assert_int_equal(hs_mask(b, 5, far, ids[1], N, NULL, pos[1], labels), k);
        assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
        assert_memory_equal(pos[0], pos[1], (size_t)k * sizeof pos[0][0]);
        hs_mask(a, 6, far, ids[2], N, NULL, pos[2], labels);
        hs_mask(c, 5, far, ids[3], N, NULL, pos[3], labels);
        equal_epoch += memcmp(pos[0], pos[2], (size_t)k * sizeof pos[0][0]) == 0;
        equal_seed += memcmp(pos[0], pos[3], (size_t)k * sizeof pos[0][0]) == 0;
    }
    assert_int_equal(equal_epoch, 0);
    assert_int_equal(equal_seed, 0);
    hs_masker_free(a);
    hs_masker_free(b);
    hs_masker_free(c);
}

static void words_stay_whole(void **state)
{
    (void)state;
    const hs_mask_opts o = opts();
    hs_masker *m;
    OK(hs_masker_new(&m, &o));
    int64_t chosen = 0, samples = 3000, by_size[5] = { 0 }, words_of[5] = { 0 };
    for (uint32_t s = 0; s < (uint32_t)samples; s++) {
        int32_t ids[N], word[N], positions[P], labels[P];
        uint8_t continues[N] = { 0 }, is[N] = { 0 };
        sample_ids(s, ids, N);
        for (int i = 1; i < N; i++)
            continues[i] = hs_random(2, s, (uint32_t)i, 0, 0).v[0] % 3 == 0;
        hs_mask_words(continues, N, word);
        word[0] = word[N - 1] = -1, word[40] = -1; // in no word: never chosen
        int32_t before[N];
        memcpy(before, ids, sizeof ids);
        const int64_t k = hs_mask(m, 0, s, ids, N, word, positions, labels);
        assert_in_range(k, 1, 19);
        chosen += k;
        for (int64_t i = 0; i < k; i++)
            is[positions[i]] = 1;
        assert_true(!is[40] && !is[0] && !is[N / 2] && !is[N - 1]);
        for (int i = 1; i < N; i++) // chosen together with its neighbours of one word, unless a special token lies between
            if (word[i] >= 0 && word[i] == word[i - 1] && before[i] >= 5 && before[i - 1] >= 5)
                assert_int_equal(is[i], is[i - 1]);
        for (int i = 0; i < N;) {
            int n = 1;
            while (i + n < N && word[i + n] == word[i] && before[i + n] >= 5)
                n++;
            if (word[i] >= 0 && before[i] >= 5 && n < 5)
                words_of[n]++, by_size[n] += is[i];
            i += n;
        }
    }
    assert_true((double)chosen / (double)samples > 18.8); // 19, but where no word was left that fits
    const double one = (double)by_size[1] / (double)words_of[1], three = (double)by_size[3] / (double)words_of[3];
    assert_true(fabs(one - three) < 0.03); // long words are passed over only at the end
    hs_masker_free(m);
}

static void bad_options(void **state)
{
    (void)state;
    hs_masker *m;
    hs_mask_opts o = opts();
    o.masked = 0.95;
    FAILS(USAGE, "0.95 of them by the mask", hs_masker_new(&m, &o));
    o = opts(), o.mask_id = VOCAB;
    FAILS(USAGE, "mask id 1000 is outside the vocabulary of 1000", hs_masker_new(&m, &o));
    o = opts(), o.vocab = 4, o.mask_id = 0;
    FAILS(USAGE, "special ids", hs_masker_new(&m, &o));
    o = opts(), o.ngram = 65;
    FAILS(USAGE, "n-grams of 65 words", hs_masker_new(&m, &o));
    o = opts(), o.span_share = 1;
    FAILS(USAGE, "spans of 0 at 1", hs_masker_new(&m, &o));
    o = opts(), o.max_predictions = 0;
    FAILS(USAGE, "at most 0 predictions", hs_masker_new(&m, &o));
    assert_null(m);
    hs_masker_free(NULL);
}

// 10^6 draws against the definitions.
static void lengths_of_units(void **state)
{
    (void)state;
    enum { DRAWS = 1000000, MOST = 10 };
    const double all = 1 - pow(0.8, MOST);
    int64_t spans[MOST + 1] = { 0 }, ngrams[4] = { 0 }, sum = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        const hs_u32x4 r = hs_random(9, i, 0, 0, 0);
        const int64_t n = hs_mask_span(hs_u32_unit(r.v[0]), 0.2, MOST);
        assert_in_range(n, 1, MOST);
        spans[n]++, sum += n;
        ngrams[hs_mask_ngram(hs_u32_unit(r.v[1]), 3)]++;
    }
    for (int n = 1; n <= MOST; n++) { // geometric, clipped and scaled
        const double p = 0.2 * pow(0.8, n - 1) / all;
        assert_true(fabs((double)spans[n] / DRAWS - p) < 5 * sqrt(p * (1 - p) / DRAWS));
    }
    assert_true(fabs((double)sum / DRAWS - 3.797) < 0.015); // the 3.8 of the paper
    for (int n = 1; n <= 3; n++) {                          // 1/n of 1 + 1/2 + 1/3
        const double p = 6.0 / 11 / n;
        assert_true(fabs((double)ngrams[n] / DRAWS - p) < 5 * sqrt(p * (1 - p) / DRAWS));
    }
    assert_int_equal(hs_mask_ngram(0.9999999, 1), 1);
    assert_int_equal(hs_mask_span(0.9999999, 0.2, 10), 10);
    assert_int_equal(hs_mask_span(1e-9, 0.2, 10), 1);
}

// What masks look like: runs of chosen words, their lengths and how often neighbours have one fate.
typedef struct runs {
    double samples, words, runs, pairs, alike, longest[4];
} runs;
enum { LEN = 100, WORDS = 97 }; // [CLS] 49 words [SEP] 48 words [SEP]

static void count_runs(runs *r, const int8_t *fate) // of each token: -1, or what became of it
{
    r->samples++;
    for (int i = 0, n = 0; i < LEN; i++) {
        n = fate[i] >= 0 ? n + 1 : 0;
        r->words += fate[i] >= 0, r->runs += n == 1;
        if (n > 1)
            r->pairs++, r->alike += fate[i] == fate[i - 1];
        if (n > 0 && (i + 1 == LEN || fate[i + 1] < 0))
            r->longest[n < 4 ? n - 1 : 3]++;
    }
}

static int fate_of(double u) { return u < 0.8 ? 0 : u < 0.9 ? 1 : 2; }

// The rules once more, in the plainest way and with other random numbers; words of one token each.
static void simulate(runs *r, hs_mask_unit unit, uint32_t sample)
{
    int8_t fate[LEN];
    uint32_t draw = 0;
    int got = 0, tried = 0;
    bool started[LEN] = { false };
    memset(fate, -1, sizeof fate);
    while (got < 15 && tried < WORDS) {
        const hs_u32x4 d = hs_random(1234, sample, draw++, 0, 0);
        const int w = 1 + (int)(d.v[0] % (LEN - 1)), end = w < LEN / 2 ? LEN / 2 : LEN - 1;
        if (w == LEN / 2 || w == LEN - 1 || started[w])
            continue;
        started[w] = true, tried++;
        int n = 0;
        if (unit == HS_MASK_NGRAM) {
            const int most = end - w < 3 ? end - w : 3;
            n = (int)hs_mask_ngram(hs_u32_unit(d.v[1]), most);
            n = n > 15 - got ? 15 - got : n;
            for (int i = 0; i < n; i++)
                if (fate[w + i] >= 0)
                    n = 0;
        } else {
            const int most = (int)hs_mask_span(hs_u32_unit(d.v[1]), 0.2, 10);
            while (n < most && w + n < end && fate[w + n] < 0 && got + n < 15)
                n++;
        }
        for (int i = 0; i < n; i++) {
            const hs_u32x4 f = hs_random(4321, sample, (uint32_t)(w + i), 0, 0);
            fate[w + i] = (int8_t)fate_of(hs_u32_unit(unit == HS_MASK_SPAN ? d.v[2] : f.v[0]));
        }
        got += n;
    }
    count_runs(r, fate);
}

static void close_to(double a, double b, double n) { assert_true(fabs(a - b) < 7 * sqrt(fmax(b, 0.01) / n) + 1e-9); }

static void units_of_words(void **state)
{
    (void)state;
    enum { SAMPLES = 70000 }; // 15 words each: more than 10^6
    for (int unit = HS_MASK_NGRAM; unit <= HS_MASK_SPAN; unit++) {
        hs_mask_opts o = opts();
        hs_masker *m;
        runs ours = { 0 }, theirs = { 0 };
        int32_t word[LEN];
        o.unit = (hs_mask_unit)unit;
        OK(hs_masker_new(&m, &o));
        for (int i = 0; i < LEN; i++)
            word[i] = i;
        for (uint32_t s = 0; s < SAMPLES; s++) {
            int32_t ids[LEN], before[LEN], positions[P], labels[P];
            int8_t fate[LEN];
            sample_ids(s, before, LEN);
            memcpy(ids, before, sizeof ids), memset(fate, -1, sizeof fate);
            const int64_t k = hs_mask(m, 1, s, ids, LEN, word, positions, labels);
            assert_int_equal(k, 15);
            for (int64_t i = 0; i < k; i++) {
                const int32_t at = positions[i];
                assert_true(before[at] >= 5 && labels[i] == before[at]);
                fate[at] = ids[at] == MASK ? 0 : ids[at] == before[at] ? 2 : 1;
            }
            count_runs(&ours, fate);
            simulate(&theirs, (hs_mask_unit)unit, s);
        }
        close_to(ours.words / SAMPLES, theirs.words / SAMPLES, SAMPLES);
        close_to(ours.runs / SAMPLES, theirs.runs / SAMPLES, SAMPLES);
        for (int i = 0; i < 4; i++)
            close_to(ours.longest[i] / SAMPLES, theirs.longest[i] / SAMPLES, SAMPLES);
        assert_true(fabs(ours.alike / ours.pairs - theirs.alike / theirs.pairs) < 0.01);
        assert_true(unit == HS_MASK_SPAN ? ours.alike / ours.pairs > 0.85 : ours.alike / ours.pairs < 0.7);
        hs_masker_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares),           cmocka_unit_test(counts),      cmocka_unit_test(address_is_all),
        cmocka_unit_test(words_stay_whole), cmocka_unit_test(bad_options), cmocka_unit_test(lengths_of_units),
        cmocka_unit_test(units_of_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
