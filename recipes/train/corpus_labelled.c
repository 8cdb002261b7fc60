// corpus_labelled: labelled examples of the files of data.train and data.val, read as one, so that their classes are numbered once; then
// divided into what is trained on and what is validated on.
#include "core/base/log.h"
#include "core/base/rng.h"
#include "data/base/file.h"
#include "recipes/train/corpus_parts.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

// ---- tokenizer
static hs_status find_tokenizer(hs_corpus *c, const hs_corpus_from *from)
{
    int64_t size;
    if (from->given) {
        c->tokenizer = from->given, c->borrowed = true;
        return HS_OK;
    }
    if (from->tokenizer_dir)
        return hs_tokenizer_load(&c->tokenizer, from->tokenizer_dir);
    if (hs_corpus_is_char(from->config) || hs_config_wordpiece(from->config, &size))
        return HS_FAIL(USAGE,
                       "data.tokenizer is %s, which would be made of labelled data: name a folder, or train.init_from, which has one",
                       from->config->data.tokenizer);
    return hs_corpus_named_tokenizer(&c->tokenizer, from->config);
}

// ---- files
static const char *or_null(const char *s) { return s[0] ? s : NULL; }

static hs_examples_opts options_of(const hs_config *c, const char *const *path, int n, const hs_labels *labels)
{
    return (hs_examples_opts){ .about = hs_config_about(c),
                               .path = path,
                               .n_paths = n,
                               .format = (hs_label_format)c->task.format,
                               .text = or_null(c->task.text),
                               .text2 = or_null(c->task.text2),
                               .label = or_null(c->task.label),
                               .id = or_null(c->task.id),
                               .labels = labels,
                               .scheme = (hs_tag_scheme)c->task.scheme,
                               .scheme_to = (hs_tag_scheme)c->task.scheme_to };
}

// A label that a head does not have is told with what can be done about it.
static hs_status of_head(hs_status st, const char *labels_of, const char *run_dir)
{
    char message[1024];
    if (st != HS_USAGE || !labels_of)
        return hs_frame_at(st, __FILE__, __LINE__);
    snprintf(message, sizeof message, "%s", hs_error());
    return HS_FAIL(USAGE, "%s (the classes are those of %s%s)", message, labels_of,
                   run_dir && strcmp(labels_of, "task.labels") != 0 ? "; --task.head=new draws another head" : "");
}

static hs_status open_files(hs_corpus *c, const hs_corpus_from *from, const char *const *path, int n)
{
    hs_labels own = { 0 };
    const bool given = from->labels && from->labels->n;
    if (!given)
        HS_TRY(hs_config_labels(from->config, &own));
    const int own_n = own.n;
    const hs_labels *labels = given ? from->labels : own_n ? &own : NULL;
    const hs_examples_opts o = options_of(from->config, path, n, labels);
    const hs_status st = hs_examples_open(&c->labelled.all, &o);
    hs_labels_free(&own);
    return st == HS_OK ? HS_OK : of_head(st, given ? from->labels_of : own_n ? "task.labels" : NULL, from->run_dir);
}

// ---- what is trained on, and what is validated on
static bool of_file(const hs_labelled_data *d, int64_t i, int file) { return d->all->example[i].file == file; }

typedef struct drawn {
    uint64_t key;
    int64_t i;
} drawn;

static int by_key(const void *a, const void *b)
{
    const drawn *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key ? 1 : x->i < y->i ? -1 : x->i > y->i;
}

// So many of all, the same ones for every seed: files may be sorted by label.
static hs_status mark_drawn(const hs_labelled_data *d, int64_t n_val, bool *val)
{
    drawn *order = malloc((size_t)d->all->n * sizeof *order);
    if (!order)
        return HS_FAIL(MEMORY, "no memory to draw from %lld examples", (long long)d->all->n);
    for (int64_t i = 0; i < d->all->n; i++)
        order[i] = (drawn){ hs_mix2(hs_hash_string("data.val"), (uint64_t)i), i };
    qsort(order, (size_t)d->all->n, sizeof *order, by_key);
    for (int64_t i = 0; i < n_val; i++)
        val[order[i].i] = true;
    free(order);
    return HS_OK;
}

