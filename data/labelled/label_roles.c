// label_roles: which column is the text, which the label: by names that data sets use, or by what stands in them.
#include "core/settings/schema.h"
#include "data/labelled/label_reader_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// Names in the order in which they are looked for; upper and lower case are one.
static const char *const pair_names[][2] = {
    { "sentence1", "sentence2" }, { "premise", "hypothesis" },    { "question1", "question2" }, { "question", "sentence" },
    { "question", "context" },    { "question", "passage" },      { "#1 String", "#2 String" }, { "text1", "text2" },
    { "text_a", "text_b" },       { "sentence_a", "sentence_b" }, { "string1", "string2" },     { "query", "passage" },
    { "query", "document" },      { "sent1", "sent2" },
};
static const char *const turn_names[][2] = { { "prompt", "response" },      { "prompt", "completion" }, { "instruction", "output" },
                                             { "instruction", "response" }, { "question", "answer" },   { "input", "output" },
                                             { "source", "target" } };
static const char *const text_names[] = { "sentence", "text",    "sentence1", "review",      "content",     "comment_text", "comment",
                                          "tweet",    "premise", "question",  "body",        "review_body", "document",     "utterance",
                                          "headline", "title",   "query",     "description", "message" };
static const char *const label_names[] = { "gold_label", "label",   "labels", "is_duplicate", "quality", "class", "category",
                                           "sentiment",  "target",  "intent", "stars",        "rating",  "score", "similarity",
                                           "polarity",   "emotion", "topic",  "gold",         "y" };
static const char *const score_names[] = { "score", "similarity", "label",  "labels",           "gold_score", "rating", "stars",
                                           "value", "values",     "target", "similarity_score", "gold",       "y" };
static const char *const id_names[] = { "id", "index", "idx", "guid", "pairID", "qid" };

static bool is_name(hs_slice s, const char *name) { return s.bytes == strlen(name) && strncasecmp(s.p, name, s.bytes) == 0; }

static int find_name(const hs_slice *name, int n, const char *wanted)
{
    for (int i = 0; i < n; i++) // as it is written first
        if (name[i].bytes == strlen(wanted) && memcmp(name[i].p, wanted, name[i].bytes) == 0)
            return i;
    for (int i = 0; i < n; i++)
        if (is_name(name[i], wanted))
            return i;
    return -1;
}

static int find_any(const hs_slice *name, int n, const char *const *list, int n_list)
{
    for (int k = 0; k < n_list; k++) {
        const int i = find_name(name, n, list[k]);
        if (i >= 0)
            return i;
    }
    return -1;
}

bool hs_label_is_number(hs_slice s)
{
    char buf[64], *end;
    if (s.bytes == 0 || s.bytes >= sizeof buf || !strchr("+-.0123456789", s.p[0]))
        return false;
    memcpy(buf, s.p, s.bytes);
    buf[s.bytes] = 0;
    strtod(buf, &end);
    return *end == 0 && !strpbrk(buf, "xX");
}

