// latency: bounds in steps of 1, 2.5, 5.
#include "infer/server/latency.h"

const double hs_latency_bounds[HS_LATENCY_BUCKETS] = { 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1,
                                                       0.25, 0.5,    1,    2.5,  5,      10,   25,   50,     100,  250 };

void hs_latency_add(hs_latency *l, int64_t ns)
{
    ns = ns < 0 ? 0 : ns;
    for (int i = 0; i < HS_LATENCY_BUCKETS; i++)
        if ((double)ns <= hs_latency_bounds[i] * 1e9) {
            atomic_fetch_add_explicit(&l->bucket[i], 1, memory_order_relaxed);
            break;
        }
    atomic_fetch_add_explicit(&l->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&l->sum_ns, (uint64_t)ns, memory_order_relaxed);
}

void hs_amounts_add(hs_amounts *a, int64_t n)
{
    int i = 0;
    while (i < HS_AMOUNT_BUCKETS && n > (int64_t)1 << i)
        i++;
    if (i < HS_AMOUNT_BUCKETS)
        atomic_fetch_add_explicit(&a->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&a->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&a->sum, (uint64_t)(n > 0 ? n : 0), memory_order_relaxed);
}
