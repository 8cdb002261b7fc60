// yaml: libyaml's events into a schema's struct. libyaml knows where a thing stands, the schema what it may be.
#include "data/base/yaml.h"
#include "core/base/grow.h"
#include "core/base/rng.h"
#include "data/base/file.h"
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { NAME = 256, DEPTH = 8, VALUE = 2 * HS_KEY_STRING_BYTES, WHERE = 4096 };

typedef struct seen {
    char name[NAME];
    int line;
} seen;

typedef struct reader {
    const char *path, *text;
    size_t bytes;
    const hs_schema *schema;
    void *config;
    hs_origin *origin;
    bool choose;  // nothing but the chooser is of interest
    bool refused; // it has no such choice
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    seen *seen; // every key and section met
    int n_seen, room;
    hs_map *by_name; // of seen: index + 1
} reader;

static int line_of(const reader *r) { return (int)r->event.start_mark.line + 1; }

// "config.yaml:12", for messages and origins.
static const char *where(const reader *r, char buf[WHERE])
{
    snprintf(buf, WHERE, "%s:%d", r->path, line_of(r));
    return buf;
}

// ---- events

// The usual cause of "found character that cannot start any token".
static bool tab_indents(const reader *r, int line)
{
    const char *p = r->text, *end = r->text + r->bytes;
    for (int n = 1; n < line && p; n++)
        p = (p = memchr(p, '\n', (size_t)(end - p))) ? p + 1 : NULL;
    while (p && p < end && *p == ' ')
        p++;
    return p && p < end && *p == '\t';
}

static int line_at(const reader *r, size_t offset)
{
    int line = 1;
    for (size_t i = 0; i < offset && i < r->bytes; i++)
        line += r->text[i] == '\n';
    return line;
}

static hs_status malformed(const reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "no reason given";
    if (p->error == YAML_MEMORY_ERROR)
        return HS_FAIL(MEMORY, "%s: no memory to read it", r->path);
    if (p->error == YAML_READER_ERROR) // has an offset, but no line
        return HS_FAIL(USAGE, "%s:%d: malformed YAML: %s", r->path, line_at(r, p->problem_offset), problem);
    const int line = (int)p->problem_mark.line + 1;
    if (tab_indents(r, line))
        return HS_FAIL(USAGE, "%s:%d: malformed YAML: a tab indents this line; YAML takes spaces only", r->path, line);
    return HS_FAIL(USAGE, "%s:%d: malformed YAML: %s%s%s", r->path, line, problem, p->context ? " " : "", p->context ? p->context : "");
}

static hs_status next(reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->parser, &r->event);
    return r->has_event ? HS_OK : malformed(r);
}

// ---- what may stand where

static const seen *seen_before(const reader *r, int known, const char *name)
{
    if (!known || strcmp(r->seen[known - 1].name, name) == 0)
        return known ? &r->seen[known - 1] : NULL;
    for (int i = 0; i < r->n_seen; i++) // another name has this hash
        if (strcmp(r->seen[i].name, name) == 0)
            return &r->seen[i];
    return NULL;
}

static hs_status note_key(reader *r, const char *name, int line)
{
    int *known = hs_map_at(&r->by_name, hs_hash_string(name));
    if (!known || !hs_grow(&r->seen, r->n_seen, &r->room, sizeof *r->seen))
        return HS_FAIL(MEMORY, "%s: no memory to read it", r->path);
    const seen *before = seen_before(r, *known, name);
    if (before)
        return HS_FAIL(USAGE, "%s:%d: %s is given twice, first on line %d", r->path, line, name, before->line);
    seen *s = &r->seen[r->n_seen++];
    snprintf(s->name, NAME, "%s", name);
    s->line = line;
    *known = *known ? *known : r->n_seen;
    return HS_OK;
}

static const char *tag_of(const yaml_event_t *e)
{
    const yaml_char_t *tag = e->type == YAML_SCALAR_EVENT           ? e->data.scalar.tag
                             : e->type == YAML_MAPPING_START_EVENT  ? e->data.mapping_start.tag
                             : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.tag
                                                                    : NULL;
    return (const char *)tag;
}

// "!!float 1" is only YAML's opinion; "!include x" would be a wish silently ignored.
static hs_status check_tag(const reader *r)
{
    const char *tag = tag_of(&r->event), *standard = "tag:yaml.org,2002:";
    if (tag && strcmp(tag, "!") != 0 && strncmp(tag, standard, strlen(standard)) != 0)
        return HS_FAIL(USAGE, "%s:%d: tag %.64s is not supported", r->path, line_of(r), tag);
    return HS_OK;
}

