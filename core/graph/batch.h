// batch: named columns - what a source of data fills, and what the static inputs of a plan are fed from (hs_exec_feed).
//
// A column has the name of the input it is for, its type, its extent and the shape of a row. Live rows stand at its front, one unit behind
// the other, without padding between them; behind them stands what the column's tail says, finite and harmless.
#ifndef HS_CORE_BATCH_H
#define HS_CORE_BATCH_H
#include "core/base/status.h"
#include "core/graph/step.h"
#include "core/graph/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hs_tail {
    HS_TAIL_ZERO,
    HS_TAIL_IGNORE, // bytes 0xFF: -1 of an integer, a target that does not count
    HS_TAIL_LAST,   // the last live row again (starts)
} hs_tail;

// Where batches lie that a device reads by itself (hs_device_batches of core/run/feed.h): pairs of functions, each with `of`. All 0: the
// host's own memory, which was read when hs_run_feed returns.
typedef struct hs_batch_memory {
    void *of;
    hs_status (*take)(void *of, size_t bytes, void **out); // zeroed, 64-byte aligned
    void (*give)(void *of, void *p);
    hs_status (*open)(void *of, void **read); // one for each batch: up to where it was read
    void (*close)(void *of, void *read);
    hs_status (*arrive)(void *of, void *read); // behind all that reads it; at once where nothing does
} hs_batch_memory;

enum { HS_MAX_COLUMNS = 16 };
typedef struct hs_column {
    const char *name; // borrowed: of a table or of the source
    hs_dtype dtype;
    hs_ext ext;
    int64_t row[HS_MAX_DIMS - 1]; // shape of a row, 0-terminated; all 0: one cell
    uint8_t tail;                 // hs_tail
    int64_t rows;                 // capacity; where ext is fixed the caller gives it, else hs_batch_new does
    int64_t clean;                // rows from here on hold the tail since the last hs_batch_pad
    void *p;                      // NULL in a table
} hs_column;

typedef struct hs_batch {
    int64_t n[HS_N_COUNTERS];  // live units, as hs_step_in.n
    int64_t labels[HS_N_LOSS]; // that count, by loss
    double weights[HS_N_LOSS]; // their weights' sum, where they have some; 0: each weighs 1
    uint64_t first_sample;     // of the micro-batch over all ranks: the state to go on *behind* it is first_sample + its samples
    int64_t slot;              // where a source stands that is filling: number of its sample in the optimizer step
    hs_column column[HS_MAX_COLUMNS];
    int n_columns;
    void *block; // of all columns
    hs_batch_memory memory;
    void *read; // of memory.open; NULL: there is none
} hs_batch;

// A batch with room for `most` units by counter; cleared, all columns 0. MEMORY; INTERNAL: too many columns.
hs_status hs_batch_new(hs_batch *b, const hs_column *column, int n_columns, const int64_t most[HS_N_COUNTERS]);
hs_status hs_batch_new_in(hs_batch *b, const hs_column *column, int n_columns, const int64_t most[HS_N_COUNTERS],
                          const hs_batch_memory *memory); // NULL: the host's own
void hs_batch_free(hs_batch *b);                          // behind all that reads it
// Until all of it was read that hs_run_feed was given: before it is filled again. Any thread. What the device fails with.
hs_status hs_batch_arrive(const hs_batch *b);
void hs_batch_clear(hs_batch *b, uint64_t first_sample); // no units, no labels
void hs_batch_pad(hs_batch *b);                          // tails behind the live rows
// The live part of src into a batch of the same columns. INTERNAL where they differ or there is less room.
hs_status hs_batch_copy(hs_batch *dst, const hs_batch *src);

const hs_column *hs_batch_find(const hs_batch *b, const char *name); // NULL: none of that name
static inline int32_t *hs_batch_i32(const hs_batch *b, int column) { return (int32_t *)b->column[column].p; }
int64_t hs_column_cols(const hs_column *c); // cells of a row
static inline int64_t hs_column_live(const hs_column *c, const hs_batch *b) { return hs_ext_rows(c->ext, b->n, c->rows); }

#ifdef __cplusplus
}
#endif
#endif
