// row_cache: what is found is what was kept for just that key; who was not asked for longest goes first; the bound holds in bytes.
#include "core/base/rng.h"
#include "infer/server/row_cache.h"
#include "tests/support/support_files.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 8 };
static const int owner_a, owner_b;

// Values say whose they are: of row i, want w.
static void keep(hs_row_cache *c, const hs_row_key *key, float is)
{
    hs_kept *k = hs_row_cache_make(c, key, WIDTH * sizeof(float), 1);
    assert_non_null(k);
    assert_int_equal(k->bytes, WIDTH * sizeof(float));
    for (int i = 0; i < WIDTH; i++)
        ((float *)k->values)[i] = is + (float)i;
    hs_row_cache_know(c, k);
    hs_row_cache_let_go(c, k);
}
static float find(hs_row_cache *c, const hs_row_key *key) // -1: it is not there
{
    hs_kept *k = hs_row_cache_find(c, key);
    if (!k)
        return -1;
    const float is = ((const float *)k->values)[0];
    assert_true(((const float *)k->values)[WIDTH - 1] == is + WIDTH - 1);
    hs_row_cache_let_go(c, k);
    return is;
}

static void test_keys(void **state)
{
    (void)state;
    static const int32_t ab[] = { 1, 2, 3 }, ac[] = { 1, 2, 4 }, zeros[] = { 0, 0, 0 }, types[] = { 0, 1, 1 };
    static const int64_t pick[] = { 0, 2 };
    const hs_encode_row row = { .id = ab, .n = 3 }, other = { .id = ac, .n = 3 }, shorter = { .id = ab, .n = 2 },
                        typed = { .id = ab, .type = types, .n = 3 }, first = { .id = ab, .n = 3, .pick = pick, .n_picks = 1 },
                        last = { .id = ab, .n = 3, .pick = pick + 1, .n_picks = 1 };
    const hs_want vector = { .what = HS_WANT_VECTOR, .pooling = HS_POOLING_MEAN }, unit = { .what = HS_WANT_VECTOR, .normalize = true },
                  cls = { .what = HS_WANT_VECTOR, .pooling = HS_POOLING_CLS }, hidden = { .what = HS_WANT_HIDDEN },
                  logits = { .what = HS_WANT_LOGITS }, five = { .what = HS_WANT_GUESSES, .best = 5 },
                  six = { .what = HS_WANT_GUESSES, .best = 6 };
    const hs_row_key all[] = {
        { &owner_a, vector, &row },   { &owner_b, vector, &row }, { &owner_a, vector, &other }, { &owner_a, vector, &shorter },
        { &owner_a, vector, &typed }, { &owner_a, unit, &row },   { &owner_a, cls, &row },      { &owner_a, hidden, &row },
        { &owner_a, logits, &row },   { &owner_a, five, &first }, { &owner_a, six, &first },    { &owner_a, five, &last },
    };
    hs_row_cache *c;
    OK(hs_row_cache_new(&c, 1 << 20));
    for (int i = 0; i < HS_COUNT(all); i++) {
        assert_true(find(c, &all[i]) == -1);
        keep(c, &all[i], (float)(100 * i));
    }
    for (int i = 0; i < HS_COUNT(all); i++)
        assert_true(find(c, &all[i]) == (float)(100 * i));
    // no types are types that are all 0
    assert_true(find(c, &(hs_row_key){ &owner_a, vector, &(hs_encode_row){ .id = ab, .type = zeros, .n = 3 } }) == 0);
    // the first one that was known stays
    keep(c, &all[3], 7);
    assert_true(find(c, &all[3]) == 300);
    assert_int_equal(hs_row_cache_look(c).entries, HS_COUNT(all));
    hs_row_cache_forget(c, &owner_a);
    for (int i = 0; i < HS_COUNT(all); i++)
        assert_true(find(c, &all[i]) == (i == 1 ? 100.0f : -1.0f));
    assert_int_equal(hs_row_cache_look(c).entries, 1);
    hs_row_cache_forget(c, &owner_b);
    assert_int_equal(hs_row_cache_look(c).bytes, 0);
    hs_row_cache_free(c);
}

static hs_row_key key_of(hs_encode_row *row, int32_t id[4], int i)
{
    for (int k = 0; k < 4; k++)
        id[k] = i + k;
    *row = (hs_encode_row){ .id = id, .n = 4 };
    return (hs_row_key){ &owner_a, { .what = HS_WANT_HIDDEN }, row };
}

