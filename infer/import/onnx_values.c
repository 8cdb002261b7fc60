// onnx_values: see the header.
#include "infer/import/onnx_values.h"
#include "core/base/grow.h"
#include "core/base/rng.h"
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 12, STEPS = 200 }; // operators behind a constant: one behind the other, and all that are computed for it
enum { NEVER = DEPTH + 1 };

typedef struct history { // of what a node makes
    int depth;           // of operators behind it; NEVER: it depends on inputs, or on too many
    int steps;           // at most STEPS + 1
} history;

typedef struct reader {
    hs_onnx_reading at; // first
    int next;           // index + 1 of the next whose name has the same hash
} reader;

struct hs_onnx_values {
    const hs_onnx *m;
    const char *path;
    struct hs_map *init, *node, *first; // by hash of a name: index + 1; of the first that reads it
    history *past;                      // by node
    reader *reader;                     // every input of every node
    int n_readers;
};

// Nodes stand in the order of execution: what is made further down is not there yet.
static history look_back(const hs_onnx_values *v, int index)
{
    const hs_onnx_node *n = &v->m->node[index];
    history h = { 0, 1 };
    if (strcmp(n->op, "Constant") == 0)
        return h;
    h.depth = n->n_in > 0 ? 1 : NEVER;
    for (int i = 0; i < n->n_in && h.depth < NEVER; i++) {
        const hs_onnx_node *maker = hs_onnx_maker(v, n->in[i]);
        if (!*n->in[i] || hs_onnx_initializer(v, n->in[i]))
            continue;
        const int64_t at = maker ? maker - v->m->node : index;
        const history before = at < index ? v->past[at] : (history){ NEVER, 0 };
        if (before.depth + 1 > h.depth)
            h.depth = before.depth < NEVER ? before.depth + 1 : NEVER;
        h.steps = h.steps + before.steps > STEPS ? STEPS + 1 : h.steps + before.steps;
    }
    return h;
}

// From the last to the first, each in front of what is there.
static bool index_readers(hs_onnx_values *v)
{
    int64_t n = 0;
    for (int i = 0; i < v->m->n_nodes; i++)
        n += v->m->node[i].n_in;
    if (n < INT32_MAX)
        v->reader = calloc((size_t)n + 1, sizeof *v->reader);
    for (int i = v->m->n_nodes - 1; v->reader && i >= 0; i--)
        for (int k = v->m->node[i].n_in - 1; k >= 0; k--) {
            int *first = hs_map_at(&v->first, hs_hash_string(v->m->node[i].in[k]));
            if (!first)
                return false;
            v->reader[v->n_readers++] = (reader){ { &v->m->node[i], k }, *first };
            *first = v->n_readers;
        }
    return v->reader != NULL;
}

hs_status hs_onnx_values_new(hs_onnx_values **out, const hs_onnx *m, const char *path)
{
    hs_onnx_values *v = calloc(1, sizeof *v);
    bool ok = v != NULL;
    *out = v;
    if (v)
        v->m = m, v->path = path;
    for (int i = 0; ok && i < m->n_inits; i++) {
        int *at = hs_map_at(&v->init, hs_hash_string(m->init[i].name));
        ok = at != NULL;
        if (at)
            *at = i + 1;
    }
    for (int i = 0; ok && i < m->n_nodes; i++)
        for (int k = 0; ok && k < m->node[i].n_out; k++) {
            int *at = hs_map_at(&v->node, hs_hash_string(m->node[i].out[k]));
            ok = at != NULL;
            if (at)
                *at = i + 1;
        }
    ok = ok && index_readers(v);
    if (ok)
        ok = (v->past = calloc((size_t)m->n_nodes + 1, sizeof *v->past)) != NULL;
    for (int i = 0; ok && i < m->n_nodes; i++)
        v->past[i] = look_back(v, i);
    return ok ? HS_OK : HS_FAIL(MEMORY, "%s: no memory for the names of its values", path);
}

