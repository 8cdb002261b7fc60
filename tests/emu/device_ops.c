// device_ops: the registry for the generic op tests on a device of another library, as a program opens it: DEVICE of the build, a plug-in.
#include "tests/support/support_ops.h"

static hs_status open_device(hs_device **out) { return hs_open_device(out, DEVICE, 0, NULL, 0, HS_ONEDNN_NO); }

op_registry hs_tested = { .ops = hs_ops, .n = HS_N_OPS, .no_team = true, .most_flops = MOST_FLOPS, .open = open_device };
