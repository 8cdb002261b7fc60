// The handler sets flags and no more: saving inside a handler is how other trainers hang.
#include "recipes/program/process.h"
#include "core/base/log.h"
#include "recipes/program/patient.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// ---- signals
enum { IMPATIENT = 1, LEFT_IGNORED = 2 };
typedef struct ending {
    int number;
    const char *name;
    int flags; // LEFT_IGNORED: whoever started the program with it ignored meant it (nohup); a shell does that to SIGINT and SIGQUIT of
               // every background job
} ending;
static const ending endings[] = {
    { SIGTERM, "SIGTERM", IMPATIENT },        { SIGINT, "SIGINT", IMPATIENT },
    { SIGQUIT, "SIGQUIT", IMPATIENT },        { SIGHUP, "SIGHUP", LEFT_IGNORED }, // the terminal is gone
    { SIGUSR1, "SIGUSR1", LEFT_IGNORED },                                         // schedulers, some time before the end
    { SIGUSR2, "SIGUSR2", LEFT_IGNORED },                                         // likewise
    { SIGXCPU, "SIGXCPU", LEFT_IGNORED },                                         // every second after the soft limit, until the hard one
    { SIGALRM, "SIGALRM", LEFT_IGNORED },                                         // timers
    { SIGVTALRM, "SIGVTALRM", LEFT_IGNORED },                                     // likewise
    { SIGPROF, "SIGPROF", LEFT_IGNORED },                                         // likewise
    { SIGIO, "SIGIO", LEFT_IGNORED },                                             //
    { SIGPWR, "SIGPWR", LEFT_IGNORED },                                           // the power fails
    { SIGSTKFLT, "SIGSTKFLT", LEFT_IGNORED },                                     // sent by hand only, as are the real-time ones
};

static const ending *ending_of(int n)
{
    for (int i = 0; i < HS_COUNT(endings); i++)
        if (endings[i].number == n)
            return &endings[i];
    return NULL;
}

const char *hs_signal_name(int n)
{
    const ending *e = ending_of(n);
    return e ? e->name : "a real-time signal";
}

static volatile sig_atomic_t seen, begun, tells;
static bool (*stop)(void *arg, const char *why); // NULL: this process is alone
static void *stop_arg;
static struct timespec pressed; // when an impatient one came

// While a run is set up there is nothing to save, and what it waits for (a pipe that nobody writes) may never come.
// Of several ranks another one may have to say it, and ends this one.
static void end_at_once(int n)
{
    static char line[128] = "halfstep: ";
    char *why = line + strlen("halfstep: ");
    struct pollfd f = { .fd = STDERR_FILENO, .events = POLLOUT };
    if (!*why)
        strcat(strcat(strcat(why, "stopped by "), hs_signal_name(n)), " before the first step; the same command begins again");
    if (stop && stop(stop_arg, why))
        return;
    strcat(line, "\n");
    if (tells && poll(&f, 1, 250) == 1 && write(STDERR_FILENO, line, strlen(line)) < 0)
        tells = false; // nobody reads it
    _exit(hs_status_exit(HS_STOPPED));
}

static void on_signal(int n)
{
    const int saved = errno;
    if (!begun)
        end_at_once(n);
    const ending *e = ending_of(n);
    if (e && e->flags & IMPATIENT) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        const double passed = (double)(now.tv_sec - pressed.tv_sec) + 1e-9 * (double)(now.tv_nsec - pressed.tv_nsec);
        if (pressed.tv_sec && passed > 0.3)
            _exit(128 + n);
        if (!pressed.tv_sec)
            pressed = now;
    }
    if (!seen)
        seen = n;
    errno = saved;
}

static void install(int n, int flags)
{
    struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, before;
    sigemptyset(&a.sa_mask);
    if (flags & LEFT_IGNORED && sigaction(n, NULL, &before) == 0 && before.sa_handler == SIG_IGN)
        return;
    sigaction(n, &a, NULL);
}

static bool is_stopping(void) { return seen != 0; }

static hs_patient output, errors; // what stdout and stderr write through, to the end of the process

static void be_patient(FILE **stream, hs_patient *p, int fd, int buffer)
{
    FILE *f = hs_patient_open(p, fd, is_stopping);
    if (!f)
        return;
    fflush(*stream);
    setvbuf(f, NULL, buffer, BUFSIZ);
    *stream = f;
}

void hs_signals_catch(bool tell)
{
    static bool patient;
    tells = tell;
    if (!patient) {
        be_patient(&stdout, &output, STDOUT_FILENO, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF);
        be_patient(&stderr, &errors, STDERR_FILENO, _IONBF);
    }
    patient = true;
    for (int i = 0; i < HS_COUNT(endings); i++)
        install(endings[i].number, endings[i].flags);
    for (int n = SIGRTMIN; n <= SIGRTMAX; n++)
        install(n, LEFT_IGNORED);
}

void hs_signals_stop_by(bool (*f)(void *arg, const char *why), void *arg) { stop_arg = arg, stop = f; }

void hs_signals_defer(void) { begun = 1; }

int hs_signal_seen(void) { return seen; }

// ---- standard streams
static bool outlives, told;

void hs_process_begin(void)
{
    // Of the wrong direction: reading or writing fails as it would on a closed one.
    static const int wrong[] = { O_WRONLY, O_RDONLY, O_RDONLY };
    for (int fd = 0; fd < HS_COUNT(wrong); fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", wrong[fd]); // takes the lowest number: this one
    signal(SIGXFSZ, SIG_IGN);
}

void hs_process_outlive_output(void)
{
    outlives = true;
    signal(SIGPIPE, SIG_IGN);
}

static bool reader_gone(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    return poll(&p, 1, 0) == 1 && p.revents & (POLLERR | POLLHUP | POLLNVAL);
}

static void silence(int fd)
{
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0 && dup2(null, fd) >= 0)
        close(null);
}

void hs_process_check_output(void)
{
    if (!outlives || !ferror(stdout))
        return;
    const int error = output.error ? output.error : fflush(stdout) ? errno : 0;
    const char *why = error == EAGAIN ? "nobody reads it" : error ? strerror(error) : "an earlier write failed";
    const bool gone = reader_gone(STDOUT_FILENO);
    if (gone)
        silence(STDOUT_FILENO);
    __fpurge(stdout); // a disk that has room again gets the next line, not half of this one
    clearerr(stdout);
    if (!told)
        hs_warn("standard output: %s; going on without it", gone ? "its reader is gone" : why);
    told = true;
}

hs_status hs_process_end(void)
{
    const bool whole = fflush(stdout) == 0 && !ferror(stdout);
    hs_process_check_output();
    return whole || outlives ? HS_OK : HS_FAIL(SYSTEM, "cannot write to standard output");
}
