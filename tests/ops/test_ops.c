// The op table, walked: every entry complete, bad shapes refused, forward and backward against the f64 reference and its
// finite differences in every type, tier and provider, fused ops against what they fuse. Nothing is written per op.
#include "tests/support/support_ops.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// ---- entries

static void check_operands(int id, const hs_operand *v, int n, const char *what)
{
    for (int i = 0; i < n; i++) {
        if (v[i].amp == HS_AMP_UNSET)
            case_fail(id, 0, "%s %s has no AMP class", what, v[i].name);
        for (int j = 0; j < i; j++)
            if (!strcmp(v[i].name, v[j].name))
                case_fail(id, 0, "two %ss are called %s", what, v[i].name);
    }
}

static bool needs_backward(const hs_op *op)
{
    for (int i = 0; i < hs_op_n_in(op); i++)
        if (op->in[i].amp != HS_AMP_NONE && !(op->in[i].flags & (HS_NO_GRAD | HS_GRAD_IS_DY)))
            return loss_gradient(op) < 0;
    return false;
}

static int count_numbers(const char *size, size_t n) // "1Kx768x3072": 3
{
    int numbers = 1;
    for (size_t i = 0; i < n; i++)
        numbers += size[i] == 'x';
    return numbers;
}

// What `halfstep bench op` reads: forms that differ in how many numbers they have, and usual sizes of their form.
static void check_sizes(int id, const hs_op *op)
{
    for (int f = 0; f < op->bench.n_sizes; f++) {
        const hs_op_sizes *s = &op->bench.sizes[f];
        if (!s->form || !s->usual || !s->make) {
            case_fail(id, 0, "a kind of size needs its form, its usual sizes and what makes a case of one");
            continue;
        }
        const int numbers = count_numbers(s->form, strlen(s->form));
        for (int other = 0; other < f; other++)
            if (count_numbers(op->bench.sizes[other].form, strlen(op->bench.sizes[other].form)) == numbers)
                case_fail(id, 0, "%s: another form has as many numbers", s->form);
        for (const char *p = s->usual;; p++) {
            const size_t n = strcspn(p, ",");
            if (count_numbers(p, n) != numbers)
                case_fail(id, 0, "'%.*s' is not %s", (int)n, p, s->form);
            p += n;
            if (!*p)
                break;
        }
    }
}

static void check_entry(int id)
{
    const hs_op *op = hs_tested.ops[id];
    if (!op->name || !op->formula || !op->shape || !op->cost || !op->ref || !op->cpu.fwd || op->n_cases < 1)
        case_fail(id, 0, "name, formula, shape, cost, ref, a case and a forward kernel are required");
    if (hs_op_n_in(op) < 1 || hs_op_n_out(op) < 1)
        case_fail(id, 0, "has no operands");
    check_operands(id, op->in, hs_op_n_in(op), "input");
    check_operands(id, op->out, hs_op_n_out(op), "output");
    if (needs_backward(op) != (op->cpu.bwd != NULL))
        case_fail(id, 0, op->cpu.bwd ? "has a backward kernel, but no gradient to compute" : "has no backward kernel");
    if (!(op->flags & HS_OP_COLLECTIVE) != !op->moves)
        case_fail(id, 0, op->moves ? "moves something, but is no collective" : "is a collective, and does not say what moves");
    if (hs_attrs_check(op))
        case_fail(id, 0, "%s", hs_attrs_check(op));
    if (op->flags & HS_OP_LOSS && op->loss_offset + sizeof(int32_t) > op->attr_bytes)
        case_fail(id, 0, "loss_offset lies outside its attributes");
    for (int i = 0; i < hs_op_n_in(op); i++)
        for (int c = 0; c < op->n_cases; c++)
            if (op->cases[c].in[i][0] && !hs_dtype_is_float(hs_case_traces(op, &op->cases[c], i)) && !op->cases[c].limit &&
                !op->cases[c].setup)
                case_fail(id, c, "nothing says what fills %s: no limit, no setup", op->in[i].name);
    check_sizes(id, op);
    for (int other = 0; other < id; other++)
        if (!strcmp(op->name, hs_tested.ops[other]->name))
            case_fail(id, 0, "the name is taken");
}

