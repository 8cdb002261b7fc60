// gpt: GPT-2 (Radford et al. 2019). One description trains, evaluates and decodes.
#ifndef HS_MODELS_GPT_H
#define HS_MODELS_GPT_H
#include "models/family.h"

typedef struct hs_gpt_config {
    int64_t layers, heads;
    int64_t width, context, vocab; // vocab: logical; stored rows are padded to a multiple of 64
    double dropout, eps;
    hs_task_head head; // a task, instead of the next token
} hs_gpt_config;
hs_status hs_gpt_check(const hs_gpt_config *c); // heads divide width, width a multiple of 8, ranges

// As a family's trace.
hs_tensor *hs_gpt(hs_graph *g, const hs_gpt_config *c, const hs_arch_shape *s);

extern const hs_family hs_gpt_family; // gpt_keys.c; its names: ours <-> transformers' GPT-2 ("transformer." prefix optional on reading)
int64_t hs_gpt_count(const hs_gpt_config *c);                      // parameters
double hs_gpt_flops_per_token(const hs_gpt_config *c, double seq); // forward + backward: 6 N (without positions) + 6 L C S (causal)

#endif
