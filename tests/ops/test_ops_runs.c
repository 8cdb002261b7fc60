// The op table, walked: whatever the plan may ask of a kernel - add instead of write, any subset of gradients, any team, dead
// rows full of NaN, shared bytes - gives the same values, mostly the same bits, and touches nothing else.
#include "tests/support/support_ops.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// One representative of each kind of storage: f32, and everything low that may be. Where kernels are emulated, which are one source for both
// low types, cases take turns: test_ops has the values of both.
static int main_types(const probe *p, op_types out[3])
{
    op_types t[MAX_TYPES];
    int n = 0;
    const bool bf16 = hs_tested.accesses_only || !hs_tested.emulated || p->case_id % 2 == 0,
               f16 = !hs_tested.accesses_only && (!hs_tested.emulated || p->case_id % 2);
    out[n++] = probe_f32(p);
    if (bf16 && probe_low(p, HS_BF16, false, t))
        out[n++] = t[0];
    if (f16 && probe_low(p, HS_F16, false, t))
        out[n++] = t[0];
    return n;
}

// Runs fn for every op, case, main type and table that it applies to, with a forward run on one lane to compare with.
typedef void variation(probe *p, const op_run *forward);
typedef bool condition(const probe *p, const hs_kernels *k);
static void for_all(condition *applies, variation *fn)
{
    for_each_probe(p, HS_TRAIN)
    {
        op_types t[3];
        const int n = main_types(p, t);
        for (int i = 0; i < n; i++) {
            probe_set_types(p, &t[i]);
            for_each_set(set, k, p)
            {
                if (!applies(p, k))
                    continue;
                op_run f = { .k = k, .table = set->name, .lanes = 1, .tail = 0xFF };
                run_forward(p, &f);
                fn(p, &f);
                run_free(&f);
            }
        }
    }
    assert_no_failures();
}

static op_run backward_on(const op_run *forward, int lanes, unsigned wanted, unsigned add)
{
    return (op_run){ .k = forward->k, .table = forward->table, .lanes = lanes, .tail = forward->tail, .wanted = wanted, .add = add };
}

static unsigned gradients(const probe *p)
{
    unsigned all = 0;
    for (int i = 0; i < hs_op_n_in(p->op) && loss_gradient(p->op) < 0; i++)
        all |= (unsigned)has_gradient(p, i) << i;
    return all;
}

static bool has_gradients(const probe *p, const hs_kernels *k)
{
    (void)k;
    return gradients(p) != 0;
}

// ---- add and subsets

static void check_added(const probe *p, const op_run *written, const op_run *added)
{
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        const hs_dtype d = p->types.din[i];
        if (!(added->add >> i & 1))
            continue;
        const int64_t n = live_count(p, p->n->in[i]);
        double squares = 0;
        for (int64_t j = 0; j < n; j++)
            squares += pow(value_at(&written->din[i], d, j), 2);
        const double size = sqrt(squares / (double)(n ? n : 1));
        for (int64_t j = 0; j < n; j++) {
            const double was = initial_din(i, j, d), plus = value_at(&written->din[i], d, j), got = value_at(&added->din[i], d, j);
            const double sums = d == HS_F32         ? 8
                                : hs_tested.no_team ? 4
                                                    : 0; // a device may have other kernels for it than for what is written
            const double bound = type_eps(d) * (fabs(was) + 2 * fabs(plus) + sums * size) + (d == HS_F16 ? 0x1p-23 : 0);
            if (fabs(got - (was + plus)) <= bound)
                continue;
            op_fail(p, added, "add: gradient of %s[%lld] is %.9g, should be %.9g + %.9g", p->op->in[i].name, (long long)j, got, was, plus);
            break;
        }
    }
}

