// trainer: a training run from its settings to its last checkpoint.
//
// A run has phases, one behind the other (one, where none are given). Weights, moments and the loss scale go on; samples, schedule and the
// count of applied steps begin anew. Between two of them everything but the folder is closed and opened again from the checkpoint at their
// border, so that to go on there is the same thing, bit for bit.
#ifndef HS_RECIPES_TRAINER_H
#define HS_RECIPES_TRAINER_H
#include "data/batches/loader.h"
#include "data/report/tensorboard.h"
#include "recipes/train/corpus.h"
#include "recipes/train/engine.h"
#include "recipes/train/evaluate.h"
#include "recipes/train/profile.h"
#include "recipes/train/progress.h"
#include "recipes/train/ranks.h"
#include "recipes/train/run_dir.h"
#include "recipes/train/train_feed.h"
#include "recipes/train/tied.h"

typedef struct hs_train_result { // of a run that ended
    char metric[64];             // what its best is judged by; "": nothing was evaluated
    double score, val_loss;      // of the best
    int64_t best_step, steps;
    double seconds; // of training, of this process
} hs_train_result;

typedef struct hs_train_opts {
    hs_config *config;         // paths resolved; completed by the trainer: vocabulary, policy, shape taken over from train.init_from
    const char *dir, *resume;  // --out; auto, none or a path
    const char *profile;       // --profile; NULL or "": none
    const char *profile_steps; // --profile-steps; NULL or "": those that it takes by itself
    hs_parallel *parallel;     // the ranks that train it together; NULL: this process alone
    int local;                 // alone: its number among processes of this host that do likewise, each on a GPU of its own
    bool overwrite, accept_edited, json, quiet;
    bool dry;                // hs_trainer_open alone: nothing is written, not even a folder
    hs_train_result *result; // NULL: nobody asks
} hs_train_opts;

typedef struct hs_watch { // step mode: the first result of a step that was not finite
    bool found, backward;
    int64_t count;
    int32_t micro;
    char scope[128], op[48], operand[32];
} hs_watch;

typedef struct hs_trainer {
    const hs_train_opts *o;
    hs_train_opts silent; // what o is on ranks that say nothing
    hs_ranks ranks;
    // of the run
    hs_config *whole;  // o's
    hs_config *before; // of the checkpoint it goes on from; NULL: none, or not known
    hs_run_dir run;
    hs_tokenizer *tokenizer;
    hs_policy policy;
    hs_device *device;
    hs_metrics *metrics;         // NULL: another rank writes them
    hs_tensorboard *tensorboard; // NULL: not wanted
    hs_progress progress;
    double peak_flops; // this rank's part of the progress's
    hs_model_info info;
    hs_train_state at; // what a checkpoint of this moment would say; its step_state is the engine's
    char *yaml;
    unsigned told;           // hs_feed_tell
    const char *policy_note; // how amp.policy auto was settled; NULL: it was not auto
    hs_watch watch;
    hs_step_record last;   // of the steps whose records were read
    int64_t saved_step;    // of the last checkpoint handed over; -1: none
    int64_t first_step;    // of this process
    hs_eval_result result; // of the last evaluation
    hs_scores scores;      // and its scores, where there is a judge
    double val_loss;       // its loss; NaN: none
    double train_seconds;  // in steps of this process
    // of the phase that is trained, at.phase
    hs_config *c;      // its settings
    hs_labels classes; // of labelled data: those of a head that goes on; none: the data's
    hs_corpus corpus;
    hs_arch arch; // of the configuration
    hs_feed feed;
    hs_source *validation; // NULL: no evaluation
    hs_judge *judge;       // NULL: losses alone
    const char *metric;    // what the best is judged by: "loss", or a score
    int64_t epoch;         // samples of one, where train.epochs counts; else 0
    hs_ckpt_codes *codes; // which weights are kept as codes; NULL: none
    hs_engine *engine;
    hs_tied *tied;       // NULL: no weights are
    hs_teacher *teacher; // NULL: there is none
    hs_loader *loader;
    hs_ckpt *ckpt;
    hs_profile *profile;      // NULL: not wanted, or told
    bool labelled[HS_LOSSES]; // of the last step: had it labels of this loss
    double *agreed;           // what all ranks agreed on before it (train_step.c)
    int signal;               // that any rank of several saw: the run stops
} hs_trainer;

