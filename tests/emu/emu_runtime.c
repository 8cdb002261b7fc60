// emu_runtime: fibers, the order they run in, block barriers, shared memory, launches.
//
// A fiber is a stack. It runs one thread of the block after the other; one that has to wait keeps its fiber, and another fiber goes on. So
// kernels that never wait run as plain calls, and the cost of waiting is a switch of stacks.
#include "tests/emu/cudart.h"
#include "tests/emu/emu_impl.h"
#include <stdarg.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

emu_block emu;
emu_place emu_now;

// ---- switching stacks: what a call keeps (System V x86-64), or ucontext, which asks the kernel for the signal mask each time
#ifdef __x86_64__
typedef struct context {
    void *sp;
} context;
void emu_switch(void **save, void *load);
__asm__(".text\n"
        ".type emu_switch,@function\n"
        "emu_switch:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp, (%rdi)\n  movq %rsi, %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  ret\n"
        ".size emu_switch,.-emu_switch\n");
static void context_make(context *c, char *stack, size_t bytes, void (*entry)(void))
{
    void **sp = (void **)(stack + bytes); // a multiple of 16
    *--sp = NULL;                         // entry never returns
    *--sp = (void *)(uintptr_t)entry;
    sp -= 6;
    memset(sp, 0, 6 * sizeof *sp);
    c->sp = sp;
}
static void context_switch(context *from, const context *to) { emu_switch(&from->sp, to->sp); }
#else
#include <ucontext.h>
typedef ucontext_t context;
static void context_make(context *c, char *stack, size_t bytes, void (*entry)(void))
{
    getcontext(c);
    c->uc_stack.ss_sp = stack, c->uc_stack.ss_size = bytes, c->uc_link = NULL;
    makecontext(c, entry, 0);
}
static void context_switch(context *from, const context *to) { swapcontext(from, to); }
#endif

// ---- fibers
// Stacks whose tops lie a power of two apart would share a few lines of the cache: each begins 9 lines below where the one before does.
enum { PAGE = 4096, LINE = 64 };
struct emu_fiber {
    context c;
    char *stack;
    int given; // the thread it begins with when it is taken
};
static emu_fiber fiber[EMU_MAX_THREADS];
static emu_fiber *idle[EMU_MAX_THREADS], *running;
char *emu_stack;
static int n_fibers, n_idle;
static char *stacks;
static context host;
static void (*kernel_body)(void *);
static void *kernel_arg;

static char verdict[1024], told[1024];
static int64_t n_launches;

// ---- what is ready
static uint16_t ready[EMU_MAX_THREADS];
static unsigned ready_head, n_ready;
static emu_order order;
static uint64_t random_state;

static uint32_t draw(uint32_t n) // below n
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % n);
}
static uint16_t *ready_at(unsigned i) { return &ready[(ready_head + i) % EMU_MAX_THREADS]; }

void emu_ready(int thread)
{
    if (emu.thread[thread].state != EMU_FRESH)
        emu.thread[thread].state = EMU_READY;
    *ready_at(n_ready++) = (uint16_t)thread;
}

static int pick(void)
{
    if (!n_ready)
        return -1;
    n_ready--;
    if (order == EMU_LIFO)
        return *ready_at(n_ready);
    if (order == EMU_RANDOM) {
        uint16_t *other = ready_at(draw(n_ready + 1)), t = *other;
        *other = *ready_at(0), *ready_at(0) = t;
    }
    return ready[ready_head++ % EMU_MAX_THREADS];
}

static void become(int thread)
{
    emu.id = thread;
    emu_now.thread = emu.thread[thread].index;
    emu_stack = running->stack;
}

bool emu_any_stack(const void *p) { return stacks && (size_t)((const char *)p - stacks) < (size_t)EMU_MAX_THREADS * EMU_STACK_BYTES; }

// ---- verdicts

const char *emu_base(const char *file)
{
    const char *slash = strrchr(file, '/');
    return slash ? slash + 1 : file;
}

// "layernorm_fwd" of "(layernorm_fwd<N, K>)"
static int kernel_name(const char *text, const char **from)
{
    *from = text + (*text == '(');
    return (int)strcspn(*from, "<)");
}

void emu_fail(const char *fmt, ...)
{
    if (!verdict[0]) {
        size_t n = 0;
        if (emu.inside) {
            const char *name;
            const int length = kernel_name(emu.grid->name, &name);
            n = (size_t)snprintf(verdict, sizeof verdict, "%.*s (%s:%d), block %d, thread %d: ", length, name, emu_base(emu.grid->file),
                                 emu.grid->line, emu.index, emu.id);
        }
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(verdict + n, sizeof verdict - n, fmt, ap);
        va_end(ap);
    }
    if (emu.inside)
        context_switch(&running->c, &host);
}