static void add_variation(probe *p, const op_run *f)
{
    const unsigned all = gradients(p);
    op_run w = backward_on(f, 1, all, 0);
    run_backward(p, &w, f);
    const int each = hs_tested.accesses_only ? 0 : HS_MAX_IN;
    for (int i = -1; i < each; i++) { // all at once, then each beside others that are written
        const unsigned add = i < 0 ? all : all & 1u << i;
        op_run a = backward_on(f, 1, all, add);
        if (!add)
            continue;
        run_backward(p, &a, f);
        check_added(p, &w, &a);
        same_gradients(p, &w, &a, all & ~add, "beside a gradient that is added to");
        run_free(&a);
    }
    run_free(&w);
}
static void gradients_add(void **state)
{
    (void)state;
    for_all(has_gradients, add_variation);
}

static void subset_variation(probe *p, const op_run *f)
{
    const unsigned all = gradients(p);
    op_run w = backward_on(f, 1, all, 0);
    run_backward(p, &w, f);
    for (unsigned some = hs_tested.accesses_only ? (all - 1) & all : all; some; some = (some - 1) & all) { // all: the same once more
        op_run b = backward_on(f, 1, some, 0);
        run_backward(p, &b, f);
        same_gradients(p, &w, &b, some, "with other gradients not wanted");
        run_free(&b);
    }
    run_free(&w);
}
static void any_subset_of_gradients(void **state)
{
    (void)state;
    for_all(has_gradients, subset_variation);
}

// An output nobody has a gradient for counts as one whose gradient is 0.
static bool has_several_outputs(const probe *p, const hs_kernels *k)
{
    int outputs = 0;
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        outputs += p->dy[o] != NULL;
    return outputs > 1 && has_gradients(p, k);
}
static void unused_output_variation(probe *p, const op_run *f)
{
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        if (!p->dy[o])
            continue;
        const int64_t n = hs_tensor_count(p->n->out[o]);
        double *keep = p->dy[o];
        op_run zero = backward_on(f, 1, ALL_INPUTS, 0), none = zero;
        none.dead = 1u << o;
        p->dy[o] = calloc((size_t)n, sizeof(double));
        run_backward(p, &zero, f);
        run_backward(p, &none, f);
        for (int i = 0; i < hs_op_n_in(p->op); i++)
            for (int64_t j = 0; none.din[i].p && j < live_count(p, p->n->in[i]); j++) { // -0 and 0 are both right
                const double a = value_at(&zero.din[i], p->types.din[i], j), b = value_at(&none.din[i], p->types.din[i], j);
                if (a == b)
                    continue;
                op_fail(p, &none, "without a gradient of %s, that of %s[%lld] is %.9g, should be %.9g", p->op->out[o].name,
                        p->op->in[i].name, (long long)j, b, a);
                break;
            }
        run_free(&zero);
        run_free(&none);
        free(p->dy[o]);
        p->dy[o] = keep;
    }
}
static void unused_outputs(void **state)
{
    (void)state;
    for_all(has_several_outputs, unused_output_variation);
}

// The one op whose forward adds: the plan merges gradients of any two types with it.
static void cast_adds(void **state)
{
    (void)state;
    static const hs_dtype types[] = { HS_F32, HS_BF16, HS_F16 };
    for_each_probe(p, HS_TRAIN) for (int pair = 0; pair < 9 && !strcmp(p->op->name, "cast"); pair++)
    {
        op_types t = probe_f32(p);
        t.in[0] = types[pair / 3], t.out[0] = types[pair % 3];
        probe_set_types(p, &t);
        for_each_set(set, k, p)
        {
            op_run r = { .k = k, .table = set->name, .lanes = 2, .tail = 0xFF, .add_out = true };
            run_forward(p, &r);
            for (int64_t j = 0; j < live_count(p, p->n->out[0]); j++) {
                const double was = initial_din(0, j, t.out[0]), got = value_at(&r.out[0], t.out[0], j);
                if (fabs(got - (was + p->x[0][j])) <= type_eps(t.out[0]) * (fabs(was) + fabs(p->x[0][j])))
                    continue;
                op_fail(p, &r, "add: y[%lld] is %.9g, should be %.9g + %.9g", (long long)j, got, was, p->x[0][j]);
                break;
            }
            run_free(&r);
        }
    }
    assert_no_failures();
}

