// Reading ONNX: messages into structs of ours. What is left in the mapped file is raw bytes of tensors; names, and numbers that files hold
// as lists, are copied. Fields that are not read here - documentation, shapes in between, metadata - are passed over.
#include "data/formats/onnx_read.h"
#include "core/base/grow.h"
#include <stdlib.h>
#include <string.h>

// Fields of that number in a message.
static hs_status count_of(hs_pb m, uint32_t number, int *n)
{
    hs_pb_field f;
    bool more;
    int64_t count = 0;
    for (;;) {
        HS_TRY(hs_pb_next(&m, &f, &more));
        if (!more)
            break;
        count += f.number == number;
    }
    if (count > INT32_MAX - 1) // a message need not end at 2 GB, and an empty field takes two bytes
        return HS_FAIL(CORRUPT, "%s: byte %lld: a message with %lld fields of one kind", m.path, (long long)(m.at - m.file),
                       (long long)count);
    *n = (int)count;
    return HS_OK;
}

// ---- nodes

static hs_status read_attr(hs_onnx *x, hs_pb m, hs_onnx_attr *a)
{
    hs_onnx_numbers l = { .of = x, .bytes = 8 };
    hs_pb_field f;
    bool more;
    hs_status st;
    const void *ints;
    a->name = "";
    while ((st = hs_pb_next(&m, &f, &more)) == HS_OK && more) {
        if (f.number == 1 && (st = hs_pb_expect(&m, &f, HS_PB_BYTES, "an attribute")) == HS_OK)
            st = hs_onnx_read_text(x, &f.message, &a->name);
        else if (f.number == 2 && (st = hs_pb_expect(&m, &f, HS_PB_FIXED32, "an attribute")) == HS_OK)
            memcpy(&a->f, &(uint32_t){ (uint32_t)f.value }, sizeof a->f);
        else if (f.number == 3 && (st = hs_pb_expect(&m, &f, HS_PB_VARINT, "an attribute")) == HS_OK)
            a->i = (int64_t)f.value;
        else if (f.number == 4 && (st = hs_pb_expect(&m, &f, HS_PB_BYTES, "an attribute")) == HS_OK)
            st = hs_onnx_read_text(x, &f.message, &a->s);
        else if (f.number == 5 && (st = hs_pb_expect(&m, &f, HS_PB_BYTES, "an attribute")) == HS_OK) {
            hs_onnx_tensor *t = hs_onnx_alloc(x, sizeof *t);
            st = t ? hs_onnx_read_tensor(x, &f.message, t) : hs_onnx_no_memory(x);
            a->t = t;
        } else if (f.number == 8)
            st = hs_onnx_add_numbers(&l, &m, &f, HS_PB_VARINT);
        else if (f.number == 20 && (st = hs_pb_expect(&m, &f, HS_PB_VARINT, "an attribute")) == HS_OK)
            a->kind = (hs_onnx_attr_kind)(f.value < 100 ? f.value : 100);
        if (st != HS_OK)
            break;
    }
    if (st == HS_OK && l.n > INT32_MAX)
        st = HS_FAIL(CORRUPT, "%s: attribute \"%s\" has %lld numbers", x->path, a->name, (long long)l.n);
    if (st != HS_OK) {
        free(l.p);
        return st;
    }
    a->n = (int)l.n;
    HS_TRY(hs_onnx_keep_numbers(x, &l, &ints));
    a->ints = ints;
    return a->kind == HS_ONNX_TENSOR && !a->t ? HS_FAIL(CORRUPT, "%s: attribute \"%s\" has no tensor", x->path, a->name) : HS_OK;
}

