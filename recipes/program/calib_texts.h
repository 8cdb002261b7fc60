// calib_texts: data run through a checkpoint so that an observer sees what its products multiply.
#ifndef HS_RECIPES_CALIB_TEXTS_H
#define HS_RECIPES_CALIB_TEXTS_H
#include "infer/quant/observe.h"
#include "infer/session/session.h"
#include "recipes/program/cli.h"

typedef struct hs_calibration {
    hs_session session; // of the values; its parameters are those observed
    hs_observer *observer;
    int64_t examples, tokens;
} hs_calibration;

// Of a model with a task the examples of any file that predict takes (labels are not needed), of others the lines of a text. examples: how
// many at most; 0: all. On failure too: hs_calibration_close. USAGE: no text, fewer examples than asked for, what is wrong with one.
hs_status hs_calibrate_on(hs_calibration *c, const hs_cli *cli, const char *checkpoint, const char *path, int64_t examples,
                          const hs_observer_opts *o);
void hs_calibration_close(hs_calibration *c);

#endif