static void check_rules(const probe *p)
{
    for (int backward = 0; backward < 2; backward++) {
        const hs_cost c = p->op->cost(p->n, backward);
        if (!isfinite(c.flops) || !isfinite(c.bytes) || c.flops < 0 || c.bytes < 0)
            op_fail(p, NULL, "cost is %g flops, %g bytes", c.flops, c.bytes);
        if (!backward && c.flops + c.bytes <= 0)
            op_fail(p, NULL, "forward costs nothing");
        for_each_set(s, k, p) for (int team = 1; team <= 3 && k->scratch; team++) if (k->scratch(p->n, team, backward).shared > 1u << 30)
            op_fail(p, NULL, "%s: a team of %d wants over 1 GiB of scratch", s->name, team);
    }
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        if (p->n->out[o]->n_dims < 1 || hs_tensor_count(p->n->out[o]) < 1)
            op_fail(p, NULL, "the shape rule left output %s without a shape", p->op->out[o].name);
}

static void entries_are_complete(void **state)
{
    (void)state;
    for (int id = 0; id < hs_tested.n; id++)
        check_entry(id);
    for_each_probe(p, HS_TRAIN) check_rules(p);
    assert_no_failures();
}

// ---- shapes

// Emits the case with the dims of input `which` changed (n_dims 0: absent). Returns whether it was refused.
static bool refused(const probe *p, int which, int n_dims, const int64_t *dim, bool *explained)
{
    const hs_grid grid = hs_grid_self();
    hs_graph *g = NULL;
    assert_int_equal(hs_graph_new(&g, p->params, NULL, HS_TRAIN, &grid), HS_OK);
    hs_push(g, "layer3");
    hs_push(g, "probe");
    hs_tensor *in[HS_MAX_IN] = { 0 };
    int present = 0;
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        const hs_tensor *t = p->n->in[i];
        const bool bad = i == which;
        if (t && (!bad || n_dims))
            in[i] = hs_input(g, p->op->in[i].name, t->dtype, t->ext, bad ? n_dims : t->n_dims, bad ? dim : t->dim);
        present += in[i] != NULL;
    }
    static const char no_attr[256];
    const bool poison = hs_emit(g, p->op, p->c->attr ? p->c->attr : no_attr, in, hs_op_n_in(p->op)) == g->poison;
    assert_int_equal(poison, hs_graph_status(g) != HS_OK);
    *explained = true;
    if (poison) { // the scope, the op, and the shape of everything that came in
        *explained = strstr(hs_error(), "layer3.probe") && strstr(hs_error(), p->op->name) && !strchr(hs_error(), '\n');
        for (int i = 0; i < hs_op_n_in(p->op); i++) {
            char shape[64];
            if (in[i])
                *explained = *explained && strstr(hs_error(), hs_tensor_shape(in[i], shape, sizeof shape));
        }
        if (!*explained)
            op_fail(p, NULL, "a refusal must name scope, op and shapes: \"%s\"", hs_error());
    }
    hs_graph_free(g);
    return poison;
}

static void bad_shapes_are_refused(void **state)
{
    (void)state;
    for_each_probe(p, HS_TRAIN)
    {
        int n_present = 0, n_refused = 0;
        bool explained = true;
        for (int i = 0; i < hs_op_n_in(p->op); i++) {
            const hs_tensor *t = p->n->in[i];
            if (!t)
                continue;
            n_present++;
            for (int d = 0; d < t->n_dims; d++) {
                int64_t dim[HS_MAX_DIMS];
                memcpy(dim, t->dim, sizeof dim);
                dim[d] += d == 0 && t->ext != HS_EXT_FIXED ? hs_ext_unit(t->ext) : 1; // parts of units never reach the op: test_extents
                n_refused += refused(p, i, t->n_dims, dim, &explained);
                dim[d] = 2 * t->dim[d];
                n_refused += refused(p, i, t->n_dims, dim, &explained);
            }
            for (int n = 1; n <= HS_MAX_DIMS; n++) {
                const int64_t dim[HS_MAX_DIMS] = { t->dim[0], t->n_dims > 1 ? t->dim[1] : 2, 3, 5 };
                if (n != t->n_dims)
                    n_refused += refused(p, i, n, dim, &explained);
            }
            if (!refused(p, i, 0, NULL, &explained) && !(p->op->in[i].flags & HS_OPTIONAL))
                op_fail(p, NULL, "input %s may be left out", p->op->in[i].name);
        }
        if (n_present > 1 && !n_refused)
            op_fail(p, NULL, "no change of any input's shape is refused");
    }
    assert_no_failures();
}

// ---- values

