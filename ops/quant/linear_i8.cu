// linear_i8 on CUDA: the definition is in linear_i8.c, and the bits are the CPU's: sums of int8 are exact, and what follows is i8_round.h.
// A block rounds a row, or looks whether one in int8 has what is no number; blocks of products have 64 x 64 sums, a warp 32 x 32 of them.
// Where the GPU has it, cuBLASLt sums more rows than a block is high (core/cuda/cublaslt.h), into scratch, and a launch behind it does what
// stands behind sums here: with the same bits.
#include "core/cuda/cublaslt.h"
#include "core/cuda/gemm.cuh"
#include "core/cuda/mma.cuh"
#include "ops/ops.h"
#include "ops/quant/i8_round.h"
#include "ops/rows/gelu_form.h"

enum { X, CODES, SCALES, BIAS, X_SCALE, Y_SCALE };
enum { Y };
enum {
    THREADS = 128,
    EACH = 8,
    TILE = 64,
    STEP = 64,
    PITCH = STEP / 4 + 4
}; // widths are multiples of 8; PITCH words: no two rows in a bank

// ---- rows of x

// The largest of what the threads of a block have.
static __device__ __forceinline__ uint32_t block_most(uint32_t here, uint32_t *most)
{
#pragma unroll
    for (int k = WARP / 2; k > 0; k /= 2) {
        const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, here, k);
        here = other > here ? other : here;
    }
    if (threadIdx.x % WARP == 0)
        most[threadIdx.x / WARP] = here;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < THREADS / WARP; w++)
        here = most[w] > here ? most[w] : here;
    return here;
}

static __device__ __forceinline__ uint32_t row_most(const hs_ref &x, int64_t at, uint32_t *most)
{
    uint32_t here = 0;
    for (int64_t c = threadIdx.x * EACH; c < x.cols; c += THREADS * EACH) {
        float v[EACH];
        get_f<EACH>(x, at + c, v);
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            const uint32_t u = hs_f32_bits(v[k]) & 0x7FFFFFFFu;
            here = u > here ? u : here;
        }
    }
    return block_most(here, most);
}

static __global__ void round_rows(hs_ref x, const hs_step_in *step, const float *x_scale, int8_t *q, float *scales)
{
    HS_SHARED(uint32_t, most, [THREADS / WARP]);
    const int64_t r = blockIdx.x, at = r * x.cols;
    if (r >= live_rows(x, step))
        return;
    const uint32_t largest = row_most(x, at, most);
    const float scale = x_scale ? i8_static_scale(*x_scale, largest) : i8_row_scale(largest), inverse = i8_inverse(scale);
    if (threadIdx.x == 0)
        scales[r] = scale;
    for (int64_t c = threadIdx.x * EACH; c < x.cols; c += THREADS * EACH) {
        float v[EACH];
        pack<int8_t, EACH> code;
        get_f<EACH>(x, at + c, v);
#pragma unroll
        for (int k = 0; k < EACH; k++)
            code.v[k] = (int8_t)i8_round(v[k], inverse);
        *reinterpret_cast<pack<int8_t, EACH> *>(q + at + c) = code;
    }
}

// x in int8 is its own codes: all that its rows need are scales.
static __global__ void scale_rows(hs_ref x, const hs_step_in *step, const float *x_scale, float *scales)
{
    HS_SHARED(uint32_t, most, [THREADS / WARP]);
    const int64_t r = blockIdx.x;
    if (r >= live_rows(x, step))
        return;
    const int8_t *row = reinterpret_cast<const int8_t *>(x.p) + r * x.cols;
    uint32_t missing = 0;
    for (int64_t c = threadIdx.x * EACH; c < x.cols; c += THREADS * EACH) {
        const pack<int8_t, EACH> code = *reinterpret_cast<const pack<int8_t, EACH> *>(row + c);
#pragma unroll
        for (int k = 0; k < EACH; k++)
            missing |= code.v[k] == I8_NONE;
    }
    missing = block_most(missing, most);
    if (threadIdx.x == 0)
        scales[r] = i8_static_scale(*x_scale, missing ? I8_NOT_A_NUM : 0);
}

// ---- products

struct product {
    const int8_t *q, *codes; // [rows, k], [n, k]
    const float *row_scale, *scales, *bias, *y_scale;
    hs_ref x, y;
    int64_t n, k;
};

