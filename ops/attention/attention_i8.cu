// attention_i8 on CUDA: the f32 kernels of attention, which widen codes as they load them; the definition is in attention_i8.c.
#include "ops/attention/attention.cuh"

enum { QKV, STARTS, KEYS, CACHE, PAGES };
enum { Y };

static void forward(const hs_args *args, hs_lane *lane)
{
    const hs_attention_i8_attr *at = static_cast<const hs_attention_i8_attr *>(args->attr);
    hs_attention_attr attr = {};
    attr.heads = at->heads, attr.causal = at->causal, attr.scale = at->scale, attr.page_rows = at->page_rows;
    hs_args b = *args;
    b.attr = &attr;
    b.in[ATT_KV] = args->in[CACHE], b.in[ATT_PAGES] = args->in[PAGES];
    b.in[ATT_WHERE] = hs_ref(), b.out[ATT_LSE] = hs_ref();
    attention_plain(attention_of(&b), gpu_stream(lane));
}

extern "C" const hs_kernels hs_cuda_attention_i8 = { forward, nullptr, HS_PART_FREE, HS_PART_FREE, false };
