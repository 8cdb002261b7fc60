// device_cpu: the CPU as a device, for hs_device_open.
#ifndef HS_CORE_DEVICE_CPU_H
#define HS_CORE_DEVICE_CPU_H
#include "core/run/device.h"

#ifdef __cplusplus
extern "C" {
#endif

hs_backend hs_backend_cpu;
hs_backend hs_backend_cpu_fenced; // a debugging aid: memory that only kernels may touch (core/cpu/fenced.h)

#ifdef __cplusplus
}
#endif
#endif
