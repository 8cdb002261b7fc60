// encoder_keys: agreement between settings, size and cost, for every family of encoders.
#include "models/encoder/encoder_keys.h"
#include <stdio.h>
#include <string.h>

int64_t hs_encoder_embed_width(const hs_encoder_config *c) { return c->embed_width ? c->embed_width : c->width; }
int64_t hs_encoder_ff(const hs_encoder_config *c) { return c->ff ? c->ff : 4 * c->width; }
int64_t hs_encoder_attended(const hs_encoder_config *c) { return c->head_width ? c->heads * c->head_width : c->width; }
bool hs_encoder_pooled(const hs_encoder_kind *kind, const hs_encoder_config *c)
{
    return c->next || c->order || c->pooler || (hs_task_is_class(&c->head) && kind->class_head == HS_CLASS_POOLER);
}
int64_t hs_encoder_positions(const hs_encoder_kind *kind, const hs_encoder_config *c)
{
    return c->context + (kind->positions_behind_pad ? c->pad + 1 : 0);
}

bool hs_encoder_wears(const void *settings, hs_loss which)
{
    const hs_encoder_config *c = settings;
    return which == HS_LOSS_TOKENS     ? c->mlm || c->generator
           : which == HS_LOSS_REPLACED ? c->generator != 0
           : which == HS_LOSS_NEXT     ? c->next
           : which == HS_LOSS_ORDER    ? c->order
                                       : which == HS_LOSS_TASK && c->head.task != HS_TASK_NONE;
}

static hs_status check_widths(const hs_encoder_config *c)
{
    const struct {
        const char *name;
        int64_t value;
    } rows[] = { { "width", c->width }, { "embed_width", hs_encoder_embed_width(c) }, { "ff", hs_encoder_ff(c) } };
    for (int i = 0; i < HS_COUNT(rows); i++)
        if (rows[i].value % 8)
            return HS_FAIL(USAGE, "model.%s is %lld, not a multiple of 8 (next: %lld)", rows[i].name, (long long)rows[i].value,
                           (long long)(rows[i].value + 7) / 8 * 8);
    if (c->head_width && (c->head_width % 8 || c->width % c->head_width || c->heads * c->head_width >= c->width))
        return HS_FAIL(USAGE, "model.head_width is %lld: a multiple of 8 that divides model.width %lld into more than model.heads %lld",
                       (long long)c->head_width, (long long)c->width, (long long)c->heads);
    if (!c->head_width && c->width % c->heads)
        return HS_FAIL(USAGE, "model.heads is %lld, which does not divide model.width %lld", (long long)c->heads, (long long)c->width);
    return HS_OK;
}

hs_encoder_config hs_encoder_generator(const hs_encoder_config *c)
{
    hs_encoder_config g = *c;
    const int64_t heads = c->generator / 64;
    g.embed_width = hs_encoder_embed_width(c);
    g.width = c->generator, g.ff = g.head_width = 0, g.generator = 0;
    g.heads = c->generator_heads ? c->generator_heads : heads > 0 ? heads : 1;
    g.mlm = true;
    return g;
}

static hs_status check_generator(const hs_encoder_config *c)
{
    const hs_encoder_config g = hs_encoder_generator(c);
    if (!c->generator)
        return HS_OK;
    if (c->generator % 8)
        return HS_FAIL(USAGE, "model.generator is %lld, not a multiple of 8 (next: %lld)", (long long)c->generator,
                       (long long)(c->generator + 7) / 8 * 8);
    if (c->generator % g.heads || c->generator / g.heads % 8)
        return HS_FAIL(USAGE, "model.generator_heads is %lld: heads of model.generator %lld are multiples of 8 wide", (long long)g.heads,
                       (long long)c->generator);
    if (c->mlm || c->head.task)
        return HS_FAIL(USAGE, "model.generator is %lld beside %s: the generator predicts tokens, and the model judges them",
                       (long long)c->generator, c->mlm ? "model.mlm (model.mlm: false)" : "model.task");
    return HS_OK;
}

static hs_status check_task(const hs_encoder_config *c)
{
    const char *other = c->mlm ? "mlm" : c->next ? "next" : c->order ? "order" : c->pooler ? "pooler" : NULL;
    HS_TRY(hs_task_check(&c->head));
    if (c->head.task && other)
        return HS_FAIL(USAGE, "model.%s is true beside model.task: a model with a task wears no other head (model.%s: false)", other,
                       other);
    return HS_OK;
}

