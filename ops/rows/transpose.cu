// transpose on CUDA: x seen as [A, P, B, Q, C], of which P and Q change places (transpose.c). Where C is 1, tiles of P and Q are turned in
// shared memory, so that both sides are read and written along their rows; else lines of C are copied.
#include "core/cuda/gpu.cuh"
#include "ops/attrs.h"

enum { X };
enum { Y };
enum { TILE = 32, TILE_ROWS = 8, THREADS = 256 };

struct view {
    int64_t A, P, B, Q, C; // of the source, at capacity
    bool rows_in_a;        // A counts rows, of which some live
};

static view view_of(const hs_args *a, const hs_ref &r)
{
    const hs_transpose_attr *at = static_cast<const hs_transpose_attr *>(a->attr);
    const int lo = at->d0 < at->d1 ? at->d0 : at->d1, hi = at->d0 < at->d1 ? at->d1 : at->d0;
    view v = { 1, 1, 1, 1, 1, lo > 0 };
    for (int i = 0; i < r.t->n_dims; i++)
        *(i < lo ? &v.A : i == lo ? &v.P : i < hi ? &v.B : i == hi && hi != lo ? &v.Q : &v.C) *= r.t->dim[i];
    return v;
}
// Rows are P where dim 0 is swapped: all of them live, unless it is with itself.
static __device__ __forceinline__ bool dead(const view &v, const hs_ref &x, int64_t i, int64_t p, int64_t live)
{
    return v.rows_in_a ? i >= v.A / x.rows * live : p >= live;
}

static __global__ void turn_tiles(hs_ref x, hs_ref y, view v, const hs_step_in *step)
{
    HS_SHARED(float, tile, [TILE][TILE + 1]);
    const int64_t live = live_rows(x, step), p_tiles = (v.P + TILE - 1) / TILE, q_tiles = (v.Q + TILE - 1) / TILE;
    const int64_t p0 = blockIdx.x % p_tiles * TILE, q0 = blockIdx.x / p_tiles % q_tiles * TILE, ib = blockIdx.x / p_tiles / q_tiles;
    const int64_t i = ib / v.B, b = ib % v.B;
    const int x0 = (int)threadIdx.x, y0 = (int)threadIdx.y;
    for (int k = y0; k < TILE; k += TILE_ROWS) {
        const int64_t p = p0 + k, q = q0 + x0;
        if (p < v.P && q < v.Q && !dead(v, x, i, p, live))
            tile[k][x0] = get_one(x, ((i * v.P + p) * v.B + b) * v.Q + q);
    }
    __syncthreads();
    for (int k = y0; k < TILE; k += TILE_ROWS) {
        const int64_t p = p0 + x0, q = q0 + k;
        if (p < v.P && q < v.Q && !dead(v, x, i, p, live))
            set_one(y, ((i * v.Q + q) * v.B + b) * v.P + p, tile[x0][k]);
    }
}

// `each` threads, a power of two, for each line of y
template <int N> static __global__ void move_lines(hs_ref x, hs_ref y, view v, int each, const hs_step_in *step)
{
    const int64_t line = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / each, live = live_rows(x, step);
    const int64_t p = line % v.P, b = line / v.P % v.B, q = line / v.P / v.B % v.Q, i = line / v.P / v.B / v.Q;
    if (i >= v.A || dead(v, x, i, p, live))
        return;
    const int64_t from = (((i * v.P + p) * v.B + b) * v.Q + q) * v.C;
    for (int64_t c = (int)threadIdx.x % each * N; c < v.C; c += each * N) {
        float u[N];
        get_f<N>(x, from + c, u);
        set_f<N>(y, line * v.C + c, u);
    }
}

template <int N> static void run_lines(const hs_args *a, cudaStream_t stream, const hs_ref &y, const hs_ref &x, const view &v)
{
    int each = 1;
    while (each < WARP && each * N < v.C)
        each *= 2;
    HS_LAUNCH((move_lines<N>), grid_of(v.A * v.P * v.B * v.Q, THREADS / each), THREADS, 0, stream, x, y, v, each, a->step);
}

static void swap_dims(const hs_args *a, hs_lane *lane, const hs_ref &y, const hs_ref &x)
{
    const view v = view_of(a, x);
    if (!y.p)
        return;
    if (v.C == 1)
        HS_LAUNCH(turn_tiles, grid_of(v.A * v.B * blocks_of(v.P, TILE) * blocks_of(v.Q, TILE), 1), dim3(TILE, TILE_ROWS), 0,
                  gpu_stream(lane), x, y, v, a->step);
    else if (v.C % 8 == 0)
        run_lines<8>(a, gpu_stream(lane), y, x, v);
    else
        run_lines<1>(a, gpu_stream(lane), y, x, v);
}
static void forward(const hs_args *a, hs_lane *lane) { swap_dims(a, lane, a->out[Y], a->in[X]); }
static void backward(const hs_args *a, hs_lane *lane)
{
    swap_dims(a, lane, a->din[X], a->dout[Y]);
} // swapped again, they are where they were

extern "C" const hs_kernels hs_cuda_transpose = { forward, backward, HS_PART_FREE, HS_PART_FREE };
