// attention_cases: what attention is tested with, and the sizes that it is measured at: how inputs that are no values are filled, for every
// form of it. Included by attention.c alone.
#ifndef HS_OPS_ATTENTION_CASES_H
#define HS_OPS_ATTENTION_CASES_H
#include "ops/attention/attention.h"

static void equal_lengths(int32_t *starts, int64_t n, int64_t rows)
{
    for (int64_t b = 0; b < n; b++)
        starts[b] = (int32_t)(rows * b / (n - 1));
}
static void places(int32_t *where, int64_t n) // one sample per row is as good as any: what counts is that addresses differ
{
    for (int64_t i = 0; i < n / 2; i++)
        where[2 * i] = (int32_t)(i % 3), where[2 * i + 1] = (int32_t)(i / 3);
}
// Row counts of the query tensor come from the case; sequences of very unequal lengths, one of them empty, one of one row.
static void packed(int input, int32_t *data, int64_t n, const hs_case *c)
{
    const int64_t rows = c->in[ATT_QKV][0];
    if (input == ATT_WHERE)
        places(data, n);
    if (input != ATT_STARTS)
        return;
    for (int64_t b = 0; b < n; b++)
        data[b] = (int32_t)(b == 0       ? 0
                            : b == 1     ? 1
                            : b == 2     ? 1
                            : b == n - 1 ? rows
                                         : 1 + (rows - 1) * (b - 2) * (b - 2) / ((n - 3) * (n - 3)));
}
static void equal(int input, int32_t *data, int64_t n, const hs_case *c)
{
    if (input == ATT_STARTS)
        equal_lengths(data, n, c->in[ATT_QKV][0]);
    if (input == ATT_WHERE)
        places(data, n);
}
// Sequence b pays attention to all but its last 5 b rows.
static void padded(int input, int32_t *data, int64_t n, const hs_case *c)
{
    equal(input, data, n, c);
    const int64_t rows = c->in[ATT_QKV][0], seqs = c->in[ATT_STARTS][0] - 1;
    for (int64_t b = 0; input == ATT_KEYS && b < n / 3; b++) {
        data[3 * b] = (int32_t)(rows * b / seqs);
        data[3 * b + 1] = (int32_t)(rows / seqs - 5 * b > 1 ? rows / seqs - 5 * b : 1);
        data[3 * b + 2] = 0;
    }
}
// Each sequence owns an equal stretch of kv and has filled part of it; its queries are the last of what is filled.
static void decoding(int input, int32_t *data, int64_t n, const hs_case *c)
{
    equal(input, data, n, c);
    const int64_t seqs = c->in[ATT_STARTS][0] - 1, own = c->in[ATT_QKV][0] / seqs, stretch = c->in[ATT_KV][0] / seqs;
    for (int64_t b = 0; input == ATT_KEYS && b < n / 3; b++) {
        const int64_t filled = stretch - 3 * b > own ? stretch - 3 * b : own;
        data[3 * b] = (int32_t)(stretch * b), data[3 * b + 1] = (int32_t)filled, data[3 * b + 2] = (int32_t)(filled - own);
    }
}
// The same, each sequence's keys in pages of 8 dealt out to all in turn, every other one from the back; the last two behind each other.
static void paged(int input, int32_t *data, int64_t n, const hs_case *c)
{
    const int64_t seqs = c->in[ATT_STARTS][0] - 1, table = c->in[ATT_PAGES][1], last = c->in[ATT_KV][0] / 8 - 1;
    if (input != ATT_PAGES) {
        decoding(input, data, n, c);
        for (int64_t b = 0; input == ATT_KEYS && b < n / 3; b++)
            data[3 * b] = -7; // not looked at
    }
    for (int64_t b = 0; input == ATT_PAGES && b < seqs; b++)
        for (int64_t i = 0; i < table; i++)
            data[b * table + i] = (int32_t)(i + 1 == table ? data[b * table + i - 1] + 1
                                            : i % 2        ? last - i * seqs - 2 * b
                                                           : i * seqs + 2 * b);
}
// All sequences look at the same keys.
static void shared_keys(int input, int32_t *data, int64_t n, const hs_case *c)
{
    equal(input, data, n, c);
    for (int64_t b = 0; input == ATT_KEYS && b < n / 3; b++)
        data[3 * b] = (int32_t)b, data[3 * b + 1] = (int32_t)(c->in[ATT_KV][0] - 2 * b), data[3 * b + 2] = 0;
}

