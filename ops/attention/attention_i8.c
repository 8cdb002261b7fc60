// attention_i8: attention over a cache whose keys and values are codes of 8 bits with a scale for each head.
//
//   y[i] = sum over j of p[i,j] v[j]      k[j] = codes * scale of its head in row j, v[j] likewise (attention.h has the layout)
//
// The kernel is attention's: blocks of codes are widened where a product packs them, a few queries take them where they lie. Scores are
// multiplied by scales of keys, weights by those of values, so that products are of codes, exact in bf16 and f32, whatever takes them.

#include "ops/attention/attention.h"
#include <stdlib.h>

enum { QKV, STARTS, KEYS, CACHE, PAGES };
enum { Y };

static const char *shape(hs_node *n)
{
    const hs_attention_i8_attr *at = n->attr;
    const hs_tensor *qkv = n->in[QKV], *starts = n->in[STARTS], *keys = n->in[KEYS], *cache = n->in[CACHE], *pages = n->in[PAGES];
    if (qkv->n_dims != 2 || cache->n_dims != 2 || cache->dtype != HS_I8)
        return "qkv must be rows of one width, and the cache i8 rows of another";
    if (at->heads < 1 || cache->dim[1] <= 8 * at->heads)
        return "the cache must have 2C codes and 8 bytes of scales for each head";
    const int64_t width = hs_cache_i8_width(cache->dim[1], at->heads);
    if (cache->dim[1] != hs_cache_i8_cols(width, at->heads) || (qkv->dim[1] != width && qkv->dim[1] != 3 * width))
        return "qkv must be [N, C] or [N, 3C] with a cache [R, 2C + 8 heads]";
    if (width % at->heads || width / at->heads % 8)
        return "the width of a head must be a multiple of 8: pad it";
    if (starts->dtype != HS_I32 || starts->n_dims != 1 || starts->dim[0] < 2)
        return "starts must be i32 [sequences + 1]";
    if (keys->dtype != HS_I32 || keys->n_dims != 2 || keys->dim[0] != starts->dim[0] - 1 || keys->dim[1] != 3)
        return "keys must be i32 [sequences, 3]";
    if (pages && (pages->dtype != HS_I32 || pages->n_dims != 2 || pages->dim[0] != starts->dim[0] - 1))
        return "pages must be i32 [sequences, pages of one]";
    if (!pages != !at->page_rows || at->page_rows < 0 || at->page_rows % 8 || cache->dim[0] < at->page_rows)
        return "the rows of a page must be a multiple of 8, within the cache, and come with pages";
    hs_shape_rows(n->out[Y], qkv, width);
    return NULL;
}

// Lengths are not known when planned: as if all sequences were equally long.
static hs_cost cost(const hs_node *n, bool backward)
{
    const double seqs = (double)n->in[STARTS]->dim[0] - 1, keys = (double)n->in[CACHE]->dim[0] / seqs;
    return backward ? (hs_cost){ 0 } : (hs_cost){ .flops = 4 * (double)hs_tensor_count(n->out[Y]) * keys, .bytes = hs_traffic(n, false) };
}

// Operands as attention has them.
static hs_args args_of(const hs_args *a, const hs_attention_attr *attr)
{
    hs_args b = *a;
    b.in[ATT_KV] = a->in[CACHE], b.in[ATT_PAGES] = a->in[PAGES], b.in[ATT_WHERE] = (hs_ref){ 0 };
    b.out[ATT_LSE] = (hs_ref){ 0 };
    b.attr = attr;
    return b;
}

