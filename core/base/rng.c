// rng: normal values by Box-Muller, from own log, sine and cosine in double: only + - * / and sqrt, which every machine
// rounds alike (this file is built without contraction to FMA), so the values depend on no C library and no ISA. The loops
// stand apart so that compilers vectorise them: 4 values of one Philox word are two pairs (u, v).
#include "core/base/rng.h"
#include <math.h>
#include <string.h>

uint64_t hs_hash_string(const char *s)
{
    uint64_t h = 0xCBF29CE484222325ull;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001B3ull;
    return hs_mix(h);
}

enum { GROUP = 64 }; // Philox words at a time: 256 values

static inline double bits_f64(uint64_t u)
{
    double d;
    memcpy(&d, &u, 8);
    return d;
}
static inline uint64_t f64_bits(double d)
{
    uint64_t u;
    memcpy(&u, &d, 8);
    return u;
}
static inline double small_f64(uint64_t u) { return bits_f64(u | 0x4330000000000000ull) - 0x1p52; } // u < 2^52; SSE2 converts no u32

// sqrt(-2 log u) for u in (0, 1), relative error below 1e-10. u = m 2^e with m in [sqrt(1/2), sqrt 2);
// log m = 2 atanh(s), s = (m - 1) / (m + 1).
static inline double radius(double u)
{
    const uint64_t shifted = f64_bits(u) - 0x3FE6A09E667F3BCDull + ((uint64_t)64 << 52); // exponent counted from sqrt(1/2)
    const double e = small_f64(shifted >> 52) - 64;
    const double m = bits_f64((shifted & 0xFFFFFFFFFFFFFull) + 0x3FE6A09E667F3BCDull);
    const double s = (m - 1) / (m + 1), z = s * s;
    const double atanh_s =
        s * (1 + z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11 + z * (1.0 / 13 + z / 15)))))));
    return sqrt(-2 * (e * 0.69314718055994530942 + 2 * atanh_s));
}

// cos and sin of a whole turn times v: its two top bits are the quadrant, the rest an angle within an eighth turn of its middle.
static inline void turn(uint32_t v, double *c, double *s)
{
    const double a = (small_f64(v & 0x3FFFFFFFu) + 0.5 - 0x1p29) * (1.57079632679489661923 / 0x1p30), z = a * a;
    const double sine = a * (1 + z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 - z / 39916800)))));
    const double cosine = 1 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800 + z / 479001600)))));
    const uint64_t q = v >> 30, swap = 0 - (q & 1), flip_c = ((q ^ (q >> 1)) & 1) << 63, flip_s = (q >> 1) << 63;
    const uint64_t bc = f64_bits(cosine), bs = f64_bits(sine), exchange = (bc ^ bs) & swap;
    *c = bits_f64(bc ^ exchange ^ flip_c);
    *s = bits_f64(bs ^ exchange ^ flip_s);
}

// The 4 * GROUP values of words first_word ...
static void normal_group(float *dst, uint64_t key, uint64_t first_word, double mean, double std)
{
    uint32_t u[2 * GROUP], v[2 * GROUP];
    double r[2 * GROUP];
    for (int i = 0; i < GROUP; i++) {
        const uint64_t word = first_word + (uint64_t)i;
        const hs_u32x4 x = hs_random(key, (uint32_t)word, (uint32_t)(word >> 32), 0, 0);
        u[2 * i] = x.v[0], v[2 * i] = x.v[1], u[2 * i + 1] = x.v[2], v[2 * i + 1] = x.v[3];
    }
    for (int i = 0; i < 2 * GROUP; i++)
        r[i] = std * radius((small_f64(u[i]) + 0.5) * 0x1p-32);
    for (int i = 0; i < 2 * GROUP; i++) {
        double c, s;
        turn(v[i], &c, &s);
        dst[2 * i] = (float)(mean + r[i] * c);
        dst[2 * i + 1] = (float)(mean + r[i] * s);
    }
}

void hs_random_normal(float *dst, int64_t n, uint64_t key, int64_t first, float mean, float std)
{
    float group[4 * GROUP];
    while (n > 0) {
        const int64_t skip = first % (4 * GROUP), k = 4 * GROUP - skip < n ? 4 * GROUP - skip : n;
        const uint64_t word = (uint64_t)(first - skip) / 4;
        if (k == 4 * GROUP) {
            normal_group(dst, key, word, mean, std);
        } else {
            normal_group(group, key, word, mean, std);
            memcpy(dst, group + skip, (size_t)k * sizeof(float));
        }
        dst += k, first += k, n -= k;
    }
}

void hs_random_uniform(float *dst, int64_t n, uint64_t key, int64_t first, float most)
{
    for (int64_t i = 0; i < n; i++) {
        const uint64_t at = (uint64_t)(first + i), word = at / 4;
        const hs_u32x4 x = hs_random(key, (uint32_t)word, (uint32_t)(word >> 32), 0, 0);
        dst[i] = (float)((double)most * (2 * ((small_f64(x.v[at % 4]) + 0.5) * 0x1p-32) - 1));
    }
}
