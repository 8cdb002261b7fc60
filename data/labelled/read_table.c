// read_table: records of fields - TSV, CSV, "label text", and texts alone, which are a table of two columns and of one.
#include "core/base/log.h"
#include "data/labelled/label_reader_impl.h"
#include <stdlib.h>
#include <string.h>

enum { LOOKED_AT = 200 }; // records that columns are found by

// ---- fields

static hs_status split_tabs(hs_label_reader *r, char delimiter, const char *p, size_t bytes)
{
    for (;;) {
        const char *tab = bytes ? memchr(p, delimiter, bytes) : NULL;
        const size_t n = tab ? (size_t)(tab - p) : bytes;
        HS_TRY(hs_slices_add(&r->field, (hs_slice){ p, n }));
        if (!tab)
            return HS_OK;
        p += n + 1, bytes -= n + 1;
    }
}

// A field that begins with a quote, without its quotes; *p behind it.
static hs_status take_quoted(hs_label_reader *r, char delimiter, const char **p, const char *end, int64_t line, hs_slice *out)
{
    const char *s = *p + 1;
    char *to = r->pool + r->pool_at;
    size_t n = 0;
    for (; s < end; s++) {
        if (*s == '"' && (s + 1 == end || s[1] != '"'))
            break;
        s += *s == '"';
        to[n++] = *s;
    }
    s += s < end;
    if (s < end && *s != delimiter)
        return hs_label_fail(r, line, "field %d goes on behind the quote that ends it; a quote within quotes is written twice",
                             r->field.n + 1);
    r->pool_at += n;
    *out = (hs_slice){ to, n };
    *p = s;
    return HS_OK;
}

static hs_status split_csv(hs_label_reader *r, char delimiter, const char *p, size_t bytes, int64_t line)
{
    const char *end = p + bytes;
    for (;;) {
        hs_slice s = { p, 0 };
        if (p < end && *p == '"') {
            HS_TRY(take_quoted(r, delimiter, &p, end, line, &s));
        } else {
            const char *stop = p < end ? memchr(p, delimiter, (size_t)(end - p)) : NULL;
            p = stop ? stop : end;
            s.bytes = (size_t)(p - s.p);
        }
        HS_TRY(hs_slices_add(&r->field, s));
        if (p >= end)
            return HS_OK;
        p++;
    }
}

// "label text"; fastText's "__label__a __label__b text".
static hs_status split_line(hs_label_reader *r, const char *p, size_t bytes)
{
    static const char mark[] = "__label__";
    const size_t n_mark = sizeof mark - 1;
    const char *end = p + bytes, *label = p;
    size_t n = 0;
    while (p < end && *p != ' ' && *p != '\t')
        p++, n++;
    if (n > n_mark && memcmp(label, mark, n_mark) == 0) {
        const char *last = p;
        for (const char *s = p; s < end && (size_t)(end - s) > n_mark + 1 && memcmp(s + 1, mark, n_mark) == 0;) {
            for (s++; s < end && *s != ' ' && *s != '\t';)
                s++;
            last = s;
        }
        char *to = r->pool + r->pool_at; // "a,b"
        n = 0;
        for (const char *s = label; s < last; s++) {
            if ((size_t)(last - s) >= n_mark && memcmp(s, mark, n_mark) == 0)
                s += n_mark;
            to[n++] = *s == ' ' || *s == '\t' ? ',' : *s;
        }
        r->pool_at += n;
        label = to, p = last;
    }
    HS_TRY(hs_slices_add(&r->field, (hs_slice){ label, n }));
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    return p < end ? hs_slices_add(&r->field, (hs_slice){ p, (size_t)(end - p) }) : HS_OK;
}

static size_t without_end(const char *p, size_t bytes)
{
    bytes -= bytes && p[bytes - 1] == '\n';
    return bytes - (bytes && p[bytes - 1] == '\r');
}

hs_status hs_table_split(hs_label_reader *r, hs_label_format format, char delimiter, const char *p, size_t bytes, int64_t line)
{
    bytes = without_end(p, bytes);
    r->field.n = 0;
    switch (format) {
    case HS_LABEL_TSV:
        return split_tabs(r, delimiter, p, bytes);
    case HS_LABEL_CSV:
        return split_csv(r, delimiter, p, bytes, line);
    case HS_LABEL_LINES:
        return split_line(r, p, bytes);
    default:
        return hs_slices_add(&r->field, (hs_slice){ p, bytes });
    }
}

// ---- the first records

