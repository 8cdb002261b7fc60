// emu_check: looks at every access of kernels that were compiled with -fsanitize=thread,alignment,bounds, whose calls into the sanitizers'
// libraries come here instead; neither library is linked.
//
// An access must lie in a watched buffer, in a shared array of the block or on the thread's own stack. For each two bytes of the first two
// kinds a cell remembers who wrote last and who read: another thread of the block is a race unless a barrier, or in a warp __syncwarp,
// lies between (a shuffle orders no memory); another block of the launch always is, but for two atomics.
#include "tests/emu/emu_impl.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// Who, and when: shadow memory is what the checking build spends its time on, so it is one number. From the top: serial of the block (of
// one before this launch: nobody), thread, which of the two bytes, whether atomic, and of the block and the warp how often they met
// (modulo).
typedef uint64_t stamp;
enum { WARP_BITS = 9, EPOCH_BITS = 10, THREAD_BITS = 10 };
enum { EPOCH_AT = WARP_BITS, ATOMIC_AT = EPOCH_AT + EPOCH_BITS, BYTES_AT = ATOMIC_AT + 1, THREAD_AT = BYTES_AT + 2, SERIAL_AT = 32 };
static_assert((int)THREAD_AT + (int)THREAD_BITS == (int)SERIAL_AT, "a stamp is 64 bits");
#define BYTES_MASK ((stamp)3 << BYTES_AT)
static inline uint32_t serial_of(stamp s) { return (uint32_t)(s >> SERIAL_AT); }
static inline int thread_of(stamp s) { return (int)(s >> THREAD_AT & ((1u << THREAD_BITS) - 1)); }
static inline bool same_thread(stamp a, stamp b) { return a >> THREAD_AT == b >> THREAD_AT; } // of the same block
static inline bool same_epoch(stamp a, stamp b) { return !((a ^ b) >> EPOCH_AT & ((1u << EPOCH_BITS) - 1)); }
static inline bool warp_met(stamp before, stamp now) { return ((now - before) & 511u) - 1 < 255; } // between them

typedef struct cell {
    stamp wrote, read[2];       // read[1]: another than read[0], as far from it as any was: of another block, another warp, another lane
    uint32_t wrote_pc, read_pc; // from the start of the program
} cell;

enum { GRAIN = 2 };
#define SHADOW_BYTES ((size_t)64 << 30) // of addresses; pages are taken as they are touched
static cell *shadow, *shared_shadow;
static size_t shadow_used; // cells

extern const char __executable_start[], _end[];

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return p;
}

static size_t cells_of(const emu_buffer *b) { return ((uintptr_t)b->p % GRAIN + b->bytes + GRAIN - 1) / GRAIN; }

void emu_check_watch(int buffer)
{
    if (!shadow) {
        shadow = reserve(SHADOW_BYTES);
        shared_shadow = reserve(2 * (size_t)EMU_SHARED_BYTES / GRAIN * sizeof *shared_shadow);
    }
    if (buffer < 0) {
        shadow_used = 0;
        return;
    }
    emu_buffers[buffer].shadow = shadow_used;
    shadow_used += cells_of(&emu_buffers[buffer]);
    if (shadow_used * sizeof *shadow > SHADOW_BYTES)
        abort();
}

// ---- races

typedef struct seen { // an access as it is now
    stamp now;
    uint32_t pc, launch;
    int how;
    const char *name;
    size_t at; // offset in what is called so
    bool shared;
} seen;

static uint32_t offset_of(const void *pc) { return (uint32_t)((uintptr_t)pc - (uintptr_t)__executable_start); }

// A stamp counts until something lies between it and now.
static bool unordered(stamp s, const seen *a)
{
    const stamp n = a->now;
    if (serial_of(s) < a->launch || !(s & n & BYTES_MASK) || (s & n) >> ATOMIC_AT & 1)
        return false;
    if (serial_of(s) != serial_of(n))
        return !a->shared; // the bytes of shared arrays are another block's next
    if (same_thread(s, n) || !same_epoch(s, n))
        return false;
    return thread_of(s) / EMU_WARP != thread_of(n) / EMU_WARP || !warp_met(s, n);
}

static void report_race(stamp s, bool wrote, uint32_t pc, const seen *a)
{
    static const char *const doing[] = { "reads", "writes", "changes" };
    emu_fail("race on %s +%zu bytes: thread %d %s what thread %d of %s block %s, with nothing between (addr2line 0x%x and 0x%x)", a->name,
             a->at, thread_of(a->now), doing[a->how], thread_of(s), serial_of(s) == serial_of(a->now) ? "this" : "another",
             !wrote               ? "reads"
             : s >> ATOMIC_AT & 1 ? "changes"
                                  : "writes",
             a->pc, pc);
}

static int distance(stamp a, stamp b)
{
    return serial_of(a) != serial_of(b) ? 3 : thread_of(a) / EMU_WARP != thread_of(b) / EMU_WARP ? 2 : !same_thread(a, b);
}