static void make_view(const hs_labelled_data *d, const bool *val, bool which, hs_example *to, hs_examples *view)
{
    *view = *d->all;
    view->example = to, view->n = 0;
    view->read = d->all->example, view->n_read = d->all->n; // what stands around a sentence in its file does so wherever it is drawn to
    for (int64_t i = 0; i < d->all->n; i++)
        if (val[i] == which)
            view->example[view->n++] = d->all->example[i];
}

// val_file: index of the validation file; -1: a fraction of all.
static hs_status divide(hs_labelled_data *d, int val_file, double fraction)
{
    bool *val = calloc((size_t)d->all->n + 1, sizeof *val);
    hs_status st = HS_OK;
    d->picked = malloc(((size_t)d->all->n + 1) * sizeof *d->picked);
    if (!val || !d->picked)
        st = HS_FAIL(MEMORY, "no memory to divide %lld examples", (long long)d->all->n);
    for (int64_t i = 0; st == HS_OK && val_file >= 0 && i < d->all->n; i++)
        val[i] = of_file(d, i, val_file);
    if (st == HS_OK && val_file < 0 && fraction > 0)
        st = mark_drawn(d, (int64_t)(fraction * (double)d->all->n), val);
    if (st == HS_OK) {
        make_view(d, val, false, d->picked, &d->train);
        make_view(d, val, true, d->picked + d->train.n, &d->val);
    }
    free(val);
    return st;
}

static hs_status check_sizes(const hs_corpus *c, const hs_config *config, bool has_val_file, double fraction)
{
    const hs_labelled_data *d = &c->labelled;
    if (d->train.n < 1)
        return HS_FAIL(USAGE, "%s: no example is left to train on: data.val is %s of %lld", d->all->path[0], config->data.val,
                       (long long)d->all->n);
    if (d->val.n < 1 && (has_val_file || fraction > 0))
        return HS_FAIL(USAGE, "data.val is %s, which is no example of %lld; give a larger one, a file, or 0 for none", config->data.val,
                       (long long)d->all->n);
    return HS_OK;
}

// ---- classes
// How many targets each class has.
static void count_classes(const hs_examples *e, int64_t *count)
{
    for (int64_t i = 0; i < e->n; i++) {
        const hs_example *x = &e->example[i];
        if ((e->about == HS_ABOUT_SEQUENCE || e->about == HS_ABOUT_PAIR) && x->label >= 0)
            count[x->label]++;
        for (int32_t k = 0; (e->about == HS_ABOUT_TOKENS || e->about == HS_ABOUT_MULTILABEL) && k < x->n; k++)
            if (x->labels[k] >= 0)
                count[x->labels[k]]++;
    }
}

static bool has_classes(hs_about about)
{
    return about == HS_ABOUT_SEQUENCE || about == HS_ABOUT_PAIR || about == HS_ABOUT_TOKENS || about == HS_ABOUT_MULTILABEL;
}

// What nobody is taught is told: a class that has an example of validation alone, most often one that is misspelt.
static hs_status check_classes(const hs_labelled_data *d)
{
    const hs_labels *l = &d->all->labels;
    if (!has_classes(d->all->about))
        return HS_OK;
    if (l->n < 2 && d->all->about != HS_ABOUT_MULTILABEL)
        return HS_FAIL(USAGE, "%s: all labels are %s: there is nothing to tell apart", d->all->path[0], l->n ? l->name[0] : "missing");
    int64_t *count = calloc(2 * (size_t)l->n + 1, sizeof *count);
    if (!count)
        return HS_FAIL(MEMORY, "no memory to count %d classes", l->n);
    char list[256] = "";
    int n = 0;
    count_classes(&d->train, count);
    count_classes(&d->val, count + l->n);
    for (int i = 0; i < l->n; i++)
        if (!count[i] && count[l->n + i] && n++ < 4)
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%.40s", n > 1 ? ", " : "", l->name[i]);
    free(count);
    if (n)
        hs_warn("%d class%s no example in the training data, only in the validation data: %s%s", n, n == 1 ? " has" : "es have", list,
                n > 4 ? ", ..." : "");
    return HS_OK;
}

