// linear_i8: every row in int8 times a matrix in int8, plus a bias; on request gelu of that, and the result in int8.
//
//   q = clamp(rint(x[n,c] / s), -127, 127)    y[n,o] = act((sum over c of q code[o,c]) * (s * scales[o]) + bias[o])
//
// s is x_scale, or without it (largest |x[n,c]| of row n) / 127. Sums are exact in int32, what follows is rounded operation by operation
// (i8_round.h), so the bits are the same in every tier, for any team and beside any rows. A row with a value that is not finite is NaN.
//
// Backward, for adapters on a quantized base: dx = (dy * scales) codes, straight through the rounding; what a static scale clips gets none.
// codes, scales and bias are not trained.
//
// With y_scale y is int8, rounded as x is. An x that is int8 needs x_scale. These two and act are for evaluation, where they save passes
// over memory; they have no gradient.
//
// Forward: all meet; each rounds its rows; all meet, multiply what is not taken yet, so that nobody waits for one who is held up, and meet
// again.

#include "ops/attrs.h"
#include "ops/quant/gemm_i8.h"
#include "ops/quant/i8_round.h"
#include "ops/rows/gelu_math.h"

enum { X, CODES, SCALES, BIAS, X_SCALE, Y_SCALE };
enum { Y };

static int32_t act_of(const void *attr) { return ((const hs_linear_i8_attr *)attr)->act; }

static bool is_number(const hs_tensor *t) { return !t || (t->n_dims == 1 && t->dim[0] == 1); }

static const char *shape(hs_node *n)
{
    const hs_tensor *x = n->in[X], *codes = n->in[CODES], *scales = n->in[SCALES], *bias = n->in[BIAS], *x_scale = n->in[X_SCALE];
    if (x->n_dims != 2 || codes->n_dims != 2)
        return "x must be [rows, in] and codes [out, in]";
    if (codes->dtype != HS_I8)
        return "codes must be i8";
    if (x->dim[1] != codes->dim[1])
        return "inner widths differ";
    if (x->dim[1] % 8 || codes->dim[0] % 8)
        return "widths must be multiples of 8: pad them";
    if (x->dim[1] > I8_WIDEST)
        return "sums of more than 133,144 products of int8 are not exact in int32";
    if (scales->n_dims != 1 || scales->dim[0] != codes->dim[0])
        return "scales must be as long as codes have rows";
    if (bias && (bias->n_dims != 1 || bias->dim[0] != codes->dim[0]))
        return "bias must be as long as codes have rows";
    if (!is_number(x_scale) || !is_number(n->in[Y_SCALE]))
        return "x_scale and y_scale must be one number";
    if (x->dtype == HS_I8 && !x_scale)
        return "x in i8 needs x_scale";
    if (n->mode == HS_TRAIN && (x->dtype == HS_I8 || n->in[Y_SCALE] || act_of(n->attr)))
        return "an activation, and x or y in i8, are for evaluation: they have no gradient";
    hs_shape_rows(n->out[Y], x, codes->dim[0]);
    if (n->in[Y_SCALE])
        n->out[Y]->dtype = HS_I8;
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double products = 2.0 * (double)hs_tensor_count(n->in[X]) * (double)n->in[CODES]->dim[0];
    return (hs_cost){ .flops = products, .bytes = hs_traffic(n, backward) };
}

// ---- the definition; integers are i32 here

static float scale_of(const hs_args *a, int64_t n)
{
    uint32_t most = 0;
    for (int64_t c = 0; c < a->in[X].cols; c++) {
        const uint32_t u = hs_f32_bits((float)hs_f64(a, X)[n * a->in[X].cols + c]) & 0x7FFFFFFFu;
        most = u > most ? u : most;
    }
    return a->in[X_SCALE].p ? i8_static_scale((float)hs_f64(a, X_SCALE)[0], most) : i8_row_scale(most);
}

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, O = a->in[CODES].rows;
    for (int64_t n = 0; n < N; n++) {
        const float s = scale_of(a, n), inverse = i8_inverse(s);
        for (int64_t o = 0; o < O; o++) {
            double sum = 0;
            for (int64_t c = 0; c < C; c++)
                sum += (double)i8_round((float)hs_f64(a, X)[n * C + c], inverse) * hs_i32(a, CODES)[o * C + c];
            const double y = sum * s * hs_f64(a, SCALES)[o] + (a->in[BIAS].p ? hs_f64(a, BIAS)[o] : 0);
            hs_f64_out(a, Y)[n * O + o] =
                act_of(a->attr) ? gelu_f64(y, act_of(a->attr) == HS_I8_GELU_TANH ? HS_GELU_TANH : HS_GELU_ERF) : y;
        }
    }
}

