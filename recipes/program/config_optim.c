// config_optim: the optimizer of a configuration. A preset is a row of switches; each has a key, and what nobody sets the preset decides.
#include "core/base/log.h"
#include "recipes/program/config.h"
#include <jansson.h>
#include <string.h>

enum { // whose switch it is
    ADAMW = 1 << HS_ADAMW,
    LAMB = 1 << HS_LAMB,
    SGD = 1 << HS_SGD,
    LARS = 1 << HS_LARS,
    NOVOGRAD = 1 << HS_NOVOGRAD,
    EVERY = ADAMW | LAMB | SGD | LARS | NOVOGRAD,
};
#define FROM(field) offsetof(hs_config, optim.field)
#define TO(field)   offsetof(hs_optim_config, field)

typedef struct switch_row {
    const char *key;
    size_t from, to; // in the configuration and in the optimizer's settings
    unsigned whose;
    bool common; // AdamW's default is the key's own: what language models are trained with
    bool any;    // a file may set it and --optim.name name one without it: told, not refused
} switch_row;

// Types are the keys'. optim.betas and optim.moments are not of one field each.
static const switch_row switches[] = {
    { "optim.betas", FROM(betas), TO(beta1), ADAMW | LAMB | NOVOGRAD, true, true },
    { "optim.momentum", FROM(momentum), TO(momentum), SGD | LARS, true, true },
    { "optim.eps", FROM(eps), TO(eps), ADAMW | LAMB | LARS | NOVOGRAD, false, true },
    { "optim.eps_inside", FROM(eps_inside), TO(eps_inside), ADAMW | LAMB | NOVOGRAD, false, false },
    { "optim.bias_correction", FROM(bias_correction), TO(correction), ADAMW | LAMB, false, false },
    { "optim.grad_averaging", FROM(grad_averaging), TO(grad_averaging), ADAMW | LAMB | NOVOGRAD, false, false },
    { "optim.weight_decay", FROM(weight_decay), TO(weight_decay), EVERY, true, true },
    { "optim.decay_mode", FROM(decay_mode), TO(decay), EVERY, false, false },
    { "optim.clip", FROM(clip), TO(clip), EVERY, true, true },
    { "optim.clip_eps", FROM(clip_eps), TO(clip_eps), EVERY, false, false },
    { "optim.clip_value", FROM(clip_value), TO(clip_value), EVERY & ~NOVOGRAD, false, false },
    { "optim.trust", FROM(trust), TO(trust), LAMB | LARS, false, false },
    { "optim.trust_coefficient", FROM(trust_coefficient), TO(trust_coefficient), LARS, false, false },
    { "optim.bounds", FROM(bounds), TO(bounded), LAMB, false, false },
    { "optim.ratio_min", FROM(ratio_min), TO(ratio_min), LAMB, false, false },
    { "optim.ratio_max", FROM(ratio_max), TO(ratio_max), LAMB, false, false },
    { "optim.qkv", FROM(qkv), TO(qkv), LAMB | LARS | NOVOGRAD, false, false },
    { "optim.moments", FROM(moments), TO(moments), EVERY, false, false },
    { "optim.masters", FROM(masters), TO(masters), EVERY, false, false },
};
// Choices are values of the enums of optim/, in their order.
_Static_assert(HS_CORRECT_MOMENTS == 0 && HS_CORRECT_STEP == 1 && HS_CORRECT_NONE == 2, "optim.bias_correction");
_Static_assert(HS_DECAY_DECOUPLED == 0 && HS_DECAY_GRADIENT == 1, "optim.decay_mode");
_Static_assert(HS_TRUST_DECAYED == 0 && HS_TRUST_ALL == 1 && HS_TRUST_NONE == 2, "optim.trust");
_Static_assert(HS_BOUND_RATIO == 0 && HS_BOUND_WEIGHT == 1, "optim.bounds");
_Static_assert(HS_MASTERS_F32 == 0 && HS_MASTERS_SPLIT == 1 && HS_MASTERS_NONE == 2, "optim.masters");
_Static_assert(HS_QKV_THREE == 0 && HS_QKV_ONE == 1, "optim.qkv");
_Static_assert(sizeof(hs_correction) == sizeof(int) && sizeof(hs_trust) == sizeof(int), "choices are ints");
static const hs_dtype moments[] = { HS_F32, HS_BF16 }; // of optim.moments

