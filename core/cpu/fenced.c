// fenced: allocations as two mappings of the same pages, in a list that a signal handler can read.
#include "core/cpu/fenced.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// An entry of the list is never freed, only marked as empty and taken again: the handler may walk it while another thread releases.
typedef struct range {
    _Atomic(char *) fence; // NULL: empty. Written last when one is taken, first when it is given back
    _Atomic(char *) twin;  // where kernels go; the fence itself for memory that both may touch
    _Atomic size_t asked, bytes;
    bool adopted;       // the twin is someone else's
    struct range *next; // set before the list has it
} range;

// Of the process, as its address space is, and the handler of a signal with it.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of changes, and of whoever wants more than a message
static range *_Atomic ranges;
static struct sigaction before[2]; // who listened before us
static _Atomic int last_before;    // the one that counts: the other may be written

static range *range_of(const void *p)
{
    for (range *r = ranges; r; r = r->next) {
        const char *fence = r->fence;
        if (fence && (const char *)p >= fence && (const char *)p < fence + r->bytes)
            return r;
    }
    return NULL;
}

// ---- the handler: nothing but what a signal may call

static char *put(char *to, const char *text)
{
    while (*text)
        *to++ = *text++;
    return to;
}

static char *put_number(char *to, uintptr_t n, unsigned base)
{
    char digits[24];
    int k = 0;
    do
        digits[k++] = "0123456789abcdef"[n % base];
    while (n /= base);
    while (k)
        *to++ = digits[--k];
    return to;
}

// A fault elsewhere is left to whoever listened before. Returning runs the instruction again, under that handler.
static void on_fault(int signal, siginfo_t *info, void *context)
{
    const range *r = range_of(info->si_addr);
    const char *fence = r ? r->fence : NULL;
    char line[160], *end = line;
    (void)context;
    if (!fence || fence == r->twin) {
        sigaction(signal, &before[last_before], NULL);
        return;
    }
    end = put_number(put(end, "halfstep: the host touched device memory: 0x"), (uintptr_t)info->si_addr, 16);
    end = put_number(put(end, ", byte "), (uintptr_t)info->si_addr - (uintptr_t)fence, 10);
    end = put(put_number(put(end, " of an allocation of "), r->asked, 10), "\n");
    if (write(STDERR_FILENO, line, (size_t)(end - line)) < 0)
        (void)end; // nothing is left to do
    sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
}

// Somebody else may have begun to listen since (a test's frame, a sanitizer): whoever comes last hears first.
static void listen(void)
{
    struct sigaction ours = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, now;
    if (sigaction(SIGSEGV, NULL, &now) != 0 || now.sa_sigaction == on_fault)
        return;
    before[!last_before] = now;
    last_before = !last_before;
    sigaction(SIGSEGV, &ours, NULL);
}

// ---- the list

static hs_status install(char *fence, char *twin, size_t asked, size_t bytes, bool adopted)
{
    pthread_mutex_lock(&lock);
    listen();
    range *r = ranges;
    while (r && r->fence)
        r = r->next;
    const bool grows = !r;
    r = r ? r : calloc(1, sizeof *r);
    if (r) {
        r->twin = twin;
        r->asked = asked;
        r->bytes = bytes;
        r->adopted = adopted;
        r->fence = fence;
    }
    if (r && grows) {
        r->next = ranges;
        ranges = r;
    }
    pthread_mutex_unlock(&lock);
    return r ? HS_OK : HS_FAIL(MEMORY, "no memory for an allocation");
}

// Shared pages without a file: mremap of a shared mapping with an old size of 0 maps the same pages once more. (A memory file would count
// against the limit of file sizes.)
static hs_status map_twice(size_t asked, size_t bytes, char **fence, char **twin)
{
    *twin = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (*twin == MAP_FAILED)
        return HS_FAIL(MEMORY, "no memory for %zu bytes: %s", asked, strerror(errno));
    *fence = mremap(*twin, 0, bytes, MREMAP_MAYMOVE);
    if (*fence != MAP_FAILED && mprotect(*fence, bytes, PROT_NONE) == 0)
        return HS_OK;
    const hs_status st = HS_FAIL(SYSTEM, "%zu bytes of memory cannot be mapped a second time: %s", asked, strerror(errno));
    if (*fence != MAP_FAILED)
        munmap(*fence, bytes);
    munmap(*twin, bytes);
    return st;
}

hs_status hs_fenced_alloc(size_t bytes, void **out)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes / page + 1) * page;
    char *fence = NULL, *twin = NULL;
    HS_TRY(map_twice(bytes, whole, &fence, &twin));
    const hs_status st = install(fence, twin, bytes, whole, false);
    if (st != HS_OK) {
        munmap(fence, whole);
        munmap(twin, whole);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = fence;
    return HS_OK;
}

hs_status hs_fenced_alloc_host(size_t bytes, void **out)
{
    const size_t whole = (bytes / 64 + 1) * 64;
    char *p = aligned_alloc(64, whole);
    if (!p)
        return HS_FAIL(MEMORY, "no memory for %zu bytes", bytes);
    memset(p, 0, whole);
    const hs_status st = install(p, p, bytes, whole, false);
    if (st != HS_OK) {
        free(p);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = p;
    return HS_OK;
}

// The pages that hold [p, p + bytes).
static void unmap_around(char *p, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), before_p = (uintptr_t)p % page;
    munmap(p - before_p, (before_p + bytes + page - 1) / page * page);
}

hs_status hs_fenced_adopt(const void *host, size_t bytes, void **out)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), into_page = (uintptr_t)host % page;
    char *pages = mmap(NULL, into_page + bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED)
        return HS_FAIL(MEMORY, "no addresses for %zu bytes: %s", bytes, strerror(errno));
    const hs_status st = install(pages + into_page, (char *)(uintptr_t)host, bytes, bytes, true); // aligned as the host's are
    if (st != HS_OK) {
        unmap_around(pages + into_page, bytes);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = pages + into_page;
    return HS_OK;
}

void hs_fenced_release(void *p)
{
    pthread_mutex_lock(&lock);
    range *r = p ? range_of(p) : NULL;
    char *twin = r ? r->twin : NULL;
    const size_t bytes = r ? r->bytes : 0;
    const bool adopted = r && r->adopted;
    if (r)
        r->fence = NULL;
    if (twin && twin != p) // before another thread's allocation can lie there
        unmap_around(p, bytes);
    if (twin && twin != p && !adopted)
        munmap(twin, bytes);
    pthread_mutex_unlock(&lock);
    if (twin == p)
        free(twin);
}

void *hs_fenced_twin(const void *p)
{
    pthread_mutex_lock(&lock);
    const range *r = range_of(p);
    char *twin = r ? r->twin + ((const char *)p - r->fence) : NULL;
    pthread_mutex_unlock(&lock);
    return twin;
}