const char *emu_verdict(void)
{
    if (!verdict[0])
        return NULL;
    memcpy(told, verdict, sizeof told);
    verdict[0] = 0;
    return told;
}

int64_t emu_launches(void) { return n_launches; }

static bool same_place(const emu_thread *a, const emu_thread *b)
{
    return (a->state == EMU_EXITED) == (b->state == EMU_EXITED) && (a->state == EMU_EXITED || a->waits.line == b->waits.line);
}

static void report_deadlock(void)
{
    char text[768];
    size_t at = 0;
    for (int t = 0; t < emu.n && at < sizeof text;) {
        int end = t;
        while (end < emu.n && same_place(&emu.thread[t], &emu.thread[end]))
            end++;
        const emu_thread *h = &emu.thread[t];
        at += (size_t)snprintf(text + at, sizeof text - at, "%sthreads %d-%d ", t ? "; " : "", t, end - 1);
        if (at < sizeof text && h->state == EMU_EXITED)
            at += (size_t)snprintf(text + at, sizeof text - at, "have returned");
        else if (at < sizeof text)
            at +=
                (size_t)snprintf(text + at, sizeof text - at, "wait in %s at %s:%d", h->waits.what, emu_base(h->waits.file), h->waits.line);
        t = end;
    }
    emu_fail("deadlock: %s", text);
}

// ---- running threads
// What a thread finds on its stack is not what the one before left there: NaN.
static __attribute__((noinline)) void poison_stack(void)
{
    char below[4096];
    memset(below, 0xFF, sizeof below);
    __asm__ volatile("" ::"r"(below) : "memory");
}

static void go(int t)
{
    context *from = &running->c;
    if (t < 0) {
        context_switch(from, &host);
        return;
    }
    if (emu.thread[t].state == EMU_FRESH) {
        running = idle[--n_idle];
        running->given = t;
    } else {
        running = emu.thread[t].fiber;
        become(t);
    }
    context_switch(from, &running->c);
}

static void fiber_main(void)
{
    for (;;) {
        int t = running->given;
        emu_fiber *const me = running;
        while (t >= 0 && emu.thread[t].state == EMU_FRESH) {
            emu.thread[t].state = EMU_READY, emu.thread[t].fiber = me;
            become(t);
            if (emu_touch)
                poison_stack();
            kernel_body(kernel_arg);
            emu.thread[emu.id].state = EMU_EXITED;
            emu.exited++;
            emu_check_warp_exit(emu.id);
            emu_check_barrier();
            t = pick();
        }
        if (t < 0 && emu.exited < emu.n)
            report_deadlock();
        idle[n_idle++] = me;
        go(t);
    }
}

static void make_fiber(int i) { context_make(&fiber[i].c, fiber[i].stack, EMU_STACK_BYTES - (size_t)i * 9 % (PAGE / LINE) * LINE, fiber_main); }

static void make_fibers(int n)
{
    if (!stacks) {
        stacks =
            mmap(NULL, (size_t)EMU_MAX_THREADS * EMU_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stacks == MAP_FAILED)
            abort();
    }
    for (; n_fibers < n; n_fibers++) {
        emu_fiber *f = &fiber[n_fibers];
        f->stack = stacks + (size_t)n_fibers * EMU_STACK_BYTES;
        mprotect(f->stack, PAGE, PROT_NONE);
        make_fiber(n_fibers);
        idle[n_idle++] = f;
    }
}

static void abandon_fibers(void)
{
    n_idle = 0;
    for (int i = 0; i < n_fibers; i++) {
        make_fiber(i);
        idle[n_idle++] = &fiber[i];
    }
}

void emu_wait(emu_at at)
{
    emu_thread *me = &emu.thread[emu.id];
    me->state = EMU_WAITS, me->waits = at;
    const int t = pick();
    if (t < 0)
        report_deadlock();
    go(t);
}

// ---- barriers of a block
static struct {
    int arrived, sum;
    bool all;
    emu_at at;
} barrier;

static void open_barrier(void)
{
    for (int t = 0; t < emu.n; t++)
        if (emu.thread[t].at_barrier) {
            emu.thread[t].at_barrier = false;
            emu.thread[t].result = (uint64_t)barrier.sum << 1 | barrier.all;
            emu_ready(t);
        }
    emu.epoch++;
    barrier.arrived = 0;
}

