// emu_impl: what the files of the emulator share.
#ifndef HS_TESTS_EMU_IMPL_H
#define HS_TESTS_EMU_IMPL_H
#include "tests/emu/emu_runtime.h"

enum { EMU_WARP = 32, EMU_MAX_THREADS = 1024, EMU_MAX_WARPS = EMU_MAX_THREADS / EMU_WARP };
enum { EMU_SHARED_BYTES = 163 * 1024, EMU_STATIC_BYTES = 48 * 1024 }; // of a block on sm_80, the smaller of the targets

enum { EMU_STACK_BYTES = 256 * 1024 }; // of a thread

typedef struct emu_copy { // a cp.async under way
    char *to;
    const char *from;
    int bytes, group;
    bool live;
} emu_copy;

typedef struct emu_fiber emu_fiber;
typedef enum emu_state { EMU_FRESH, EMU_READY, EMU_WAITS, EMU_EXITED } emu_state;
typedef struct emu_thread {
    emu_state state;
    emu_fiber *fiber; // it runs on
    emu_3 index;
    emu_at waits; // for what
    bool at_barrier;
    uint64_t result;     // of what it waited for
    uint32_t warp_epoch; // changes with each __syncwarp it took part in
    emu_copy *copy;
    int n_copies, max_copies, group; // group: of the copies that are begun now
} emu_thread;

typedef struct emu_block {
    int n;           // threads
    int id;          // running thread
    int index;       // of the block in its grid
    uint32_t serial; // unlike that of any other block of the process
    uint32_t launch; // serial of the first block of its launch
    uint16_t epoch;  // changes with each barrier
    bool inside;     // a kernel runs
    const emu_grid *grid;
    int exited;
    emu_thread thread[EMU_MAX_THREADS];
} emu_block;
#pragma GCC visibility push(hidden) // one program or plug-in has all of it
extern emu_block emu;
extern char *emu_stack; // of the running thread

void emu_wait(emu_at at); // the running thread, until emu_ready
void emu_ready(int thread);
void emu_check_barrier(void); // after a thread's end
void emu_start_warps(void);   // of a block
void emu_check_warp_exit(int thread);
static inline bool emu_own_stack(const void *p) { return (size_t)((const char *)p - emu_stack) < EMU_STACK_BYTES; }
bool emu_any_stack(const void *p);
const char *emu_base(const char *file); // its last part

// ---- shared memory: EMU_SHARED_BYTES behind emu_arena
extern char *emu_arena;
const char *emu_shared_name(const void *p, size_t bytes, size_t *at); // of the array that has all of them, and where in it; NULL: none
void emu_start_shared(size_t dyn_bytes);
#pragma GCC visibility pop

// ---- the checker, where it is linked (emu_check.c): an access by a wrapper
enum { EMU_READS = 0, EMU_WRITES = 1, EMU_ATOMIC = 2 };
void emu_touch(const void *p, size_t bytes, int how, const void *pc) __attribute__((weak));
void emu_touch_as(int thread, const void *p, size_t bytes, int how, const void *pc) __attribute__((weak));
void emu_check_watch(int buffer) __attribute__((weak));

typedef struct emu_buffer {
    char name[32];
    const char *p;
    size_t bytes, shadow;
    bool writable;
} emu_buffer;
enum { EMU_MAX_BUFFERS = 256 };
extern emu_buffer emu_buffers[EMU_MAX_BUFFERS];
extern int emu_n_buffers;

#endif
