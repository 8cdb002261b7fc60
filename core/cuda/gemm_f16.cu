// Products of f16.
#include "core/cuda/gemm_tile.cuh"

void gemm_f16(const gemm *g, gemm_kind kind, int ranges, cudaStream_t stream) { launch_low<f16>(g, kind, ranges, stream); }
