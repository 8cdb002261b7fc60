// staged: collectives over memory that the host may not touch. Bytes go through pinned memory of the host: there, between ranks, and back.
#include "parallel/parallel.h"
#include <stdio.h>
#include <stdlib.h>

typedef struct staged {
    hs_comm c;
    hs_comm *inner;
    hs_device *device;
    void *room;
    size_t bytes;
    hs_status status; // sticky
    char error[256];
} staged;

// The host's memory for so many bytes; NULL: there is none, and from here on no call does anything.
static char *stage(hs_comm *c, size_t bytes)
{
    staged *s = c->impl;
    if (s->status != HS_OK)
        return NULL;
    s->inner->about = c->about;
    if (bytes <= s->bytes && s->room)
        return s->room;
    s->device->free_host(s->device, s->room);
    s->room = NULL, s->bytes = bytes + (bytes >> 2) + 4096;
    s->status = s->device->alloc_host(s->device, s->bytes, &s->room);
    if (s->status == HS_OK)
        return s->room;
    s->room = NULL;
    snprintf(s->error, sizeof s->error, "%s", hs_error());
    s->inner->abort(s->inner); // the others wait for this rank
    return NULL;
}

static void fetch(const hs_comm *c, void *host, const void *from, size_t bytes)
{
    hs_device *d = ((const staged *)c->impl)->device;
    if (bytes)
        d->copy(d, host, from, bytes);
}

static void put(const hs_comm *c, void *to, const void *host, size_t bytes)
{
    hs_device *d = ((const staged *)c->impl)->device;
    if (bytes)
        d->copy(d, to, host, bytes);
}

static hs_comm *inner(const hs_comm *c) { return ((const staged *)c->impl)->inner; }

static void all_reduce(hs_comm *c, hs_lane *l, void *buf, int64_t n, hs_dtype d, hs_reduce op)
{
    const size_t bytes = (size_t)n * hs_dtype_bytes(d);
    char *host = stage(c, bytes);
    if (!host)
        return;
    fetch(c, host, buf, bytes);
    inner(c)->all_reduce(inner(c), l, host, n, d, op);
    put(c, buf, host, bytes);
}

static void reduce_scatter(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    const size_t each = (size_t)n_each * hs_dtype_bytes(d), whole = each * (size_t)c->size;
    char *host = stage(c, whole + each);
    if (!host)
        return;
    fetch(c, host, in, whole);
    inner(c)->reduce_scatter(inner(c), l, host, host + whole, n_each, d);
    put(c, out, host + whole, each);
}

static void all_gather(hs_comm *c, hs_lane *l, const void *in, void *out, int64_t n_each, hs_dtype d)
{
    const size_t each = (size_t)n_each * hs_dtype_bytes(d), whole = each * (size_t)c->size;
    char *host = stage(c, whole + each);
    if (!host)
        return;
    fetch(c, host + whole, in, each);
    inner(c)->all_gather(inner(c), l, host + whole, host, n_each, d);
    put(c, out, host, whole);
}

// Bytes of parts before that of rank, and of all.
static size_t bytes_before(const int64_t *n, int rank, hs_dtype d)
{
    int64_t sum = 0;
    for (int r = 0; r < rank; r++)
        sum += n[r];
    return (size_t)sum * hs_dtype_bytes(d);
}

static void reduce_parts(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d)
{
    const size_t whole = bytes_before(n, c->size, d), at = bytes_before(n, c->rank, d);
    char *host = stage(c, whole);
    if (!host)
        return;
    fetch(c, host, buf, whole);
    inner(c)->reduce_parts(inner(c), l, host, n, d);
    put(c, (char *)buf + at, host + at, (size_t)n[c->rank] * hs_dtype_bytes(d));
}

static void gather_parts(hs_comm *c, hs_lane *l, void *buf, const int64_t *n, hs_dtype d)
{
    const size_t whole = bytes_before(n, c->size, d), at = bytes_before(n, c->rank, d);
    char *host = stage(c, whole);
    if (!host)
        return;
    fetch(c, host + at, (char *)buf + at, (size_t)n[c->rank] * hs_dtype_bytes(d));
    inner(c)->gather_parts(inner(c), l, host, n, d);
    put(c, buf, host, whole);
}

static void broadcast(hs_comm *c, hs_lane *l, void *buf, size_t bytes, int root)
{
    char *host = stage(c, bytes);
    if (!host)
        return;
    if (c->rank == root)
        fetch(c, host, buf, bytes);
    inner(c)->broadcast(inner(c), l, host, bytes, root);
    put(c, buf, host, bytes);
}

static hs_status poll_staged(hs_comm *c)
{
    const staged *s = c->impl;
    if (s->status != HS_OK)
        return hs_fail_at(s->status, __FILE__, __LINE__, "%s", s->error);
    return s->inner->poll(s->inner);
}

static void abort_staged(hs_comm *c) { inner(c)->abort(inner(c)); }

static void close_staged(hs_comm *c)
{
    staged *s = c->impl;
    s->device->free_host(s->device, s->room);
    free(s);
}

hs_status hs_parallel_staged(hs_comm **out, hs_comm *given, hs_device *device)
{
    staged *s = calloc(1, sizeof *s);
    if (!s)
        return HS_FAIL(MEMORY, "no memory for a comm");
    s->inner = given, s->device = device;
    s->c = (hs_comm){ .rank = given->rank,
                      .size = given->size,
                      .axis = given->axis,
                      .all_reduce = all_reduce,
                      .reduce_scatter = reduce_scatter,
                      .all_gather = all_gather,
                      .reduce_parts = reduce_parts,
                      .gather_parts = gather_parts,
                      .broadcast = broadcast,
                      .poll = poll_staged,
                      .abort = abort_staged,
                      .close = close_staged,
                      .impl = s };
    *out = &s->c;
    return HS_OK;
}
