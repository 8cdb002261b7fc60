// support_ops: nodes of the cases, their operands in f64 and in every type, and finite differences of the reference.
#include "tests/support/support_ops.h"
#include "core/base/rng.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEED = 20240611 };

static uint64_t key_of(const probe *p, int what, int i)
{
    return hs_mix2(hs_mix2(SEED, hs_hash_string(p->op->name)), (uint64_t)(1000 * p->case_id + 10 * what + i));
}
static void *zeroed(size_t n, size_t size) { return calloc(n ? n : 1, size); }

void tests_take_op(int argc, char **argv)
{
    if (argc < 2)
        return;
    for (int i = 0; i < hs_tested.n; i++)
        if (!strcmp(hs_tested.ops[i]->name, argv[1]))
            hs_tested.only = hs_tested.ops[i]->name;
    if (hs_tested.only)
        return;
    fprintf(stderr, "%s: there is no operation '%s'\n", argv[0], argv[1]);
    exit(2);
}

// ---- the node

static int count_dims(const int64_t *dim)
{
    int n = 0;
    while (n < HS_MAX_DIMS && dim[n])
        n++;
    return n;
}

int64_t live_rows(const probe *p, const hs_tensor *t) { return hs_ext_rows(t->ext, p->step.n, t->dim[0]); }
int64_t live_count(const probe *p, const hs_tensor *t) { return live_rows(p, t) * hs_tensor_cols(t); }
bool is_float_input(const probe *p, int i) { return p->n->in[i] && p->op->in[i].amp != HS_AMP_NONE; }
hs_dtype stored_type(const probe *p, int i) { return p->x[i] ? p->types.in[i] : p->n->in[i] ? p->n->in[i]->dtype : HS_I32; }
bool has_gradient(const probe *p, int i)
{
    if (!is_float_input(p, i) || p->op->in[i].flags & (HS_NO_GRAD | HS_GRAD_IS_DY))
        return false;
    return loss_gradient(p->op) < 0 || i == 0;
}
bool has_dy(const probe *p, int o)
{
    return hs_dtype_is_float(p->traced[o]) && !(p->op->out[o].flags & HS_SAVED) && !(p->op->flags & HS_OP_LOSS);
}
int loss_gradient(const hs_op *op)
{
    for (int o = 0; o < hs_op_n_out(op); o++)
        if (op->flags & HS_OP_LOSS && op->out[o].flags & HS_IS_INPUT_0)
            return o;
    return -1;
}

static void fill_floats(probe *p, int i, const hs_tensor *t)
{
    const int64_t n = hs_tensor_count(t), cols = hs_tensor_cols(t);
    float *v = zeroed((size_t)n, sizeof *v);
    const float std = p->c->stored[i] ? 0x1p-6f : p->c->fill == HS_FILL_LARGE ? 30 : 1; // scales: values are of size 1
    hs_random_normal(v, n, key_of(p, 0, i), 0, 0, std);
    if (p->c->fill == HS_FILL_CONSTANT)
        for (int64_t j = 0; j < n; j++)
            v[j] = v[j - j % cols];
    for (int64_t j = 0; p->c->fill == HS_FILL_2OF4 && j < n; j++)
        v[j] = hs_2of4_is_zero(j) ? 0 : v[j];
    p->raw[i] = zeroed((size_t)n, sizeof(double));
    p->x[i] = zeroed((size_t)n, sizeof(double));
    hs_convert(p->raw[i], HS_F64, v, HS_F32, n);
    free(v);
}

static void fill_integers(probe *p, int i, const hs_tensor *t)
{
    const int64_t n = hs_tensor_count(t);
    for (int64_t j = 0; p->c->limit && j < n; j++)
        p->ids[i][j] = (int32_t)(hs_random(key_of(p, 1, i), (uint32_t)j, 0, 0, 0).v[0] % (uint64_t)p->c->limit);
    if (p->c->setup)
        p->c->setup(i, p->ids[i], n, p->c);
}

