// watchdog: a thread of every rank with a channel of its own, on which ranks tell each other what went wrong. It does nothing but wait: for
// the end of a process beside it, for a message, for a call that takes too long. Then one rank says why, once, and ends the job.
#include "core/base/clock.h"
#include "core/base/threads.h"
#include "parallel/parallel_impl.h"
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TICK_MS = 25, GATHER_MS = 200, STOP_MS = 30000, ANSWER_MS = 2000, PATIENCE_MS = 2500, LEAVE_MS = 300, ASLEEP_MS = 500 };
enum { PRINT_MS = 1000 };
enum { TEXT = 1024 };
enum { TAG = 9 };
typedef enum kind { FAILED, STOPPED, ENDING, ASK, ANSWER, BYE } kind; // STOPPED: FAILED, with nothing to save

typedef struct message {
    int32_t kind, rank, status;
    char text[TEXT];   // FAILED, STOPPED
    hs_whereabouts at; // ANSWER
} message;

typedef struct hs_watch {
    pthread_t thread;
    int wake;   // eventfd
    int *alive; // [size] pidfd of a process of this host, -1: none
    bool quit;  // of the thread itself
    const char *_Atomic stop;
    message in; // being received
    hs_wire in_wire;
    pthread_mutex_t lock; // of what follows
    bool closing;         // ends of processes mean nothing any more
    message *failed;      // [size] in the order they came, of the chief
    int n_failed;
    int64_t first_failed; // ns
    bool at_once;         // some rank stops that has nothing to save
    // this thread's alone
    hs_whereabouts *answer; // [size]
    int64_t asked;          // ns; 0: not
    int overdue;            // a place
    bool told;              // of a device's comm that failed
    int dead;               // a rank, or -1
    int64_t looked;         // ns: when it last looked at calls
    int64_t since;          // ns: from when on they count: it may have been stopped itself, and the whole job with it
    int64_t stops;          // ns: since when this rank is; 0: it is not
    int64_t ends;           // ns: this process ends then, with `code`; 0: nobody said so
    int code;
} hs_watch;

static int64_t ms_since(int64_t ns) { return (hs_now_ns() - ns) / 1000000; }

static void pause_for(int ms) { poll(NULL, 0, ms); }

// ---- messages

typedef struct letters { // one message on its way to some ranks
    message m;
    hs_wire wire[];
} letters;

static bool all_through(hs_parallel *p, letters *l)
{
    bool all = true;
    for (int r = 0; r < p->size; r++) {
        int through = 0;
        if (l->wire[r].busy && (p->t->test(&l->wire[r], &through, NULL, NULL) != 0 || !through))
            all = false;
        else
            l->wire[r].busy = 0;
    }
    return all;
}

// Messages stay until they are gone, or the job is: nobody waits for them for long, nor for one before the next is sent.
static void tell_ranks(hs_parallel *p, int first, int end, int but, const message *m)
{
    letters *l = calloc(1, sizeof *l + (size_t)p->size * sizeof *l->wire);
    if (!l)
        return;
    l->m = *m;
    for (int r = first; r < end; r++)
        if (r != but && p->t->send(HS_CHANNEL_CONTROL, r, TAG, &l->m, sizeof l->m, &l->wire[r]) != 0)
            l->wire[r].busy = 0;
    const int64_t began = hs_now_ns();
    bool through = all_through(p, l);
    for (; !through && ms_since(began) < 100; through = all_through(p, l))
        pause_for(1);
    if (through)
        free(l); // else MPI still reads it
}

static void tell(hs_parallel *p, int rank, const message *m) { tell_ranks(p, rank, rank + 1, -1, m); }
static void tell_others(hs_parallel *p, const message *m) { tell_ranks(p, 0, p->size, p->rank, m); }

static bool listen(hs_parallel *p)
{
    hs_watch *w = p->watch;
    return p->t->receive(HS_CHANNEL_CONTROL, HS_ANY_RANK, TAG, &w->in, sizeof w->in, &w->in_wire) == 0;
}

// ---- the end

static void print_line(const char *line)
{
    char text[TEXT + 2 * HS_HOST_BYTES];
    const int n = snprintf(text, sizeof text, "halfstep: %s\n", line);
    struct pollfd f = { .fd = STDERR_FILENO, .events = POLLOUT };
    if (poll(&f, 1, PRINT_MS) == 0)
        return; // a launcher that ends the job itself reads nothing any more
    if (write(STDERR_FILENO, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1) < 0)
        return; // nobody reads it
}

// From here on the process waits for its end: what a launcher sends is no wish to save.
static void begin_ending(hs_parallel *p)
{
    atomic_store(&p->ending, true);
    signal(SIGTERM, SIG_DFL);
}

