// scheduler: every request gets what it gets alone, whoever else is there, and however often it had to make room; who ends leaves at once;
// what cannot be served is refused, and an error of one is nobody else's.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/clock.h"
#include "core/base/rng.h"
#include "infer/decode/generate.h"
#include "infer/server/scheduler.h"
#include "tests/support/support_files.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 24, CALLERS = 4 };

typedef struct request {
    hs_generation g;
    int32_t prompt[TINY_CONTEXT], got[TINY_CONTEXT];
    int n_got;
    char text[4 * TINY_CONTEXT];
    size_t n_text;
    hs_finish last; // of the last piece
    int gone_after; // tokens; -1: never
    int order;      // in which it was done
    sem_t *gate;    // waited for once, in the first question whether it is gone
    sem_t *at_gate;
    bool done;
    void (*behind_token)(struct request *r);
    hs_run *run;
    hs_scheduler *asks; // and what it asks for, when it is done
    struct request *next;
    pthread_mutex_t lock;
    pthread_cond_t is_done;
} request;
static atomic_int n_done;

static void on_token(hs_generation *g, const hs_piece *piece)
{
    request *r = g->user;
    assert_true(r->n_got < TINY_CONTEXT);
    r->got[r->n_got++] = piece->id;
    if (piece->n_text)
        memcpy(r->text + r->n_text, piece->text, piece->n_text);
    r->n_text += piece->n_text;
    r->last = piece->finish;
    assert_true(!g->logprobs || (piece->logprob <= 0 && piece->n_top == g->n_top && piece->top));
    if (r->behind_token)
        r->behind_token(r);
}

static bool gone(hs_generation *g)
{
    request *r = g->user;
    if (r->gate) {
        sem_post(r->at_gate);
        sem_wait(r->gate);
        r->gate = NULL;
    }
    return r->gone_after >= 0 && r->n_got >= r->gone_after;
}

static void done(hs_generation *g)
{
    request *r = g->user;
    if (g->n_tail)
        memcpy(r->text + r->n_text, g->tail, g->n_tail);
    r->n_text += g->n_tail;
    if (r->next)
        assert_int_equal(hs_scheduler_add(r->asks, &r->next->g), HS_OK);
    pthread_mutex_lock(&r->lock);
    r->order = atomic_fetch_add(&n_done, 1);
    r->done = true;
    pthread_cond_signal(&r->is_done);
    pthread_mutex_unlock(&r->lock);
}

static void wait_for(request *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->done)
        pthread_cond_wait(&r->is_done, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

// Request i: prompts that begin alike, of 1 to 15 tokens; greedy and drawn.
static void make(request *r, int i)
{
    *r = (request){ .gone_after = -1 };
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->is_done, NULL);
    const int n = 1 + i * 7 % 15, same = i % 3 * 6;
    for (int k = 0; k < n; k++)
        r->prompt[k] = k < same ? (3 * k + 1) % TINY_VOCAB : (i * 17 + k * 5) % TINY_VOCAB;
    r->g = (hs_generation){ .ids = r->prompt,
                            .n = n,
                            .max_tokens = 1 + i * 5 % (TINY_CONTEXT - n),
                            .sampling = { .temperature = i % 2 ? 1.2 : 0, .top_p = 0.95, .seed = (uint64_t)i },
                            .logprobs = i % 5 == 0,
                            .n_top = i % 5 == 0 ? 3 : 0,
                            .priority = 1 + i % 3,
                            .gone = gone,
                            .on_token = on_token,
                            .done = done,
                            .user = r };
}

static hs_engine *engine(tiny_gpt *model)
{
    hs_engine *e = tiny_engine(model, &(tiny_opts){ .optim = "adamw", .threads = 2, .mode = HS_SUBMIT_BULK, .page_rows = TINY_PAGE });
    tiny_teach(e);
    return e;
}

typedef struct how {
    int slots;
    int64_t pages, step_tokens;
    bool share;
    int queue_most;
    const hs_tokenizer *tokenizer;
} how;