typedef struct table_head { // copies
    char *text;
    hs_slice *field; // [n_rows][n]
    int n_rows, n;
} table_head;

static void free_head(table_head *h)
{
    free(h->text);
    free(h->field);
}

// Bytes of the record at p that is there as a whole; 0: none is.
static size_t whole_record(const hs_label_reader *r, const char *p, size_t bytes, bool all)
{
    const bool csv = r->found.format == HS_LABEL_CSV;
    bool quoted = false, begun = false;
    for (size_t i = 0; i < bytes; i++) {
        if (p[i] == '\n' && !quoted)
            return i + 1;
        if (csv && p[i] == '"' && (quoted || !begun))
            quoted = !quoted; // a doubled quote closes and opens
        begun = p[i] != r->found.delimiter && !(p[i] == '"' && !quoted && i + 1 < bytes && p[i + 1] == '"');
    }
    return all ? bytes : 0;
}

// Rows of as many fields as the first one has; others are told when they are read.
static hs_status look(hs_label_reader *r, const hs_label_head *head, table_head *out)
{
    const char *p = head->p;
    size_t left = head->bytes, at = 0;
    int room = 0;
    int64_t line = 1;
    *out = (table_head){ .text = malloc(3 * head->bytes + 64) };
    if (!out->text)
        return HS_FAIL(MEMORY, "%s: no memory to read it", hs_label_reader_name(r));
    for (size_t n; out->n_rows < LOOKED_AT && (n = whole_record(r, p, left, head->all)) > 0; p += n, left -= n) {
        const int64_t begin = line;
        for (size_t i = 0; i < n; i++)
            line += p[i] == '\n';
        if (hs_is_blank(p, n))
            continue;
        HS_TRY(hs_label_pool(r, n));
        HS_TRY(hs_table_split(r, r->found.format, r->found.delimiter, p, n, begin));
        if (out->n_rows == 0)
            out->n = r->field.n;
        if (r->field.n != out->n)
            continue;
        if ((out->n_rows + 1) * out->n > room) {
            room = 2 * (out->n_rows + 1) * out->n;
            hs_slice *field = realloc(out->field, (size_t)room * sizeof *field);
            if (!field)
                return HS_FAIL(MEMORY, "%s: no memory to read it", hs_label_reader_name(r));
            out->field = field;
        }
        for (int i = 0; i < out->n; i++) {
            const hs_slice s = r->field.at[i];
            memcpy(out->text + at, s.p, s.bytes);
            out->field[out->n_rows * out->n + i] = (hs_slice){ out->text + at, s.bytes };
            at += s.bytes;
        }
        out->n_rows++;
    }
    return HS_OK;
}

// A first row that is words where numbers stand in all others.
static bool heads_numbers(const table_head *h)
{
    for (int i = 0; i < h->n; i++)
        if (hs_label_is_number(h->field[i]))
            return false;
    for (int i = 0; i < h->n && h->n_rows > 2; i++) {
        int k = 1;
        while (k < h->n_rows && hs_label_is_number(h->field[k * h->n + i]))
            k++;
        if (k == h->n_rows)
            return true;
    }
    return false;
}

static bool names_one(const char *given, const table_head *h)
{
    for (int i = 0; given && given[0] && i < h->n; i++)
        if (h->field[i].bytes == strlen(given) && memcmp(h->field[i].p, given, h->field[i].bytes) == 0)
            return true;
    return false;
}

static hs_status find_columns(hs_label_reader *r, const table_head *h)
{
    const hs_examples_opts *o = r->o;
    const bool named = names_one(o->text, h) || names_one(o->text2, h) || names_one(o->label, h) || names_one(o->id, h);
    const bool known = named || hs_label_names_known(h->field, h->n), numbers = !known && heads_numbers(h);
    hs_status st;
    r->found.header = known || numbers;
    hs_label_say(r, r->found.header ? " with a header" : " without a header");
    if (!known)
        return hs_label_roles_by_content(r, 1, numbers ? h->field : NULL, h->field + (numbers ? h->n : 0), h->n_rows - numbers, h->n);
    bool *bits = calloc((size_t)h->n, sizeof *bits);
    if (!bits)
        return HS_FAIL(MEMORY, "no memory for %d columns", h->n);
    for (int i = 0; i < h->n; i++) {
        bits[i] = h->n_rows > 1;
        for (int k = 1; k < h->n_rows; k++) {
            const hs_slice s = h->field[k * h->n + i];
            bits[i] &= s.bytes == 1 && (s.p[0] == '0' || s.p[0] == '1');
        }
    }
    st = hs_label_roles_by_name(r, 1, h->field, bits, h->n);
    free(bits);
    return st;
}