// Where all is held there is room for nothing else.
static void test_held(void **state)
{
    (void)state;
    enum { ROOM = 4 };
    hs_row_cache *c;
    hs_encode_row row;
    int32_t id[4];
    hs_kept *held[ROOM];
    OK(hs_row_cache_new(&c, 1 << 20));
    hs_row_key key = key_of(&row, id, 0);
    keep(c, &key, 0);
    const size_t each = hs_row_cache_look(c).bytes;
    hs_row_cache_free(c);

    OK(hs_row_cache_new(&c, ROOM * each));
    for (int i = 0; i < ROOM; i++) {
        key = key_of(&row, id, i);
        keep(c, &key, (float)i);
        assert_non_null(held[i] = hs_row_cache_find(c, &key));
    }
    for (int i = ROOM; i < 3 * ROOM; i++) {
        key = key_of(&row, id, i);
        keep(c, &key, (float)i);
        assert_true(find(c, &key) == -1);
        assert_int_equal(hs_row_cache_look(c).bytes, ROOM * each);
    }
    for (int i = 0; i < ROOM; i++) {
        assert_true(((const float *)held[i]->values)[0] == (float)i);
        hs_row_cache_let_go(c, held[i]);
        assert_int_equal(hs_row_cache_look(c).bytes, (size_t)(ROOM - 1 - i) * each);
    }
    keep(c, &key, 7);
    assert_true(find(c, &key) == 7);
    hs_row_cache_free(c);
}

static void test_bound(void **state)
{
    (void)state;
    enum { ROOM = 10 };
    hs_row_cache *c;
    hs_encode_row row;
    int32_t id[4];
    OK(hs_row_cache_new(&c, 1 << 20));
    hs_row_key key = key_of(&row, id, 0);
    keep(c, &key, 0);
    const size_t each = hs_row_cache_look(c).bytes;
    hs_row_cache_free(c);
    assert_true(each > WIDTH * sizeof(float) + sizeof id);

    OK(hs_row_cache_new(&c, ROOM * each + each / 2));
    for (int i = 0; i < 3 * ROOM; i++) {
        key = key_of(&row, id, i);
        keep(c, &key, (float)i);
        key = key_of(&row, id, 0); // asked all the time
        assert_true(find(c, &key) == 0);
        const hs_row_cache_stats s = hs_row_cache_look(c);
        assert_int_equal(s.entries, i + 1 < ROOM ? i + 1 : ROOM);
        assert_int_equal(s.bytes, s.entries * each);
        assert_int_equal(s.evicted, i + 1 - (int)s.entries);
    }
    for (int i = 1; i < 3 * ROOM; i++) {
        key = key_of(&row, id, i);
        assert_true(find(c, &key) == (i > 2 * ROOM ? (float)i : -1.0f));
    }
    // one that would push out all others is not taken
    assert_null(hs_row_cache_make(c, &key, ROOM * each + each, 1));
    // what somebody holds can be read, whatever goes
    key = key_of(&row, id, 0);
    hs_kept *held = hs_row_cache_find(c, &key);
    assert_non_null(held);
    for (int i = 100; i < 100 + ROOM; i++) {
        key = key_of(&row, id, i);
        keep(c, &key, (float)i);
    }
    key = key_of(&row, id, 0);
    assert_true(find(c, &key) == -1);
    assert_true(((const float *)held->values)[1] == 1);
    // and counts until it is let go
    assert_int_equal(hs_row_cache_look(c).entries, ROOM - 1);
    assert_int_equal(hs_row_cache_look(c).bytes, ROOM * each);
    hs_row_cache_let_go(c, held);
    assert_int_equal(hs_row_cache_look(c).bytes, (ROOM - 1) * each);
    hs_row_cache_free(c);
}

// ---- many threads, and room for half of what they ask

static hs_row_cache *shared;
static void *ask(void *arg)
{
    const int number = *(const int *)arg;
    hs_encode_row row;
    int32_t id[4];
    intptr_t wrong = 0;
    for (int i = 0; i < 4000; i++) {
        const int which = (int)(hs_random(7, (uint32_t)number, (uint32_t)i, 0, 0).v[0] % 64);
        const hs_row_key key = key_of(&row, id, which);
        const float is = find(shared, &key);
        wrong += is != -1 && is != (float)which;
        if (is == -1)
            keep(shared, &key, (float)which);
        if (i % 1000 == 999)
            hs_row_cache_forget(shared, &owner_a);
    }
    return (void *)wrong;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t thread[4];
    int number[4];
    hs_encode_row row;
    int32_t id[4];
    OK(hs_row_cache_new(&shared, 1 << 16));
    const hs_row_key key = key_of(&row, id, 0);
    keep(shared, &key, 0);
    const size_t each = hs_row_cache_look(shared).bytes;
    hs_row_cache_free(shared);
    OK(hs_row_cache_new(&shared, 32 * each));
    for (int i = 0; i < 4; i++) {
        number[i] = i;
        assert_int_equal(pthread_create(&thread[i], NULL, ask, &number[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(thread[i], &wrong);
        assert_null(wrong);
    }
    const hs_row_cache_stats s = hs_row_cache_look(shared);
    assert_true(s.bytes == s.entries * each && s.entries <= 32 && s.evicted > 0);
    hs_row_cache_free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
