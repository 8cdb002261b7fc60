// cpu: cpuid, affinity and free memory, asked once where they cannot change.
#include "core/cpu/cpu.h"
#include "core/cpu/cgroup.h"
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const isa_names[HS_N_ISA] = { "portable", "avx2", "avx512", "avx512bf16", "amx" };

const char *hs_isa_name(hs_isa isa) { return (unsigned)isa < HS_N_ISA ? isa_names[isa] : "unknown"; }

bool hs_isa_parse(const char *s, hs_isa *out)
{
    for (int i = 0; i < HS_N_ISA; i++)
        if (!strcmp(s, isa_names[i]))
            return *out = (hs_isa)i, true;
    return false;
}

#if defined(__x86_64__)
// Which vector registers the operating system saves: without them the CPU's own bits mean nothing.
static uint64_t os_saves(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return 0;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

// The tiles' 8 KiB are saved for a process that has asked for them only (Linux, Documentation/arch/x86/xstate.rst). Threads inherit the
// answer.
static bool may_use_tiles(void)
{
    enum { REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
#ifdef SYS_arch_prctl
    return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, TILE_DATA) == 0;
#else
    return false;
#endif
}

static hs_isa best_isa(void)
{
    // XCR0: SSE and AVX state | and opmask, upper halves, upper registers | and the tiles with their configuration
    const uint64_t ymm = 0x06, zmm = 0xE6, tiles = 0x60000;
    const unsigned amx = 1u << 25 | 1u << 24 | 1u << 22; // AMX-INT8, AMX-TILE, AMX-BF16
    unsigned a, b, c, d, c1, max, b7, c7, d7, a71 = 0;
    const uint64_t saved = os_saves();
    if (!__get_cpuid(1, &a, &b, &c1, &d) || !__get_cpuid_count(7, 0, &max, &b7, &c7, &d7))
        return HS_ISA_PORTABLE;
    if ((saved & ymm) != ymm || !(c1 & bit_FMA) || !(c1 & bit_F16C) || !(b7 & bit_AVX2))
        return HS_ISA_PORTABLE;
    if ((saved & zmm) != zmm || !(b7 & bit_AVX512F) || !(b7 & bit_AVX512BW) || !(b7 & bit_AVX512VL) || !(b7 & bit_AVX512DQ))
        return HS_ISA_AVX2;
    const unsigned vnni = 1u << 11; // every CPU that multiplies bf16 has it
    if (max < 1 || !__get_cpuid_count(7, 1, &a71, &b, &c, &d) || !(a71 & (1u << 5)) || !(c7 & vnni))
        return HS_ISA_AVX512;
    return (saved & tiles) == tiles && (d7 & amx) == amx && may_use_tiles() ? HS_ISA_AMX : HS_ISA_AVX512BF16;
}

// Zen 4 and 5 make two bf16 products in the time of one of f32. Of Intel's, Cooper Lake does; from Sapphire Rapids on, which have tiles for
// that, it is the other way round: `bench train`'s peak on 2 cores of an Emerald Rapids is 178 GFLOP/s with vdpbf16ps and 355 in f32.
static bool multiplies_bf16_faster(void)
{
    enum { COOPER_LAKE = 0x55 };
    unsigned a, vendor, c, d;
    if (!__get_cpuid(0, &a, &vendor, &c, &d) || vendor != signature_INTEL_ebx)
        return true;
    if (!__get_cpuid(1, &a, &vendor, &c, &d))
        return false;
    return (a >> 8 & 0xF) == 6 && ((a >> 12 & 0xF0) | (a >> 4 & 0xF)) == COOPER_LAKE;
}
#else
static hs_isa best_isa(void) { return HS_ISA_PORTABLE; }
static bool multiplies_bf16_faster(void) { return false; }
#endif

bool hs_isa_supported(hs_isa isa) { return isa <= best_isa(); } // the tiers are nested

hs_status hs_isa_choose(const char *name, unsigned built, hs_isa *out)
{
    char allowed[128] = "auto";
    *out = HS_ISA_PORTABLE;
    for (int i = 0; i < HS_N_ISA; i++)
        if (built >> i & 1) {
            snprintf(allowed + strlen(allowed), sizeof allowed - strlen(allowed), ", %s", isa_names[i]);
            if (hs_isa_supported((hs_isa)i) && (i != HS_ISA_AVX512BF16 || multiplies_bf16_faster()))
                *out = (hs_isa)i;
        }
    if (!name || !strcmp(name, "auto"))
        return HS_OK;
    if (!hs_isa_parse(name, out))
        return HS_FAIL(USAGE, "exec.isa is \"%s\", allowed: %s", name, allowed);
    if (!(built >> *out & 1))
        return HS_FAIL(UNSUPPORTED, "exec.isa: %s is not compiled into this library, allowed: %s", name, allowed);
    if (!hs_isa_supported(*out))
        return HS_FAIL(UNSUPPORTED, "exec.isa: this CPU has no %s", name);
    return HS_OK;
}

bool hs_isa_fast_bf16(hs_isa isa) { return isa == HS_ISA_AMX || (isa == HS_ISA_AVX512BF16 && multiplies_bf16_faster()); }

static int affinity_cores(void)
{
    for (int n = 1024; n <= 1 << 20; n *= 4) { // the kernel refuses a set smaller than its own
        cpu_set_t *set = CPU_ALLOC((size_t)n);
        const size_t bytes = CPU_ALLOC_SIZE((size_t)n);
        if (!set)
            break;
        const int cores = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (cores > 0)
            return cores;
    }
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

int hs_cpu_cores(void) { return hs_cgroup_cores("", affinity_cores()); }

// The value of the first line that starts with key, in a file of "key : value" lines.
static bool proc_value(const char *path, const char *key, char *buf, size_t size)
{
    FILE *f = fopen(path, "r");
    char line[512];
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) || !colon)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(buf, size, "%.*s", (int)strcspn(colon, "\n"), colon);
        found = true;
    }
    if (f)
        fclose(f);
    return found;
}

