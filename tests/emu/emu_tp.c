// Ops between tensor-parallel ranks, emulated beside the CPU's over several ranks: threads of which one runs at a time, but where all wait
// in a collective.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/cpu/lane.h"
#include "ops/attrs.h"
#include "tests/emu/emu_runtime.h"
#include "tests/support/support_comm.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

extern const hs_kernels *const hs_kernels_table_cuda[HS_N_OPS];

// ---- one rank at a time

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static hs_comm *within(hs_comm *c) { return c->impl; }
#define WAITING(call)                                                                                                                      \
    do {                                                                                                                                   \
        pthread_mutex_unlock(&turn);                                                                                                       \
        call;                                                                                                                              \
        pthread_mutex_lock(&turn);                                                                                                         \
    } while (0)
static void all_reduce(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    WAITING(within(c)->all_reduce(within(c), l, buf, n, d, op));
}
static void reduce_scatter(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n, hs_dtype d)
{
    WAITING(within(c)->reduce_scatter(within(c), l, in, out, n, d));
}
static void all_gather(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n, hs_dtype d)
{
    WAITING(within(c)->all_gather(within(c), l, in, out, n, d));
}
static void reduce_parts(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d)
{
    WAITING(within(c)->reduce_parts(within(c), l, buf, n, d));
}
static void gather_parts(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d)
{
    WAITING(within(c)->gather_parts(within(c), l, buf, n, d));
}

// ---- what is run

typedef union attrs {
    hs_tp_gather_attr gather;
    hs_tp_rows_attr rows;
    hs_tp_own_cols_attr cols;
    hs_tp_linear_xent_attr xent;
} attrs;

enum { ROWS = 41, CLASSES = 40 };
typedef struct setup { // of one rank
    int id;
    attrs at;
    hs_tensor *in[HS_MAX_IN];
    int n_in, shared; // bits of inputs that all ranks have alike
} setup;

static hs_tensor *rows_of(hs_graph *g, const char *name, hs_dtype d, hs_ext ext, int64_t rows, int64_t cols)
{
    return hs_input(g, name, d, ext, cols ? 2 : 1, (int64_t[]){ rows, cols });
}

static void set_copy(setup *s, hs_graph *g, int rank, int ranks, int64_t cols)
{
    (void)rank, (void)ranks;
    s->in[0] = rows_of(g, "x", HS_F32, HS_EXT_TOKENS, ROWS, cols);
}
static void set_gather(setup *s, hs_graph *g, int rank, int ranks, int64_t cols)
{
    s->at.gather = (hs_tp_gather_attr){ rank, ranks };
    s->in[0] = rows_of(g, "x", HS_F32, HS_EXT_TOKENS, ROWS, cols);
}
static void set_share(setup *s, hs_graph *g, int rank, int ranks, int64_t cols)
{
    (void)rank;
    s->at.rows = (hs_tp_rows_attr){ ROWS, ranks };
    s->in[0] = rows_of(g, "x", HS_F32, HS_EXT_SHARE, hs_share_rows(ROWS, ranks), cols);
}
static void set_whole(setup *s, hs_graph *g, int rank, int ranks, int64_t cols)
{
    (void)rank;
    s->at.rows = (hs_tp_rows_attr){ ROWS, ranks };
    s->in[0] = rows_of(g, "x", HS_F32, HS_EXT_TOKENS, ROWS, cols);
}
static void set_ids(setup *s, hs_graph *g, int rank, int ranks, int64_t cols)
{
    set_whole(s, g, rank, ranks, cols);
    s->in[0]->dtype = HS_I32;
}
static void set_cols(setup *s, hs_graph *g, int rank, int ranks, int64_t cols)
{
    s->at.cols = (hs_tp_own_cols_attr){ 3, rank, ranks };
    s->in[0] = rows_of(g, "x", HS_F32, HS_EXT_TOKENS, ROWS, 3 * ranks * cols);
}
static void set_xent(setup *s, hs_graph *g, int rank, int ranks, int64_t cols)
{
    s->at.xent = (hs_tp_linear_xent_attr){ CLASSES * ranks - 5, -1, 1, cols % 8 ? 0.1f : 0, CLASSES * rank };
    s->in[0] = rows_of(g, "x", HS_F32, HS_EXT_TOKENS, ROWS, 24);
    s->in[1] = rows_of(g, "w", HS_F32, HS_EXT_FIXED, CLASSES, 24);
    s->in[2] = rows_of(g, "target", HS_I32, HS_EXT_TOKENS, ROWS, 0);
    s->in[3] = rows_of(g, "bias", HS_F32, HS_EXT_FIXED, CLASSES, 0);
    s->n_in = 4, s->shared = 1 | 4;
}

