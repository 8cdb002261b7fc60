// exchange: one collective over a link. Every rank greets every other with what it is about to do; a call of few bytes travels inside the
// greeting, and each rank combines all of it by itself: one latency. Of a larger one each rank gets its own block from everybody, piece by
// piece, combines it in the order of ranks and sends it to everybody: the bytes of a ring, and the same bits on every rank at any size.
#include "core/base/clock.h"
#include "parallel/parallel_impl.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { TAG_GREETING = 1, TAG_BLOCKS, TAG_GATHER };
enum { SENT1, CAME1, SENT2, CAME2, N_WAYS }; // of a piece: to the rank that combines it, and from there
enum { PIECE_BYTES = 512 << 10, COPY_BYTES = 256 << 10, ROOM_BYTES = 4 << 20, LEAST_PIECE = 16 << 10 };
enum { TOLD_PIECE = 1 << 20, WHOLE_PIECE = 1 << 30 }; // of what is not summed: broadcasts, gathers

hs_status hs_link_new(hs_link **out, hs_parallel *p, hs_channel channel, const char *axis, int first, int stride, int size)
{
    hs_link *l = calloc(1, sizeof *l);
    const size_t n = (size_t)size;
    size_t piece = ROOM_BYTES / (HS_AHEAD * n) / 4096 * 4096;
    piece = piece > PIECE_BYTES ? PIECE_BYTES : piece < LEAST_PIECE ? LEAST_PIECE : piece;
    *out = l;
    if (!l)
        return HS_FAIL(MEMORY, "no memory for the ranks of %s", axis);
    pthread_mutex_init(&l->lock, NULL);
    l->p = p, l->channel = channel, l->axis = axis, l->size = size, l->piece_bytes = piece;
    l->peer = calloc(n, sizeof *l->peer);
    l->seen = calloc(n, sizeof *l->seen);
    l->start = calloc(n, sizeof *l->start);
    l->n = calloc(n, sizeof *l->n);
    l->wire = calloc((2 + HS_AHEAD * N_WAYS) * n, sizeof *l->wire);
    l->greeting = aligned_alloc(64, n * HS_GREETING_BYTES);
    l->room = aligned_alloc(4096, HS_AHEAD * n * piece);
    if (!l->peer || !l->seen || !l->start || !l->n || !l->wire || !l->greeting || !l->room)
        return HS_FAIL(MEMORY, "no memory for messages between the %d ranks of %s", size, axis);
    for (int i = 0; i < size; i++) {
        l->peer[i] = first + i * stride;
        if (l->peer[i] == p->rank)
            l->rank = i;
    }
    return HS_OK;
}

void hs_link_free(hs_link *l)
{
    if (!l)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l->peer), free(l->seen), free(l->start), free(l->n), free(l->wire), free(l->greeting), free(l->room);
    free(l);
}

const char *hs_call_name(uint32_t kind)
{
    static const char *const names[] = { "all-reduce", "reduce-scatter", "all-gather", "reduce of parts", "gather of parts", "broadcast" };
    return names[kind];
}

void hs_call_text(const hs_hello *h, const char *axis, char *line, size_t size)
{
    const bool known = h->kind < HS_N_CALL_KINDS && h->dtype < HS_N_DTYPES;
    const double mb = known ? 1e-6 * (double)h->n * (double)hs_dtype_bytes((hs_dtype)h->dtype) : 0;
    char about[HS_ABOUT_BYTES + 4] = "";
    if (h->about[0])
        snprintf(about, sizeof about, " (%.*s)", HS_ABOUT_BYTES, h->about);
    if (!known)
        snprintf(line, size, "no call of this program's");
    else if (mb >= 0.1)
        snprintf(line, size, "%s #%lld over %s of %.1f MB of %s%s", hs_call_name(h->kind), (long long)h->number, axis, mb,
                 hs_dtype_name((hs_dtype)h->dtype), about);
    else
        snprintf(line, size, "%s #%lld over %s of %lld %s%s", hs_call_name(h->kind), (long long)h->number, axis, (long long)h->n,
                 hs_dtype_name((hs_dtype)h->dtype), about);
}

// ---- waiting

static void check(hs_link *l, int error)
{
    if (!error)
        return;
    char line[512], call[160];
    l->p->t->explain(error, line, sizeof line);
    hs_call_text(&l->now.call, l->axis, call, sizeof call);
    hs_parallel_end(l->p, HS_REMOTE, "%s: %s", call, line);
}

