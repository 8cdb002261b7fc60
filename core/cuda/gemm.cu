// Products on CUDA: which kernel does one, and what ranges of k have added up.
#include "core/cuda/gemm_impl.cuh"

// Blocks that fill a large GPU about once: below, blocks of C are small, or ranges of k are done apart.
enum { FILL = 128, MOST_RANGES = 16 };

static int64_t blocks_of_c(int64_t m, int64_t n, int64_t batches, int64_t each)
{
    return blocks_of(m, each) * blocks_of(n, each) * batches;
}

// Ranges that a live k is cut into: of capacities alone, so that the bits do not depend on what lives.
static int ranges_of(int64_t m, int64_t n, int64_t k, int64_t batches)
{
    const int64_t blocks = blocks_of_c(m, n, batches, 128), most = k / (2 * GEMM_CHUNK);
    int64_t ranges = 2 * FILL / (blocks > 0 ? blocks : 1);
    ranges = ranges < most ? ranges : most;
    ranges = ranges < MOST_RANGES ? ranges : (int64_t)MOST_RANGES;
    return ranges > 1 ? (int)blocks_of(k, gemm_range(k, (int)ranges)) : 1;
}

size_t gemm_bytes(int64_t m, int64_t n, int64_t k, int64_t batches)
{
    const int ranges = ranges_of(m, n, k, batches);
    return ranges > 1 ? (size_t)(m * n * batches) * (size_t)ranges * sizeof(float) : 0;
}

// C = or += the sums of its ranges, in order; those beyond the live k were not made.
template <int N> static __global__ void add_ranges(gemm g, int ranges)
{
    const int64_t col = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, row = blockIdx.y, z = blockIdx.z,
                  range = gemm_range(g.k, ranges);
    const int64_t k = gemm_alive(g, GEMM_LIVE_K, g.k);
    if (col >= g.n)
        return;
    float sum[N] = { 0 };
    for (int r = 0; r < ranges && r * range < k; r++) {
        float x[N];
        load_f<N>(g.partial + ((z * ranges + r) * g.m + row) * g.n + col, x);
#pragma unroll
        for (int i = 0; i < N; i++)
            sum[i] += x[i];
    }
    gemm_store<N>(g, z, row, col, sum);
}

static bool lies_at(const void *p, int64_t ld, int64_t stride, int64_t count, int64_t each, int64_t bytes)
{
    return ld % each == 0 && stride % each == 0 && count % each == 0 && (uintptr_t)p % (uintptr_t)bytes == 0;
}
// contiguous: how many values lie behind each other, and whether all of them are live
static gemm_way way_of(const gemm_side *s, int64_t contiguous, bool counted, bool low)
{
    const bool f32 = s->dtype == HS_F32;
    if (counted || !lies_at(s->p, s->ld, s->stride, contiguous, f32 && !low ? 4 : 8, 16))
        return GEMM_BY_ONE;
    return f32 ? GEMM_BY_FOUR : GEMM_BY_COPY;
}

gemm gemm_ready(const gemm *given)
{
    gemm g = *given;
    const bool low = g.a.dtype != HS_F32 || g.b.dtype != HS_F32;
    g.a.way = way_of(&g.a, g.a.k_major ? g.m : g.k, g.live == (g.a.k_major ? GEMM_LIVE_M : GEMM_LIVE_K), low);
    g.b.way = way_of(&g.b, g.b.k_major ? g.n : g.k, !g.b.k_major && g.live == GEMM_LIVE_K, low);
    g.c.wide = lies_at(g.c.p, g.c.ld, g.c.stride, g.n, 4, 16);
    return g;
}

bool gemm_has(const gemm *g, gemm_kind kind)
{
    const int as_is = g->a.dtype != HS_F32 || g->b.dtype != HS_F32 ? GEMM_BY_COPY : GEMM_BY_FOUR;
    return kind != GEMM_FEW || (!g->a.k_major && !g->b.k_major && g->a.way == as_is && g->b.way == as_is);
}

void gemm_by(const gemm *g, gemm_kind kind, int ranges, cudaStream_t stream)
{
    const hs_dtype low = g->a.dtype != HS_F32 ? g->a.dtype : g->b.dtype;
    if (low == HS_F32)
        gemm_f32(g, kind, ranges, stream);
    else if (low == HS_BF16)
        gemm_bf16(g, kind, ranges, stream);
    else
        gemm_f16(g, kind, ranges, stream);
    if (ranges == 1)
        return;
    if (g->c.wide)
        HS_LAUNCH((add_ranges<4>), dim3((unsigned)blocks_of(g->n, 4 * 128), (unsigned)g->m, (unsigned)g->batches), 128, 0, stream, *g,
                  ranges);
    else
        HS_LAUNCH((add_ranges<1>), dim3((unsigned)blocks_of(g->n, 128), (unsigned)g->m, (unsigned)g->batches), 128, 0, stream, *g, ranges);
}

void gemm_run(const gemm *given, hs_lane *lane)
{
    if (given->m <= 0 || given->n <= 0 || given->batches <= 0)
        return;
    const gemm g = gemm_ready(given);
    const int ranges = g.partial && g.live == GEMM_LIVE_K ? ranges_of(g.m, g.n, g.k, g.batches) : 1;
    const bool few = g.m <= GEMM_FEW_ROWS && gemm_has(&g, GEMM_FEW);
    if (!few && gemm_by_library(&g, lane))
        return;
    gemm_by(&g, few ? GEMM_FEW : blocks_of_c(g.m, g.n, g.batches, 128) * ranges < FILL ? GEMM_SMALL : GEMM_LARGE, ranges, gpu_stream(lane));
}