void hs_onnx_values_free(hs_onnx_values *v)
{
    if (!v)
        return;
    hs_map_free(v->init);
    hs_map_free(v->node);
    hs_map_free(v->first);
    free(v->reader);
    free(v->past);
    free(v);
}

const hs_onnx_tensor *hs_onnx_initializer(const hs_onnx_values *v, const char *name)
{
    const int i = v->init ? hs_map_get(v->init, hs_hash_string(name)) : 0;
    return i > 0 && strcmp(v->m->init[i - 1].name, name) == 0 ? &v->m->init[i - 1] : NULL;
}

const hs_onnx_node *hs_onnx_maker(const hs_onnx_values *v, const char *name)
{
    const int i = v->node && *name ? hs_map_get(v->node, hs_hash_string(name)) : 0;
    const hs_onnx_node *n = i > 0 ? &v->m->node[i - 1] : NULL;
    for (int k = 0; n && k < n->n_out; k++)
        if (strcmp(n->out[k], name) == 0)
            return n;
    return NULL;
}

const char *hs_onnx_called(const hs_onnx_node *n) { return *n->name ? n->name : n->n_out > 0 && *n->out[0] ? n->out[0] : "without a name"; }

const hs_onnx_reading *hs_onnx_reader(const hs_onnx_values *v, const char *name, const hs_onnx_reading *last)
{
    int i = last ? ((const reader *)last)->next : v->first ? hs_map_get(v->first, hs_hash_string(name)) : 0;
    while (i > 0 && strcmp(v->reader[i - 1].at.node->in[v->reader[i - 1].at.input], name) != 0)
        i = v->reader[i - 1].next;
    return i > 0 ? &v->reader[i - 1].at : NULL;
}

// ---- constants
static int64_t count(const hs_onnx_constant *c)
{
    int64_t n = 1;
    for (int i = 0; i < c->n_dims; i++)
        n *= c->dim[i];
    return n;
}

static hs_status no_memory(const hs_onnx_values *v, const char *name)
{
    return HS_FAIL(MEMORY, "%s: no memory for \"%.200s\"", v->path, name);
}

static hs_status of_tensor(const hs_onnx_values *v, const hs_onnx_tensor *t, const char *name, hs_onnx_constant *out)
{
    const hs_dtype d = hs_onnx_dtype(t->type);
    const int64_t n = hs_onnx_count(t);
    if (d == HS_N_DTYPES)
        return HS_FAIL(UNSUPPORTED, "%s: \"%.200s\" is of type %s, which is not read as numbers", v->path, name,
                       hs_onnx_type_name(t->type));
    *out = (hs_onnx_constant){ .n_dims = t->n_dims, .v = malloc((size_t)(n > 0 ? n : 1) * sizeof(float)) };
    void *aligned = malloc(t->bytes > 0 ? t->bytes : 1);
    if (!out->v || !aligned) {
        free(out->v);
        free(aligned);
        return no_memory(v, name);
    }
    memcpy(out->dim, t->dim, sizeof out->dim);
    memcpy(aligned, t->data, t->bytes);
    hs_convert(out->v, HS_F32, aligned, d, n);
    free(aligned);
    return HS_OK;
}

static hs_status constant(const hs_onnx_values *v, const char *name, int depth, hs_onnx_constant *out);

// b is one number, a number for each of a's last dim, or as large as a.
static float *beside(const hs_onnx_constant *a, const hs_onnx_constant *b, int64_t i)
{
    const int64_t n = count(b), width = a->n_dims ? a->dim[a->n_dims - 1] : 1;
    return b->v + (n == 1 ? 0 : n == width && n != count(a) ? i % width : i);
}