void hs_cpu_model(char *buf, size_t size)
{
    struct utsname u;
    if (proc_value("/proc/cpuinfo", "model name", buf, size))
        return;
    snprintf(buf, size, "%s", uname(&u) == 0 ? u.machine : "unknown");
}

size_t hs_cpu_free_bytes(void)
{
    char text[64];
    size_t machine = SIZE_MAX;
    if (proc_value("/proc/meminfo", "MemAvailable", text, sizeof text))
        machine = (size_t)strtoull(text, NULL, 10) * 1024;
    else if (sysconf(_SC_AVPHYS_PAGES) > 0)
        machine = (size_t)sysconf(_SC_AVPHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    const size_t group = hs_cgroup_free_bytes("");
    return group < machine ? group : machine;
}

enum { LARGE = 1 << 20, PAGE = 4096, HUGE_PAGE = 2 << 20 };

static size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

// Large ones come from mmap: page aligned, cleared as they are first touched, with huge pages where the kernel has them. Small ones come
// from the heap, where sanitizers watch their ends.
static void *map_large(size_t bytes)
{
    const size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : PAGE, more = align - PAGE;
    char *p = mmap(NULL, bytes + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    char *at = p + (round_up((uintptr_t)p, align) - (uintptr_t)p);
    if (at > p)
        munmap(p, (size_t)(at - p));
    if (more > (size_t)(at - p))
        munmap(at + bytes, more - (size_t)(at - p));
    madvise(at, bytes, MADV_HUGEPAGE); // a wish, not a condition
    return at;
}

void *hs_cpu_alloc(size_t bytes)
{
    if (bytes >= LARGE)
        return map_large(round_up(bytes, PAGE));
    const size_t whole = round_up(bytes ? bytes : 1, 64);
    void *p = aligned_alloc(64, whole);
    return p ? memset(p, 0, whole) : NULL;
}

void hs_cpu_release(void *p, size_t bytes)
{
    if (p && bytes >= LARGE)
        munmap(p, round_up(bytes, PAGE));
    else
        free(p);
}

void hs_cpu_trim(void *p, size_t bytes)
{
    const uintptr_t first = round_up((uintptr_t)p, PAGE), end = ((uintptr_t)p + bytes) / PAGE * PAGE;
    if (first < end)
        madvise((void *)first, end - first, MADV_DONTNEED);
}