#define CAUSAL(h)                                                                                                                          \
    &(const hs_attention_attr) { .heads = (h), .causal = true }
#define BOTH(h)                                                                                                                            \
    &(const hs_attention_attr) { .heads = (h) }
#define DROPS(h)                                                                                                                           \
    &(const hs_attention_attr) { .heads = (h), .causal = true, .dropout = 0.25f }
#define PROMISED(h, is_causal, most)                                                                                                       \
    &(const hs_attention_attr) { .heads = (h), .causal = (is_causal), .longest = (most) }
#define PAGED(h)                                                                                                                           \
    &(const hs_attention_attr) { .heads = (h), .causal = true, .page_rows = 8 }
#define OWN_EXT                                                                                                                            \
    {                                                                                                                                      \
        [ATT_QKV] = HS_EXT_TOKENS, [ATT_STARTS] = HS_EXT_STARTS, [ATT_KEYS] = HS_EXT_SEQS, [ATT_WHERE] = HS_EXT_TOKENS,                    \
        [ATT_PAGES] = HS_EXT_SEQS                                                                                                          \
    }
static const hs_case cases[] = {
    { .in = { { 1, 24 }, { 2 } }, .ext = OWN_EXT, .attr = CAUSAL(1), .setup = equal, .note = "one token" },
    { .in = { { 60, 96 }, { 6 } }, .ext = OWN_EXT, .attr = CAUSAL(4), .setup = packed, .note = "packed, unequal, one empty" },
    { .in = { { 128, 192 }, { 3 } }, .ext = OWN_EXT, .attr = BOTH(2), .setup = equal },
    { .in = { { 250, 96 }, { 2 } }, .ext = OWN_EXT, .attr = CAUSAL(1), .setup = equal, .note = "several blocks of keys" },
    { .in = { { 72, 240 }, { 4 }, { 3, 3 } }, .ext = OWN_EXT, .attr = BOTH(1), .setup = padded, .note = "padding, heads of 80" },
    { .in = { { 48, 96 }, { 3 }, { 0 }, { 0 }, { 48, 2 } }, .ext = OWN_EXT, .attr = DROPS(4), .setup = equal, .note = "dropout" },
    { .in = { { 40, 48 }, { 3 }, { 0 }, { 0 }, { 40, 2 } },
      .ext = OWN_EXT,
      .attr = &(const hs_attention_attr){ .heads = 2, .causal = true, .dropout = 0.25f, .first_head = 2 },
      .setup = equal,
      .note = "dropout of later heads" },
    { .in = { { 3, 192 }, { 4 }, { 3, 3 }, { 90, 128 } }, .ext = OWN_EXT, .attr = CAUSAL(2), .setup = decoding, .note = "decoding" },
    { .in = { { 36, 64 }, { 4 }, { 3, 3 }, { 81, 128 } }, .ext = OWN_EXT, .attr = BOTH(2), .setup = shared_keys, .note = "shared keys" },
    { .in = { { 3, 192 }, { 4 }, { 3, 3 }, { 96, 128 }, { 0 }, { 3, 4 } },
      .ext = OWN_EXT,
      .attr = PAGED(2),
      .setup = paged,
      .note = "decoding from pages" },
    { .in = { { 45, 48 }, { 4 }, { 3, 3 }, { 720, 32 }, { 0 }, { 3, 30 } },
      .ext = OWN_EXT,
      .attr = PAGED(1),
      .setup = paged,
      .note = "chunks of prompts, keys in pages, several blocks" },
    { .in = { { 12, 768 }, { 3 } }, .ext = OWN_EXT, .attr = CAUSAL(32), .setup = equal, .note = "many heads" },
    { .in = { { 60, 96 }, { 6 } }, .ext = OWN_EXT, .attr = PROMISED(2, true, 60), .setup = packed, .note = "lengths are promised" },
    { .in = { { 72, 96 }, { 4 }, { 3, 3 } }, .ext = OWN_EXT, .attr = PROMISED(2, false, 24), .setup = padded, .note = "and of padding" },
    { .in = { { 256, 48 }, { 3 } },
      .attr = &(const hs_attention_attr){ .heads = 1, .causal = true, .longest = 128, .full = true },
      .setup = equal,
      .note = "and none is shorter" },
    { .in = { { 72, 96 }, { 4 }, { 3, 3 } },
      .attr = &(const hs_attention_attr){ .heads = 2, .longest = 24, .full = true },
      .setup = padded,
      .note = "but by padding" },
    { .in = { { 150, 72 }, { 3 }, { 2, 3 }, { 0 }, { 150, 2 } },
      .ext = OWN_EXT,
      .attr = DROPS(1),
      .setup = padded,
      .note = "dropout, keys from any row on" },
    { .in = { { 72, 64 }, { 4 }, { 3, 3 }, { 81, 128 } },
      .ext = OWN_EXT,
      .attr = BOTH(2),
      .setup = shared_keys,
      .note = "many queries, shared keys" },
    { .in = { { 20, 408 }, { 3 } }, .ext = OWN_EXT, .attr = CAUSAL(1), .setup = equal, .note = "a head of 136" },
};