static hs_status keep_names(hs_label_reader *r, const table_head *h)
{
    r->name = calloc((size_t)h->n, sizeof *r->name);
    if (!r->name)
        return HS_FAIL(MEMORY, "no memory for %d columns", h->n);
    for (; r->n_names < h->n; r->n_names++) {
        const size_t bytes = h->field[r->n_names].bytes;
        char *name = r->name[r->n_names] = calloc(1, bytes + 1);
        if (!name)
            return HS_FAIL(MEMORY, "no memory for %d columns", h->n);
        memcpy(name, h->field[r->n_names].p, bytes);
    }
    return HS_OK;
}

// The delimiter of CSV that is said to be one: what the first line has the most of.
static char delimiter_of(const hs_label_head *head)
{
    static const char delimiters[] = ",;\t";
    size_t whole, n = hs_line_bytes(head->p, head->bytes, &whole);
    char best = ',';
    int most = 0;
    for (const char *d = delimiters; *d; d++) {
        int count = 0;
        for (size_t i = 0; i < n; i++)
            count += head->p[i] == *d;
        if (count > most)
            most = count, best = *d;
    }
    return best;
}

static hs_status fixed_columns(hs_label_reader *r)
{
    const bool lines = r->found.format == HS_LABEL_LINES;
    hs_label_roles *roles = &r->roles;
    r->n_columns = r->found.columns = lines ? 2 : 1;
    roles->text[0] = r->found.text = lines;
    if (!lines)
        return HS_OK;
    r->found.label = 0;
    if (!(roles->label = calloc(1, sizeof *roles->label)))
        return HS_FAIL(MEMORY, "no memory for a column");
    roles->n_labels = 1;
    return HS_OK;
}

static hs_status read_columns(hs_label_reader *r, const hs_label_head *head)
{
    table_head h;
    hs_status st;
    HS_TRY_GOTO(st, look(r, head, &h), done);
    if (h.n_rows == 0) {
        st = head->all ? hs_label_fail(r, 1, "there is no record in it")
                       : hs_label_fail(r, 1, "the first record is longer than 64 KiB: columns cannot be told by it");
        goto done;
    }
    r->n_columns = r->found.columns = h.n;
    HS_TRY_GOTO(st, find_columns(r, &h), done);
    if (r->found.header)
        HS_TRY_GOTO(st, keep_names(r, &h), done);
done:
    free_head(&h);
    return st;
}

hs_status hs_table_begin(hs_label_reader *r, const hs_label_head *head)
{
    const hs_label_format format = r->found.format;
    if (r->o->about == HS_ABOUT_SPAN || (r->o->about == HS_ABOUT_TOKENS && format != HS_LABEL_TEXT))
        return hs_label_fail(r, 1, "%s have no %s", hs_label_kinds[format].name,
                             r->o->about == HS_ABOUT_SPAN ? "answers to questions: SQuAD's JSON does" : "tags of words: CoNLL columns do");
    if (format == HS_LABEL_TEXT && !r->o->labels_optional)
        return hs_label_fail(r, 1, "texts without labels teach nothing");
    if (r->o->about == HS_ABOUT_PAIR && (format == HS_LABEL_TEXT || format == HS_LABEL_LINES))
        return hs_label_fail(r, 1, "a pair needs two texts, and a line of this format has one");
    if (!r->found.delimiter)
        r->found.delimiter = format == HS_LABEL_CSV ? delimiter_of(head) : '\t';
    if (format == HS_LABEL_TEXT || format == HS_LABEL_LINES)
        return fixed_columns(r);
    return read_columns(r, head);
}

// ---- records

