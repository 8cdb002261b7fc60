// trial: a run that `verify` keeps beside others - its steps and their losses - and what its values and another's differ by.
#ifndef HS_RECIPES_TRIAL_H
#define HS_RECIPES_TRIAL_H
#include "recipes/train/verify.h"

typedef struct hs_trial {
    const hs_verify_opts *o;
    hs_config *config; // its own
    hs_train_opts opts;
    hs_trainer *trainer; // NULL: not open
    double *loss;        // [steps]
    int steps, done;
    char dir[HS_KEY_STRING_BYTES + 64];
} hs_trial;

// A run of o->config, of so many steps; not open yet. name: its folder in o->out, of one process that of this rank, where it has to save
// between two steps (phases, train.unfreeze): nothing is written elsewhere. parallel NULL: one process.
hs_status hs_trial_new(hs_trial *t, const hs_verify_opts *o, hs_parallel *parallel, const char *name, int steps);
void hs_trial_free(hs_trial *t);
// The layout of one process, on so many threads: its bits do not depend on them.
hs_status hs_trial_alone(hs_trial *t, int threads);
// from: a checkpoint to go on from, "": begins. USAGE: fewer steps than were asked for.
hs_status hs_trial_open(hs_trial *t, const char *from);
hs_status hs_trial_train(hs_trial *t, int steps);
// Saves in its folder and closes; from: where. opts.dry was set to false before it was opened.
hs_status hs_trial_leave(hs_trial *t, char *from, size_t size);
// Each element of the values up or down by the share, as a hash of its place and of `key` says.
hs_status hs_trial_shake(hs_trial *t, double share, int key);

typedef struct hs_difference { // of one logical tensor
    double ulp, relative, rms; // as in hs_verify_row
} hs_difference;
int hs_trial_tensors(const hs_trial *t);                                   // logical ones: of a parameter its parts, in order
void hs_trial_name(const hs_trial *t, int tensor, char *buf, size_t size); // "h0.attn.qkv.bias[2/3]", where a parameter has parts
// Of what this rank has of each tensor against a run of one process, or of ranks that each have all of it: d[hs_trial_tensors].
hs_status hs_trial_compare(const hs_trial *a, const hs_trial *whole, hs_difference *d);
double hs_trial_compare_losses(const hs_trial *a, const hs_trial *b); // the largest, relative; infinite where one is not finite
bool hs_trial_saves(const hs_verify_opts *o);                         // has it to, between two steps

#endif
