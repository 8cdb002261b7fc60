// score_files: two readers side by side, and what their rows say collected into arrays.
#include "recipes/program/score_files.h"
#include "core/base/grow.h"
#include "data/base/json_tree.h"
#include "data/labelled/label_reader.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct side { // one of the two files
    const char *path;
    hs_examples_opts opts;
    char column[16];
    hs_label_reader *reader;
    const hs_label_entry *entry;
    bool textless; // the label stands in for a text that the file has not
} side;

typedef struct array { // grows
    void *p;
    int n, room;
} array;

typedef struct set { // label k of row i, of MULTILABEL
    int32_t row, label;
} set;

typedef struct collector {
    const hs_score_files_opts *o;
    hs_score_rows *out;
    side gold, pred;
    array golds, preds;             // i32
    array gold_values, pred_values; // f32
    array gold_sets, pred_sets;     // set
    array starts, lengths;          // i64
    array scores;                   // f32, of labels in the order of `scored`
    hs_labels scored;               // whose probabilities the predictions have
    bool unscored;                  // some has none
    array sure;                     // f32, the last column of a table that `predict` wrote
    bool unsure;                    // there is none, or some is no probability
    hs_json_tree tree;
} collector;

#define ADD(array_, type, value)                                                                                                           \
    do {                                                                                                                                   \
        if (!hs_grow(&(array_)->p, (array_)->n, &(array_)->room, sizeof(type)))                                                            \
            return HS_FAIL(MEMORY, "no memory for %d rows", (array_)->n + 1);                                                              \
        ((type *)(array_)->p)[(array_)->n++] = (value);                                                                                    \
    } while (0)

// ---- opening

static hs_status open_side(side *s, const char *label, bool textless)
{
    hs_label_reader_close(s->reader);
    s->reader = NULL;
    s->textless = textless;
    s->opts.label = label;
    s->opts.text = textless ? label : NULL;
    s->opts.label_is_text = textless;
    HS_TRY(hs_label_reader_open(&s->reader, s->path, &s->opts));
    return hs_label_reader_next(s->reader, &s->entry);
}

// Files of labels alone have no text: then the label's column is read as one.
static hs_status open_with(side *s, const char *label)
{
    const hs_status st = open_side(s, label, false);
    if (st == HS_OK || st != HS_USAGE || !label || strcmp(s->path, "-") == 0)
        return st;
    return open_side(s, label, true) == HS_OK ? HS_OK : open_side(s, label, false); // the message of the first
}

static bool has_names(const side *s)
{
    const hs_label_found *f = s->reader ? hs_label_reader_found(s->reader) : NULL;
    return f && (f->format == HS_LABEL_JSON || ((f->format == HS_LABEL_TSV || f->format == HS_LABEL_CSV) && f->header));
}

// JSON is never a label as it stands.
static bool is_json(const side *s)
{
    const hs_slice raw = s->entry ? s->entry->raw : (hs_slice){ 0 };
    size_t at = 0;
    while (at < raw.bytes && strchr(" \t\r\n", raw.p[at]))
        at++;
    return at < raw.bytes && (raw.p[at] == '{' || raw.p[at] == '[');
}

// A label a line and nothing else, with one of these names above them or none; or the one key of records of JSON.
static bool open_bare(side *s, const char *const *names, int n)
{
    bool opened = false;
    if (s->opts.format != HS_LABEL_AUTO || s->opts.about == HS_ABOUT_TOKENS || strcmp(s->path, "-") == 0)
        return false;
    for (int k = 0; k < 2; k++) {
        s->opts.format = k ? HS_LABEL_TSV : HS_LABEL_JSON;
        for (int i = 0; i < n && !opened; i++)
            opened = open_side(s, names[i], true) == HS_OK;
    }
    opened = opened || (open_side(s, "1", true) == HS_OK && hs_label_reader_found(s->reader)->columns == 1 && !is_json(s));
    if (!opened)
        s->opts.format = HS_LABEL_AUTO;
    return opened;
}

static hs_status open_gold(side *s, const char *label, bool both)
{
    static const char *const usual[] = { "label", "labels", "gold", "score" };
    hs_status st = open_with(s, label);
    if (st == HS_USAGE && !label)
        st = open_bare(s, usual, HS_COUNT(usual)) ? HS_OK : open_with(s, label);
    HS_TRY(st);
    const hs_label_found *f = hs_label_reader_found(s->reader);
    if (label || !both || f->format != HS_LABEL_CONLL)
        return HS_OK;
    if (f->columns < 3)
        return HS_FAIL(USAGE, "%s: lines of %d columns: a word, gold and predicted tag are three", s->path, f->columns);
    snprintf(s->column, sizeof s->column, "%d", f->columns - 1);
    return open_with(s, s->column);
}

