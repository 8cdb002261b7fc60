// labelled: every example's rows made once, in memory; a sample is one of them, by a keyed permutation of the epoch.
#include "data/batches/labelled.h"
#include "core/base/rng.h"
#include "data/base/arena.h"
#include "data/batches/sampler.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct labelled {
    hs_source base;
    hs_column column[HS_LABELLED_WEIGHTS + 1];
    const hs_examples *examples;
    hs_arena arena;
    hs_example_row *row; // [base.n_samples]
    int64_t room;
    int n_labels, n_values;
    double *weight; // [n_labels]; NULL: none
    uint64_t seed;
    bool frozen;
    hs_labelled_info info;
} labelled;

static hs_status no_memory(const labelled *s) { return HS_FAIL(MEMORY, "no memory for %lld rows", (long long)s->base.n_samples + 1); }

// ---- columns

static const hs_column common[HS_LABELLED_TARGETS] = {
    [HS_LABELLED_IDS] = { .name = "ids", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
    [HS_LABELLED_TYPES] = { .name = "token_types", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
    [HS_LABELLED_STARTS] = { .name = "starts", .dtype = HS_I32, .ext = HS_EXT_STARTS, .tail = HS_TAIL_LAST },
    [HS_LABELLED_WHERE] = { .name = "where", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .row = { 2 } },
};
#define CLASS_TARGETS                                                                                                                      \
    {                                                                                                                                      \
        .name = "class_targets", .dtype = HS_I32, .ext = HS_EXT_SEQS, .tail = HS_TAIL_IGNORE                                               \
    }
static const hs_column targets[HS_ABOUTS] = {
    [HS_ABOUT_SEQUENCE] = CLASS_TARGETS,
    [HS_ABOUT_PAIR] = CLASS_TARGETS,
    [HS_ABOUT_REGRESSION] = { .name = "value_targets", .dtype = HS_F32, .ext = HS_EXT_SEQS },
    [HS_ABOUT_MULTILABEL] = { .name = "label_targets", .dtype = HS_F32, .ext = HS_EXT_SEQS },
    [HS_ABOUT_TOKENS] = { .name = "tag_targets", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .tail = HS_TAIL_IGNORE },
    [HS_ABOUT_SPAN] = { .name = "span_targets", .dtype = HS_I32, .ext = HS_EXT_SEQS, .row = { 2 }, .tail = HS_TAIL_IGNORE },
    [HS_ABOUT_LM] = { .name = "targets", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .tail = HS_TAIL_IGNORE },
};

static void set_columns(labelled *s)
{
    const hs_about about = s->examples->about;
    memcpy(s->column, common, sizeof common);
    s->column[HS_LABELLED_TARGETS] = targets[about];
    if (about == HS_ABOUT_REGRESSION || about == HS_ABOUT_MULTILABEL)
        s->column[HS_LABELLED_TARGETS].row[0] = s->n_values;
    s->column[HS_LABELLED_WEIGHTS] = (hs_column){ .name = "target_weights", .dtype = HS_F32, .ext = s->column[HS_LABELLED_TARGETS].ext };
    s->base.column = s->column;
    s->base.n_columns = HS_LABELLED_WEIGHTS + (s->weight != NULL);
}

// ---- filling

static float *f32_of(hs_batch *b, int column) { return (float *)b->column[column].p; }

// A target counts: its weight, and the counts of the batch.
static void count(const labelled *s, hs_batch *b, int32_t label, int64_t at)
{
    float weight = 0;
    if (label >= 0) {
        b->labels[HS_LABELLED_LOSS]++;
        weight = s->weight ? (float)s->weight[label] : 1;
        b->weights[HS_LABELLED_LOSS] += s->weight ? (double)weight : 0;
    }
    if (s->weight)
        f32_of(b, HS_LABELLED_WEIGHTS)[at] = weight;
}

static void put_targets(const labelled *s, const hs_example_row *r, hs_batch *b)
{
    const hs_example *x = &s->examples->example[r->example];
    const int64_t at = b->n[HS_COUNT_TOKENS], seq = b->n[HS_COUNT_SEQS];
    int32_t *to = hs_batch_i32(b, HS_LABELLED_TARGETS);
    float *values = f32_of(b, HS_LABELLED_TARGETS) + seq * s->n_values;
    switch (s->examples->about) {
    case HS_ABOUT_REGRESSION:
        for (int k = 0; k < s->n_values; k++)
            values[k] = k < x->n ? x->value[k] : 0;
        b->labels[HS_LABELLED_LOSS] += x->n > 0;
        break;
    case HS_ABOUT_MULTILABEL:
        memset(values, 0, (size_t)s->n_values * sizeof *values);
        for (int32_t k = 0; k < x->n; k++)
            values[x->labels[k]] = 1;
        b->labels[HS_LABELLED_LOSS]++;
        break;
    case HS_ABOUT_TOKENS:
        for (int64_t i = 0; i < r->n; i++) {
            to[at + i] = r->target[i];
            count(s, b, r->target[i], at + i);
        }
        break;
    case HS_ABOUT_SPAN:
        to[2 * seq] = r->start, to[2 * seq + 1] = r->end;
        b->labels[HS_LABELLED_LOSS] += 2 * (r->start >= 0);
        break;
    case HS_ABOUT_LM:
        memcpy(to + at, r->target, (size_t)r->n * sizeof *to);
        for (int64_t i = 0; i < r->n; i++)
            b->labels[0] += r->target[i] >= 0;
        break;
    default:
        to[seq] = x->label;
        count(s, b, x->label, seq);
    }
}

static void put_tokens(const hs_example_row *r, hs_batch *b)
{
    const int64_t at = b->n[HS_COUNT_TOKENS], seq = b->n[HS_COUNT_SEQS];
    int32_t *types = hs_batch_i32(b, HS_LABELLED_TYPES) + at, *where = hs_batch_i32(b, HS_LABELLED_WHERE) + 2 * at;
    int32_t *starts = hs_batch_i32(b, HS_LABELLED_STARTS) + seq;
    memcpy(hs_batch_i32(b, HS_LABELLED_IDS) + at, r->id, (size_t)r->n * sizeof *r->id);
    for (int64_t i = 0; i < r->n; i++) {
        types[i] = r->type[i];
        where[2 * i] = (int32_t)b->slot, where[2 * i + 1] = (int32_t)i;
    }
    starts[0] = (int32_t)at, starts[1] = (int32_t)(at + r->n);
}

static const hs_example_row *row_of(const labelled *s, uint64_t sample)
{
    const uint64_t n = (uint64_t)s->base.n_samples, epoch = sample / n, place = sample % n;
    return &s->row[s->frozen ? place : hs_permute(hs_mix2(s->seed, epoch), n, place)];
}

static hs_status fill(hs_source *base, hs_batch *b, uint64_t sample)
{
    const labelled *s = (labelled *)base;
    const hs_example_row *r = row_of(s, sample);
    put_tokens(r, b);
    put_targets(s, r, b);
    b->n[HS_COUNT_TOKENS] += r->n;
    b->n[HS_COUNT_SEQS]++;
    return HS_OK;
}

static void labelled_free(hs_source *base)
{
    labelled *s = (labelled *)base;
    hs_arena_free(&s->arena);
    free(s->row);
    free(s->weight);
    free(s);
}

// ---- rows

static void *kept(labelled *s, const void *p, int64_t n, size_t item) { return p ? hs_arena_copy(&s->arena, p, (size_t)n, item) : NULL; }

static hs_status keep_row(labelled *s, const hs_example_row *r, int64_t example)
{
    if (s->base.n_samples == s->room) {
        const int64_t room = s->room ? 2 * s->room : 1024;
        hs_example_row *more = realloc(s->row, (size_t)room * sizeof *more);
        if (!more)
            return no_memory(s);
        s->row = more, s->room = room;
    }
    hs_example_row *to = &s->row[s->base.n_samples];
    *to = *r;
    to->example = example;
    to->id = kept(s, r->id, r->n, sizeof *r->id), to->type = kept(s, r->type, r->n, sizeof *r->type);
    to->word = kept(s, r->word, r->n, sizeof *r->word), to->target = kept(s, r->target, r->n, sizeof *r->target);
    to->bytes = kept(s, r->bytes, r->n, sizeof *r->bytes), to->best = kept(s, r->best, r->n, sizeof *r->best);
    if (!to->id || !to->type || (r->word && !to->word) || (r->target && !to->target) || (r->bytes && !to->bytes) || (r->best && !to->best))
        return no_memory(s);
    s->base.n_samples++;
    s->info.tokens += r->n;
    s->info.longest = r->n > s->info.longest ? r->n : s->info.longest;
    return HS_OK;
}

static hs_status make_rows(labelled *s, const hs_rows_opts *o)
{
    const hs_examples *e = s->examples;
    const hs_example_row *row;
    hs_row_maker *m;
    int64_t n;
    HS_TRY(hs_row_maker_new(&m, e->about, o));
    hs_status st = HS_OK;
    for (int64_t i = 0; i < e->n && st == HS_OK; i++) {
        if (e->read)
            st = hs_row_maker_rows(m, e->read, e->n_read, e->example[i].number, &row, &n);
        else
            st = hs_row_maker_rows(m, e->example, e->n, i, &row, &n);
        if (st == HS_USAGE) { // of a text: where it stands
            char what[512];
            snprintf(what, sizeof what, "%s", hs_error());
            st = hs_examples_fail(e, i, "%s", what);
        }
        bool cut = n == 0;
        for (int64_t k = 0; k < n && st == HS_OK; k++) {
            cut |= row[k].cut;
            st = keep_row(s, &row[k], i);
        }
        s->info.cut += cut;
    }
    hs_row_maker_free(m);
    HS_TRY(st);
    s->info.rows = s->base.n_samples;
    if (s->base.n_samples == 0)
        return HS_FAIL(USAGE, "%s: none of %lld example%s gives a row of tokens", e->n_paths ? e->path[0] : "", (long long)e->n,
                       e->n == 1 ? "" : "s");
    return HS_OK;
}

// ---- class weights

static hs_status balance(labelled *s)
{
    int64_t *n = calloc((size_t)s->n_labels + 1, sizeof *n), all = 0;
    if (!n)
        return no_memory(s);
    for (int64_t i = 0; i < s->base.n_samples; i++) {
        const hs_example_row *r = &s->row[i];
        const int32_t *label = r->target ? r->target : &s->examples->example[r->example].label;
        for (int64_t k = 0; k < (r->target ? r->n : 1); k++)
            if (label[k] >= 0)
                n[label[k]]++, all++;
    }
    for (int c = 0; c < s->n_labels; c++)
        s->weight[c] = n[c] ? (double)all / ((double)s->n_labels * (double)n[c]) : 0;
    free(n);
    return HS_OK;
}

static hs_status set_weights(labelled *s, const hs_labelled_opts *o)
{
    const hs_about about = s->examples->about;
    if (o->weights == HS_WEIGHTS_NONE)
        return HS_OK;
    if (about != HS_ABOUT_SEQUENCE && about != HS_ABOUT_PAIR && about != HS_ABOUT_TOKENS)
        return HS_FAIL(USAGE, "class weights are for tasks of one class each: sequence, pair, tokens");
    if (!(s->weight = calloc((size_t)s->n_labels + 1, sizeof *s->weight)))
        return no_memory(s);
    if (o->weights == HS_WEIGHTS_BALANCED)
        return balance(s);
    for (int c = 0; c < s->n_labels; c++) {
        if (!(o->weight[c] >= 0 && o->weight[c] < 1e30))
            return HS_FAIL(USAGE, "the weight of class %d (%s) is %g, at least 0", c,
                           c < s->examples->labels.n ? s->examples->labels.name[c] : "", o->weight[c]);
        s->weight[c] = o->weight[c];
    }
    return HS_OK;
}

hs_status hs_labelled_new(hs_source **out, const hs_labelled_opts *o)
{
    *out = NULL;
    const hs_examples *e = o->examples;
    labelled *s = calloc(1, sizeof *s);
    if (!s)
        return HS_FAIL(MEMORY, "no memory for a source of examples");
    s->base = (hs_source){ .unit = "examples", .fill = fill, .free = labelled_free };
    s->examples = e, s->seed = o->seed, s->frozen = o->frozen;
    s->n_labels = o->n_labels > e->labels.n ? o->n_labels : e->labels.n;
    s->n_values = e->about == HS_ABOUT_MULTILABEL ? s->n_labels : o->n_labels > e->n_values ? o->n_labels : e->n_values;
    hs_status st = make_rows(s, &o->rows);
    if (st == HS_OK)
        st = set_weights(s, o);
    if (st != HS_OK) {
        labelled_free(&s->base);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    set_columns(s);
    s->base.most[HS_COUNT_TOKENS] = s->info.longest;
    s->base.most[HS_COUNT_SEQS] = 1;
    *out = &s->base;
    return HS_OK;
}

hs_labelled_info hs_labelled_info_of(const hs_source *s) { return ((const labelled *)s)->info; }
const hs_example_row *hs_labelled_row(const hs_source *s, uint64_t sample) { return row_of((const labelled *)s, sample); }
