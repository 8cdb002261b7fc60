// crf: tags of a sequence judged as one chain - a linear-chain conditional random field over its tokens that have a target.
//
//   score(y) = first[y_1] + sum_t x[t, y_t] + sum_t next[y_t-1, y_t] + last[y_n]        loss[b] = log sum over y of e^score(y) -
//   score(target) dx[t, j]    = (p(y_t = j) - [target_t == j]) * inv_count[loss] * scale              0 where a token is not of the chain
//   dnext[i, j] = (sum_t p(y_t-1 = i, y_t = j) - how often the targets have it) * ...   the same of first and last
//
// Lafferty, McCallum and Pereira 2001. Sums over paths are logs in f64, and each token's probabilities are divided by their own sum: a
// chain of 512 tokens is as exact as one of 5. A loss is a root, so that in training one walk makes loss and gradients: each member takes
// its sequences there and back, and then its rows of `next`, over all sequences in order: no sum depends on the team. A target beyond the
// labels gives a NaN loss and gradient of its sequence, which adds nothing to the others.

#include "core/cpu/vmath.h"
#include "ops/ops.h"
#include "ops/rows/seq_rows.h"

enum { X, TARGET, STARTS, NEXT, BEGIN, END };
enum { LOSS };

static const char *shape(hs_node *n)
{
    const hs_label_attr *at = n->attr;
    const hs_tensor *x = n->in[X], *target = n->in[TARGET], *starts = n->in[STARTS], *next = n->in[NEXT];
    if (x->n_dims != 2)
        return "x must be [N, labels or more]";
    if (at->labels < 1 || at->labels > x->dim[1])
        return "labels must be between 1 and the width of x";
    if (target->dtype != HS_I32 || target->n_dims != 1 || target->dim[0] != x->dim[0] || target->ext != x->ext)
        return "target must be i32, one for each row of x";
    const char *why = seq_refuse(starts, NULL);
    if (why)
        return why;
    if (next->n_dims != 2 || next->dim[0] != at->labels || next->dim[1] != at->labels)
        return "next must be [labels, labels]";
    for (int i = BEGIN; i <= END; i++)
        if (n->in[i]->n_dims != 1 || n->in[i]->dim[0] != at->labels)
            return "first and last must be [labels]";
    if (at->loss < 0 || at->loss >= HS_N_LOSS)
        return "there is no loss of that number";
    const int64_t seqs = starts->dim[0] - 1;
    hs_shape_set(n->out[LOSS], HS_F32, seq_ext(starts), 1, &seqs);
    return NULL;
}

static int64_t labels_of(const hs_args *a) { return ((const hs_label_attr *)a->attr)->labels; }

static hs_cost cost(const hs_node *n, bool backward)
{
    const double L = (double)((const hs_label_attr *)n->attr)->labels, paths = (double)n->in[X]->dim[0] * L * L;
    return (hs_cost){ .flops = (backward ? 3 : 1) * 16 * paths, .bytes = (backward ? 2 : 1) * (double)hs_tensor_bytes(n->in[X]) };
}

// The row behind `row` that is of the chain, before `end`; end: there is none.
static int64_t chain_next(const hs_args *a, int64_t row, int64_t end)
{
    for (row++; row < end && hs_i32(a, TARGET)[row] < 0;)
        row++;
    return row;
}

typedef struct chain {  // of a sequence
    int64_t first, end; // its rows
    bool inside;        // they, and all targets, are where they should be
} chain;

static chain chain_of(const hs_args *a, int64_t b)
{
    chain c;
    int64_t n;
    c.inside = seq_rows(a, &a->in[X], hs_i32(a, STARTS), NULL, b, &c.first, &n);
    c.end = c.inside ? c.first + n : c.first;
    for (int64_t i = c.first; i < c.end; i++)
        c.inside = c.inside && hs_i32(a, TARGET)[i] < labels_of(a);
    return c;
}

