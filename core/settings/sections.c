// sections: which keys there are, where their values lie, and in which order they are told. A chooser's value brings a table of its own.
#include "core/settings/schema.h"
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

void *hs_schema_field(const hs_schema *s, void *config, hs_key_at at)
{
    return (char *)config + (hs_schema_section_of(s, at.key) ? s->section_offset : 0) + at.key->offset;
}

int hs_schema_origins(const hs_schema *s)
{
    int most = 0;
    for (int i = 0; i < s->n_sections; i++)
        most = s->section[i].schema->n > most ? s->section[i].schema->n : most;
    return s->n + most;
}

int hs_schema_origin(const hs_schema *s, hs_key_at at)
{
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
    return (hs_key_at){ k };
}

hs_key_at hs_schema_row(const hs_schema *s, const void *config, int i)
{
    const int chosen = config ? hs_schema_chosen(s, config) : -1;
    for (int r = 0; r < s->n; r++) {
        if (i-- == 0)
            return (hs_key_at){ &s->key[r] };
        if (!s->chooser || strcmp(s->key[r].name, s->chooser) != 0)
            continue;
        for (int k = 0; k < s->n_sections; k++) {
            const hs_schema *section = s->section[k].schema;
            if (config && k != chosen)
                continue;
            if (i < section->n)
                return (hs_key_at){ &section->key[i] };
            i -= section->n;
        }
    }
    return (hs_key_at){ 0 };
}

const char *hs_schema_name(hs_key_at at, char buf[HS_KEY_NAME])
{
    snprintf(buf, HS_KEY_NAME, "%s", at.key->name);
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
    return false;
}

void hs_schema_words(const hs_section *section, int n, char *buf, size_t size)
{
    size_t used = 0;
    buf[0] = 0;
    for (int i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? "|" : "", section[i].words);
}