static void reference_gradients(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, O = a->in[CODES].rows;
    const double *dy = (const double *)a->dout[Y].p;
    double *dx = (double *)a->din[X].p;
    for (int64_t n = 0; n < N; n++) {
        const float inverse = i8_inverse(scale_of(a, n));
        for (int64_t c = 0; c < C; c++) {
            if (a->in[X_SCALE].p && i8_clips((float)hs_f64(a, X)[n * C + c], inverse))
                continue;
            for (int64_t o = 0; o < O; o++)
                dx[n * C + c] += dy[n * O + o] * hs_f64(a, SCALES)[o] * hs_i32(a, CODES)[o * C + c];
        }
    }
}

// ---- forward

typedef struct room { // of shared scratch
    i8_rows x;
    size_t bytes;
} room;

// Rows up to a whole block may be read, whatever they hold.
static room room_of(const i8_loops *l, int64_t rows, int64_t k, char *at)
{
    const int64_t whole = (rows + I8_ROWS - 1) / I8_ROWS * I8_ROWS, ld = i8_ld(l, k);
    room r = { .x = { .q = at, .ld = ld } };
    r.x.scale = (float *)(at + whole * ld), r.x.sum = (int32_t *)r.x.scale + whole;
    r.bytes = (size_t)(whole * (ld + 8));
    return r;
}

enum { FEW_ROWS = 32 }; // a member: fewer are divided one by one

// A piece of work is a panel and some rows of x: about PIECE products; of tiles, which are faster than a second cache is filled, as many
// rows as stay in that while all panels go by (1024 x 3072 x 768, two threads of a Xeon with AMX: 2.2 ms for whole panels, 1.2 so); all of
// them where a panel was not packed before.
enum { PIECE = 32 * 768 * 64, LEAST_ROWS = 2 * GEMM_MR, ROWS_CACHED = 768 << 10 };
typedef struct pieces {
    int64_t rows, of_panel, panels, all;
    bool by_rows; // pieces of the same rows lie behind each other, else those of the same panel
} pieces;
static pieces pieces_of(const i8_product *g)
{
    const bool tiles = g->loops->tiles;
    const int64_t rows = tiles ? ROWS_CACHED / g->x.ld : PIECE / (g->k * g->loops->cols), unit = tiles ? I8_ROWS : GEMM_MR;
    const int64_t least = tiles ? I8_ROWS : LEAST_ROWS, times = g->m / (rows < least ? least : rows);
    const bool whole = !g->packed || times < 2;
    pieces p = { .rows = whole ? g->m : (g->m + times * unit - 1) / (times * unit) * unit,
                 .panels = i8_panels(g->loops, g->n),
                 .by_rows = tiles };
    p.of_panel = (g->m + p.rows - 1) / p.rows, p.all = p.of_panel * p.panels;
    return p;
}