static void reference(const hs_args *a)
{
    const int64_t B = hs_ref_rows(a, &a->out[LOSS]), L = labels_of(a), V = a->in[X].cols;
    const double *x = hs_f64(a, X), *next = hs_f64(a, NEXT);
    double now[256], then[256]; // cases have few labels
    for (int64_t b = 0; b < B; b++) {
        const chain c = chain_of(a, b);
        double score = 0, sum = 0, max = -INFINITY;
        int64_t before = -1;
        for (int64_t t = chain_next(a, c.first - 1, c.end); t < c.end; before = t, t = chain_next(a, t, c.end)) {
            const int32_t y = hs_i32(a, TARGET)[t];
            score += x[t * V + y] + (before < 0 ? hs_f64(a, BEGIN)[y] : next[hs_i32(a, TARGET)[before] * L + y]);
            for (int64_t j = 0; j < L; j++) {
                double paths = 0, most = -INFINITY;
                for (int64_t i = 0; i < L && before >= 0; i++)
                    most = fmax(most, then[i] + next[i * L + j]);
                for (int64_t i = 0; i < L && before >= 0; i++)
                    paths += exp(then[i] + next[i * L + j] - most);
                now[j] = x[t * V + j] + (before < 0 ? hs_f64(a, BEGIN)[j] : most + log(paths));
            }
            memcpy(then, now, sizeof now);
        }
        for (int64_t j = 0; j < L && before >= 0; j++)
            max = fmax(max, then[j] + hs_f64(a, END)[j]);
        for (int64_t j = 0; j < L && before >= 0; j++)
            sum += exp(then[j] + hs_f64(a, END)[j] - max);
        hs_f64_out(a, LOSS)[b] = before < 0 ? 0 : max + log(sum) - score - hs_f64(a, END)[hs_i32(a, TARGET)[before]];
    }
}

// ---- sums over paths: their logs in f64, of which only differences near 0 become an e^x in f32

static float power(double log) { return hs_expf_below((float)log); }

static double log_sum(const double *v, int64_t n) // log of the sum of e^v
{
    double max = -INFINITY;
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = v[i] > max ? v[i] : max;
    const double shift = max > -HUGE_VAL ? max : 0;
    HS_SIMD_SUM(sum)
    for (int64_t i = 0; i < n; i++)
        sum += power(v[i] - shift);
    return shift + log((double)sum);
}

// to[j] = log sum over i of e^(from[i] + next[i, j]); room: L.
static void step_on(const float *next, const double *from, int64_t L, double *restrict to, double *restrict room)
{
    for (int64_t j = 0; j < L; j++)
        to[j] = -INFINITY, room[j] = 0;
    for (int64_t i = 0; i < L; i++) {
        const float *row = next + i * L;
        for (int64_t j = 0; j < L; j++)
            to[j] = from[i] + (double)row[j] > to[j] ? from[i] + (double)row[j] : to[j];
    }
    for (int64_t j = 0; j < L; j++)
        to[j] = to[j] > -HUGE_VAL ? to[j] : 0;
    for (int64_t i = 0; i < L; i++) {
        const float *row = next + i * L;
        HS_SIMD
        for (int64_t j = 0; j < L; j++)
            room[j] += (double)power(from[i] + (double)row[j] - to[j]);
    }
    for (int64_t j = 0; j < L; j++)
        to[j] += log(room[j]);
}

// What one walk keeps of each row of the chain; rows are those of x. Forward keeps nothing.
typedef struct walk {
    double *before; // [N, L] log of the sum over paths up to here with that tag
    double *behind; // [N, L] x of this token and the sum over paths from it on
    double *all;    // [N]    log of the sum over tags of before + behind - x: what this token's probabilities, and pairs', are divided by
    double *row[3]; // room of L
} walk;

static size_t row_bytes(int64_t L) { return 2 * hs_row_bytes(L); }

static walk walk_at(const hs_args *a, hs_lane *lane, bool train)
{
    const int64_t N = a->in[X].rows, L = labels_of(a);
    walk w = { 0 };
    for (int i = 0; i < 3; i++)
        w.row[i] = (double *)(hs_thread_scratch(a, lane) + (size_t)i * row_bytes(L));
    if (train)
        w.before = (double *)a->scratch, w.behind = w.before + N * L, w.all = w.behind + N * L;
    return w;
}

static const float *emissions(const hs_args *a, int64_t t) { return hs_f32(a, X) + t * a->in[X].cols; }

