// support_rig: the optimizers of the CPU, for tests that name no others.
#include "tests/support/support_optim.h"

const rig_device rig_on = { 0 };