static hs_slice trimmed(hs_slice s)
{
    while (s.bytes && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.bytes--;
    while (s.bytes && (s.p[s.bytes - 1] == ' ' || s.p[s.bytes - 1] == '\t'))
        s.bytes--;
    return s;
}

// "joy, fear": one label each; of numbers alike.
static hs_status split_labels(hs_label_reader *r, hs_slice s)
{
    s = trimmed(s);
    if (s.bytes >= 2 && s.p[0] == '[' && s.p[s.bytes - 1] == ']') // a list as pandas and JSON write it
        s.p++, s.bytes -= 2;
    while (s.bytes) {
        size_t n = 0;
        while (n < s.bytes && s.p[n] != ',' && s.p[n] != ';' && s.p[n] != '|')
            n++;
        const hs_slice one = trimmed((hs_slice){ s.p, n });
        if (one.bytes)
            HS_TRY(hs_label_add_tag(r, one));
        n += n < s.bytes;
        s.p += n, s.bytes -= n;
    }
    return HS_OK;
}

static hs_status take_indicators(hs_label_reader *r)
{
    for (int i = 0; i < r->roles.n_labels; i++) {
        const int column = r->roles.label[i];
        const hs_slice s = trimmed(r->field.at[column]);
        const bool one = hs_label_is_number(s) && strtod(s.p, NULL) == 1, zero = hs_label_is_number(s) && strtod(s.p, NULL) == 0;
        if (!one && !zero)
            return hs_label_fail(r, r->entry.line, "column \"%s\" is \"%.*s\", and a label that has a column is 0 or 1 there",
                                 column < r->n_names ? r->name[column] : "", (int)(s.bytes < 60 ? s.bytes : 60), s.p);
        if (one && column < r->n_names)
            HS_TRY(hs_label_add_tag(r, (hs_slice){ r->name[column], strlen(r->name[column]) }));
    }
    return HS_OK;
}

static hs_status take_labels(hs_label_reader *r)
{
    hs_label_entry *e = &r->entry;
    const hs_about about = r->o->about;
    e->labelled = r->roles.n_labels > 0;
    if (!e->labelled)
        return HS_OK;
    if (r->roles.indicator)
        return take_indicators(r);
    for (int i = 0; i < r->roles.n_labels; i++) {
        const hs_slice s = trimmed(r->field.at[r->roles.label[i]]);
        if (about == HS_ABOUT_MULTILABEL || about == HS_ABOUT_REGRESSION)
            HS_TRY(split_labels(r, s));
        else if (s.bytes)
            HS_TRY(hs_label_add_tag(r, s));
    }
    e->labelled = r->label.n > 0 || about == HS_ABOUT_MULTILABEL;
    if (!e->labelled && !r->o->labels_optional)
        return hs_label_fail(r, e->line, "the label is empty");
    return HS_OK;
}

static hs_status take_record(hs_label_reader *r, const hs_label_record *record)
{
    hs_label_entry *e = &r->entry;
    const hs_label_format format = r->found.format;
    HS_TRY(hs_label_pool(r, record->bytes));
    HS_TRY(hs_table_split(r, format, r->found.delimiter, record->p, record->bytes, record->line));
    e->raw = (hs_slice){ record->p, record->bytes }, e->line = record->line;
    if (r->field.n != r->n_columns)
        return format == HS_LABEL_LINES ? hs_label_fail(r, e->line, "no text behind the label \"%.*s\"",
                                                        (int)(r->field.at[0].bytes < 60 ? r->field.at[0].bytes : 60), r->field.at[0].p)
                                        : hs_label_fail(r, e->line, "%d column%s, and %s has %d", r->field.n, hs_plural(r->field.n),
                                                        r->found.header ? "the header" : "the first record", r->n_columns);
    for (int i = 0; i < 2; i++)
        if (r->roles.text[i] >= 0)
            e->text[i] = r->field.at[r->roles.text[i]];
    if (r->roles.id >= 0)
        e->id = r->field.at[r->roles.id];
    if (r->o->about == HS_ABOUT_LM)
        return hs_label_join_turns(r, (hs_slice){ 0 });
    return r->o->about == HS_ABOUT_TOKENS ? hs_label_plain_words(r) : take_labels(r);
}

static hs_status keep_header(hs_label_reader *r, const hs_label_record *record)
{
    if (!(r->header = malloc(record->bytes + 1)))
        return HS_FAIL(MEMORY, "no memory for a header of %zu bytes", record->bytes);
    memcpy(r->header, record->p, record->bytes);
    r->header[record->bytes] = 0;
    r->header_bytes = record->bytes;
    return HS_OK;
}

hs_status hs_table_next(hs_label_reader *r, bool *end)
{
    hs_label_record record;
    const hs_cut cut = r->found.format == HS_LABEL_CSV ? HS_CUT_CSV : HS_CUT_LINE;
    const bool blank_too = r->found.format == HS_LABEL_TEXT; // a line in, a line out
    for (;;) {
        HS_TRY(hs_label_records_next(r->records, cut, r->found.delimiter, &record));
        if (!record.p) {
            *end = true;
            return HS_OK;
        }
        if (!blank_too && hs_is_blank(record.p, record.bytes))
            continue;
        if (!r->found.header || r->header)
            return take_record(r, &record);
        HS_TRY(keep_header(r, &record));
    }
}
