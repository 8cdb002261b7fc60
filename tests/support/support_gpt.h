// support_gpt: a small GPT for tests, the engine around it, and batches to feed it.
#ifndef HS_TESTS_SUPPORT_GPT_H
#define HS_TESTS_SUPPORT_GPT_H
#include "models/gpt/gpt.h"
#include "recipes/train/engine.h"

typedef struct tiny_gpt {
    hs_gpt_config config;
    hs_arch_shape shape;
} tiny_gpt;
void tiny_gpt_model(hs_graph *g, const void *tiny); // hs_model_fn

typedef struct tiny_opts {
    float dropout;
    const char *policy, *optim; // "bf16"; optim NULL: no training plan
    int threads;                // 0 means 1
    hs_submit_mode mode;
    int micro_steps;                // promised to the engine: from 2 on training reads copies of weights
    int64_t max_tokens, max_seqs;   // 0 means 64, 8
    int64_t page_rows;              // of the decode plan's cache; 0: no pages
    bool cache_i8;                  // of codes
    uint64_t seed;                  // 0 means 3
    const char *freeze;             // hs_engine_opts.freeze
    const char *isa;                // NULL: the best
    const hs_adapter_spec *adapter; // NULL: none
    hs_recompute recompute;
    hs_masters masters;
    const hs_arch_shape *attention; // longest, library_masks and any_order of it; NULL: none
} tiny_opts;
enum { TINY_VOCAB = 50, TINY_CONTEXT = 24, TINY_CACHE = 200, TINY_PAGE = 8 };
tiny_gpt tiny_gpt_of(const tiny_opts *o);
// Train (if asked), eval and decode plans of 2 layers, 2 heads, width 32. `model` must outlive the engine. Asserts on failure.
hs_engine *tiny_engine(tiny_gpt *model, const tiny_opts *o);

// 30 steps on the same sequences: the untrained one's logits are all but equal. Of an engine with an optimizer and room for 60 tokens.
void tiny_teach(hs_engine *e);

// Writes sequences of the given lengths (0-terminated) into a plan's inputs: pseudo-random ids of `key`, targets the next ids,
// slots numbered from first_slot; sets the live counts. Returns the number of tokens.
int64_t tiny_fill(hs_engine *e, hs_mode mode, const int *lengths, uint64_t key, int first_slot);
int64_t tiny_fill_run(hs_run *run, int plan, const int *lengths, uint64_t key, int first_slot);
#endif
