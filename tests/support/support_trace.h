// support_trace: what stands in a file of traces, once the server is over.
#ifndef HS_TESTS_SUPPORT_TRACE_H
#define HS_TESTS_SUPPORT_TRACE_H
#include "tests/support/support_oip.h"

json_t *trace_read(const char *name);                                         // in the scratch folder; asserts that it is an array
json_t *trace_part(const json_t *all, int64_t id, const char *member, int i); // i-th object with it, of that trace (0: of any); NULL
int trace_count(const json_t *all, const char *member);                       // objects with it
const char *trace_data(const json_t *all, int64_t id, int i);                 // of its i-th tensor; "?": there is none
extern const char *const trace_whole[11];                                     // points of a request that a batcher had
// Those and no others, and none before the one in front of it.
void trace_expect_points(const json_t *all, int64_t id, const char *const *name, int n);
#define TRACE_IN  "TENSOR_QUEUE_INPUT"
#define TRACE_OUT "TENSOR_BACKEND_OUTPUT"
void trace_expect_tensor(const json_t *all, int64_t id, int i, const char *activity, const char *name, const char *shape, const char *type);

#endif
