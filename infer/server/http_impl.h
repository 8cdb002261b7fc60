// http_impl: what the two halves of http share: answers and requests (http.c), connections and the daemon's life (http_daemon.c).
#ifndef HS_INFER_HTTP_IMPL_H
#define HS_INFER_HTTP_IMPL_H
#include "infer/server/http.h"
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

// A connection, from its beginning to its end: what it may be closed for.
typedef struct hs_http_connection {
    struct hs_http_connection *next, *before;
    int fd;
    // written by the daemon, read by the clock
    _Atomic int64_t since; // when it began, ended its last answer, or had the head of the request it is sending
    atomic_bool busy;      // a request is with its handler, or its answer on the way
    atomic_bool in_body;   // of a request whose body is not there yet
    _Atomic int64_t until; // hs_now_ns by which its answer must be out; 0: there is none, or it is still being made
    int64_t hung_up;       // the clock's: `since` when it first saw that the client had; 0: it has not
} hs_http_connection;

struct hs_http {
    hs_http_opts o;
    struct MHD_Daemon *daemon;
    int socket, port;
    char *cert, *key;
    pthread_mutex_t lock; // of the list
    hs_http_connection *first;
    _Atomic int64_t n_connections, under_way;
    _Atomic uint64_t taken;
    _Atomic size_t held; // bytes of bodies and answers
    atomic_bool last;    // answers end their connections
    pthread_t clock;
    struct pollfd *polled; // the clock's, [polled_room]
    size_t polled_room;
    bool ticks;
    pthread_cond_t wake;
    bool stops;
};

// MHD's callbacks of a request.
enum MHD_Result hs_http_on_request(void *user, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
                                   const char *data, size_t *bytes, void **mine);
void hs_http_on_completed(void *user, struct MHD_Connection *mhd, void **mine, enum MHD_RequestTerminationCode how);

#endif
