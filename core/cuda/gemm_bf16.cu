// Products of bf16.
#include "core/cuda/gemm_tile.cuh"

void gemm_bf16(const gemm *g, gemm_kind kind, int ranges, cudaStream_t stream) { launch_low<bf16>(g, kind, ranges, stream); }
