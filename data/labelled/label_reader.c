// label_reader: a table of formats, and what they share.
#include "core/base/grow.h"
#include "data/labelled/label_reader_impl.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const hs_label_kind hs_label_kinds[HS_LABEL_FORMATS] = {
    [HS_LABEL_LINES] = { "lines of a label and a text", hs_table_begin, hs_table_next },
    [HS_LABEL_TSV] = { "TSV", hs_table_begin, hs_table_next },
    [HS_LABEL_CSV] = { "CSV", hs_table_begin, hs_table_next },
    [HS_LABEL_JSON] = { "JSON records", hs_jsonl_begin, hs_jsonl_next },
    [HS_LABEL_CONLL] = { "CoNLL columns", hs_conll_begin, hs_conll_next },
    [HS_LABEL_NEMO] = { "words with their labels beside", hs_nemo_begin, hs_nemo_next },
    [HS_LABEL_SQUAD] = { "SQuAD", hs_squad_begin, hs_squad_next },
    [HS_LABEL_TEXT] = { "texts, a line each", hs_table_begin, hs_table_next },
};

const char *hs_label_reader_name(const hs_label_reader *r) { return hs_label_records_name(r->records); }
const hs_label_found *hs_label_reader_found(const hs_label_reader *r) { return &r->found; }
hs_slice hs_label_reader_header(const hs_label_reader *r) { return (hs_slice){ r->header, r->header_bytes }; }
hs_slice hs_label_reader_tail(const hs_label_reader *r) { return (hs_slice){ r->passed, r->passed_given ? 0 : r->passed_bytes }; }

bool hs_label_reader_has(const hs_label_reader *r, const char *column)
{
    for (int i = 0; i < r->n_names; i++)
        if (strcmp(r->name[i], column) == 0)
            return true;
    return false;
}

void hs_label_say(hs_label_reader *r, const char *fmt, ...)
{
    const size_t n = strlen(r->found.said);
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->found.said + n, sizeof r->found.said - n, fmt, args);
    va_end(args);
}