// Of a block that is gone, or behind a barrier: nothing from now on conflicts with it.
static bool is_past(stamp s, const seen *a)
{
    if (serial_of(s) != serial_of(a->now))
        return serial_of(s) < a->launch || a->shared;
    return !same_epoch(s, a->now);
}

static inline void remember_read(cell *c, const seen *a)
{
    stamp *r = c->read;
    if (is_past(r[0], a))
        r[0] = a->now;
    else if (same_thread(r[0], a->now))
        r[0] = a->now | (r[0] & BYTES_MASK);
    else {
        if (is_past(r[1], a) || distance(a->now, r[0]) >= distance(r[1], r[0]))
            r[1] = r[0];
        r[0] = a->now;
    }
    c->read_pc = a->pc;
}

// Nobody's in this launch but this thread's: so it is with nearly all.
static inline bool quiet(stamp s, const seen *a) { return serial_of(s) < a->launch || same_thread(s, a->now); }
static inline bool step_quietly(cell *c, const seen *a) // both bytes
{
    if (!quiet(c->wrote, a) || !quiet(c->read[0], a) || !quiet(c->read[1], a))
        return false;
    if (a->how == EMU_READS)
        c->read[0] = a->now, c->read_pc = a->pc;
    else
        c->wrote = a->now, c->wrote_pc = a->pc;
    return true;
}

// The same, or a read of what others of this launch have only read.
static inline bool step_freely(cell *c, const seen *a)
{
    if (step_quietly(c, a))
        return true;
    if (a->how != EMU_READS || !quiet(c->wrote, a))
        return false;
    remember_read(c, a);
    return true;
}

static void step_on(cell *c, const seen *a)
{
    if ((a->now & BYTES_MASK) == BYTES_MASK && step_quietly(c, a))
        return;
    if (unordered(c->wrote, a))
        report_race(c->wrote, true, c->wrote_pc, a);
    if (a->how == EMU_READS) {
        remember_read(c, a);
        return;
    }
    for (int i = 0; i < 2; i++)
        if (unordered(c->read[i], a))
            report_race(c->read[i], false, c->read_pc, a);
    const bool same = same_thread(c->wrote, a->now) && same_epoch(c->wrote, a->now);
    c->wrote = same ? a->now | (c->wrote & BYTES_MASK) : a->now;
    c->wrote_pc = a->pc;
}

// Cell by cell; `at` is counted from cells[0].
static void walk(cell *cells, size_t at, size_t bytes, seen *a)
{
    const size_t first = a->at - at;
    while (bytes) {
        const size_t in = at % GRAIN, n = GRAIN - in < bytes ? GRAIN - in : bytes;
        a->now = (a->now & ~BYTES_MASK) | (stamp)(((1u << n) - 1) << in) << BYTES_AT;
        a->at = first + at;
        step_on(&cells[at / GRAIN], a);
        at += n, bytes -= n;
    }
}

// ---- where an access lies

static inline bool is_in(const emu_buffer *b, const char *p, size_t bytes) { return p >= b->p && (size_t)(p - b->p) + bytes <= b->bytes; }
static const emu_buffer *buffer_of(const char *p, size_t bytes)
{
    static int last;
    if (last < emu_n_buffers && is_in(&emu_buffers[last], p, bytes))
        return &emu_buffers[last];
    for (int i = 0; i < emu_n_buffers; i++)
        if (is_in(&emu_buffers[i], p, bytes))
            return &emu_buffers[last = i];
    return NULL;
}

static void report_outside(const char *p, size_t bytes, int how, const void *pc)
{
    const char *what = how == EMU_READS ? "reads" : "writes";
    const emu_buffer *near = NULL;
    long long off = 0;
    for (int i = 0; i < emu_n_buffers; i++) {
        const emu_buffer *b = &emu_buffers[i];
        const long long beyond = p + bytes > b->p + b->bytes && p >= b->p ? p - (b->p + b->bytes) : p < b->p ? p - b->p : 0;
        if (!near || llabs(beyond) < llabs(off))
            near = b, off = beyond;
    }
    if (near && llabs(off) < 4096)
        emu_fail("%s %zu bytes outside of %s, %lld bytes from its %s (addr2line 0x%x)", what, bytes, near->name, off,
                 off < 0 ? "start" : "end", offset_of(pc));
    emu_fail("%s %zu bytes at %p, outside of every buffer%s (addr2line 0x%x)", what, bytes, (const void *)p,
             emu_any_stack(p) ? ": the stack of another thread" : "", offset_of(pc));
}

