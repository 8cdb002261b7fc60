// config_data: what a run's data are - its sources, and where its files lie.
#include "data/text/plain_tokenizer.h"
#include "recipes/program/config.h"
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- paths
// A value set by the file is relative to the file's folder, one from the command line to the current folder.
static hs_status absolute(char *value, const char *where, const char *file)
{
    char folder[PATH_MAX], base[PATH_MAX], out[PATH_MAX];
    if (!value[0] || value[0] == '/')
        return HS_OK;
    snprintf(folder, sizeof folder, "%s", file);
    const char *from = strncmp(where, "--", 2) == 0 ? "." : dirname(folder);
    if (!realpath(from, base))
        return HS_FAIL(SYSTEM, "%s: %s", from, strerror(errno));
    const int n = snprintf(out, sizeof out, "%s/%s", base, value);
    if (n < 0 || n >= HS_KEY_STRING_BYTES)
        return HS_FAIL(USAGE, "%s: the path %s/%.100s is longer than %d bytes", where, base, value, HS_KEY_STRING_BYTES - 1);
    memcpy(value, out, (size_t)n + 1);
    return HS_OK;
}

// Path and weight of one part of a list; the weight stands behind the last colon.
static hs_status parse_part(const char *from, size_t bytes, hs_data_part *out)
{
    while (bytes && *from == ' ')
        from++, bytes--;
    while (bytes && from[bytes - 1] == ' ')
        bytes--;
    snprintf(out->path, sizeof out->path, "%.*s", (int)bytes, from);
    out->weight = 0; // not given
    char *colon = strrchr(out->path, ':'), *end;
    if (colon) {
        out->weight = strtod(colon + 1, &end);
        if (end == colon + 1 || *end || !(out->weight >= HS_LEAST_WEIGHT && out->weight <= HS_MOST_WEIGHT))
            return HS_FAIL(USAGE, "data.train: '%s' is no weight; a.bin:0.7,b.bin:0.3 needs numbers from %g to %.0f", colon + 1,
                           HS_LEAST_WEIGHT, HS_MOST_WEIGHT);
        *colon = 0;
    }
    return out->path[0] ? HS_OK : HS_FAIL(USAGE, "data.train: a path is missing in the list");
}

// Weights of all, or of none: a missing one would count as much as what looks like a share. None so small that it would never be drawn.
static hs_status settle_weights(const char *key, hs_data_part *part, int n)
{
    const hs_data_part *without = NULL, *with = NULL;
    for (int i = 0; i < n; i++)
        *(part[i].weight > 0 ? &with : &without) = &part[i];
    if (with && without)
        return HS_FAIL(USAGE, "%s: %s has a weight, %s has none; give one to each", key, with->path, without->path);
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += part[i].weight = without ? 1 : part[i].weight;
    for (int i = 0; i < n; i++)
        if (part[i].weight / sum * HS_MIX_PERIOD < 1 - 1e-6)
            return HS_FAIL(USAGE, "%s: weight %g of %s is less than one part in %d of all (%g)", key, part[i].weight, part[i].path,
                           HS_MIX_PERIOD, sum);
    return HS_OK;
}

static hs_status short_form(const char *text, hs_data_part *part, int *n)
{
    *n = 1;
    if (!strchr(text, ',') || access(text, F_OK) == 0) {
        part[0].weight = 1;
        snprintf(part[0].path, sizeof part[0].path, "%s", text);
        return HS_OK;
    }
    for (*n = 0; *text; ++*n) {
        const size_t bytes = strcspn(text, ",");
        if (*n == HS_MIX_SOURCES)
            return HS_FAIL(USAGE, "data.train: more than %d files", HS_MIX_SOURCES);
        HS_TRY(parse_part(text, bytes, &part[*n]));
        text += bytes + (text[bytes] == ',');
    }
    return settle_weights("data.train", part, *n);
}

// "data.sources.1.weight"
static const char *key_of_source(int i, const char *key, char buf[HS_KEY_NAME])
{
    snprintf(buf, HS_KEY_NAME, "data.sources.%d.%s", i, key);
    return buf;
}

