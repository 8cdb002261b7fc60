// tracer: requests written down as Triton's trace extension has it - one of so many, up to a count, by settings that are the server's or a
// model's own: when each thing happened to them and, at level TENSORS, what went in and came out.
//
//   hs_tracer_new -> hs_tracer_sample -> hs_traced_at, hs_traced_inputs, hs_traced_outputs, by whoever has the request -> hs_traced_end
//                 -> hs_tracer_free
//
// Where nothing is traced sampling costs one relaxed load. Files are written by a thread of the tracer's own, and are whole arrays of JSON
// after each trace: FILE holds all of them; with a log_frequency f those after each f-th stand in the next of FILE.0, FILE.1, ..., and with
// a trace_count and no frequency all of that count in one of these. What a trace holds until it is written is bounded (HS_TRACER_BYTES of
// all): beyond that requests are not sampled and tensors left out, which is said in one line, as is a file that cannot be written. What
// all files may have together is bounded, too: the trace that there is no room for is the end of tracing, whatever settings are and become,
// which is said in one line. No request is held up or fails by any of it.
#ifndef HS_INFER_TRACER_H
#define HS_INFER_TRACER_H
#include "infer/server/infer_answer.h"
#include "infer/server/infer_request.h"

enum { HS_TRACER_BYTES = 16 << 20, HS_TRACER_MOST = 1 << 30, HS_TRACER_FILE = 4096, HS_TRACER_NAME = 128 };
enum { HS_TRACE_TIMESTAMPS = 1, HS_TRACE_TENSORS = 2 }; // of a level, together or not; 0: OFF

// ---- settings
//   enum  name in the protocol, least, most, where nothing is said
#define HS_TRACE_KEY_LIST(X)                                                                                                               \
    X(LEVEL, "trace_level", 0, HS_TRACE_TIMESTAMPS | HS_TRACE_TENSORS, 0)                                                                  \
    X(RATE, "trace_rate", 1, UINT32_MAX, 1000)      /* one request of so many */                                                           \
    X(COUNT, "trace_count", -1, INT32_MAX, -1)      /* that are still traced; -1: no end */                                                \
    X(FREQUENCY, "log_frequency", 0, UINT32_MAX, 0) /* traces of a file; 0: one file */
typedef enum hs_trace_key {
#define HS_TRACE_KEY_ENUM(key, name, least, most, value) HS_TRACE_##key,
    HS_TRACE_KEY_LIST(HS_TRACE_KEY_ENUM)
#undef HS_TRACE_KEY_ENUM
        HS_TRACE_KEYS
} hs_trace_key;
typedef struct hs_trace_about {
    const char *name;
    int64_t least, most, value;
} hs_trace_about;
extern const hs_trace_about hs_trace_abouts[HS_TRACE_KEYS];
typedef struct hs_trace_settings {
    int64_t of[HS_TRACE_KEYS];
} hs_trace_settings;
typedef struct hs_trace_change {
    hs_trace_settings to;
    unsigned set, clear; // bits 1 << key; clear: back to what the server has, or had at its start
} hs_trace_change;
// "TIMESTAMPS" added to a level, or "OFF" to none. False: it is no level, or does not go with what is there. any: one was added before.
bool hs_trace_level_add(int64_t *level, bool any, const char *name);
extern const char *const hs_trace_levels[3]; // by bits: "OFF", "TIMESTAMPS", "TENSORS"

