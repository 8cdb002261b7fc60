// linear_blocks on CUDA: the definition is in linear_blocks.c, and the bits are the CPU's: a block of 32 along the inner width is one mma of
// int8 from zero, and what follows is rounded as there (i8_round.h). A warp rounds a block of x a time; of products a warp has 16 x 32 sums.
#include "core/cuda/gemm.cuh"
#include "core/cuda/mma.cuh"
#include "ops/ops.h"
#include "ops/quant/i8_round.h"

enum { X, CODES, SCALES, BIAS };
enum { Y };
enum { BLOCK = 32, THREADS = 128, WARPS = THREADS / WARP, ROWS = 16, COLUMNS = 32, EACH = 8 };

// ---- rows of x: q [rows, in], scales [rows, blocks]

static __global__ void round_blocks(hs_ref x, const hs_step_in *step, int8_t *q, float *scales)
{
    const int64_t block = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, at = block * BLOCK + threadIdx.x % WARP;
    if (block >= live_rows(x, step) * (x.cols / BLOCK))
        return;
    const float v = get_one(x, at);
    uint32_t most = hs_f32_bits(v) & 0x7FFFFFFFu;
#pragma unroll
    for (int k = WARP / 2; k > 0; k /= 2) {
        const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, most, k);
        most = other > most ? other : most;
    }
    const float scale = i8_row_scale(most);
    q[at] = scale > 0 ? (int8_t)i8_round(v, i8_inverse(scale)) : (int8_t)0;
    if (threadIdx.x % WARP == 0)
        scales[block] = scale;
}

// ---- products

struct product {
    const int8_t *q;
    const float *row_scale, *bias;
    const f16 *scales;
    hs_ref x, codes, y;
};

// Two bytes of four codes, each plus 8, as four int8.
static __device__ __forceinline__ uint32_t four_codes(uint32_t u)
{
    const uint32_t lifted = (u & 0xF) | (u & 0xF0) << 4 | (u & 0xF00) << 8 | (u & 0xF000) << 12;
    return ((lifted | 0x80808080u) - 0x08080808u) ^ 0x80808080u;
}

// Codes of column o, of its block b: 4 t and four more, 16 + 4 t and four more.
template <bool FOUR> static __device__ __forceinline__ void fetch_codes(const hs_ref &codes, int64_t o, int64_t b, int t, uint32_t (&to)[2])
{
    if constexpr (FOUR) {
        const uint16_t *p = reinterpret_cast<const uint16_t *>(codes.p + o * codes.cols + b * (BLOCK / 2)) + t;
        to[0] = four_codes(p[0]), to[1] = four_codes(p[BLOCK / 8]);
    } else {
        const uint32_t *p = reinterpret_cast<const uint32_t *>(codes.p + o * codes.cols + b * BLOCK) + t;
        to[0] = p[0], to[1] = p[BLOCK / 8];
    }
}

template <bool FOUR> static __global__ void multiply_blocks(product p, const hs_step_in *step)
{
    const int64_t rows = live_rows(p.x, step), row = (int64_t)blockIdx.y * ROWS, blocks = p.x.cols / BLOCK, O = p.codes.rows;
    const int64_t col = ((int64_t)blockIdx.x * WARPS + threadIdx.x / WARP) * COLUMNS;
    const int g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
    float sum[COLUMNS / 8][4] = {};
    if (row >= rows || col >= O)
        return;
    for (int64_t b = 0; b < blocks; b++) {
        uint32_t a[4] = {};
        float sx[2] = {};
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int64_t r = row + g + h * 8;
            if (r >= rows)
                continue;
            const uint32_t *q = reinterpret_cast<const uint32_t *>(p.q + r * p.x.cols + b * BLOCK) + t;
            a[h] = q[0], a[h + 2] = q[BLOCK / 8], sx[h] = p.row_scale[r * blocks + b];
        }
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++) {
            const int64_t mine = col + j * 8 + g;
            uint32_t w[2] = {};
            int32_t d[4] = {};
            if (mine < O)
                fetch_codes<FOUR>(p.codes, mine, b, t, w);
            mma_i8(d, a, w);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int64_t o = col + j * 8 + 2 * t + i % 2;
                if (o < O)
                    sum[j][i] = i8_plus(sum[j][i], i8_scaled(d[i], sx[i / 2], to_f(p.scales[o * blocks + b])));
            }
        }
    }
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int64_t r = row + g + i / 2 * 8, o = col + j * 8 + 2 * t + i % 2;
            if (r < rows && o < O)
                set_one(p.y, r * O + o, p.bias ? i8_plus(sum[j][i], p.bias[o]) : sum[j][i]);
        }
}

