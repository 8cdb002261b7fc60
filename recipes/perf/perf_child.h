// perf_child: a `halfstep serve` of this program's own, for as long as it is measured.
#ifndef HS_RECIPES_PERF_CHILD_H
#define HS_RECIPES_PERF_CHILD_H
#include "core/base/status.h"
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

typedef struct hs_perf_child {
    pid_t pid;
    FILE *log; // what it says
} hs_perf_child;
// Starts `halfstep serve MODEL --port 0 OPTIONS` and waits until it is ready. url: where it listens. The child ends with this process.
// USAGE, SYSTEM: with the line it ended with.
hs_status hs_perf_child_start(hs_perf_child *c, const char *model, const char *options, double patience, char *url, size_t url_bytes);
// Asks it to end (SIGTERM) and waits. SYSTEM: it did not within half a minute, or not with 0.
hs_status hs_perf_child_end(hs_perf_child *c);

#endif
