// Delayed scales of fp8 over ranks, which are threads: behind every update all of them have one history; where ranks divide the samples it
// is, to the bit, what one rank finds in all of them, and where they divide layers that within rounding; it costs one call over each axis.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/nn/nn.h"
#include "tests/support/support_comm.h"
#include "tests/support/support_gpt.h"
#include "tests/support/support_params.h"
#include "tests/support/support_words.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

// The first step has no history, and tensors at hand scale it: what it leaves in a ring of 4 is gone by the last.
enum { STEPS = 7, SEQS = 8, LAYERS = 8 };
static const int lengths[SEQS] = { 12, 7, 16, 1, 9, 24, 5, 3 };
enum { TOKENS = 12 + 7 + 16 + 1 + 9 + 24 + 5 + 3 };

typedef struct layout {
    int dp, tp, micro;
    bool sequence;
    hs_divide divide;
    const char *policy;
    double lr;
} layout;

typedef struct history {
    char name[96];
    float *v;
    size_t n;
} history;

typedef struct trial {
    layout at;
    tiny_gpt model;
    history of[MAX_RANKS][LAYERS];
    int n[MAX_RANKS];
    double loss[MAX_RANKS][STEPS];
    comm_calls calls[RANKS_COMMS];
} trial;

// What this rank has of the samples, in so many micro-batches.
static hs_status train_step(const trial *t, hs_engine *e, int step)
{
    const int rank = e->model->grid.dp->rank, each = SEQS / (t->at.dp * t->at.micro);
    for (int m = 0; m < t->at.micro; m++) {
        int own[SEQS + 1] = { 0 };
        const int first = (rank * t->at.micro + m) * each;
        memcpy(own, lengths + first, (size_t)each * sizeof *own);
        tiny_fill(e, HS_TRAIN, own, (uint64_t)step + 1, first);
        e->in->n_micro = t->at.micro, e->in->inv_count[0] = 1.0f / TOKENS;
        HS_TRY(hs_engine_run(e, HS_TRAIN, (m == 0 ? HS_MICRO_FIRST : 0) | (m == t->at.micro - 1 ? HS_MICRO_LAST : 0)));
    }
    return hs_run_update(e->run);
}

static hs_status read_histories(trial *t, const hs_engine *e, int rank)
{
    const hs_states *all = e->model->states;
    for (int i = 0; i < all->n; i++) {
        const hs_state *s = all->state[i];
        history *h = &t->of[rank][t->n[rank]];
        if (!s->largest || t->n[rank] == LAYERS)
            return HS_FAIL(INTERNAL, "state %s", s->name);
        t->n[rank]++;
        snprintf(h->name, sizeof h->name, "%s", s->name);
        h->n = s->bytes / sizeof(float), h->v = malloc(s->bytes);
        HS_TRY(hs_run_states_read(e->run, i, h->v));
    }
    return HS_OK;
}

static hs_status rank_work(const hs_grid *grid, void *arg, int rank)
{
    trial *t = arg;
    const hs_policy policy = policy_named(t->at.policy);
    hs_optim_config optim;
    hs_device *dev;
    hs_engine *e;
    optim = optim_named("adamw");
    optim.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = t->at.lr };
    HS_TRY(hs_open_device(&dev, test_device, 1, NULL, 0, false));
    hs_status st = hs_engine_new(&e, &(hs_engine_opts){ .model = tiny_gpt_model,
                                                        .config = &t->model,
                                                        .policy = &policy,
                                                        .optim = &optim,
                                                        .micro_steps = t->at.micro,
                                                        .device = dev,
                                                        .grid = *grid,
                                                        .sequence = t->at.sequence,
                                                        .divide = t->at.divide,
                                                        .mode = HS_SUBMIT_BULK });
    for (int s = 0; s < STEPS && st == HS_OK; s++) {
        st = train_step(t, e, s);
        t->loss[rank][s] = st == HS_OK ? hs_engine_loss(e, HS_TRAIN) : 0;
    }
    if (st == HS_OK)
        st = read_histories(t, e, rank);
    hs_engine_free(e);
    hs_device_close(dev);
    return st;
}

static trial *train(layout at)
{
    trial *t = calloc(1, sizeof *t);
    t->at = at;
    t->model = tiny_gpt_of(&(tiny_opts){ .dropout = 0.1f, .max_tokens = TOKENS + 3, .max_seqs = SEQS });
    t->model.config.heads = 4;
    if (ranks_run_grid(at.dp, at.tp, rank_work, t, t->calls) != HS_OK)
        fail_msg("dp %d, tp %d: %s", at.dp, at.tp, hs_error());
    return t;
}

static void trial_free(trial *t)
{
    for (int r = 0; r < MAX_RANKS; r++)
        for (int i = 0; i < t->n[r]; i++)
            free(t->of[r][i].v);
    free(t);
}