// Two inputs that are one tensor: gradients are filled in order, the second added to the first.
static bool may_be_one(const probe *p, int i, int j)
{
    const unsigned all = gradients(p);
    return all >> i & 1 && all >> j & 1 && p->types.din[i] == p->types.din[j] && p->n->in[i]->ext == p->n->in[j]->ext &&
           p->n->in[i]->n_dims == p->n->in[j]->n_dims && !memcmp(p->n->in[i]->dim, p->n->in[j]->dim, sizeof p->n->in[i]->dim);
}
static bool any_may_be_one(const probe *p, const hs_kernels *k)
{
    (void)k;
    bool any = false;
    for (int j = 1; j < hs_op_n_in(p->op); j++)
        for (int i = 0; i < j; i++)
            any |= may_be_one(p, i, j);
    return any;
}
static void same_tensor_variation(probe *p, const op_run *f)
{
    const unsigned all = gradients(p);
    for (int j = 1; j < hs_op_n_in(p->op); j++)
        for (int i = 0; i < j; i++) {
            if (!may_be_one(p, i, j))
                continue;
            op_run apart = backward_on(f, 1, all, 0), both = apart;
            both.shared_din[0] = i, both.shared_din[1] = j;
            run_backward(p, &apart, f);
            run_backward(p, &both, f);
            double size = 0;
            for (int64_t k = 0; k < live_count(p, p->n->in[i]); k++)
                size = fmax(size, fabs(value_at(&apart.din[i], p->types.din[i], k)) + fabs(value_at(&apart.din[j], p->types.din[j], k)));
            for (int64_t k = 0; k < live_count(p, p->n->in[i]); k++) {
                const double a = value_at(&apart.din[i], p->types.din[i], k), b = value_at(&apart.din[j], p->types.din[j], k);
                if (fabs(value_at(&both.din[i], p->types.din[i], k) - (a + b)) <= 2 * type_eps(p->types.din[i]) * size)
                    continue;
                op_fail(p, &both, "%s and %s as one tensor: gradient [%lld] is %.9g, should be %.9g + %.9g", p->op->in[i].name,
                        p->op->in[j].name, (long long)k, value_at(&both.din[i], p->types.din[i], k), a, b);
                break;
            }
            run_free(&apart);
            run_free(&both);
        }
}
static void one_tensor_twice(void **state)
{
    (void)state;
    for_all(any_may_be_one, same_tensor_variation);
}

// ---- teams

static bool has_team(const probe *p, const hs_kernels *k)
{
    (void)p, (void)k;
    return !hs_tested.no_team;
}
static void lanes_variation(probe *p, const op_run *f)
{
    op_run b1 = backward_on(f, 1, ALL_INPUTS, 0);
    const bool backward = f->k->bwd && gradients(p);
    if (backward)
        run_backward(p, &b1, f);
    for (int lanes = 2; lanes < MAX_LANES; lanes++) {
        op_run g = { .k = f->k, .table = f->table, .lanes = lanes, .tail = 0xFF }, b = backward_on(f, lanes, ALL_INPUTS, 0);
        run_forward(p, &g);
        same_outputs(p, f, &g, "bits depend on the number of lanes");
        if (backward) {
            run_backward(p, &b, f);
            same_gradients(p, &b1, &b, ALL_INPUTS, "bits depend on the number of lanes");
        }
        run_free(&g);
        run_free(&b);
    }
    run_free(&b1);
}
static void bits_do_not_depend_on_lanes(void **state)
{
    (void)state;
    for_all(has_team, lanes_variation);
}

static int copies; // that kernels asked for and got