static hs_scheduler *scheduler(hs_engine *e, how h)
{
    hs_scheduler *s;
    const hs_scheduler_opts o = { .decoder = { .run = e->run,
                                               .plan = e->plan[HS_DECODE],
                                               .context = TINY_CONTEXT,
                                               .vocab = TINY_VOCAB,
                                               .cache_rows = h.pages * TINY_PAGE,
                                               .page_rows = TINY_PAGE,
                                               .max_slots = h.slots,
                                               .share = h.share,
                                               .step_tokens = h.step_tokens },
                                  .tokenizer = h.tokenizer,
                                  .queue_most = h.queue_most };
    if (hs_scheduler_new(&s, &o) != HS_OK)
        fail_msg("%s", hs_error());
    return s;
}

// What `halfstep generate` gives for the same.
static void generated(hs_engine *e, const request *r, hs_generated *out)
{
    const hs_generate_opts o = { .run = e->run,
                                 .plan = e->plan[HS_DECODE],
                                 .context = TINY_CONTEXT,
                                 .vocab = TINY_VOCAB,
                                 .cache_rows = TINY_CACHE,
                                 .page_rows = TINY_PAGE,
                                 .max_tokens = r->g.max_tokens,
                                 .sampling = r->g.sampling };
    assert_int_equal(hs_generate(&o, &(hs_prompt){ r->prompt, r->g.n }, 1, out), HS_OK);
}

static void same(const request *r, const hs_generated *want)
{
    assert_int_equal(r->g.finish, HS_FINISH_LENGTH);
    assert_int_equal(r->last, HS_FINISH_LENGTH);
    assert_string_equal(r->g.error, "");
    assert_int_equal(r->g.n_new, want->n - want->n_prompt);
    assert_int_equal(r->n_got, r->g.n_new);
    assert_memory_equal(r->got, want->ids + want->n_prompt, (size_t)r->n_got * sizeof(int32_t));
    assert_true(r->g.seconds[0] > 0 && r->g.seconds[1] >= r->g.seconds[0]);
}

typedef struct caller {
    hs_scheduler *s;
    request *r;
    int first;
} caller;

static void *call(void *arg)
{
    caller *c = arg;
    for (int i = c->first; i < REQUESTS; i += CALLERS)
        assert_int_equal(hs_scheduler_add(c->s, &c->r[i].g), HS_OK);
    for (int i = c->first; i < REQUESTS; i += CALLERS)
        wait_for(&c->r[i]);
    return NULL;
}

static void as_if_alone(void **state)
{
    (void)state;
    static const how hows[] = { { 8, 25, 0, true, REQUESTS, NULL }, { 3, 25, 5, true, REQUESTS, NULL }, { 8, 4, 0, false, REQUESTS, NULL },
                                { 8, 4, 16, true, REQUESTS, NULL }, { 12, 7, 3, true, REQUESTS, NULL }, { 1, 3, 1, true, REQUESTS, NULL } };
    tiny_gpt model;
    hs_engine *e = engine(&model);
    request r[REQUESTS];
    hs_generated want[REQUESTS];
    uint64_t set_back = 0, reused = 0;
    for (int i = 0; i < REQUESTS; i++) {
        make(&r[i], i);
        generated(e, &r[i], &want[i]);
    }
    for (int h = 0; h < HS_COUNT(hows); h++)
        for (int round = 0; round < 4; round++) {
            pthread_t thread[CALLERS];
            caller c[CALLERS];
            hs_scheduler_stats sum;
            hs_scheduler *s = scheduler(e, hows[h]);
            uint64_t tokens = 0;
            for (int i = 0; i < REQUESTS; i++)
                make(&r[i], i);
            for (int k = 0; k < CALLERS; k++) {
                c[k] = (caller){ s, r, k };
                assert_int_equal(pthread_create(&thread[k], NULL, call, &c[k]), 0);
            }
            for (int k = 0; k < CALLERS; k++)
                pthread_join(thread[k], NULL);
            assert_true(hs_scheduler_drain(s, 10));
            for (int i = 0; i < REQUESTS; i++)
                same(&r[i], &want[i]), tokens += (uint64_t)r[i].g.n_new;
            hs_scheduler_look(s, &sum);
            assert_true(sum.running == 0 && sum.waiting == 0 && sum.pages_held == 0 && sum.pages == hows[h].pages);
            assert_true(sum.finished[HS_FINISH_LENGTH] == REQUESTS && sum.new_tokens == tokens);
            assert_true(hows[h].share ? sum.pages_kept > 0 : sum.reused_tokens == 0 && sum.pages_kept == 0);
            set_back += sum.set_back, reused += sum.reused_tokens;
            hs_scheduler_free(s);
        }
    assert_true(set_back > 20 && reused > 100);
    for (int i = 0; i < REQUESTS; i++)
        hs_generated_free(&want[i], 1);
    hs_engine_free(e);
}