// live: units of each counter; NULL: the case's dims as they stand.
static probe *trace(int op_id, int case_id, hs_mode mode, const int64_t *live)
{
    probe *p = zeroed(1, sizeof *p);
    p->op = hs_tested.ops[op_id], p->op_id = op_id, p->case_id = case_id, p->c = &p->op->cases[case_id];
    const hs_grid grid = hs_grid_self();
    if (hs_params_new(&p->params, SEED, 0, 1) || hs_graph_new(&p->g, p->params, NULL, mode, &grid))
        abort();
    hs_push(p->g, "probe");
    hs_push(p->g, "%s_%d", p->op->name, case_id);
    hs_tensor *in[HS_MAX_IN] = { 0 };
    const int n_in = hs_op_n_in(p->op);
    for (int i = 0; i < n_in; i++) {
        int64_t dim[HS_MAX_DIMS];
        memcpy(dim, p->c->in[i], sizeof dim);
        if (!dim[0])
            continue;
        if (live && p->c->ext[i] != HS_EXT_FIXED)
            dim[0] = hs_ext_rows(p->c->ext[i], live, INT64_MAX);
        in[i] = hs_input(p->g, p->op->in[i].name, hs_case_traces(p->op, p->c, i), p->c->ext[i], count_dims(dim), dim);
    }
    static const char no_attr[256];
    if (hs_emit(p->g, p->op, p->c->attr ? p->c->attr : no_attr, in, n_in) == p->g->poison)
        return p;
    p->n = p->g->node[p->g->n_nodes - 1];
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        p->traced[o] = p->n->out[o]->dtype;
    for (int i = 0; i < n_in; i++)
        if (in[i] && hs_ext_units(in[i]->ext, in[i]->dim[0]) > p->step.n[hs_ext_counter(in[i]->ext)])
            p->step.n[hs_ext_counter(in[i]->ext)] = hs_ext_units(in[i]->ext, in[i]->dim[0]);
    const int64_t tokens = p->step.n[HS_COUNT_TOKENS], share = p->step.n[HS_COUNT_SHARE];
    p->step.n[HS_COUNT_TOKENS] = p->step.n[HS_COUNT_SHARE] = tokens > share ? tokens : share; // one rank has all of them
    p->step.seed = 11, p->step.step = 7, p->step.n_micro = 1;
    for (int i = 0; i < HS_N_LOSS; i++)
        p->step.inv_count[i] = 0.125f / (float)(1 << i);
    p->state.scale = 4;
    p->state.bad_param = -1;
    return p;
}

// Floats depend on op, case and operand only: those of fewer rows are the first of those of more. Integers are made for all
// rows of a case, which may depend on one another; fewer rows are copied.
static void fill(probe *p)
{
    for (int i = 0; i < hs_op_n_in(p->op); i++)
        if (p->n->in[i])
            hs_dtype_is_float(p->n->in[i]->dtype) ? fill_floats(p, i, p->n->in[i])
                                                  : (void)(p->ids[i] = zeroed((size_t)hs_tensor_count(p->n->in[i]), sizeof(int32_t)));
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        if (has_dy(p, o))
            p->dy[o] = zeroed((size_t)hs_tensor_count(p->n->out[o]), sizeof(double));
}

static probe *fill_whole(probe *p) // all of it, in f32
{
    fill(p);
    for (int i = 0; i < HS_MAX_IN; i++)
        if (p->ids[i])
            fill_integers(p, i, p->n->in[i]);
    const op_types f32 = probe_f32(p);
    probe_set_types(p, &f32);
    return p;
}

probe *probe_new(int op_id, int case_id, hs_mode mode)
{
    if ((hs_tested.table && !hs_tested.table[op_id]) || (hs_tested.only && strcmp(hs_tested.only, hs_tested.ops[op_id]->name)))
        return NULL;
    probe *p = trace(op_id, case_id, mode, NULL);
    if (!p->n) {
        hs_graph_status(p->g);
        case_fail(op_id, case_id, "the case itself is refused: %s", hs_error());
    } else if (!left_out(p))
        return fill_whole(p);
    probe_free(p);
    return NULL;
}

probe *probe_cut(const probe *like, const int64_t live[HS_N_COUNTERS])
{
    probe *p = trace(like->op_id, like->case_id, like->n->mode, live);
    if (!p->n)
        return p;
    fill(p);
    for (int i = 0; i < HS_MAX_IN; i++)
        if (p->ids[i])
            memcpy(p->ids[i], like->ids[i], (size_t)hs_tensor_count(p->n->in[i]) * sizeof(int32_t));
    probe_set_types(p, &like->types);
    return p;
}