hs_status hs_config_sources(const hs_config *c, hs_data_part part[HS_MIX_SOURCES], int *n)
{
    char key[HS_KEY_NAME], path[HS_KEY_NAME], at[128];
    if (c->data.n_sources == 0)
        return short_form(c->data.train, part, n);
    if (c->data.train[0])
        return HS_FAIL(USAGE,
                       "%sdata.sources and data.train (%s) are both set: name the data in one of them; --data.train= "
                       "leaves that out",
                       hs_config_prefix(c, "data.sources.0.path", at, sizeof at), c->data.train);
    *n = c->data.n_sources;
    for (int i = 0; i < *n; i++) {
        part[i] = c->data.source[i];
        if (!part[i].path[0])
            return HS_FAIL(USAGE, "%s%s is not set: an element of data.sources needs a path",
                           hs_config_prefix(c, key_of_source(i, "weight", key), at, sizeof at), key_of_source(i, "path", path));
        if (hs_config_is_default(c, key_of_source(i, "weight", key)))
            part[i].weight = 0;
    }
    return settle_weights("data.sources", part, *n);
}

// Every path of a data.train, whose name is key.
static hs_status absolute_train(hs_string train, const char *where, const char *file)
{
    hs_data_part part[HS_MIX_SOURCES];
    hs_string list = "";
    int n;
    memcpy(list, train, sizeof list);
    const bool fits = absolute(list, where, file) == HS_OK;
    if (!strchr(train, ',') || (fits && access(list, F_OK) == 0)) { // one file, also with a comma in its name
        memcpy(train, list, sizeof list);
        return fits ? HS_OK : absolute(train, where, file);
    }
    list[0] = 0;
    HS_TRY(short_form(train, part, &n));
    for (int i = 0; i < n; i++) {
        const size_t at = strlen(list);
        HS_TRY(absolute(part[i].path, where, file));
        if ((size_t)snprintf(list + at, sizeof list - at, "%s%s:%.15g", i ? "," : "", part[i].path, part[i].weight) >= sizeof list - at)
            return HS_FAIL(USAGE, "data.train: the list is longer than %d bytes with absolute paths: data.sources has no such limit",
                           HS_KEY_STRING_BYTES - 1);
    }
    memcpy(train, list, sizeof list);
    return HS_OK;
}

// data.train, or the paths of data.sources, with every path absolute.
static hs_status absolute_sources(hs_config *c, const char *file)
{
    char key[HS_KEY_NAME];
    for (int i = 0; i < c->data.n_sources; i++)
        HS_TRY(absolute(c->data.source[i].path, hs_config_where(c, key_of_source(i, "path", key)), file));
    return absolute_train(c->data.train, hs_config_where(c, "data.train"), file);
}

static bool is_number(const char *s)
{
    char *end;
    strtod(s, &end);
    return *s && !*end;
}

static hs_status absolute_phases(hs_config *c, const char *file)
{
    char train[HS_KEY_NAME], val[HS_KEY_NAME];
    for (int i = 0; i < c->n_phases; i++) {
        snprintf(train, sizeof train, "phases.%d.train", i);
        snprintf(val, sizeof val, "phases.%d.val", i);
        char *path = hs_config_field(c, val);
        HS_TRY(absolute_train(hs_config_field(c, train), hs_config_where(c, train), file));
        if (!is_number(path))
            HS_TRY(absolute(path, hs_config_where(c, val), file));
    }
    return HS_OK;
}

bool hs_config_wordpiece(const hs_config *c, int64_t *size) { return hs_plain_tokenizer_named(c->data.tokenizer, size); }

// data.tokenizer: words that are no folder.
static bool is_word(const char *tokenizer)
{
    static const char *const words[] = { "auto", "char", "byte" };
    int64_t size;
    for (int i = 0; i < HS_COUNT(words); i++)
        if (strcmp(tokenizer, words[i]) == 0)
            return true;
    return hs_plain_tokenizer_named(tokenizer, &size);
}

hs_status hs_config_resolve_paths(hs_config *c, const char *file)
{
    HS_TRY(absolute_sources(c, file));
    HS_TRY(absolute_phases(c, file));
    if (!is_number(c->data.val))
        HS_TRY(absolute(c->data.val, hs_config_where(c, "data.val"), file));
    if (!is_word(c->data.tokenizer))
        HS_TRY(absolute(c->data.tokenizer, hs_config_where(c, "data.tokenizer"), file));
    HS_TRY(absolute(c->train.init_from, hs_config_where(c, "train.init_from"), file));
    HS_TRY(absolute(c->distill.teacher, hs_config_where(c, "distill.teacher"), file));
    if (!c->train.name[0]) {
        char copy[PATH_MAX];
        snprintf(copy, sizeof copy, "%s", file);
        char *name = basename(copy), *dot = strrchr(name, '.');
        if (dot && dot != name)
            *dot = 0;
        snprintf(c->train.name, sizeof c->train.name, "%.*s", HS_KEY_STRING_BYTES - 1, name);
    }
    return HS_OK;
}