typedef struct hs_tracer hs_tracer;
typedef struct hs_tracer_opts {
    const char *file; // NULL: nothing can be traced. What is there of that name is lost with the first trace
    hs_trace_settings settings;
    int64_t most; // bytes of all files together, and HS_TRACER_FILE for each; 0: HS_TRACER_MOST
} hs_tracer_opts;
// USAGE: a level without a file; a file that cannot be.
hs_status hs_tracer_new(hs_tracer **out, const hs_tracer_opts *o);
// Every trace has ended. Writes what is left. NULL: nothing.
void hs_tracer_free(hs_tracer *t);
const char *hs_tracer_file(const hs_tracer *t); // "": none
// model NULL: of all that have none of their own for it. From any thread; all of it or, USAGE (a level, without a file) and MEMORY,
// nothing.
hs_status hs_tracer_change(hs_tracer *t, const char *model, const hs_trace_change *c);
void hs_tracer_look(hs_tracer *t, const char *model, hs_trace_settings *out);

// ---- a request
//   enum  name in the file, in its order
#define HS_TRACE_POINT_LIST(X)                                                                                                             \
    X(HTTP_RECV_START)                                                                                                                     \
    X(HTTP_RECV_END)                                                                                                                       \
    X(REQUEST_START)                                                                                                                       \
    X(QUEUE_START)                                                                                                                         \
    X(COMPUTE_START)                                                                                                                       \
    X(COMPUTE_INPUT_END)                                                                                                                   \
    X(FIRST_TOKEN) /* ours: of models that continue texts */                                                                               \
    X(COMPUTE_OUTPUT_START)                                                                                                                \
    X(COMPUTE_END)                                                                                                                         \
    X(REQUEST_END)                                                                                                                         \
    X(HTTP_SEND_START)                                                                                                                     \
    X(HTTP_SEND_END)
typedef enum hs_trace_point {
#define HS_TRACE_POINT_ENUM(point) HS_TRACE_##point,
    HS_TRACE_POINT_LIST(HS_TRACE_POINT_ENUM)
#undef HS_TRACE_POINT_ENUM
        HS_TRACE_POINTS
} hs_trace_point;

typedef struct hs_traced
    hs_traced; // one thread at a time: whoever has the request. NULL, of one that is not traced: all of these do nothing
// A request about a model, from here on (REQUEST_START). NULL: it is not traced.
hs_traced *hs_tracer_sample(hs_tracer *t, const char *model, int version);
hs_traced *hs_traced_child(hs_traced *parent, const char *model, int version); // a step of an ensemble: ends with it. From any thread
void hs_traced_request_id(hs_traced *r, const char *id);                       // the client's; NULL, "": it has none
void hs_traced_at(hs_traced *r, hs_trace_point p, int64_t ns);                 // hs_now_ns; 0: it did not come to that
void hs_traced_refused(hs_traced *r); // its tensors, and its steps', are given up: nobody fills a disk by what is not computed
void hs_traced_end(hs_traced *r);     // r is the tracer's from here on

// ---- its tensors, copied: at level TENSORS, where there is room for them
typedef enum hs_trace_side { HS_TRACE_INPUT, HS_TRACE_OUTPUT } hs_trace_side;
bool hs_traced_tensors(const hs_traced *r); // whether that is its level
void hs_traced_inputs(hs_traced *r, const hs_infer_tensor *in, int n);
void hs_traced_outputs(hs_traced *r, const hs_infer_value *out, int n);
// BYTES [n]: the i-th is at(from, i, bytes), the same whenever it is asked for.
void hs_traced_texts(hs_traced *r, hs_trace_side side, const char *name, int n, const char *(*at)(const void *from, int i, size_t *bytes),
                     const void *from);
// INT32 [n, longest], -1 behind the shorter ones: likewise.
void hs_traced_ids(hs_traced *r, hs_trace_side side, const char *name, int n, const int32_t *(*at)(const void *from, int i, int64_t *n),
                   const void *from);
// Numbers that are not there yet, and 0: to be filled before r ends, or its tensors are given up. NULL: they are not wanted, or there is no
// room.
void *hs_traced_numbers(hs_traced *r, hs_trace_side side, const char *name, hs_oip_type type, int n_dims, const int64_t *dim);
void hs_traced_no_outputs(hs_traced *r); // what there is of them is given up: the request fails

#endif
