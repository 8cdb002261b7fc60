// config_quant: training that foresees codes - what quant.* asks of the plans, and what does not go together.
#include "recipes/program/config.h"
#include <string.h>

bool hs_quant_tables(int choice, hs_quant_bits bits)
{
    return choice == HS_TABLES_YES || (choice == HS_TABLES_AUTO && bits != HS_QUANT_W8A8);
}

// A file of resolved settings has all keys, so that only what was asked for by hand is held against there being none.
static hs_status check(const hs_config *c)
{
    static const char *const keys[] = { "quant.skip", "quant.embeddings", "quant.noise", "quant.activations" };
    static const char *const of_tensor[] = { "quant.examples", "quant.method" };
    const bool tensor = c->quant.bits != HS_QUANT_NONE && c->quant.activations == HS_ACTIVATIONS_TENSOR;
    for (int i = 0; c->quant.bits == HS_QUANT_NONE && i < HS_COUNT(keys); i++)
        if (strncmp(hs_config_where(c, keys[i]), "--", 2) == 0)
            return HS_FAIL(USAGE, "--%s is of training that foresees codes, and quant.bits is none", keys[i]);
    for (int i = 0; !tensor && i < HS_COUNT(of_tensor); i++)
        if (strncmp(hs_config_where(c, of_tensor[i]), "--", 2) == 0)
            return HS_FAIL(USAGE, "--%s is of quant.activations tensor", of_tensor[i]);
    if (c->quant.bits == HS_QUANT_NONE)
        return HS_OK;
    if (tensor && c->quant.bits != HS_QUANT_W8A8)
        return HS_FAIL(USAGE, "quant.activations tensor is of quant.bits w8a8: blocks have scales of their own");
    if (tensor && c->parallel.dp > 1)
        return HS_FAIL(USAGE,
                       "quant.activations tensor: scales are calibrated in one process, and parallel.dp is %lld; token works on many",
                       (long long)c->parallel.dp);
    if (c->adapter.rank)
        return HS_FAIL(USAGE, "quant.bits is of weights that are trained, and with adapter.rank they stay as they are: one of the two");
    if (c->amp.policy == HS_DTYPE_FP8)
        return HS_FAIL(USAGE, "quant.bits and amp.policy fp8 both round what is multiplied: one of the two");
    if (c->parallel.tp > 1)
        return HS_FAIL(USAGE, "quant.bits: parallel.tp is %lld, and each rank would round by scales of its own part; parallel.dp is free",
                       (long long)c->parallel.tp);
    return HS_OK;
}

hs_status hs_config_quant(const hs_config *c, hs_quant_policy *out)
{
    HS_TRY(check(c));
    const hs_coding coding = hs_quant_coding((hs_quant_bits)c->quant.bits);
    const bool tensor = coding == HS_CODING_I8 && c->quant.activations == HS_ACTIVATIONS_TENSOR;
    *out = (hs_quant_policy){ .wish = { .coding = tensor ? HS_CODING_I8_STATIC : coding,
                                        .tables = hs_quant_tables(c->quant.embeddings, (hs_quant_bits)c->quant.bits),
                                        .skip = c->quant.skip },
                              .share = c->quant.noise };
    return HS_OK;
}

hs_products_opts hs_config_products(const hs_config *c)
{
    return (hs_products_opts){ .product = { .block = (int)c->ipq.block,
                                            .centroids = (int)c->ipq.centroids,
                                            .iterations = HS_PRODUCT_ITERATIONS,
                                            .seed = HS_PRODUCT_SEED },
                               .tables = c->ipq.embeddings,
                               .skip = c->ipq.skip[0] ? c->ipq.skip : NULL };
}

hs_status hs_config_check_ipq(const hs_config *c)
{
    static const char *const keys[] = { "ipq.block", "ipq.centroids", "ipq.embeddings", "ipq.skip" };
    for (int i = 0; !c->ipq.every && i < HS_COUNT(keys); i++)
        if (strncmp(hs_config_where(c, keys[i]), "--", 2) == 0)
            return HS_FAIL(USAGE, "--%s is of ipq.every, which is 0", keys[i]);
    if (!c->ipq.every)
        return HS_OK;
    if (c->quant.bits != HS_QUANT_NONE)
        return HS_FAIL(USAGE, "ipq.every and quant.bits both round weights: one of the two");
    if (c->adapter.rank)
        return HS_FAIL(USAGE, "ipq.every is of weights that are trained, and with adapter.rank they stay as they are: one of the two");
    if (c->train.unfreeze > 0 || hs_config_keep_zeros(c)[0])
        return HS_FAIL(USAGE, "ipq.every does not go together with %s", c->train.unfreeze > 0 ? "train.unfreeze" : "train.keep_zeros");
    if (c->optim.masters != HS_MASTERS_F32)
        return HS_FAIL(USAGE, "ipq.every needs optim.masters f32: values of one centroid must round alike");
    if (c->parallel.dp > 1 || c->parallel.tp > 1)
        return HS_FAIL(USAGE, "ipq.every is of one process; parallel.dp is %lld, parallel.tp %lld", (long long)c->parallel.dp,
                       (long long)c->parallel.tp);
    return HS_OK;
}
