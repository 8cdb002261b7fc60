// cores: affinity by number among those allowed, whatever numbers the system gives them.
#include "infer/server/cores.h"

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

void hs_cores_restore(const cpu_set_t *before)
{
    if (CPU_COUNT(before) > 0)
        sched_setaffinity(0, sizeof *before, before);
}
