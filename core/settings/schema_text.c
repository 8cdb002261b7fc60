// schema_text: from a value back to text: the resolved config as YAML, and help.
#include "core/settings/schema.h"
#include <math.h>
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

void hs_schema_format(const hs_schema *s, const void *config, const hs_key *k, char *buf, size_t size)
{
    const void *field = hs_schema_field(s, (void *)config, k); // only read
    const hs_reals *reals = field;
    const hs_ints *ints = field;
    buf[0] = 0;
    switch (k->type) {
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
        put(buf, size, field);
        break;
    case HS_KEY_CHOICE:
        put_choice(buf, size, k->choices, *(const int *)field);
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

static void write_value(const hs_schema *s, const void *config, const hs_key *k, FILE *f)
{
    char text[VALUE_BYTES];
    hs_schema_format(s, config, k, text, sizeof text);
    if (k->type == HS_KEY_STRING)
        write_quoted(f, text);
    else if (k->type == HS_KEY_REALS || k->type == HS_KEY_INTS)
        fprintf(f, "[%s]", text);
    else
        fputs(text, f);
}

static bool first_with_prefix(const hs_schema *s, const void *config, int i, size_t length)
{
    const char *name = hs_schema_row(s, config, i)->name;
    for (int j = 0; j < i; j++)
        if (!strncmp(hs_schema_row(s, config, j)->name, name, length))
            return false;
    return true;
}

// All keys that begin with the first `length` characters of `prefix`, each section once and whole, wherever its rows stand.
static void write_section(const hs_schema *s, const void *config, FILE *f, const char *prefix, size_t length, int depth)
{
    const hs_key *k;
    for (int i = 0; (k = hs_schema_row(s, config, i)) != NULL; i++) {
        const char *name = k->name;
        if (strncmp(name, prefix, length))
            continue;
        const char *dot = strchr(name + length, '.');
        const size_t section = dot ? (size_t)(dot - name) + 1 : 0;
        if (dot && !first_with_prefix(s, config, i, section))
            continue;
        fprintf(f, "%*s%.*s:", 2 * depth, "", dot ? (int)(section - length - 1) : (int)strlen(name + length), name + length);
        if (dot) {
            fputc('\n', f);
            write_section(s, config, f, name, section, depth + 1);
        } else {
            fputc(' ', f);
            write_value(s, config, k, f);
            fputc('\n', f);
        }
    }
}

void hs_schema_write_yaml(const hs_schema *s, const void *config, FILE *f) { write_section(s, config, f, "", 0, 0); }

// ---- help

// "[1 to 1024 tokens]", "[fp32|bf16]", "[true|false]", or nothing.
static void describe_range(const hs_key *k, char *buf, size_t size)
{
    const char *unit = k->unit ? k->unit : "", *space = k->unit ? " " : "";
    const bool any = (k->min == 0 && k->max == 0) || k->type == HS_KEY_STRING;
    buf[0] = 0;
    if (k->type == HS_KEY_CHOICE)
        snprintf(buf, size, " [%s]", k->choices);
    else if (k->type == HS_KEY_BOOL)
        snprintf(buf, size, " [true|false]");
    else if (any && k->unit)
        snprintf(buf, size, " [%s]", unit);
    else if (!any && isinf(k->max))
        snprintf(buf, size, " [%.15g or more%s%s]", k->min, space, unit);
    else if (!any)
        snprintf(buf, size, " [%.15g to %.15g%s%s]", k->min, k->max, space, unit);
}

void hs_schema_write_help(const hs_schema *s, FILE *f, bool all)
{
    enum { WIDEST = 44 };
    int width = 0;
    const hs_key *k;
    for (int i = 0; (k = hs_schema_row(s, NULL, i)) != NULL; i++) {
        const int w = (int)(strlen(k->name) + strlen(k->value)) + 1;
        if (w > width && w <= WIDEST && (all || !k->advanced))
            width = w;
    }
    const hs_section *before = NULL;
    for (int i = 0; (k = hs_schema_row(s, NULL, i)) != NULL; i++) {
        char left[VALUE_BYTES], range[256];
        const hs_section *section = hs_schema_section_of(s, k);
        if (k->advanced && !all)
            continue;
        if (section && section != before)
            fprintf(f, "  with %s %s:\n", s->chooser, section->words);
        before = section;
        snprintf(left, sizeof left, "%s=%s", k->name, k->value);
        describe_range(k, range, sizeof range);
        fprintf(f, "  --%-*s  %s%s\n", width, left, k->help, range);
    }
}
