// rng: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), counter-based: a random number is
// a function of its address, never of what was drawn before. There is no state to save.
#ifndef HS_CORE_RNG_H
#define HS_CORE_RNG_H
#include "core/base/inline.h"
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hs_u32x4 {
    uint32_t v[4];
} hs_u32x4;

HS_INLINE hs_u32x4 hs_philox(hs_u32x4 c, uint64_t key)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int r = 0; r < 10; r++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c.v[0], p1 = (uint64_t)0xCD9E8D57u * c.v[2];
        const uint32_t a = (uint32_t)(p1 >> 32) ^ c.v[1] ^ k0, b = (uint32_t)(p0 >> 32) ^ c.v[3] ^ k1;
        c.v[0] = a, c.v[1] = (uint32_t)p1, c.v[2] = b, c.v[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    return c;
}

// 64-bit mixing (splitmix64 finaliser) and a string hash (FNV-1a, then mixed): keys from seeds, scopes and names.
HS_INLINE uint64_t hs_mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}
HS_INLINE uint64_t hs_mix2(uint64_t a, uint64_t b) { return hs_mix(hs_mix(a) ^ b); }
uint64_t hs_hash_string(const char *s);

// The four 32-bit words at address (key; a, b, c, d).
HS_INLINE hs_u32x4 hs_random(uint64_t key, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    const hs_u32x4 counter = { { a, b, c, d } };
    return hs_philox(counter, key);
}
HS_INLINE double hs_u32_unit(uint32_t u) { return ((double)u + 0.5) * (1.0 / 4294967296.0); } // in (0, 1)

// n standard normal values: dst[i] = N(first + i) for this key (Box-Muller in double). Any slice equals the slice of the whole.
void hs_random_normal(float *dst, int64_t n, uint64_t key, int64_t first, float mean, float std);
// The same of values evenly spread over (-most, most).
void hs_random_uniform(float *dst, int64_t n, uint64_t key, int64_t first, float most);

#ifdef __cplusplus
}
#endif
#endif