static void run_pieces(const i8_product *g, const pieces *p, int64_t i0, int64_t i1)
{
    if (p->of_panel == 1) {
        i8_run(g, 0, g->m, i0, i1);
        return;
    }
    for (int64_t i = i0, panels; i < i1; i += panels) {
        const int64_t r0 = (p->by_rows ? i / p->panels : i % p->of_panel) * p->rows, left = g->m - r0;
        const int64_t panel = p->by_rows ? i % p->panels : i / p->of_panel, rest = p->panels - panel;
        panels = !p->by_rows ? 1 : rest < i1 - i ? rest : i1 - i;
        i8_run(g, r0, r0 + (left < p->rows ? left : p->rows), panel, panel + panels);
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const i8_loops *l = i8_loops_best();
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, O = a->in[CODES].rows;
    char *own = hs_thread_scratch(a, lane);
    i8_product g = { .loops = l, .m = N, .n = O, .k = C, .x = room_of(l, a->in[X].rows, C, a->scratch).x, .scales = hs_f32(a, SCALES) };
    g.codes = (const int8_t *)a->in[CODES].p, g.packed = a->derived, g.bias = hs_f32(a, BIAS), g.y = a->out[Y], g.own = own;
    g.act = act_of(a->attr), g.y_scale = hs_f32(a, Y_SCALE);
    int64_t r0, r1, i0, i1;
    hs_sync(lane);
    hs_part_unit(lane, N, N < FEW_ROWS * lane->n ? 1 : HS_GRAIN, &r0, &r1);
    i8_quantize(l, &g.x, &a->in[X], r0, r1, hs_f32(a, X_SCALE), (float *)own);
    const pieces p = N > 0 ? pieces_of(&g) : (pieces){ 0 };
    hs_part_unit(lane, p.all, 1, &i0, &i1);
    const int64_t most = (i1 - i0) / 8 > 1 ? (i1 - i0) / 8 : 1;
    if (lane->n == 1)
        run_pieces(&g, &p, i0, i1);
    else
        hs_deal(lane, i0, i1);
    hs_sync(lane);
    while (lane->n > 1 && hs_take(lane, most, 1, &i0, &i1))
        run_pieces(&g, &p, i0, i1);
    hs_sync(lane);
}

static size_t packed_bytes(const hs_node *n, bool backward, int runs)
{
    (void)backward, (void)runs;
    const i8_loops *l = i8_loops_best();
    return i8_panel_bytes(l, n->in[CODES]->dim[1]) * (size_t)i8_panels(l, n->in[CODES]->dim[0]);
}

static void pack(const hs_args *a, hs_lane *lane)
{
    const i8_loops *l = i8_loops_best();
    const hs_ref *codes = &a->in[0];
    int64_t p0, p1;
    hs_part_unit(lane, i8_panels(l, codes->rows), 1, &p0, &p1);
    i8_pack(l, a->out[0].p + (size_t)p0 * i8_panel_bytes(l, codes->cols), (const int8_t *)codes->p, codes->rows, codes->cols, p0, p1);
}

// ---- backward: codes are exact in bf16, whatever dy is in

typedef struct back { // of shared scratch
    uint16_t *codes;
    char *dy;  // times scales; bf16 where products are, else f32
    float *dx; // before what is clipped is left out
    char *products;
    size_t bytes;
} back;

static back back_of(int64_t N, int64_t C, int64_t O, bool dot, bool clips, char *at)
{
    back b = { .codes = (uint16_t *)at };
    size_t used = hs_row_bytes((O * C + 1) / 2);
    b.dy = at + used;
    used += hs_row_bytes(dot ? (N * O + 1) / 2 : N * O);
    b.dx = (float *)(at + used);
    used += clips ? hs_row_bytes(N * C) : 0;
    b.products = at + used;
    b.bytes = used + gemm_shared_bytes(C, O, dot);
    return b;
}

static void scale_dy(const hs_args *a, const back *b, bool dot, int64_t r0, int64_t r1, float *buf)
{
    const hs_ref *dy = &a->dout[Y];
    const int64_t O = dy->cols;
    const float *scales = hs_f32(a, SCALES);
    float scaled[HS_BLOCK];
    for (int64_t r = r0; r < r1; r++)
        for (int64_t o = 0; o < O; o += HS_BLOCK) {
            const int64_t n = O - o < HS_BLOCK ? O - o : HS_BLOCK, at = r * O + o;
            const float *v = hs_load(dy, at, n, buf);
            float *to = dot ? scaled : (float *)b->dy + at;
            HS_SIMD
            for (int64_t j = 0; j < n; j++)
                to[j] = v[j] * scales[o + j];
            if (dot)
                hs_store_bf16((uint16_t *)b->dy + at, scaled, n);
        }
}

static void widen_codes(const hs_args *a, uint16_t *to, int64_t i0, int64_t i1)
{
    const int8_t *code = (const int8_t *)a->in[CODES].p;
    HS_SIMD
    for (int64_t i = i0; i < i1; i++)
        to[i] = (uint16_t)(hs_f32_bits((float)code[i]) >> 16);
}

// Rows of dx where x is within the static scale's range, 0 elsewhere.
static void pass_unclipped(const hs_args *a, const float *dx, int64_t r0, int64_t r1)
{
    const int64_t C = a->in[X].cols;
    const float inverse = i8_inverse(i8_static_scale(*hs_f32(a, X_SCALE), 0));
    float wide[HS_BLOCK], buf[HS_BLOCK];
    for (int64_t r = r0; r < r1; r++)
        for (int64_t c = 0; c < C; c += HS_BLOCK) {
            const int64_t n = C - c < HS_BLOCK ? C - c : HS_BLOCK, at = r * C + c;
            const float *x = hs_load(&a->in[X], at, n, wide);
            for (int64_t j = 0; j < n; j++)
                buf[j] = i8_clips(x[j], inverse) ? 0 : dx[at + j];
            hs_store(&a->din[X], at, n, buf);
        }
}

static bool multiplies_bf16(hs_dtype dy) { return gemm_dot(dy); }

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref *dy = &a->dout[Y], *codes = &a->in[CODES];
    const int64_t N = hs_ref_rows(a, dy), C = codes->cols, O = codes->rows;
    const bool dot = multiplies_bf16(dy->dtype), clips = a->in[X_SCALE].p;
    const back b = back_of(dy->rows, C, O, dot, clips, a->scratch);
    float buf[HS_BLOCK];
    int64_t r0, r1, i0, i1;
    hs_part(lane, N, &r0, &r1);
    hs_part_unit(lane, O * C, 64, &i0, &i1);
    scale_dy(a, &b, dot, r0, r1, buf);
    widen_codes(a, b.codes, i0, i1);
    hs_sync(lane);
    gemm g = { .m = N, .n = C, .k = O, .dot = dot, .shared = b.products, .own = hs_thread_scratch(a, lane) };
    g.a = (gemm_in){ b.dy, O, dot ? HS_BF16 : HS_F32, false }, g.b = (gemm_in){ b.codes, C, HS_BF16, true };
    g.c = (gemm_out){ .p = a->din[X].p, .ld = C, .dtype = a->din[X].dtype, .add = a->din[X].add, .scale = 1 };
    if (clips)
        g.c = (gemm_out){ .p = b.dx, .ld = C, .dtype = HS_F32, .scale = 1 };
    gemm_run(&g, lane);
    if (clips) {
        hs_sync(lane);
        pass_unclipped(a, b.dx, r0, r1);
    }
}

