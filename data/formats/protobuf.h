// protobuf: the wire format alone - fields of a number and a kind, varints, lengths - over bytes at hand. It knows no message.
//
// Reading trusts nothing: no length goes beyond the bytes, no varint beyond ten of them, and fields that nobody asks for are passed over
// whole. Groups, which went out of use before ONNX began, are refused.
#ifndef HS_DATA_PROTOBUF_H
#define HS_DATA_PROTOBUF_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum hs_pb_kind { HS_PB_VARINT = 0, HS_PB_FIXED64 = 1, HS_PB_BYTES = 2, HS_PB_FIXED32 = 5 } hs_pb_kind;

// ---- reading
typedef struct hs_pb { // a message: what is left of its bytes
    const uint8_t *at, *end;
    const uint8_t *file; // first byte of the file, for messages
    const char *path;    // borrowed
} hs_pb;
typedef struct hs_pb_field {
    uint32_t number;
    hs_pb_kind kind;
    uint64_t value; // of VARINT, FIXED32 and FIXED64, as its bits stand
    hs_pb message;  // of BYTES: they, as a message
} hs_pb_field;

hs_pb hs_pb_of(const char *path, const void *file, size_t bytes);
// The next field; *more is false, and f untouched, at the end. CORRUPT: file, byte and what is wrong.
hs_status hs_pb_next(hs_pb *m, hs_pb_field *f, bool *more);
hs_status hs_pb_varint(hs_pb *m, uint64_t *v); // of packed numbers, one behind the other up to m->end
static inline size_t hs_pb_left(const hs_pb *m) { return (size_t)(m->end - m->at); }
// CORRUPT where a field is of another kind than its message says: "field 4 of a node".
hs_status hs_pb_expect(const hs_pb *m, const hs_pb_field *f, hs_pb_kind kind, const char *of);

// ---- writing: bytes that grow. Once memory is short `failed` stays set and additions are dropped: check once, at the end.
typedef struct hs_pb_out {
    uint8_t *p;
    size_t n, capacity;
    bool failed;
} hs_pb_out;
void hs_pb_put_varint(hs_pb_out *o, uint32_t number, uint64_t v); // also of int32, int64, enum, bool: negative ones as two's complement
void hs_pb_put_f32(hs_pb_out *o, uint32_t number, float v);
void hs_pb_put_bytes(hs_pb_out *o, uint32_t number, const void *p, size_t bytes);
void hs_pb_put_text(hs_pb_out *o, uint32_t number, const char *s);
void hs_pb_put_packed(hs_pb_out *o, uint32_t number, const int64_t *v, int n); // int32, int64 in one field; nothing where n is 0
void hs_pb_put_message(hs_pb_out *o, uint32_t number, const hs_pb_out *m);     // a failed m makes o fail
void hs_pb_put_head(hs_pb_out *o, uint32_t number, uint64_t bytes);            // of BYTES that follow elsewhere
void hs_pb_put_raw(hs_pb_out *o, const void *p, size_t bytes);                 // no field: what is a message's inside already
void hs_pb_out_free(hs_pb_out *o);

#endif