static const hs_key *key_of(const hs_config *c, const switch_row *row) { return hs_schema_find(&c->table->schema, c, row->key).key; }

// ---- a switch on either side
static void into_optim(const hs_key *k, const switch_row *row, const void *config, hs_optim_config *o)
{
    const void *from = (const char *)config + row->from;
    void *to = (char *)o + row->to;
    if (k->type == HS_KEY_REALS) {
        o->beta1 = ((const hs_reals *)from)->v[0], o->beta2 = ((const hs_reals *)from)->v[1];
    } else if (row->to == TO(moments)) {
        o->moments = moments[*(const int *)from];
    } else if (row->to == TO(eps)) {
        o->eps = *(const double *)from > 0 ? *(const double *)from : o->eps;
    } else {
        memcpy(to, from, k->type == HS_KEY_BOOL ? sizeof(bool) : k->type == HS_KEY_CHOICE ? sizeof(int) : sizeof(double));
    }
}

// As the key takes it.
static void text_of(const hs_key *k, const switch_row *row, const hs_optim_config *o, char *buf, size_t size)
{
    const void *at = (const char *)o + row->to;
    const char *word = k->choices;
    if (k->type == HS_KEY_REALS) {
        snprintf(buf, size, "%.17g,%.17g", o->beta1, o->beta2);
    } else if (k->type == HS_KEY_BOOL) {
        snprintf(buf, size, "%s", *(const bool *)at ? "true" : "false");
    } else if (k->type == HS_KEY_CHOICE) {
        for (int i = row->to == TO(moments) ? o->moments == HS_BF16 : *(const int *)at; i > 0; i--)
            word = strchr(word, '|') + 1;
        snprintf(buf, size, "%.*s", (int)strcspn(word, "|"), word);
    } else {
        snprintf(buf, size, "%.17g", *(const double *)at);
    }
}

// Nobody set it, or hs_config_settle_optim did.
static bool is_open(const hs_config *c, const char *key)
{
    static const char settled[] = "optim.name ";
    return hs_config_is_default(c, key) || strncmp(hs_config_where(c, key), settled, sizeof settled - 1) == 0;
}

// What the optimizer has of a switch that nobody set.
static void own_text(const hs_config *c, const switch_row *row, char *buf, size_t size)
{
    const hs_optim_config own = hs_optim_preset((hs_preset)c->optim.name);
    const hs_key *k = key_of(c, row);
    if (row->common && c->optim.name == HS_PRESET_ADAMW)
        snprintf(buf, size, "%s", k->value);
    else
        text_of(k, row, &own, buf, size);
}

hs_status hs_config_settle_optim(hs_config *c)
{
    char name[32], where[64], text[128];
    hs_config_text(c, "optim.name", name, sizeof name);
    snprintf(where, sizeof where, "optim.name %s", name);
    for (int i = 0; i < HS_COUNT(switches); i++) {
        own_text(c, &switches[i], text, sizeof text);
        if (is_open(c, switches[i].key) || (switches[i].to == TO(eps) && c->optim.eps == 0))
            HS_TRY(hs_config_set(c, switches[i].key, text, where));
    }
    return HS_OK;
}

hs_optim_config hs_config_optim(const hs_config *c, hs_dtype low)
{
    hs_optim_config o = hs_optim_preset((hs_preset)c->optim.name);
    for (int i = 0; i < HS_COUNT(switches); i++)
        if (!is_open(c, switches[i].key) || (switches[i].common && c->optim.name == HS_PRESET_ADAMW))
            into_optim(key_of(c, &switches[i]), &switches[i], c, &o);
    o.schedule = (hs_schedule){ .kind = (hs_schedule_kind)c->optim.schedule,
                                .lr = c->optim.lr,
                                .min_lr = c->optim.min_lr,
                                .power = c->optim.power,
                                .warmup = c->optim.warmup,
                                .warmup_share = c->optim.warmup_fraction,
                                .steps = c->train.steps };
    o.scaler = hs_scaler_preset((hs_scaler_kind)c->amp.scaler, low);
    return o;
}

