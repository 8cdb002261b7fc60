// no_sparse: what kernels are linked against where no weight is pressed: none can be.
#include "core/cuda/cusparselt.h"
#include <stdlib.h>

hs_status hs_sp_open(hs_sp *sp)
{
    (void)sp;
    return HS_FAIL(UNSUPPORTED, "there is no cuSPARSELt");
}
const char *hs_sp_declines(int64_t outs, int64_t ins, hs_dtype type)
{
    (void)outs, (void)ins, (void)type;
    return "there is no cuSPARSELt";
}
size_t hs_sp_bytes(int64_t outs, int64_t ins)
{
    (void)outs, (void)ins;
    return 0;
}
void hs_sp_press(hs_lane *lane, const hs_ref *w, void *to, size_t bytes)
{
    (void)lane, (void)w, (void)to, (void)bytes;
    abort();
}
bool hs_sp_has(hs_lane *lane, const hs_sp_product *p, const hs_sp_ways *ways)
{
    (void)lane, (void)p, (void)ways;
    return false;
}
void hs_sp_multiply(hs_lane *lane, const hs_sp_product *p)
{
    (void)lane, (void)p;
    abort();
}
