// emu_alone: for tests that call kernels without a device - they run where they are launched, in memory of the host's.
#include "core/graph/op.h"
#include "tests/emu/cudart.h"

cudaStream_t gpu_stream(const hs_lane *lane);
struct hs_lt *gpu_lt(const hs_lane *lane);
cudaStream_t gpu_stream(const hs_lane *lane)
{
    (void)lane;
    return NULL;
}
struct hs_lt *gpu_lt(const hs_lane *lane)
{
    (void)lane;
    return NULL;
}
