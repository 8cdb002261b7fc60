// transport: what a library that moves bytes between processes gives this room. It is loaded where a launcher has started several ranks,
// and knows nothing else of Halfstep: messages between ranks of the world, on channels that do not see each other's. Any thread may call.
#ifndef HS_PARALLEL_TRANSPORT_IMPL_H
#define HS_PARALLEL_TRANSPORT_IMPL_H
#include <stddef.h>
#include <stdint.h>

enum { HS_TRANSPORT_VERSION = 1, HS_ANY_RANK = -1 };

typedef struct hs_wire { // a message under way; all zeros: none
    union {
        void *pointer;
        int64_t number;
    } handle;
    int busy;
} hs_wire;

// Functions that can fail return 0, or a code that `explain` turns into a line.
typedef struct hs_transport {
    int version;                                          // HS_TRANSPORT_VERSION
    void (*library)(char *name, size_t size);             // "Open MPI 4.1.4"; also before open
    int (*open)(int n_channels, int *rank, int *size);    // collective, once per process
    void (*close)(void);                                  // collective
    void (*end)(int exit_code) __attribute__((noreturn)); // of the whole job, from any rank
    void (*explain)(int error, char *line, size_t size);  //
    int (*send)(int channel, int rank, int tag, const void *from, size_t bytes, hs_wire *w);
    int (*receive)(int channel, int rank, int tag, void *to, size_t bytes, hs_wire *w); // rank may be HS_ANY_RANK; up to that many bytes
    // Moves what can be moved. Whether w is through; *rank and *bytes (each may be NULL): of a message received.
    int (*test)(hs_wire *w, int *through, int *rank, size_t *bytes);
    // The library's own collective over the world (hs_raw_kind), f32, for comparison: n of all of them for all_reduce, of each part for the
    // others.
    int (*raw)(int kind, const void *in, void *out, int64_t n);
} hs_transport;

// The one symbol of the library.
#define HS_TRANSPORT_SYMBOL "hs_transport_table"

#endif
