// stopwatch: how long a lane's work takes on the GPU, between two events, for those who choose the faster of several ways.
#ifndef HS_CORE_STOPWATCH_H
#define HS_CORE_STOPWATCH_H
#include "core/cuda/device_cuda.h"

typedef struct hs_stopwatch {
    cudaEvent_t from, to;
} hs_stopwatch;

enum { HS_STOPWATCH_ROUNDS = 5, HS_UNTIMED = -1, HS_NOT_RUN = -2 };

// False where there are no events, without an error that the lane's next wait would take for its own.
static inline bool hs_stopwatch_open(hs_stopwatch *w)
{
    bool made = cudaEventCreateWithFlags(&w->from, cudaEventDefault) == cudaSuccess;
    if (made && cudaEventCreateWithFlags(&w->to, cudaEventDefault) != cudaSuccess) {
        cudaEventDestroy(w->from);
        made = false;
    }
    if (!made)
        cudaGetLastError();
    return made;
}

static inline void hs_stopwatch_close(hs_stopwatch *w)
{
    cudaEventDestroy(w->from);
    cudaEventDestroy(w->to);
}

// Milliseconds of one run, the least of some; HS_UNTIMED, or HS_NOT_RUN where run says false.
static inline float hs_stopwatch_least(const hs_stopwatch *w, hs_lane *lane, bool (*run)(const void *given, hs_lane *lane), const void *given)
{
    float best = HS_UNTIMED;
    for (int r = 0; r <= HS_STOPWATCH_ROUNDS; r++) { // the first one loads kernels, or makes plans
        float ms = 0;
        cudaEventRecord(w->from, lane->stream);
        if (!run(given, lane))
            return HS_NOT_RUN;
        cudaEventRecord(w->to, lane->stream);
        if (cudaEventSynchronize(w->to) != cudaSuccess || cudaEventElapsedTime(&ms, w->from, w->to) != cudaSuccess)
            return HS_UNTIMED;
        best = r && (best < 0 || ms < best) ? ms : best;
    }
    return best;
}

#endif
