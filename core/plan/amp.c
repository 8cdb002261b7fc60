// amp: mixed precision as one pass over the trace. Facts per operand and the policy decide every dtype; a cast goes in
// where they disagree, and sinks into a producer that can store either type. A weight is never cast: LOW operands that are
// parameters read the low slab.
#include "core/plan/plan_impl.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static bool matches(const char *pattern, const hs_node *n)
{
    const size_t len = strlen(pattern);
    if (len && pattern[len - 1] == '*')
        return !strncmp(n->scope, pattern, len - 1);
    return !strcmp(pattern, n->op->name) || !strcmp(pattern, n->scope);
}

static const hs_override *override_of(const hs_policy *p, const hs_node *n)
{
    const hs_override *found = NULL;
    for (int i = 0; i < p->n_overrides; i++) // the last one that matches wins
        if (matches(p->override[i].pattern, n))
            found = &p->override[i];
    return found;
}

// The class an operand has under an override: to f32 everything is cast up, to low everything down.
static hs_amp effective(hs_amp amp, const hs_override *o)
{
    if (!o || amp == HS_AMP_NONE || amp == HS_AMP_WIDEST)
        return amp;
    return o->dtype == HS_F32 ? HS_AMP_F32 : HS_AMP_LOW;
}

static bool casts_apply(const hs_tensor *t) { return (t->kind == HS_VALUE || t->kind == HS_INPUT) && hs_dtype_is_float(t->dtype); }

typedef struct pass {
    hs_plan *p;
    hs_graph *g;
    const hs_op *cast_op;
    hs_tensor **cast_of; // by tensor id: its one cast (there are two float types in a step)
    int n_cast_of;
    hs_node **order;
    int n_order, cap_order;
} pass;

static void no_memory(hs_graph *g) { hs_graph_fail(g, HS_MEMORY, "no memory for the casts of %d nodes", g->n_nodes); }

static void append(pass *s, hs_node *n)
{
    if (hs_grow(&s->order, s->n_order, &s->cap_order, sizeof *s->order))
        s->order[s->n_order++] = n;
    else
        no_memory(s->g);
}

// Room for the cast of tensor id, in a table that is zero where there is none.
static bool cast_room(pass *s, int id)
{
    if (id < s->n_cast_of)
        return true;
    const int n = id + 256;
    hs_tensor **more = realloc(s->cast_of, (size_t)n * sizeof *more);
    if (!more)
        return false;
    memset(more + s->n_cast_of, 0, (size_t)(n - s->n_cast_of) * sizeof *more);
    s->cast_of = more, s->n_cast_of = n;
    return true;
}

static hs_tensor *cast_to(pass *s, hs_tensor *t, hs_dtype want, const char *scope)
{
    if (t->id < s->n_cast_of && s->cast_of[t->id])
        return s->cast_of[t->id];
    hs_graph *g = s->g;
    hs_node *n = hs_graph_alloc(g, sizeof *n);
    void *attr = hs_graph_alloc(g, s->cast_op->attr_bytes);
    hs_tensor *y = hs_graph_alloc(g, sizeof *y);
    if (!n || !attr || !y || !cast_room(s, t->id) || !hs_grow(&g->tensor, g->n_tensors, &g->cap_tensors, sizeof *g->tensor)) {
        no_memory(g);
        return t;
    }
    *n = (hs_node){ .op = s->cast_op, .attr = attr, .in = { t }, .scope = scope, .mode = (uint8_t)g->mode, .low = want };
    *y = *t;
    y->kind = HS_VALUE, y->dtype = want, y->from = n, y->slot = 0, y->name = NULL, y->scope = scope, y->id = g->n_tensors;
    g->tensor[g->n_tensors++] = y;
    n->out[0] = y;
    if (s->cast_op->attr_bytes)
        memcpy(attr, &want, sizeof want);
    append(s, n);
    return s->cast_of[t->id] = y;
}

