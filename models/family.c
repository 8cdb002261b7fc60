// family: the table of families, and what follows from a row.
#include "models/family.h"
#include "models/gpt/gpt.h"
#include <stdio.h>
#include <string.h>

const hs_family *const hs_families[] = { &hs_gpt_family, NULL };

void hs_arch_trace(hs_graph *g, const void *setup)
{
    const hs_arch_setup *s = setup;
    s->arch.family->trace(g, s->arch.settings, &s->shape);
}

int64_t hs_arch_int(hs_arch m, const char *key)
{
    const hs_key *k = hs_schema_find(m.family->settings, NULL, key).key;
    return k && k->type == HS_KEY_INT ? *(const int64_t *)((const char *)m.settings + k->offset) : 0;
}

hs_status hs_arch_check(hs_arch m) { return m.family->check(m.settings); }

hs_status hs_arch_defaults(const hs_family *f, hs_settings *out)
{
    if (f->settings->struct_bytes > sizeof *out)
        return HS_FAIL(INTERNAL, "settings of %s take %zu bytes, there is room for %zu", f->name, f->settings->struct_bytes, sizeof *out);
    memset(out, 0, sizeof *out);
    return hs_schema_defaults(f->settings, out->bytes, NULL);
}

hs_status hs_arch_set(const hs_family *f, hs_settings *settings, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return hs_schema_set(f->settings, settings->bytes, NULL, key, text, NULL);
}

void hs_arch_describe(hs_arch m, char *buf, size_t size)
{
    const hs_schema *s = m.family->settings;
    size_t used = 0;
    buf[0] = 0;
    for (int i = 0; i < s->n && used < size; i++) {
        const hs_key *k = &s->key[i];
        const char *name = strrchr(k->name, '.');
        if (k->type == HS_KEY_INT && !k->advanced)
            used += (size_t)snprintf(buf + used, size - used, "%s%s %lld", used ? ", " : "", name ? name + 1 : k->name,
                                     (long long)hs_arch_int(m, k->name));
    }
}

bool hs_family_owns(const hs_family *f, const char *key)
{
    const size_t n = strlen(key);
    for (const char *p = f->own; p; p = strchr(p, '|'), p = p ? p + 1 : NULL)
        if (strncmp(p, key, n) == 0 && (p[n] == 0 || p[n] == '|'))
            return true;
    return false;
}