// One turn of a wait. A rank that has the cores to itself spins; one that shares them gives way; a long wait sleeps.
static void idle(hs_link *l, int *turns)
{
    const int spins = l->patient || l->p->crowded ? 20 : 2000, yields = l->patient ? 0 : 1000;
    if (atomic_load_explicit(&l->p->ending, memory_order_relaxed))
        for (;;)
            pause();
    const bool hurry = l->patient && atomic_load_explicit(&l->p->queue.waiting, memory_order_relaxed);
    const int t = (*turns)++;
    if (t < spins)
        return;
    if (t < spins + yields || hurry)
        sched_yield();
    else
        nanosleep(&(struct timespec){ .tv_nsec = t < spins + yields + 20 ? 50000 : t < spins + yields + 500 ? 300000 : 2000000 }, NULL);
}

static void settle(hs_link *l, hs_wire *w, int n)
{
    int turns = 0;
    for (int i = 0; i < n; i++)
        for (int through = !w[i].busy; !through;) {
            check(l, l->p->t->test(&w[i], &through, NULL, NULL));
            if (!through)
                idle(l, &turns);
            else
                turns = 0;
        }
}

// ---- greetings

static hs_hello *greeting(hs_link *l, int rank) { return (hs_hello *)(void *)(l->greeting + (size_t)rank * HS_GREETING_BYTES); }
static char *inside(hs_link *l, int rank) { return (char *)(greeting(l, rank) + 1); }

static void set_blocks(hs_link *l, const hs_exchange *x)
{
    const bool divided = x->kind == HS_CALL_ALL_REDUCE || x->kind == HS_CALL_BROADCAST;
    const int64_t lines = (x->n + 15) / 16; // a block begins where a cache line does
    int64_t at = 0;
    for (int r = 0; r < l->size; r++) {
        const int64_t end = divided ? lines * (r + 1) / l->size * 16 : 0;
        l->start[r] = at;
        l->n[r] = x->parts ? x->parts[r] : divided ? (end < x->n ? end : x->n) - at : x->n;
        at += l->n[r];
    }
}

static uint64_t hash_of(const int64_t *parts, int n)
{
    uint64_t h = 14695981039346656037u;
    for (int i = 0; parts && i < n; i++)
        h = (h ^ (uint64_t)parts[i]) * 1099511628211u;
    return parts ? h : 0;
}

// Bytes that one rank puts into its greeting; INT64_MAX: too many.
static int64_t inside_bytes(const hs_link *l, const hs_exchange *x, int rank)
{
    const int64_t each = (int64_t)hs_dtype_bytes(x->dtype);
    if (x->kind == HS_CALL_BROADCAST)
        return rank == x->root ? x->n * each : 0;
    return x->in ? (l->start[l->size - 1] + l->n[l->size - 1]) * each : l->n[rank] * each;
}

static bool fits_inside(const hs_link *l, const hs_exchange *x)
{
    for (int r = 0; r < l->size; r++)
        if (inside_bytes(l, x, r) > HS_INSIDE_BYTES)
            return false;
    return true;
}

static void enter(hs_link *l, const hs_exchange *x, bool small)
{
    hs_hello *h = greeting(l, l->rank);
    *h = (hs_hello){ .kind = x->kind,
                     .dtype = x->dtype,
                     .op = x->kind == HS_CALL_BROADCAST ? x->root : (int32_t)x->op,
                     .inside = small ? (uint32_t)inside_bytes(l, x, l->rank) : 0,
                     .number = ++l->n_calls,
                     .n = x->n,
                     .parts = hash_of(x->parts, l->size) };
    snprintf(h->about, sizeof h->about, "%s", x->about ? x->about : "");
    pthread_mutex_lock(&l->lock);
    l->now = (hs_place_in_time){ .call = *h, .begun = hs_now_ns() };
    pthread_mutex_unlock(&l->lock);
}

static void leave(hs_link *l)
{
    pthread_mutex_lock(&l->lock);
    l->now.ended = hs_now_ns();
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_lock(&l->p->lock);
    l->p->ring[l->p->n_past++ % HS_RING] = (hs_past){ (int)l->channel, l->now };
    pthread_mutex_unlock(&l->p->lock);
}

static void greet(hs_link *l)
{
    const hs_transport *t = l->p->t;
    const size_t bytes = sizeof(hs_hello) + greeting(l, l->rank)->inside;
    for (int r = 0; r < l->size; r++)
        if (r != l->rank)
            check(l, t->receive(l->channel, l->peer[r], TAG_GREETING, greeting(l, r), HS_GREETING_BYTES, &l->wire[l->size + r]));
    for (int k = 1; k < l->size; k++) { // each begins with its neighbour, so that not all begin with rank 0
        const int r = (l->rank + k) % l->size;
        check(l, t->send(l->channel, l->peer[r], TAG_GREETING, greeting(l, l->rank), bytes, &l->wire[r]));
    }
}

