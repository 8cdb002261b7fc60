// label_order: which number a label has. The order depends on the set of labels alone, never on the order of the examples:
//
//   all integers     ascending as numbers: 0..n-1 are their own numbers
//   tags of spans    O, then type by type in the order of their bytes, each B, I, E, S, as far as they occur
//   else             in the order of their bytes
//
// Where labels are given - those of the training data, of a checkpoint - each must be one of them by name; where none is and all are
// integers below their number, each is the label of that number.
#include "core/base/log.h"
#include "core/settings/schema.h"
#include "data/labelled/examples_impl.h"
#include "data/labelled/label_reader_impl.h"
#include "data/labelled/tags.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- order

typedef struct ranked { // a label and what it is sorted by
    int index, type;
    long long number;
    char prefix;
    const char *name, *type_name;
} ranked;

static int by_number(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->number != y->number ? (x->number < y->number ? -1 : 1) : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b) { return strcmp(((const ranked *)a)->name, ((const ranked *)b)->name); }

static int prefix_rank(char c)
{
    static const char order[] = "BIESLUM";
    return (int)(strchr(order, c) - order);
}

static int by_tag(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->type < 0 || y->type < 0)
        return (x->type >= 0) - (y->type >= 0);
    const int types = strcmp(x->type_name, y->type_name);
    return types ? types : prefix_rank(x->name[0]) - prefix_rank(y->name[0]);
}

// to[raw]: the number of each raw label; e->labels gets the names.
static hs_status sort_labels(hs_examples *e, const hs_labels *raw, const hs_tag *tag, const hs_labels *types, int32_t *to)
{
    ranked *r = malloc(((size_t)raw->n + 1) * sizeof *r);
    bool integers = true;
    hs_status st = r ? HS_OK : HS_FAIL(MEMORY, "no memory for %d labels", raw->n);
    for (int i = 0; i < raw->n && r; i++) {
        const hs_slice s = { raw->name[i], strlen(raw->name[i]) };
        r[i] = (ranked){ .index = i, .name = raw->name[i], .type = tag ? tag[i].type : -1 };
        r[i].type_name = r[i].type >= 0 ? types->name[r[i].type] : NULL;
        integers &= hs_label_is_integer(s);
        r[i].number = hs_label_is_integer(s) ? atoll(s.p) : 0;
    }
    if (r)
        qsort(r, (size_t)raw->n, sizeof *r, integers ? by_number : tag ? by_tag : by_name);
    for (int i = 0; i < raw->n && st == HS_OK; i++) {
        to[r[i].index] = i;
        st = hs_labels_add(&e->labels, r[i].name, NULL);
    }
    free(r);
    return st;
}

// ---- labels that are given

static bool all_numbers_below(const hs_labels *raw, int n)
{
    for (int i = 0; i < raw->n; i++) {
        const hs_slice s = { raw->name[i], strlen(raw->name[i]) };
        if (!hs_label_is_integer(s) || atoll(s.p) < 0 || atoll(s.p) >= n)
            return false;
    }
    return raw->n > 0;
}