int emu_barrier(emu_at at, emu_tally tally, int value)
{
    emu_thread *me = &emu.thread[emu.id];
    if (!barrier.arrived)
        barrier.at = at, barrier.sum = 0, barrier.all = true;
    else if (barrier.at.line != at.line || strcmp(barrier.at.file, at.file))
        emu_fail("divergence: %s of %s:%d and of %s:%d meet", at.what, emu_base(barrier.at.file), barrier.at.line, emu_base(at.file),
                 at.line);
    barrier.sum += value != 0, barrier.all &= value != 0;
    if (++barrier.arrived < emu.n - emu.exited) {
        me->at_barrier = true;
        emu_wait(at);
    } else {
        me->result = (uint64_t)barrier.sum << 1 | barrier.all;
        open_barrier();
    }
    const int sum = (int)(me->result >> 1);
    return tally == EMU_COUNT ? sum : tally == EMU_AND ? (int)(me->result & 1) : sum > 0;
}

void emu_check_barrier(void)
{
    if (barrier.arrived && barrier.arrived == emu.n - emu.exited)
        open_barrier();
}

// ---- shared memory: arrays in the order in which they are asked for, bytes between them that are nobody's
char *emu_arena;
enum { MAX_ARRAYS = 64, GAP = 64 };
static struct {
    const void *site;
    const char *name;
    size_t at, bytes;
} array[MAX_ARRAYS];
static int n_arrays;
static size_t shared_top, shared_bytes;

static size_t add_array(const void *site, const char *name, size_t bytes, size_t align)
{
    size_t at = (shared_top + GAP + 2 * align - 1) / (2 * align) * 2 * align + align; // aligned to that, and to no more
    if (align >= 128)
        at -= align;
    if (n_arrays == MAX_ARRAYS || (shared_bytes += bytes) > EMU_SHARED_BYTES)
        emu_fail("shared arrays take %zu bytes, a block has %d", shared_bytes, (int)EMU_SHARED_BYTES);
    array[n_arrays].site = site, array[n_arrays].name = name, array[n_arrays].at = at, array[n_arrays].bytes = bytes;
    n_arrays++;
    shared_top = at + bytes;
    memset(emu_arena + at, 0xFF, bytes); // NaN in every type
    return at;
}

