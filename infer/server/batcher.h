// batcher: work of many requests through one encoder, in batches by token budget, without padding.
//
//   hs_batcher_new -> hs_batcher_add(work), from any thread -> work.take for each of its rows, work.done once, on the batcher's thread
//
// A batch is filled with rows of whatever works wait, by priority, then in the order they came, until the plan has no room; a work with
// more rows than a batch holds goes behind the others of its priority after each, so that it holds nobody up. No row waits for company: a
// batch goes as soon as the model is free. What a row gives depends on that row alone, to the last bit (row_reader.h), so nobody can tell
// what it was batched with. A batch that fails is run again work by work: the one at fault fails alone.
//
// Instances take batches side by side. The last n_parts of them share the threads of those before, and one kind rests while the other is at
// work: parts where enough waits for each of them, since threads that compute batches of their own never wait for one another; else whole
// teams, which answer a single request soonest.
#ifndef HS_INFER_BATCHER_H
#define HS_INFER_BATCHER_H
#include "infer/encode/row_reader.h"
#include "infer/server/latency.h"

typedef enum hs_work_end {
    HS_WORK_DONE,
    HS_WORK_FAILED,  // status and hs_error say how
    HS_WORK_LATE,    // its deadline passed before it was begun
    HS_WORK_GONE,    // nobody waits for it any more
    HS_WORK_STOPPED, // hs_batcher_stop came first
    HS_WORK_ENDS,
} hs_work_end;

typedef struct hs_work hs_work;
struct hs_work {              // its owner's, borrowed from hs_batcher_add to `done`
    const hs_encode_row *row; // [n], n > 0
    int n;
    int reader;       // number of the batcher's reader, of whose plan it is
    int priority;     // 0 is served first
    int64_t deadline; // hs_now_ns; 0: none
    // On a batcher's thread, after the row's batch: copies out what is wanted of row `index` of the reader's last run. Of a work row by row
    // in their order, never two at once, whatever the instances.
    hs_status (*take)(hs_work *w, int row, const hs_row_reader *reader, int index);
    bool (*gone)(hs_work *w); // (optional) asked before each of its batches
    void (*done)(hs_work *w, hs_work_end end, hs_status st);
    // the batcher's from here on
    hs_work *next;
    hs_work_end end;
    bool taken;                      // an instance has rows of it in its batch
    int64_t tokens;                  // of its rows that were not taken
    int begun, finished;             // rows that were put into a batch, and those that were taken
    int64_t arrived, started, ended; // hs_now_ns: added; its first batch; its last. For `done` to count
    int64_t filled, modelled;        // when its first batch began to be filled; when its last came out of the model
    int64_t in_model;                // ns in batches it was in
};

typedef struct hs_batch_times {                         // of batches that had so many rows: ns, summed
    _Atomic uint64_t count, fill_ns, model_ns, take_ns; // take: copied out, and answered
} hs_batch_times;

typedef struct hs_batcher_count {
    _Atomic uint64_t batches, rows, tokens; // that went through the model
    _Atomic int64_t waiting;                // works that are not done
    _Atomic int64_t waiting_tokens;
    hs_latency batch;        // the model alone
    hs_amounts batch_rows, batch_tokens;
    hs_batch_times *of_rows; // [most_rows + 1]
    int64_t most_rows;
} hs_batcher_count;

typedef struct hs_batcher hs_batcher;
enum { HS_WORK_PRIORITY = 100 }; // of a request that says none
enum { HS_BATCHER_READERS = 2, HS_BATCHER_INSTANCES = 64, HS_BATCHER_PART_TOKENS = 64 };
typedef struct hs_batcher_instance {           // a thread, and what it alone runs
    hs_row_reader *reader[HS_BATCHER_READERS]; // one for each plan, over a run of its own
    int first_core, n_cores;                   // of those this process may use, it stays on these; n_cores 0: wherever
} hs_batcher_instance;
typedef struct hs_batcher_opts {
    hs_batcher_instance instance[HS_BATCHER_INSTANCES]; // readers are owned from here on, also on failure
    int n_instances, n_readers;
    int n_parts; // of the instances, the last; all or none of them are at work: with HS_BATCHER_PART_TOKENS for each to begin with
    int64_t queue_works, queue_tokens; // that may wait: no work with more tokens than that is ever taken
} hs_batcher_opts;
hs_status hs_batcher_new(hs_batcher **out, const hs_batcher_opts *o);
// Takes no more: what waits is done as HS_WORK_STOPPED, what is in a batch behind that. Does not wait for it. From any thread.
void hs_batcher_stop(hs_batcher *b);
// Ends when all that was added is done.
void hs_batcher_free(hs_batcher *b);
// False: too much waits already, or it takes no more; nothing has happened.
bool hs_batcher_add(hs_batcher *b, hs_work *w);
const hs_batcher_count *hs_batcher_counted(const hs_batcher *b);

#endif
