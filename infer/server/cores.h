// cores: which of the cores that this process may use a thread stays on. Threads that it starts inherit them.
#ifndef HS_INFER_CORES_H
#define HS_INFER_CORES_H
#include "core/base/status.h"
#include <sched.h>

// The calling thread stays on cores [first, first + n) of those it may use now; n 0, or none of them: nothing changes. What it had before.
cpu_set_t hs_cores_narrow(int first, int n);
// Whether threads can be kept on `n` cores of those this process may use: else what of hs_cores_narrow will come to nothing, and why.
hs_status hs_cores_can_narrow(int n);
void hs_cores_restore(const cpu_set_t *before);

#endif
