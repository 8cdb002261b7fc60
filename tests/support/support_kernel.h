// support_kernel: one kernel of an op on a team, without a plan around it.
#ifndef HS_TESTS_SUPPORT_KERNEL_H
#define HS_TESTS_SUPPORT_KERNEL_H
#include "core/cpu/cpu.h"
#include "core/graph/op.h"

void kernel_on(hs_team *team, hs_kernel *fn, const hs_args *a);
void kernel_on_lanes(int lanes, hs_kernel *fn, const hs_args *a); // a team of so many, for this call

#endif
