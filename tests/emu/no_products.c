// no_products: what kernels are linked against where no product is a library's. None of it is called: gpu_lt says that there is none.
#include "core/cuda/cublaslt.h"
#include <stdlib.h>

void *hs_lt_room(hs_lane *lane, size_t bytes)
{
    (void)lane, (void)bytes;
    return NULL;
}
bool hs_lt_has_8bit(hs_lane *lane, const hs_lt_product *p)
{
    (void)lane, (void)p;
    return false;
}
bool hs_lt_has(hs_lane *lane, const hs_lt_product *p, const hs_lt_operands *o)
{
    (void)lane, (void)p, (void)o;
    return false;
}
void hs_lt_say(hs_lane *lane, const hs_lt_product *p, const char *why) { (void)lane, (void)p, (void)why; }
bool hs_lt_is_faster(hs_lane *lane, const hs_lt_product *p, const hs_lt_operands *o, const hs_lt_ways *ways)
{
    (void)lane, (void)p, (void)o, (void)ways;
    return false;
}
void hs_lt_multiply(hs_lane *lane, const hs_lt_product *p, const hs_lt_operands *o)
{
    (void)lane, (void)p, (void)o;
    abort();
}
