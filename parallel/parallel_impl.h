// parallel_impl: what the files of this room share. A hs_parallel has links: the ranks of one axis as one thread talks to them, over a
// channel of its own. Every collective is one exchange over a link.
#ifndef HS_PARALLEL_PARALLEL_IMPL_H
#define HS_PARALLEL_PARALLEL_IMPL_H
#include "parallel/parallel.h"
#include "parallel/transport_impl.h"
#include <pthread.h>
#include <stdatomic.h>

typedef enum hs_channel {
    HS_CHANNEL_CONTROL, // of the watchdog
    HS_CHANNEL_WORLD,
    HS_CHANNEL_FILES,
    HS_CHANNEL_DP,
    HS_CHANNEL_TP,
    HS_CHANNEL_DP_STARTED, // of the thread that carries started calls out
    HS_CHANNEL_TP_STARTED,
    HS_N_CHANNELS
} hs_channel; // where a call is: on one of these, or, from HS_N_CHANNELS on, on a device's comm

enum { HS_HOST_BYTES = 64 };

// What a rank asks of the others: it comes before the bytes, and theirs must be the same.
typedef struct hs_hello {
    uint32_t kind, dtype;
    int32_t op;      // hs_reduce; of a broadcast the root
    uint32_t inside; // bytes that follow in the same message: all there are, where they are few
    int64_t number;  // of the call on this link, from 1
    int64_t n;       // elements
    uint64_t parts;  // hash of their lengths, where they are given
    char about[HS_ABOUT_BYTES];
    char pad[8];
} hs_hello;

typedef struct hs_place_in_time { // of a link: the call it is in, or was in last
    hs_hello call;                // number 0: none yet
    int64_t begun, ended;         // ns; ended 0: it is in it
} hs_place_in_time;

enum { HS_RING = 4096 };
typedef struct hs_past { // a call that is over
    int place;
    hs_place_in_time at;
} hs_past;

enum { HS_MOST_AFAR = 8, HS_N_PLACES = HS_N_CHANNELS + HS_MOST_AFAR };
enum { HS_LAST = 3 };           // calls that a rank tells of, beside those it is in
typedef struct hs_whereabouts { // of a rank, as it tells them
    bool came;                  // it has told
    int n_past;
    int64_t now;                      // the clock that these are of
    hs_place_in_time at[HS_N_PLACES]; // number 0: none
    hs_past past[HS_LAST];            // newest first
} hs_whereabouts;

typedef struct hs_afar { // a comm whose calls a device carries out
    hs_comm *c;          // NULL: none here
    int *peer;           // [c->size]: ranks of the world
} hs_afar;

typedef struct hs_peers { // between whom the calls of a place are
    const char *axis;
    int rank, size;
    const int *peer; // [size]: ranks of the world; NULL: there is no such place
} hs_peers;

typedef struct hs_link {
    hs_parallel *p;
    hs_channel channel;
    const char *axis;
    int rank, size;
    int *peer;     // [size]: ranks of the world
    int64_t *seen; // [size]: the last call that each was heard to be in
    int64_t n_calls;
    bool patient;         // its thread gives way to others that compute
    char *greeting;       // [size]: messages as they come; [rank] is this one's own
    char *room;           // pieces of others, [HS_AHEAD][size]
    size_t piece_bytes;   // of one
    hs_wire *wire;        // [size] greetings sent, received; [HS_AHEAD][4][size] pieces
    int64_t *start, *n;   // [size]: where each rank's block begins, and its elements
    pthread_mutex_t lock; // of `now`, which the watchdog reads
    hs_place_in_time now;
} hs_link;

enum {
    HS_AHEAD = 3, // pieces under way at a time
    HS_INSIDE_BYTES =
        3936, // calls of so few bytes travel inside the greeting: with it, what Open MPI sends at once between processes of a host
    HS_GREETING_BYTES = sizeof(hs_hello) + HS_INSIDE_BYTES,
};

// One call: blocks, one for each rank, that are summed by the rank they are named after, or are its to begin with, and then gathered.
typedef struct hs_exchange {
    hs_call_kind kind;
    hs_dtype dtype;
    hs_reduce op;
    int root;             // of a broadcast; else -1
    const int64_t *parts; // elements of each block; NULL: n_each of them, or (all-reduce, broadcast) n divided
    int64_t n;            // as the caller gave it
    const char *in;       // blocks to be summed; NULL: none are
    char *own;            // this rank's block, as it goes to the others; of a sum where it goes
    char *out;            // where blocks of the others go; NULL: nowhere
    const char *about;
} hs_exchange;

