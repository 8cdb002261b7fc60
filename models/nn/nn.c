#include "models/nn/nn.h"

// One parameter per statement: C does not order arguments, and the slab follows the order of calls.

hs_tensor *hs_nn_linear_with(hs_graph *g, hs_tensor *x, const char *name, int64_t out, hs_linear_opts o)
{
    const size_t mark = hs_push(g, "%s", name);
    const int parts = o.parts ? o.parts : 1;
    hs_tensor *w = hs_param_get(g, &(hs_param_spec){
                                       .name = "weight",
                                       .role = HS_WEIGHT,
                                       .shard = o.shard,
                                       .init = HS_INIT_NORMAL,
                                       .std = o.std > 0 ? o.std : 0.02f,
                                       .parts = parts,
                                       .n_dims = 2,
                                       .dim = { out, hs_tensor_width(x) },
                                   });
    hs_tensor *b = NULL;
    if (!o.no_bias)
        b = hs_param_get(g,
                         &(hs_param_spec){
                             .name = "bias",
                             .role = HS_BIAS,
                             .shard = o.shard == HS_SHARD_COL ? HS_SHARD_COL : HS_SHARD_NONE, // a row-parallel bias is whole on every rank
                             .init = HS_INIT_ZERO,
                             .parts = parts,
                             .n_dims = 1,
                             .dim = { out },
                         });
    hs_tensor *y = hs_linear(g, x, w, b);
    hs_pop(g, mark);
    return y;
}

hs_tensor *hs_nn_layernorm(hs_graph *g, hs_tensor *x, const char *name, float eps)
{
    const size_t mark = hs_push(g, "%s", name);
    const int64_t C = hs_tensor_width(x);
    hs_tensor *gamma =
        hs_param_get(g, &(hs_param_spec){ .name = "weight", .role = HS_NORM, .init = HS_INIT_ONE, .n_dims = 1, .dim = { C } });
    hs_tensor *beta = hs_param_get(g, &(hs_param_spec){ .name = "bias", .role = HS_NORM, .init = HS_INIT_ZERO, .n_dims = 1, .dim = { C } });
    hs_tensor *y = hs_layernorm(g, x, gamma, beta, eps);
    hs_pop(g, mark);
    return y;
}

static hs_tensor *input(hs_graph *g, const char *name, hs_ext ext, int64_t rows, int64_t cols)
{
    return hs_input(g, name, HS_I32, ext, cols > 1 ? 2 : 1, (int64_t[]){ rows, cols });
}

hs_batch_in hs_nn_batch(hs_graph *g, int64_t max_tokens, int64_t max_seqs)
{
    hs_batch_in in = { 0 };
    in.ids = input(g, "ids", HS_EXT_TOKENS, max_tokens, 1);
    in.starts = input(g, "starts", HS_EXT_STARTS, max_seqs + 1, 1);
    in.where = input(g, "where", HS_EXT_TOKENS, max_tokens, 2);
    if (g->mode == HS_DECODE) {
        in.keys = input(g, "keys", HS_EXT_SEQS, max_seqs, 3);
        in.rows = input(g, "rows", HS_EXT_TOKENS, max_tokens, 1);
        in.picks = input(g, "picks", HS_EXT_PICKS, max_seqs, 1);
    } else {
        in.targets = input(g, "targets", HS_EXT_TOKENS, max_tokens, 1);
    }
    return in;
}
