// taps: places of a model whose values another network sees. A family says where they are; what becomes of them follows from the shape: in
// a teacher's plan an output, in its student's an input (hs_tap_input) that those of the teacher are passed to, and a loss; else nothing.
#ifndef HS_MODELS_TAPS_H
#define HS_MODELS_TAPS_H
#include "models/nn/nn.h"

static inline bool hs_nn_teaches(const hs_arch_shape *s) { return s->distill.role == HS_DISTILL_TEACHER; }
static inline bool hs_nn_learns(const hs_arch_shape *s, hs_tap tap) { return s->distill.role == HS_DISTILL_STUDENT && s->distill.tap[tap]; }
static inline bool hs_nn_tapped(const hs_arch_shape *s, hs_tap tap) { return s->distill.role && s->distill.tap[tap]; }

// Query, key and value of a layer, [N, 3C]: HS_LOSS_RELATION where it is the one that is asked for.
void hs_nn_tap_qkv(hs_graph *g, const hs_arch_shape *s, int layer, hs_tensor *qkv, hs_tensor *starts);
// Hidden states, [N, C]: HS_LOSS_COSINE, HS_LOSS_HIDDEN. What layers read and make is kept as it comes, by its number (hs_distill.state),
// the same number again in its place; and met where nothing comes any more.
typedef struct hs_nn_states {
    hs_tensor *at[HS_DISTILL_STATES];
} hs_nn_states;
void hs_nn_keep_state(const hs_arch_shape *s, hs_nn_states *kept, int64_t number, hs_tensor *x);
void hs_nn_tap_hidden(hs_graph *g, const hs_arch_shape *s, const hs_nn_states *kept);
// Logits [rows, classes or more], f32: HS_LOSS_SOFT. Nothing else may read them in training: they become their own gradient. target: i32 of
// the rows, NULL: all of them count.
void hs_nn_tap_logits(hs_graph *g, const hs_arch_shape *s, hs_tensor *logits, int64_t classes, hs_tensor *target);
// What the teacher's rows are for, where a family has losses of its own for them: the input.
hs_tensor *hs_nn_tapped_input(hs_graph *g, hs_tap tap, const hs_tensor *like, int64_t width);

#endif
