// tp_alone: what ops between tensor-parallel ranks are on one rank, which is what a definition in f64 can say: y = x. And what a pass over
// their operands costs.
#ifndef HS_OPS_TP_ALONE_H
#define HS_OPS_TP_ALONE_H
#include "core/cpu/rows.h"

static inline void tp_alone(const hs_args *a)
{
    const int64_t n = hs_ref_rows(a, &a->in[0]) * a->in[0].cols;
    memcpy(hs_f64_out(a, 0), hs_f64(a, 0), (size_t)n * sizeof(double));
}

static inline hs_cost tp_pass_cost(const hs_node *n, bool backward) { return (hs_cost){ .bytes = hs_traffic(n, backward) }; }

#endif
