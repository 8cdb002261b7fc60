// config_quant: training that foresees codes - what quant.* asks of the plans, and what does not go together.
#include "recipes/program/config.h"
#include <string.h>

static const hs_coding codings[] = {
    [HS_QAT_NONE] = HS_CODING_NONE, [HS_QAT_W8A8] = HS_CODING_I8, [HS_QAT_W8] = HS_CODING_I8_BLOCKS, [HS_QAT_W4] = HS_CODING_I4_BLOCKS
};

// A file of resolved settings has all keys, so that only what was asked for by hand is held against there being none.
static hs_status check(const hs_config *c)
{
    static const char *const keys[] = { "quant.skip", "quant.embeddings", "quant.noise" };
    for (int i = 0; c->quant.bits == HS_QAT_NONE && i < HS_COUNT(keys); i++)
        if (strncmp(hs_config_where(c, keys[i]), "--", 2) == 0)
            return HS_FAIL(USAGE, "--%s is of training that foresees codes, and quant.bits is none", keys[i]);
    if (c->quant.bits == HS_QAT_NONE)
        return HS_OK;
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
    *out = (hs_quant_policy){ .wish = { .coding = codings[c->quant.bits],
                                        .tables = c->quant.embeddings == HS_TABLES_YES ||
                                                  (c->quant.embeddings == HS_TABLES_AUTO && c->quant.bits != HS_QAT_W8A8),
                                        .skip = c->quant.skip },
                              .share = c->quant.noise };
    return HS_OK;
}