// Of a table that a prediction was written behind: the first column that the gold one has not.
static bool open_added(side *s, const side *gold)
{
    const hs_label_found *g = hs_label_reader_found(gold->reader), *p = hs_label_reader_found(s->reader);
    const bool table = p->format == HS_LABEL_TSV || p->format == HS_LABEL_CSV;
    if (!table || g->format != p->format || p->columns <= g->columns || gold->textless)
        return false;
    snprintf(s->column, sizeof s->column, "%d", g->columns + 1);
    return open_side(s, s->column, false) == HS_OK;
}

static hs_status open_pred(side *s, const char *label, const side *gold)
{
    static const char *const usual[] = {
        "prediction", "predicted",   "predicted_label", "predicted_labels", "predicted_tags", "predicted_score",
        "pred",       "predictions", "label",           "labels",           "score"
    };
    enum { OWN = HS_COUNT(usual) - 3 };           // the others are GOLD's too, and a prediction's where there is nothing else
    const bool again = strcmp(s->path, "-") != 0; // a pipe is read once
    if (label)
        return open_with(s, label);
    const hs_status plain = open_side(s, NULL, false);
    if (again && plain != HS_OK && plain != HS_USAGE)
        return plain;
    if (again && plain == HS_OK && hs_label_reader_found(s->reader)->format == HS_LABEL_CONLL) {
        snprintf(s->column, sizeof s->column, "%d", hs_label_reader_found(s->reader)->columns);
        return open_side(s, s->column, false);
    }
    for (int i = 0; i < OWN && again && (plain != HS_OK || has_names(s)); i++)
        if (open_side(s, usual[i], false) == HS_OK || open_side(s, usual[i], true) == HS_OK)
            return HS_OK;
    if (again && plain != HS_OK && open_bare(s, usual, HS_COUNT(usual)))
        return HS_OK;
    if (again && plain == HS_OK) {
        HS_TRY(open_side(s, NULL, false));
        if (open_added(s, gold))
            return HS_OK;
    }
    return again ? open_side(s, NULL, false) : plain;
}

static const char *given(const char *s) { return s && s[0] ? s : NULL; }

static hs_status open_both(collector *c)
{
    const hs_score_files_opts *o = c->o;
    const hs_about about = o->about == HS_ABOUT_PAIR ? HS_ABOUT_SEQUENCE : o->about;
    c->gold = (side){ .path = o->gold, .opts = { .about = about, .format = o->gold_format } };
    c->pred =
        (side){ .path = o->pred ? o->pred : o->gold, .opts = { .about = about, .format = o->pred ? o->pred_format : o->gold_format } };
    if (strcmp(c->gold.path, "-") == 0 && strcmp(c->pred.path, "-") == 0)
        return HS_FAIL(USAGE, "both files are standard input, which is read once");
    HS_TRY(open_gold(&c->gold, given(o->gold_label), !o->pred));
    HS_TRY(open_pred(&c->pred, given(o->pred_label), &c->gold));
    if (!o->pred && hs_label_reader_found(c->gold.reader)->label == hs_label_reader_found(c->pred.reader)->label &&
        hs_label_reader_found(c->gold.reader)->format != HS_LABEL_JSON)
        return HS_FAIL(USAGE, "%s: gold and predicted labels would be the same column; --gold-label and --pred-label say which are which",
                       o->gold);
    return HS_OK;
}

// ---- rows

static hs_status fail_at(const side *s, int64_t line, const char *what)
{
    return HS_FAIL(USAGE, "%s:%lld: %s", hs_label_reader_name(s->reader), (long long)line, what);
}

static bool same(hs_slice a, hs_slice b) { return a.bytes == b.bytes && memcmp(a.p, b.p, a.bytes) == 0; }

static hs_status check_ids(const collector *c)
{
    const hs_label_entry *g = c->gold.entry, *p = c->pred.entry;
    if (!g->id.p || !p->id.p || same(g->id, p->id))
        return HS_OK;
    return HS_FAIL(USAGE, "%s:%lld: id %.*s, but %s:%lld has id %.*s", hs_label_reader_name(c->pred.reader), (long long)p->line,
                   (int)(p->id.bytes < 60 ? p->id.bytes : 60), p->id.p, hs_label_reader_name(c->gold.reader), (long long)g->line,
                   (int)(g->id.bytes < 60 ? g->id.bytes : 60), g->id.p);
}

