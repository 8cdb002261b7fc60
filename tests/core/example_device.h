// example_device: a device that knows of each op only its definition in f64 (hs_op.ref).
#ifndef HS_TESTS_EXAMPLE_DEVICE_H
#define HS_TESTS_EXAMPLE_DEVICE_H
#include "core/run/device.h"

hs_backend hs_backend_naive;
int64_t hs_naive_given(const hs_device *d); // pieces of work its lanes were given so far; none runs before somebody waits for it
int64_t hs_naive_done(const hs_device *d);  // and did

#endif
