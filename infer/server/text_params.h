// text_params: what a request for text may ask for beside its prompt, by one table for all protocols. What is known elsewhere and not done
// here is refused by its name, unless the value says that it is not wanted; so is a name that nobody knows.
#ifndef HS_INFER_TEXT_PARAMS_H
#define HS_INFER_TEXT_PARAMS_H
#include "infer/server/scheduler.h"
#include "infer/server/sequence_table.h"
#include <jansson.h>

typedef enum hs_protocol_of { HS_TEXT_COMPLETION = 1, HS_TEXT_CHAT = 2, HS_TEXT_GENERATE = 4 } hs_protocol_of;
enum { HS_TEXT_STOPS = 16, HS_TEXT_CHOICES = 64 };

typedef struct hs_text_params {
    int64_t max_tokens;                                                     // -1: as many as fit
    int64_t n, top_k, seed, priority, timeout, min_tokens, best_of, places; // seed -1: any; timeout: us, 0: none; places: -1: none
    double temperature, top_p, presence, frequency;
    bool stream, include_usage, echo, ignore_eos, logprobs, generation_prompt, exclude_input;
    const char *stop[HS_TEXT_STOPS]; // borrowed from the body
    int n_stops;
    hs_token_bias *bias; // [n_bias] freed by hs_text_params_free
    int n_bias;
    char sequence[HS_SEQUENCE_ID]; // a number, or a text in quotes; "": none
    bool sequence_start, sequence_end;
    char wrong[64]; // which parameter an error is about
} hs_text_params;

// Members of `object` that a request of this form has; `skip`, NULL behind the last: names that are not looked at. Defaults stand before
// the first call. USAGE. Of GENERATE a name that nobody knows is the client's own, as Triton has it, and passed over - but one that is
// nearly one of ours is taken for a slip, and refused.
void hs_text_params_default(hs_text_params *p, hs_protocol_of form);
hs_status hs_text_params_read(hs_text_params *p, const json_t *object, hs_protocol_of form, const char *const *skip);
void hs_text_params_free(hs_text_params *p);

#endif
