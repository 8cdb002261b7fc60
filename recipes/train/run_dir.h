// run_dir: the folder of a run, and where a run begins.
//
//   DIR/config.yaml  metrics.jsonl  events.out.tfevents.*  loss.png  tokenizer.json  tokens-KEY.bin  checkpoints/
#ifndef HS_RECIPES_RUN_DIR_H
#define HS_RECIPES_RUN_DIR_H
#include "recipes/program/config.h"

typedef struct hs_run_dir {
    char dir[3072], checkpoints[3200];
    char from[4096];       // checkpoint to go on from; "": begin anew
    char init[4096];       // model directory to take weights from when beginning anew; "": none
    bool replace;          // checkpoints that are there, later than `from`, are removed
    int64_t replace_after; // their steps are above this
    int lock;              // of DIR/.lock while this process trains there; -1: none
    uint64_t mark;         // that .lock has while several ranks train there, so that each can tell whether it sees the same folder; else 0
} hs_run_dir;

// Decides, reading only. resume: "auto", "none" or a path. USAGE where something would be lost without --overwrite. want: of checkpoints,
// 0 or HS_CKPT_EDITED.
hs_status hs_run_dir_open(hs_run_dir *r, const char *dir, const char *resume, bool overwrite, int want, const hs_config *c);
// Creates the folder, locks it against a second writer and marks it.
hs_status hs_run_dir_take(hs_run_dir *r);
// Of another rank, behind the first one's hs_run_dir_take: SYSTEM where this is another folder of that name, or none.
hs_status hs_run_dir_look(const hs_run_dir *r);
// Behind both: removes what is replaced, writes config.yaml and the tokenizer.
hs_status hs_run_dir_create(const hs_run_dir *r, const char *yaml, const hs_tokenizer *tok);
bool hs_run_dir_holds(const hs_run_dir *r, const char *checkpoint); // is it one of this folder's
void hs_run_dir_close(hs_run_dir *r);                               // gives the lock back

// The folder and those above it, which must be or become writable.
hs_status hs_make_folders(const char *path);

#endif