// Paths from the first token on; returns the loss. keep: fills `before`.
static float walk_on(const hs_args *a, const walk *w, const chain *c, bool keep)
{
    const int64_t L = labels_of(a);
    const int32_t *target = hs_i32(a, TARGET);
    double *now = w->row[0], *then = w->row[1], score = 0;
    int64_t last = -1;
    for (int64_t t = chain_next(a, c->first - 1, c->end); t < c->end; last = t, t = chain_next(a, t, c->end)) {
        const float *x = emissions(a, t), *first = hs_f32(a, BEGIN), *next = hs_f32(a, NEXT);
        score += (double)x[target[t]] + (double)(last < 0 ? first : next + target[last] * L)[target[t]];
        if (last >= 0)
            step_on(next, then, L, now, w->row[2]);
        for (int64_t j = 0; j < L; j++)
            now[j] = (last < 0 ? (double)first[j] : now[j]) + (double)x[j];
        if (keep)
            memcpy(w->before + t * L, now, (size_t)L * sizeof *now);
        double *swap = now;
        now = then, then = swap;
    }
    if (last < 0)
        return 0;
    for (int64_t j = 0; j < L; j++)
        now[j] = then[j] + (double)hs_f32(a, END)[j];
    return (float)(log_sum(now, L) - score - (double)hs_f32(a, END)[target[last]]);
}

static int64_t chain_before(const hs_args *a, int64_t row, int64_t first) // first - 1: there is none
{
    for (row--; row >= first && hs_i32(a, TARGET)[row] < 0;)
        row--;
    return row;
}

// The same from the last token back.
static void walk_back(const hs_args *a, const walk *w, const chain *c)
{
    const int64_t L = labels_of(a);
    double *from = w->row[0], *sum = w->row[1];
    for (int64_t j = 0; j < L; j++)
        from[j] = (double)hs_f32(a, END)[j];
    for (int64_t t = chain_before(a, c->end, c->first), front; t >= c->first; t = front) {
        const float *x = emissions(a, t);
        double *behind = w->behind + t * L;
        front = chain_before(a, t, c->first);
        for (int64_t j = 0; j < L; j++)
            sum[j] = w->before[t * L + j] + from[j], behind[j] = from[j] + (double)x[j];
        w->all[t] = log_sum(sum, L);
        for (int64_t i = 0; i < L && front >= c->first; i++) {
            const float *next = hs_f32(a, NEXT) + i * L;
            for (int64_t j = 0; j < L; j++)
                sum[j] = (double)next[j] + behind[j];
            from[i] = log_sum(sum, L);
        }
    }
}

static float factor_of(const hs_args *a) { return a->step->inv_count[((const hs_label_attr *)a->attr)->loss] * a->state->scale; }

// Probabilities of row t's tags.
static void tags_of(const hs_args *a, const walk *w, int64_t t, float *p)
{
    const int64_t L = labels_of(a);
    const float *x = emissions(a, t);
    const double *before = w->before + t * L, *behind = w->behind + t * L;
    for (int64_t j = 0; j < L; j++)
        p[j] = power(before[j] + (behind[j] - (double)x[j]) - w->all[t]);
}

static void write_dx(const hs_args *a, const walk *w, const chain *c, int64_t end, float factor)
{
    const hs_ref *dx = &a->din[X];
    const int64_t L = labels_of(a), V = dx->cols;
    float *p = (float *)w->row[0];
    for (int64_t t = c->first; t < end; t++) {
        const int32_t y = hs_i32(a, TARGET)[t];
        float *d = (float *)dx->p + t * V;
        if (!dx->add)
            memset(d, 0, (size_t)V * sizeof *d);
        if (y < 0)
            continue;
        if (c->inside)
            tags_of(a, w, t, p);
        for (int64_t j = 0; j < L; j++)
            d[j] += c->inside ? factor * (p[j] - (float)(j == y)) : NAN;
    }
}

