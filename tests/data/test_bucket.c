// bucket: GluonNLP's keys, sizes and padding; every sample once; the stream goes on from any batch.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/batches/bucket.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_keys(hs_bucket_scheme scheme, int64_t longest, int64_t shortest, int n, const int64_t *want, int n_want)
{
    int64_t keys[HS_BUCKETS];
    assert_int_equal(hs_bucket_keys(scheme, 0, longest, shortest, n, keys), n_want);
    for (int i = 0; i < n_want; i++)
        assert_int_equal(keys[i], want[i]);
}

// Values of GluonNLP's own classes.
static void keys_of_gluonnlp(void **state)
{
    (void)state;
    check_keys(HS_BUCKET_CONST, 500, 11, 10, (int64_t[]){ 59, 108, 157, 206, 255, 304, 353, 402, 451, 500 }, 10);
    check_keys(HS_BUCKET_CONST, 31, 16, 2, (int64_t[]){ 23, 31 }, 2);
    check_keys(HS_BUCKET_CONST, 12, 10, 10, (int64_t[]){ 10, 11, 12 }, 3);
    check_keys(HS_BUCKET_LINEAR, 100, 5, 10, (int64_t[]){ 8, 12, 17, 24, 33, 43, 55, 69, 84, 100 }, 10);
    check_keys(HS_BUCKET_EXP, 100, 5, 10, (int64_t[]){ 11, 18, 25, 33, 41, 51, 62, 73, 86, 100 }, 10);
}

static void every_sample_once(const hs_batches *b, int64_t n)
{
    char *seen = calloc((size_t)n, 1);
    assert_int_equal(b->starts[0], 0);
    assert_int_equal(b->starts[b->n], n);
    for (int64_t k = 0; k < b->n; k++)
        assert_true(b->starts[k] < b->starts[k + 1]);
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(seen[b->sample[i]]++, 0);
    free(seen);
}

static double padding(const int32_t *length, int64_t n, hs_bucket_opts o, uint64_t key, int64_t *batches)
{
    hs_batches b;
    o.shuffle = true, o.key = key;
    OK(hs_bucket_batches(&b, length, n, &o));
    every_sample_once(&b, n);
    const double mean = hs_batches_padding(&b, length);
    *batches = b.n;
    hs_batches_free(&b);
    return mean;
}

// 112 samples, 48 / 32 / 16 / 8 / 8 of them with lengths drawn from [5, 10), [10, 15), ... [25, 30); batches of 8. GluonNLP's documentation
// shows one draw: 11.7 tokens of padding a sample without buckets, 3.7 sorted in pools of 32, 1.7 in fixed buckets, 1.8 with ratio 0.7 (in
// 10 batches, not 14). Each must be a usual value among ours; without buckets that is worked out: the longest of 8 out of 112 is 10.6 above
// the mean.
static void toy_set_of_gluonnlp(void **state)
{
    (void)state;
    enum { N = 112, DRAWS = 2000 };
    static const int count[] = { 48, 32, 16, 8, 8 };
    static const struct {
        hs_bucket_opts o;
        double published;
        int64_t batches;
    } rows[] = {
        { { .method = HS_BUCKET_NONE, .batch = 8 }, 11.7, 14 },
        { { .method = HS_BUCKET_SORTED, .batch = 8, .mult = 4 }, 3.7, 14 },
        { { .method = HS_BUCKET_FIXED, .batch = 8, .n_buckets = 5 }, 1.7, 14 },
        { { .method = HS_BUCKET_FIXED, .batch = 8, .n_buckets = 5, .ratio = 0.7 }, 1.8, 10 },
    };
    double sum[HS_COUNT(rows)] = { 0 }, squares[HS_COUNT(rows)] = { 0 };
    int all = 0; // draws that show all four figures, rounded as published
    for (uint32_t draw = 0; draw < DRAWS; draw++) {
        int32_t length[N], n = 0;
        int agree = 0;
        for (int k = 0; k < HS_COUNT(count); k++)
            for (int i = 0; i < count[k]; i++, n++)
                length[n] = 5 * (k + 1) + (int32_t)(hs_random(1, draw, (uint32_t)n, 0, 0).v[0] % 5);
        length[0] = 5, length[N - 1] = 29; // the keys stand on the extremes
        for (int r = 0; r < HS_COUNT(rows); r++) {
            int64_t batches;
            const double mean = padding(length, N, rows[r].o, draw, &batches);
            sum[r] += mean, squares[r] += mean * mean;
            agree += fabs(mean - rows[r].published) < 0.05;
            assert_int_equal(batches, rows[r].batches);
        }
        all += agree == HS_COUNT(rows);
    }
    for (int r = 0; r < HS_COUNT(rows); r++) {
        const double mean = sum[r] / DRAWS, deviation = sqrt(squares[r] / DRAWS - mean * mean);
        assert_true(fabs(mean - rows[r].published) < 2 * deviation);
        assert_true(r || fabs(mean - 10.6) < 0.2);
    }
    assert_true(all >= 1); // one of 2000
}