probe *probe_rows(int op_id, int case_id, hs_mode mode, int counter, int64_t units)
{
    probe *p = trace(op_id, case_id, mode, NULL);
    int64_t live[HS_N_COUNTERS];
    memcpy(live, p->step.n, sizeof live);
    live[counter] = units;
    probe_free(p);
    p = trace(op_id, case_id, mode, live);
    if (!p->n)
        return p;
    return fill_whole(p);
}

probe *probe_slice(const probe *like, int counter, int64_t first, int64_t units)
{
    int64_t live[HS_N_COUNTERS], before[HS_N_COUNTERS] = { 0 };
    memcpy(live, like->step.n, sizeof live);
    live[counter] = units, before[counter] = first;
    probe *p = trace(like->op_id, like->case_id, like->n->mode, live);
    if (!p->n)
        return p;
    fill(p);
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        const hs_tensor *t = p->n->in[i];
        if (!t)
            continue;
        const size_t n = (size_t)hs_tensor_count(t);
        const size_t skip = t->ext == HS_EXT_FIXED ? 0 : (size_t)(hs_ext_rows(t->ext, before, INT64_MAX) * hs_tensor_cols(t));
        if (p->ids[i])
            memcpy(p->ids[i], like->ids[i] + skip, n * sizeof *p->ids[i]);
        else
            memcpy(p->raw[i], like->raw[i] + skip, n * sizeof *p->raw[i]);
    }
    probe_set_types(p, &like->types);
    return p;
}

void probe_free(probe *p)
{
    if (!p)
        return;
    for (int i = 0; i < HS_MAX_IN; i++)
        free(p->raw[i]), free(p->x[i]), free(p->ids[i]);
    for (int o = 0; o < HS_MAX_OUT; o++)
        free(p->dy[o]);
    hs_graph_free(p->g);
    hs_params_free(p->params);
    free(p);
}

// ---- types

double type_eps(hs_dtype d) { return d == HS_BF16 ? 0x1p-7 : d == HS_F16 ? 0x1p-10 : d == HS_F32 ? 0x1p-23 : 0x1p-52; }

double probe_eps(const probe *p)
{
    double eps = 0;
    for (int i = 0; i < HS_MAX_IN; i++)
        if (p->x[i] && !p->c->stored[i])
            eps = fmax(eps, type_eps(p->types.in[i]));
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        eps = fmax(eps, type_eps(p->types.out[o]));
    for (int o = 0; o < HS_MAX_OUT; o++)
        if (p->dy[o])
            eps = fmax(eps, type_eps(p->types.dout[o]));
    return eps;
}

static void round_to(double *x, int64_t n, hs_dtype d)
{
    char *low = zeroed((size_t)n, 8);
    hs_convert(low, d, x, HS_F64, n);
    hs_convert(x, HS_F64, low, d, n);
    free(low);
}

void probe_set_types(probe *p, const op_types *t)
{
    p->types = *t;
    p->n->low = t->low;
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        if (!p->x[i])
            continue;
        p->n->in[i]->dtype = t->in[i];
        memcpy(p->x[i], p->raw[i], (size_t)hs_tensor_count(p->n->in[i]) * sizeof(double));
        round_to(p->x[i], hs_tensor_count(p->n->in[i]), t->in[i]);
    }
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        p->n->out[o]->dtype = t->out[o];
        if (!p->dy[o])
            continue;
        const int64_t n = hs_tensor_count(p->n->out[o]);
        float *v = zeroed((size_t)n, sizeof *v);
        hs_random_normal(v, n, key_of(p, 2, o), 0, 0, 1);
        hs_convert(p->dy[o], HS_F64, v, HS_F32, n);
        round_to(p->dy[o], n, t->dout[o]);
        free(v);
    }
}

