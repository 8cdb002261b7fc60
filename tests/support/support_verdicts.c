// support_verdicts: what is judged of a run, and the one line a failure prints.
#include "tests/support/support_ops.h"
// cmocka wants these four before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

// ---- verdicts

enum { MAX_LINES = 40 };
static int failures;

void case_fail(int op_id, int case_id, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (failures++ < MAX_LINES)
        print_error("%s case %d: %s\n", hs_tested.ops[op_id]->name, case_id, text);
}

static size_t describe(const probe *p, char *buf, size_t size)
{
    size_t at = (size_t)snprintf(buf, size, "%s case %d%s%s%s", p->op->name, p->case_id, p->c->note ? " (" : "",
                                 p->c->note ? p->c->note : "", p->c->note ? ")" : "");
    for (int i = 0; i < hs_op_n_in(p->op) && at < size; i++) {
        char shape[64];
        if (p->n->in[i])
            at += (size_t)snprintf(buf + at, size - at, " %s %s%s", p->op->in[i].name, hs_dtype_name(stored_type(p, i)),
                                   hs_tensor_shape(p->n->in[i], shape, sizeof shape));
        if (has_gradient(p, i) && at < size && p->types.din[i] != p->types.in[i])
            at += (size_t)snprintf(buf + at, size - at, "(d %s)", hs_dtype_name(p->types.din[i]));
    }
    for (int o = 0; o < hs_op_n_out(p->op) && at < size; o++)
        at += (size_t)snprintf(buf + at, size - at, " -> %s%s%s", hs_dtype_name(p->types.out[o]),
                               p->types.dout[o] != p->types.out[o] ? ", d " : "",
                               p->types.dout[o] != p->types.out[o] ? hs_dtype_name(p->types.dout[o]) : "");
    return at;
}

void op_fail(const probe *p, const op_run *r, const char *fmt, ...)
{
    char node[512], text[512];
    describe(p, node, sizeof node);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (failures++ < MAX_LINES)
        print_error("%s [%s, lanes %d]: %s\n", node, r ? r->table : "reference", r ? r->lanes : 0, text);
}

void assert_no_failures(void)
{
    const int n = failures;
    failures = 0;
    if (n > MAX_LINES)
        print_error("... and %d more\n", n - MAX_LINES);
    assert_int_equal(n, 0);
}

static float tolerance(const probe *p) { return p->c->tolerance > 0 ? p->c->tolerance : 1; }
static double smallest_step(hs_dtype d) { return d == HS_F16 ? 0x1p-24 : 0; } // f16 rounds to multiples of this near zero

// One bound for all: a few roundings of the coarsest type in sight, each as large as the reference says a rounding of its
// inputs would be, plus those of f32 sums.
static double rounding(const probe *p, double size, double scale)
{
    const double eps = probe_eps(p);
    return tolerance(p) * (eps > 0x1p-23 ? eps * (size + 1.5 * scale) : 0x1p-23 * 4 * (size + 2 * scale));
}

void check_forward(const probe *p, const op_run *r, double *const want[], double *const scale[])
{
    for (int o = 0; o < hs_op_n_out(p->op); o++) {
        const hs_dtype d = p->types.out[o];
        if (p->op->out[o].flags & HS_SAVED || o == loss_gradient(p->op))
            continue;
        int64_t worst = -1;
        double worst_ratio = 1;
        for (int64_t j = 0; j < live_count(p, p->n->out[o]); j++) {
            if (d == HS_F16 && fabs(want[o][j]) > 60000)
                continue;
            const double bound = rounding(p, fabs(want[o][j]), scale[o][j]) + smallest_step(d);
            const double off = fabs(value_at(&r->out[o], d, j) - want[o][j]), ratio = off / bound;
            if (off != 0 && !(ratio <= worst_ratio)) {
                worst = j, worst_ratio = isnan(ratio) ? INFINITY : ratio;
                if (isnan(ratio))
                    break;
            }
        }
        if (worst >= 0)
            op_fail(p, r, "%s[%lld] is %.9g, should be %.9g +- %.2g", p->op->out[o].name, (long long)worst, value_at(&r->out[o], d, worst),
                    want[o][worst], rounding(p, fabs(want[o][worst]), scale[o][worst]));
    }
}

// Backward may read a result as it was stored, rounded: then a gradient is off by that rounding times dy, which is N(0, 1).
static double stored_results(const probe *p)
{
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        if (p->dy[o] && p->op->out[o].flags & HS_BWD_READS)
            return 1;
    return 0;
}

