// team: the threads that walk a segment together, and the barrier they meet at.
//
// Everybody waits the same way: watch a word for about 30 us, then sleep on it (futex). Watching makes a barrier of two
// members cost under 0.1 us; sleeping is what keeps a step at 1/20 of the time of a pure spin when another process holds
// one of the cores, and what costs nothing between regions. A team larger than the cores never watches: the member
// it waits for may need this very core.
#include "core/base/relax.h"
#include "core/base/clock.h"
#include "core/base/threads.h"
#include "core/cpu/cpu.h"
#include "core/cpu/lane.h"
#include "core/run/trace.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPIN_NS = 30000, SHORT_NS = 2000000, RETRY_NS = 5000000, MOVE_NS = 5000000, MAX_MEMBERS = 1024, LINE = 64 };

// A word that only counts up, and how many sleep on it. One cache line, so that watching it disturbs nothing else.
typedef struct gate {
    _Alignas(LINE) uint32_t word;
    uint32_t sleepers;
} gate;

static uint32_t gate_read(gate *g) { return __atomic_load_n(&g->word, __ATOMIC_ACQUIRE); }

static bool gate_watch(gate *g, uint32_t old)
{
    int64_t end = 0;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            if (gate_read(g) != old)
                return true;
            hs_cpu_relax();
        }
        const int64_t now = hs_now_ns(); // rarely: a hot barrier is over before the first look at the clock
        if (!end)
            end = now + SPIN_NS;
        else if (now >= end)
            return false;
    }
}

