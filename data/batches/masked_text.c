// masked_text: chunks are laid out in one walk over the tables of the store; a sample is then a few draws and look-ups.
#include "data/batches/masked_text.h"
#include "core/base/rng.h"
#include "data/batches/sampler.h"
#include <stdlib.h>

enum { KEY_ORDER = 1, KEY_CHUNKS, KEY_SPLIT, KEY_SAMPLE }; // of an epoch
static const uint64_t KEY_SHORT = 0x73686F7274;            // "short": of all epochs

struct hs_masked_text {
    hs_masked_text_opts o;
    bool sentences;
    int64_t *chunk; // [n + 1] first tokens; the last: the range's end
    int64_t n, room;
    int64_t twice; // chunks of an epoch that make two samples
};

// ---- draws

typedef struct dice {
    uint64_t key, n;
} dice;
static uint64_t draw(dice *d) { return hs_mix2(d->key, d->n++); }
static int64_t between(dice *d, int64_t low, int64_t high) // both included
{
    return low + (int64_t)(((unsigned __int128)draw(d) * (uint64_t)(high - low + 1)) >> 64);
}

static int64_t target_of(const hs_masked_text *t, int64_t chunk)
{
    dice d = { hs_mix2(hs_mix2(t->o.seed, KEY_SHORT), (uint64_t)chunk), 0 };
    return hs_u32_unit((uint32_t)(draw(&d) >> 32)) < t->o.short_share ? between(&d, 2, t->o.room) : t->o.room;
}

// ---- documents and sentences of the range

typedef struct span {
    int64_t first, end;
} span;

static span clip(const hs_masked_text *t, span s)
{
    const hs_token_range *r = &t->o.range;
    return (span){ s.first > r->first ? s.first : r->first, s.end < r->end ? s.end : r->end };
}

static span document(const hs_masked_text *t, int64_t index)
{
    span d;
    hs_token_store_document(t->o.range.store, index, &d.first, &d.end);
    return clip(t, d);
}

static span document_at(const hs_masked_text *t, int64_t token) { return document(t, hs_token_store_document_at(t->o.range.store, token)); }

// Walks over the sentences of one document, cut where they are longer than a sample.
typedef struct walk {
    const hs_masked_text *t;
    span doc;
    int64_t at;    // where the next one begins
    int64_t index; // of the store's sentence that `at` lies in
} walk;

static walk walk_from(const hs_masked_text *t, span doc, int64_t at)
{
    return (walk){ t, doc, at, t->sentences ? hs_token_store_sentence_at(t->o.range.store, at) : 0 };
}

static hs_status next(walk *w, span *s)
{
    const hs_masked_text *t = w->t;
    *s = (span){ w->at, w->at + t->o.sentence };
    if (t->sentences) {
        const hs_token_store *store = t->o.range.store;
        int64_t first;
        if (w->index >= hs_token_store_info_of(store).n_sentences) // documents and sentences do not agree
            return HS_FAIL(CORRUPT, "%s: token %lld lies in no sentence", hs_token_store_path(store), (long long)w->at);
        HS_TRY(hs_token_store_sentence(store, w->index, &first, &s->end));
        if (s->end > w->at + t->o.room)
            s->end = w->at + t->o.room;
        else
            w->index++;
    }
    if (s->end > w->doc.end)
        s->end = w->doc.end;
    w->at = s->end;
    return HS_OK;
}

// Where the sentence that a token lies in begins.
static hs_status begin_of(const hs_masked_text *t, span doc, int64_t token, int64_t *begin)
{
    int64_t first = doc.first, end, size = t->o.sentence;
    if (t->sentences) {
        const int64_t index = hs_token_store_sentence_at(t->o.range.store, token);
        HS_TRY(hs_token_store_sentence(t->o.range.store, index, &first, &end));
        first = first > doc.first ? first : doc.first;
        size = t->o.room;
    }
    *begin = first + (token - first) / size * size;
    return HS_OK;
}

// ---- chunks

static hs_status add(hs_masked_text *t, int64_t first)
{
    if (t->n + 1 >= t->room) {
        const int64_t room = t->room ? 2 * t->room : 1024;
        int64_t *chunk = realloc(t->chunk, (size_t)room * sizeof *chunk);
        if (!chunk)
            return HS_FAIL(MEMORY, "no memory for %lld samples of %s", (long long)room, hs_token_store_path(t->o.range.store));
        t->chunk = chunk, t->room = room;
    }
    t->chunk[t->n++] = first;
    return HS_OK;
}

