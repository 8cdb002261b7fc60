// nn: what most families are made of, layer by layer; what a trained model knows as names is decided here.
#include "models/nn/nn.h"
#include "models/nn/pairs.h"

// One parameter per statement: C does not order arguments, and the slab follows the order of calls.

int64_t hs_nn_share(hs_graph *g, int64_t n, const char *what)
{
    const int size = g->grid.tp->size;
    if (n % size)
        hs_graph_fail(g, HS_USAGE, "%s is %lld, must divide over %d tensor-parallel ranks", what, (long long)n, size);
    return n / size > 0 ? n / size : 1;
}

hs_tensor *hs_nn_enter(hs_graph *g, hs_tensor *x) { return x->ext == HS_EXT_SHARE ? hs_tp_gather_rows(g, x) : hs_tp_copy(g, x); }

hs_tensor *hs_nn_leave(hs_graph *g, hs_tensor *y)
{
    return g->sequence && y->ext == HS_EXT_TOKENS ? hs_tp_reduce_rows(g, y) : hs_tp_reduce(g, y);
}

hs_tensor *hs_nn_whole(hs_graph *g, hs_tensor *x) { return x->ext == HS_EXT_SHARE ? hs_tp_whole_rows(g, x) : x; }

// The width x must have here. Shares of 8 and more keep every product's rows whole vectors.
static bool check_widths(hs_graph *g, const hs_tensor *x, int64_t in, int64_t out, const hs_linear_opts *o)
{
    const int size = g->grid.tp->size;
    const int64_t split = o->shard == HS_SHARD_ROW ? in : o->shard == HS_SHARD_COL ? out / (o->parts ? o->parts : 1) : 0;
    const int64_t want = o->shard == HS_SHARD_ROW ? in / size : in;
    if (split % ((int64_t)8 * size) && size > 1)
        hs_graph_fail(g, HS_USAGE, "a width of %lld must be a multiple of %d to divide over %d tensor-parallel ranks", (long long)split,
                      8 * size, size);
    else if (x != g->poison && hs_tensor_width(x) != want)
        hs_graph_fail(g, HS_USAGE, "x is %lld wide here, and should be %lld of a width of %lld", (long long)hs_tensor_width(x),
                      (long long)want, (long long)in);
    return g->status == HS_OK;
}

void hs_nn_linear_params(hs_graph *g, const char *name, int64_t in, int64_t out, hs_linear_opts o, hs_tensor **w, hs_tensor **b)
{
    const size_t mark = hs_push(g, "%s", name);
    const int parts = o.parts ? o.parts : 1;
    *w = hs_param_get(g, &(hs_param_spec){
                             .name = "weight",
                             .role = HS_WEIGHT,
                             .shard = o.shard,
                             .init = HS_INIT_NORMAL,
                             .std = o.std > 0 ? o.std : 0.02f,
                             .parts = parts,
                             .pad_rows = o.pad_rows,
                             .n_dims = 2,
                             .dim = { out, in },
                         });
    *b = NULL;
    if (!o.no_bias)
        *b = hs_param_get(g,
                          &(hs_param_spec){
                              .name = "bias",
                              .role = HS_BIAS,
                              .shard = o.shard == HS_SHARD_COL ? HS_SHARD_COL : HS_SHARD_NONE, // a row-parallel bias is whole on every rank
                              .init = HS_INIT_ZERO,
                              .parts = parts,
                              .pad_rows = o.pad_rows,
                              .n_dims = 1,
                              .dim = { out },
                          });
    hs_nn_pair_params(g, in, out, &o);
    hs_pop(g, mark);
}

