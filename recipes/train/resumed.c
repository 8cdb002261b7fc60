// resumed: settings of the checkpoint beside those of now. What must not change (shape, vocabulary, seed) was refused before, in
// train_setup.c.
#include "recipes/train/resumed.h"
#include "core/base/log.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static hs_scaler_config scaler_of(const hs_config *c)
{
    return hs_scaler_preset((hs_scaler_kind)c->amp.scaler, hs_dtype_of_option((hs_dtype_option)c->amp.policy, c->exec.isa, c->exec.device));
}

static bool same_scaler(const hs_scaler_config *a, const hs_scaler_config *b)
{
    return a->dynamic == b->dynamic && a->init == b->init && a->growth == b->growth && a->interval == b->interval &&
           a->hysteresis == b->hysteresis && a->min == b->min && a->max == b->max;
}

void hs_resumed_scale(const hs_config *c, const hs_config *before, hs_step_state *state)
{
    const hs_scaler_config now = scaler_of(c), then = before ? scaler_of(before) : now;
    if (same_scaler(&now, &then) && (now.dynamic || state->scale == now.init))
        return;
    state->scale = state->step_scale = now.init;
    state->growth = 0, state->hysteresis = now.hysteresis;
}

// ---- what is told of a difference, beside the two values
typedef struct rule {
    const char *keys; // a key, or a section with its point
    const char *note;
} rule;
static const rule rules[] = {
    // the first that fits
    { "optim.name", "moments that both keep are carried over, others begin at 0" },
    { "amp.policy", "the loss scale begins anew; values and moments are f32 and stay" },
    { "optim.masters", "values that had no f32 are their bf16, those that have none now are rounded to it" },
    { "amp.scaler", "the loss scale begins anew" },
    { "train.init_from", "not used: the weights are the checkpoint's" },
    { "train.batch", "samples go on where they were" },
    { "train.accumulate", "samples go on where they were" },
    { "train.freeze", "moments of what was frozen begin at 0" },
    { "train.keep_zeros", "zeros of others are trained from here on" },
    { "train.unfreeze", "moments of what was held begin at 0" },
    { "task.metric", "the best so far counts no longer" },
};

static const char *note_of(const char *name)
{
    for (int i = 0; i < HS_COUNT(rules); i++)
        if (strncmp(name, rules[i].keys, strlen(rules[i].keys)) == 0)
            return rules[i].note;
    return NULL;
}

static void tell_difference(const hs_config *c, const hs_config *before, hs_key_at at)
{
    const hs_schema *s = &c->table->schema;
    char buf[HS_KEY_NAME], now[HS_KEY_STRING_BYTES + 8], then[HS_KEY_STRING_BYTES + 8] = "";
    const char *name = hs_schema_name(at, buf);
    const hs_key_at old = hs_schema_find(s, before, name);
    const bool there = old.key != NULL;
    hs_schema_format(s, c, at, now, sizeof now);
    if (there)
        hs_schema_format(s, before, old, then, sizeof then);
    if (there && strcmp(now, then) == 0)
        return;
    const char *note = note_of(name);
    hs_info("goes on with %s %s, was %s%s%s", name, now[0] ? now : "(empty)",
            !there    ? "not set"
            : then[0] ? then
                      : "(empty)",
            note ? ": " : "", note ? note : "");
}

// Of a list that has fewer elements now.
static void tell_missing(const hs_config *c, const hs_config *before, hs_key_at at)
{
    const hs_schema *s = &c->table->schema;
    char buf[HS_KEY_NAME], then[HS_KEY_STRING_BYTES + 8];
    if (!at.list || hs_schema_find(s, c, hs_schema_name(at, buf)).key)
        return;
    hs_schema_format(s, before, at, then, sizeof then);
    hs_info("goes on without %s, was %s", buf, then[0] ? then : "(empty)");
}

static hs_schedule schedule_of(const hs_config *c, hs_config *room, int phase)
{
    return hs_config_phase(room, c, phase) == HS_OK ? hs_config_optim(room, HS_F32).schedule : (hs_schedule){ 0 };
}

// More than a tenth: what a schedule does by itself between two steps is less, but for warm-ups of a few.
static void tell_jump(const hs_config *c, const hs_config *before, const hs_train_state *at)
{
    const int64_t applied = at->step_state.applied;
    const int phase = (int)at->phase;
    hs_config *room = applied > 0 && phase < hs_config_n_phases(before) ? malloc(sizeof *room) : NULL;
    if (!room)
        return;
    const hs_schedule now = schedule_of(c, room, phase), then = schedule_of(before, room, phase);
    const double next = hs_schedule_lr(&now, applied), last = hs_schedule_lr(&then, applied - 1), due = hs_schedule_lr(&then, applied);
    free(room);
    if (fabs(next - last) > 0.1 * last && fabs(next - due) > 0.1 * due)
        hs_warn("the learning rate jumps: %.3g at the last step, %.3g at the next, as optim.* and train.steps are others now", last, next);
}

void hs_resumed_tell(const hs_config *c, const hs_config *before, const hs_train_state *at)
{
    const hs_schema *s = &c->table->schema;
    hs_key_at row;
    if (!before) {
        hs_info("goes on from a checkpoint that does not say its settings (train/config.yaml)");
        return;
    }
    for (int i = 0; (row = hs_schema_row(s, c, i)).key; i++)
        tell_difference(c, before, row);
    for (int i = 0; (row = hs_schema_row(s, before, i)).key; i++)
        tell_missing(c, before, row);
    tell_jump(c, before, at);
}
