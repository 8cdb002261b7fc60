// cores: affinity by number among those allowed, whatever numbers the system gives them.
#include "infer/server/cores.h"
#include <errno.h>
#include <string.h>

cpu_set_t hs_cores_narrow(int first, int n)
{
    cpu_set_t may, mine;
    CPU_ZERO(&may);
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof may, &may) != 0)
        return may;
    for (int core = 0, k = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &may)) {
            if (k >= first && k < first + n)
                CPU_SET(core, &mine);
            k++;
        }
    if (CPU_COUNT(&mine) > 0)
        sched_setaffinity(0, sizeof mine, &mine);
    return may;
}

hs_status hs_cores_can_narrow(int n)
{
    cpu_set_t may;
    if (sched_getaffinity(0, sizeof may, &may) != 0 || sched_setaffinity(0, sizeof may, &may) != 0)
        return HS_FAIL(SYSTEM, "the system does not let a thread choose its cores: %s", strerror(errno));
    if (n > CPU_COUNT(&may))
        return HS_FAIL(USAGE, "%d threads are more than the %d cores that this process may use", n, CPU_COUNT(&may));
    return HS_OK;
}

void hs_cores_restore(const cpu_set_t *before)
{
    if (CPU_COUNT(before) > 0)
        sched_setaffinity(0, sizeof *before, before);
}