// 64 rows of 64 bytes, zeros where there are none; eight bytes a thread and turn.
static __device__ __forceinline__ void fetch_tile(uint32_t (*to)[PITCH], const int8_t *from, int64_t row, int64_t rows, int64_t c,
                                                  int64_t k)
{
#pragma unroll
    for (int i = 0; i < TILE * STEP / 8 / THREADS; i++) {
        const int at = i * THREADS + threadIdx.x, r = at / (STEP / 8), b = at % (STEP / 8);
        pack<uint32_t, 2> v = { { 0, 0 } };
        if (row + r < rows && c + b * 8 < k)
            v = *reinterpret_cast<const pack<uint32_t, 2> *>(from + (row + r) * k + c + b * 8);
        *reinterpret_cast<pack<uint32_t, 2> *>(&to[r][b * 2]) = v;
    }
}

// A warp's 2 x 4 sums of 16 x 8 from word w of the tiles on, which are 8 words deep.
static __device__ __forceinline__ void multiply_step(int32_t (&d)[2][4][4], const uint32_t (*a)[PITCH], const uint32_t (*b)[PITCH], int w)
{
    const int g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
    uint32_t av[2][4], bv[4][2];
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            av[i][j] = a[i * 16 + g + j % 2 * 8][w + t + j / 2 * 4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 2; j++)
            bv[i][j] = b[i * 8 + g][w + t + j * 4];
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            mma_i8(d[i][j], av[i], bv[j]);
}

template <int N> static __device__ __forceinline__ void put_codes(int8_t *to, float scale, const float (&y)[N])
{
    const float inverse = i8_inverse(i8_static_scale(scale, 0));
    pack<int8_t, N> code;
#pragma unroll
    for (int k = 0; k < N; k++)
        code.v[k] = (int8_t)i8_code(y[k], inverse);
    *reinterpret_cast<pack<int8_t, N> *>(to) = code;
}

template <int ACT> static __device__ __forceinline__ float acted(float y)
{
    return ACT == HS_I8_GELU_ERF ? gelu_erf(y) : ACT == HS_I8_GELU_TANH ? gelu_tanh(y) : y;
}

template <int ACT, int N> static __device__ __forceinline__ void put_sums(const product &p, int64_t row, int64_t col, const int32_t *sum)
{
    float y[N];
#pragma unroll
    for (int k = 0; k < N; k++) {
        y[k] = i8_scaled(sum[k], p.row_scale[row], p.scales[col + k]);
        if (p.bias)
            y[k] = i8_plus(y[k], p.bias[col + k]);
        y[k] = acted<ACT>(y[k]);
    }
    if (p.y_scale)
        put_codes<N>(reinterpret_cast<int8_t *>(p.y.p) + row * p.n + col, *p.y_scale, y);
    else
        set_f<N>(p.y, row * p.n + col, y);
}

template <int ACT> static __global__ void multiply_rows(product p, const hs_step_in *step)
{
    HS_SHARED(uint32_t, a, [TILE][PITCH]);
    HS_SHARED(uint32_t, b, [TILE][PITCH]);
    const int64_t rows = live_rows(p.x, step), row = (int64_t)blockIdx.y * TILE, col = (int64_t)blockIdx.x * TILE;
    const int warp = threadIdx.x / WARP, down = warp / 2 * 32, right = warp % 2 * 32, g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
    int32_t d[2][4][4] = {};
    if (row >= rows)
        return;
    for (int64_t c = 0; c < p.k; c += STEP) {
        fetch_tile(a, p.q, row, rows, c, p.k);
        fetch_tile(b, p.codes, col, p.n, c, p.k);
        __syncthreads();
#pragma unroll
        for (int w = 0; w < STEP / 4; w += 8)
            multiply_step(d, a + down, b + right, w);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int64_t r = row + down + i * 16 + half * 8 + g, n = col + right + j * 8 + 2 * t;
                if (r < rows && n < p.n)
                    put_sums<ACT, 2>(p, r, n, &d[i][j][2 * half]);
            }
}

template <int ACT> static void multiply_here(const hs_args *a, hs_lane *lane, const product &p)
{
    const dim3 grid((unsigned)blocks_of(p.n, TILE), (unsigned)blocks_of(p.x.rows, TILE));
    HS_LAUNCH((multiply_rows<ACT>), grid, THREADS, 0, gpu_stream(lane), p, a->step);
}

// ---- by cuBLASLt, some rows at a time: their sums are no larger than LT_SUMS bytes, or those of LT_UNIT rows where these are larger

enum { LT_SUMS = 32 << 20, LT_UNIT = 128 };

static int64_t rows_at_once(int64_t rows, int64_t n)
{
    const int64_t most = LT_SUMS / (n * (int64_t)sizeof(int32_t)) / LT_UNIT * LT_UNIT, at_once = most > LT_UNIT ? most : (int64_t)LT_UNIT;
    return rows <= TILE ? 0 : rows < at_once ? rows : at_once;
}