bool hs_label_is_integer(hs_slice s)
{
    size_t i = s.bytes > 1 && s.p[0] == '-';
    if (s.bytes == 0 || s.bytes > 18)
        return false;
    for (; i < s.bytes; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return true;
}

bool hs_label_names_known(const hs_slice *name, int n)
{
    int known = 0;
    for (int i = 0; i < n; i++)
        if (name[i].bytes > 64 || hs_label_is_number(name[i]))
            return false;
    for (int k = 0; k < HS_COUNT(pair_names); k++)
        known += find_name(name, n, pair_names[k][0]) >= 0;
    known += find_any(name, n, text_names, HS_COUNT(text_names)) >= 0;
    known += find_any(name, n, label_names, HS_COUNT(label_names)) >= 0;
    known += find_name(name, n, "prompt") >= 0 || find_name(name, n, "instruction") >= 0;
    return known > 0;
}

// ---- what is given

// "sentence, label": what there is, for a message.
static const char *list_names(const hs_slice *name, int n, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = 0;
    for (int i = 0; i < n && at + 4 < size; i++) {
        const int shown = (int)(name[i].bytes < 40 ? name[i].bytes : 40);
        if (at + (size_t)shown + 6 >= size) {
            snprintf(buf + at, size - at, "...");
            break;
        }
        at += (size_t)snprintf(buf + at, size - at, "%s%.*s", i ? ", " : "", shown, name[i].p);
    }
    return buf;
}

// A name, or a number from 1.
static hs_status find_given(const hs_label_reader *r, int64_t line, const hs_slice *name, int n, const char *what, hs_slice given, int *out)
{
    char wanted[HS_LABEL_NAME], buf[400];
    snprintf(wanted, sizeof wanted, "%.*s", (int)given.bytes, given.p);
    *out = name ? find_name(name, n, wanted) : -1;
    if (*out >= 0)
        return HS_OK;
    if (hs_label_is_integer(given)) {
        const long long number = atoll(wanted);
        if (number < 1 || number > n)
            return hs_label_fail(r, line, "the %s is said to be column %s, and there are %d", what, wanted, n);
        *out = (int)number - 1;
        return HS_OK;
    }
    if (!name)
        return hs_label_fail(r, line, "the %s is said to be column \"%s\", but the columns have no names: give its number, 1 to %d", what,
                             wanted, n);
    list_names(name, n, buf, sizeof buf);
    return hs_label_fail(r, line, "no column \"%s\" for the %s; it has: %s", wanted, what, buf);
}

static bool is_given(const char *s) { return s && s[0]; }
static hs_slice slice_of(const char *s) { return (hs_slice){ s, strlen(s) }; }

static hs_status add_label(hs_label_roles *roles, int column)
{
    int *more = realloc(roles->label, (size_t)(roles->n_labels + 1) * sizeof *more);
    if (!more)
        return HS_FAIL(MEMORY, "no memory for %d columns", roles->n_labels + 1);
    roles->label = more;
    more[roles->n_labels++] = column;
    return HS_OK;
}

// "toxic,insult"
static hs_status given_labels(hs_label_reader *r, int64_t line, const hs_slice *name, int n)
{
    const bool several = r->o->about == HS_ABOUT_MULTILABEL || r->o->about == HS_ABOUT_REGRESSION;
    for (const char *p = r->o->label; *p;) {
        const size_t bytes = several ? strcspn(p, ",") : strlen(p);
        int column;
        HS_TRY(find_given(r, line, name, n, "label", (hs_slice){ p, bytes }, &column));
        HS_TRY(add_label(&r->roles, column));
        p += bytes;
        p += *p == ',';
    }
    r->roles.indicator = r->o->about == HS_ABOUT_MULTILABEL && r->roles.n_labels > 1;
    return HS_OK;
}

// One column is one thing. (label_is_text: files of labels alone are read with the label as their text.)
static hs_status refuse_twice(const hs_label_reader *r, int64_t line, const hs_slice *name)
{
    const hs_label_roles *roles = &r->roles;
    const struct {
        int column;
        const char *what;
    } one[] = { { roles->text[0], "text" }, { roles->text[1], "second text" }, { roles->id, "id" } };
    const int n = HS_COUNT(one) + roles->n_labels;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++) {
            const bool label = i >= HS_COUNT(one), both = k >= HS_COUNT(one);
            const int column = label ? roles->label[i - HS_COUNT(one)] : one[i].column;
            const int other = both ? roles->label[k - HS_COUNT(one)] : one[k].column;
            if (column < 0 || column != other || (label && k == 0 && r->o->label_is_text))
                continue;
            const char *what = label ? "label" : one[i].what, *as = both ? "label" : one[k].what;
            if (name)
                return hs_label_fail(r, line, "column \"%.*s\" is given as the %s and as the %s: one column is one of them",
                                     (int)(name[column].bytes < 60 ? name[column].bytes : 60), name[column].p, as, what);
            return hs_label_fail(r, line, "column %d is given as the %s and as the %s: one column is one of them", column + 1, as, what);
        }
    return HS_OK;
}

static hs_status take_given(hs_label_reader *r, int64_t line, const hs_slice *name, int n)
{
    const hs_examples_opts *o = r->o;
    hs_label_roles *roles = &r->roles;
    if (is_given(o->text))
        HS_TRY(find_given(r, line, name, n, "text", slice_of(o->text), &roles->text[0]));
    if (is_given(o->text2))
        HS_TRY(find_given(r, line, name, n, "second text", slice_of(o->text2), &roles->text[1]));
    if (is_given(o->id))
        HS_TRY(find_given(r, line, name, n, "id", slice_of(o->id), &roles->id));
    if (is_given(o->label))
        HS_TRY(given_labels(r, line, name, n));
    return refuse_twice(r, line, name);
}

// ---- what is found

static bool is_taken(const hs_label_roles *roles, int column)
{
    bool taken = column == roles->text[0] || column == roles->text[1] || column == roles->id;
    for (int i = 0; i < roles->n_labels; i++)
        taken |= roles->label[i] == column;
    return taken;
}