hs_status hs_encoder_check(const void *settings)
{
    const hs_encoder_config *c = settings;
    const struct {
        const char *name;
        int64_t value, min, max;
    } rows[] = {
        // wider than a run's settings: what a checkpoint may say
        { "layers", c->layers, 1, 1000 },
        { "heads", c->heads, 1, 1024 },
        { "width", c->width, 8, 1 << 20 },
        { "ff", c->ff, 0, 1 << 24 },
        { "context", c->context, 1, 1 << 24 },
        { "vocab", c->vocab, 0, 1 << 28 },
        { "types", c->types, 0, 1 << 20 },
        { "tasks", c->tasks, 0, 1 << 20 },
        { "embed_width", c->embed_width, 0, 1 << 20 },
        { "head_width", c->head_width, 0, 1 << 20 },
        { "groups", c->groups, 0, c->layers },
        { "pad", c->pad, 0, 1 << 28 },
        { "generator", c->generator, 0, 1 << 20 },
    };
    for (int i = 0; i < HS_COUNT(rows); i++)
        if (rows[i].value < rows[i].min || rows[i].value > rows[i].max)
            return HS_FAIL(USAGE, "model.%s is %lld, allowed %lld to %lld", rows[i].name, (long long)rows[i].value, (long long)rows[i].min,
                           (long long)rows[i].max);
    HS_TRY(check_widths(c));
    if (c->groups && c->layers % c->groups)
        return HS_FAIL(USAGE, "model.groups is %lld, which does not divide model.layers %lld", (long long)c->groups, (long long)c->layers);
    if (!(c->dropout >= 0 && c->dropout < 1))
        return HS_FAIL(USAGE, "model.dropout is %g, allowed 0 to below 1", c->dropout);
    if (!(c->attention_dropout >= 0 && c->attention_dropout < 1))
        return HS_FAIL(USAGE, "model.attention_dropout is %g, allowed 0 to below 1", c->attention_dropout);
    if (!(c->eps > 0 && c->eps < 1))
        return HS_FAIL(USAGE, "model.eps is %g, must be above 0 and below 1", c->eps);
    if (c->pooler && (c->mlm || c->next || c->order))
        return HS_FAIL(USAGE, "model.pooler is true beside a head: %s",
                       c->next || c->order ? "model.next and model.order bring it with them"
                                           : "model.mlm does not read it, model.pooler: false leaves it out");
    HS_TRY(check_generator(c));
    return check_task(c);
}

// ---- size and cost
static int64_t linear(int64_t in, int64_t out) { return (in + 1) * out; }
static int64_t layer(const hs_encoder_config *c) // products and biases, without the norms
{
    const int64_t C = c->width, A = hs_encoder_attended(c), F = hs_encoder_ff(c);
    return linear(C, 3 * A) + linear(A, C) + linear(C, F) + linear(F, C);
}
static int64_t projection(const hs_encoder_config *c)
{
    return hs_encoder_embed_width(c) != c->width ? linear(hs_encoder_embed_width(c), c->width) : 0;
}

// With the judge of tokens; tables that it shares count once.
static int64_t generator_count(const hs_encoder_kind *kind, const hs_encoder_config *c)
{
    const hs_encoder_config g = hs_encoder_generator(c);
    const int64_t E = g.embed_width, tables = (c->vocab + hs_encoder_positions(kind, c) + c->types + c->tasks) * E + 2 * E;
    if (!c->generator)
        return 0;
    return linear(c->width, c->width) + linear(c->width, 1) + hs_encoder_count(kind, &g) - (c->untied ? 0 : tables);
}

int64_t hs_encoder_count(const hs_encoder_kind *kind, const hs_encoder_config *c)
{
    const int64_t C = c->width, E = hs_encoder_embed_width(c);
    int64_t n = (c->vocab + hs_encoder_positions(kind, c) + c->types + c->tasks) * E + 2 * E + projection(c);
    n += (c->groups ? c->groups : c->layers) * (layer(c) + 4 * C) + (kind->pre_norm ? 2 * C : 0);
    n += hs_encoder_pooled(kind, c) || hs_task_is_class(&c->head) ? linear(C, C) : 0; // a pooler, or a product of the head's own
    n += c->mlm ? linear(C, E) + 2 * E + c->vocab : 0;
    return n + (c->next + c->order) * linear(C, 2) + hs_task_count(&c->head, C, true) + generator_count(kind, c);
}

int hs_encoder_depth(const void *settings, const char *param)
{
    const hs_encoder_config *c = settings;
    int layer;
    if (strncmp(param, "embed.", 6) == 0)
        return 0;
    if (sscanf(param, "l%d.", &layer) != 1)
        return (int)c->layers + 1;
    return c->groups ? (int)((layer + 1) * (c->layers / c->groups)) : layer + 1;
}

// A shared layer multiplies as often as one of its own. Attention looks both ways: twice what a causal one does.
double hs_encoder_flops_per_token(const void *settings, double seq)
{
    const hs_encoder_config *c = settings, g = hs_encoder_generator(c);
    const double own = 6 * (double)(c->layers * layer(c) + projection(c)) + 12.0 * (double)c->layers * (double)hs_encoder_attended(c) * seq;
    return c->generator ? own + 6 * (double)linear(c->width, c->width) + hs_encoder_flops_per_token(&g, seq) : own;
}

double hs_encoder_head_flops(const void *settings)
{
    const hs_encoder_config *c = settings;
    const double E = (double)hs_encoder_embed_width(c), own = hs_task_is_class(&c->head) ? (double)c->width : 0,
                 C = (double)(c->generator ? c->generator : c->width);
    return c->mlm || c->generator ? 2 * ((double)c->vocab + C) * E : 2 * (own + (double)hs_task_outputs(&c->head)) * C;
}

int hs_encoder_wearing_pair(const void *settings)
{
    const hs_encoder_config *c = settings;
    return c->mlm && c->next ? 0 : c->mlm ? 1 : c->next ? 2 : 3;
}

int hs_encoder_wearing_mlm(const void *settings) { return ((const hs_encoder_config *)settings)->mlm ? 0 : 1; }

int hs_encoder_wearing_replaced(const void *settings)
{
    return ((const hs_encoder_config *)settings)->generator ? 2 : hs_encoder_wearing_mlm(settings);
}
