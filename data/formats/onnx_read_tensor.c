// Reading tensors of an ONNX file: raw bytes stay where the mapped file has them, numbers in lists are copied, others lie in files beside
// it.
#include "core/base/grow.h"
#include "data/base/file.h"
#include "data/formats/onnx_read.h"
#include <stdlib.h>
#include <string.h>

hs_status hs_onnx_read_text(hs_onnx *x, const hs_pb *m, const char **out)
{
    const size_t n = hs_pb_left(m);
    char *p = hs_onnx_alloc(x, n + 1);
    if (!p)
        return hs_onnx_no_memory(x);
    if (memchr(m->at, 0, n))
        return HS_FAIL(CORRUPT, "%s: byte %lld: a name with a zero byte in it", x->path, (long long)(m->at - m->file));
    memcpy(p, m->at, n);
    *out = p;
    return HS_OK;
}

// ---- numbers: one by one, or packed in one field

static hs_status add_number(hs_onnx_numbers *l, uint64_t v)
{
    if (l->n == l->room) {
        const int64_t room = l->room ? 2 * l->room : 16;
        uint8_t *p = realloc(l->p, (size_t)(room * l->bytes));
        if (!p)
            return hs_onnx_no_memory(l->of);
        l->p = p, l->room = room;
    }
    for (int i = 0; i < l->bytes; i++)
        l->p[l->n * l->bytes + i] = (uint8_t)(v >> (8 * i));
    l->n++;
    return HS_OK;
}

hs_status hs_onnx_add_numbers(hs_onnx_numbers *l, const hs_pb *m, hs_pb_field *f, hs_pb_kind kind)
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

hs_status hs_onnx_keep_numbers(hs_onnx *x, hs_onnx_numbers *l, const void **out)
{
    void *p = hs_onnx_alloc(x, (size_t)(l->n * l->bytes) + 1);
    if (p && l->n)
        memcpy(p, l->p, (size_t)(l->n * l->bytes));
    free(l->p);
    *out = p;
    return p ? HS_OK : hs_onnx_no_memory(x);
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
        HS_ONNX_EXPECT(HS_PB_BYTES, "external data");
        HS_TRY(hs_onnx_read_text(x, &f.message, f.number == 1 ? &key : &value));
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
        return hs_onnx_no_memory(x);
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
static hs_status keep_list(hs_onnx *x, hs_onnx_tensor *t, hs_onnx_numbers *l, uint64_t elements)
{
    const bool pairs = hs_onnx_bits(t->type) == 4;
    if ((uint64_t)l->n != (pairs ? (elements + 1) / 2 : elements)) {
        const int64_t n = l->n;
        free(l->p);
        return HS_FAIL(CORRUPT, "%s: tensor \"%s\" holds %lld numbers, its shape %llu%s", x->path, t->name, (long long)n,
                       (unsigned long long)elements, pairs ? " in pairs" : "");
    }
    return hs_onnx_keep_numbers(x, l, &t->data);
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
            HS_ONNX_EXPECT(HS_PB_BYTES, "a tensor");
            HS_TRY(hs_onnx_read_text(x, &f.message, &t->name));
        }
    }
    for (;;) {
        HS_TRY(hs_pb_next(&m, &f, &more));
        if (!more)
            break;
        if (f.number == 1)
            HS_TRY(add_dims(x, &m, &f, t));
        else if (f.number == 2 || f.number == 14) {
            HS_ONNX_EXPECT(HS_PB_VARINT, "a tensor");
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
    hs_onnx_numbers l = { .of = x, .bytes = bits == 4 ? 1 : bits / 8 };
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
                    st = hs_onnx_add_numbers(&l, &m, &f, lists[i].kind);
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

hs_status hs_onnx_read_tensor(hs_onnx *x, const hs_pb *m, hs_onnx_tensor *t)
{
    int elsewhere = 0;
    *t = (hs_onnx_tensor){ 0 };
    HS_TRY(tensor_head(x, *m, t, &elsewhere));
    return tensor_data(x, *m, t, elsewhere);
}
