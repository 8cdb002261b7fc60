// bucket: samples sorted, cut and shuffled batch by batch; every choice is a function of a key, so that going on needs no history.
#include "data/batches/bucket.h"
#include "core/base/rng.h"
#include "data/batches/sampler.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- keys

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int hs_bucket_keys(hs_bucket_scheme scheme, double step, int64_t longest, int64_t shortest, int n, int64_t *keys)
{
    const double span = (double)(longest - shortest), first = (double)shortest, growth = step > 0 ? step : 1.1;
    const int64_t width = (1 + longest - shortest) / n > 1 ? (1 + longest - shortest) / n : 1;
    const double alpha = 2 * (span - n) / ((double)n * (n + 1)), start = span * (growth - 1) / (pow(growth, n) - 1);
    for (int i = 0; i < n; i++)
        switch (scheme) { // rint: to even, as Python's round
        case HS_BUCKET_CONST:
            keys[i] = longest - i * width > shortest ? longest - i * width : shortest;
            break;
        case HS_BUCKET_LINEAR:
            keys[i] = (int64_t)rint(first + alpha * ((i + 1.0) * (i + 2.0) / 2) + i + 1);
            break;
        case HS_BUCKET_EXP:
            keys[i] = (int64_t)rint(first + start * (pow(growth, i + 1) - 1) / (growth - 1));
            break;
        }
    if (scheme != HS_BUCKET_CONST && keys[n - 1] < longest)
        keys[n - 1] = longest;
    qsort(keys, (size_t)n, sizeof *keys, by_value);
    int kept = 1;
    for (int i = 1; i < n; i++)
        if (keys[i] != keys[kept - 1])
            keys[kept++] = keys[i];
    return kept;
}

// ---- batches

static hs_status check(const hs_bucket_opts *o, const int32_t *length, int64_t n)
{
    if (n < 1)
        return HS_FAIL(USAGE, "no samples to batch");
    for (int64_t i = 0; i < n; i++)
        if (length[i] < 1)
            return HS_FAIL(USAGE, "sample %lld has %d tokens, at least 1", (long long)i, length[i]);
    const bool by_tokens = o->method == HS_BUCKET_BUDGET || (o->method == HS_BUCKET_FIXED && o->tokens);
    if (by_tokens ? o->tokens < 1 : o->batch < 1)
        return HS_FAIL(USAGE, "batches of %lld %s, at least 1", (long long)(by_tokens ? o->tokens : o->batch),
                       by_tokens ? "tokens" : "samples");
    if (o->method == HS_BUCKET_FIXED && (o->n_buckets < 1 || o->n_buckets > HS_BUCKETS))
        return HS_FAIL(USAGE, "%d buckets, allowed 1 to %d", o->n_buckets, HS_BUCKETS);
    if (o->method == HS_BUCKET_FIXED && (!(o->ratio >= 0) || !(o->step == 0 || o->step > 1)))
        return HS_FAIL(USAGE, "ratio %g and step %g of buckets; at least 0, above 1", o->ratio, o->step);
    if (o->method == HS_BUCKET_SORTED && !(o->mult == 0 || o->mult >= 1))
        return HS_FAIL(USAGE, "pools of %g batches, at least 1", o->mult);
    return HS_OK;
}

static uint64_t key_of(const hs_bucket_opts *o, uint64_t what) { return hs_mix2(o->key, what); }

