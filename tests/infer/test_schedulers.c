// schedulers: where a request goes - to who has seen its beginning and has slots and hardly more to do than others, else to who has least
// -, that what it says does not depend on that, and that limits, ends and what is counted hold over all of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "infer/server/schedulers.h"
#include "ops/ops.h"
#include "tests/support/support_files.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <semaphore.h>
#include <string.h>

enum { REQUESTS = 24, TWO = 2 };

typedef struct request {
    hs_generation g;
    int32_t prompt[TINY_CONTEXT], got[TINY_CONTEXT];
    int n_got;
    sem_t *gate; // waited for once, before its first step
    sem_t is_done;
} request;

static void on_token(hs_generation *g, const hs_piece *piece)
{
    request *r = g->user;
    r->got[r->n_got++] = piece->id;
}
static bool gone(hs_generation *g)
{
    request *r = g->user;
    if (r->gate)
        sem_wait(r->gate);
    r->gate = NULL;
    return false;
}
static void done(hs_generation *g) { sem_post(&((request *)g->user)->is_done); }

// n tokens, the first `same` of them those of every prompt of `kind`.
static void make(request *r, int kind, int same, int n, int number)
{
    *r = (request){ .n_got = 0 };
    sem_init(&r->is_done, 0, 0);
    for (int k = 0; k < n; k++)
        r->prompt[k] = (k < same ? kind * 13 + 3 * k : 7 + kind * 13 + number * 17 + k * 5) % TINY_VOCAB;
    r->g = (hs_generation){ .ids = r->prompt,
                            .n = n,
                            .max_tokens = TINY_CONTEXT - n,
                            .sampling = { .temperature = number % 2 ? 1.2 : 0, .top_p = 0.95, .seed = (uint64_t)number },
                            .gone = gone,
                            .on_token = on_token,
                            .done = done,
                            .user = r };
}

// ---- two of them over one model, or one

typedef struct rig {
    tiny_gpt model;
    hs_engine *e;
    hs_device *device;
    hs_run *run; // of the second
    hs_schedulers *s;
} rig;

static void open_rig(rig *x, int n, int slots, int queue_most)
{
    *x = (rig){ .e = NULL };
    x->e = tiny_engine(&x->model, &(tiny_opts){ .optim = "adamw", .mode = HS_SUBMIT_BULK, .page_rows = TINY_PAGE });
    tiny_teach(x->e);
    OK(hs_open_device(&x->device, "cpu", 1, NULL, 0, HS_ONEDNN_NO));
    const int plan = x->e->plan[HS_DECODE];
    OK(hs_run_new(&x->run, hs_run_model(x->e->run),
                  &(hs_run_opts){ .device = x->device, .mode = HS_SUBMIT_BULK, .plans = &plan, .n_plans = 1 }));
    hs_scheduler_opts o[TWO];
    for (int i = 0; i < TWO; i++)
        o[i] = (hs_scheduler_opts){ .decoder = { .run = i ? x->run : x->e->run,
                                                 .plan = plan,
                                                 .context = TINY_CONTEXT,
                                                 .vocab = TINY_VOCAB,
                                                 .cache_rows = 12 * TINY_PAGE,
                                                 .page_rows = TINY_PAGE,
                                                 .max_slots = slots,
                                                 .share = true },
                                    .queue_most = queue_most };
    OK(hs_schedulers_new(&x->s, o, n));
}

static void close_rig(rig *x)
{
    hs_schedulers_free(x->s);
    hs_run_free(x->run);
    hs_device_close(x->device);
    hs_engine_free(x->e);
}

static hs_scheduler *pick(rig *x, const request *r) { return hs_schedulers_pick(x->s, r->prompt, r->g.n, 1); }
static hs_scheduler *pick_of(rig *x, const request *r, int texts) { return hs_schedulers_pick(x->s, r->prompt, r->g.n, texts); }
static hs_scheduler *at(rig *x, int i) { return hs_schedulers_at(x->s, i); }

