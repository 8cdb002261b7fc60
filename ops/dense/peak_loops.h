// peak_loops: loops that do one thing as fast as a tier can - the ceilings that products, attention and row-wise ops are measured
// against (`halfstep bench`, and the denominator of MFU). Compiled once per ISA tier.
#ifndef HS_OPS_PEAK_LOOPS_H
#define HS_OPS_PEAK_LOOPS_H
#include "core/cpu/cpu.h"
#include <stdint.h>

// Multiplies and adds in registers alone, `rounds` times over. Returns the FLOPs done; what was computed goes into *sink.
typedef double hs_peak_flops(int64_t rounds, float *sink);
// A pass over n floats; returns a value that depends on them. read: a | copy: to = a | triad: to = a + 3 b
typedef float hs_peak_stream(float *to, const float *a, const float *b, int64_t n);

typedef struct hs_peak_loops {
    hs_peak_flops *fma; // f32
    hs_peak_flops *dot; // bf16 pairs onto f32 sums; NULL: the tier multiplies bf16 as f32
    hs_peak_flops *bytes; // int8 onto int32 sums
    hs_peak_stream *read, *copy, *triad;
    hs_peak_flops *adds; // of integers, counted as FLOPs are: what the core issues
} hs_peak_loops;

const hs_peak_loops *hs_peak_loops_of(hs_isa isa); // NULL: that tier is not compiled into this library

#endif
