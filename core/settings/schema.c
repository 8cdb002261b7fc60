// schema: from text to a checked value. One reader per type, chosen by table; the messages are made here, once.
#include "core/settings/schema.h"
#include "core/base/log.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct place { // what is set, and where its value comes from
    hs_key_at at;
    const char *where;
    char name[HS_KEY_NAME];
} place;

static place place_of(hs_key_at at, const char *where)
{
    place p = { .at = at, .where = where };
    hs_schema_name(at, p.name);
    return p;
}

// "config.yaml:12: " in front of a message; nothing for "--optim.lr", which the message names anyway.
static const char *file_of(const place *p) { return p->where && strncmp(p->where, "--", 2) ? p->where : ""; }
static const char *colon_of(const place *p) { return *file_of(p) ? ": " : ""; }

#define BAD(p, fmt, ...) HS_FAIL(USAGE, "%s%s%s " fmt, file_of(p), colon_of(p), (p)->name, __VA_ARGS__)

// ---- numbers

static hs_status check_range(const place *p, double v, const char *text)
{
    const hs_key *k = p->at.key;
    const bool any = k->min == 0 && k->max == 0;
    if (!isfinite(v))
        return BAD(p, "is %s, must be a finite number", text);
    if (any || (v >= k->min && v <= k->max))
        return HS_OK;
    if (isinf(k->max))
        return BAD(p, "is %s, must be at least %.15g", text, k->min);
    return BAD(p, "is %s, allowed %.15g to %.15g", text, k->min, k->max);
}

static hs_status read_real(const place *p, const char *text, double *out)
{
    char *end;
    const double v = strtod(text, &end);
    if (end == text || *end)
        return BAD(p, "is '%s', must be a number", text);
    HS_TRY(check_range(p, v, text));
    *out = v;
    return HS_OK;
}

static hs_status read_int(const place *p, const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    int64_t v = strtoll(text, &end, 10);
    if (end == text || *end || errno) {
        const double real = strtod(text, &end); // "1e6" is a whole number too
        if (end == text || *end)
            return BAD(p, "is '%s', must be a whole number", text);
        if (!(fabs(real) <= 0x1p53) || real != floor(real))
            return BAD(p, "is %s, must be a whole number%s", text, fabs(real) > 0x1p53 ? " below 2^53" : "");
        v = (int64_t)real;
    }
    HS_TRY(check_range(p, (double)v, text));
    *out = v;
    return HS_OK;
}

// ---- one reader per type

static hs_status set_int(const place *p, const char *text, void *field) { return read_int(p, text, field); }
static hs_status set_real(const place *p, const char *text, void *field) { return read_real(p, text, field); }

static hs_status set_bool(const place *p, const char *text, void *field)
{
    static const char *const word[] = { "false", "true", "no", "yes", "off", "on", "0", "1" };
    for (int i = 0; i < HS_COUNT(word); i++)
        if (!strcasecmp(text, word[i])) {
            *(bool *)field = i % 2;
            return HS_OK;
        }
    return BAD(p, "is '%s', must be true or false", text);
}

static hs_status set_string(const place *p, const char *text, void *field)
{
    const size_t n = strlen(text);
    if (n >= HS_KEY_STRING_BYTES)
        return BAD(p, "has %zu bytes, at most %d are allowed", n, HS_KEY_STRING_BYTES - 1);
    memmove(field, text, n + 1);
    return HS_OK;
}

static hs_status set_choice(const place *p, const char *text, void *field)
{
    char copy[512], *save, *words[64];
    int n = 0;
    snprintf(copy, sizeof copy, "%s", p->at.key->choices);
    for (char *w = strtok_r(copy, "|", &save); w && n < HS_COUNT(words); w = strtok_r(NULL, "|", &save)) {
        if (!strcmp(w, text)) {
            *(int *)field = n;
            return HS_OK;
        }
        words[n++] = w;
    }
    const char *near = hs_nearest_word(text, (const char *const *)words, n);
    return near ? BAD(p, "is '%s'; did you mean %s? allowed: %s", text, near, p->at.key->choices)
                : BAD(p, "is '%s', allowed: %s", text, p->at.key->choices);
}