// ---- where it goes

static void who_gets_it(void **state)
{
    (void)state;
    rig x;
    sem_t gate;
    request a, b, like_a, short_one;
    sem_init(&gate, 0, 0);
    open_rig(&x, TWO, 2, 4);
    assert_null(at(&x, 2));
    make(&a, 1, 2 * TINY_PAGE, 2 * TINY_PAGE + 1, 0);
    make(&b, 2, 2 * TINY_PAGE, 2 * TINY_PAGE + 1, 1);
    make(&like_a, 1, TINY_PAGE, 2 * TINY_PAGE + 1, 2); // begins with one page of a's
    make(&short_one, 1, TINY_PAGE - 1, TINY_PAGE - 1, 3);
    a.gate = &gate;
    assert_ptr_equal(pick(&x, &a), at(&x, 0)); // nobody has anything to do
    OK(hs_scheduler_add(at(&x, 0), &a.g));
    assert_ptr_equal(pick(&x, &short_one), at(&x, 1)); // which is no page
    assert_ptr_equal(pick(&x, &b), at(&x, 1));
    assert_ptr_equal(pick(&x, &like_a), at(&x, 0)); // which has a slot free
    OK(hs_scheduler_add(at(&x, 0), &like_a.g));
    request again;
    make(&again, 1, 2 * TINY_PAGE, 2 * TINY_PAGE + 1, 4);
    assert_ptr_equal(pick(&x, &again), at(&x, 1)); // and now none
    sem_post(&gate);
    sem_wait(&a.is_done), sem_wait(&like_a.is_done);
    assert_ptr_equal(pick(&x, &a), at(&x, 0)); // both have seen it
    assert_ptr_equal(pick(&x, &like_a), at(&x, 0));
    assert_ptr_equal(pick(&x, &b), at(&x, 1));
    assert_ptr_equal(pick(&x, &short_one), at(&x, 0));
    close_rig(&x);
    sem_destroy(&gate);
}

// A beginning that all have in common is no reason to leave others idle, and one that has to be computed a second time is found there, too.
static void in_common(void **state)
{
    (void)state;
    enum { N = 6 };
    rig x;
    sem_t gate;
    request r[N];
    int n[TWO] = { 0 };
    sem_init(&gate, 0, 0);
    open_rig(&x, TWO, 4, 4);
    for (int i = 0; i < N; i++) {
        make(&r[i], 1, TINY_PAGE, 2 * TINY_PAGE + 1, i);
        r[i].gate = &gate;
        hs_scheduler *s = pick(&x, &r[i]);
        n[s == at(&x, 1)]++;
        OK(hs_scheduler_add(s, &r[i].g));
        assert_in_range(n[0] - n[1], 0, HS_SCHEDULERS_AHEAD + 1);
    }
    assert_int_equal(n[0], N / 2);
    assert_ptr_equal(pick_of(&x, &r[0], 2), at(&x, 0)); // three under way, nobody has two slots: of the two alike, who knows it
    hs_schedulers_stop(x.s);
    for (int i = 0; i < N; i++)
        sem_post(&gate);
    for (int i = 0; i < N; i++)
        sem_wait(&r[i].is_done);
    close_rig(&x);
    sem_destroy(&gate);
}

// All texts of a request need slots: who has none for them is left.
static void of_many_texts(void **state)
{
    (void)state;
    rig x;
    sem_t gate;
    request a;
    sem_init(&gate, 0, 0);
    open_rig(&x, TWO, 3, 2);
    make(&a, 1, 2 * TINY_PAGE, 2 * TINY_PAGE + 1, 0);
    a.gate = &gate;
    assert_ptr_equal(pick(&x, &a), at(&x, 0));
    OK(hs_scheduler_add(at(&x, 0), &a.g));
    assert_ptr_equal(pick_of(&x, &a, 2), at(&x, 0));
    assert_ptr_equal(pick_of(&x, &a, 3), at(&x, 1));
    assert_ptr_equal(pick_of(&x, &a, 9), at(&x, 1)); // nobody has
    sem_post(&gate);
    sem_wait(&a.is_done);
    close_rig(&x);
    sem_destroy(&gate);
}

