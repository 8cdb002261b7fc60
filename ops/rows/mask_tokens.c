// mask_tokens: BERT's masks, drawn where the model runs: which tokens of a sequence are to be guessed, and what stands in their place.
//
//   y = ids, but at picks the mask, another token or what stood there      targets[p] = ids[picks[p]]
//
// Of a sequence's candidates - tokens in front of its pads, of the vocabulary, that are not special - the first draws[s].picks of a random
// order are chosen; draws address Philox by key, sample and number (core/graph/mask_draw.h), so that these are the bits of the loader's
// masker and of every device. Picks stand in the order of the text. The host knows how many there are: it counts candidates. Fewer of them
// than a row asks for leave picks of place 0 with target -1, which no loss counts; so do live picks that no row asks for. No gradient.

#include "core/cpu/rows.h"
#include "core/graph/mask_draw.h"
#include "ops/attrs.h"
#include <stdlib.h>

enum { IDS, STARTS, DRAWS, SPECIAL };
enum { Y, PICKS, TARGETS };

static const char *shape(hs_node *n)
{
    const int64_t most = ((const hs_mask_tokens_attr *)n->attr)->most;
    const hs_tensor *ids = n->in[IDS], *starts = n->in[STARTS], *draws = n->in[DRAWS], *special = n->in[SPECIAL];
    if (ids->dtype != HS_I32 || ids->n_dims != 1)
        return "ids must be i32 [N]";
    if (draws->dtype != HS_I32 || draws->n_dims != 2 || draws->dim[1] != HS_DRAW_CELLS)
        return "draws must be i32 [B, 12]";
    if (starts->dtype != HS_I32 || starts->n_dims != 1 || starts->dim[0] != draws->dim[0] + 1)
        return "starts must be i32 [B + 1]";
    if (special->dtype != HS_I32 || special->n_dims != 1)
        return "special must be i32 [S]";
    if (most < 1)
        return "most must be at least 1";
    hs_shape_set(n->out[Y], HS_I32, ids->ext, 1, ids->dim);
    for (int i = PICKS; i <= TARGETS; i++)
        hs_shape_set(n->out[i], HS_I32, HS_EXT_PICKS, 1, &most);
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward) { return (hs_cost){ .bytes = hs_traffic(n, backward) }; }

// ---- one sequence

typedef struct operands {
    const int32_t *ids, *special;
    int n_special;
} operands;

static operands operands_of(const hs_args *a)
{
    const int32_t *special = hs_i32(a, SPECIAL);
    return (operands){ hs_i32(a, IDS), special, hs_draw_n_special(special, (int)a->in[SPECIAL].rows) };
}

// Places in the text of what may be chosen.
static int64_t candidates(const operands *o, const int32_t *row, hs_draw_span at, int32_t *place)
{
    int64_t n = 0;
    for (int64_t i = 0; i < at.tokens; i++)
        if (hs_draw_may(o->ids[at.first + i], row[HS_DRAW_VOCAB], o->special, o->n_special))
            place[n++] = (int32_t)i;
    return n;
}

static int32_t instead(const operands *o, const int32_t *row, int64_t token, int32_t id)
{
    const hs_u32x4 own = hs_draw_at(hs_draw_get(row + HS_DRAW_KEY), hs_draw_get(row + HS_DRAW_SAMPLE), token, 1);
    return hs_draw_instead(row, o->special, o->n_special, own.v[0], own.v[1], id);
}