static void compare(hs_link *l, int rank)
{
    const hs_hello *mine = greeting(l, l->rank), *h = greeting(l, rank);
    l->seen[rank] = h->number;
    if (h->kind == mine->kind && h->dtype == mine->dtype && h->op == mine->op && h->number == mine->number && h->n == mine->n &&
        h->parts == mine->parts)
        return;
    char theirs[160], ours[160];
    hs_call_text(h, l->axis, theirs, sizeof theirs);
    hs_call_text(mine, l->axis, ours, sizeof ours);
    hs_parallel_end(l->p, HS_INTERNAL, "ranks make different calls: %s here, on rank %d (%s) %s", ours, l->peer[rank],
                    l->p->hosts[l->peer[rank]], theirs);
}

static void meet(hs_link *l)
{
    settle(l, l->wire + l->size, l->size);
    for (int r = 0; r < l->size; r++)
        if (r != l->rank)
            compare(l, r);
}

// ---- few bytes: all of them at everybody's

static void run_inside(hs_link *l, const hs_exchange *x)
{
    const size_t each = hs_dtype_bytes(x->dtype);
    const void *in[l->size];
    const char *own = x->in ? x->in : x->own;
    if (greeting(l, l->rank)->inside)
        memcpy(inside(l, l->rank), own, greeting(l, l->rank)->inside);
    greet(l);
    meet(l);
    if (!x->n) {
        // nothing but a meeting
    } else if (x->kind == HS_CALL_BROADCAST) {
        memcpy(x->out, inside(l, x->root), (size_t)x->n * each);
    } else if (x->in) {
        const bool whole = x->out; // what is gathered behind the sum
        const int64_t first = whole ? 0 : l->start[l->rank];
        for (int r = 0; r < l->size; r++)
            in[r] = inside(l, r) + (size_t)first * each;
        hs_combine(whole ? x->out : x->own, in, l->size, whole ? x->n : l->n[l->rank], x->dtype, x->op);
    } else {
        for (int r = 0; r < l->size; r++)
            memcpy(x->out + (size_t)l->start[r] * each, inside(l, r), (size_t)l->n[r] * each);
    }
    settle(l, l->wire, l->size);
}

// ---- many bytes: by blocks and pieces

typedef struct flow {
    hs_link *l;
    const hs_exchange *x;
    size_t each;
    int64_t piece; // elements
    bool gathers;  // and does nothing else
} flow;

static hs_wire *wires(const flow *f, int64_t k, int way) { return f->l->wire + (2 + (k % HS_AHEAD) * N_WAYS + way) * f->l->size; }

static char *room(const flow *f, int64_t k, int rank)
{
    return f->l->room + (size_t)(k % HS_AHEAD * f->l->size + rank) * f->l->piece_bytes;
}

// Bytes of piece k of a rank's block, which begins `*at` bytes behind the block's.
static size_t piece_of(const flow *f, int rank, int64_t k, size_t *at)
{
    const int64_t left = f->l->n[rank] - k * f->piece;
    *at = (size_t)(k * f->piece) * f->each;
    return left <= 0 ? 0 : (size_t)(left < f->piece ? left : f->piece) * f->each;
}

static const char *block(const flow *f, const char *base, int rank) { return base + (size_t)f->l->start[rank] * f->each; }

static void send_piece(const flow *f, int64_t k, int way, int rank, const char *from, size_t bytes)
{
    hs_link *l = f->l;
    if (bytes)
        check(l, l->p->t->send(l->channel, l->peer[rank], way == SENT1 ? TAG_BLOCKS : TAG_GATHER, from, bytes, &wires(f, k, way)[rank]));
}

static void receive_piece(const flow *f, int64_t k, int way, int rank, char *to, size_t bytes)
{
    hs_link *l = f->l;
    if (bytes)
        check(l, l->p->t->receive(l->channel, l->peer[rank], way == CAME1 ? TAG_BLOCKS : TAG_GATHER, to, bytes, &wires(f, k, way)[rank]));
}

static void send_blocks(const flow *f, int64_t k)
{
    const hs_link *l = f->l;
    size_t at;
    for (int i = 1; f->x->in && i < l->size; i++) {
        const int r = (l->rank + i) % l->size;
        const size_t bytes = piece_of(f, r, k, &at);
        send_piece(f, k, SENT1, r, block(f, f->x->in, r) + at, bytes);
    }
}

static void receive_block(const flow *f, int64_t k)
{
    const hs_link *l = f->l;
    const bool broadcast = f->x->kind == HS_CALL_BROADCAST;
    size_t at;
    const size_t bytes = piece_of(f, l->rank, k, &at);
    for (int r = 0; r < l->size; r++)
        if (r != l->rank && (broadcast ? r == f->x->root : f->x->in != NULL))
            receive_piece(f, k, CAME1, r, broadcast ? f->x->own + at : room(f, k, r), bytes);
}

