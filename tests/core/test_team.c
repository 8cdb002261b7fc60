// The team: every member runs every region, hs_sync orders what they write, also with more members than cores, after
// sleeping, and on one core. Then what the process may use: cores, memory, tiers, control groups in a made-up tree.
#include "core/base/clock.h"
#include "core/cpu/cgroup.h"
#include "core/cpu/cpu.h"
#include "core/cpu/lane.h"
#include "core/run/trace.h"
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_TEAM = 9, ROUNDS = 300 };

// Each round every member reads what its neighbour wrote in the round before: plain memory, ordered by hs_sync alone.
typedef struct ring {
    int64_t cell[2][MAX_TEAM];
    int wrong[MAX_TEAM], regions[MAX_TEAM], members[MAX_TEAM];
} ring;

static void walk(hs_lane *lane, void *arg)
{
    ring *r = arg;
    const int next = (lane->id + 1) % lane->n;
    r->members[lane->id] = lane->n;
    r->regions[lane->id]++;
    r->cell[0][lane->id] = lane->id;
    hs_sync(lane);
    for (int i = 0; i < ROUNDS; i++) {
        r->wrong[lane->id] += r->cell[i % 2][next] != next + i;
        r->cell[(i + 1) % 2][lane->id] = lane->id + i + 1;
        hs_sync(lane);
    }
}

static void count_region(hs_lane *lane, void *arg) { ((ring *)arg)->regions[lane->id]++; }

static void run_team(int n, int regions)
{
    ring r = { 0 };
    hs_team *t;
    assert_int_equal(hs_team_new(&t, n), HS_OK);
    for (int i = 0; i < regions; i++) {
        hs_team_run(t, walk, &r);
        hs_team_run(t, count_region, &r); // regions that follow each other at once
        if (i % 4 == 3)                   // and after everybody has fallen asleep
            nanosleep(&(struct timespec){ .tv_nsec = 300000 }, NULL);
    }
    hs_team_free(t);
    for (int i = 0; i < n; i++) {
        assert_int_equal(r.wrong[i], 0);
        assert_int_equal(r.regions[i], 2 * regions);
        assert_int_equal(r.members[i], n);
    }
}

static void test_all_sizes(void **state)
{
    (void)state;
    for (int n = 1; n <= MAX_TEAM; n++) // most of them oversubscribed
        run_team(n, n <= 2 ? 40 : 8);
}

static void test_on_one_core(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &before)) {
            CPU_SET(i, &one);
            break;
        }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(hs_cpu_cores(), 1);
    run_team(2, 8);
    run_team(5, 4);
    sched_setaffinity(0, sizeof before, &before);
}

// Two teams of one process (a trainer and a server) know nothing of each other.
static void *own_team(void *arg)
{
    ring r = { 0 };
    hs_team *t;
    if (hs_team_new(&t, 2) != HS_OK)
        return arg;
    for (int i = 0; i < 20; i++)
        hs_team_run(t, walk, &r);
    hs_team_free(t);
    return r.wrong[0] || r.wrong[1] || r.regions[1] != 20 ? arg : NULL;
}

static void test_two_teams(void **state)
{
    (void)state;
    pthread_t thread;
    int failed;
    void *other;
    assert_int_equal(pthread_create(&thread, NULL, own_team, &failed), 0);
    assert_null(own_team(&failed));
    pthread_join(thread, &other);
    assert_null(other);
}

// Beside a busy thread a region may run on fewer lanes, but all of it is done; members that moved may still run anywhere.
typedef struct shares {
    int64_t rows[MAX_TEAM];
    cpu_set_t mask[MAX_TEAM];
} shares;

static void take_share(hs_lane *lane, void *arg)
{
    shares *s = arg;
    int64_t r0, r1;
    hs_part(lane, 1000, &r0, &r1);
    s->rows[lane->id] = r1 - r0;
    hs_sync(lane);
    if (sched_getaffinity(0, sizeof s->mask[0], &s->mask[lane->id]) != 0)
        s->rows[lane->id] = -1;
}

static void *keep_busy(void *stop)
{
    while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED))
        ;
    return NULL;
}