static void check_values(probe *p, const op_types *t, double budget)
{
    double *want[HS_MAX_OUT] = { 0 }, *scale[HS_MAX_OUT] = { 0 };
    slope *s = NULL;
    probe_set_types(p, t);
    if (!hs_tested.accesses_only)
        probe_want(p, want, scale);
    const int n = hs_tested.accesses_only ? 0 : probe_slopes(p, budget, &s);
    for_each_set(set, k, p)
    {
        op_run f = { .k = k, .table = set->name, .lanes = 1, .tail = 0xFF }, b = f;
        b.wanted = ALL_INPUTS;
        run_forward(p, &f);
        if (!hs_tested.accesses_only)
            check_forward(p, &f, want, scale);
        if (k->bwd)
            run_backward(p, &b, &f);
        if (k->bwd && p->op->flags & HS_OP_LOSS)
            same_outputs(p, &f, &b, "beside its gradients");
        if (n)
            check_slopes(p, &f, k->bwd ? &b : NULL, s, n);
        run_free(&f);
        run_free(&b);
    }
    free(s);
    free_outputs(want);
    free_outputs(scale);
}

static double slope_flops(void) { return hs_tested.slope_flops > 0 ? hs_tested.slope_flops : 3e7; }

static void f32_against_reference(void **state)
{
    (void)state;
    for_each_probe(p, HS_TRAIN)
    {
        const op_types t = probe_f32(p);
        check_values(p, &t, slope_flops());
    }
    assert_no_failures();
}

static void low_against_reference(hs_dtype low)
{
    for_each_probe(p, HS_TRAIN)
    {
        op_types t[MAX_TYPES];
        int n = probe_low(p, low, true, t);
        if (hs_tensor_count(p->n->out[0]) > 4096) // the small cases have seen every combination
            n = n > 1 ? 1 : n;
        for (int i = 0; i < n; i += hs_tested.emulated && low == HS_F16 ? 3 : 1) // bf16, of the same source, has had each of them
            check_values(p, &t[i], i ? 0 : slope_flops() / 10);
    }
    assert_no_failures();
}
static void bf16_against_reference(void **state)
{
    (void)state;
    low_against_reference(HS_BF16);
}
static void f16_against_reference(void **state)
{
    (void)state;
    if (hs_tested.accesses_only)
        skip();
    low_against_reference(HS_F16);
}

static void identity_gradients_are_identities(void **state)
{
    (void)state;
    if (hs_tested.accesses_only)
        skip();
    for_each_probe(p, HS_TRAIN) for (int i = 0; i < hs_op_n_in(p->op);
                                     i++) if (is_float_input(p, i) && p->op->in[i].flags & HS_GRAD_IS_DY && !(identity_error(p, i) < 1e-6))
        op_fail(p, NULL, "the gradient of %s is not dy: a direction comes out changed by %g", p->op->in[i].name, identity_error(p, i));
    assert_no_failures();
}

// Without a gradient to make, a loss gives the same losses and leaves its input alone.
static void losses_evaluate(void **state)
{
    (void)state;
    for_each_probe(p, HS_TRAIN)
    {
        if (!(p->op->flags & HS_OP_LOSS))
            continue;
        for_each_set(set, k, p)
        {
            op_run a = { .k = k, .table = set->name, .lanes = 1, .tail = 0xFF }, b = a;
            b.no_loss_gradient = true;
            run_forward(p, &a);
            run_forward(p, &b);
            same_outputs(p, &a, &b, "in evaluation");
            run_free(&a);
            run_free(&b);
        }
    }
    assert_no_failures();
}

// ---- fused ops: the chain of what `unfused` names, wired by operand names. A link takes what came before as its first
// input and the fused op's inputs of the same names; a required input that no name matches takes what no link claims. A link
// whose input the case leaves out is left out. The attributes of the fused op are those of the links, one after the other.

static int named(const hs_op *op, const char *name)
{
    for (int i = 0; i < hs_op_n_in(op); i++)
        if (!strcmp(op->in[i].name, name))
            return i;
    return -1;
}

static bool claimed(const hs_op *fused, int input)
{
    for (const hs_op *const *link = fused->unfused; *link; link++)
        if (named(*link, fused->in[input].name) > 0)
            return true;
    return input == 0;
}

// Inputs of one link; false: the link falls away.
static bool wire(const probe *p, const hs_op *link, hs_tensor *const *fused_in, hs_tensor *before, hs_tensor **in)
{
    in[0] = before;
    for (int i = 1; i < hs_op_n_in(link); i++) {
        const int same = named(p->op, link->in[i].name);
        in[i] = same > 0 ? fused_in[same] : NULL;
        for (int k = 1; k < hs_op_n_in(p->op) && same <= 0 && !(link->in[i].flags & HS_OPTIONAL); k++)
            if (!claimed(p->op, k))
                in[i] = fused_in[k];
        if (!in[i] && !(link->in[i].flags & HS_OPTIONAL))
            return false;
    }
    return true;
}

