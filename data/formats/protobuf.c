// protobuf: see the header. https://protobuf.dev/programming-guides/encoding
#include "data/formats/protobuf.h"
#include <stdlib.h>
#include <string.h>

// ---- reading
hs_pb hs_pb_of(const char *path, const void *file, size_t bytes)
{
    return (hs_pb){ .at = file, .end = (const uint8_t *)file + bytes, .file = file, .path = path };
}

static hs_status bad(const hs_pb *m, const char *what)
{
    return HS_FAIL(CORRUPT, "%s: byte %lld: %s", m->path, (long long)(m->at - m->file), what);
}

hs_status hs_pb_varint(hs_pb *m, uint64_t *v)
{
    *v = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (m->at == m->end)
            return bad(m, "a number ends in the middle");
        const uint8_t byte = *m->at++;
        if (shift == 63 && byte > 1)
            return bad(m, "a number of more than 64 bits");
        *v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return HS_OK;
    }
    return bad(m, "a number of more than 64 bits");
}

static hs_status fixed(hs_pb *m, size_t bytes, uint64_t *v)
{
    if (hs_pb_left(m) < bytes)
        return bad(m, "a number ends in the middle");
    *v = 0;
    for (size_t i = 0; i < bytes; i++)
        *v |= (uint64_t)*m->at++ << (8 * i);
    return HS_OK;
}

static hs_status part(hs_pb *m, hs_pb *out)
{
    uint64_t bytes;
    HS_TRY(hs_pb_varint(m, &bytes));
    if (bytes > hs_pb_left(m))
        return HS_FAIL(CORRUPT, "%s: byte %lld: a field of %llu bytes, %zu are left: truncated", m->path, (long long)(m->at - m->file),
                       (unsigned long long)bytes, hs_pb_left(m));
    *out = *m;
    out->end = m->at += bytes;
    return HS_OK;
}

hs_status hs_pb_next(hs_pb *m, hs_pb_field *f, bool *more)
{
    uint64_t tag;
    *more = m->at < m->end;
    if (!*more)
        return HS_OK;
    HS_TRY(hs_pb_varint(m, &tag));
    if (tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF)
        return bad(m, "no field has that number");
    *f = (hs_pb_field){ .number = (uint32_t)(tag >> 3), .kind = (hs_pb_kind)(tag & 7) };
    switch (tag & 7) {
    case HS_PB_VARINT:
        return hs_pb_varint(m, &f->value);
    case HS_PB_FIXED64:
        return fixed(m, 8, &f->value);
    case HS_PB_FIXED32:
        return fixed(m, 4, &f->value);
    case HS_PB_BYTES:
        return part(m, &f->message);
    }
    return bad(m, "a field of a kind that is not in use");
}

hs_status hs_pb_expect(const hs_pb *m, const hs_pb_field *f, hs_pb_kind kind, const char *of)
{
    if (f->kind == kind)
        return HS_OK;
    return HS_FAIL(CORRUPT, "%s: byte %lld: field %u of %s is of kind %d, not %d", m->path, (long long)(m->at - m->file), f->number, of,
                   (int)f->kind, (int)kind);
}

// ---- writing
static uint8_t *room(hs_pb_out *o, size_t bytes)
{
    if (!o->failed && o->capacity - o->n < bytes) {
        size_t capacity = o->capacity ? 2 * o->capacity : 256;
        if (capacity < o->n + bytes)
            capacity = o->n + bytes;
        uint8_t *p = realloc(o->p, capacity);
        o->failed = p == NULL;
        if (p)
            o->p = p, o->capacity = capacity;
    }
    if (o->failed)
        return NULL;
    o->n += bytes;
    return o->p + o->n - bytes;
}

static size_t varint(uint8_t out[10], uint64_t v)
{
    size_t n = 0;
    for (; v > 127; v >>= 7)
        out[n++] = (uint8_t)(v | 128);
    out[n++] = (uint8_t)v;
    return n;
}

void hs_pb_put_raw(hs_pb_out *o, const void *p, size_t bytes)
{
    uint8_t *to = room(o, bytes);
    if (to && bytes)
        memcpy(to, p, bytes);
}

static void add_varint(hs_pb_out *o, uint64_t v)
{
    uint8_t buf[10];
    hs_pb_put_raw(o, buf, varint(buf, v));
}

static void tag(hs_pb_out *o, uint32_t number, hs_pb_kind kind) { add_varint(o, (uint64_t)number << 3 | kind); }

void hs_pb_put_varint(hs_pb_out *o, uint32_t number, uint64_t v)
{
    tag(o, number, HS_PB_VARINT);
    add_varint(o, v);
}

void hs_pb_put_f32(hs_pb_out *o, uint32_t number, float v)
{
    uint32_t bits;
    uint8_t buf[4];
    memcpy(&bits, &v, sizeof bits);
    for (int i = 0; i < 4; i++)
        buf[i] = (uint8_t)(bits >> (8 * i));
    tag(o, number, HS_PB_FIXED32);
    hs_pb_put_raw(o, buf, sizeof buf);
}

void hs_pb_put_head(hs_pb_out *o, uint32_t number, uint64_t bytes)
{
    tag(o, number, HS_PB_BYTES);
    add_varint(o, bytes);
}

void hs_pb_put_bytes(hs_pb_out *o, uint32_t number, const void *p, size_t bytes)
{
    hs_pb_put_head(o, number, bytes);
    hs_pb_put_raw(o, p, bytes);
}

void hs_pb_put_text(hs_pb_out *o, uint32_t number, const char *s) { hs_pb_put_bytes(o, number, s, strlen(s)); }

void hs_pb_put_packed(hs_pb_out *o, uint32_t number, const int64_t *v, int n)
{
    uint8_t buf[10];
    size_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += varint(buf, (uint64_t)v[i]);
    if (n > 0)
        hs_pb_put_head(o, number, bytes);
    for (int i = 0; i < n; i++)
        add_varint(o, (uint64_t)v[i]);
}

void hs_pb_put_message(hs_pb_out *o, uint32_t number, const hs_pb_out *m)
{
    hs_pb_put_bytes(o, number, m->p, m->n);
    o->failed = o->failed || m->failed;
}

void hs_pb_out_free(hs_pb_out *o)
{
    free(o->p);
    *o = (hs_pb_out){ 0 };
}
