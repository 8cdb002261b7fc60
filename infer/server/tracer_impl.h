// tracer_impl: what the two halves of tracer share: settings and requests (tracer.c), files (tracer_file.c).
#ifndef HS_INFER_TRACER_IMPL_H
#define HS_INFER_TRACER_IMPL_H
#include "infer/server/tracer.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

typedef struct hs_traced_tensor { // a copy, with name and data behind it in the same block
    struct hs_traced_tensor *next;
    hs_trace_side side;
    hs_infer_tensor t;
} hs_traced_tensor;

typedef struct hs_trace_file {
    int fd;    // -1: it is not open
    off_t end; // where the next trace goes
    int64_t n; // traces in it
} hs_trace_file;

// Where traces go that were sampled by the same settings: lives until those are others and the last of them is written.
typedef struct hs_trace_sink {
    atomic_int holders;
    int64_t each; // traces of a numbered file; 0: as many as there are
    bool numbered;
    hs_trace_file file; // with numbered
} hs_trace_sink;

struct hs_traced {
    hs_traced *next, *child;
    hs_tracer *tracer;
    hs_trace_sink *sink; // held; NULL: a child
    uint64_t id, parent; // parent 0: none
    int64_t level;
    char model[HS_TRACER_NAME], request_id[HS_TRACER_NAME];
    int version;
    int64_t ns[HS_TRACE_POINTS];
    hs_traced_tensor *tensor, **last;
    size_t bytes; // that are counted
};

typedef struct hs_trace_owner { // a model with settings of its own, or the server
    struct hs_trace_owner *next;
    char name[HS_TRACER_NAME];
    unsigned set; // that are its own: bits 1 << key
    hs_trace_settings now;
    uint64_t seen;       // requests
    hs_trace_sink *sink; // held; NULL: none was sampled yet
} hs_trace_owner;

struct hs_tracer {
    char *file;
    hs_trace_settings start;
    atomic_bool on;       // somebody traces
    _Atomic size_t bytes; // of traces that are not written
    atomic_bool said_full, said_unwritten;
    pthread_mutex_t lock; // of what follows
    hs_trace_owner all, *model;
    uint64_t ids;
    hs_traced *first, **last; // that have ended
    pthread_cond_t wake;
    bool stops, runs, spent; // spent: files have what they may; set by the thread
    pthread_t thread;
    // the thread's
    int64_t most, written; // bytes of all files
    hs_trace_file whole;
    uint64_t number; // of the next numbered file
};

void *hs_tracer_write(void *tracer);         // its thread
void hs_trace_sink_let_go(hs_trace_sink *s); // NULL: nothing
void hs_trace_file_close(hs_trace_file *f);

#endif
