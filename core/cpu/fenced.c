// fenced: allocations as two mappings of the same pages, in a list that a signal handler can read.
#include "core/cpu/fenced.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct range {
    char *fence, *twin;
    size_t asked, bytes; // bytes: whole pages
    struct range *next;
} range;

// Of the process, as its address space is, and the handler of a signal with it.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of changes
static range *_Atomic ranges;                            // read in the handler
static struct sigaction before;

static const range *range_of(const void *p)
{
    for (const range *r = ranges; r; r = r->next)
        if ((const char *)p >= r->fence && (const char *)p < r->fence + r->bytes)
            return r;
    return NULL;
}

// A fault elsewhere is left to whoever listened before. Returning runs the instruction again, under that handler.
static void on_fault(int signal, siginfo_t *info, void *context)
{
    const range *r = range_of(info->si_addr);
    char line[160];
    (void)context;
    if (!r) {
        sigaction(signal, &before, NULL);
        return;
    }
    const int n = snprintf(line, sizeof line, "halfstep: the host touched device memory: %p, byte %zu of an allocation of %zu\n",
                           info->si_addr, (size_t)((char *)info->si_addr - r->fence), r->asked);
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        (void)n; // nothing is left to do
    sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
}

// Somebody else may have begun to listen since (a test's frame, a sanitizer): whoever comes last hears first.
static void listen(void)
{
    struct sigaction ours = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, now;
    if (sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_sigaction != on_fault && sigaction(SIGSEGV, &ours, NULL) == 0)
        before = now;
}

// Shared pages without a file: mremap of a shared mapping with an old size of 0 maps the same pages once more. (A memory file would count
// against the limit of file sizes.)
static hs_status map_twice(range *r)
{
    r->twin = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r->twin == MAP_FAILED)
        return HS_FAIL(MEMORY, "no memory for %zu bytes: %s", r->asked, strerror(errno));
    r->fence = mremap(r->twin, 0, r->bytes, MREMAP_MAYMOVE);
    if (r->fence != MAP_FAILED && mprotect(r->fence, r->bytes, PROT_NONE) == 0)
        return HS_OK;
    const hs_status st = HS_FAIL(SYSTEM, "%zu bytes of memory cannot be mapped a second time: %s", r->asked, strerror(errno));
    if (r->fence != MAP_FAILED)
        munmap(r->fence, r->bytes);
    munmap(r->twin, r->bytes);
    return st;
}

hs_status hs_fenced_alloc(size_t bytes, void **out)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    range *r = calloc(1, sizeof *r);
    if (!r)
        return HS_FAIL(MEMORY, "no memory for an allocation");
    r->asked = bytes, r->bytes = (bytes / page + 1) * page;
    const hs_status st = map_twice(r);
    if (st != HS_OK) {
        free(r);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    pthread_mutex_lock(&lock);
    listen();
    r->next = ranges;
    ranges = r;
    pthread_mutex_unlock(&lock);
    *out = r->fence;
    return HS_OK;
}

void hs_fenced_release(void *p)
{
    pthread_mutex_lock(&lock);
    range *r = (range *)range_of(p), *all = ranges;
    if (r && r == all)
        ranges = r->next;
    for (range *at = all; r && at; at = at->next)
        if (at->next == r)
            at->next = r->next;
    pthread_mutex_unlock(&lock);
    if (!r)
        return;
    munmap(r->fence, r->bytes);
    munmap(r->twin, r->bytes);
    free(r);
}

void *hs_fenced_twin(const void *p)
{
    pthread_mutex_lock(&lock);
    const range *r = range_of(p);
    char *twin = r ? r->twin + ((const char *)p - r->fence) : (char *)(uintptr_t)p;
    pthread_mutex_unlock(&lock);
    return twin;
}
