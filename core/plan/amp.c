// amp: mixed precision as one pass over the trace. Facts per operand and the policy decide every dtype; a cast goes in
// where they disagree, and sinks into a producer that can store either type. A weight is never cast: LOW operands that are
// parameters read the low slab. Before that, linear layers become fp8's where the policy asks for it.
#include "core/graph/rewrite.h"
#include "core/plan/plan_impl.h"
#include <ctype.h>
#include <stdio.h>

bool hs_override_matches(const hs_override *o, const hs_node *n)
{
    const size_t len = strlen(o->pattern);
    if (len && o->pattern[len - 1] == '*')
        return !strncmp(n->scope, o->pattern, len - 1);
    return !strcmp(o->pattern, n->op->name) || !strcmp(o->pattern, n->scope);
}

// To fp8 or from it is settled before types are.
static const hs_override *override_of(const hs_policy *p, const hs_node *n)
{
    const hs_override *found = NULL;
    for (int i = 0; i < p->n_overrides; i++) // the last one that matches wins
        if (hs_override_matches(&p->override[i], n))
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
    hs_rewrite *r;
    const hs_op *cast_op;
    void *cast_attr;     // of cast_op, with room for a dtype to be set
    hs_tensor **cast_of; // by id of a tensor of the trace: its one cast (there are two float types in a step)
} pass;

