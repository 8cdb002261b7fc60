// trace: what each member of a team did, and when, while a device runs segments. Set hs_device.trace to take one, NULL (the
// default) to stop; a device without one spends nothing on it but a branch per submission.
//
// On the CPU a member is one of the team. Records of a member follow each other without a gap within a submission: the next one arrives
// when the one before ends. Their times add up to the time the submission took, to within the microseconds it takes to enter and leave it.
//
// On a GPU a member is a stream, and records come when its lane is waited for (hs_device.collect waits for all). start and end are when the
// GPU came to that point, as events say, by the host's clock: to within the microseconds that it takes to learn when a stream is idle.
// Between arrived and start the stream had nothing to do, or waited for another.
#ifndef HS_CORE_TRACE_H
#define HS_CORE_TRACE_H
#include "core/base/status.h"
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hs_thunk;
struct hs_step_in;

typedef struct hs_trace_record {
    const struct hs_thunk *thunk; // of the plan or the optimizer: valid as long as they are. NULL: the end of a region, a wait for the last
    int64_t arrived, start, end;  // ns, hs_now_ns: done with what came before | past the barrier in front | done
    int64_t waited;               // ns of [start, end] at barriers inside the kernel
    double live;                  // live rows over capacity: scales the thunk's cost
    int64_t copied;               // > 0: no thunk but a copy of so many bytes, in a stream's order
} hs_trace_record;

// One ring per member; the oldest records are overwritten. A ring has one writer: read it while nothing is submitted.
typedef struct hs_trace hs_trace;
hs_status hs_trace_new(hs_trace **out, int members, int64_t capacity); // records per member
void hs_trace_free(hs_trace *t);
int hs_trace_members(const hs_trace *t);
int64_t hs_trace_count(const hs_trace *t, int member); // ever written
// Record i of a member, counted from the first ever written; NULL where it was overwritten or is not there yet.
const hs_trace_record *hs_trace_at(const hs_trace *t, int member, int64_t i);

// For devices.
// The host's counts of what is submitted from now on, where those that kernels have lie in a device's memory; NULL, the default: they do
// not.
void hs_trace_set_counts(hs_trace *t, const struct hs_step_in *counts);
// hs_trace_record.live of a thunk that is submitted now: by the first operand that has rows at all, as all of them but weights are cut
// alike.
double hs_trace_live(const hs_trace *t, const struct hs_thunk *thunk);
void hs_trace_add(hs_trace *t, int member, const hs_trace_record *r);

#ifdef __cplusplus
}
#endif
#endif
