// config_phases: a phase's keys are copies of a run's own rows under shorter names, so that type, range and help stand once.
#include "recipes/program/config.h"
#include <limits.h>
#include <string.h>

static const struct row {
    const char *name, *of;
    const char *help; // NULL: that of the run's row
} rows[] = {
    { "name", NULL, "what the phase is called" },
    { "steps", "train.steps", "optimizer steps of the phase" },
    { "batch", "train.batch", NULL },
    { "accumulate", "train.accumulate", NULL },
    { "eval_every", "train.eval_every", NULL },
    { "eval_windows", "train.eval_windows", NULL },
    { "train", "data.train", NULL },
    { "val", "data.val", NULL },
    { "length", "data.length", NULL },
    { "predictions", "data.predictions", NULL },
    { "layout", "data.layout", NULL },
    { "lr", "optim.lr", NULL },
    { "min_lr", "optim.min_lr", "learning rate at the last step of the phase" },
    { "warmup", "optim.warmup", NULL },
    { "warmup_fraction", "optim.warmup_fraction", "warm-up as a fraction of the phase's steps, in place of warmup" },
    { "schedule", "optim.schedule", NULL },
    { "power", "optim.power", NULL },
    { "weight_decay", "optim.weight_decay", NULL },
    { "freeze", "train.freeze", NULL },
};
_Static_assert(HS_COUNT(rows) <= HS_PHASE_KEYS, "origins of phases");

static size_t bytes_of(hs_key_type t)
{
    static const size_t bytes[] = {
        [HS_KEY_INT] = sizeof(int64_t),        [HS_KEY_REAL] = sizeof(double),      [HS_KEY_BOOL] = sizeof(bool),
        [HS_KEY_STRING] = HS_KEY_STRING_BYTES, [HS_KEY_CHOICE] = sizeof(int),       [HS_KEY_REALS] = sizeof(hs_reals),
        [HS_KEY_INTS] = sizeof(hs_ints),       [HS_KEY_TEXTS] = HS_KEY_STRING_BYTES
    };
    return bytes[t];
}

static const hs_key *run_key(const hs_config_table *t, const char *name)
{
    for (int i = 0; i < t->n_keys; i++)
        if (strcmp(t->key[i].name, name) == 0)
            return &t->key[i];
    return NULL;
}

hs_status hs_config_init_phases(hs_config_table *t)
{
    size_t at = 0;
    for (int i = 0; i < HS_COUNT(rows); i++) {
        const hs_key *of = rows[i].of ? run_key(t, rows[i].of) : NULL;
        if (rows[i].of && !of)
            return HS_FAIL(INTERNAL, "phases.%s stands for %s, which is no setting", rows[i].name, rows[i].of);
        hs_key *k = &t->phase_key[i];
        *k = of ? *of : (hs_key){ .type = HS_KEY_STRING, .value = "" };
        k->name = rows[i].name;
        k->help = rows[i].help ? rows[i].help : k->help;
        at = (at + 7) / 8 * 8;
        k->offset = at;
        at += bytes_of(k->type);
    }
    if (at > HS_PHASE_BYTES)
        return HS_FAIL(INTERNAL, "a phase has %zu bytes, there is room for %d", at, HS_PHASE_BYTES);
    t->phase_schema = (hs_schema){ .key = t->phase_key, .n = HS_COUNT(rows), .struct_bytes = sizeof(hs_phase) };
    return HS_OK;
}

int hs_config_n_phases(const hs_config *c) { return c->n_phases ? c->n_phases : 1; }

static const char *key_of(int phase, const char *name, char buf[HS_KEY_NAME])
{
    snprintf(buf, HS_KEY_NAME, "phases.%d.%s", phase, name);
    return buf;
}

int64_t hs_config_phase_steps(const hs_config *c, int phase)
{
    char key[HS_KEY_NAME];
    return c->n_phases ? *(const int64_t *)hs_config_field((hs_config *)c, key_of(phase, "steps", key)) : c->train.steps;
}

const char *hs_config_phase_name(const hs_config *c, int phase)
{
    return c->n_phases ? (const char *)c->phase[phase].bytes + c->table->phase_key[0].offset : "";
}

hs_status hs_config_in_phase(hs_status st, const hs_config *c, int phase)
{
    char message[1024];
    if (!c->n_phases)
        return hs_frame_at(st, __FILE__, __LINE__);
    snprintf(message, sizeof message, "%s", hs_error());
    return hs_fail_at(st, __FILE__, __LINE__, "phases.%d: %s", phase, message);
}

hs_status hs_config_phase(hs_config *out, const hs_config *c, int phase)
{
    char key[HS_KEY_NAME], text[HS_KEY_STRING_BYTES];
    memcpy(out, c, sizeof *out);
    for (int i = 0; i < HS_COUNT(rows) && c->n_phases; i++) {
        key_of(phase, rows[i].name, key);
        if (!rows[i].of || hs_config_is_default(c, key))
            continue;
        hs_config_text(c, key, text, sizeof text);
        if (strcmp(rows[i].of, "data.train") == 0) {
            if (!text[0]) // a resolved configuration says everything; data.sources is the run's
                continue;
            out->data.n_sources = 0;
        }
        HS_TRY(hs_config_set(out, rows[i].of, text, hs_config_where(c, key)));
    }
    out->n_phases = 0;
    return HS_OK;
}

// What every phase has of its own is nobody's when the command line sets it for the run.
static hs_status check_used(const hs_config *c, const struct row *row)
{
    char key[HS_KEY_NAME];
    const char *where = row->of ? hs_config_where(c, row->of) : "";
    bool used = c->n_phases == 0 || strncmp(where, "--", 2) != 0;
    for (int p = 0; p < c->n_phases && !used; p++)
        used = hs_config_is_default(c, key_of(p, row->name, key));
    if (used)
        return HS_OK;
    return HS_FAIL(USAGE, "%s: each phase has %s of its own, so that %s would change nothing; it is --phases.0.%s%s that does", where,
                   row->name, row->of, row->name, c->n_phases > 1 ? ", --phases.1 ..." : "");
}

hs_status hs_config_fill_phases(hs_config *c)
{
    for (int i = 0; i < HS_COUNT(rows); i++)
        HS_TRY(check_used(c, &rows[i]));
    char key[HS_KEY_NAME], text[HS_KEY_STRING_BYTES];
    for (int p = 0; p < c->n_phases; p++)
        for (int i = 0; i < HS_COUNT(rows); i++) {
            key_of(p, rows[i].name, key);
            if (!rows[i].of || !hs_config_is_default(c, key))
                continue;
            char where[sizeof c->origin[0].text];
            snprintf(where, sizeof where, "%s", hs_config_where(c, rows[i].of));
            hs_config_text(c, rows[i].of, text, sizeof text);
            HS_TRY(hs_config_set(c, key, text, where));
        }
    return HS_OK;
}
