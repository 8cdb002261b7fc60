// relations: what the tokens of a sequence are to one another, as a student has it and as a teacher does - MiniLM's loss.
//
//   R(a, b)[i, :] = softmax over j of (a_i . b_j / sqrt(d))          a, b: of query, key, value; each cut into `heads` of d channels
//   loss[b]       = mean over pairs (a, b), heads and rows i of KL(R of the teacher || R of the student), of sequence b
//   dqkv          = its gradient * inv_count[loss] * scale
//
// Pairs: query-query, key-key and value-value are MiniLM v2's (Wang et al. 2020, arXiv:2012.15828); query-key is the attention itself,
// without dropout, and with value-value MiniLM v1's (arXiv:2002.10957). The heads are the relation's own: widths of student and teacher may
// differ, and neither need divide as attention does. A row is made at a time, so that nothing is as large as heads x tokens^2: an item is a
// head of a sequence, whose channels one member turns to [d, tokens] once and walks along tokens. With P, Q the rows a softmax is made of,
// G = (R_student - R_teacher) / (pairs heads tokens):  da_i = sum_j G_ij b_j / sqrt(d),  db_j = sum_i G_ij a_i / sqrt(d). Each item writes
// channels of its own, and its loss into a cell of its own: no sum depends on the team. Where tensor-parallel ranks have a share of the
// heads each, `heads` is of one, and losses of all ranks are added up.

#include "core/cpu/vmath.h"
#include "core/graph/comm.h"
#include "ops/ops.h"
#include "ops/rows/seq_rows.h"

enum { QKV, TEACHER, STARTS };
enum { LOSS };
enum { PARTS = 3 };

static const struct pair {
    int bit, a, b;
} pairs[] = { { HS_RELATION_QQ, 0, 0 }, { HS_RELATION_KK, 1, 1 }, { HS_RELATION_VV, 2, 2 }, { HS_RELATION_QK, 0, 1 } };

static int n_pairs(const hs_relation_attr *at)
{
    int n = 0;
    for (int i = 0; i < HS_COUNT(pairs); i++)
        n += (at->pairs & pairs[i].bit) != 0;
    return n;
}

static const char *shape(hs_node *n)
{
    const hs_relation_attr *at = n->attr;
    const hs_tensor *x = n->in[QKV], *t = n->in[TEACHER], *starts = n->in[STARTS];
    if (x->n_dims != 2 || t->n_dims != 2 || x->dim[0] != t->dim[0] || x->ext != t->ext)
        return "qkv and teacher must be [N, 3C], a row of each for every token";
    if (at->heads < 1 || x->dim[1] % (PARTS * at->heads) || t->dim[1] % (PARTS * at->heads))
        return "heads must divide the widths of student and teacher";
    if (at->pairs < 1 || at->pairs >= 2 * HS_RELATION_QK)
        return "pairs must be some of those there are";
    if (at->ranks < 1)
        return "there must be at least one rank";
    if (at->loss < 0 || at->loss >= HS_N_LOSS)
        return "there is no loss of that number";
    const char *why = seq_refuse(starts, NULL);
    if (why)
        return why;
    const int64_t seqs = starts->dim[0] - 1;
    hs_shape_set(n->out[LOSS], HS_F32, seq_ext(starts), 1, &seqs);
    return NULL;
}

static const hs_relation_attr *attr_of(const hs_args *a) { return a->attr; }
static int64_t width_of(const hs_ref *r, int64_t heads) { return r->cols / (PARTS * heads); } // channels of a head

// Sequences of equal length: the least that they can see.
static hs_cost cost(const hs_node *n, bool backward)
{
    const hs_relation_attr *at = n->attr;
    const double rows = (double)n->in[QKV]->dim[0], keys = rows / (double)(n->in[STARTS]->dim[0] - 1);
    const double both = (double)(n->in[QKV]->dim[1] + n->in[TEACHER]->dim[1]) / PARTS, own = (double)n->in[QKV]->dim[1] / PARTS;
    const double cells = rows * keys * (double)n_pairs(at);
    return (hs_cost){ .flops = cells * (2 * both + 24 * (double)at->heads + (backward ? 4 * own : 0)), .bytes = hs_traffic(n, backward) };
}