hs_tensor *hs_nn_linear_with(hs_graph *g, hs_tensor *x, const char *name, int64_t in, int64_t out, hs_linear_opts o)
{
    hs_tensor *w, *b, *y = g->poison;
    const size_t mark = hs_push(g, "%s", name);
    const bool fits = check_widths(g, x, in, out, &o);
    hs_pop(g, mark);
    if (o.bias)
        *o.bias = y;
    if (!fits)
        return y;
    hs_nn_linear_params(g, name, in, out, o, &w, &b);
    hs_push(g, "%s", name);
    const bool partial = o.shard == HS_SHARD_ROW && g->grid.tp->size > 1; // then the bias comes once, behind the sum
    const bool later = partial || o.bias;
    y = hs_linear(g, o.shard == HS_SHARD_COL ? hs_nn_enter(g, x) : x, w, later ? NULL : b);
    if (partial)
        y = hs_nn_leave(g, y);
    y = hs_nn_pair(g, x, y, in, out, &o);
    if (o.bias)
        *o.bias = b;
    else if (partial && b)
        y = hs_bias_add(g, y, b);
    hs_pop(g, mark);
    return y;
}

// Rows of a table that begin at *first are here.
static bool sliced(const hs_graph *g, const hs_tensor *table, int64_t *first)
{
    *first = 0;
    if (g->grid.tp->size == 1 || table->kind != HS_PARAM || table->param->shard != HS_SHARD_COL)
        return false;
    *first = g->grid.tp->rank * table->dim[0];
    return true;
}

hs_tensor *hs_nn_embedding_from(hs_graph *g, hs_tensor *table, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where,
                                int64_t first_position)
{
    int64_t first;
    if (!sliced(g, table, &first) && g->sequence) // of a whole table each rank looks its own rows up
        return hs_embedding_from(g, table, hs_tp_own_rows(g, ids), pos_table, where ? hs_tp_own_rows(g, where) : NULL, first_position);
    if (!sliced(g, table, &first))
        return hs_embedding_from(g, table, ids, pos_table, where, first_position);
    const int64_t rows = g->grid.tp->size * table->dim[0];
    return hs_nn_leave(g, hs_embedding_slice(g, table, ids, pos_table, where, first_position, first, rows));
}

hs_tensor *hs_nn_embedding(hs_graph *g, hs_tensor *table, hs_tensor *ids, hs_tensor *pos_table, hs_tensor *where)
{
    return hs_nn_embedding_from(g, table, ids, pos_table, where, 0);
}

hs_tensor *hs_nn_logits(hs_graph *g, hs_tensor *x, hs_tensor *table, hs_tensor *bias, bool f32)
{
    int64_t first;
    const bool slice = sliced(g, table, &first);
    hs_tensor *y = hs_linear(g, slice ? hs_nn_enter(g, x) : x, table, bias);
    y = f32 ? hs_cast(g, y, HS_F32) : y; // sinks into the product
    return slice ? hs_tp_gather(g, y) : y;
}

hs_tensor *hs_nn_logits_xent(hs_graph *g, hs_tensor *x, hs_tensor *table, hs_tensor *bias, hs_tensor *target, hs_xent_attr attr)
{
    int64_t first;
    if (!sliced(g, table, &first))
        return hs_linear_xent(g, x, table, bias, target, attr);
    return hs_tp_linear_xent(g, hs_nn_enter(g, x), table, bias, target, attr, first);
}

void hs_nn_norm_params(hs_graph *g, const char *name, int64_t width, hs_tensor **gamma, hs_tensor **beta)
{
    const size_t mark = hs_push(g, "%s", name);
    *gamma = hs_param_get(g, &(hs_param_spec){ .name = "weight", .role = HS_NORM, .init = HS_INIT_ONE, .n_dims = 1, .dim = { width } });
    *beta = hs_param_get(g, &(hs_param_spec){ .name = "bias", .role = HS_NORM, .init = HS_INIT_ZERO, .n_dims = 1, .dim = { width } });
    hs_pop(g, mark);
}

hs_tensor *hs_nn_layernorm(hs_graph *g, hs_tensor *x, const char *name, float eps)
{
    hs_tensor *gamma, *beta;
    hs_nn_norm_params(g, name, hs_tensor_width(x), &gamma, &beta);
    const size_t mark = hs_push(g, "%s", name);
    hs_tensor *y = hs_layernorm(g, x, gamma, beta, eps);
    hs_pop(g, mark);
    return y;
}

