// gpt: GPT-2 (Radford et al. 2019). One description trains, evaluates and decodes.
#ifndef HS_MODELS_GPT_H
#define HS_MODELS_GPT_H
#include "core/graph/graph.h"
#include "core/graph/names.h"

typedef struct hs_gpt_config {
    int layers, heads;
    int64_t width, context, vocab; // vocab: logical; stored rows are padded to a multiple of 64
    float dropout, eps;
} hs_gpt_config;
hs_status hs_gpt_check(const hs_gpt_config *c); // heads divide width, width a multiple of 8, ranges

typedef struct hs_gpt_shape {
    int64_t max_tokens, max_seqs;
    int64_t cache_rows; // decode mode
    bool logits;        // eval mode: keep the logits [N, V padded] as output 0
} hs_gpt_shape;

// Emits inputs, model and, in train and eval mode, the loss (per token); in decode mode returns logits [P, V padded] of the
// picked rows (usually each sequence's last token) and marks them as an output. Call hs_graph_status afterwards.
hs_tensor *hs_gpt(hs_graph *g, const hs_gpt_config *c, const hs_gpt_shape *s);

extern const hs_name_rule hs_gpt_names[]; // ours <-> transformers' GPT-2 ("transformer." prefix optional on reading)
extern const int hs_gpt_n_names;
int64_t hs_gpt_count(const hs_gpt_config *c);                       // parameters
double hs_gpt_flops_per_token(const hs_gpt_config *c, int64_t seq); // forward + backward: 6 N (without positions) + 6 L C S (causal)

#endif
