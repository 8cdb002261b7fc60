// gate: see the header.
#include "recipes/program/gate.h"
#include "core/settings/schema.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hs_status parse_item(hs_gate_item *item, char *text)
{
    char *sign = strpbrk(text, "<>"), *end;
    while (isspace((unsigned char)*text))
        text++;
    if (!sign || sign[1] != '=' || sign == text)
        return HS_FAIL(USAGE, "--gate: \"%s\" is not NAME>=X, NAME<=X or NAME drop<=X", text);
    item->least = *sign == '>';
    item->bound = strtod(sign + 2, &end);
    if (end == sign + 2 || *end || !isfinite(item->bound))
        return HS_FAIL(USAGE, "--gate: \"%s\" is no number", sign + 2);
    *sign = 0;
    char *last = sign;
    while (last > text && isspace((unsigned char)last[-1]))
        *--last = 0;
    char *space = strchr(text, ' ');
    item->drop = space && !strcmp(space + 1, "drop");
    if (space && !item->drop)
        return HS_FAIL(USAGE, "--gate: \"%s\" is not a name, or a name and \"drop\"", text);
    if (space)
        *space = 0;
    if (item->drop && (item->least || item->bound < 0))
        return HS_FAIL(USAGE, "--gate: a drop is bounded from above, by a number from 0 on: %s drop<=0.01", text);
    if (!*text || strlen(text) >= sizeof item->name)
        return HS_FAIL(USAGE, "--gate: a condition without a name");
    strcpy(item->name, text);
    return HS_OK;
}

hs_status hs_gate_parse(hs_gate *g, const char *text)
{
    *g = (hs_gate){ 0 };
    for (const char *at = text; *at;) {
        char item[160];
        const size_t n = strcspn(at, ",");
        if (n >= sizeof item || g->n == HS_GATE_MOST)
            return HS_FAIL(USAGE, "--gate: at most %d conditions of %zu characters", HS_GATE_MOST, sizeof item - 1);
        memcpy(item, at, n);
        item[n] = 0;
        HS_TRY(parse_item(&g->item[g->n++], item));
        at += n + (at[n] == ',');
    }
    return g->n ? HS_OK : HS_FAIL(USAGE, "--gate: no condition; accuracy drop<=0.005 is one");
}

double hs_gate_drop(const char *name, double was, double is)
{
    return strstr(name, "loss") || strstr(name, "perplexity") ? is - was : was - is;
}

static hs_status value_of(const json_t *measured, const char *name, double *out)
{
    const json_t *v = json_object_get(measured, name), *at;
    const char *key, *names[64];
    int n = 0;
    if (json_is_number(v)) {
        *out = json_number_value(v);
        return HS_OK;
    }
    json_object_foreach((json_t *)(uintptr_t)measured, key, at) if (json_is_number(at) && n < HS_COUNT(names)) names[n++] = key;
    const char *near = hs_nearest_word(name, names, n);
    return HS_FAIL(USAGE, "--gate: eval measures no \"%s\" here%s%s", name, near ? ", nearest is " : "", near ? near : "");
}

hs_status hs_gate_judge(const hs_gate *g, const json_t *original, const json_t *now, double *miss, char *why, size_t size)
{
    *miss = 0;
    why[0] = 0;
    for (int i = 0; i < g->n; i++) {
        const hs_gate_item *x = &g->item[i];
        double was, is;
        HS_TRY(value_of(original, x->name, &was));
        HS_TRY(value_of(now, x->name, &is));
        const double value = x->drop ? hs_gate_drop(x->name, was, is) : is;
        const double over = (x->least ? x->bound - value : value - x->bound) / fmax(fabs(x->bound), 1e-6);
        if (!(over > 1e-12))
            continue;
        if (!why[0])
            snprintf(why, size, "%s%s is %.6g, the gate asks for %s %.6g (original: %.6g)", x->name, x->drop ? " drop" : "", value,
                     x->least ? "at least" : "at most", x->bound, was);
        *miss = fmax(*miss, over);
    }
    return HS_OK;
}
