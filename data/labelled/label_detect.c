// label_detect: which format a file has, by its first 64 KiB.
#include "data/labelled/label_reader_impl.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LINES = 2000, WORDS = 32 };

typedef struct line_facts { // of lines that are there as a whole and not blank
    int lines, tabs[2];     // [0]: lines with tabs; [1]: with as many as most lines
    int most_tabs;          // that number
    int labelled;           // a word without a blank, and a text behind it
    int integers, marked;   // of those words: numbers; "__label__..."
    hs_slice word[WORDS];   // different ones
    int words;
    int one_word, blanks;
} line_facts;

static bool is_json(const hs_label_head *head) { return hs_text_kind_of(head->p, head->bytes, HS_FORMAT_AUTO).form != HS_TEXT_PLAIN; }

static bool holds(const hs_label_head *head, const char *what) { return memmem(head->p, head->bytes, what, strlen(what)) != NULL; }

static bool next_line(const hs_label_head *head, size_t *at, hs_slice *line)
{
    size_t whole;
    if (*at >= head->bytes)
        return false;
    *line = (hs_slice){ head->p + *at, hs_line_bytes(head->p + *at, head->bytes - *at, &whole) };
    *at += whole;
    return head->p[*at - 1] == '\n' || head->all;
}

static int count_of(hs_slice s, char c)
{
    int n = 0;
    for (size_t i = 0; i < s.bytes; i++)
        n += s.p[i] == c;
    return n;
}

static void look_at_word(line_facts *f, hs_slice line)
{
    hs_slice w = { line.p, 0 };
    size_t rest;
    while (w.bytes < line.bytes && line.p[w.bytes] != ' ' && line.p[w.bytes] != '\t')
        w.bytes++;
    rest = w.bytes;
    f->one_word += hs_is_blank(line.p + rest, line.bytes - rest);
    if (w.bytes == 0 || hs_is_blank(line.p + rest, line.bytes - rest))
        return;
    f->labelled++;
    f->integers += hs_label_is_integer(w) || hs_label_is_number(w);
    f->marked += w.bytes > 9 && memcmp(w.p, "__label__", 9) == 0;
    int k = 0;
    while (k < f->words && !(f->word[k].bytes == w.bytes && memcmp(f->word[k].p, w.p, w.bytes) == 0))
        k++;
    if (k == f->words && k < WORDS)
        f->word[f->words++] = w;
}

static line_facts look(const hs_label_head *head)
{
    enum { TABS = 64 };
    int by_tabs[TABS] = { 0 };
    line_facts f = { 0 };
    hs_slice line;
    for (size_t at = 0; f.lines < MOST_LINES && next_line(head, &at, &line);) {
        if (hs_is_blank(line.p, line.bytes)) {
            f.blanks++;
            continue;
        }
        const int tabs = count_of(line, '\t');
        f.lines++;
        f.tabs[0] += tabs > 0;
        by_tabs[tabs < TABS ? tabs : TABS - 1]++;
        look_at_word(&f, line);
    }
    for (int i = 1; i < TABS; i++)
        if (by_tabs[i] > f.tabs[1])
            f.tabs[1] = by_tabs[i], f.most_tabs = i;
    return f;
}

// ---- tables

static bool heads_known(hs_label_reader *r, const hs_label_head *head, hs_label_format format, char delimiter)
{
    hs_slice line;
    for (size_t at = 0; next_line(head, &at, &line);) {
        if (hs_is_blank(line.p, line.bytes))
            continue;
        if (hs_label_pool(r, line.bytes) != HS_OK || hs_table_split(r, format, delimiter, line.p, line.bytes, 1) != HS_OK)
            return false;
        return r->field.n > 1 && hs_label_names_known(r->field.at, r->field.n);
    }
    return false;
}

// Records of the head that are there as a whole, `least` or more: have all as many fields?
static bool all_agree(hs_label_reader *r, const hs_label_head *head, char delimiter, int least)
{
    int n = 0, records = 0, labels = 0;
    bool quoted = false, quotes = false;
    size_t from = 0;
    for (size_t i = 0; i <= head->bytes; i++) {
        const bool end = i == head->bytes;
        if (!end && head->p[i] == '"')
            quoted = !quoted, quotes = true;
        if (end ? !head->all || from == i : quoted || head->p[i] != '\n')
            continue;
        const size_t bytes = i - from + !end;
        if (!hs_is_blank(head->p + from, bytes)) {
            if (hs_label_pool(r, bytes) != HS_OK || hs_table_split(r, HS_LABEL_CSV, delimiter, head->p + from, bytes, 1) != HS_OK ||
                (records && r->field.n != n))
                return false;
            n = r->field.n;
            records++;
            for (int k = 0, any = 0; k < n; k++)
                if (!any && r->field.at[k].bytes > 0 && r->field.at[k].bytes < 32 && !memchr(r->field.at[k].p, ' ', r->field.at[k].bytes))
                    any = 1, labels++;
        }
        from = i + 1;
    }
    return n > 1 && (records >= least || (quotes && records > 0)) && labels >= records - 1;
}