static bool wants_copy(const probe *p, const hs_kernels *k)
{
    (void)p;
    return k->derive.bytes != NULL;
}
static void copy_variation(probe *p, const op_run *f)
{
    op_run b1 = backward_on(f, 1, ALL_INPUTS, 0);
    const bool backward = f->k->bwd && gradients(p);
    if (backward)
        run_backward(p, &b1, f);
    for (int lanes = 1; lanes < (hs_tested.no_team ? 2 : MAX_LANES); lanes++) {
        op_run g = { .k = f->k, .table = f->table, .lanes = lanes, .tail = 0xFF, .derived = true };
        op_run b = backward_on(f, lanes, ALL_INPUTS, 0);
        b.derived = true;
        run_forward(p, &g);
        same_outputs(p, f, &g, "bits depend on the copy of a parameter");
        if (backward) {
            run_backward(p, &b, f);
            same_gradients(p, &b1, &b, ALL_INPUTS, "bits depend on the copy of a parameter");
        }
        copies += (g.copy.p != NULL) + (b.copy.p != NULL);
        run_free(&g);
        run_free(&b);
    }
    run_free(&b1);
}
static void bits_do_not_depend_on_copies(void **state)
{
    (void)state;
    copies = 0;
    for_all(wants_copy, copy_variation);
    bool wanted = false;
    for (const kernel_set *s = kernel_sets(); s->name; s++)
        for (int i = 0; i < hs_tested.n; i++)
            if (!hs_tested.only || !strcmp(hs_tested.only, hs_tested.ops[i]->name))
                wanted |= s->table[i] && s->table[i]->derive.bytes && !s->table[i]->derive.beside; // else it is for parameters of some kind
    assert_int_equal(copies > 0, wanted);
}

static bool promises_backward(const probe *p, const hs_kernels *k)
{
    return k->bwd && gradients(p) && k->bwd_part == HS_PART_ROWS && !(p->op->flags & HS_OP_SPLIT_BWD);
}
static bool promises(const probe *p, const hs_kernels *k) { return k->fwd_part == HS_PART_ROWS || k->syncs_first || promises_backward(p, k); }
static void promise_variation(probe *p, const op_run *f)
{
    if (f->k->fwd_part == HS_PART_ROWS)
        check_part_rows(p, f, NULL);
    if (f->k->syncs_first)
        check_late_operands(p, f);
    if (!promises_backward(p, f->k))
        return;
    op_run b = backward_on(f, 1, ALL_INPUTS, 0);
    run_backward(p, &b, f);
    check_part_rows(p, &b, f);
    run_free(&b);
}
static void promises_to_the_plan(void **state)
{
    (void)state;
    for_all(promises, promise_variation);
}

static bool may_overwrite(const probe *p, const hs_kernels *k)
{
    (void)k;
    bool may = false;
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        may |= p->op->out[o].flags & HS_MAY_OVERWRITE_0 && p->types.out[o] == p->types.in[0] && p->n->out[o]->ext == p->n->in[0]->ext &&
               hs_tensor_count(p->n->out[o]) == hs_tensor_count(p->n->in[0]);
    return may;
}
static void in_place_variation(probe *p, const op_run *f)
{
    op_run g = { .k = f->k, .table = f->table, .lanes = 1, .tail = 0xFF, .in_place = true };
    run_forward(p, &g);
    same_outputs(p, f, &g, "in the bytes of its input");
    run_free(&g);
}
static void in_place(void **state)
{
    (void)state;
    for_all(may_overwrite, in_place_variation);
}

// ---- dead rows

// Live units of the case, else about 3/4 of each capacity; tokens end where the live sequences end. False: nothing is live by count.
static bool live_counts(const probe *p, int64_t live[HS_N_COUNTERS])
{
    bool any = false;
    for (int i = 0; i < hs_op_n_in(p->op); i++)
        any |= p->n->in[i] && p->n->in[i]->ext != HS_EXT_FIXED;
    for (int e = 1; e < HS_N_COUNTERS; e++)
        live[e] = p->c->live[e] ? p->c->live[e] : p->step.n[e] > 1 ? p->step.n[e] * 3 / 4 : p->step.n[e];
    for (int i = 0; i < hs_op_n_in(p->op); i++)
        if (p->ids[i] && p->n->in[i]->ext == HS_EXT_STARTS && !p->c->live[HS_COUNT_TOKENS])
            live[HS_COUNT_TOKENS] = p->ids[i][live[HS_COUNT_SEQS]];
    return any;
}

