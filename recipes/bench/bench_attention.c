// Fused causal attention: FLOPs are those of the scores a causal mask leaves, half of all; backward makes them again: five
// products against two.
#include "recipes/bench/bench.h"
#include <math.h>
#include <stdio.h>

static hs_tensor *build(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s)
{
    hs_tensor *qkv = hs_probe_x(g, in, "qkv", s->cols);
    return hs_attention(g, (hs_attention_in){ .qkv = qkv, .starts = in->starts, .where = in->where },
                        (hs_attention_attr){ .heads = s->heads, .causal = true });
}

static hs_probe_spec spec(const int64_t *dim)
{
    const int64_t width = dim[2] * dim[3];
    return (
        hs_probe_spec){ .build = build, .rows = dim[0] * dim[1], .cols = 3 * width, .out = width, .seqs = dim[0], .heads = (int)dim[2] };
}

static void report(hs_bench_run *r, const int64_t *dim, hs_probe_column *c)
{
    const hs_node *node = c->probe->node;
    const double forward = node->op->cost(node, false).flops, backward = node->op->cost(node, true).flops;
    const double fwd_seconds = hs_median(&c->time[HS_PROBE_FORWARD]), bwd_seconds = hs_median(&c->time[HS_PROBE_BACKWARD]),
                 peak = hs_median(&c->peak);
    char shape[96];
    snprintf(shape, sizeof shape, "%lldx%lldx%lldx%lld", (long long)dim[0], (long long)dim[1], (long long)dim[2], (long long)dim[3]);
    const hs_cell cells[] = {
        { .key = "batch_x_seq_x_heads_x_dim", .text = shape },
        { .key = "dtype", .text = hs_dtype_name(c->dtype) },
        { .key = "forward_gflops", .value = forward / fwd_seconds / 1e9 },
        { .key = "backward_gflops", .value = backward / bwd_seconds / 1e9 },
        { .key = "forward_ms", .value = 1e3 * fwd_seconds, .digits = 3 },
        { .key = "backward_ms", .value = 1e3 * bwd_seconds, .digits = 3 },
        { .key = "ceiling", .text = hs_peak_name(r->device, c->dtype) },
        { .key = "ceiling_gflops", .value = peak / 1e9 },
        { .key = "share", .value = (forward + backward) / (fwd_seconds + bwd_seconds) / peak, .digits = 2 },
    };
    HS_BENCH_ROW(r, cells);
}

static hs_status run(hs_bench_run *r) { return hs_probe_table(r, spec, report); }

const hs_bench hs_bench_attention = {
    .name = "attention",
    .summary = "GFLOP/s of causal attention, forward and backward",
    .takes = "",
    .sizes = "BATCHxSEQxHEADSxDIM",
    .default_sizes = "12x64x4x32,8x128x12x64,4x512x12x64,4x1Kx12x64,1x4Kx12x64",
    .run = run,
};