static int by_place(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

// A shuffle as far as it is needed, whose front is sorted.
static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[IDS]), B = hs_ref_rows(a, &a->in[DRAWS]), P = hs_ref_rows(a, &a->out[PICKS]);
    const operands o = operands_of(a);
    int64_t at = 0;
    int32_t *place = malloc((size_t)(N + 1) * sizeof *place);
    for (int64_t i = 0; i < N && place; i++)
        hs_f64_out(a, Y)[i] = o.ids[i];
    for (int64_t p = 0; p < P; p++)
        hs_f64_out(a, PICKS)[p] = 0, hs_f64_out(a, TARGETS)[p] = -1;
    for (int64_t s = 0; s < B && place; s++) {
        const int32_t *row = hs_i32(a, DRAWS) + s * HS_DRAW_CELLS;
        const hs_draw_span span = hs_draw_span_of(hs_i32(a, STARTS), row, s, B, N, at, P);
        const int64_t n = candidates(&o, row, span, place), got = span.picks < n ? span.picks : n;
        for (int64_t k = 0; k < got; k++) {
            const int64_t j = hs_draw_choice(hs_draw_get(row + HS_DRAW_KEY), hs_draw_get(row + HS_DRAW_SAMPLE), k, n);
            const int32_t chosen = place[j];
            place[j] = place[k], place[k] = chosen;
        }
        qsort(place, (size_t)got, sizeof *place, by_place);
        for (int64_t k = 0; k < got; k++) {
            const int64_t token = span.first + place[k];
            hs_f64_out(a, PICKS)[at + k] = (double)token, hs_f64_out(a, TARGETS)[at + k] = o.ids[token];
            hs_f64_out(a, Y)[token] = instead(&o, row, place[k], o.ids[token]);
        }
        at += span.picks;
    }
    free(place);
}

// By marks instead of sorting.
static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t N = hs_ref_rows(a, &a->in[IDS]), B = hs_ref_rows(a, &a->in[DRAWS]), P = hs_ref_rows(a, &a->out[PICKS]);
    const operands o = operands_of(a);
    int32_t *y = (int32_t *)a->out[Y].p, *picks = (int32_t *)a->out[PICKS].p, *targets = (int32_t *)a->out[TARGETS].p;
    int32_t *place = (int32_t *)hs_thread_scratch(a, lane);
    uint8_t *chosen = (uint8_t *)(place + a->in[IDS].rows);
    int64_t at = 0;
    memcpy(y, o.ids, (size_t)N * sizeof *y);
    memset(picks, 0, (size_t)P * sizeof *picks);
    memset(targets, 0xFF, (size_t)P * sizeof *targets);
    for (int64_t s = 0; s < B; s++) {
        const int32_t *row = hs_i32(a, DRAWS) + s * HS_DRAW_CELLS;
        const uint64_t key = hs_draw_get(row + HS_DRAW_KEY), sample = hs_draw_get(row + HS_DRAW_SAMPLE);
        const hs_draw_span span = hs_draw_span_of(hs_i32(a, STARTS), row, s, B, N, at, P);
        const int64_t n = candidates(&o, row, span, place), got = span.picks < n ? span.picks : n;
        memset(chosen, 0, (size_t)span.tokens);
        for (int64_t k = 0; k < got; k++) {
            const int64_t j = hs_draw_choice(key, sample, k, n);
            chosen[place[j]] = 1;
            place[j] = place[k];
        }
        for (int64_t i = 0, k = at; i < span.tokens && k < at + got; i++)
            if (chosen[i]) {
                const int64_t token = span.first + i;
                picks[k] = (int32_t)token, targets[k++] = o.ids[token];
                y[token] = instead(&o, row, i, o.ids[token]);
            }
        at += span.picks;
    }
}

static hs_scratch scratch(const hs_node *n, int team, bool backward)
{
    (void)team, (void)backward;
    return (hs_scratch){ .per_thread = (size_t)n->in[IDS]->dim[0] * (sizeof(int32_t) + 1) };
}

// ---- cases

// Sequence s of B lies from s N / B on; every third ends with pads.
static int64_t start_of(const hs_case *c, int64_t s) { return s * c->in[IDS][0] / c->in[DRAWS][0]; }

static void setup(int input, int32_t *data, int64_t n, const hs_case *c)
{
    const int64_t B = c->in[DRAWS][0], most = ((const hs_mask_tokens_attr *)c->attr)->most;
    for (int64_t i = 0; i < n && input != DRAWS; i++)
        data[i] = input == STARTS    ? (int32_t)start_of(c, i)
                  : input == SPECIAL ? (i < 5 ? (int32_t)(i < 2 ? i : 5 * i) : INT32_MAX)
                                     : (int32_t)((i * 7 + i * i % 11) % 64) - 1; // 63 is none of the vocabulary, nor is -1
    for (int64_t s = 0; s < B && input == DRAWS; s++) {
        int32_t *row = data + s * HS_DRAW_CELLS;
        const int64_t tokens = start_of(c, s + 1) - start_of(c, s);
        row[HS_DRAW_TOKENS] = (int32_t)(tokens - (s % 3 == 2));
        row[HS_DRAW_PICKS] = (int32_t)(most * (s + 1) / B - most * s / B);
        hs_draw_put(row + HS_DRAW_KEY, hs_mix((uint64_t)s + 5));
        hs_draw_put(row + HS_DRAW_SAMPLE, ((uint64_t)s << 35) + 3);
        hs_draw_put(row + HS_DRAW_MASKED, hs_draw_values(s % 4 == 3 ? 1 : 0.5));
        hs_draw_put(row + HS_DRAW_CHANGED, hs_draw_values(s % 4 == 3 ? 1 : 0.9));
        row[HS_DRAW_MASK_ID] = 10, row[HS_DRAW_VOCAB] = 62;
    }
}