static void settle_inputs(pass *s, hs_node *n, const hs_override *o)
{
    for (int i = 0; i < HS_MAX_IN; i++) {
        hs_tensor *t = n->in[i];
        if (!t || !casts_apply(t))
            continue;
        const hs_amp amp = effective(n->op->in[i].amp, o);
        const hs_dtype want = amp == HS_AMP_LOW ? n->low : amp == HS_AMP_F32 ? HS_F32 : t->dtype;
        if (t->dtype != want)
            n->in[i] = cast_to(s, t, want, n->scope);
    }
}

static void settle_outputs(hs_node *n, const hs_override *o, const hs_policy *pol)
{
    hs_dtype first = HS_N_DTYPES, widest = HS_N_DTYPES; // of the float inputs that are not parameters
    for (int i = 0; i < HS_MAX_IN; i++) {
        const hs_tensor *t = n->in[i];
        if (!t || t->kind == HS_PARAM || !hs_dtype_is_float(t->dtype))
            continue;
        first = first == HS_N_DTYPES ? t->dtype : first;
        widest = widest == HS_N_DTYPES || t->dtype == HS_F32 ? t->dtype : widest;
    }
    for (int i = 0; i < HS_MAX_OUT; i++) {
        hs_tensor *y = n->out[i];
        const hs_operand *fact = &n->op->out[i];
        if (!y || !hs_dtype_is_float(y->dtype) || fact->amp == HS_AMP_NONE)
            continue;
        const hs_amp amp = effective(fact->amp, o);
        if (fact->flags & HS_IS_INPUT_0)
            y->dtype = n->in[0]->dtype;
        else if (fact->flags & HS_SAVED)
            y->dtype = fact->amp == HS_AMP_KEEP && first != HS_N_DTYPES ? first : HS_F32;
        else if (amp == HS_AMP_LOW)
            y->dtype = n->low;
        else if (amp == HS_AMP_KEEP && first != HS_N_DTYPES)
            y->dtype = first;
        else if (amp == HS_AMP_WIDEST && widest != HS_N_DTYPES)
            y->dtype = widest;
        else
            y->dtype = HS_F32;
        // The residual stream is what sums and embeddings write.
        const bool stream = amp == HS_AMP_WIDEST || first == HS_N_DTYPES;
        if (pol->residual_low && stream && (fact->flags & HS_ANY_DTYPE))
            y->dtype = pol->low;
    }
}

static int *count_uses(const hs_graph *g, hs_node *const *order, int n)
{
    int *uses = calloc((size_t)g->n_tensors + 1, sizeof *uses);
    for (int i = 0; uses && i < n; i++)
        for (int k = 0; k < HS_MAX_IN; k++)
            if (order[i]->in[k] && order[i]->in[k]->id >= 0)
                uses[order[i]->in[k]->id]++;
    for (int i = 0; uses && i < g->n_outputs; i++)
        uses[g->output[i]->id]++;
    return uses;
}

// A cast, the model's own too, whose source may be stored as either type, and has no other reader, disappears: the producer
// stores the wanted type.
static void sink_casts(pass *s)
{
    int *uses = count_uses(s->g, s->order, s->n_order);
    hs_tensor **instead = calloc((size_t)s->g->n_tensors + 1, sizeof *instead);
    int kept = 0;
    if (!uses || !instead) {
        no_memory(s->g);
        goto done;
    }
    for (int i = 0; i < s->n_order; i++) {
        hs_node *n = s->order[i];
        for (int k = 0; k < HS_MAX_IN; k++)
            if (n->in[k] && n->in[k]->id >= 0 && instead[n->in[k]->id])
                n->in[k] = instead[n->in[k]->id];
        hs_tensor *x = n->in[0];
        const bool inserted = n->op == s->cast_op && x->id < s->n_cast_of && s->cast_of[x->id] == n->out[0];
        const bool sinks = n->op == s->cast_op && x->from && uses[x->id] == 1 && (x->from->op->out[x->slot].flags & HS_ANY_DTYPE);
        if (sinks) {
            x->dtype = n->out[0]->dtype;
            instead[n->out[0]->id] = x;
            continue;
        }
        if (inserted)
            hs_plan_note_cast(s->p, n, x->from ? x->from->op->name : x->name, x->dtype, n->out[0]->dtype, hs_tensor_bytes(n->out[0]),
                              false);
        n->id = kept;
        s->order[kept++] = n;
    }
    s->n_order = kept;
    for (int i = 0; i < s->g->n_outputs; i++)
        if (instead[s->g->output[i]->id])
            s->g->output[i] = instead[s->g->output[i]->id];
done:
    free(uses);
    free(instead);
}

