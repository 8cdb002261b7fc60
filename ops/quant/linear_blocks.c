// linear_blocks: rows in 8 bits times weights in 8 or 4 bits, each 32 along the inner width with a scale of their own.
//
//   y[n,o] = sum over blocks b of (exact sum over 32 of q w) * (s_x[n,b] s_w[o,b]) + bias[o]      dx = dy w      (block_products.h has q, s_x, the
//   order)
//
// codes: I8 [out, in] of -127..127, or U8 [out, in / 2] with two codes a byte, element 2i low and 2i + 1 high, each plus 8; scales: F16
// [out, in / 32]. Rows are quantized as they come. The bits are the same in every tier. A block of x with a NaN or an infinity makes its
// row NaN. Codes, scales and bias get no gradient: this is the base that adapters are trained on. dx takes the weights as floats.
//
// The packed copy has as many bits as the codes, scales between them: a token reads it once, in a stream. Without one, each member packs
// the panel it is about to multiply by.

#include "ops/dense/gemm.h"
#include "ops/ops.h"
#include "ops/quant/block_products.h"

enum { X, CODES, SCALES, BIAS };
enum { Y };
enum { FEW_ROWS = 12 }; // quantized by each member for itself, which waits for nobody

static const char *shape(hs_node *n)
{
    const hs_tensor *x = n->in[X], *codes = n->in[CODES], *scales = n->in[SCALES], *bias = n->in[BIAS];
    if (x->n_dims != 2 || codes->n_dims != 2 || scales->n_dims != 2)
        return "x must be [rows, in], codes [out, in] or [out, in / 2], scales [out, in / 32]";
    if (x->dim[1] % BLOCK)
        return "the inner width must be a multiple of 32";
    if (codes->dtype != HS_I8 && codes->dtype != HS_U8)
        return "codes must be i8, or u8 with two of 4 bits";
    if (codes->dim[1] * (codes->dtype == HS_U8 ? 2 : 1) != x->dim[1])
        return "inner widths differ";
    if (scales->dtype != HS_F16 || scales->dim[0] != codes->dim[0] || scales->dim[1] != x->dim[1] / BLOCK)
        return "scales must be f16 [out, in / 32]";
    if (bias && (bias->n_dims != 1 || bias->dim[0] != codes->dim[0]))
        return "bias must be as long as codes has rows";
    hs_shape_rows(n->out[Y], x, codes->dim[0]);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    return (hs_cost){ .flops = 2.0 * (double)hs_tensor_count(n->in[X]) * (double)n->in[CODES]->dim[0], .bytes = hs_traffic(n, backward) };
}

// ---- the definition

static double weight(const hs_args *a, int64_t o, int64_t c)
{
    const int64_t C = a->in[SCALES].cols * BLOCK;
    const int32_t *code = hs_i32(a, CODES);
    const int32_t w = a->in[CODES].t->dtype == HS_I8 ? code[o * C + c] : (code[(o * C + c) / 2] >> c % 2 * 4 & 15) - 8;
    return w * hs_f64(a, SCALES)[o * (C / BLOCK) + c / BLOCK];
}

// Which way a value rounds is a matter of f32.
static void rounded(const double *x, double *q)
{
    float most = 0;
    for (int i = 0; i < BLOCK; i++)
        most = fabsf((float)x[i]) > most ? fabsf((float)x[i]) : most;
    const float scale = most / 127 < 0x1p-126f ? 0 : most / 127, inverse = scale > 0 ? 1 / scale : 0;
    for (int i = 0; i < BLOCK; i++)
        q[i] = (double)rintf((float)x[i] * inverse) * scale;
}

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, O = a->in[CODES].rows;
    for (int64_t n = 0; n < N; n++)
        for (int64_t o = 0; o < O; o++) {
            double sum = a->in[BIAS].p ? hs_f64(a, BIAS)[o] : 0, q[BLOCK];
            for (int64_t b = 0; b < C; b += BLOCK) {
                rounded(hs_f64(a, X) + n * C + b, q);
                for (int64_t i = 0; i < BLOCK; i++)
                    sum += q[i] * weight(a, o, b + i);
            }
            hs_f64_out(a, Y)[n * O + o] = sum;
        }
}

static void reference_gradient(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), C = a->in[X].cols, O = a->in[CODES].rows;
    for (int64_t n = 0; n < N; n++)
        for (int64_t o = 0; o < O; o++)
            for (int64_t c = 0; c < C; c++)
                ((double *)a->din[X].p)[n * C + c] += ((const double *)a->dout[Y].p)[n * O + o] * weight(a, o, c);
}

