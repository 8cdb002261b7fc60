// text_request: a request for text on its way through a scheduler: prompts, each with n texts that go on from it; an answer in one piece or
// as a stream of events; errors, and what is counted. What it says is a protocol's (hs_protocol).
//
//   hs_text_request_new -> hs_text_request_prompt, for each -> hs_text_request_go
#ifndef HS_INFER_TEXT_REQUEST_H
#define HS_INFER_TEXT_REQUEST_H
#include "data/base/json_util.h"
#include "infer/server/sequence_table.h"
#include "infer/server/server.h"
#include "infer/server/text_params.h"
#include <stdatomic.h>

typedef struct hs_text_request hs_text_request;

typedef struct hs_text_prompt {
    int32_t *ids;
    int64_t n;
    char *text; // (echo) as it is given back; NULL
} hs_text_prompt;

typedef struct hs_choice { // one text
    hs_text_request *r;
    hs_generation g;
    int index; // among the answer's
    const hs_text_prompt *prompt;
    hs_text text;      // so far, without a stream
    hs_text ids;       // int32_t, that were drawn; with r->traces
    hs_text places[4]; // of tokens that were not told yet, in the protocol's words; with logprobs
    int64_t offset;    // in characters, of the next token's text
    bool begun;        // of a stream: an event of it is out
} hs_choice;

typedef struct hs_protocol {
    hs_protocol_of of;
    const char *id; // what ids of answers begin with
    // (optional) A token's probability and those of its place, added to c->places: not of a token that ends a text. Called where they are
    // asked for.
    void (*place)(hs_choice *c, const hs_piece *piece);
    // The event of text[n] (finish NONE), or that it has come to its end: JSON.
    void (*event)(hs_text *t, hs_choice *c, const char *text, size_t n, hs_finish finish);
    void (*answer)(hs_text *t, hs_text_request *r); // all of it
    void (*end)(hs_text *t, hs_text_request *r);    // of a stream: events, whole ("data: ..."), that follow all others
    void (*wrong)(hs_text *t, const char *why);     // of a stream: an event that says what went wrong
} hs_protocol;

struct hs_text_request {
    hs_call call;
    hs_served *model; // held
    json_t *body;
    const hs_protocol *form;
    hs_text_params p;
    char id[64];
    int64_t created; // s since 1970
    int64_t began;   // hs_now_ns at the end of the request's head
    bool traces;     // what is drawn
    bool tells;      // and what is said; else whoever asks does
    bool by_ids;     // a prompt came as ids
    hs_text_prompt *prompt;
    int n_prompts, n_choices;
    hs_choice *choice;
    hs_sequence_turn turn; // with p.sequence: its only prompt stands behind the sequence's tokens, with room for new ones
    int64_t n_ids;         // of it then, with what was drawn
    hs_text said;          // where a stop string may end it
    int64_t queued;        // hs_now_ns of hs_text_request_go
    bool cut;              // one has
    // from hs_text_request_go on: of the scheduler's thread, but `left` and `abandoned`
    atomic_int left;       // choices that are not done
    atomic_bool abandoned; // the others are of no use
    bool streams;          // an event is out
    int http, refused;     // status, of the first that did not end as it should; of those that were not accepted. 0: none
    char why[256], why_refused[256];
};

// Takes over model and body, also where it fails: NULL, and it is answered. Parameters are read by the caller, into r->p.
hs_text_request *hs_text_request_new(const hs_call *c, hs_served *model, json_t *body, const hs_protocol *form, int n_prompts);
// The next prompt. False: it is answered, and r is gone. A text: an empty one begins where texts of the model begin.
bool hs_text_request_text(hs_text_request *r, const char *text, size_t bytes);
bool hs_text_request_ids(hs_text_request *r, const json_t *ids);
// n of hs_text_params for each prompt.
void hs_text_request_go(hs_text_request *r);
// Before `go`: answers with an error about a parameter (NULL: none), in the words of the protocol, and frees it.
void hs_text_request_fail(hs_text_request *r, int http, const char *param, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

typedef struct hs_text_usage {
    int64_t prompt, cached, fresh;
} hs_text_usage;
hs_text_usage hs_text_request_usage(const hs_text_request *r);
// A token's bytes as they stand in a text: borrowed.
const char *hs_choice_token(const hs_choice *c, int32_t id, size_t *n, bool *space);

#endif
