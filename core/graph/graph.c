// graph: the trace as it grows - scopes, inputs, parameters, states, nodes - and its first error, which all later builders leave alone.
#include "core/graph/graph.h"
#include "core/base/clock.h"
#include "core/base/grow.h"
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "core/run/trace.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static hs_tensor *no_memory(hs_graph *g) { return hs_graph_fail(g, HS_MEMORY, "no memory for a graph of %d nodes", g->n_nodes); }

typedef struct hs_block {
    struct hs_block *next;
    max_align_t bytes[];
} hs_block;

static char *block_new(hs_graph *g, size_t bytes)
{
    hs_block *b = calloc(1, sizeof *b + bytes);
    if (!b) {
        no_memory(g);
        return NULL;
    }
    b->next = g->block;
    g->block = b;
    return (char *)b->bytes;
}

// A graph is thousands of small things that live as long as it does. Blocks are small, so that a plan takes the memory that the one before
// gave back.
void *hs_graph_alloc(hs_graph *g, size_t bytes)
{
    enum { ALIGN = _Alignof(max_align_t) };
    const size_t size = (bytes + !bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (size > g->block_bytes / 8)
        return block_new(g, size);
    if (size > g->left) {
        g->at = block_new(g, g->block_bytes);
        g->left = g->at ? g->block_bytes : 0;
        if (!g->at)
            return NULL;
    }
    void *p = g->at;
    g->at += size, g->left -= size;
    return p;
}

static hs_tensor *tensor_new(hs_graph *g, hs_kind kind, hs_dtype d)
{
    hs_tensor *t = hs_graph_alloc(g, sizeof *t);
    if (!t || !hs_grow(&g->tensor, g->n_tensors, &g->cap_tensors, sizeof *g->tensor))
        return no_memory(g);
    *t = (hs_tensor){ .kind = kind, .dtype = d, .scope = hs_scope(g), .id = g->n_tensors };
    g->tensor[g->n_tensors++] = t;
    return t;
}

bool hs_node_reads_low(const hs_params *ps, const hs_node *n, int i)
{
    const hs_operand *fact = &n->op->in[i];
    if (fact->amp == HS_AMP_LOW)
        return n->low != HS_F32;
    return fact->flags & HS_LOW_VALUE && n->low == HS_BF16 && ps->masters == HS_MASTERS_NONE;
}

hs_status hs_graph_new(hs_graph **out, hs_params *ps, hs_states *states, hs_mode mode, const hs_grid *grid)
{
    if (grid && grid->tp && (grid->tp->rank != ps->tp_rank || grid->tp->size != ps->tp_size))
        return HS_FAIL(INTERNAL, "parameters of tensor-parallel rank %d of %d, traced on rank %d of %d", ps->tp_rank, ps->tp_size,
                       grid->tp->rank, grid->tp->size);
    hs_graph *g = calloc(1, sizeof *g);
    if (!g)
        return HS_FAIL(MEMORY, "no memory for a graph");
    g->mode = mode, g->params = ps, g->states = states;
    g->grid = grid && grid->dp ? *grid : hs_grid_self();
    g->state_dtype = HS_F32;
    g->start = hs_now_ns();
    g->block_bytes = 32 << 10;
    g->poison = hs_graph_alloc(g, sizeof *g->poison);
    if (!g->poison) {
        hs_graph_free(g);
        return HS_FAIL(MEMORY, "no memory for a graph");
    }
    *g->poison = (hs_tensor){ .dtype = HS_F32, .n_dims = 2, .dim = { 1, 8 }, .scope = "", .id = -1 };
    *out = g;
    return HS_OK;
}

void hs_graph_free(hs_graph *g)
{
    if (!g)
        return;
    for (hs_block *b = g->block, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(g->node);
    free(g->tensor);
    free(g->input);
    free(g->param_tensor);
    hs_map_free(g->site);
    free(g);
}

hs_status hs_graph_status(const hs_graph *g)
{
    return g->status == HS_OK ? HS_OK : hs_fail_at(g->status, __FILE__, __LINE__, "%s", g->error);
}

hs_tensor *hs_graph_fail(hs_graph *g, hs_status st, const char *fmt, ...)
{
    if (g->status != HS_OK)
        return g->poison;
    g->status = st;
    int at = g->scope_len ? snprintf(g->error, sizeof g->error, "%s: ", g->scope) : 0;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g->error + at, sizeof g->error - (size_t)at, fmt, ap);
    va_end(ap);
    return g->poison;
}

size_t hs_push(hs_graph *g, const char *fmt, ...)
{
    const size_t mark = g->scope_len;
    char name[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    const int n = snprintf(g->scope + mark, sizeof g->scope - mark, "%s%s", mark ? "." : "", name);
    if ((size_t)n >= sizeof g->scope - mark) {
        g->scope[mark] = 0;
        hs_graph_fail(g, HS_USAGE, "scope \"%s\" makes a path longer than %zu", name, sizeof g->scope - 1);
        return mark;
    }
    g->scope_len = mark + (size_t)n;
    g->interned = NULL;
    return mark;
}

void hs_block_begin(hs_graph *g) { g->in_block = ++g->n_blocks; }
void hs_block_end(hs_graph *g) { g->in_block = 0; }

void hs_pop(hs_graph *g, size_t mark)
{
    g->scope_len = mark;
    g->scope[mark] = 0;
    g->interned = NULL;
}

const char *hs_scope(hs_graph *g)
{
    if (!g->interned) {
        char *s = hs_graph_alloc(g, g->scope_len + 1);
        if (!s)
            return "";
        memcpy(s, g->scope, g->scope_len);
        g->interned = s;
    }
    return g->interned;
}

static char *copy_string(hs_graph *g, const char *s)
{
    char *p = hs_graph_alloc(g, strlen(s) + 1);
    return p ? strcpy(p, s) : NULL;
}

static hs_status check_extent(const char *name, hs_ext e, int64_t rows)
{
    const int counter = hs_ext_counter(e);
    const long long unit = hs_ext_unit(e), plus = hs_ext_plus(e);
    if (counter >= HS_N_COUNTERS)
        return HS_FAIL(USAGE, "input %s: an extent counts by %d, allowed 0 to %d", name, counter, HS_N_COUNTERS - 1);
    if (e != HS_EXT_FIXED && unit < 1)
        return HS_FAIL(USAGE, "input %s: an extent of %s without rows", name, hs_counter_name(counter));
    if (e == HS_EXT_FIXED || (rows > plus && (rows - plus) % unit == 0))
        return HS_OK;
    char more[32] = "";
    if (plus)
        snprintf(more, sizeof more, " and %lld more", plus);
    return HS_FAIL(USAGE, "input %s: %lld rows are no whole number of %s of %lld rows%s", name, (long long)rows, hs_counter_name(counter),
                   unit, more);
}

hs_tensor *hs_input(hs_graph *g, const char *name, hs_dtype d, hs_ext ext, int n_dims, const int64_t *dim)
{
    if (n_dims < 1 || n_dims > HS_MAX_DIMS)
        return hs_graph_fail(g, HS_USAGE, "input %s: %d dimensions, allowed 1 to %d", name, n_dims, HS_MAX_DIMS);
    for (int i = 0; i < g->n_inputs; i++)
        if (!strcmp(g->input[i]->name, name))
            return hs_graph_fail(g, HS_USAGE, "input %s exists already", name);
    for (int i = 0; i < n_dims; i++)
        if (dim[i] < 1)
            return hs_graph_fail(g, HS_USAGE, "input %s: dimension %d is %lld", name, i, (long long)dim[i]);
    const hs_status st = check_extent(name, ext, dim[0]);
    if (st != HS_OK)
        return hs_graph_fail(g, st, "%s", hs_error());
    hs_tensor *t = tensor_new(g, HS_INPUT, d);
    if (t == g->poison)
        return t;
    t->name = copy_string(g, name);
    if (!t->name || !hs_grow(&g->input, g->n_inputs, &g->cap_inputs, sizeof *g->input))
        return no_memory(g);
    t->ext = ext;
    t->n_dims = (uint8_t)n_dims;
    memcpy(t->dim, dim, (size_t)n_dims * sizeof *dim);
    g->input[g->n_inputs++] = t;
    return t;
}

void hs_input_default(hs_graph *g, hs_tensor *input, double value)
{
    if (input == g->poison)
        return;
    if (input->kind != HS_INPUT)
        hs_graph_fail(g, HS_INTERNAL, "only an input has a default");
    input->has_fill = true;
    input->fill = value;
}

void hs_input_passed(hs_graph *g, hs_tensor *input)
{
    if (input == g->poison)
        return;
    if (input->kind != HS_INPUT)
        hs_graph_fail(g, HS_INTERNAL, "only to an input is anything passed");
    input->passed = true;
}

static hs_tensor *param_tensor(hs_graph *g, hs_param *p)
{
    if (p->id >= g->n_param_tensors) {
        const int n = p->id + 64;
        hs_tensor **more = realloc(g->param_tensor, (size_t)n * sizeof *more);
        if (!more)
            return no_memory(g);
        g->param_tensor = more;
        memset(g->param_tensor + g->n_param_tensors, 0, (size_t)(n - g->n_param_tensors) * sizeof *g->param_tensor);
        g->n_param_tensors = n;
    }
    hs_tensor *t = g->param_tensor[p->id];
    if (t)
        return t;
    t = tensor_new(g, HS_PARAM, HS_F32);
    if (t == g->poison)
        return t;
    g->param_tensor[p->id] = t;
    t->name = p->name;
    t->param = p;
    t->n_dims = (uint8_t)p->n_dims;
    memcpy(t->dim, p->dim, sizeof t->dim);
    return t;
}

hs_tensor *hs_param_view(hs_graph *g, hs_param *p, hs_view view)
{
    hs_tensor like = { .kind = HS_PARAM, .name = p->name, .param = p, .view = (uint8_t)view };
    int n_dims;
    if (!hs_coding_shape(p->coding, view, p->dim[0], (int64_t)p->n / p->dim[0], &like.dtype, &n_dims, like.dim))
        return NULL;
    hs_tensor *t = tensor_new(g, HS_PARAM, like.dtype);
    if (t == g->poison)
        return t;
    like.scope = t->scope, like.id = t->id, like.n_dims = (uint8_t)n_dims;
    *t = like;
    return t;
}

hs_tensor *hs_param_get(hs_graph *g, const hs_param_spec *spec)
{
    if (g->status != HS_OK)
        return g->poison;
    char name[384];
    snprintf(name, sizeof name, "%s%s%s", g->scope, g->scope_len ? "." : "", spec->name);
    hs_param_spec full = *spec;
    full.name = name;
    hs_param *p = NULL;
    const hs_status st = hs_params_get(g->params, &full, &p);
    if (st == HS_OK)
        return param_tensor(g, p);
    char why[400];
    snprintf(why, sizeof why, "%s", hs_error());
    return hs_graph_fail(g, st, "%s", why);
}

hs_tensor *hs_state_get(hs_graph *g, const char *name, hs_dtype d, int n_dims, const int64_t *dim)
{
    if (g->status != HS_OK)
        return g->poison;
    if (!g->states)
        return hs_graph_fail(g, HS_INTERNAL, "state %s: the graph was made without states", name);
    hs_states *all = g->states;
    char full[384];
    snprintf(full, sizeof full, "%s%s%s", g->scope, g->scope_len ? "." : "", name);
    hs_state *s = NULL;
    for (int i = 0; i < all->n && !s; i++)
        if (!strcmp(all->state[i]->name, full))
            s = all->state[i];
    if (s && (s->dtype != d || s->n_dims != n_dims || memcmp(s->dim, dim, (size_t)n_dims * sizeof *dim)))
        return hs_graph_fail(g, HS_USAGE, "state %s was made with another shape or type", full);
    if (!s) {
        s = hs_grow(&all->state, all->n, &all->capacity, sizeof *all->state) ? calloc(1, sizeof *s) : NULL;
        if (!s || !(s->name = strdup(full))) {
            free(s);
            return no_memory(g);
        }
        s->dtype = d, s->n_dims = n_dims;
        s->bytes = hs_dtype_bytes(d);
        for (int i = 0; i < n_dims; i++)
            s->dim[i] = dim[i], s->bytes *= (size_t)dim[i];
        s->id = all->n;
        all->state[all->n++] = s;
    }
    hs_tensor *t = tensor_new(g, HS_STATE, d);
    if (t == g->poison)
        return t;
    t->name = s->name;
    t->state = s;
    t->n_dims = (uint8_t)n_dims;
    memcpy(t->dim, dim, (size_t)n_dims * sizeof *dim);
    return t;
}

void hs_output(hs_graph *g, hs_tensor *t)
{
    if (t == g->poison)
        return;
    if (g->n_outputs == HS_GRAPH_OUTPUTS)
        hs_graph_fail(g, HS_USAGE, "more than %d outputs", HS_GRAPH_OUTPUTS);
    else
        g->output[g->n_outputs++] = t;
}

// Scope, op, and which of its nodes under this scope: two dropouts of one block have masks of their own. False: no memory.
static bool set_site(hs_graph *g, hs_node *n)
{
    const uint64_t key = hs_mix2(hs_hash_string(n->scope), hs_hash_string(n->op->name));
    int *count = hs_map_at(&g->site, key);
    if (!count)
        return false;
    n->site = hs_mix2(key, (uint64_t)(*count)++);
    return true;
}

static hs_tensor *refuse(hs_graph *g, const hs_node *n, const char *why)
{
    char text[320];
    size_t at = 0;
    for (int i = 0; i < HS_MAX_IN; i++) {
        char shape[64];
        if (n->in[i] && at < sizeof text)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s %s", at ? " x " : "", n->op->in[i].name,
                                   hs_tensor_shape(n->in[i], shape, sizeof shape));
    }
    return hs_graph_fail(g, HS_USAGE, "%s: %s: %s", n->op->name, why, text);
}

static bool check_inputs(hs_graph *g, const hs_node *n)
{
    char why[96];
    for (int i = 0; i < hs_op_n_in(n->op); i++) {
        const hs_operand *fact = &n->op->in[i];
        if (!n->in[i] && !(fact->flags & HS_OPTIONAL))
            snprintf(why, sizeof why, "input %s is missing", fact->name);
        else if (n->in[i] && hs_dtype_is_float(n->in[i]->dtype) != (fact->amp != HS_AMP_NONE) &&
                 !(fact->flags & HS_BYTES && n->in[i]->dtype == HS_I8))
            snprintf(why, sizeof why, "input %s may not be %s", fact->name, hs_dtype_name(n->in[i]->dtype));
        else
            continue;
        refuse(g, n, why);
        return false;
    }
    return true;
}

static bool make_outputs(hs_graph *g, hs_node *n)
{
    const int first = g->n_tensors, n_out = hs_op_n_out(n->op);
    for (int i = 0; i < n_out; i++) {
        n->out[i] = tensor_new(g, HS_VALUE, HS_F32);
        if (n->out[i] == g->poison)
            return false;
        n->out[i]->from = n;
        n->out[i]->slot = i;
    }
    const char *why = n->op->shape(n);
    if (why) {
        g->n_tensors = first;
        refuse(g, n, why);
    }
    return !why;
}

hs_node *hs_graph_node(hs_graph *g, const hs_op *op, const void *attr, hs_tensor *const *in, int n_in)
{
    if (g->status != HS_OK)
        return NULL;
    hs_node *n = hs_graph_alloc(g, sizeof *n + op->attr_bytes);
    if (!n)
        return NULL;
    *n = (hs_node){ .op = op, .scope = hs_scope(g), .block = g->in_block, .id = -1, .trace = -1, .mode = (uint8_t)g->mode };
    if (op->attr_bytes)
        n->attr = memcpy(n + 1, attr, op->attr_bytes);
    if (n_in > hs_op_n_in(op)) {
        hs_graph_fail(g, HS_INTERNAL, "%s takes %d inputs, got %d", op->name, hs_op_n_in(op), n_in);
        return NULL;
    }
    for (int i = 0; i < n_in; i++)
        n->in[i] = in[i];
    return check_inputs(g, n) && make_outputs(g, n) ? n : NULL;
}

hs_tensor *hs_emit(hs_graph *g, const hs_op *op, const void *attr, hs_tensor *const *in, int n_in)
{
    for (int i = 0; i < n_in; i++)
        if (in[i] == g->poison)
            return g->poison;
    hs_node *n = hs_graph_node(g, op, attr, in, n_in);
    if (!n)
        return g->poison;
    if (!set_site(g, n) || !hs_grow(&g->node, g->n_nodes, &g->cap_nodes, sizeof *g->node))
        return no_memory(g);
    n->id = n->trace = g->n_nodes;
    g->node[g->n_nodes++] = n;
    return n->out[0];
}

hs_states *hs_states_new(void) { return calloc(1, sizeof(hs_states)); }

size_t hs_states_largest_bytes(const hs_states *s)
{
    size_t bytes = 0;
    for (int i = 0; i < s->n; i++)
        bytes += s->state[i]->largest ? hs_state_room(s->state[i]) : 0;
    return bytes;
}

void hs_states_free(hs_states *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->n; i++) {
        free(s->state[i]->name);
        free(s->state[i]);
    }
    free(s->state);
    free(s);
}
