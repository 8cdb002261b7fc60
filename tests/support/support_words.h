// Optimizers and policies by their words, for tables of tests.
#ifndef HS_TESTS_SUPPORT_WORDS_H
#define HS_TESTS_SUPPORT_WORDS_H
#include "core/plan/plan.h"
#include "optim/optim.h"
#include <stdlib.h>
#include <string.h>

static inline hs_optim_config optim_named(const char *word)
{
    const char *at = HS_PRESET_WORDS;
    const size_t n = strlen(word);
    for (int i = 0; i < HS_N_PRESETS; i++, at += *at != 0) {
        const size_t bytes = strcspn(at, "|");
        if (bytes == n && strncmp(at, word, n) == 0)
            return hs_optim_preset((hs_preset)i);
        at += bytes;
    }
    abort();
}

static inline hs_policy policy_named(const char *word)
{
    hs_policy p = { 0 };
    if (!strncmp(word, "fp8", 3)) // "fp8", "fp8 delayed"
        return (hs_policy){ .low = HS_BF16, .fp8 = { .on = true, .history = word[3] ? 3 : 0 } };
    if (!hs_dtype_parse(word, &p.low))
        abort();
    return p;
}

#endif
