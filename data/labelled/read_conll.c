// read_conll: a word a line, its columns behind it; and NeMo's two files, words in one and their labels in the other.
#include "core/base/grow.h"
#include "core/base/log.h"
#include "data/labelled/label_reader_impl.h"
#include "data/labelled/plain_words.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- fields

void hs_conll_split(hs_label_reader *r, char delimiter, const char *p, size_t bytes)
{
    const char *end = p + bytes;
    r->field.n = 0;
    while (p < end || (delimiter == '\t' && p == end)) {
        if (delimiter == ' ')
            while (p < end && (*p == ' ' || *p == '\t'))
                p++;
        const char *s = p;
        while (p < end && *p != delimiter && !(delimiter == ' ' && *p == '\t'))
            p++;
        if (delimiter == ' ' && p == s)
            return;
        if (hs_slices_add(&r->field, (hs_slice){ s, (size_t)(p - s) }) != HS_OK) // told by whoever misses a column
            return;
        p++;
    }
}

bool hs_conll_is_tag(hs_slice s)
{
    return (s.bytes == 1 && s.p[0] == 'O') || (s.bytes > 2 && s.p[1] == '-' && memchr("BIESLUM", s.p[0], 7));
}

// "(PERSON*", "*", "*)", "(DATE)": OntoNotes' own notation.
static bool is_bracket(hs_slice s)
{
    return s.bytes && s.p[0] != '-' && (s.p[0] == '(' || s.p[0] == '*') && (s.p[s.bytes - 1] == ')' || memchr(s.p, '*', s.bytes));
}

static bool starts(hs_slice s, const char *with) { return s.bytes >= strlen(with) && memcmp(s.p, with, strlen(with)) == 0; }

// ---- columns

enum { MOST_COLUMNS = 64, LINES_LOOKED_AT = 5000 };
typedef struct conll_facts {
    int lines, tabs;              // with text; of them with a tab
    int counts[MOST_COLUMNS + 1]; // lines by number of columns
    int tags[MOST_COLUMNS], outside[MOST_COLUMNS], brackets[MOST_COLUMNS], integers[MOST_COLUMNS];
    int columns, rows; // of most lines; lines that have so many
    bool ontonotes;
} conll_facts;

static bool is_comment(const hs_label_reader *r, int columns)
{
    const hs_slice first = r->field.n ? r->field.at[0] : (hs_slice){ "", 0 };
    return starts(first, "#") && (starts(first, "#begin") || starts(first, "#end") || r->field.n != columns);
}

static bool is_docstart(const hs_label_reader *r) { return r->field.n && starts(r->field.at[0], "-DOCSTART-"); }

static void count_columns(hs_label_reader *r, const hs_label_head *head, conll_facts *f)
{
    size_t whole, n;
    for (const char *p = head->p; p < head->p + head->bytes && f->lines < LINES_LOOKED_AT; p += whole) {
        n = hs_line_bytes(p, head->bytes - (size_t)(p - head->p), &whole);
        if (hs_is_blank(p, n) || p[0] == '#' || starts((hs_slice){ p, n }, "-DOCSTART-") || (p[whole - 1] != '\n' && !head->all)) {
            f->ontonotes |= starts((hs_slice){ p, n }, "#begin document");
            continue;
        }
        f->lines++;
        f->tabs += memchr(p, '\t', n) != NULL;
    }
    r->found.delimiter = f->tabs * 2 > f->lines ? '\t' : ' ';
    for (int pass = 0, lines; pass < 2; pass++) {
        lines = 0;
        for (const char *p = head->p; p < head->p + head->bytes && lines < LINES_LOOKED_AT; p += whole) {
            n = hs_line_bytes(p, head->bytes - (size_t)(p - head->p), &whole);
            if (hs_is_blank(p, n) || (p[whole - 1] != '\n' && !head->all))
                continue;
            hs_conll_split(r, r->found.delimiter, p, n);
            if (is_docstart(r) || starts(r->field.at[0], "#begin") || starts(r->field.at[0], "#end"))
                continue;
            lines++;
            const int m = r->field.n < MOST_COLUMNS ? r->field.n : MOST_COLUMNS;
            f->counts[m] += pass == 0;
            if (pass == 0 || r->field.n != f->columns)
                continue;
            f->rows++;
            for (int i = 0; i < m; i++) {
                const hs_slice s = r->field.at[i];
                f->tags[i] += hs_conll_is_tag(s);
                f->outside[i] += s.bytes == 1 && s.p[0] == 'O';
                f->brackets[i] += is_bracket(s);
                f->integers[i] += hs_label_is_integer(s);
            }
        }
        for (int i = 1; i <= MOST_COLUMNS && pass == 0; i++)
            if (f->counts[i] > f->counts[f->columns])
                f->columns = i;
    }
}

