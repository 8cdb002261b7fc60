// json_util: what the room needs of JSON - text that is built up, and members that are read with a message for each way to be wrong.
#ifndef HS_DATA_JSON_UTIL_H
#define HS_DATA_JSON_UTIL_H
#include "core/base/status.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Text that grows. Once memory is short `failed` stays set and additions are dropped: check once, at the end.
typedef struct hs_text {
    char *p; // NUL-terminated; NULL while empty
    size_t n, capacity;
    bool failed;
} hs_text;
void hs_text_add(hs_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void hs_text_bytes(hs_text *t, const char *p, size_t n); // as they are; they may have zeros
void hs_text_utf8(hs_text *t, const char *bytes, size_t n); // what is not UTF-8 becomes U+FFFD
void hs_text_string(hs_text *t, const char *s);          // quoted and escaped
void hs_text_quote(hs_text *t, const char *p, size_t n); // the same of so many bytes, zeros too
void hs_text_f64(hs_text *t, double v);                  // fewest digits that read back to the same bits; "nan", "inf", "-inf" as strings
void hs_text_f32(hs_text *t, float v);
void hs_text_free(hs_text *t);

typedef struct hs_json { // an object read from a file
    json_t *root;
    const char *path; // borrowed: for messages
} hs_json;
hs_status hs_json_open(hs_json *j, const char *path); // CORRUPT with line and column; duplicate keys are refused
void hs_json_close(hs_json *j);

// Members that must be there. CORRUPT names file, key and what was found.
hs_status hs_json_i64(const hs_json *j, const char *key, int64_t min, int64_t max, int64_t *out);
hs_status hs_json_u64(const hs_json *j, const char *key, uint64_t *out); // an integer, or a string of digits
hs_status hs_json_f64(const hs_json *j, const char *key, double *out);   // a number, or what hs_text_f64 writes
// The same for a value that is not a member (array elements); key is for the message.
hs_status hs_json_value_u64(const hs_json *j, const char *key, const json_t *v, uint64_t *out);
hs_status hs_json_value_f64(const hs_json *j, const char *key, const json_t *v, double *out);
const char *hs_json_text(const hs_json *j, const char *key); // NULL if missing or not a string; borrowed

#endif
