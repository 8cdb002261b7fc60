// Conversions against an independent definition: the nearest representable value found by search in the sorted list of all
// of them, ties to the even code. Every 16-bit code is read, every boundary between two neighbours is narrowed.
#include "core/base/dtype.h"
#include "core/base/fp8.h"
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct format {
    hs_dtype d;
    int exponent_bits, mantissa_bits;
} format;
static const format formats[] = { { HS_F16, 5, 10 }, { HS_BF16, 8, 7 } };
enum { N_FORMATS = 2 };

// The value of a code by the definition of the format. Infinity and NaN included.
static double code_value(const format *f, unsigned code)
{
    const int bias = (1 << (f->exponent_bits - 1)) - 1, top = (1 << f->exponent_bits) - 1;
    const int e = (int)(code >> f->mantissa_bits) & top, m = (int)(code & ((1u << f->mantissa_bits) - 1));
    const double sign = code & 0x8000 ? -1 : 1;
    if (e == top)
        return m ? NAN : sign * INFINITY;
    if (e == 0)
        return sign * ldexp(m, 1 - bias - f->mantissa_bits);
    return sign * ldexp(1 + ldexp(m, -f->mantissa_bits), e - bias);
}
static unsigned infinity_code(const format *f) { return ((1u << f->exponent_bits) - 1) << f->mantissa_bits; }

static uint16_t narrow(const format *f, double v, hs_dtype from)
{
    uint16_t out;
    const float single = (float)v;
    hs_convert(&out, f->d, from == HS_F64 ? (const void *)&v : (const void *)&single, from, 1);
    return out;
}

static void test_widen_all(void **state)
{
    (void)state;
    for (int k = 0; k < N_FORMATS; k++)
        for (unsigned code = 0; code < 65536; code++) {
            const uint16_t h = (uint16_t)code;
            float f;
            double d;
            hs_convert(&f, HS_F32, &h, formats[k].d, 1);
            hs_convert(&d, HS_F64, &h, formats[k].d, 1);
            const double want = code_value(&formats[k], code);
            if (want != want) {
                assert_true(isnan(f) && isnan(d));
                assert_true(isnan(code_value(&formats[k], narrow(&formats[k], f, HS_F32)))); // NaN stays NaN, never Inf
                assert_true(isnan(code_value(&formats[k], narrow(&formats[k], d, HS_F64))));
                continue;
            }
            assert_true(f == want && d == want && !signbit(f) == !(code >> 15));
            assert_int_equal(narrow(&formats[k], f, HS_F32), code); // round trip
            assert_int_equal(narrow(&formats[k], d, HS_F64), code);
        }
}

// Halfway between every two neighbours, and just beside it, from f32 and from f64.
static void test_round_all_boundaries(void **state)
{
    (void)state;
    for (int k = 0; k < N_FORMATS; k++) {
        const format *f = &formats[k];
        for (unsigned code = 0; code < infinity_code(f); code++) {
            const double low = code_value(f, code);
            double high = code_value(f, code + 1);
            if (isinf(high)) // the bound of overflow lies where the next value would be
                high = low + (low - code_value(f, code - 1));
            const double half = low + (high - low) / 2;
            const unsigned even = code & 1 ? code + 1 : code;
            assert_int_equal(narrow(f, half, HS_F64), even);
            assert_int_equal(narrow(f, -half, HS_F64), even | 0x8000);
            assert_int_equal(narrow(f, nextafter(half, 0), HS_F64), code);
            assert_int_equal(narrow(f, nextafter(half, INFINITY), HS_F64), code + 1);
            if ((float)half != half) // below f32's subnormals
                continue;
            assert_int_equal(narrow(f, half, HS_F32), even);
            assert_int_equal(narrow(f, nextafterf((float)half, 0), HS_F32), code);
            assert_int_equal(narrow(f, nextafterf((float)half, INFINITY), HS_F32), code + 1);
            assert_int_equal(narrow(f, -nextafterf((float)half, INFINITY), HS_F32), (code + 1) | 0x8000);
        }
    }
}

static void test_special(void **state)
{
    (void)state;
    for (int k = 0; k < N_FORMATS; k++) {
        const format *f = &formats[k];
        const unsigned inf = infinity_code(f);
        assert_int_equal(narrow(f, INFINITY, HS_F32), inf);
        assert_int_equal(narrow(f, -INFINITY, HS_F64), inf | 0x8000);
        assert_int_equal(narrow(f, FLT_MAX, HS_F32), inf);
        assert_int_equal(narrow(f, DBL_MAX, HS_F64), inf);
        assert_int_equal(narrow(f, -DBL_MIN, HS_F64), 0x8000);
        assert_int_equal(narrow(f, -0.0, HS_F32), 0x8000);
        static const uint32_t nans[] = { 0x7F800001, 0x7FC00000, 0xFF812345, 0x7FFFFFFF, 0xFFFFFFFF }; // signalling ones too
        for (int i = 0; i < 5; i++) {
            uint16_t h;
            hs_convert(&h, f->d, &nans[i], HS_F32, 1);
            assert_true(isnan(code_value(f, h)));
            assert_int_equal(h >> 15, nans[i] >> 31);
            assert_true(h & (1u << (f->mantissa_bits - 1))); // quiet
        }
    }
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
__attribute__((target("f16c"))) static uint16_t hardware_narrow(float f)
{
    return (uint16_t)_mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(f), 0), 0);
}
__attribute__((target("f16c"))) static float hardware_widen(uint16_t h) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h))); }

// Bit for bit what the instructions do, NaN payloads included: the ISA tiers mix both.
static void test_f16_hardware(void **state)
{
    (void)state;
    if (!__builtin_cpu_supports("f16c"))
        skip();
    for (unsigned code = 0; code < 65536; code++)
        assert_int_equal(hs_f32_bits(hs_f16_f32((uint16_t)code)), hs_f32_bits(hardware_widen((uint16_t)code)));
    for (uint64_t u = 0; u <= UINT32_MAX; u += 1021) // a prime step: all exponents, many mantissas
        assert_int_equal(hs_f32_f16(hs_bits_f32((uint32_t)u)), hardware_narrow(hs_bits_f32((uint32_t)u)));
}
#else
static void test_f16_hardware(void **state)
{
    (void)state;
    skip();
}
#endif

// All low halves behind every exponent and mantissas at which something happens: the bf16 is the nearest, as hs_f32_bf16's but for ties,
// which go away from zero, and both halves are the f32 again.
static void check_halves(uint32_t high)
{
    for (uint32_t low = 0; low < 65536; low++) {
        const uint32_t u = high << 16 | low;
        const uint16_t near = hs_value_bf16(u);
        const bool nan = isnan(hs_bits_f32(u)), away = low == 0x8000u && !(high & 1);
        if (near != (uint16_t)(hs_f32_bf16(hs_bits_f32(u)) + (away && !nan)) ||
            hs_halves_join(near, (uint16_t)u) != (nan ? u | 0x400000u : u))
            fail_msg("%08x: in halves %04x and %04x, together %08x", u, near, u & 0xFFFFu, hs_halves_join(near, (uint16_t)u));
    }
}

static void test_halves(void **state)
{
    (void)state;
    static const uint32_t mantissa[] = { 0, 1, 0x15, 0x3F, 0x40, 0x7E, 0x7F };
    for (uint32_t sign_and_exponent = 0; sign_and_exponent < 512; sign_and_exponent++)
        for (int i = 0; i < (int)(sizeof mantissa / sizeof *mantissa); i++)
            check_halves(sign_and_exponent << 7 | mantissa[i]);
    for (uint32_t special = 0x7F80; special < 0x8000; special++) // infinity, every NaN
        check_halves(special), check_halves(special | 0x8000);
}

// ---- 8 bits

typedef struct format8 {
    hs_dtype d;
    int mantissa_bits, bias;
    unsigned most; // code of the largest finite value
    double largest, least;
} format8;
static const format8 formats8[] = { { HS_E4M3, 3, 7, 0x7E, 448, 0x1p-9 }, { HS_E5M2, 2, 15, 0x7B, 57344, 0x1p-16 } };

static double code8_value(const format8 *f, unsigned code)
{
    const unsigned u = code & 0x7F, m = u & ((1u << f->mantissa_bits) - 1);
    const int e = (int)(u >> f->mantissa_bits);
    const double sign = code & 0x80 ? -1 : 1;
    if (u > f->most)
        return f->d == HS_E5M2 && m == 0 ? sign * INFINITY : NAN;
    return sign * (e ? ldexp(1 + ldexp(m, -f->mantissa_bits), e - f->bias) : ldexp(m, 1 - f->bias - f->mantissa_bits));
}

static unsigned narrow8(const format8 *f, double v, hs_dtype from)
{
    uint8_t out;
    const float single = (float)v;
    hs_convert(&out, f->d, from == HS_F64 ? (const void *)&v : (const void *)&single, from, 1);
    return out;
}

static void test_fp8_widens_every_code(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        const format8 *f = &formats8[k];
        assert_true(code8_value(f, f->most) == f->largest && code8_value(f, 1) == f->least);
        for (unsigned code = 0; code < 256; code++) {
            const uint8_t c = (uint8_t)code;
            float single;
            double twice;
            uint16_t bf16;
            hs_convert(&single, HS_F32, &c, f->d, 1);
            hs_convert(&twice, HS_F64, &c, f->d, 1);
            hs_convert(&bf16, HS_BF16, &c, f->d, 1);
            const double want = code8_value(f, code);
            if (isnan(want)) {
                assert_true(isnan(single) && isnan(twice) && isnan(hs_bf16_f32(bf16)));
                assert_true(isnan(code8_value(f, narrow8(f, single, HS_F32))));
                continue;
            }
            assert_true(single == want && twice == want && hs_bf16_f32(bf16) == want && !signbit(single) == !(code >> 7));
            assert_int_equal(narrow8(f, single, HS_F32), code);
            assert_int_equal(narrow8(f, twice, HS_F64), code);
        }
    }
}

// Halfway between every two neighbours and just beside it, from f32 and from f64; what lies beyond the largest is the largest.
static void test_fp8_rounds_every_boundary(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        const format8 *f = &formats8[k];
        for (unsigned code = 0; code <= f->most; code++) {
            const bool top = code == f->most;
            const double low = code8_value(f, code), high = top ? 2 * low - code8_value(f, code - 1) : code8_value(f, code + 1);
            const double half = low + (high - low) / 2;
            const unsigned even = top ? code : code & 1 ? code + 1 : code, up = top ? code : code + 1;
            static const hs_dtype from[] = { HS_F32, HS_F64 };
            for (int w = 0; w < 2; w++) {
                const double below = w ? nextafter(half, 0) : nextafterf((float)half, 0);
                const double above = w ? nextafter(half, INFINITY) : nextafterf((float)half, INFINITY);
                assert_int_equal(narrow8(f, half, from[w]), even);
                assert_int_equal(narrow8(f, -half, from[w]), even | 0x80);
                assert_int_equal(narrow8(f, below, from[w]), code);
                assert_int_equal(narrow8(f, above, from[w]), up);
                assert_int_equal(narrow8(f, -above, from[w]), up | 0x80);
            }
        }
        const double beyond[] = { f->largest * 1.001, f->largest * 2, FLT_MAX, DBL_MAX };
        for (int i = 0; i < 4; i++) {
            assert_int_equal(narrow8(f, beyond[i], HS_F64), f->most);
            assert_int_equal(narrow8(f, -beyond[i], HS_F64), f->most | 0x80);
            if (i < 3)
                assert_int_equal(narrow8(f, beyond[i], HS_F32), f->most);
        }
        assert_int_equal(narrow8(f, INFINITY, HS_F32), f->d == HS_E5M2 ? 0x7C : 0x7F);
        assert_int_equal(narrow8(f, -INFINITY, HS_F64), f->d == HS_E5M2 ? 0xFC : 0xFF);
        assert_int_equal(narrow8(f, NAN, HS_F32) & 0x7F, 0x7F);
        assert_int_equal(narrow8(f, -0.0, HS_F32), 0x80);
        assert_int_equal(narrow8(f, 0x1p-149, HS_F32), 0);
        const int64_t whole[] = { 17, -100000 };
        uint8_t codes[2];
        hs_convert(codes, f->d, whole, HS_I64, 2);
        assert_true(code8_value(f, codes[0]) == 16 && codes[1] == (f->d == HS_E5M2 ? 0xFBu : 0xFEu));
    }
}

// The scale is a power of two, takes amax to most or less, and twice of it would not.
static void test_fp8_scale(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        const float most = (float)formats8[k].largest;
        for (float amax = 0x1p-40f; amax < 0x1p60f; amax *= 1.0371f) {
            const float s = hs_fp8_scale(amax, most, 0);
            int e;
            assert_true(frexpf(s, &e) == 0.5f);
            assert_true((double)amax * s <= most && 2 * (double)amax * s > most);
            assert_true(hs_fp8_scale(amax, most, 3) == s / 8);
        }
        assert_true(hs_fp8_scale(most, most, 0) == 1 && hs_fp8_scale(nextafterf(most, INFINITY), most, 0) == 0.5f);
        assert_true(hs_fp8_scale(0, most, 0) == 1 && isnan(hs_fp8_scale(INFINITY, most, 0)) && isnan(hs_fp8_scale(NAN, most, 0)));
    }
}

static void test_integers(void **state)
{
    (void)state;
    const double d[] = { 3.99, -3.99, 300, -300, 1e300, -1e300, NAN, 9.3e18, 0.5 };
    int64_t i64[9];
    int32_t i32[9];
    uint8_t u8[9], truth[9];
    int8_t i8[9];
    hs_convert(i64, HS_I64, d, HS_F64, 9);
    hs_convert(i32, HS_I32, d, HS_F64, 9);
    hs_convert(u8, HS_U8, d, HS_F64, 9);
    hs_convert(i8, HS_I8, d, HS_F64, 9);
    hs_convert(truth, HS_BOOL, d, HS_F64, 9);
    const int64_t want64[] = { 3, -3, 300, -300, INT64_MAX, INT64_MIN, 0, INT64_MAX, 0 };
    for (int i = 0; i < 9; i++) {
        const int64_t w = want64[i];
        assert_true(i64[i] == w);
        assert_true(i32[i] == (w > INT32_MAX ? INT32_MAX : w < INT32_MIN ? INT32_MIN : w));
        assert_true(u8[i] == (w > 255 ? 255 : w < 0 ? 0 : w));
        assert_true(i8[i] == (w > 127 ? 127 : w < -128 ? -128 : w));
        assert_int_equal(truth[i], 1);
    }
    // Rounded once: a detour over f64 or f32 would make a tie of these and round it the wrong way.
    const int64_t big[] = { 0x4040000000000001, -0x4040000000000001, 0x4040000000000000, INT64_MIN };
    const double want[] = { 0x1.02p62, -0x1.02p62, 0x1p62, -0x1p63 };
    uint16_t h[4];
    float back[4];
    hs_convert(h, HS_BF16, big, HS_I64, 4);
    hs_convert(back, HS_F32, h, HS_BF16, 4);
    for (int i = 0; i < 4; i++)
        assert_true(back[i] == want[i]);
}

// Every pair of types through whole numbers that both have, over a length that no block divides, in place where the sizes agree.
static void test_all_pairs(void **state)
{
    (void)state;
    enum { N = 600 };
    static int64_t buffer[3][N];
    int8_t small[N];
    for (hs_dtype a = 0; a < HS_N_DTYPES; a++)
        for (hs_dtype b = 0; b < HS_N_DTYPES; b++) {
            const bool truth = a == HS_BOOL || b == HS_BOOL;
            for (int i = 0; i < N; i++)
                small[i] = (int8_t)(i % (hs_dtype_is_fp8(a) || hs_dtype_is_fp8(b) ? 9 : 100));
            hs_convert(buffer[0], a, small, HS_I8, N);
            hs_convert(buffer[1], b, buffer[0], a, N);
            hs_convert(buffer[2], HS_I64, buffer[1], b, N);
            for (int i = 0; i < N; i++)
                assert_true(buffer[2][i] == (truth ? small[i] != 0 : small[i]));
            if (hs_dtype_bytes(a) != hs_dtype_bytes(b))
                continue;
            hs_convert(buffer[0], b, buffer[0], a, N);
            assert_memory_equal(buffer[0], buffer[1], N * hs_dtype_bytes(b));
        }
}

static void test_names(void **state)
{
    (void)state;
    hs_dtype d;
    for (hs_dtype i = 0; i < HS_N_DTYPES; i++) {
        assert_true(hs_dtype_parse(hs_dtype_name(i), &d) && d == i);
        assert_true(hs_dtype_parse(hs_dtype_safetensors(i), &d) && d == i);
    }
    assert_true(hs_dtype_parse("fp16", &d) && d == HS_F16);
    assert_true(hs_dtype_parse("fp32", &d) && d == HS_F32);
    assert_false(hs_dtype_parse("float", &d));
    assert_int_equal(hs_dtype_bytes(HS_BF16), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_widen_all),
                                        cmocka_unit_test(test_round_all_boundaries),
                                        cmocka_unit_test(test_special),
                                        cmocka_unit_test(test_f16_hardware),
                                        cmocka_unit_test(test_fp8_widens_every_code),
                                        cmocka_unit_test(test_fp8_rounds_every_boundary),
                                        cmocka_unit_test(test_fp8_scale),
                                        cmocka_unit_test(test_integers),
                                        cmocka_unit_test(test_all_pairs),
                                        cmocka_unit_test(test_names),
                                        cmocka_unit_test(test_halves) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
