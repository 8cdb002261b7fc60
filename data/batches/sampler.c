// sampler: which window is sample i. A keyed permutation makes the shuffle a function of the index: no table, no state, O(1).
#include "data/batches/sampler.h"
#include "core/base/rng.h"

hs_status hs_sampler_init(hs_sampler *s, int64_t n_tokens, int64_t window, uint64_t seed)
{
    if (window < 1)
        return HS_FAIL(USAGE, "window of %lld tokens, at least 1", (long long)window);
    if (n_tokens - 1 < window)
        return HS_FAIL(USAGE, "text of %lld tokens is shorter than a context of %lld + 1", (long long)n_tokens, (long long)window);
    // W windows from offset o read tokens o to o + W*window. What fits behind the largest offset, window - 1, is n/window - 1 windows;
    // a text of less than two windows still gives one, at fewer offsets.
    const int64_t fit = n_tokens / window - 1;
    *s = (hs_sampler){ .n_tokens = n_tokens, .window = window, .per_epoch = fit > 1 ? fit : 1, .seed = seed };
    return HS_OK;
}

static int bits_of(uint64_t n) // the least b with n <= 2^b
{
    return n <= 1 ? 0 : 64 - __builtin_clzll(n - 1);
}

// A permutation of [0, n): an alternating Feistel network over the least power of two that holds n, walked along its cycle until it is back
// below n (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"); under two rounds of walking on average.
uint64_t hs_permute(uint64_t key, uint64_t n, uint64_t x)
{
    enum { ROUNDS = 8 };
    const int bits = bits_of(n), low_bits = bits / 2;
    const uint64_t low_mask = ((uint64_t)1 << low_bits) - 1, high_mask = ((uint64_t)1 << (bits - low_bits)) - 1;
    do {
        uint64_t low = x & low_mask, high = x >> low_bits;
        for (uint64_t r = 0; r < ROUNDS; r += 2) {
            high ^= hs_mix2(key + r, low) & high_mask;
            low ^= hs_mix2(key + r + 1, high) & low_mask;
        }
        x = high << low_bits | low;
    } while (x >= n);
    return x;
}

int64_t hs_sampler_start(const hs_sampler *s, uint64_t sample)
{
    const uint64_t n = (uint64_t)s->per_epoch, epoch = sample / n, place = sample % n;
    const uint64_t key = hs_mix2(s->seed, epoch);
    const int64_t slack = s->n_tokens - s->per_epoch * s->window, offsets = slack < s->window ? slack : s->window;
    const int64_t offset = (int64_t)(hs_mix2(key, 0x6F6666736574ull) % (uint64_t)offsets); // "offset": apart from the rounds' keys
    return offset + s->window * (int64_t)hs_permute(key, n, place);
}
