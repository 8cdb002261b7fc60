// masking: Philox draws addressed by (epoch, sample, word): one sample is masked without those before it.
#include "data/batches/masking.h"
#include "core/base/rng.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { NGRAM = 3, SPAN_LONGEST = 10, LONGEST = 64 };
static const double SPAN_SHARE = 0.2;

struct hs_masker {
    hs_mask_opts o;
    int32_t special[HS_MASK_SPECIAL]; // ascending
    int32_t row[HS_DRAW_CELLS];       // but for what is of a sample
    int32_t *first, *size;            // [max_tokens] candidates in the order of the text: first token of each word, and its tokens
    int32_t *order;                   // [max_tokens] candidates, the front of it shuffled
    int32_t *chosen;                  // [max_tokens] token whose draw says what becomes of this one; -1: it is not chosen
    uint8_t *is_special;              // [vocab]
    double *preference;               // [vocab]; NULL: all alike
    struct turn *turn;                // [max_tokens] where there are preferences
};
typedef struct turn { // of a candidate: the smallest comes first
    double at;
    int32_t word;
} turn;

static int by_value(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static bool share(double x) { return x >= 0 && x <= 1; }

static hs_status check(const hs_mask_opts *o)
{
    if (!share(o->probability) || !share(o->masked) || !share(o->random) || o->masked + o->random > 1 + 1e-12)
        return HS_FAIL(USAGE, "masking %g of tokens, %g of them by the mask and %g by another: each 0 to 1, the last two together too",
                       o->probability, o->masked, o->random);
    if (o->max_predictions < 1 || o->max_tokens < 1 || o->max_tokens > INT32_MAX)
        return HS_FAIL(USAGE, "at most %d predictions in %lld tokens; each at least 1", o->max_predictions, (long long)o->max_tokens);
    if (o->mask_id < 0 || o->mask_id >= o->vocab)
        return HS_FAIL(USAGE, "mask id %d is outside the vocabulary of %d", o->mask_id, o->vocab);
    if (o->n_special < 0 || o->n_special > HS_MASK_SPECIAL || o->n_special >= o->vocab)
        return HS_FAIL(USAGE, "%d special ids, allowed 0 to %d and fewer than the vocabulary's %d", o->n_special, HS_MASK_SPECIAL,
                       o->vocab);
    for (int i = 0; i < o->n_special; i++)
        if (o->special[i] < 0 || o->special[i] >= o->vocab)
            return HS_FAIL(USAGE, "special id %d is outside the vocabulary of %d", o->special[i], o->vocab);
    if (o->unit > HS_MASK_SPAN || o->ngram < 0 || o->ngram > LONGEST || o->span_longest < 0 || o->span_longest > LONGEST ||
        !(o->span_share >= 0 && o->span_share < 1))
        return HS_FAIL(USAGE, "unit %d of masking, n-grams of %lld words, spans of %lld at %g; allowed 0 to %d, to %d, to %d, below 1",
                       (int)o->unit, (long long)o->ngram, (long long)o->span_longest, o->span_share, HS_MASK_SPAN, LONGEST, LONGEST);
    return HS_OK;
}

static hs_status take_preference(hs_masker *m, const hs_mask_opts *o)
{
    m->o.preference = NULL;
    if (!o->preference)
        return HS_OK;
    m->preference = malloc((size_t)o->vocab * sizeof *m->preference), m->turn = malloc((size_t)o->max_tokens * sizeof *m->turn);
    if (!m->preference || !m->turn)
        return HS_FAIL(MEMORY, "no memory for preferences of %d tokens", o->vocab);
    memcpy(m->preference, o->preference, (size_t)o->vocab * sizeof *m->preference);
    for (int32_t id = 0; id < o->vocab; id++)
        if (!(m->preference[id] > 0) || !isfinite(m->preference[id]))
            return HS_FAIL(USAGE, "token %d is preferred by %g; above 0", id, m->preference[id]);
    return HS_OK;
}

hs_status hs_masker_new(hs_masker **out, const hs_mask_opts *o)
{
    *out = NULL;
    HS_TRY(check(o));
    hs_masker *m = calloc(1, sizeof *m);
    const size_t n = (size_t)o->max_tokens;
    if (m)
        m->first = malloc(4 * n * sizeof *m->first), m->is_special = calloc(1, (size_t)o->vocab);
    if (!m || !m->first || !m->is_special) {
        hs_masker_free(m);
        return HS_FAIL(MEMORY, "no memory to mask samples of %lld tokens", (long long)o->max_tokens);
    }
    m->size = m->first + n, m->order = m->size + n, m->chosen = m->order + n;
    m->o = *o;
    m->o.ngram = o->ngram ? o->ngram : NGRAM;
    m->o.span_longest = o->span_longest ? o->span_longest : SPAN_LONGEST;
    m->o.span_share = o->span_share > 0 ? o->span_share : SPAN_SHARE;
    if (o->n_special) // NULL may stand for none
        qsort(memcpy(m->special, o->special, (size_t)o->n_special * sizeof *o->special), (size_t)o->n_special, sizeof *m->special,
              by_value);
    m->o.n_special = 0;
    const hs_status st = take_preference(m, o);
    if (st != HS_OK) {
        hs_masker_free(m);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    for (int i = 0; i < o->n_special; i++) // each once: a draw counts them
        if (i == 0 || m->special[i] != m->special[i - 1])
            m->special[m->o.n_special++] = m->special[i], m->is_special[m->special[i]] = 1;
    hs_draw_put(m->row + HS_DRAW_MASKED, hs_draw_values(o->masked));
    hs_draw_put(m->row + HS_DRAW_CHANGED, hs_draw_values(o->masked + o->random));
    m->row[HS_DRAW_MASK_ID] = o->mask_id, m->row[HS_DRAW_VOCAB] = o->vocab;
    *out = m;
    return HS_OK;
}

void hs_masker_free(hs_masker *m)
{
    if (m) {
        free(m->first);
        free(m->is_special);
        free(m->preference);
        free(m->turn);
    }
    free(m);
}

static bool may(const hs_masker *m, int32_t id) { return (uint32_t)id < (uint32_t)m->o.vocab && !m->is_special[id]; }

// Words that may be chosen: m->first, m->size. A special token ends a word.
static int64_t find_words(hs_masker *m, const int32_t *ids, int64_t n, const int32_t *word)
{
    int64_t count = 0;
    bool open = false;
    for (int64_t i = 0; i < n; i++) {
        const bool chosen_from = may(m, ids[i]) && (!word || word[i] >= 0);
        if (chosen_from && open && word && word[i] == word[i - 1])
            m->size[count - 1]++;
        else if (chosen_from)
            m->first[count] = (int32_t)i, m->order[count] = (int32_t)count, m->size[count] = 1, count++;
        open = chosen_from;
    }
    return count;
}

// ---- units: words [w, w + n) that are chosen together, at most `room` tokens; 0: none of them

typedef struct words {
    int64_t n; // candidates
    int64_t room;
    double u; // a draw of its own
} words;

static int64_t run_tokens(const hs_masker *m, int64_t w, int64_t n) { return m->first[w + n - 1] + m->size[w + n - 1] - m->first[w]; }
static bool follows(const hs_masker *m, int64_t w)
{
    return m->first[w] + m->size[w] == m->first[w + 1];
} // the next, nothing special between
static bool is_chosen(const hs_masker *m, int64_t w) { return m->chosen[m->first[w]] >= 0; }

static int64_t one_word(const hs_masker *m, int64_t w, words s) { return m->size[w] <= s.room; }

static int64_t ngram(const hs_masker *m, int64_t w, words s)
{
    int64_t most = 1;
    while (most < m->o.ngram && w + most < s.n && follows(m, w + most - 1))
        most++;
    int64_t n = hs_mask_ngram(s.u, most);
    while (n > 0 && run_tokens(m, w, n) > s.room)
        n--;
    for (int64_t i = 0; i < n; i++)
        if (is_chosen(m, w + i))
            return 0;
    return n;
}

static int64_t span(const hs_masker *m, int64_t w, words s)
{
    const int64_t most = hs_mask_span(s.u, m->o.span_share, m->o.span_longest);
    int64_t n = 0;
    while (n < most && w + n < s.n && (n == 0 || follows(m, w + n - 1)) && !is_chosen(m, w + n) && run_tokens(m, w, n + 1) <= s.room)
        n++;
    return n;
}

static int64_t (*const units[])(const hs_masker *m, int64_t w, words s) = {
    [HS_MASK_TOKEN] = one_word, [HS_MASK_WORD] = one_word, [HS_MASK_NGRAM] = ngram, [HS_MASK_SPAN] = span
};

int64_t hs_mask_ngram(double u, int64_t longest)
{
    double all = 0;
    for (int64_t n = 1; n <= longest; n++)
        all += 1 / (double)n;
    double below_n = 0;
    for (int64_t n = 1; n < longest; n++)
        if (u * all < (below_n += 1 / (double)n))
            return n;
    return longest;
}

int64_t hs_mask_span(double u, double q, int64_t longest)
{
    double all = 0, share = 1, below_n = 0;
    for (int64_t n = 1; n <= longest; n++, share *= 1 - q)
        all += share;
    share = 1;
    for (int64_t n = 1; n < longest; n++, share *= 1 - q)
        if (u * all < (below_n += share))
            return n;
    return longest;
}

// ---- a sample

static int by_turn(const void *a, const void *b)
{
    const turn *x = a, *y = b;
    return x->at != y->at ? (x->at > y->at) - (x->at < y->at) : (x->word > y->word) - (x->word < y->word);
}

// An order drawn by weight without replacement: by exponential variates of rate preference (Efraimidis and Spirakis 2006). Plane 2.
static void order_by_preference(hs_masker *m, uint64_t key, uint64_t sample, const int32_t *ids, int64_t n_words)
{
    for (int64_t w = 0; w < n_words; w++) {
        double most = 0;
        for (int32_t i = m->first[w]; i < m->first[w] + m->size[w]; i++)
            most = fmax(most, m->preference[ids[i]]);
        const hs_u32x4 draw = hs_random(key, (uint32_t)sample, (uint32_t)(sample >> 32), (uint32_t)w, 2);
        m->turn[w] = (turn){ -log(hs_u32_unit(draw.v[0])) / most, (int32_t)w };
    }
    qsort(m->turn, (size_t)n_words, sizeof *m->turn, by_turn);
    for (int64_t w = 0; w < n_words; w++)
        m->order[w] = m->turn[w].word;
}

static void choose(hs_masker *m, int64_t first, int64_t n, bool together)
{
    for (int64_t i = first; i < first + n; i++)
        m->chosen[i] = (int32_t)(together ? first : i);
}

// "mask": apart from the other uses of a seed
static uint64_t key_of(const hs_masker *m, uint64_t epoch) { return hs_mix2(hs_mix2(m->o.seed, 0x6D61736B), epoch); }

static int64_t wanted(const hs_masker *m, int64_t n)
{
    const int64_t want = (int64_t)rint(m->o.probability * (double)n);
    return want < 1 ? 1 : want > m->o.max_predictions ? m->o.max_predictions : want;
}

int64_t hs_mask_row(const hs_masker *m, uint64_t epoch, uint64_t sample, const int32_t *ids, int64_t n, int32_t row[HS_DRAW_CELLS])
{
    int64_t there = 0;
    for (int64_t i = 0; i < n; i++)
        there += may(m, ids[i]);
    const int64_t picks = there < wanted(m, n) ? there : wanted(m, n);
    memcpy(row, m->row, sizeof m->row);
    row[HS_DRAW_TOKENS] = (int32_t)n, row[HS_DRAW_PICKS] = (int32_t)picks;
    hs_draw_put(row + HS_DRAW_KEY, key_of(m, epoch));
    hs_draw_put(row + HS_DRAW_SAMPLE, sample);
    return picks;
}

void hs_mask_special(const hs_masker *m, int32_t special[HS_DRAW_SPECIAL])
{
    for (int i = 0; i < HS_DRAW_SPECIAL; i++)
        special[i] = i < m->o.n_special ? m->special[i] : INT32_MAX;
}

int64_t hs_mask(hs_masker *m, uint64_t epoch, uint64_t sample, int32_t *ids, int64_t n, const int32_t *word, int32_t *positions,
                int32_t *labels)
{
    const uint64_t key = key_of(m, epoch);
    const int64_t n_words = find_words(m, ids, n, word), want = wanted(m, n);
    int64_t got = 0, count = 0;
    if (m->preference)
        order_by_preference(m, key, sample, ids, n_words);
    memset(m->chosen, 0xFF, (size_t)n * sizeof *m->chosen);
    // The beginning of a random order (Fisher and Yates), as far as it is needed. Draws and replacements have planes 0 and 1.
    for (int64_t k = 0; k < n_words && got < want; k++) {
        const hs_u32x4 draw = hs_draw_at(key, sample, k, 0);
        const int64_t pick = m->preference ? k : k + hs_draw_below(draw.v[0], n_words - k);
        const int32_t w = m->order[pick];
        m->order[pick] = m->order[k];
        const int64_t taken = units[m->o.unit](m, w, (words){ n_words, want - got, hs_u32_unit(draw.v[1]) });
        if (!taken)
            continue;
        const int64_t tokens = run_tokens(m, w, taken);
        choose(m, m->first[w], tokens, m->o.unit == HS_MASK_SPAN);
        got += tokens;
    }
    for (int64_t i = 0; i < n && count < got; i++)
        if (m->chosen[i] >= 0) {
            const hs_u32x4 own = hs_draw_at(key, sample, i, 1);
            const int32_t by = m->chosen[i];
            const uint32_t what = by == (int32_t)i ? own.v[0] : hs_draw_at(key, sample, by, 1).v[0];
            positions[count] = (int32_t)i, labels[count++] = ids[i];
            ids[i] = hs_draw_instead(m->row, m->special, m->o.n_special, what, own.v[1], ids[i]);
        }
    return count;
}

void hs_mask_preference(const int64_t *counts, int64_t vocab, double power, double *out)
{
    for (int64_t id = 0; id < vocab; id++)
        out[id] = pow(counts[id] > 1 ? (double)counts[id] : 1, -power);
}

void hs_mask_words(const uint8_t *continues, int64_t n, int32_t *word)
{
    int32_t number = -1;
    for (int64_t i = 0; i < n; i++)
        word[i] = number += i == 0 || !continues[i];
}