static size_t most_of(size_t a, size_t b) { return a > b ? a : b; }

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    const i8_loops *l = i8_loops_best();
    const int64_t N = n->in[X]->dim[0], C = n->in[X]->dim[1], O = n->in[CODES]->dim[0];
    if (!is_backward)
        return (hs_scratch){ room_of(l, N, C, NULL).bytes, most_of(i8_own_bytes(l, C), hs_row_bytes(C)) };
    const bool dot = multiplies_bf16(n->low), clips = n->in[X_SCALE] != NULL; // dy may be f32 beside bf16
    return (hs_scratch){ most_of(back_of(N, C, O, false, clips, NULL).bytes, back_of(N, C, O, dot, clips, NULL).bytes),
                         most_of(gemm_own_bytes(N, C, O, false, true), gemm_own_bytes(N, C, O, dot, true)) };
}

// ---- cases

static void fill_codes(int input, int32_t *data, int64_t n, const struct hs_case *c)
{
    const int64_t C = c->in[CODES][1];
    for (int64_t i = 0; i < n && input == CODES; i++)
        data[i] = i / C % 5 == 3 ? 0 : (int32_t)((uint32_t)(i + 1) * 2654435761u >> 16) % 255 - 127; // some rows are 0
}
static const hs_linear_i8_attr plain = { HS_I8_PLAIN };
static const hs_attr attrs[] = { HS_ATTR_WORDS(hs_linear_i8_attr, act, "none|gelu_erf|gelu_tanh") };
static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 8, 8 }, { 8 }, { 8 } }, .ext = { HS_EXT_TOKENS }, .attr = &plain, .setup = fill_codes, .note = "one row" },
    { .in = { { 5, 72 }, { 40, 72 }, { 40 } },
      .ext = { HS_EXT_TOKENS },
      .attr = &plain,
      .setup = fill_codes,
      .note = "a handful of rows, no bias" },
    { .in = { { 33, 64 }, { 200, 64 }, { 200 }, { 200 }, { 1 } },
      .ext = { HS_EXT_TOKENS },
      .attr = &plain,
      .setup = fill_codes,
      .note = "static scale" },
    { .in = { { 128, 136 }, { 72, 136 }, { 72 }, { 72 } },
      .ext = { HS_EXT_TOKENS },
      .attr = &plain,
      .setup = fill_codes,
      .note = "widths that no tile divides" },
    { .in = { { 81, 80 }, { 56, 80 }, { 56 }, { 56 } },
      .ext = { HS_EXT_TOKENS },
      .attr = &plain,
      .setup = fill_codes,
      .note = "rows of 16 bytes, as libraries want them" },
    { .in = { { 70, 1096 }, { 24, 1096 }, { 24 }, { 24 }, { 1 } },
      .ext = { HS_EXT_TOKENS },
      .attr = &plain,
      .setup = fill_codes,
      .fill = HS_FILL_LARGE,
      .note = "large values" },
};