static void test_beside_a_busy_thread(void **state)
{
    (void)state;
    pthread_t neighbour;
    int stop = 0;
    hs_team *t;
    cpu_set_t mine;
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    assert_int_equal(hs_team_new(&t, 2), HS_OK);
    assert_int_equal(pthread_create(&neighbour, NULL, keep_busy, &stop), 0);
    const int64_t end = hs_now_ns() + 200000000;
    while (hs_now_ns() < end) {
        shares s = { 0 };
        hs_team_run_some(t, take_share, &s);
        assert_int_equal(s.rows[0] + s.rows[1], 1000);
        assert_true(CPU_EQUAL(&s.mask[0], &mine) && (!s.rows[1] || CPU_EQUAL(&s.mask[1], &mine)));
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(neighbour, NULL);
    hs_team_free(t);
}

static void idle(hs_lane *lane, void *arg) { (void)lane, (void)arg; }

// Members burn no CPU between regions: their clock stands still while the program sleeps.
static void test_idle(void **state)
{
    (void)state;
    hs_team *t;
    struct timespec a, b;
    assert_int_equal(hs_team_new(&t, 4), HS_OK);
    hs_team_run(t, idle, NULL);
    nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL); // far beyond the watch of 30 us
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    hs_team_free(t);
    assert_true((double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec) <
                0.1); // spinning, three members would take far more
}

static void see_signals(hs_lane *lane, void *arg)
{
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    ((int *)arg)[lane->id] = sigismember(&blocked, SIGTERM);
}

static void test_signals_stay_outside(void **state)
{
    (void)state;
    int blocked[2] = { -1, -1 };
    hs_team *t;
    assert_int_equal(hs_team_new(&t, 2), HS_OK);
    hs_team_run(t, see_signals, blocked);
    hs_team_free(t);
    assert_int_equal(blocked[0], 0);
    assert_int_equal(blocked[1], 1);
}

// Phases in which items are dealt: everybody's are done once, whoever does them, also where one member does nothing but its first until
// others have taken over from it.
enum { PHASES = 200, ITEMS = 50, LATE_PHASE = 100 };
typedef struct dealt {
    int done[PHASES][MAX_TEAM * ITEMS];
    int took_over; // of member 0's items, by others, in LATE_PHASE
} dealt;

static void take_all(hs_lane *lane, void *arg)
{
    dealt *d = arg;
    for (int phase = 0; phase < PHASES; phase++) {
        const int64_t mine = lane->id * ITEMS, count = phase % 3 ? ITEMS : phase % ITEMS; // some deal fewer, or none
        hs_deal(lane, mine, mine + count);
        hs_sync(lane);
        for (int64_t i0, i1; hs_take(lane, 7, 2, &i0, &i1);) {
            for (int64_t i = i0; i < i1; i++)
                __atomic_fetch_add(&d->done[phase][i], 1, __ATOMIC_RELAXED);
            if (phase != LATE_PHASE)
                continue;
            if (lane->id && i0 < ITEMS)
                __atomic_fetch_add(&d->took_over, (int)(i1 - i0), __ATOMIC_RELAXED);
            for (const int64_t end = hs_now_ns() + 10 * (int64_t)1000000000; !lane->id && hs_now_ns() < end;)
                if (__atomic_load_n(&d->took_over, __ATOMIC_RELAXED) >= ITEMS - 7)
                    break;
        }
    }
}

static void test_deal(void **state)
{
    (void)state;
    static const int sizes[] = { 2, 3, MAX_TEAM };
    for (int k = 0; k < HS_COUNT(sizes); k++) {
        hs_team *t;
        dealt *d = calloc(1, sizeof *d);
        assert_non_null(d);
        assert_int_equal(hs_team_new(&t, sizes[k]), HS_OK);
        hs_team_run(t, take_all, d);
        hs_team_free(t);
        for (int phase = 0; phase < PHASES; phase++)
            for (int i = 0; i < MAX_TEAM * ITEMS; i++)
                assert_int_equal(d->done[phase][i], i / ITEMS < sizes[k] && i % ITEMS < (phase % 3 ? ITEMS : phase % ITEMS));
        assert_true(d->took_over >= ITEMS - 7);
        free(d);
    }
}

