#include "core/base/threads.h"
#include <signal.h>
#include <string.h>

hs_status hs_thread_start(pthread_t *out, void *(*run)(void *arg), void *arg, const char *what)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int why = pthread_create(out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return why == 0 ? HS_OK : HS_FAIL(SYSTEM, "cannot start %s: %s", what, strerror(why));
}
