// Reading ONNX: messages into structs of ours. What is left in the mapped file is raw bytes of tensors; names, and numbers that files hold
// as lists, are copied. Fields that are not read here - documentation, shapes in between, metadata - are passed over.
#include "core/base/grow.h"
#include "data/base/file.h"
#include "data/formats/onnx.h"
#include "data/formats/protobuf.h"
#include <stdlib.h>
#include <string.h>

#define EXPECT(kind_, of) HS_TRY(hs_pb_expect(&m, &f, kind_, of))

static hs_status no_memory(const hs_onnx *x) { return HS_FAIL(MEMORY, "%s: no memory to read it", x->path); }

static hs_status text_of(hs_onnx *x, const hs_pb *m, const char **out)
{
    const size_t n = hs_pb_left(m);
    char *p = hs_onnx_alloc(x, n + 1);
    if (!p)
        return no_memory(x);
    if (memchr(m->at, 0, n))
        return HS_FAIL(CORRUPT, "%s: byte %lld: a name with a zero byte in it", x->path, (long long)(m->at - m->file));
    memcpy(p, m->at, n);
    *out = p;
    return HS_OK;
}

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

// ---- numbers: one by one, or packed in one field

typedef struct numbers {
    const hs_onnx *of;
    int bytes; // of one in memory
    uint8_t *p;
    int64_t n, room;
} numbers;

static hs_status add_number(numbers *l, uint64_t v)
{
    if (l->n == l->room) {
        const int64_t room = l->room ? 2 * l->room : 16;
        uint8_t *p = realloc(l->p, (size_t)(room * l->bytes));
        if (!p)
            return no_memory(l->of);
        l->p = p, l->room = room;
    }
    for (int i = 0; i < l->bytes; i++)
        l->p[l->n * l->bytes + i] = (uint8_t)(v >> (8 * i));
    l->n++;
    return HS_OK;
}

// kind: of one that is not packed.
static hs_status add_numbers(numbers *l, const hs_pb *m, hs_pb_field *f, hs_pb_kind kind)
{
    const size_t width = kind == HS_PB_FIXED32 ? 4 : 8;
    hs_pb *in = &f->message;
    uint64_t v;
    if (f->kind != HS_PB_BYTES) {
        HS_TRY(hs_pb_expect(m, f, kind, "numbers"));
        return add_number(l, f->value);
    }
    if (kind != HS_PB_VARINT && hs_pb_left(in) % width)
        return HS_FAIL(CORRUPT, "%s: byte %lld: a list of numbers ends in the middle of one", l->of->path, (long long)(in->at - in->file));
    while (hs_pb_left(in) > 0) {
        if (kind == HS_PB_VARINT)
            HS_TRY(hs_pb_varint(in, &v));
        else {
            v = 0;
            for (size_t i = 0; i < width; i++)
                v |= (uint64_t)*in->at++ << (8 * i);
        }
        HS_TRY(add_number(l, v));
    }
    return HS_OK;
}

// The list into the model's memory; the list is gone in any case.
static hs_status keep_numbers(hs_onnx *x, numbers *l, const void **out)
{
    void *p = hs_onnx_alloc(x, (size_t)(l->n * l->bytes) + 1);
    if (p && l->n)
        memcpy(p, l->p, (size_t)(l->n * l->bytes));
    free(l->p);
    *out = p;
    return p ? HS_OK : no_memory(x);
}

// ---- tensors

// Field that holds its numbers one by one, and how: {float_data 4, int32_data 5, int64_data 7, double_data 10, uint64_data 11}.
static const struct list {
    uint32_t field;
    hs_pb_kind kind;
} lists[] = { { 4, HS_PB_FIXED32 }, { 5, HS_PB_VARINT }, { 7, HS_PB_VARINT }, { 10, HS_PB_FIXED64 }, { 11, HS_PB_VARINT } };

static uint32_t list_of(hs_onnx_type t)
{
    switch (t) {
    case HS_ONNX_F32:
        return 4;
    case HS_ONNX_I64:
        return 7;
    case HS_ONNX_F64:
        return 10;
    case HS_ONNX_U32:
    case HS_ONNX_U64:
        return 11;
    default:
        return 5;
    }
}

