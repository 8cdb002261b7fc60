// ending: what a name ends with.
#ifndef HS_CORE_ENDING_H
#define HS_CORE_ENDING_H
#include <stdbool.h>
#include <string.h>

static inline bool hs_ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && memcmp(s + n - k, end, k) == 0;
}

#endif
