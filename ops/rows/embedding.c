// embedding: y[n] = table[ids[n]] (+ pos_table[first_position + where[n][1]]): a token's vector, and its position's.
//
// Reads the f32 values, or bf16 where that is all there is of them (hs_masters NONE), and stores either type. Backward adds token after
// token in order, with the columns divided over the team: deterministic, whatever its size. An id outside the table gives a row of NaN,
// which step mode reports with this scope, and no gradient. Of a table that is sliced over ranks each has rows [first, ...): an id of
// another slice gives zeros, so that the sum over ranks is what the whole table gives, to the bit.

#include "core/cpu/rows.h"
#include "ops/attrs.h"

enum { TABLE, IDS, POS_TABLE, WHERE };
enum { Y };

static const char *shape(hs_node *n)
{
    const hs_embedding_attr *at = n->attr;
    const hs_tensor *table = n->in[TABLE], *ids = n->in[IDS], *pos = n->in[POS_TABLE], *where = n->in[WHERE];
    if (table->n_dims != 2)
        return "table must be [rows, width]";
    if (ids->dtype != HS_I32 || ids->n_dims != 1)
        return "ids must be i32 [N]";
    if (!pos != !where)
        return "pos_table and where come together";
    if (pos && (pos->n_dims != 2 || pos->dim[1] != table->dim[1]))
        return "pos_table must be as wide as table";
    if (where &&
        (where->dtype != HS_I32 || where->n_dims != 2 || where->dim[0] != ids->dim[0] || where->dim[1] != 2 || where->ext != ids->ext))
        return "where must be i32 [number of ids, 2]";
    if (at->rows && (at->first < 0 || at->first + table->dim[0] > at->rows))
        return "the slice lies outside the table";
    if (at->first_position < 0)
        return "the first position must be at least 0";
    hs_shape_rows(n->out[Y], ids, table->dim[1]);
    return NULL;
}

// Only the rows that are looked up move, not the tables; backward zeroes its table where it does not add.
static hs_cost cost(const hs_node *n, bool backward)
{
    const double cells = (double)hs_tensor_count(n->out[Y]), tables = n->in[POS_TABLE] ? 2 : 1;
    return (hs_cost){ .flops = backward ? tables * cells : (tables - 1) * cells,
                      .bytes = (double)hs_tensor_bytes(n->out[Y]) + (backward ? 8 : 4) * tables * cells };
}

static int64_t first_of(const hs_args *a) { return ((const hs_embedding_attr *)a->attr)->first; }
// Row of pos_table that position 0 has: RoBERTa's first is behind the row of its pad token.
static int64_t first_position(const hs_args *a) { return ((const hs_embedding_attr *)a->attr)->first_position; }
static int64_t rows_of(const hs_args *a)
{
    const hs_embedding_attr *at = a->attr;
    return at->rows ? at->rows : a->in[TABLE].rows;
}

static bool inside(int64_t row, const hs_ref *table) { return row >= 0 && row < table->rows; }

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[IDS]), C = a->in[TABLE].cols;
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++) {
            const int64_t row = hs_i32(a, IDS)[n] - first_of(a);
            const int64_t place = a->in[POS_TABLE].p ? first_position(a) + hs_i32(a, WHERE)[2 * n + 1] : 0;
            const double at_place = a->in[POS_TABLE].p ? hs_f64(a, POS_TABLE)[place * C + c] : 0;
            hs_f64_out(a, Y)[n * C + c] = inside(row, &a->in[TABLE]) ? hs_f64(a, TABLE)[row * C + c] + at_place : 0;
        }
}