static bool fits(const hs_onnx_constant *a, const hs_onnx_constant *b)
{
    const int64_t n = count(b);
    if (n == 1 || (n == count(a) && a->n_dims == b->n_dims))
        return true;
    // [.., 1, width]: a number for each column, or [rows, 1]: for each row, which is the same to nobody
    return a->n_dims > 0 && n == a->dim[a->n_dims - 1] && b->n_dims > 0 && b->dim[b->n_dims - 1] == n;
}

// Of b [rows, 1] beside a [rows, width].
static bool by_row(const hs_onnx_constant *a, const hs_onnx_constant *b)
{
    return a->n_dims == 2 && b->n_dims == 2 && b->dim[1] == 1 && b->dim[0] == a->dim[0] && a->dim[1] > 1;
}

static hs_status binary(const hs_onnx_values *v, const hs_onnx_node *n, int depth, hs_onnx_constant *out)
{
    hs_onnx_constant a, b;
    HS_TRY(constant(v, n->in[0], depth, &a));
    hs_status st = constant(v, n->in[1], depth, &b);
    if (st != HS_OK) {
        free(a.v);
        return st;
    }
    if (count(&a) < count(&b) && strcmp(n->op, "Sub") != 0 && strcmp(n->op, "Div") != 0) {
        const hs_onnx_constant c = a;
        a = b, b = c;
    }
    if (!fits(&a, &b) && !by_row(&a, &b))
        st = HS_FAIL(UNSUPPORTED, "%s: node %s (%s): constants of other shapes than are computed here", v->path, hs_onnx_called(n), n->op);
    for (int64_t i = 0, all = count(&a); st == HS_OK && i < all; i++) {
        const float other = by_row(&a, &b) ? b.v[i / a.dim[1]] : *beside(&a, &b, i);
        a.v[i] = *n->op == 'M' ? a.v[i] * other : *n->op == 'D' ? a.v[i] / other : *n->op == 'S' ? a.v[i] - other : a.v[i] + other;
    }
    free(b.v);
    if (st != HS_OK)
        free(a.v);
    else
        *out = a;
    return st;
}

static hs_status transposed(const hs_onnx_values *v, const hs_onnx_node *n, int depth, hs_onnx_constant *out)
{
    const hs_onnx_attr *perm = hs_onnx_attr_of(n, "perm");
    hs_onnx_constant a;
    HS_TRY(constant(v, n->in[0], depth, &a));
    const bool turns = a.n_dims == 2 && (!perm || (perm->n == 2 && perm->ints[0] == 1 && perm->ints[1] == 0));
    *out =
        (hs_onnx_constant){ .n_dims = 2, .dim = { a.dim[1], a.dim[0] }, .v = turns ? malloc((size_t)count(&a) * sizeof(float) + 1) : NULL };
    if (out->v)
        hs_turn_f32(out->v, a.dim[0], a.v, a.dim[1], a.dim[0], a.dim[1]);
    free(a.v);
    if (!turns)
        return HS_FAIL(UNSUPPORTED, "%s: node %s transposes other than two dimensions", v->path, hs_onnx_called(n));
    return out->v ? HS_OK : no_memory(v, n->out[0]);
}

// (x - zero) scale, one of each, or one for each place of an axis.
static hs_status dequantized(const hs_onnx_values *v, const hs_onnx_node *n, int depth, hs_onnx_constant *out)
{
    hs_onnx_constant scale = { 0 }, zero = { 0 };
    HS_TRY(constant(v, n->in[0], depth, out));
    hs_status st = constant(v, n->in[1], depth, &scale);
    if (st == HS_OK && n->n_in > 2 && *n->in[2])
        st = constant(v, n->in[2], depth, &zero);
    int64_t axis = hs_onnx_int(n, "axis", 1), inner = 1;
    axis = axis < 0 ? axis + out->n_dims : axis;
    const bool by_axis = axis >= 0 && axis < out->n_dims;
    for (int64_t i = by_axis ? axis + 1 : out->n_dims; i < out->n_dims; i++)
        inner *= out->dim[i];
    const int64_t places = st == HS_OK ? count(&scale) : 1;
    if (st == HS_OK &&
        ((places != 1 && (!by_axis || places != out->dim[axis])) || (zero.v && count(&zero) != places) || hs_onnx_int(n, "block_size", 0)))
        st = HS_FAIL(UNSUPPORTED, "%s: node %s (DequantizeLinear): scales that are not by tensor or by axis", v->path, hs_onnx_called(n));
    for (int64_t i = 0, all = count(out); st == HS_OK && i < all; i++) {
        const int64_t k = places == 1 ? 0 : i / inner % places;
        out->v[i] = (out->v[i] - (zero.v ? zero.v[k] : 0)) * scale.v[k];
    }
    free(scale.v);
    free(zero.v);
    if (st != HS_OK)
        free(out->v);
    return st;
}