// Keys and values in f64; integers are i32 here. Its attributes are read here, not where the kernel reads them.
static void reference(const hs_args *a)
{
    const hs_attention_i8_attr *given = a->attr;
    const hs_attention_attr attr = { .heads = given->heads, .causal = given->causal, .scale = given->scale, .page_rows = given->page_rows };
    hs_args b = args_of(a, &attr);
    const hs_ref *cache = &a->in[CACHE];
    const int64_t R = cache->rows, H = attr.heads, C = hs_cache_i8_width(cache->cols, H);
    double *kv = malloc((size_t)(R * 2 * C) * sizeof *kv);
    if (!kv)
        abort();
    for (int64_t r = 0; r < R; r++)
        for (int64_t g = 0; g < 2 * H; g++) {
            const int32_t *row = hs_i32(a, CACHE) + r * cache->cols, *scale = row + 2 * C + 4 * g;
            uint32_t bits = 0;
            for (int i = 0; i < 4; i++)
                bits |= (uint32_t)(uint8_t)scale[i] << 8 * i;
            for (int64_t c = 0; c < C / H; c++)
                kv[r * 2 * C + g * (C / H) + c] = (double)hs_bits_f32(bits) * row[g * (C / H) + c];
        }
    b.in[ATT_KV] = (hs_ref){ (char *)kv, R, 2 * C, HS_F64, cache->ext, false, cache->t };
    hs_attention_reference(&b);
    free(kv);
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_attention_i8_attr *at = a->attr;
    const hs_attention_attr attr = { .heads = at->heads, .causal = at->causal, .scale = at->scale, .page_rows = at->page_rows };
    const hs_args b = args_of(a, &attr);
    hs_attention_forward(&b, lane);
}

static hs_scratch scratch(const hs_node *n, int team, bool backward)
{
    (void)team, (void)backward;
    const int64_t d = n->out[Y]->dim[1] / ((const hs_attention_i8_attr *)n->attr)->heads;
    return (hs_scratch){ .per_thread = hs_attention_forward_scratch(d, n->in[PAGES] != NULL, true) };
}

// ---- cases

// Codes of all sizes; scales of about 1 / 64, of both signs, one in five 0.
static void some_codes(int32_t *data, int64_t n, int64_t cols, int64_t heads)
{
    const int64_t codes = 2 * hs_cache_i8_width(cols, heads);
    uint32_t at = 1;
    for (int64_t i = 0; i < n; i += 4) { // codes and scales are whole words
        const bool scale = i % cols >= codes;
        at = at * 1664525u + 1013904223u;
        const float s = at >> 16 & 7 ? (float)(int32_t)(at >> 8 & 1023) * 0x1p-15f - 0x1p-7f : 0;
        const uint32_t word = scale ? hs_f32_bits(s) : at ^ at >> 13;
        for (int64_t k = 0; k < 4; k++) {
            const int32_t byte = (int8_t)(word >> 8 * k);
            data[i + k] = !scale && byte == -128 ? 127 : byte;
        }
    }
}
// Each sequence owns an equal stretch of the cache and has filled part of it; its queries are the last of what is filled.
static void decoding(int input, int32_t *data, int64_t n, const hs_case *c)
{
    const int64_t seqs = c->in[STARTS][0] - 1, own = c->in[QKV][0] / seqs, stretch = c->in[CACHE][0] / seqs;
    for (int64_t b = 0; input == STARTS && b < n; b++)
        data[b] = (int32_t)(c->in[QKV][0] * b / seqs);
    for (int64_t b = 0; input == KEYS && b < n / 3; b++) {
        const int64_t filled = stretch - 3 * b > own ? stretch - 3 * b : own;
        data[3 * b] = (int32_t)(stretch * b), data[3 * b + 1] = (int32_t)filled, data[3 * b + 2] = (int32_t)(filled - own);
    }
    if (input == CACHE)
        some_codes(data, n, c->in[CACHE][1], ((const hs_attention_i8_attr *)c->attr)->heads);
}
// The same in pages of 8, dealt out to all in turn, every other one from the back.
static void paged(int input, int32_t *data, int64_t n, const hs_case *c)
{
    const int64_t seqs = c->in[STARTS][0] - 1, table = c->in[PAGES][1], last = c->in[CACHE][0] / 8 - 1;
    if (input != PAGES)
        decoding(input, data, n, c);
    for (int64_t b = 0; input == PAGES && b < seqs; b++)
        for (int64_t i = 0; i < table; i++)
            data[b * table + i] = (int32_t)(i % 2 ? last - i * seqs - 2 * b : i * seqs + 2 * b);
}

#define CAUSAL(h)                                                                                                                          \
    &(const hs_attention_i8_attr) { .heads = (h), .causal = true }
#define PAGED(h)                                                                                                                           \
    &(const hs_attention_i8_attr) { .heads = (h), .causal = true, .page_rows = 8 }
#define OWN_EXT                                                                                                                            \
    {                                                                                                                                      \
        [QKV] = HS_EXT_TOKENS, [STARTS] = HS_EXT_STARTS, [KEYS] = HS_EXT_SEQS, [PAGES] = HS_EXT_SEQS                                       \
    }