// The types that follow from those of the inputs. `wide`: an output that may be stored either way is f32.
static void settle_outputs(const probe *p, op_types *t, bool wide)
{
    hs_dtype widest = t->low;
    for (int i = 0; i < hs_op_n_in(p->op); i++)
        if (is_float_input(p, i) && t->in[i] == HS_F32)
            widest = HS_F32;
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        const hs_operand *f = &p->op->out[o];
        hs_dtype d = f->amp == HS_AMP_LOW ? t->low : f->amp == HS_AMP_KEEP ? t->in[0] : f->amp == HS_AMP_WIDEST ? widest : HS_F32;
        if (f->flags & HS_ANY_DTYPE)
            d = wide ? HS_F32 : t->low;
        if (f->flags & HS_IS_INPUT_0)
            d = t->in[0];
        t->out[o] = p->traced[o] == HS_F32 ? d : p->traced[o]; // a shape rule may have named the type (cast)
        t->dout[o] = t->out[o];
    }
}

op_types probe_f32(const probe *p)
{
    op_types t = { .low = HS_F32 };
    for (int i = 0; i < HS_MAX_IN; i++)
        t.in[i] = i < hs_op_n_in(p->op) ? hs_case_traces(p->op, p->c, i) : HS_F32, t.din[i] = HS_F32;
    settle_outputs(p, &t, true);
    return t;
}

// As stored, with parameters' gradients in f32 (only what all members read can be a parameter); as stored; all f32; all low.
enum { GRADS_PARAM, GRADS_STORED, GRADS_F32, GRADS_LOW, N_GRADS };

static void settle_gradients(const probe *p, op_types *t, int how)
{
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        const bool whole = p->op->in[i].flags & HS_WHOLE, param = whole && (how == GRADS_PARAM || p->op->in[i].amp == HS_AMP_F32);
        t->din[i] = how == GRADS_F32 || param ? HS_F32 : how == GRADS_LOW ? t->low : t->in[i];
    }
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        t->dout[o] = how == GRADS_F32 ? HS_F32 : how == GRADS_LOW ? t->low : t->out[o];
}

static int add_types(op_types *out, int n, const op_types *t)
{
    for (int k = 0; k < n; k++)
        if (!memcmp(&out[k], t, sizeof *t))
            return n;
    if (n < MAX_TYPES)
        out[n++] = *t;
    return n;
}

int probe_low(const probe *p, hs_dtype low, bool with_gradients, op_types out[MAX_TYPES])
{
    int free_in[HS_MAX_IN], n_free = 0, n = 0;
    bool any_dtype = false, any_low = false;
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        const hs_amp amp = p->op->in[i].amp;
        if (is_float_input(p, i) && !p->c->stored[i] && (amp == HS_AMP_KEEP || amp == HS_AMP_WIDEST))
            free_in[n_free++] = i;
        any_low |= is_float_input(p, i) && amp == HS_AMP_LOW;
    }
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        any_dtype |= (p->op->out[o].flags & HS_ANY_DTYPE) != 0;
    for (unsigned wide_in = 0; wide_in < 1u << n_free; wide_in++)
        for (int wide_out = 0; wide_out <= any_dtype; wide_out++) {
            if (!any_low && wide_in == (1u << n_free) - 1 && (wide_out || !any_dtype))
                continue; // all f32
            for (int how = 0; how < (with_gradients && loss_gradient(p->op) < 0 ? N_GRADS : 1) && n < MAX_TYPES; how++) {
                op_types t = probe_f32(p);
                t.low = low;
                for (int i = 0; i < hs_op_n_in(p->op); i++)
                    if (p->op->in[i].amp == HS_AMP_LOW)
                        t.in[i] = low;
                for (int k = 0; k < n_free; k++)
                    t.in[free_in[k]] = wide_in >> k & 1 ? HS_F32 : low;
                settle_outputs(p, &t, wide_out);
                settle_gradients(p, &t, how);
                n = add_types(out, n, &t);
                for (int i = 0; i < hs_op_n_in(p->op); i++)
                    t.in[i] = p->op->in[i].flags & HS_LOW_VALUE && low == HS_BF16 ? low : t.in[i];
                n = add_types(out, n, &t);
            }
        }
    return n;
}

// ---- the reference

