// eval_task: `halfstep eval` of a checkpoint that was fine-tuned, on labelled examples: loss and scores.
#ifndef HS_RECIPES_EVAL_TASK_H
#define HS_RECIPES_EVAL_TASK_H
#include "infer/session/session.h"
#include "recipes/program/cli.h"

typedef struct hs_eval_task_opts {
    const char *data, *report;                        // report: a folder for it; "": none
    const char *format, *text, *text2, *label, *kind; // of the file, where it is not as the training data were; "": as they were
    int64_t most;                                     // rows; 0: all
    struct json_t **measured;                         // gets what is told with --json, and nothing is printed; NULL: it is printed
} hs_eval_task_opts;

// Does the checkpoint say of itself, by its model or by its settings, that it is for labelled examples?
hs_status hs_eval_is_task(const hs_cli *cli, const hs_session *s, bool *is);
hs_status hs_eval_task(const hs_cli *cli, hs_session *s, const hs_policy *policy, const hs_eval_task_opts *o);

#endif