static const struct {
    int id;
    void (*make)(setup *s, hs_graph *g, int rank, int ranks, int64_t cols);
} ops[] = {
    { HS_ID_tp_copy, set_copy },         { HS_ID_tp_reduce, set_copy },      { HS_ID_tp_gather, set_gather },
    { HS_ID_tp_gather_rows, set_share }, { HS_ID_tp_whole_rows, set_share }, { HS_ID_tp_reduce_rows, set_whole },
    { HS_ID_tp_own_rows, set_ids },      { HS_ID_tp_own_cols, set_cols },    { HS_ID_tp_linear_xent, set_xent },
};

// ---- buffers: what does not live is NaN

typedef struct one_run {
    hs_args a;
    char *bytes[4 * HS_MAX_IN];
    int n;
} one_run;

static char *take(one_run *r, size_t bytes)
{
    char *p = malloc(bytes + 64);
    if (!p)
        abort();
    memset(p, 0xFF, bytes + 64);
    return r->bytes[r->n++] = p;
}

static hs_ref ref_of(one_run *r, const hs_tensor *t, hs_dtype d, bool add)
{
    return (hs_ref){ take(r, (size_t)hs_tensor_count(t) * hs_dtype_bytes(d)), t->dim[0], hs_tensor_cols(t), d, t->ext, add, t };
}

static void fill(const hs_ref *r, const hs_step_in *step, uint64_t key, int64_t limit)
{
    const int64_t n = hs_ext_rows(r->ext, step->n, r->rows) * r->cols;
    float *v = malloc((size_t)n * sizeof *v + 1);
    hs_random_normal(v, n, key, 0, 0, 1);
    for (int64_t i = 0; i < n && r->dtype == HS_I32; i++)
        ((int32_t *)(void *)r->p)[i] = (int32_t)(hs_mix2(key, (uint64_t)i) % (uint64_t)(limit + 1)) - 1; // some are ignored
    if (r->dtype != HS_I32)
        hs_convert(r->p, r->dtype, v, HS_F32, n);
    free(v);
}

typedef struct ways {   // of one case
    hs_dtype low, grad; // of what may be low; of gradients of inputs
    bool add, backward;
    int64_t live, cols;
} ways;

static hs_dtype type_of(const hs_operand *o, const hs_tensor *t, hs_dtype low)
{
    return t->dtype == HS_I32 ? HS_I32 : o->amp == HS_AMP_F32 ? HS_F32 : low;
}

