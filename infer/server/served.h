// served: a model directory made ready to answer requests - session, batcher or scheduler, and what was counted. Whoever uses one holds it:
// a model that was replaced lives until its last request is done, and gives everything back then.
#ifndef HS_INFER_SERVED_H
#define HS_INFER_SERVED_H
#include "infer/heads/head.h"
#include "infer/server/batcher.h"
#include "infer/server/chat_template.h"
#include "infer/server/row_cache.h"
#include "infer/server/schedulers.h"
#include "infer/server/sequence_table.h"
#include "infer/session/session.h"

typedef enum hs_does {   // what a model can be asked for
    HS_DOES_EMBED = 1,   // an encoder without a task: vectors
    HS_DOES_TASK = 2,    // a head: one of the last three
    HS_DOES_MASKS = 4,   // predicts masked tokens
    HS_DOES_TEXT = 8,    // continues texts
    HS_DOES_SCORES = 16, // classes, or numbers, of texts and pairs of them
    HS_DOES_TAGS = 32,   // of words
    HS_DOES_ANSWERS = 64,
    HS_DOES_ENSEMBLE = 128, // has no session
} hs_does;

struct hs_served;
typedef struct hs_served_opts { // of all models of a server; borrowed for as long as it is
    const hs_family *const *families;
    const char *device;
    int threads;   // of all instances of a model together; 0: the cores this process may use
    int instances; // of each model, each with its share of the threads; 0: one with all of them, and of encoders HS_SERVED_PARTS at most
                   // with a share, which work in its place while enough waits (batcher.h)
    bool pin;      // an instance's threads stay on cores of their own
    bool warm_up;  // a model runs before it is ready (infer/session/warm_up.h)
    int want;      // of hs_ckpt_resolve
    hs_status (*settle)(const hs_session *s, hs_policy *policy, void *user); // arithmetic of a model whose files are known
    // (optional) rows of a model with a task, as it was trained: what differs from the model's context and the usual is set
    hs_status (*rows)(const hs_session *s, hs_rows_opts *rows, void *user);
    void *user;
    int64_t batch_tokens;              // of a batch of an encoder
    int64_t queue_works, queue_tokens; // requests, and their tokens, that may wait for a model
    int64_t most_texts;                // of one request
    int64_t most_rows;                 // that the texts of one become, of a model with a task: a long text takes several; 0: any
    hs_row_cache *cache;               // (optional) of what encoders give; borrowed
    // of each instance of models that continue texts; 0: HS_SERVED_SLOTS, HS_PREFILL_TOKENS, HS_SERVED_CACHE_TOKENS, or one context where
    // that is more
    int64_t slots, step_tokens, cache_tokens; // texts at once; tokens of a step; that keys and values are kept of
    int64_t beside_tokens;                    // of prompts, in a step that continues texts besides; 0: HS_SERVED_BESIDE_TOKENS
    bool cache_i8;                            // as codes
    int64_t sequences;                        // that clients may have under way; 0: HS_SERVED_SEQUENCES
    double sequence_idle;                     // seconds between two requests of one, after which it ends; 0: HS_SERVED_SEQUENCE_IDLE
    const struct hs_ensemble_step *step;      // [n_steps] of all ensembles
    int n_steps;
    struct hs_served *(*find)(const char *name, void *user); // a model by its name, held; NULL: there is none. The hub's
    void *find_user;
    void (*bury)(struct hs_served *s,
                 void *user); // of one that nobody holds any more: has hs_served_close called soon, from a thread of its own
    void *bury_user;
} hs_served_opts;

enum {
    HS_SERVED_NAME = 128,
    HS_SERVED_PARTS = 8,
    HS_SERVED_SLOTS = 16,
    HS_SERVED_BESIDE_TOKENS = 64,
    HS_SERVED_CACHE_TOKENS = 8192,
    HS_SERVED_SEQUENCES = 1024,
    HS_SERVED_SEQUENCE_IDLE = 60
};
typedef enum hs_served_reason { HS_REASON_REJECTED, HS_REASON_CANCELED, HS_REASON_BACKEND, HS_REASON_OTHER, HS_REASONS } hs_served_reason;
extern const char *const hs_served_reasons[HS_REASONS]; // Triton's words

