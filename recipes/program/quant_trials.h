// quant_trials: a checkpoint quantized so and so, and what eval measures of each - what a gate decides by, which weights cost most, and the
// fastest mix that passes.
#ifndef HS_RECIPES_QUANT_TRIALS_H
#define HS_RECIPES_QUANT_TRIALS_H
#include "infer/quant/quantize.h"
#include "recipes/program/cli.h"
#include "recipes/program/gate.h"

typedef struct hs_quant_weight { // one that may be codes
    int id;                      // hs_param.id of the values
    const char *name;
    double elements;
    double rise; // of the loss where it alone is codes; NAN: not measured
    bool kept;   // by hs_quant_trials_search: as it was
} hs_quant_weight;

typedef struct hs_quant_trials {
    const hs_cli *cli;
    hs_export_model *from;
    hs_quantize_opts opts;
    const hs_observer *seen;
    const hs_params *seen_params;
    const char *data;
    char dir[4096];   // of one trial, beside the output
    json_t *original; // as eval measures the checkpoint
    hs_quant_weight *weight;
    int n;
    bool *keep; // by hs_param.id
} hs_quant_trials;

// cli, from and seen are borrowed. output: beside it trials are written. Measures the original. On failure too: hs_quant_trials_close.
hs_status hs_quant_trials_open(hs_quant_trials *t, const hs_quant_trials *of, const char *output);
void hs_quant_trials_close(hs_quant_trials *t);
hs_status hs_quant_trial(hs_quant_trials *t, json_t **measured); // all weights but those of t->keep; the caller frees
hs_status hs_quant_trials_sensitivity(hs_quant_trials *t);       // each weight alone; orders t->weight by rise, the largest first
// Keeps as few of the weights that cost most (for their size) as the gate asks for: a search by halves. Afterwards t->keep and kept say
// which. USAGE: the gate passes with no mix; the best that was found is said.
hs_status hs_quant_trials_search(hs_quant_trials *t, const hs_gate *g);
hs_status hs_quant_trials_report(hs_quant_trials *t, const char *folder); // sensitivity.json and sensitivity.png

#endif
