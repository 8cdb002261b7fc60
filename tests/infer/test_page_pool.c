// page_pool: no page is held by two that have not the same tokens in it and in front of it; none is lost; kept ones go oldest first.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "infer/decode/page_pool.h"
#include <stdlib.h>
#include <string.h>

enum { PAGES = 12, ROWS = 2, LONG = 6, HOLDERS = 5 }; // of so few tokens that most begin alike

typedef struct holder {
    int32_t list[LONG], ids[LONG * ROWS];
    int64_t n, known;
    hs_page_place place;
} holder;

typedef struct world {
    hs_page_pool *p;
    holder h[HOLDERS];
    int32_t what[PAGES][LONG * ROWS]; // by page: the tokens from the beginning to its end
    int64_t n[PAGES];                 // how many these are; 0: nothing was written
    int found, kept, reused;
} world;

static void check(const world *w)
{
    bool held[PAGES] = { false };
    int64_t n_held = 0;
    for (int i = 0; i < HOLDERS; i++)
        for (int64_t k = 0; k < w->h[i].n; k++) {
            const int32_t page = w->h[i].list[k];
            assert_in_range(page, 0, PAGES - 1);
            assert_int_equal(w->n[page], (k + 1) * ROWS);
            assert_memory_equal(w->what[page], w->h[i].ids, (size_t)((k + 1) * ROWS) * sizeof(int32_t));
            n_held += !held[page];
            held[page] = true;
        }
    assert_int_equal(hs_page_pool_left(w->p), PAGES - n_held);
}

// Reads on by one page: it is found, or taken and written.
static void go_on(world *w, holder *h)
{
    const int32_t *tokens = h->ids + h->n * ROWS;
    const int32_t page = h->known == h->n ? hs_page_pool_find(w->p, &h->place, tokens) : -1;
    if (page >= 0) {
        w->found++;
        h->list[h->n++] = page, h->known++;
        return;
    }
    const int64_t n = hs_page_pool_take(w->p, h->list, h->n, h->n + 1);
    if (n == h->n) {
        assert_int_equal(hs_page_pool_left(w->p), 0);
        return;
    }
    const int32_t fresh = h->list[h->n];
    for (int i = 0; i < HOLDERS; i++) // nobody has it
        for (int64_t k = 0; k < w->h[i].n; k++)
            assert_int_not_equal(w->h[i].list[k], fresh);
    w->n[fresh] = n * ROWS;
    memcpy(w->what[fresh], h->ids, (size_t)(n * ROWS) * sizeof(int32_t));
    h->n = n;
}

static void tell(world *w, holder *h)
{
    for (; h->known < h->n; h->known++) {
        const int32_t page = hs_page_pool_know(w->p, &h->place, h->ids + h->known * ROWS, h->list[h->known]);
        w->reused += page != h->list[h->known];
        h->list[h->known] = page;
    }
}

static void whatever_comes(void **state)
{
    (void)state;
    world w = { 0 };
    assert_int_equal(hs_page_pool_new(&w.p, PAGES, ROWS, true), HS_OK);
    for (uint32_t step = 0; step < 20000; step++) {
        const hs_u32x4 r = hs_random(9, step, 0, 0, 0);
        holder *h = &w.h[r.v[0] % HOLDERS];
        if (h->n == LONG || r.v[1] % 7 == 0) { // ends; another begins
            hs_page_pool_give_back(w.p, h->list, h->n);
            *h = (holder){ 0 };
            for (int i = 0; i < LONG * ROWS; i++)
                h->ids[i] = (int32_t)(r.v[2] >> i & 1);
        } else if (r.v[1] % 3 == 0) {
            tell(&w, h);
        } else {
            go_on(&w, h);
        }
        if (r.v[3] % 500 == 0) {
            hs_page_pool_forget(w.p);
            assert_int_equal(hs_page_pool_kept(w.p), 0);
            for (int i = 0; i < HOLDERS; i++) // behind a page that has gone nothing is found or known
                for (holder *q = &w.h[i]; q->n; q->n = 0, q->known = 0, q->place = 0)
                    hs_page_pool_give_back(w.p, q->list, q->n);
        }
        w.kept += hs_page_pool_kept(w.p) > 0;
        check(&w);
    }
    assert_true(w.found > 1000 && w.reused > 100 && w.kept > 1000);
    hs_page_pool_free(w.p);
}

static void the_oldest_goes_first(void **state)
{
    (void)state;
    static const int32_t ids[] = { 1, 2, 3, 4, 5, 6 }, other[] = { 7, 8 };
    hs_page_pool *p;
    int32_t a[3], b[1], c[4];
    hs_page_place at = 0, bt = 0, again = 0;
    assert_int_equal(hs_page_pool_new(&p, 4, ROWS, true), HS_OK);
    assert_int_equal(hs_page_pool_take(p, a, 0, 3), 3);
    assert_int_equal(hs_page_pool_take(p, b, 0, 2), 1); // as far as there are any
    for (int i = 0; i < 3; i++)
        a[i] = hs_page_pool_know(p, &at, ids + i * ROWS, a[i]);
    hs_page_pool_know(p, &bt, other, b[0]);
    assert_int_equal(hs_page_pool_shared(p, ids, 6), 3);
    assert_int_equal(hs_page_pool_shared(p, ids, 5), 2);
    hs_page_pool_give_back(p, b, 1);
    hs_page_pool_give_back(p, a, 3);
    assert_int_equal(hs_page_pool_kept(p), 4);
    assert_int_equal(hs_page_pool_shared(p, ids, 6), 0); // nobody holds them
    assert_int_equal(hs_page_pool_take(p, c, 0, 2), 2);
    assert_true(c[0] == b[0] && c[1] == a[2]); // given back first; and the last of a sequence before those in front of it
    assert_int_equal(hs_page_pool_find(p, &again, ids), a[0]);
    assert_int_equal(hs_page_pool_find(p, &again, ids + ROWS), a[1]);
    assert_int_equal(hs_page_pool_find(p, &again, ids + 2 * ROWS), -1);
    assert_int_equal(hs_page_pool_left(p), 0);
    hs_page_pool_free(p);
    assert_int_equal(hs_page_pool_new(&p, 4, ROWS, false), HS_OK);
    at = again = 0;
    assert_int_equal(hs_page_pool_take(p, a, 0, 1), 1);
    assert_int_equal(hs_page_pool_know(p, &at, ids, a[0]), a[0]);
    assert_int_equal(hs_page_pool_find(p, &again, ids), -1);
    hs_page_pool_give_back(p, a, 1);
    assert_true(hs_page_pool_kept(p) == 0 && hs_page_pool_left(p) == 4);
    hs_page_pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(whatever_comes), cmocka_unit_test(the_oldest_goes_first) };
    return cmocka_run_group_tests_name("page_pool", tests, NULL, NULL);
}
