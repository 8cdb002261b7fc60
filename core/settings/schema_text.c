// schema_text: from a value back to text, and the resolved config as YAML.
#include "core/settings/schema.h"
#include <stdlib.h>
#include <string.h>

enum { VALUE_BYTES = 2048 };

// ---- values

static void put(char *buf, size_t size, const char *text)
{
    const size_t used = strlen(buf);
    if (used < size)
        snprintf(buf + used, size - used, "%s", text);
}

// The shortest decimal that reads back to the same bits.
static void put_real(char *buf, size_t size, double v)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    put(buf, size, text);
}

static void put_int(char *buf, size_t size, int64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)v);
    put(buf, size, text);
}

static void put_choice(char *buf, size_t size, const char *choices, int index)
{
    for (; index > 0 && strchr(choices, '|'); index--)
        choices = strchr(choices, '|') + 1;
    char word[128];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(choices, "|"), choices);
    put(buf, size, word);
}

void hs_schema_format(const hs_schema *s, const void *config, hs_key_at at, char *buf, size_t size)
{
    const void *field = hs_schema_field(s, (void *)config, at); // only read
    const hs_reals *reals = field;
    const hs_ints *ints = field;
    buf[0] = 0;
    switch (at.key->type) {
    case HS_KEY_INT:
        put_int(buf, size, *(const int64_t *)field);
        break;
    case HS_KEY_REAL:
        put_real(buf, size, *(const double *)field);
        break;
    case HS_KEY_BOOL:
        put(buf, size, *(const bool *)field ? "true" : "false");
        break;
    case HS_KEY_STRING:
    case HS_KEY_TEXTS:
        put(buf, size, field);
        break;
    case HS_KEY_CHOICE:
        put_choice(buf, size, at.key->choices, *(const int *)field);
        break;
    case HS_KEY_REALS:
        for (int i = 0; i < reals->n; i++)
            put(buf, size, i ? "," : ""), put_real(buf, size, reals->v[i]);
        break;
    case HS_KEY_INTS:
        for (int i = 0; i < ints->n; i++)
            put(buf, size, i ? "," : ""), put_int(buf, size, ints->v[i]);
        break;
    }
}

// ---- YAML

static void write_quoted(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c < ' ' || c == 0x7F)
            fprintf(f, "\\x%02X", c);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

static void write_value(const hs_schema *s, const void *config, hs_key_at at, FILE *f)
{
    char text[VALUE_BYTES];
    hs_schema_format(s, config, at, text, sizeof text);
    if (at.key->type == HS_KEY_STRING || at.key->type == HS_KEY_TEXTS)
        write_quoted(f, text);
    else if (at.key->type == HS_KEY_REALS || at.key->type == HS_KEY_INTS)
        fprintf(f, "[%s]", text);
    else
        fputs(text, f);
}

static bool first_with_prefix(const hs_schema *s, const void *config, int i, const char *prefix, size_t length)
{
    char name[HS_KEY_NAME];
    for (int j = 0; j < i; j++)
        if (!strncmp(hs_schema_name(hs_schema_row(s, config, j), name), prefix, length))
            return false;
    return true;
}

static bool is_list(const hs_list *l, const char *prefix, size_t length) // "data.sources."
{
    return l && length == strlen(l->name) + 1 && !strncmp(prefix, l->name, length - 1);
}

// All keys that begin with the first `length` characters of `prefix`, each section once and whole, wherever its rows stand. item: in front
// of the first one stands the dash of a list.
static void write_section(const hs_schema *s, const void *config, FILE *f, const char *prefix, size_t length, int depth, bool item)
{
    hs_key_at at;
    for (int i = 0; (at = hs_schema_row(s, config, i)).key != NULL; i++) {
        char name[HS_KEY_NAME];
        if (strncmp(hs_schema_name(at, name), prefix, length))
            continue;
        const char *dot = strchr(name + length, '.');
        const size_t section = dot ? (size_t)(dot - name) + 1 : 0;
        if (dot && !first_with_prefix(s, config, i, name, section))
            continue;
        if (is_list(at.list, name, length)) {
            write_section(s, config, f, name, section, depth + 1, true);
            continue;
        }
        fprintf(f, "%*s%s%.*s:", 2 * (depth - item), "", item ? "- " : "", dot ? (int)(section - length - 1) : (int)strlen(name + length),
                name + length);
        item = false;
        if (dot) {
            fputc('\n', f);
            write_section(s, config, f, name, section, depth + 1, false);
        } else {
            fputc(' ', f);
            write_value(s, config, at, f);
            fputc('\n', f);
        }
    }
}

void hs_schema_write_yaml(const hs_schema *s, const void *config, FILE *f) { write_section(s, config, f, "", 0, 0, false); }