static one_run prepare(const setup *s, const hs_node *n, const ways *w, hs_step_in *step, hs_step_state *state, hs_comm *comm)
{
    one_run r = { .a = { .attr = n->attr, .step = step, .state = state, .comm = comm } };
    const hs_op *op = n->op;
    for (int i = 0; i < s->n_in; i++) {
        const uint64_t key = (uint64_t)(100 * s->id + 10 * i + (s->shared >> i & 1 ? 0 : 1000 * (comm->rank + 1)));
        r.a.in[i] = ref_of(&r, n->in[i], type_of(&op->in[i], n->in[i], w->low), false);
        fill(&r.a.in[i], step, key, CLASSES * comm->size - 5);
        if (!w->backward || op->in[i].flags & HS_NO_GRAD || n->in[i]->dtype == HS_I32)
            continue;
        r.a.din[i] = ref_of(&r, n->in[i], op->in[i].amp == HS_AMP_F32 ? HS_F32 : w->grad, w->add);
        fill(&r.a.din[i], step, key + 7, 0);
    }
    for (int o = 0; o < hs_op_n_out(op); o++) {
        r.a.out[o] = ref_of(&r, n->out[o], type_of(&op->out[o], n->out[o], w->low), false);
        if (w->backward && !(op->out[o].flags & HS_SAVED) && !(op->flags & HS_OP_LOSS)) {
            r.a.dout[o] = ref_of(&r, n->out[o], type_of(&op->out[o], n->out[o], w->low), false);
            fill(&r.a.dout[o], step, (uint64_t)(5 + 1000 * comm->rank), 0);
        }
    }
    return r;
}

static void run(one_run *r, const hs_kernels *k, const hs_node *n, bool backward)
{
    const hs_scratch s = k->scratch ? k->scratch(n, 1, backward) : (hs_scratch){ 0 };
    r->a.scratch = take(r, s.shared), r->a.thread_scratch = take(r, s.per_thread), r->a.thread_bytes = s.per_thread;
    (backward ? k->bwd : k->fwd)(&r->a, &(hs_lane){ .id = 0, .n = 1 });
}

// Live rows. What only travels has the same bits, what products go into is close.
static hs_status compare(const hs_ref *a, const hs_ref *b, const hs_step_in *step, const hs_node *n, double tolerance, const char *name)
{
    const int64_t count = hs_ext_rows(a->ext, step->n, a->rows) * a->cols;
    double size = 0;
    for (int64_t i = 0; a->p && i < count; i++) {
        double x = 0, y = 0;
        if (a->dtype == HS_I32) {
            x = ((const int32_t *)(const void *)a->p)[i], y = ((const int32_t *)(const void *)b->p)[i];
        } else {
            hs_convert(&x, HS_F64, a->p + (size_t)i * hs_dtype_bytes(a->dtype), a->dtype, 1);
            hs_convert(&y, HS_F64, b->p + (size_t)i * hs_dtype_bytes(b->dtype), b->dtype, 1);
        }
        size = fmax(size, fabs(y));
        if (!(x == y || fabs(x - y) <= tolerance * (1 + size)))
            return HS_FAIL(INTERNAL, "%s: %s[%lld] is %.9g, on the CPU %.9g", n->op->name, name, (long long)i, x, y);
    }
    return HS_OK;
}

static hs_status compare_all(const setup *s, const one_run *a, const one_run *b, const hs_node *n, const ways *w)
{
    const double tolerance = s->id != HS_ID_tp_linear_xent ? 0 : w->low == HS_F32 ? 2e-6 : 2e-2;
    for (int o = 0; o < hs_op_n_out(n->op) && (!w->backward || n->op->flags & HS_OP_LOSS); o++)
        if (!(n->op->out[o].flags & HS_SCRATCH))
            HS_TRY(compare(&a->a.out[o], &b->a.out[o], a->a.step, n, tolerance, n->op->out[o].name));
    for (int i = 0; i < s->n_in && w->backward; i++)
        HS_TRY(compare(&a->a.din[i], &b->a.din[i], a->a.step, n, tolerance, n->op->in[i].name));
    return HS_OK;
}

