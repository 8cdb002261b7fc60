// generate: prompts continued token by token on a decode plan, with a KV cache.
//
// Several prompts run side by side. Each owns a range of the cache's rows; a step takes from every running prompt what the
// plan's token capacity allows: a chunk of a prompt that is not in the cache yet, or its newest token. So a long prompt is
// read in chunks, and every step after that costs one token a prompt.
#ifndef HS_INFER_GENERATE_H
#define HS_INFER_GENERATE_H
#include "core/run/run.h"

// Tokens of a prompt at once, where one prompt is read: weights are read once for them. 512 tokens of GPT-2 124M at once are 0 to 5 %
// faster than twice 256 on a quiet machine, more on one whose memory is busy (`halfstep bench generate`, median of rounds).
enum { HS_PREFILL_TOKENS = 512 };

typedef enum hs_stop {
    HS_STOP_MAX_TOKENS, // as many as asked for
    HS_STOP_CONTEXT,    // prompt and continuation fill the model's context
    HS_STOP_TOKEN,      // the stop token was produced; it is the last of ids
    HS_STOP_CALLER,     // on_token said so
} hs_stop;
const char *hs_stop_text(hs_stop stop); // "the context of the model is full"

// Called with each new token as it is chosen, on the caller's thread. false stops that prompt.
typedef bool hs_token_fn(int prompt, int32_t id, void *user);

typedef struct hs_sampling {
    double temperature; // 0: greedy - the largest logit, the lowest id among equals
    int64_t top_k;      // 0: all; else only the k largest
    double top_p;       // 1: all; else the fewest tokens that hold this much probability; after top_k
    uint64_t seed;      // a draw is a function of (seed, prompt, position): the same at any batch and number of threads
} hs_sampling;

typedef struct hs_generate_opts {
    hs_run *run; // of the model, and which of its plans decodes
    int plan;
    int64_t context, vocab, cache_rows; // of the model; rows of its cache states
    int64_t max_tokens;                 // new tokens per prompt
    hs_sampling sampling;
    int32_t stop_id;       // ends a continuation; -1: none
    hs_token_fn *on_token; // (optional)
    void *user;
} hs_generate_opts;

typedef struct hs_prompt {
    const int32_t *ids;
    int64_t n;
} hs_prompt;

typedef struct hs_generated {
    int32_t *ids; // prompt and continuation; freed by hs_generated_free
    int64_t n_prompt, n;
    hs_stop stop;
} hs_generated;

// out: array of n_prompts. USAGE: an empty prompt, one longer than the context, an id outside the vocabulary, sampling values
// out of range, a cache too small for all prompts at once (n_prompts * context rows always suffice). NONFINITE: logits are not numbers.
hs_status hs_generate(const hs_generate_opts *o, const hs_prompt *prompt, int n_prompts, hs_generated *out);
void hs_generated_free(hs_generated *out, int n);

// One draw from logits[n], for `position` of `prompt`. order: room for n ids.
int32_t hs_sample(const float *logits, int64_t n, const hs_sampling *s, int prompt, int64_t position, int32_t *order);

#endif