static void one_history(const trial *t)
{
    for (int r = 1; r < t->at.dp * t->at.tp; r++) {
        assert_int_equal(t->n[r], t->n[0]);
        for (int i = 0; i < t->n[0]; i++) {
            assert_string_equal(t->of[r][i].name, t->of[0][i].name);
            assert_memory_equal(t->of[r][i].v, t->of[0][i].v, t->of[0][i].n * sizeof(float));
        }
    }
}

static const history *find(const trial *t, const char *name)
{
    for (int i = 0; i < t->n[0]; i++)
        if (!strcmp(t->of[0][i].name, name))
            return &t->of[0][i];
    fail_msg("one rank has no %s", name);
    return NULL;
}

static void near(const trial *one, const trial *t, double bound)
{
    for (int i = 0; i < t->n[0]; i++) {
        const history *a = &t->of[0][i], *b = find(one, a->name);
        assert_int_equal(a->n, b->n);
        for (size_t k = 0; k < a->n; k++)
            if (!(b->v[k] > 0 && fabsf(a->v[k] - b->v[k]) <= bound * b->v[k]))
                fail_msg("dp %d, tp %d: %s[%zu] is %.9g, of one rank %.9g", t->at.dp, t->at.tp, a->name, k, (double)a->v[k], (double)b->v[k]);
    }
    for (int s = 0; s < STEPS; s++)
        assert_float_equal(t->loss[0][s] / one->loss[0][s], 1, 1e-2);
}

static const layout layouts[] = {
    { .dp = 2, .tp = 1, .micro = 1 },
    { .dp = 4, .tp = 1, .micro = 1 },
    { .dp = 2, .tp = 1, .micro = 4 },
    { .dp = 2, .tp = 1, .micro = 2, .divide = HS_DIVIDE_STATES },
    { .dp = 4, .tp = 1, .micro = 2, .divide = HS_DIVIDE_GRADIENTS },
    { .dp = 1, .tp = 2, .micro = 1 },
    { .dp = 1, .tp = 4, .micro = 2 },
    { .dp = 1, .tp = 2, .micro = 1, .sequence = true },
    { .dp = 2, .tp = 2, .micro = 2 },
    { .dp = 2, .tp = 4, .micro = 1 },
};

// Values stand still, so that there is nothing but the batch and the history that a history may depend on.
static void histories_are_of_the_global_batch(void **state)
{
    (void)state;
    trial *one = train((layout){ .dp = 1, .tp = 1, .micro = 1, .policy = "fp8 delayed" });
    trial *parts = train((layout){ .dp = 1, .tp = 1, .micro = 4, .policy = "fp8 delayed" });
    assert_int_equal(one->n[0], LAYERS);
    near(one, parts, 0);
    for (int i = 0; i < HS_COUNT(layouts); i++) {
        layout at = layouts[i];
        at.policy = "fp8 delayed";
        trial *t = train(at);
        assert_int_equal(t->n[0], at.tp == 4 ? 4 : LAYERS); // of 128 / 4 columns or rows; those of 32 / 4 stay linear
        one_history(t);
        near(one, t, at.tp > 1 ? 0.2 : 0); // a value that rounds to the next code is an eighth, or of a gradient a quarter, away
        trial_free(t);
    }
    trial_free(parts);
    trial_free(one);
}

static void trained_histories_are_one(void **state)
{
    (void)state;
    trial *one = train((layout){ .dp = 1, .tp = 1, .micro = 1, .policy = "fp8 delayed", .lr = 1e-2 });
    assert_true(one->loss[0][STEPS - 1] < one->loss[0][0]);
    for (int i = 0; i < HS_COUNT(layouts); i++) {
        layout at = layouts[i];
        at.policy = "fp8 delayed", at.lr = 1e-2;
        trial *t = train(at);
        one_history(t);
        for (int s = 0; s < STEPS; s++)
            assert_float_equal(t->loss[0][s] / one->loss[0][s], 1, 1e-2);
        trial_free(t);
    }
    trial_free(one);
}

static void a_call_a_step_and_axis(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(layouts); i++) {
        layout at = layouts[i];
        at.policy = "fp8";
        trial *current = train(at);
        at.policy = "fp8 delayed";
        trial *delayed = train(at);
        const int axes[] = { RANKS_DP, RANKS_TP }, size[] = { at.dp, at.tp };
        for (int a = 0; a < 2; a++) {
            const comm_calls *c = &current->calls[axes[a]], *d = &delayed->calls[axes[a]];
            assert_int_equal(d->all_reduces - c->all_reduces, size[a] > 1 ? STEPS : 0);
            assert_int_equal(d->elements - c->elements, size[a] > 1 ? STEPS * delayed->n[0] * 16 : 0); // [2, 4] in room of 64 bytes
        }
        trial_free(current);
        trial_free(delayed);
    }
}

// ---- a plan that comes when others have run: its histories lie elsewhere, and are the ranks' all the same

enum { ROWS = 6, WIDE = 16 };