static int word_column(const conll_facts *f)
{
    if (f->ontonotes && f->columns > 4)
        return 3;
    return f->columns > 2 && f->rows > 2 && f->integers[0] == f->rows ? 1 : 0; // CoNLL-U and GermEval count the words in front of them
}

// From the right: tags, tags that are all O, brackets; else the last column.
static int tag_column(const conll_facts *f, int word)
{
    for (int pass = 0; pass < 3; pass++)
        for (int i = f->columns - 1; i > word; i--)
            if (pass == 2 ? f->brackets[i] * 10 > f->rows * 9 : f->tags[i] * 10 > f->rows * 9 && (pass == 1 || f->outside[i] < f->tags[i]))
                return i;
    return f->columns > word + 1 ? f->columns - 1 : -1;
}

static hs_status given_column(const hs_label_reader *r, const char *given, const char *what, int columns, int *out)
{
    const hs_slice s = { given, given ? strlen(given) : 0 };
    if (s.bytes == 0)
        return HS_OK;
    if (!hs_label_is_integer(s) || atoll(given) < 1 || atoll(given) > columns)
        return hs_label_fail(r, 1, "the column of the %s is said to be \"%s\"; columns have numbers here, 1 to %d", what, given, columns);
    *out = atoi(given) - 1;
    return HS_OK;
}

hs_status hs_conll_begin(hs_label_reader *r, const hs_label_head *head)
{
    conll_facts f = { 0 };
    if (r->o->about != HS_ABOUT_TOKENS)
        return hs_label_fail(r, 1, "CoNLL columns are tags of words: their task is tokens");
    count_columns(r, head, &f);
    if (f.lines == 0)
        return hs_label_fail(r, 1, "there is no word in it");
    r->n_columns = r->found.columns = f.columns;
    r->found.text = word_column(&f);
    HS_TRY(given_column(r, r->o->text, "word", f.columns, &r->found.text));
    r->found.label = tag_column(&f, r->found.text);
    HS_TRY(given_column(r, r->o->label, "tag", f.columns, &r->found.label));
    if (r->found.label < 0 && !r->o->labels_optional)
        return hs_label_fail(r, 1, "lines of one column: a word, and no tag behind it");
    r->roles.indicator =
        r->found.label >= 0 && f.rows && f.brackets[r->found.label] * 10 > f.rows * 9 && f.tags[r->found.label] * 2 < f.rows;
    hs_label_say(r, " (%d, by %s), word: column %d", f.columns, r->found.delimiter == '\t' ? "tabs" : "spaces", r->found.text + 1);
    if (r->found.label >= 0)
        hs_label_say(r, ", tag: column %d%s", r->found.label + 1, r->roles.indicator ? " (in brackets)" : "");
    return HS_OK;
}

// ---- sentences

static hs_slice pooled_tag(hs_label_reader *r, char prefix, hs_slice type)
{
    char *to = r->pool + r->pool_at;
    to[0] = prefix, to[1] = '-';
    memcpy(to + 2, type.p, type.bytes);
    r->pool_at += type.bytes + 2;
    return (hs_slice){ to, type.bytes + 2 };
}

// "(PERSON*" to B-PERSON, "*" behind it to I-PERSON, which `open` is until it is closed.
static hs_status bracket_tag(hs_label_reader *r, hs_slice s, hs_slice *open, int64_t line, hs_slice *tag)
{
    const bool begins = s.bytes && s.p[0] == '(', ends = s.bytes && s.p[s.bytes - 1] == ')';
    if (!is_bracket(s))
        return hs_label_fail(r, line, "\"%.*s\" is no tag in brackets, as the others are: (PERSON*, *, *)",
                             (int)(s.bytes < 40 ? s.bytes : 40), s.p);
    if (begins == (open->bytes > 0) && (begins || ends))
        return hs_label_fail(r, line, "%s", begins ? "a bracket within one that is open" : "a bracket that closes and was not opened");
    if (begins) {
        hs_slice type = { s.p + 1, 0 };
        while (type.bytes + 1 < s.bytes && !memchr("*()", type.p[type.bytes], 3))
            type.bytes++;
        *tag = pooled_tag(r, 'B', type);
        *open = pooled_tag(r, 'I', type);
    } else {
        *tag = open->bytes ? *open : (hs_slice){ "O", 1 };
    }
    if (ends)
        *open = (hs_slice){ 0 };
    return HS_OK;
}

