// Row-wise ops in the types that training gives them, against copying: GB/s of the bytes an op cannot avoid to move.
#include "recipes/bench/bench.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef hs_tensor *build_fn(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s);

static hs_tensor *stream(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s) { return hs_probe_x(g, in, "residual", s->cols); }
static hs_tensor *branch(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s) // what a product wrote: low precision
{
    hs_tensor *x = hs_probe_x(g, in, "x", s->cols);
    return s->low == HS_F32 ? x : hs_cast(g, x, s->low);
}
static hs_tensor *vector(hs_graph *g, const char *name, hs_role role, hs_init init, const hs_probe_spec *s)
{
    return hs_param_get(g, &(hs_param_spec){ .name = name, .role = role, .init = init, .n_dims = 1, .dim = { s->cols } });
}
static hs_tensor *bias(hs_graph *g, const hs_probe_spec *s) { return vector(g, "bias", HS_BIAS, HS_INIT_ZERO, s); }

static hs_tensor *layernorm(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s)
{
    hs_tensor *x = stream(g, in, s);
    return hs_nn_layernorm(g, x, "ln", 1e-5f);
}
static hs_tensor *softmax(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s) { return hs_softmax(g, stream(g, in, s)); }
static hs_tensor *gelu(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s) { return hs_gelu(g, branch(g, in, s), HS_GELU_TANH); }
static hs_tensor *bias_gelu(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s)
{
    hs_tensor *x = branch(g, in, s), *b = bias(g, s);
    return hs_bias_gelu(g, x, b, HS_GELU_ERF);
}
static hs_tensor *dropout(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s)
{
    return hs_dropout(g, branch(g, in, s), in->where, 0.1f);
}
static hs_tensor *add(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s)
{
    hs_tensor *x = stream(g, in, s), *y = branch(g, in, s);
    return hs_add(g, x, y);
}
static hs_tensor *fused(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s)
{
    hs_tensor *x = branch(g, in, s), *r = stream(g, in, s), *b = bias(g, s);
    hs_tensor *gamma = vector(g, "gamma", HS_NORM, HS_INIT_ONE, s), *beta = vector(g, "beta", HS_NORM, HS_INIT_ZERO, s);
    return hs_bias_dropout_residual_layernorm(g, x, b, r, gamma, beta, in->where, 0.1f, 1e-5f);
}
static hs_tensor *xent(hs_graph *g, const hs_batch_in *in, const hs_probe_spec *s)
{
    return hs_xent(g, branch(g, in, s), in->targets, (hs_xent_attr){ .classes = (int32_t)s->cols, .ignore = -1 });
}

static const struct row {
    build_fn *build;
    bool out_low;
} rows[] = { { stream, false }, { layernorm, true }, { softmax, false }, { gelu, true }, { bias_gelu, true },
             { dropout, true }, { add, false },      { fused, true },    { xent, true } };

typedef struct measured {
    hs_samples forward, backward, copy;
} measured;

// Copying as many f32 as the op has cells, beside each run of it.
static hs_status sample(hs_bench_run *r, hs_probe *p, float *memory, int64_t cells, measured *m)
{
    const hs_stream_job copy = {
        .loop = hs_peak_loops_of(r->device->isa)->copy, .to = memory, .a = memory + cells, .n = cells, .passes = 1
    };
    double seconds;
    HS_TRY(hs_stream_time(r->device, &copy, &seconds));
    HS_TRY(hs_probe_run(p));
    hs_samples_add(&m->copy, 8 * (double)cells / seconds);
    hs_samples_add(&m->forward, p->seconds[HS_PROBE_FORWARD]);
    hs_samples_add(&m->backward, p->seconds[HS_PROBE_BACKWARD]);
    return HS_OK;
}

static void report(hs_bench_run *r, const hs_node *n, const int64_t *dim, hs_dtype low, measured *m)
{
    const double fwd = n->op->cost(n, false).bytes, bwd = n->op->cost(n, true).bytes, copy = hs_median(&m->copy);
    const double fwd_seconds = hs_median(&m->forward), bwd_seconds = hs_median(&m->backward);
    const double fwd_rate = fwd / fwd_seconds, bwd_rate = bwd_seconds > 0 ? bwd / bwd_seconds : NAN; // identities have no backward
    char shape[64];
    snprintf(shape, sizeof shape, "%lldx%lld", (long long)dim[0], (long long)dim[1]);
    const hs_cell cells[] = {
        { .key = "rows_x_cols", .text = shape },
        { .key = "dtype", .text = hs_dtype_name(low) },
        { .key = "forward_gbps", .value = fwd_rate / 1e9, .digits = 1 },
        { .key = "backward_gbps", .value = bwd_rate / 1e9, .digits = 1 },
        { .key = "forward_us", .value = 1e6 * fwd_seconds, .digits = 1 },
        { .key = "backward_us", .value = bwd_seconds > 0 ? 1e6 * bwd_seconds : NAN, .digits = 1 },
        { .key = "memcpy_gbps", .value = copy / 1e9, .digits = 1 },
        { .key = "forward_share", .value = fwd_rate / copy, .digits = 2 },
        { .key = "backward_share", .value = bwd_rate / copy, .digits = 2 },
        { .key = "op", .text = n->op->name },
    };
    HS_BENCH_ROW(r, cells);
}

static hs_status measure(hs_bench_run *r, const struct row *row, const int64_t *dim, hs_dtype low)
{
    const int64_t n = dim[0] * dim[1];
    hs_probe *p = NULL;
    void *memory = NULL;
    measured m = { 0 };
    hs_status st;
    HS_TRY_GOTO(st, r->device->alloc(2 * (size_t)n * sizeof(float), &memory), done);
    r->device->fill(r->device, memory, 0, 2 * (size_t)n * sizeof(float));
    HS_TRY_GOTO(
        st,
        hs_probe_new(
            &p, r->device,
            &(hs_probe_spec){
                .build = row->build, .rows = dim[0], .cols = dim[1], .out = dim[1], .seqs = 1, .low = low, .out_low = row->out_low }),
        done);
    HS_TRY_GOTO(st, hs_probe_run(p), done);
    const double start = hs_now();
    for (int round = 0; !hs_bench_enough(r, round, start); round++)
        HS_TRY_GOTO(st, sample(r, p, memory, n, &m), done);
    report(r, p->node, dim, low, &m);
done:
    hs_probe_free(p);
    r->device->release(memory);
    return st;
}

static hs_status run(hs_bench_run *r)
{
    hs_dtype types[2];
    const int n = hs_bench_dtypes(r, types);
    for (int s = 0; s < r->sizes.n; s++)
        for (int k = 0; k < HS_COUNT(rows); k++)
            for (int i = 0; i < n; i++)
                HS_TRY(measure(r, &rows[k], r->sizes.dim[s], types[i]));
    return HS_OK;
}

const hs_bench hs_bench_pointwise = {
    .name = "pointwise",
    .summary = "GB/s of row-wise ops, beside memcpy of as many f32",
    .takes = "",
    .sizes = "ROWSxCOLS",
    .default_sizes = "768x128,1Kx768,4Kx768,4Kx3072",
    .run = run,
};
