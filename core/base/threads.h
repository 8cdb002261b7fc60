// threads: how every thread of the library is started. Signals are the business of the thread that calls: what is started here inherits a
// mask that blocks them all (a limit on the size of a file arrives as EFBIG then).
#ifndef HS_CORE_THREADS_H
#define HS_CORE_THREADS_H
#include "core/base/status.h"
#include <pthread.h>

// what: "the loader's thread", for the message. SYSTEM.
hs_status hs_thread_start(pthread_t *out, void *(*run)(void *arg), void *arg, const char *what);

#endif
