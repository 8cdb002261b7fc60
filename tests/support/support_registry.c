// support_registry: the registry that the generic op tests walk is this library's. A test program that defines hs_tested itself
// (tests/core/example_op.c) is linked without this file.
#include "tests/support/support_ops.h"

op_registry hs_tested = { .ops = hs_ops, .n = HS_N_OPS };
