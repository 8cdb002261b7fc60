// sections: which keys there are, where their values lie, and in which order they are told. A chooser's value brings a table of its own,
// and each element of a list has one.
#include "core/settings/schema.h"
#include <stdlib.h>
#include <string.h>

static int n_words(const char *words)
{
    int n = 1;
    for (; *words; words++)
        n += *words == '|';
    return n;
}

static const hs_key *find_row(const hs_schema *s, const char *key)
{
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->key[i].name, key))
            return &s->key[i];
    return NULL;
}

int hs_schema_chosen(const hs_schema *s, const void *config)
{
    if (!s->chooser)
        return -1;
    int word = *(const int *)((const char *)config + find_row(s, s->chooser)->offset), i = 0;
    while (i < s->n_sections - 1 && word >= n_words(s->section[i].words))
        word -= n_words(s->section[i++].words);
    return i;
}

const hs_section *hs_schema_section_of(const hs_schema *s, const hs_key *k)
{
    for (int i = 0; i < s->n_sections; i++)
        if (k >= s->section[i].schema->key && k < s->section[i].schema->key + s->section[i].schema->n)
            return &s->section[i];
    return NULL;
}

// ---- lists

static int count_of(const hs_list *l, const void *config) { return *(const int *)((const char *)config + l->count_offset); }

const hs_list *hs_schema_list(const hs_schema *s, const char *name)
{
    for (int i = 0; i < s->n_lists; i++)
        if (!strcmp(s->list[i].name, name))
            return &s->list[i];
    return NULL;
}

// What stands behind "data.sources.N." in a name, and N; NULL: it is of no element of this list.
static const char *in_element(const hs_list *l, const char *name, int *element)
{
    const size_t n = strlen(l->name);
    if (strncmp(name, l->name, n) != 0 || name[n] != '.')
        return NULL;
    const char *number = name + n + 1;
    const size_t digits = strspn(number, "0123456789");
    if (digits == 0 || digits > HS_LIST_DIGITS || (digits > 1 && number[0] == '0') || number[digits] != '.')
        return NULL;
    *element = atoi(number);
    return number + digits + 1;
}

static hs_key_at find_in_lists(const hs_schema *s, const void *config, const char *name)
{
    for (int i = 0; i < s->n_lists; i++) {
        const hs_list *l = &s->list[i];
        int element = 0;
        const char *rest = in_element(l, name, &element);
        const hs_key *k = rest ? find_row(l->schema, rest) : NULL;
        if (k && (!config || element < count_of(l, config)))
            return (hs_key_at){ k, l, element };
    }
    return (hs_key_at){ 0 };
}

// The i-th of the keys of lists.
static hs_key_at row_of_lists(const hs_schema *s, const void *config, int i)
{
    for (int k = 0; k < s->n_lists; k++) {
        const hs_list *l = &s->list[k];
        const int n = l->schema->n, elements = config ? count_of(l, config) : 1;
        if (i < n * elements)
            return (hs_key_at){ &l->schema->key[i % n], l, config ? i / n : HS_EACH };
        i -= n * elements;
    }
    return (hs_key_at){ 0 };
}

// ---- all of them

void *hs_schema_field(const hs_schema *s, void *config, hs_key_at at)
{
    if (at.list)
        return (char *)config + at.list->offset + (size_t)at.element * at.list->schema->struct_bytes + at.key->offset;
    return (char *)config + (hs_schema_section_of(s, at.key) ? s->section_offset : 0) + at.key->offset;
}

int hs_schema_origins(const hs_schema *s)
{
    int most = 0;
    for (int i = 0; i < s->n_sections; i++)
        most = s->section[i].schema->n > most ? s->section[i].schema->n : most;
    for (int i = 0; i < s->n_lists; i++)
        most += s->list[i].max * s->list[i].schema->n;
    return s->n + most;
}

int hs_schema_origin(const hs_schema *s, hs_key_at at)
{
    if (at.list) { // from the end: how large a section is does not matter
        int first = hs_schema_origins(s);
        for (const hs_list *l = at.list; l < s->list + s->n_lists; l++)
            first -= l->max * l->schema->n;
        return first + at.element * at.list->schema->n + (int)(at.key - at.list->schema->key);
    }
    const hs_section *section = hs_schema_section_of(s, at.key);
    return section ? s->n + (int)(at.key - section->schema->key) : (int)(at.key - s->key);
}

hs_key_at hs_schema_find(const hs_schema *s, const void *config, const char *name)
{
    const hs_key *k = find_row(s, name);
    const int chosen = config ? hs_schema_chosen(s, config) : -1;
    for (int i = 0; !k && i < s->n_sections; i++)
        if (!config || i == chosen)
            k = find_row(s->section[i].schema, name);
    return k ? (hs_key_at){ .key = k } : find_in_lists(s, config, name);
}

hs_key_at hs_schema_row(const hs_schema *s, const void *config, int i)
{
    const int chosen = config ? hs_schema_chosen(s, config) : -1;
    for (int r = 0; r < s->n; r++) {
        if (i-- == 0)
            return (hs_key_at){ .key = &s->key[r] };
        if (!s->chooser || strcmp(s->key[r].name, s->chooser) != 0)
            continue;
        for (int k = 0; k < s->n_sections; k++) {
            const hs_schema *section = s->section[k].schema;
            if (config && k != chosen)
                continue;
            if (i < section->n)
                return (hs_key_at){ .key = &section->key[i] };
            i -= section->n;
        }
    }
    return row_of_lists(s, config, i);
}

const char *hs_schema_name(hs_key_at at, char buf[HS_KEY_NAME])
{
    if (!at.list)
        snprintf(buf, HS_KEY_NAME, "%s", at.key->name);
    else if (at.element == HS_EACH)
        snprintf(buf, HS_KEY_NAME, "%s.N.%s", at.list->name, at.key->name);
    else
        snprintf(buf, HS_KEY_NAME, "%s.%d.%s", at.list->name, at.element, at.key->name);
    return buf;
}

bool hs_schema_is_section(const hs_schema *s, const void *config, const char *name)
{
    const size_t n = strlen(name);
    char key[HS_KEY_NAME];
    hs_key_at at;
    for (int i = 0; (at = hs_schema_row(s, config, i)).key != NULL; i++)
        if (strncmp(hs_schema_name(at, key), name, n) == 0 && key[n] == '.')
            return true;
    for (int i = 0; i < s->n_lists; i++) // one without elements has no keys yet
        if (strncmp(s->list[i].name, name, n) == 0 && (s->list[i].name[n] == '.' || s->list[i].name[n] == 0))
            return true;
    return false;
}

void hs_schema_words(const hs_section *section, int n, char *buf, size_t size)
{
    size_t used = 0;
    buf[0] = 0;
    for (int i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? "|" : "", section[i].words);
}
