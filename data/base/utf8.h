// utf8: one code point at a time, strictly: shortest form only, no surrogates, nothing beyond U+10FFFF.
#ifndef HS_DATA_UTF8_H
#define HS_DATA_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HS_UTF8_RAW = 0x110000 }; // a byte that is no part of valid UTF-8 is the symbol HS_UTF8_RAW + byte

// Bytes of the sequence at s, 0 if it is not valid; room > 0.
static inline int hs_utf8_length(const unsigned char *s, size_t room)
{
    if (s[0] < 0x80)
        return 1;
    const int n = s[0] >= 0xC2 && s[0] <= 0xDF ? 2 : s[0] >= 0xE0 && s[0] <= 0xEF ? 3 : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4 : 0;
    if (n == 0 || (size_t)n > room)
        return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    const bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    const bool surrogate = s[0] == 0xED && s[1] > 0x9F, beyond = s[0] == 0xF4 && s[1] > 0x8F;
    return overlong || surrogate || beyond ? 0 : n;
}

// The symbol at s and the bytes it takes, at least 1; room > 0.
static inline uint32_t hs_utf8_next(const unsigned char *s, size_t room, int *n)
{
    *n = hs_utf8_length(s, room);
    switch (*n) {
    case 1:
        return s[0];
    case 2:
        return (uint32_t)(s[0] & 0x1F) << 6 | (s[1] & 0x3F);
    case 3:
        return (uint32_t)(s[0] & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3F);
    case 4:
        return (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3F) << 12 | (uint32_t)(s[2] & 0x3F) << 6 | (s[3] & 0x3F);
    }
    *n = 1;
    return HS_UTF8_RAW + s[0];
}

// The first byte from `from` on that is not valid UTF-8, or that is NUL, which no text has; bytes if there is none.
size_t hs_utf8_find_bad(const char *text, size_t bytes, size_t from);

// Writes a symbol; returns its bytes, 1 to 4.
static inline int hs_utf8_put(char out[4], uint32_t c)
{
    if (c < 0x80 || c >= HS_UTF8_RAW) {
        out[0] = (char)(c < 0x80 ? c : c - HS_UTF8_RAW);
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6), out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 0x3F)), out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F)), out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

#endif
