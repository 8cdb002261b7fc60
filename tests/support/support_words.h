// Optimizers and policies by their words, for tables of tests.
#ifndef HS_TESTS_SUPPORT_WORDS_H
#define HS_TESTS_SUPPORT_WORDS_H
#include "core/plan/plan.h"
#include "optim/optim.h"
#include <stdlib.h>
#include <string.h>

static inline hs_optim_config optim_named(const char *word)
{
    static const char *const words[] = {
        [HS_PRESET_ADAMW] = "adamw", [HS_PRESET_LAMB] = "lamb", [HS_PRESET_NVLAMB] = "nvlamb", [HS_PRESET_SGD] = "sgd"
    };
    for (int i = 0; i < HS_N_PRESETS; i++)
        if (strcmp(words[i], word) == 0)
            return hs_optim_preset((hs_preset)i);
    abort();
}

static inline hs_policy policy_named(const char *word)
{
    hs_policy p = { 0 };
    if (!hs_dtype_parse(word, &p.low))
        abort();
    return p;
}

#endif