// One stands at a gate, in the scheduler's thread: nothing moves until it is opened.
typedef struct gate {
    sem_t open, reached;
} gate;

static void close_gate(gate *x, request *r)
{
    sem_init(&x->open, 0, 0), sem_init(&x->reached, 0, 0);
    r->gate = &x->open, r->at_gate = &x->reached;
}

static void who_goes_first(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model);
    static const int priority[] = { 3, 0, 3, 1, 1000, 1 }, place[] = { 2, 4, 3, 0, 5, 1 };
    request r[6];
    hs_generated want[6];
    gate g;
    for (int i = 0; i < 6; i++) {
        make(&r[i], i + 5);
        r[i].g.max_tokens = 9;
        r[i].g.priority = priority[i];
        generated(e, &r[i], &want[i]);
    }
    hs_scheduler_stats sum;
    hs_scheduler *s = scheduler(e, (how){ .slots = 1, .pages = 20, .queue_most = 5 });
    atomic_store(&n_done, 0);
    close_gate(&g, &r[4]); // the lowest is there alone
    assert_int_equal(hs_scheduler_add(s, &r[4].g), HS_OK);
    sem_wait(&g.reached);
    for (int i = 0; i < 6; i++)
        if (i != 4)
            assert_int_equal(hs_scheduler_add(s, &r[i].g), HS_OK);
    request more;
    make(&more, 1);
    assert_int_equal(hs_scheduler_add(s, &more.g), HS_MEMORY);
    assert_string_equal(hs_error(), "the server is busy: 6 requests are under way or wait, as many as may");
    hs_scheduler_look(s, &sum);
    assert_true(sum.waiting == 6 && sum.refused == 1 && sum.slots == 1);
    FAILS(MEMORY, "no room for 1 more", hs_scheduler_check_room(s, 1));
    FAILS(MEMORY, "no room for 6 more", hs_scheduler_check_room(s, 6));
    FAILS(USAGE, "at most 6 may be", hs_scheduler_check_room(s, 7));
    sem_post(&g.open);
    assert_true(hs_scheduler_drain(s, 10));
    for (int i = 0; i < 6; i++) {
        assert_int_equal(r[i].order, place[i]);
        same(&r[i], &want[i]);
        hs_generated_free(&want[i], 1);
    }
    hs_scheduler_look(s, &sum);
    assert_int_equal(sum.set_back, 1);
    OK(hs_scheduler_check_room(s, 6));
    assert_int_equal(hs_scheduler_add(s, &more.g), HS_STOPPED);
    hs_scheduler_free(s);
    hs_engine_free(e);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        int64_t n, max_tokens;
        int priority, n_stops;
        double temperature;
        const char *message;
    } rows[] = {
        { 5, 0, 0, 0, 0, "max_tokens is 0, must be at least 1" },
        { 5, 20, 0, 0, 0, "the prompt has 5 tokens, with 20 new ones that is more than the model's context of 24" },
        { 5, 13, 0, 0, 0, "18 tokens need 3 cache pages, the server has 2" },
        { 0, 4, 0, 0, 0, "prompt 1 is empty: the model needs at least one token to continue" },
        { 5, 4, -1, 0, 0, "priority is -1, must be 1 (the highest) or more, or 0 (100)" },
        { 5, 4, 0, 1, 0, "stop strings need a tokenizer, and the model has none" },
        { 5, 4, 0, 0, -2, "temperature is -2, allowed 0 (greedy) to 1000" },
    };
    static const char *const stop[] = { "x" };
    tiny_gpt model;
    hs_engine *e = engine(&model);
    hs_scheduler *s = scheduler(e, (how){ .slots = 2, .pages = 2 });
    for (int i = 0; i < HS_COUNT(rows); i++) {
        request r;
        make(&r, 0);
        r.g.n = rows[i].n, r.g.max_tokens = rows[i].max_tokens, r.g.priority = rows[i].priority;
        r.g.sampling.temperature = rows[i].temperature;
        r.g.stop = stop, r.g.n_stops = rows[i].n_stops;
        assert_int_equal(hs_scheduler_add(s, &r.g), HS_USAGE);
        assert_string_equal(hs_error(), rows[i].message);
        assert_false(r.done);
    }
    hs_scheduler_free(s);
    hs_engine_free(e);
}

