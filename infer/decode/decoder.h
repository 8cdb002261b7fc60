// decoder: sequences continued token by token on a decode plan, step by step, so that a caller adds and drops them between steps.
//
//   hs_decoder_new -> hs_decoder_add, any number -> hs_decoder_step until there is nothing to do, adding and dropping on the way
//
// A sequence has a slot, and pages of the model's KV cache: so many rows each, found through a table that attention reads. A step takes the
// newest token of every sequence under way, then fills up with chunks of those still being read: a long prompt holds nobody up. What a
// sequence becomes depends on itself alone, to the last bit of its logits: its tokens, its sampling, its number - not on slots, pages or
// chunks, nor on who runs beside it (tests/models/test_gpt_rows.c), nor, with `share`, on whether somebody had computed its beginning
// before (infer/decode/page_pool.h).
#ifndef HS_INFER_DECODER_H
#define HS_INFER_DECODER_H
#include "core/run/run.h"
#include "infer/decode/sample.h"

// Rows of a page where nothing else is asked for: a sequence leaves half of one unused on average, and attention walks 64 keys in one go.
enum { HS_CACHE_PAGE = 64 };
static inline int64_t hs_cache_pages(int64_t tokens, int64_t page_rows) { return (tokens + page_rows - 1) / page_rows; }

typedef enum hs_stop {
    HS_STOP_NONE,       // it goes on
    HS_STOP_MAX_TOKENS, // as many as asked for
    HS_STOP_CONTEXT,    // prompt and continuation fill the model's context
    HS_STOP_TOKEN,      // the stop token was produced; it is the last of ids
    HS_STOP_CALLER,     // the caller said so
    HS_STOP_NONFINITE,  // the model's logits are not numbers; no token was drawn
} hs_stop;
const char *hs_stop_text(hs_stop stop); // "the context of the model is full"

typedef struct hs_decoder_opts {
    hs_run *run; // borrowed, with the number of a decode plan that has pages
    int plan;
    int64_t context, vocab;        // of the model
    const uint8_t *drawable;       // (optional) [vocab] 0: never drawn, as no token has that id; borrowed
    int64_t cache_rows, page_rows; // of its cache states, as the plan was traced
    int max_slots;                 // sequences at once; those that find no room in a step go first in the next
    bool share;                    // pages of tokens that are the same from the beginning on are shared, and kept while there is room
    int64_t step_tokens;           // of a step, at most; 0: as many as the plan takes
    int64_t beside_tokens;         // of prompts in a step that continues sequences besides, at most; 0: as many as they leave
} hs_decoder_opts;

enum { HS_TOP_LOGPROBS = 20 }; // at most
typedef struct hs_logprob {
    int32_t id;
    float logprob; // natural
} hs_logprob;
typedef struct hs_token_bias {
    int32_t id;
    float bias; // added to its logit
} hs_token_bias;

typedef struct hs_sequence {
    const int32_t *ids; // the prompt, copied
    int64_t n;
    int64_t max_tokens; // new ones
    hs_sampling sampling;
    int number;              // keys its draws, with the seed and the position
    const int32_t *stop_ids; // [n_stops] tokens that end it; borrowed as long as it goes on
    int n_stops;
    bool reserve; // take the pages of all its tokens now, so that it can never wait for one
    // (optional) What is done to logits before a draw: bias[n_bias], borrowed as long as it goes on; and `presence` less for each token
    // that was drawn before, `frequency` less for each time. Drawn are tokens of this sequence, and the last `drawn` of ids: of one that
    // goes on.
    const hs_token_bias *bias;
    int n_bias;
    double presence, frequency;
    int64_t drawn;
    bool logprobs; // (optional) tell each new token's, and the n_top likeliest of its place, before bias and penalties
    int n_top;     // up to HS_TOP_LOGPROBS
} hs_sequence;

typedef struct hs_decoded { // what a step did to a slot
    int slot;
    int32_t id;   // the new token; with HS_STOP_NONFINITE the first whose logit is none
    hs_stop stop; // HS_STOP_NONE: it goes on. Otherwise its pages are free again, its slot is until hs_decoder_drop
    float logprob;
    const hs_logprob *top; // [n_top], the likeliest first; with hs_sequence.logprobs
    int n_top;
} hs_decoded;

typedef struct hs_decoder hs_decoder;
hs_status hs_decoder_new(hs_decoder **out, const hs_decoder_opts *o);
void hs_decoder_free(hs_decoder *d);

// *slot: the lowest that is free. USAGE: an empty prompt, one longer than the context, an id outside the vocabulary, sampling values out of
// range, a bias for no token. MEMORY, and nothing has changed: no slot is free; or reserve, and there are not enough pages; or it needs
// more than the cache has.
hs_status hs_decoder_add(hs_decoder *d, const hs_sequence *s, int *slot);
hs_status hs_decoder_check(const hs_decoder *d, const hs_sequence *s); // USAGE, as hs_decoder_add has it; from any thread
// Any time between steps: it ends here (HS_STOP_CALLER), its pages are free, its tokens stay until its slot is dropped.
void hs_decoder_stop(hs_decoder *d, int slot);
// Any time between steps: the slot and its pages are free again. What hs_decoder_ids gave is no longer valid.
void hs_decoder_drop(hs_decoder *d, int slot);

// One batch. *out: [*n] new tokens by slot, valid until the next call; none, where all that ran were chunks of prompts. Sequences that need
// a page when there is none wait. MEMORY: nothing could run, all wait for pages; nothing is lost, they go on as soon as one is dropped or
// ends. Any other error is the device's: sequences that ran (fed of hs_decoder_slot) are of no use and have to be dropped, others go on.
hs_status hs_decoder_step(hs_decoder *d, const hs_decoded **out, int *n);
bool hs_decoder_idle(const hs_decoder *d); // nothing is left to do

const int32_t *hs_decoder_ids(const hs_decoder *d, int slot, int64_t *n); // prompt and continuation; NULL: the slot is free
int hs_decoder_free_slots(const hs_decoder *d);
int64_t hs_decoder_free_pages(const hs_decoder *d); // that can be had: those that are kept for what lies in them, too
int64_t hs_decoder_kept_pages(const hs_decoder *d);

// What a slot had in the last step, and what it has. All 0: the slot is free.
typedef struct hs_slot_state {
    int64_t fed;    // tokens that ran
    bool waits;     // it found no page
    int64_t pages;  // that it holds
    int64_t cached; // tokens whose keys and values are there
    int64_t reused; // of these, found where somebody had computed them
} hs_slot_state;
hs_slot_state hs_decoder_slot(const hs_decoder *d, int slot);
// For a caller that decides who is admitted: pages that ids[n] and one token more would take from those that are free, and pages that
// sequences under way will yet take for the tokens they know and one more each.
int64_t hs_decoder_needs(const hs_decoder *d, const int32_t *ids, int64_t n);
int64_t hs_decoder_owed(const hs_decoder *d);

#endif