hs_status hs_label_fail(const hs_label_reader *r, int64_t line, const char *fmt, ...)
{
    char what[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    for (char *p = what; *p; p++) // of what a file holds: a message is one line
        if ((unsigned char)*p < ' ')
            *p = ' ';
    return HS_FAIL(USAGE, "%s:%lld: %s", hs_label_reader_name(r), (long long)line, what);
}

static void free_filled(hs_label_reader *r)
{
    for (hs_label_filled *f = r->filled, *next; f; f = next) {
        next = f->next;
        free(f->pool);
        free(f);
    }
    r->filled = NULL;
}

hs_status hs_label_pool(hs_label_reader *r, size_t bytes)
{
    const size_t room = 3 * bytes + 64;
    free_filled(r);
    r->pool_at = 0;
    if (r->pool_room >= room)
        return HS_OK;
    free(r->pool);
    r->pool_room = 0;
    r->pool = malloc(room);
    if (!r->pool)
        return HS_FAIL(MEMORY, "%s: no memory for a record of %zu bytes", hs_label_reader_name(r), bytes);
    r->pool_room = room;
    return HS_OK;
}

hs_status hs_label_room(hs_label_reader *r, size_t bytes)
{
    if (bytes <= r->pool_room - r->pool_at)
        return HS_OK;
    const size_t room = 2 * r->pool_room + bytes;
    char *pool = malloc(room);
    hs_label_filled *f = malloc(sizeof *f);
    if (!pool || !f) {
        free(pool);
        free(f);
        return HS_FAIL(MEMORY, "%s: no memory for %zu bytes of a record", hs_label_reader_name(r), room);
    }
    *f = (hs_label_filled){ r->filled, r->pool };
    r->filled = f;
    r->pool = pool, r->pool_at = 0, r->pool_room = room;
    return HS_OK;
}

hs_status hs_slices_add(hs_slices *s, hs_slice slice)
{
    if (!hs_grow(&s->at, s->n, &s->room, sizeof *s->at))
        return HS_FAIL(MEMORY, "no memory for %d fields", s->n + 1);
    s->at[s->n++] = slice;
    return HS_OK;
}

hs_status hs_label_add_word(hs_label_reader *r, hs_slice word, int32_t line)
{
    hs_slice *text = &r->entry.text[0];
    if (!hs_grow(&r->word, r->n_words, &r->word_room, sizeof *r->word) ||
        !hs_grow(&r->word_line, r->n_words, &r->line_room, sizeof *r->word_line))
        return HS_FAIL(MEMORY, "%s: no memory for %d words", hs_label_reader_name(r), r->n_words + 1);
    const char *pool = r->pool;
    HS_TRY(hs_label_room(r, (r->n_words ? text->bytes : 0) + word.bytes + 1));
    if (r->n_words == 0) {
        *text = (hs_slice){ r->pool + r->pool_at, 0 };
    } else {
        if (r->pool != pool) { // it goes on in one piece
            text->p = memcpy(r->pool, text->p, text->bytes);
            r->pool_at = text->bytes;
        }
        r->pool[r->pool_at++] = ' ';
    }
    const int64_t start = (int64_t)(r->pool + r->pool_at - text->p);
    memcpy(r->pool + r->pool_at, word.p, word.bytes);
    r->pool_at += word.bytes;
    r->word[r->n_words] = (hs_span){ start, start + (int64_t)word.bytes };
    r->word_line[r->n_words++] = line;
    text->bytes = (size_t)(r->pool + r->pool_at - text->p);
    return HS_OK;
}

hs_status hs_label_add_tag(hs_label_reader *r, hs_slice tag) { return hs_slices_add(&r->label, tag); }

hs_status hs_label_add_turn(hs_label_reader *r, int64_t start, int64_t end, bool learned)
{
    if (!hs_grow(&r->turn, r->n_turns, &r->turn_room, sizeof *r->turn))
        return HS_FAIL(MEMORY, "%s: no memory for %d turns", hs_label_reader_name(r), r->n_turns + 1);
    r->turn[r->n_turns++] = (hs_turn){ start, end, learned };
    return HS_OK;
}

static void add_part(hs_slice *text, hs_slice part, bool feed)
{
    char *to = (char *)text->p + text->bytes;
    if (part.bytes)
        memcpy(to, part.p, part.bytes);
    if (feed)
        to[part.bytes] = '\n';
    text->bytes += part.bytes + feed;
}

hs_status hs_label_join_turns(hs_label_reader *r, hs_slice more)
{
    const hs_slice prompt = r->entry.text[0], response = r->entry.text[1];
    const int column = r->roles.text[0];
    const bool feed = column < r->n_names && strcmp(r->name[column], "prompt") != 0;
    HS_TRY(hs_label_room(r, prompt.bytes + more.bytes + response.bytes + 2));
    hs_slice text = { r->pool + r->pool_at, 0 };
    add_part(&text, prompt, feed);
    if (more.bytes)
        add_part(&text, more, feed);
    const int64_t begin = (int64_t)text.bytes;
    add_part(&text, response, false);
    r->pool_at += text.bytes;
    r->entry.text[0] = text, r->entry.text[1] = (hs_slice){ 0 };
    HS_TRY(hs_label_add_turn(r, 0, begin, false));
    return hs_label_add_turn(r, begin, (int64_t)text.bytes, true);
}

// As they are given; a name and the number of the same column: label_roles.c.
static hs_status refuse_same(const hs_label_reader *r)
{
    const hs_examples_opts *o = r->o;
    const struct {
        const char *is, *what;
    } given[] = { { o->text, "text" }, { o->label, "label" }, { o->text2, "second text" }, { o->id, "id" } };
    for (int i = 0; i < HS_COUNT(given); i++)
        for (int k = 0; k < i; k++)
            if (given[i].is && given[i].is[0] && given[k].is && strcmp(given[i].is, given[k].is) == 0 && !(i == 1 && o->label_is_text))
                return HS_FAIL(USAGE, "\"%s\" is given as the %s and as the %s of %s: one column is one of them", given[i].is,
                               given[k].what, given[i].what, r->path);
    return HS_OK;
}

static hs_status open_reader(hs_label_reader *r, const char *path)
{
    hs_label_head head;
    HS_TRY(refuse_same(r));
    HS_TRY(hs_label_records_open(&r->records, path, r->o->bad_utf8));
    HS_TRY(hs_label_records_peek(r->records, &head.p, &head.bytes, &head.all));
    r->found.format = r->o->format;
    if (r->found.format == HS_LABEL_AUTO)
        HS_TRY(hs_label_detect(r, &head));
    hs_label_say(r, "%s", hs_label_kinds[r->found.format].name);
    return hs_label_kinds[r->found.format].begin(r, &head);
}

hs_status hs_label_reader_open(hs_label_reader **out, const char *path, const hs_examples_opts *o)
{
    *out = NULL;
    hs_label_reader *r = calloc(1, sizeof *r);
    if (!r || !(r->path = strdup(path))) {
        free(r);
        return HS_FAIL(MEMORY, "%s: no memory to read it", path);
    }
    r->o = o, r->document = true;
    r->found.text = 0, r->found.text2 = r->found.label = r->found.id = -1;
    r->roles.text[0] = r->roles.text[1] = r->roles.id = -1;
    const hs_status st = open_reader(r, path);
    if (st != HS_OK) {
        hs_label_reader_close(r);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = r;
    return HS_OK;
}

void hs_label_reader_close(hs_label_reader *r)
{
    if (!r)
        return;
    hs_label_records_close(r->records);
    hs_label_records_close(r->second);
    for (int i = 0; i < r->n_names; i++)
        free(r->name[i]);
    free(r->name);
    free(r->header);
    free(r->path);
    free(r->label.at);
    free(r->field.at);
    free(r->word);
    free(r->word_line);
    free(r->answer);
    free(r->turn);
    free(r->pool);
    free_filled(r);
    free(r->roles.label);
    free(r->context);
    hs_labels_free(&r->ids);
    free(r->passed);
    hs_json_tree_free(&r->tree);
    free(r);
}

hs_status hs_label_reader_next(hs_label_reader *r, const hs_label_entry **entry)
{
    bool end = false;
    *entry = NULL;
    const int64_t number = r->entry.text_number;
    r->entry = (hs_label_entry){ .text_number = number };
    r->label.n = r->n_words = r->n_answers = r->n_turns = 0;
    HS_TRY(hs_label_kinds[r->found.format].next(r, &end));
    if (end)
        return HS_OK;
    if (r->entry.raw_line == 0)
        r->entry.raw_line = r->entry.line;
    r->entry.document |= r->document;
    r->document = false;
    r->entry.label = r->label.at, r->entry.n_labels = r->label.n;
    r->entry.word = r->word, r->entry.word_line = r->word_line, r->entry.n_words = r->n_words;
    r->entry.answer = r->answer, r->entry.n_answers = r->n_answers;
    r->entry.turn = r->turn, r->entry.n_turns = r->n_turns;
    *entry = &r->entry;
    return HS_OK;
}
