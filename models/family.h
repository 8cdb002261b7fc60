// family: everything the rest of the house knows of a kind of model, as one row of a table. Adding a family: README.md of this room.
//
// The table is an argument: programs pass hs_families, or a table of their own. Nothing outside models/ knows a family by name.
#ifndef HS_MODELS_FAMILY_H
#define HS_MODELS_FAMILY_H
#include "core/graph/graph.h"
#include "core/settings/keys.h"
#include "core/settings/schema.h"
#include "core/settings/task.h"

// A teacher and its student (models/nn/taps.h). In the teacher's plan, of eval mode, what is listed are outputs, and there is no loss; in
// the student's they are inputs that are passed to it, and losses besides its own.
typedef enum hs_distill_role { HS_DISTILL_NONE, HS_DISTILL_TEACHER, HS_DISTILL_STUDENT } hs_distill_role;
typedef enum hs_tap { HS_TAP_QKV, HS_TAP_HIDDEN, HS_TAP_LOGITS, HS_TAPS } hs_tap; // in the order of the teacher's outputs
enum { HS_DISTILL_STATES = HS_KEY_LIST, HS_TAP_NAME = 32 };
typedef struct hs_distill {
    hs_distill_role role;
    bool tap[HS_TAPS];                // query, key and value of one layer; hidden states; logits
    int n_states;                     // hidden states that are compared, one by one in this order
    int16_t state[HS_DISTILL_STATES]; // of this network: 0 what its layers read, n what its n-th has made, of the last behind a last norm
    bool every_row;                   // logits of every token, not of predictions alone
    int layer;                        // whose query, key and value, from 0
    bool no_hard;                     // a student's: without the loss of its own head
    float temperature;                // of logits
    bool cosine, square;              // what the hidden states meet
    int relation_heads, pairs;        // what query, key and value meet: hs_relation_attr
    int64_t other_width;              // of the teacher
} hs_distill;
// Outputs of a teacher's plan, and the inputs of its student's that each is passed to: "teacher_qkv", "teacher_hidden.0", "teacher_logits".
int hs_tap_outputs(const hs_distill *d);
const char *hs_tap_input(const hs_distill *d, int output, char buf[HS_TAP_NAME]); // returns buf

typedef struct hs_arch_shape { // what a plan is made for
    int64_t max_tokens, max_seqs;
    int64_t longest;               // tokens of a sequence at most (attention's promise of that name); 0: nothing is promised
    bool full;                     // and in training each has as many, pads counted
    bool library_masks, any_order; // what a device's library may do with attention (hs_attention_attr)
    int64_t cache_rows;            // decode mode: of the states that keep keys and values
    int64_t page_rows, seq_pages;  // decode mode: rows of a page of the cache, and pages of a sequence at most; 0: no pages (hs_batch_in)
    bool cache_i8;                 // decode mode: keys and values are kept as codes of 8 bits (hs_cache_append_i8), not as values
    bool logits;                   // eval mode: keep the logits [N, V padded] (of predictions: [P, V padded]) as output 0
    // eval mode: output 0 is the last hidden state [N, C] f32, output 1, where there is a pooler, what it makes of first tokens [B, C] f32;
    // no targets, no loss
    bool hidden;
    // families of masked batches
    int64_t max_picks; // predictions of a batch; 0 elsewhere
    bool padded;       // sequences stand in rows of fixed length, and input `keys` [B][3] says how many tokens of each are real
    bool draws_masks;  // train mode: masks are drawn in the plan, by inputs mask_draws and mask_special in the place of picks, pick_targets
    // models with a task
    // eval mode, of a plan that is asked for outputs alone: no targets and no loss, but that of a chain of tags, which keeps its
    // parameters, and those of ELECTRA beside its generator; with a task of whole sequences no row of a last layer that nobody reads,
    // where the family can
    bool lean;
    bool weighted;         // input `target_weights`: what each row's loss is multiplied by
    float label_smoothing; // of tasks whose targets are classes: e of hs_xent_attr
    hs_distill distill;
} hs_arch_shape;

