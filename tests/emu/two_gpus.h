// two_gpus: the first without cuBLASLt and the second with its double, so that a kernel goes both ways.
#ifndef HS_TESTS_EMU_TWO_GPUS_H
#define HS_TESTS_EMU_TWO_GPUS_H
#include "core/cuda/cublaslt.h"
#include "core/cuda/gpu.cuh"
#include "tests/emu/lt_double.h"

static hs_gpu gpu[2];
static hs_lane lane[2];
extern "C" cudaStream_t gpu_stream(const hs_lane *) { return nullptr; }
extern "C" struct hs_lt *gpu_lt(const hs_lane *lane) { return lane->gpu->lt; }

static int open_gpus(int major) // of the compute capability; as cmocka's set-up
{
    for (int i = 0; i < 2; i++)
        gpu[i].major = major, lane[i].gpu = &gpu[i];
    if (hs_lt_open(&gpu[1].lt, "a double", nullptr) == HS_OK)
        return 0;
    print_error("%s\n", hs_error());
    return -1;
}

static int close_gpus(void **)
{
    hs_lt_close(gpu[1].lt);
    cudaFree(lane[1].workspace);
    return 0;
}

#endif
