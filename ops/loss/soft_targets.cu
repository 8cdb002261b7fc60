// soft_targets on CUDA: a block per row, a thread the same columns of student and teacher in both passes; the definition is in
// soft_targets.c. The first pass keeps two maxima and three sums per thread, rescaled where a maximum rises.
#include "ops/loss/soft_sums.cuh"
#include "ops/loss/xent_rows.cuh"

enum { LOGITS, TEACHER, TARGET };
enum { LOSS, DLOGITS };

typedef struct soft_rows {
    hs_ref x; // and its gradient
    const float *teacher;
    const int32_t *only; // rows where this is below 0 do not count; NULL: all do
    float *loss;
    hs_soft_attr at;
    bool gradient;
} soft_rows;

template <int WARPS, int N, class T>
static __global__ void __launch_bounds__(WARPS *WARP)
    soft_losses(T *logits, soft_rows r, const hs_step_in *step, const hs_step_state *state)
{
    HS_SHARED(double, at, [WARPS]);
    HS_SHARED(float, most, [WARPS]);
    const int64_t n = blockIdx.x, V = r.x.cols, K = r.at.classes, columns = WARPS * WARP * N;
    if (n >= live_rows(r.x, step))
        return;
    T *x = logits + n * V;
    const float *t = r.teacher + n * V, inv = 1 / r.at.temperature;
    const bool counts = !r.only || r.only[n] >= 0;
    soft_sums s = soft_none();
    for (int64_t c = (int64_t)threadIdx.x * N; counts && c < K; c += columns) {
        float v[N], u[N], max_p = s.max_p, max_q = s.max_q;
        load_f<N>(x + c, v);
        load_f<N>(t + c, u);
#pragma unroll
        for (int i = 0; i < N; i++)
            if (c + i < K)
                max_p = fmaxf(max_p, v[i]), max_q = fmaxf(max_q, u[i]);
        soft_shift(&s, max_p, max_q, inv);
#pragma unroll
        for (int i = 0; i < N; i++)
            if (c + i < K)
                soft_add(&s, v[i], u[i], inv);
    }
    const float max_p = block_max<WARPS>(s.max_p, most), max_q = block_max<WARPS>(s.max_q, most);
    if (s.q > 0)
        soft_shift(&s, max_p, max_q, inv);
    const double p = block_sum<WARPS>((double)s.p, at), q = block_sum<WARPS>((double)s.q, at),
                 cross = block_sum<WARPS>((double)s.cross, at);
    const double T0 = (double)r.at.temperature;
    if (threadIdx.x == 0)
        r.loss[n] = counts ? (float)(T0 * T0 * (cross / (T0 * q) + log(p) - log(q))) : 0;
    if (!r.gradient)
        return;
    const float k = r.at.temperature * xent_factor(step, state, r.at.loss), kp = counts ? k / (float)p : 0, kq = counts ? k / (float)q : 0;
    for (int64_t c = (int64_t)threadIdx.x * N; c < V; c += columns) {
        float v[N] = {}, u[N] = {};
        if (counts && c < K) {
            load_f<N>(x + c, v);
            load_f<N>(t + c, u);
        }
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] = counts && c + i < K ? expf((v[i] - max_p) * inv) * kp - expf((u[i] - max_q) * inv) * kq : 0;
        store_f<N>(x + c, v);
    }
}

static void forward(const hs_args *a, hs_lane *lane)
{
    const hs_ref &logits = a->in[LOGITS];
    const soft_rows r = { logits,
                          cells<float>(a->in[TEACHER]),
                          cells<int32_t>(a->in[TARGET]),
                          cells<float>(a->out[LOSS]),
                          *static_cast<const hs_soft_attr *>(a->attr),
                          a->out[DLOGITS].p != nullptr };
    const cudaStream_t stream = gpu_stream(lane);
    BY_XENT_WIDTH(logits, BY_FLOAT(logits.dtype, T,
                                   HS_LAUNCH((soft_losses<WARPS, N, T>), dim3((unsigned)logits.rows), WARPS * WARP, 0, stream,
                                             cells<T>(logits), r, a->step, a->state)));
}

extern "C" const hs_kernels hs_cuda_soft_targets = { forward, nullptr, HS_PART_FREE, HS_PART_FREE };
