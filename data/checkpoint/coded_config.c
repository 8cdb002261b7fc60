// coded_config: what quantization_config of compressed-tensors says, as far as tensors do not: forms that would be read as another model
// than they are are refused by name. Which weights are codes, and in what groups, their tensors say (weights_coded.c); so ignore, targets
// and observers are passed over, and inputs that are rounded in another way than here, to 8 bits by row or not at all.
#include "data/checkpoint/ckpt_parts.h"
#include <string.h>

static const char *text_of(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }

static bool is_empty(const json_t *v)
{
    return v == NULL || json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

// A dense one says that nothing is sparse.
static bool is_dense(const json_t *v)
{
    const char *format = text_of(v, "format");
    return is_empty(v) || (format != NULL && strcmp(format, "dense") == 0);
}

static hs_status check_format(const char *path, const char *where, const json_t *o)
{
    static const char *const known[] = { "int-quantized", "naive-quantized", "pack-quantized", "mixed-precision", "dense" };
    const json_t *format = json_object_get(o, "format");
    if (is_empty(format))
        return HS_OK;
    for (int i = 0; i < HS_COUNT(known) && json_is_string(format); i++)
        if (strcmp(known[i], json_string_value(format)) == 0)
            return HS_OK;
    return HS_FAIL(UNSUPPORTED,
                   "%s: quantization_config: %sformat is \"%.60s\"; int-quantized, naive-quantized and pack-quantized are read", path,
                   where, json_is_string(format) ? json_string_value(format) : "no text");
}

// Weights or inputs of a group: integers of 8 bits, weights also of 4, symmetric.
static hs_status check_args(const char *path, const char *group, const char *of, const json_t *o, bool four)
{
    const json_t *bits = json_object_get(o, "num_bits");
    const char *type = text_of(o, "type");
    if (!json_is_object(o))
        return HS_FAIL(CORRUPT, "%s: quantization_config: %.60s: %s is no object", path, group, of);
    if (type != NULL && strcmp(type, "int") != 0)
        return HS_FAIL(UNSUPPORTED, "%s: quantization_config: %.60s: %s are of type \"%.40s\"; int is read", path, group, of, type);
    if (bits != NULL && json_integer_value(bits) != 8 && !(four && json_integer_value(bits) == 4))
        return HS_FAIL(UNSUPPORTED, "%s: quantization_config: %.60s: %s have %lld bits; %s read", path, group, of,
                       (long long)json_integer_value(bits), four ? "4 and 8 are" : "8 are");
    if (json_is_false(json_object_get(o, "symmetric")))
        return HS_FAIL(UNSUPPORTED, "%s: quantization_config: %.60s: %s have zero points; symmetric ones are read", path, group, of);
    return HS_OK;
}

static hs_status check_group(const char *path, const char *name, const json_t *o)
{
    const json_t *weights = json_object_get(o, "weights"), *inputs = json_object_get(o, "input_activations");
    char where[80];
    snprintf(where, sizeof where, "%.60s: ", name);
    if (!json_is_object(o))
        return HS_FAIL(CORRUPT, "%s: quantization_config: %.60s is no object", path, name);
    HS_TRY(check_format(path, where, o));
    if (!is_empty(json_object_get(o, "output_activations")))
        return HS_FAIL(UNSUPPORTED, "%s: quantization_config: %.60s: output_activations are rounded, which is not read", path, name);
    if (!is_empty(weights))
        HS_TRY(check_args(path, name, "weights", weights, true));
    return is_empty(inputs) ? HS_OK : check_args(path, name, "input_activations", inputs, false);
}

hs_status hs_quantization_check(const char *path, const json_t *q)
{
    static const char *const other[] = { "kv_cache_scheme", "transform_config" };
    const json_t *groups = json_object_get(q, "config_groups"), *group;
    const char *name;
    HS_TRY(check_format(path, "", q));
    for (int i = 0; i < HS_COUNT(other); i++)
        if (!is_empty(json_object_get(q, other[i])))
            return HS_FAIL(UNSUPPORTED, "%s: quantization_config: %s is not read", path, other[i]);
    if (!is_dense(json_object_get(q, "sparsity_config")))
        return HS_FAIL(UNSUPPORTED, "%s: quantization_config: sparsity_config: sparse weights are not read", path);
    if (!is_empty(groups) && !json_is_object(groups))
        return HS_FAIL(CORRUPT, "%s: quantization_config: config_groups is no object", path);
    json_object_foreach((json_t *)(uintptr_t)groups, name, group) HS_TRY(check_group(path, name, group));
    return HS_OK;
}
