// The headers that a plug-in uses are valid C++ for nvcc, and one op's entry can be filled the way it will be: by position,
// nvcc has no designators. Compiled where there is an nvcc; runs no kernel, so it needs no GPU.
#include "core/run/device.h"
#include "core/base/dtype.h"
#include "core/graph/op.h"
#include "core/base/status.h"
#include "core/graph/step.h"
#include "core/graph/tensor.h"
#include "tests/core/plugin_facts.h"

static __global__ void scale_rows(const hs_ref x, const hs_ref y, const hs_step_in *step, float factor)
{
    const int64_t live = hs_ext_rows(x.ext, step->n, x.rows);
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= live * x.cols)
        return;
    float *out = (float *)y.p + i;
    const float v = factor * ((const float *)x.p)[i];
    *out = y.add ? *out + v : v;
}

static void launch(const hs_ref *x, const hs_ref *y, const hs_args *a)
{
    const int64_t cells = x->rows * x->cols;
    scale_rows<<<(unsigned)((cells + 255) / 256), 256>>>(*x, *y, a->step, *(const float *)a->attr);
}

static void forward(const hs_args *a, hs_lane *) { launch(&a->in[0], &a->out[0], a); }
static void backward(const hs_args *a, hs_lane *)
{
    if (a->din[0].p)
        launch(&a->dout[0], &a->din[0], a);
}

static hs_scratch scratch(const hs_node *n, int team, bool) { return { hs_tensor_bytes(n->in[0]), (size_t)team }; }
static const char *decline(const hs_node *n) { return hs_dtype_is_low(n->in[0]->dtype) ? "reads f32 only" : nullptr; }

// `extern` in the header: a const of C++ has internal linkage otherwise.
const hs_kernels hs_plugin_scale = { forward, backward, HS_PART_ROWS, HS_PART_ROWS, false, scratch, decline };

const hs_plugin_fact hs_plugin_facts[] = { HS_PLUGIN_FACTS(HS_PLUGIN_SIZE, HS_PLUGIN_OFFSET) };
const int hs_plugin_n_facts = sizeof hs_plugin_facts / sizeof hs_plugin_facts[0];

static_assert(HS_N_STATUS > HS_OK && HS_N_DTYPES == 11, "enumerations of the lists");