static hs_status label_of(collector *c, const side *s, hs_slice label, int64_t line, int *index)
{
    char name[1024];
    if (label.bytes == 0 || label.bytes >= sizeof name)
        return fail_at(s, line, label.bytes ? "a label of more than 1000 bytes" : "an empty label");
    memcpy(name, label.p, label.bytes);
    name[label.bytes] = '\0';
    return hs_labels_add(&c->out->labels, name, index);
}

static hs_status one_label(collector *c, const side *s, bool optional, array *to)
{
    int index = -1;
    if (s->entry->labelled && s->entry->n_labels == 1)
        HS_TRY(label_of(c, s, s->entry->label[0], s->entry->line, &index));
    else if (s->entry->n_labels > 1)
        return fail_at(s, s->entry->line, "several labels, where one is meant; the task multilabel has any number");
    else if (!optional)
        return fail_at(s, s->entry->line, "no prediction");
    ADD(to, int32_t, index);
    return HS_OK;
}

static hs_status number_of(const side *s, hs_slice text, float *out)
{
    char buf[64], *end;
    snprintf(buf, sizeof buf, "%.*s", (int)(text.bytes < 63 ? text.bytes : 63), text.p);
    *out = strtof(buf, &end);
    if (text.bytes == 0 || text.bytes > 63 || *end || !isfinite(*out))
        return HS_FAIL(USAGE, "%s:%lld: \"%s\" is no number", hs_label_reader_name(s->reader), (long long)s->entry->line, buf);
    return HS_OK;
}

static hs_status numbers(collector *c, const side *s, array *to)
{
    char what[80];
    if (c->out->width == 0)
        c->out->width = s->entry->n_labels;
    if (s->entry->n_labels != c->out->width || c->out->width == 0) {
        snprintf(what, sizeof what, "%d numbers, and the rows before have %d", s->entry->n_labels, c->out->width);
        return fail_at(s, s->entry->line, c->out->width ? what : "no number");
    }
    for (int i = 0; i < s->entry->n_labels; i++) {
        float v;
        HS_TRY(number_of(s, s->entry->label[i], &v));
        ADD(to, float, v);
    }
    return HS_OK;
}

static hs_status label_set(collector *c, const side *s, array *to)
{
    for (int i = 0; i < s->entry->n_labels; i++) {
        int index;
        HS_TRY(label_of(c, s, s->entry->label[i], s->entry->line, &index));
        ADD(to, set, ((set){ (int32_t)c->out->n, index }));
    }
    return HS_OK;
}

static int64_t word_line(const hs_label_entry *e, int word) { return e->line + (e->word_line ? e->word_line[word] : 0); }

static hs_slice word_of(const hs_label_entry *e, int word)
{
    return (hs_slice){ e->text[0].p + e->word[word].start, (size_t)(e->word[word].end - e->word[word].start) };
}

static hs_status tags(collector *c)
{
    const hs_label_entry *g = c->gold.entry, *p = c->pred.entry;
    for (int i = 0; i < g->n_words || i < p->n_words; i++) {
        const bool ends = i >= g->n_words || i >= p->n_words;
        if (ends || !same(word_of(g, i), word_of(p, i))) {
            const side *longer = i < p->n_words ? &c->pred : &c->gold, *other = i < p->n_words ? &c->gold : &c->pred;
            const hs_slice word = word_of(longer->entry, i);
            return HS_FAIL(USAGE, "%s:%lld: word \"%.*s\", where the sentence of %s:%lld %s", hs_label_reader_name(longer->reader),
                           (long long)word_line(longer->entry, i), (int)(word.bytes < 60 ? word.bytes : 60), word.p,
                           hs_label_reader_name(other->reader), (long long)(ends ? other->entry->line : word_line(other->entry, i)),
                           ends ? "has ended" : "has another");
        }
        int gold = -1, pred;
        if (i < g->n_labels)
            HS_TRY(label_of(c, &c->gold, g->label[i], word_line(g, i), &gold));
        if (i >= p->n_labels)
            return fail_at(&c->pred, word_line(p, i), "no prediction");
        HS_TRY(label_of(c, &c->pred, p->label[i], word_line(p, i), &pred));
        ADD(&c->golds, int32_t, gold);
        ADD(&c->preds, int32_t, pred);
    }
    ADD(&c->starts, int64_t, (int64_t)c->golds.n);
    return HS_OK;
}