static void sizes_of_buckets(void **state)
{
    (void)state;
    // 10 buckets of 500, 452, ... 68: GluonNLP's batch sizes for B = 16 and ratio 0.5 are 16 x 6, 18, 24, 34, 58
    enum { N = 490 };
    int32_t length[N];
    for (int i = 0; i < N; i++)
        length[i] = 11 + i;
    length[0] = 20;
    for (int i = 0; i < N; i++)
        length[i] = length[i] < 20 ? 20 : length[i]; // longest 500, shortest 20: keys 48 apart
    hs_batches b;
    OK(hs_bucket_batches(&b, length, N, &(hs_bucket_opts){ .method = HS_BUCKET_FIXED, .batch = 16, .n_buckets = 10, .ratio = 0.5 }));
    every_sample_once(&b, N);
    int64_t most[11] = { 0 };
    for (int64_t k = 0; k < b.n; k++) {
        const int32_t l = length[b.sample[b.starts[k]]];
        const int bucket = l <= 68 ? 0 : (l - 69) / 48 + 1;
        const int64_t size = b.starts[k + 1] - b.starts[k];
        most[bucket] = size > most[bucket] ? size : most[bucket];
        for (int64_t i = b.starts[k]; i < b.starts[k + 1]; i++)
            assert_int_equal(length[b.sample[i]] <= 68 ? 0 : (length[b.sample[i]] - 69) / 48 + 1, bucket);
    }
    static const int64_t want[] = { 58, 34, 24, 18, 16, 16, 16, 16, 16, 16 };
    for (int i = 0; i < HS_COUNT(want); i++)
        assert_int_equal(most[i], want[i]);
    hs_batches_free(&b);
}

static void budgets(void **state)
{
    (void)state;
    const int32_t length[] = { 5, 3, 2, 9, 12, 1, 1, 1, 7 };
    hs_batches b;
    OK(hs_bucket_batches(&b, length, 9, &(hs_bucket_opts){ .method = HS_BUCKET_BUDGET, .tokens = 10 }));
    static const int64_t want[] = { 0, 3, 4, 5, 9 };
    assert_int_equal(b.n, 4);
    assert_memory_equal(b.starts, want, sizeof want);
    hs_batches_free(&b);
    // by mean and deviation: 48 / (4 + 2) = 8
    const int32_t two[] = { 2, 6, 2, 6, 2, 6, 2, 6, 2, 6, 2, 6, 2, 6, 2, 6 };
    OK(hs_bucket_batches(&b, two, 16, &(hs_bucket_opts){ .method = HS_BUCKET_FIXED, .tokens = 48, .n_buckets = 1 }));
    assert_true(b.n == 2 && b.starts[1] == 8);
    hs_batches_free(&b);
    FAILS(USAGE, "batches of 0 tokens", hs_bucket_batches(&b, two, 16, &(hs_bucket_opts){ .method = HS_BUCKET_BUDGET }));
    FAILS(USAGE, "batches of 0 samples", hs_bucket_batches(&b, two, 16, &(hs_bucket_opts){ .method = HS_BUCKET_SORTED }));
    FAILS(USAGE, "0 buckets", hs_bucket_batches(&b, two, 16, &(hs_bucket_opts){ .method = HS_BUCKET_FIXED, .batch = 1 }));
    FAILS(USAGE, "sample 1 has 0 tokens", hs_bucket_batches(&b, (int32_t[]){ 1, 0 }, 2, &(hs_bucket_opts){ .batch = 1 }));
    FAILS(USAGE, "no samples", hs_bucket_batches(&b, two, 0, &(hs_bucket_opts){ .batch = 1 }));
}

