// tensor: how one is written in messages. Everything else about it is in the header, or belongs to its graph.
#include "core/graph/tensor.h"
#include <stdio.h>

const char *hs_tensor_shape(const hs_tensor *t, char *buf, size_t size)
{
    size_t used = 0;
    if (size)
        buf[0] = 0;
    for (int i = 0; i < t->n_dims && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%lld", i ? "," : "[", (long long)t->dim[i]);
    if (used < size)
        snprintf(buf + used, size - used, "%s", t->n_dims ? "]" : "[]");
    return buf;
}

const char *hs_counter_name(int counter)
{
    static const char *const names[HS_N_COUNTERS] = { "rows", "tokens", "sequences", "predictions", "tokens of the second axis",
                                                      "a rank's share of the tokens" };
    return counter >= 0 && counter < HS_N_COUNTERS && names[counter] ? names[counter] : "units";
}