static void make(const int64_t *dim, hs_case *c, void *attr) // causal, sequences of one length
{
    const int64_t rows = dim[0] * dim[1], width = dim[2] * dim[3];
    *c = (hs_case){ .in = { [ATT_QKV] = { rows, 3 * width }, [ATT_STARTS] = { dim[0] + 1 } }, .ext = OWN_EXT, .setup = equal };
    *(hs_attention_attr *)attr = (hs_attention_attr){ .heads = (int)dim[2], .causal = true };
}
// As encoders have it, with heads of 64.
static void make_both(const int64_t *dim, hs_case *c, void *attr)
{
    enum { HEAD = 64 };
    const int64_t heads = dim[2] % HEAD ? 1 : dim[2] / HEAD;
    make((const int64_t[]){ dim[0], dim[1], heads, dim[2] / heads }, c, attr);
    ((hs_attention_attr *)attr)->causal = false;
}
static void make_decoding(const int64_t *dim, hs_case *c, void *attr)
{
    const int64_t rows = dim[0] * dim[1], width = dim[3] * dim[4];
    *c = (hs_case){ .in = { [ATT_QKV] = { rows, 3 * width },
                            [ATT_STARTS] = { dim[0] + 1 },
                            [ATT_KEYS] = { dim[0], 3 },
                            [ATT_KV] = { dim[0] * dim[2], 2 * width } },
                    .ext = OWN_EXT,
                    .setup = decoding };
    *(hs_attention_attr *)attr = (hs_attention_attr){ .heads = (int)dim[3], .causal = true };
}
static const hs_op_sizes sizes[] = {
    { .form = "BATCHxSEQxHEADSxDIM", .usual = "12x64x4x32,8x128x12x64,4x512x12x64,4x1Kx12x64,1x4Kx12x64", .make = make },
    { .form = "BATCHxSEQxWIDTH", .usual = "32x128x256,32x128x768,8x512x768,8x512x1024", .make = make_both },
    { .form = "BATCHxNEWxKEYSxHEADSxDIM", .usual = "1x1x1Kx12x64,8x1x1Kx12x64", .make = make_decoding, .forward_only = true },
};

#endif
