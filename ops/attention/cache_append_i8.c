// cache_append_i8: rows of keys and values go to their places in a cache of codes that lives across steps.
//
//   cache[rows[n]] = codes and scales of x[n, first : first + 2C]        rows[n] < 0: skipped
//
// The layout is attention.h's, the rounding i8_round.h's: a row's bytes are the same in every tier and on every backend. x is usually the
// packed q|k|v of this step's tokens and `first` the width of q. The output is the cache itself. Rows are distinct. A scale per token and
// head, as KIVI has it of values (arXiv:2402.02750): codes of 8 bits need no groups within a head.

#include "core/cpu/rows.h"
#include "ops/attrs.h"
#include "ops/quant/i8_round.h"

enum { CACHE, X, ROWS };
enum { Y };

static hs_cache_append_i8_attr attr_of(const void *attr) { return *(const hs_cache_append_i8_attr *)attr; }

static const char *shape(hs_node *n)
{
    const hs_tensor *cache = n->in[CACHE], *x = n->in[X], *rows = n->in[ROWS];
    const hs_cache_append_i8_attr at = attr_of(n->attr);
    if (cache->n_dims != 2 || x->n_dims != 2 || cache->dtype != HS_I8)
        return "cache must be i8 rows of one width, and x rows of another";
    if (at.heads < 1 || cache->dim[1] <= 8 * at.heads)
        return "the cache must have 2C codes and 8 bytes of scales for each head";
    const int64_t width = hs_cache_i8_width(cache->dim[1], at.heads);
    if (cache->dim[1] != hs_cache_i8_cols(width, at.heads) || width % at.heads || width / at.heads % 8)
        return "the width of a head must be a multiple of 8: pad it";
    if (at.first < 0 || at.first + 2 * width > x->dim[1])
        return "x is too narrow for the cache's columns";
    if (rows->dtype != HS_I32 || rows->n_dims != 1 || rows->dim[0] != x->dim[0] || rows->ext != x->ext)
        return "rows must be i32, one for each row of x";
    hs_shape_set(n->out[Y], HS_I8, cache->ext, 2, cache->dim);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double rows = (double)n->in[X]->dim[0], codes = (double)n->in[CACHE]->dim[1], each = (double)hs_dtype_bytes(n->in[X]->dtype);
    return backward ? (hs_cost){ 0 } : (hs_cost){ .bytes = rows * codes * (1 + each) };
}

static bool inside(const hs_args *a, int64_t n) { return hs_i32(a, ROWS)[n] >= 0 && hs_i32(a, ROWS)[n] < a->out[Y].rows; }

// ---- the definition; integers are i32 and f64 here

static void reference(const hs_args *a)
{
    const hs_cache_append_i8_attr at = attr_of(a->attr);
    const int64_t N = hs_ref_rows(a, &a->in[X]), W = a->in[X].cols, cols = a->out[Y].cols;
    const int64_t C = hs_cache_i8_width(cols, at.heads), d = C / at.heads;
    for (int64_t n = 0; n < N; n++)
        for (int64_t g = 0; g < 2 * at.heads && inside(a, n); g++) { // heads of k, then of v
            const double *x = hs_f64(a, X) + n * W + at.first + g * d;
            double *y = hs_f64_out(a, Y) + hs_i32(a, ROWS)[n] * cols;
            uint32_t most = 0;
            for (int64_t c = 0; c < d; c++) {
                const uint32_t u = hs_f32_bits((float)x[c]) & 0x7FFFFFFFu;
                most = u > most ? u : most;
            }
            const float scale = i8_row_scale(most), inverse = i8_inverse(scale);
            for (int64_t c = 0; c < d; c++)
                y[g * d + c] = i8_round((float)x[c], inverse);
            for (int64_t i = 0; i < 4; i++)
                y[2 * C + 4 * g + i] = (int8_t)(hs_f32_bits(scale) >> 8 * i);
        }
}

// ---- forward: heads of rows are dealt out, for one row must not be one member's

static void append(const hs_ref *x, int64_t from, int64_t d, int8_t *codes, char *scale_at)
{
    float wide[HS_BLOCK];
    uint32_t most = 0;
    for (int64_t c = 0; c < d; c += HS_BLOCK) {
        const int64_t n = d - c < HS_BLOCK ? d - c : HS_BLOCK;
        const float *v = hs_load(x, from + c, n, wide);
        for (int64_t i = 0; i < n; i++) {
            const uint32_t u = hs_f32_bits(v[i]) & 0x7FFFFFFFu;
            most = u > most ? u : most;
        }
    }
    const float scale = i8_row_scale(most), inverse = i8_inverse(scale);
    for (int64_t c = 0; c < d; c += HS_BLOCK) {
        const int64_t n = d - c < HS_BLOCK ? d - c : HS_BLOCK;
        const float *v = hs_load(x, from + c, n, wide);
        HS_SIMD
        for (int64_t i = 0; i < n; i++)
            codes[c + i] = (int8_t)i8_round(v[i], inverse);
    }
    memcpy(scale_at, &scale, sizeof scale);
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_cache_append_i8_attr at = attr_of(a->attr);
    const hs_ref *x = &a->in[X], *y = &a->out[Y];
    const int64_t groups = 2 * at.heads, C = hs_cache_i8_width(y->cols, at.heads), d = C / at.heads;
    int64_t u0, u1;
    hs_part(lane, hs_ref_rows(a, x) * groups, &u0, &u1);
    for (int64_t u = u0; u < u1; u++) {
        const int64_t n = u / groups, g = u % groups;
        if (!inside(a, n))
            continue;
        char *row = y->p + hs_i32(a, ROWS)[n] * y->cols;
        append(x, n * x->cols + at.first + g * d, d, (int8_t *)row + g * d, row + 2 * C + 4 * g);
    }
}

