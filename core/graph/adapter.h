// adapter: pairs of thin matrices beside the weights of a model (LoRA, Hu et al. 2021, arXiv:2106.09685), as all plans over the same
// parameters have them. Layers ask which of their weights wear a pair; what is trained is the pairs, and what `trains` names.
//
//   y = x w^T + bias + scale (x lora_a^T) lora_b       lora_a [rank, in], lora_b [rank, out], each for itself of every part that wears one
//
// A weight is called by its scope ("l3.attn.qkv") and, where parts are stacked in it, by scope and part ("l3.attn.qkv.q"). A target is such
// a name, the end of one ("attn.out", "q") or either with * and ?.
#ifndef HS_CORE_ADAPTER_H
#define HS_CORE_ADAPTER_H
#include "core/graph/params.h"
#include <math.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HS_ADAPTER_TARGETS = 64 }; // at most
typedef struct hs_adapter_spec {
    int64_t rank;
    double alpha;
    bool rslora;         // scale is alpha / sqrt(rank) (Kalajdzievski 2023) instead of alpha / rank
    float dropout;       // of x in front of lora_a, in training
    const char *targets; // separated by commas; alternatives of one by |
    const char *trains;  // (optional) what is trained besides: patterns as hs_params_freeze has them
    const char *name;    // what messages call the targets; borrowed
    bool whole;          // stacked parts wear one pair together, as files that have them in one tensor (GPT-2's c_attn)
} hs_adapter_spec;

static inline double hs_adapter_scale(double alpha, int64_t rank, bool rslora)
{
    return alpha / (rslora ? sqrt((double)rank) : (double)rank);
}

typedef struct hs_adapter hs_adapter;
// Before there are parameters; copied but for the name. USAGE: a target is empty, or there are too many.
hs_status hs_params_adapt(hs_params *ps, const hs_adapter_spec *spec);
const hs_adapter_spec *hs_params_adapter(const hs_params *ps); // NULL: none
// Once all parameters are there: USAGE naming a target that no weight fits, and what there is.
hs_status hs_params_check_adapter(const hs_params *ps);

// Bits of the parts of a weight that wear a pair. part: their names ("q|k|v"), NULL where nothing is stacked: bit 0. The scope is noted
// for messages.
unsigned hs_adapter_parts(hs_params *ps, const char *scope, const char *part);
// Is this one of a pair, and whose? scope: of the weight beside it. 'a' or 'b'; 0: it is none.
char hs_adapter_part_of(const char *param, char scope[256]);

#ifdef __cplusplus
}
#endif
#endif
