// feed: a batch into the static inputs of a plan. The plan says what is needed; what a batch has beyond that is left where it is.
#ifndef HS_CORE_FEED_H
#define HS_CORE_FEED_H
#include "core/graph/batch.h"
#include "core/plan/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

// Batches in what is host memory to d (alloc_host: pinned on a GPU): its feeding reads them while the host goes on. d outlives them.
hs_batch_memory hs_device_batches(hs_device *d);

// Copies the live rows of every input's column, fills inputs that have none but a default (hs_input_default; all of the slot, unless it is
// there since a batch before), and sets in->n. Copies are in the order of the lane: what the batch holds is read until that was waited
// for. USAGE, by the input's name: no column and no default;
// another type, extent or row shape; more live rows than the plan has room for. Allocates nothing. hs_run_feed is what a run has.
hs_status hs_exec_feed(hs_exec *e, const hs_batch *b, hs_lane *lane, hs_step_in *in);

#ifdef __cplusplus
}
#endif
#endif