hs_tensor *hs_nn_table(hs_graph *g, const char *name, hs_shard shard, int64_t rows, int pad_rows, int64_t width)
{
    return hs_param_get(g, &(hs_param_spec){ .name = name,
                                             .role = HS_EMBED,
                                             .shard = shard,
                                             .init = HS_INIT_NORMAL,
                                             .std = 0.02f,
                                             .pad_rows = pad_rows,
                                             .n_dims = 2,
                                             .dim = { rows, width } });
}

static hs_tensor *input(hs_graph *g, const char *name, hs_ext ext, int64_t rows, int64_t cols)
{
    return hs_input(g, name, HS_I32, ext, cols > 1 ? 2 : 1, (int64_t[]){ rows, cols });
}

hs_batch_in hs_nn_batch(hs_graph *g, const hs_arch_shape *s)
{
    hs_batch_in in = { .cache_rows = s->cache_rows,
                       .page_rows = s->page_rows,
                       .library_masks = s->library_masks,
                       .any_order = s->any_order,
                       .cache_i8 = s->cache_i8 };
    if (g->mode != HS_DECODE)
        in.longest = s->longest, in.full = s->full && g->mode == HS_TRAIN;
    in.ids = input(g, "ids", HS_EXT_TOKENS, s->max_tokens, 1);
    in.starts = input(g, "starts", HS_EXT_STARTS, s->max_seqs + 1, 1);
    in.where = input(g, "where", HS_EXT_TOKENS, s->max_tokens, 2);
    if (g->mode == HS_DECODE) {
        in.keys = input(g, "keys", HS_EXT_SEQS, s->max_seqs, 3);
        in.rows = input(g, "rows", HS_EXT_TOKENS, s->max_tokens, 1);
        in.picks = input(g, "picks", HS_EXT_PICKS, s->max_seqs, 1);
        if (s->page_rows)
            in.pages = hs_input(g, "pages", HS_I32, HS_EXT_SEQS, 2, (int64_t[]){ s->max_seqs, s->seq_pages });
    } else if (!s->hidden) {
        in.targets = input(g, "targets", HS_EXT_TOKENS, s->max_tokens, 1);
    }
    return in;
}

static hs_tensor *causal_of_codes(hs_graph *g, hs_tensor *qkv, const hs_batch_in *in, int64_t heads)
{
    const int64_t width = hs_tensor_width(qkv) / 3, cols = hs_cache_i8_cols(width, heads);
    hs_tensor *cache = hs_state_get(g, "cache", HS_I8, 2, (int64_t[]){ in->cache_rows, cols });
    cache = hs_cache_append_i8(g, cache, qkv, in->rows, width, (int)heads);
    const hs_attention_i8_in a = { .qkv = qkv, .starts = in->starts, .keys = in->keys, .cache = cache, .pages = in->pages };
    return hs_attention_i8(
        g, a, (hs_attention_i8_attr){ .heads = (int)heads, .causal = true, .page_rows = in->pages ? (int)in->page_rows : 0 });
}

hs_tensor *hs_nn_causal(hs_graph *g, hs_tensor *qkv, const hs_batch_in *in, int64_t heads, float dropout)
{
    const int64_t mine = hs_nn_share(g, heads, "model.heads"), width = hs_tensor_width(qkv) / 3;
    if (g->mode == HS_DECODE && in->cache_i8)
        return causal_of_codes(g, qkv, in, mine);
    hs_attention_in a = { .qkv = qkv, .starts = in->starts, .where = in->where };
    if (g->mode == HS_DECODE) {
        hs_tensor *cache = hs_state_get(g, "cache", g->state_dtype, 2, (int64_t[]){ in->cache_rows, 2 * width });
        a.kv = hs_cache_append(g, cache, qkv, in->rows, width);
        a.keys = in->keys, a.pages = in->pages;
    }
    const hs_attention_attr attr = { .heads = (int)mine,
                                     .causal = true,
                                     .dropout = dropout,
                                     .first_head = g->grid.tp->rank * (int)mine,
                                     .page_rows = a.pages ? (int)in->page_rows : 0,
                                     .longest = (int)in->longest,
                                     .full = in->full,
                                     .library_masks = in->library_masks,
                                     .any_order = in->any_order };
    return hs_attention(g, a, attr);
}