static void test_part(void **state)
{
    (void)state;
    static const int64_t rows[] = { 0, 1, 31, 32, 33, 64, 1000 };
    for (int k = 0; k < HS_COUNT(rows); k++)
        for (int n = 1; n <= 7; n++) {
            int64_t end = 0;
            for (int id = 0; id < n; id++) {
                const hs_lane lane = { .id = id, .n = n };
                int64_t r0, r1;
                hs_part(&lane, rows[k], &r0, &r1);
                assert_true(r0 == end && r1 >= r0);
                assert_true(r1 == rows[k] || r1 % HS_GRAIN == 0);
                end = r1;
            }
            assert_true(end == rows[k]);
        }
}

static void test_refusals(void **state)
{
    (void)state;
    hs_team *t;
    assert_int_equal(hs_team_new(&t, 0), HS_USAGE);
    assert_null(t);
    assert_int_equal(hs_team_new(&t, 100000), HS_USAGE);
    hs_team_free(NULL);
}

static void test_machine(void **state)
{
    (void)state;
    char model[128];
    hs_isa isa;
    hs_cpu_model(model, sizeof model);
    assert_true(strlen(model) > 0 && !strchr(model, '\n'));
    assert_true(hs_cpu_cores() >= 1);
    assert_true(hs_cpu_free_bytes() > 1 << 20);
    assert_true(hs_isa_supported(HS_ISA_PORTABLE));
    for (int i = 1; i < HS_N_ISA; i++) {
        assert_true(!hs_isa_supported((hs_isa)i) || hs_isa_supported((hs_isa)(i - 1)));
        assert_true(hs_isa_parse(hs_isa_name((hs_isa)i), &isa) && isa == (hs_isa)i);
    }
    assert_false(hs_isa_parse("sse9", &isa));
#if defined(__x86_64__)
    assert_int_equal(hs_isa_supported(HS_ISA_AVX512BF16), __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512dq"));
    assert_true(!hs_isa_supported(HS_ISA_AMX) || hs_isa_fast_bf16(HS_ISA_AMX));
    assert_int_equal(hs_isa_supported(HS_ISA_AVX2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
#endif
}

// ---- control groups

static char root[] = "/tmp/hs-cgroup-XXXXXX";

static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(full, 0700);
            *p = '/';
        }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void remove_tree(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    assert_int_equal(system(command), 0);
    strcpy(root, "/tmp/hs-cgroup-XXXXXX");
}

static void test_cgroup_v2(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(root));
    assert_true(isinf(hs_cgroup_cpus(root))); // no control groups at all
    assert_true(hs_cgroup_free_bytes(root) == SIZE_MAX);
    put("/proc/self/cgroup", "0::/outer/inner\n");
    put("/sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/outer/cpu.max", "250000 100000\n"); // a limit further up holds as well
    assert_true(hs_cgroup_cpus(root) == 2.5);
    put("/sys/fs/cgroup/outer/inner/cpu.max", "150000 100000\n");
    assert_true(hs_cgroup_cpus(root) == 1.5);
    put("/sys/fs/cgroup/outer/inner/memory.max", "1000000\n");
    put("/sys/fs/cgroup/outer/inner/memory.current", "700000\n");
    put("/sys/fs/cgroup/outer/inner/memory.stat", "anon 5\ninactive_file 200000\nactive_file 3\n");
    assert_true(hs_cgroup_free_bytes(root) == 500000);
    put("/sys/fs/cgroup/outer/inner/memory.max", "max\n");
    assert_true(hs_cgroup_free_bytes(root) == SIZE_MAX);
    put("/proc/self/cgroup", "0::/elsewhere/not/mounted\n"); // a container: the mount point is the group
    put("/sys/fs/cgroup/cpu.max", "400000 100000\n");
    assert_true(hs_cgroup_cpus(root) == 4);
    remove_tree();
}

static void test_cgroup_v1(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(root));
    put("/proc/self/cgroup", "9:cpuset:/x\n7:cpuacct,cpu:/docker/1\n3:memory:/docker/1\n1:name=systemd:/docker/1\n");
    put("/sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000\n");
    assert_true(isinf(hs_cgroup_cpus(root)));
    put("/sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "300000\n");
    assert_true(hs_cgroup_cpus(root) == 3);
    put("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes", "1000\n");
    assert_true(hs_cgroup_free_bytes(root) == SIZE_MAX);
    put("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "5000\n");
    assert_true(hs_cgroup_free_bytes(root) == 4000);
    remove_tree();
}

static void test_cgroup_hybrid(void **state) // both in one system: the least limit holds, wherever it stands
{
    (void)state;
    assert_non_null(mkdtemp(root));
    put("/proc/self/cgroup", "4:cpu,cpuacct:/job\n2:memory:/job\n0::/job\n");
    put("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "600000\n");
    put("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
    assert_true(hs_cgroup_cpus(root) == 6);
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "500000\n"); // of the group above
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_true(hs_cgroup_cpus(root) == 5);
    put("/sys/fs/cgroup/unified/job/cpu.max", "200000 50000\n");
    assert_true(hs_cgroup_cpus(root) == 4);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "8000\n"); // a container: the mount point is the group
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "7000\n");
    put("/sys/fs/cgroup/memory/memory.stat", "cache 1\ntotal_inactive_file 500\n");
    assert_true(hs_cgroup_free_bytes(root) == 1500);
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "9000\n"); // over the limit
    assert_true(hs_cgroup_free_bytes(root) == 0);
    remove_tree();
}

