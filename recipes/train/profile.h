// profile: where the time of our own step goes. Takes a trace of some training steps and tells it three ways: a table by
// operation, one by scope, and a file in Chrome's trace format that ui.perfetto.dev and chrome://tracing open.
//
// Times are of the real submission. On the CPU they are a mean over the members of the team; on a GPU they are its own, by events in its
// streams, and a step that would be a captured graph is submitted in bulk. Operations, waits between them and what is left outside add up
// to the time of a step; streams that work side by side make the waits less, or negative. FLOPs and bytes are the thunks' own cost, scaled
// to the live rows. Of several ranks the first prints its tables, and writes one file with the events of all: a process of the trace each.
#ifndef HS_RECIPES_PROFILE_H
#define HS_RECIPES_PROFILE_H
#include "core/run/trace.h"
#include "recipes/train/engine.h"
#include "recipes/train/ranks.h"
#include <stdio.h>

enum { HS_PROFILE_EVENTS = 200000 }; // in the file: whole steps from the first one that was profiled, as many as fit

typedef struct hs_profile_row { // sums over the steps and members
    const char *name, *pass;    // "linear" "backward"; of a scope: "h0" ""
    int name_bytes;
    int64_t runs, ns, waited; // runs: of all members together
    double flops, bytes;      // of member 0's runs
} hs_profile_row;

typedef struct hs_profile_table {
    hs_profile_row *row;
    int n, capacity;
} hs_profile_table;

typedef struct hs_profile_event {
    hs_trace_record r;
    int member;
} hs_profile_event;

typedef struct hs_profile {
    hs_engine *engine;
    const hs_ranks *ranks; // NULL: alone
    char path[4096];
    FILE *file;            // the first rank's; opened first, to append: a path that cannot be written is refused before the first step
    int warmup, wanted, n; // steps passed over | to take | taken
    int64_t from;          // warmup is of no account: the first that is taken, from 1; 0: it is
    int64_t first;         // the first of them
    bool takes;            // the step under way
    hs_trace *trace;
    bool is_gpu;
    int members;   // that times are a mean of: the team; 1 of a GPU
    int64_t *seen; // by member: records read
    hs_profile_table ops, scopes;
    int64_t between; // ns at barriers between thunks and at the ends of regions, all members
    int64_t inside;  // ns in submissions, all members
    int64_t wall;    // ns of the steps
    int64_t began;   // the step under way
    hs_profile_event *event;
    int64_t n_events;
    struct hs_profile_step {
        int64_t began, ended;
    } * step; // whose events are kept
    int n_kept;
} hs_profile;

typedef struct hs_profile_opts {
    hs_engine *engine; // borrowed; a step of one that does not train is a submission of its evaluation plan
    const char *path;  // of the file, or a folder: profile.json in it
    int warmup, steps;
    int64_t from;          // of the engine's count, from 1: instead of a warmup; 0: none
    int n_micro;           // micro-batches of a step
    const hs_ranks *ranks; // all of which make one; borrowed. NULL: alone
} hs_profile_opts;

// USAGE if the file cannot be written; UNSUPPORTED on a device that takes no traces.
hs_status hs_profile_new(hs_profile **out, const hs_profile_opts *o);
void hs_profile_free(hs_profile *p);
// Around each step; NULL does nothing. What runs between an end and the next beginning is not looked at.
hs_status hs_profile_begin(hs_profile *p);
hs_status hs_profile_end(hs_profile *p);
static inline bool hs_profile_done(const hs_profile *p) { return p && p->n == p->wanted; }
// Collective. Writes the file and, where out is not NULL, prints the tables: text, or (json) one object a row. At least one step must be
// in. peak_flops: of hs_measure_peak, 0: not known; measures the memory's read bandwidth.
hs_status hs_profile_report(hs_profile *p, double peak_flops, bool json, FILE *out);

#endif
