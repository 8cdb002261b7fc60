// text_record: what is read of a JSON record is one field, and nothing else of it has to be right.
#include "data/text/text_record.h"
#include "core/base/log.h"
#include "data/base/utf8.h"
#include "data/text/json_record.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const hs_record_fault_names[HS_RECORD_FAULTS] = {
    [HS_RECORD_FINE] = "",
    [HS_RECORD_BROKEN] = "no JSON object",
    [HS_RECORD_NO_OBJECT] = "a value that is no JSON object",
    [HS_RECORD_NO_FIELD] = "no such field",
    [HS_RECORD_NO_STRING] = "the field is no string",
    [HS_RECORD_TWICE] = "the field stands twice",
    [HS_RECORD_SURROGATE] = "a lone surrogate",
    [HS_RECORD_ESCAPE] = "an escape that is none",
    [HS_RECORD_CONTROL] = "a control character",
    [HS_RECORD_UTF8] = "bytes that are not UTF-8",
};

typedef struct taking {
    const hs_text_rules *r;
    const hs_text_inputs *inputs;
    const hs_text_piece *piece;
    const char *field;
    hs_text_scratch *s;
    hs_text_taken *out;
    const char *why; // of a broken record
} taking;

static const char *name_of(const hs_text_inputs *inputs, int64_t input)
{
    return strcmp(inputs->input[input].path, "-") == 0 ? "standard input" : inputs->input[input].path;
}

static hs_status reserve(hs_text_scratch *s, size_t bytes)
{
    if (s->room >= bytes)
        return HS_OK;
    char *clean = realloc(s->clean, bytes);
    if (!clean)
        return HS_FAIL(MEMORY, "no memory for %zu bytes of text", bytes);
    s->clean = clean, s->room = bytes;
    return HS_OK;
}

void hs_text_scratch_free(hs_text_scratch *s)
{
    free(s->clean);
    *s = (hs_text_scratch){ 0 };
}

// ---- UTF-8

// A JSON string may say \u0000, a file may not.
static size_t find_bad(const char *text, size_t bytes, size_t from, bool zeros)
{
    size_t bad = hs_utf8_find_bad(text, bytes, from);
    while (zeros && bad < bytes && text[bad] == 0)
        bad = hs_utf8_find_bad(text, bytes, bad + 1);
    return bad;
}

// Into the second half of the scratch: the text may lie in the first.
static hs_status replace_bad(taking *t, size_t bad, bool zeros)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    hs_text_taken *o = t->out;
    const bool own = o->text == t->s->clean;
    const size_t begin = own ? o->bytes : 0;
    HS_TRY(reserve(t->s, begin + 3 * o->bytes));
    const char *text = own ? t->s->clean : o->text;
    char *to = t->s->clean + begin;
    size_t n = 0;
    for (size_t from = 0;; bad = find_bad(text, o->bytes, from, zeros)) {
        memcpy(to + n, text + from, bad - from);
        n += bad - from;
        if (bad == o->bytes)
            break;
        memcpy(to + n, replacement, 3);
        n += 3, from = bad + 1;
        o->replaced++;
    }
    o->text = to, o->bytes = n;
    return HS_OK;
}

static hs_status settle_plain(taking *t)
{
    hs_text_taken *o = t->out;
    const size_t bad = t->r->bad_utf8 == HS_BAD_UTF8_KEEP ? o->bytes : hs_utf8_find_bad(o->text, o->bytes, 0);
    if (bad == o->bytes)
        return HS_OK;
    if (t->r->bad_utf8 == HS_BAD_UTF8_REPLACE)
        return replace_bad(t, bad, false);
    long long line = t->piece->at.line, byte = t->piece->at.offset + (long long)bad;
    for (size_t i = 0; i < bad; i++)
        line += o->text[i] == '\n';
    return hs_text_bad_byte(name_of(t->inputs, t->piece->at.input), t->piece->kind->unit, line, byte, o->text[bad],
                            "--utf8 replace or keep takes such texts");
}