static int64_t words_in(hs_slice s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.bytes; i++)
        n += (unsigned char)s.p[i] > ' ' && (i == 0 || (unsigned char)s.p[i - 1] <= ' ');
    return n;
}

// {"scores": {"label": 0.9, ...}} of a prediction in JSON.
static hs_status take_scores(collector *c)
{
    const hs_label_entry *e = c->pred.entry;
    const bool json = hs_label_reader_found(c->pred.reader)->format == HS_LABEL_JSON && e->raw.p;
    const int scores = json && hs_json_tree_parse(&c->tree, e->raw.p, e->raw.bytes) ? hs_json_tree_get(&c->tree, 0, "scores", NULL) : 0;
    if (c->unscored || scores == 0 || c->tree.node[scores].kind != HS_JSON_OBJECT) {
        c->unscored = true;
        return HS_OK;
    }
    const int at = c->scores.n;
    for (int i = 0; i < c->scored.n; i++)
        ADD(&c->scores, float, NAN);
    for (int i = hs_json_first(scores); i < c->tree.node[scores].behind; i = c->tree.node[i + 1].behind) {
        char name[1600];
        const char *wrong;
        int index;
        if (c->tree.node[i].end - c->tree.node[i].begin > 1000 || c->tree.node[i + 1].kind != HS_JSON_NUMBER)
            return fail_at(&c->pred, e->line, "\"scores\" are numbers by label");
        hs_json_tree_string(&c->tree, i, name, &wrong);
        const int known = c->scored.n;
        HS_TRY(hs_labels_add(&c->scored, name, &index));
        if (c->scored.n > known && c->out->n > 0)
            return fail_at(&c->pred, e->line, "\"scores\" are of other labels than those before");
        if (c->scored.n > known)
            ADD(&c->scores, float, NAN);
        ((float *)c->scores.p)[at + index] = (float)hs_json_tree_number(&c->tree, i + 1);
    }
    return HS_OK;
}

// The columns that `predict` puts behind a table: a label, and its probability in one that is called score.
static bool has_score(const side *s)
{
    const hs_label_found *f = hs_label_reader_found(s->reader);
    const hs_slice head = hs_label_reader_header(s->reader);
    size_t n = head.p && (f->format == HS_LABEL_TSV || f->format == HS_LABEL_CSV) && f->label == f->columns - 2 ? head.bytes : 0;
    while (n && strchr("\r\n", head.p[n - 1]))
        n--;
    size_t from = n;
    while (from && head.p[from - 1] != f->delimiter)
        from--;
    return (n - from == 5 && memcmp(head.p + from, "score", 5) == 0) ||
           (n - from >= 15 && memcmp(head.p + from, "predicted_score", 15) == 0);
}

static hs_status take_sure(collector *c)
{
    const hs_slice raw = c->pred.entry->raw;
    size_t from = raw.bytes;
    char cell[32], *end;
    while (from && raw.p[from - 1] != hs_label_reader_found(c->pred.reader)->delimiter)
        from--;
    snprintf(cell, sizeof cell, "%.*s", (int)strcspn(raw.p + from, "\r\n"), raw.p + from);
    const float p = strtof(cell, &end);
    c->unsure = c->unsure || end == cell || *end || !(p >= 0 && p <= 1);
    if (!c->unsure)
        ADD(&c->sure, float, p);
    return HS_OK;
}

static hs_status take_row(collector *c)
{
    HS_TRY(check_ids(c));
    switch (c->gold.opts.about) {
    case HS_ABOUT_REGRESSION:
        HS_TRY(numbers(c, &c->gold, &c->gold_values));
        HS_TRY(numbers(c, &c->pred, &c->pred_values));
        break;
    case HS_ABOUT_MULTILABEL:
        HS_TRY(label_set(c, &c->gold, &c->gold_sets));
        HS_TRY(label_set(c, &c->pred, &c->pred_sets));
        HS_TRY(take_scores(c));
        break;
    case HS_ABOUT_TOKENS:
        HS_TRY(tags(c));
        break;
    default:
        HS_TRY(one_label(c, &c->gold, true, &c->golds));
        HS_TRY(one_label(c, &c->pred, false, &c->preds));
        HS_TRY(take_scores(c));
        HS_TRY(take_sure(c));
    }
    const hs_label_entry *e = c->gold.entry;
    ADD(&c->lengths, int64_t, e->n_words ? e->n_words : words_in(e->text[0]) + words_in(e->text[1]));
    c->out->n++;
    return HS_OK;
}