static int64_t up(int64_t bytes) { return (bytes + 255) / 256 * 256; }

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &x = a->in[X], &codes = a->in[CODES];
    int8_t *q = reinterpret_cast<int8_t *>(a->scratch);
    float *row_scale = reinterpret_cast<float *>(a->scratch + up(x.rows * x.cols));
    const product p = { q, row_scale, cells<float>(a->in[BIAS]), cells<f16>(a->in[SCALES]), x, codes, a->out[Y] };
    HS_LAUNCH(round_blocks, grid_of(x.rows * (x.cols / BLOCK), WARPS), THREADS, 0, gpu_stream(lane), x, a->step, q, row_scale);
    const dim3 grid((unsigned)blocks_of(codes.rows, COLUMNS * WARPS), (unsigned)blocks_of(x.rows, ROWS));
    if (codes.dtype == HS_U8)
        HS_LAUNCH((multiply_blocks<true>), grid, THREADS, 0, gpu_stream(lane), p, a->step);
    else
        HS_LAUNCH((multiply_blocks<false>), grid, THREADS, 0, gpu_stream(lane), p, a->step);
}

// ---- backward: as many columns of w at once as fill a slab, as floats of dy's type

enum { SLAB = 16 << 20 }; // elements

static int64_t slab_columns(int64_t out, int64_t in)
{
    const int64_t columns = SLAB / out / BLOCK * BLOCK;
    return columns < BLOCK ? BLOCK : columns < in ? columns : in;
}

// Columns [c, c + n) of w, n a multiple of 32: `to` has a row of them behind the other.
template <class T> static __global__ void widen_codes(hs_ref codes, const f16 *scales, int64_t blocks, int64_t c, int64_t n, T *to)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * EACH, o = i / n, at = c + i % n;
    if (o >= codes.rows)
        return;
    const float scale = to_f(scales[o * blocks + at / BLOCK]);
    float v[EACH];
    if (codes.dtype == HS_U8) {
        const uint32_t u = *reinterpret_cast<const uint32_t *>(codes.p + o * codes.cols + at / 2);
#pragma unroll
        for (int k = 0; k < EACH; k++)
            v[k] = (float)((int32_t)(u >> 4 * k & 15) - 8) * scale;
    } else {
        const pack<int8_t, EACH> u = *reinterpret_cast<const pack<int8_t, EACH> *>(codes.p + o * codes.cols + at);
#pragma unroll
        for (int k = 0; k < EACH; k++)
            v[k] = (float)u.v[k] * scale;
    }
    store_f<EACH>(to + i, v);
}

template <class T> static void backward_in(const hs_args *a, hs_lane *lane)
{
    const hs_ref &dy = a->dout[Y], &dx = a->din[X], &codes = a->in[CODES];
    const int64_t C = dx.cols, O = codes.rows, step = slab_columns(O, C);
    T *slab = reinterpret_cast<T *>(a->scratch);
    for (int64_t c = 0; c < C; c += step) {
        const int64_t n = C - c < step ? C - c : step;
        HS_LAUNCH((widen_codes<T>), grid_of(O * n, THREADS * EACH), THREADS, 0, gpu_stream(lane), codes, cells<f16>(a->in[SCALES]), C / BLOCK,
                  c, n, slab);
        gemm g = gemm_make(dy.rows, n, O);
        g.a = gemm_of(dy, false);
        g.b.p = slab, g.b.ld = n, g.b.dtype = dy.dtype, g.b.k_major = true;
        g.c = gemm_to(dx), g.c.p = dx.p + (size_t)c * hs_dtype_bytes(dx.dtype);
        gemm_count(&g, GEMM_LIVE_M, dy, a->step);
        gemm_run(&g, lane);
    }
}

static void backward(const hs_args *a, hs_lane *lane) { BY_FLOAT(a->dout[Y].dtype, T, backward_in<T>(a, lane)); }

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const int64_t N = n->in[X]->dim[0], C = n->in[X]->dim[1], O = n->in[CODES]->dim[0];
    if (is_backward)
        return { (size_t)(O * slab_columns(O, C)) * sizeof(float), 0 };
    return { (size_t)(up(N * C) + N * (C / BLOCK) * (int64_t)sizeof(float)), 0 };
}

extern "C" const hs_kernels hs_cuda_linear_blocks = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };
