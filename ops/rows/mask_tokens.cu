// mask_tokens on CUDA: a block for each sequence. Candidates are listed side by side, draws made side by side; one thread walks the
// shuffle, in shared memory where the sequence fits, and chosen tokens find their places side by side again.
#include "core/cuda/gpu.cuh"
#include "core/graph/mask_draw.h"

enum { IDS, STARTS, DRAWS, SPECIAL };
enum { Y, PICKS, TARGETS };
enum { THREADS = 256, WARPS = THREADS / WARP, NEAR = 4096, NEAR_PICKS = 1024 };

struct masked_text {
    hs_ref ids, draws, picks;
    const int32_t *starts, *special;
    int special_rows;
    int32_t *y, *targets;
    int32_t *place;  // [N] candidates of long sequences
    int32_t *chosen; // [N]
};

// How many threads of the block in front of this one have the flag; *all: how many have it.
static __device__ __forceinline__ int rank_of(bool flag, int *at, int *all)
{
    const unsigned bits = __ballot_sync(0xFFFFFFFFu, flag), here = threadIdx.x / WARP;
    if (threadIdx.x % WARP == 0)
        at[here] = __popc(bits);
    __syncthreads();
    int before = 0, sum = 0;
    for (unsigned w = 0; w < WARPS; w++) {
        before += w < here ? at[w] : 0;
        sum += at[w];
    }
    __syncthreads();
    *all = sum;
    return before + __popc(bits & ((1u << threadIdx.x % WARP) - 1));
}

static __global__ void mask_sequences(masked_text t, const hs_step_in *step)
{
    HS_SHARED(int32_t, near, [NEAR]);
    HS_SHARED(int32_t, near_choice, [NEAR_PICKS]);
    HS_SHARED(int, counts, [WARPS]);
    const int64_t N = live_rows(t.ids, step), B = live_rows(t.draws, step), P = live_rows(t.picks, step), s = blockIdx.x;
    if (s >= B)
        return;
    const int32_t *const ids = reinterpret_cast<const int32_t *>(t.ids.p), *const draws = reinterpret_cast<const int32_t *>(t.draws.p);
    int32_t *const picks = reinterpret_cast<int32_t *>(t.picks.p);
    int asked = 0; // by the sequences in front of this one
    for (int64_t k = threadIdx.x; k < s; k += THREADS)
        asked += draws[k * HS_DRAW_CELLS + HS_DRAW_PICKS] > 0 ? draws[k * HS_DRAW_CELLS + HS_DRAW_PICKS] : 0;
    const int64_t before = block_sum<WARPS>(asked, counts);
    const int32_t *const row = draws + s * HS_DRAW_CELLS;
    const hs_draw_span at = hs_draw_span_of(t.starts, row, s, B, N, before, P);
    const uint64_t key = hs_draw_get(row + HS_DRAW_KEY), sample = hs_draw_get(row + HS_DRAW_SAMPLE);
    const int n_special = hs_draw_n_special(t.special, t.special_rows);
    int32_t *const place = at.tokens <= NEAR ? near : t.place + at.first, *const chosen = t.chosen + at.first;
    int64_t n = 0;
    for (int64_t base = 0; base < at.end - at.first; base += THREADS) {
        const int64_t i = base + threadIdx.x;
        const bool is_there = i < at.end - at.first;
        const int32_t id = is_there ? ids[at.first + i] : -1;
        const bool may = i < at.tokens && hs_draw_may(id, row[HS_DRAW_VOCAB], t.special, n_special);
        int all;
        const int rank = rank_of(may, counts, &all);
        if (may)
            place[n + rank] = (int32_t)i;
        if (is_there)
            t.y[at.first + i] = id, chosen[i] = 0;
        n += all;
    }
    const int64_t got = at.picks < n ? at.picks : n;
    int32_t *const choice = got <= NEAR_PICKS ? near_choice : picks + before;
    for (int64_t k = threadIdx.x; k < got; k += THREADS)
        choice[k] = (int32_t)hs_draw_choice(key, sample, k, n);
    __syncthreads();
    if (threadIdx.x == 0)
        for (int64_t k = 0; k < got; k++) {
            const int32_t j = choice[k];
            chosen[place[j]] = 1;
            place[j] = place[k];
        }
    __syncthreads();
    int64_t done = 0;
    for (int64_t base = 0; base < at.tokens; base += THREADS) {
        const int64_t i = base + threadIdx.x;
        const bool is_chosen = i < at.tokens && chosen[i];
        int all;
        const int64_t p = before + done + rank_of(is_chosen, counts, &all);
        if (is_chosen) {
            const int32_t id = ids[at.first + i];
            const hs_u32x4 own = hs_draw_at(key, sample, i, 1);
            picks[p] = (int32_t)(at.first + i), t.targets[p] = id;
            t.y[at.first + i] = hs_draw_instead(row, t.special, n_special, own.v[0], own.v[1], id);
        }
        done += all;
    }
    const int64_t end = s == B - 1 ? P : before + at.picks;
    for (int64_t p = before + got + threadIdx.x; p < end; p += THREADS)
        picks[p] = 0, t.targets[p] = -1;
}

static void forward(const hs_args *a, hs_lane *lane)
{
    int32_t *const place = reinterpret_cast<int32_t *>(a->scratch);
    masked_text t;
    t.ids = a->in[IDS], t.draws = a->in[DRAWS], t.picks = a->out[PICKS];
    t.starts = cells<int32_t>(a->in[STARTS]), t.special = cells<int32_t>(a->in[SPECIAL]), t.special_rows = (int)a->in[SPECIAL].rows;
    t.y = cells<int32_t>(a->out[Y]), t.targets = cells<int32_t>(a->out[TARGETS]);
    t.place = place, t.chosen = place + a->in[IDS].rows;
    HS_LAUNCH(mask_sequences, grid_of(a->in[DRAWS].rows, 1), THREADS, 0, gpu_stream(lane), t, a->step);
}

static hs_scratch scratch(const hs_node *n, int, bool) { return { 2 * (size_t)n->in[IDS]->dim[0] * sizeof(int32_t), 0 }; }

extern "C" const hs_kernels hs_cuda_mask_tokens = { forward, nullptr, HS_PART_FREE, HS_PART_FREE, false, scratch };
