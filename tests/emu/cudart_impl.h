// cudart_impl: what the files of the double share.
#ifndef HS_TESTS_CUDART_IMPL_H
#define HS_TESTS_CUDART_IMPL_H
#include "tests/emu/cudart.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum work_kind { CALL, COPY, FILL, AWAIT, GRAPH, TIME } work_kind;

// What calls need, shared by the queue it was put in, by the graph that captured it and by its instances.
typedef struct launch {
    hs_emu_call *run, *drop;
    void *p;
    int users;
    bool waits; // for other GPUs
} launch;

typedef struct work {
    work_kind kind;
    launch *launch;
    void *dst;       // TIME: the event
    const void *src; // COPY
    void *staged;    // COPY of pageable memory: its bytes as they were; freed behind it
    size_t bytes;
    int byte;
    cudaStream_t other; // AWAIT: that stream, up to its work `until`
    int64_t until;
    struct CUgraph_st *graph;
} work;

typedef struct list {
    work *at;
    int64_t n, room, done;
} list;

struct CUstream_st {
    list queue;   // done: how far it ran
    int64_t base; // of what was dropped from the front of the queue
    int gpu;
    bool is_legacy; // of plain calls
    bool runs;      // a thread performs work of it
    struct CUgraph_st *captures;
    pthread_t by;
    int64_t last, joined; // of a stream that joined a capture: nodes up to its own last one, and up to what the capture came back to
    cudaStream_t next;
};
struct CUevent_st {
    cudaStream_t stream; // NULL: not recorded
    int64_t until;
    int64_t capture; // 0: recorded in none
    bool timed;
    int64_t ns; // of one that is timed: when its stream came there
};
struct CUgraph_st {
    list nodes; // in the order of the capture, which fulfils all of its orders
    int users;  // the handle, and instances
    int64_t id;   // of the capture
    bool is_void; // something was called that may not be while it went on
    bool is_stale; // memory that it uses was freed
    struct CUgraph_st *next;
};
struct CUgraphExec_st {
    struct CUgraph_st *graph;
};

// Of the process: one lock over all of it, held while kernels run, but not while they wait for other GPUs.
typedef struct cudart {
    cudaStream_t streams;
    struct CUgraph_st *graphs;
    int64_t n_captures;
} cudart;
extern cudart emu_cudart;
extern _Thread_local int emu_gpu;                // of this thread
extern _Thread_local cudaStream_t emu_capturing; // by this thread
extern _Thread_local long emu_n_waits;           // hs_emu_waits

void emu_enter(void);
cudaError_t emu_leave(cudaError_t e); // remembers it
cudaError_t emu_broken(cudaError_t e, const char *call, const char *rule);
cudaError_t emu_not_captured(const char *call); // what may not stand in a capture makes it void
cudaError_t emu_waits(cudaStream_t s, const char *call); // a wait for this stream, NULL: for this thread's GPU, makes their captures void
cudaStream_t emu_legacy(void); // of this thread's GPU: where plain calls go
bool emu_is_open(cudaStream_t s);
void emu_drain(cudaStream_t s, int64_t until);
void emu_drain_all(void); // of this thread's GPU
cudaError_t emu_put(cudaStream_t s, const char *call, work w);
int64_t cudart_now(void); // ns
void emu_free_graph(struct CUgraph_st *g);

#endif