void probe_ref(const probe *p, double *const x[HS_MAX_IN], double *const y[HS_MAX_OUT])
{
    hs_args a = { .attr = p->n->attr, .step = &p->step, .state = (hs_step_state *)&p->state, .site = p->n->site };
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        const hs_tensor *t = p->n->in[i];
        if (!t)
            continue;
        a.in[i] =
            (hs_ref){ x[i] ? (char *)x[i] : (char *)p->ids[i], t->dim[0], hs_tensor_cols(t), x[i] ? HS_F64 : HS_I32, t->ext, false, t };
    }
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        const hs_tensor *t = p->n->out[o];
        a.out[o] = (hs_ref){ (char *)y[o], t->dim[0], hs_tensor_cols(t), HS_F64, t->ext, false, t };
        if (p->op->out[o].flags & HS_IS_INPUT_0) {
            if (x[0])
                memcpy(y[o], x[0], (size_t)hs_tensor_count(t) * sizeof(double));
            for (int64_t j = 0; !x[0] && j < hs_tensor_count(t); j++)
                y[o][j] = p->ids[0][j];
            a.in[0].p = (char *)y[o];
        }
    }
    p->op->ref(&a);
}

double *const *probe_outputs(const probe *p, double *y[HS_MAX_OUT])
{
    memset(y, 0, HS_MAX_OUT * sizeof *y);
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        y[o] = zeroed((size_t)hs_tensor_count(p->n->out[o]), sizeof(double));
    return y;
}
void free_outputs(double *y[HS_MAX_OUT])
{
    for (int o = 0; o < HS_MAX_OUT; o++)
        free(y[o]);
}

double slope_sign(uint64_t key, int64_t j) { return hs_mix2(key, (uint64_t)j) & 1 ? 1 : -1; }

void probe_want(const probe *p, double *want[HS_MAX_OUT], double *scale[HS_MAX_OUT])
{
    enum { TRIES = 5 };
    const double delta = p->op->ref_bwd ? 0.25 : 1e-5; // where forward rounds, enough to be seen
    double *x[HS_MAX_IN] = { 0 }, *y[HS_MAX_OUT];
    probe_outputs(p, want);
    probe_outputs(p, scale);
    probe_outputs(p, y);
    probe_ref(p, p->x, want);
    for (int k = 0; k < TRIES; k++) {
        for (int i = 0; i < HS_MAX_IN; i++) {
            if (!p->x[i])
                continue;
            const int64_t n = hs_tensor_count(p->n->in[i]);
            x[i] = realloc(x[i], (size_t)(n ? n : 1) * sizeof(double));
            for (int64_t j = 0; j < n; j++)
                x[i][j] = p->x[i][j] * (1 + delta * slope_sign(key_of(p, 3, k * HS_MAX_IN + i), j));
        }
        probe_ref(p, x, y);
        for (int o = 0; o < hs_op_n_out(p->op); o++) {
            const int64_t n = live_count(p, p->n->out[o]);
            for (int64_t j = 0; j < n; j++) {
                const double moved = (y[o][j] - want[o][j]) / delta;
                scale[o][j] += moved * moved / TRIES;
            }
        }
    }
    // a few tries may miss one element: it is also given half of the mean of its row
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        const int64_t cols = hs_tensor_cols(p->n->out[o]);
        for (int64_t r = 0; r < live_rows(p, p->n->out[o]); r++) {
            double mean = 0;
            for (int64_t c = 0; c < cols; c++)
                mean += scale[o][r * cols + c] / (double)cols;
            for (int64_t c = 0; c < cols; c++)
                scale[o][r * cols + c] = sqrt(scale[o][r * cols + c]) + 0.5 * sqrt(mean);
        }
    }
    for (int i = 0; i < HS_MAX_IN; i++)
        free(x[i]);
    free_outputs(y);
}

// Work space of finite differences, allocated once: x[i] moves, y is what the reference makes of it.
typedef struct bench {
    const probe *p;
    double *x[HS_MAX_IN], *y[HS_MAX_OUT], *dy[HS_MAX_OUT]; // dy: derivative of y
    double *v;                                             // a dense direction
    double h;
} bench;

// spread: every value moves by this, relatively, up or down.
static bench bench_new(const probe *p, double spread)
{
    bench b = { .p = p, .h = p->c->fill == HS_FILL_LARGE ? 1e-3 : 5e-5 };
    int64_t most = 1;
    probe_outputs(p, b.y);
    probe_outputs(p, b.dy);
    for (int i = 0; i < HS_MAX_IN; i++) {
        if (!p->x[i])
            continue;
        const int64_t n = hs_tensor_count(p->n->in[i]);
        b.x[i] = zeroed((size_t)n, sizeof(double));
        for (int64_t j = 0; j < n; j++)
            b.x[i][j] = p->x[i][j] * (1 + spread * slope_sign(key_of(p, 5, i), j));
        most = n > most ? n : most;
    }
    b.v = zeroed((size_t)most, sizeof(double));
    return b;
}

