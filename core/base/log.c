// log: levels, and where a line goes. Level and callback are process-wide on purpose: a library call deep down has nobody to ask.
#include "core/base/log.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_level = HS_LOG_INFO; // atomic: read before the lock, so that a quiet debug line costs one load
static hs_log_fn *log_fn;
static void *log_user;

void hs_log_set(hs_log_level level, hs_log_fn *fn, void *user)
{
    pthread_mutex_lock(&lock);
    __atomic_store_n(&log_level, (int)level, __ATOMIC_RELAXED);
    log_fn = fn;
    log_user = user;
    pthread_mutex_unlock(&lock);
}

hs_log_level hs_log_get(void) { return (hs_log_level)__atomic_load_n(&log_level, __ATOMIC_RELAXED); }

void hs_log(hs_log_level level, const char *fmt, ...)
{
    static const char *const prefix[] = { "", "warning: ", "", "debug: " };
    if (level == HS_LOG_QUIET || level > hs_log_get())
        return;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    for (char *p = line; *p; p++) // names of files may hold anything; an event is one line
        if ((unsigned char)*p < ' ')
            *p = ' ';
    pthread_mutex_lock(&lock);
    if (log_fn)
        log_fn(level, line, log_user);
    else
        fprintf(stderr, "%s%s\n", prefix[level], line);
    pthread_mutex_unlock(&lock);
}
