// attention_cudnn: cuDNN as a provider of attention on CUDA (core/cuda/cudnn_sdpa.h), which attention.cu asks first. It takes bf16 and f16
// over keys that are the queries' own rows, where the longest sequence is promised; dropout where a library's masks will do
// (hs_attention_attr).
#ifndef HS_OPS_ATTENTION_CUDNN_H
#define HS_OPS_ATTENTION_CUDNN_H
#include "core/graph/op.h"

#ifdef __cplusplus
extern "C" {
#endif

// The op's forward and backward. False: nothing was done, and the log says why, once for each shape.
bool hs_sdpa_forward(const hs_args *a, hs_lane *lane);
bool hs_sdpa_backward(const hs_args *a, hs_lane *lane);
// Shared scratch of either, from its beginning on; 0 where it is known that it will not be cuDNN's.
size_t hs_sdpa_scratch(const hs_node *n, bool backward);

#ifdef __cplusplus
}
#endif
#endif
