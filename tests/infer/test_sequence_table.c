// sequence_table: one request of a sequence at a time, in the order they came; what begins, ends and fails does what it says of those
// behind it; who is gone does not wait; bounds of number, of waiting and of idleness.
#include "infer/server/sequence_table.h"
#include "tests/support/support_files.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct asked {
    hs_sequence_turn turn;
    int number;
    bool went, missed, gone;
    int32_t seen[32]; // [n] tokens when it went
    int64_t n;
} asked;
static int order[64], n_order; // numbers of those that went or were missed

static asked *of(hs_sequence_turn *t) { return (asked *)(void *)t; } // its first member
static void go(hs_sequence_turn *t, const int32_t *ids, int64_t n)
{
    asked *a = of(t);
    a->went = true, a->n = n;
    if (n)
        memcpy(a->seen, ids, (size_t)n * sizeof *ids);
    order[n_order++] = a->number;
}
static void missed(hs_sequence_turn *t)
{
    of(t)->missed = true;
    order[n_order++] = of(t)->number;
}

static bool is_gone(hs_sequence_turn *t) { return of(t)->gone; }

static asked *new_asked(const char *id, int number, const char *flags)
{
    asked *a = calloc(1, sizeof *a);
    a->number = number;
    a->turn =
        (hs_sequence_turn){ .id = id, .start = strchr(flags, 's'), .end = strchr(flags, 'e'), .go = go, .missed = missed, .gone = is_gone };
    return a;
}

// It ends: its number is one token more.
static void done(hs_sequence_table *s, asked *a, bool ok)
{
    int32_t *ids = ok ? malloc((size_t)(a->n + 1) * sizeof *ids) : NULL;
    assert_true(a->went);
    if (ok) {
        memcpy(ids, a->seen, (size_t)a->n * sizeof *ids);
        ids[a->n] = a->number;
    }
    hs_sequence_done(s, &a->turn, ids, a->n + 1);
}

static void has_seen(const asked *a, int n, const int32_t *want)
{
    assert_true(a->went && a->n == n);
    assert_memory_equal(a->seen, want, (size_t)n * sizeof *want);
}

enum { MOST = 8, MOST_WAITING = HS_SEQUENCE_WAITING + 2 };
static hs_sequence_table *table;
static asked *at[64];
static int n_at;
static asked *come(const char *id, const char *flags, hs_status want)
{
    asked *a = at[n_at] = new_asked(id, n_at + 100, flags);
    n_at++;
    assert_int_equal(hs_sequence_come(table, &a->turn), want);
    if (want != HS_OK)
        assert_true(!a->went && !a->missed);
    return a;
}
static int open_table(void **state)
{
    (void)state;
    n_at = n_order = 0;
    return hs_sequence_table_new(&table, MOST, MOST_WAITING, 60) == HS_OK ? 0 : -1;
}
static int close_table(void **state)
{
    (void)state;
    hs_sequence_table_free(table);
    while (n_at > 0)
        free(at[--n_at]);
    return 0;
}

static void test_one_after_the_other(void **state)
{
    (void)state;
    come("7", "", HS_USAGE);
    asked *a = come("7", "s", HS_OK), *b = come("7", "", HS_OK), *c = come("7", "", HS_OK), *other = come("'7'", "s", HS_OK);
    assert_true(a->went && a->n == 0 && !b->went && !c->went && other->went);
    done(table, a, true);
    assert_true(b->went && !c->went);
    has_seen(b, 1, (int32_t[]){ 101 });
    done(table, b, true);
    has_seen(c, 2, (int32_t[]){ 101, 102 });
    done(table, c, false); // as if it had not been
    asked *d = come("7", "e", HS_OK);
    has_seen(d, 2, (int32_t[]){ 101, 102 });
    assert_int_equal(hs_sequence_table_look(table).live, 2);
    done(table, d, true);
    assert_int_equal(hs_sequence_table_look(table).live, 1);
    come("7", "", HS_USAGE);
    done(table, other, true);
    assert_int_equal(hs_sequence_table_look(table).started, 2);
}

static void test_begins_anew(void **state)
{
    (void)state;
    asked *a = come("x", "s", HS_OK);
    done(table, a, true);
    asked *b = come("x", "s", HS_OK);
    assert_true(b->went && b->n == 0);
    done(table, b, true);
    asked *c = come("x", "", HS_OK);
    has_seen(c, 1, (int32_t[]){ 101 });
    done(table, c, true);
    asked *d = come("x", "se", HS_OK); // all in one
    assert_true(d->went && d->n == 0);
    done(table, d, true);
    assert_int_equal(hs_sequence_table_look(table).live, 0);
}

