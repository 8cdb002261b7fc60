// freeze: which parameters are not to be trained, and which keep their zeros, by patterns of their names.
#include "core/graph/params_impl.h"
#include "core/settings/schema.h"
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// One pattern of a list: "h0" is h0 and all of h0.*
static bool pattern_fits(const char *pattern, size_t length, const char *name)
{
    char glob[256];
    if (length + 3 > sizeof glob)
        return false;
    snprintf(glob, sizeof glob, "%.*s", (int)length, pattern);
    if (fnmatch(glob, name, 0) == 0)
        return true;
    memcpy(glob + length, ".*", 3);
    return fnmatch(glob, name, 0) == 0;
}

// The next of a list of patterns, without the spaces around it; its length, 0 at the end. *at moves behind it.
static size_t next_pattern(const char **at, const char **pattern)
{
    *at += strspn(*at, ", ");
    *pattern = *at;
    *at += strcspn(*at, ",");
    size_t n = (size_t)(*at - *pattern);
    while (n && (*pattern)[n - 1] == ' ')
        n--;
    return n;
}

bool hs_patterns_fit(const char *patterns, const char *name)
{
    const char *at = patterns ? patterns : "", *pattern;
    bool fits = false;
    for (size_t n; (n = next_pattern(&at, &pattern));)
        fits |= pattern_fits(pattern, n, name);
    return fits;
}

hs_coding hs_params_coding(const hs_params *ps, const hs_param_spec *s)
{
    return ps->coder.coding ? ps->coder.coding(ps->coder.user, s) : HS_CODING_NONE;
}

bool hs_params_freezes(const hs_params *ps, const hs_param_spec *s)
{
    const hs_hold *h = &ps->hold;
    return s->frozen || hs_params_coding(ps, s) || hs_patterns_fit(ps->freeze, s->name) || hs_adapter_freezes(ps->adapter, s) ||
           (h->depth && h->depth(h->settings, s->name) < h->from);
}

// "h0,,h1" or "," is a slip that would freeze less than was meant; a comma behind the last pattern is none.
static hs_status check_items(const char *patterns, const char *name)
{
    bool any = false;
    for (const char *at = patterns; *patterns; at++) {
        at += strspn(at, " ");
        if (!*at && any)
            break;
        if (!*at || *at == ',')
            return HS_FAIL(USAGE, "%s is \"%s\": a pattern of it is empty", name, patterns);
        any = true;
        at += strcspn(at, ",");
        if (!*at)
            break;
    }
    return HS_OK;
}

void hs_params_hold(hs_params *ps, hs_hold h) { ps->hold = h; }

static hs_status take_patterns(const hs_params *ps, const char *patterns, const char *name, char **to, const char **to_name)
{
    if (ps->n_params)
        return HS_FAIL(INTERNAL, "%s comes too late: there are %d parameters", name, ps->n_params);
    HS_TRY(check_items(patterns ? patterns : "", name));
    free(*to);
    *to = strdup(patterns ? patterns : "");
    *to_name = name;
    return *to ? HS_OK : HS_FAIL(MEMORY, "no memory for the patterns of %s", name);
}

hs_status hs_params_freeze(hs_params *ps, const char *patterns, const char *name)
{
    return take_patterns(ps, patterns, name, &ps->freeze, &ps->freeze_name);
}

hs_status hs_params_keep_zeros(hs_params *ps, const char *patterns, const char *name)
{
    return take_patterns(ps, patterns, name, &ps->keep, &ps->keep_name);
}

// A bias that begins at zero, or an adapter's pair, would never leave it.
static bool may_keep(hs_role role, int n_dims, int pair_parts) { return role == HS_WEIGHT && n_dims == 2 && !pair_parts; }

bool hs_params_keeps(const hs_params *ps, const hs_param_spec *s)
{
    return may_keep(s->role, s->n_dims, s->pair_parts) && hs_patterns_fit(ps->keep, s->name);
}

// Of parameters and their scopes ("h0", "h0.attn"): the names a pattern may have meant.
static hs_status no_fit(const char *const *names, int n, const char *pattern, size_t length, const char *what)
{
    char word[256], scope[256];
    snprintf(word, sizeof word, "%.*s", (int)length, pattern);
    const char *near = hs_nearest_word(word, names, n);
    for (int i = 0; i < n && !near; i++) {
        snprintf(scope, sizeof scope, "%.*s", (int)strcspn(names[i], "."), names[i]);
        near = hs_nearest_word(word, (const char *const[]){ scope }, 1);
    }
    return HS_FAIL(USAGE, "%s: \"%s\" fits none of the model's %d parameters%s%s", what, word, n, near ? ", nearest is " : "",
                   near ? near : "");
}

hs_status hs_patterns_check(const char *patterns, const char *const *names, int n, const char *what)
{
    const char *at = patterns ? patterns : "", *pattern;
    HS_TRY(check_items(at, what));
    for (size_t length; (length = next_pattern(&at, &pattern));) {
        int fits = 0;
        for (int i = 0; i < n; i++)
            fits += pattern_fits(pattern, length, names[i]);
        if (!fits)
            return no_fit(names, n, pattern, length, what);
    }
    return HS_OK;
}

// weights: of those that may keep zeros.
static hs_status check_patterns(const hs_params *ps, const char *patterns, const char *what, bool weights)
{
    const char **names = malloc(((size_t)ps->n_params + 1) * sizeof *names);
    int n = 0;
    if (!names)
        return HS_FAIL(MEMORY, "no memory for the names of %d parameters", ps->n_params);
    for (int i = 0; i < ps->n_params; i++)
        if (!weights || may_keep(ps->param[i]->role, ps->param[i]->n_dims, ps->param[i]->pair_parts))
            names[n++] = ps->param[i]->name;
    const hs_status st = hs_patterns_check(patterns, names, n, what);
    free(names);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_params_check_keep(const hs_params *ps) { return check_patterns(ps, ps->keep, ps->keep_name, true); }

size_t hs_params_count_trained(const hs_params *ps)
{
    size_t n = 0;
    for (int i = 0; i < ps->n_params; i++) {
        size_t elements = !ps->param[i]->frozen;
        for (int k = 0; k < ps->param[i]->n_dims; k++)
            elements *= (size_t)ps->param[i]->logical[k];
        n += elements;
    }
    return n;
}

hs_status hs_params_check_freeze(const hs_params *ps)
{
    int trained = 0;
    HS_TRY(check_patterns(ps, ps->freeze, ps->freeze_name, false));
    for (int i = 0; i < ps->n_params; i++)
        trained += !ps->param[i]->frozen;
    if (ps->n_params && !trained)
        return HS_FAIL(USAGE, "%s%sall %d parameters are frozen: nothing is left to train", ps->freeze_name ? ps->freeze_name : "",
                       ps->freeze_name ? ": " : "", ps->n_params);
    return HS_OK;
}
