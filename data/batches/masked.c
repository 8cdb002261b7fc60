// masked: where the text of sample i lies, what is written of it, and which objective it is.
#include "data/batches/masked.h"
#include "core/base/rng.h"
#include "data/batches/masked_text.h"
#include "data/batches/mixing.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const hs_column hs_masked_columns[HS_MASKED_COLUMNS] = {
    HS_PAIR_COLUMN_ROWS,
    [HS_MASKED_ORDER_TARGETS] = { .name = "order_targets", .dtype = HS_I32, .ext = HS_EXT_SEQS, .tail = HS_TAIL_IGNORE },
    [HS_MASKED_TASK_TYPES] = { .name = "task_types", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
    [HS_MASKED_DRAWS] = { .name = "mask_draws", .dtype = HS_I32, .ext = HS_EXT_SEQS, .row = { HS_DRAW_CELLS } },
    [HS_MASKED_SPECIAL] = { .name = "mask_special", .dtype = HS_I32, .ext = HS_EXT_FIXED, .rows = HS_DRAW_SPECIAL },
};

enum { MIN_LENGTH = 8, MAX_LENGTH = 1 << 20, SENTENCE = 32 };

static const char *const segment_names[] = {
    [HS_SEGMENTS_NEXT] = "next sentence", [HS_SEGMENTS_ORDER] = "sentence order", [HS_SEGMENTS_FULL] = "full sentences"
};

typedef struct masked { // of one objective over one range
    hs_source base;
    hs_token_range range;
    hs_segments segments;
    hs_mask_ids ids;
    bool types, frozen, later;
    int32_t task;
    hs_masked_text *text;
    hs_masker *masker;
    int64_t vocab, written; // ids below; when the file was last seen to be written
    uint8_t *continues;     // [vocab], or NULL
    bool words;
    uint8_t *marks;                   // [length]
    int32_t *word, *position, *label; // [length]
} masked;

// ---- tokens

static hs_status put_text(const masked *s, int64_t first, int64_t n, int32_t *ids, int64_t *at)
{
    hs_token_store_read(s->range.store, first, n, ids + *at);
    HS_TRY(hs_token_store_check(s->range.store, ids + *at, first, n, s->vocab));
    *at += n;
    return HS_OK;
}

// Documents with a separator between them; empty ones have none.
static hs_status put_documents(const masked *s, int64_t first, int64_t end, int32_t *ids, int64_t *at)
{
    const hs_token_store *store = s->range.store;
    for (int64_t d = hs_token_store_document_at(store, first), from = first; from < end; d++) {
        int64_t begin, to;
        hs_token_store_document(store, d, &begin, &to);
        to = to < end ? to : end;
        if (to <= from)
            continue;
        if (from > first)
            ids[(*at)++] = s->ids.sep;
        HS_TRY(put_text(s, from, to - from, ids, at));
        from = to;
    }
    return HS_OK;
}

// The ids of a sample; *n_first: how many of them are not of the second segment.
static hs_status put_ids(const masked *s, const hs_masked_piece *p, int32_t *ids, int64_t *n, int64_t *n_first)
{
    int64_t at = 0;
    ids[at++] = s->ids.cls;
    if (s->segments == HS_SEGMENTS_FULL)
        HS_TRY(put_documents(s, p->a, p->b, ids, &at));
    else
        HS_TRY(put_text(s, p->a, p->n_a, ids, &at));
    ids[at++] = s->ids.sep;
    *n_first = at;
    if (s->segments != HS_SEGMENTS_FULL) {
        if (s->ids.double_sep)
            ids[at++] = s->ids.sep;
        *n_first = at;
        HS_TRY(put_text(s, p->b, p->n_b, ids, &at));
        ids[at++] = s->ids.sep;
    }
    *n = at;
    return HS_OK;
}

// ---- a sample

static int64_t mask(masked *s, uint64_t epoch, uint64_t sample, int32_t *ids, int64_t n)
{
    for (int64_t i = 0; s->words && i < n; i++)
        s->marks[i] = s->continues && s->continues[ids[i]];
    if (s->words)
        hs_mask_words(s->marks, n, s->word);
    return hs_mask(s->masker, epoch, sample, ids, n, s->words ? s->word : NULL, s->position, s->label);
}

