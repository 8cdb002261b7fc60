// measure: what `halfstep eval` measures, for whoever decides by it.
#ifndef HS_RECIPES_MEASURE_H
#define HS_RECIPES_MEASURE_H
#include "recipes/program/cli.h"
#include <jansson.h>

// The line that eval would print with --json, for the caller to free: "loss" and whatever scores the task has. device, threads and dtype are
// those of the command at hand.
hs_status hs_eval_measure(const hs_cli *cli, const char *checkpoint, const char *data, json_t **out);

#endif