// Calls add on every element of "1, 2" or "[1, 2]". An empty list is a list.
static hs_status each_element(const place *p, const char *text, void *list, hs_status (*add)(const place *, const char *, void *))
{
    char copy[2048];
    const size_t n = strlen(text);
    const bool bracketed = n >= 2 && text[0] == '[' && text[n - 1] == ']';
    if (n >= sizeof copy)
        return BAD(p, "is a list of %zu bytes, at most %zu are allowed", n, sizeof copy - 1);
    snprintf(copy, sizeof copy, "%.*s", (int)(bracketed ? n - 2 : n), text + bracketed);
    if (copy[strspn(copy, " \t")] == 0)
        return HS_OK;
    for (char *at = copy, *next; at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = 0;
        at += strspn(at, " \t");
        for (size_t end = strlen(at); end && (at[end - 1] == ' ' || at[end - 1] == '\t'); end--)
            at[end - 1] = 0;
        HS_TRY(add(p, at, list));
    }
    return HS_OK;
}

static hs_status add_real(const place *p, const char *text, void *field)
{
    hs_reals *list = field;
    if (list->n == HS_KEY_LIST)
        return BAD(p, "has more than %d elements", HS_KEY_LIST);
    return read_real(p, text, &list->v[list->n++]);
}

static hs_status add_int(const place *p, const char *text, void *field)
{
    hs_ints *list = field;
    if (list->n == HS_KEY_LIST)
        return BAD(p, "has more than %d elements", HS_KEY_LIST);
    return read_int(p, text, &list->v[list->n++]);
}

static hs_status set_reals(const place *p, const char *text, void *field)
{
    hs_reals list = { 0 };
    HS_TRY(each_element(p, text, &list, add_real));
    *(hs_reals *)field = list;
    return HS_OK;
}

static hs_status set_ints(const place *p, const char *text, void *field)
{
    hs_ints list = { 0 };
    HS_TRY(each_element(p, text, &list, add_int));
    *(hs_ints *)field = list;
    return HS_OK;
}

static hs_status (*const setter[])(const place *p, const char *text, void *field) = {
    [HS_KEY_INT] = set_int,       [HS_KEY_REAL] = set_real,   [HS_KEY_BOOL] = set_bool, [HS_KEY_STRING] = set_string,
    [HS_KEY_CHOICE] = set_choice, [HS_KEY_REALS] = set_reals, [HS_KEY_INTS] = set_ints, [HS_KEY_TEXTS] = set_string,
};

// ---- setting

static hs_status set_value(const hs_schema *s, void *config, hs_origin *origin, hs_key_at at, const char *value, const char *where)
{
    const place p = place_of(at, where);
    HS_TRY(setter[at.key->type](&p, value, hs_schema_field(s, config, at)));
    if (origin)
        snprintf(origin[hs_schema_origin(s, at)].text, sizeof origin->text, "%s", where ? where : "");
    return HS_OK;
}

static hs_status section_defaults(const hs_schema *s, void *config, hs_origin *origin)
{
    const int chosen = hs_schema_chosen(s, config);
    if (chosen < 0)
        return HS_OK;
    const hs_schema *section = s->section[chosen].schema;
    if (section->struct_bytes > s->section_bytes)
        return HS_FAIL(INTERNAL, "settings of %s %s take %zu bytes, there is room for %zu", s->chooser, s->section[chosen].words,
                       section->struct_bytes, s->section_bytes);
    memset((char *)config + s->section_offset, 0, s->section_bytes);
    for (int i = 0; i < section->n; i++)
        HS_TRY(set_value(s, config, origin, (hs_key_at){ .key = &section->key[i] }, section->key[i].value, "default"));
    return HS_OK;
}

