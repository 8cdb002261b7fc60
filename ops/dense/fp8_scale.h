// fp8_scale: what largest value scales an operand of linear_fp8, on the CPU and on CUDA. The state amax [2, history] has a ring of each
// operand's largest values by step; the first micro-step writes its place, the others of the step raise it - so does backward's second run
// of forward, which finds what it would write. Places of other steps are only read, so the scale of a step is the same in all of it.
#ifndef HS_OPS_FP8_SCALE_H
#define HS_OPS_FP8_SCALE_H
#include "core/base/fp8.h"
#include "core/graph/op.h"

// Of a weight whose codes a GPU keeps, one way round: what scaled them, and a byte an element.
enum { HS_FP8_FRONT = 1280 };
HS_INLINE size_t hs_fp8_kept_bytes(int64_t elements) { return HS_FP8_FRONT + (size_t)((elements + 63) / 64 * 64); }

// here: the largest value of the operand at hand. Row: 0 of x, 1 of dy. state: absent, or as above.
HS_INLINE float hs_fp8_amax(const hs_ref *state, const hs_step_in *step, int row, float here)
{
    if (!state->p)
        return here;
    const float *ring = (const float *)state->p + row * state->cols;
    const int64_t at = (int64_t)(step->step % (uint64_t)state->cols);
    float most = 0;
    for (int64_t i = 0; i < state->cols; i++)
        most = i != at && ring[i] > most ? ring[i] : most;
    return most > 0 ? most : here;
}

// What is not finite is not noted: it is this step's trouble.
HS_INLINE void hs_fp8_note(const hs_ref *state, const hs_step_in *step, int row, float here)
{
    if (!state->p)
        return;
    float *place = (float *)state->p + row * state->cols + (int64_t)(step->step % (uint64_t)state->cols);
    const float finite = hs_f32_bits(here) < 0x7F800000u ? here : 0;
    *place = step->micro == 0 || finite > *place ? finite : *place;
}

#endif