// The current event must be a scalar without NUL; its text.
static hs_status scalar(const reader *r, const char *what, const char **text)
{
    const yaml_event_t *e = &r->event;
    HS_TRY(check_tag(r));
    if (e->type == YAML_ALIAS_EVENT)
        return HS_FAIL(USAGE, "%s:%d: *%.64s: aliases are not supported, write the value out", r->path, line_of(r),
                       (const char *)e->data.alias.anchor);
    if (e->type != YAML_SCALAR_EVENT)
        return HS_FAIL(USAGE, "%s:%d: %s is a %s, a single value is wanted", r->path, line_of(r), what,
                       e->type == YAML_MAPPING_START_EVENT ? "mapping" : "list");
    *text = (const char *)e->data.scalar.value;
    if (strlen(*text) != e->data.scalar.length)
        return HS_FAIL(USAGE, "%s:%d: %s has a NUL character in it", r->path, line_of(r), what);
    return HS_OK;
}

static hs_status join(const reader *r, char *buf, size_t size, const char *a, const char *separator, const char *b)
{
    const int n = snprintf(buf, size, "%s%s%s", a, separator, b);
    return n >= 0 && (size_t)n < size ? HS_OK
                                      : HS_FAIL(USAGE, "%s:%d: %.64s... is longer than %zu bytes", r->path, line_of(r), buf, size - 1);
}

// ---- the walk

// A chooser is set in the first reading and only looked at in the second.
static hs_status set(reader *r, const char *name, const char *value, const char *at)
{
    const bool chooser = r->schema->chooser && strcmp(name, r->schema->chooser) == 0;
    if (r->choose && chooser) {
        const hs_status st = hs_schema_set(r->schema, r->config, r->origin, name, value, at);
        r->refused = st != HS_OK;
        return st;
    }
    if (r->choose)
        return HS_OK;
    return chooser ? hs_schema_check(r->schema, name, value, at) : hs_schema_set(r->schema, r->config, r->origin, name, value, at);
}

// Of a key there is, or of one with which an element of a list begins; NULL: unknown.
static const hs_key *key_of(const reader *r, const char *name)
{
    const hs_key_at at = hs_schema_find(r->schema, NULL, name);
    return at.list ? at.key : hs_schema_find(r->schema, r->config, name).key;
}

static hs_status no_list(const reader *r, const hs_list *l)
{
    return HS_FAIL(USAGE, "%s:%d: %s is a list, each element behind a dash: - %s: ...", r->path, line_of(r), l->name,
                   l->schema->key[0].name);
}

static hs_status read_scalar(reader *r, const char *name)
{
    const char *text = NULL;
    char at[WHERE];
    HS_TRY(scalar(r, name, &text));
    if (!key_of(r, name) && hs_schema_is_section(r->schema, r->config, name)) {
        const hs_list *sections = hs_schema_list(r->schema, name);
        const bool empty = text[0] == 0 && r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        return empty ? HS_OK
               : sections
                   ? no_list(r, sections)
                   : HS_FAIL(USAGE, "%s:%d: %s is a section, its keys belong below it, not \"%.64s\"", r->path, line_of(r), name, text);
    }
    HS_TRY(set(r, name, text, where(r, at)));
    return HS_OK;
}

static bool takes_list(const hs_key *k) { return k->type == HS_KEY_REALS || k->type == HS_KEY_INTS || k->type == HS_KEY_TEXTS; }