// y[c] = table[row + c] (+ places[place + c])
static void look_up(const hs_ref *table, int64_t row, const hs_ref *places, int64_t place, float *y, int64_t C)
{
    for (int64_t c = 0; c < C; c += HS_BLOCK) {
        const int64_t n = C - c < HS_BLOCK ? C - c : HS_BLOCK;
        float wide[2][HS_BLOCK];
        const float *x = hs_load(table, row + c, n, wide[0]), *z = places ? hs_load(places, place + c, n, wide[1]) : NULL;
        if (!z) {
            memcpy(y + c, x, (size_t)n * sizeof *y);
            continue;
        }
        HS_SIMD
        for (int64_t i = 0; i < n; i++)
            y[c + i] = x[i] + z[i];
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t C = a->in[TABLE].cols, first = first_of(a), rows = rows_of(a);
    const bool placed = a->in[POS_TABLE].p != NULL;
    float *buf = hs_row_buffer(a, lane, 0, C);
    hs_for_rows(n, a, &a->in[IDS], lane) {
        const int32_t all = hs_i32(a, IDS)[n];
        const int64_t id = all - first, position = placed ? first_position(a) + hs_i32(a, WHERE)[2 * n + 1] : 0;
        float *y = hs_row_dest(&a->out[Y], n, buf);
        if (all < 0 || all >= rows || (placed && !inside(position, &a->in[POS_TABLE]))) {
            for (int64_t c = 0; c < C; c++)
                y[c] = NAN;
        } else if (!inside(id, &a->in[TABLE])) {
            memset(y, 0, (size_t)C * sizeof(float));
        } else
            look_up(&a->in[TABLE], id * C, placed ? &a->in[POS_TABLE] : NULL, position * C, y, C);
        hs_row_store(&a->out[Y], n, y);
    }
}

// table[row(n) - first] += dy[n] for all tokens in order, in columns [c0, c1).
static void scatter(const hs_args *a, const hs_ref *dtable, const int32_t *row, int64_t stride, int64_t first, int64_t c0, int64_t c1)
{
    const int64_t N = hs_ref_rows(a, &a->dout[Y]), C = dtable->cols, k = c1 - c0;
    float *table = (float *)dtable->p;
    for (int64_t r = 0; r < dtable->rows && !dtable->add; r++)
        memset(table + r * C + c0, 0, (size_t)k * sizeof(float));
    for (int64_t n = 0; n < N; n++)
        if (inside(row[n * stride] - first, dtable))
            for (int64_t c = 0; c < k; c += HS_BLOCK) {
                const int64_t m = k - c < HS_BLOCK ? k - c : HS_BLOCK;
                float wide[HS_BLOCK], *sum = table + (row[n * stride] - first) * C + c0 + c;
                const float *dy = hs_load(&a->dout[Y], n * C + c0 + c, m, wide);
                HS_SIMD
                for (int64_t i = 0; i < m; i++)
                    sum[i] += dy[i];
            }
}
static void backward(const hs_args *a, hs_lane *lane)
{
    int64_t c0, c1;
    hs_part_unit(lane, a->dout[Y].cols, 16, &c0, &c1);
    if (hs_wanted(a, TABLE))
        scatter(a, &a->din[TABLE], hs_i32(a, IDS), 1, first_of(a), c0, c1);
    if (hs_wanted(a, POS_TABLE))
        scatter(a, &a->din[POS_TABLE], hs_i32(a, WHERE) + 1, 2, -first_position(a), c0, c1);
}

static hs_scratch scratch(const hs_node *n, int team, bool is_backward)
{
    (void)team;
    return (hs_scratch){ .per_thread = is_backward ? 0 : hs_row_bytes(n->in[TABLE]->dim[1]) };
}

static void many(int input, int32_t *data, int64_t n, const hs_case *c) // ids all over the table, three places
{
    for (int64_t i = 0; i < n; i++)
        data[i] = (int32_t)(input == IDS ? (i * 37 + i / 11) % c->in[TABLE][0] : i % 2 ? (i / 2 * 5 + i / 26) % c->in[POS_TABLE][0] : 0);
}

static const hs_embedding_attr slice = { .first = 24, .rows = 60 }, later = { .first_position = 2 };
static const hs_case cases[] = {
    { .in = { { 9, 8 }, { 1 } }, .limit = 9, .note = "one token" },
    { .in = { { 65, 37 }, { 33 } }, .ext = { [IDS] = HS_EXT_TOKENS }, .limit = 65, .note = "odd width" },
    { .in = { { 11, 64 }, { 96 }, { 12, 64 }, { 96, 2 } },
      .ext = { [IDS] = HS_EXT_TOKENS, [WHERE] = HS_EXT_TOKENS },
      .limit = 11,
      .note = "positions; every row many times" },
    { .in = { { 500, 768 }, { 40 }, { 64, 768 }, { 40, 2 } },
      .ext = { [IDS] = HS_EXT_TOKENS, [WHERE] = HS_EXT_TOKENS },
      .limit = 64,
      .note = "most rows never" },
    { .in = { { 11, 40 }, { 33 }, { 13, 40 }, { 33, 2 } },
      .ext = { [IDS] = HS_EXT_TOKENS, [WHERE] = HS_EXT_TOKENS },
      .attr = &later,
      .limit = 11,
      .note = "positions from the third row on" },
    { .in = { { 300, 8 }, { 2200 }, { 3, 8 }, { 2200, 2 } },
      .ext = { [IDS] = HS_EXT_TOKENS, [WHERE] = HS_EXT_TOKENS },
      .setup = many,
      .note = "many tokens, few places" },
    { .in = { { 24, 40 }, { 70 } }, .ext = { [IDS] = HS_EXT_TOKENS }, .attr = &slice, .limit = 60, .note = "a slice of the table" },
    { .in = { { 24, 40 }, { 20 } }, .ext = { [IDS] = HS_EXT_TOKENS }, .attr = &slice, .limit = 60, .note = "a slice, few tokens" },
};

static void make(const int64_t *dim, hs_case *c, void *attr) // with positions: a place is {0, an id below the limit}
{
    (void)attr;
    *c = (hs_case){ .in = { [TABLE] = { dim[2], dim[1] }, [IDS] = { dim[0] }, [POS_TABLE] = { dim[2], dim[1] }, [WHERE] = { dim[0], 2 } },
                    .ext = { [IDS] = HS_EXT_TOKENS, [WHERE] = HS_EXT_TOKENS },
                    .limit = dim[2] };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxCOLSxTABLE", .usual = "768x128x128,1Kx768x1K,4Kx768x50304,4Kx768x2", .make = make } };
static const hs_attr attrs[] = { HS_ATTR(hs_embedding_attr, first), HS_ATTR(hs_embedding_attr, rows),
                                 HS_ATTR(hs_embedding_attr, first_position) };

HS_OP(embedding) = {
    .name = "embedding",
    .formula = "y[n] = table[ids[n]] + pos_table[first_position + where[n][1]]",
    .attr_bytes = sizeof(hs_embedding_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [TABLE] = { "table", HS_AMP_F32, HS_WHOLE | HS_LOW_VALUE },
            [IDS] = { "ids", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS },
            [POS_TABLE] = { "pos_table", HS_AMP_F32, HS_WHOLE | HS_OPTIONAL | HS_LOW_VALUE },
            [WHERE] = { "where", HS_AMP_NONE, HS_NO_GRAD | HS_BWD_READS | HS_OPTIONAL } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_ANY_DTYPE } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes), .f32_out = true },
    .cpu = { forward, backward, HS_PART_ROWS, HS_PART_FREE, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_embedding(hs_graph *g, hs_tensor *table, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where)
{
    return hs_embedding_slice(g, table, ids, pos_table, where, 0, 0, 0);
}
hs_tensor *hs_embedding_from(hs_graph *g, hs_tensor *table, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where, int64_t first_position)
{
    return hs_embedding_slice(g, table, ids, pos_table, where, first_position, 0, 0);
}
hs_tensor *hs_embedding_slice(hs_graph *g, hs_tensor *table, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where, int64_t first_position,
                              int64_t first, int64_t rows)
{
    return hs_emit(g, HS_OP_ENTRY(embedding), &(hs_embedding_attr){ first, rows, first_position },
                   (hs_tensor *[]){ table, ids, pos_table, where }, 4);
}
#endif