static hs_status read_node(hs_onnx *x, hs_pb m)
{
    hs_onnx_node n = { .op = "", .domain = "", .name = "" };
    hs_pb_field f;
    bool more;
    int at_in = 0, at_out = 0, at_attr = 0;
    HS_TRY(count_of(m, 1, &n.n_in));
    HS_TRY(count_of(m, 2, &n.n_out));
    HS_TRY(count_of(m, 5, &n.n_attrs));
    n.in = hs_onnx_alloc(x, ((size_t)n.n_in + 1) * sizeof *n.in);
    n.out = hs_onnx_alloc(x, ((size_t)n.n_out + 1) * sizeof *n.out);
    n.attr = hs_onnx_alloc(x, ((size_t)n.n_attrs + 1) * sizeof *n.attr);
    if (!n.in || !n.out || !n.attr)
        return hs_onnx_no_memory(x);
    for (;;) {
        HS_TRY(hs_pb_next(&m, &f, &more));
        if (!more)
            break;
        const char **text = f.number == 1   ? &n.in[at_in++]
                            : f.number == 2 ? &n.out[at_out++]
                            : f.number == 3 ? &n.name
                            : f.number == 4 ? &n.op
                            : f.number == 7 ? &n.domain
                                            : NULL;
        if (!text && f.number != 5)
            continue;
        HS_ONNX_EXPECT(HS_PB_BYTES, "a node");
        if (text)
            HS_TRY(hs_onnx_read_text(x, &f.message, text));
        else
            HS_TRY(read_attr(x, f.message, &n.attr[at_attr++]));
    }
    if (strcmp(n.domain, "ai.onnx") == 0)
        n.domain = "";
    if (!hs_grow(&x->node, x->n_nodes, &x->cap_nodes, sizeof *x->node))
        return hs_onnx_no_memory(x);
    x->node[x->n_nodes++] = n;
    return HS_OK;
}

// ---- inputs and outputs: ValueInfoProto > TypeProto > Tensor > TensorShapeProto > Dimension

// The message in field `number` of m, the last one; *found.
static hs_status inside(hs_pb m, uint32_t number, hs_pb *out, bool *found)
{
    hs_pb_field f;
    bool more;
    *found = false;
    for (;;) {
        HS_TRY(hs_pb_next(&m, &f, &more));
        if (!more)
            return HS_OK;
        if (f.number == number && f.kind == HS_PB_BYTES)
            *out = f.message, *found = true;
    }
}

static hs_status read_dim(hs_onnx *x, hs_pb m, hs_onnx_dim *d)
{
    hs_pb_field f;
    bool more;
    d->symbol = "";
    for (;;) {
        HS_TRY(hs_pb_next(&m, &f, &more));
        if (!more)
            return HS_OK;
        if (f.number == 1 && f.kind == HS_PB_VARINT)
            *d = (hs_onnx_dim){ (int64_t)f.value, NULL };
        else if (f.number == 2 && f.kind == HS_PB_BYTES)
            HS_TRY(hs_onnx_read_text(x, &f.message, &d->symbol));
    }
}

static hs_status read_shape(hs_onnx *x, hs_pb m, hs_onnx_value *v)
{
    hs_pb_field f;
    bool more;
    for (;;) {
        HS_TRY(hs_pb_next(&m, &f, &more));
        if (!more)
            return HS_OK;
        if (f.number != 1 || f.kind != HS_PB_BYTES)
            continue;
        if (v->n_dims == HS_ONNX_DIMS)
            return HS_FAIL(UNSUPPORTED, "%s: \"%s\" has more than %d dimensions", x->path, v->name, HS_ONNX_DIMS);
        HS_TRY(read_dim(x, f.message, &v->dim[v->n_dims++]));
    }
}

static hs_status read_value(hs_onnx *x, hs_pb m, hs_onnx_value *v)
{
    hs_pb name, type, tensor, shape;
    hs_pb_field f;
    bool found, more;
    *v = (hs_onnx_value){ .name = "" };
    HS_TRY(inside(m, 1, &name, &found));
    if (found)
        HS_TRY(hs_onnx_read_text(x, &name, &v->name));
    HS_TRY(inside(m, 2, &type, &found));
    if (found)
        HS_TRY(inside(type, 1, &tensor, &found));
    if (!found) // a sequence, a map, or nothing is said
        return HS_OK;
    HS_TRY(inside(tensor, 2, &shape, &found));
    if (found)
        HS_TRY(read_shape(x, shape, v));
    for (;;) {
        HS_TRY(hs_pb_next(&tensor, &f, &more));
        if (!more)
            return HS_OK;
        if (f.number == 1 && f.kind == HS_PB_VARINT)
            v->type = (hs_onnx_type)(f.value < 100 ? f.value : 100);
    }
}

static bool is_init(const hs_onnx *x, const char *name)
{
    for (int i = 0; i < x->n_inits; i++)
        if (strcmp(x->init[i].name, name) == 0)
            return true;
    return false;
}