static hs_op_moves moves(const hs_node *n, bool backward)
{
    (void)backward; // either makes the loss
    const int calls = ((const hs_relation_attr *)n->attr)->ranks > 1;
    return (hs_op_moves){ HS_ALL_REDUCE, (double)hs_tensor_bytes(n->out[LOSS]), calls };
}

static double score(const double *x, int64_t cols, int64_t C, int64_t d, int64_t h, const struct pair *p, int64_t i, int64_t j)
{
    double sum = 0;
    for (int64_t c = 0; c < d; c++)
        sum += x[i * cols + p->a * C + h * d + c] * x[j * cols + p->b * C + h * d + c];
    return sum / sqrt((double)d);
}

// KL of row i, and nothing kept: a case's sequences are short.
static double ref_row(const hs_args *a, int64_t first, int64_t n, int64_t h, const struct pair *p, int64_t i)
{
    const int64_t A = attr_of(a)->heads;
    double max[2] = { -INFINITY, -INFINITY }, sum[2] = { 0 }, cross = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t j = 0; j < n; j++) {
            double s[2];
            for (int k = 0; k < 2; k++) { // student, teacher
                const hs_ref *r = &a->in[k == 0 ? QKV : TEACHER];
                s[k] = score((const double *)r->p + first * r->cols, r->cols, r->cols / PARTS, width_of(r, A), h, p, i, j);
                if (pass == 0)
                    max[k] = fmax(max[k], s[k]);
                else
                    sum[k] += exp(s[k] - max[k]);
            }
            if (pass == 1)
                cross += exp(s[1] - max[1]) * ((s[1] - max[1]) - (s[0] - max[0]));
        }
    return cross / sum[1] + log(sum[0]) - log(sum[1]);
}

static void reference(const hs_args *a)
{
    const hs_relation_attr *at = attr_of(a);
    const int64_t B = hs_ref_rows(a, &a->out[LOSS]);
    for (int64_t b = 0; b < B; b++) {
        int64_t first, n;
        double sum = 0;
        const bool inside = seq_rows(a, &a->in[QKV], hs_i32(a, STARTS), NULL, b, &first, &n);
        for (int k = 0; k < HS_COUNT(pairs) && inside; k++)
            for (int64_t h = 0; h < at->heads && at->pairs & pairs[k].bit; h++)
                for (int64_t i = 0; i < n; i++)
                    sum += ref_row(a, first, n, h, &pairs[k], i);
        hs_f64_out(a, LOSS)[b] = n > 0 ? sum / (double)(n_pairs(at) * at->heads * n) : 0;
    }
}

// ---- an item: a head of a sequence of n tokens
typedef struct item {
    int64_t n, ds, dt; // tokens; channels of a head of student and teacher
    float *x[PARTS];   // [ds, n] the student's, turned
    float *t[PARTS];   // [dt, n] the teacher's
    float *d[PARTS];   // [ds, n] gradients; NULL: not wanted
    float *row[2];     // [n] of student and teacher: scores, then e^x
} item;

static size_t item_floats(int64_t N, int64_t ds, int64_t dt) { return (size_t)(N * (PARTS * (2 * ds + dt) + 2)); }

static item item_at(const hs_args *a, hs_lane *lane, int64_t n, bool gradient)
{
    const int64_t A = attr_of(a)->heads;
    item it = { .n = n, .ds = width_of(&a->in[QKV], A), .dt = width_of(&a->in[TEACHER], A) };
    float *at = (float *)hs_thread_scratch(a, lane);
    for (int p = 0; p < PARTS; p++) {
        it.x[p] = at, at += it.ds * n;
        it.t[p] = at, at += it.dt * n;
        it.d[p] = gradient ? at : NULL, at += it.ds * n;
    }
    it.row[0] = at, it.row[1] = at + n;
    return it;
}

