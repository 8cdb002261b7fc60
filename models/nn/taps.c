// taps: outputs of a teacher, and the losses that its student meets them with.
#include "models/nn/taps.h"

const char *const hs_tap_input[HS_TAPS] = {
    [HS_TAP_QKV] = "teacher_qkv", [HS_TAP_HIDDEN] = "teacher_hidden", [HS_TAP_LOGITS] = "teacher_logits"
};

int hs_tap_output(const hs_distill *d, hs_tap tap)
{
    int n = 0;
    for (int i = 0; i < (int)tap; i++)
        n += d->tap[i];
    return n;
}

static void show(hs_graph *g, hs_tensor *x) { hs_output(g, hs_cast(g, x, HS_F32)); }

hs_tensor *hs_nn_tapped_input(hs_graph *g, hs_tap tap, const hs_tensor *like, int64_t width)
{
    hs_tensor *t = hs_input(g, hs_tap_input[tap], HS_F32, like->ext, 2, (int64_t[]){ like->dim[0], width });
    hs_input_passed(g, t);
    return t;
}

void hs_nn_tap_qkv(hs_graph *g, const hs_arch_shape *s, int layer, hs_tensor *qkv, hs_tensor *starts)
{
    const hs_distill *d = &s->distill;
    if (!hs_nn_tapped(s, HS_TAP_QKV) || layer != d->layer || g->status)
        return;
    if (g->grid.tp->size > 1) {
        hs_graph_fail(g, HS_UNSUPPORTED, "relations of tokens are of all heads, of which each tensor-parallel rank has a share");
        return;
    }
    const size_t mark = hs_push(g, "relation");
    if (hs_nn_teaches(s))
        show(g, qkv);
    else
        hs_relations(g, qkv, hs_nn_tapped_input(g, HS_TAP_QKV, qkv, 3 * d->other_width), starts,
                     (hs_relation_attr){ .heads = d->relation_heads, .pairs = d->pairs, .loss = HS_LOSS_RELATION });
    hs_pop(g, mark);
}

void hs_nn_tap_hidden(hs_graph *g, const hs_arch_shape *s, hs_tensor *x)
{
    const hs_distill *d = &s->distill;
    if (!hs_nn_tapped(s, HS_TAP_HIDDEN) || g->status)
        return;
    const size_t mark = hs_push(g, "hidden");
    if (hs_nn_teaches(s)) {
        show(g, x);
    } else {
        hs_tensor *t = hs_nn_tapped_input(g, HS_TAP_HIDDEN, x, d->other_width);
        if (d->cosine)
            hs_row_cosine(g, x, t, (hs_match_attr){ HS_LOSS_COSINE });
        if (d->square)
            hs_row_square(g, x, t, (hs_match_attr){ HS_LOSS_HIDDEN });
    }
    hs_pop(g, mark);
}

void hs_nn_tap_logits(hs_graph *g, const hs_arch_shape *s, hs_tensor *logits, int64_t classes, hs_tensor *target)
{
    if (!hs_nn_tapped(s, HS_TAP_LOGITS) || g->status)
        return;
    const size_t mark = hs_push(g, "soft");
    if (hs_nn_teaches(s))
        show(g, logits);
    else
        hs_soft_targets(g, logits, hs_nn_tapped_input(g, HS_TAP_LOGITS, logits, logits->dim[1]), target,
                        (hs_soft_attr){ .classes = (int32_t)classes, .loss = HS_LOSS_SOFT, .temperature = s->distill.temperature });
    hs_pop(g, mark);
}