// A block has a row of the sums, which begin with row `first` of x, and THREADS * EACH of its columns.
template <int ACT> static __global__ void put_rows(product p, const hs_step_in *step, const int32_t *sums, int64_t first)
{
    const int64_t row = first + blockIdx.x, col = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * EACH;
    if (row >= live_rows(p.x, step) || col >= p.n)
        return;
    pack<int32_t, 4> v[EACH / 4];
    int32_t sum[EACH];
#pragma unroll
    for (int k = 0; k < EACH / 4; k++)
        v[k] = *reinterpret_cast<const pack<int32_t, 4> *>(sums + blockIdx.x * p.n + col + 4 * k);
#pragma unroll
    for (int k = 0; k < EACH; k++)
        sum[k] = v[k / 4].v[k % 4];
    put_sums<ACT, EACH>(p, row, col, sum);
}

static hs_lt_product sums_of(const product &p, int64_t rows)
{
    hs_lt_product lt = {};
    lt.m = p.n, lt.n = rows, lt.k = p.k;
    lt.lda = lt.ldb = p.k, lt.ldd = p.n;
    lt.a = lt.b = HS_I8, lt.d = HS_I32, lt.bias = HS_F64;
    lt.ta = true, lt.scale = 1;
    return lt;
}

template <int ACT> static bool multiply_by_library(const hs_args *a, hs_lane *lane, const product &p, int32_t *sums)
{
    const int64_t rows = p.x.rows, at_once = rows_at_once(rows, p.n), rest = at_once ? rows % at_once : 0;
    const hs_lt_product whole = sums_of(p, at_once), last = sums_of(p, rest);
    if (!at_once || !gpu_lt(lane) || !hs_lt_has_8bit(lane, &whole) || (rest && !hs_lt_has_8bit(lane, &last)))
        return false;
    for (int64_t r = 0; r < rows; r += at_once) {
        const hs_lt_product &lt = rows - r < at_once ? last : whole;
        hs_lt_operands o = {};
        o.a = p.codes, o.b = p.q + r * p.k, o.d = sums;
        hs_lt_multiply(lane, &lt, &o);
        HS_LAUNCH((put_rows<ACT>), dim3((unsigned)lt.n, (unsigned)blocks_of(p.n, THREADS * EACH)), THREADS, 0, gpu_stream(lane), p, a->step,
                  sums, r);
    }
    return true;
}

template <int ACT> static void multiply(const hs_args *a, hs_lane *lane, const product &p, int32_t *sums)
{
    if (!multiply_by_library<ACT>(a, lane, p, sums))
        multiply_here<ACT>(a, lane, p);
}

static int64_t up(int64_t bytes) { return (bytes + 255) / 256 * 256; }

struct room { // of scratch
    int8_t *q; // NULL: x is in int8
    float *row_scale;
    int32_t *sums;
    size_t bytes;
};
static room room_of(int64_t rows, int64_t k, int64_t n, bool rounds, char *at)
{
    const int64_t codes = rounds ? up(rows * k) : 0, scales = up(rows * (int64_t)sizeof(float));
    room r;
    r.q = rounds ? reinterpret_cast<int8_t *>(at) : nullptr, r.row_scale = reinterpret_cast<float *>(at + codes);
    r.sums = reinterpret_cast<int32_t *>(at + codes + scales);
    r.bytes = (size_t)(codes + scales + rows_at_once(rows, n) * n * (int64_t)sizeof(int32_t));
    return r;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    static void (*const by_act[])(const hs_args *, hs_lane *, const product &,
                                  int32_t *) = { multiply<HS_I8_PLAIN>, multiply<HS_I8_GELU_ERF>, multiply<HS_I8_GELU_TANH> };
    const hs_ref &x = a->in[X], &codes = a->in[CODES];
    const float *const x_scale = cells<float>(a->in[X_SCALE]);
    const room r = room_of(x.rows, codes.cols, codes.rows, x.dtype != HS_I8, a->scratch);
    product p = {};
    p.q = r.q ? r.q : cells<int8_t>(x), p.codes = cells<int8_t>(codes), p.row_scale = r.row_scale, p.scales = cells<float>(a->in[SCALES]);
    p.bias = cells<float>(a->in[BIAS]), p.y_scale = cells<float>(a->in[Y_SCALE]), p.x = x, p.y = a->out[Y], p.n = codes.rows,
    p.k = codes.cols;
    if (r.q)
        HS_LAUNCH(round_rows, (unsigned)x.rows, THREADS, 0, gpu_stream(lane), x, a->step, x_scale, r.q, r.row_scale);
    else
        HS_LAUNCH(scale_rows, (unsigned)x.rows, THREADS, 0, gpu_stream(lane), x, a->step, x_scale, r.row_scale);
    by_act[static_cast<const hs_linear_i8_attr *>(a->attr)->act](a, lane, p, r.sums);
}