// Returns when the word is no longer `old`.
static void gate_pass(gate *g, uint32_t old, bool watch)
{
    if (gate_read(g) != old || (watch && gate_watch(g, old)))
        return;
    // A sleeper announces itself before the kernel looks at the word, an opener changes the word before it looks for
    // sleepers; both sequentially consistent, so one of them sees the other.
    __atomic_fetch_add(&g->sleepers, 1, __ATOMIC_SEQ_CST);
    while (gate_read(g) == old)
        syscall(SYS_futex, &g->word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    __atomic_fetch_sub(&g->sleepers, 1, __ATOMIC_SEQ_CST);
}

static void gate_open(gate *g)
{
    __atomic_fetch_add(&g->word, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&g->sleepers, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &g->word, FUTEX_WAKE_PRIVATE, MAX_MEMBERS, NULL, NULL, 0);
}

// What a member still has to do of what it was dealt: items [next, end), in the phase that began with the sync of this number. One word, so
// that taking from the front and from the back exclude each other; a line of its own.
typedef struct share {
    _Alignas(LINE) uint64_t word;
} share;
enum { ITEM_BITS = 24 };
static const uint64_t ITEM_MASK = (1u << ITEM_BITS) - 1;

static uint64_t share_word(uint32_t phase, uint64_t next, uint64_t end)
{
    return (uint64_t)phase << 2 * ITEM_BITS | next << ITEM_BITS | end; // the phase's upper bits fall off
}

struct hs_barrier {
    gate open;
    _Alignas(LINE) uint32_t arrived;
    int n;
    bool watch;
    int32_t *cpu; // [n]: where each member was last seen
    share *share; // [n]
};

// Beside another process the scheduler may leave two members on one core for long: whoever watches there keeps the other from
// arriving, for 30 us at each barrier. Such a member sleeps at once.
//
// It may leave them there even when the other process has gone: on kernels that do not balance (cpusets without
// sched_load_balance, some virtual machines) a thread that wakes stays where it slept. So a member that finds itself there asks, every
// MOVE_NS at most, to be elsewhere for a moment; its mask is then as it was.
static void move_away(int here)
{
    cpu_set_t all, other;
    if (sched_getaffinity(0, sizeof all, &all) != 0) // more CPUs than the set has room for: let it be
        return;
    other = all;
    CPU_CLR(here, &other);
    if (CPU_COUNT(&other) && sched_setaffinity(0, sizeof other, &other) == 0)
        sched_setaffinity(0, sizeof all, &all);
}

static bool alone_here(hs_barrier *b, int id)
{
    const int32_t here = (int32_t)sched_getcpu();
    bool alone = true;
    if (__atomic_load_n(&b->cpu[id], __ATOMIC_RELAXED) != here)
        __atomic_store_n(&b->cpu[id], here, __ATOMIC_RELAXED);
    for (int i = 0; i < b->n; i++)
        alone &= i == id || __atomic_load_n(&b->cpu[i], __ATOMIC_RELAXED) != here;
    return alone;
}

static void meet(hs_barrier *b, int id)
{
    const bool watch = b->watch && alone_here(b, id);
    const uint32_t old = gate_read(&b->open); // before arriving: the last one may open at once
    if (__atomic_fetch_add(&b->arrived, 1, __ATOMIC_ACQ_REL) + 1 < (uint32_t)b->n) {
        gate_pass(&b->open, old, watch);
        return;
    }
    __atomic_store_n(&b->arrived, 0, __ATOMIC_RELAXED); // nobody arrives again before the gate opens
    gate_open(&b->open);
}

void hs_sync(hs_lane *lane)
{
    if (lane->n == 1)
        return;
    const int64_t start = lane->waited ? hs_now_ns() : 0;
    meet(lane->bar, lane->id);
    if (lane->waited)
        *lane->waited += hs_now_ns() - start;
}

void hs_deal(hs_lane *lane, int64_t i0, int64_t i1)
{
    const uint32_t phase = gate_read(&lane->bar->open) + 1; // the sync to come cannot be over before this member is there
    __atomic_store_n(&lane->bar->share[lane->id].word, share_word(phase, (uint64_t)i0, (uint64_t)i1), __ATOMIC_RELAXED);
}

static bool take_from(share *s, uint32_t phase, bool own, int64_t most, int64_t least, int64_t *i0, int64_t *i1)
{
    uint64_t old = __atomic_load_n(&s->word, __ATOMIC_RELAXED), left;
    do {
        const int64_t next = (int64_t)(old >> ITEM_BITS & ITEM_MASK), end = (int64_t)(old & ITEM_MASK), n = end - next;
        if (n <= 0 || old >> 2 * ITEM_BITS != share_word(phase, 0, 0) >> 2 * ITEM_BITS) // all gone, or dealt for the next phase
            return false;
        const int64_t want = own ? most : n / 2 > most ? most : n / 2 > least ? n / 2 : least, got = want < n ? want : n;
        *i0 = own ? next : end - got, *i1 = *i0 + got;
        left = own ? share_word(phase, (uint64_t)*i1, (uint64_t)end) : share_word(phase, (uint64_t)next, (uint64_t)*i0);
    } while (!__atomic_compare_exchange_n(&s->word, &old, left, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
}

bool hs_take(hs_lane *lane, int64_t most, int64_t least, int64_t *i0, int64_t *i1)
{
    hs_barrier *b = lane->bar;
    const uint32_t phase = gate_read(&b->open);
    for (int k = 0; k < lane->n; k++)
        if (take_from(&b->share[(lane->id + k) % lane->n], phase, k == 0, most, least, i0, i1))
            return true;
    return false;
}

struct hs_team {
    hs_barrier bar;       // of the kernels
    gate start, finished; // a region begins | its last member but the caller is done
    _Alignas(LINE) uint32_t done;
    int n;
    bool stop, shared;    // shared: the last short region of all members had two of them on one core
    int64_t tried, moved; // when it began; when a member last moved
    void (*fn)(hs_lane *lane, void *arg);
    void *arg;
    struct member {
        hs_lane lane;
        hs_team *team;
        pthread_t thread;
    } * member;
};

static void leave_shared(hs_team *t, int id)
{
    if (!t->bar.watch || alone_here(&t->bar, id))
        return;
    const int64_t now = hs_now_ns(), last = __atomic_load_n(&t->moved, __ATOMIC_RELAXED);
    if (now - last < MOVE_NS)
        return;
    __atomic_store_n(&t->moved, now, __ATOMIC_RELAXED);
    move_away(sched_getcpu());
    alone_here(&t->bar, id);
}

static void *member_main(void *arg)
{
    struct member *m = arg;
    hs_team *t = m->team;
    for (uint32_t region = 0;; region++) {
        gate_pass(&t->start, region, t->bar.watch && alone_here(&t->bar, m->lane.id));
        if (t->stop)
            return NULL;
        leave_shared(t, m->lane.id);
        t->fn(&m->lane, t->arg);
        if (__atomic_add_fetch(&t->done, 1, __ATOMIC_ACQ_REL) == (uint32_t)t->n - 1)
            gate_open(&t->finished);
    }
}

void hs_team_run(hs_team *t, void (*fn)(hs_lane *lane, void *arg), void *arg)
{
    if (t->n == 1) {
        fn(&t->member[0].lane, arg);
        return;
    }
    const uint32_t old = gate_read(&t->finished);
    t->fn = fn;
    t->arg = arg;
    __atomic_store_n(&t->done, 0, __ATOMIC_RELAXED);
    gate_open(&t->start);
    fn(&t->member[0].lane, arg);
    gate_pass(&t->finished, old, t->bar.watch && alone_here(&t->bar, 0));
}

// Two members on one core gain nothing and pay for every barrier. Where a region is short that is most of it, so that the caller does
// better alone; now and then all try again. A decoding step of one slot, 4 layers of width 128, 2 threads of 2 cores, one more process
// always busy (halfstep bench bulk --busy): 0.06 ms with this and move_away, 0.26 ms without either, 0.03 ms where nobody else runs.
void hs_team_run_some(hs_team *t, void (*fn)(hs_lane *lane, void *arg), void *arg)
{
    const int64_t begin = t->n > 1 && t->bar.watch ? hs_now_ns() : 0;
    if (t->shared && begin - t->tried < RETRY_NS) {
        fn(&(hs_lane){ .id = 0, .n = 1, .bar = &t->bar }, arg);
        return;
    }
    hs_team_run(t, fn, arg);
    if (!begin)
        return;
    const int64_t end = hs_now_ns();
    t->shared = end - begin < SHORT_NS && !alone_here(&t->bar, 0);
    t->tried = end;
}


static void stop_members(hs_team *t, int n_started)
{
    t->stop = true;
    gate_open(&t->start);
    for (int i = 1; i < n_started; i++)
        pthread_join(t->member[i].thread, NULL);
}

void hs_team_free(hs_team *t)
{
    if (!t)
        return;
    stop_members(t, t->n);
    free(t->bar.cpu);
    free(t->bar.share);
    free(t->member);
    free(t);
}

static hs_status start_members(hs_team *t)
{
    for (int i = 1; i < t->n; i++) {
        char what[48];
        snprintf(what, sizeof what, "thread %d of %d", i + 1, t->n);
        const hs_status st = hs_thread_start(&t->member[i].thread, member_main, &t->member[i], what);
        if (st == HS_OK)
            continue;
        stop_members(t, i);
        return st;
    }
    return HS_OK;
}

hs_status hs_team_new(hs_team **out, int n)
{
    *out = NULL;
    if (n < 1 || n > MAX_MEMBERS)
        return HS_FAIL(USAGE, "a team of %d threads, allowed 1 to %d", n, MAX_MEMBERS);
    hs_team *t = aligned_alloc(LINE, sizeof *t);
    struct member *member = calloc((size_t)n, sizeof *member);
    int32_t *cpu = malloc((size_t)n * sizeof *cpu);
    share *shares = aligned_alloc(LINE, (size_t)n * sizeof *shares);
    if (!t || !member || !cpu || !shares) {
        free(t);
        free(member);
        free(cpu);
        free(shares);
        return HS_FAIL(MEMORY, "no memory for a team of %d threads", n);
    }
    memset(t, 0, sizeof *t);
    t->n = n;
    t->member = member;
    t->bar.n = n;
    t->bar.watch = n <= hs_cpu_cores();
    t->bar.cpu = cpu;
    t->bar.share = shares;
    memset(shares, 0, (size_t)n * sizeof *shares);
    for (int i = 0; i < n; i++)
        cpu[i] = -1, member[i] = (struct member){ .lane = { .id = i, .n = n, .bar = &t->bar }, .team = t };
    const hs_status st = start_members(t);
    if (st != HS_OK) {
        free(shares);
        free(cpu);
        free(member);
        free(t);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = t;
    return HS_OK;
}