static void __attribute__((noreturn)) end_job(hs_parallel *p, const message *m, bool of_all)
{
    char line[TEXT + 2 * HS_HOST_BYTES];
    const message ending = { .kind = ENDING, .rank = p->rank, .status = m->status };
    begin_ending(p);
    if (of_all || m->status == HS_REMOTE) // which names ranks itself
        snprintf(line, sizeof line, "%s", m->text);
    else
        snprintf(line, sizeof line, "rank %d (%s): %s", m->rank, p->hosts[m->rank], m->text);
    print_line(line);
    tell_others(p, &ending);
    p->t->end(hs_status_exit((hs_status)m->status));
}

// The chief has heard of failures: the first is the cause, unless all say the same.
static void conclude(hs_parallel *p)
{
    hs_watch *w = p->watch;
    const message *first = NULL;
    pthread_mutex_lock(&w->lock);
    bool same = w->n_failed == p->size;
    for (int i = 0; i < w->n_failed; i++) {
        same = same && strcmp(w->failed[i].text, w->failed[0].text) == 0;
        if (!first && w->failed[i].status != HS_REMOTE) // what followed from another's failure is none
            first = &w->failed[i];
    }
    const message cause = first ? *first : w->failed[0];
    pthread_mutex_unlock(&w->lock);
    end_job(p, &cause, same);
}

static void take_failure(hs_parallel *p, const message *m)
{
    hs_watch *w = p->watch;
    pthread_mutex_lock(&w->lock);
    if (!w->n_failed)
        w->first_failed = hs_now_ns();
    w->at_once = w->at_once || m->kind == STOPPED;
    if (w->n_failed < p->size)
        w->failed[w->n_failed++] = *m;
    pthread_mutex_unlock(&w->lock);
    if (write(w->wake, &(uint64_t){ 1 }, 8) < 0)
        return;
}

static void report(hs_parallel *p, int chief, hs_status st, const char *text)
{
    message m = { .kind = FAILED, .rank = p->rank, .status = (int32_t)st };
    snprintf(m.text, sizeof m.text, "%s", text);
    if (chief == p->rank)
        take_failure(p, &m);
    else
        tell(p, chief, &m);
}

// For a thread of this rank that has failed: waits for the end, and makes it where the chief does not.
static void __attribute__((noreturn)) await_end(hs_parallel *p, hs_status st, const char *text)
{
    message m = { .kind = FAILED, .rank = p->rank, .status = (int32_t)st };
    snprintf(m.text, sizeof m.text, "%s", text);
    const int64_t began = hs_now_ns();
    const int64_t patience = (st == HS_STOPPED ? STOP_MS : 0) + PATIENCE_MS + 100 * p->rank;
    while (!atomic_load(&p->ending) && ms_since(began) < patience)
        pause_for(10);
    if (!atomic_load(&p->ending))
        end_job(p, &m, false);
    pause_for(10000);
    p->t->end(hs_status_exit(st));
}

static void __attribute__((noreturn)) fail(hs_parallel *p, hs_status st, const char *text)
{
    if (!p->watch) { // while the job is being joined
        message m = { .rank = p->rank, .status = (int32_t)st };
        snprintf(m.text, sizeof m.text, "%s", text);
        end_job(p, &m, false);
    }
    report(p, 0, st, text);
    await_end(p, st, text);
}

void hs_parallel_fail(hs_parallel *p, hs_status st)
{
    if (!p || p->size == 1)
        return;
    fflush(stdout);
    fail(p, st, hs_error());
}

void hs_parallel_end(hs_parallel *p, hs_status st, const char *fmt, ...)
{
    char text[TEXT];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail(p, st, text);
}

// ---- signals while there is nothing to save

bool hs_parallel_stop(hs_parallel *p, const char *text)
{
    hs_watch *w = p ? p->watch : NULL;
    if (!w)
        return false;
    atomic_store(&w->stop, text);
    return write(w->wake, &(uint64_t){ 1 }, 8) == 8;
}

static void look_for_stop(hs_parallel *p)
{
    hs_watch *w = p->watch;
    const char *text = atomic_load(&w->stop);
    if (!text || (w->stops && ms_since(w->stops) < PATIENCE_MS + 100 * p->rank))
        return;
    message m = { .kind = STOPPED, .rank = p->rank, .status = HS_STOPPED };
    snprintf(m.text, sizeof m.text, "%s", text);
    if (w->stops) // the chief does not
        end_job(p, &m, false);
    w->stops = hs_now_ns();
    if (p->rank == 0)
        take_failure(p, &m);
    else
        tell(p, 0, &m);
}

// ---- calls that take too long