static hs_status read_list(reader *r, const char *name)
{
    char value[VALUE] = "", longer[VALUE], at[WHERE];
    where(r, at); // of the key, not of the list's end
    const hs_key *key = key_of(r, name);
    if (!r->choose && !key) // before what its elements are is asked
        return hs_schema_is_section(r->schema, r->config, name)
                   ? HS_FAIL(USAGE, "%s: %s is a section, its keys belong below it, not a list", at, name)
                   : set(r, name, "", at);
    for (int n = 0;; n++) {
        HS_TRY(next(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        const char *text;
        HS_TRY(scalar(r, "an element of this list", &text));
        HS_TRY(join(r, longer, sizeof longer, value, n ? "," : "", text));
        memcpy(value, longer, sizeof value);
    }
    if (key && !takes_list(key))
        return HS_FAIL(USAGE, "%s: %s is a list, a single value is wanted", at, name);
    HS_TRY(set(r, name, value, at));
    return HS_OK;
}

static hs_status read_mapping(reader *r, const char *prefix, int depth);

// - { path: a.bin }
static hs_status read_sections(reader *r, const hs_list *l, int depth)
{
    for (int n = 0;; n++) {
        char name[NAME], number[16];
        HS_TRY(next(r));
        HS_TRY(check_tag(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            return HS_OK;
        snprintf(number, sizeof number, "%d", n);
        HS_TRY(join(r, name, sizeof name, l->name, ".", number));
        const int before = r->n_seen, line = line_of(r);
        if (r->event.type == YAML_MAPPING_START_EVENT)
            HS_TRY(read_mapping(r, name, depth + 1));
        if (r->n_seen == before)
            return HS_FAIL(USAGE, "%s:%d: an element of %s needs keys, as in - %s: ...", r->path, line, l->name, l->schema->key[0].name);
    }
}

static hs_status read_mapping(reader *r, const char *prefix, int depth)
{
    if (depth > DEPTH)
        return HS_FAIL(USAGE, "%s:%d: %s: sections within sections, more than %d deep", r->path, line_of(r), prefix, DEPTH);
    for (;;) {
        HS_TRY(next(r));
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return HS_OK;
        const char *key;
        char name[NAME], at[WHERE];
        HS_TRY(scalar(r, "a key", &key));
        HS_TRY(join(r, name, sizeof name, prefix, *prefix ? "." : "", key));
        HS_TRY(note_key(r, name, line_of(r)));
        HS_TRY(next(r));
        HS_TRY(check_tag(r));
        const hs_list *sections = hs_schema_list(r->schema, name);
        if (r->event.type == YAML_SEQUENCE_START_EVENT) {
            HS_TRY(sections ? read_sections(r, sections, depth) : read_list(r, name));
        } else if (r->event.type != YAML_MAPPING_START_EVENT) {
            HS_TRY(read_scalar(r, name));
        } else if (sections) {
            return no_list(r, sections);
        } else if (key_of(r, name)) {
            return HS_FAIL(USAGE, "%s:%d: %s takes a value, not keys below it", r->path, line_of(r), name);
        } else {
            where(r, at);
            const int before = r->n_seen;
            HS_TRY(read_mapping(r, name, depth + 1));
            if (r->n_seen == before && !hs_schema_is_section(r->schema, r->config, name)) // "foo: {}": no key below it that could complain
                HS_TRY(set(r, name, "", at));
        }
    }
}

static hs_status read_document(reader *r)
{
    HS_TRY(next(r)); // stream start
    HS_TRY(next(r));
    if (r->event.type == YAML_STREAM_END_EVENT)
        return HS_OK; // nothing but comments: all defaults
    HS_TRY(next(r));
    const bool nothing = r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.length == 0;
    if (r->event.type == YAML_MAPPING_START_EVENT) {
        HS_TRY(check_tag(r));
        HS_TRY(read_mapping(r, "", 1));
    } else if (!nothing) {
        return HS_FAIL(USAGE, "%s:%d: no \"key: value\" here", r->path, line_of(r));
    }
    HS_TRY(next(r)); // document end
    HS_TRY(next(r));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return HS_FAIL(USAGE, "%s:%d: a second document begins; one is allowed", r->path, line_of(r));
    return HS_OK;
}

static hs_status read_file(const char *path, const hs_schema *s, void *config, hs_origin *origin, bool choose)
{
    reader r = { .path = path, .schema = s, .config = config, .origin = origin, .choose = choose };
    char *text;
    HS_TRY(hs_file_read(path, &text, &r.bytes));
    r.text = text;
    if (!yaml_parser_initialize(&r.parser)) {
        free(text);
        return HS_FAIL(MEMORY, "%s: no memory to read it", path);
    }
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, r.bytes);
    const hs_status st = read_document(&r);
    if (r.has_event)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    free(r.seen);
    hs_map_free(r.by_name);
    free(text);
    if (choose && !r.refused)
        return HS_OK; // what else is wrong is found again, in the order of the file
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_yaml_choose(const char *path, const hs_schema *s, void *config, hs_origin *origin)
{
    return s->chooser ? read_file(path, s, config, origin, true) : HS_OK;
}

hs_status hs_yaml_read(const char *path, const hs_schema *s, void *config, hs_origin *origin)
{
    return read_file(path, s, config, origin, false);
}

hs_status hs_yaml_load(const char *path, const hs_schema *s, void *config, hs_origin *origin)
{
    HS_TRY(hs_yaml_choose(path, s, config, origin));
    return hs_yaml_read(path, s, config, origin);
}