static void test_cgroup_nonsense(void **state) // files that say nothing limit nothing
{
    (void)state;
    assert_non_null(mkdtemp(root));
    put("/proc/self/cgroup", "no colon\n1:\n7:cpuset,cpux:/a\n0::/a\n");
    put("/sys/fs/cgroup/a/cpu.max", "much 100000\n");
    put("/sys/fs/cgroup/cpu.max", "100000 0\n");
    put("/sys/fs/cgroup/a/memory.max", "");
    put("/sys/fs/cgroup/memory.max", "4000\n"); // without what is used
    assert_true(isinf(hs_cgroup_cpus(root)));
    assert_true(hs_cgroup_free_bytes(root) == SIZE_MAX);
    assert_int_equal(hs_cgroup_cores(root, 64), 64);
    remove_tree();
}

static void test_cgroup_cores(void **state)
{
    (void)state;
    static const struct {
        const char *max;
        int cores, left;
    } cases[] = { { "max 100000\n", 8, 8 },    { "1600000 100000\n", 8, 8 }, { "800000 100000\n", 8, 8 }, { "799999 100000\n", 8, 7 },
                  { "250000 100000\n", 8, 2 }, { "150000 100000\n", 8, 1 },  { "50000 100000\n", 8, 1 },  { "50000 100000\n", 1, 1 } };
    for (int i = 0; i < HS_COUNT(cases); i++) {
        assert_non_null(mkdtemp(root));
        put("/proc/self/cgroup", "0::/\n");
        put("/sys/fs/cgroup/cpu.max", cases[i].max);
        assert_int_equal(hs_cgroup_cores(root, cases[i].cores), cases[i].left);
        remove_tree();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_sizes),
                                        cmocka_unit_test(test_on_one_core),
                                        cmocka_unit_test(test_two_teams),
                                        cmocka_unit_test(test_beside_a_busy_thread),
                                        cmocka_unit_test(test_idle),
                                        cmocka_unit_test(test_signals_stay_outside),
                                        cmocka_unit_test(test_deal),
                                        cmocka_unit_test(test_part),
                                        cmocka_unit_test(test_refusals),
                                        cmocka_unit_test(test_machine),
                                        cmocka_unit_test(test_cgroup_v2),
                                        cmocka_unit_test(test_cgroup_v1),
                                        cmocka_unit_test(test_cgroup_hybrid),
                                        cmocka_unit_test(test_cgroup_nonsense),
                                        cmocka_unit_test(test_cgroup_cores) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
