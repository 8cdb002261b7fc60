// infer_request: the body of an inference request of the Open Inference Protocol - JSON, or JSON and raw tensors behind it - read and held
// against what it says of itself. It knows of bytes alone, of no model and no connection.
//
//   hs_infer_read -> hs_infer_whole, hs_infer_texts for each tensor that is wanted -> hs_infer_free
//
// Numbers of `data` never become JSON values: they are read from the text, once shape and type say how many there must be. What is taken
// until then is a small multiple of the JSON beside them, which may have HS_INFER_HEAD bytes.
#ifndef HS_INFER_INFER_REQUEST_H
#define HS_INFER_INFER_REQUEST_H
#include "core/base/status.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

//   enum  bytes of an element, what it is
#define HS_OIP_TYPE_LIST(X)                                                                                                                \
    X(BOOL, 1, UNSIGNED)                                                                                                                   \
    X(UINT8, 1, UNSIGNED)                                                                                                                  \
    X(UINT16, 2, UNSIGNED)                                                                                                                 \
    X(UINT32, 4, UNSIGNED)                                                                                                                 \
    X(UINT64, 8, UNSIGNED)                                                                                                                 \
    X(INT8, 1, SIGNED)                                                                                                                     \
    X(INT16, 2, SIGNED)                                                                                                                    \
    X(INT32, 4, SIGNED)                                                                                                                    \
    X(INT64, 8, SIGNED)                                                                                                                    \
    X(FP16, 2, REAL)                                                                                                                       \
    X(BF16, 2, REAL)                                                                                                                       \
    X(FP32, 4, REAL)                                                                                                                       \
    X(FP64, 8, REAL)                                                                                                                       \
    X(BYTES, 0, TEXT)
typedef enum hs_oip_type {
#define HS_OIP_TYPE_ENUM(name, bytes, kind) HS_OIP_##name,
    HS_OIP_TYPE_LIST(HS_OIP_TYPE_ENUM)
#undef HS_OIP_TYPE_ENUM
        HS_OIP_TYPES
} hs_oip_type;
typedef enum hs_oip_kind { HS_OIP_KIND_UNSIGNED, HS_OIP_KIND_SIGNED, HS_OIP_KIND_REAL, HS_OIP_KIND_TEXT } hs_oip_kind;
extern const char *const hs_oip_type_names[HS_OIP_TYPES]; // "INT64"
extern const int hs_oip_type_bytes[HS_OIP_TYPES];
extern const hs_oip_kind hs_oip_type_kinds[HS_OIP_TYPES];

enum { HS_INFER_TENSORS = 16, HS_INFER_DIMS = 8, HS_INFER_HEAD = 1 << 20 };

typedef struct hs_infer_tensor {
    const char *name;
    hs_oip_type type;
    int n_dims;
    int64_t dim[HS_INFER_DIMS]; // all at least 1
    int64_t n;                  // their product
    bool raw;                   // else the JSON text of its data
    bool whole;                 // raw, and one element without a length in front of it
    const char *data;           // in the body
    size_t bytes;
} hs_infer_tensor;

typedef struct hs_infer_output {
    const char *name;
    int binary;      // -1: as the request says
    int64_t classes; // the classification extension's; 0: not asked for
} hs_infer_output;

typedef struct hs_infer_request {
    json_t *head;   // names and id are borrowed from it
    const char *id; // NULL: none
    hs_infer_tensor in[HS_INFER_TENSORS];
    hs_infer_output out[HS_INFER_TENSORS]; // n_out 0: all that there are
    int n_in, n_out;
    bool binary;      // outputs that do not say
    bool truncate;    // a parameter of our own: texts that are too long are cut
    bool sequence;    // a sequence_id, or what begins or ends one
    int64_t priority; // 0: not said; 1 is the highest
    int64_t timeout;  // microseconds; 0: none
} hs_infer_request;

// head: bytes of JSON in front of raw tensors (Inference-Header-Content-Length), -1: it is not said, all of the body is JSON. body is
// borrowed until hs_infer_free. USAGE: all that is wrong with it; UNSUPPORTED: what is right and not served, by name.
hs_status hs_infer_read(hs_infer_request *r, const char *body, size_t bytes, int64_t head);
// Without JSON (head 0): one element of BYTES, of the name `name`.
void hs_infer_read_raw(hs_infer_request *r, const char *name, const char *body, size_t bytes);
void hs_infer_free(hs_infer_request *r);

typedef struct hs_oip_number { // by its type's kind
    union {
        uint64_t u;
        int64_t i;
        double f;
    };
} hs_oip_number;
hs_oip_number hs_infer_number(const hs_infer_tensor *t, int64_t i); // element i of a raw tensor of any type but BYTES, as it is

// Numbers that are whole and from `least` to `most`, of any type that has such. dst [t->n], USAGE.
hs_status hs_infer_whole(const hs_infer_tensor *t, int64_t least, int64_t most, int32_t *dst);
typedef struct hs_infer_text {
    char *p; // not NUL-terminated
    size_t n;
} hs_infer_text;
// Elements of BYTES, in one block that the caller frees.
hs_status hs_infer_texts(const hs_infer_tensor *t, hs_infer_text **out);

#endif