// Channels [first channel, d) of rows to [d, n].
static void turn(const hs_ref *r, int64_t row, int64_t channel, int64_t d, int64_t n, float *to)
{
    float wide[HS_BLOCK];
    for (int64_t i = 0; i < n; i++)
        for (int64_t c0 = 0; c0 < d; c0 += HS_BLOCK) {
            const int64_t m = d - c0 < HS_BLOCK ? d - c0 : HS_BLOCK;
            const float *v = hs_load(r, (row + i) * r->cols + channel + c0, m, wide);
            for (int64_t c = 0; c < m; c++)
                to[(c0 + c) * n + i] = v[c];
        }
}

// row[j] = e^(score - largest); what that is taken from stays in `scores`, where it is wanted. The sum of the row.
static float scores_of(const float *a, const float *b, int64_t i, int64_t d, int64_t n, float *restrict row)
{
    const float scale = 1 / sqrtf((float)d);
    memset(row, 0, (size_t)n * sizeof *row);
    for (int64_t c = 0; c < d; c++) {
        const float v = a[c * n + i] * scale, *w = b + c * n;
        HS_SIMD
        for (int64_t j = 0; j < n; j++)
            row[j] += v * w[j];
    }
    return hs_max(row, n, -INFINITY);
}

// The divergence of row i; the rows become R_student - R_teacher, in row[0].
static float diverge(const item *it, const struct pair *p, int64_t i)
{
    float *restrict s = it->row[0], *restrict t = it->row[1], sum_s = 0, sum_t = 0, cross = 0;
    const float ms = scores_of(it->x[p->a], it->x[p->b], i, it->ds, it->n, s),
                mt = scores_of(it->t[p->a], it->t[p->b], i, it->dt, it->n, t);
    HS_SIMD_SUM(sum_s, sum_t, cross)
    for (int64_t j = 0; j < it->n; j++) {
        const float apart = (t[j] - mt) - (s[j] - ms);
        s[j] = hs_expf_below(s[j] - ms), t[j] = hs_expf_below(t[j] - mt);
        sum_s += s[j], sum_t += t[j];
        cross += t[j] * apart;
    }
    const float ps = 1 / sum_s, pt = 1 / sum_t;
    HS_SIMD
    for (int64_t j = 0; j < it->n; j++)
        s[j] = s[j] * ps - t[j] * pt;
    return cross * pt + logf(sum_s) - logf(sum_t);
}

static void add_gradient(const item *it, const struct pair *p, int64_t i, float k)
{
    const float scale = k / sqrtf((float)it->ds), *g = it->row[0];
    for (int64_t c = 0; c < it->ds; c++) {
        const float *b = it->x[p->b] + c * it->n, from = it->x[p->a][c * it->n + i] * scale;
        float *restrict db = it->d[p->b] + c * it->n, sum = 0;
        HS_SIMD_SUM(sum)
        for (int64_t j = 0; j < it->n; j++) {
            sum += g[j] * b[j];
            db[j] += g[j] * from;
        }
        it->d[p->a][c * it->n + i] += sum * scale;
    }
}

static void store_gradient(const hs_ref *dx, const item *it, int64_t row, int64_t head)
{
    float buf[HS_BLOCK];
    for (int p = 0; p < PARTS; p++)
        for (int64_t i = 0; i < it->n; i++)
            for (int64_t c0 = 0; c0 < it->ds; c0 += HS_BLOCK) {
                const int64_t m = it->ds - c0 < HS_BLOCK ? it->ds - c0 : HS_BLOCK;
                for (int64_t c = 0; c < m; c++)
                    buf[c] = it->d[p][(c0 + c) * it->n + i];
                hs_store(dx, (row + i) * dx->cols + p * (dx->cols / PARTS) + head * it->ds + c0, m, buf);
            }
}