static hs_status add_dim(const hs_onnx *x, hs_onnx_tensor *t, uint64_t v)
{
    if (t->n_dims == HS_ONNX_DIMS)
        return HS_FAIL(UNSUPPORTED, "%s: tensor \"%s\" has more than %d dimensions", x->path, t->name, HS_ONNX_DIMS);
    if (v > INT64_MAX)
        return HS_FAIL(CORRUPT, "%s: tensor \"%s\": dimension %d is below 0", x->path, t->name, t->n_dims);
    t->dim[t->n_dims++] = (int64_t)v;
    return HS_OK;
}

static hs_status add_dims(const hs_onnx *x, const hs_pb *m, hs_pb_field *f, hs_onnx_tensor *t)
{
    uint64_t v;
    if (f->kind == HS_PB_VARINT)
        return add_dim(x, t, f->value);
    HS_TRY(hs_pb_expect(m, f, HS_PB_BYTES, "a tensor"));
    while (hs_pb_left(&f->message) > 0) {
        HS_TRY(hs_pb_varint(&f->message, &v));
        HS_TRY(add_dim(x, t, v));
    }
    return HS_OK;
}

static hs_status bytes_wanted(const hs_onnx *x, const hs_onnx_tensor *t, uint64_t *elements, uint64_t *bytes)
{
    *elements = 1;
    for (int i = 0; i < t->n_dims; i++)
        if (__builtin_mul_overflow(*elements, (uint64_t)t->dim[i], elements))
            return HS_FAIL(CORRUPT, "%s: tensor \"%s\" has more elements than can be counted", x->path, t->name);
    if (*elements > UINT64_MAX / 64)
        return HS_FAIL(CORRUPT, "%s: tensor \"%s\" has more elements than can be counted", x->path, t->name);
    *bytes = (*elements * (uint64_t)hs_onnx_bits(t->type) + 7) / 8;
    return HS_OK;
}

typedef struct outside { // external_data: where in which file
    const char *file;
    uint64_t offset, length;
    bool has_length;
} outside;

static hs_status number_text(const hs_onnx *x, const char *key, const char *s, uint64_t *out)
{
    char *end;
    *out = strtoull(s, &end, 10);
    if (*s < '0' || *s > '9' || *end)
        return HS_FAIL(CORRUPT, "%s: external data: %s is \"%.40s\", no number", x->path, key, s);
    return HS_OK;
}

static hs_status read_outside(hs_onnx *x, hs_pb m, outside *o)
{
    const char *key = "", *value = "";
    hs_pb_field f;
    bool more;
    for (;;) {
        HS_TRY(hs_pb_next(&m, &f, &more));
        if (!more)
            break;
        if (f.number != 1 && f.number != 2)
            continue;
        EXPECT(HS_PB_BYTES, "external data");
        HS_TRY(text_of(x, &f.message, f.number == 1 ? &key : &value));
    }
    if (strcmp(key, "location") == 0)
        o->file = value;
    else if (strcmp(key, "offset") == 0)
        return number_text(x, key, value, &o->offset);
    else if (strcmp(key, "length") == 0) {
        o->has_length = true;
        return number_text(x, key, value, &o->length);
    }
    return HS_OK;
}

static hs_status map_beside(hs_onnx *x, const char *name, const hs_file **out)
{
    char path[HS_PATH];
    const char *slash = strrchr(x->path, '/');
    for (int i = 0; i < x->n_beside; i++)
        if (strcmp(x->beside_name[i], name) == 0) {
            *out = &x->beside[i];
            return HS_OK;
        }
    if (!*name || strchr(name, '/') || strcmp(name, "..") == 0)
        return HS_FAIL(UNSUPPORTED, "%s: external data in \"%.120s\": only files of the same folder are read", x->path, name);
    HS_TRY(hs_path_join(path, "%.*s%s", slash ? (int)(slash - x->path) + 1 : 0, x->path, name));
    if (!hs_grow(&x->beside, x->n_beside, &x->cap_beside, sizeof *x->beside) ||
        !hs_grow(&x->beside_name, x->n_beside, &x->cap_beside_name, sizeof *x->beside_name))
        return no_memory(x);
    HS_TRY(hs_file_map(&x->beside[x->n_beside], path));
    x->beside_name[x->n_beside] = name;
    *out = &x->beside[x->n_beside++];
    return HS_OK;
}