static void look_around(hs_parallel *p, hs_whereabouts *out)
{
    *out = (hs_whereabouts){ .came = true, .now = hs_now_ns() };
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < HS_N_PLACES; i++)
        hs_place_now(p, i, &out->at[i]);
    out->n_past = hs_place_past(p, out->past, HS_LAST);
    pthread_mutex_unlock(&p->lock);
}

static void look_for_overdue(hs_parallel *p)
{
    hs_watch *w = p->watch;
    if (w->looked && ms_since(w->looked) > ASLEEP_MS)
        w->since = hs_now_ns();
    w->looked = hs_now_ns();
    pthread_mutex_lock(&p->lock);
    for (int i = 0; p->timeout > 0 && i < HS_N_PLACES && !w->asked; i++) {
        hs_place_in_time now;
        if (!hs_place_now(p, i, &now) || now.ended)
            continue;
        const int64_t from = now.begun > w->since ? now.begun : w->since;
        if (1e-9 * (double)(hs_now_ns() - from) > p->timeout)
            w->asked = hs_now_ns(), w->overdue = i;
    }
    pthread_mutex_unlock(&p->lock);
    if (!w->asked)
        return;
    const message ask = { .kind = ASK, .rank = p->rank };
    for (int r = 0; r < p->size; r++)
        w->answer[r].came = false;
    tell_others(p, &ask);
    look_around(p, &w->answer[p->rank]);
}

static void explain_overdue(hs_parallel *p)
{
    hs_watch *w = p->watch;
    char text[TEXT];
    int chief = 0, came = 0;
    for (int r = p->size; r-- > 0;)
        if (w->answer[r].came)
            chief = r, came++;
    if (came < p->size && ms_since(w->asked) < ANSWER_MS)
        return;
    pthread_mutex_lock(&p->lock);
    hs_overdue_text(p, w->answer, w->overdue, text, sizeof text);
    pthread_mutex_unlock(&p->lock);
    w->asked = INT64_MAX; // said
    report(p, chief, HS_REMOTE, text);
}

// A device's comm that failed by itself: said while the thread that called it may wait for the device for ever.
static void look_for_errors(hs_parallel *p)
{
    hs_watch *w = p->watch;
    if (w->told)
        return;
    pthread_mutex_lock(&p->lock);
    const hs_status st = hs_afar_poll(p);
    pthread_mutex_unlock(&p->lock);
    if (st == HS_OK)
        return;
    char text[TEXT];
    snprintf(text, sizeof text, "rank %d (%s): %s", p->rank, p->host, hs_error());
    w->told = true;
    report(p, 0, HS_REMOTE, text);
}

// ---- processes beside this one

static int open_pid(int64_t pid) { return pid ? (int)syscall(SYS_pidfd_open, (pid_t)pid, 0) : -1; }

static void take_death(hs_parallel *p, int rank)
{
    hs_watch *w = p->watch;
    int speaker = p->rank, chief = 0;
    if (w->dead >= 0)
        return;
    w->dead = rank;
    for (int r = 0; r < p->size; r++) { // the lowest that sees it says so
        struct pollfd f = { .fd = w->alive[r], .events = POLLIN };
        const bool alive = r == p->rank || (w->alive[r] >= 0 && poll(&f, 1, 0) == 0);
        speaker = alive && r < speaker ? r : speaker;
    }
    while (chief == rank || (w->alive[chief] >= 0 && chief < speaker))
        chief++;
    if (speaker != p->rank)
        return;
    char text[TEXT];
    snprintf(text, sizeof text, "rank %d (%s) is gone: its process %lld has ended", rank, p->hosts[rank], (long long)p->pids[rank]);
    report(p, chief, HS_REMOTE, text);
}

// ---- the thread

// MPI ends this process; where that waits for something (a SIGTERM that is caught), it goes by itself.
static void leave(hs_parallel *p, const message *m)
{
    hs_watch *w = p->watch;
    begin_ending(p);
    w->ends = hs_now_ns() + LEAVE_MS * (int64_t)1000000;
    w->code = hs_status_exit((hs_status)m->status);
}

static void __attribute__((noreturn)) end_deaf(hs_parallel *p)
{
    message m = { .rank = p->rank, .status = HS_REMOTE };
    snprintf(m.text, sizeof m.text, "rank %d (%s) cannot listen to the other ranks any more", p->rank, p->hosts[p->rank]);
    end_job(p, &m, false);
}