void emu_start_shared(size_t dyn_bytes)
{
    if (!emu_arena)
        emu_arena = mmap(NULL, 2 * EMU_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    n_arrays = 0, shared_top = shared_bytes = 0;
    add_array(NULL, "dynamic shared memory", dyn_bytes, 128);
}

void *emu_dyn_shared(void)
{
    if (!array[0].bytes)
        emu_fail("HS_DYN_SHARED, but the launch gives no bytes of it");
    return emu_arena + array[0].at;
}

void *emu_shared(const void *site, const char *name, size_t bytes, size_t align)
{
    for (int i = 1; i < n_arrays; i++)
        if (array[i].site == site)
            return emu_arena + array[i].at;
    if (shared_bytes - array[0].bytes + bytes > EMU_STATIC_BYTES)
        emu_fail("HS_SHARED arrays take over %d bytes; more must be HS_DYN_SHARED", (int)EMU_STATIC_BYTES);
    return emu_arena + add_array(site, name, bytes, align < 16 ? 16 : align);
}

const char *emu_shared_name(const void *p, size_t bytes, size_t *at)
{
    const size_t from = (size_t)((const char *)p - emu_arena);
    for (int i = 0; i < n_arrays; i++)
        if (from >= array[i].at && from + bytes <= array[i].at + array[i].bytes) {
            if (at)
                *at = from - array[i].at;
            return array[i].name;
        }
    return NULL;
}

// ---- buffers
emu_buffer emu_buffers[EMU_MAX_BUFFERS];
int emu_n_buffers;

void emu_watch(const char *name, const void *p, size_t bytes, bool writable)
{
    for (int i = 0; i < emu_n_buffers; i++)
        if (emu_buffers[i].p == p && emu_buffers[i].bytes == bytes) { // in place
            emu_buffers[i].writable |= writable;
            return;
        }
    if (emu_n_buffers == EMU_MAX_BUFFERS)
        abort();
    emu_buffer *b = &emu_buffers[emu_n_buffers++];
    snprintf(b->name, sizeof b->name, "%s", name);
    b->p = p, b->bytes = bytes, b->writable = writable;
    if (emu_check_watch)
        emu_check_watch(emu_n_buffers - 1);
}
void emu_forget(void)
{
    emu_n_buffers = 0;
    if (emu_check_watch)
        emu_check_watch(-1);
}

// ---- launches

void emu_schedule(emu_order o, uint64_t seed) { order = o, random_state = seed * 2 + 1; }

static const char *refused(const emu_grid *g)
{
    const uint64_t threads = (uint64_t)g->block.x * g->block.y * g->block.z;
    if (emu.inside)
        return "by a kernel";
    if (!threads || threads > EMU_MAX_THREADS || g->block.z > 64)
        return "of no threads, or over 1024 in a block";
    if (!g->grid.x || !g->grid.y || !g->grid.z || g->grid.x > INT32_MAX || g->grid.y > 65535 || g->grid.z > 65535)
        return "of no blocks, or more than a grid has";
    return g->shared_bytes > EMU_SHARED_BYTES ? "with more shared memory than a block has" : NULL;
}

static void run_block(const emu_grid *g, int64_t index)
{
    emu.index = (int)index;
    emu_now.block =
        (emu_3){ (unsigned)(index % g->grid.x), (unsigned)(index / g->grid.x % g->grid.y), (unsigned)(index / g->grid.x / g->grid.y) };
    emu.n = (int)(g->block.x * g->block.y * g->block.z);
    emu.exited = 0, emu.epoch = 0;
    emu.serial = emu.launch + (uint32_t)index;
    barrier.arrived = 0, ready_head = n_ready = 0;
    emu_3 at = { 0, 0, 0 };
    for (int t = 0; t < emu.n; t++) {
        emu_thread *h = &emu.thread[t];
        h->state = EMU_FRESH, h->warp_epoch = 0, h->n_copies = h->group = 0, h->at_barrier = false;
        h->index = at;
        if (++at.x == g->block.x)
            at.x = 0, at.y++;
        if (at.y == g->block.y)
            at.y = 0, at.z++;
        ready[t] = (uint16_t)t;
    }
    n_ready = (unsigned)emu.n;
    emu_start_shared(g->shared_bytes);
    emu_start_warps();
    running = idle[--n_idle];
    running->given = pick();
    context_switch(&host, &running->c);
}

static void shuffle(uint32_t *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        v[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        const uint32_t k = draw(i), t = v[k];
        v[k] = v[i - 1], v[i - 1] = t;
    }
}

static void launch(const emu_grid *g, void (*thread)(void *), void *arg)
{
    if (verdict[0])
        return;
    const char *why = refused(g), *name;
    if (why) {
        const int length = kernel_name(g->name, &name);
        emu_fail("%.*s (%s:%d): a launch %s is refused: (%u, %u, %u) blocks of (%u, %u, %u) threads with %zu bytes", length, name,
                 emu_base(g->file), g->line, why, g->grid.x, g->grid.y, g->grid.z, g->block.x, g->block.y, g->block.z, g->shared_bytes);
        return;
    }
    static uint32_t serials;
    const uint32_t n = g->grid.x * g->grid.y * g->grid.z;
    uint32_t *shuffled = NULL;
    if (order == EMU_RANDOM) {
        shuffled = malloc(n * sizeof *shuffled);
        if (!shuffled)
            abort();
        shuffle(shuffled, n);
    }
    make_fibers((int)(g->block.x * g->block.y * g->block.z));
    kernel_body = thread, kernel_arg = arg;
    emu.grid = g, emu.launch = serials + 1, serials += n;
    emu_now.block_size = g->block, emu_now.grid_size = g->grid;
    n_launches++;
    emu.inside = true;
    for (uint32_t i = 0; i < n && !verdict[0]; i++)
        run_block(g, shuffled ? shuffled[i] : order == EMU_LIFO ? n - 1 - i : i);
    emu.inside = false;
    if (verdict[0])
        abandon_fibers();
    free(shuffled);
}

static void run_pending(void *p)
{
    emu_pending *l = p;
    launch(&l->grid, l->thread, l);
    if (verdict[0] && l->stream) { // a device's: nobody else asks
        fprintf(stderr, "%s\n", emu_verdict());
        hs_emu_broke(cudaErrorLaunchFailure);
    }
}

void *emu_take(size_t bytes)
{
    void *p = malloc(bytes);
    if (!p)
        abort();
    return memset(p, 0, malloc_usable_size(p)); // cudart.c looks for addresses in it
}
void emu_submit(emu_pending *p) { hs_emu_enqueue(p->stream, run_pending, free, p); }
