// text_kind: what a file is, by what it begins with and never by its name. This is the one door that every command's texts go through: text
// passes (UTF-8, or UTF-16 and UTF-32 that say so by a mark), anything else is refused in one line that says what it is and what to do.
#ifndef HS_DATA_TEXT_KIND_H
#define HS_DATA_TEXT_KIND_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HS_TEXT_HEAD = 1 << 16, HS_TEXT_FIELD = 128 }; // bytes that are looked at; of the name of a field

typedef enum hs_text_format { HS_FORMAT_AUTO, HS_FORMAT_TEXT, HS_FORMAT_JSON } hs_text_format;  // what to take it for
typedef enum hs_text_form { HS_TEXT_PLAIN, HS_TEXT_JSON_LINES, HS_TEXT_JSON_VALUES } hs_text_form; // VALUES: a list, or records over lines
typedef struct hs_text_kind {
    hs_text_form form;
    int unit;                  // bytes of one in the file; above 1 what is read was decoded from UTF-16 or UTF-32
    char field[HS_TEXT_FIELD]; // of JSON: where the records' texts seem to be; "": each is a string, and that is its text
} hs_text_kind;

// How the units of a text are written: bytes of each, and of the mark at its front. UTF-8: {1, false, 0 or 3}.
typedef struct hs_text_code {
    int unit, mark;
    bool big; // end first
} hs_text_code;
hs_text_code hs_text_code_of(const void *head, size_t bytes);

// USAGE: what begins so is no text. path: for the message, and for a file of Megatron's, which only its index tells.
hs_status hs_text_refuse(const char *path, const void *head, size_t bytes);
const char *hs_text_what(const char *path, const void *head, size_t bytes); // "a zip archive"; NULL: nothing but text
// Of a text in UTF-8: JSON or not, and the field its texts are in.
hs_text_kind hs_text_kind_of(const char *head, size_t bytes, hs_text_format format);

// USAGE with line and byte where a text is not valid UTF-8 or has a byte of zero. unit: as in hs_text_kind.
hs_status hs_text_check_utf8(const char *path, int unit, const char *text, size_t bytes);
// USAGE: what such a byte means, at that line and byte of the text. way: what takes it all the same.
hs_status hs_text_bad_byte(const char *path, int unit, long long line, long long byte, char bad, const char *way);

// UTF-16 and UTF-32 to UTF-8, in parts. What is no character comes out as bytes that are no UTF-8, so that one check finds it: 0xFE where
// the last unit is cut, 0xFF for a number beyond U+10FFFF, halves of surrogate pairs as three bytes.
typedef struct hs_text_decoder {
    hs_text_code code;
    uint32_t high;         // a surrogate that waits for its partner
    unsigned char rest[4]; // of a unit
    int n_rest;
} hs_text_decoder;
enum { HS_TEXT_DECODED = 2 }; // bytes out for a byte in, at most; and 8 more
size_t hs_text_decode(hs_text_decoder *d, const void *in, size_t bytes, bool last, char *out);

#endif
