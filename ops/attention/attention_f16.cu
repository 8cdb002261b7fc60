// Attention of f16 by tensor cores.
#include "ops/attention/attention_bwd.cuh"
#include "ops/attention/attention_fwd.cuh"

void attention_f16(const attention &a, cudaStream_t stream)
{
    a.d <= 64 ? launch_forward<f16, 64, 2>(a, stream) : launch_forward<f16, 128, 1>(a, stream);
}
void attention_f16_backward(const attention &a, cudaStream_t stream)
{
    a.d <= 64 ? launch_backward<f16, 64>(a, stream) : launch_backward<f16, 128>(a, stream);
}