static hs_status take_line(hs_label_reader *r, int64_t line, hs_slice *open)
{
    const int word = r->found.text, tag = r->found.label, most = word > tag ? word : tag;
    const bool given = r->o->label && r->o->label[0];
    if (r->field.n <= most || (r->field.n != r->n_columns && !given))
        return hs_label_fail(r, line, "%d column%s, and most lines have %d", r->field.n, hs_plural(r->field.n), r->n_columns);
    if (r->field.at[word].bytes == 0)
        return hs_label_fail(r, line, "an empty word");
    if (r->n_words == 0)
        r->entry.line = line;
    hs_slice s = { 0 };
    if (tag >= 0) {
        s = r->field.at[tag];
        if (r->roles.indicator)
            HS_TRY(bracket_tag(r, s, open, line, &s));
        if (s.bytes == 0)
            return hs_label_fail(r, line, "an empty tag");
        HS_TRY(hs_label_add_tag(r, s));
    }
    return HS_OK;
}

// CoNLL-U: "1-2" are the letters of two words, "1.1" is a word that is not said.
static bool is_range(const hs_label_reader *r)
{
    const hs_slice s = r->field.at[0];
    return r->found.text == 1 && s.bytes > 2 && s.p[0] >= '0' && s.p[0] <= '9' && (memchr(s.p, '-', s.bytes) || memchr(s.p, '.', s.bytes));
}

// Tags in brackets stand in a part of the pool of their own: a word must not stand between two others.
static hs_status take_words(hs_label_reader *r, const hs_label_record *record)
{
    size_t whole, n;
    int64_t line = record->line;
    for (const char *p = record->p; p < record->p + record->bytes; p += whole, line++) {
        n = hs_line_bytes(p, record->bytes - (size_t)(p - record->p), &whole);
        if (hs_is_blank(p, n))
            continue;
        hs_conll_split(r, r->found.delimiter, p, n);
        if (is_comment(r, r->n_columns) || is_docstart(r) || is_range(r))
            continue;
        if (r->n_words == 0)
            r->entry.line = line;
        HS_TRY(hs_label_add_word(r, r->field.at[r->found.text], (int32_t)(line - r->entry.line)));
    }
    return HS_OK;
}

static hs_status take_block(hs_label_reader *r, const hs_label_record *record)
{
    size_t whole, n;
    int64_t line = record->line;
    hs_slice open = { 0 };
    for (const char *p = record->p; p < record->p + record->bytes; p += whole, line++) {
        n = hs_line_bytes(p, record->bytes - (size_t)(p - record->p), &whole);
        if (hs_is_blank(p, n))
            continue;
        hs_conll_split(r, r->found.delimiter, p, n);
        if (is_docstart(r) || (r->field.n && starts(r->field.at[0], "#begin document")))
            r->entry.document = true;
        else if (!is_comment(r, r->n_columns) && !is_range(r))
            HS_TRY(take_line(r, line, &open));
    }
    if (open.bytes)
        return hs_label_fail(r, line - 1, "a bracket that is not closed in its sentence");
    HS_TRY(take_words(r, record));
    r->entry.raw = (hs_slice){ record->p, record->bytes };
    r->entry.labelled = r->found.label >= 0;
    return HS_OK;
}

// Blocks without a word are kept for the raw of the next example.
static hs_status pass(hs_label_reader *r, const hs_label_record *record)
{
    if (r->passed_bytes == 0)
        r->passed_line = record->line;
    char *more = realloc(r->passed, r->passed_bytes + record->bytes + 1);
    if (!more)
        return HS_FAIL(MEMORY, "%s: no memory for %zu bytes", hs_label_reader_name(r), record->bytes);
    r->passed = more;
    memcpy(more + r->passed_bytes, record->p, record->bytes);
    r->passed_bytes += record->bytes;
    more[r->passed_bytes] = 0;
    return HS_OK;
}

static hs_status give_raw(hs_label_reader *r, const hs_label_record *record)
{
    r->entry.raw_line = record->line;
    if (r->passed_bytes == 0)
        return HS_OK;
    HS_TRY(pass(r, record));
    r->entry.raw = (hs_slice){ r->passed, r->passed_bytes }, r->entry.raw_line = r->passed_line;
    r->passed_given = true;
    return HS_OK;
}

