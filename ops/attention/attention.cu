// attention on CUDA: cuDNN's where it takes it (attention_cudnn.h), else our own: tensor cores where operands are low and heads no wider than 128, else products in f32; the definition is in
// attention.c.
#include "ops/attention/attention.cuh"
#include "ops/attention/attention_cudnn.h"

enum { FILL = 264, MOST_PART_BYTES = 64 << 20 }; // blocks that fill a large GPU about twice; of chunks done apart

// Of few queries: blocks per sequence and head that its chunks are divided over, and how many chunks it can have.
static void divide(attention *a, bool by_tiles)
{
    const int most_keys = a->page ? a->page * a->n_table : (int)a->kv.rows;
    a->chunks = (int)blocks_of(most_keys, ATT_CHUNK);
    a->splits = 1;
    if (!a->apart || !by_tiles)
        return;
    const int each = a->d <= 64 ? 4 : 2, most = (int)blocks_of(a->chunks, each);
    const int want = (int)blocks_of(FILL, (int64_t)a->heads * a->max_seqs), splits = want < most ? want : most;
    const int64_t bytes = a->q.rows * a->heads * a->chunks * (a->d + 2) * (int64_t)sizeof(float);
    a->splits = bytes <= MOST_PART_BYTES ? splits : 1;
}

static void forward(const hs_args *args, hs_lane *lane)
{
    if (hs_sdpa_forward(args, lane))
        return;
    attention a = attention_of(args);
    const bool tiles = attention_by_tiles(a);
    divide(&a, tiles);
    a.part = reinterpret_cast<float *>(args->scratch);
    if (!tiles)
        attention_plain(a, gpu_stream(lane));
    else if (a.q.dtype == HS_BF16)
        attention_bf16(a, gpu_stream(lane));
    else
        attention_f16(a, gpu_stream(lane));
}

// delta[row, head] = dy . y, by 8 lanes
static __global__ void __launch_bounds__(256) attention_delta(attention a)
{
    const int64_t i = ((int64_t)blockIdx.x * 256 + threadIdx.x) / 8, rows = live_rows(a.q, a.step);
    const bool live = i < rows * a.heads;
    const int64_t at = live ? i / a.heads * a.y.cols + i % a.heads * a.d : 0;
    float sum = 0;
    for (int c = (int)threadIdx.x % 8 * 8; c < a.d && live; c += 64) {
        float y[8], dy[8];
        get_f<8>(a.y, at + c, y), get_f<8>(a.dy, at + c, dy);
#pragma unroll
        for (int e = 0; e < 8; e++)
            sum += y[e] * dy[e];
    }
#pragma unroll
    for (int k = 4; k > 0; k /= 2)
        sum += __shfl_xor_sync(0xFFFFFFFFu, sum, k);
    if (live && threadIdx.x % 8 == 0)
        a.delta[i] = sum;
}

// Columns of dq that its queries' keys and values are, where others are looked at.
static __global__ void __launch_bounds__(256) attention_zero(attention a)
{
    const int64_t each = 2 * a.width, i = ((int64_t)blockIdx.x * 256 + threadIdx.x) * 8, row = i / each;
    const float zeros[8] = { 0 };
    if (row < live_rows(a.dq, a.step))
        set_f<8>(a.dq, row * a.dq.cols + a.width + i % each, zeros);
}

static void backward(const hs_args *args, hs_lane *lane)
{
    attention a = attention_of(args);
    const cudaStream_t stream = gpu_stream(lane);
    if ((!a.dq.p && !a.dkv.p) || hs_sdpa_backward(args, lane))
        return;
    a.delta = reinterpret_cast<float *>(args->scratch);
    HS_LAUNCH(attention_delta, grid_of(a.q.rows * a.heads * 8, 256), 256, 0, stream, a);
    if (a.apart && a.dq.p && !a.dq.add && a.dq.cols > a.width)
        HS_LAUNCH(attention_zero, grid_of(a.dq.rows * 2 * a.width / 8, 256), 256, 0, stream, a);
    if (!attention_by_tiles(a))
        attention_plain_backward(a, stream);
    else if (a.q.dtype == HS_BF16)
        attention_bf16_backward(a, stream);
    else
        attention_f16_backward(a, stream);
}

static size_t own_scratch(const hs_node *n, bool is_backward)
{
    const hs_attention_attr *at = static_cast<const hs_attention_attr *>(n->attr);
    const hs_tensor *qkv = n->in[ATT_QKV], *kv = n->in[ATT_KV], *y = n->out[ATT_Y];
    if (is_backward)
        return (size_t)(qkv->dim[0] * at->heads) * sizeof(float);
    attention a = {}; // as attention_of has it
    a.apart = kv != nullptr, a.q.dtype = qkv->dtype, a.q.rows = qkv->dim[0], a.kv.rows = kv ? kv->dim[0] : qkv->dim[0];
    a.heads = at->heads, a.d = (int)(y->dim[1] / at->heads), a.max_seqs = (int)n->in[ATT_STARTS]->dim[0] - 1;
    a.scale = at->scale != 0 ? at->scale : 1;
    if (n->in[ATT_PAGES])
        a.page = at->page_rows, a.n_table = (int)n->in[ATT_PAGES]->dim[1];
    divide(&a, attention_by_tiles(a));
    return a.splits > 1 ? (size_t)(a.q.rows * a.heads * a.chunks * (a.d + 2)) * sizeof(float) : 0;
}

static hs_scratch scratch(const hs_node *n, int, bool is_backward)
{
    const size_t own = own_scratch(n, is_backward), library = hs_sdpa_scratch(n, is_backward);
    return { own > library ? own : library, 0 };
}

extern "C" const hs_kernels hs_cuda_attention = { forward, backward, HS_PART_FREE, HS_PART_FREE, false, scratch };