// Stop tokens, stop strings, callers that leave, deadlines - of one that runs, and of one that waits.
static void ends(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model);
    hs_tokenizer *bytes;
    hs_generated want[6];
    request r[6];
    assert_int_equal(hs_tokenizer_byte(&bytes), HS_OK);
    for (int i = 0; i < 6; i++) {
        make(&r[i], 2 * i + 1);
        r[i].g.max_tokens = 8;
        generated(e, &r[i], &want[i]);
    }
    const int32_t *next[6];
    for (int i = 0; i < 6; i++)
        next[i] = want[i].ids + want[i].n_prompt;
    int32_t stop_id = next[0][3], first = 0;
    while (next[0][first] != stop_id)
        first++;
    r[0].g.stop_ids = &stop_id, r[0].g.n_stop_ids = 1;
    char ends_at[3] = { (char)next[1][4], (char)next[1][5], 0 };
    const char *const stops[] = { "zz", ends_at };
    assert_true(ends_at[0] && ends_at[1]);
    r[1].g.stop = stops, r[1].g.n_stops = 2;
    r[2].gone_after = 3;
    r[3].g.deadline = hs_now() - 1;
    r[4].gone_after = 0;
    gate g;
    close_gate(&g, &r[5]);
    hs_scheduler_stats sum;
    hs_scheduler *s = scheduler(e, (how){ .slots = 3, .pages = 20, .queue_most = 10, .tokenizer = bytes });
    assert_int_equal(hs_scheduler_add(s, &r[5].g), HS_OK);
    sem_wait(&g.reached);
    for (int i = 0; i < 5; i++)
        assert_int_equal(hs_scheduler_add(s, &r[i].g), HS_OK);
    sem_post(&g.open);
    assert_true(hs_scheduler_drain(s, 10));
    static const hs_finish how_it_ends[] = { HS_FINISH_STOP,     HS_FINISH_STOP,      HS_FINISH_CANCELLED,
                                             HS_FINISH_DEADLINE, HS_FINISH_CANCELLED, HS_FINISH_LENGTH };
    for (int i = 0; i < 6; i++) {
        assert_int_equal(r[i].g.finish, how_it_ends[i]);
        assert_memory_equal(r[i].got, next[i], (size_t)r[i].n_got * sizeof(int32_t));
    }
    assert_int_equal(r[0].n_got, first + 1); // the stop token is one of them, and has no text
    assert_int_equal(r[0].n_text, first);
    size_t cut = 0;
    while (next[1][cut] != ends_at[0] || next[1][cut + 1] != ends_at[1])
        cut++;
    assert_int_equal(r[1].n_got, cut + 2);
    assert_int_equal(r[1].n_text, cut);
    for (size_t k = 0; k < r[1].n_text; k++)
        assert_int_equal(r[1].text[k], next[1][k]);
    assert_int_equal(r[2].n_got, 3);
    assert_true(r[3].n_got == 0 && r[4].n_got == 0);
    assert_int_equal(r[5].n_text, 8);
    for (size_t k = 0; k < 8; k++)
        assert_int_equal(r[5].text[k], next[5][k]);
    hs_scheduler_look(s, &sum);
    assert_true(sum.pages_held == 0 && sum.finished[HS_FINISH_STOP] == 2 && sum.finished[HS_FINISH_CANCELLED] == 2 &&
                sum.finished[HS_FINISH_DEADLINE] == 1);
    hs_scheduler_free(s);
    for (int i = 0; i < 6; i++)
        hs_generated_free(&want[i], 1);
    hs_tokenizer_free(bytes);
    hs_engine_free(e);
}

static hs_engine *trains; // what the device of the test is told, from the scheduler's thread
static void begin_to_train(request *r)
{
    static const int lengths[] = { 20, 0 };
    tiny_fill_run(r->run, trains->plan[HS_TRAIN], lengths, 1, 0);
    assert_int_equal(hs_run_micro(r->run, trains->plan[HS_TRAIN], true), HS_OK); // a step is refused until it is updated
    r->behind_token = NULL;
}

static bool mended(hs_generation *g) // asked behind the step that failed
{
    request *r = g->user;
    if (r->run)
        assert_int_equal(hs_run_update(r->run), HS_OK);
    r->run = NULL;
    return false;
}