static void find_pair(hs_label_roles *roles, const char *const (*pairs)[2], int n_pairs, const hs_slice *name, int n)
{
    for (int k = 0; k < n_pairs && roles->text[0] < 0; k++) {
        const int a = find_name(name, n, pairs[k][0]), b = find_name(name, n, pairs[k][1]);
        if (a >= 0 && b >= 0 && !is_taken(roles, a) && !is_taken(roles, b))
            roles->text[0] = a, roles->text[1] = b;
    }
}

static void find_text(hs_label_roles *roles, const hs_slice *name, int n)
{
    for (int k = 0; k < HS_COUNT(text_names) && roles->text[0] < 0; k++) {
        const int i = find_name(name, n, text_names[k]);
        if (i >= 0 && !is_taken(roles, i))
            roles->text[0] = i;
    }
}

static hs_status find_labels(hs_label_reader *r, const hs_slice *name, const bool *bits, int n)
{
    const bool scores = r->o->about == HS_ABOUT_REGRESSION;
    const int i = scores ? find_any(name, n, score_names, HS_COUNT(score_names)) : find_any(name, n, label_names, HS_COUNT(label_names));
    if (i >= 0 && !is_taken(&r->roles, i))
        return add_label(&r->roles, i);
    if (r->o->about != HS_ABOUT_MULTILABEL)
        return HS_OK;
    for (int k = 0; k < n; k++)
        if (bits && bits[k] && !is_taken(&r->roles, k))
            HS_TRY(add_label(&r->roles, k));
    r->roles.indicator = r->roles.n_labels > 0;
    return HS_OK;
}

// The only column that is no text, where it has no usual name either.
static hs_status find_rest(hs_label_reader *r, int n)
{
    int rest = -1, n_rest = 0;
    for (int i = 0; i < n; i++)
        if (!is_taken(&r->roles, i))
            rest = i, n_rest++;
    if (n_rest == 1 && r->roles.text[0] < 0 && r->roles.n_labels)
        r->roles.text[0] = rest;
    else if (n_rest == 1 && r->roles.text[0] >= 0 && !r->roles.n_labels && !r->o->labels_optional && r->o->about != HS_ABOUT_LM)
        return add_label(&r->roles, rest);
    return HS_OK;
}

static hs_status check_roles(const hs_label_reader *r, int64_t line, const hs_slice *name, int n)
{
    char buf[400];
    const hs_about about = r->o->about;
    const bool two = about == HS_ABOUT_PAIR || about == HS_ABOUT_LM;
    const char *what = r->roles.text[0] < 0                                                             ? "text"
                       : two && r->roles.text[1] < 0                                                    ? "second text"
                       : r->roles.n_labels == 0 && !r->o->labels_optional && r->o->about != HS_ABOUT_LM ? "label"
                                                                                                        : NULL;
    if (!what)
        return HS_OK;
    if (!name)
        return hs_label_fail(r, line, "which of the %d columns is the %s cannot be told: give its number, from 1", n, what);
    list_names(name, n, buf, sizeof buf);
    return hs_label_fail(r, line, "which column is the %s cannot be told; it has: %s", what, buf);
}

static void say(hs_label_reader *r, const hs_slice *name, const char *what, int column)
{
    if (column < 0)
        return;
    if (name)
        hs_label_say(r, ", %s: %.*s", what, (int)(name[column].bytes < 60 ? name[column].bytes : 60), name[column].p);
    else
        hs_label_say(r, ", %s: column %d", what, column + 1);
}

static void settle(hs_label_reader *r, const hs_slice *name)
{
    hs_label_roles *roles = &r->roles;
    hs_label_found *f = &r->found;
    f->text = roles->text[0], f->text2 = roles->text[1], f->id = roles->id, f->label = roles->n_labels ? roles->label[0] : -1;
    say(r, name, "text", f->text);
    say(r, name, "second text", f->text2);
    say(r, name, roles->n_labels > 1 ? "labels" : "label", f->label);
    for (int i = 1; i < roles->n_labels && i < 20; i++)
        if (name)
            hs_label_say(r, " %.*s", (int)(name[roles->label[i]].bytes < 40 ? name[roles->label[i]].bytes : 40), name[roles->label[i]].p);
}