static hs_tensor *cast_to(pass *s, hs_tensor *t, hs_dtype want, const hs_node *reader)
{
    hs_tensor **y = &s->cast_of[t->id];
    if (!*y) {
        hs_attr_set_int(hs_attr_find(s->cast_op, "dtype"), s->cast_attr, want);
        hs_node *n = hs_rewrite_before(s->r, reader, s->cast_op, s->cast_attr, &t, 1);
        if (!n)
            return t;
        n->low = want;
        *y = n->out[0];
    }
    return *y;
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
            hs_rewrite_operand(s->r, n, i, cast_to(s, t, want, n));
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

// A cast, the model's own too, whose source may be stored as either type, and has no other reader, disappears: the producer
// stores the wanted type.
static void sink_casts(pass *s)
{
    for (hs_node *n = hs_rewrite_first(s->r), *next; n; n = next) {
        next = hs_rewrite_next(s->r, n);
        hs_tensor *x = n->in[0], *y = n->out[0];
        if (n->op != s->cast_op)
            continue;
        if (x->from && (x->from->op->out[x->slot].flags & HS_ANY_DTYPE) && hs_rewrite_n_readers(s->r, x) == 1) {
            x->dtype = y->dtype;
            hs_rewrite_readers(s->r, y, x);
            hs_rewrite_remove(s->r, n);
        } else if (n->trace < 0)
            hs_plan_note_cast(s->p, n, x->from ? x->from->op->name : x->name, x->dtype, y->dtype, hs_tensor_bytes(y), false);
    }
}

// ---- fp8

typedef struct fp8_pass {
    hs_rewrite *r;
    const hs_op *linear, *op;
    hs_attr const *margin;
    int n; // layers so far that the policy asks for: more than those whose width, on this rank, there are products for
} fp8_pass;

static bool wants_fp8(const hs_policy *p, const hs_node *n)
{
    const hs_override *o = override_of(p, n);
    return o ? hs_dtype_is_fp8(o->dtype) : p->fp8.on;
}

// A state of the layer's own, of all ranks together. Layers may share scope and weight (ALBERT), so they are counted; every plan of a model
// counts alike, and every layout.
static hs_tensor *amax_of(hs_graph *g, const hs_node *n, const fp8_pass *s, int history)
{
    char name[384];
    snprintf(name, sizeof name, "fp8.%d.%s.amax", s->n, n->scope);
    g->scope_len = 0, g->scope[0] = 0, g->interned = NULL;
    hs_tensor *t = hs_state_get(g, name, HS_F32, 2, (int64_t[]){ 2, history + 1 });
    if (t->kind == HS_STATE)
        t->state->saved = t->state->largest = true;
    return t;
}

static void to_fp8(hs_graph *g, fp8_pass *s, hs_node *n, const hs_fp8_policy *f)
{
    enum { WIDTHS = 16 }; // of TN products in 8 bits
    hs_tensor *in[4] = { n->in[0], n->in[1], n->in[2], NULL };
    if (n->in[1]->dim[0] % WIDTHS || n->in[1]->dim[1] % WIDTHS)
        return;
    void *attr = hs_graph_alloc(g, s->op->attr_bytes);
    if (!attr)
        return;
    hs_attr_set_int(s->margin, attr, f->margin);
    if (f->history)
        in[3] = amax_of(g, n, s, f->history);
    hs_rewrite_replace(s->r, n, s->op, attr, in, HS_COUNT(in));
}

static bool asks_for_fp8(const hs_policy *p)
{
    for (int i = 0; i < p->n_overrides; i++)
        if (hs_dtype_is_fp8(p->override[i].dtype))
            return true;
    return p->fp8.on;
}

static hs_status linear_to_fp8(hs_plan *p, hs_rewrite *r)
{
    const hs_policy *pol = &p->opts.policy;
    fp8_pass s = { .r = r, .linear = hs_device_op(p->dev, "linear"), .op = hs_device_op(p->dev, "linear_fp8") };
    if (!asks_for_fp8(pol) || !hs_plan_trains(p))
        return HS_OK;
    if (pol->low != HS_BF16)
        return HS_FAIL(USAGE, "fp8 layers stand among bf16 ones, not among %s", hs_dtype_name(pol->low));
    s.margin = s.op ? hs_attr_find(s.op, "margin") : NULL;
    if (!s.linear || !s.margin)
        return HS_FAIL(INTERNAL, "the device's op table has no linear_fp8");
    for (hs_node *n = hs_rewrite_first(r), *next; n; n = next) {
        next = hs_rewrite_next(r, n);
        if (n->op != s.linear || !wants_fp8(pol, n))
            continue;
        to_fp8(p->graph, &s, n, &pol->fp8);
        s.n++;
    }
    return HS_OK;
}

hs_status hs_plan_amp(hs_plan *p)
{
    hs_graph *g = p->graph;
    const hs_policy *pol = &p->opts.policy;
    pass s = { .p = p, .cast_op = hs_device_op(p->dev, "cast") };
    if (!s.cast_op || !hs_attr_find(s.cast_op, "dtype"))
        return HS_FAIL(INTERNAL, "the device's op table has no cast");
    s.cast_attr = hs_graph_alloc(g, s.cast_op->attr_bytes);
    s.cast_of = hs_graph_alloc(g, (size_t)g->n_tensors * sizeof *s.cast_of);
    HS_TRY(hs_graph_status(g));
    HS_TRY(hs_rewrite_begin(&s.r, g));
    const hs_status fp8 = linear_to_fp8(p, s.r);
    for (hs_node *n = hs_rewrite_first(s.r); n && fp8 == HS_OK; n = hs_rewrite_next(s.r, n)) {
        const hs_override *o = override_of(pol, n);
        o = o && hs_dtype_is_fp8(o->dtype) ? NULL : o;
        n->low = o ? o->dtype : pol->low;
        settle_inputs(&s, n, o);
        settle_outputs(n, o, pol);
    }
    sink_casts(&s);
    const hs_status st = hs_rewrite_end(s.r);
    return fp8 != HS_OK ? fp8 : st;
}

static hs_status parse_override(hs_policy *p, char *item)
{
    char *eq = strchr(item, '=');
    hs_dtype d;
    const bool fp8 = eq && !strcmp(eq + 1, "fp8");
    d = HS_E4M3;
    if (!eq || eq == item || (!fp8 && (!hs_dtype_parse(eq + 1, &d) || hs_dtype_is_fp8(d))))
        return HS_FAIL(USAGE, "amp.overrides: \"%s\" is not NAME=fp32 or NAME=low type (an op, a scope, or a scope's beginning and *)",
                       item);
    if (fp8 ? p->low != HS_BF16 : d != HS_F32 && d != p->low)
        return HS_FAIL(USAGE, "amp.overrides: %s asks for %s; this policy knows fp32%s%s", item, fp8 ? "fp8" : hs_dtype_name(d),
                       p->low == HS_F32    ? ""
                       : p->low == HS_BF16 ? ", fp8 and "
                                           : " and ",
                       p->low == HS_F32 ? "" : hs_dtype_name(p->low));
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

hs_status hs_policy_override(hs_policy *p, const char *overrides)
{
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
            HS_TRY(parse_override(p, first));
    }
    return HS_OK;
}
