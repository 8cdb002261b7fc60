// patient: a description of its own that does not wait, and poll before it. The flag on the one that the program was given would be that of
// everybody who has it: a shell, other programs of a pipeline.
#include "recipes/program/patient.h"
#include "core/base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE_MS = 250, TURN_MS = 50 };

// A signal interrupts poll, and comes before it or behind it: then the turn ends soon. A terminal may say that there is room, and have too
// little for the end of a line.
static bool waits_on(const hs_patient *p, int64_t since)
{
    struct pollfd f = { .fd = p->fd, .events = POLLOUT };
    if (poll(&f, 1, TURN_MS) == 1)
        poll(NULL, 0, 1);
    return !p->hurried() || hs_now_ns() - since < PATIENCE_MS * (int64_t)1000000;
}

static ssize_t write_patiently(void *cookie, const char *bytes, size_t n)
{
    hs_patient *p = cookie;
    size_t done = 0;
    int64_t since = hs_now_ns();
    while (done < n && !p->error) {
        const ssize_t k = write(p->fd, bytes + done, n - done);
        if (k >= 0)
            done += (size_t)k, since = hs_now_ns();
        else if (errno != EAGAIN && errno != EINTR)
            p->error = errno;
        else if (errno == EAGAIN && !waits_on(p, since))
            p->error = EAGAIN;
    }
    if (p->error)
        errno = p->error;
    return p->error ? 0 : (ssize_t)done; // a line that went out in part is one that did not
}

static int open_anew(int fd)
{
    struct stat s;
    char path[32];
    if (fstat(fd, &s) != 0 || !(S_ISFIFO(s.st_mode) || isatty(fd)))
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

FILE *hs_patient_open(hs_patient *p, int fd, bool (*hurried)(void))
{
    *p = (hs_patient){ .fd = open_anew(fd), .hurried = hurried };
    if (p->fd < 0)
        return NULL;
    FILE *f = fopencookie(p, "w", (cookie_io_functions_t){ .write = write_patiently });
    if (!f)
        close(p->fd);
    return f;
}