static void combine_block(const flow *f, int64_t k)
{
    const hs_link *l = f->l;
    const void *in[l->size];
    size_t at;
    const size_t bytes = piece_of(f, l->rank, k, &at);
    if (!bytes || !f->x->in || f->x->kind == HS_CALL_BROADCAST)
        return;
    for (int r = 0; r < l->size; r++)
        in[r] = r == l->rank ? block(f, f->x->in, r) + at : room(f, k, r);
    hs_combine(f->x->own + at, in, l->size, (int64_t)(bytes / f->each), f->x->dtype, f->x->op);
}

// This rank's piece, as it is to be, to all that do not have it.
static void send_own(const flow *f, int64_t k)
{
    const hs_link *l = f->l;
    size_t at;
    const size_t bytes = piece_of(f, l->rank, k, &at);
    for (int i = 1; i < l->size; i++) {
        const int r = (l->rank + i) % l->size;
        if (r != f->x->root) // which has it all
            send_piece(f, k, SENT2, r, f->x->own + at, bytes);
    }
}

static void receive_others(const flow *f, int64_t k)
{
    const hs_link *l = f->l;
    size_t at;
    for (int r = 0; r < l->size && l->rank != f->x->root; r++)
        if (r != l->rank) {
            const size_t bytes = piece_of(f, r, k, &at);
            receive_piece(f, k, CAME2, r, (char *)(uintptr_t)block(f, f->x->out, r) + at, bytes);
        }
}

// By pieces: of more, memcpy goes around the caches, and the others are about to read it.
static void copy_own(const flow *f)
{
    char *to = (char *)(uintptr_t)block(f, f->x->out, f->l->rank);
    const size_t bytes = (size_t)f->l->n[f->l->rank] * f->each;
    for (size_t at = 0; to != f->x->own && at < bytes; at += COPY_BYTES)
        memcpy(to + at, f->x->own + at, bytes - at < COPY_BYTES ? bytes - at : COPY_BYTES);
}

static void finish_first_way(const flow *f, int64_t k)
{
    settle(f->l, wires(f, k, CAME1), f->l->size);
    combine_block(f, k);
    settle(f->l, wires(f, k, SENT1), f->l->size); // a gathered piece comes where one was sent from
    if (!f->x->out || (f->gathers && k == 0))     // then it is on its way
        return;
    receive_others(f, k);
    send_own(f, k);
}

static void run_pieces(hs_link *l, const hs_exchange *x)
{
    const bool sums = x->in && x->root < 0, gathers = !sums && x->root < 0;
    const size_t piece = sums ? l->piece_bytes : gathers ? WHOLE_PIECE : TOLD_PIECE;
    const flow f = { l, x, hs_dtype_bytes(x->dtype), (int64_t)(piece / hs_dtype_bytes(x->dtype)), gathers };
    int64_t most = 0;
    for (int r = 0; r < l->size; r++)
        most = l->n[r] > most ? l->n[r] : most;
    const int64_t n = (most + f.piece - 1) / f.piece;
    if (gathers) // where messages are awaited already they move with the greetings
        receive_others(&f, 0);
    else
        receive_block(&f, 0);
    greet(l);
    send_blocks(&f, 0);
    if (gathers)
        send_own(&f, 0);
    if (gathers)
        copy_own(&f);
    meet(l);
    for (int64_t k = 1; k < n; k++) {
        if (k >= HS_AHEAD) {
            settle(l, wires(&f, k, SENT2), l->size);
            settle(l, wires(&f, k, CAME2), l->size);
        }
        receive_block(&f, k);
        send_blocks(&f, k);
        finish_first_way(&f, k - 1);
    }
    finish_first_way(&f, n - 1);
    settle(l, l->wire, (2 + HS_AHEAD * N_WAYS) * l->size);
}

void hs_exchange_run(hs_link *l, const hs_exchange *given)
{
    hs_exchange x = *given;
    if (x.in && x.root < 0 && !hs_combines(x.dtype, x.op))
        hs_parallel_end(l->p, HS_INTERNAL, "%s over %s: %s cannot be combined so", hs_call_name(x.kind), l->axis, hs_dtype_name(x.dtype));
    set_blocks(l, &x);
    const bool small = fits_inside(l, &x);
    if (!x.own)
        x.own = (char *)(uintptr_t)(x.in ? x.in : x.out) + (size_t)l->start[l->rank] * hs_dtype_bytes(x.dtype);
    enter(l, &x, small);
    if (small)
        run_inside(l, &x);
    else
        run_pieces(l, &x);
    leave(l);
}
