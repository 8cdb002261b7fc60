// progress: what a user sees of a run - one updating line on a terminal, plain lines elsewhere, JSON lines on demand.
//
// Rates are those of a sliding window of this process' own steps, without evaluation and saving; the time left follows from them.
#ifndef HS_RECIPES_PROGRESS_H
#define HS_RECIPES_PROGRESS_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { HS_PROGRESS_WINDOW = 128 };
typedef struct hs_progress {
    // set by the caller
    bool json, quiet;
    bool plain;                         // lines even where the output looks like a terminal: launchers give each rank one of their own
    bool show_scale;                    // fp16
    int64_t steps;                      // of the whole run
    double flops_per_token, peak_flops; // 0: no MFU
    // its own
    FILE *out;
    bool terminal, colour, line_open;
    double last_draw, last_look;
    double seconds[HS_PROGRESS_WINDOW], wait[HS_PROGRESS_WINDOW]; // ring: per step
    int64_t tokens[HS_PROGRESS_WINDOW];
    int n, at;
} hs_progress;

enum { HS_PROGRESS_PARTS = 8 };
typedef struct hs_progress_part { // of the loss
    const char *name;
    double loss, accuracy; // accuracy: of an evaluation; NaN: not known
} hs_progress_part;
typedef struct hs_progress_step {
    int64_t step, tokens_seen; // steps done; tokens in all
    double loss, lr, grad_norm, scale;
    double val_loss;        // NaN: not evaluated at this step
    const char *score_name; // of that evaluation; NULL: it has none
    double score;
    bool line; // plain output prints it
    hs_progress_part part[HS_PROGRESS_PARTS];
    int n_parts; // 0: one loss, of nothing in particular
} hs_progress_step;

typedef struct hs_rates {
    double tokens_per_second, mfu, data_wait, seconds_left; // mfu, data_wait: fractions; mfu < 0: unknown
} hs_rates;

void hs_progress_begin(hs_progress *p); // finds out what the output is; takes over the log while a line may be open
void hs_progress_add(hs_progress *p, int64_t tokens, double seconds, double wait_seconds); // one step
void hs_progress_waited(hs_progress *p, double seconds); // the newest step took so much more: until its device was done
hs_rates hs_progress_rates(const hs_progress *p, int64_t steps_done);
bool hs_progress_due(hs_progress *p); // a terminal has not asked for newer figures for a second
void hs_progress_show(hs_progress *p, const hs_progress_step *s);
// A line of its own above the progress line; nothing with json or quiet.
void hs_progress_say(hs_progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void hs_progress_end(hs_progress *p); // closes the line, gives the log back

// "812k", "1.24M"; "0:12", "3:04:10"; "96 MB", "1.2 GB".
const char *hs_human_count(double n, char *buf, size_t size);
const char *hs_human_time(double seconds, char *buf, size_t size);
const char *hs_human_bytes(double bytes, char *buf, size_t size);

#endif