static hs_label_format table_of(hs_label_reader *r, const hs_label_head *head, const line_facts *f)
{
    static const char delimiters[] = ",;";
    if (heads_known(r, head, HS_LABEL_TSV, '\t'))
        return HS_LABEL_TSV;
    for (const char *d = delimiters; *d; d++)
        // of a text that is to be predicted the first line may say "Question, answer"
        if (heads_known(r, head, HS_LABEL_CSV, *d) && (!r->o->labels_optional || all_agree(r, head, *d, 2))) {
            r->found.delimiter = *d;
            return HS_LABEL_CSV;
        }
    if (f->tabs[1] * 2 > f->lines)
        return HS_LABEL_TSV;
    for (const char *d = delimiters; *d; d++)
        if (all_agree(r, head, *d, 3)) {
            r->found.delimiter = *d;
            return HS_LABEL_CSV;
        }
    return HS_LABEL_AUTO;
}

// A label in front of each line: a number, "__label__", or one of few words.
static bool leads_with_labels(const hs_label_reader *r, const line_facts *f)
{
    const hs_labels *l = r->o->labels;
    if (f->lines == 0 || f->labelled * 10 < f->lines * 9 || (r->o->labels_optional && f->lines < 2))
        return false;
    if (f->integers == f->labelled || f->marked == f->labelled)
        return f->words < WORDS || r->o->about == HS_ABOUT_REGRESSION || f->marked;
    int known = 0;
    for (int i = 0; l && i < f->words; i++) {
        char name[64];
        if (f->word[i].bytes >= sizeof name)
            return false;
        memcpy(name, f->word[i].p, f->word[i].bytes);
        name[f->word[i].bytes] = 0;
        known += hs_labels_find(l, name) >= 0;
    }
    return (f->words && known == f->words) || (!r->o->labels_optional && f->words <= 20 && f->words * 8 <= f->labelled);
}

// ---- words

static bool beside(const hs_label_reader *r)
{
    char path[4096];
    const char *slash = strrchr(r->path, '/'), *base = slash ? slash + 1 : r->path;
    if (strncmp(base, "text_", 5) != 0)
        return false;
    snprintf(path, sizeof path, "%.*slabels_%s", (int)(base - r->path), r->path, base + 5);
    return access(path, F_OK) == 0;
}

// Lines that all have as many columns, or words alone with blank lines between sentences.
static bool has_word_lines(hs_label_reader *r, const hs_label_head *head, const line_facts *f)
{
    int columns = 0, agree = 0, tags = 0, lines = 0;
    hs_slice line;
    if (f->lines && f->one_word == f->lines)
        return f->blanks > 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t at = 0, n = 0; n < MOST_LINES && next_line(head, &at, &line);) {
            if (hs_is_blank(line.p, line.bytes) || line.p[0] == '#' || (line.bytes >= 10 && memcmp(line.p, "-DOCSTART-", 10) == 0))
                continue;
            n++;
            hs_conll_split(r, f->tabs[0] * 2 > f->lines ? '\t' : ' ', line.p, line.bytes);
            if (pass == 0 && r->field.n > columns && (columns == 0 || lines < 2))
                columns = r->field.n;
            if (pass == 0) {
                lines++;
                continue;
            }
            agree += r->field.n == columns;
            tags += hs_conll_is_tag(r->field.at[r->field.n - 1]);
        }
    return columns > 1 && agree * 10 >= lines * 9 && (tags * 10 >= lines * 9 || (lines > 10 && f->blanks > 0));
}

static hs_label_format words_of(hs_label_reader *r, const hs_label_head *head, const line_facts *f)
{
    if (beside(r))
        return HS_LABEL_NEMO;
    return !r->o->labels_optional || has_word_lines(r, head, f) ? HS_LABEL_CONLL : HS_LABEL_TEXT;
}

hs_status hs_label_detect(hs_label_reader *r, const hs_label_head *head)
{
    const hs_about about = r->o->about;
    hs_label_format *format = &r->found.format;
    if (hs_is_blank(head->p, head->bytes) && head->all && !r->o->labels_optional)
        return HS_FAIL(USAGE, "%s is empty", hs_label_reader_name(r));
    if (is_json(head)) {
        *format = about == HS_ABOUT_SPAN && holds(head, "\"paragraphs\"") ? HS_LABEL_SQUAD : HS_LABEL_JSON;
        return HS_OK;
    }
    const line_facts f = look(head);
    if (about == HS_ABOUT_TOKENS) {
        *format = words_of(r, head, &f);
        return HS_OK;
    }
    if (about == HS_ABOUT_SPAN)
        return HS_FAIL(USAGE, "%s is no JSON: questions and answers come as SQuAD has them, or as JSON records", hs_label_reader_name(r));
    *format = table_of(r, head, &f);
    if (*format == HS_LABEL_AUTO && about != HS_ABOUT_PAIR && about != HS_ABOUT_LM && leads_with_labels(r, &f))
        *format = HS_LABEL_LINES;
    if (*format == HS_LABEL_AUTO && r->o->labels_optional && about != HS_ABOUT_PAIR)
        *format = HS_LABEL_TEXT;
    if (*format != HS_LABEL_AUTO)
        return HS_OK;
    return HS_FAIL(
        USAGE,
        "%s: what it is cannot be told: neither JSON, nor columns by tabs or commas in as many on each line, nor a label in front of "
        "each; the format can be given: " HS_LABEL_FORMAT_WORDS,
        hs_label_reader_name(r));
}