hs_status hs_train(const hs_train_opts *o); // STOPPED after a signal, NONFINITE after ten skipped steps in a row
// A step of hs_train's, by hand: before hs_step_run, what stands between two steps - another phase begins, or more layers are trained from
// here on -, saved at that border; and saved where it stands, unless it is already. Of one that was not opened dry.
hs_status hs_trainer_cross(hs_trainer *t);
hs_status hs_trainer_save(hs_trainer *t, bool best);

// Of train_setup.c: all that stands before the first step. Nothing is written before everything was checked, all phases too.
hs_status hs_trainer_open(hs_trainer *t, const hs_train_opts *o);
void hs_trainer_close(hs_trainer *t);
void hs_trainer_fail(hs_trainer *t, hs_status st); // before it is closed, where it failed: hs_ranks_fail, behind what is being saved

// Of train_step.c.
hs_status hs_step_open(hs_trainer *t); // settings of the phase are there
// One optimizer step. Where a rank of several saw a signal nothing is done, and t->signal is set on all of them.
hs_status hs_step_run(hs_trainer *t);

// Of train_tell.c.
void hs_trainer_tell_start(hs_trainer *t);
void hs_trainer_tell_data(hs_trainer *t); // what it is trained on, and for how long
// Behind a step. log: its values go into the files; evaluated: so do those of t->result.
hs_status hs_trainer_tell_step(hs_trainer *t, bool log, bool evaluated);
hs_status hs_trainer_tell_profile(hs_trainer *t);         // once: when its steps are in, or when the run ends before
void hs_trainer_tell_end(hs_trainer *t, const char *png); // png "": no curve was drawn

// Of train_task.c.
hs_status hs_trainer_settle_epochs(hs_trainer *t);       // train.steps of train.epochs; the feed is there
bool hs_trainer_due(const hs_trainer *t, int64_t every); // behind a step: every so many, -1: an epoch ended in it
int hs_trainer_stage(const hs_trainer *t); // train.unfreeze: what lies less deep than that (hs_family.depth) stands still in the next step
hs_status hs_trainer_rates(hs_trainer *t); // optim.layer_decay, for the engine's optimizer
hs_status hs_trainer_judge(hs_trainer *t); // of the phase's validation; USAGE: task.metric is none of its scores
double hs_trainer_score(const hs_trainer *t); // of the last evaluation, by the metric
bool hs_trainer_note_best(hs_trainer *t);     // true: the last evaluation is the best so far
bool hs_trainer_enough(const hs_trainer *t);  // train.patience is at its end
hs_status hs_trainer_report(hs_trainer *t);   // of the last evaluation, in the run's folder
void hs_trainer_tell_result(hs_trainer *t);

// Of train_phase.c.
// Does the state stand at the end of a phase behind which there is another: then it becomes that one's beginning.
void hs_trainer_move_on(const hs_trainer *t, hs_train_state *s);
int64_t hs_trainer_steps(const hs_trainer *t);       // of the run in all, counted from the global step of now
hs_status hs_phase_settle(hs_trainer *t);            // settings, corpus and feed of at.phase. The tokenizer is there, or found here
hs_status hs_phase_check_later(hs_trainer *t);       // the phases behind it: data, samples, memory
const char *hs_trainer_weights(const hs_trainer *t); // whose it goes on with or begins with; "": they are drawn
hs_status hs_phase_engine(hs_trainer *t);            // plans, memory, weights: the checkpoint's, train.init_from's or drawn
hs_status hs_phase_writer(hs_trainer *t);            // of checkpoints
hs_status hs_phase_loader(hs_trainer *t);
hs_status hs_phase_progress(hs_trainer *t);
hs_status hs_phase_profile(hs_trainer *t); // of the engine that is there; --profile not asked for: nothing
void hs_phase_close(hs_trainer *t);
hs_status hs_trainer_next_stage(hs_trainer *t); // more layers are trained from here on; saved too
hs_status hs_trainer_next_phase(hs_trainer *t); // the one that is done was saved

#endif