static void run_reference(const probe *p, const hs_node *n, void **value)
{
    hs_args a = { .attr = n->attr, .step = &p->step, .state = (hs_step_state *)&p->state, .site = p->n->site };
    for (int i = 0; i < HS_MAX_IN; i++)
        if (n->in[i])
            a.in[i] = (hs_ref){ value[n->in[i]->id], n->in[i]->dim[0], hs_tensor_cols(n->in[i]), HS_F64, n->in[i]->ext, false, n->in[i] };
    for (int o = 0; o < HS_MAX_OUT; o++)
        if (n->out[o]) {
            value[n->out[o]->id] = calloc((size_t)hs_tensor_count(n->out[o]), sizeof(double));
            a.out[o] =
                (hs_ref){ value[n->out[o]->id], n->out[o]->dim[0], hs_tensor_cols(n->out[o]), HS_F64, n->out[o]->ext, false, n->out[o] };
        }
    n->op->ref(&a);
}

static void check_fused(const probe *p)
{
    const hs_grid grid = hs_grid_self();
    hs_graph *g = NULL;
    assert_int_equal(hs_graph_new(&g, p->params, NULL, HS_TRAIN, &grid), HS_OK);
    hs_tensor *in[HS_MAX_IN] = { 0 };
    for (int i = 0; i < hs_op_n_in(p->op); i++)
        if (p->n->in[i])
            in[i] = hs_input(g, p->op->in[i].name, p->n->in[i]->dtype, p->n->in[i]->ext, p->n->in[i]->n_dims, p->n->in[i]->dim);
    hs_tensor *last = in[0];
    size_t attr_at = 0;
    for (const hs_op *const *link = p->op->unfused; *link; attr_at += (*link)->attr_bytes, link++) {
        hs_tensor *link_in[HS_MAX_IN];
        if (wire(p, *link, in, last, link_in))
            last = hs_emit(g, *link, (const char *)p->n->attr + attr_at, link_in, hs_op_n_in(*link));
    }
    if (attr_at != p->op->attr_bytes || hs_graph_status(g) != HS_OK) {
        op_fail(p, NULL, "what it fuses cannot be put together: %zu bytes of attributes, its own are %u; %s", attr_at, p->op->attr_bytes,
                hs_error());
        hs_graph_free(g);
        return;
    }
    void **value = calloc((size_t)g->n_tensors, sizeof *value);
    for (int i = 0; i < hs_op_n_in(p->op); i++)
        if (in[i])
            value[in[i]->id] = p->x[i] ? (void *)p->x[i] : (void *)p->ids[i];
    for (int k = 0; k < g->n_nodes; k++)
        run_reference(p, g->node[k], value);
    double *y[HS_MAX_OUT];
    probe_ref(p, p->x, probe_outputs(p, y));
    for (int o = 0; o < hs_op_n_out(p->op); o++) { // every output is what some link gives
        double best = p->op->out[o].flags & HS_SAVED ? 0 : INFINITY;
        for (int k = 0; k < g->n_nodes; k++) {
            const double *v = value[g->node[k]->out[0]->id];
            double worst = hs_tensor_count(g->node[k]->out[0]) == hs_tensor_count(p->n->out[o]) ? 0 : INFINITY;
            for (int64_t j = 0; worst < INFINITY && j < hs_tensor_count(p->n->out[o]); j++)
                worst = fmax(worst, fabs(v[j] - y[o][j]) / (1 + fabs(v[j])));
            best = fmin(best, worst);
        }
        if (!(best < 1e-9))
            op_fail(p, NULL, "%s is not what the unfused ops give: off by %g", p->op->out[o].name, best);
    }
    for (int k = 0; k < g->n_nodes; k++)
        for (int o = 0; o < HS_MAX_OUT; o++)
            if (g->node[k]->out[o])
                free(value[g->node[k]->out[o]->id]);
    free_outputs(y);
    free(value);
    hs_graph_free(g);
}

static void fused_equals_unfused(void **state)
{
    (void)state;
    if (hs_tested.accesses_only)
        skip();
    for_each_probe(p, HS_TRAIN) if (p->op->unfused) check_fused(p);
    assert_no_failures();
}

int main(int argc, char **argv)
{
    tests_take_op(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_complete),  cmocka_unit_test(bad_shapes_are_refused),
        cmocka_unit_test(f32_against_reference), cmocka_unit_test(bf16_against_reference),
        cmocka_unit_test(f16_against_reference), cmocka_unit_test(identity_gradients_are_identities),
        cmocka_unit_test(losses_evaluate),       cmocka_unit_test(fused_equals_unfused),
    };
    return cmocka_run_group_tests_name("ops", tests, setup_devices, teardown_devices);
}