// Gradients of some inputs, off by no more than the order of a sum explains, and eps: a rounding of what goes into it.
static void check_sums(const probe *p, const op_run *want, const op_run *got, unsigned inputs, double eps, const char *what)
{
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        const hs_dtype d = p->types.din[i];
        if (!want->din[i].p || !(inputs >> i & 1))
            continue;
        const int64_t n = live_count(p, p->n->in[i]);
        double squares = 0;
        for (int64_t j = 0; j < n; j++)
            squares += pow(value_at(&want->din[i], d, j), 2);
        const double bound = 2 * fmax(type_eps(d), eps) + 0x1p-23 * 16;
        for (int64_t j = 0; j < n; j++) {
            const double a = value_at(&want->din[i], d, j), b = value_at(&got->din[i], d, j);
            if (fabs(a - b) <= bound * (fabs(a) + sqrt(squares / (double)n)))
                continue;
            op_fail(p, got, "%s: gradient of %s[%lld] is %.9g, should be %.9g", what, p->op->in[i].name, (long long)j, b, a);
            break;
        }
    }
}

static unsigned whole_inputs(const probe *p)
{
    unsigned all = 0;
    for (int i = 0; i < hs_op_n_in(p->op); i++)
        all |= p->op->in[i].flags & HS_WHOLE ? 1u << i : 0;
    return all;
}

// Products on a device may divide a live inner width by its capacity; all other sums over rows are grouped the same at any.
static bool divides_sums(const hs_op *op)
{
    bool product = false;
    for (int i = 0; i < hs_op_n_in(op); i++)
        product |= op->in[i].amp == HS_AMP_LOW;
    return hs_tested.no_team && product;
}

// sums: how those over rows are grouped may be another
static void compare_live(probe *p, const op_run *want_f, const op_run *want_b, op_run *f, op_run *b, bool sums, const char *what)
{
    run_forward(p, f);
    same_outputs(p, want_f, f, what);
    if (!f->k->bwd || !gradients(p))
        return;
    run_backward(p, b, f);
    same_gradients(p, want_b, b, sums ? ALL_INPUTS & ~whole_inputs(p) : ALL_INPUTS, what);
    if (sums)
        check_sums(p, want_b, b, whole_inputs(p), 0, what);
}

// The same of a device on which other kernels may have made what `want_b` is of another capacity.
static void near_live(probe *p, double *const want[], double *const scale[], const op_run *want_b, op_run *f, op_run *b, const char *what)
{
    run_forward(p, f);
    check_forward(p, f, want, scale);
    if (!f->k->bwd || !gradients(p))
        return;
    run_backward(p, b, f);
    check_sums(p, want_b, b, ALL_INPUTS, 16 * probe_eps(p), what); // roundings of what is between, at its own scale
}

// What it touches, and no more.
static void run_live(probe *p)
{
    for_each_set(set, k, p)
    {
        op_run f = { .k = k, .table = set->name, .lanes = 1, .tail = 0xFF }, b = backward_on(&f, 1, ALL_INPUTS, 0);
        run_forward(p, &f);
        if (has_gradients(p, k) && k->bwd)
            run_backward(p, &b, &f);
        run_free(&f);
        run_free(&b);
    }
}

