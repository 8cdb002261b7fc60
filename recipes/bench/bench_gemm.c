// The three products of a linear layer, by the kernels that training runs, against what this CPU can do in registers.
#include "recipes/bench/bench.h"
#include <math.h>
#include <stdio.h>

static hs_tensor *build(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s)
{
    hs_tensor *x = hs_probe_x(g, in, "x", s->cols);
    return hs_nn_linear(g, x, "linear", s->cols, s->out, .no_bias = true);
}

static hs_probe_spec spec(const int64_t *dim)
{
    return (hs_probe_spec){ .build = build, .rows = dim[0], .cols = dim[1], .out = dim[2], .seqs = 1 };
}

static void report(hs_bench_run *r, const int64_t *dim, hs_probe_column *c)
{
    const double flops = 2.0 * (double)dim[0] * (double)dim[1] * (double)dim[2], peak = hs_median(&c->peak);
    double rate[HS_PROBE_TIMES], whole = 0;
    for (int t = 0; t < HS_PROBE_TIMES; t++) {
        const double seconds = hs_median(&c->time[t]);
        rate[t] = flops / seconds / 1e9, whole += seconds;
    }
    // the forward product of few rows is limited by reading the weights
    const double bytes = (double)(dim[1] * dim[2]) * (double)hs_dtype_bytes(c->dtype);
    char shape[96];
    snprintf(shape, sizeof shape, "%lldx%lldx%lld", (long long)dim[0], (long long)dim[1], (long long)dim[2]);
    const hs_cell cells[] = {
        { .key = "rows_x_in_x_out", .text = shape },
        { .key = "dtype", .text = hs_dtype_name(c->dtype) },
        { .key = "kernels", .text = c->kernels },
        { .key = "weights", .text = c->packed ? "packed before" : "as they lie" },
        { .key = "forward_gflops", .value = rate[HS_PROBE_FORWARD] },
        { .key = "dx_gflops", .value = rate[HS_PROBE_BACKWARD] },
        { .key = "dw_gflops", .value = rate[HS_PROBE_PARAMS] },
        { .key = "ceiling", .text = hs_peak_name(r->device, c->dtype) },
        { .key = "ceiling_gflops", .value = peak / 1e9 },
        { .key = "share", .value = 3 * flops / whole / peak, .digits = 2 },
        { .key = "forward_weights_gbps", .value = bytes * rate[HS_PROBE_FORWARD] * 1e9 / flops / 1e9, .digits = 1 },
    };
    HS_BENCH_ROW(r, cells);
}

static hs_status run(hs_bench_run *r) { return hs_probe_table(r, spec, report); }

const hs_bench hs_bench_gemm = {
    .name = "gemm",
    .summary = "GFLOP/s of linear's three products, and of multiply-adds in registers alone",
    .takes = "onednn packed",
    .sizes = "ROWSxINxOUT",
    // shakespeare-char (its step has 768 rows) | GPT-2 124M: QKV, projection, MLP, LM head | the same for one token
    .default_sizes = "768x128x384,768x128x128,768x128x512,768x512x128,"
                     "1Kx768x2304,1Kx768x768,1Kx768x3072,1Kx3072x768,1Kx768x50304,"
                     "1x768x3072,1x3072x768,1x768x50304",
    .run = run,
};
