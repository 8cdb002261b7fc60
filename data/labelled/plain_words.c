// plain_words: Unicode's categories tell what stands alone.
#include "data/labelled/plain_words.h"
#include "core/base/grow.h"
#include "data/base/unicode.h"
#include "data/base/utf8.h"

static bool stands_alone(uint32_t c)
{
    const hs_uni_category k = c < 0x110000 ? hs_uni_category_of(hs_uni_props(c)) : HS_SO;
    return k >= HS_PC && k <= HS_SO;
}

hs_status hs_plain_words(const char *text, size_t bytes, hs_span **word, int *n, int *room)
{
    const unsigned char *s = (const unsigned char *)text;
    bool inside = false;
    int length;
    for (size_t i = 0; i < bytes; i += (size_t)length) {
        const uint32_t c = hs_utf8_next(s + i, bytes - i, &length);
        const bool space = c < 0x110000 && (hs_uni_props(c) & HS_UNI_SPACE), alone = !space && stands_alone(c);
        if (inside && !space && !alone) {
            (*word)[*n - 1].end += length;
            continue;
        }
        inside = !space && !alone;
        if (space)
            continue;
        if (!hs_grow(word, *n, room, sizeof **word))
            return HS_FAIL(MEMORY, "no memory for %d words", *n + 1);
        (*word)[(*n)++] = (hs_span){ (int64_t)i, (int64_t)i + length };
    }
    return HS_OK;
}