static const hs_mask_tokens_attr one = { 1 }, few = { 40 }, half = { 130 }, many = { 400 }, plenty = { 1300 };
#define OWN_EXT                                                                                                                            \
    {                                                                                                                                      \
        HS_EXT_TOKENS, HS_EXT_STARTS, HS_EXT_SEQS, HS_EXT_FIXED                                                                            \
    }
#define CASE(n_tokens, n_seqs, n_special, attr_, ...)                                                                                      \
    {                                                                                                                                      \
        .in = { { n_tokens }, { (n_seqs) + 1 }, { n_seqs, HS_DRAW_CELLS }, { n_special } }, .ext = OWN_EXT, .attr = &(attr_),              \
        .setup = setup, __VA_ARGS__                                                                                                        \
    }
static const hs_case cases[] = {
    CASE(1, 1, 1, one, .live = { 0, 1, 1, 1 }, .note = "one token"),
    CASE(263, 4, 8, few, .live = { 0, 200, 3, 30 }, .note = "four sequences, pads behind the third"),
    CASE(700, 9, 256, half, .live = { 0, 610, 8, 120 }, .note = "another list of special tokens"),
    CASE(260, 2, 5, many, .live = { 0, 250, 2, 350 }, .note = "more than may be chosen; no end behind the special tokens"),
    CASE(4700, 1, 8, plenty, .live = { 0, 4600, 1, 1300 }, .note = "one long sequence"),
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    *c = (hs_case){ .in = { { dim[0] * dim[1] }, { dim[0] + 1 }, { dim[0], HS_DRAW_CELLS }, { HS_DRAW_SPECIAL } },
                    .ext = OWN_EXT,
                    .attr = attr,
                    .setup = setup };
    *(hs_mask_tokens_attr *)attr = (hs_mask_tokens_attr){ .most = dim[0] * dim[2] };
}
static const hs_op_sizes sizes[] = { { .form = "SEQSxTOKENSxPICKS", .usual = "32x128x20,8x512x77", .make = make } };
static const hs_attr attrs[] = { HS_ATTR(hs_mask_tokens_attr, most) };

HS_OP(mask_tokens) = {
    .name = "mask_tokens",
    .formula = "y = ids, but masked, drawn or kept at picks; targets = ids[picks]",
    .paper = "arXiv:1810.04805",
    .attr_bytes = sizeof(hs_mask_tokens_attr),
    .attrs = attrs,
    .n_attrs = HS_COUNT(attrs),
    .in = { [IDS] = { "ids", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE },
            [STARTS] = { "starts", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE },
            [DRAWS] = { "draws", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE },
            [SPECIAL] = { "special", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE } },
    .out = { [Y] = { "y", HS_AMP_NONE, 0 }, [PICKS] = { "picks", HS_AMP_NONE, 0 }, [TARGETS] = { "targets", HS_AMP_NONE, 0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { .fwd = forward, .fwd_part = HS_PART_SOLO, .scratch = scratch },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_mask_tokens(hs_graph *g, hs_tensor *ids, hs_tensor *starts, hs_tensor *draws, hs_tensor *special, int64_t most,
                          hs_tensor **picks, hs_tensor **targets)
{
    hs_tensor *y = hs_emit(g, HS_OP_ENTRY(mask_tokens), &(hs_mask_tokens_attr){ most }, (hs_tensor *[]){ ids, starts, draws, special }, 4);
    *picks = y == g->poison ? y : y->from->out[PICKS], *targets = y == g->poison ? y : y->from->out[TARGETS];
    return y;
}
#endif