static void check_live(probe *p, const int64_t live[HS_N_COUNTERS])
{
    if (hs_tested.accesses_only) {
        memcpy(p->step.n, live, sizeof p->step.n);
        run_live(p);
        return;
    }
    probe *cut = probe_cut(p, live);
    if (!cut->n) {
        hs_graph_status(cut->g);
        op_fail(p, NULL, "cut to its live rows it is refused: %s", hs_error());
        probe_free(cut);
        return;
    }
    double *want[HS_MAX_OUT], *scale[HS_MAX_OUT];
    memcpy(cut->step.n, live, sizeof cut->step.n);
    memcpy(p->step.n, live, sizeof p->step.n);
    probe_want(p, want, scale);
    for_each_set(set, k, p)
    {
        if (!set_kernels(set, cut))
            continue;
        op_run f = { .k = k, .table = set->name, .lanes = 1, .tail = 0xFF }, b = backward_on(&f, 1, ALL_INPUTS, 0);
        run_forward(cut, &f);
        check_forward(cut, &f, want, scale);
        if (k->bwd && gradients(p))
            run_backward(cut, &b, &f);
        op_run nan_f = { .k = k, .table = set->name, .lanes = 1, .tail = 0xFF }, nan_b = backward_on(&nan_f, 1, ALL_INPUTS, 0);
        op_run zero_f = { .k = k, .table = set->name, .lanes = 1, .tail = 0 }, zero_b = backward_on(&zero_f, 1, ALL_INPUTS, 0);
        if (hs_tested.bits_by_capacity)
            near_live(p, want, scale, &b, &nan_f, &nan_b, "with NaN beyond the live rows");
        else
            compare_live(p, &f, &b, &nan_f, &nan_b, divides_sums(p->op), "with NaN beyond the live rows");
        compare_live(p, &nan_f, &nan_b, &zero_f, &zero_b, false, "with zeros beyond the live rows");
        if (!hs_tested.no_team) {
            op_run team_f = { .k = k, .table = set->name, .lanes = 3, .tail = 0xFF }, team_b = backward_on(&team_f, 3, ALL_INPUTS, 0);
            compare_live(p, &f, &b, &team_f, &team_b, false, "with NaN beyond the live rows");
            run_free(&team_f);
            run_free(&team_b);
        }
        run_free(&nan_f);
        run_free(&nan_b);
        run_free(&zero_f);
        run_free(&zero_b);
        run_free(&f);
        run_free(&b);
    }
    free_outputs(want);
    free_outputs(scale);
    probe_free(cut);
}

static void live_rows_below_capacity(void **state)
{
    (void)state;
    for_each_probe(p, HS_TRAIN)
    {
        int64_t all[HS_N_COUNTERS], live[HS_N_COUNTERS];
        memcpy(all, p->step.n, sizeof all);
        if (!live_counts(p, live))
            continue;
        op_types t[3];
        const int n = main_types(p, t);
        for (int i = 0; i < n; i++) {
            memcpy(p->step.n, all, sizeof all);
            probe_set_types(p, &t[i]);
            check_live(p, live);
        }
    }
    assert_no_failures();
}

// Nothing live at all: nothing is written but gradients that all members share, and those are 0.
static void no_live_rows(void **state)
{
    (void)state;
    for_each_probe(p, HS_TRAIN)
    {
        int64_t live[HS_N_COUNTERS];
        if (!live_counts(p, live))
            continue;
        memset(p->step.n, 0, sizeof p->step.n);
        for_each_set(set, k, p)
        {
            op_run f = { .k = k, .table = set->name, .lanes = 2, .tail = 0xFF }, b = backward_on(&f, 2, ALL_INPUTS, 0);
            run_forward(p, &f);
            if (k->bwd && gradients(p))
                run_backward(p, &b, &f);
            for (int i = 0; i < hs_op_n_in(p->op); i++)
                for (int64_t j = 0; b.din[i].p && j < live_count(p, p->n->in[i]); j++)
                    if (value_at(&b.din[i], p->types.din[i], j) != 0) {
                        op_fail(p, &b, "without live rows, gradient of %s[%lld] is %g", p->op->in[i].name, (long long)j,
                                value_at(&b.din[i], p->types.din[i], j));
                        break;
                    }
            run_free(&f);
            run_free(&b);
        }
    }
    assert_no_failures();
}

int main(int argc, char **argv)
{
    tests_take_op(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_add),
        cmocka_unit_test(cast_adds),
        cmocka_unit_test(any_subset_of_gradients),
        cmocka_unit_test(unused_outputs),
        cmocka_unit_test(one_tensor_twice),
        cmocka_unit_test(bits_do_not_depend_on_lanes),
        cmocka_unit_test(promises_to_the_plan),
        cmocka_unit_test(in_place),
        cmocka_unit_test(live_rows_below_capacity),
        cmocka_unit_test(no_live_rows),
        cmocka_unit_test(bits_do_not_depend_on_copies),
    };
    return cmocka_run_group_tests_name("ops: runs", tests, setup_devices, teardown_devices);
}
