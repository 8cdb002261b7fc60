// draw: a class for each row, drawn with the probabilities that its logits give: what ELECTRA's generator puts in a token's place.
//
//   y[p] = c with probability softmax(x[p])[c], over the first `classes` columns. No gradient: what is drawn is data.
//
// One uniform number a row, at the address (seed, site, attempted step; slot, position) of the token that the row stands for: the same
// class at every layout, packing, accumulation and number of threads. `frozen` leaves seed and step out of it: an evaluation draws the same
// each time. The first column at which the running sum of e^(x - max) passes u * the sum of all: blocks are summed first, and only the one
// that has it is walked.

#include "core/base/rng.h"
#include "core/cpu/rows.h"
#include "core/cpu/vmath.h"
#include "ops/attrs.h"

enum { X, PICKS, WHERE };
enum { Y };

static const char *shape(hs_node *n)
{
    const hs_draw_attr *at = n->attr;
    const hs_tensor *x = n->in[X], *picks = n->in[PICKS], *where = n->in[WHERE];
    if (x->n_dims != 2)
        return "x must have rows and one width";
    if (picks->dtype != HS_I32 || picks->n_dims != 1 || picks->dim[0] != x->dim[0] || picks->ext != x->ext)
        return "picks must be i32, one for each row of x";
    if (where->dtype != HS_I32 || where->n_dims != 2 || where->dim[1] != 2)
        return "where must be i32 [tokens, 2]";
    if (at->classes < 1 || at->classes > x->dim[1])
        return "classes must be between 1 and the width of x";
    hs_shape_set(n->out[Y], HS_I32, x->ext, 1, x->dim);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double cells = (double)n->in[X]->dim[0] * (double)((const hs_draw_attr *)n->attr)->classes;
    return (hs_cost){ .flops = 12 * cells, .bytes = hs_traffic(n, backward) };
}

// In (0, 1); a pick that is no token draws as the first.
static double uniform(const hs_args *a, int64_t p)
{
    enum { PLANE = 0x44524157 }; // dropout's have small ones
    const int64_t N = hs_ref_rows(a, &a->in[WHERE]);
    const int32_t row = hs_i32(a, PICKS)[p];
    const int32_t *where = hs_i32(a, WHERE) + 2 * (row >= 0 && row < N ? row : 0);
    const bool frozen = ((const hs_draw_attr *)a->attr)->frozen;
    const uint64_t key = frozen ? hs_mix(a->site) : hs_mix2(hs_mix2(a->step->seed, a->site), a->step->step);
    return hs_u32_unit(hs_random(key, (uint32_t)where[0], (uint32_t)where[1], 0, PLANE).v[0]);
}

static void reference(const hs_args *a)
{
    const int64_t P = hs_ref_rows(a, &a->in[X]), V = a->in[X].cols, K = ((const hs_draw_attr *)a->attr)->classes;
    for (int64_t p = 0; p < P; p++) {
        const double *x = hs_f64(a, X) + p * V;
        double max = -INFINITY, sum = 0, at = 0;
        for (int64_t c = 0; c < K; c++)
            max = fmax(max, x[c]);
        for (int64_t c = 0; c < K; c++)
            sum += exp(x[c] - max);
        const double want = uniform(a, p) * sum;
        int64_t y = 0;
        for (int64_t c = 0; c < K && at <= want; c++)
            at += exp(x[c] - max), y = c;
        hs_f64_out(a, Y)[p] = (double)y;
    }
}

enum { STRIDE = 128 }; // columns whose sum is made at once
static float piece(const hs_ref *x, int64_t first, int64_t n, float max, float *e)
{
    float wide[STRIDE], sum = 0;
    const float *v = hs_load(x, first, n, wide);
    HS_SIMD_SUM(sum)
    for (int64_t c = 0; c < n; c++) {
        e[c] = hs_expf_below(v[c] - max);
        sum += e[c];
    }
    return sum;
}

static int64_t at_most(int64_t n) { return n < STRIDE ? n : STRIDE; }