// Where it may be, as cells: the byte `in` of the first one is the first of the access. NULL: where no cells are.
static cell *cells_at(const char *p, size_t bytes, int how, const void *pc, seen *a, size_t *in)
{
    if ((size_t)(p - emu_arena) < 2 * (size_t)EMU_SHARED_BYTES) {
        a->name = emu_shared_name(p, bytes, &a->at);
        if (!a->name)
            emu_fail("%s %zu bytes outside of shared arrays, %td from their start (addr2line 0x%x)", how == EMU_READS ? "reads" : "writes",
                     bytes, p - emu_arena, offset_of(pc));
        a->shared = true;
        *in = (size_t)(p - emu_arena) % GRAIN;
        return shared_shadow + (size_t)(p - emu_arena) / GRAIN;
    }
    const emu_buffer *b = buffer_of(p, bytes);
    if (b) {
        if (how != EMU_READS && !b->writable)
            emu_fail("writes %zu bytes to %s +%td, which is only to be read (addr2line 0x%x)", bytes, b->name, p - b->p, offset_of(pc));
        a->name = b->name, a->at = (size_t)(p - b->p);
        const size_t at = a->at + (uintptr_t)b->p % GRAIN;
        *in = at % GRAIN;
        return shadow + b->shadow + at / GRAIN;
    }
    if (p >= __executable_start && p < _end) {
        if (how != EMU_READS)
            emu_fail("writes %zu bytes of the program's static data (addr2line 0x%x)", bytes, offset_of(pc));
        return NULL;
    }
    if (emu_n_buffers)
        report_outside(p, bytes, how, pc);
    return NULL;
}

// Of every access there is, most of them to cells where nothing needs a second look.
static inline __attribute__((always_inline)) void touch(int thread, const char *p, size_t bytes, int how, const void *pc)
{
    if (!emu.inside || emu_own_stack(p))
        return;
    seen a = { .how = how, .pc = offset_of(pc), .launch = emu.launch };
    a.now = (stamp)emu.serial << SERIAL_AT | (stamp)(unsigned)thread << THREAD_AT | (stamp)(how == EMU_ATOMIC) << ATOMIC_AT |
            (stamp)(emu.epoch & ((1u << EPOCH_BITS) - 1)) << EPOCH_AT | (emu.thread[thread].warp_epoch & ((1u << WARP_BITS) - 1));
    size_t in;
    cell *const cells = cells_at(p, bytes, how, pc, &a, &in);
    if (!cells)
        return;
    if (!in && bytes % GRAIN == 0) {
        size_t i = 0;
        for (a.now |= BYTES_MASK; i < bytes / GRAIN && step_freely(&cells[i], &a);)
            i++;
        if (i == bytes / GRAIN)
            return;
    }
    walk(cells, in, bytes, &a); // what was stepped on is this thread's
}

void emu_touch_as(int thread, const void *p, size_t bytes, int how, const void *pc) { touch(thread, p, bytes, how, pc); }
void emu_touch(const void *p, size_t bytes, int how, const void *pc) { touch(emu.id, p, bytes, how, pc); }

// ---- what -fsanitize=thread calls

void __tsan_init(void);
void __tsan_init(void) {}
void __tsan_func_entry(void *pc);
void __tsan_func_entry(void *pc) { (void)pc; }
void __tsan_func_exit(void);
void __tsan_func_exit(void) {}
#define HOOK(name, bytes, how)                                                                                                             \
    void __tsan_##name(void *p);                                                                                                           \
    void __tsan_##name(void *p) { touch(emu.id, p, bytes, how, __builtin_return_address(0)); }
#define HOOKS(name, bytes) HOOK(read##name, bytes, EMU_READS) HOOK(write##name, bytes, EMU_WRITES)
#define UNALIGNED(bytes)   HOOK(unaligned_read##bytes, bytes, EMU_READS) HOOK(unaligned_write##bytes, bytes, EMU_WRITES)
HOOKS(1, 1)
HOOKS(2, 2)
UNALIGNED(2) HOOKS(4, 4) UNALIGNED(4) HOOKS(8, 8) UNALIGNED(8) HOOKS(16, 16) UNALIGNED(16) void __tsan_read_range(void *p, size_t bytes);
void __tsan_read_range(void *p, size_t bytes) { emu_touch(p, bytes, EMU_READS, __builtin_return_address(0)); }
void __tsan_write_range(void *p, size_t bytes);
void __tsan_write_range(void *p, size_t bytes) { emu_touch(p, bytes, EMU_WRITES, __builtin_return_address(0)); }

// ---- what -fsanitize=alignment,bounds calls

typedef struct source_place {
    const char *file;
    uint32_t line, column;
} source_place;
typedef struct mismatch { // of type_mismatch_v1
    source_place at;
    const void *type;
    uint8_t log_align, kind;
} mismatch;
void __ubsan_handle_type_mismatch_v1(const mismatch *m, uintptr_t p);
void __ubsan_handle_type_mismatch_v1(const mismatch *m, uintptr_t p)
{
    emu_fail("%s:%u: an address is no multiple of %u, it is %zu beyond", emu_base(m->at.file), m->at.line, 1u << m->log_align,
             p % ((size_t)1 << m->log_align));
}
void __ubsan_handle_out_of_bounds(const source_place *at, uintptr_t index);
void __ubsan_handle_out_of_bounds(const source_place *at, uintptr_t index)
{
    emu_fail("%s:%u: index %td is outside of its array", emu_base(at->file), at->line, (ptrdiff_t)index);
}