// ---- which data it is
static uint64_t hash_bytes(uint64_t key, const void *p, size_t bytes) { return p ? hs_mix2(key, XXH3_64bits(p, bytes)) : key; }

// Of what was read, wherever it lies and in whatever format.
static uint64_t key_of(const hs_corpus *c)
{
    const hs_labelled_data *d = &c->labelled;
    uint64_t key = hs_mix2(hs_tokenizer_hash(c->tokenizer), 0x1abe1 + (uint64_t)d->all->about);
    for (int i = 0; i < d->all->labels.n; i++)
        key = hash_bytes(key, d->all->labels.name[i], strlen(d->all->labels.name[i]));
    for (int64_t i = 0; i < d->train.n; i++) {
        const hs_example *e = &d->train.example[i];
        const size_t n = (size_t)e->n;
        for (int k = 0; k < 2; k++)
            key = hash_bytes(key, e->text[k], e->bytes[k]);
        key = hs_mix2(key, (uint64_t)(int64_t)e->label);
        key = hash_bytes(key, e->value, n * sizeof *e->value);
        key = hash_bytes(key, e->labels, n * sizeof *e->labels);
        key = hash_bytes(key, e->answer, n * sizeof *e->answer);
        for (size_t k = 0; e->turn && k < n; k++)
            key = hs_mix2(key, (uint64_t)e->turn[k].end << 1 | e->turn[k].learned);
    }
    return key;
}

void hs_corpus_note_labelled(const hs_corpus *c, FILE *f)
{
    for (int i = 0; i < c->labelled.all->n_paths; i++)
        fprintf(f, "%s\n", c->labelled.all->path[i]);
}

// ---- opening
hs_status hs_corpus_from_labelled(hs_corpus *c, const hs_corpus_from *from, const hs_data_part *part, int n)
{
    const hs_config *config = from->config;
    const char *path[HS_MIX_SOURCES + 1];
    char *end;
    const double fraction = strtod(config->data.val, &end);
    const bool has_val_file = *end != 0;
    for (int i = 0; i < n; i++) {
        if (part[i].weight != part[0].weight)
            return HS_FAIL(USAGE, "%s: labelled files are read whole, one behind the other: weights are for token stores",
                           hs_config_data_key(config));
        path[i] = part[i].path;
    }
    path[n] = config->data.val;
    HS_TRY(find_tokenizer(c, from));
    HS_TRY(open_files(c, from, path, n + has_val_file));
    HS_TRY(divide(&c->labelled, has_val_file ? n : -1, fraction));
    HS_TRY(check_sizes(c, config, has_val_file, fraction));
    HS_TRY(check_classes(&c->labelled));
    c->key = key_of(c);
    c->prepared = true;
    c->known = from->run_dir && hs_corpus_known(c, from->run_dir);
    return HS_OK;
}

hs_status hs_corpus_open_labelled(hs_corpus *c, const hs_corpus_from *from, const char *path)
{
    *c = (hs_corpus){ 0 };
    HS_TRY(find_tokenizer(c, from));
    HS_TRY(open_files(c, from, &path, 1));
    HS_TRY(divide(&c->labelled, 0, 0));
    return HS_OK;
}

void hs_labelled_data_free(hs_labelled_data *d)
{
    for (int i = 0; i < HS_COUNT(d->rows); i++)
        hs_source_free(d->rows[i]);
    hs_examples_close(d->all);
    free(d->picked);
    free(d->later);
    *d = (hs_labelled_data){ 0 };
}
