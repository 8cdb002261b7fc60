// perf_conn: connections of a load, and the loop that they are part of. A connection carries one request at a time; how each went ends up
// in its record.
#ifndef HS_RECIPES_PERF_CONN_H
#define HS_RECIPES_PERF_CONN_H
#include "data/base/json_tree.h"
#include "recipes/perf/perf_http.h"
#include "recipes/perf/perf_load.h"
#include <sys/resource.h>

enum { HS_PERF_PIECE = 65536 };
typedef enum hs_perf_conn_state { HS_CONN_FREE, HS_CONN_RESTING, HS_CONN_BUSY } hs_perf_conn_state;
typedef struct hs_perf_conn {
    int fd; // -1: not connected
    hs_perf_conn_state state;
    bool writing;          // not all is sent
    int64_t record, since; // of HS_CONN_RESTING: until when
    size_t sent;
    const char *request;
    size_t n_request;
    struct hs_perf_loop *loop;
    hs_perf_answer answer;
    hs_perf_events events;
    int64_t token_at; // of the last token
    bool done, wrong;
    bool used, heard; // it has carried an answer before; something of this one is there
    char said[200];   // by an answer that is none: its beginning
    size_t n_said;
} hs_perf_conn;

typedef struct hs_perf_loop {
    const hs_perf_server *server;
    const hs_perf_requests *requests;
    const hs_perf_shape *shape;
    hs_perf_level *level;
    hs_perf_conn *conn;
    int n_conns, in_flight;
    int *free; // stack
    int n_free;
    int epoll, timer;
    int64_t now, start, next_due, arrivals, unsent, late_at;
    int64_t counted, pending;         // that count: so far; not done, once it is known which ones
    bool counting, settled, stopping; // the warm-up is over; begin and end are those of what counts; nothing is sent any more
    int64_t *done, n_done, done_room; // records in the order in which they ended
    int64_t window_at, window_from;   // end of the running window; its first in done
    int64_t *window_begin;            // [trials]
    double *window_rate, *window_latency;
    struct rusage used;
    int64_t last_good, failures; // dialled in vain since the last that was not
    hs_json_tree tree;
    bool memory;
    char piece[HS_PERF_PIECE];
} hs_perf_loop;

bool hs_perf_grow(void *array, int64_t n, int64_t *room, size_t item); // *array, so that it has room for one more; false: no memory
static inline hs_perf_record *hs_perf_record_of(const hs_perf_conn *c) { return &c->loop->level->record[c->record]; }
void hs_perf_record_end(hs_perf_loop *l, int64_t i, hs_perf_fate fate);

// Of a free connection, which was taken off the stack: sends that record's request, over a connection that is dialled where there is none.
void hs_perf_conn_begin(hs_perf_conn *c, int64_t record);
void hs_perf_conn_ready(hs_perf_conn *c, uint32_t what); // epoll's events
// The request is over: free again, or resting where there was no connection. why: of what is none of the answer's.
void hs_perf_conn_finish(hs_perf_conn *c, hs_perf_fate fate, const char *why);
void hs_perf_conn_drop(hs_perf_conn *c); // closed, if it was open

#endif