static void put_sequence(const masked *s, const hs_masked_piece *p, int64_t n, int64_t n_first, hs_batch *b)
{
    const int64_t at = b->n[HS_COUNT_TOKENS], seq = b->n[HS_COUNT_SEQS]++;
    int32_t *types = hs_batch_i32(b, HS_PAIR_TYPES) + at, *tasks = hs_batch_i32(b, HS_MASKED_TASK_TYPES) + at,
            *where = hs_batch_i32(b, HS_PAIR_WHERE) + 2 * at, *starts = hs_batch_i32(b, HS_PAIR_STARTS) + seq;
    for (int64_t i = 0; i < n; i++) {
        types[i] = s->types && i >= n_first;
        tasks[i] = s->task;
        where[2 * i] = (int32_t)b->slot, where[2 * i + 1] = (int32_t)i;
    }
    starts[0] = (int32_t)at, starts[1] = (int32_t)(at + n);
    const bool next = s->segments == HS_SEGMENTS_NEXT, order = s->segments == HS_SEGMENTS_ORDER;
    hs_batch_i32(b, HS_PAIR_TARGETS)[seq] = next ? p->random : HS_TARGET_IGNORE;
    hs_batch_i32(b, HS_MASKED_ORDER_TARGETS)[seq] = order ? p->swapped : HS_TARGET_IGNORE;
    b->labels[1] += next, b->labels[2] += order;
    b->n[HS_COUNT_TOKENS] += n;
}

// How the sample at hand is to be masked; how many picks that gives.
static int64_t put_draws(const masked *s, uint64_t epoch, uint64_t sample, const int32_t *ids, int64_t n, hs_batch *b)
{
    const int64_t seq = b->n[HS_COUNT_SEQS];
    if (!seq)
        hs_mask_special(s->masker, hs_batch_i32(b, HS_MASKED_SPECIAL));
    return hs_mask_row(s->masker, epoch, sample, ids, n, hs_batch_i32(b, HS_MASKED_DRAWS) + seq * HS_DRAW_CELLS);
}

static void put_picks(const masked *s, int64_t count, int64_t first_token, hs_batch *b)
{
    int32_t *picks = hs_batch_i32(b, HS_PAIR_PICKS) + b->n[HS_COUNT_PICKS];
    for (int64_t i = 0; i < count && !s->later; i++)
        picks[i] = (int32_t)first_token + s->position[i];
    if (!s->later)
        memcpy(hs_batch_i32(b, HS_PAIR_PICK_TARGETS) + b->n[HS_COUNT_PICKS], s->label, (size_t)count * sizeof *picks);
    b->n[HS_COUNT_PICKS] += count;
    b->labels[0] += count;
}

static hs_status fill(hs_source *base, hs_batch *b, uint64_t sample)
{
    masked *s = (masked *)base;
    const uint64_t per_epoch = (uint64_t)base->n_samples, epoch = s->frozen ? 0 : sample / per_epoch, own = sample % per_epoch;
    const int64_t first_token = b->n[HS_COUNT_TOKENS];
    int32_t *ids = hs_batch_i32(b, HS_PAIR_IDS) + first_token;
    int64_t n = 0, n_first = 0;
    hs_masked_piece p = { 0 };
    HS_TRY(hs_masked_text_at(s->text, epoch, (int64_t)own, &p));
    HS_TRY(put_ids(s, &p, ids, &n, &n_first));
    const int64_t count = s->later ? put_draws(s, epoch, own, ids, n, b) : mask(s, epoch, own, ids, n);
    put_sequence(s, &p, n, n_first, b);
    put_picks(s, count, first_token, b);
    return HS_OK;
}

static hs_status begin(hs_source *base)
{
    masked *s = (masked *)base;
    return hs_token_store_unchanged(s->range.store, &s->written);
}

// ---- life