static void hear(hs_parallel *p)
{
    hs_watch *w = p->watch;
    for (int through = 0; w->in_wire.busy && p->t->test(&w->in_wire, &through, NULL, NULL) == 0 && through; through = 0) {
        const message *m = &w->in;
        message mine;
        switch (m->kind) {
        case FAILED:
        case STOPPED:
            take_failure(p, m);
            break;
        case ENDING:
            leave(p, m);
            break;
        case ASK:
            mine = (message){ .kind = ANSWER, .rank = p->rank };
            look_around(p, &mine.at), tell(p, m->rank, &mine);
            break;
        case ANSWER:
            w->answer[m->rank] = m->at;
            break;
        default:
            w->quit = true;
            return; // nothing more is listened for
        }
        if (!listen(p)) {
            if (!atomic_load(&p->ending))
                end_deaf(p);
            return;
        }
    }
}

static bool decided(hs_watch *w, int size)
{
    pthread_mutex_lock(&w->lock);
    bool stops = !w->at_once; // those that stop, stop together: the others may still be saving
    for (int i = 0; i < w->n_failed; i++)
        stops = stops && w->failed[i].status == HS_STOPPED;
    const bool yes = w->n_failed == size || (w->n_failed && ms_since(w->first_failed) >= (stops ? STOP_MS : GATHER_MS));
    pthread_mutex_unlock(&w->lock);
    return yes;
}

static void look_for_deaths(hs_parallel *p, const struct pollfd *f)
{
    hs_watch *w = p->watch;
    bool any = false;
    for (int r = 0; r < p->size; r++)
        any = any || f[1 + r].revents;
    pthread_mutex_lock(&w->lock);
    any = any && !w->closing && !w->n_failed;
    pthread_mutex_unlock(&w->lock);
    if (!any || w->dead >= 0)
        return;
    pause_for(TICK_MS); // a rank that ends the job says so before
    hear(p);
    for (int r = 0; r < p->size && !atomic_load(&p->ending) && !w->quit; r++)
        if (f[1 + r].revents)
            take_death(p, r);
}

static void *watch(void *arg)
{
    hs_parallel *p = arg;
    hs_watch *w = p->watch;
    struct pollfd f[1 + p->size];
    f[0] = (struct pollfd){ .fd = w->wake, .events = POLLIN };
    while (!w->quit) {
        for (int r = 0; r < p->size; r++)
            f[1 + r] = (struct pollfd){ .fd = w->dead < 0 ? w->alive[r] : -1, .events = POLLIN };
        poll(f, (nfds_t)(1 + p->size), TICK_MS);
        uint64_t n;
        if (f[0].revents && read(w->wake, &n, sizeof n) < 0)
            continue;
        hear(p);
        if (w->ends && hs_now_ns() > w->ends)
            _exit(w->code);
        if (w->quit || atomic_load(&p->ending))
            continue;
        look_for_stop(p);
        look_for_deaths(p, f);
        if (decided(w, p->size))
            conclude(p);
        look_for_errors(p);
        if (!w->asked)
            look_for_overdue(p);
        else if (w->asked != INT64_MAX)
            explain_overdue(p);
    }
    return NULL;
}

static void free_watch(hs_parallel *p)
{
    hs_watch *w = p->watch;
    p->watch = NULL;
    if (!w)
        return;
    for (int r = 0; w->alive && r < p->size; r++)
        if (w->alive[r] >= 0)
            close(w->alive[r]);
    if (w->wake >= 0)
        close(w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w->alive), free(w->failed), free(w->answer), free(w);
}

hs_status hs_watch_open(hs_parallel *p)
{
    hs_watch *w = p->watch = calloc(1, sizeof *w);
    const size_t n = (size_t)p->size;
    if (!w)
        return HS_FAIL(MEMORY, "no memory for the watchdog");
    pthread_mutex_init(&w->lock, NULL);
    w->dead = -1;
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->alive = malloc(n * sizeof *w->alive);
    w->failed = calloc(n, sizeof *w->failed);
    w->answer = calloc(n, sizeof *w->answer);
    hs_status st = HS_OK;
    if (!w->alive || !w->failed || !w->answer)
        st = HS_FAIL(MEMORY, "no memory for the watchdog");
    for (int r = 0; w->alive && r < p->size; r++)
        w->alive[r] = r == p->rank ? -1 : open_pid(p->pids[r]);
    if (st == HS_OK && !listen(p))
        st = HS_FAIL(SYSTEM, "the watchdog cannot listen to the other ranks");
    if (st == HS_OK)
        st = hs_thread_start(&w->thread, watch, p, "the watchdog");
    if (st != HS_OK)
        free_watch(p);
    return st;
}

void hs_watch_close(hs_parallel *p)
{
    hs_watch *w = p->watch;
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_mutex_unlock(&w->lock);
    tell(p, p->rank, &(message){ .kind = BYE, .rank = p->rank });
    pthread_join(w->thread, NULL);
    free_watch(p);
}