// ---- forward

static bool is_four(const hs_ref *codes) { return codes->dtype == HS_U8; }

// Of a member's scratch: a row of x in f32, a panel, few quantized rows.
static size_t panel_at(int64_t in) { return hs_row_bytes(in); }
static size_t few_at(int64_t in, bool four) { return panel_at(in) + blocks_panel_bytes(in, four); }

static void quantize(const hs_args *a, hs_lane *lane, const blocks_loops *l, char *to, int64_t r0, int64_t r1, int64_t rows)
{
    const hs_ref *x = &a->in[X];
    for (int64_t r = r0; r < r1; r++)
        blocks_quantize(l, to, hs_row_load(x, r, (float *)hs_thread_scratch(a, lane)), r, rows, x->cols, is_four(&a->in[CODES]));
}

// Rows of a tile into y, at columns [first, first + n).
static void store(const hs_args *a, float sum[][PANEL], int64_t row, int rows, int64_t first, int64_t n)
{
    const hs_ref *y = &a->out[Y];
    for (int r = 0; r < rows; r++) {
        for (int64_t c = 0; a->in[BIAS].p && c < n; c++)
            sum[r][c] += hs_f32(a, BIAS)[first + c];
        hs_store(y, (row + r) * y->cols + first, n, sum[r]);
    }
}

