// masking: Philox draws addressed by (epoch, sample, word): one sample is masked without those before it.
#include "data/batches/masking.h"
#include "core/base/rng.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct hs_masker {
    hs_mask_opts o;
    int32_t special[HS_MASK_SPECIAL]; // ascending
    int32_t *first;                   // [max_tokens + 1] candidates: first token of each word
    int32_t *size;                    // [max_tokens] its tokens
    uint8_t *chosen;                  // [max_tokens]
};

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
    return HS_OK;
}

hs_status hs_masker_new(hs_masker **out, const hs_mask_opts *o)
{
    *out = NULL;
    HS_TRY(check(o));
    hs_masker *m = calloc(1, sizeof *m);
    const size_t n = (size_t)o->max_tokens;
    if (m)
        m->first = malloc((2 * n + 1) * sizeof *m->first + n);
    if (!m || !m->first) {
        free(m);
        return HS_FAIL(MEMORY, "no memory to mask samples of %lld tokens", (long long)o->max_tokens);
    }
    m->size = m->first + n + 1, m->chosen = (uint8_t *)(m->size + n);
    m->o = *o;
    qsort(memcpy(m->special, o->special, (size_t)o->n_special * sizeof *o->special), (size_t)o->n_special, sizeof *m->special, by_value);
    m->o.n_special = 0;
    for (int i = 0; i < o->n_special; i++) // each once: a draw counts them
        if (i == 0 || m->special[i] != m->special[i - 1])
            m->special[m->o.n_special++] = m->special[i];
    *out = m;
    return HS_OK;
}

void hs_masker_free(hs_masker *m)
{
    if (m)
        free(m->first);
    free(m);
}

static bool is_special(const hs_masker *m, int32_t id)
{
    for (int i = 0; i < m->o.n_special; i++)
        if (m->special[i] == id)
            return true;
    return false;
}

// Words that may be chosen: m->first, m->size. A special token ends a word.
static int64_t find_words(hs_masker *m, const int32_t *ids, int64_t n, const int32_t *word)
{
    int64_t count = 0;
    bool open = false;
    for (int64_t i = 0; i < n; i++) {
        const bool may = !is_special(m, ids[i]) && (!word || word[i] >= 0);
        if (may && open && word && word[i] == word[i - 1])
            m->size[count - 1]++;
        else if (may)
            m->first[count] = (int32_t)i, m->size[count++] = 1;
        open = may;
    }
    return count;
}

// Uniform in [0, n): the high half of a 32 x 64 bit product; off by less than n / 2^32.
static int64_t below(uint32_t word, int64_t n) { return (int64_t)(((unsigned __int128)word * (uint64_t)n) >> 32); }

// The k-th id that is not special.
static int32_t plain_id(const hs_masker *m, int64_t k)
{
    for (int i = 0; i < m->o.n_special && m->special[i] <= k; i++)
        k++;
    return (int32_t)k;
}

static int32_t replacement(const hs_masker *m, hs_u32x4 r, int32_t id)
{
    const double u = hs_u32_unit(r.v[0]);
    if (u < m->o.masked)
        return m->o.mask_id;
    return u < m->o.masked + m->o.random ? plain_id(m, below(r.v[1], m->o.vocab - m->o.n_special)) : id;
}

int64_t hs_mask(hs_masker *m, uint64_t epoch, uint64_t sample, int32_t *ids, int64_t n, const int32_t *word, int32_t *positions,
                int32_t *labels)
{
    const uint64_t key = hs_mix2(hs_mix2(m->o.seed, 0x6D61736B), epoch); // "mask": apart from the other uses of a seed
    const uint32_t low = (uint32_t)sample, high = (uint32_t)(sample >> 32);
    const int64_t words = find_words(m, ids, n, word);
    int64_t want = (int64_t)rint(m->o.probability * (double)n), got = 0, count = 0;
    want = want < 1 ? 1 : want > m->o.max_predictions ? m->o.max_predictions : want;
    for (int64_t i = 0; i < n; i++)
        m->chosen[i] = 0;
    // The beginning of a random order (Fisher and Yates), as far as it is needed. Draws and replacements have planes 0 and 1.
    for (int64_t k = 0; k < words && got < want; k++) {
        const int64_t pick = k + below(hs_random(key, low, high, (uint32_t)k, 0).v[0], words - k);
        const int32_t first = m->first[pick], size = m->size[pick];
        m->first[pick] = m->first[k], m->size[pick] = m->size[k];
        if (got + size > want)
            continue;
        memset(m->chosen + first, 1, (size_t)size);
        got += size;
    }
    for (int64_t i = 0; i < n && count < got; i++)
        if (m->chosen[i]) {
            positions[count] = (int32_t)i, labels[count++] = ids[i];
            ids[i] = replacement(m, hs_random(key, low, high, (uint32_t)i, 1), ids[i]);
        }
    return count;
}

void hs_mask_words(const uint8_t *continues, int64_t n, int32_t *word)
{
    int32_t number = -1;
    for (int64_t i = 0; i < n; i++)
        word[i] = number += i == 0 || !continues[i];
}
