// halfstep: everything a program that embeds the library includes.
#ifndef HS_RECIPES_HALFSTEP_H
#define HS_RECIPES_HALFSTEP_H
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/graph/graph.h"
#include "core/plan/plan.h"
#include "core/run/run.h"
#include "data/batches/loader.h"
#include "data/checkpoint/checkpoint.h"
#include "infer/decode/generate.h"
#include "infer/session/session.h"
#include "models/family.h"
#include "models/nn/nn.h"
#include "ops/ops.h"
#include "optim/optim.h"
#endif
