// score_tokens: entities by seqeval's two modes and by conlleval.
#include "data/score/entities.h"
#include <stdlib.h>
#include <string.h>

typedef struct work {
    const hs_tokens_input *in;
    hs_entity_scheme scheme;
    hs_chunk_tag *tags;   // [in->tags->n]
    hs_labels types;      // "_" first
    hs_class_counts *of;  // [types.n]
    int32_t *gold, *pred; // one sentence without what is passed over
    hs_chunk *golds, *preds;
    int64_t tokens, right;
} work;

static void work_free(work *w)
{
    free(w->tags);
    free(w->of);
    free(w->gold);
    free(w->golds);
    hs_labels_free(&w->types);
}

static hs_status check_tags(const work *w)
{
    const hs_tokens_input *in = w->in;
    for (int64_t i = 0; i < in->starts[in->sentences]; i++) {
        const int32_t gold = in->gold[i], pred = in->pred[i];
        if (gold < 0)
            continue;
        if (gold >= in->tags->n || pred < 0 || pred >= in->tags->n)
            return HS_FAIL(USAGE, "token %lld has tag %d and prediction %d, allowed 0 to %d", (long long)i, (int)gold, (int)pred,
                           in->tags->n - 1);
        if (in->mode != HS_ENTITY_STRICT)
            continue;
        const int32_t bad = !hs_scheme_has(w->scheme, w->tags[gold].prefix) ? gold : pred;
        if (!hs_scheme_has(w->scheme, w->tags[bad].prefix))
            return HS_FAIL(USAGE, "tag \"%s\" is none of scheme %s, whose tags begin with %s", in->tags->name[bad],
                           hs_scheme_name(w->scheme), hs_scheme_prefixes(w->scheme));
    }
    return HS_OK;
}

static hs_status prepare(work *w, const hs_tokens_input *in)
{
    int64_t longest = 0;
    for (int64_t s = 0; s < in->sentences; s++)
        longest = in->starts[s + 1] - in->starts[s] > longest ? in->starts[s + 1] - in->starts[s] : longest;
    const size_t room = (size_t)longest + 1;
    *w = (work){ .in = in, .scheme = in->scheme };
    w->tags = malloc(((size_t)in->tags->n + 1) * sizeof *w->tags);
    w->gold = malloc(2 * room * sizeof *w->gold);
    w->golds = malloc(2 * room * sizeof *w->golds);
    if (!w->tags || !w->gold || !w->golds)
        return HS_FAIL(MEMORY, "no memory for the tags of a sentence");
    w->pred = w->gold + room, w->preds = w->golds + room;
    HS_TRY(hs_tags_read(w->tags, in->tags, in->mode, &w->types));
    w->of = calloc((size_t)w->types.n, sizeof *w->of);
    if (!w->of)
        return HS_FAIL(MEMORY, "no memory for the counts of %d types", w->types.n);
    if (in->mode == HS_ENTITY_STRICT && in->scheme == HS_SCHEME_AUTO)
        HS_TRY(hs_scheme_detect(w->tags, in->gold, in->starts[in->sentences], &w->scheme));
    return check_tags(w);
}

// Both lists are in the order of their ends, of which no two of one list are equal.
static void count_chunks(work *w, int64_t n_gold, int64_t n_pred)
{
    for (int64_t i = 0; i < n_gold; i++)
        w->of[w->golds[i].type].gold++;
    for (int64_t i = 0; i < n_pred; i++)
        w->of[w->preds[i].type].predicted++;
    for (int64_t i = 0, k = 0; i < n_gold && k < n_pred;) {
        const hs_chunk g = w->golds[i], p = w->preds[k];
        w->of[g.type].hits += g.type == p.type && g.from == p.from && g.to == p.to;
        i += g.to <= p.to, k += p.to <= g.to;
    }
}

static void seqeval_sentence(work *w, int64_t n, bool first)
{
    const bool strict = w->in->mode == HS_ENTITY_STRICT;
    const int last = first ? -1 : 0;
    const int64_t golds =
        strict ? hs_chunks_strict(w->tags, w->gold, n, w->scheme, w->golds) : hs_chunks_default(w->tags, w->gold, n, last, w->golds);
    const int64_t preds =
        strict ? hs_chunks_strict(w->tags, w->pred, n, w->scheme, w->preds) : hs_chunks_default(w->tags, w->pred, n, last, w->preds);
    count_chunks(w, golds, preds);
}

// ---- conlleval.pl (Tjong Kim Sang 2004): one walk over pairs of tags; a chunk is right if both begin and both end together

static bool one_of(uint32_t prefix, const char *set) { return prefix && strchr(set, (int)prefix); }

static bool conll_ends(hs_chunk_tag last, hs_chunk_tag now)
{
    return (one_of(last.prefix, "BI") && one_of(now.prefix, "BO")) || (last.prefix == 'E' && one_of(now.prefix, "EIO")) ||
           (!one_of(last.prefix, "O.") && last.type != now.type) || one_of(last.prefix, "[]");
}

static bool conll_begins(hs_chunk_tag last, hs_chunk_tag now)
{
    return (one_of(last.prefix, "BIO") && now.prefix == 'B') || (one_of(last.prefix, "EO") && one_of(now.prefix, "EI")) ||
           (!one_of(now.prefix, "O.") && last.type != now.type) || one_of(now.prefix, "[]");
}

static void conll_sentence(work *w, int64_t n)
{
    const hs_chunk_tag outside = { 'O', 0 };
    hs_chunk_tag last_gold = outside, last_pred = outside;
    bool inside = false; // of a chunk that is right so far
    for (int64_t i = 0; i <= n; i++) {
        const hs_chunk_tag gold = i < n ? w->tags[w->gold[i]] : outside, pred = i < n ? w->tags[w->pred[i]] : outside;
        const bool gold_ends = conll_ends(last_gold, gold), pred_ends = conll_ends(last_pred, pred);
        const bool gold_begins = conll_begins(last_gold, gold), pred_begins = conll_begins(last_pred, pred);
        if (inside && gold_ends && pred_ends && last_gold.type == last_pred.type)
            w->of[last_gold.type].hits++, inside = false;
        else if (gold_ends != pred_ends || gold.type != pred.type)
            inside = false;
        if (gold_begins && pred_begins && gold.type == pred.type)
            inside = true;
        w->of[gold.type].gold += gold_begins;
        w->of[pred.type].predicted += pred_begins;
        last_gold = gold, last_pred = pred;
    }
}

// ----

static void count_all(work *w)
{
    const hs_tokens_input *in = w->in;
    for (int64_t s = 0; s < in->sentences; s++) {
        const int64_t at = in->draw ? in->draw[s] : s;
        int64_t n = 0;
        for (int64_t i = in->starts[at]; i < in->starts[at + 1]; i++)
            if (in->gold[i] >= 0) {
                w->gold[n] = in->gold[i], w->pred[n++] = in->pred[i];
                w->right += in->gold[i] == in->pred[i];
            }
        w->tokens += n;
        if (in->mode == HS_ENTITY_CONLLEVAL)
            conll_sentence(w, n);
        else
            seqeval_sentence(w, n, s == 0);
    }
}

static hs_status count(work *w, const hs_tokens_input *in)
{
    HS_TRY(prepare(w, in));
    count_all(w);
    return w->tokens ? HS_OK : HS_FAIL(USAGE, "nothing to score: no token has a gold tag");
}

static void fill(const work *w, hs_scores *out)
{
    static const char *const scorer[HS_SCHEMES] = {
        [HS_SCHEME_IOB1] = "seqeval, strict mode, scheme IOB1",   [HS_SCHEME_IOB2] = "seqeval, strict mode, scheme IOB2",
        [HS_SCHEME_IOE1] = "seqeval, strict mode, scheme IOE1",   [HS_SCHEME_IOE2] = "seqeval, strict mode, scheme IOE2",
        [HS_SCHEME_IOBES] = "seqeval, strict mode, scheme IOBES", [HS_SCHEME_BILOU] = "seqeval, strict mode, scheme BILOU",
    };
    const hs_entity_mode mode = w->in->mode;
    const hs_class_averages a = hs_class_average(w->of, w->types.n, false);
    *out = (hs_scores){ .scorer = mode == HS_ENTITY_STRICT    ? scorer[w->scheme]
                                  : mode == HS_ENTITY_DEFAULT ? "seqeval, default mode"
                                                              : "conlleval" };
    hs_scores_add(out, "f1", a.micro.f1);
    hs_scores_add(out, "precision", a.micro.precision);
    hs_scores_add(out, "recall", a.micro.recall);
    hs_scores_add(out, "f1_macro", a.macro.f1);
    hs_scores_add(out, "f1_weighted", a.weighted.f1);
    hs_scores_add(out, "accuracy", (double)w->right / (double)w->tokens);
    hs_scores_add(out, "entities", (double)a.support);
}

hs_status hs_score_tokens(const hs_tokens_input *in, hs_scores *out)
{
    work w;
    const hs_status st = count(&w, in);
    if (st == HS_OK)
        fill(&w, out);
    work_free(&w);
    return st;
}

typedef struct named {
    const char *name;
    hs_class_counts counts;
} named;

static int by_name(const void *a, const void *b) { return strcmp(((const named *)a)->name, ((const named *)b)->name); }

static hs_status sorted(const work *w, named *room, hs_entity_counts *out)
{
    int n = 0;
    for (int i = 0; i < w->types.n; i++)
        if (w->of[i].gold || w->of[i].predicted)
            room[n++] = (named){ w->types.name[i], w->of[i] };
    qsort(room, (size_t)n, sizeof *room, by_name);
    for (int i = 0; i < n; i++) {
        out->of_type[i] = room[i].counts;
        HS_TRY(hs_labels_add(&out->types, room[i].name, NULL));
    }
    return HS_OK;
}

hs_status hs_count_entities(const hs_tokens_input *in, hs_entity_counts *out)
{
    work w;
    *out = (hs_entity_counts){ 0 };
    hs_status st = count(&w, in);
    if (st == HS_OK) {
        named *room = malloc((size_t)w.types.n * sizeof *room);
        out->of_type = malloc((size_t)w.types.n * sizeof *out->of_type);
        st = room && out->of_type ? sorted(&w, room, out) : HS_FAIL(MEMORY, "no memory for the counts of %d types", w.types.n);
        free(room);
    }
    work_free(&w);
    if (st != HS_OK)
        hs_entity_counts_free(out);
    return st;
}

void hs_entity_counts_free(hs_entity_counts *c)
{
    if (!c)
        return;
    hs_labels_free(&c->types);
    free(c->of_type);
    *c = (hs_entity_counts){ 0 };
}