// ---- JSON records

static bool is_blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != ' ' && (text[i] < '\t' || text[i] > '\r'))
            return false;
    return true;
}

static hs_record_fault find_string(taking *t, hs_json_string *found)
{
    hs_json_walk w;
    hs_json_member m;
    int n = 0;
    bool is_string = false;
    t->why = hs_json_begin(&w, t->out->text, t->out->bytes);
    if (!t->field[0] && t->why && hs_json_is_string(&w, found)) // of a list of strings
        return HS_RECORD_FINE;
    if (!t->why || strcmp(t->why, "an object") != 0)
        return t->why ? HS_RECORD_NO_OBJECT : HS_RECORD_BROKEN;
    while (hs_json_next(&w, &m))
        if (hs_json_key_is(&m.key, t->field)) {
            *found = m.value;
            is_string = m.kind == '"';
            n++;
        }
    t->why = w.wrong;
    if (w.wrong)
        return HS_RECORD_BROKEN;
    return n == 0 ? HS_RECORD_NO_FIELD : n > 1 ? HS_RECORD_TWICE : is_string ? HS_RECORD_FINE : HS_RECORD_NO_STRING;
}

// The text of a record; a fault that is mended leaves one too.
static hs_status take_record(taking *t)
{
    hs_text_taken *o = t->out;
    hs_json_string found;
    hs_json_flaws flaws = { 0 };
    o->fault = find_string(t, &found);
    if (o->fault != HS_RECORD_FINE) {
        if (o->fault != HS_RECORD_NO_OBJECT && o->fault != HS_RECORD_BROKEN)
            t->why = NULL;
        return HS_OK;
    }
    if (found.escaped) {
        HS_TRY(reserve(t->s, found.bytes + found.bytes / 2 + 4));
        o->bytes = hs_json_unescape(&found, t->s->clean, &flaws);
        o->text = t->s->clean;
    } else {
        for (size_t i = 0; i < found.bytes; i++)
            flaws.control += (unsigned char)found.p[i] < 0x20;
        o->text = found.p, o->bytes = found.bytes;
    }
    o->replaced = flaws.lone + flaws.wrong;
    o->fault = flaws.lone ? HS_RECORD_SURROGATE : flaws.wrong ? HS_RECORD_ESCAPE : flaws.control ? HS_RECORD_CONTROL : HS_RECORD_FINE;
    const size_t bad = t->r->bad_utf8 == HS_BAD_UTF8_KEEP ? o->bytes : find_bad(o->text, o->bytes, 0, true);
    if (bad == o->bytes)
        return HS_OK;
    if (t->r->bad_utf8 != HS_BAD_UTF8_REPLACE && o->fault == HS_RECORD_FINE)
        o->fault = HS_RECORD_UTF8;
    return replace_bad(t, bad, true);
}

// "title, body, id": what a record without the field has.
static void list_keys(const char *record, size_t bytes, char *buf, size_t size)
{
    hs_json_walk w;
    hs_json_member m;
    size_t n = 0;
    buf[0] = 0;
    hs_json_begin(&w, record, bytes);
    while (hs_json_next(&w, &m)) {
        if (n + m.key.bytes + 8 > size)
            break;
        n += (size_t)snprintf(buf + n, size - n, "%s%.*s", n ? ", " : "", (int)m.key.bytes, m.key.p);
    }
}