static hs_status refuse(const hs_examples *e, const hs_labels *given, int raw)
{
    const struct hs_examples_own *own = e->own;
    const char *name = own->raw.name[raw], *near = hs_nearest_word(name, (const char *const *)given->name, given->n);
    return HS_FAIL(USAGE, "%s:%lld: label \"%.80s\" is not among the %d that there are%s%.80s%s", e->path[own->place[raw].file],
                   (long long)own->place[raw].line, name, given->n, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static hs_status match_labels(hs_examples *e, const hs_labels *given, bool others, int32_t *to)
{
    const hs_labels *raw = &e->own->raw;
    int found = 0;
    HS_TRY(hs_labels_copy(&e->labels, given));
    for (int i = 0; i < raw->n; i++) {
        to[i] = hs_labels_find(given, raw->name[i]);
        found += to[i] >= 0;
    }
    if (found == 0 && all_numbers_below(raw, given->n)) {
        for (int i = 0; i < raw->n; i++)
            to[i] = (int32_t)atoll(raw->name[i]);
        return HS_OK;
    }
    for (int i = 0; i < raw->n && !others; i++)
        if (to[i] < 0)
            return refuse(e, given, i);
    return HS_OK;
}

// ---- every example's

static int ascending(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void renumber(hs_examples *e, const int32_t *to)
{
    for (int64_t i = 0; i < e->n; i++) {
        hs_example *x = &e->example[i];
        int32_t *labels = (int32_t *)x->labels; // the arena's
        int32_t n = 0;
        if (e->about == HS_ABOUT_SEQUENCE || e->about == HS_ABOUT_PAIR) {
            x->label = x->label < 0 ? -1 : to[x->label];
            e->n_unlabelled += x->label < 0;
        }
        for (int32_t k = 0; labels && k < x->n; k++)
            labels[k] = labels[k] < 0 ? -1 : to[labels[k]];
        if (e->about == HS_ABOUT_TOKENS)
            for (int32_t k = 0; k < x->n; k++)
                e->n_unlabelled += labels[k] < 0;
        if (e->about != HS_ABOUT_MULTILABEL)
            continue;
        if (x->n > 1)
            qsort(labels, (size_t)x->n, sizeof *labels, ascending);
        for (int32_t k = 0; k < x->n; k++)
            if (labels[k] >= 0 && (n == 0 || labels[n - 1] != labels[k]))
                labels[n++] = labels[k];
        x->n = n;
    }
}

// ---- tags

static hs_status tag_place(const hs_examples *e, const hs_tag_fault *f, char *buf, size_t size)
{
    const hs_example *x = &e->example[f->example];
    snprintf(buf, size, "%s:%lld: %s", e->path[x->file], (long long)(x->line + x->word_line[f->word]), f->what);
    return HS_OK;
}

static hs_status no_scheme(const hs_examples *e, const hs_tag_fault fault[2], int n, hs_tag_scheme first)
{
    char place[2][600];
    for (int i = 0; i < n; i++)
        tag_place(e, &fault[i], place[i], sizeof place[i]);
    if (n < 2)
        return HS_FAIL(USAGE, "%s, and the tags seem to be %s; the scheme plain takes tags as they are", place[0],
                       hs_tag_scheme_names[first]);
    return HS_FAIL(USAGE, "%s, which is not IO%c2; and not IO%c1: %s; the scheme plain takes tags as they are", place[0],
                   first == HS_TAGS_IOB2 ? 'B' : 'E', first == HS_TAGS_IOB2 ? 'B' : 'E', place[1]);
}

static hs_status settle_scheme(hs_examples *e, const hs_examples_opts *o, const hs_tag *tag)
{
    hs_tag_fault fault[2];
    char place[600];
    int n_faults;
    const hs_labels *raw = &e->own->raw;
    e->scheme = o->scheme;
    if (o->scheme != HS_TAGS_AUTO) {
        if (!hs_tags_fault(e->example, e->n, tag, raw, o->scheme, &fault[0]))
            return HS_OK;
        tag_place(e, &fault[0], place, sizeof place);
        return HS_FAIL(USAGE, "%s, and the tags are said to be %s", place, hs_tag_scheme_names[o->scheme]);
    }
    e->scheme = hs_tags_scheme(e->example, e->n, tag, raw, fault, &n_faults);
    if (e->scheme != HS_TAGS_AUTO)
        return HS_OK;
    bool ends = false, singles = false;
    for (int i = 0; i < raw->n; i++)
        ends |= tag[i].prefix == 'E', singles |= tag[i].prefix == 'S';
    return no_scheme(e, fault, n_faults, n_faults < 2 ? HS_TAGS_BIOES : ends || singles ? HS_TAGS_IOE2 : HS_TAGS_IOB2);
}

static hs_tag tag_at(const hs_example *x, const hs_tag *tag, int32_t k)
{
    return k < 0 || k >= x->n || x->labels[k] < 0 ? (hs_tag){ 'O', -1 } : tag[x->labels[k]];
}

// The same spans in another scheme: new raw labels stand for the old ones.
static hs_status convert(hs_examples *e, hs_tag_scheme to, const hs_tag *tag, const hs_labels *types, hs_labels *out)
{
    size_t longest = 0;
    int index;
    for (int i = 0; i < types->n; i++)
        longest = strlen(types->name[i]) > longest ? strlen(types->name[i]) : longest;
    char *name = hs_arena_take(&e->own->arena, longest + 3);
    for (int64_t i = 0; i < e->n; i++) {
        const hs_example *x = &e->example[i];
        int32_t *labels = malloc(((size_t)x->n + 1) * sizeof *labels);
        hs_status st = labels && name ? HS_OK : HS_FAIL(MEMORY, "no memory for %d tags", x->n);
        for (int32_t k = 0; k < x->n && st == HS_OK; k++) {
            const hs_tag own = tag_at(x, tag, k), before = tag_at(x, tag, k - 1), behind = tag_at(x, tag, k + 1);
            const hs_tag_edges edges = hs_tag_edges_of(before, own, behind, e->scheme);
            const char prefix = hs_tag_prefix(edges, before.type == own.type, behind.type == own.type, to);
            snprintf(name, longest + 3, "%c%s%s", prefix, own.type < 0 ? "" : "-", own.type < 0 ? "" : types->name[own.type]);
            labels[k] = -1;
            if (x->labels[k] >= 0 && (st = hs_labels_add(out, name, &index)) == HS_OK)
                labels[k] = index;
        }
        if (st == HS_OK)
            memcpy((int32_t *)x->labels, labels, (size_t)x->n * sizeof *labels);
        free(labels);
        HS_TRY(st);
    }
    return HS_OK;
}

// Where each converted tag was seen first is where its type was.
static hs_status replace_raw(hs_examples *e, hs_labels *with)
{
    struct hs_examples_own *own = e->own;
    hs_label_place *place = calloc((size_t)with->n + 1, sizeof *place);
    if (!place)
        return HS_FAIL(MEMORY, "no memory for %d labels", with->n);
    for (int64_t i = e->n; i-- > 0;)
        for (int32_t k = e->example[i].n; k-- > 0;)
            if (e->example[i].labels[k] >= 0)
                place[e->example[i].labels[k]] = (hs_label_place){ e->example[i].file, e->example[i].line + e->example[i].word_line[k] };
    free(own->place);
    own->place = place;
    hs_labels_free(&own->raw);
    own->raw = *with;
    *with = (hs_labels){ 0 };
    return HS_OK;
}

typedef struct tag_table {
    hs_tag *tag;
    hs_labels types;
    bool spans;
} tag_table;

static void free_table(tag_table *t)
{
    free(t->tag);
    hs_labels_free(&t->types);
    *t = (tag_table){ 0 };
}

static hs_status make_table(tag_table *t, const hs_labels *raw)
{
    free_table(t);
    t->tag = calloc((size_t)raw->n + 1, sizeof *t->tag);
    return t->tag ? hs_tags_of(raw, t->tag, &t->types, &t->spans) : HS_FAIL(MEMORY, "no memory for %d tags", raw->n);
}

static hs_status settle_tags(hs_examples *e, const hs_examples_opts *o, tag_table *t)
{
    hs_labels converted = { 0 };
    HS_TRY(make_table(t, &e->own->raw));
    if (!t->spans && o->scheme > HS_TAGS_PLAIN)
        return HS_FAIL(USAGE, "%s: the tags are said to be %s, and not all of them are O, or a prefix, a dash and a type", e->path[0],
                       hs_tag_scheme_names[o->scheme]);
    if (!t->spans || o->scheme == HS_TAGS_PLAIN) {
        e->scheme = HS_TAGS_PLAIN;
        return HS_OK;
    }
    HS_TRY(settle_scheme(e, o, t->tag));
    if (o->scheme_to <= HS_TAGS_PLAIN || o->scheme_to == e->scheme)
        return HS_OK;
    hs_status st = convert(e, o->scheme_to, t->tag, &t->types, &converted);
    if (st == HS_OK)
        st = replace_raw(e, &converted);
    hs_labels_free(&converted);
    HS_TRY(st);
    e->scheme = o->scheme_to;
    return make_table(t, &e->own->raw);
}

// ---- all of it

static hs_status number(hs_examples *e, const hs_examples_opts *o, const tag_table *t)
{
    const hs_labels *raw = &e->own->raw;
    int32_t *to = calloc((size_t)raw->n + 1, sizeof *to);
    if (!to)
        return HS_FAIL(MEMORY, "no memory for %d labels", raw->n);
    const hs_status st =
        o->labels ? match_labels(e, o->labels, o->other_labels, to) : sort_labels(e, raw, t->spans ? t->tag : NULL, &t->types, to);
    if (st == HS_OK)
        renumber(e, to);
    free(to);
    return st;
}

hs_status hs_examples_settle(hs_examples *e, const hs_examples_opts *o)
{
    tag_table t = { 0 };
    hs_status st = e->about == HS_ABOUT_TOKENS ? settle_tags(e, o, &t) : HS_OK;
    const bool classes = e->about != HS_ABOUT_REGRESSION && e->about != HS_ABOUT_SPAN && e->about != HS_ABOUT_LM;
    if (st == HS_OK && classes)
        st = number(e, o, &t);
    free_table(&t);
    if (e->about != HS_ABOUT_REGRESSION)
        e->n_values = e->about == HS_ABOUT_MULTILABEL ? e->labels.n : 1;
    else if (e->n_values == 0)
        e->n_values = 1;
    return st;
}