static void bench_free(bench *b)
{
    for (int i = 0; i < HS_MAX_IN; i++)
        free(b->x[i]);
    free_outputs(b->y);
    free_outputs(b->dy);
    free(b->v);
}

// Does output o count in sum(dy * y)? A loss's own rows do.
static bool counts(const probe *p, int o) { return p->dy[o] || (p->op->flags & HS_OP_LOSS && o == 0); }

// b->dy = derivative of the outputs as input i moves along v (or, v NULL, along element `at`); five points: error h^4
static void differentiate(bench *b, int i, const double *v, int64_t at)
{
    static const double point[4] = { -2, -1, 1, 2 }, weight[4] = { 1, -8, 8, -1 };
    const probe *p = b->p;
    const int64_t j0 = v ? 0 : at, j1 = v ? hs_tensor_count(p->n->in[i]) : at + 1;
    const double was = b->x[i][j0];
    double *const whole = v ? zeroed((size_t)j1, sizeof(double)) : NULL;
    if (v)
        memcpy(whole, b->x[i], (size_t)j1 * sizeof(double));
    for (int k = 0; k < 4; k++) {
        for (int64_t j = j0; j < j1; j++)
            b->x[i][j] = (v ? whole[j] : was) + b->h * point[k] * (v ? v[j] : 1);
        probe_ref(p, b->x, b->y);
        for (int o = 0; o < hs_op_n_out(p->op); o++) {
            const int64_t n = counts(p, o) ? live_count(p, p->n->out[o]) : 0;
            const double *y = b->y[o], w = weight[k] / (12 * b->h), keep = k ? 1 : 0;
            double *dy = b->dy[o];
            for (int64_t j = 0; j < n; j++)
                dy[j] = keep * dy[j] + w * y[j];
        }
    }
    if (v)
        memcpy(b->x[i], whole, (size_t)j1 * sizeof(double));
    else
        b->x[i][at] = was;
    free(whole);
}

static double loss_weight(const probe *p)
{
    int32_t loss;
    memcpy(&loss, (const char *)p->n->attr + p->op->loss_offset, sizeof loss);
    return (double)p->step.inv_count[loss] * p->state.scale;
}

static void measure(bench *b, slope *s)
{
    const probe *p = b->p;
    const int64_t count = hs_tensor_count(p->n->in[s->input]);
    for (int64_t j = 0; s->at < 0 && j < count; j++)
        b->v[j] = slope_sign(s->key, j);
    differentiate(b, s->input, s->at < 0 ? b->v : NULL, s->at);
    double want = 0, squares = 0, noise = 0;
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        const int64_t n = counts(p, o) ? live_count(p, p->n->out[o]) : 0;
        const double loss = p->dy[o] || !n ? 1 : loss_weight(p), *dy = p->dy[o], *y = b->y[o], *d = b->dy[o];
        for (int64_t j = 0; j < n; j++) {
            const double w = dy ? dy[j] : loss;
            want += w * d[j], squares += w * w * d[j] * d[j], noise += w * w * y[j] * y[j];
        }
    }
    s->want = want, s->scale = sqrt(squares), s->noise = 4e-16 / b->h * sqrt(noise);
}

// Gradients by the op's own definition of them, with nothing to differentiate.
static void defined_gradients(const probe *p, double *din[HS_MAX_IN])
{
    hs_args a = { .attr = p->n->attr, .step = &p->step, .state = (hs_step_state *)&p->state, .site = p->n->site };
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        const hs_tensor *t = p->n->in[i];
        if (!t)
            continue;
        din[i] = has_gradient(p, i) ? zeroed((size_t)hs_tensor_count(t), sizeof(double)) : NULL;
        a.in[i] = (hs_ref){
            p->x[i] ? (char *)p->x[i] : (char *)p->ids[i], t->dim[0], hs_tensor_cols(t), p->x[i] ? HS_F64 : HS_I32, t->ext, false, t
        };
        a.din[i] = (hs_ref){ (char *)din[i], t->dim[0], hs_tensor_cols(t), HS_F64, t->ext, true, t };
    }
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        const hs_tensor *t = p->n->out[o];
        a.dout[o] = (hs_ref){ (char *)p->dy[o], t->dim[0], hs_tensor_cols(t), HS_F64, t->ext, false, t };
    }
    p->op->ref_bwd(&a);
}

