// whole_epochs: every sample of an epoch once, in the order of the source; a batch never has samples of two epochs.
#include "tests/support/support_files.h"

#include "data/batches/whole_epochs.h"
#include <stdlib.h>

typedef struct counter { // a source whose sample i is one token, i
    hs_source base;
    bool freed;
} counter;

static const hs_column columns[] = { { .name = "ids", .dtype = HS_I32, .ext = HS_EXT_TOKENS } };

static hs_status fill(hs_source *s, hs_batch *b, uint64_t sample)
{
    (void)s;
    hs_batch_i32(b, 0)[b->n[HS_COUNT_TOKENS]++] = (int32_t)sample;
    b->labels[0]++;
    return HS_OK;
}
static void release(hs_source *s) { ((counter *)s)->freed = true; }

static void check(int64_t n, int64_t batch)
{
    counter c = { .base = { .unit = "numbers", .column = columns, .n_columns = 1, .n_samples = n, .fill = fill, .free = release } };
    c.base.most[HS_COUNT_TOKENS] = 1;
    hs_source *s;
    hs_batch b;
    OK(hs_whole_epochs_new(&s, &c.base, batch));
    assert_int_equal(s->n_samples % batch, 0);
    assert_true(s->n_samples >= n && s->n_samples < n + batch);
    OK(hs_source_batch(s, batch, &b));
    int64_t next = 0;
    for (int64_t at = 0; at < 3 * s->n_samples; at += batch) {
        OK(hs_source_fill(s, &b, (uint64_t)at, batch));
        const int64_t epoch = at / s->n_samples, live = b.n[HS_COUNT_TOKENS];
        assert_true(live >= 1 && live <= batch && b.labels[0] == live);
        for (int64_t i = 0; i < live; i++, next++) {
            assert_int_equal(hs_batch_i32(&b, 0)[i], next);
            assert_int_equal(next / n, epoch);
        }
    }
    assert_int_equal(next, 3 * n);
    hs_batch_free(&b);
    hs_source_free(s);
    assert_false(c.freed); // it was lent
}

static void each_sample_once(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 40; n++)
        for (int64_t batch = 1; batch < 12; batch++)
            check(n, batch);
}

static void no_batch(void **state)
{
    (void)state;
    counter c = { .base = { .unit = "numbers" } };
    hs_source *s;
    assert_int_equal(hs_whole_epochs_new(&s, &c.base, 0), HS_USAGE);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_sample_once), cmocka_unit_test(no_batch) };
    return cmocka_run_group_tests_name("whole epochs", tests, NULL, NULL);
}