typedef struct hs_ranks_comm { // a hs_comm of several ranks
    hs_comm c;
    hs_link *direct, *started; // started NULL: calls are not
    int under_way;             // started and not done: under the queue's lock
} hs_ranks_comm;

typedef struct hs_task { // a started call
    hs_ranks_comm *comm;
    hs_exchange call;
    struct hs_task *next;
} hs_task;

typedef struct hs_queue { // of started calls of all comms, done one after the other by a thread
    pthread_t thread;
    bool running, quit;
    pthread_mutex_t lock;
    pthread_cond_t come, done;
    hs_task *first, *last, *spare; // spare: that are over
    atomic_int waiting;            // threads that wait for it: it need not give way to them
} hs_queue;

struct hs_parallel {
    const hs_transport *t; // NULL: one process
    void *library;
    int rank, size;
    char host[HS_HOST_BYTES];
    char (*hosts)[HS_HOST_BYTES]; // [size]
    int cores, sharing, here;     // hs_parallel_share, hs_parallel_here
    int local;                    // hs_parallel_local
    int together, usable;         // hs_parallel_bound
    bool crowded;                 // more ranks on this host's cores than there are: a wait does not spin
    double timeout;
    hs_link *link[HS_N_CHANNELS]; // NULL: none
    hs_afar afar[HS_MOST_AFAR];   // opened and closed by all ranks in the same order: the same places everywhere
    hs_ranks_comm world, files, dp, tp;
    hs_comm world_self, files_self;
    atomic_bool ending;   // the job is being ended: nobody goes on
    pthread_mutex_t lock; // of link and afar, against the watchdog; and of the ring
    hs_past *ring;        // [HS_RING]
    int64_t n_past;
    struct hs_watch *watch; // NULL: none yet
    int64_t *pids;          // [size]; of ranks on other hosts, or in other containers, 0
    hs_queue queue;
};

// exchange: carries a call out, in this thread.
hs_status hs_link_new(hs_link **out, hs_parallel *p, hs_channel channel, const char *axis, int first, int stride, int size);
void hs_link_free(hs_link *l);
void hs_exchange_run(hs_link *l, const hs_exchange *x);
const char *hs_call_name(uint32_t kind);
void hs_call_text(const hs_hello *h, const char *axis, char *line,
                  size_t size); // "all-reduce 12 over dp of 3145728 f32 (h3.mlp.fc.weight)"

// out[i] = the sum or the largest over in[r][i] in the order of r, at n elements; out may be one of them. Each element is rounded once.
void hs_combine(void *out, const void *const *in, int n_in, int64_t n, hs_dtype d, hs_reduce op);
bool hs_combines(hs_dtype d, hs_reduce op); // else hs_exchange_run ends the job

// collectives
void hs_ranks_comm_init(hs_ranks_comm *c, hs_link *direct, hs_link *started);
hs_status hs_queue_open(hs_parallel *p);
void hs_queue_close(hs_parallel *p);

// device_comm, with p->lock held: of a place its ranks, and the call it is in or was in last (false: none yet); of all of them the newest
// calls that are over, newest first; the first error of a device's comm.
hs_place_in_time hs_place_of_call(const hs_comm_call *c);
hs_peers hs_place_peers(const hs_parallel *p, int place);
bool hs_place_now(const hs_parallel *p, int place, hs_place_in_time *out);
int hs_place_past(const hs_parallel *p, hs_past *out, int most);
hs_status hs_afar_poll(hs_parallel *p);

// overdue: the call of that place takes too long here: who has not joined it, and where those are, by what ranks have told, all[p->size].
// With p->lock held.
void hs_overdue_text(const hs_parallel *p, const hs_whereabouts *all, int place, char *text, size_t size);

// watchdog: the thread that hears what befalls the other ranks, and when a call takes too long.
hs_status hs_watch_open(hs_parallel *p);
void hs_watch_close(hs_parallel *p);

// Ends the job with a message of this rank's: hs_parallel_fail with words.
void hs_parallel_end(hs_parallel *p, hs_status st, const char *fmt, ...) __attribute__((format(printf, 3, 4), noreturn));

#endif
