// perf_http: answers of HTTP/1.1 as their bytes come, in pieces of any size: heads, bodies with a length, chunked, or up to the end of the
// connection (RFC 9112); and the events of a stream (text/event-stream). Of a load generator: nothing is kept but what the next byte needs.
#ifndef HS_RECIPES_PERF_HTTP_H
#define HS_RECIPES_PERF_HTTP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void hs_perf_bytes_fn(void *user, const char *bytes, size_t n);
typedef enum hs_perf_answer_state { HS_ANSWER_MORE, HS_ANSWER_DONE, HS_ANSWER_BAD } hs_perf_answer_state;
enum { HS_ANSWER_LINE = 4096 };
typedef struct hs_perf_answer {
    int status;                       // 0: not known yet
    bool closes;                      // the connection is of no use behind it
    int64_t body_bytes;               // so far, without the chunks' frames
    const char *wrong;                // of HS_ANSWER_BAD
    hs_perf_bytes_fn *body;           // (optional) gets the body
    void *user;                       // of it
    bool has_length, chunked, http10; // what the head says
    int64_t left;                     // of the body, or of this chunk
    int part;                         // of the grammar
    size_t n;                         // in line
    char line[HS_ANSWER_LINE];        // a line of the head that is not whole yet
} hs_perf_answer;

void hs_perf_answer_begin(hs_perf_answer *a, hs_perf_bytes_fn *body, void *user);
// *used: how many bytes were of this answer; fewer than n only where it is done.
hs_perf_answer_state hs_perf_answer_feed(hs_perf_answer *a, const char *bytes, size_t n, size_t *used);
hs_perf_answer_state hs_perf_answer_close(hs_perf_answer *a); // the connection has ended: DONE where that is how the body ends

// ---- events: the data of each ("data: " lines, joined by line feeds), without comments and other fields
typedef struct hs_perf_events {
    hs_perf_bytes_fn *event;
    void *user;
    char *line, *data; // owned
    size_t n_line, n_data, line_room, data_room;
    bool has_data, after_cr, failed; // failed: memory
} hs_perf_events;
void hs_perf_events_begin(hs_perf_events *e, hs_perf_bytes_fn *event, void *user); // of a zeroed or used one
void hs_perf_events_feed(hs_perf_events *e, const char *bytes, size_t n);
void hs_perf_events_free(hs_perf_events *e);

#endif