// dnext of one row: over all sequences in order, each summed by itself.
static void write_next(const hs_args *a, const walk *w, int64_t i, float factor)
{
    const int64_t L = labels_of(a), B = hs_ref_rows(a, &a->out[LOSS]);
    const int32_t *target = hs_i32(a, TARGET);
    const float *next = hs_f32(a, NEXT) + i * L;
    float *all = (float *)w->row[0], *part = (float *)w->row[1], *to = (float *)a->din[NEXT].p + i * L;
    memset(all, 0, (size_t)L * sizeof *all);
    for (int64_t b = 0; b < B; b++) {
        const chain c = chain_of(a, b);
        memset(part, 0, (size_t)L * sizeof *part);
        int64_t last = c.inside ? chain_next(a, c.first - 1, c.end) : c.end;
        for (int64_t t = last < c.end ? chain_next(a, last, c.end) : c.end; t < c.end; last = t, t = chain_next(a, t, c.end)) {
            const double *behind = w->behind + t * L, here = w->before[last * L + i] - w->all[t];
            HS_SIMD
            for (int64_t j = 0; j < L; j++)
                part[j] += power(here + (double)next[j] + behind[j]);
            if (target[last] == i)
                part[target[t]] -= 1;
        }
        for (int64_t j = 0; j < L; j++)
            all[j] += part[j];
    }
    for (int64_t j = 0; j < L; j++)
        to[j] = factor * all[j] + (a->din[NEXT].add ? to[j] : 0);
}

// dfirst, dlast: of every sequence's first or last token.
static void write_end(const hs_args *a, const walk *w, int input, float factor)
{
    const int64_t L = labels_of(a), B = hs_ref_rows(a, &a->out[LOSS]);
    float *all = (float *)w->row[0], *p = (float *)w->row[1], *to = (float *)a->din[input].p;
    memset(all, 0, (size_t)L * sizeof *all);
    for (int64_t b = 0; b < B; b++) {
        const chain c = chain_of(a, b);
        const int64_t t = input == BEGIN ? chain_next(a, c.first - 1, c.end) : chain_before(a, c.end, c.first);
        if (!c.inside || t < c.first || t >= c.end)
            continue;
        tags_of(a, w, t, p);
        p[hs_i32(a, TARGET)[t]] -= 1;
        for (int64_t j = 0; j < L; j++)
            all[j] += p[j];
    }
    for (int64_t j = 0; j < L; j++)
        to[j] = factor * all[j] + (a->din[input].add ? to[j] : 0);
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const walk w = walk_at(a, lane, false);
    hs_for_rows(b, a, &a->out[LOSS], lane) {
        const chain c = chain_of(a, b);
        hs_f32_out(a, LOSS)[b] = c.inside ? walk_on(a, &w, &c, false) : NAN;
    }
}

static void clear_dx(const hs_args *a, int64_t first, int64_t end) // rows of no sequence
{
    const hs_ref *dx = &a->din[X];
    if (end > first && !dx->add)
        memset((float *)dx->p + first * dx->cols, 0, (size_t)((end - first) * dx->cols) * sizeof(float));
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const walk w = walk_at(a, lane, true);
    const float factor = factor_of(a);
    const int64_t B = hs_ref_rows(a, &a->out[LOSS]), N = hs_ref_rows(a, &a->in[X]), L = labels_of(a);
    const int32_t *starts = hs_i32(a, STARTS);
    hs_for_rows(b, a, &a->out[LOSS], lane) {
        const chain c = chain_of(a, b);
        hs_f32_out(a, LOSS)[b] = c.inside ? walk_on(a, &w, &c, true) : NAN;
        if (c.inside)
            walk_back(a, &w, &c);
        if (hs_wanted(a, X))
            write_dx(a, &w, &c, c.end, factor);
    }
    if (lane->id == 0 && hs_wanted(a, X)) {
        clear_dx(a, 0, starts[0] < N ? starts[0] : N);
        clear_dx(a, starts[B] > 0 ? starts[B] : 0, N);
    }
    hs_sync(lane);
    int64_t i0, i1;
    hs_part(lane, L, &i0, &i1);
    for (int64_t i = i0; i < i1 && hs_wanted(a, NEXT); i++)
        write_next(a, &w, i, factor);
    for (int input = BEGIN; input <= END && lane->id == 0; input++)
        if (hs_wanted(a, input))
            write_end(a, &w, input, factor);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    const int64_t N = n->in[X]->dim[0], L = ((const hs_label_attr *)n->attr)->labels;
    return (hs_scratch){ .shared = is_backward ? (size_t)(2 * N * L + N) * sizeof(double) : 0, .per_thread = 3 * row_bytes(L) };
}

