// fp8_codes: operands of linear_fp8 as 8-bit codes for cuBLASLt, which takes rows along k alone (A transposed, B not): what is the other way
// round is turned. One launch rounds, turns, and notes the largest value of each tile; so with scales of steps before an operand is read once.
#ifndef HS_OPS_FP8_CODES_CUDA_H
#define HS_OPS_FP8_CODES_CUDA_H
#include "core/cuda/gpu.cuh"
#include "ops/dense/fp8_scale.h"

enum { FP8_THREADS = 256, FP8_PARTS = 256, FP8_TILE = 64, FP8_RUN = 16 }; // widths are multiples of 16

struct scaling {          // of one operand
    const uint32_t *part; // [FP8_PARTS] largest values, as bits
    float most;
    int margin, row; // row: of the state; below 0: of the tensor at hand alone
    hs_ref state;
    const hs_step_in *step;
    float *scale; // where it is left; NULL: nowhere
};

// Bits order like magnitudes, and NaN lies above them all. at: [FP8_THREADS / WARP], nobody else's until the next barrier behind it.
static __device__ __forceinline__ uint32_t bits_max(uint32_t v, uint32_t *at)
{
#pragma unroll
    for (int k = WARP / 2; k > 0; k /= 2) {
        const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, v, k);
        v = other > v ? other : v;
    }
    if (threadIdx.x % WARP == 0)
        at[threadIdx.x / WARP] = v;
    __syncthreads();
    uint32_t most = 0;
#pragma unroll
    for (int w = 0; w < FP8_THREADS / WARP; w++)
        most = at[w] > most ? at[w] : most;
    __syncthreads();
    return most;
}
static __device__ __forceinline__ uint32_t magnitude(float v) { return __float_as_uint(v) & 0x7FFFFFFFu; }

// The largest value of the steps before, as bits, by all threads of a block; 0: there is none (hs_fp8_amax).
static __device__ __forceinline__ uint32_t noted_before(const scaling &s, uint32_t *at)
{
    uint32_t most = 0;
    const int64_t now = (int64_t)(s.step->step % (uint64_t)s.state.cols);
    for (int64_t i = threadIdx.x; i < s.state.cols; i += FP8_THREADS) {
        const uint32_t u = magnitude(reinterpret_cast<const float *>(s.state.p)[s.row * s.state.cols + i]);
        most = i != now && u > most ? u : most;
    }
    return bits_max(most, at);
}

// A weight whose codes are kept is of no step.
static __device__ __forceinline__ int64_t rows_here(const hs_ref &x, const hs_step_in *step) { return step ? live_rows(x, step) : x.rows; }

// Two codes, the first in the low byte. The instruction saturates Inf too, which has to show (core/base/fp8.h).
template <bool E5M2> static __device__ __forceinline__ uint32_t two_codes(float low, float high)
{
#if defined(HS_EMULATED) || !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 890
    return (E5M2 ? hs_f32_e5m2(low) : hs_f32_e4m3(low)) | (uint32_t)(E5M2 ? hs_f32_e5m2(high) : hs_f32_e4m3(high)) << 8;
#else
    const float inf = __uint_as_float(0x7F800000u), nan = __uint_as_float(0x7FC00000u);
    uint16_t codes;
    low = fabsf(low) == inf ? nan : low, high = fabsf(high) == inf ? nan : high;
    if (E5M2)
        asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
    else
        asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
    return codes;
#endif
}

// ---- one operand [rows, cols]

enum fp8_from { FP8_FOUND, FP8_KNOWN, FP8_CODES }; // scaled by what is found here, by a scale that is there; codes that are only turned

struct recoding {
    hs_ref x;
    scaling s;            // FOUND; of the others only step and, of KNOWN, scale
    float *inverse;       // of the scale, which is where it came from; NULL: nowhere
    uint8_t *codes;       // [rows, cols], live rows alone; NULL: not wanted
    uint8_t *turned;      // [cols, ld], 0 beyond live rows; NULL: not wanted
    int64_t ld;           // multiple of 16, rows and more
    uint32_t *tile;       // [blocks] the largest value of each; NULL: not wanted
};
static inline int64_t fp8_ld(int64_t rows) { return blocks_of(rows, FP8_RUN) * FP8_RUN; }
static inline dim3 fp8_tiles(int64_t rows, int64_t cols)
{
    return dim3((unsigned)blocks_of(cols, FP8_TILE), (unsigned)blocks_of(fp8_ld(rows), FP8_TILE));
}