// Sentences until there are as many tokens as wanted. A last one of a single token stays with those before it.
static hs_status chunks_of(hs_masked_text *t, walk *w)
{
    while (w->at < w->doc.end) {
        const int64_t first = w->at, target = target_of(t, t->n);
        span s = { first, first };
        while (w->at < w->doc.end && (s.end - first < target || w->doc.end - w->at < 2))
            HS_TRY(next(w, &s));
        HS_TRY(add(t, first));
    }
    return HS_OK;
}

// Over the ends of documents, where a separator takes a token of the room.
static hs_status chunks_of_full(hs_masked_text *t, walk *w, int64_t *used)
{
    bool begins = true;
    while (w->at < w->doc.end) {
        span s;
        HS_TRY(next(w, &s));
        const int64_t n = s.end - s.first, more = n + (begins && *used > 0);
        begins = false;
        if (*used == 0 || *used + more > t->o.room) {
            HS_TRY(add(t, s.first));
            *used = n;
        } else {
            *used += more;
        }
    }
    return HS_OK;
}

static hs_status nothing(const hs_masked_text *t, const char *why)
{
    const hs_token_range *r = &t->o.range;
    return HS_FAIL(USAGE, "%s: tokens %lld to %lld %s", hs_token_store_path(r->store), (long long)r->first, (long long)r->end, why);
}

static hs_status lay_chunks(hs_masked_text *t)
{
    const hs_token_range *r = &t->o.range;
    const hs_token_store_info info = hs_token_store_info_of(r->store);
    int64_t used = 0, documents = 0, index = r->end > r->first ? hs_token_store_document_at(r->store, r->first) : info.n_documents;
    walk w = { .t = t, .index = index < info.n_documents && t->sentences ? hs_token_store_sentence_at(r->store, r->first) : 0 };
    for (; index < info.n_documents; index++) {
        w.doc = document(t, index);
        if (w.doc.first >= r->end)
            break;
        const int64_t tokens = w.doc.end - w.doc.first;
        documents += tokens > 0;
        w.at = w.doc.first;
        if (t->o.segments == HS_SEGMENTS_FULL) {
            HS_TRY(chunks_of_full(t, &w, &used));
            continue;
        }
        span alone;
        if (tokens == 1)
            HS_TRY(next(&w, &alone));
        else
            HS_TRY(chunks_of(t, &w));
    }
    if (documents == 0)
        return nothing(t, "hold no document");
    if (t->n == 0)
        return nothing(t, "hold no document of two tokens");
    if (documents == 1 && t->o.segments == HS_SEGMENTS_NEXT)
        return nothing(t, "are of one document: next-sentence prediction takes half of its texts from another one; prepare documents by "
                          "lines or blank lines, or use another objective");
    t->chunk[t->n] = r->end;
    return HS_OK;
}

hs_status hs_masked_text_new(hs_masked_text **out, const hs_masked_text_opts *o)
{
    *out = NULL;
    hs_masked_text *t = calloc(1, sizeof *t);
    if (!t)
        return HS_FAIL(MEMORY, "no memory for a text of masked samples");
    *t = (hs_masked_text){ .o = *o, .sentences = hs_token_store_info_of(o->range.store).n_sentences > 0 };
    if (t->o.sentence > o->room)
        t->o.sentence = o->room;
    if (o->segments == HS_SEGMENTS_FULL)
        t->o.short_share = 0;
    const hs_status st = lay_chunks(t);
    if (st != HS_OK) {
        hs_masked_text_free(t);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    t->twice = o->segments == HS_SEGMENTS_NEXT ? (t->n + 1) / 3 : 0;
    *out = t;
    return HS_OK;
}

void hs_masked_text_free(hs_masked_text *t)
{
    if (t)
        free(t->chunk);
    free(t);
}

int64_t hs_masked_text_samples(const hs_masked_text *t) { return t->n + t->twice; }

// ---- a sample

// Behind a sentence that is not the chunk's last; where there is only one, behind a word.
static hs_status split(const hs_masked_text *t, span doc, span chunk, dice *d, int64_t *at)
{
    const hs_token_store *store = t->o.range.store;
    walk w = walk_from(t, doc, chunk.first);
    int64_t n = 0;
    span s;
    for (; w.at < chunk.end; n++)
        HS_TRY(next(&w, &s));
    if (n > 1) {
        const int64_t take = between(d, 1, n - 1);
        w = walk_from(t, doc, chunk.first);
        for (int64_t i = 0; i < take; i++)
            HS_TRY(next(&w, &s));
        *at = w.at;
        return HS_OK;
    }
    int64_t to = between(d, chunk.first + 1, chunk.end - 1);
    *at = to;
    for (int32_t id; t->o.continues && to < chunk.end; to++) {
        hs_token_store_read(store, to, 1, &id);
        if ((uint32_t)id >= (uint64_t)hs_token_store_info_of(store).vocab || !t->o.continues[id]) {
            *at = to;
            break;
        }
    }
    return HS_OK;
}

// Sentences of another document from one of its own on.
static hs_status random_text(const hs_masked_text *t, span own, int64_t target, dice *d, span *out)
{
    const hs_token_range *r = &t->o.range;
    int64_t token = r->first + between(d, 0, r->end - r->first - (own.end - own.first) - 1);
    token += token >= own.first ? own.end - own.first : 0;
    const span other = document_at(t, token);
    HS_TRY(begin_of(t, other, token, &out->first));
    out->end = out->first;
    walk w = walk_from(t, other, out->first);
    for (span s; out->end - out->first < target && w.at < other.end; out->end = s.end)
        HS_TRY(next(&w, &s));
    return HS_OK;
}

// The longer one loses a token, at either end, until both fit.
static void truncate_pair(const hs_masked_text *t, dice *d, span *a, span *b)
{
    uint64_t bits = 0;
    int left = 0;
    while (a->end - a->first + b->end - b->first > t->o.room) {
        span *longer = a->end - a->first > b->end - b->first ? a : b;
        if (left == 0)
            bits = draw(d), left = 64;
        if (bits & 1)
            longer->first++;
        else
            longer->end--;
        bits >>= 1, left--;
    }
}

// Of a sample the chunk, and which half of it has a random neighbour: 0, 1, or -1: neither.
static int64_t chunk_at(const hs_masked_text *t, uint64_t key, int64_t sample, int *half)
{
    const int64_t once = t->n - t->twice;
    const int64_t x = (int64_t)hs_permute(hs_mix2(key, KEY_ORDER), (uint64_t)hs_masked_text_samples(t), (uint64_t)sample);
    *half = x < once ? -1 : (int)((x - once) & 1);
    const int64_t y = x < once ? x : once + (x - once) / 2;
    return t->twice ? (int64_t)hs_permute(hs_mix2(key, KEY_CHUNKS), (uint64_t)t->n, (uint64_t)y) : y;
}

hs_status hs_masked_text_at(const hs_masked_text *t, uint64_t epoch, int64_t sample, hs_masked_piece *out)
{
    const uint64_t key = hs_mix2(t->o.seed, epoch);
    int half;
    const int64_t c = chunk_at(t, key, sample, &half);
    span chunk = { t->chunk[c], t->chunk[c + 1] };
    if (t->o.segments == HS_SEGMENTS_FULL) {
        *out = (hs_masked_piece){ .a = chunk.first, .n_a = chunk.end - chunk.first, .b = chunk.end };
        return HS_OK;
    }
    const span doc = document_at(t, chunk.first);
    chunk.end = chunk.end < doc.end ? chunk.end : doc.end; // behind it lie documents of no sample
    dice of_chunk = { hs_mix2(hs_mix2(key, KEY_SPLIT), (uint64_t)c), 0 };
    dice of_sample = { hs_mix2(hs_mix2(key, KEY_SAMPLE), (uint64_t)sample), 0 };
    int64_t at = 0;
    HS_TRY(split(t, doc, chunk, &of_chunk, &at));
    span a = { chunk.first, at }, b = { at, chunk.end };
    bool swapped = false;
    if (half >= 0) {
        a = half ? b : a;
        const int64_t left = target_of(t, c) - (a.end - a.first);
        HS_TRY(random_text(t, doc, left > 1 ? left : 1, &of_sample, &b));
    } else if (t->o.segments == HS_SEGMENTS_ORDER && (swapped = draw(&of_sample) & 1)) {
        const span first = a;
        a = b, b = first;
    }
    truncate_pair(t, &of_sample, &a, &b);
    *out = (hs_masked_piece){ a.first, b.first, a.end - a.first, b.end - b.first, half >= 0, swapped };
    return HS_OK;
}