static float run_item(const hs_args *a, hs_lane *lane, int64_t first, int64_t n, int64_t head, float factor)
{
    const hs_relation_attr *at = attr_of(a);
    const hs_ref *x = &a->in[QKV], *t = &a->in[TEACHER];
    const bool gradient = hs_wanted(a, QKV);
    const item it = item_at(a, lane, n, gradient);
    const float share = 1 / (float)((int64_t)n_pairs(at) * at->heads * at->ranks * n);
    double sum = 0;
    for (int p = 0; p < PARTS; p++) {
        turn(x, first, p * (x->cols / PARTS) + head * it.ds, it.ds, n, it.x[p]);
        turn(t, first, p * (t->cols / PARTS) + head * it.dt, it.dt, n, it.t[p]);
        if (gradient)
            memset(it.d[p], 0, (size_t)(it.ds * n) * sizeof(float));
    }
    for (int k = 0; k < HS_COUNT(pairs); k++)
        for (int64_t i = 0; i < n && at->pairs & pairs[k].bit; i++) {
            sum += (double)diverge(&it, &pairs[k], i);
            if (gradient)
                add_gradient(&it, &pairs[k], i, factor * share);
        }
    if (gradient)
        store_gradient(&a->din[QKV], &it, first, head);
    return (float)(sum * (double)share);
}

static void clear(const hs_ref *dx, int64_t first, int64_t end) // rows of no sequence
{
    if (end > first && !dx->add)
        memset(dx->p + (size_t)(first * dx->cols) * hs_dtype_bytes(dx->dtype), 0,
               (size_t)((end - first) * dx->cols) * hs_dtype_bytes(dx->dtype));
}

static void run(const hs_args *a, hs_lane *lane)
{
    const hs_relation_attr *at = attr_of(a);
    const int64_t B = hs_ref_rows(a, &a->out[LOSS]), N = hs_ref_rows(a, &a->in[QKV]), A = at->heads;
    const int32_t *starts = hs_i32(a, STARTS);
    const float factor = a->step->inv_count[at->loss] * a->state->scale;
    float *part = (float *)a->scratch; // [B, A]
    int64_t i0, i1, first, n;
    hs_part_unit(lane, B * A, 1, &i0, &i1);
    for (int64_t i = i0; i < i1; i++) {
        const bool inside = seq_rows(a, &a->in[QKV], starts, NULL, i / A, &first, &n);
        part[i] = !inside ? NAN : n > 0 ? run_item(a, lane, first, n, i % A, factor) : 0;
    }
    if (lane->id == 0 && hs_wanted(a, QKV)) {
        clear(&a->din[QKV], 0, starts[0] < N ? starts[0] : N);
        clear(&a->din[QKV], starts[B] > 0 ? starts[B] : 0, N);
    }
    hs_sync(lane);
    hs_for_rows(b, a, &a->out[LOSS], lane) {
        double sum = 0;
        for (int64_t h = 0; h < A; h++)
            sum += (double)part[b * A + h];
        hs_f32_out(a, LOSS)[b] = (float)sum;
    }
    if (at->ranks == 1)
        return;
    hs_sync(lane);
    if (lane->id == 0)
        a->comm->all_reduce(a->comm, lane, a->out[LOSS].p, B, HS_F32, HS_REDUCE_SUM);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team, (void)is_backward;
    const int64_t A = ((const hs_relation_attr *)n->attr)->heads, seqs = n->in[STARTS]->dim[0] - 1;
    return (hs_scratch){ .shared = (size_t)(seqs * A) * sizeof(float),
                         .per_thread =
                             item_floats(n->in[QKV]->dim[0], n->in[QKV]->dim[1] / (PARTS * A), n->in[TEACHER]->dim[1] / (PARTS * A)) *
                             sizeof(float) };
}

static void packed(int input, int32_t *data, int64_t n, const hs_case *c)
{
    if (input == STARTS)
        seq_starts_packed(data, n, c->in[QKV][0]);
}

#define OWN_EXT                                                                                                                            \
    {                                                                                                                                      \
        HS_EXT_TOKENS, HS_EXT_TOKENS, HS_EXT_STARTS                                                                                        \
    }
