// onnx_read: what readers of a model's messages share.
#ifndef HS_DATA_ONNX_READ_H
#define HS_DATA_ONNX_READ_H
#include "data/formats/onnx.h"
#include "data/formats/protobuf.h"

// In a loop over fields f of a message m.
#define HS_ONNX_EXPECT(kind_, of) HS_TRY(hs_pb_expect(&m, &f, kind_, of))

static inline hs_status hs_onnx_no_memory(const hs_onnx *x) { return HS_FAIL(MEMORY, "%s: no memory to read it", x->path); }
hs_status hs_onnx_read_text(hs_onnx *x, const hs_pb *m, const char **out); // a copy that the model owns

// Numbers, one by one or packed in one field, in little end first.
typedef struct hs_onnx_numbers {
    const hs_onnx *of;
    int bytes;  // of one in memory
    uint8_t *p; // malloc'd
    int64_t n, room;
} hs_onnx_numbers;
hs_status hs_onnx_add_numbers(hs_onnx_numbers *l, const hs_pb *m, hs_pb_field *f, hs_pb_kind kind); // kind: of one that is not packed
hs_status hs_onnx_keep_numbers(hs_onnx *x, hs_onnx_numbers *l, const void **out); // into the model's memory; the list is gone in any case

hs_status hs_onnx_read_tensor(hs_onnx *x, const hs_pb *m, hs_onnx_tensor *t);

#endif
