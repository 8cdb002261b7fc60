// peak: what this machine can do at most, measured with loops that do nothing else (ops/dense/peak_loops.h): the denominator of MFU.
#ifndef HS_RECIPES_PEAK_H
#define HS_RECIPES_PEAK_H
#include "core/plan/plan.h"
#include "ops/dense/peak_loops.h"

// Runs fn on every member of the device's team; seconds it took.
hs_status hs_team_time(hs_device *d, hs_kernel *fn, const void *attr, double *seconds);

// Name of the instruction products in this type are limited by: "bf16 dot", "fp32 fma" or, of HS_I8, "int8".
const char *hs_peak_name(const hs_device *d, hs_dtype low);
// FLOP/s of all members in registers alone, once (about a millisecond). Of a device that is not the CPU hs_device.peak; 0: unknown.
hs_status hs_peak_once(hs_device *d, hs_dtype low, double *flops_per_second);
// Integer additions per second of CPU time, the mean of the members while all do them: about four a cycle on a core of one's own. A core
// whose other thread is busy - with another guest's work, on most rented machines - does fewer, and loops of many micro-ops slow down by
// as much while FMAs alone do not. Of a CPU.
hs_status hs_adds_once(hs_device *d, double *per_second);
// Like hs_peak_once by the CPU time that each member had, the best of the runs that fit into `seconds`: other work on these cores makes it
// no less. It ends sooner where a number of runs behind each other made no member faster: every `pretrain` waits for it.
hs_status hs_measure_peak(hs_device *d, const hs_policy *policy, double seconds, double *flops_per_second);
// Bytes/s that the team reads from memory: 256 MB over and over, the best of the rounds that fit into `seconds`. Of a GPU those of a copy
// within its memory, read and written.
hs_status hs_measure_read(hs_device *d, double seconds, double *bytes_per_second);

// Passes over n floats, divided over the team: each member has a contiguous share.
typedef struct hs_stream_job {
    hs_peak_stream *loop;
    float *to, *a, *b; // [n], as the loop needs them
    int64_t n, passes;
} hs_stream_job;
hs_status hs_stream_time(hs_device *d, const hs_stream_job *j, double *seconds); // of a CPU's loops: on no other device
// The device copies the first `half` bytes to where the others are: the mean of several behind each other, by its own events where it has
// them. Of no CPU.
hs_status hs_copy_time(hs_device *d, char *memory, size_t half, double *seconds);

#endif