// Four rows of four bytes, as columns.
static __device__ __forceinline__ void turn_four(const uint32_t (&row)[4], uint32_t (&col)[4])
{
    const uint32_t a = __byte_perm(row[0], row[1], 0x5140), b = __byte_perm(row[2], row[3], 0x5140);
    const uint32_t c = __byte_perm(row[0], row[1], 0x7362), d = __byte_perm(row[2], row[3], 0x7362);
    col[0] = __byte_perm(a, b, 0x5410), col[1] = __byte_perm(a, b, 0x7632);
    col[2] = __byte_perm(c, d, 0x5410), col[3] = __byte_perm(c, d, 0x7632);
}

template <bool E5M2>
static __device__ __forceinline__ void round_run(const hs_ref &x, int64_t i, float scale, pack<uint32_t, 4> &to, uint32_t &most)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float v[8];
        get_f<8>(x, i + 8 * half, v);
#pragma unroll
        for (int k = 0; k < 8; k++)
            most = magnitude(v[k]) > most ? magnitude(v[k]) : most;
#pragma unroll
        for (int w = 0; w < 2; w++)
            to.v[2 * half + w] = two_codes<E5M2>(v[4 * w] * scale, v[4 * w + 1] * scale) |
                                 two_codes<E5M2>(v[4 * w + 2] * scale, v[4 * w + 3] * scale) << 16;
    }
}

// A block's tile of 64 x 64: a thread has 16 columns of a row, then 4 x 4 cells of what is turned.
template <int FROM, bool E5M2> static __global__ void recode(recoding r)
{
    HS_SHARED(uint32_t, at, [FP8_THREADS / WARP]);
    HS_SHARED(uint32_t, tile, [FP8_TILE][FP8_TILE / 4 + 1]);
    float scale = 1;
    if (FROM == FP8_FOUND) {
        const uint32_t here = bits_max(r.s.part[threadIdx.x], at), before = r.s.row < 0 ? 0 : noted_before(r.s, at);
        scale = hs_fp8_scale(__uint_as_float(before ? before : here), r.s.most, r.s.margin);
    } else if (FROM == FP8_KNOWN)
        scale = *r.s.scale;
    const bool first = blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0;
    if (FROM == FP8_FOUND && first && r.s.scale)
        *r.s.scale = scale;
    if (first && r.inverse)
        *r.inverse = 1 / (FROM == FP8_CODES ? *r.s.scale : scale);

    const int64_t rows = rows_here(r.x, r.s.step), cols = r.x.cols;
    const int64_t row0 = (int64_t)blockIdx.y * FP8_TILE, col0 = (int64_t)blockIdx.x * FP8_TILE;
    const int down = (int)threadIdx.x / 4, run = (int)threadIdx.x % 4;
    const int64_t i = (row0 + down) * cols + col0 + run * FP8_RUN;
    pack<uint32_t, 4> code = {};
    uint32_t most = 0;
    if (row0 + down < rows && col0 + run * FP8_RUN < cols) {
        if (FROM == FP8_CODES)
            code = *reinterpret_cast<const pack<uint32_t, 4> *>(r.x.p + i);
        else
            round_run<E5M2>(r.x, i, scale, code, most);
        if (r.codes)
            *reinterpret_cast<pack<uint32_t, 4> *>(r.codes + i) = code;
    }
    if (r.tile) {
        most = bits_max(most, at);
        if (threadIdx.x == 0)
            r.tile[blockIdx.y * gridDim.x + blockIdx.x] = most;
    }
    if (!r.turned)
        return;
#pragma unroll
    for (int k = 0; k < 4; k++)
        tile[down][4 * run + k] = code.v[k];
    __syncthreads();
    const int of_rows = 4 * ((int)threadIdx.x % 16), of_cols = 4 * ((int)threadIdx.x / 16);
    uint32_t lies[4], turned[4];
#pragma unroll
    for (int k = 0; k < 4; k++)
        lies[k] = tile[of_rows + k][of_cols / 4];
    turn_four(lies, turned);
    if (row0 + of_rows >= r.ld || col0 + of_cols >= cols)
        return;
#pragma unroll
    for (int k = 0; k < 4; k++)
        *reinterpret_cast<uint32_t *>(r.turned + (col0 + of_cols + k) * r.ld + row0 + of_rows) = turned[k];
}

// The largest of all tiles is this step's (hs_fp8_note).
static __global__ void note_tiles(scaling s, const uint32_t *tile, int64_t n)
{
    HS_SHARED(uint32_t, at, [FP8_THREADS / WARP]);
    uint32_t most = 0;
    for (int64_t i = threadIdx.x; i < n; i += FP8_THREADS)
        most = tile[i] > most ? tile[i] : most;
    most = bits_max(most, at);
    if (threadIdx.x == 0)
        hs_fp8_note(&s.state, s.step, s.row, __uint_as_float(most));
}

#endif
