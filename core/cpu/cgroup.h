// cgroup: what the control groups of this process allow it (v1 and v2). Internal to core; `root` is "" outside tests.
#ifndef HS_CORE_CGROUP_H
#define HS_CORE_CGROUP_H
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

double hs_cgroup_cpus(const char *root); // quota in CPUs, the tightest on the way up; INFINITY if there is none
// What the quota leaves of so many cores: rounded down, as a throttled member holds up the whole team, and at least 1.
int hs_cgroup_cores(const char *root, int cores);
size_t hs_cgroup_free_bytes(const char *root); // limit - use (reclaimable page cache is not use); SIZE_MAX if there is none

#ifdef __cplusplus
}
#endif
#endif
