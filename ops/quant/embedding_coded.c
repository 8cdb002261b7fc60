// embedding_coded: embedding of a table that is stored in 8 or 4 bits.
//
//   y[n] = w[ids[n]] (+ pos_table[first_position + where[n][1]])      w[r,c] = code * scale, rounded to f32
//
// codes and scales: I8 [rows, width] and F32 [rows]; or I8 [rows, width] or U8 [rows, width / 2] and F16 [rows, width / 32], as
// linear_blocks has them, so that an output layer and this may share them. Slices, positions and bad ids are those of embedding. Nothing
// has a gradient: tables in codes are not trained.

#include "core/cpu/rows.h"
#include "ops/attrs.h"

enum { CODES, SCALES, IDS, POS_TABLE, WHERE };
enum { Y };
enum { SHARED = 32 }; // elements to a scale, of f16

static const char *coded(const hs_tensor *codes, const hs_tensor *scales)
{
    const int64_t width = codes->dim[1] * (codes->dtype == HS_U8 ? 2 : 1);
    if (codes->n_dims != 2 || (codes->dtype != HS_I8 && codes->dtype != HS_U8))
        return "codes must be i8 [rows, width], or u8 [rows, width / 2]";
    if (scales->dim[0] != codes->dim[0])
        return "there must be scales for every row of codes";
    if (scales->dtype == HS_F32 && codes->dtype == HS_I8)
        return scales->n_dims == 1 ? NULL : "scales in f32 must be [rows]";
    if (scales->dtype != HS_F16 || scales->n_dims != 2 || width % SHARED || scales->dim[1] != width / SHARED)
        return "scales must be f16 [rows, width / 32], or f32 [rows] of codes in i8";
    return NULL;
}

static const char *shape(hs_node *n)
{
    const hs_embedding_attr *at = n->attr;
    const hs_tensor *codes = n->in[CODES], *ids = n->in[IDS], *pos = n->in[POS_TABLE], *where = n->in[WHERE];
    const char *why = coded(codes, n->in[SCALES]);
    if (why)
        return why;
    const int64_t width = codes->dim[1] * (codes->dtype == HS_U8 ? 2 : 1);
    if (ids->dtype != HS_I32 || ids->n_dims != 1)
        return "ids must be i32 [N]";
    if (!pos != !where)
        return "pos_table and where come together";
    if (pos && (pos->n_dims != 2 || pos->dim[1] != width))
        return "pos_table must be as wide as the table";
    if (where &&
        (where->dtype != HS_I32 || where->n_dims != 2 || where->dim[0] != ids->dim[0] || where->dim[1] != 2 || where->ext != ids->ext))
        return "where must be i32 [number of ids, 2]";
    if (at->rows && (at->first < 0 || at->first + codes->dim[0] > at->rows))
        return "the slice lies outside the table";
    if (at->first_position < 0)
        return "the first position must be at least 0";
    hs_shape_rows(n->out[Y], ids, width);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double cells = (double)hs_tensor_count(n->out[Y]), places = n->in[POS_TABLE] ? cells : 0;
    const double codes = cells / (n->in[CODES]->dtype == HS_U8 ? 2 : 1);
    if (backward)
        return (hs_cost){ 0 };
    return (hs_cost){ .flops = cells + places, .bytes = (double)hs_tensor_bytes(n->out[Y]) + codes + 4 * places };
}

static const hs_embedding_attr *attr_of(const hs_args *a) { return a->attr; }
static int64_t rows_of(const hs_args *a) { return attr_of(a)->rows ? attr_of(a)->rows : a->in[CODES].rows; }
static bool inside(int64_t row, const hs_ref *table) { return row >= 0 && row < table->rows; }