static void tagged(int input, int32_t *data, int64_t n, const hs_case *c) // two of three tokens; the first sequence has none
{
    for (int64_t i = 0; i < n && input == TARGET; i++)
        data[i] = i % 3 == 0 ? -1 : (int32_t)((i * 7 + 3) % c->limit);
    if (input == STARTS)
        seq_starts_packed(data, n, c->in[X][0]);
}
static void whole(int input, int32_t *data, int64_t n, const hs_case *c)
{
    for (int64_t i = 0; i < n && input == TARGET; i++)
        data[i] = (int32_t)((i * 5 + i / 4) % c->limit);
    if (input == STARTS)
        seq_starts_packed(data, n, c->in[X][0]);
}

#define OWN_EXT                                                                                                                            \
    {                                                                                                                                      \
        HS_EXT_TOKENS, HS_EXT_TOKENS, HS_EXT_STARTS                                                                                        \
    }
#define OWN_IN(rows, width, seqs, labels)                                                                                                  \
    {                                                                                                                                      \
        { rows, width }, { rows }, { (seqs) + 1 }, { labels, labels }, { labels }, { labels }                                              \
    }
static const hs_label_attr two = { .labels = 2 }, five = { .labels = 5, .loss = 3 }, nine = { .labels = 9 };
static const hs_case cases[] = {
    { .in = OWN_IN(1, 8, 1, 5), .ext = OWN_EXT, .attr = &five, .limit = 5, .setup = whole, .note = "one token" },
    { .in = OWN_IN(40, 8, 5, 5), .ext = OWN_EXT, .attr = &five, .limit = 5, .setup = tagged, .note = "padded, tokens between" },
    { .in = OWN_IN(33, 9, 4, 9), .ext = OWN_EXT, .attr = &nine, .limit = 9, .setup = whole, .note = "every token" },
    { .in = OWN_IN(7, 8, 2, 2), .ext = OWN_EXT, .attr = &two, .limit = 2, .setup = whole, .note = "two tags" },
    { .in = OWN_IN(20, 8, 2, 5), .ext = OWN_EXT, .attr = &five, .limit = 5, .setup = whole, .fill = HS_FILL_LARGE, .note = "large values" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    *c = (hs_case){ .in = OWN_IN(dim[0], (dim[2] + 7) / 8 * 8, dim[1], dim[2]), .ext = OWN_EXT, .limit = dim[2], .setup = whole };
    *(hs_label_attr *)attr = (hs_label_attr){ .labels = (int32_t)dim[2] };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxSEQSxLABELS", .usual = "4Kx64x9,4Kx64x37", .make = make } };
static const hs_attr attrs[] = { HS_ATTR(hs_label_attr, labels), HS_ATTR(hs_label_attr, loss) };

HS_OP(crf) = {
    .name = "crf",
    .formula = "loss = log sum over y of e^score(y) - score(target)",
    .paper = "Lafferty et al. 2001",
    .attr_bytes = sizeof(hs_label_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .flags = HS_OP_LOSS,
    .loss_offset = offsetof(hs_label_attr, loss),
    .in = { [X] = { "x", HS_AMP_F32, HS_WHOLE | HS_BWD_READS },
            [TARGET] = { "target", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE | HS_BWD_READS },
            [STARTS] = { "starts", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE | HS_BWD_READS },
            [NEXT] = { "next", HS_AMP_F32, HS_WHOLE | HS_BWD_READS },
            [BEGIN] = { "first", HS_AMP_F32, HS_WHOLE | HS_BWD_READS },
            [END] = { "last", HS_AMP_F32, HS_WHOLE | HS_BWD_READS } },
    .out = { [LOSS] = { "loss", HS_AMP_F32, 0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { forward, backward, HS_PART_FREE, HS_PART_FREE, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_crf(hs_graph *g, hs_tensor *x, hs_tensor *target, hs_tensor *starts, hs_tensor *next, hs_tensor *first, hs_tensor *last,
                  hs_label_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(crf), &attr, (hs_tensor *[]){ x, target, starts, next, first, last }, 6);
}
#endif