static hs_status settle_outside(hs_onnx *x, hs_onnx_tensor *t, const outside *o, uint64_t want)
{
    const hs_file *file;
    if (!o->file)
        return HS_FAIL(CORRUPT, "%s: tensor \"%s\" lies elsewhere, and nothing says where", x->path, t->name);
    HS_TRY(map_beside(x, o->file, &file));
    if (o->has_length && o->length != want)
        return HS_FAIL(CORRUPT, "%s: tensor \"%s\" takes %llu bytes of %s, its shape %llu", x->path, t->name, (unsigned long long)o->length,
                       o->file, (unsigned long long)want);
    if (o->offset > file->bytes || want > file->bytes - o->offset)
        return HS_FAIL(CORRUPT, "%s: tensor \"%s\" ends at byte %llu of %s, which has %zu: truncated", x->path, t->name,
                       (unsigned long long)(o->offset + want), o->file, file->bytes);
    t->data = (const char *)file->data + o->offset;
    return HS_OK;
}

// An int32 of the list for each element, or for each byte of two that have 4 bits.
static hs_status keep_list(hs_onnx *x, hs_onnx_tensor *t, numbers *l, uint64_t elements)
{
    const bool pairs = hs_onnx_bits(t->type) == 4;
    if ((uint64_t)l->n != (pairs ? (elements + 1) / 2 : elements)) {
        const int64_t n = l->n;
        free(l->p);
        return HS_FAIL(CORRUPT, "%s: tensor \"%s\" holds %lld numbers, its shape %llu%s", x->path, t->name, (long long)n,
                       (unsigned long long)elements, pairs ? " in pairs" : "");
    }
    return keep_numbers(x, l, &t->data);
}

// Name, type and shape first: fields come in any order, and messages say which tensor it is.
static hs_status tensor_head(hs_onnx *x, hs_pb m, hs_onnx_tensor *t, int *location)
{
    hs_pb_field f;
    bool more;
    uint64_t type = 0;
    t->name = "";
    for (hs_pb again = m;;) {
        HS_TRY(hs_pb_next(&again, &f, &more));
        if (!more)
            break;
        if (f.number == 8) {
            EXPECT(HS_PB_BYTES, "a tensor");
            HS_TRY(text_of(x, &f.message, &t->name));
        }
    }
    for (;;) {
        HS_TRY(hs_pb_next(&m, &f, &more));
        if (!more)
            break;
        if (f.number == 1)
            HS_TRY(add_dims(x, &m, &f, t));
        else if (f.number == 2 || f.number == 14) {
            EXPECT(HS_PB_VARINT, "a tensor");
            if (f.number == 2)
                type = f.value;
            else
                *location = f.value == 1;
        } else if (f.number == 3)
            return HS_FAIL(UNSUPPORTED, "%s: tensor \"%s\" comes in segments", x->path, t->name);
    }
    t->type = (hs_onnx_type)(type < 100 ? type : 100);
    if (!hs_onnx_bits(t->type))
        return HS_FAIL(UNSUPPORTED, "%s: tensor \"%s\" is of type %llu, which is not read here", x->path, t->name,
                       (unsigned long long)type);
    return HS_OK;
}

static hs_status tensor_data(hs_onnx *x, hs_pb m, hs_onnx_tensor *t, bool elsewhere)
{
    const int bits = hs_onnx_bits(t->type);
    hs_pb_field f;
    numbers l = { .of = x, .bytes = bits == 4 ? 1 : bits / 8 };
    outside o = { 0 };
    uint64_t elements = 0, want = 0;
    bool more, raw = false;
    hs_status st;
    HS_TRY(bytes_wanted(x, t, &elements, &want));
    while ((st = hs_pb_next(&m, &f, &more)) == HS_OK && more) {
        if (f.number == 9 && (st = hs_pb_expect(&m, &f, HS_PB_BYTES, "a tensor")) == HS_OK) {
            raw = true;
            t->data = f.message.at, t->bytes = hs_pb_left(&f.message);
        } else if (f.number == 13 && (st = hs_pb_expect(&m, &f, HS_PB_BYTES, "a tensor")) == HS_OK)
            st = read_outside(x, f.message, &o);
        else if (f.number == list_of(t->type))
            for (int i = 0; i < HS_COUNT(lists); i++)
                if (lists[i].field == f.number)
                    st = add_numbers(&l, &m, &f, lists[i].kind);
        if (st != HS_OK)
            break;
    }
    if (st == HS_OK && raw && t->bytes != want)
        st = HS_FAIL(CORRUPT, "%s: tensor \"%s\" has %zu bytes, its shape %llu", x->path, t->name, t->bytes, (unsigned long long)want);
    if (st != HS_OK || raw || elsewhere)
        free(l.p);
    HS_TRY(st);
    t->bytes = (size_t)want;
    if (elsewhere)
        return settle_outside(x, t, &o, want);
    return raw ? HS_OK : keep_list(x, t, &l, elements);
}