static hs_status same(const hs_onnx_values *v, const hs_onnx_node *n, int depth, hs_onnx_constant *out)
{
    return constant(v, n->in[0], depth, out); // all numbers are f32 here
}

static const struct {
    const char *op;
    int n_in; // constants among its inputs, at least
    hs_status (*make)(const hs_onnx_values *v, const hs_onnx_node *n, int depth, hs_onnx_constant *out);
} makers[] = { { "Cast", 1, same },  { "Identity", 1, same }, { "Mul", 2, binary },           { "Add", 2, binary },
               { "Sub", 2, binary }, { "Div", 2, binary },    { "Transpose", 1, transposed }, { "DequantizeLinear", 2, dequantized } };

static hs_status constant(const hs_onnx_values *v, const char *name, int depth, hs_onnx_constant *out)
{
    const hs_onnx_tensor *t = hs_onnx_initializer(v, name);
    const hs_onnx_node *n = hs_onnx_maker(v, name);
    if (t)
        return of_tensor(v, t, name, out);
    const hs_onnx_attr *value = n && strcmp(n->op, "Constant") == 0 ? hs_onnx_attr_of(n, "value") : NULL;
    if (value && value->t)
        return of_tensor(v, value->t, name, out);
    for (int i = 0; n && depth > 0 && i < HS_COUNT(makers); i++)
        if (strcmp(makers[i].op, n->op) == 0 && n->n_in >= makers[i].n_in)
            return makers[i].make(v, n, depth - 1, out);
    return HS_FAIL(UNSUPPORTED, "%s: \"%.200s\" is made by %s, which is not computed here", v->path, name, n ? n->op : "an input");
}

bool hs_onnx_is_constant(const hs_onnx_values *v, const char *name)
{
    const hs_onnx_node *n = hs_onnx_maker(v, name);
    return hs_onnx_initializer(v, name) || (n && v->past[n - v->m->node].depth <= DEPTH);
}

hs_status hs_onnx_constant_of(const hs_onnx_values *v, const char *name, hs_onnx_constant *out)
{
    const hs_onnx_node *n = hs_onnx_initializer(v, name) ? NULL : hs_onnx_maker(v, name);
    if (n && v->past[n - v->m->node].steps > STEPS)
        return HS_FAIL(UNSUPPORTED, "%s: more than %d operators make \"%.200s\"", v->path, STEPS, name);
    return constant(v, name, DEPTH, out);
}

int hs_onnx_ints(const hs_onnx_values *v, const char *name, int64_t *out, int most)
{
    const hs_onnx_tensor *t = hs_onnx_initializer(v, name);
    const hs_onnx_node *n = hs_onnx_maker(v, name);
    const hs_onnx_attr *value = n && strcmp(n->op, "Constant") == 0 ? hs_onnx_attr_of(n, "value") : NULL;
    t = t ? t : value ? value->t : NULL;
    if (!t || t->type != HS_ONNX_I64 || hs_onnx_count(t) > most)
        return -1;
    memcpy(out, t->data, t->bytes);
    return (int)hs_onnx_count(t);
}
