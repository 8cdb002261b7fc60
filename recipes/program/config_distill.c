// config_distill: what a teacher is for in a run - which of its values the student meets, with which weights - and what does not go
// together.
#include "ops/ops.h"
#include "recipes/program/config.h"
#include <stdlib.h>
#include <string.h>

static const int pairs[] = { HS_RELATION_QQ | HS_RELATION_KK | HS_RELATION_VV, HS_RELATION_QK | HS_RELATION_VV, HS_RELATION_QK };

int hs_config_states(const hs_config *c, int16_t *student, int16_t *teacher)
{
    const hs_ints *map = &c->distill.hidden_map;
    const int64_t layers = hs_config_model_int(c, "model.layers"), first = layers + 1 - map->n; // of the student
    int n = 0;
    for (int i = 0; i < map->n; i++) {
        if (map->v[i] < 0)
            continue;
        if (student)
            student[n] = (int16_t)(first + i);
        if (teacher)
            teacher[n] = (int16_t)map->v[i];
        n++;
    }
    if (!map->n && student)
        student[0] = (int16_t)layers;
    if (!map->n && teacher)
        teacher[0] = (int16_t)c->distill.other_layers;
    return map->n ? n : 1;
}

hs_distill hs_config_distill(const hs_config *c)
{
    const int64_t layers = hs_config_model_int(c, "model.layers"), layer = c->distill.student_layer ? c->distill.student_layer : layers;
    if (!hs_config_learns(c))
        return (hs_distill){ 0 };
    hs_distill d = { .role = HS_DISTILL_STUDENT,
                     .tap = { [HS_TAP_QKV] = c->distill.relation > 0,
                              [HS_TAP_HIDDEN] = c->distill.cosine > 0 || c->distill.hidden > 0,
                              [HS_TAP_LOGITS] = c->distill.soft > 0 },
                     .every_row = c->distill.rows == HS_ROWS_ALL,
                     .layer = (int)layer - 1,
                     .no_hard = c->distill.hard == 0,
                     .temperature = (float)c->distill.temperature,
                     .cosine = c->distill.cosine > 0,
                     .square = c->distill.hidden > 0,
                     .relation_heads = (int)c->distill.relation_heads,
                     .pairs = pairs[c->distill.relations],
                     .other_width = c->distill.other_width };
    d.n_states = d.tap[HS_TAP_HIDDEN] ? hs_config_states(c, d.state, NULL) : 0;
    return d;
}

double hs_config_loss_weight(const hs_config *c, hs_loss loss)
{
    if (!hs_config_learns(c))
        return loss == HS_LOSS_REPLACED ? c->loss.replaced : 1;
    switch (loss) {
    case HS_LOSS_SOFT:
        return c->distill.soft;
    case HS_LOSS_COSINE:
        return c->distill.cosine;
    case HS_LOSS_HIDDEN:
        return c->distill.hidden;
    case HS_LOSS_RELATION:
        return c->distill.relation;
    default:
        return c->distill.hard;
    }
}