// ---- backward: a float product of dy * scales and the codes

template <class T> static __global__ void scale_dy(hs_ref dy, const hs_step_in *step, const float *scales, T *to)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * EACH;
    if (i >= live_rows(dy, step) * dy.cols)
        return;
    float v[EACH];
    get_f<EACH>(dy, i, v);
#pragma unroll
    for (int k = 0; k < EACH; k++)
        v[k] *= scales[i % dy.cols + k];
    store_f<EACH>(to + i, v);
}

template <class T> static __global__ void widen_codes(const int8_t *codes, int64_t n, T *to)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * EACH;
    if (i >= n)
        return;
    const pack<int8_t, EACH> c = *reinterpret_cast<const pack<int8_t, EACH> *>(codes + i);
    float v[EACH];
#pragma unroll
    for (int k = 0; k < EACH; k++)
        v[k] = c.v[k];
    store_f<EACH>(to + i, v);
}

static __global__ void pass_unclipped(hs_ref x, const hs_step_in *step, const float *x_scale, const float *from, hs_ref dx)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * EACH;
    if (i >= live_rows(x, step) * x.cols)
        return;
    const float inverse = i8_inverse(i8_static_scale(*x_scale, 0));
    float v[EACH], d[EACH];
    get_f<EACH>(x, i, v);
    load_f<EACH>(from + i, d);
#pragma unroll
    for (int k = 0; k < EACH; k++)
        d[k] = i8_clips(v[k], inverse) ? 0.0f : d[k];
    set_f<EACH>(dx, i, d);
}

struct back { // of scratch, as large as f32 asks for
    char *dy, *codes;
    float *dx;
    int64_t bytes;
};
static back back_of(int64_t N, int64_t C, int64_t O, bool clips, char *at)
{
    back b;
    b.dy = at, b.codes = at + up(N * O * 4);
    b.dx = reinterpret_cast<float *>(b.codes + up(O * C * 4));
    b.bytes = up(N * O * 4) + up(O * C * 4) + (clips ? up(N * C * 4) : 0);
    return b;
}

template <class T> static void backward_in(const hs_args *a, hs_lane *lane, hs_dtype dtype)
{
    const hs_ref &dy = a->dout[Y], &codes = a->in[CODES];
    const int64_t C = codes.cols, O = codes.rows;
    const bool clips = a->in[X_SCALE].p;
    const back b = back_of(dy.rows, C, O, clips, a->scratch);
    HS_LAUNCH((scale_dy<T>), grid_of(dy.rows * O, THREADS * EACH), THREADS, 0, gpu_stream(lane), dy, a->step, cells<float>(a->in[SCALES]),
              reinterpret_cast<T *>(b.dy));
    HS_LAUNCH((widen_codes<T>), grid_of(O * C, THREADS * EACH), THREADS, 0, gpu_stream(lane), cells<int8_t>(codes), O * C,
              reinterpret_cast<T *>(b.codes));
    gemm g = gemm_make(dy.rows, C, O);
    g.a.p = b.dy, g.a.ld = O, g.a.dtype = dtype;
    g.b.p = b.codes, g.b.ld = C, g.b.dtype = dtype, g.b.k_major = true;
    g.c = gemm_to(a->din[X]);
    if (clips)
        g.c.p = b.dx, g.c.dtype = HS_F32, g.c.add = false;
    gemm_count(&g, GEMM_LIVE_M, dy, a->step);
    gemm_run(&g, lane);
    if (clips)
        HS_LAUNCH(pass_unclipped, grid_of(dy.rows * C, THREADS * EACH), THREADS, 0, gpu_stream(lane), a->in[X], a->step,
                  cells<float>(a->in[X_SCALE]), b.dx, a->din[X]);
}

static void backward(const hs_args *a, hs_lane *lane)
{
    if (a->dout[Y].dtype == HS_BF16)
        backward_in<bf16>(a, lane, HS_BF16);
    else
        backward_in<float>(a, lane, HS_F32);
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const int64_t N = n->in[X]->dim[0], C = n->in[X]->dim[1], O = n->in[CODES]->dim[0];
    if (is_backward)
        return { (size_t)back_of(N, C, O, n->in[X_SCALE] != nullptr, nullptr).bytes, 0 };
    return { room_of(N, C, O, n->in[X]->dtype != HS_I8, nullptr).bytes, 0 };
}

extern "C" const hs_kernels hs_cuda_linear_i8 = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };
