// scheduler: text for any number of requests at once. One thread owns a decoder and batches by steps: who comes is read beside those whose
// tokens are drawn, who ends leaves at once. What a request gets depends on itself alone, to the last bit, as a decoder's sequences do.
//
// Rank is priority, then arrival. Requests are admitted in that order, while there is a slot and room for their tokens among those of
// others. One that outranks by priority what runs takes its place; and where pages run out, the lowest gives its own back. Who had to go
// waits at its old rank, and is computed again from the tokens it has: its text goes on as if nothing had been.
#ifndef HS_INFER_SCHEDULER_H
#define HS_INFER_SCHEDULER_H
#include "infer/decode/decoder.h"
#include "infer/decode/token_text.h"
#include <stdatomic.h>

typedef enum hs_finish {
    HS_FINISH_NONE,   // it goes on
    HS_FINISH_STOP,   // a stop token, or a stop string
    HS_FINISH_LENGTH, // as many tokens as asked for
    HS_FINISH_CANCELLED,
    HS_FINISH_DEADLINE,
    HS_FINISH_NONFINITE, // the model's logits are not numbers
    HS_FINISH_FAILED,    // the device; of the requests that it computed for, in this step
    HS_FINISHES
} hs_finish;
const char *hs_finish_text(hs_finish f); // "length"

typedef struct hs_generation hs_generation;

typedef struct hs_piece { // a new token
    int32_t id;
    float logprob; // with hs_generation.logprobs
    const hs_logprob *top;
    int n_top;
    const char *text; // [n_text] what may be shown now, valid in the call: whole characters, maybe of earlier tokens, maybe none
    size_t n_text;    // 0 for a stop token
    hs_finish finish; // HS_FINISH_NONE, or why it is the last
} hs_piece;

enum { HS_PRIORITY_HIGHEST = 1, HS_PRIORITY_DEFAULT = 100 };

// A request. It is the caller's, with all it points to, and stays as it is from hs_scheduler_add until `done` was called, which may free
// it. Callbacks come from the scheduler's thread and must not wait.
struct hs_generation {
    // what is asked for, as a decoder takes it
    const int32_t *ids; // the prompt
    int64_t n, max_tokens;
    hs_sampling sampling;
    int number; // keys draws, beside the seed: of several texts for one prompt
    const int32_t *stop_ids;
    int n_stop_ids;
    const hs_token_bias *bias;
    int n_bias;
    double presence, frequency;
    bool logprobs;
    int n_top;
    const char *const *stop; // [n_stops] strings that end it, and are not shown
    int n_stops;
    int priority;                                              // 1 is the highest; 0: HS_PRIORITY_DEFAULT
    double deadline;                                           // of hs_now; 0: none
    bool (*gone)(hs_generation *g);                            // (optional) asked in every step: nobody is there any more
    void (*on_token)(hs_generation *g, const hs_piece *piece); // (optional)
    void (*done)(hs_generation *g);                            // once, the last that is heard of it
    void *user;
    // what became of it, in `done`
    hs_finish finish;
    char error[256];  // "" where it was not an error
    const char *tail; // [n_tail] text that was held back, valid in `done`; after HS_FINISH_STOP and HS_FINISH_LENGTH
    size_t n_tail;
    int64_t n_new;     // tokens, a stop token is one of them
    int64_t n_reused;  // tokens of the prompt that had been computed for others
    double seconds[2]; // from hs_scheduler_add to the first token (0: there was none), and to the end
    double waited;     // from there to a slot (0: there was none)
};

typedef enum hs_timing { HS_TIMING_WAIT, HS_TIMING_FIRST_TOKEN, HS_TIMING_NEXT_TOKEN, HS_TIMING_ALL, HS_TIMINGS } hs_timing;

typedef struct hs_scheduler_share { // what several of them may have accepted together
    int most;
    atomic_int accepted;
} hs_scheduler_share;

typedef struct hs_scheduler_opts {
    hs_decoder_opts decoder;       // hs_session_decoder_opts gives it. The run is the scheduler's until hs_scheduler_free
    const hs_tokenizer *tokenizer; // borrowed; NULL: pieces have no text, and stop strings are refused
    int queue_most;                // requests beyond max_slots that may wait
    hs_scheduler_share *together;  // (optional) a bound beside that; borrowed
    int first_core, n_cores;       // of those this process may use, its thread stays on these; n_cores 0: wherever
    void (*timing)(void *user, hs_timing what, double seconds); // (optional) from the scheduler's thread
    void *user;
} hs_scheduler_opts;

typedef struct hs_scheduler hs_scheduler;
hs_status hs_scheduler_new(hs_scheduler **out, const hs_scheduler_opts *o);
// Takes no more: requests that are left end as HS_FINISH_CANCELLED, behind the step under way. Does not wait for it. From any thread.
void hs_scheduler_stop(hs_scheduler *s);
void hs_scheduler_join(hs_scheduler *s); // the same, and waits: what hs_scheduler_look says is all that will ever be
// The same, and it is gone.
void hs_scheduler_free(hs_scheduler *s);

// From any thread, callbacks too. USAGE: what a decoder refuses; more tokens than the context or the cache holds; stop strings without a
// tokenizer. MEMORY: as many wait as may. STOPPED: it takes no more (hs_scheduler_drain). Nothing is called then.
hs_status hs_scheduler_add(hs_scheduler *s, hs_generation *g);
// Of a request of so many texts, before any is added. USAGE: more than it ever has room for. MEMORY: more than it has now.
hs_status hs_scheduler_check_room(hs_scheduler *s, int64_t texts);
hs_status hs_scheduler_check_length(const hs_scheduler *s, int64_t n,
                                    int64_t max_tokens); // USAGE: a prompt and what is added, for its context
// Takes no more and finishes what was accepted, for at most so many seconds. Whether nothing is left.
bool hs_scheduler_drain(hs_scheduler *s, double seconds);

typedef struct hs_scheduler_stats {
    int running, waiting, slots;
    int64_t pages, pages_held, pages_kept; // of the cache; held by sequences; kept for those that begin alike
    uint64_t steps, step_tokens;           // and tokens that ran in them
    uint64_t prompt_tokens, new_tokens, reused_tokens;
    uint64_t set_back;                       // that had to make room
    uint64_t finished[HS_FINISHES], refused; // refused: MEMORY
} hs_scheduler_stats;
void hs_scheduler_look(hs_scheduler *s, hs_scheduler_stats *out); // from any thread

#endif
