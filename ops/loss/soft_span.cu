// soft_span on CUDA: a block per sequence; the definition is in soft_span.c.
#include "ops/loss/span_rows.cuh"

typedef struct column { // of a sequence: largest values, and sums of e^((x - max) / T) and e^((teacher - max) / T)
    float max_x, max_t;
    double sum_x, sum_t, cross; // of the latter times (teacher - x)
} column;

static __device__ column read_column(const hs_ref &x, const hs_ref &t, int64_t first, int64_t n, int k, float inv, double *room,
                                     float *most)
{
    column c = { -INFINITY, -INFINITY, 0, 0, 0 };
    for (int64_t i = first + threadIdx.x; i < first + n; i += THREADS)
        c.max_x = fmaxf(c.max_x, span_value(x, i, k)), c.max_t = fmaxf(c.max_t, span_value(t, i, k));
    c.max_x = block_max<WARPS>(c.max_x, most);
    c.max_t = block_max<WARPS>(c.max_t, most);
    for (int64_t i = first + threadIdx.x; i < first + n; i += THREADS) {
        const float vx = span_value(x, i, k) - c.max_x, vt = span_value(t, i, k) - c.max_t, e = expf(vt * inv);
        c.sum_x += (double)expf(vx * inv), c.sum_t += (double)e, c.cross += (double)e * (double)(vt - vx);
    }
    c.sum_x = block_sum<WARPS>(c.sum_x, room);
    c.sum_t = block_sum<WARPS>(c.sum_t, room);
    c.cross = block_sum<WARPS>(c.cross, room);
    return c;
}

static __device__ float loss_of(const column &c, int64_t n, double T)
{
    return n > 0 ? (float)(T * T * (c.cross / (T * c.sum_t) + log(c.sum_x) - log(c.sum_t))) : 0;
}

static __global__ void soft_span_losses(span_rows r, hs_ref teacher, hs_soft_span_attr attr, const hs_step_in *step,
                                        const hs_step_state *state)
{
    HS_SHARED(double, room, [WARPS]);
    HS_SHARED(float, most, [WARPS]);
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
    const float inv = 1 / attr.temperature;
    const column start = read_column(r.x, teacher, first, n, 0, inv, room, most),
                 end = read_column(r.x, teacher, first, n, 1, inv, room, most);
    if (threadIdx.x == 0)
        *to = loss_of(start, n, (double)attr.temperature) + loss_of(end, n, (double)attr.temperature);
    if (!r.gradient)
        return;
    const float factor = attr.temperature * (step->inv_count[attr.loss] * state->scale);
    span_write(r.x, first, n, [&](int64_t row, int k) {
        const float max_x = k ? end.max_x : start.max_x, max_t = k ? end.max_t : start.max_t;
        const float sum_x = (float)(k ? end.sum_x : start.sum_x), sum_t = (float)(k ? end.sum_t : start.sum_t);
        return factor * (expf((span_value(r.x, row, k) - max_x) * inv) / sum_x - expf((span_value(teacher, row, k) - max_t) * inv) / sum_t);
    });
    span_clear(r.x, first + n, r.seqs.starts[b + 1]);
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const span_rows r = span_rows_of(a);
    HS_LAUNCH(soft_span_losses, span_grid(r), THREADS, 0, gpu_stream(lane), r, a->in[OTHER],
              *static_cast<const hs_soft_span_attr *>(a->attr), a->step, a->state);
}

extern "C" const hs_kernels hs_cuda_soft_span = { forward, nullptr, HS_PART_FREE, HS_PART_FREE };
