// cudnn_none: in the place of cudnn_sdpa and cudnn_graph where a build has no cudnn.h, and in tests that have no need of it.
#include "core/cuda/cudnn_sdpa.h"
#include <stdlib.h>

static hs_status left_out(hs_dnn **out)
{
    *out = NULL;
    return HS_FAIL(UNSUPPORTED, "cuDNN: left out of this build (cudnn.h)");
}
hs_status hs_dnn_open(hs_dnn **out, int device)
{
    (void)device;
    return left_out(out);
}
hs_status hs_dnn_open_described(hs_dnn **out, const char *device)
{
    (void)device;
    return left_out(out);
}
void hs_dnn_close(hs_dnn *dnn) { (void)dnn; }
int hs_dnn_version(const hs_dnn *dnn)
{
    (void)dnn;
    return 0;
}
const hs_sdpa_plan *hs_sdpa_plan_of(hs_dnn *dnn, const hs_sdpa_problem *p, bool compiled)
{
    (void)dnn, (void)p, (void)compiled;
    return NULL;
}
size_t hs_sdpa_workspace(const hs_sdpa_problem *p)
{
    (void)p;
    return 0;
}
bool hs_sdpa_ready(hs_lane *lane, const hs_sdpa_problem *p, const char *why)
{
    (void)lane, (void)p, (void)why;
    return false;
}
void hs_sdpa_run(hs_lane *lane, const hs_sdpa_problem *p, const hs_sdpa_operands *o)
{
    (void)lane, (void)p, (void)o;
    abort(); // hs_sdpa_ready never says yes
}