static const hs_relation_attr v2 = { .heads = 4, .ranks = 1, .pairs = HS_RELATION_QQ | HS_RELATION_KK | HS_RELATION_VV };
static const hs_relation_attr v1 = { .heads = 2, .ranks = 1, .pairs = HS_RELATION_QK | HS_RELATION_VV, .loss = 8 };
static const hs_relation_attr all = { .heads = 1, .ranks = 1, .pairs = 2 * HS_RELATION_QK - 1 },
                              keys_alone = { .heads = 3, .ranks = 1, .pairs = HS_RELATION_KK };
static const hs_case cases[] = {
    { .in = { { 1, 24 }, { 1, 24 }, { 2 } }, .ext = OWN_EXT, .attr = &v2, .setup = packed, .note = "one token" },
    { .in = { { 40, 24 }, { 40, 48 }, { 6 } }, .ext = OWN_EXT, .attr = &v2, .setup = packed, .note = "a wider teacher" },
    { .in = { { 33, 48 }, { 33, 24 }, { 4 } }, .ext = OWN_EXT, .attr = &v1, .setup = packed, .note = "attention and values" },
    { .in = { { 9, 15 }, { 9, 15 }, { 3 } }, .ext = OWN_EXT, .attr = &all, .setup = packed, .note = "every pair; odd widths" },
    { .in = { { 12, 27 }, { 12, 9 }, { 4 } }, .ext = OWN_EXT, .attr = &keys_alone, .setup = packed, .note = "keys alone" },
    { .in = { { 20, 24 }, { 20, 24 }, { 3 } },
      .ext = OWN_EXT,
      .attr = &v2,
      .setup = packed,
      .fill = HS_FILL_CONSTANT,
      .note = "all alike" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    const int64_t rows = dim[0] * dim[1], cols = PARTS * dim[2] * dim[3];
    *c = (hs_case){ .in = { { rows, cols }, { rows, cols }, { dim[0] + 1 } }, .ext = OWN_EXT, .setup = packed };
    *(hs_relation_attr *)attr = (hs_relation_attr){ .heads = (int32_t)dim[2], .ranks = 1, .pairs = v2.pairs };
}
static const hs_op_sizes sizes[] = { { .form = "BATCHxSEQxHEADSxWIDTH", .usual = "8x128x48x8", .make = make } };
static const hs_attr attrs[] = { HS_ATTR(hs_relation_attr, heads), HS_ATTR(hs_relation_attr, pairs), HS_ATTR(hs_relation_attr, loss),
                                 HS_ATTR(hs_relation_attr, ranks) };

HS_OP(relations) = {
    .name = "relations",
    .formula = "loss = mean KL(softmax(a_t b_t^T / sqrt d) || softmax(a b^T / sqrt d)), a, b of q, k, v",
    .paper = "arXiv:2012.15828",
    .attr_bytes = sizeof(hs_relation_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .flags = HS_OP_LOSS | HS_OP_COLLECTIVE,
    .loss_offset = offsetof(hs_relation_attr, loss),
    .in = { [QKV] = { "qkv", HS_AMP_KEEP, HS_WHOLE | HS_BWD_READS },
            [TEACHER] = { "teacher", HS_AMP_F32, HS_NO_GRAD | HS_WHOLE | HS_BWD_READS },
            [STARTS] = { "starts", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE | HS_BWD_READS } },
    .out = { [LOSS] = { "loss", HS_AMP_F32, 0 } },
    .shape = shape,
    .cost = cost,
    .moves = moves,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { run, run, HS_PART_FREE, HS_PART_FREE, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_relations(hs_graph *g, hs_tensor *qkv, hs_tensor *teacher, hs_tensor *starts, hs_relation_attr attr)
{
    attr.ranks = g->grid.tp->size;
    return hs_emit(g, HS_OP_ENTRY(relations), &attr, (hs_tensor *[]){ qkv, teacher, starts }, 3);
}
#endif