// ---- agreement between values
// A switch that the optimizer does not have, set to something else than it would be: what it is set to in `is`.
static bool is_foreign(const hs_config *c, const switch_row *row, char *is, size_t size)
{
    char own[128];
    const hs_optim_config o = hs_optim_preset((hs_preset)c->optim.name);
    if (row->whose & 1u << o.kind || is_open(c, row->key))
        return false;
    hs_config_text(c, row->key, is, size);
    own_text(c, row, own, sizeof own);
    return strcmp(is, own) != 0;
}

static bool by_command_line(const hs_config *c, const char *key) { return strncmp(hs_config_where(c, key), "--", 2) == 0; }

static hs_status check_switch(const hs_config *c, const switch_row *row)
{
    char at[128], name[32], is[128];
    if (!is_foreign(c, row, is, sizeof is) || (row->any && !by_command_line(c, row->key)))
        return HS_OK;
    hs_config_text(c, "optim.name", name, sizeof name);
    return HS_FAIL(USAGE, "%s%s is %s: optimizer %s has no such switch", hs_config_prefix(c, row->key, at, sizeof at), row->key, is, name);
}

void hs_config_tell_optim(const hs_config *c)
{
    char name[32], is[128];
    hs_config_text(c, "optim.name", name, sizeof name);
    for (int i = 0; i < HS_COUNT(switches); i++)
        if (switches[i].any && !by_command_line(c, switches[i].key) && is_foreign(c, &switches[i], is, sizeof is))
            hs_warn("%s: %s is %s, which optimizer %s does not have: it is not used", hs_config_where(c, switches[i].key), switches[i].key,
                    is, name);
}

static hs_status check_masters(const hs_config *c)
{
    const hs_dtype low = hs_dtype_of_option((hs_dtype_option)c->amp.policy, c->exec.isa, c->exec.device);
    char at[128], is[32], policy[32];
    if (c->optim.masters == HS_MASTERS_F32 || low == HS_BF16)
        return HS_OK;
    hs_config_text(c, "optim.masters", is, sizeof is);
    hs_config_text(c, "amp.policy", policy, sizeof policy);
    return HS_FAIL(USAGE, "%soptim.masters is %s, which needs amp.policy bf16: it is %s%s",
                   hs_config_prefix(c, "optim.masters", at, sizeof at), is, policy,
                   c->amp.policy == HS_DTYPE_AUTO ? ", fp32 on this CPU" : "");
}

hs_status hs_config_check_optim(const hs_config *c)
{
    char at[128];
    if (c->optim.betas.n != 2)
        return HS_FAIL(USAGE, "%soptim.betas has %d value%s, needs 2", hs_config_prefix(c, "optim.betas", at, sizeof at), c->optim.betas.n,
                       hs_plural(c->optim.betas.n));
    if (c->optim.min_lr > c->optim.lr)
        return HS_FAIL(USAGE, "%soptim.min_lr is %g, above optim.lr %g", hs_config_prefix(c, "optim.min_lr", at, sizeof at),
                       c->optim.min_lr, c->optim.lr);
    if (c->optim.warmup > 0 && c->optim.warmup_fraction > 0)
        return HS_FAIL(USAGE, "%soptim.warmup is %lld and optim.warmup_fraction %g: warm-up is given by one of them",
                       hs_config_prefix(c, "optim.warmup", at, sizeof at), (long long)c->optim.warmup, c->optim.warmup_fraction);
    if (c->optim.ratio_max > 0 && c->optim.ratio_min > c->optim.ratio_max)
        return HS_FAIL(USAGE, "%soptim.ratio_min is %g, above optim.ratio_max %g", hs_config_prefix(c, "optim.ratio_min", at, sizeof at),
                       c->optim.ratio_min, c->optim.ratio_max);
    for (int i = 0; i < HS_COUNT(switches); i++)
        HS_TRY(check_switch(c, &switches[i]));
    return check_masters(c);
}

