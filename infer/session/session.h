// session: a checkpoint made ready to run - its model with weights, its tokenizer, a device, and a run of the plans that are wanted.
//
//   hs_session_open (what the files say) -> hs_session_load (plans, weights) -> s.run; or hs_run_new over s.model, one more run each
//
// A device that captures segments gets those of its run captured, once a plan (hs_submit_mode_of). The weights are there once, whatever runs. Nothing is asked of the family but its row.
#ifndef HS_INFER_SESSION_H
#define HS_INFER_SESSION_H
#include "core/run/run.h"
#include "data/checkpoint/checkpoint.h"
#include "infer/decode/decoder.h"
#include "infer/encode/row_reader.h"
#include "models/family.h"

typedef struct hs_session {
    char dir[4096]; // the model directory
    hs_model_info info;
    hs_arch arch;            // its settings are info's
    int64_t context, vocab;  // of the model
    hs_model_ends ends;      // tokens that end a text: generation_config.json's, config.json's or the tokenizer's
    int32_t begin;           // token that begins one, -1: the model has none
    hs_tokenizer *tokenizer; // NULL: the directory has none that Halfstep reads; hs_error of it in tokenizer_error
    char tokenizer_error[512];
    uint8_t *drawable; // [vocab] 0: a row of the model that no token of the tokenizer has; NULL: each has one, or nobody knows
    hs_device *device;
    // from hs_session_load on
    hs_policy policy;
    hs_arch_shape decode_shape;
    hs_model *model;
    hs_ckpt_codes *codes; // which of its values are kept as codes; NULL: none
    hs_ckpt_map *map; // the files that the model's values are served from; NULL: all of them were copied
    hs_run *run;
    int eval, masks, decode;      // numbers of its plans; -1: not asked for
    struct hs_adapters *adapters; // of hs_session_adapters (adapters.h); NULL: none, and what dir has of one is merged
} hs_session;

// Finds the checkpoint (hs_ckpt_resolve; want: 0 or HS_CKPT_EDITED), verifies it and reads config.json and tokenizer; opens the device
// (hs_open_device). No weights yet. families: whose models it may be, NULL behind the last. s must not move while it is open. On failure
// too: hs_session_close.
hs_status hs_session_open(hs_session *s, const char *path, int want, const hs_family *const *families, const char *device, int threads);

typedef struct hs_session_plans { // at least one; NULL: no such plan
    const hs_arch_shape *eval, *decode;
    const hs_arch_shape *masks; // one more of evaluation, of the same weights: an encoder's logits beside its hidden states
    int runs;                   // of the session's model that there will be, its own among them: memory is asked for all; 0: its own
} hs_session_plans;
// Traces the plans, loads the weights - what the files have as the model stores it is served from their mapping for as long as the session
// is open - and gives back what they have no reader for (hs_model_release_values). CORRUPT: config.json promises more
// than the files hold.
hs_status hs_session_load(hs_session *s, const hs_policy *policy, const hs_session_plans *plans);
void hs_session_close(hs_session *s); // behind runs of its model that others made

// A shape to decode with: max_tokens of all sequences in a step (at most a context's for each of them), max_seqs of them; a cache of
// n_pages pages.
hs_arch_shape hs_session_decode_shape(const hs_session *s, int64_t max_tokens, int64_t max_seqs, int64_t n_pages);
// Rows of tokens through the eval plan of an encoder, over a run of the session's model that has it bound.
hs_status hs_session_reader(hs_row_reader **out, const hs_session *s, hs_run *run);
hs_status hs_session_reader_of(hs_row_reader **out, const hs_session *s, hs_run *run, int plan); // s->eval or s->masks
// A decoder over a run of the session's model (s->run, or one more) that has its decode plan bound.
hs_decoder_opts hs_session_decoder_opts(const hs_session *s, hs_run *run, int max_slots);
hs_status hs_session_decoder(hs_decoder **out, const hs_session *s, hs_run *run, int max_slots);

// What config.json says, and whose row it was read by. USAGE: values that do not go together, in its words.
// info is overwritten, or, on an error before it is read, left alone: hs_model_info_free of one that was all 0.
hs_status hs_session_info(const hs_family *const *families, const char *model_dir, hs_model_info *info, const hs_family **family);

#endif