// ---- agreement
// A setting of distill.* that is another than nobody's: a resolved configuration names all of them. *key NULL: none.
static hs_status any_set(const hs_config *c, const char **key)
{
    const hs_schema *s = &c->table->schema;
    char ours[HS_KEY_STRING_BYTES], usual[HS_KEY_STRING_BYTES];
    hs_config *d = calloc(1, sizeof *d);
    *key = NULL;
    const hs_status st = d ? hs_config_init(d, c->table) : HS_FAIL(MEMORY, "no memory for the usual settings");
    for (int i = 0; i < s->n && st == HS_OK && !*key; i++) {
        if (strncmp(s->key[i].name, "distill.", 8) != 0)
            continue;
        hs_config_text(c, s->key[i].name, ours, sizeof ours), hs_config_text(d, s->key[i].name, usual, sizeof usual);
        *key = strcmp(ours, usual) != 0 ? s->key[i].name : NULL;
    }
    free(d);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// Does nobody train what the model wears?
static hs_status check_heads(const hs_config *c)
{
    static const struct {
        hs_loss loss;
        const char *head, *without;
    } heads[] = { { HS_LOSS_TOKENS, "predicts tokens", "model.mlm" },
                  { HS_LOSS_NEXT, "judges next sentences", "model.next" },
                  { HS_LOSS_ORDER, "judges the order of sentences", "model.order" },
                  { HS_LOSS_TASK, "its task is for", "task.kind" } };
    const hs_arch m = hs_config_arch(c);
    char at[128];
    if (c->distill.hard > 0)
        return HS_OK;
    if (hs_config_chain(c))
        return HS_FAIL(USAGE,
                       "%sdistill.hard is 0, but model.crf is true: how tags follow one another is learned from labels alone, and soft "
                       "targets are of each token by itself",
                       hs_config_prefix(c, "distill.hard", at, sizeof at));
    for (int i = 0; i < HS_COUNT(heads); i++) {
        const bool soft = c->distill.soft > 0 && (heads[i].loss == HS_LOSS_TOKENS || heads[i].loss == HS_LOSS_TASK);
        if (hs_arch_wears(m, heads[i].loss) && !soft && hs_schema_find(m.family->settings, NULL, heads[i].without).key)
            return HS_FAIL(USAGE, "%sdistill.hard is 0, so that nothing trains the head that %s: %s: false leaves it out",
                           hs_config_prefix(c, "distill.hard", at, sizeof at), heads[i].head, heads[i].without);
    }
    return HS_OK;
}

// The embeddings' state may stand in front of the layers'.
static hs_status check_map(const hs_config *c)
{
    const hs_ints *map = &c->distill.hidden_map;
    const int64_t layers = hs_config_model_int(c, "model.layers");
    char at[128];
    hs_config_prefix(c, "distill.hidden_map", at, sizeof at);
    if (!map->n)
        return HS_OK;
    if (!(c->distill.cosine > 0 || c->distill.hidden > 0))
        return HS_FAIL(USAGE, "%sdistill.hidden_map is set, but distill.cosine and distill.hidden are 0: no hidden states are compared",
                       at);
    if (map->n != layers && map->n != layers + 1)
        return HS_FAIL(USAGE, "%sdistill.hidden_map has %d states, but the model has %lld layers: one for each, or one more in front", at,
                       map->n, (long long)layers);
    if (!hs_config_states(c, NULL, NULL))
        return HS_FAIL(USAGE, "%sdistill.hidden_map is -1 for every layer: no hidden states are compared", at);
    for (int i = 0; i < map->n; i++)
        if (map->v[i] > c->distill.other_layers)
            return HS_FAIL(USAGE, "%sdistill.hidden_map names %lld, but distill.teacher %s has hidden states 0 to %lld", at,
                           (long long)map->v[i], c->distill.teacher, (long long)c->distill.other_layers);
    return HS_OK;
}

static hs_status check_layers(const hs_config *c)
{
    char at[128];
    const int64_t layers = hs_config_model_int(c, "model.layers");
    if (c->distill.student_layer > layers)
        return HS_FAIL(USAGE, "%sdistill.student_layer is %lld, but the model has %lld layers",
                       hs_config_prefix(c, "distill.student_layer", at, sizeof at), (long long)c->distill.student_layer, (long long)layers);
    if (c->distill.layers.n && c->distill.layers.n != layers)
        return HS_FAIL(USAGE, "%sdistill.layers names %d layers of the teacher, but the model has %lld",
                       hs_config_prefix(c, "distill.layers", at, sizeof at), c->distill.layers.n, (long long)layers);
    return HS_OK;
}

hs_status hs_config_check_distill(const hs_config *c)
{
    char at[128];
    const char *set = NULL;
    if (!hs_config_learns(c))
        HS_TRY(any_set(c, &set));
    if (!hs_config_learns(c) && set)
        return HS_FAIL(USAGE, "%s%s is set, but there is no teacher: halfstep distill CONFIG --teacher FOLDER names it",
                       hs_config_prefix(c, set, at, sizeof at), set);
    if (!hs_config_learns(c))
        return HS_OK;
    if (!(c->distill.soft > 0 || c->distill.cosine > 0 || c->distill.hidden > 0 || c->distill.relation > 0))
        return HS_FAIL(USAGE, "distill.soft, cosine, hidden and relation are all 0: nothing is learned from distill.teacher %s",
                       c->distill.teacher);
    if (c->data.layout != HS_SEQ_UNPADDED)
        return HS_FAIL(USAGE, "%sdata.layout has padding, which would be learned from distill.teacher too: data.layout: unpadded",
                       hs_config_prefix(c, "data.layout", at, sizeof at));
    if (c->distill.relation > 0 && c->exec.attention_masks == HS_MASKS_LIBRARY)
        return HS_FAIL(USAGE,
                       "%sexec.attention_masks is library, but distill.relation has gradients of queries and keys added up, which cuDNN "
                       "does not: exact",
                       hs_config_prefix(c, "exec.attention_masks", at, sizeof at));
    if (c->distill.layers.n && c->train.init_from[0])
        return HS_FAIL(USAGE, "%sdistill.layers and train.init_from are both set: a student begins as layers of its teacher, or as that",
                       hs_config_prefix(c, "distill.layers", at, sizeof at));
    return HS_OK;
}

hs_status hs_config_check_student(const hs_config *c)
{
    HS_TRY(check_layers(c));
    HS_TRY(check_map(c));
    return check_heads(c);
}