// ---- cases

static void every_other(int input, int32_t *data, int64_t n, const hs_case *c)
{
    for (int64_t i = 0; input == ROWS && i < n; i++)
        data[i] = (int32_t)(i % 5 == 3 ? -1 : (2 * i + 1) % c->in[CACHE][0]);
    for (int64_t i = 0; input == CACHE && i < n; i++)
        data[i] = (int32_t)(i * 37 % 255 - 127);
}

static const hs_case cases[] = {
    { .in = { { 4, 2 * 8 + 8 }, { 1, 24 }, { 1 } },
      .ext = { [X] = HS_EXT_TOKENS, [ROWS] = HS_EXT_TOKENS },
      .attr = &(const hs_cache_append_i8_attr){ 8, 1 },
      .setup = every_other },
    { .in = { { 67, 2 * 48 + 8 * 3 }, { 33, 150 }, { 33 } },
      .ext = { [X] = HS_EXT_TOKENS, [ROWS] = HS_EXT_TOKENS },
      .attr = &(const hs_cache_append_i8_attr){ 50, 3 },
      .setup = every_other,
      .note = "some rows skipped" },
    { .in = { { 9, 2 * 136 + 8 }, { 4, 408 }, { 4 } },
      .ext = { [X] = HS_EXT_TOKENS, [ROWS] = HS_EXT_TOKENS },
      .attr = &(const hs_cache_append_i8_attr){ 136, 1 },
      .setup = every_other,
      .fill = HS_FILL_LARGE,
      .note = "a head of 136, large" },
    { .in = { { 9, 2 * 32 + 16 }, { 4, 96 }, { 4 } },
      .ext = { [X] = HS_EXT_TOKENS, [ROWS] = HS_EXT_TOKENS },
      .attr = &(const hs_cache_append_i8_attr){ 32, 2 },
      .setup = every_other,
      .fill = HS_FILL_CONSTANT,
      .note = "one value in a head" },
};

static void make(const int64_t *dim, hs_case *c, void *attr) // k and v of packed q|k|v rows, heads of 64
{
    const int64_t heads = dim[1] % 64 ? 1 : dim[1] / 64;
    *c = (hs_case){ .in = { [CACHE] = { dim[2], hs_cache_i8_cols(dim[1], heads) }, [X] = { dim[0], 3 * dim[1] }, [ROWS] = { dim[0] } },
                    .ext = { [X] = HS_EXT_TOKENS, [ROWS] = HS_EXT_TOKENS },
                    .limit = dim[2] };
    *(hs_cache_append_i8_attr *)attr = (hs_cache_append_i8_attr){ dim[1], heads };
}
static const hs_op_sizes sizes[] = {
    { .form = "ROWSxWIDTHxCACHE", .usual = "1x768x1K,8x768x8K,512x768x1K", .make = make, .forward_only = true }
};
static const hs_attr attrs[] = { HS_ATTR(hs_cache_append_i8_attr, first), HS_ATTR(hs_cache_append_i8_attr, heads) };

HS_OP(cache_append_i8) = {
    .name = "cache_append_i8",
    .formula = "cache[rows[n]] = codes and scales of x[n, first : first + 2C]",
    .paper = "arXiv:2402.02750",
    .attr_bytes = sizeof(hs_cache_append_i8_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [CACHE] = { "cache", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE | HS_BYTES },
            [X] = { "x", HS_AMP_KEEP, HS_NO_GRAD },
            [ROWS] = { "rows", HS_AMP_NONE, HS_NO_GRAD } },
    .out = { [Y] = { "y", HS_AMP_NONE, HS_IS_INPUT_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { .fwd = forward, .fwd_part = HS_PART_FREE },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_cache_append_i8(hs_graph *g, hs_tensor *cache, hs_tensor *x, hs_tensor *rows, int64_t first, int heads)
{
    return hs_emit(g, HS_OP_ENTRY(cache_append_i8), &(hs_cache_append_i8_attr){ first, heads }, (hs_tensor *[]){ cache, x, rows }, 3);
}
#endif
