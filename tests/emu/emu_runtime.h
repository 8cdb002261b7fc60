// emu_runtime: runs a grid of CUDA threads on one CPU thread, block by block. What kernels call comes through emu.h; a test watches its
// buffers, launches, and asks for the verdict.
//
// Threads of a block are fibers that run until they must wait: for a barrier, for the other lanes of a warp, or for their end. Whatever
// goes wrong stops the launch, is told once by emu_verdict, and until then no other launch runs, as with errors of a real device.
#ifndef HS_TESTS_EMU_RUNTIME_H
#define HS_TESTS_EMU_RUNTIME_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- for tests
// A buffer that kernels may read, and write where `writable`; exact bytes. In the checking build any other memory is an error as soon as
// one buffer is watched. The name is copied.
void emu_watch(const char *name, const void *p, size_t bytes, bool writable);
void emu_forget(void); // all of them

// In which order what is ready runs, from the next launch on: first in first out with blocks from the first, last in first out with
// blocks from the last, or at random by the seed.
typedef enum emu_order { EMU_FIFO, EMU_LIFO, EMU_RANDOM } emu_order;
void emu_schedule(emu_order order, uint64_t seed);

// NULL: nothing is wrong since it was last asked. Else one line, valid until it is asked again.
const char *emu_verdict(void);
// Launches so far: a test that ran no kernel has shown nothing.
int64_t emu_launches(void);

// ---- for emu.h
typedef struct emu_3 {
    unsigned x, y, z;
} emu_3;
typedef struct emu_place { // where the running kernel is; only read by it
    emu_3 thread, block, block_size, grid_size;
} emu_place;
extern emu_place emu_now;

typedef struct emu_at { // of a call
    const char *what, *file;
    int line;
} emu_at;

typedef struct emu_grid { // of a launch
    const char *name, *file;
    int line;
    emu_3 grid, block;
    size_t shared_bytes;
} emu_grid;
typedef struct emu_pending {
    emu_grid grid;
    void (*thread)(void *); // one thread of it; gets the address of this
    void *stream;
} emu_pending;
void *emu_take(size_t bytes);
void emu_submit(emu_pending *p); // what emu_take gave, which is given back when it has run: in the order of its stream (cudart.h)

// Stops the launch: does not return inside of one. Outside it is kept for emu_verdict.
void emu_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void *emu_shared(const void *site, const char *name, size_t bytes, size_t align); // the block's array of that declaration
void *emu_dyn_shared(void);

typedef enum emu_tally { EMU_COUNT, EMU_AND, EMU_OR } emu_tally;
int emu_barrier(emu_at at, emu_tally tally, int value);

// What the lanes of a warp do together. Every lane of the mask gives its part; all get their results when the last has.
typedef enum emu_kind {
    EMU_SYNC,
    EMU_SHFL_IDX,
    EMU_SHFL_UP,
    EMU_SHFL_DOWN,
    EMU_SHFL_XOR,
    EMU_BALLOT,
    EMU_MATCH,
    EMU_ADD,
    EMU_MIN_U,
    EMU_MIN_S,
    EMU_MAX_U,
    EMU_MAX_S,
    EMU_BIT_AND,
    EMU_BIT_OR,
    EMU_BIT_XOR,
    EMU_MMA_BF16,
    EMU_MMA_F16,
    EMU_MMA_I8,
    EMU_LDMATRIX,
    EMU_LDMATRIX_TRANS,
} emu_kind;
typedef struct emu_part {
    emu_kind kind;
    unsigned mask;
    uint64_t value;    // of this lane
    int lane, width;   // shuffles: source, distance or bits; ldmatrix: width is the number of matrices
    const void *a, *b; // mma: registers; ldmatrix: a is the address of a row
    void *d;           // mma, ldmatrix: registers
} emu_part;
uint64_t emu_together(emu_at at, const emu_part *part);
unsigned emu_active_lanes(void);

void emu_cp_async(emu_at at, void *to, const void *from, int bytes, bool live);
void emu_cp_async_commit(void);
void emu_cp_async_wait(int youngest);

typedef enum emu_atomic {
    EMU_ATOMIC_ADD,
    EMU_ATOMIC_MIN,
    EMU_ATOMIC_MAX,
    EMU_ATOMIC_AND,
    EMU_ATOMIC_OR,
    EMU_ATOMIC_XOR,
    EMU_ATOMIC_EXCH
} emu_atomic;
void emu_refuse_float(emu_at at);
// On a 4- or 8-byte integer; the old value.
uint64_t emu_atomic_do(emu_at at, emu_atomic kind, void *p, int bytes, bool is_signed, uint64_t value);
uint64_t emu_atomic_cas(emu_at at, void *p, int bytes, uint64_t expect, uint64_t value);

// A read through a wrapper that asks for alignment to its size (__ldg of a vector).
void emu_aligned(emu_at at, const void *p, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