static void masked_free(hs_source *base)
{
    masked *s = (masked *)base;
    hs_masked_text_free(s->text);
    hs_masker_free(s->masker);
    free(s->continues);
    free(s->marks);
    free(s->word);
    free(s);
}

static int special_ids(const hs_mask_ids *ids, int32_t *all)
{
    const int32_t own[] = { ids->cls, ids->sep, ids->mask, ids->pad };
    int n = 0;
    for (int i = 0; i < HS_COUNT(own) + ids->n_special; i++) {
        const int32_t id = i < HS_COUNT(own) ? own[i] : ids->special[i - HS_COUNT(own)];
        int k = 0;
        while (k < n && all[k] != id)
            k++;
        if (k == n && n < HS_MASK_SPECIAL)
            all[n++] = id;
    }
    return n;
}

// Where there is nothing to guess, a run would learn nothing and say nothing.
static hs_status check_maskable(const masked *s, const int32_t *special, int n_special)
{
    enum { AT_ONCE = 4096 };
    int32_t ids[AT_ONCE];
    const hs_token_range *r = &s->range;
    for (int64_t at = r->first; at < r->end; at += AT_ONCE) {
        const int64_t n = r->end - at < AT_ONCE ? r->end - at : AT_ONCE;
        hs_token_store_read(r->store, at, n, ids);
        for (int64_t i = 0; i < n; i++) {
            int k = 0;
            while (k < n_special && special[k] != ids[i])
                k++;
            if (k == n_special)
                return HS_OK;
        }
    }
    return HS_FAIL(USAGE, "%s: each of tokens %lld to %lld is a special one: there is nothing to mask", hs_token_store_path(r->store),
                   (long long)r->first, (long long)r->end);
}

static int64_t predictions_of(const hs_masked_opts *o)
{
    double share = 0;
    for (int k = 0; k < o->n_objectives; k++)
        share = fmax(share, o->objective[k].probability);
    const int64_t n = (int64_t)rint(share * (double)o->length);
    return o->predictions ? o->predictions : n < 1 ? 1 : n;
}

static hs_status make_scratch(masked *s, const hs_masked_opts *o)
{
    const size_t length = (size_t)o->length;
    s->marks = malloc(length);
    s->word = malloc(3 * length * sizeof *s->word);
    s->continues = o->continues ? malloc((size_t)s->vocab) : NULL;
    if (!s->marks || !s->word || (o->continues && !s->continues))
        return HS_FAIL(MEMORY, "no memory for masked samples of %lld tokens", (long long)o->length);
    s->position = s->word + length, s->label = s->position + length;
    if (o->continues)
        memcpy(s->continues, o->continues, (size_t)s->vocab);
    return HS_OK;
}

static void count_range(const hs_token_range *r, int64_t vocab, int64_t *counts)
{
    enum { AT_ONCE = 4096 };
    int32_t ids[AT_ONCE];
    for (int64_t at = r->first; at < r->end; at += AT_ONCE) {
        const int64_t n = r->end - at < AT_ONCE ? r->end - at : AT_ONCE;
        hs_token_store_read(r->store, at, n, ids);
        for (int64_t i = 0; i < n; i++)
            if (ids[i] >= 0 && ids[i] < vocab) // a sample will say where one is not
                counts[ids[i]]++;
    }
}

// Which tokens an objective prefers, by how often they occur. *out: to be freed; NULL: all are alike.
static hs_status prefer(const masked *s, const hs_masked_opts *o, const hs_objective *k, double **out)
{
    const hs_text_part *part = o->counted ? o->counted : o->parts;
    const int n = o->counted ? o->n_counted : o->n_parts;
    *out = NULL;
    if (!(k->rare > 0))
        return HS_OK;
    int64_t *counts = calloc((size_t)s->vocab, sizeof *counts);
    *out = malloc((size_t)s->vocab * sizeof **out);
    for (int i = 0; i < n && counts && *out; i++)
        count_range(&part[i].range, s->vocab, counts);
    if (counts && *out)
        hs_mask_preference(counts, s->vocab, k->rare, *out);
    free(counts);
    return counts && *out ? HS_OK : HS_FAIL(MEMORY, "no memory to count %lld kinds of tokens", (long long)s->vocab);
}

