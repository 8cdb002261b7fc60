// lines: kernels along the last dim, whose lines are short or long: a warp per line, or a block of 8. A line is read once for each pass;
// what the first read lies in the first-level cache for the next.
#ifndef HS_CORE_LINES_H
#define HS_CORE_LINES_H
#include "core/cuda/gpu.cuh"

enum { LONG_LINE = 2048, LINE_WARPS = 8 };

// Threads of a line, lines of a block.
template <int WARPS> constexpr int LINES = WARPS == 1 ? 4 : 1;
template <int WARPS> static inline dim3 line_block() { return dim3(WARPS * WARP, (unsigned)LINES<WARPS>); }
template <int WARPS> static inline dim3 line_grid(int64_t lines) { return grid_of(lines, LINES<WARPS>); }
template <int WARPS> static __device__ __forceinline__ int64_t line_here() { return (int64_t)blockIdx.x * LINES<WARPS> + threadIdx.y; }

// body(values, first cell) for the N cells that this thread has of a line of `width` in r from `first` on, again and again.
template <int WARPS, int N, class F>
static __device__ __forceinline__ void walk_line(const hs_ref &r, int64_t first, int64_t width, F &&body)
{
    for (int64_t c = threadIdx.x * N; c < width; c += WARPS * WARP * N) {
        float x[N];
        get_f<N>(r, first + c, x);
        body(x, c);
    }
}
// The same of two operands.
template <int WARPS, int N, class F>
static __device__ __forceinline__ void walk_line(const hs_ref &r, const hs_ref &q, int64_t first, int64_t width, F &&body)
{
    for (int64_t c = threadIdx.x * N; c < width; c += WARPS * WARP * N) {
        const raw<N> a = fetch<N>(r, first + c), b = fetch<N>(q, first + c);
        float x[N], z[N];
        widen<N>(r, a, x);
        widen<N>(q, b, z);
        body(x, z, c);
    }
}

// Runs the statement with WARPS and N as a line of that width wants them; whole: lines of every operand can be walked 8 cells at a time.
#define BY_LINE(width, whole, WARPS, N, ...)                                                                                               \
    do {                                                                                                                                   \
        if ((width) >= LONG_LINE && (whole)) {                                                                                             \
            constexpr int WARPS = LINE_WARPS, N = 8;                                                                                       \
            __VA_ARGS__;                                                                                                                   \
        } else if ((width) >= LONG_LINE) {                                                                                                 \
            constexpr int WARPS = LINE_WARPS, N = 1;                                                                                       \
            __VA_ARGS__;                                                                                                                   \
        } else if (whole) {                                                                                                                \
            constexpr int WARPS = 1, N = 8;                                                                                                \
            __VA_ARGS__;                                                                                                                   \
        } else {                                                                                                                           \
            constexpr int WARPS = 1, N = 1;                                                                                                \
            __VA_ARGS__;                                                                                                                   \
        }                                                                                                                                  \
    } while (0)
// Whether lines of `width` in all these can be: an absent operand can.
template <class... R> static inline bool lines_by_8(int64_t width, const R &...r)
{
    return width % 8 == 0 && ((!r.p || (uintptr_t)r.p % 16 == 0) && ...);
}

#endif
