// combine: sums and maxima over ranks, in the order of ranks. f32 is added in f32, f64 in f64; the low types in f32 and rounded once.
// Blocks stay in the first cache while all ranks' elements pass by; the loops are plain, so that the compiler makes vectors of them.
#include "core/graph/comm.h"
#include "parallel/parallel_impl.h"

enum { BLOCK = 1024 };

static void load_f16(float *w, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        w[i] = hs_f16_f32(x[i]);
}

static void load_bf16(float *w, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        w[i] = hs_bf16_f32(x[i]);
}

static void store_f16(uint16_t *x, const float *w, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = hs_f32_f16(w[i]);
}

static void store_bf16(uint16_t *x, const float *w, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = hs_f32_bf16(w[i]);
}

#define ADD(a, b)    ((a) + (b))
#define LARGER(a, b) ((b) > (a) ? (b) : (a))

// out may be one of the inputs: an element is read before it is written, and by nobody after.
#define COMBINE_SAME(name, type, join)                                                                                                     \
    static void name(void *out, const void *const *in, int n_in, int64_t i0, int64_t n)                                                    \
    {                                                                                                                                      \
        const type *a = (const type *)in[0] + i0, *b = (const type *)in[n_in > 1] + i0;                                                    \
        type *y = (type *)out + i0, sum[BLOCK];                                                                                            \
        type *s = n_in > 2 ? sum : y;                                                                                                      \
        if (n_in == 1)                                                                                                                     \
            memmove(y, a, (size_t)n * sizeof *y);                                                                                          \
        else                                                                                                                               \
            _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) s[i] = join(a[i], b[i]);                                                  \
        for (int r = 2; r < n_in; r++) {                                                                                                   \
            const type *x = (const type *)in[r] + i0;                                                                                      \
            type *to = r + 1 < n_in ? sum : y;                                                                                             \
            _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++) to[i] = join(sum[i], x[i]);                                               \
        }                                                                                                                                  \
    }

#define COMBINE_LOW(name, load, store, join)                                                                                               \
    static void name(void *out, const void *const *in, int n_in, int64_t i0, int64_t n)                                                    \
    {                                                                                                                                      \
        float sum[BLOCK], x[BLOCK];                                                                                                        \
        load(sum, (const uint16_t *)in[0] + i0, n);                                                                                        \
        for (int r = 1; r < n_in; r++) {                                                                                                   \
            load(x, (const uint16_t *)in[r] + i0, n);                                                                                      \
            for (int64_t i = 0; i < n; i++)                                                                                                \
                sum[i] = join(sum[i], x[i]);                                                                                               \
        }                                                                                                                                  \
        store((uint16_t *)out + i0, sum, n);                                                                                               \
    }

COMBINE_SAME(sum_f64, double, ADD)
COMBINE_SAME(sum_f32, float, ADD)
COMBINE_SAME(sum_i64, int64_t, ADD)
COMBINE_SAME(sum_i32, int32_t, ADD)
COMBINE_LOW(sum_f16, load_f16, store_f16, ADD)
COMBINE_LOW(sum_bf16, load_bf16, store_bf16, ADD)
COMBINE_SAME(max_f64, double, LARGER)
COMBINE_SAME(max_f32, float, LARGER)
COMBINE_SAME(max_i64, int64_t, LARGER)
COMBINE_SAME(max_i32, int32_t, LARGER)
COMBINE_LOW(max_f16, load_f16, store_f16, LARGER)
COMBINE_LOW(max_bf16, load_bf16, store_bf16, LARGER)

typedef void combine_fn(void *out, const void *const *in, int n_in, int64_t i0, int64_t n);
static combine_fn *const table[HS_N_DTYPES][2] = {
    [HS_F64] = { sum_f64, max_f64 },    [HS_F32] = { sum_f32, max_f32 }, [HS_F16] = { sum_f16, max_f16 },
    [HS_BF16] = { sum_bf16, max_bf16 }, [HS_I64] = { sum_i64, max_i64 }, [HS_I32] = { sum_i32, max_i32 },
};

bool hs_combines(hs_dtype d, hs_reduce op) { return d < HS_N_DTYPES && (unsigned)op < HS_COUNT(table[d]) && table[d][op]; }

void hs_combine(void *out, const void *const *in, int n_in, int64_t n, hs_dtype d, hs_reduce op)
{
    combine_fn *const fn = table[d][op];
    for (int64_t i = 0; i < n; i += BLOCK)
        fn(out, in, n_in, i, n - i < BLOCK ? n - i : BLOCK);
}
