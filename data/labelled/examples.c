// examples: what the reader gives, copied and collected; labels are numbered once all are known.
#include "core/base/grow.h"
#include "core/base/log.h"
#include "data/labelled/examples_impl.h"
#include "data/labelled/tags.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hs_status no_memory(const hs_examples *e) { return HS_FAIL(MEMORY, "no memory for %lld examples", (long long)e->n + 1); }

hs_status hs_examples_fail(const hs_examples *e, int64_t i, const char *fmt, ...)
{
    char what[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return HS_FAIL(USAGE, "%s:%lld: %s", e->path[e->example[i].file], (long long)e->example[i].line, what);
}

// ---- labels as they are written

static hs_status raw_label(hs_examples *e, const hs_example *x, hs_slice s, int64_t line, int32_t *out)
{
    struct hs_examples_own *own = e->own;
    char buf[256], *name = s.bytes < sizeof buf ? buf : malloc(s.bytes + 1);
    int index = 0;
    if (!name)
        return no_memory(e);
    memcpy(name, s.p, s.bytes);
    name[s.bytes] = 0;
    hs_status st =
        memchr(s.p, 0, s.bytes) ? HS_FAIL(USAGE, "%s:%lld: a label with a character of zero", e->path[x->file], (long long)line) : HS_OK;
    const int before = own->raw.n;
    if (st == HS_OK)
        st = hs_labels_add(&own->raw, name, &index);
    if (name != buf)
        free(name);
    HS_TRY(st);
    if (index == before) {
        if (!hs_grow(&own->place, before, &own->place_room, sizeof *own->place))
            return no_memory(e);
        own->place[before] = (hs_label_place){ x->file, line };
    }
    *out = index;
    return HS_OK;
}

static hs_status take_number(const hs_examples *e, const hs_example *x, hs_slice s, float *out)
{
    char buf[64], *end;
    const size_t n = s.bytes < sizeof buf ? s.bytes : sizeof buf - 1;
    memcpy(buf, s.p, n);
    buf[n] = 0;
    const double v = strtod(buf, &end);
    if (n < s.bytes)
        return HS_FAIL(USAGE, "%s:%lld: a number of %zu characters, at most %zu are read: \"%.40s...\"", e->path[x->file],
                       (long long)x->line, s.bytes, sizeof buf - 1, buf);
    if (n == 0 || *end || !isfinite(v) || !isfinite((float)v) || strpbrk(buf, "xX"))
        return HS_FAIL(USAGE, "%s:%lld: \"%s\" is no number", e->path[x->file], (long long)x->line, buf);
    *out = (float)v;
    return HS_OK;
}

static hs_status take_numbers(hs_examples *e, hs_example *x, const hs_label_entry *in)
{
    float *value = hs_arena_take(&e->own->arena, (size_t)in->n_labels * sizeof *value);
    if (!value)
        return no_memory(e);
    for (int i = 0; i < in->n_labels; i++)
        HS_TRY(take_number(e, x, in->label[i], &value[i]));
    x->value = value, x->n = in->n_labels;
    if (!in->labelled)
        return HS_OK;
    if (e->n_values == 0)
        e->n_values = x->n;
    if (x->n != e->n_values)
        return HS_FAIL(USAGE, "%s:%lld: %d number%s, and the examples before have %d", e->path[x->file], (long long)x->line, x->n,
                       hs_plural(x->n), e->n_values);
    return HS_OK;
}

static hs_status take_classes(hs_examples *e, hs_example *x, const hs_label_entry *in)
{
    const bool tokens = e->about == HS_ABOUT_TOKENS;
    const int n = tokens ? in->n_words : in->n_labels;
    int32_t *labels = hs_arena_take(&e->own->arena, (size_t)n * sizeof *labels);
    if (!labels)
        return no_memory(e);
    for (int i = 0; i < n; i++) {
        labels[i] = -1;
        if (in->labelled)
            HS_TRY(raw_label(e, x, in->label[i], x->line + (tokens ? in->word_line[i] : 0), &labels[i]));
    }
    x->labels = labels, x->n = n;
    return HS_OK;
}

static hs_status take_words(hs_examples *e, hs_example *x, const hs_label_entry *in)
{
    hs_arena *a = &e->own->arena;
    if (in->labelled && in->n_labels != in->n_words)
        return HS_FAIL(USAGE, "%s:%lld: %d word%s and %d tag%s", e->path[x->file], (long long)x->line, in->n_words, hs_plural(in->n_words),
                       in->n_labels, hs_plural(in->n_labels));
    x->word = hs_arena_copy(a, in->word, (size_t)in->n_words, sizeof *in->word);
    x->word_line = hs_arena_copy(a, in->word_line, (size_t)in->n_words, sizeof *in->word_line);
    return x->word && x->word_line ? take_classes(e, x, in) : no_memory(e);
}

static hs_status take_class(hs_examples *e, hs_example *x, const hs_label_entry *in)
{
    x->label = -1;
    if (!in->labelled)
        return HS_OK;
    if (in->n_labels != 1)
        return HS_FAIL(USAGE, "%s:%lld: %d labels, and the task has one: multilabel has any number", e->path[x->file], (long long)x->line,
                       in->n_labels);
    return raw_label(e, x, in->label[0], x->line, &x->label);
}

static hs_status take_answers(hs_examples *e, hs_example *x, const hs_label_entry *in)
{
    x->answer = hs_arena_copy(&e->own->arena, in->answer, (size_t)in->n_answers, sizeof *in->answer);
    x->n = in->n_answers, x->label = in->labelled ? 0 : -1;
    return x->answer ? HS_OK : no_memory(e);
}

static hs_status take_turns(hs_examples *e, hs_example *x, const hs_label_entry *in)
{
    x->turn = hs_arena_copy(&e->own->arena, in->turn, (size_t)in->n_turns, sizeof *in->turn);
    x->n = in->n_turns;
    return x->turn ? HS_OK : no_memory(e);
}

static hs_status (*const takes[HS_ABOUTS])(hs_examples *e, hs_example *x, const hs_label_entry *in) = {
    [HS_ABOUT_SEQUENCE] = take_class,     [HS_ABOUT_PAIR] = take_class,   [HS_ABOUT_REGRESSION] = take_numbers,
    [HS_ABOUT_MULTILABEL] = take_classes, [HS_ABOUT_TOKENS] = take_words, [HS_ABOUT_SPAN] = take_answers,
    [HS_ABOUT_LM] = take_turns,
};

// ---- collecting

static hs_status take_texts(hs_examples *e, hs_example *x, const hs_label_entry *in)
{
    struct hs_examples_own *own = e->own;
    for (int i = 0; i < 2; i++) {
        const bool shared = i == 1 && in->text_number && in->text_number == own->contexts;
        if (!in->text[i].p && i == 1)
            continue;
        x->bytes[i] = in->text[i].bytes;
        x->text[i] = shared ? own->context : hs_arena_text(&own->arena, in->text[i].p, in->text[i].bytes);
        if (!x->text[i])
            return no_memory(e);
    }
    own->contexts = in->text_number, own->context = x->text[1];
    e->pairs |= x->text[1] != NULL;
    if (in->id.p && !(x->id = hs_arena_text(&own->arena, in->id.p, in->id.bytes)))
        return no_memory(e);
    return HS_OK;
}

static hs_status add(hs_examples *e, int32_t file, const hs_label_entry *in)
{
    struct hs_examples_own *own = e->own;
    if (e->n == own->room) {
        const int64_t room = own->room ? 2 * own->room : 1024;
        hs_example *more = realloc(e->example, (size_t)room * sizeof *more);
        if (!more)
            return no_memory(e);
        e->example = more, own->room = room;
    }
    own->documents += in->document;
    hs_example *x = &e->example[e->n];
    *x = (hs_example){ .file = file, .line = in->line, .number = e->n, .document = own->documents, .label = -1 };
    HS_TRY(take_texts(e, x, in));
    HS_TRY(takes[e->about](e, x, in));
    e->n++;
    return HS_OK;
}

static hs_status read_file(hs_examples *e, const hs_examples_opts *o, int32_t file, char *said, size_t size)
{
    hs_label_reader *r;
    const hs_label_entry *in;
    const int64_t before = e->n;
    HS_TRY(hs_label_reader_open(&r, e->path[file], o));
    hs_status st;
    e->own->contexts = 0; // numbers are the reader's own
    do {
        st = hs_label_reader_next(r, &in);
        if (st == HS_OK && in)
            st = add(e, file, in);
    } while (st == HS_OK && in);
    if (st == HS_OK && e->n == before && !o->labels_optional)
        st = HS_FAIL(USAGE, "%s: there is no example in it", hs_label_reader_name(r));
    if (file == 0)
        snprintf(said, size, "%s", hs_label_reader_found(r)->said);
    hs_label_reader_close(r);
    return st;
}

// ---- what was found, in words

static hs_status say(hs_examples *e, const char *format)
{
    enum { SAID = 1200, NAMED = 12 };
    char *s = e->said = malloc(SAID);
    if (!s)
        return no_memory(e);
    int n = snprintf(s, SAID, "%s; %lld example%s", format, (long long)e->n, hs_plural((long long)e->n));
    if (e->n_paths > 1)
        n += snprintf(s + n, (size_t)(SAID - n), " in %d files", e->n_paths);
    if (e->about == HS_ABOUT_TOKENS && e->scheme != HS_TAGS_PLAIN && e->scheme != HS_TAGS_AUTO)
        n += snprintf(s + n, (size_t)(SAID - n), "; tags: %s", hs_tag_scheme_names[e->scheme]);
    if (e->about == HS_ABOUT_REGRESSION && e->n_values > 1)
        n += snprintf(s + n, (size_t)(SAID - n), "; %d numbers each", e->n_values);
    if (e->labels.n)
        n += snprintf(s + n, (size_t)(SAID - n), "; %d label%s:", e->labels.n, hs_plural(e->labels.n));
    for (int i = 0; i < e->labels.n && i < NAMED; i++)
        n += snprintf(s + n, (size_t)(SAID - n), "%s %.40s", i ? "," : "", e->labels.name[i]);
    if (e->labels.n > NAMED)
        snprintf(s + n, (size_t)(SAID - n), ", ...");
    return HS_OK;
}

static hs_status open_all(hs_examples *e, const hs_examples_opts *o)
{
    char format[500] = "";
    e->path = calloc((size_t)o->n_paths + 1, sizeof *e->path);
    if (!e->path)
        return no_memory(e);
    for (int i = 0; i < o->n_paths; i++, e->n_paths++)
        if (!(e->path[i] = hs_arena_text(&e->own->arena, o->path[i], strlen(o->path[i]))))
            return no_memory(e);
    for (int i = 0; i < o->n_paths; i++)
        HS_TRY(read_file(e, o, i, format, sizeof format));
    HS_TRY(hs_examples_settle(e, o));
    return say(e, format);
}

hs_status hs_examples_open(hs_examples **out, const hs_examples_opts *o)
{
    *out = NULL;
    hs_examples *e = calloc(1, sizeof *e);
    if (!e || !(e->own = calloc(1, sizeof *e->own))) {
        free(e);
        return HS_FAIL(MEMORY, "no memory for examples");
    }
    e->about = o->about;
    const hs_status st = o->n_paths < 1 ? HS_FAIL(USAGE, "examples of no file") : open_all(e, o);
    if (st != HS_OK) {
        hs_examples_close(e);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = e;
    return HS_OK;
}

void hs_examples_close(hs_examples *e)
{
    if (!e)
        return;
    hs_arena_free(&e->own->arena);
    hs_labels_free(&e->own->raw);
    free(e->own->place);
    free(e->own);
    hs_labels_free(&e->labels);
    free(e->example);
    free(e->path);
    free(e->said);
    free(e);
}
