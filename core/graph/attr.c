// attr: any op's attributes by their rows: checked against the layout of its struct, found by name, written as text and read back.
#include "core/graph/attr.h"
#include "core/graph/op.h"
#include "core/settings/schema.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct type {
    const char *name;
    size_t bytes; // and alignment
    int64_t min, max;
} types[] = { [HS_ATTR_BOOL] = { "bool", sizeof(bool), 0, 1 },
              [HS_ATTR_I32] = { "i32", sizeof(int32_t), INT32_MIN, INT32_MAX },
              [HS_ATTR_I64] = { "i64", sizeof(int64_t), INT64_MIN, INT64_MAX },
              [HS_ATTR_F32] = { "f32", sizeof(float), 0, 0 } };

static size_t aligned(size_t at, size_t to) { return (at + to - 1) / to * to; }

// C lays a struct out field by field, each at the next multiple of its size, and fills it up to a multiple of the largest: whatever
// differs from that is a byte without a row.
const char *hs_attrs_check(const hs_op *op)
{
    size_t end = 0, widest = 1;
    for (int i = 0; i < op->n_attrs; i++) {
        const hs_attr *a = &op->attrs[i];
        if (!a->name || a->type == HS_ATTR_UNSET || a->type >= HS_COUNT(types))
            return "an attribute has no name or no type";
        if (a->words && a->type != HS_ATTR_I32)
            return "only an i32 can be a choice of words";
        for (int k = 0; k < i; k++)
            if (!strcmp(op->attrs[k].name, a->name))
                return "two attributes have one name";
        const size_t bytes = types[a->type].bytes;
        if (a->offset != aligned(end, bytes))
            return "its attributes do not follow each other without a gap, in the order of their struct";
        end = a->offset + bytes;
        widest = bytes > widest ? bytes : widest;
    }
    return aligned(end, widest) == op->attr_bytes ? NULL : "its attributes' rows do not cover attr_bytes";
}

const char *hs_attr_type_name(const hs_attr *a) { return a->words ? a->words : types[a->type].name; }

const hs_attr *hs_attr_find(const hs_op *op, const char *name)
{
    for (int i = 0; i < op->n_attrs; i++)
        if (!strcmp(op->attrs[i].name, name))
            return &op->attrs[i];
    return NULL;
}

int64_t hs_attr_int(const hs_attr *a, const void *attr)
{
    const void *field = (const char *)attr + a->offset;
    return a->type == HS_ATTR_BOOL ? *(const bool *)field : a->type == HS_ATTR_I32 ? *(const int32_t *)field : *(const int64_t *)field;
}

void hs_attr_set_int(const hs_attr *a, void *attr, int64_t v)
{
    void *field = (char *)attr + a->offset;
    if (a->type == HS_ATTR_BOOL)
        *(bool *)field = v != 0;
    else if (a->type == HS_ATTR_I32)
        *(int32_t *)field = (int32_t)v;
    else
        *(int64_t *)field = v;
}

static float f32_at(const hs_attr *a, const void *attr) { return *(const float *)((const char *)attr + a->offset); }

// ---- to text

// Word number `index`, as long as *bytes says; NULL beyond the last.
static const char *word_at(const char *words, int64_t index, int *bytes)
{
    for (; index > 0 && words; index--)
        words = strchr(words, '|') ? strchr(words, '|') + 1 : NULL;
    if (!words || index < 0)
        return NULL;
    *bytes = (int)strcspn(words, "|");
    return words;
}

static void value_text(const hs_attr *a, const void *attr, char *buf, size_t size)
{
    int bytes = 0;
    const char *word = a->words ? word_at(a->words, hs_attr_int(a, attr), &bytes) : NULL;
    if (word)
        snprintf(buf, size, "%.*s", bytes, word);
    else if (a->type == HS_ATTR_BOOL)
        snprintf(buf, size, "%s", hs_attr_int(a, attr) ? "true" : "false");
    else if (a->type != HS_ATTR_F32)
        snprintf(buf, size, "%lld", (long long)hs_attr_int(a, attr));
    else
        for (int digits = 1; digits <= 9; digits++) { // the shortest that reads back to the same bits
            snprintf(buf, size, "%.*g", digits, (double)f32_at(a, attr));
            if (strtof(buf, NULL) == f32_at(a, attr))
                break;
        }
}

size_t hs_attrs_text(const hs_op *op, const void *attr, char *buf, size_t size)
{
    size_t at = 0;
    if (size)
        buf[0] = 0;
    for (int i = 0; i < op->n_attrs; i++) {
        char value[64];
        value_text(&op->attrs[i], attr, value, sizeof value);
        at += (size_t)snprintf(at < size ? buf + at : NULL, at < size ? size - at : 0, "%s%s=%s", i ? " " : "", op->attrs[i].name, value);
    }
    return at;
}

// ---- from text

static hs_status refuse(const hs_op *op, const hs_attr *a, const char *value)
{
    return HS_FAIL(USAGE, "%s: attribute %s is \"%s\", allowed is %s", op->name, a->name, value,
                   a->type == HS_ATTR_BOOL ? "true|false" : hs_attr_type_name(a));
}

static bool parse_int(const hs_attr *a, const char *value, int64_t *out)
{
    const char *words = a->type == HS_ATTR_BOOL ? "false|true" : a->words, *word;
    int bytes;
    for (int64_t i = 0; words && (word = word_at(words, i, &bytes)); i++)
        if (strlen(value) == (size_t)bytes && !strncmp(value, word, (size_t)bytes)) {
            *out = i;
            return true;
        }
    char *end;
    errno = 0;
    const long long v = strtoll(value, &end, 10);
    *out = v;
    return !words && end != value && !*end && !errno && v >= types[a->type].min && v <= types[a->type].max;
}

static hs_status set(const hs_op *op, const char *name, const char *value, void *attr)
{
    const hs_attr *a = hs_attr_find(op, name);
    if (!a) {
        const char *names[64];
        int n = 0;
        for (; n < op->n_attrs && n < HS_COUNT(names); n++)
            names[n] = op->attrs[n].name;
        const char *near = hs_nearest_word(name, names, n);
        return HS_FAIL(USAGE, "%s has no attribute %s%s%s", op->name, name, near ? ", nearest is " : "", near ? near : "");
    }
    if (a->type == HS_ATTR_F32) {
        char *end;
        const float v = strtof(value, &end);
        if (end == value || *end || !isfinite(v))
            return refuse(op, a, value);
        *(float *)((char *)attr + a->offset) = v;
        return HS_OK;
    }
    int64_t v;
    if (!parse_int(a, value, &v))
        return refuse(op, a, value);
    hs_attr_set_int(a, attr, v);
    return HS_OK;
}

hs_status hs_attrs_parse(const hs_op *op, const char *text, void *attr)
{
    static const char between[] = " ,";
    for (text += strspn(text, between); *text; text += strspn(text, between)) {
        char item[160], *eq;
        const size_t n = strcspn(text, between);
        snprintf(item, sizeof item, "%.*s", (int)n, text);
        text += n;
        if (n >= sizeof item || !(eq = strchr(item, '=')))
            return HS_FAIL(USAGE, "%s: \"%s\" is not written as attribute=value", op->name, item);
        *eq = 0;
        HS_TRY(set(op, item, eq + 1, attr));
    }
    return HS_OK;
}