hs_status hs_conll_next(hs_label_reader *r, bool *end)
{
    hs_label_record record;
    if (r->passed_given)
        r->passed_bytes = 0, r->passed_given = false;
    for (;;) {
        HS_TRY(hs_label_records_next(r->records, HS_CUT_BLOCK, 0, &record));
        *end = !record.p;
        if (*end)
            return HS_OK;
        HS_TRY(hs_label_pool(r, 2 * record.bytes));
        HS_TRY(take_block(r, &record));
        if (r->n_words > 0)
            return give_raw(r, &record);
        HS_TRY(pass(r, &record));
        r->document |= r->entry.document; // a block of comments, or of -DOCSTART- alone
        r->label.n = 0;
    }
}

// ---- NeMo

hs_status hs_nemo_begin(hs_label_reader *r, const hs_label_head *head)
{
    (void)head;
    static const char text[] = "text_", labels[] = "labels_";
    const char *slash = strrchr(r->path, '/'), *base = slash ? slash + 1 : r->path;
    if (r->o->about != HS_ABOUT_TOKENS)
        return hs_label_fail(r, 1, "words with their labels beside are tags of words: their task is tokens");
    if (strncmp(base, text, sizeof text - 1) != 0)
        return hs_label_fail(r, 1, "the words of this format stand in a file called text_NAME, their labels in labels_NAME beside it");
    const size_t folder = (size_t)(base - r->path), rest = strlen(base) - (sizeof text - 1);
    char *path = malloc(folder + sizeof labels + rest);
    if (!path)
        return HS_FAIL(MEMORY, "no memory for a name");
    memcpy(path, r->path, folder);
    memcpy(path + folder, labels, sizeof labels - 1);
    memcpy(path + folder + sizeof labels - 1, base + sizeof text - 1, rest + 1);
    const hs_status st = r->o->labels_optional && access(path, F_OK) != 0 ? HS_OK : hs_label_records_open(&r->second, path, r->o->bad_utf8);
    if (st == HS_OK && r->second)
        hs_label_say(r, " (%s)", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
    free(path);
    return st;
}

hs_status hs_nemo_next(hs_label_reader *r, bool *end)
{
    hs_label_record words, tags = { 0 };
    size_t whole;
    for (;;) {
        HS_TRY(hs_label_records_next(r->records, HS_CUT_LINE, 0, &words));
        if (r->second)
            HS_TRY(hs_label_records_next(r->second, HS_CUT_LINE, 0, &tags));
        if (r->second && !words.p != !tags.p)
            return hs_label_fail(r, words.p ? words.line : tags.line, "%s ends here, and %s goes on",
                                 hs_label_records_name(words.p ? r->second : r->records),
                                 hs_label_records_name(words.p ? r->records : r->second));
        *end = !words.p;
        if (*end)
            return HS_OK;
        if (!hs_is_blank(words.p, words.bytes) || (tags.p && !hs_is_blank(tags.p, tags.bytes)))
            break;
    }
    HS_TRY(hs_label_pool(r, words.bytes));
    r->entry.line = words.line, r->entry.raw = (hs_slice){ words.p, words.bytes };
    hs_conll_split(r, ' ', words.p, hs_line_bytes(words.p, words.bytes, &whole));
    for (int i = 0; i < r->field.n; i++)
        HS_TRY(hs_label_add_word(r, r->field.at[i], 0));
    r->entry.labelled = r->second != NULL;
    if (!r->second)
        return HS_OK;
    hs_conll_split(r, ' ', tags.p, hs_line_bytes(tags.p, tags.bytes, &whole));
    if (r->field.n != r->n_words)
        return hs_label_fail(r, words.line, "%d word%s, and %d label%s in line %lld of %s", r->n_words, hs_plural(r->n_words), r->field.n,
                             hs_plural(r->field.n), (long long)tags.line, hs_label_records_name(r->second));
    for (int i = 0; i < r->field.n; i++)
        HS_TRY(hs_label_add_tag(r, r->field.at[i]));
    return HS_OK;
}

// ---- plain texts

hs_status hs_label_plain_words(hs_label_reader *r)
{
    HS_TRY(hs_plain_words(r->entry.text[0].p, r->entry.text[0].bytes, &r->word, &r->n_words, &r->word_room));
    while (r->line_room < r->n_words)
        if (!hs_grow(&r->word_line, r->line_room, &r->line_room, sizeof *r->word_line))
            return HS_FAIL(MEMORY, "%s: no memory for %d words", hs_label_reader_name(r), r->n_words);
    if (r->n_words > 0)
        memset(r->word_line, 0, (size_t)r->n_words * sizeof *r->word_line);
    return HS_OK;
}
