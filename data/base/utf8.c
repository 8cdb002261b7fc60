// utf8: what is text and what is not, eight bytes at a time where they are ASCII.
#include "data/base/utf8.h"
#include <string.h>

// Eight bytes have a zero or one from 0x80 on: taking 1 from each sets the high bit of a zero.
static uint64_t no_ascii(const char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return (x | (x - 0x0101010101010101u)) & 0x8080808080808080u;
}

size_t hs_utf8_find_bad(const char *text, size_t bytes, size_t from)
{
    size_t i = from;
    while (i < bytes) {
        while (i + 32 <= bytes && (no_ascii(text + i) | no_ascii(text + i + 8) | no_ascii(text + i + 16) | no_ascii(text + i + 24)) == 0)
            i += 32;
        while (i < bytes && text[i] > 0)
            i++;
        if (i == bytes)
            break;
        const int n = text[i] ? hs_utf8_length((const unsigned char *)text + i, bytes - i) : 0;
        if (n == 0)
            return i;
        i += (size_t)n;
    }
    return bytes;
}