// Those behind one that ends it wait for nothing, until one begins it anew.
static void test_ends_before_them(void **state)
{
    (void)state;
    for (int failed = 0; failed < 2; failed++) { // a start that fails ends it, too
        n_order = 0;
        asked *a = come("x", failed ? "s" : "se", HS_OK), *b = come("x", "", HS_OK), *c = come("x", "e", HS_OK), *d = come("x", "s", HS_OK),
              *e = come("x", "", HS_OK);
        done(table, a, !failed);
        assert_true(b->missed && c->missed && d->went && d->n == 0 && !e->went);
        done(table, d, true);
        has_seen(e, 1, (int32_t[]){ d->number });
        done(table, e, true);
        for (int i = 0; i < 5; i++)
            assert_int_equal(order[i], a->number + i);
        asked *f = come("x", "e", HS_OK);
        done(table, f, false); // fails, and ends nothing
        assert_int_equal(hs_sequence_table_look(table).live, 1);
        asked *g = come("x", "e", HS_OK);
        has_seen(g, 2, (int32_t[]){ d->number, e->number });
        done(table, g, true);
        assert_int_equal(hs_sequence_table_look(table).live, 0);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    static const char *const id[] = { "a", "b", "c", "d", "e", "f", "g", "h", "i" };
    asked *first[MOST];
    for (int i = 0; i < MOST; i++)
        first[i] = come(id[i], "s", HS_OK);
    come(id[MOST], "s", HS_MEMORY);
    for (int i = 0; i < HS_SEQUENCE_WAITING; i++)
        come(id[0], "", HS_OK);
    come(id[0], "", HS_MEMORY);
    asked *last[] = { come(id[2], "", HS_OK), come(id[3], "", HS_OK) };
    come(id[4], "", HS_MEMORY);  // nobody waits for it, but as many as may for all of them
    done(table, first[1], true); // lives, and counts
    come(id[MOST], "s", HS_MEMORY);
    done(table, come(id[1], "e", HS_OK), true);
    first[1] = come(id[MOST], "s", HS_OK);
    for (int i = 0; i < MOST; i++)
        done(table, first[i], true);
    for (int i = 0; i < HS_SEQUENCE_WAITING; i++)
        done(table, at[MOST + 1 + i], true);
    for (int i = 0; i < HS_COUNT(last); i++)
        done(table, last[i], true);
    first[0] = come(id[0], "", HS_OK);
    asked *next = come(id[0], "", HS_OK); // there is room again
    done(table, first[0], true);
    done(table, next, true);
    assert_int_equal(hs_sequence_table_look(table).live, MOST);
}

// Who is gone makes room for others, whoever stands in front of him; the others keep their order.
static void test_gone(void **state)
{
    (void)state;
    const struct timespec long_enough = { 0, 110000000 };
    asked *a = come("x", "s", HS_OK), *wait[HS_SEQUENCE_WAITING];
    hs_sequence_look_behind(table, &a->turn); // nobody
    for (int i = 0; i < HS_SEQUENCE_WAITING; i++)
        wait[i] = come("x", "", HS_OK);
    come("x", "", HS_MEMORY);
    hs_sequence_look_behind(table, &a->turn); // all are there
    assert_int_equal(n_order, 1);
    for (int i = 0; i < HS_SEQUENCE_WAITING; i++)
        wait[i]->gone = i != 3 && i != 5;
    hs_sequence_look_behind(table, &a->turn); // so soon it does not look again
    assert_int_equal(n_order, 1);
    nanosleep(&long_enough, NULL);
    hs_sequence_look_behind(table, &a->turn);
    assert_int_equal(n_order, 1 + HS_SEQUENCE_WAITING - 2);
    for (int i = 0; i < HS_SEQUENCE_WAITING; i++)
        assert_true(!wait[i]->went && wait[i]->missed == wait[i]->gone);
    asked *b = come("x", "e", HS_OK); // there is room again, behind those that are left
    done(table, a, true);
    has_seen(wait[3], 1, (int32_t[]){ a->number });
    done(table, wait[3], true);
    has_seen(wait[5], 2, (int32_t[]){ a->number, wait[3]->number });
    assert_false(b->went);
    done(table, wait[5], true);
    has_seen(b, 3, (int32_t[]){ a->number, wait[3]->number, wait[5]->number });
    done(table, b, true);
    assert_int_equal(hs_sequence_table_look(table).live, 0);
}

static void test_idle(void **state)
{
    (void)state;
    hs_sequence_table_free(table);
    OK(hs_sequence_table_new(&table, 2, MOST_WAITING, 0.03));
    const struct timespec long_enough = { 0, 60000000 };
    asked *a = come("a", "s", HS_OK);
    nanosleep(&long_enough, NULL); // under way, not idle
    asked *b = come("a", "", HS_OK);
    done(table, a, true);
    assert_true(b->went);
    done(table, b, true);
    nanosleep(&long_enough, NULL);
    come("a", "", HS_USAGE);
    done(table, come("a", "s", HS_OK), true);
    done(table, come("b", "s", HS_OK), true);
    nanosleep(&long_enough, NULL);
    asked *c = come("c", "s", HS_OK); // both made room for it
    assert_int_equal(hs_sequence_table_look(table).live, 1);
    assert_int_equal(hs_sequence_table_look(table).idle, 3);
    done(table, c, true);
}

int main(void)
{
#define IN_TABLE(test) cmocka_unit_test_setup_teardown(test, open_table, close_table)
    const struct CMUnitTest tests[] = {
        IN_TABLE(test_one_after_the_other),
        IN_TABLE(test_begins_anew),
        IN_TABLE(test_ends_before_them),
        IN_TABLE(test_bounds),
        IN_TABLE(test_gone),
        IN_TABLE(test_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
