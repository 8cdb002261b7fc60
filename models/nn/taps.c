// taps: outputs of a teacher, and the losses that its student meets them with.
#include "models/nn/taps.h"
#include <stdio.h>

static int outputs_of(const hs_distill *d, hs_tap tap) { return !d->tap[tap] ? 0 : tap == HS_TAP_HIDDEN ? d->n_states : 1; }

int hs_tap_outputs(const hs_distill *d)
{
    int n = 0;
    for (int tap = 0; tap < HS_TAPS; tap++)
        n += outputs_of(d, (hs_tap)tap);
    return n;
}

static const char *const taps[HS_TAPS] = {
    [HS_TAP_QKV] = "teacher_qkv", [HS_TAP_HIDDEN] = "teacher_hidden", [HS_TAP_LOGITS] = "teacher_logits"
};

static const char *input_name(hs_tap tap, int i, char buf[HS_TAP_NAME])
{
    if (tap == HS_TAP_HIDDEN)
        snprintf(buf, HS_TAP_NAME, "%s.%d", taps[tap], i);
    else
        snprintf(buf, HS_TAP_NAME, "%s", taps[tap]);
    return buf;
}

const char *hs_tap_input(const hs_distill *d, int output, char buf[HS_TAP_NAME])
{
    int tap = 0;
    for (; tap < HS_TAPS - 1 && output >= outputs_of(d, (hs_tap)tap); tap++)
        output -= outputs_of(d, (hs_tap)tap);
    return input_name((hs_tap)tap, output, buf);
}

static void show(hs_graph *g, hs_tensor *x) { hs_output(g, hs_cast(g, x, HS_F32)); }

static hs_tensor *passed(hs_graph *g, hs_tap tap, int i, const hs_tensor *like, int64_t width)
{
    char name[HS_TAP_NAME];
    hs_tensor *t = hs_input(g, input_name(tap, i, name), HS_F32, like->ext, 2, (int64_t[]){ like->dim[0], width });
    hs_input_passed(g, t);
    return t;
}

hs_tensor *hs_nn_tapped_input(hs_graph *g, hs_tap tap, const hs_tensor *like, int64_t width) { return passed(g, tap, 0, like, width); }

void hs_nn_tap_qkv(hs_graph *g, const hs_arch_shape *s, int layer, hs_tensor *qkv, hs_tensor *starts)
{
    const hs_distill *d = &s->distill;
    if (!hs_nn_tapped(s, HS_TAP_QKV) || layer != d->layer || g->status)
        return;
    const size_t mark = hs_push(g, "relation");
    // cut once more into heads of the relation's own, a rank's channels are whole ones of them
    const int64_t heads = hs_nn_learns(s, HS_TAP_QKV) ? hs_nn_share(g, d->relation_heads, "distill.relation_heads") : 0;
    if (hs_nn_teaches(s))
        show(g, qkv);
    else
        hs_relations(g, qkv, hs_nn_tapped_input(g, HS_TAP_QKV, qkv, 3 * hs_nn_share(g, d->other_width, "the teacher's width")), starts,
                     (hs_relation_attr){ .heads = (int32_t)heads, .pairs = d->pairs, .loss = HS_LOSS_RELATION });
    hs_pop(g, mark);
}

void hs_nn_keep_state(const hs_arch_shape *s, hs_nn_states *kept, int64_t number, hs_tensor *x)
{
    for (int i = 0; i < s->distill.n_states; i++)
        if (s->distill.state[i] == number)
            kept->at[i] = x;
}

static void meet_state(hs_graph *g, const hs_distill *d, int i, hs_tensor *x)
{
    hs_tensor *t = passed(g, HS_TAP_HIDDEN, i, x, d->other_width);
    if (d->cosine)
        hs_row_cosine(g, x, t, (hs_match_attr){ HS_LOSS_COSINE });
    if (d->square)
        hs_row_square(g, x, t, (hs_match_attr){ HS_LOSS_HIDDEN });
}

void hs_nn_tap_hidden(hs_graph *g, const hs_arch_shape *s, const hs_nn_states *kept)
{
    const hs_distill *d = &s->distill;
    if (!hs_nn_tapped(s, HS_TAP_HIDDEN) || g->status)
        return;
    const size_t mark = hs_push(g, "hidden");
    for (int i = 0; i < d->n_states && !g->status; i++) {
        if (!kept->at[i])
            hs_graph_fail(g, HS_USAGE, "there is no hidden state %d", d->state[i]);
        else if (hs_nn_teaches(s))
            show(g, hs_nn_whole(g, kept->at[i]));
        else
            meet_state(g, d, i, hs_nn_whole(g, kept->at[i]));
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
