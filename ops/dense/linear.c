// linear: every row times a weight matrix, plus a bias.
//
//   y[n,o] = sum over c of x[n,c] w[o,c] + bias[o]
//   dx = dy w       dw = dy^T x       dbias[o] = sum over n of dy[n,o]
//
// Weights lie [out, in]: heads, stacked parts and shards are contiguous rows. Low-precision products have f32 sums, and y is
// rounded once. Forward packs w by all members (unless a packed copy is at hand), meets, and then each works on its own rows. dx and dw are
// asked for apart (HS_OP_SPLIT_BWD), so that a reduction of one can overlap the other.

#include "ops/dense/column_sums.h"
#include "ops/dense/gemm.h"
#include "ops/ops.h"

enum { X, W, BIAS };
enum { Y };

static const char *shape(hs_node *n)
{
    const hs_tensor *x = n->in[X], *w = n->in[W], *bias = n->in[BIAS];
    if (x->n_dims != 2 || w->n_dims != 2)
        return "x must be [rows, in] and w [out, in]";
    if (x->dim[1] != w->dim[1])
        return "inner widths differ";
    if (x->dim[1] % 8 || w->dim[0] % 8)
        return "widths must be multiples of 8: pad them";
    if (bias && (bias->n_dims != 1 || bias->dim[0] != w->dim[0]))
        return "bias must be as long as w has rows";
    hs_shape_rows(n->out[Y], x, w->dim[0]);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double products = 2.0 * (double)hs_tensor_count(n->in[X]) * (double)n->in[W]->dim[0];
    return (hs_cost){ .flops = backward ? 2 * products : products, .bytes = hs_traffic(n, backward) };
}

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, O = a->in[W].rows;
    for (int64_t n = 0; n < N; n++)
        for (int64_t o = 0; o < O; o++) {
            double sum = a->in[BIAS].p ? hs_f64(a, BIAS)[o] : 0;
            for (int64_t c = 0; c < C; c++)
                sum += hs_f64(a, X)[n * C + c] * hs_f64(a, W)[o * C + c];
            hs_f64_out(a, Y)[n * O + o] = sum;
        }
}

static gemm_in side(const hs_ref *r, bool k_major) { return (gemm_in){ r->p, r->cols, r->dtype, k_major }; }
static gemm_out onto(const hs_ref *r) { return (gemm_out){ .p = r->p, .ld = r->cols, .dtype = r->dtype, .add = r->add, .scale = 1 }; }

// Which panels of the copy are pressed; NULL: none.
static const uint8_t *pressed_in(const hs_args *a, int64_t n, int64_t k, bool dot)
{
    const size_t panels = gemm_packed_bytes(n, k, dot);
    if (!a->derived || a->derived_bytes <= panels)
        return NULL;
    const uint8_t *pressed = (const uint8_t *)a->derived + panels;
    return memchr(pressed, true, (size_t)gemm_n_pressed(n, k, dot)) ? pressed : NULL;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    gemm g = { .m = hs_ref_rows(a, &a->in[X]), .n = a->in[W].rows, .k = a->in[X].cols, .dot = gemm_dot(a->in[X].dtype), .rows = true };
    g.a = side(&a->in[X], false), g.b = side(&a->in[W], false), g.c = onto(&a->out[Y]);
    g.c.bias = hs_f32(a, BIAS);
    g.packed = a->derived, g.pressed = pressed_in(a, g.n, g.k, g.dot);
    g.shared = a->scratch, g.own = hs_thread_scratch(a, lane);
    if (g.pressed)
        g.room = (gemm_word *)g.own, g.own += gemm_room_bytes(g.k, g.dot);
    gemm_run(&g, lane);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref *x = &a->in[X], *w = &a->in[W], *dy = &a->dout[Y];
    const int64_t N = hs_ref_rows(a, dy), C = w->cols, O = w->rows;
    gemm g = { .shared = a->scratch, .own = hs_thread_scratch(a, lane), .dot = gemm_dot(x->dtype) };
    if (hs_wanted(a, X)) {
        g.m = N, g.n = C, g.k = O;
        g.a = side(dy, false), g.b = side(w, true), g.c = onto(&a->din[X]);
        g.packed = a->derived;
        gemm_run(&g, lane);
        g.packed = NULL;
        if (hs_wanted(a, W))
            hs_sync(lane); // the scratch is free again
    }
    if (hs_wanted(a, W)) {
        g.m = O, g.n = C, g.k = N;
        g.a = side(dy, true), g.b = side(x, true), g.c = onto(&a->din[W]);
        gemm_run(&g, lane);
    }
    if (hs_wanted(a, BIAS))
        column_sums(dy, N, (float *)a->din[BIAS].p, a->din[BIAS].add, lane);
}

// ---- w packed, once per change of its values. A product of N rows does 2 N FLOPs for each element that is packed: worth a second
// copy in memory while packing is more than a few per cent of that (`halfstep bench op linear --packed`). Where values stay, the copy is
// mostly the only one (hs_model_release_values), and a plan for many rows may run on one. Where they stay and texts are continued, panels
// that are 2:4 are pressed (gemm_2of4.c), and behind all panels stands which: a byte each.

enum { ROWS_HIDE_PACKING = 2048, MANY_RUNS = 1 << 20 };

static bool may_press(const hs_node *n) { return GEMM_HAS_2OF4 && n->mode == HS_DECODE; }