static double value(const hs_args *a, int64_t row, int64_t c, int64_t C)
{
    const int32_t *code = hs_i32(a, CODES);
    const int32_t w = a->in[CODES].t->dtype == HS_I8 ? code[row * C + c] : (code[(row * C + c) / 2] >> c % 2 * 4 & 15) - 8;
    return w * hs_f64(a, SCALES)[a->in[SCALES].t->dtype == HS_F32 ? row : (row * C + c) / SHARED];
}

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[IDS]), C = a->out[Y].cols;
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++) {
            const int64_t row = hs_i32(a, IDS)[n] - attr_of(a)->first;
            const int64_t place = a->in[POS_TABLE].p ? attr_of(a)->first_position + hs_i32(a, WHERE)[2 * n + 1] : 0;
            const double at_place = a->in[POS_TABLE].p ? hs_f64(a, POS_TABLE)[place * C + c] : 0;
            hs_f64_out(a, Y)[n * C + c] = inside(row, &a->in[CODES]) ? value(a, row, c, C) + at_place : 0;
        }
}

// y[c] = code * scale for n codes of one scale, n a multiple of 2.
static void widen(const hs_ref *codes, int64_t at, float scale, float *y, int64_t n)
{
    if (codes->dtype == HS_I8) {
        const int8_t *code = (const int8_t *)codes->p + at;
        HS_SIMD
        for (int64_t i = 0; i < n; i++)
            y[i] = (float)code[i] * scale;
        return;
    }
    const uint8_t *code = (const uint8_t *)codes->p + at / 2;
    for (int64_t i = 0; i < n / 2; i++)
        y[2 * i] = (float)((code[i] & 15) - 8) * scale, y[2 * i + 1] = (float)((code[i] >> 4) - 8) * scale;
}