static void one_layer(hs_graph *g, const void *scope)
{
    hs_tensor *x = hs_input(g, "x", HS_F32, HS_EXT_TOKENS, 2, (int64_t[]){ ROWS, WIDE });
    hs_tensor *target = hs_input(g, "target", HS_I32, HS_EXT_TOKENS, 1, (int64_t[]){ ROWS });
    hs_tensor *w = hs_param_get(
        g, &(hs_param_spec){ .name = "w", .init = HS_INIT_NORMAL, .std = 0.5f, .pad_rows = 1, .n_dims = 2, .dim = { WIDE, WIDE } });
    const size_t mark = hs_push(g, "%s", (const char *)scope);
    hs_tensor *y = hs_linear(g, x, w, NULL);
    hs_pop(g, mark);
    hs_xent(g, y, target, (hs_xent_attr){ .classes = WIDE, .ignore = -1 });
}

// The largest of x is `size` here.
static hs_status run_layer(hs_run *run, int plan, float size, bool last)
{
    float x[ROWS * WIDE] = { [ROWS * WIDE / 2] = -size, [1] = size / 2 };
    const int32_t target[ROWS] = { 0 };
    HS_TRY(hs_run_write(run, plan, "x", x, sizeof x));
    HS_TRY(hs_run_write(run, plan, "target", target, sizeof target));
    hs_step_live(hs_run_in(run), ROWS, 1, 0);
    hs_run_in(run)->inv_count[0] = 1.0f / ROWS;
    return hs_run_micro(run, plan, last);
}

static hs_status noted(hs_run *run, const char *name, int step, float want)
{
    const hs_states *all = hs_run_model(run)->states;
    float ring[2][4];
    for (int i = 0; i < all->n; i++)
        if (!strcmp(all->state[i]->name, name)) {
            HS_TRY(hs_run_states_read(run, i, ring));
            return ring[0][step] == want ? HS_OK : HS_FAIL(INTERNAL, "%s of step %d: %g, not %g", name, step, (double)ring[0][step], (double)want);
        }
    return HS_FAIL(INTERNAL, "no state %s", name);
}

static hs_status plans_one_by_one(hs_run **run, hs_model *m, int rank)
{
    int plan[2];
    HS_TRY(hs_model_plan(m, HS_TRAIN, one_layer, "first", &plan[0]));
    HS_TRY(hs_model_alloc(m, true));
    HS_TRY(hs_run_new(run, m, &(hs_run_opts){ .mode = HS_SUBMIT_BULK }));
    HS_TRY(hs_run_set_update(*run, &(hs_segment){ NULL, 0 }));
    HS_TRY(run_layer(*run, plan[0], rank ? 3 : 1, true));
    HS_TRY(hs_run_update(*run));
    HS_TRY(noted(*run, "fp8.0.first.amax", 0, 3));
    HS_TRY(hs_model_plan(m, HS_TRAIN, one_layer, "later", &plan[1]));
    HS_TRY(hs_run_bind(*run, plan[1]));
    HS_TRY(run_layer(*run, plan[0], rank ? 5 : 6, false));
    HS_TRY(run_layer(*run, plan[1], rank ? 8 : 7, true));
    HS_TRY(hs_run_update(*run));
    HS_TRY(noted(*run, "fp8.0.first.amax", 0, 3));
    HS_TRY(noted(*run, "fp8.0.first.amax", 1, 6));
    return noted(*run, "fp8.0.later.amax", 1, 8);
}

static hs_status layer_work(const hs_grid *grid, void *arg, int rank)
{
    (void)arg;
    const hs_policy policy = policy_named("fp8 delayed");
    hs_device *dev;
    hs_model *m;
    hs_run *run = NULL;
    HS_TRY(hs_open_device(&dev, test_device, 1, NULL, 0, false));
    HS_TRY(hs_model_new(&m, &(hs_model_opts){ .device = dev, .policy = &policy, .grid = *grid, .seed = 3 }));
    const hs_status st = plans_one_by_one(&run, m, rank);
    hs_run_free(run);
    hs_model_free(m);
    hs_device_close(dev);
    return st;
}

static void a_later_plan_has_its_own(void **state)
{
    (void)state;
    static const int grids[][2] = { { 2, 1 }, { 1, 2 } };
    for (int i = 0; i < HS_COUNT(grids); i++)
        if (ranks_run_grid(grids[i][0], grids[i][1], layer_work, NULL, NULL) != HS_OK)
            fail_msg("dp %d, tp %d: %s", grids[i][0], grids[i][1], hs_error());
}

int main(int argc, char **argv)
{
    test_takes_device(argc, argv);
    const struct CMUnitTest tests[] = { cmocka_unit_test(histories_are_of_the_global_batch), cmocka_unit_test(trained_histories_are_one),
                                        cmocka_unit_test(a_call_a_step_and_axis), cmocka_unit_test(a_later_plan_has_its_own) };
    return cmocka_run_group_tests_name("delayed scales over ranks", tests, NULL, NULL);
}