// ---- what it says

static void run_all(rig *x, request *r)
{
    for (int i = 0; i < REQUESTS; i++) {
        make(&r[i], i % 3, i % 2 ? TINY_PAGE : 0, 1 + i * 7 % 20, i);
        OK(hs_scheduler_add(pick(x, &r[i]), &r[i].g));
    }
    for (int i = 0; i < REQUESTS; i++)
        sem_wait(&r[i].is_done);
}

static void the_same_bits(void **state)
{
    (void)state;
    static request one[REQUESTS], two[REQUESTS];
    rig x;
    hs_scheduler_stats sum, each;
    open_rig(&x, 1, 3, REQUESTS);
    run_all(&x, one);
    close_rig(&x);
    open_rig(&x, TWO, 3, REQUESTS);
    run_all(&x, two);
    uint64_t tokens = 0, steps = 0;
    for (int i = 0; i < REQUESTS; i++) {
        assert_int_equal(two[i].n_got, one[i].n_got);
        assert_memory_equal(two[i].got, one[i].got, sizeof one[i].got);
        tokens += (uint64_t)two[i].n_got;
    }
    hs_schedulers_look(x.s, &sum);
    for (int i = 0; i < TWO; i++) {
        hs_scheduler_look(at(&x, i), &each);
        assert_true(each.new_tokens > 0 && each.new_tokens < tokens); // both of them had a part
        steps += each.steps;
    }
    assert_int_equal(sum.new_tokens, tokens);
    assert_int_equal(sum.steps, steps);
    assert_int_equal(sum.slots, 6);
    assert_int_equal(sum.pages, 24);
    assert_int_equal(sum.running + sum.waiting, 0);
    assert_int_equal(sum.finished[HS_FINISH_LENGTH], REQUESTS);
    close_rig(&x);
}

// ---- limits, and the end

static void as_many_as_may(void **state)
{
    (void)state;
    enum { MOST = 3 }; // a slot of each, and one that waits, wherever
    rig x;
    sem_t gate;
    request r[MOST + 1];
    hs_scheduler_stats sum;
    sem_init(&gate, 0, 0);
    open_rig(&x, TWO, 1, 1);
    for (int i = 0; i <= MOST; i++) {
        make(&r[i], i, 3, 3, i);
        r[i].gate = &gate;
        assert_int_equal(hs_scheduler_add(pick(&x, &r[i]), &r[i].g), i < MOST ? HS_OK : HS_MEMORY);
    }
    hs_schedulers_look(x.s, &sum);
    assert_int_equal(sum.running + sum.waiting, MOST);
    assert_int_equal(sum.refused, 1);
    assert_int_equal(hs_schedulers_check_length(x.s, 3, TINY_CONTEXT), HS_USAGE);
    hs_schedulers_stop(x.s);
    for (int i = 0; i < MOST; i++)
        sem_post(&gate);
    for (int i = 0; i < MOST; i++) {
        sem_wait(&r[i].is_done);
        assert_int_equal(r[i].g.finish, HS_FINISH_CANCELLED);
    }
    make(&r[0], 0, 3, 3, 0);
    assert_int_equal(hs_scheduler_add(pick(&x, &r[0]), &r[0].g), HS_STOPPED);
    close_rig(&x);
    sem_destroy(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(who_gets_it), cmocka_unit_test(in_common), cmocka_unit_test(of_many_texts),
                                        cmocka_unit_test(the_same_bits), cmocka_unit_test(as_many_as_may) };
    return cmocka_run_group_tests_name("schedulers", tests, NULL, NULL);
}