// Element n of n. One whose first value is refused does not come to be.
static hs_status append(const hs_schema *s, void *config, hs_origin *origin, hs_key_at at, const char *value, const char *where)
{
    const hs_list *l = at.list;
    const place p = place_of(at, where);
    int *n = (int *)((char *)config + l->count_offset);
    if (at.element > *n)
        return HS_FAIL(USAGE, "%s%s%s: %s has %d element%s, the next one is %s.%d", file_of(&p), colon_of(&p), p.name, l->name, *n,
                       hs_plural(*n), l->name, *n);
    if (*n == l->max)
        return HS_FAIL(USAGE, "%s%s%s: %s takes at most %d elements", file_of(&p), colon_of(&p), p.name, l->name, l->max);
    for (int i = 0; i < l->schema->n; i++)
        HS_TRY(set_value(s, config, origin, (hs_key_at){ &l->schema->key[i], l, *n }, l->schema->key[i].value, "default"));
    const hs_status st = set_value(s, config, origin, at, value, where);
    if (st == HS_OK)
        ++*n;
    else
        memset((char *)config + l->offset + (size_t)*n * l->schema->struct_bytes, 0, l->schema->struct_bytes);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status unknown_key(const hs_schema *s, const void *config, const char *key, const char *where)
{
    const place p = { .where = where };
    const hs_key *other = hs_schema_find(s, NULL, key).key;
    if (other) {
        char word[128];
        hs_schema_format(s, config, hs_schema_find(s, config, s->chooser), word, sizeof word);
        return HS_FAIL(USAGE, "%s%s%s is a setting of %s %s, not of %s", file_of(&p), colon_of(&p), key, s->chooser,
                       hs_schema_section_of(s, other)->words, word);
    }
    char buf[HS_KEY_NAME], keys[512];
    const char *near = hs_schema_nearest(s, config, key, buf);
    if (near)
        return HS_FAIL(USAGE, "%s%sunknown key %s; did you mean %s?", file_of(&p), colon_of(&p), key, near);
    const bool of_list = hs_schema_element_keys(s, key, keys, sizeof keys);
    return HS_FAIL(USAGE, "%s%sunknown key %s%s%s", file_of(&p), colon_of(&p), key, of_list ? "; " : "", of_list ? keys : "");
}

hs_status hs_schema_set(const hs_schema *s, void *config, hs_origin *origin, const char *key, const char *value, const char *where)
{
    const hs_key_at at = hs_schema_find(s, config, key), new = hs_schema_find(s, NULL, key);
    if (!at.key && new.list)
        return append(s, config, origin, new, value, where);
    if (!at.key)
        return unknown_key(s, config, key, where);
    const int before = hs_schema_chosen(s, config);
    HS_TRY(set_value(s, config, origin, at, value, where));
    return hs_schema_chosen(s, config) == before ? HS_OK : section_defaults(s, config, origin);
}

hs_status hs_schema_check(const hs_schema *s, const char *key, const char *value, const char *where)
{
    union {
        char text[HS_KEY_STRING_BYTES];
        int64_t integer;
        hs_reals reals;
        hs_ints ints;
    } value_of_any_type;
    const hs_key_at at = hs_schema_find(s, NULL, key);
    if (!at.key)
        return unknown_key(s, NULL, key, where);
    const place p = place_of(at, where);
    return setter[at.key->type](&p, value, &value_of_any_type);
}

hs_status hs_schema_defaults(const hs_schema *s, void *config, hs_origin *origin)
{
    memset(config, 0, s->struct_bytes);
    for (int i = 0; i < s->n; i++)
        HS_TRY(set_value(s, config, origin, (hs_key_at){ .key = &s->key[i] }, s->key[i].value, "default"));
    return section_defaults(s, config, origin);
}
