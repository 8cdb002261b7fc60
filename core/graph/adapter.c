// adapter: which weights wear a pair, and which parameters are trained.
#include "core/graph/adapter.h"
#include "core/graph/params_impl.h"
#include "core/settings/schema.h"
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEN = 24 };
struct hs_adapter {
    hs_adapter_spec spec; // its strings are owned
    char *targets, *trains;
    char *target[HS_ADAPTER_TARGETS]; // into targets, cut apart
    bool fits[HS_ADAPTER_TARGETS];
    int n;
    char seen[SEEN][64]; // ends of names of weights: "attn.qkv.q"
    int n_seen;
};

static hs_status cut(hs_adapter *a)
{
    for (char *at = a->targets; at;) {
        char *end = strchr(at, ',');
        if (end)
            *end++ = '\0';
        at += strspn(at, " ");
        for (size_t n = strlen(at); n && at[n - 1] == ' '; n--)
            at[n - 1] = '\0';
        if (!*at)
            return HS_FAIL(USAGE, "%s is \"%s\": a name of it is empty", a->spec.name, a->spec.targets);
        if (a->n == HS_ADAPTER_TARGETS)
            return HS_FAIL(USAGE, "%s: more than %d names", a->spec.name, HS_ADAPTER_TARGETS);
        a->target[a->n++] = at;
        at = end;
    }
    return HS_OK;
}

void hs_adapter_free(hs_adapter *a)
{
    if (!a)
        return;
    free(a->targets);
    free(a->trains);
    free((char *)(uintptr_t)a->spec.targets);
    free(a);
}

hs_status hs_params_adapt(hs_params *ps, const hs_adapter_spec *spec)
{
    if (ps->n_params)
        return HS_FAIL(INTERNAL, "%s comes too late: there are %d parameters", spec->name, ps->n_params);
    hs_adapter *a = calloc(1, sizeof *a);
    if (!a)
        return HS_FAIL(MEMORY, "no memory for an adapter");
    hs_adapter_free(ps->adapter);
    ps->adapter = a;
    a->spec = *spec;
    a->targets = strdup(spec->targets), a->trains = strdup(spec->trains ? spec->trains : "");
    a->spec.targets = strdup(spec->targets), a->spec.trains = a->trains;
    if (!a->targets || !a->trains || !a->spec.targets)
        return HS_FAIL(MEMORY, "no memory for the names of %s", spec->name);
    return cut(a);
}

const hs_adapter_spec *hs_params_adapter(const hs_params *ps) { return ps->adapter ? &ps->adapter->spec : NULL; }

// ---- names

static bool ends_with(const char *pattern, const char *name)
{
    char glob[256];
    if (fnmatch(pattern, name, 0) == 0)
        return true;
    return snprintf(glob, sizeof glob, "*.%s", pattern) < (int)sizeof glob && fnmatch(glob, name, 0) == 0;
}

static bool one_fits(const char *target, const char *name)
{
    char word[256];
    for (const char *at = target; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL) {
        snprintf(word, sizeof word, "%.*s", (int)strcspn(at, "|"), at);
        if (ends_with(word, name))
            return true;
    }
    return false;
}

// Behind the layer: what names of all layers have in common.
static void note(hs_adapter *a, const char *name)
{
    const char *end = strchr(name, '.') ? strchr(name, '.') + 1 : name;
    for (int i = 0; i < a->n_seen; i++)
        if (strncmp(a->seen[i], end, sizeof a->seen[i] - 1) == 0)
            return;
    if (a->n_seen < SEEN)
        snprintf(a->seen[a->n_seen++], sizeof a->seen[0], "%.63s", end);
}

static bool wears(hs_adapter *a, const char *scope, const char *name)
{
    bool fits = false;
    for (int i = 0; i < a->n; i++)
        if (one_fits(a->target[i], name) || one_fits(a->target[i], scope))
            a->fits[i] = fits = true;
    return fits;
}

unsigned hs_adapter_parts(hs_params *ps, const char *scope, const char *part)
{
    hs_adapter *a = ps->adapter;
    char name[320];
    unsigned mask = 0;
    if (!a)
        return 0;
    if (!part || a->spec.whole) {
        note(a, scope);
        return wears(a, scope, scope);
    }
    for (int bit = 0; part; bit++, part = strchr(part, '|') ? strchr(part, '|') + 1 : NULL) {
        snprintf(name, sizeof name, "%s.%.*s", scope, (int)strcspn(part, "|"), part);
        note(a, name);
        mask |= (unsigned)wears(a, scope, name) << bit;
    }
    return mask;
}

char hs_adapter_part_of(const char *param, char scope[256])
{
    const char *last = strrchr(param, '.');
    if (!last || (strcmp(last, ".lora_a") != 0 && strcmp(last, ".lora_b") != 0))
        return 0;
    snprintf(scope, 256, "%.*s", (int)(last - param), param);
    return last[6];
}

// ---- what is trained

bool hs_adapter_freezes(const hs_adapter *a, const hs_param_spec *s)
{
    char scope[256];
    return a && !hs_adapter_part_of(s->name, scope) && !hs_patterns_fit(a->trains, s->name);
}

hs_status hs_params_check_adapter(const hs_params *ps)
{
    const hs_adapter *a = ps->adapter;
    char all[1024] = "", word[256];
    const char *near, *names[SEEN];
    for (int i = 0; a && i < a->n; i++) {
        if (a->fits[i])
            continue;
        for (int k = 0; k < a->n_seen; k++) {
            names[k] = a->seen[k];
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", k ? ", " : "", a->seen[k]);
        }
        snprintf(word, sizeof word, "%.*s", (int)strcspn(a->target[i], "|"), a->target[i]);
        near = hs_nearest_word(word, names, a->n_seen);
        return HS_FAIL(USAGE, "%s: \"%s\" fits none of the model's weights%s%s: %s", a->spec.name, word, near ? ", nearest is " : "",
                       near ? near : "", all);
    }
    return HS_OK;
}