hs_status hs_label_roles_by_name(hs_label_reader *r, int64_t line, const hs_slice *name, const bool *bits, int n)
{
    const hs_about about = r->o->about;
    HS_TRY(take_given(r, line, name, n));
    if (about == HS_ABOUT_LM)
        find_pair(&r->roles, turn_names, HS_COUNT(turn_names), name, n);
    else
        find_pair(&r->roles, pair_names, HS_COUNT(pair_names), name, n);
    find_text(&r->roles, name, n);
    if (r->roles.n_labels == 0 && about != HS_ABOUT_LM)
        HS_TRY(find_labels(r, name, bits, n));
    if (r->roles.id < 0) {
        const int id = find_any(name, n, id_names, HS_COUNT(id_names));
        if (id >= 0 && !is_taken(&r->roles, id))
            r->roles.id = id;
    }
    HS_TRY(find_rest(r, n));
    HS_TRY(check_roles(r, line, name, n));
    settle(r, name);
    return HS_OK;
}

// ---- by what stands in them

typedef struct column_facts {
    int integers, numbers, spaces, distinct, lists; // rows; different ones
    size_t bytes, longest;
} column_facts;

static column_facts facts_of(const hs_slice *field, int n_rows, int n, int column)
{
    enum { DISTINCT = 64 };
    hs_slice seen[DISTINCT];
    column_facts f = { 0 };
    for (int i = 0; i < n_rows; i++) {
        const hs_slice s = field[(size_t)i * (size_t)n + (size_t)column];
        int k = 0;
        f.integers += hs_label_is_integer(s);
        f.numbers += hs_label_is_number(s);
        f.spaces += s.bytes && memchr(s.p, ' ', s.bytes) != NULL;
        f.bytes += s.bytes;
        f.longest = s.bytes > f.longest ? s.bytes : f.longest;
        while (k < f.distinct && !(seen[k].bytes == s.bytes && memcmp(seen[k].p, s.p, s.bytes) == 0))
            k++;
        if (k == f.distinct && k < DISTINCT)
            seen[f.distinct++] = s;
    }
    return f;
}

// How much a column looks like labels; 0: not at all.
static int label_likeness(const hs_label_reader *r, const column_facts *f, int n_rows)
{
    if (r->o->about == HS_ABOUT_REGRESSION)
        return f->numbers == n_rows ? 2 + (f->integers < n_rows) : 0;
    if (f->longest > 64 || f->bytes == 0)
        return 0;
    const bool few = f->distinct < 64 && (f->distinct <= 10 || f->distinct * 4 <= n_rows);
    if (f->integers == n_rows && f->distinct > 1)
        return few ? 4 : 1;
    return few && f->distinct > 1 ? (f->spaces == 0 ? 3 : 1) : f->distinct == 1 && n_rows < 4 ? 1 : 0;
}

static int best_label(const hs_label_reader *r, const column_facts *f, int n_rows, int n)
{
    int best = -1, most = 0;
    for (int i = 0; i < n; i++) {
        const int likes = is_taken(&r->roles, i) ? 0 : label_likeness(r, &f[i], n_rows);
        if (likes > most)
            most = likes, best = i;
    }
    return best;
}

static int longest_text(const hs_label_reader *r, const column_facts *f, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (!is_taken(&r->roles, i) && (best < 0 || f[i].bytes > f[best].bytes))
            best = i;
    return best;
}

hs_status hs_label_roles_by_content(hs_label_reader *r, int64_t line, const hs_slice *name, const hs_slice *field, int n_rows, int n)
{
    hs_label_roles *roles = &r->roles;
    hs_status st = HS_OK;
    column_facts *f = malloc((size_t)n * sizeof *f);
    if (!f)
        return HS_FAIL(MEMORY, "no memory for %d columns", n);
    for (int i = 0; i < n; i++)
        f[i] = facts_of(field, n_rows, n, i);
    HS_TRY_GOTO(st, take_given(r, line, name, n), done);
    if (roles->n_labels == 0 && n > 1) {
        const int label = best_label(r, f, n_rows, n);
        if (label >= 0)
            HS_TRY_GOTO(st, add_label(roles, label), done);
    }
    const bool two = r->o->about == HS_ABOUT_PAIR || (r->o->about == HS_ABOUT_REGRESSION && n == 3);
    if (roles->text[0] < 0)
        roles->text[0] = longest_text(r, f, n);
    if (two && roles->text[1] < 0) {
        roles->text[1] = longest_text(r, f, n);
        if (roles->text[1] >= 0 && roles->text[1] < roles->text[0] && !is_given(r->o->text)) {
            const int first = roles->text[1];
            roles->text[1] = roles->text[0], roles->text[0] = first;
        }
    }
    HS_TRY_GOTO(st, check_roles(r, line, name, n), done);
    settle(r, name);
done:
    free(f);
    return st;
}