static void panel_by_rows(const hs_args *a, const blocks_loops *l, const char *rows_at, int64_t rows, const char *panel, int64_t first)
{
    const hs_ref *codes = &a->in[CODES];
    const int64_t in = a->in[X].cols, n = codes->rows - first < PANEL ? codes->rows - first : PANEL;
    _Alignas(64) float sum[TILE_ROWS][PANEL];
    for (int64_t r = 0; r < rows; r += TILE_ROWS) {
        const int height = rows - r < TILE_ROWS ? (int)(rows - r) : TILE_ROWS;
        const blocks_tile t = { blocks_tile_at(rows_at, r / TILE_ROWS, in), panel, in / BLOCK, sum };
        (is_four(codes) ? l->four : l->eight)(&t, height);
        store(a, sum, r, height, first, n);
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const blocks_loops *l = blocks_best();
    const hs_ref *codes = &a->in[CODES];
    const bool four = is_four(codes), few = a->in[X].rows <= FEW_ROWS;
    const int64_t N = hs_ref_rows(a, &a->in[X]), in = a->in[X].cols;
    char *own = hs_thread_scratch(a, lane), *rows = few ? own + few_at(in, four) : a->scratch;
    int64_t r0 = 0, r1 = N, p0, p1;
    if (!few)
        hs_part_unit(lane, N, TILE_ROWS, &r0, &r1);
    quantize(a, lane, l, rows, r0, r1, N);
    if (!few)
        hs_sync(lane);
    hs_part_unit(lane, blocks_panels(codes->rows), 1, &p0, &p1);
    for (int64_t p = p0; p < p1; p++) {
        char *panel = a->derived ? (char *)a->derived + (size_t)p * blocks_panel_bytes(in, four) : own + panel_at(in);
        if (!a->derived)
            blocks_pack(l, panel, codes, &a->in[SCALES], p * PANEL);
        panel_by_rows(a, l, rows, N, panel, p * PANEL);
    }
}

// ---- panels, once per change of the codes. Where values do not stay it is worth their bytes while packing takes long beside the product.

enum { ROWS_HIDE_PACKING = 256, MANY_RUNS = 1 << 20 };

static size_t packed_bytes(const hs_node *n, bool is_backward, int runs)
{
    const hs_tensor *x = n->in[X], *codes = n->in[CODES];
    if (is_backward || (x->dim[0] > ROWS_HIDE_PACKING && runs < MANY_RUNS))
        return 0;
    return (size_t)blocks_panels(codes->dim[0]) * blocks_panel_bytes(x->dim[1], codes->dtype == HS_U8);
}

static void pack(const hs_args *a, hs_lane *lane)
{
    const hs_ref *codes = &a->in[0], *scales = &a->in[1];
    const size_t bytes = blocks_panel_bytes(scales->cols * BLOCK, is_four(codes));
    int64_t p0, p1;
    hs_part_unit(lane, blocks_panels(codes->rows), 1, &p0, &p1);
    for (int64_t p = p0; p < p1; p++)
        blocks_pack(blocks_best(), a->out[0].p + (size_t)p * bytes, codes, scales, p * PANEL);
}

// ---- backward: as many columns of w at once as fill a slab, as floats

enum { SLAB = 4 << 20 }; // elements

static int64_t slab_columns(int64_t out, int64_t in)
{
    const int64_t columns = SLAB / out / GEMM_NR * GEMM_NR;
    return columns < GEMM_NR ? GEMM_NR < in ? GEMM_NR : in : columns < in ? columns : in;
}

// Columns [c, c + n) of row o, n a multiple of 8, as f32.
static void widen(const hs_args *a, int64_t o, int64_t c, int64_t n, float *w)
{
    const hs_ref *codes = &a->in[CODES], *scales = &a->in[SCALES];
    const uint16_t *scale = (const uint16_t *)scales->p + o * scales->cols;
    for (int64_t i = 0; i < n; i += 8) {
        const float s = hs_f16_f32(scale[(c + i) / BLOCK]);
        if (is_four(codes)) {
            const uint8_t *code = (const uint8_t *)codes->p + o * codes->cols + (c + i) / 2;
            for (int k = 0; k < 4; k++)
                w[i + 2 * k] = (float)((code[k] & 15) - 8) * s, w[i + 2 * k + 1] = (float)((code[k] >> 4) - 8) * s;
        } else {
            const int8_t *code = (const int8_t *)codes->p + o * codes->cols + c + i;
            for (int k = 0; k < 8; k++)
                w[i + k] = (float)code[k] * s;
        }
    }
}

static void backward(const hs_args *a, hs_lane *lane)
{
    const hs_ref *dy = &a->dout[Y], *dx = &a->din[X];
    const int64_t N = hs_ref_rows(a, dy), C = dx->cols, O = a->in[CODES].rows, step = slab_columns(O, C);
    const bool dot = gemm_dot(dy->dtype);
    float *row = (float *)hs_thread_scratch(a, lane);
    char *slab = a->scratch;
    int64_t o0, o1;
    hs_part_unit(lane, O, 1, &o0, &o1);
    gemm g = { .m = N, .k = O, .dot = dot, .a = { dy->p, dy->cols, dy->dtype, false } };
    g.own = (char *)row + hs_row_bytes(C), g.shared = slab + (size_t)(O * step) * sizeof(float);
    for (int64_t c = 0; c < C; c += step) {
        const int64_t n = C - c < step ? C - c : step;
        if (c)
            hs_sync(lane); // the slab is free again
        for (int64_t o = o0; o < o1; o++) {
            float *w = dot ? row : (float *)slab + o * n;
            widen(a, o, c, n, w);
            if (dot)
                hs_store_bf16((uint16_t *)slab + o * n, w, n);
        }
        hs_sync(lane);
        g.n = n, g.b = (gemm_in){ slab, n, dot ? HS_BF16 : HS_F32, true };
        g.c = (gemm_out){ .p = dx->p + (size_t)c * hs_dtype_bytes(dx->dtype), .ld = C, .dtype = dx->dtype, .add = dx->add, .scale = 1 };
        gemm_run(&g, lane);
    }
}

static size_t most_of(size_t a, size_t b) { return a > b ? a : b; }

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    const int64_t N = n->in[X]->dim[0], C = n->in[X]->dim[1], O = n->in[CODES]->dim[0], step = slab_columns(O, C);
    const bool four = n->in[CODES]->dtype == HS_U8;
    if (!is_backward)
        return (hs_scratch){ N > FEW_ROWS ? blocks_rows_bytes(N, C) : 0, few_at(C, four) + (N > FEW_ROWS ? 0 : blocks_rows_bytes(N, C)) };
    const bool dot = gemm_dot(HS_BF16); // of dy, which may have either type
    return (hs_scratch){ (size_t)(O * step) * sizeof(float) + most_of(gemm_shared_bytes(step, O, false), gemm_shared_bytes(step, O, dot)),
                         hs_row_bytes(C) + most_of(gemm_own_bytes(N, step, O, false, true), gemm_own_bytes(N, step, O, dot, true)) };
}

// ---- cases

static void any_codes(int input, int32_t *data, int64_t n, const hs_case *c)
{
    for (int64_t i = 0; i < n; i++) {
        const int32_t v = (int32_t)((uint32_t)(i * 2654435761u + (uint32_t)input) >> 13) % 256;
        data[i] = c->stored[CODES] == HS_U8 ? v : v == 128 ? 127 : v - 128;
    }
}
static void largest_codes(int input, int32_t *data, int64_t n, const hs_case *c) // sums of pairs are as large as they can be
{
    (void)input;
    for (int64_t i = 0; i < n; i++)
        data[i] = c->stored[CODES] == HS_U8 ? (i / 3 % 2 ? 0xFF : 0) : i / 7 % 2 ? 127 : -127;
}