void check_slopes(const probe *p, const op_run *forward, const op_run *backward, const slope *s, int n)
{
    const int by_loss = loss_gradient(p->op);
    const double stored = stored_results(p);
    for (int i = 0; i < hs_op_n_in(p->op); i++) {
        if (!has_gradient(p, i))
            continue;
        const guarded *b = by_loss >= 0 ? &forward->out[by_loss] : &backward->din[i];
        const hs_dtype d = by_loss >= 0 ? p->types.out[by_loss] : p->types.din[i];
        const int64_t count = live_count(p, p->n->in[i]);
        double squares = 0, scales = 0, elements = 0;
        for (int64_t j = 0; j < count; j++)
            squares += pow(value_at(b, d, j), 2);
        for (int k = 0; k < n; k++)
            if (s[k].input == i && s[k].at >= 0)
                scales += s[k].scale * s[k].scale, elements++;
        const slope *worst = NULL;
        double worst_ratio = 1, worst_got = 0, worst_bound = 0;
        for (int k = 0; k < n; k++) {
            if (s[k].input != i)
                continue;
            double got = 0;
            for (int64_t j = s[k].at < 0 ? 0 : s[k].at; j < (s[k].at < 0 ? count : s[k].at + 1); j++)
                got += value_at(b, d, j) * (s[k].at < 0 ? slope_sign(s[k].key, j) : 1);
            const double scale = s[k].at < 0 ? 2 * s[k].scale + 2 * sqrt(squares) + stored * sqrt((double)count)
                                             : s[k].scale + sqrt(scales / elements) + stored;
            const double step = smallest_step(d) * (s[k].at < 0 ? sqrt((double)count) : 1);
            const double bound = rounding(p, fabs(s[k].want), scale) + step + 1e-9 * scale + s[k].noise,
                         ratio = fabs(got - s[k].want) / bound;
            if (got != s[k].want && !(ratio <= worst_ratio))
                worst = &s[k], worst_ratio = isnan(ratio) ? INFINITY : ratio, worst_got = got, worst_bound = bound;
        }
        if (worst && worst->at >= 0)
            op_fail(p, backward ? backward : forward, "gradient of %s[%lld] is %.9g, should be %.9g +- %.2g", p->op->in[i].name,
                    (long long)worst->at, worst_got, worst->want, worst_bound);
        else if (worst)
            op_fail(p, backward ? backward : forward, "gradient of %s along a direction is %.9g, should be %.9g +- %.2g", p->op->in[i].name,
                    worst_got, worst->want, worst_bound);
    }
}

static bool same_bytes(const probe *p, const op_run *b, const guarded *x, const guarded *y, const hs_tensor *t, hs_dtype d,
                       const char *name, const char *what)
{
    const int64_t n = live_count(p, t);
    const size_t size = hs_dtype_bytes(d);
    if (!x->p || !y->p || !memcmp(x->p, y->p, (size_t)n * size))
        return true;
    int64_t differ = 0, first = -1;
    for (int64_t j = 0; j < n; j++)
        if (memcmp(x->p + (size_t)j * size, y->p + (size_t)j * size, size)) {
            differ++;
            first = first < 0 ? j : first;
        }
    op_fail(p, b, "%s: %lld of %lld values of %s differ, the first at [%lld]: %.9g, should be %.9g", what, (long long)differ, (long long)n,
            name, (long long)first, value_at(y, d, first), value_at(x, d, first));
    return false;
}

bool same_outputs(const probe *p, const op_run *a, const op_run *b, const char *what)
{
    bool same = true;
    for (int o = 0; o < hs_op_n_out(p->op); o++)
        same &= p->op->out[o].flags & HS_SCRATCH ||
                same_bytes(p, b, &a->out[o], &b->out[o], p->n->out[o], p->types.out[o], p->op->out[o].name, what);
    return same;
}

bool same_gradients(const probe *p, const op_run *a, const op_run *b, unsigned inputs, const char *what)
{
    bool same = true;
    for (int i = 0; i < hs_op_n_in(p->op); i++)
        if (inputs >> i & 1 && p->n->in[i]) {
            char name[64];
            snprintf(name, sizeof name, "gradient of %s", p->op->in[i].name);
            same &= same_bytes(p, b, &a->din[i], &b->din[i], p->n->in[i], p->types.din[i], name, what);
        }
    return same;
}
