// generate: prompts continued to their ends, side by side: a loop over a decoder.
#ifndef HS_INFER_GENERATE_H
#define HS_INFER_GENERATE_H
#include "infer/decode/decoder.h"

// Tokens of a prompt at once, where one prompt is read: weights are read once for them. 512 tokens of GPT-2 124M at once are 0 to 5 %
// faster than twice 256 on a quiet machine, more on one whose memory is busy (`halfstep bench generate`, median of rounds).
enum { HS_PREFILL_TOKENS = 512 };

// Called with each new token as it is chosen, on the caller's thread. false stops that prompt.
typedef bool hs_token_fn(int prompt, int32_t id, void *user);

typedef struct hs_generate_opts {
    hs_run *run; // with the number of its decode plan, as a decoder takes them
    int plan;
    int64_t context, vocab, cache_rows, page_rows;
    int64_t max_tokens; // new tokens per prompt
    hs_sampling sampling;
    const int32_t *stop_ids; // [n_stops] tokens that end a continuation
    int n_stops;
    const uint8_t *drawable; // (optional) [vocab], as a decoder takes it
    hs_token_fn *on_token;   // (optional)
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

// out: array of n_prompts. USAGE: as hs_decoder_add; a cache too small for all prompts at once (n_prompts contexts, each in whole pages,
// always suffice). NONFINITE: logits are not numbers.
hs_status hs_generate(const hs_generate_opts *o, const hs_prompt *prompt, int n_prompts, hs_generated *out);
void hs_generated_free(hs_generated *out, int n);

#endif
