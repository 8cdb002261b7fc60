// replace: other ids at some places of a text, and which of them are really others: what ELECTRA's discriminator reads and learns.
//
//   y[n] = ids[n]; y[picks[p]] = drawn[p]          label[n] = 0; label[picks[p]] = 1 where drawn[p] differs from target[p]
//
// target is what stood there: a place whose draw hit it counts as untouched. A target below 0 leaves its place alone. No gradient.

#include "core/cpu/rows.h"
#include "ops/ops.h"

enum { IDS, PICKS, DRAWN, TARGET };
enum { Y, LABEL };

static const char *shape(hs_node *n)
{
    const hs_tensor *ids = n->in[IDS], *picks = n->in[PICKS];
    if (ids->dtype != HS_I32 || ids->n_dims != 1)
        return "ids must be i32 [N]";
    for (int i = PICKS; i <= TARGET; i++)
        if (n->in[i]->dtype != HS_I32 || n->in[i]->n_dims != 1 || n->in[i]->dim[0] != picks->dim[0] || n->in[i]->ext != picks->ext)
            return "picks, drawn and target must be i32 [P]";
    hs_shape_set(n->out[Y], HS_I32, ids->ext, 1, ids->dim);
    hs_shape_set(n->out[LABEL], HS_F32, ids->ext, 2, (int64_t[]){ ids->dim[0], 1 });
    return NULL;
}

static hs_cost cost(const hs_node *n, bool backward) { return (hs_cost){ .bytes = hs_traffic(n, backward) }; }

static void reference(const hs_args *a)
{
    const int64_t N = hs_ref_rows(a, &a->in[IDS]), P = hs_ref_rows(a, &a->in[PICKS]);
    for (int64_t n = 0; n < N; n++)
        hs_f64_out(a, Y)[n] = hs_i32(a, IDS)[n], hs_f64_out(a, LABEL)[n] = 0;
    for (int64_t p = 0; p < P; p++) {
        const int32_t row = hs_i32(a, PICKS)[p], was = hs_i32(a, TARGET)[p];
        if (row >= 0 && row < N && was >= 0)
            hs_f64_out(a, Y)[row] = hs_i32(a, DRAWN)[p], hs_f64_out(a, LABEL)[row] = hs_i32(a, DRAWN)[p] != was;
    }
}

// Each member its own rows, in the order of picks.
static void forward(const hs_args *a, hs_lane *lane)
{
    const int64_t P = hs_ref_rows(a, &a->in[PICKS]);
    int64_t r0, r1;
    hs_part(lane, hs_ref_rows(a, &a->in[IDS]), &r0, &r1);
    int32_t *y = (int32_t *)a->out[Y].p;
    float *label = hs_f32_out(a, LABEL);
    for (int64_t n = r0; n < r1; n++)
        y[n] = hs_i32(a, IDS)[n], label[n] = 0;
    for (int64_t p = 0; p < P; p++) {
        const int32_t row = hs_i32(a, PICKS)[p], was = hs_i32(a, TARGET)[p];
        if (row >= r0 && row < r1 && was >= 0)
            y[row] = hs_i32(a, DRAWN)[p], label[row] = hs_i32(a, DRAWN)[p] != was;
    }
}

static void some(int input, int32_t *data, int64_t n, const hs_case *c) // every fifth is ignored, every second was hit
{
    for (int64_t i = 0; i < n; i++)
        data[i] = (int32_t)(input == PICKS                  ? (i * 7 + 2) % c->in[IDS][0]
                            : input == TARGET && i % 5 == 3 ? -1
                                                            : (i * (input == TARGET && i % 2 ? 5 : 3)) % 50);
}

#define OWN_EXT                                                                                                                            \
    {                                                                                                                                      \
        HS_EXT_TOKENS, HS_EXT_PICKS, HS_EXT_PICKS, HS_EXT_PICKS                                                                            \
    }
static const hs_case cases[] = {
    { .in = { { 1 }, { 1 }, { 1 }, { 1 } }, .setup = some, .note = "one token" },
    { .in = { { 100 }, { 15 }, { 15 }, { 15 } }, .ext = OWN_EXT, .setup = some, .note = "some of many" },
    { .in = { { 700 }, { 300 }, { 300 }, { 300 } }, .ext = OWN_EXT, .setup = some, .note = "many of many" },
    { .in = { { 40 }, { 60 }, { 60 }, { 60 } }, .ext = OWN_EXT, .setup = some, .note = "places picked twice: the last counts" },
};

static void make(const int64_t *dim, hs_case *c, void *attr)
{
    (void)attr;
    *c = (hs_case){ .in = { { dim[0] }, { dim[1] }, { dim[1] }, { dim[1] } }, .ext = OWN_EXT, .setup = some };
}
static const hs_op_sizes sizes[] = { { .form = "ROWSxPICKS", .usual = "4Kx640", .make = make } };

HS_OP(replace) = {
    .name = "replace",
    .formula = "y = ids, but drawn at picks; label = 1 where that is another",
    .paper = "arXiv:2003.10555",
    .in = { [IDS] = { "ids", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE }, // picks say rows by their number: none stands for itself
            [PICKS] = { "picks", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE },
            [DRAWN] = { "drawn", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE },
            [TARGET] = { "target", HS_AMP_NONE, HS_NO_GRAD | HS_WHOLE } },
    .out = { [Y] = { "y", HS_AMP_NONE, 0 }, [LABEL] = { "label", HS_AMP_F32, 0 } },
    .shape = shape,
    .cost = cost,
    .ref = reference,
    .cases = cases,
    .n_cases = HS_COUNT(cases),
    .bench = { .sizes = sizes, .n_sizes = HS_COUNT(sizes) },
    .cpu = { .fwd = forward, .fwd_part = HS_PART_ROWS },
};

#ifdef HS_TIER_PORTABLE
hs_tensor *hs_replace(hs_graph *g, hs_tensor *ids, hs_tensor *picks, hs_tensor *drawn, hs_tensor *target, hs_tensor **label)
{
    hs_tensor *y = hs_emit(g, HS_OP_ENTRY(replace), NULL, (hs_tensor *[]){ ids, picks, drawn, target }, 4);
    *label = y == g->poison ? y : y->from->out[LABEL];
    return y;
}
#endif
