// onnx_attention: attention as a graph of products, and what our kernels read out of starts, keys and pages: positions, and who may look
// at whom, from attention_mask.
#include "infer/export/onnx_emit.h"
#include <math.h>
#include <string.h>

// ---- lengths
static const char *length_of(hs_ox *x, const char *in, int axis) { return HS_OX(x, "Gather", HS_OX(x, "Shape", in), hs_ox_int(x, axis)); }

// Numbers of all tokens that attention_mask covers, and of those before the ones at hand.
static void lengths(hs_ox *x)
{
    if (x->total)
        return;
    x->total = length_of(x, HS_OX_MASK, 1);
    x->past = HS_OX(x, "Sub", x->total, length_of(x, HS_OX_IDS, 1));
}

static const char *unsqueeze(hs_ox *x, const char *in, int64_t axis) { return HS_OX(x, "Unsqueeze", in, HS_OX_LIST(x, axis)); }

// ---- positions

// BERT: 0, 1, ... whatever is padding.
static const char *absolute(hs_ox *x, int64_t rows)
{
    const char *end = unsqueeze(x, length_of(x, HS_OX_IDS, 1), 0), *one = HS_OX_LIST(x, 1);
    return HS_OX(x, "Slice", hs_ox_range(x, rows), HS_OX_LIST(x, 0), end, one, one);
}

// RoBERTa: of what is no padding, counted from behind its id.
static const char *behind_padding(hs_ox *x, int64_t pad)
{
    const char *real = HS_OX(x, "Not", HS_OX(x, "Equal", HS_OX_IDS, hs_ox_int(x, pad)));
    real = HS_OX(x, "Cast", real);
    hs_onnx_set_int(x->m, hs_ox_last(x), "to", HS_ONNX_I64);
    const char *at = HS_OX(x, "Mul", HS_OX(x, "CumSum", real, hs_ox_int(x, 1)), real);
    return HS_OX(x, "Add", at, hs_ox_int(x, pad));
}

// What reads from left to right: how many tokens of the mask stand before it, so that a batch may be padded on either side.
static const char *by_mask(hs_ox *x)
{
    lengths(x);
    const char *at = HS_OX(x, "Sub", HS_OX(x, "CumSum", HS_OX_MASK, hs_ox_int(x, 1)), hs_ox_int(x, 1));
    at = HS_OX(x, "Max", at, hs_ox_int(x, 0));
    const char *one = HS_OX_LIST(x, 1);
    return HS_OX(x, "Slice", at, unsqueeze(x, x->past, 0), unsqueeze(x, x->total, 0), one, one);
}

const char *hs_ox_positions(hs_ox *x, int64_t first_position, int64_t rows)
{
    if (x->positions && x->first_position == first_position)
        return x->positions;
    x->first_position = first_position;
    if (first_position)
        x->positions = behind_padding(x, first_position - 1);
    else
        x->positions = x->causal ? by_mask(x) : absolute(x, rows);
    return x->positions;
}

// ---- who looks at whom: 0, or what makes a weight of 0, added to scores of [batch_size, heads, queries, keys]

// f16: half the most it has, so that a score beside it stays a number.
static const char *never(hs_ox *x) { return hs_ox_real(x, x->real == HS_ONNX_F16 ? -32752.0 : -3.4028234663852886e38); }

static const char *mask_of_all(hs_ox *x)
{
    const char *y = HS_OX(x, "Cast", unsqueeze(x, unsqueeze(x, HS_OX_MASK, 1), 2));
    hs_onnx_set_int(x->m, hs_ox_last(x), "to", x->real);
    return HS_OX(x, "Mul", HS_OX(x, "Sub", hs_ox_real(x, 1), y), never(x));
}

static const char *mask_of_earlier(hs_ox *x)
{
    lengths(x);
    const char *zero = hs_ox_int(x, 0), *one = hs_ox_int(x, 1);
    const char *keys = unsqueeze(x, HS_OX(x, "Range", zero, x->total, one), 0);
    const char *queries = unsqueeze(x, HS_OX(x, "Range", x->past, x->total, one), 1);
    const char *earlier = HS_OX(x, "LessOrEqual", keys, queries);
    const char *real = HS_OX(x, "Cast", unsqueeze(x, unsqueeze(x, HS_OX_MASK, 1), 2));
    hs_onnx_set_int(x->m, hs_ox_last(x), "to", HS_ONNX_BOOL);
    return HS_OX(x, "Where", HS_OX(x, "And", earlier, real), hs_ox_real(x, 0), never(x));
}