static hs_status read_values(hs_onnx *x, hs_pb m, uint32_t number, hs_onnx_value **all, int *n, int *capacity)
{
    hs_pb_field f;
    hs_onnx_value v;
    bool more;
    for (;;) {
        HS_TRY(hs_pb_next(&m, &f, &more));
        if (!more)
            return HS_OK;
        if (f.number != number)
            continue;
        HS_ONNX_EXPECT(HS_PB_BYTES, "a graph");
        HS_TRY(read_value(x, f.message, &v));
        if (number == 11 && is_init(x, v.name)) // of before IR version 4 weights are inputs as well
            continue;
        if (!hs_grow(all, *n, capacity, sizeof v))
            return hs_onnx_no_memory(x);
        (*all)[(*n)++] = v;
    }
}

// ---- the whole

static hs_status read_graph(hs_onnx *x, hs_pb m)
{
    hs_pb_field f;
    bool more;
    for (hs_pb all = m;;) {
        HS_TRY(hs_pb_next(&all, &f, &more));
        if (!more)
            break;
        if (f.number == 15)
            return HS_FAIL(UNSUPPORTED, "%s: it has sparse tensors", x->path);
        if (f.number != 1 && f.number != 2 && f.number != 5)
            continue;
        HS_ONNX_EXPECT(HS_PB_BYTES, "a graph");
        if (f.number == 1)
            HS_TRY(read_node(x, f.message));
        else if (f.number == 2)
            HS_TRY(hs_onnx_read_text(x, &f.message, &x->graph_name));
        else {
            if (!hs_grow(&x->init, x->n_inits, &x->cap_inits, sizeof *x->init))
                return hs_onnx_no_memory(x);
            HS_TRY(hs_onnx_read_tensor(x, &f.message, &x->init[x->n_inits]));
            x->n_inits++;
        }
    }
    HS_TRY(read_values(x, m, 11, &x->in, &x->n_ins, &x->cap_ins));
    return read_values(x, m, 12, &x->out, &x->n_outs, &x->cap_outs);
}

static hs_status read_opset(hs_onnx *x, hs_pb m)
{
    hs_onnx_opset o = { "", 0 };
    hs_pb_field f;
    bool more;
    for (;;) {
        HS_TRY(hs_pb_next(&m, &f, &more));
        if (!more)
            break;
        if (f.number == 1 && f.kind == HS_PB_BYTES)
            HS_TRY(hs_onnx_read_text(x, &f.message, &o.domain));
        else if (f.number == 2 && f.kind == HS_PB_VARINT)
            o.version = (int64_t)f.value;
    }
    if (strcmp(o.domain, "ai.onnx") == 0)
        o.domain = "";
    if (!hs_grow(&x->opset, x->n_opsets, &x->cap_opsets, sizeof *x->opset))
        return hs_onnx_no_memory(x);
    x->opset[x->n_opsets++] = o;
    return HS_OK;
}

static hs_status read_model(hs_onnx *x, hs_pb m)
{
    hs_pb_field f;
    bool more, graph = false;
    for (;;) {
        HS_TRY(hs_pb_next(&m, &f, &more));
        if (!more)
            break;
        if (f.number == 1 && f.kind == HS_PB_VARINT)
            x->ir_version = (int64_t)f.value;
        else if (f.number == 2 && f.kind == HS_PB_BYTES)
            HS_TRY(hs_onnx_read_text(x, &f.message, &x->producer));
        else if (f.number == 8 && f.kind == HS_PB_BYTES)
            HS_TRY(read_opset(x, f.message));
        else if (f.number == 7) {
            HS_ONNX_EXPECT(HS_PB_BYTES, "a model");
            if (graph)
                return HS_FAIL(CORRUPT, "%s: it has two graphs", x->path);
            graph = true;
            HS_TRY(read_graph(x, f.message));
        }
    }
    if (!graph || x->ir_version < 1 || !x->n_opsets)
        return HS_FAIL(CORRUPT, "%s is no ONNX model: it has no %s", x->path, !graph ? "graph" : !x->n_opsets ? "operator set" : "version");
    return HS_OK;
}

hs_status hs_onnx_open(hs_onnx **out, const char *path)
{
    hs_onnx *x;
    *out = NULL;
    HS_TRY(hs_onnx_new(&x));
    x->path = strdup(path);
    hs_status st = x->path ? hs_file_map(&x->file, path) : HS_FAIL(MEMORY, "%s: no memory to open it", path);
    if (st == HS_OK)
        st = read_model(x, hs_pb_of(x->path, x->file.data, x->file.bytes));
    if (st != HS_OK) {
        hs_onnx_close(x);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = x;
    return HS_OK;
}