#define EIGHT .stored = { [CODES] = HS_I8, [SCALES] = HS_F16 }, .ext = { HS_EXT_TOKENS }
#define FOUR  .stored = { [CODES] = HS_U8, [SCALES] = HS_F16 }, .ext = { HS_EXT_TOKENS }
static const hs_case cases[] = {
    { .in = { { 1, 32 }, { 8, 32 }, { 8, 1 }, { 8 } }, EIGHT, .setup = any_codes, .note = "one row, one block" },
    { .in = { { 7, 96 }, { 40, 96 }, { 40, 3 } }, EIGHT, .setup = any_codes, .note = "a tile and a row, no bias" },
    { .in = { { 33, 160 }, { 77, 160 }, { 77, 5 }, { 77 } }, EIGHT, .setup = largest_codes, .fill = HS_FILL_CONSTANT, .note = "odd width" },
    { .in = { { 5, 1056 }, { 24, 1056 }, { 24, 33 }, { 24 } }, EIGHT, .setup = any_codes, .fill = HS_FILL_LARGE, .note = "many blocks" },
    { .in = { { 1, 32 }, { 8, 16 }, { 8, 1 }, { 8 } }, FOUR, .setup = any_codes, .note = "4 bits" },
    { .in = { { 7, 96 }, { 40, 48 }, { 40, 3 } }, FOUR, .setup = any_codes, .note = "4 bits, a tile and a row, no bias" },
    { .in = { { 33, 160 }, { 77, 80 }, { 77, 5 }, { 77 } },
      FOUR,
      .setup = largest_codes,
      .fill = HS_FILL_CONSTANT,
      .note = "4 bits, odd width" },
    { .in = { { 5, 1056 }, { 24, 528 }, { 24, 33 }, { 24 } },
      FOUR,
      .setup = any_codes,
      .fill = HS_FILL_LARGE,
      .note = "4 bits, many blocks" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    (void)attr;
    *c = (hs_case){
        .in = { [X] = { dim[0], dim[1] }, [CODES] = { dim[2], dim[3] == 4 ? dim[1] / 2 : dim[1] }, [SCALES] = { dim[2], dim[1] / BLOCK } },
        .stored = { [CODES] = dim[3] == 4 ? HS_U8 : HS_I8, [SCALES] = HS_F16 },
        .ext = { [X] = HS_EXT_TOKENS },
        .setup = any_codes
    };
}
// GPT-2 124M, a token: QKV, projection, MLP, LM head | a prompt
static const hs_op_sizes sizes[] = { { .form = "ROWSxINxOUTxBITS",
                                       .usual = "1x768x2304x8,1x768x768x8,1x768x3072x8,1x3072x768x8,1x768x50304x8,"
                                                "1x768x2304x4,1x768x768x4,1x768x3072x4,1x3072x768x4,1x768x50304x4,"
                                                "8x768x3072x8,8x768x3072x4,512x768x3072x8,512x3072x768x8,512x768x3072x4,512x3072x768x4",
                                       .make = make,
                                       .forward_only = true } };

HS_OP(linear_blocks) = {
    .name = "linear_blocks",
    .formula = "y = q8(x) (codes scales)^T + bias, in blocks of 32",
    .paper = "arXiv:2305.14314",
    .in = { [X] = { "x", HS_AMP_KEEP, 0 },
            [CODES] = { "codes", HS_AMP_NONE, HS_WHOLE | HS_NO_GRAD | HS_BWD_READS },
            [SCALES] = { "scales", HS_AMP_KEEP, HS_WHOLE | HS_NO_GRAD | HS_BWD_READS },
            [BIAS] = { "bias", HS_AMP_F32, HS_WHOLE | HS_NO_GRAD | HS_OPTIONAL } },
    .out = { [Y] = { "y", HS_AMP_LOW, HS_ANY_DTYPE } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .ref_bwd = reference_gradient,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { forward, backward, HS_PART_FREE, HS_PART_FREE, .scratch = scratch, .derive = { CODES, packed_bytes, pack } },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_linear_blocks(hs_graph *g, hs_tensor *x, hs_tensor *codes, hs_tensor *scales, hs_tensor *bias)
{
    return hs_emit(g, HS_OP_ENTRY(linear_blocks), NULL, (hs_tensor *[]){ x, codes, scales, bias }, 4);
}
#endif
