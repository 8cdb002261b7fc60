// trace: what each member of a team did, and when, while a device runs segments. Set hs_device.trace to take one, NULL (the
// default) to stop; a device without one spends nothing on it but a branch per submission.
//
// Records of a member follow each other without a gap within a submission: the next one arrives when the one before ends.
// Their times add up to the time the submission took, to within the microseconds it takes to enter and leave it.
#ifndef HS_CORE_TRACE_H
#define HS_CORE_TRACE_H
#include "core/base/status.h"
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hs_thunk;

typedef struct hs_trace_record {
    const struct hs_thunk *thunk; // of the plan or the optimizer: valid as long as they are. NULL: the end of a region, a wait for the last
    int64_t arrived, start, end;  // ns, hs_now_ns: done with what came before | past the barrier in front | done
    int64_t waited;               // ns of [start, end] at barriers inside the kernel
    double live;                  // live rows over capacity: scales the thunk's cost
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
void hs_trace_add(hs_trace *t, int member, const hs_trace_record *r);

#ifdef __cplusplus
}
#endif
#endif