// Slopes along two directions, and of every element; a gradient's own size is the scale of its rounding errors.
static int defined_slopes(const probe *p, slope **out)
{
    enum { DENSE = 2 };
    double *din[HS_MAX_IN] = { 0 };
    int64_t total = 0;
    int n = 0;
    defined_gradients(p, din);
    for (int i = 0; i < HS_MAX_IN; i++)
        total += din[i] ? live_count(p, p->n->in[i]) + DENSE : 0;
    slope *s = *out = zeroed((size_t)total, sizeof *s);
    for (int i = 0; i < HS_MAX_IN; i++) {
        const int64_t count = din[i] ? live_count(p, p->n->in[i]) : 0;
        double squares = 0;
        for (int64_t j = 0; j < count; j++)
            squares += din[i][j] * din[i][j];
        for (int64_t k = 0; k < count + (din[i] ? DENSE : 0); k++, n++) {
            s[n] = (slope){ .input = i, .at = k < DENSE ? -1 : k - DENSE, .key = key_of(p, 4 + i, (int)k) };
            for (int64_t j = 0; j < count && k < DENSE; j++)
                s[n].want += slope_sign(s[n].key, j) * din[i][j];
            if (k >= DENSE)
                s[n].want = din[i][k - DENSE];
            s[n].scale = sqrt(k < DENSE ? squares : squares / (double)count);
        }
        free(din[i]);
    }
    return n;
}

int probe_slopes(const probe *p, double budget, slope **out)
{
    if (p->op->ref_bwd)
        return defined_slopes(p, out);

    enum { DENSE = 2, MOST = 10, LEAST = 3 };
    const int some = budget > 0 ? MOST : LEAST; // a budget of 0: other types have shown every element
    const double spread = 1e-6;
    int64_t total = 0, outputs = 0;
    for (int i = 0; i < hs_op_n_in(p->op); i++)
        total += has_gradient(p, i) ? live_count(p, p->n->in[i]) : 0;
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        outputs += live_count(p, p->n->out[o]);
    const double flops = p->op->cost(p->n, false).flops + 4 * (double)outputs;
    const bool every = (double)total * 8 * flops < budget;
    slope *s = zeroed((size_t)(total + HS_MAX_IN * (DENSE + MOST)), sizeof *s);
    bench here = bench_new(p, 0), near = bench_new(p, spread);
    int n = 0;
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        if (!has_gradient(p, i))
            continue;
        const int64_t count = live_count(p, p->n->in[i]);
        for (int64_t k = 0; k < DENSE + (every ? count : some < count ? some : count); k++) {
            const uint64_t key = key_of(p, 4 + i, (int)k);
            const int64_t at = k < DENSE ? -1 : every ? k - DENSE : (int64_t)(key % (uint64_t)count);
            s[n] = (slope){ .input = i, .at = at, .key = key };
            slope moved = s[n];
            measure(&here, &s[n]);
            measure(&near, &moved); // what a rounding of the inputs does to the gradient
            s[n].scale = hypot(s[n].scale, (moved.want - s[n].want) / spread);
            n++;
        }
    }
    bench_free(&here);
    bench_free(&near);
    *out = s;
    return n;
}

double identity_error(const probe *p, int input)
{
    const int64_t n = hs_tensor_count(p->n->in[input]);
    bench b = bench_new(p, 0);
    double worst = n == hs_tensor_count(p->n->out[0]) ? 0 : INFINITY;
    for (int64_t j = 0; j < n; j++)
        b.v[j] = 1 + 0.5 * slope_sign(key_of(p, 9, input), j);
    differentiate(&b, input, b.v, -1);
    for (int64_t j = 0; j < n && worst < INFINITY; j++)
        worst = fmax(worst, fabs(b.dy[0][j] - b.v[j]));
    bench_free(&b);
    return worst;
}