static const char *mask_of(hs_ox *x, bool causal)
{
    char path[sizeof x->path];
    memcpy(path, x->path, sizeof path);
    strcpy(x->path, "");
    if (!x->mask)
        x->mask = causal ? mask_of_earlier(x) : mask_of_all(x);
    memcpy(x->path, path, sizeof path);
    return x->mask;
}

// ---- attention

// Query, key and value, apart.
static hs_status parts_of(hs_ox *x, const hs_node *n, hs_ox_value *out)
{
    const hs_tensor *t = hs_ox_operand(n, "qkv");
    *out = x->of[t->id];
    if (out->n == 3)
        return HS_OK;
    if (out->n != 1 || hs_tensor_width(t) != 3 * hs_tensor_width(n->out[0]))
        return HS_FAIL(UNSUPPORTED, "%s: attention to keys that are not its own has no form in ONNX", n->scope);
    const char *in = out->name[0], *all[3], *name = hs_onnx_text(x->m, "%s/Split", x->path);
    for (int i = 0; i < 3; i++)
        all[i] = hs_onnx_text(x->m, "%s_output_%d", name, i);
    hs_onnx_node *split = hs_onnx_add_node(x->m, "Split", name, &in, 1, all, 3);
    hs_onnx_set_int(x->m, split, "axis", -1);
    memcpy(out->name, all, sizeof all);
    return HS_OK;
}

hs_status hs_ox_cache_append(hs_ox *x, const hs_node *n)
{
    x->of[n->out[0]->id] = (hs_ox_value){ .cache = n }; // heads, by which keys and values lie, are attention's to know
    return HS_OK;
}

// Behind those of earlier steps, which are inputs of the graph; all of them are its outputs.
static const char *follow(hs_ox *x, const char *now, int number, const char *which)
{
    const char *past = hs_onnx_text(x->m, "past_key_values.%d.%s", number, which);
    const char *name = hs_onnx_text(x->m, "%s/Concat_%s", x->path, which), *present = hs_onnx_text(x->m, "present.%d.%s", number, which);
    hs_onnx_node *concat = hs_onnx_add_node(x->m, "Concat", name, (const char *const[]){ past, now }, 2, &present, 1);
    hs_onnx_set_int(x->m, concat, "axis", 2);
    return present;
}

hs_status hs_ox_attention(hs_ox *x, const hs_node *n)
{
    const hs_tensor *kv = hs_ox_operand(n, "kv");
    const hs_node *cache = kv ? x->of[kv->id].cache : NULL;
    const int64_t width = hs_tensor_width(n->out[0]), heads = hs_ox_attr(n, "heads"), each = width / heads;
    const int64_t apart[] = { 0, 0, heads, each }, together[] = { 0, 0, width };
    const double scale = hs_ox_attr_real(n, "scale");
    hs_ox_value in;
    if (kv && !cache)
        return HS_FAIL(UNSUPPORTED, "%s: attention to keys that are not its own has no form in ONNX", n->scope);
    HS_TRY(parts_of(x, n, &in));
    const char *q = hs_ox_transpose(x, hs_ox_reshape(x, in.name[0], apart, 4), 0, 2, 1, 3), *k, *v;
    if (cache) {
        const int number = cache->in[0]->state->id;
        x->cache_shape[number].heads = heads, x->cache_shape[number].each = each;
        x->cached = true;
        k = follow(x, hs_ox_transpose(x, hs_ox_reshape(x, in.name[1], apart, 4), 0, 2, 1, 3), number, "key");
        k = hs_ox_transpose(x, k, 0, 1, 3, 2);
        v = follow(x, hs_ox_transpose(x, hs_ox_reshape(x, in.name[2], apart, 4), 0, 2, 1, 3), number, "value");
    } else {
        k = hs_ox_transpose(x, hs_ox_reshape(x, in.name[1], apart, 4), 0, 2, 3, 1);
        v = hs_ox_transpose(x, hs_ox_reshape(x, in.name[2], apart, 4), 0, 2, 1, 3);
    }
    const char *y = HS_OX(x, "Div", HS_OX(x, "MatMul", q, k), hs_ox_real(x, scale > 0 ? 1 / scale : sqrt((double)each)));
    y = HS_OX(x, "Softmax", HS_OX(x, "Add", y, mask_of(x, hs_ox_attr(n, "causal"))));
    hs_onnx_set_int(x->m, hs_ox_last(x), "axis", -1);
    y = hs_ox_transpose(x, HS_OX(x, "MatMul", y, v), 0, 2, 1, 3);
    hs_ox_out(x, n, hs_ox_reshape(x, y, together, 3), width);
    return HS_OK;
}