static hs_status read_tensor(hs_onnx *x, const hs_pb *m, hs_onnx_tensor *t)
{
    int elsewhere = 0;
    *t = (hs_onnx_tensor){ 0 };
    HS_TRY(tensor_head(x, *m, t, &elsewhere));
    return tensor_data(x, *m, t, elsewhere);
}

// ---- nodes

static hs_status read_attr(hs_onnx *x, hs_pb m, hs_onnx_attr *a)
{
    numbers l = { .of = x, .bytes = 8 };
    hs_pb_field f;
    bool more;
    hs_status st;
    const void *ints;
    a->name = "";
    while ((st = hs_pb_next(&m, &f, &more)) == HS_OK && more) {
        if (f.number == 1 && (st = hs_pb_expect(&m, &f, HS_PB_BYTES, "an attribute")) == HS_OK)
            st = text_of(x, &f.message, &a->name);
        else if (f.number == 2 && (st = hs_pb_expect(&m, &f, HS_PB_FIXED32, "an attribute")) == HS_OK)
            memcpy(&a->f, &(uint32_t){ (uint32_t)f.value }, sizeof a->f);
        else if (f.number == 3 && (st = hs_pb_expect(&m, &f, HS_PB_VARINT, "an attribute")) == HS_OK)
            a->i = (int64_t)f.value;
        else if (f.number == 4 && (st = hs_pb_expect(&m, &f, HS_PB_BYTES, "an attribute")) == HS_OK)
            st = text_of(x, &f.message, &a->s);
        else if (f.number == 5 && (st = hs_pb_expect(&m, &f, HS_PB_BYTES, "an attribute")) == HS_OK) {
            hs_onnx_tensor *t = hs_onnx_alloc(x, sizeof *t);
            st = t ? read_tensor(x, &f.message, t) : no_memory(x);
            a->t = t;
        } else if (f.number == 8)
            st = add_numbers(&l, &m, &f, HS_PB_VARINT);
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
    HS_TRY(keep_numbers(x, &l, &ints));
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
        return no_memory(x);
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
        EXPECT(HS_PB_BYTES, "a node");
        if (text)
            HS_TRY(text_of(x, &f.message, text));
        else
            HS_TRY(read_attr(x, f.message, &n.attr[at_attr++]));
    }
    if (strcmp(n.domain, "ai.onnx") == 0)
        n.domain = "";
    if (!hs_grow(&x->node, x->n_nodes, &x->cap_nodes, sizeof *x->node))
        return no_memory(x);
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
            HS_TRY(text_of(x, &f.message, &d->symbol));
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
        HS_TRY(text_of(x, &name, &v->name));
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
        EXPECT(HS_PB_BYTES, "a graph");
        HS_TRY(read_value(x, f.message, &v));
        if (number == 11 && is_init(x, v.name)) // of before IR version 4 weights are inputs as well
            continue;
        if (!hs_grow(all, *n, capacity, sizeof v))
            return no_memory(x);
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
        EXPECT(HS_PB_BYTES, "a graph");
        if (f.number == 1)
            HS_TRY(read_node(x, f.message));
        else if (f.number == 2)
            HS_TRY(text_of(x, &f.message, &x->graph_name));
        else {
            if (!hs_grow(&x->init, x->n_inits, &x->cap_inits, sizeof *x->init))
                return no_memory(x);
            HS_TRY(read_tensor(x, &f.message, &x->init[x->n_inits]));
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
            HS_TRY(text_of(x, &f.message, &o.domain));
        else if (f.number == 2 && f.kind == HS_PB_VARINT)
            o.version = (int64_t)f.value;
    }
    if (strcmp(o.domain, "ai.onnx") == 0)
        o.domain = "";
    if (!hs_grow(&x->opset, x->n_opsets, &x->cap_opsets, sizeof *x->opset))
        return no_memory(x);
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
            HS_TRY(text_of(x, &f.message, &x->producer));
        else if (f.number == 8 && f.kind == HS_PB_BYTES)
            HS_TRY(read_opset(x, f.message));
        else if (f.number == 7) {
            EXPECT(HS_PB_BYTES, "a model");
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
