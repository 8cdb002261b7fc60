// http: HTTP/1.1 over libmicrohttpd, so that the rest of the room sees whole requests, answered by any thread at any time.
//
//   hs_http_start -> handler(request) on a thread of the daemon, once its head and body are there
//                 -> hs_http_answer, or hs_http_stream_begin .. hs_http_stream_end, by whoever has the request, once
//                 -> hs_http_stop
//
// A request is its handler's from the call on until it is answered (or its stream ended); behind that it must not be touched. Connections
// wait suspended: a request under way, or a client that does nothing, costs no thread. What a client sends is bounded in every direction
// (hs_http_opts): 413 says that a body is too long, 431 a head, 503 that all of them together hold too much; a client that is too slow, in
// sending or in taking, is hung up on. A body packed by gzip or deflate is what it unpacks to.
#ifndef HS_INFER_HTTP_H
#define HS_INFER_HTTP_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hs_http hs_http;
typedef struct hs_http_request hs_http_request;
typedef void hs_http_handler(hs_http_request *r, void *user); // on a thread of the daemon: it must not wait

typedef struct hs_http_seen { // a request that is over, for an access log; until the call returns
    const char *method, *path, *client, *id;
    int status; // of the answer; 499: the client left before there was one
    size_t received, sent;
    int64_t ns; // from the head to the end of the answer
} hs_http_seen;

typedef struct hs_http_times { // of a request: hs_now_ns; 0: it did not come to that
    int64_t arrived, handed;   // the end of its head; when it was handed over, its body there
    int64_t answered, over;    // its answer, or the beginning of its stream, was given; is out, or the client has left
    int status;                // of its answer
} hs_http_times;

typedef struct hs_http_opts {
    const char *host;                          // address to listen at: "127.0.0.1", "::1", "0.0.0.0"
    int port;                                  // 0: any that is free
    const char *cert, *key;                    // PEM files: TLS; NULL: none
    int threads;                               // of the daemon
    int64_t most_connections, most_per_client; // 0: no bound of the second
    size_t most_head, most_body;               // bytes
    size_t most_held;    // of all bodies and answers together that are there at once; more is refused with 503. 0: no bound
    double idle_seconds; // from the end of an answer, or from the connection's beginning, to the end of the next request's head; and in
                         // which a client takes nothing of an answer (whole seconds, rounded up)
    double body_seconds; // from there to the end of its body
    size_t least_rate;   // bytes a second of an answer that a client takes, on the whole, beside idle_seconds; 0: no bound
    hs_http_handler *handler;
    void (*seen)(const hs_http_seen *s, void *user); // (optional) on a thread of the daemon
    // (optional) of a request with a note (hs_http_set_note): nobody has it any more. On any thread
    void (*noted)(void *note, const hs_http_times *t, void *user);
    void *user;
} hs_http_opts;

// USAGE: an address that is none, files of TLS that do not serve; SYSTEM: the address is taken.
hs_status hs_http_start(hs_http **out, const hs_http_opts *o);
int hs_http_port(const hs_http *h);
int64_t hs_http_connections(const hs_http *h);
int64_t hs_http_under_way(const hs_http *h); // requests that were handed over and whose answers are not out
size_t hs_http_held(const hs_http *h);       // bytes of bodies and answers that are there
uint64_t hs_http_taken(const hs_http *h);    // requests that were handed over, ever
void hs_http_quiesce(hs_http *h);  // no new connections from here on; those there are live, and each answer says that it is the last
const char *hs_http_library(void); // "0.9.75"
// Every request was answered. NULL: nothing.
void hs_http_stop(hs_http *h);

// ---- a request. Strings are borrowed from it.
const char *hs_http_method(const hs_http_request *r);
const char *hs_http_path(const hs_http_request *r);                     // percent-decoded, without a query
const char *hs_http_header(const hs_http_request *r, const char *name); // NULL: none
const char *hs_http_body(const hs_http_request *r, size_t *bytes);      // a NUL behind it that is not counted
int64_t hs_http_arrived(const hs_http_request *r);                      // hs_now_ns at the end of its head
int64_t hs_http_handed(const hs_http_request *r);                       // and when it was handed over, its body there
void hs_http_set_note(hs_http_request *r, void *note);                  // goes with it, to `noted`; before the answer
// The client has closed the connection: nobody waits for an answer. Costs a system call.
bool hs_http_gone(hs_http_request *r);

// ---- its answer
typedef struct hs_http_more { // headers of one's own
    const char *name, *value;
} hs_http_more;
enum { HS_HTTP_MORE = 8 };
void hs_http_add_header(hs_http_request *r, const char *name, const char *value); // before the answer; at most HS_HTTP_MORE
// body: malloc'd, owned from here on; NULL with 0 bytes. type NULL: none is said. One of more than 64 KiB that there is no room for any
// more (most_held) becomes a 503.
void hs_http_answer(hs_http_request *r, int status, const char *type, char *body, size_t bytes);
// In pieces, chunked. What the client does not read in time is held, up to most_body bytes, or to 64 KiB where most_held is reached; a
// client that is slower than that is dropped.
void hs_http_stream_begin(hs_http_request *r, int status, const char *type);
bool hs_http_stream_add(hs_http_request *r, const void *bytes, size_t n); // false: nobody reads any more
void hs_http_stream_end(hs_http_request *r);

#endif
