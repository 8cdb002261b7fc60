// cache_append: rows of keys and values go to their places in a cache that lives across steps.
//
//   cache[rows[n], :] = x[n, first : first + width of cache]        rows[n] < 0: skipped
//
// Pope et al. 2022 (arXiv:2211.05102). x is usually the packed q|k|v of this step's tokens and `first` the width of q. The
// output is the cache itself. Rows are distinct.

#include "core/cpu/rows.h"
#include "ops/attrs.h"

enum { CACHE, X, ROWS };
enum { Y };

static int64_t first_of(const void *attr) { return ((const hs_cache_append_attr *)attr)->first; }

static const char *shape(hs_node *n)
{
    const hs_tensor *cache = n->in[CACHE], *x = n->in[X], *rows = n->in[ROWS];
    const int64_t first = first_of(n->attr);
    if (cache->n_dims != 2 || x->n_dims != 2)
        return "cache and x must be rows of one width";
    if (first < 0 || first + cache->dim[1] > x->dim[1])
        return "x is too narrow for the cache's columns";
    if (rows->dtype != HS_I32 || rows->n_dims != 1 || rows->dim[0] != x->dim[0] || rows->ext != x->ext)
        return "rows must be i32, one for each row of x";
    hs_shape_like(n->out[Y], cache);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward)
{
    const double cells = (double)n->in[X]->dim[0] * (double)n->in[CACHE]->dim[1], each = (double)hs_dtype_bytes(n->in[CACHE]->dtype);
    return backward ? (hs_cost){ 0 } : (hs_cost){ .bytes = 2 * each * cells };
}

static bool inside(const hs_args *a, int64_t n) { return hs_i32(a, ROWS)[n] >= 0 && hs_i32(a, ROWS)[n] < a->out[Y].rows; }

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[X]), W = a->in[X].cols, C = a->out[Y].cols;
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C && inside(a, n); c++)
            hs_f64_out(a, Y)[hs_i32(a, ROWS)[n] * C + c] = hs_f64(a, X)[n * W + first_of(a->attr) + c];
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref *x = &a->in[X], *y = &a->out[Y];
    const int64_t first = first_of(a->attr), C = y->cols;
    const size_t each = hs_dtype_bytes(y->dtype);
    hs_for_rows(n, a, x, lane) {
        if (!inside(a, n))
            continue;
        const int64_t to = hs_i32(a, ROWS)[n] * C, from = n * x->cols + first;
        if (x->dtype == y->dtype) {
            memcpy(y->p + (size_t)to * each, x->p + (size_t)from * each, (size_t)C * each);
            continue;
        }
        for (int64_t c = 0; c < C; c += HS_BLOCK) {
            const int64_t k = C - c < HS_BLOCK ? C - c : HS_BLOCK;
            float wide[HS_BLOCK];
            hs_store(y, to + c, k, hs_load(x, from + c, k, wide));
        }
    }
}

static void every_other(int input, int32_t *data, int64_t n, const hs_case *c)
{
    for (int64_t i = 0; input == ROWS && i < n; i++)
        data[i] = (int32_t)(i % 5 == 3 ? -1 : (2 * i + 1) % c->in[CACHE][0]);
}

static const hs_case cases[] = {
    { .in = { { 4, 16 }, { 1, 24 }, { 1 } },
      .ext = { [X] = HS_EXT_TOKENS, [ROWS] = HS_EXT_TOKENS },
      .attr = &(const hs_cache_append_attr){ 8 },
      .setup = every_other },
    { .in = { { 67, 64 }, { 33, 96 }, { 33 } },
      .ext = { [X] = HS_EXT_TOKENS, [ROWS] = HS_EXT_TOKENS },
      .attr = &(const hs_cache_append_attr){ 32 },
      .setup = every_other,
      .note = "some rows skipped" },
};

static void make(const int64_t *dim, hs_case *c, void *attr) // k and v of packed q|k|v rows
{
    *c = (hs_case){ .in = { [CACHE] = { dim[2], 2 * dim[1] }, [X] = { dim[0], 3 * dim[1] }, [ROWS] = { dim[0] } },
                    .ext = { [X] = HS_EXT_TOKENS, [ROWS] = HS_EXT_TOKENS },
                    .limit = dim[2] };
    ((hs_cache_append_attr *)attr)->first = dim[1];
}
static const hs_op_sizes sizes[] = {
    { .form = "ROWSxWIDTHxCACHE", .usual = "1x768x1K,8x768x8K,512x768x1K", .make = make, .forward_only = true }
};
static const hs_attr attrs[] = { HS_ATTR(hs_cache_append_attr, first) };

HS_OP(cache_append) = {
    .name = "cache_append",
    .formula = "cache[rows[n]] = x[n, first : first + width]",
    .paper = "arXiv:2211.05102",
    .attr_bytes = sizeof(hs_cache_append_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [CACHE] = { "cache", HS_AMP_KEEP, HS_NO_GRAD | HS_WHOLE },
            [X] = { "x", HS_AMP_KEEP, HS_NO_GRAD },
            [ROWS] = { "rows", HS_AMP_NONE, HS_NO_GRAD } },
    .out = { [Y] = { "y", HS_AMP_KEEP, HS_IS_INPUT_0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { .fwd = forward, .fwd_part = HS_PART_FREE },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_cache_append(hs_graph *g, hs_tensor *cache, hs_tensor *x, hs_tensor *rows, int64_t first)
{
    return hs_emit(g, HS_OP_ENTRY(cache_append), &(hs_cache_append_attr){ first }, (hs_tensor *[]){ cache, x, rows }, 3);
}
#endif