static hs_status read_rows(collector *c)
{
    if (c->gold.opts.about == HS_ABOUT_TOKENS)
        ADD(&c->starts, int64_t, 0);
    for (;;) {
        const hs_label_entry *g = c->gold.entry, *p = c->pred.entry;
        if (!g != !p) {
            const side *more = g ? &c->gold : &c->pred, *less = g ? &c->pred : &c->gold;
            return HS_FAIL(USAGE, "%s:%lld: the first that %s has no partner for, which ends behind %lld",
                           hs_label_reader_name(more->reader), (long long)more->entry->line, hs_label_reader_name(less->reader),
                           (long long)c->out->n);
        }
        if (!g)
            return c->out->n ? HS_OK : HS_FAIL(USAGE, "%s: there is nothing to score in it", c->gold.path);
        HS_TRY(take_row(c));
        HS_TRY(hs_label_reader_next(c->gold.reader, &c->gold.entry));
        HS_TRY(hs_label_reader_next(c->pred.reader, &c->pred.entry));
    }
}

// ---- labels in order

static bool integer(const char *s, long long *v)
{
    char *end;
    *v = strtoll(s, &end, 10);
    return *s && !*end && strlen(s) < 18;
}

typedef struct ranked {
    const char *name;
    long long number;
    int index;
} ranked;

static int by_name(const void *a, const void *b) { return strcmp(((const ranked *)a)->name, ((const ranked *)b)->name); }
static int by_number(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->number != y->number ? (x->number > y->number) - (x->number < y->number) : by_name(a, b);
}

static hs_status order_labels(hs_labels *labels, int32_t *to)
{
    hs_labels sorted = { 0 };
    ranked *r = malloc(((size_t)labels->n + 1) * sizeof *r);
    bool integers = true;
    hs_status st = r ? HS_OK : HS_FAIL(MEMORY, "no memory for %d labels", labels->n);
    for (int i = 0; i < labels->n && r; i++) {
        r[i] = (ranked){ .name = labels->name[i], .index = i };
        integers &= integer(r[i].name, &r[i].number);
    }
    if (r)
        qsort(r, (size_t)labels->n, sizeof *r, integers ? by_number : by_name);
    for (int i = 0; i < labels->n && st == HS_OK; i++) {
        to[r[i].index] = i;
        st = hs_labels_add(&sorted, r[i].name, NULL);
    }
    free(r);
    hs_labels_free(labels);
    *labels = sorted;
    return st;
}

static void renumber(array *a, const int32_t *to)
{
    for (int i = 0; i < a->n; i++)
        if (((int32_t *)a->p)[i] >= 0)
            ((int32_t *)a->p)[i] = to[((int32_t *)a->p)[i]];
}

static hs_status fill_sets(const collector *c, const array *sets, const int32_t *to, float **out)
{
    const size_t width = (size_t)c->out->labels.n;
    *out = calloc((size_t)c->out->n * width + 1, sizeof **out);
    if (!*out)
        return HS_FAIL(MEMORY, "no memory for %lld rows of %zu labels", (long long)c->out->n, width);
    for (int i = 0; i < sets->n; i++) {
        const set s = ((const set *)sets->p)[i];
        (*out)[(size_t)s.row * width + (size_t)to[s.label]] = 1;
    }
    return HS_OK;
}

// Probabilities of every label of every row, in the order of the labels; else none.
static hs_status settle_scores(collector *c)
{
    hs_score_rows *r = c->out;
    const size_t width = (size_t)r->labels.n, theirs = (size_t)c->scored.n;
    if (c->unscored || theirs == 0)
        return HS_OK;
    r->scores = calloc((size_t)r->n * width + 1, sizeof *r->scores);
    if (!r->scores)
        return HS_FAIL(MEMORY, "no memory for scores of %lld rows", (long long)r->n);
    bool whole = (size_t)c->scores.n == (size_t)r->n * theirs;
    for (size_t k = 0; k < theirs && whole; k++) {
        const int to = hs_labels_find(&r->labels, c->scored.name[k]);
        for (int64_t i = 0; i < r->n && to >= 0; i++) {
            const float v = ((const float *)c->scores.p)[(size_t)i * theirs + k];
            whole = whole && !isnan(v);
            r->scores[(size_t)i * width + (size_t)to] = v;
        }
    }
    if (!whole) {
        free(r->scores);
        r->scores = NULL;
    }
    return HS_OK;
}

