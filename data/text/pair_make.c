// pair_make: first where rows lie, then their tokens and masks. A and B are contiguous in the store, so a row is four numbers.
#include "data/text/pair_make.h"
#include "core/base/rng.h"
#include "data/batches/sampler.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_PLAN = 1, KEY_ORDER, KEY_MASK, TRIES = 10, MIN_LENGTH = 8 };

typedef struct span {
    int64_t first, n;
} span;
typedef struct row {
    int64_t a, b;
    int32_t n_a, n_b;
    bool random;
} row;
struct hs_pair_plan {
    hs_pair_make_opts o;
    int64_t n_documents, vocab;
    bool sentences;
    row *row; // [n]
    int64_t n, room;
};

// ---- draws

typedef struct dice {
    uint64_t key, n;
} dice;
static uint64_t draw(dice *d) { return hs_mix2(d->key, d->n++); }
static int64_t between(dice *d, int64_t low, int64_t high) // both included; the bias of the remainder is below 2^-30
{
    return low + (int64_t)(draw(d) % (uint64_t)(high - low + 1));
}
static bool happens(dice *d, double share) { return hs_u32_unit((uint32_t)(draw(d) >> 32)) < share; }

// ---- sentences

typedef struct document {
    int64_t index, first, end; // sentences; tokens where the store has none
    int64_t n;                 // sentences
} document;

static hs_status open_document(const hs_pair_plan *p, int64_t index, document *d)
{
    *d = (document){ .index = index };
    if (p->sentences) {
        HS_TRY(hs_token_store_sentences(p->o.store, index, &d->first, &d->end));
        d->n = d->end - d->first;
    } else {
        hs_token_store_document(p->o.store, index, &d->first, &d->end);
        d->n = (d->end - d->first + p->o.cut - 1) / p->o.cut;
    }
    return HS_OK;
}

static hs_status sentence(const hs_pair_plan *p, const document *d, int64_t i, span *s)
{
    int64_t end;
    if (p->sentences) {
        HS_TRY(hs_token_store_sentence(p->o.store, d->first + i, &s->first, &end));
    } else {
        s->first = d->first + i * p->o.cut;
        end = s->first + p->o.cut < d->end ? s->first + p->o.cut : d->end;
    }
    s->n = end - s->first;
    return HS_OK;
}

// Sentences from i on until there are `target` tokens; at least one. *next: the one behind.
static hs_status gather(const hs_pair_plan *p, const document *d, int64_t i, int64_t target, span *out, int64_t *next)
{
    *out = (span){ 0 };
    do {
        span s;
        HS_TRY(sentence(p, d, i, &s));
        if (out->n == 0)
            out->first = s.first;
        out->n += s.n;
    } while (++i < d->n && out->n < target);
    *next = i;
    return HS_OK;
}

// ---- rows of a document

static hs_status add_row(hs_pair_plan *p, span a, span b, bool random)
{
    if (p->n == p->room) {
        const int64_t room = p->room ? 2 * p->room : 4096;
        row *r = realloc(p->row, (size_t)room * sizeof *r);
        if (!r)
            return HS_FAIL(MEMORY, "no memory for %lld rows", (long long)room);
        p->row = r, p->room = room;
    }
    p->row[p->n++] = (row){ a.first, b.first, (int32_t)a.n, (int32_t)b.n, random };
    return HS_OK;
}

static void truncate_pair(const hs_pair_plan *p, dice *d, span *a, span *b)
{
    while (a->n + b->n > p->o.length - 3) {
        span *longer = a->n > b->n ? a : b;
        longer->n--;
        if (happens(d, 0.5))
            longer->first++;
    }
}

// A place of another document. One that has no tokens, or the same one, is drawn again; after ten tries what came last is taken, as Google
// does, and the document itself where all others were empty.
static hs_status random_text(const hs_pair_plan *p, const document *self, dice *d, int64_t target, span *out)
{
    document other = *self;
    for (int k = 0; k < TRIES && (other.index == self->index || other.n == 0); k++)
        HS_TRY(open_document(p, between(d, 0, p->n_documents - 1), &other));
    if (other.n == 0)
        other = *self;
    int64_t next;
    HS_TRY(gather(p, &other, between(d, 0, other.n - 1), target, out, &next));
    return HS_OK;
}

static hs_status rows_of(hs_pair_plan *p, int64_t index, dice *d)
{
    document doc;
    HS_TRY(open_document(p, index, &doc));
    const int64_t most = p->o.length - 3;
    for (int64_t i = 0, next; i < doc.n; i = next) {
        const int64_t target = happens(d, p->o.short_share) ? between(d, 2, most) : most;
        span chunk, a, b;
        int64_t rest;
        HS_TRY(gather(p, &doc, i, target, &chunk, &next));
        const int64_t sentences = next - i, cut = i + (sentences > 1 ? between(d, 1, sentences - 1) : 1);
        const bool random = sentences == 1 || happens(d, 0.5);
        HS_TRY(sentence(p, &doc, cut - 1, &a)); // the last one of A
        a = (span){ chunk.first, a.first + a.n - chunk.first };
        if (random) {
            HS_TRY(random_text(p, &doc, d, target - a.n, &b));
            next = cut;
        } else {
            HS_TRY(gather(p, &doc, cut, chunk.n - a.n, &b, &rest));
        }
        truncate_pair(p, d, &a, &b);
        HS_TRY(add_row(p, a, b, random));
    }
    return HS_OK;
}

// ---- the plan