// ---- what is shown of it: the switches that the optimizer has, as they came out
#define for_shown(row, o)                                                                                                                  \
    for (const switch_row *row = switches; row < switches + HS_COUNT(switches); row++)                                                     \
        if (row->whose & 1u << (o)->kind)

static int schedule_keys(const char *keys[4], const hs_config *c)
{
    int n = 0;
    keys[n++] = "optim.lr";
    keys[n++] = "optim.min_lr";
    keys[n++] = c->optim.warmup_fraction > 0 ? "optim.warmup_fraction" : "optim.warmup";
    keys[n++] = "optim.power";
    return n;
}

static const char *bare(const char *key) { return strchr(key, '.') + 1; }

void hs_config_print_optim(const hs_config *c, hs_dtype low)
{
    const hs_optim_config o = hs_config_optim(c, low);
    const hs_scaler_config *s = &o.scaler;
    const char *keys[4];
    char text[160];
    hs_config_text(c, "optim.name", text, sizeof text);
    printf("\noptimizer    %s\n", text);
    for_shown(row, &o)
    {
        hs_config_text(c, row->key, text, sizeof text);
        printf("  %-18s %s\n", bare(row->key), text);
    }
    hs_config_text(c, "optim.schedule", text, sizeof text);
    printf("schedule     %s, %lld steps", text, (long long)c->train.steps);
    for (int i = 0, n = schedule_keys(keys, c); i < n; i++) {
        hs_config_text(c, keys[i], text, sizeof text);
        printf(", %s %s", bare(keys[i]), text);
    }
    if (s->dynamic)
        printf("\nloss scale   %g, x%g every %d steps, x%g on overflow after %d, %g to %g\n", (double)s->init, (double)s->growth,
               s->interval, (double)s->backoff, s->hysteresis, (double)s->min, (double)s->max);
    else
        printf("\nloss scale   %g, fixed\n", (double)s->init);
}

static json_t *value_of(const hs_config *c, const char *key, const hs_key *k, size_t from)
{
    const void *at = (const char *)c + from;
    char text[160];
    hs_config_text(c, key, text, sizeof text);
    if (k->type == HS_KEY_REALS) {
        json_t *list = json_array();
        for (int i = 0; i < ((const hs_reals *)at)->n; i++)
            json_array_append_new(list, json_real(((const hs_reals *)at)->v[i]));
        return list;
    }
    return k->type == HS_KEY_REAL   ? json_real(*(const double *)at)
           : k->type == HS_KEY_INT  ? json_integer(*(const int64_t *)at)
           : k->type == HS_KEY_BOOL ? json_boolean(*(const bool *)at)
                                    : json_string(text);
}

json_t *hs_config_optim_json(const hs_config *c, hs_dtype low)
{
    const hs_optim_config o = hs_config_optim(c, low);
    const hs_scaler_config *s = &o.scaler;
    const char *keys[4];
    char name[32];
    hs_config_text(c, "optim.name", name, sizeof name);
    json_t *to = json_pack("{s:s}", "name", name);
    for_shown(row, &o) json_object_set_new(to, bare(row->key), value_of(c, row->key, key_of(c, row), row->from));
    hs_config_text(c, "optim.schedule", name, sizeof name);
    json_object_set_new(to, "schedule", json_string(name));
    for (int i = 0, n = schedule_keys(keys, c); i < n; i++) {
        const hs_key *k = hs_schema_find(&c->table->schema, c, keys[i]).key;
        json_object_set_new(to, bare(keys[i]), value_of(c, keys[i], k, k->offset));
    }
    json_object_set_new(to, "scaler",
                        json_pack("{s:b, s:f, s:f, s:f, s:i, s:i, s:f, s:f}", "dynamic", s->dynamic, "init", (double)s->init, "growth",
                                  (double)s->growth, "backoff", (double)s->backoff, "interval", s->interval, "hysteresis", s->hysteresis,
                                  "min", (double)s->min, "max", (double)s->max));
    return to;
}
