// emu_device: core/cuda/device_cuda.c on an emulated GPU, without ops: for tests of devices, lanes and what moves between ranks.
#ifndef HS_TESTS_EMU_DEVICE_H
#define HS_TESTS_EMU_DEVICE_H
#include "tests/emu/emu_nccl.h"
#include "core/cuda/device_cuda.h"

hs_status emu_device_open(hs_device **out, int index); // of hs_emu_gpus; with comm_open of NCCL's double

#endif