hs_status hs_plan_amp(hs_plan *p)
{
    const hs_policy *pol = &p->opts.policy;
    pass s = { .p = p, .g = p->graph, .cast_op = hs_device_op(p->dev, "cast") };
    if (!s.cast_op)
        return HS_FAIL(INTERNAL, "the device's op table has no cast");
    for (int i = 0; i < p->graph->n_nodes; i++) {
        hs_node *n = p->graph->node[i];
        const hs_override *o = override_of(pol, n);
        n->low = o ? o->dtype : pol->low;
        settle_inputs(&s, n, o);
        settle_outputs(n, o, pol);
        append(&s, n);
    }
    if (p->graph->status == HS_OK)
        sink_casts(&s);
    free(p->graph->node);
    free(s.cast_of);
    p->graph->node = s.order;
    p->graph->n_nodes = s.n_order;
    p->graph->cap_nodes = s.cap_order;
    return hs_graph_status(p->graph);
}

static hs_status parse_override(hs_policy *p, char *item)
{
    char *eq = strchr(item, '=');
    hs_dtype d;
    if (!eq || eq == item || !hs_dtype_parse(eq + 1, &d))
        return HS_FAIL(USAGE, "amp.overrides: \"%s\" is not NAME=fp32 or NAME=low type (an op, a scope, or a scope's beginning and *)",
                       item);
    if (d != HS_F32 && d != p->low)
        return HS_FAIL(USAGE, "amp.overrides: %s asks for %s; this policy knows fp32 and %s", item, hs_dtype_name(d),
                       hs_dtype_name(p->low));
    if (p->n_overrides == HS_MAX_OVERRIDES)
        return HS_FAIL(USAGE, "amp.overrides: more than %d", HS_MAX_OVERRIDES);
    *eq = 0;
    hs_override *o = &p->override[p->n_overrides];
    if (strlen(item) >= sizeof o->pattern)
        return HS_FAIL(USAGE, "amp.overrides: \"%s\" is longer than %zu", item, sizeof o->pattern - 1);
    strcpy(o->pattern, item);
    o->dtype = d;
    p->n_overrides++;
    return HS_OK;
}

hs_status hs_policy_parse(hs_policy *out, const char *policy, const char *residual, const char *overrides)
{
    *out = (hs_policy){ .low = HS_F32 };
    if (!hs_dtype_parse(policy, &out->low) || (out->low != HS_F32 && !hs_dtype_is_low(out->low)))
        return HS_FAIL(USAGE, "amp.policy is \"%s\", allowed fp32, bf16, fp16", policy);
    if (residual && !strcmp(residual, "low"))
        out->residual_low = true;
    else if (residual && strcmp(residual, "f32"))
        return HS_FAIL(USAGE, "amp.residual is \"%s\", allowed f32, low", residual);
    for (const char *at = overrides ? overrides : ""; *at;) {
        const size_t n = strcspn(at, ",");
        char item[256];
        if (n >= sizeof item)
            return HS_FAIL(USAGE, "amp.overrides: an item is longer than %zu", sizeof item - 1);
        memcpy(item, at, n);
        item[n] = 0;
        at += n + (at[n] == ',');
        char *first = item, *last = item + n;
        while (isspace((unsigned char)*first))
            first++;
        while (last > first && isspace((unsigned char)last[-1]))
            *--last = 0;
        if (*first)
            HS_TRY(parse_override(out, first));
    }
    return HS_OK;
}