static int32_t of_row(const hs_ref *x, int64_t p, int64_t K, double u)
{
    float e[STRIDE], wide[HS_BLOCK], max = -INFINITY;
    const int64_t first = p * x->cols;
    for (int64_t c = 0; c < K; c += HS_BLOCK) {
        const int64_t n = K - c < HS_BLOCK ? K - c : HS_BLOCK;
        max = hs_max(hs_load(x, first + c, n, wide), n, max);
    }
    double all = 0, before = 0;
    for (int64_t c = 0; c < K; c += STRIDE)
        all += (double)piece(x, first + c, at_most(K - c), max, e);
    const double want = u * all;
    int32_t last = 0; // that has a share, should rounding carry past the end
    for (int64_t c0 = 0; c0 < K; c0 += STRIDE) {
        const int64_t n = at_most(K - c0);
        const double here = (double)piece(x, first + c0, n, max, e);
        double at = before;
        for (int64_t c = 0; c < n && (before + here > want || c0 + n == K); c++) {
            at += (double)e[c];
            last = e[c] > 0 ? (int32_t)(c0 + c) : last;
            if (at > want)
                return last;
        }
        before += here;
    }
    return last;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t K = ((const hs_draw_attr *)a->attr)->classes;
    int32_t *y = (int32_t *)a->out[Y].p;
    hs_for_rows(p, a, &a->in[X], lane)
        y[p] = of_row(&a->in[X], p, K, uniform(a, p));
}

static void places(int input, int32_t *data, int64_t n, const hs_case *c)
{
    for (int64_t i = 0; i < n; i++)
        data[i] = (int32_t)(input == PICKS ? (i * 5 + 1) % c->in[WHERE][0] : i % 2 ? i / 2 % 7 : i / 14);
}

static const hs_draw_attr few = { .classes = 7 }, some = { .classes = 61, .frozen = 1 }, many = { .classes = 2500 };
static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 1 }, { 1, 2 } }, .attr = &few, .setup = places, .note = "one row; a column that is padding" },
    { .in = { { 33, 65 }, { 33 }, { 40, 2 } },
      .ext = { HS_EXT_PICKS, HS_EXT_PICKS, HS_EXT_TOKENS },
      .attr = &some,
      .setup = places,
      .live = { [HS_COUNT_TOKENS] = 40 },
      .note = "odd width; the same each time" },
    { .in = { { 40, 2504 }, { 40 }, { 48, 2 } },
      .ext = { HS_EXT_PICKS, HS_EXT_PICKS, HS_EXT_TOKENS },
      .attr = &many,
      .setup = places,
      .live = { [HS_COUNT_TOKENS] = 48 },
      .note = "several blocks" },
    { .in = { { 9, 64 }, { 9 }, { 9, 2 } }, .attr = &some, .setup = places, .fill = HS_FILL_LARGE, .note = "large values" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    *c = (hs_case){ .in = { { dim[0], dim[1] }, { dim[0] }, { dim[0], 2 } },
                    .ext = { HS_EXT_PICKS, HS_EXT_PICKS, HS_EXT_TOKENS },
                    .setup = places };
    *(hs_draw_attr *)attr = (hs_draw_attr){ .classes = (int32_t)dim[1] };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxCLASSES", .usual = "640x30528", .make = make } };
static const hs_attr attrs[] = { HS_ATTR(hs_draw_attr, classes), HS_ATTR(hs_draw_attr, frozen) };

HS_OP(draw) = {
    .name = "draw",
    .formula = "y[p] ~ softmax(x[p])",
    .paper = "arXiv:2003.10555",
    .attr_bytes = sizeof(hs_draw_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, HS_NO_GRAD },
            [PICKS] = { "picks", HS_AMP_NONE, HS_NO_GRAD },
            [WHERE] = { "where", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE } },
    .out = { [Y] = { "y", HS_AMP_NONE, 0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { .fwd = forward, .fwd_part = HS_PART_ROWS },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_draw(hs_graph *g, hs_tensor *x, hs_tensor *picks, hs_tensor *where, int32_t classes, bool frozen)
{
    return hs_emit(g, HS_OP_ENTRY(draw), &(hs_draw_attr){ .classes = classes, .frozen = frozen }, (hs_tensor *[]){ x, picks, where }, 3);
}
#endif