// The test's bound is made of roundings of float inputs, of which there is one here: hence TOLERANCE.
enum { TOLERANCE = 4 };
static const hs_case cases[] = {
    { .in = { { 1, 24 }, { 2 }, { 1, 3 }, { 8, 16 + 8 } }, .ext = OWN_EXT, .attr = CAUSAL(1), .setup = decoding, .note = "one key" },
    { .in = { { 3, 192 }, { 4 }, { 3, 3 }, { 90, 128 + 16 } },
      .ext = OWN_EXT,
      .attr = CAUSAL(2),
      .setup = decoding,
      .note = "decoding",
      .tolerance = TOLERANCE },
    { .in = { { 3, 64 }, { 4 }, { 3, 3 }, { 96, 128 + 16 }, { 3, 4 } },
      .ext = OWN_EXT,
      .attr = PAGED(2),
      .setup = paged,
      .note = "decoding from pages, queries alone",
      .tolerance = TOLERANCE },
    { .in = { { 45, 48 }, { 4 }, { 3, 3 }, { 720, 32 + 8 }, { 3, 30 } },
      .ext = OWN_EXT,
      .attr = PAGED(1),
      .setup = paged,
      .note = "chunks of prompts, keys in pages, several blocks",
      .tolerance = TOLERANCE },
    { .in = { { 2, 408 }, { 2 }, { 1, 3 }, { 250, 272 + 8 } },
      .ext = OWN_EXT,
      .attr = CAUSAL(1),
      .setup = decoding,
      .note = "a head of 136",
      .tolerance = TOLERANCE },
    { .in = { { 36, 64 }, { 4 }, { 3, 3 }, { 81, 128 + 16 } },
      .ext = OWN_EXT,
      .attr = &(const hs_attention_i8_attr){ .heads = 2, .scale = 0.3f },
      .setup = decoding,
      .note = "all see all, another scale",
      .tolerance = TOLERANCE },
};

static void make_decoding(const int64_t *dim, hs_case *c, void *attr)
{
    const int64_t rows = dim[0] * dim[1], width = dim[3] * dim[4];
    hs_attention_i8_attr *at = attr;
    *at = (hs_attention_i8_attr){ .heads = (int)dim[3], .causal = true };
    *c = (hs_case){ .in = { [QKV] = { rows, 3 * width },
                            [STARTS] = { dim[0] + 1 },
                            [KEYS] = { dim[0], 3 },
                            [CACHE] = { dim[0] * dim[2], hs_cache_i8_cols(width, dim[3]) } },
                    .ext = OWN_EXT,
                    .attr = at,
                    .setup = decoding };
}
static const hs_op_sizes sizes[] = {
    { .form = "BATCHxNEWxKEYSxHEADSxDIM", .usual = "1x1x1Kx12x64,8x1x1Kx12x64", .make = make_decoding, .forward_only = true },
};
static const hs_attr attrs[] = { HS_ATTR(hs_attention_i8_attr, heads), HS_ATTR(hs_attention_i8_attr, causal),
                                 HS_ATTR(hs_attention_i8_attr, scale), HS_ATTR(hs_attention_i8_attr, page_rows) };

HS_OP(attention_i8) = {
    .name = "attention_i8",
    .formula = "y = softmax(scale q k^T + mask) v, k and v codes times scales",
    .paper = "arXiv:2307.08691",
    .attr_bytes = sizeof(hs_attention_i8_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [QKV] = { "qkv", HS_AMP_LOW, HS_NO_GRAD },
            [STARTS] = { "starts", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE },
            [KEYS] = { "keys", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE },
            [CACHE] = { "cache", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE | HS_BYTES },
            [PAGES] = { "pages", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE | HS_OPTIONAL } },
    .out = { [Y] = { "y", HS_AMP_LOW, 0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { .fwd = forward, .fwd_part = HS_PART_FREE, .syncs_first = true, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_attention_i8(hs_graph *g, hs_attention_i8_in in, hs_attention_i8_attr attr)
{
    return hs_emit(g, HS_OP_ENTRY(attention_i8), &attr, (hs_tensor *[]){ in.qkv, in.starts, in.keys, in.cache, in.pages }, 5);
}
#endif