static hs_status stop(const taking *t, const char *record, size_t bytes)
{
    char keys[200];
    const bool first = t->piece->at.line == 1; // of a file that may be meant as it is
    const char *const way = first ? "; --bad-records skip leaves such records out, --format text takes the file as it is"
                                  : "; --bad-records skip leaves such records out";
    static const char *const mend = "; --bad-records replace puts U+FFFD there, skip leaves such records out";
    const char *name = name_of(t->inputs, t->piece->at.input);
    const long long line = t->piece->at.line;
    switch (t->out->fault) {
    case HS_RECORD_BROKEN:
        return HS_FAIL(USAGE, "%s:%lld: no JSON object: %s%s", name, line, t->why ? t->why : "it begins as none", way);
    case HS_RECORD_NO_OBJECT:
        return HS_FAIL(USAGE, "%s:%lld: %s, not a JSON object%s", name, line, t->why, way);
    case HS_RECORD_NO_FIELD:
        list_keys(record, bytes, keys, sizeof keys);
        return HS_FAIL(USAGE, "%s:%lld: no field \"%s\"; it has: %s; --field names another%s", name, line, t->field, keys, way);
    case HS_RECORD_NO_STRING:
    case HS_RECORD_TWICE:
        return HS_FAIL(USAGE, "%s:%lld: the field \"%s\" %s%s", name, line, t->field,
                       t->out->fault == HS_RECORD_TWICE ? "stands twice" : "is no string", way);
    default:
        return HS_FAIL(USAGE, "%s:%lld: the field \"%s\" has %s%s", name, line, t->field, hs_record_fault_names[t->out->fault], mend);
    }
}

static hs_status settle_record(taking *t)
{
    static const char mark[] = "\xEF\xBB\xBF";
    hs_text_taken *o = t->out;
    if (o->bytes >= 3 && memcmp(o->text, mark, 3) == 0) // of a file that was put behind another
        o->text += 3, o->bytes -= 3;
    if (is_blank(o->text, o->bytes))
        return HS_OK;
    const char *record = o->text;
    const size_t bytes = o->bytes;
    HS_TRY(take_record(t));
    if (o->fault == HS_RECORD_FINE)
        return HS_OK;
    if (t->r->bad_records == HS_BAD_RECORDS_STOP)
        return stop(t, record, bytes);
    if (t->r->bad_records == HS_BAD_RECORDS_SKIP || o->fault < HS_RECORD_SURROGATE)
        *o = (hs_text_taken){ .fault = o->fault };
    return HS_OK;
}

hs_status hs_text_take(const hs_text_rules *r, const hs_text_inputs *inputs, const hs_text_batch *b, const hs_text_piece *piece,
                       hs_text_scratch *s, hs_text_taken *out)
{
    taking t = { .r = r, .inputs = inputs, .piece = piece, .field = piece->kind->field, .s = s, .out = out };
    *out = (hs_text_taken){ .text = b->text + piece->offset, .bytes = piece->bytes };
    HS_TRY(piece->kind->form == HS_TEXT_PLAIN ? settle_plain(&t) : settle_record(&t));
    return HS_OK;
}

// ---- counts

void hs_bad_count_add(hs_bad_count *c, bool mended, int64_t input, int64_t line, hs_record_fault fault)
{
    const int64_t n = c->left_out + c->mended;
    if (n < HS_TEXT_PLACES)
        c->place[n].input = input, c->place[n].line = line, c->place[n].fault = fault;
    *(mended ? &c->mended : &c->left_out) += 1;
}

void hs_bad_count_text(const hs_bad_count *c, const hs_text_inputs *inputs, char *buf, size_t size)
{
    const int64_t n = c->left_out + c->mended;
    size_t at = 0;
    buf[0] = 0;
    if (n == 0)
        return;
    at = (size_t)snprintf(buf, size, "%lld bad record%s left out, %lld mended: ", (long long)c->left_out, hs_plural(c->left_out),
                          (long long)c->mended);
    for (int64_t i = 0; i < n && i < HS_TEXT_PLACES && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%s:%lld (%s)", i ? ", " : "", name_of(inputs, c->place[i].input),
                               (long long)c->place[i].line, hs_record_fault_names[c->place[i].fault]);
    if (n > HS_TEXT_PLACES && at < size)
        snprintf(buf + at, size - at, ", and %lld more", (long long)(n - HS_TEXT_PLACES));
}
