// json_record: one record of JSON as the bytes it is, walked member by member. Only what is read is judged: a value that nobody reads has to
// end where it should, and may hold NaN, numbers beyond any range, lone surrogates, keys that stand twice.
#ifndef HS_DATA_JSON_RECORD_H
#define HS_DATA_JSON_RECORD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hs_json_string { // what stands between its quotes, in the record
    const char *p;
    size_t bytes;
    bool escaped;
} hs_json_string;
typedef struct hs_json_member {
    hs_json_string key, value; // value: where it is a string
    char kind;                 // of the value: '"', '{', '[', or 'v' (number, true, null, NaN)
} hs_json_member;
typedef struct hs_json_walk {
    const char *p, *end;
    const char *wrong; // what ended it, for a message
    bool begun;
} hs_json_walk;

// What a record is: "an object", or "a list", "a string", "a number or word", NULL (none of them).
const char *hs_json_begin(hs_json_walk *w, const char *record, size_t bytes);
// The next member of an object. False: the end, or `wrong` is set.
bool hs_json_next(hs_json_walk *w, hs_json_member *m);
bool hs_json_is_string(const hs_json_walk *w, hs_json_string *s); // the record, which was begun and is no object
bool hs_json_key_is(const hs_json_string *key, const char *name);

// The characters of a string to `out`, which has room for half as many bytes more than it has, and 4. lone: surrogates without their partner; control: characters below a
// space, which JSON wants escaped; wrong: escapes that are none. Lone surrogates and wrong escapes become U+FFFD.
typedef struct hs_json_flaws {
    int64_t lone, control, wrong;
} hs_json_flaws;
size_t hs_json_unescape(const hs_json_string *s, char *out, hs_json_flaws *flaws);

// Where the value ends that begins at the first byte ever given; a stream may be given in parts. Returns the bytes taken; `done` behind its
// end. What is no value is one byte.
typedef struct hs_json_scan {
    int64_t depth;
    bool string, escape, word, done;
} hs_json_scan;
size_t hs_json_scan_to_end(hs_json_scan *s, const char *p, size_t bytes);

// `p` begins an object with a key: {"key": - or an empty one.
bool hs_json_object_begins(const char *p, size_t bytes);

#endif
