// perf_load: requests to a server of HTTP/1.1 from one thread, as many at once as one says (a closed loop) or at times of their own (an
// open one), and what became of each.
//
// In an open loop a request's latency counts from the moment it was meant to start, whether or not there was a connection to send it on, so
// that a server that stands still is charged for all who would have come meanwhile (no coordinated omission).
#ifndef HS_RECIPES_PERF_LOAD_H
#define HS_RECIPES_PERF_LOAD_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

// ---- the server
typedef struct hs_perf_server {
    char host[256], port[8], prefix[256]; // "127.0.0.1", "8000", "" or "/openai"
    struct sockaddr_storage address;
    socklen_t address_bytes;
} hs_perf_server;
hs_status hs_perf_server_find(hs_perf_server *s, const char *url); // "http://host:port[/prefix]". USAGE; SYSTEM: no such host
// One request on a connection of its own. *answer (owned, a NUL behind it): the body. SYSTEM: no answer within so many seconds.
hs_status hs_perf_ask(const hs_perf_server *s, const char *method, const char *path, const char *body, double timeout, int *status,
                      char **answer);

// ---- what is sent: requests made before, taken in turn
typedef struct hs_perf_requests {
    char **bytes; // [count], each a whole request
    size_t *n;    // [count]
    int count;
    int items;   // texts in each
    bool stream; // answers are events of an OpenAI stream
} hs_perf_requests;

// ---- how it is sent, and for how long
typedef struct hs_perf_shape {
    int64_t concurrency;    // closed loop; 0: open
    double rate;            // requests a second, of an open loop
    bool poisson;           // arrivals of an open loop; else evenly
    int64_t connections;    // most of an open loop: who comes when all are taken waits
    uint64_t seed;          // of arrivals
    bool keep_alive;        // else a connection for each request
    double timeout, warmup; // seconds; of a request, before what counts
    double seconds;         // that count; or
    int64_t requests;       // that count; or, with both 0:
    double window;          // seconds: until three windows in a row differ by no more than
    double stability;       // this share, in requests a second and in latency, or there were
    int trials;             // so many
    double percentile;      // of the latency that is judged, in windows and by a bound; 0: the mean
} hs_perf_shape;

typedef enum hs_perf_fate {
    HS_FATE_NONE,     // not yet
    HS_FATE_ANSWERED, // as it should be
    HS_FATE_CONNECT,  // no connection
    HS_FATE_CLOSED,   // it ended before the answer did
    HS_FATE_TIMEOUT,
    HS_FATE_MALFORMED, // the answer is no HTTP
    HS_FATE_STATUS,    // its status is not 2xx
    HS_FATE_WRONG,     // 2xx, but the stream tells an error or does not end with [DONE]
    HS_N_FATES
} hs_perf_fate;
extern const char *const hs_perf_fates[HS_N_FATES]; // "connect"

typedef struct hs_perf_record {
    int64_t due, sent, written, first, end; // of hs_now_ns: meant to start, started, whole request sent, first byte (of a stream: first
                                            // token), last byte
    int64_t bytes;                          // of the answer's body
    int32_t tokens;                         // of a stream
    int16_t status;
    uint8_t fate; // hs_perf_fate
    bool waited;  // for a connection
} hs_perf_record;

typedef struct hs_perf_level { // one run of a load
    hs_perf_record *record;    // [n], in the order in which they were due
    int64_t n, room;
    int64_t begin, end; // of what counts
    bool by_due;        // counts what was due in there; else what ended in there
    double *gap;        // [n_gaps] seconds between tokens of one stream, behind the warm-up
    int64_t n_gaps, gap_room;
    bool stable;         // with windows: the last three agree
    int windows;         // how many there were
    double client_cores; // of CPU time that this process used meanwhile
    int64_t dialled;     // connections
    char failure[320];   // of the first that failed; "" if none
} hs_perf_level;
// SYSTEM: no socket; or nothing but failures of connections for seconds.
hs_status hs_perf_load(const hs_perf_server *s, const hs_perf_requests *r, const hs_perf_shape *shape, hs_perf_level *out);
void hs_perf_level_free(hs_perf_level *l);
bool hs_perf_counts(const hs_perf_level *l, const hs_perf_record *r);
// When request k of an open loop is meant to start, in seconds behind the one before it.
double hs_perf_arrival(const hs_perf_shape *shape, int64_t k);
// Do the last three of n windows agree within this share? Values are requests a second and latencies; a 0 does not agree with anything.
bool hs_perf_steady(const double *per_second, const double *latency, int n, double share);

#endif
