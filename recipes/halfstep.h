// halfstep: everything a program that embeds the library includes.
#ifndef HS_RECIPES_HALFSTEP_H
#define HS_RECIPES_HALFSTEP_H
#include "core/graph.h"
#include "core/log.h"
#include "core/plan.h"
#include "core/rng.h"
#include "data/checkpoint.h"
#include "data/loader.h"
#include "infer/generate.h"
#include "models/gpt.h"
#include "models/nn.h"
#include "ops/ops.h"
#include "optim/optim.h"
#include "recipes/engine.h"
#endif