static void a_step_fails(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model);
    request r[4];
    gate g;
    trains = e;
    for (int i = 0; i < 4; i++) {
        make(&r[i], i + 2);
        r[i].g.n = 3, r[i].g.max_tokens = 6;
    }
    r[0].run = e->run, r[0].behind_token = begin_to_train;
    r[3].run = e->run, r[3].g.gone = NULL;
    close_gate(&g, &r[1]);
    hs_scheduler_stats sum;
    hs_scheduler *s = scheduler(e, (how){ .slots = 2, .pages = 20, .queue_most = 10, .share = true });
    assert_int_equal(hs_scheduler_add(s, &r[1].g), HS_OK);
    sem_wait(&g.reached);
    r[0].g.priority = r[1].g.priority = 1, r[2].g.priority = r[3].g.priority = 2;
    assert_int_equal(hs_scheduler_add(s, &r[0].g), HS_OK);
    sem_post(&g.open);
    wait_for(&r[0]);
    wait_for(&r[1]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r[i].g.finish, HS_FINISH_FAILED);
        assert_true(strlen(r[i].g.error) > 0);
    }
    r[3].g.gone = mended; // takes back what the device was told
    assert_int_equal(hs_scheduler_add(s, &r[3].g), HS_OK);
    wait_for(&r[3]);
    assert_int_equal(r[3].g.finish, HS_FINISH_LENGTH);
    assert_int_equal(hs_scheduler_add(s, &r[2].g), HS_OK);
    wait_for(&r[2]);
    assert_int_equal(r[2].g.finish, HS_FINISH_LENGTH);
    assert_true(hs_scheduler_drain(s, 10));
    hs_scheduler_look(s, &sum);
    assert_true(sum.pages_held == 0 && sum.finished[HS_FINISH_FAILED] == 2);
    hs_scheduler_free(s);

    flat_set(e->params, "master", hs_params_find(e->params, "ln_f.weight"), 0, NAN);
    s = scheduler(e, (how){ .slots = 2, .pages = 20 });
    make(&r[0], 4);
    assert_int_equal(hs_scheduler_add(s, &r[0].g), HS_OK);
    wait_for(&r[0]);
    assert_true(r[0].g.finish == HS_FINISH_NONFINITE && r[0].n_got == 0);
    assert_string_equal(r[0].g.error, "the model's logits are not finite numbers");
    hs_scheduler_free(s);
    hs_engine_free(e);
}

// Who has its answer finds room for the next question, where there is room for one.
static void one_after_the_other(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model);
    request r[6];
    hs_scheduler *s = scheduler(e, (how){ .slots = 1, .pages = 20 });
    for (int i = 0; i < 6; i++)
        make(&r[i], i);
    for (int i = 0; i < 5; i++)
        r[i].asks = s, r[i].next = &r[i + 1];
    assert_int_equal(hs_scheduler_add(s, &r[0].g), HS_OK);
    wait_for(&r[5]);
    assert_true(hs_scheduler_drain(s, 10));
    hs_scheduler_free(s);
    hs_engine_free(e);
}

static void what_is_left(void **state)
{
    (void)state;
    tiny_gpt model;
    hs_engine *e = engine(&model);
    request r[5];
    gate g;
    hs_scheduler *s = scheduler(e, (how){ .slots = 1, .pages = 20, .queue_most = 10 });
    for (int i = 0; i < 5; i++)
        make(&r[i], i + 3);
    close_gate(&g, &r[0]);
    for (int i = 0; i < 5; i++)
        assert_int_equal(hs_scheduler_add(s, &r[i].g), HS_OK);
    sem_wait(&g.reached);
    assert_false(hs_scheduler_drain(s, 0.01));
    r[0].gone_after = 1; // the others may or may not come to their ends
    sem_post(&g.open);
    hs_scheduler_free(s);
    for (int i = 0; i < 5; i++) {
        assert_true(r[i].done);
        assert_true(r[i].g.finish == HS_FINISH_CANCELLED || r[i].g.finish == HS_FINISH_LENGTH);
    }
    hs_scheduler_free(NULL);
    hs_engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_if_alone),
                                        cmocka_unit_test(who_goes_first),
                                        cmocka_unit_test(refused),
                                        cmocka_unit_test(ends),
                                        cmocka_unit_test(a_step_fails),
                                        cmocka_unit_test(what_is_left),
                                        cmocka_unit_test(one_after_the_other) };
    return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