typedef enum hs_served_asked { HS_ASKED_ONE, HS_ASKED_SEVERAL, HS_ASKED } hs_served_asked; // an encoder, about texts

typedef struct hs_served_count {
    _Atomic uint64_t success, failure[HS_REASONS];
    _Atomic uint64_t asked[HS_ASKED], answered[HS_ASKED];
    hs_amounts length; // tokens of each row that an encoder was asked about
    _Atomic uint64_t texts; // of requests that succeeded
    hs_latency failed;
    hs_latency request, input, queue, infer,
        output;                       // of requests that succeeded: all of it; parsing and tokens; waiting; the model; the answer
    hs_latency cache_hit, cache_miss; // of requests that succeeded, with a cache: all their rows were there, or not; the time in the cache
    hs_latency first, next;           // of texts: from the request to a token, from one token to the next
    _Atomic int64_t last;             // ms since 1970 of the last request; 0: none
} hs_served_count;

typedef struct hs_served_sums { // what a model counts of its own work; a new version's begin at 0
    uint64_t batches, tokens;   // of a model that continues texts its steps, and tokens in them
    uint64_t set_back, prompt_tokens, new_tokens, reused_tokens, sequences_started, sequences_idle;
} hs_served_sums;

typedef struct hs_served {
    const hs_served_opts *o;
    char name[HS_SERVED_NAME], path[4096]; // path: as it was asked for
    int version;                           // from 1, one more with each load of the name
    unsigned does;                         // of hs_does
    hs_session session;
    hs_sentence sentence;                    // HS_DOES_EMBED: how vectors are made
    hs_head *head;                           // HS_DOES_TASK
    hs_rows_opts rows;                       // HS_DOES_TASK: of its examples
    hs_batcher *batcher;                     // encoders
    int instances, parts;                    // of it, or of schedulers; those among them that share the threads of the others
    hs_device *device[HS_BATCHER_INSTANCES]; // [0] is the session's; the others' are their own, and their runs
    hs_run *run[HS_BATCHER_INSTANCES];
    int embed, task, masks;    // numbers of the batcher's readers; -1: none
    hs_schedulers *schedulers; // HS_DOES_TEXT
    hs_sequence_table *sequences;
    hs_chat_template *chat; // and its conversations; NULL: no_chat says why not
    char no_chat[512];
    struct hs_ensemble *ensemble; // HS_DOES_ENSEMBLE
    double load_seconds;
    hs_served_count *count; // of all versions of its name; the hub's
    _Atomic int holders;
    struct hs_served *next, *next_dead; // the hub's
} hs_served;

// Held once. count: borrowed for as long as it is. Anything that hs_session_open refuses, and a directory that nothing here can be asked
// of.
hs_status hs_served_open(hs_served **out, const char *name, int version, const char *path, const hs_served_opts *o, hs_served_count *count);
hs_served *hs_served_hold(hs_served *s);
double hs_served_sequence_idle(const hs_served_opts *o); // seconds
int64_t hs_served_sequences(const hs_served_opts *o);
void hs_served_let_go(hs_served *s); // NULL: nothing. From any thread
// A request about it that was not answered as asked, after so many ns.
void hs_served_count_success(hs_served *s, int64_t texts); // before its answer: who has that, and asks what was counted, finds it
void hs_served_count_failure(hs_served *s, hs_served_reason why, int64_t ns);
hs_served_reason hs_served_reason_of(int http); // of an answer with that status
void hs_served_add_sums(const hs_served *s, hs_served_sums *sum);
// Of one that nobody holds: ends when there is nothing that could still be counted.
void hs_served_join(hs_served *s);
// Nothing more is computed: who waits is answered with 503, and so is who still comes. Does not wait.
void hs_served_stop(hs_served *s);
void hs_served_close(hs_served *s); // not from a thread of its own: waits for them

#endif