static size_t packed_bytes(const hs_node *n, bool is_backward, int runs)
{
    const int64_t rows = n->in[X]->dim[0], C = n->in[X]->dim[1], O = n->in[W]->dim[0];
    if (rows > ROWS_HIDE_PACKING && runs < MANY_RUNS)
        return 0;
    const bool dot = gemm_dot(n->low);
    if (is_backward)
        return gemm_packed_bytes(C, O, dot);
    return gemm_packed_bytes(O, C, dot) + (may_press(n) && runs >= MANY_RUNS ? (size_t)gemm_n_pressed(O, C, dot) : 0);
}

// w: [n, k], or k-major. Of a weight that lies turned each of the two makes the other's copy.
static void pack(const hs_args *a, const gemm_in *w, int64_t n, int64_t k, const hs_lane *lane)
{
    const bool dot = gemm_dot(w->dtype);
    const size_t panels = gemm_packed_bytes(n, k, dot);
    char *to = a->out[0].p;
    gemm_press_share((gemm_word *)to, (size_t)a->out[0].cols > panels ? (uint8_t *)to + panels : NULL, w, n, k, dot, lane);
}

static void pack_forward(const hs_args *a, hs_lane *lane)
{
    const gemm_in w = side(&a->in[0], false);
    pack(a, &w, a->in[0].rows, a->in[0].cols, lane);
}

static void pack_backward(const hs_args *a, hs_lane *lane)
{
    const gemm_in w = side(&a->in[0], true);
    pack(a, &w, a->in[0].cols, a->in[0].rows, lane);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    const int64_t N = n->in[X]->dim[0], C = n->in[X]->dim[1], O = n->in[W]->dim[0];
    const bool dot = gemm_dot(n->low), low = n->low != HS_F32;
    if (!is_backward)
        return (hs_scratch){ gemm_shared_bytes(O, C, dot),
                             gemm_own_bytes(N, O, C, dot, n->out[Y]->dtype != HS_F32) + (may_press(n) ? gemm_room_bytes(C, dot) : 0) };
    const hs_scratch dx = { gemm_shared_bytes(C, O, dot), gemm_own_bytes(N, C, O, dot, low) };
    const hs_scratch dw = { gemm_shared_bytes(C, N, dot), gemm_own_bytes(O, C, N, dot, false) };
    return (hs_scratch){ dx.shared > dw.shared ? dx.shared : dw.shared, dx.per_thread > dw.per_thread ? dx.per_thread : dw.per_thread };
}

static const hs_case cases[] = {
    { .in = { { 1, 8 }, { 8, 8 }, { 8 } }, .ext = { HS_EXT_TOKENS }, .note = "one row" },
    { .in = { { 5, 72 }, { 40, 72 } }, .ext = { HS_EXT_TOKENS }, .note = "a handful of rows, no bias" },
    { .in = { { 33, 64 }, { 200, 64 }, { 200 } }, .ext = { HS_EXT_TOKENS } },
    { .in = { { 128, 136 }, { 72, 136 }, { 72 } }, .ext = { HS_EXT_TOKENS }, .note = "widths that no tile divides" },
    { .in = { { 70, 1096 }, { 24, 1096 }, { 24 } }, .ext = { HS_EXT_TOKENS }, .note = "more than one block of k" },
    { .in = { { 3, 264 }, { 136, 264 }, { 136 } }, .ext = { HS_EXT_TOKENS }, .fill = HS_FILL_2OF4, .note = "2:4" },
};

// shakespeare-char (its step has 768 rows) | GPT-2 124M: QKV, projection, MLP, LM head | the same for one token
static void make(const int64_t *dim, hs_case *c, void *attr)
{
    (void)attr;
    *c = (hs_case){ .in = { [X] = { dim[0], dim[1] }, [W] = { dim[2], dim[1] } }, .ext = { [X] = HS_EXT_TOKENS } };
}
static void make_2of4(const int64_t *dim, hs_case *c, void *attr)
{
    make(dim, c, attr);
    c->fill = dim[3] == 2 ? HS_FILL_2OF4 : HS_FILL_NORMAL;
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxINxOUT",
                                       .usual = "768x128x384,768x128x128,768x128x512,768x512x128,"
                                                "1Kx768x2304,1Kx768x768,1Kx768x3072,1Kx3072x768,1Kx768x50304,"
                                                "1x768x3072,1x3072x768,1x768x50304",
                                       .make = make },
                                     { .form = "ROWSxINxOUTxKEPT", // of each four weights, for decoding: 4 or 2
                                       .usual = "1x768x2304x2,1x768x768x2,1x768x3072x2,1x3072x768x2,64x768x3072x2",
                                       .make = make_2of4,
                                       .forward_only = true } };

HS_OP(linear) = {
    .name = "linear",
    .formula = "y = x w^T + bias",
    .paper = "doi:10.1145/1356052.1356053",
    .flags = HS_OP_SPLIT_BWD,
    .in = { [X] = { "x", HS_AMP_LOW, HS_BWD_READS },
            [W] = { "w", HS_AMP_LOW, HS_WHOLE | HS_BWD_READS },
            [BIAS] = { "bias", HS_AMP_F32, HS_WHOLE | HS_OPTIONAL } },
    .out = { [Y] = { "y", HS_AMP_LOW, HS_ANY_DTYPE } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_FREE, .syncs_first = true, .scratch = scratch,
             .derive = { W, packed_bytes, pack_forward, pack_backward, .turns = true, .replaces_shared = true } },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_linear(hs_graph *g, hs_tensor *x, hs_tensor *w, hs_tensor *bias)
{
    return hs_emit(g, HS_OP_ENTRY(linear), NULL, (hs_tensor *[]){ x, w, bias }, 3);
}
#endif