static void look_up(const hs_args *a, int64_t row, int64_t place, float *y)
{
    const int64_t C = a->out[Y].cols;
    const hs_ref *codes = &a->in[CODES], *scales = &a->in[SCALES], *places = &a->in[POS_TABLE];
    if (scales->dtype == HS_F32)
        widen(codes, row * C, hs_f32(a, SCALES)[row], y, C);
    else
        for (int64_t c = 0; c < C; c += SHARED)
            widen(codes, row * C + c, hs_f16_f32(((const uint16_t *)scales->p)[(row * C + c) / SHARED]), y + c, SHARED);
    for (int64_t c = 0; places->p && c < C; c += HS_BLOCK) {
        const int64_t n = C - c < HS_BLOCK ? C - c : HS_BLOCK;
        float wide[HS_BLOCK];
        const float *z = hs_load(places, place * C + c, n, wide);
        HS_SIMD
        for (int64_t i = 0; i < n; i++)
            y[c + i] += z[i];
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->out[Y].cols, rows = rows_of(a);
    const bool placed = a->in[POS_TABLE].p != NULL;
    float *buf = hs_row_buffer(a, lane, 0, C);
    hs_for_rows(n, a, &a->in[IDS], lane) {
        const int32_t all = hs_i32(a, IDS)[n];
        const int64_t row = all - attr_of(a)->first, place = placed ? attr_of(a)->first_position + hs_i32(a, WHERE)[2 * n + 1] : 0;
        float *y = hs_row_dest(&a->out[Y], n, buf);
        if (all < 0 || all >= rows || (placed && !inside(place, &a->in[POS_TABLE]))) {
            for (int64_t c = 0; c < C; c++)
                y[c] = NAN;
        } else if (!inside(row, &a->in[CODES]))
            memset(y, 0, (size_t)C * sizeof(float));
        else
            look_up(a, row, place, y);
        hs_row_store(&a->out[Y], n, y);
    }
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    return (hs_scratch){ .per_thread = is_backward ? 0 : hs_row_bytes(n->out[Y]->dim[1]) };
}

// ---- cases

static void fill(int input, int32_t *data, int64_t n, const hs_case *c)
{
    const int64_t rows = c->in[CODES][0];
    for (int64_t i = 0; i < n; i++) {
        const int32_t any = (int32_t)((uint32_t)(i + 1) * 2654435761u >> 13) & 255;
        data[i] = input == IDS                ? (int32_t)((i * 37 + i / 11) % rows)
                  : input == WHERE            ? (int32_t)(i % 2 ? i / 2 * 5 % c->in[POS_TABLE][0] : 0)
                  : c->stored[CODES] == HS_U8 ? any
                                              : any % 255 - 127;
    }
}
static void fill_slice(int input, int32_t *data, int64_t n, const hs_case *c)
{
    fill(input, data, n, c);
    for (int64_t i = 0; input == IDS && i < n; i++)
        data[i] = (int32_t)(i * 7 % 60);
}

#define AS(codes, scales) .stored = { [CODES] = codes, [SCALES] = scales }, .ext = { [IDS] = HS_EXT_TOKENS, [WHERE] = HS_EXT_TOKENS }
static const hs_embedding_attr plain = { 0 }, slice = { .first = 24, .rows = 60 }, later = { .first_position = 2 };
static const hs_case cases[] = {
    { .in = { { 9, 32 }, { 9, 1 }, { 1 } }, AS(HS_I8, HS_F16), .setup = fill, .attr = &plain, .note = "one token" },
    { .in = { { 65, 37 }, { 65 }, { 33 } }, AS(HS_I8, HS_F32), .setup = fill, .attr = &plain, .note = "a scale a row, odd width" },
    { .in = { { 11, 96 }, { 11, 3 }, { 96 }, { 12, 96 }, { 96, 2 } },
      AS(HS_I8, HS_F16),
      .setup = fill,
      .attr = &plain,
      .note = "positions" },
    { .in = { { 40, 64 }, { 40, 4 }, { 37 }, { 64, 128 }, { 37, 2 } },
      AS(HS_U8, HS_F16),
      .setup = fill,
      .attr = &later,
      .note = "4 bits, positions from the third row on" },
    { .in = { { 50, 1100 }, { 50 }, { 40 }, { 7, 1100 }, { 40, 2 } },
      AS(HS_I8, HS_F32),
      .setup = fill,
      .attr = &plain,
      .note = "a scale a row, positions" },
    { .in = { { 24, 64 }, { 24, 2 }, { 70 } }, AS(HS_I8, HS_F16), .setup = fill_slice, .attr = &slice, .note = "a slice of the table" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    (void)attr;
    *c = (hs_case){ .in = { [CODES] = { dim[2], dim[3] == 4 ? dim[1] / 2 : dim[1] },
                            [SCALES] = { dim[2], dim[1] / SHARED },
                            [IDS] = { dim[0] },
                            [POS_TABLE] = { dim[2], dim[1] },
                            [WHERE] = { dim[0], 2 } },
                    .stored = { [CODES] = dim[3] == 4 ? HS_U8 : HS_I8, [SCALES] = HS_F16 },
                    .ext = { [IDS] = HS_EXT_TOKENS, [WHERE] = HS_EXT_TOKENS },
                    .setup = fill };
}
static const hs_op_sizes sizes[] = {
    { .form = "ROWSxCOLSxTABLExBITS", .usual = "1x768x50304x8,512x768x50304x8,512x768x50304x4", .make = make, .forward_only = true }
};
static const hs_attr attrs[] = { HS_ATTR(hs_embedding_attr, first), HS_ATTR(hs_embedding_attr, rows),
                                 HS_ATTR(hs_embedding_attr, first_position) };

HS_OP(embedding_coded) = {
    .name = "embedding_coded",
    .formula = "y[n] = codes[ids[n]] scales + pos_table[first_position + where[n][1]]",
    .attr_bytes = sizeof(hs_embedding_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [CODES] = { "codes", HS_AMP_NONE, HS_WHOLE | HS_NO_GRAD },
            [SCALES] = { "scales", HS_AMP_KEEP, HS_WHOLE | HS_NO_GRAD },
            [IDS] = { "ids", HS_AMP_NONE, HS_NO_GRAD },
            [POS_TABLE] = { "pos_table", HS_AMP_F32, HS_WHOLE | HS_OPTIONAL | HS_LOW_VALUE | HS_NO_GRAD },
            [WHERE] = { "where", HS_AMP_NONE, HS_NO_GRAD | HS_OPTIONAL } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes), .f32_out = true },
    .cpu = { forward, .fwd_part = HS_PART_ROWS, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_embedding_coded(hs_graph *g, hs_tensor *codes, hs_tensor *scales, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where,
                              const hs_embedding_attr *attr)
{
    return hs_emit(g, HS_OP_ENTRY(embedding_coded), attr, (hs_tensor *[]){ codes, scales, ids, pos_table, where }, 5);
}
#endif