// Names on one side and numbers on the other are no labels that could be compared.
static hs_status check_shared(const collector *c, int n_gold)
{
    const hs_labels *l = &c->out->labels;
    bool *seen = calloc((size_t)l->n + 1, sizeof *seen), shared = n_gold == 0 || c->preds.n + c->pred_sets.n == 0;
    if (!seen)
        return HS_FAIL(MEMORY, "no memory for %d labels", l->n);
    int one = -1, other = -1;
    for (int i = 0; i < c->golds.n; i++)
        if (((int32_t *)c->golds.p)[i] >= 0)
            seen[one = ((int32_t *)c->golds.p)[i]] = true;
    for (int i = 0; i < c->gold_sets.n; i++)
        seen[one = ((set *)c->gold_sets.p)[i].label] = true;
    for (int i = 0; i < c->preds.n && !shared; i++)
        shared = seen[other = ((int32_t *)c->preds.p)[i]];
    for (int i = 0; i < c->pred_sets.n && !shared; i++)
        shared = seen[other = ((set *)c->pred_sets.p)[i].label];
    free(seen);
    if (shared || one < 0 || other < 0)
        return HS_OK;
    return HS_FAIL(USAGE, "%s has no label that %s has: \"%.60s\" here, \"%.60s\" there; --gold-label and --pred-label name the columns",
                   c->pred.path, c->gold.path, l->name[other], l->name[one]);
}

static hs_status settle(collector *c)
{
    hs_score_rows *r = c->out;
    const hs_about about = c->gold.opts.about;
    if (about == HS_ABOUT_REGRESSION) {
        r->gold_value = c->gold_values.p, r->pred_value = c->pred_values.p;
        c->gold_values.p = c->pred_values.p = NULL;
        return HS_OK;
    }
    HS_TRY(check_shared(c, c->golds.n + c->gold_sets.n));
    int32_t *to = malloc(((size_t)r->labels.n + 1) * sizeof *to);
    hs_status st = to ? order_labels(&r->labels, to) : HS_FAIL(MEMORY, "no memory for %d labels", r->labels.n);
    if (st == HS_OK) {
        renumber(&c->golds, to);
        renumber(&c->preds, to);
        r->width = r->labels.n;
    }
    if (st == HS_OK && about == HS_ABOUT_MULTILABEL)
        st = fill_sets(c, &c->gold_sets, to, &r->gold_value);
    if (st == HS_OK && about == HS_ABOUT_MULTILABEL)
        st = fill_sets(c, &c->pred_sets, to, &r->pred_value);
    free(to);
    if (st == HS_OK && about != HS_ABOUT_TOKENS)
        st = settle_scores(c);
    if (st == HS_OK && !c->unsure && c->sure.n == r->n && about != HS_ABOUT_TOKENS && about != HS_ABOUT_MULTILABEL)
        r->sure = c->sure.p, c->sure.p = NULL;
    r->gold = c->golds.p, r->pred = c->preds.p, r->starts = c->starts.p;
    c->golds.p = c->preds.p = c->starts.p = NULL;
    return st;
}

hs_status hs_score_rows_read(hs_score_rows *out, const hs_score_files_opts *o)
{
    collector c = { .o = o, .out = out };
    *out = (hs_score_rows){ 0 };
    hs_status st = open_both(&c);
    if (st == HS_OK) {
        c.unsure = !has_score(&c.pred);
        st = read_rows(&c);
    }
    if (st == HS_OK)
        st = settle(&c);
    if (!c.gold.textless)
        out->length = c.lengths.p, c.lengths.p = NULL;
    hs_label_reader_close(c.gold.reader);
    hs_label_reader_close(c.pred.reader);
    hs_json_tree_free(&c.tree);
    hs_labels_free(&c.scored);
    array *const arrays[] = { &c.golds,     &c.preds,  &c.gold_values, &c.pred_values, &c.gold_sets,
                              &c.pred_sets, &c.starts, &c.lengths,     &c.scores,      &c.sure };
    for (int i = 0; i < HS_COUNT(arrays); i++)
        free(arrays[i]->p);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_score_rows_free(hs_score_rows *r)
{
    hs_labels_free(&r->labels);
    void *const all[] = { r->gold, r->pred, r->starts, r->gold_value, r->pred_value, r->scores, r->sure, r->length };
    for (int i = 0; i < HS_COUNT(all); i++)
        free(all[i]);
    *r = (hs_score_rows){ 0 };
}