static hs_status check(const setup *s, const hs_node *n, const ways *w, hs_comm *comm)
{
    hs_step_in step = { .n_micro = 1 };
    hs_step_state state = { .scale = 4 };
    step.n[HS_COUNT_TOKENS] = w->live;
    step.n[HS_COUNT_SHARE] = hs_share_first(w->live, comm->rank + 1, comm->size) - hs_share_first(w->live, comm->rank, comm->size);
    step.inv_count[1] = 0.125f;
    one_run theirs = prepare(s, n, w, &step, &state, comm), ours = prepare(s, n, w, &step, &state, comm);
    run(&theirs, hs_kernels_table_cuda[s->id], n, w->backward);
    run(&ours, &n->op->cpu, n, w->backward);
    const hs_status st = compare_all(s, &theirs, &ours, n, w);
    for (int i = 0; i < theirs.n; i++)
        free(theirs.bytes[i]), free(ours.bytes[i]);
    HS_TRY(st);
    return HS_OK;
}

static hs_status every_way(const setup *s, const hs_node *n, int64_t cols, hs_comm *comm)
{
    static const int64_t live[] = { ROWS, ROWS - 7, 2, 0 };
    for (int l = 0; l < HS_COUNT(live); l++)
        for (int k = 0; k < 12; k++) { // types; forward, backward, and adding
            const ways w = { .low = k / 3 ? HS_BF16 : HS_F32,
                             .grad = k / 3 % 2 ? HS_BF16 : HS_F32,
                             .backward = k % 3 > 0,
                             .add = k % 3 > 1,
                             .live = live[l],
                             .cols = cols };
            if (w.backward && !n->op->cpu.bwd)
                continue;
            for (int i = 0; i < s->n_in; i++)
                n->in[i]->dtype = n->in[i]->dtype == HS_I32 ? HS_I32 : type_of(&n->op->in[i], n->in[i], w.low);
            ((hs_node *)(uintptr_t)n)->low = w.low;
            HS_TRY(check(s, n, &w, comm));
        }
    return HS_OK;
}

static hs_status check_op(int op, int64_t cols, const hs_grid *grid)
{
    hs_params *ps;
    hs_graph *g = NULL;
    setup s = { .id = ops[op].id, .n_in = 1 };
    HS_TRY(hs_params_new(&ps, 3, grid->tp->rank, grid->tp->size));
    HS_TRY(hs_graph_new(&g, ps, NULL, HS_TRAIN, grid));
    ops[op].make(&s, g, grid->tp->rank, grid->tp->size, cols);
    hs_emit(g, hs_ops[s.id], &s.at, s.in, s.n_in);
    hs_status st = hs_graph_status(g);
    if (st == HS_OK)
        st = every_way(&s, g->node[g->n_nodes - 1], cols, grid->tp);
    hs_graph_free(g);
    hs_params_free(ps);
    HS_TRY(st);
    return HS_OK;
}

static hs_status rank_work(const hs_grid *grid, void *arg, int rank)
{
    (void)arg, (void)rank;
    hs_comm tp = *grid->tp;
    tp.impl = grid->tp;
    tp.all_reduce = all_reduce, tp.reduce_scatter = reduce_scatter, tp.all_gather = all_gather;
    tp.reduce_parts = reduce_parts, tp.gather_parts = gather_parts;
    const hs_grid mine = { .dp = grid->dp, .tp = &tp };
    hs_status st = HS_OK;
    pthread_mutex_lock(&turn);
    for (int op = 0; op < HS_COUNT(ops) && st == HS_OK; op++)
        for (int wide = 0; wide < 2 && st == HS_OK; wide++)
            st = check_op(op, wide ? 24 : 13, &mine);
    pthread_mutex_unlock(&turn);
    return st;
}

static void test_ranks(void **state)
{
    (void)state;
    for (int ranks = 1; ranks <= 4; ranks++) {
        emu_schedule((emu_order)(ranks % 3), (uint64_t)ranks);
        const int64_t before = emu_launches();
        if (ranks_run(ranks, rank_work, NULL, NULL) != HS_OK)
            fail_msg("%d ranks: %s", ranks, hs_error());
        const char *wrong = emu_verdict();
        if (wrong)
            fail_msg("%d ranks: %s", ranks, wrong);
        assert_true(emu_launches() > before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_ranks) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
