// schema: settings as rows of one table. Parsing, defaults, ranges and the resolved config come from it, as do the
// program's help and man page.
//
// A table describes a plain struct: each row has a dotted key, a type and the offset of its field. Scalars are parsed by
// the row's type, never by YAML's tags ("1e-5" is a number, "no" is a word). An unknown key is refused with the nearest name.
//
// A key may be a chooser: its value decides which further keys there are (model.type decides what model.* has). Each of its sections is
// a table into a struct of its own; the chosen one's struct lies in a buffer inside the struct of the common table.
//
// A section may also be a list: data.sources.0.path, data.sources.1.path, ... Its table is of one element; the elements' structs are an
// array inside the struct of the common table. An element is there from the first of its keys that is set, behind those there are; what it
// is not told has the row's default.
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
    HS_KEY_TEXTS,  // char[HS_KEY_STRING_BYTES]: "a,b", in a file [a, b] too; what stands between commas is the reader's to divide
} hs_key_type;
enum { HS_KEY_STRING_BYTES = 512, HS_KEY_LIST = 64, HS_KEY_NAME = 96, HS_LIST_DIGITS = 4 };
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

struct hs_section;
struct hs_list;
typedef struct hs_schema {
    const hs_key *key;
    int n;
    size_t struct_bytes;
    const char *chooser; // (optional) a HS_KEY_CHOICE of this table; its choices are the words of the sections, in their order
    const struct hs_section *section;
    int n_sections;
    size_t section_offset, section_bytes; // of the buffer that holds the chosen section's struct
    const struct hs_list *list;           // (optional)
    int n_lists;
} hs_schema;
#define HS_SCHEMA(keys, T)                                                                                                                 \
    {                                                                                                                                      \
        .key = keys, .n = HS_COUNT(keys), .struct_bytes = sizeof(T)                                                                        \
    }

typedef struct hs_section {  // keys that are there while the chooser has one of its words
    const char *words;       // "gpt2|gpt"
    const hs_schema *schema; // offsets are into its own struct; has no chooser itself
} hs_section;

typedef struct hs_list {         // a list of sections
    const char *name;            // "data.sources"
    const hs_schema *schema;     // of an element: keys "path", "weight"; offsets are into its own struct; no chooser, no lists
    size_t offset, count_offset; // of an array of `max` elements, and of an int: how many there are
    int max;                     // of HS_LIST_DIGITS digits
    const char *help;            // what an element is, no final full stop
} hs_list;

enum { HS_EACH = -1 };
typedef struct hs_key_at { // what may be set
    const hs_key *key;     // NULL: there is no such thing
    const hs_list *list;   // NULL: of no list
    int element;           // of the list; HS_EACH: whichever, "data.sources.N.path"
} hs_key_at;

// Where each value came from: "default", "config.yaml:12", "--optim.lr".
typedef struct hs_origin {
    char text[96];
} hs_origin;

// Fills *config with the defaults, all of its bytes. origin: array of hs_schema_origins, or NULL.
hs_status hs_schema_defaults(const hs_schema *s, void *config, hs_origin *origin);
// Sets one key from its text. where: "file:line" or "--key", for messages and the origin. A chooser that gets another section gives that
// one's keys their defaults. Element n of a list that has n is appended.
hs_status hs_schema_set(const hs_schema *s, void *config, hs_origin *origin, const char *key, const char *value, const char *where);
hs_status hs_schema_check(const hs_schema *s, const char *key, const char *value, const char *where); // would it be set? Of common keys

// In the following, config NULL means the keys of all sections, not only of the chosen one, and of any element of a list.
hs_key_at hs_schema_find(const hs_schema *s, const void *config, const char *name);
// Nearest valid name, in buf; NULL if none is near. Of a key of a list's element one of its keys.
const char *hs_schema_nearest(const hs_schema *s, const void *config, const char *name, char buf[HS_KEY_NAME]);
// "phases.1 takes name, steps, ..." of "phases.1" and "phases.1.stpz"; false: it is of no list's element.
bool hs_schema_element_keys(const hs_schema *s, const char *name, char *buf, size_t size);
// The keys one after the other, those of a section behind their chooser, those of lists behind all others; a key of NULL behind the last.
hs_key_at hs_schema_row(const hs_schema *s, const void *config, int i);
const char *hs_schema_name(hs_key_at at, char buf[HS_KEY_NAME]);                     // the whole name, as find takes it
bool hs_schema_is_section(const hs_schema *s, const void *config, const char *name); // "model": there are keys "model.*"

const hs_list *hs_schema_list(const hs_schema *s, const char *name);            // NULL: no list of that name
int hs_schema_chosen(const hs_schema *s, const void *config);                   // index of the section; -1: no chooser
const hs_section *hs_schema_section_of(const hs_schema *s, const hs_key *k);    // that k is a row of; NULL: a common key
void *hs_schema_field(const hs_schema *s, void *config, hs_key_at at);          // where its value lies
int hs_schema_origins(const hs_schema *s);                                      // elements of an array of origins
int hs_schema_origin(const hs_schema *s, hs_key_at at);                         // index of its origin
void hs_schema_words(const hs_section *section, int n, char *buf, size_t size); // "gpt2|gpt|...": choices of a chooser

// The value as text that hs_schema_set would read back to the same bits.
void hs_schema_format(const hs_schema *s, const void *config, hs_key_at at, char *buf, size_t size);
void hs_schema_write_yaml(const hs_schema *s, const void *config, FILE *f); // nested YAML: the resolved config
// Nearest of n words by edit distance (NULL beyond 3 edits or half the length): shared by keys, commands and choices.
const char *hs_nearest_word(const char *word, const char *const *list, int n);

#ifdef __cplusplus
}
#endif
#endif
