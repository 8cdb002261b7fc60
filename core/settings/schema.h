// schema: settings as rows of one table. Parsing, defaults, ranges, help, man page and the resolved config all come from it.
//
// A table describes a plain struct: each row has a dotted key, a type and the offset of its field. Scalars are parsed by
// the row's type, never by YAML's tags ("1e-5" is a number, "no" is a word). An unknown key is refused with the nearest name.
#ifndef HS_CORE_SCHEMA_H
#define HS_CORE_SCHEMA_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hs_key_type {
    HS_KEY_INT,    // int64_t
    HS_KEY_REAL,   // double
    HS_KEY_BOOL,   // bool: true/false/yes/no/on/off/1/0
    HS_KEY_STRING, // char[HS_KEY_STRING_BYTES]
    HS_KEY_CHOICE, // int: index into choices
    HS_KEY_REALS,  // hs_reals: "0.9,0.95" or [0.9, 0.95]
    HS_KEY_INTS,   // hs_ints: "1,2,3"
} hs_key_type;
enum { HS_KEY_STRING_BYTES = 512, HS_KEY_LIST = 64 };
typedef struct hs_reals {
    int n;
    double v[HS_KEY_LIST];
} hs_reals;
typedef struct hs_ints {
    int n;
    int64_t v[HS_KEY_LIST];
} hs_ints;

typedef struct hs_key {
    const char *name; // "model.layers"
    hs_key_type type;
    size_t offset;
    const char *value;   // default, as one would write it
    double min, max;     // of numbers (each element of a list); both 0: any finite value
    const char *choices; // "fp32|bf16|fp16"
    const char *unit;    // "tokens", "steps"; or NULL
    const char *help;    // one sentence, no final full stop
    bool advanced;       // listed by `help --all` and the man page, not by --help
} hs_key;

typedef struct hs_schema {
    const hs_key *key;
    int n;
    size_t struct_bytes;
} hs_schema;

// Where each value came from: "default", "config.yaml:12", "--optim.lr".
typedef struct hs_origin {
    char text[96];
} hs_origin;

// Fills *config with the defaults. origin: array of schema->n, or NULL.
hs_status hs_schema_defaults(const hs_schema *s, void *config, hs_origin *origin);
// Sets one key from its text. where: "file:line" or "--key", for messages and the origin.
hs_status hs_schema_set(const hs_schema *s, void *config, hs_origin *origin, const char *key, const char *value, const char *where);
const hs_key *hs_schema_find(const hs_schema *s, const char *key);
const char *hs_schema_nearest(const hs_schema *s, const char *key); // nearest valid name, NULL if none is near
// The value as text that hs_schema_set would read back to the same bits.
void hs_schema_format(const hs_key *k, const void *config, char *buf, size_t size);
void hs_schema_write_yaml(const hs_schema *s, const void *config, FILE *f); // nested YAML: the resolved config
void hs_schema_write_help(const hs_schema *s, FILE *f, bool all);           // one line a key: name, default, unit, range, help
// Nearest of n words by edit distance (NULL beyond 3 edits or half the length): shared by keys, commands and choices.
const char *hs_nearest_word(const char *word, const char *const *list, int n);

#ifdef __cplusplus
}
#endif
#endif