static hs_status check_opts(const hs_pair_make_opts *o)
{
    const int64_t vocab = hs_token_store_info_of(o->store).vocab;
    if (o->length < MIN_LENGTH || o->length > 16384 || o->predictions < 1 || o->predictions > o->length - 3)
        return HS_FAIL(USAGE, "rows of %lld tokens with %lld predictions; allowed %d to 16384, and at most 3 fewer predictions",
                       (long long)o->length, (long long)o->predictions, MIN_LENGTH);
    if (o->copies < 1 || o->cut < 1 || !(o->mask_share > 0 && o->mask_share <= 1) || !(o->short_share >= 0 && o->short_share <= 1))
        return HS_FAIL(USAGE,
                       "%lld copies, sentences of %lld tokens, masks at %g, short rows at %g; allowed are 1 or more, 1 or more, above 0 to "
                       "1, and 0 to 1",
                       (long long)o->copies, (long long)o->cut, o->mask_share, o->short_share);
    if (o->cls < 0 || o->sep < 0 || o->mask < 0 || o->cls >= vocab || o->sep >= vocab || o->mask >= vocab)
        return HS_FAIL(USAGE, "[CLS], [SEP] and [MASK] are ids %d, %d, %d, outside the vocabulary of %lld", o->cls, o->sep, o->mask,
                       (long long)vocab);
    return HS_OK;
}

hs_status hs_pair_plan_new(hs_pair_plan **out, const hs_pair_make_opts *o)
{
    *out = NULL;
    HS_TRY(check_opts(o));
    hs_pair_plan *p = calloc(1, sizeof *p);
    if (!p)
        return HS_FAIL(MEMORY, "no memory for a plan of rows");
    const hs_token_store_info info = hs_token_store_info_of(o->store);
    *p = (hs_pair_plan){ .o = *o, .n_documents = info.n_documents, .vocab = info.vocab, .sentences = info.n_sentences > 0 };
    hs_status st = HS_OK;
    for (int64_t c = 0; c < o->copies && st == HS_OK; c++)
        for (int64_t d = 0; d < info.n_documents && st == HS_OK; d++) {
            dice dice_of = { hs_mix2(hs_mix2(hs_mix2(o->seed, KEY_PLAN), (uint64_t)c), (uint64_t)d), 0 };
            st = rows_of(p, d, &dice_of);
        }
    if (st != HS_OK) {
        hs_pair_plan_free(p);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = p;
    return HS_OK;
}

void hs_pair_plan_free(hs_pair_plan *p)
{
    if (!p)
        return;
    free(p->row);
    free(p);
}

int64_t hs_pair_plan_rows(const hs_pair_plan *p) { return p->n; }

// ---- tokens and masks

static int ascending(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int32_t masked(const hs_pair_plan *p, dice *d, int32_t id)
{
    const double u = hs_u32_unit((uint32_t)(draw(d) >> 32));
    return u < 0.8 ? p->o.mask : u < 0.9 ? (int32_t)between(d, 0, p->vocab - 1) : id;
}

// The places of n predictions among the tokens of A and B, ascending: the head of a shuffle.
static void choose(const row *r, dice *d, int64_t n, int32_t *position)
{
    int32_t place[16384];
    const int64_t candidates = r->n_a + r->n_b;
    for (int64_t i = 0; i < candidates; i++)
        place[i] = (int32_t)(i < r->n_a ? i + 1 : i + 2); // [SEP] stands between them
    for (int64_t i = 0; i < n; i++) {
        const int64_t k = between(d, i, candidates - 1);
        const int32_t chosen = place[k];
        place[k] = place[i];
        position[i] = chosen;
    }
    qsort(position, (size_t)n, sizeof *position, ascending);
}

static void fill_row(const hs_pair_plan *p, int64_t index, hs_pair_rows *out, int64_t k)
{
    const row *r = &p->row[hs_permute(hs_mix2(p->o.seed, KEY_ORDER), (uint64_t)p->n, (uint64_t)index)];
    const int64_t tokens = r->n_a + r->n_b + 3;
    int32_t *ids = out->ids + k * out->length, *position = out->positions + k * out->predictions,
            *label = out->labels + k * out->predictions;
    int8_t *segment = out->segments + k * out->length, *mask = out->mask + k * out->length;
    memset(ids, 0, (size_t)out->length * sizeof *ids);
    memset(segment, 0, (size_t)out->length);
    memset(mask, 0, (size_t)out->length);
    memset(position, 0, (size_t)out->predictions * sizeof *position);
    memset(label, 0, (size_t)out->predictions * sizeof *label);

    ids[0] = p->o.cls;
    hs_token_store_read(p->o.store, r->a, r->n_a, ids + 1);
    ids[r->n_a + 1] = p->o.sep;
    hs_token_store_read(p->o.store, r->b, r->n_b, ids + r->n_a + 2);
    ids[tokens - 1] = p->o.sep;
    memset(segment + r->n_a + 2, 1, (size_t)r->n_b + 1);
    memset(mask, 1, (size_t)tokens);

    dice d = { hs_mix2(hs_mix2(p->o.seed, KEY_MASK), (uint64_t)index), 0 };
    const double share = rint((double)tokens * p->o.mask_share); // half to even, as Python rounds
    int64_t n = share < 1 ? 1 : share > (double)p->o.predictions ? p->o.predictions : (int64_t)share;
    n = n > tokens - 3 ? tokens - 3 : n;
    choose(r, &d, n, position);
    for (int64_t i = 0; i < n; i++) {
        label[i] = ids[position[i]];
        ids[position[i]] = masked(p, &d, label[i]);
    }
    out->part_tokens[k] = (int32_t)tokens, out->part_labels[k] = (int32_t)n, out->next[k] = r->random;
}

void hs_pair_plan_fill(const hs_pair_plan *p, int64_t first, hs_pair_rows *rows)
{
    for (int64_t k = 0; k < rows->n; k++)
        fill_row(p, first + k, rows, k);
}
