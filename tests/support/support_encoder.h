// support_encoder: a small model of any family of encoders, the engine around it, and batches whose sequences depend on their slot alone.
#ifndef HS_TESTS_SUPPORT_ENCODER_H
#define HS_TESTS_SUPPORT_ENCODER_H
#include "models/family.h"
#include "recipes/train/engine.h"

typedef struct encoder_opts {
    const char *dropout;          // "0.1"; NULL: none
    const char *policy;           // NULL: fp32
    const hs_optim_config *optim; // NULL: no training plan
    int threads;                  // 0 means 1
    hs_submit_mode mode;
    const char *isa; // NULL: the best
    bool padded, hidden;
    int64_t max_tokens; // 0: 128
    int micro_steps;
    const hs_grid *grid;            // NULL: one rank
    const hs_adapter_spec *adapter; // NULL: none
    hs_task task;                   // with ENCODER_LABELS; then of any family, for a GPT has tasks too
    bool crf;
    hs_divide divide;  // over grid->dp
    int64_t generator; // width of a network that is trained beside it; 0: none
    bool sequence;
    hs_recompute recompute;
    uint64_t seed;                  // 0: 3
    const hs_distill *distill;      // NULL: none; a teacher's has no training plan
    const hs_arch_shape *attention; // longest, full, library_masks and any_order of it; NULL: none
} encoder_opts;

typedef struct tiny_encoder {
    hs_settings settings;
    hs_arch_setup train, eval;
} tiny_encoder;
enum { ENCODER_VOCAB = 61, ENCODER_CONTEXT = 24, ENCODER_WIDTH = 64, ENCODER_SEQS = 10, ENCODER_LABELS = 5 };

// A task with ENCODER_LABELS, and no other head.
hs_status wear_task(const hs_family *f, hs_settings *s, hs_task task, bool crf);
// Plans for evaluation and, where there is an optimizer, training, of 2 layers of 4 heads. `t` must outlive the engine.
hs_status encoder_engine(hs_engine **out, tiny_encoder *t, const hs_family *f, const encoder_opts *o);

typedef struct encoder_batch {
    int n;
    int slot[ENCODER_SEQS], length[ENCODER_SEQS]; // a slot's tokens and labels are the same in every batch of that key
    int row;                                      // padded: rows are that long; 0: one sequence stands behind the other
    uint64_t key;
} encoder_batch;
// Writes a batch, live counts, and what its losses are divided by.
hs_status encoder_fill(hs_engine *e, hs_mode mode, const encoder_batch *b);
int64_t encoder_first(const encoder_batch *b, int sequence); // its first row
double encoder_loss(const hs_engine *e, hs_mode mode);       // all of them
#endif