// BERT-base: projections, QKV, MLP, batch 1 and 8 | one token of GPT-2
static void make(const int64_t *dim, hs_case *c, void *attr)
{
    *(hs_linear_i8_attr *)attr = plain;
    *c = (hs_case){ .in = { [X] = { dim[0], dim[1] }, [CODES] = { dim[2], dim[1] }, [SCALES] = { dim[2] }, [BIAS] = { dim[2] } },
                    .ext = { [X] = HS_EXT_TOKENS },
                    .stored = { [CODES] = HS_I8 },
                    .setup = fill_codes };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxINxOUT",
                                       .usual = "128x768x768,128x768x2304,128x768x3072,128x3072x768,"
                                                "1Kx768x768,1Kx768x2304,1Kx768x3072,1Kx3072x768,1x768x3072,1x3072x768",
                                       .make = make } };

HS_OP(linear_i8) = {
    .name = "linear_i8",
    .formula = "y = act(i8(x) codes^T * (scale of x * scales) + bias)",
    .paper = "arXiv:1712.05877",
    .attr_bytes = sizeof(hs_linear_i8_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [X] = { "x", HS_AMP_KEEP, HS_BWD_READS | HS_BYTES },
            [CODES] = { "codes", HS_AMP_NONE, HS_WHOLE | HS_BWD_READS | HS_BYTES },
            [SCALES] = { "scales", HS_AMP_F32, HS_WHOLE | HS_BWD_READS | HS_NO_GRAD },
            [BIAS] = { "bias", HS_AMP_F32, HS_WHOLE | HS_OPTIONAL | HS_NO_GRAD },
            [X_SCALE] = { "x_scale", HS_AMP_F32, HS_WHOLE | HS_OPTIONAL | HS_BWD_READS | HS_NO_GRAD },
            [Y_SCALE] = { "y_scale", HS_AMP_F32, HS_WHOLE | HS_OPTIONAL | HS_NO_GRAD } },
    .out = { [Y] = { "y", HS_AMP_LOW, HS_ANY_DTYPE } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .ref_bwd = reference_gradients,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_FREE, .syncs_first = true, .scratch = scratch,
             .derive = { CODES, packed_bytes, pack } },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_linear_i8(hs_graph *g, hs_tensor *x, hs_tensor *codes, hs_tensor *scales, hs_tensor *bias, hs_tensor *x_scale)
{
    return hs_linear_i8_fused(g, (hs_linear_i8_in){ x, codes, scales, bias, x_scale, NULL }, plain);
}
hs_tensor *hs_linear_i8_fused(hs_graph *g, hs_linear_i8_in in, hs_linear_i8_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(linear_i8), &attr, (hs_tensor *[]){ in.x, in.codes, in.scales, in.bias, in.x_scale, in.y_scale }, 6);
}
#endif