typedef enum hs_batch_kind {
    HS_BATCH_TEXT,     // running text: the columns of data/batches/windows.h
    HS_BATCH_MASKED,   // sequences with picked predictions: below
    HS_BATCH_LABELLED, // sequences with the targets of a task: below; no family's own, but that of any model with a task (hs_arch_batch)
} hs_batch_kind;
// Columns of HS_BATCH_MASKED, i32: ids [tokens]; token_types [tokens] (default 0); task_types [tokens] (default 0; where the model has
// them); starts [seqs + 1]; where [tokens][2] {slot, position from 0 in its sequence}; picks [picks], rows of the tokens that are
// predicted; pick_targets [picks] (-1: ignored); pair_targets [seqs] (1: the second segment is random; default -1: ignored); order_targets
// [seqs] (1: swapped; default -1); keys [seqs][3] only where shape.padded; mask_draws [seqs][HS_DRAW_CELLS] and mask_special
// [HS_DRAW_SPECIAL], fixed (core/graph/mask_draw.h), only where shape.draws_masks, when ids are those of the text. Outputs of eval mode,
// without shape.hidden: 0 = i32 [P], the likeliest token of each prediction, 1 = i32 [B], the pair head's (next, else order), where there
// is one; with shape.logits the logits instead, f32. Of a model that judges what its generator wrote (HS_LOSS_REPLACED): 0 the generator's,
// 1 = f32 [N, 1 padded], the logit of each token that it was replaced, 2 = f32 [N, 1], 1 where it was.
//
// Columns of HS_BATCH_LABELLED: ids, token_types, task_types, starts, where, keys as above, and of the model's task
//   sequence     class_targets i32 [seqs]         -1: ignored
//   regression   value_targets f32 [seqs][L]      L numbers (model.labels)
//   multilabel   label_targets f32 [seqs][L]      0 or 1
//   tokens       tag_targets i32 [tokens]         -1: ignored. With model.crf the tokens that have a target are the chain
//   span         span_targets i32 [seqs][2]       start and end within the sequence (0: its first token); outside of it: ignored
//   target_weights f32 [seqs], of tokens [tokens] only with shape.weighted; default 1
// Targets default to "ignored" (f32: 0) in eval mode, whose output 0 is the task's logits, f32: [B, L padded], of tokens [N, L padded], of
// span [N, 2 padded] (start, end); shape.logits says nothing there. Counts of HS_LOSS_TASK, which inv_count is made of: rows that have a
// target, of span starts and ends, of weighted rows the sum of their weights.
// Index among the losses of a plan. Those behind HS_LOSS_REPLACED are of a student: what it is held by to its teacher, summed over rows of
// logits, tokens, tokens, sequences.
typedef enum hs_loss {
    HS_LOSS_TOKENS,
    HS_LOSS_NEXT,
    HS_LOSS_ORDER,
    HS_LOSS_TASK,
    HS_LOSS_REPLACED, // of a model that judges what its generator wrote: over all tokens
    HS_LOSS_SOFT,
    HS_LOSS_COSINE,
    HS_LOSS_HIDDEN,
    HS_LOSS_RELATION,
    HS_LOSSES
} hs_loss;

typedef struct hs_family {
    const char *name;          // as messages about settings say it: "gpt2"
    const char *words;         // of model.type, the first is written: "gpt2|gpt"
    const char *title;         // for people: "GPT"
    const hs_schema *settings; // keys "model.*" into a struct of its own of at most HS_SETTINGS_BYTES
    hs_batch_kind batch;
    bool (*wears)(const void *settings, hs_loss which); // (optional) has it a head with that loss; defaults to HS_LOSS_TOKENS alone
    const char *own;   // keys that a run may set anew on trained weights ("model.dropout"), separated by |; all others are their shape
    const char *heads; // (optional) keys that say what it wears, where the weights that a run starts from may wear something else
    // Agreement between values, whose messages begin with the key that is wrong. model.vocab is 0 where it is not settled yet.
    hs_status (*check)(const void *settings);
    // Emits inputs, model and, in train and eval mode, the loss (per token); in decode mode the logits [P, V padded] of the picked rows as
    // an output. Errors go to the graph.
    hs_tensor *(*trace)(hs_graph *g, const void *settings, const hs_arch_shape *shape);
    int64_t (*count)(const void *settings); // parameters
    // How deep a parameter lies, for rates by layer: 0 embeddings, 1 to the number of layers, one more behind them (a pooler, a head). One
    // that layers share counts as the last that uses it.
    int (*depth)(const void *settings, const char *param);
    // Forward + backward: 6 for each parameter that a token is multiplied with, and attention over seq tokens. Of masked families without
    // the head, of which each prediction takes 3 head_flops more.
    double (*flops_per_token)(const void *settings, double seq);
    double (*head_flops)(
        const void *settings); // forward, of one row of logits (of masked families with what stands before them in the head)
    hs_model_files files;
} hs_family;

extern const hs_family *const hs_families[]; // NULL behind the last; the first is model.type's default
enum { HS_FAMILIES = 32 };                   // at most, in a table

typedef struct hs_arch { // an architecture: a family with its settings
    const hs_family *family;
    const void *settings; // borrowed
} hs_arch;
typedef struct hs_arch_setup { // what a plan is traced from
    hs_arch arch;
    hs_arch_shape shape;
} hs_arch_setup;
void hs_arch_trace(hs_graph *g, const void *setup); // an hs_model_fn of the engine

// Keys that models of texts have: "model.context" (longest sequence), "model.vocab". 0 where the family has no such key.
int64_t hs_arch_int(hs_arch m, const char *key);
bool hs_arch_wears(hs_arch m, hs_loss which);
hs_task hs_arch_task(hs_arch m);                                  // "model.task"; HS_TASK_NONE where the family has no such key
hs_batch_kind hs_arch_batch(hs_arch m);                           // the family's, or that of models with a task
bool hs_arch_bare(hs_arch m);                                     // none of them: nothing of it is trained or judged
hs_status hs_arch_check(hs_arch m);                               // ranges of keys are not looked at
hs_status hs_arch_check_file(hs_arch m, const char *path);        // the same of settings that path, a config.json, says: in its words
hs_status hs_arch_defaults(const hs_family *f, hs_settings *out); // settings of their own, without a run
hs_status hs_arch_set(const hs_family *f, hs_settings *settings, const char *key, int64_t value); // USAGE: no such key, out of range
// An integer key's value, and where 0 stands for another number (model.ff: 4 x model.width) that one.
int64_t hs_arch_meant(hs_arch m, const hs_key *key);
void hs_arch_describe(hs_arch m, char *buf, size_t size);  // "layers 4, heads 4, width 128, context 64, vocab 65"
bool hs_family_owns(const hs_family *f, const char *key);  // is it one of `own`?
bool hs_family_wears(const hs_family *f, const char *key); // is it one of `heads`?

#endif