static hs_status make_masker(masked *s, const hs_masked_opts *o, const hs_objective *k, const int32_t *special, int n_special,
                             uint64_t seed)
{
    double *preference;
    hs_status st = prefer(s, o, k, &preference);
    if (st == HS_OK)
        st = hs_masker_new(&s->masker, &(hs_mask_opts){ .probability = k->probability,
                                                        .masked = k->masked,
                                                        .random = k->random,
                                                        .max_predictions = (int32_t)predictions_of(o),
                                                        .mask_id = o->ids.mask,
                                                        .vocab = (int32_t)s->vocab,
                                                        .special = special,
                                                        .n_special = n_special,
                                                        .max_tokens = o->length,
                                                        .unit = k->unit,
                                                        .ngram = k->ngram,
                                                        .preference = preference,
                                                        .seed = seed });
    free(preference);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status make_parts(masked *s, const hs_masked_opts *o, const hs_objective *k, uint64_t seed)
{
    int32_t special[HS_MASK_SPECIAL];
    const int n_special = special_ids(&o->ids, special);
    HS_TRY(make_scratch(s, o));
    HS_TRY(make_masker(s, o, k, special, n_special, seed));
    const int64_t extra = k->segments == HS_SEGMENTS_FULL ? 2 : o->ids.double_sep ? 4 : 3;
    HS_TRY(hs_masked_text_new(&s->text, &(hs_masked_text_opts){ .range = s->range,
                                                                .segments = k->segments,
                                                                .room = o->length - extra,
                                                                .sentence = o->sentence ? o->sentence : SENTENCE,
                                                                .short_share = o->short_share,
                                                                .continues = s->continues,
                                                                .seed = seed }));
    s->base.n_samples = hs_masked_text_samples(s->text);
    return check_maskable(s, special, n_special);
}

static hs_status make_one(hs_source **out, const hs_masked_opts *o, int part, int objective)
{
    const hs_token_range *r = &o->parts[part].range;
    const hs_objective *k = &o->objective[objective];
    const int64_t own = hs_token_store_info_of(r->store).vocab;
    *out = NULL;
    masked *s = calloc(1, sizeof *s);
    if (!s)
        return HS_FAIL(MEMORY, "no memory for a source of masked samples");
    *s = (masked){ .base = { .unit = "sequences",
                             .column = hs_masked_columns,
                             .n_columns = HS_MASKED_COLUMNS,
                             .most = { [HS_COUNT_TOKENS] = o->length, [HS_COUNT_SEQS] = 1, [HS_COUNT_PICKS] = predictions_of(o) },
                             .begin = begin,
                             .fill = fill,
                             .free = masked_free },
                   .range = *r,
                   .segments = k->segments,
                   .ids = o->ids,
                   .types = o->types,
                   .frozen = o->frozen,
                   .task = objective,
                   .vocab = o->vocab && o->vocab < own ? o->vocab : own,
                   .words = k->unit != HS_MASK_TOKEN,
                   .later = o->later };
    // the same text twice, or under two objectives, is drawn in two ways
    const hs_status st = make_parts(s, o, k, hs_mix2(o->seed, (uint64_t)(part * HS_MIX_SOURCES + objective)));
    if (st != HS_OK) {
        masked_free(&s->base);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = &s->base;
    return HS_OK;
}

// ---- options

static hs_status check_part(const hs_masked_opts *o, const hs_token_range *r)
{
    const hs_token_store_info info = hs_token_store_info_of(r->store);
    const int64_t vocab = o->vocab && o->vocab < info.vocab ? o->vocab : info.vocab;
    const struct {
        const char *name;
        int32_t id;
    } ids[] = { { "[CLS]", o->ids.cls }, { "[SEP]", o->ids.sep }, { "[MASK]", o->ids.mask }, { "[PAD]", o->ids.pad } };
    if (r->first < 0 || r->end > info.n_tokens || r->first > r->end)
        return HS_FAIL(USAGE, "%s: tokens %lld to %lld of a store of %lld", hs_token_store_path(r->store), (long long)r->first,
                       (long long)r->end, (long long)info.n_tokens);
    for (int i = 0; i < HS_COUNT(ids); i++)
        if (ids[i].id < 0 || ids[i].id >= vocab)
            return HS_FAIL(USAGE, "%s: %s is id %d, outside the vocabulary of %lld", hs_token_store_path(r->store), ids[i].name, ids[i].id,
                           (long long)vocab);
    return HS_OK;
}

static hs_status check_objective(const hs_objective *k, int number, bool later)
{
    if (k->segments > HS_SEGMENTS_FULL)
        return HS_FAIL(USAGE, "objective %d has segments %d, allowed 0 to %d", number, (int)k->segments, HS_SEGMENTS_FULL);
    if (!(k->probability > 0 && k->probability <= 1))
        return HS_FAIL(USAGE, "objective %d (%s) masks %g of the tokens; allowed above 0 to 1", number, segment_names[k->segments],
                       k->probability);
    if (!(k->rare >= 0 && k->rare <= 4))
        return HS_FAIL(USAGE, "objective %d (%s) prefers rare tokens by %g; allowed 0 to 4", number, segment_names[k->segments], k->rare);
    if (later && (k->unit != HS_MASK_TOKEN || k->rare > 0))
        return HS_FAIL(USAGE, "objective %d (%s) %s, which the loader alone does", number, segment_names[k->segments],
                       k->rare > 0 ? "prefers rare tokens" : "masks by more than single tokens");
    return HS_OK;
}

static hs_status check(const hs_masked_opts *o)
{
    if (o->length < MIN_LENGTH || o->length > MAX_LENGTH)
        return HS_FAIL(USAGE, "sequences of %lld tokens, allowed %d to %d", (long long)o->length, MIN_LENGTH, MAX_LENGTH);
    if (o->predictions < 0 || o->predictions > o->length)
        return HS_FAIL(USAGE, "%lld predictions in a sequence of %lld tokens; allowed 0 (by the probability) to that",
                       (long long)o->predictions, (long long)o->length);
    if (!(o->short_share >= 0 && o->short_share <= 1) || o->sentence < 0)
        return HS_FAIL(USAGE, "short sequences at %g, sentences of %lld tokens; allowed 0 to 1, and 0 or more", o->short_share,
                       (long long)o->sentence);
    if (o->n_parts < 1 || o->n_objectives < 1 || o->n_parts > HS_MIX_SOURCES / o->n_objectives)
        return HS_FAIL(USAGE, "%d texts under %d objectives; each at least 1, together at most %d", o->n_parts, o->n_objectives,
                       HS_MIX_SOURCES);
    for (int k = 0; k < o->n_objectives; k++)
        HS_TRY(check_objective(&o->objective[k], k + 1, o->later));
    for (int i = 0; i < o->n_parts; i++)
        HS_TRY(check_part(o, &o->parts[i].range));
    return HS_OK;
}

hs_status hs_masked_new(hs_source **out, const hs_masked_opts *o)
{
    hs_source *source[HS_MIX_SOURCES];
    double weight[HS_MIX_SOURCES];
    int n = 0;
    *out = NULL;
    HS_TRY(check(o));
    for (int i = 0; i < o->n_parts; i++)
        for (int k = 0; k < o->n_objectives; k++) {
            const hs_status st = make_one(&source[n], o, i, k);
            for (int done = 0; st != HS_OK && done < n; done++)
                hs_source_free(source[done]);
            HS_TRY(st);
            weight[n++] = (o->n_parts > 1 ? o->parts[i].weight : 1) * (o->n_objectives > 1 ? o->objective[k].weight : 1);
        }
    hs_source *all = source[0];
    if (n > 1)
        HS_TRY(hs_mixed_new(&all, source, weight, n));
    return hs_seq_layout_new(out, all,
                             &(hs_seq_layout_opts){ .layout = o->layout,
                                                    .length = o->length,
                                                    .batch = o->batch,
                                                    .ranks = o->ranks,
                                                    .pad = o->ids.pad,
                                                    .seed = o->seed,
                                                    .frozen = o->frozen });
}
