// span_xent on CUDA: a block per sequence; the definition is in span_xent.c.
#include "ops/loss/span_rows.cuh"

typedef struct column { // of a sequence: what its softmax is made of
    float max, sum, at; // sum of e^(x - max); x of the target
    int64_t target;     // row
    bool counts;
} column;

static __device__ column read_column(const hs_ref &x, int64_t first, int64_t n, int k, int32_t target, float *room)
{
    column c = { -INFINITY, 0, 0, first + target, target >= 0 && target < n };
    for (int64_t i = threadIdx.x; i < n; i += THREADS)
        c.max = fmaxf(c.max, span_value(x, first + i, k));
    c.max = block_max<WARPS>(c.max, room);
    for (int64_t i = threadIdx.x; i < n; i += THREADS)
        c.sum += expf(span_value(x, first + i, k) - c.max);
    c.sum = block_sum<WARPS>(c.sum, room);
    c.at = c.counts ? span_value(x, c.target, k) : 0;
    return c;
}

static __global__ void span_losses(span_rows r, const int32_t *target, int32_t loss, const hs_step_in *step, const hs_step_state *state)
{
    HS_SHARED(float, room, [WARPS]);
    const int64_t b = blockIdx.x, B = live_rows(r.loss, step), live = live_rows(r.x, step);
    if (b == B && r.gradient)
        span_clear_nobodys(r, B, live);
    if (b >= B)
        return;
    int64_t first, n;
    float *to = reinterpret_cast<float *>(r.loss.p) + b;
    if (!r.seqs.of(b, live, first, n)) {
        if (threadIdx.x == 0)
            *to = NAN;
        return;
    }
    const column start = read_column(r.x, first, n, 0, target[2 * b], room), end = read_column(r.x, first, n, 1, target[2 * b + 1], room);
    if (threadIdx.x == 0)
        *to = (start.counts ? start.max + logf(start.sum) - start.at : 0) + (end.counts ? end.max + logf(end.sum) - end.at : 0);
    if (!r.gradient)
        return;
    const float factor = step->inv_count[loss] * state->scale;
    __syncthreads(); // the targets' values are read
    span_write(r.x, first, n, [&](int64_t row, int k) {
        const float max = k ? end.max : start.max, sum = k ? end.sum : start.sum;
        const bool counts = k ? end.counts : start.counts, is_target = row == (k ? end.target : start.target);
        return counts ? factor * (expf(span_value(r.x, row, k) - max) / sum - (is_target ? 1 : 0)) : 0;
    });
    span_clear(r.x, first + n, r.seqs.starts[b + 1]);
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const span_rows r = span_rows_of(a);
    HS_LAUNCH(span_losses, span_grid(r), THREADS, 0, gpu_stream(lane), r, cells<int32_t>(a->in[OTHER]),
              static_cast<const hs_span_attr *>(a->attr)->loss, a->step, a->state);
}

extern "C" const hs_kernels hs_cuda_span_xent = { forward, nullptr, HS_PART_FREE, HS_PART_FREE };
