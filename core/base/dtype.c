// dtype: names, and conversion through blocks of one wide type: f32 between f32, f16 and bf16; f64 where a double takes
// part; i64 between integers. Loads into the wide type are exact and stores round once, so a table of eleven loads and eleven
// stores serves all 121 pairs.
#include "core/base/dtype.h"
#include "core/base/fp8.h"

static const struct {
    const char *name, *safetensors;
    size_t bytes;
} table[HS_N_DTYPES] = {
#define ROW(e, n, b, s) { .name = n, .safetensors = s, .bytes = b },
    HS_DTYPE_LIST(ROW)
#undef ROW
};

const char *hs_dtype_name(hs_dtype d) { return (unsigned)d < HS_N_DTYPES ? table[d].name : "unknown"; }
const char *hs_dtype_safetensors(hs_dtype d) { return (unsigned)d < HS_N_DTYPES ? table[d].safetensors : "unknown"; }
size_t hs_dtype_bytes(hs_dtype d) { return (unsigned)d < HS_N_DTYPES ? table[d].bytes : 0; }

bool hs_dtype_parse(const char *s, hs_dtype *out)
{
    static const struct {
        const char *name;
        hs_dtype d;
    } alias[] = { { "fp64", HS_F64 }, { "fp32", HS_F32 }, { "fp16", HS_F16 } };
    for (int i = 0; i < HS_N_DTYPES; i++)
        if (!strcmp(s, table[i].name) || !strcmp(s, table[i].safetensors))
            return *out = (hs_dtype)i, true;
    for (size_t i = 0; i < sizeof alias / sizeof alias[0]; i++)
        if (!strcmp(s, alias[i].name))
            return *out = alias[i].d, true;
    return false;
}

// ---- exact pieces

// f64 to f32, rounded to odd: an inexact result gets an odd last bit, so that rounding it again to 16 bits gives what
// rounding the double once would (Boldo and Melquiond 2008).
static float f64_f32_odd(double d)
{
    const float f = (float)d;
    uint32_t u = hs_f32_bits(f);
    if ((double)f == d || d != d || (u & 1))
        return f;
    const double size = __builtin_fabs(d), rounded = __builtin_fabs((double)f);
    u = rounded < size ? u + 1 : u - 1; // Inf - 1 is the largest float, whose last bit is odd
    return hs_bits_f32(u);
}

// i64 to f64, rounded to odd in the same sense; exact below 2^53.
static double i64_f64_odd(int64_t v)
{
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    if (u >> 53)
        u = (u & ~(uint64_t)0x7FF) | ((u & 0x7FF) ? 0x800 : 0);
    return v < 0 ? -(double)u : (double)u;
}

static int64_t f64_i64(double d)
{
    if (d != d)
        return 0;
    if (d >= 0x1p63)
        return INT64_MAX;
    return d <= -0x1p63 ? INT64_MIN : (int64_t)d;
}

static int64_t clamp(int64_t v, int64_t low, int64_t high) { return v < low ? low : v > high ? high : v; }

// ---- blocks

typedef void convert_fn(void *restrict dst, const void *restrict src, int64_t n);
#define LOOP(name, to, from, expr)                                                                                                         \
    static void name(void *restrict dst, const void *restrict src, int64_t n)                                                              \
    {                                                                                                                                      \
        to *restrict y = dst;                                                                                                              \
        const from *restrict x = src;                                                                                                      \
        for (int64_t i = 0; i < n; i++)                                                                                                    \
            y[i] = (to)(expr);                                                                                                             \
    }

// exact loads
LOOP(load_f32_f32, float, float, x[i])
LOOP(load_f32_f16, float, uint16_t, hs_f16_f32(x[i]))
LOOP(load_f32_bf16, float, uint16_t, hs_bf16_f32(x[i]))
LOOP(load_f32_e4m3, float, uint8_t, hs_e4m3_f32(x[i]))
LOOP(load_f32_e5m2, float, uint8_t, hs_e5m2_f32(x[i]))
LOOP(load_f64_f64, double, double, x[i])
LOOP(load_f64_f32, double, float, x[i])
LOOP(load_f64_f16, double, uint16_t, hs_f16_f32(x[i]))
LOOP(load_f64_bf16, double, uint16_t, hs_bf16_f32(x[i]))
LOOP(load_f64_e4m3, double, uint8_t, hs_e4m3_f32(x[i]))
LOOP(load_f64_e5m2, double, uint8_t, hs_e5m2_f32(x[i]))
LOOP(load_i64_i64, int64_t, int64_t, x[i])
LOOP(load_i64_i32, int64_t, int32_t, x[i])
LOOP(load_i64_u8, int64_t, uint8_t, x[i])
LOOP(load_i64_i8, int64_t, int8_t, x[i])
LOOP(load_i64_bool, int64_t, uint8_t, x[i] != 0)
static convert_fn *const load_f32[HS_N_DTYPES] = {
    [HS_F32] = load_f32_f32, [HS_F16] = load_f32_f16, [HS_BF16] = load_f32_bf16, [HS_E4M3] = load_f32_e4m3, [HS_E5M2] = load_f32_e5m2
};
static convert_fn *const load_f64[HS_N_DTYPES] = {
    [HS_F64] = load_f64_f64,   [HS_F32] = load_f64_f32,   [HS_F16] = load_f64_f16,
    [HS_BF16] = load_f64_bf16, [HS_E4M3] = load_f64_e4m3, [HS_E5M2] = load_f64_e5m2,
};
static convert_fn *const load_i64[HS_N_DTYPES] = {
    [HS_I64] = load_i64_i64, [HS_I32] = load_i64_i32, [HS_U8] = load_i64_u8, [HS_I8] = load_i64_i8, [HS_BOOL] = load_i64_bool
};

// stores that round once
LOOP(store_f32_f32, float, float, x[i])
LOOP(store_f32_f16, uint16_t, float, hs_f32_f16(x[i]))
LOOP(store_f32_bf16, uint16_t, float, hs_f32_bf16(x[i]))
LOOP(store_f32_e4m3, uint8_t, float, hs_f32_e4m3(x[i]))
LOOP(store_f32_e5m2, uint8_t, float, hs_f32_e5m2(x[i]))
LOOP(store_f64_f64, double, double, x[i])
LOOP(store_f64_f32, float, double, x[i])
LOOP(store_f64_f16, uint16_t, double, hs_f32_f16(f64_f32_odd(x[i])))
LOOP(store_f64_bf16, uint16_t, double, hs_f32_bf16(f64_f32_odd(x[i])))
LOOP(store_f64_e4m3, uint8_t, double, hs_f32_e4m3(f64_f32_odd(x[i])))
LOOP(store_f64_e5m2, uint8_t, double, hs_f32_e5m2(f64_f32_odd(x[i])))
LOOP(store_f64_i64, int64_t, double, f64_i64(x[i]))
LOOP(store_f64_i32, int32_t, double, clamp(f64_i64(x[i]), INT32_MIN, INT32_MAX))
LOOP(store_f64_u8, uint8_t, double, clamp(f64_i64(x[i]), 0, UINT8_MAX))
LOOP(store_f64_i8, int8_t, double, clamp(f64_i64(x[i]), INT8_MIN, INT8_MAX))
LOOP(store_f64_bool, uint8_t, double, x[i] != 0)
LOOP(store_i64_f64, double, int64_t, x[i])
LOOP(store_i64_f32, float, int64_t, x[i])
LOOP(store_i64_f16, uint16_t, int64_t, hs_f32_f16(f64_f32_odd(i64_f64_odd(x[i]))))
LOOP(store_i64_bf16, uint16_t, int64_t, hs_f32_bf16(f64_f32_odd(i64_f64_odd(x[i]))))
LOOP(store_i64_e4m3, uint8_t, int64_t, hs_f32_e4m3(f64_f32_odd(i64_f64_odd(x[i]))))
LOOP(store_i64_e5m2, uint8_t, int64_t, hs_f32_e5m2(f64_f32_odd(i64_f64_odd(x[i]))))
LOOP(store_i64_i64, int64_t, int64_t, x[i])
LOOP(store_i64_i32, int32_t, int64_t, clamp(x[i], INT32_MIN, INT32_MAX))
LOOP(store_i64_u8, uint8_t, int64_t, clamp(x[i], 0, UINT8_MAX))
LOOP(store_i64_i8, int8_t, int64_t, clamp(x[i], INT8_MIN, INT8_MAX))
LOOP(store_i64_bool, uint8_t, int64_t, x[i] != 0)
static convert_fn *const store_f32[HS_N_DTYPES] = {
    [HS_F32] = store_f32_f32, [HS_F16] = store_f32_f16, [HS_BF16] = store_f32_bf16, [HS_E4M3] = store_f32_e4m3, [HS_E5M2] = store_f32_e5m2
};
static convert_fn *const store_f64[HS_N_DTYPES] = {
    [HS_F64] = store_f64_f64,   [HS_F32] = store_f64_f32,   [HS_F16] = store_f64_f16,   [HS_BF16] = store_f64_bf16,
    [HS_I64] = store_f64_i64,   [HS_I32] = store_f64_i32,   [HS_U8] = store_f64_u8,     [HS_I8] = store_f64_i8,
    [HS_BOOL] = store_f64_bool, [HS_E4M3] = store_f64_e4m3, [HS_E5M2] = store_f64_e5m2,
};
static convert_fn *const store_i64[HS_N_DTYPES] = {
    [HS_F64] = store_i64_f64,   [HS_F32] = store_i64_f32,   [HS_F16] = store_i64_f16,   [HS_BF16] = store_i64_bf16,
    [HS_I64] = store_i64_i64,   [HS_I32] = store_i64_i32,   [HS_U8] = store_i64_u8,     [HS_I8] = store_i64_i8,
    [HS_BOOL] = store_i64_bool, [HS_E4M3] = store_i64_e4m3, [HS_E5M2] = store_i64_e5m2,
};

void hs_convert(void *dst, hs_dtype dd, const void *src, hs_dtype sd, int64_t n)
{
    if (dd == sd && dd != HS_BOOL) {
        memmove(dst, src, (size_t)n * hs_dtype_bytes(dd));
        return;
    }
    if (sd == HS_F32 && hs_dtype_is_low(dd)) { // the two that matter for speed need no block in between
        store_f32[dd](dst, src, n);
        return;
    }
    if (dd == HS_F32 && hs_dtype_is_low(sd)) {
        load_f32[sd](dst, src, n);
        return;
    }
    const bool narrow = load_f32[sd] && store_f32[dd];
    convert_fn *load = narrow ? load_f32[sd] : hs_dtype_is_float(sd) ? load_f64[sd] : load_i64[sd];
    convert_fn *store = narrow ? store_f32[dd] : hs_dtype_is_float(sd) ? store_f64[dd] : store_i64[dd];
    const size_t from = hs_dtype_bytes(sd), to = hs_dtype_bytes(dd);
    union {
        float f[256];
        double d[256];
        int64_t i[256];
    } wide;
    for (int64_t i = 0; i < n; i += 256) {
        const int64_t k = n - i < 256 ? n - i : 256;
        load(&wide, (const char *)src + (size_t)i * from, k);
        store((char *)dst + (size_t)i * to, &wide, k);
    }
}