static void sorted_is_sorted(void **state)
{
    (void)state;
    enum { N = 1000 };
    int32_t length[N];
    for (uint32_t i = 0; i < N; i++)
        length[i] = 1 + (int32_t)(hs_random(3, i, 0, 0, 0).v[0] % 60);
    hs_batches b;
    OK(hs_bucket_batches(&b, length, N, &(hs_bucket_opts){ .method = HS_BUCKET_SORTED, .batch = 7, .mult = 1e9 }));
    every_sample_once(&b, N);
    for (int64_t i = 1; i < N; i++) // falling, equal ones in order: SortedSampler
        assert_true(length[b.sample[i - 1]] > length[b.sample[i]] ||
                    (length[b.sample[i - 1]] == length[b.sample[i]] && b.sample[i - 1] < b.sample[i]));
    hs_batches_free(&b);
}

// Epochs see every sample once, in other orders; a new stream goes on at any batch as the old one.
static void stream_from_any_batch(void **state)
{
    (void)state;
    enum { N = 950, WINDOW = 200, BATCHES = 400 };
    static const hs_bucket_opts rows[] = {
        { .method = HS_BUCKET_FIXED, .batch = 8, .n_buckets = 6, .ratio = 0.5, .shuffle = true, .key = 4 },
        { .method = HS_BUCKET_SORTED, .batch = 9, .mult = 5, .shuffle = true, .key = 4 },
        { .method = HS_BUCKET_BUDGET, .tokens = 300, .shuffle = true, .key = 4 },
        { .method = HS_BUCKET_NONE, .batch = 16 },
    };
    int32_t length[N];
    for (uint32_t i = 0; i < N; i++)
        length[i] = 1 + (int32_t)(hs_random(5, i, 0, 0, 0).v[0] % 90);
    for (int r = 0; r < HS_COUNT(rows); r++) {
        hs_bucket_stream *s, *again;
        OK(hs_bucket_stream_new(&s, length, N, WINDOW, &rows[r]));
        uint64_t index = 0, before[BATCHES];
        int64_t first[BATCHES], sizes[BATCHES], seen[N] = { 0 };
        for (int k = 0; k < BATCHES; k++) {
            const int64_t *sample;
            int64_t n;
            before[k] = index;
            OK(hs_bucket_stream_next(s, &index, &sample, &n));
            assert_true(index == before[k] + (uint64_t)n);
            first[k] = sample[0], sizes[k] = n;
            for (int64_t i = 0; i < n; i++)
                assert_int_equal(seen[sample[i]]++, before[k] / N); // once an epoch
        }
        for (int k = BATCHES - 1; k >= 0; k -= 13) {
            const int64_t *sample;
            int64_t n;
            uint64_t at = before[k];
            OK(hs_bucket_stream_new(&again, length, N, WINDOW, &rows[r]));
            OK(hs_bucket_stream_next(again, &at, &sample, &n));
            assert_true(sample[0] == first[k] && n == sizes[k]);
            hs_bucket_stream_free(again);
        }
        uint64_t far = 1000000007ull * N;
        const int64_t *sample;
        int64_t n;
        OK(hs_bucket_stream_next(s, &far, &sample, &n));
        uint64_t wrong = 1;
        if (n > 1)
            FAILS(USAGE, "no batch begins at sample 1", hs_bucket_stream_next(s, &wrong, &sample, &n));
        hs_bucket_stream_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_gluonnlp), cmocka_unit_test(toy_set_of_gluonnlp), cmocka_unit_test(sizes_of_buckets),
        cmocka_unit_test(budgets),          cmocka_unit_test(sorted_is_sorted),    cmocka_unit_test(stream_from_any_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