static void shuffle(int64_t *v, int64_t n, uint64_t key, int64_t *scratch)
{
    memcpy(scratch, v, (size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = scratch[hs_permute(key, (uint64_t)n, (uint64_t)i)];
}

// Batches of `size` samples each over [first, end) of sample[].
static void cut(hs_batches *b, int64_t first, int64_t end, int64_t size)
{
    for (int64_t i = first; i < end; i += size)
        b->starts[b->n++] = i;
}

// Longest first; equal ones in the order they came. Insertion by counts would need the longest length: a merge sort needs nothing.
static void sort_falling(int64_t *v, int64_t n, const int32_t *length, int64_t *scratch)
{
    if (n < 2)
        return;
    const int64_t half = n / 2;
    sort_falling(v, half, length, scratch);
    sort_falling(v + half, n - half, length, scratch);
    memcpy(scratch, v, (size_t)half * sizeof *v);
    for (int64_t i = 0, j = half, at = 0; i < half; at++)
        v[at] = j < n && length[v[j]] > length[scratch[i]] ? v[j++] : scratch[i++];
}

static int64_t fixed_size(const hs_bucket_opts *o, const int32_t *length, const int64_t *sample, int64_t n, int64_t key, int64_t largest)
{
    if (!o->tokens) {
        const int64_t scaled = (int64_t)((double)largest / (double)key * o->ratio * (double)o->batch);
        return scaled > o->batch ? scaled : o->batch;
    }
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += length[sample[i]];
    for (int64_t i = 0; i < n; i++)
        squares += pow(length[sample[i]] - sum / (double)n, 2);
    const int64_t fit = (int64_t)((double)o->tokens / (sum / (double)n + sqrt(squares / (double)n)));
    return fit > 1 ? fit : 1;
}

static void batch_fixed(hs_batches *b, const int32_t *length, int64_t n, const hs_bucket_opts *o, int64_t *scratch)
{
    int64_t keys[HS_BUCKETS], longest = length[0], shortest = length[0], largest = 0, end = 0;
    for (int64_t i = 0; i < n; i++) {
        longest = length[i] > longest ? length[i] : longest;
        shortest = length[i] < shortest ? length[i] : shortest;
    }
    const int n_keys = hs_bucket_keys(o->scheme, o->step, longest, shortest, o->n_buckets, keys);
    for (int k = n_keys - 1; k >= 0; k--) { // the bucket of the longest first
        const int64_t first = end, above = k ? keys[k - 1] : 0;
        for (int64_t i = 0; i < n; i++)
            if (length[i] > above && length[i] <= keys[k])
                b->sample[end++] = i;
        if (end == first)
            continue;
        largest = largest ? largest : keys[k];
        if (o->shuffle)
            shuffle(b->sample + first, end - first, key_of(o, 2 + (uint64_t)k), scratch);
        cut(b, first, end, fixed_size(o, length, b->sample + first, end - first, keys[k], largest));
    }
}

static void batch_others(hs_batches *b, const int32_t *length, int64_t n, const hs_bucket_opts *o, int64_t *scratch)
{
    for (int64_t i = 0; i < n; i++)
        b->sample[i] = o->shuffle ? (int64_t)hs_permute(key_of(o, 0), (uint64_t)n, (uint64_t)i) : i;
    if (o->method == HS_BUCKET_SORTED) {
        const double all = (o->mult > 0 ? o->mult : 100) * (double)o->batch;
        const int64_t pool = all < (double)n ? (int64_t)all : n;
        for (int64_t i = 0; i < n; i += pool) {
            const int64_t end = i + pool < n ? i + pool : n;
            sort_falling(b->sample + i, end - i, length, scratch);
            cut(b, i, end, o->batch);
        }
    } else if (o->method == HS_BUCKET_BUDGET) {
        for (int64_t i = 0, sum = 0; i < n; i++) {
            sum += length[b->sample[i]];
            if (i == 0 || sum > o->tokens)
                b->starts[b->n++] = i, sum = length[b->sample[i]];
        }
    } else {
        cut(b, 0, n, o->batch);
    }
}

// Batches in another order: samples move with them.
static void shuffle_batches(hs_batches *b, int64_t n, uint64_t key, int64_t *scratch)
{
    int64_t *starts = scratch + n, at = 0;
    memcpy(scratch, b->sample, (size_t)n * sizeof *scratch);
    memcpy(starts, b->starts, (size_t)(b->n + 1) * sizeof *starts);
    for (int64_t k = 0; k < b->n; k++) {
        const uint64_t from = hs_permute(key, (uint64_t)b->n, (uint64_t)k);
        const int64_t size = starts[from + 1] - starts[from];
        memcpy(b->sample + at, scratch + starts[from], (size_t)size * sizeof *scratch);
        b->starts[k] = at;
        at += size;
    }
}

hs_status hs_bucket_batches(hs_batches *out, const int32_t *length, int64_t n, const hs_bucket_opts *o)
{
    *out = (hs_batches){ 0 };
    HS_TRY(check(o, length, n));
    int64_t *block = malloc((size_t)(4 * n + 2) * sizeof *block);
    if (!block)
        return HS_FAIL(MEMORY, "no memory for batches of %lld samples", (long long)n);
    int64_t *scratch = block + 2 * n + 1; // [2 n + 1]
    out->starts = block, out->sample = block + n + 1;
    if (o->method == HS_BUCKET_FIXED)
        batch_fixed(out, length, n, o, scratch);
    else
        batch_others(out, length, n, o, scratch);
    out->starts[out->n] = n;
    if (o->shuffle)
        shuffle_batches(out, n, key_of(o, 1), scratch);
    return HS_OK;
}

void hs_batches_free(hs_batches *b)
{
    free(b->starts);
    *b = (hs_batches){ 0 };
}

double hs_batches_padding(const hs_batches *b, const int32_t *length)
{
    int64_t padding = 0;
    for (int64_t k = 0; k < b->n; k++) {
        int32_t longest = 0;
        for (int64_t i = b->starts[k]; i < b->starts[k + 1]; i++)
            longest = length[b->sample[i]] > longest ? length[b->sample[i]] : longest;
        for (int64_t i = b->starts[k]; i < b->starts[k + 1]; i++)
            padding += longest - length[b->sample[i]];
    }
    return b->n ? (double)padding / (double)b->starts[b->n] : 0;
}

// ---- an endless stream of them

struct hs_bucket_stream {
    const int32_t *length;
    int64_t n, window;
    hs_bucket_opts o;
    hs_batches batches;    // of `made`, samples as numbers of the whole set
    uint64_t epoch, place; // made last: the window at `place` of the epoch
    bool made;
    int32_t *lengths; // [window]
    int64_t *numbers; // [window]
};

hs_status hs_bucket_stream_new(hs_bucket_stream **out, const int32_t *length, int64_t n, int64_t window, const hs_bucket_opts *o)
{
    *out = NULL;
    HS_TRY(check(o, length, n));
    if (window < 1)
        return HS_FAIL(USAGE, "windows of %lld samples, at least 1", (long long)window);
    hs_bucket_stream *s = calloc(1, sizeof *s);
    if (!s)
        return HS_FAIL(MEMORY, "no memory for a stream of batches");
    s->length = length, s->n = n, s->window = window < n ? window : n, s->o = *o;
    s->lengths = malloc((size_t)s->window * sizeof *s->lengths);
    s->numbers = malloc((size_t)s->window * sizeof *s->numbers);
    if (!s->lengths || !s->numbers) {
        hs_bucket_stream_free(s);
        return HS_FAIL(MEMORY, "no memory for windows of %lld samples", (long long)window);
    }
    *out = s;
    return HS_OK;
}

void hs_bucket_stream_free(hs_bucket_stream *s)
{
    if (!s)
        return;
    hs_batches_free(&s->batches);
    free(s->lengths);
    free(s->numbers);
    free(s);
}

static hs_status make_window(hs_bucket_stream *s, uint64_t epoch, uint64_t place)
{
    const uint64_t key = hs_mix2(s->o.key, epoch), first = place * (uint64_t)s->window;
    const int64_t left = s->n - (int64_t)first, n = left < s->window ? left : s->window;
    hs_bucket_opts o = s->o;
    for (int64_t i = 0; i < n; i++) {
        s->numbers[i] = (int64_t)(o.shuffle ? hs_permute(key, (uint64_t)s->n, first + (uint64_t)i) : first + (uint64_t)i);
        s->lengths[i] = s->length[s->numbers[i]];
    }
    o.key = hs_mix2(key, place);
    s->made = false;
    hs_batches_free(&s->batches);
    HS_TRY(hs_bucket_batches(&s->batches, s->lengths, n, &o));
    for (int64_t i = 0; i < n; i++)
        s->batches.sample[i] = s->numbers[s->batches.sample[i]];
    s->epoch = epoch, s->place = place, s->made = true;
    return HS_OK;
}

hs_status hs_bucket_stream_next(hs_bucket_stream *s, uint64_t *index, const int64_t **sample, int64_t *n)
{
    const uint64_t N = (uint64_t)s->n, W = (uint64_t)s->window, epoch = *index / N, place = *index % N / W;
    if (!s->made || epoch != s->epoch || place != s->place)
        HS_TRY(make_window(s, epoch, place));
    const int64_t at = (int64_t)(*index % N % W);
    const int64_t *start = bsearch(&at, s->batches.starts, (size_t)s->batches.n, sizeof *start, by_value);
    if (!start)
        return HS_FAIL(USAGE, "no batch begins at sample %llu", (unsigned long long)*index);
    *sample = s->batches.sample + at;
    *n = start[1] - at;
    *index += (uint64_t)*n;
    return HS_OK;
}
